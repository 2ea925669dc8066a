// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
)

const (
	keyFile   = "witness.key"    // Ed25519, PKCS #8
	pqKeyFile = "witness-pq.key" // ML-DSA-44, PKCS #8 with the seed (RFC 9881)
)

// Create makes a new witness in dir, which must not exist or be empty: both
// keys, and a [FileStore] to which these logs are added. It appears as a whole or
// not at all.
func Create(dir, name string, origins ...string) (err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("create witness: %s is not empty: %w", dir, fs.ErrExist)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("create witness: %v", err)
	}
	seed := make([]byte, transparency.MLDSASeedSize)
	if _, err := rand.Read(seed); err != nil {
		return fmt.Errorf("create witness: %v", err)
	}
	if _, err := transparency.NewCosigner(name, key); err != nil {
		return fmt.Errorf("create witness: %v", err)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("create witness: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".witness-*")
	if err != nil {
		return fmt.Errorf("create witness: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	if err := CreateFileStore(tmp); err != nil {
		return err
	}
	for _, origin := range origins {
		if err := addLog(tmp, origin); err != nil {
			return fmt.Errorf("create witness: %w", err)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("create witness: %v", err)
	}
	pqDER, err := marshalSeed(seed)
	if err != nil {
		return fmt.Errorf("create witness: %v", err)
	}
	// Written last, and synced with their folder: the folders above are then too.
	for file, der := range map[string][]byte{keyFile: der, pqKeyFile: pqDER} {
		if err := durable.CreateFile(filepath.Join(tmp, file), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return fmt.Errorf("create witness: %w", err)
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("create witness: %w", err)
	}
	return syncDir(parent)
}

// OpenCosigners reads the keys of a witness: Ed25519 and, with pq, ML-DSA-44.
func OpenCosigners(dir, name string, pq bool) ([]*transparency.Cosigner, error) {
	path := filepath.Join(dir, keyFile)
	der, err := readKey(path)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("witness key: %s: not an Ed25519 key", path)
	}
	ed, err := transparency.NewCosigner(name, key)
	if err != nil {
		return nil, fmt.Errorf("witness key: %s: %v", path, err)
	}
	if !pq {
		return []*transparency.Cosigner{ed}, nil
	}
	path = filepath.Join(dir, pqKeyFile)
	if der, err = readKey(path); err != nil {
		return nil, err
	}
	seed, err := parseSeed(der)
	if err != nil {
		return nil, fmt.Errorf("witness key: %s: %v", path, err)
	}
	c, err := transparency.NewMLDSACosigner(name, seed)
	if err != nil {
		return nil, fmt.Errorf("witness key: %s: %v", path, err)
	}
	return []*transparency.Cosigner{ed, c}, nil
}

// readKey never puts the file's bytes into an error.
func readKey(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("witness key: %s is open to everybody (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, fmt.Errorf("witness key: %s: not one PEM private key", path)
	}
	return block.Bytes, nil
}

// pkcs8 is OneAsymmetricKey (RFC 5958) as RFC 9881, Section 6, fills it for a
// seed: an OCTET STRING that holds [0] IMPLICIT OCTET STRING (SIZE (32)).
type pkcs8 struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte
}

func mldsa44OID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}
}

func marshalSeed(seed []byte) ([]byte, error) {
	inner, err := asn1.MarshalWithParams(seed, "tag:0")
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(pkcs8{0, pkix.AlgorithmIdentifier{Algorithm: mldsa44OID()}, inner})
}

func parseSeed(der []byte) ([]byte, error) {
	var k pkcs8
	var seed []byte
	rest, err := asn1.Unmarshal(der, &k)
	if err != nil || len(rest) != 0 || k.Version != 0 || !k.Algorithm.Algorithm.Equal(mldsa44OID()) || len(k.Algorithm.Parameters.FullBytes) != 0 {
		return nil, errors.New("not an ML-DSA-44 key")
	}
	rest, err = asn1.UnmarshalWithParams(k.Key, &seed, "tag:0")
	if err != nil || len(rest) != 0 || len(seed) != transparency.MLDSASeedSize {
		return nil, errors.New("not an ML-DSA-44 key in the form of a seed")
	}
	return seed, nil
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("create witness: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}
