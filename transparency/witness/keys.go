// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/keyfile"
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
	if err := durable.MkdirAll(parent, 0o700); err != nil {
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
	ed, err := keyfile.Ed25519(key)
	if err != nil {
		return fmt.Errorf("create witness: %v", err)
	}
	pq, err := keyfile.MLDSA44(seed)
	if err != nil {
		return fmt.Errorf("create witness: %v", err)
	}
	// Written last, and synced with their folder: the folders above are then too.
	for file, data := range map[string][]byte{keyFile: ed, pqKeyFile: pq} {
		if err := durable.CreateFile(filepath.Join(tmp, file), data, 0o600); err != nil {
			return fmt.Errorf("create witness: %w", err)
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("create witness: %w", err)
	}
	return durable.SyncDir(parent)
}

// OpenCosigners reads the keys of a witness: Ed25519 and, with pq, ML-DSA-44.
func OpenCosigners(dir, name string, pq bool) ([]*transparency.Cosigner, error) {
	key, err := keyfile.ReadEd25519(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	ed, err := transparency.NewCosigner(name, key)
	if err != nil {
		return nil, fmt.Errorf("witness key: %v", err)
	}
	if !pq {
		return []*transparency.Cosigner{ed}, nil
	}
	seed, err := keyfile.ReadMLDSA44(filepath.Join(dir, pqKeyFile))
	if err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	c, err := transparency.NewMLDSACosigner(name, seed)
	if err != nil {
		return nil, fmt.Errorf("witness key: %v", err)
	}
	return []*transparency.Cosigner{ed, c}, nil
}
