// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// A Signer is a log's key, or its two: Ed25519, which everybody reads, and
// ML-DSA-44, which a quantum computer does not forge. Both sign
// deterministically: the same tree always gets the same note, so signing again
// after a crash is harmless.
type Signer struct {
	origin string
	key    ed25519.PrivateKey // nil: none
	pq     *pqKey             // nil: none
}

// NewSigner makes a log of this origin from its Ed25519 key.
func NewSigner(origin string, key ed25519.PrivateKey) (*Signer, error) {
	if len(key) == 0 {
		return nil, errors.New("log signer: no Ed25519 key")
	}
	return NewHybridSigner(origin, key, nil)
}

// NewHybridSigner makes a log of this origin from an Ed25519 key, the seed of an
// ML-DSA-44 key ([MLDSASeedSize] bytes), or both. A nil one is none: a log that
// clients are to believe has the Ed25519 key at least (C2SP tlog-tiles).
func NewHybridSigner(origin string, key ed25519.PrivateKey, pqSeed []byte) (*Signer, error) {
	if !ValidOrigin(origin) || len(key) != ed25519.PrivateKeySize && key != nil || key == nil && pqSeed == nil {
		return nil, errors.New("log signer: unusable origin or key")
	}
	s := &Signer{origin: origin, key: slices.Clone(key)}
	if pqSeed != nil {
		var err error
		if s.pq, err = newPQKey(pqSeed); err != nil {
			return nil, fmt.Errorf("log signer: %v", err)
		}
	}
	return s, nil
}

// VKey is the verifier key to put into [Trust.LogKey]; empty without an Ed25519
// key.
func (s *Signer) VKey() string {
	if s.key == nil {
		return ""
	}
	return formatVKey(s.origin, s.typed())
}

// VKeyPQ is the verifier key to put into [Trust.LogKeyPQ]; empty without an
// ML-DSA-44 key.
func (s *Signer) VKeyPQ() string {
	if s.pq == nil {
		return ""
	}
	return formatVKey(s.origin, s.pq.typed())
}

// Origin is the log's name.
func (s *Signer) Origin() string { return s.origin }

func (s *Signer) typed() []byte {
	return append([]byte{algEd25519}, s.key.Public().(ed25519.PublicKey)...)
}

// Sign makes the log's note over a tree, with no cosignature yet: a line for
// each key, Ed25519 first. Whoever calls it must have made the leaves durable: a
// signed tree can never be taken back.
func (s *Signer) Sign(size uint64, root [32]byte) []byte {
	text := formatText(s.origin, size, root)
	note := append(slices.Clone(text), '\n')
	if s.key != nil {
		note = appendSignature(note, signature{s.origin, keyHash(s.origin, s.typed()), ed25519.Sign(s.key, text)})
	}
	if s.pq != nil {
		sig, err := s.pq.sign(s.origin, 0, &Checkpoint{Origin: s.origin, Size: size, Root: root})
		if err != nil {
			panic("transparency: " + err.Error()) // the origin was checked, and nothing else can fail
		}
		note = appendSignature(note, signature{s.origin, keyHash(s.origin, s.pq.typed()), sig})
	}
	return note
}

// Verify reads a note that s itself signed, cosigned or not: its tree, if every
// key of s has signed it once. It is how a log recognises its own word.
// Refusals: [CodeFormat], [CodeOrigin], [CodeSignature].
func (s *Signer) Verify(b []byte) (*Checkpoint, error) {
	keys, err := s.verifiers()
	if err != nil {
		return nil, err
	}
	c, _, _, err := openNote(b, s.origin, keys)
	return c, err
}

func (s *Signer) verifiers() (out []note.Verifier, err error) {
	if s.key != nil {
		v, err := note.NewVerifier(s.VKey())
		if err != nil {
			return nil, Refuse(CodeTrust, "log key: %v", err)
		}
		out = append(out, v)
	}
	if s.pq != nil {
		v, _, err := pqLogVerifier(s.origin, s.VKeyPQ())
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
