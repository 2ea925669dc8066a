// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"crypto/ed25519"
	"errors"
	"slices"
)

// A Signer is a log's key. Ed25519 signing is deterministic: the same tree
// always gets the same signature, so signing again after a crash is harmless.
type Signer struct {
	origin string
	key    ed25519.PrivateKey
}

// NewSigner makes a log of this origin from its key.
func NewSigner(origin string, key ed25519.PrivateKey) (*Signer, error) {
	if !validOrigin(origin) || len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("log signer: unusable origin or key")
	}
	return &Signer{origin, slices.Clone(key)}, nil
}

// VKey is the verifier key to put into [Trust.LogKey].
func (s *Signer) VKey() string { return formatVKey(s.origin, s.typed()) }

// Origin is the log's name.
func (s *Signer) Origin() string { return s.origin }

func (s *Signer) typed() []byte {
	return append([]byte{algEd25519}, s.key.Public().(ed25519.PublicKey)...)
}

// Sign makes the log's note over a tree, with no cosignature yet. Whoever calls
// it must have made the leaves durable: a signed tree can never be taken back.
func (s *Signer) Sign(size uint64, root [32]byte) []byte {
	text := formatText(s.origin, size, root)
	return appendSignature(append(slices.Clone(text), '\n'),
		signature{s.origin, keyHash(s.origin, s.typed()), ed25519.Sign(s.key, text)})
}
