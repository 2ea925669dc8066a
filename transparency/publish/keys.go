// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
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

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/log"
)

const (
	logKeyFile   = "log.key"
	pqKeyFile    = "log-pq.key"
	clockKeyFile = "clock.key"
	clockSuffix  = "/clock" // the clock's name is the origin and this
)

// Keys are the secrets of a log directory. A log made before there was an
// ML-DSA-44 key goes on without one; its readers' reports say so.
type Keys struct {
	Log   *transparency.Signer
	Clock *transparency.Cosigner
}

// Trust is what verifies this log: its key, its clock, quorum 1.
func (k *Keys) Trust() *transparency.Trust {
	return &transparency.Trust{
		Origin: k.Log.Origin(), LogKey: k.Log.VKey(), LogKeyPQ: k.Log.VKeyPQ(), Witnesses: []string{k.Clock.VKey()}, Quorum: 1,
	}
}

// GenerateKeys makes fresh keys for an origin, in memory.
func GenerateKeys(origin string) (*Keys, error) {
	var seeds [2]ed25519.PrivateKey
	for i := range seeds {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("log keys: %v", err)
		}
		seeds[i] = key
	}
	return newKeys(origin, seeds[0], newPQSeed(), seeds[1])
}

func newPQSeed() []byte {
	seed := make([]byte, transparency.MLDSASeedSize)
	rand.Read(seed) // never fails
	return seed
}

func newKeys(origin string, log ed25519.PrivateKey, pqSeed []byte, clock ed25519.PrivateKey) (*Keys, error) {
	s, err := transparency.NewHybridSigner(origin, log, pqSeed)
	if err != nil {
		return nil, err
	}
	c, err := transparency.NewCosigner(origin+clockSuffix, clock)
	if err != nil {
		return nil, err
	}
	return &Keys{s, c}, nil
}

// OpenKeys reads the keys of a log directory, for a log of this origin.
func OpenKeys(dir, origin string) (*Keys, error) {
	log, err := readKey(filepath.Join(dir, logKeyFile))
	if err != nil {
		return nil, err
	}
	pqSeed, err := readPQKey(filepath.Join(dir, pqKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		pqSeed, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	clock, err := readKey(filepath.Join(dir, clockKeyFile))
	if err != nil {
		return nil, err
	}
	return newKeys(origin, log, pqSeed, clock)
}

// createKey writes a new Ed25519 key as PKCS #8.
func (d *disk) createKey(path string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("log key: %v", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("log key: %v", err)
	}
	return d.createPEM(path, der)
}

func (d *disk) createPEM(path string, der []byte) error {
	return d.create(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// A pkcs8 is an ML-DSA-44 private key in its seed form (RFC 9881, Section 6),
// which the standard library does not write yet.
type pkcs8 struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte // [0] IMPLICIT OCTET STRING of the seed
}

var oidMLDSA44 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}

// createPQKey writes a new ML-DSA-44 key as PKCS #8.
func (d *disk) createPQKey(path string) error {
	key, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: newPQSeed()})
	if err != nil {
		return fmt.Errorf("log key: %v", err)
	}
	der, err := asn1.Marshal(pkcs8{Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidMLDSA44}, Key: key})
	if err != nil {
		return fmt.Errorf("log key: %v", err)
	}
	return d.createPEM(path, der)
}

func readPQKey(path string) ([]byte, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	var k pkcs8
	var seed asn1.RawValue
	rest, err := asn1.Unmarshal(der, &k)
	if err == nil && len(rest) == 0 && k.Version == 0 && k.Algorithm.Algorithm.Equal(oidMLDSA44) {
		rest, err = asn1.Unmarshal(k.Key, &seed)
		if err == nil && len(rest) == 0 && seed.Class == asn1.ClassContextSpecific && seed.Tag == 0 && !seed.IsCompound && len(seed.Bytes) == transparency.MLDSASeedSize {
			return seed.Bytes, nil
		}
	}
	return nil, fmt.Errorf("log key: %s: not the seed of an ML-DSA-44 key", path)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if k, ok := key.(ed25519.PrivateKey); ok && err == nil {
		return k, nil
	}
	return nil, fmt.Errorf("log key: %s: not an Ed25519 key", path)
}

// readPEM never puts the file's bytes into an error.
func readPEM(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("log key: %s is open to everybody (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, fmt.Errorf("log key: %s: not one PEM private key", path)
	}
	return block.Bytes, nil
}

// disk is how a Log writes; tests make single writes fail.
type disk struct {
	create func(path string, data []byte, perm fs.FileMode) error // refuses to overwrite
	write  func(path string, data []byte, perm fs.FileMode) error

	appendAt func(l *log.Log, ctx context.Context, index uint64, leaf []byte) error
}
