// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/keyfile"
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
	log, err := keyfile.ReadEd25519(filepath.Join(dir, logKeyFile))
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	pqSeed, err := keyfile.ReadMLDSA44(filepath.Join(dir, pqKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		pqSeed, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	clock, err := keyfile.ReadEd25519(filepath.Join(dir, clockKeyFile))
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return newKeys(origin, log, pqSeed, clock)
}

// createKey writes a new Ed25519 key.
func (d *disk) createKey(path string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("log key: %v", err)
	}
	data, err := keyfile.Ed25519(key)
	if err != nil {
		return fmt.Errorf("log key: %v", err)
	}
	return d.create(path, data, 0o600)
}

// createPQKey writes a new ML-DSA-44 key.
func (d *disk) createPQKey(path string) error {
	data, err := keyfile.MLDSA44(newPQSeed())
	if err != nil {
		return fmt.Errorf("log key: %v", err)
	}
	return d.create(path, data, 0o600)
}

// disk is how a Log writes; tests make single writes fail.
type disk struct {
	create func(path string, data []byte, perm fs.FileMode) error // refuses to overwrite
	write  func(path string, data []byte, perm fs.FileMode) error

	appendAt func(l *log.Log, ctx context.Context, index uint64, leaf []byte) error
}
