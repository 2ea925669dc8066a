// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
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

// A Cosigner puts times on checkpoints (C2SP tlog-cosignature, Ed25519). It
// keeps no state: that it saw the tree grow without rewriting is for the
// witness around it to ensure, and a cosigner run by the log's own operator
// is only a clock.
type Cosigner struct {
	name string
	key  ed25519.PrivateKey
}

// NewCosigner makes a cosigner of this name from its key.
func NewCosigner(name string, key ed25519.PrivateKey) (*Cosigner, error) {
	if !validName(name) || len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("cosigner: unusable name or key")
	}
	return &Cosigner{name, slices.Clone(key)}, nil
}

// VKey is the verifier key to put into [Trust.Witnesses].
func (c *Cosigner) VKey() string { return formatVKey(c.name, c.typed()) }

func (c *Cosigner) typed() []byte {
	return append([]byte{algCosignV1}, c.key.Public().(ed25519.PublicKey)...)
}

// Cosign returns note with c's signature line for the second in which now lies
// appended. The message signed is:
//
//	cosignature/v1
//	time <seconds since 1970>
//	<the note's text>
//
// It does not verify note; it refuses one that is not canonical, or that it
// has cosigned before, as [CodeFormat].
func (c *Cosigner) Cosign(note []byte, now time.Time) ([]byte, error) {
	text, sigs, err := parseNote(note)
	if err != nil {
		return nil, err
	}
	if _, err := parseText(string(text)); err != nil {
		return nil, err
	}
	hash := keyHash(c.name, c.typed())
	for _, s := range sigs {
		if s.name == c.name && s.hash == hash {
			return nil, Refuse(CodeFormat, "note: already cosigned by %q", c.name)
		}
	}
	sec := now.Unix()
	if sec <= 0 {
		return nil, Refuse(CodeWitness, "cosign: the clock stands at or before 1970")
	}
	msg := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", sec, text)
	sig := append(binary.BigEndian.AppendUint64(nil, uint64(sec)), ed25519.Sign(c.key, msg)...)
	return appendSignature(slices.Clone(note), signature{c.name, hash, sig}), nil
}
