// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A Cosigner puts times on checkpoints (C2SP tlog-cosignature). It keeps no
// state: that it saw the tree grow without rewriting is for the witness around
// it to ensure, and a cosigner run by the log's own operator is only a clock.
type Cosigner struct {
	name  string
	typed []byte                                                       // signature type and public key
	sign  func(text []byte, c *Checkpoint, sec uint64) ([]byte, error) // the time in front included
}

// NewCosigner makes an Ed25519 cosigner (cosignature/v1, type 0x04) from its
// key. The message signed is
//
//	cosignature/v1
//	time <seconds since 1970>
//	<the note's text>
//
// which does not hold the name: a key must serve one name only.
func NewCosigner(name string, key ed25519.PrivateKey) (*Cosigner, error) {
	if !validName(name) || len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("cosigner: unusable name or key")
	}
	key = slices.Clone(key)
	return &Cosigner{
		name:  name,
		typed: append([]byte{algCosignV1}, key.Public().(ed25519.PublicKey)...),
		sign: func(text []byte, _ *Checkpoint, sec uint64) ([]byte, error) {
			sig := ed25519.Sign(key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", sec, text))
			return append(binary.BigEndian.AppendUint64(nil, sec), sig...), nil
		},
	}, nil
}

// NewMLDSACosigner makes an ML-DSA-44 cosigner (type 0x06) from the seed of its
// key. The message signed is the subtree [0, size) of the log, as a log's own
// ML-DSA-44 signature is, with a time. Signing is deterministic, as Ed25519's is: the time is part
// of the message, and nothing here draws random numbers.
func NewMLDSACosigner(name string, seed []byte) (*Cosigner, error) {
	if !validName(name) {
		return nil, errors.New("cosigner: unusable name or key")
	}
	key, err := newPQKey(seed)
	if err != nil {
		return nil, errors.New("cosigner: unusable name or key")
	}
	return &Cosigner{
		name:  name,
		typed: key.typed(),
		sign:  func(_ []byte, c *Checkpoint, sec uint64) ([]byte, error) { return key.sign(name, sec, c) },
	}, nil
}

// Name is the cosigner's name. Keys with one name are one witness.
func (c *Cosigner) Name() string { return c.name }

// VKey is the verifier key to put into [Trust.Witnesses].
func (c *Cosigner) VKey() string { return formatVKey(c.name, c.typed) }

// Cosign returns note with c's signature line for the second in which now lies
// appended. It does not verify note; it refuses one that is not canonical, or
// that it has cosigned before, as [CodeFormat], and a time at or before 1970,
// which would say nothing about time, as [CodeWitness].
func (c *Cosigner) Cosign(note []byte, now time.Time) ([]byte, error) {
	_, sigs, err := parseNote(note)
	if err != nil {
		return nil, err
	}
	hash := keyHash(c.name, c.typed)
	for _, s := range sigs {
		if s.name == c.name && s.hash == hash {
			return nil, Refuse(CodeFormat, "note: already cosigned by %q", c.name)
		}
	}
	line, err := c.Line(note, now)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(note), line...), nil
}

// Line is the signature line alone that [Cosigner.Cosign] appends, ending in a
// line feed. Signatures that note has already do not matter to it: a witness
// is asked again and again for a new time on the same checkpoint.
func (c *Cosigner) Line(note []byte, now time.Time) ([]byte, error) {
	cp, text, _, err := readNote(note)
	if err != nil {
		return nil, err
	}
	sec := now.Unix()
	if sec <= 0 || sec >= maxTime {
		return nil, Refuse(CodeWitness, "cosign: the clock stands at or before 1970, or tens of thousands of years on")
	}
	sig, err := c.sign(text, cp, uint64(sec))
	if err != nil {
		return nil, Refuse(CodeWitness, "cosign: %v", err)
	}
	return appendSignature(nil, signature{c.name, keyHash(c.name, c.typed), sig}), nil
}

// A CosignerKey verifies the lines of one cosigner, of either kind.
type CosignerKey struct{ v note.Verifier }

// ParseCosignerKey reads a verifier key of type 0x04 or 0x06. Refusal:
// [CodeTrust].
func ParseCosignerKey(vkey string) (*CosignerKey, error) {
	v, _, err := witnessVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return &CosignerKey{v}, nil
}

// Name is the cosigner's name.
func (k *CosignerKey) Name() string { return k.v.Name() }

// Pick finds k's one signature line in a witness's answer, a list of signature
// lines, and verifies it as a cosignature of note. Lines by other keys are
// ignored, as C2SP tlog-witness asks. Refusals: [CodeFormat] for an answer that
// is no list of signature lines, [CodeWitness] for a line that is absent,
// doubled, wrong or without a time.
func (k *CosignerKey) Pick(note, answer []byte) (line []byte, at time.Time, err error) {
	text, _, err := parseNote(note)
	if err != nil {
		return nil, time.Time{}, err
	}
	rest := string(answer)
	if len(rest) > MaxNoteSize {
		return nil, time.Time{}, Refuse(CodeFormat, "cosignatures: %d bytes", len(rest))
	}
	var sigs []signature
	for rest != "" {
		one, after, ok := strings.Cut(rest, "\n")
		s, good := parseSignature(one)
		if !ok || !good || len(sigs) == maxSignatures {
			return nil, time.Time{}, Refuse(CodeFormat, "cosignatures: line %d", len(sigs)+1)
		}
		sigs, rest = append(sigs, s), after
	}
	if found, good := verifyOne(k.v, text, sigs); !good {
		return nil, time.Time{}, Refuse(CodeWitness, "%d lines by %q, want one that verifies", found, k.Name())
	}
	sig := find(k.v, sigs)
	at, ok := cosignTime(sig)
	if !ok {
		return nil, time.Time{}, Refuse(CodeWitness, "%q gives no usable time", k.Name())
	}
	return appendSignature(nil, signature{k.v.Name(), k.v.KeyHash(), sig}), at, nil
}
