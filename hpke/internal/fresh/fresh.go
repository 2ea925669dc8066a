// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package fresh draws the secrets and nonces of the sealed request. It is not a
// random number generator: it mixes what the system's gives with a counter, so
// that two messages differ even if the generator repeats itself, and it stops
// for good when the generator is seen to fail.
package fresh

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"sync"

	"github.com/sotto-project/sotto/hpke"
)

// System is the one Source of a process. It is a package variable, against the
// habit of this module, because a counter that can exist twice does not count.
var System = New(rand.Reader)

// A Source draws 32-byte values. It may be used by many goroutines.
type Source struct {
	mu      sync.Mutex // guards all below
	random  io.Reader
	counter uint64
	last    [32]byte
	failed  bool
}

// New returns a Source over a random number generator; only tests need another
// than System.
func New(random io.Reader) *Source { return &Source{random: random} }

// Draw returns
//
//	SHA-256(label || 0 || uint64 epoch || uint64 counter || random[32] || SHA-256(hedge))
//
// where counter is different for every call in the life of the process, and
// hedge is anything the caller has that differs from message to message.
//
// A generator that fails, that gives the same 32 bytes twice in a row, or 32
// equal bytes, is [hpke.ErrRandomness], for this call and every later one.
func (s *Source) Draw(label string, epoch uint64, hedge []byte) ([32]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var block [32]byte
	if s.failed {
		return [32]byte{}, hpke.ErrRandomness
	}
	if _, err := io.ReadFull(s.random, block[:]); err != nil || constant(&block) {
		s.failed = true
		return [32]byte{}, hpke.ErrRandomness
	}
	// The digest is enough to see a repetition, and is not the secret.
	digest := sha256.Sum256(block[:])
	if digest == s.last {
		s.failed = true
		return [32]byte{}, hpke.ErrRandomness
	}
	s.last = digest
	s.counter++

	mixed := make([]byte, 0, 192)
	mixed = append(append(mixed, label...), 0)
	mixed = binary.BigEndian.AppendUint64(mixed, epoch)
	mixed = binary.BigEndian.AppendUint64(mixed, s.counter)
	mixed = append(mixed, block[:]...)
	h := sha256.Sum256(hedge)
	mixed = append(mixed, h[:]...)
	out := sha256.Sum256(mixed)
	clear(mixed)
	clear(block[:])
	return out, nil
}

func constant(b *[32]byte) bool {
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}
