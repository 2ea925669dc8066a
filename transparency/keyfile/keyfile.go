// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package keyfile reads and prints the private keys of logs and of their witnesses:
// PKCS #8 in PEM, Ed25519 (RFC 8410) and ML-DSA-44 as its seed (RFC 9881).
//
// It writes nothing: durable files are for whoever owns the directory. It never
// puts a file's bytes into an error.
package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/sotto-project/sotto/transparency"
)

const block = "PRIVATE KEY"

// Ed25519 prints a key.
func Ed25519(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return armor(der, err)
}

// MLDSA44 prints the seed of a key.
func MLDSA44(seed []byte) ([]byte, error) {
	der, err := marshalSeed(seed)
	return armor(der, err)
}

func armor(der []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, errors.New("not a key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), nil
}

// ReadEd25519 reads what [Ed25519] printed. A file that is not there is
// [io/fs.ErrNotExist]; one that everybody may read is refused.
func ReadEd25519(path string) (ed25519.PrivateKey, error) {
	der, err := read(path)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if key, ok := parsed.(ed25519.PrivateKey); ok && err == nil {
		return key, nil
	}
	return nil, fmt.Errorf("%s: not an Ed25519 key", path)
}

// ReadMLDSA44 reads what [MLDSA44] printed, as [ReadEd25519] does.
func ReadMLDSA44(path string) (seed []byte, err error) {
	der, err := read(path)
	if err != nil {
		return nil, err
	}
	if seed, err = parseSeed(der); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return seed, nil
}

func read(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s is open to everybody (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	one, rest := pem.Decode(b)
	if one == nil || one.Type != block || len(rest) != 0 {
		return nil, fmt.Errorf("%s: not one PEM private key", path)
	}
	return one.Bytes, nil
}

// A pkcs8 is OneAsymmetricKey (RFC 5958) as RFC 9881, Section 6, fills it for a
// seed: an OCTET STRING that holds [0] IMPLICIT OCTET STRING (SIZE (32)). The
// standard library does not write it yet.
type pkcs8 struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte
}

func oid() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17} }

func marshalSeed(seed []byte) ([]byte, error) {
	if len(seed) != transparency.MLDSASeedSize {
		return nil, errors.New("not the seed of an ML-DSA-44 key")
	}
	inner, err := asn1.MarshalWithParams(seed, "tag:0")
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(pkcs8{0, pkix.AlgorithmIdentifier{Algorithm: oid()}, inner})
}

// parseSeed accepts what marshalSeed prints, and no other spelling.
func parseSeed(der []byte) ([]byte, error) {
	var k pkcs8
	var seed []byte
	if rest, err := asn1.Unmarshal(der, &k); err != nil || len(rest) != 0 || !k.Algorithm.Algorithm.Equal(oid()) {
		return nil, errors.New("not an ML-DSA-44 key")
	}
	if _, err := asn1.UnmarshalWithParams(k.Key, &seed, "tag:0"); err != nil {
		return nil, errors.New("not an ML-DSA-44 key in the form of a seed")
	}
	if again, err := marshalSeed(seed); err != nil || !bytes.Equal(again, der) {
		return nil, errors.New("not the seed of an ML-DSA-44 key, in its one spelling")
	}
	return seed, nil
}
