// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"bytes"

	"golang.org/x/mod/sumdb/note"
)

// A LogKey verifies what one log signs, whoever has cosigned it. It is what a
// witness has of a log. A reader, who wants witnesses, has a [Trust] instead:
// a checkpoint from here has no time and passes no [Checkpoint.CheckAge].
type LogKey struct {
	origin string
	keys   []note.Verifier
}

// NewLogKey reads a log's verifier keys: vkey is Ed25519 (type 0x01), pq, if
// not empty, ML-DSA-44 (type 0x06). Both must be named origin. With both, both
// must have signed. Refusal: [CodeTrust].
func NewLogKey(origin, vkey, pq string) (*LogKey, error) {
	name, alg, _, ok := parseVKey(vkey)
	if !ValidOrigin(origin) || !ok || name != origin || alg != algEd25519 {
		return nil, Refuse(CodeTrust, "log key: not an Ed25519 verifier key named %q", origin)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, Refuse(CodeTrust, "log key: %v", err)
	}
	k := &LogKey{origin, []note.Verifier{v}}
	if pq == "" {
		return k, nil
	}
	w, _, err := pqLogVerifier(origin, pq)
	if err != nil {
		return nil, err
	}
	k.keys = append(k.keys, w)
	return k, nil
}

// Origin is the log's name.
func (k *LogKey) Origin() string { return k.origin }

// ParseCheckpoint verifies a note of this log: canonical spelling, the origin,
// and by each of the log's keys exactly one signature, which verifies. Other
// signatures are ignored. Refusals: [CodeFormat], [CodeOrigin],
// [CodeSignature].
func (k *LogKey) ParseCheckpoint(b []byte) (*Checkpoint, error) {
	c, _, _, err := openNote(b, k.origin, k.keys)
	return c, err
}

// Strip is the note of c with the log's own signature lines only: what others
// added is nobody's word, and would be a place to make it large.
func (k *LogKey) Strip(c *Checkpoint) ([]byte, error) {
	text, sigs, err := parseNote(c.Note)
	if err != nil {
		return nil, err
	}
	out := append(bytes.Clone(text), '\n')
	for _, v := range k.keys {
		out = appendSignature(out, signature{v.Name(), v.KeyHash(), find(v, sigs)})
	}
	return out, nil
}

// ReadUnverified reads a note without asking who signed it: to learn whose keys
// to verify it with, or to read back what was verified before it was stored.
// Refusal: [CodeFormat].
func ReadUnverified(b []byte) (*Checkpoint, error) {
	c, _, _, err := readNote(b)
	return c, err
}
