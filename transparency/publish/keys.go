// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/sotto-project/sotto/transparency"
)

const (
	logKeyFile   = "log.key"
	clockKeyFile = "clock.key"
	clockSuffix  = "/clock" // the clock's name is the origin and this
)

// Keys are the two secrets of a log directory.
type Keys struct {
	Log   *transparency.Signer
	Clock *transparency.Cosigner
}

// Trust is what verifies this log: its key, its clock, quorum 1.
func (k *Keys) Trust() *transparency.Trust {
	return &transparency.Trust{Origin: k.Log.Origin(), LogKey: k.Log.VKey(), Witnesses: []string{k.Clock.VKey()}, Quorum: 1}
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
	return newKeys(origin, seeds[0], seeds[1])
}

func newKeys(origin string, log, clock ed25519.PrivateKey) (*Keys, error) {
	s, err := transparency.NewSigner(origin, log)
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
	clock, err := readKey(filepath.Join(dir, clockKeyFile))
	if err != nil {
		return nil, err
	}
	return newKeys(origin, log, clock)
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
	return d.create(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// readKey never puts the file's bytes into an error.
func readKey(path string) (ed25519.PrivateKey, error) {
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
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if k, ok := key.(ed25519.PrivateKey); ok && err == nil {
		return k, nil
	}
	return nil, fmt.Errorf("log key: %s: not an Ed25519 key", path)
}

// disk is how a Log writes; tests make single writes fail.
type disk struct {
	create func(path string, data []byte, perm fs.FileMode) error // refuses to overwrite
	write  func(path string, data []byte, perm fs.FileMode) error
}
