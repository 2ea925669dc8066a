// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"encoding/base64"
	"strconv"
	"strings"
)

const (
	proofHeader  = "c2sp.org/tlog-proof@v1\n"
	maxProofSize = 63 // hashes; a path in a tree of fewer than 2^63 leaves
)

// A Proof is everything needed to believe in a leaf offline (C2SP tlog-proof):
//
//	c2sp.org/tlog-proof@v1
//	index <decimal>
//	<base64 hash>            (0 to 63 lines)
//	                         (empty line)
//	<checkpoint note>
//
// The optional "extra" line of that format is refused: nothing here has a use
// for it, and unread bytes are a place to hide marks.
type Proof struct {
	Index      uint64
	Hashes     [][32]byte
	Checkpoint []byte
}

// Append prints p after b.
func (p *Proof) Append(b []byte) []byte {
	b = append(b, proofHeader+"index "...)
	b = append(strconv.AppendUint(b, p.Index, 10), '\n')
	for _, h := range p.Hashes {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	b = append(b, '\n')
	return append(b, p.Checkpoint...)
}

// ParseProof reads exactly one proof. It checks the checkpoint's spelling, not
// its signatures. Refusal: [CodeFormat].
func ParseProof(b []byte) (*Proof, error) {
	if len(b) > MaxNoteSize+(maxProofSize+2)*48 {
		return nil, Refuse(CodeFormat, "proof: %d bytes", len(b))
	}
	s, ok := strings.CutPrefix(string(b), proofHeader+"index ")
	head, checkpoint, ok2 := strings.Cut(s, "\n\n")
	lines := strings.Split(head, "\n")
	index, ok3 := parseDecimal(lines[0])
	if !ok || !ok2 || !ok3 || len(lines) > 1+maxProofSize {
		return nil, Refuse(CodeFormat, "proof: header, index or number of hashes")
	}
	p := &Proof{Index: index, Checkpoint: []byte(checkpoint)}
	for _, line := range lines[1:] {
		h, ok := decodeBase64(line)
		if !ok || len(h) != 32 {
			return nil, Refuse(CodeFormat, "proof: hash %d", len(p.Hashes))
		}
		p.Hashes = append(p.Hashes, [32]byte(h))
	}
	text, _, err := parseNote(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	if _, err := parseText(string(text)); err != nil {
		return nil, err
	}
	return p, nil
}
