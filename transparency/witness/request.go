// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/transparency"
)

// Bounds of a request (C2SP tlog-witness, add-checkpoint).
const (
	// MaxProof is how many hashes a consistency proof may have.
	MaxProof = 63
	// hashLine is a hash in base64 and its line feed, in bytes.
	hashLine = 45
	// MaxRequest is the longest request in bytes: "old ", 20 digits, a line
	// feed, the proof, an empty line and the largest note.
	MaxRequest = 4 + 20 + 1 + MaxProof*hashLine + 1 + transparency.MaxNoteSize
)

// A Request asks for cosignatures:
//
//	old <size of the last checkpoint that this witness signed>
//	<base64 hash>            (0 to 63 lines)
//	                         (empty line)
//	<checkpoint note>
type Request struct {
	Old   uint64
	Proof [][32]byte
	Note  []byte // verified by nobody yet
}

// Append prints r after b.
func (r *Request) Append(b []byte) []byte {
	b = strconv.AppendUint(append(b, "old "...), r.Old, 10)
	b = append(b, '\n')
	for _, h := range r.Proof {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	b = append(b, '\n')
	return append(b, r.Note...)
}

// ParseRequest reads exactly one request in its one spelling: what it accepts,
// [Request.Append] prints back. It checks the note's spelling, not its
// signatures. Refusal: [CodeRequest].
func ParseRequest(b []byte) (*Request, error) {
	if len(b) > MaxRequest {
		return nil, refuse(CodeRequest, "%d bytes", len(b))
	}
	head, note, ok := strings.Cut(string(b), "\n\n")
	lines := strings.Split(head, "\n")
	digits, ok2 := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseUint(digits, 10, 64)
	if !ok || !ok2 || err != nil || strconv.FormatUint(old, 10) != digits {
		return nil, refuse(CodeRequest, "the first line is not the old size, or no empty line follows")
	}
	if len(lines) > 1+MaxProof {
		return nil, refuse(CodeRequest, "%d hashes", len(lines)-1)
	}
	r := &Request{Old: old, Note: []byte(note)}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != 32 || len(line)+1 != hashLine {
			return nil, refuse(CodeRequest, "hash %d", len(r.Proof)+1)
		}
		r.Proof = append(r.Proof, [32]byte(h))
	}
	if _, err := transparency.ReadUnverified(r.Note); err != nil {
		return nil, refuse(CodeRequest, "%v", err)
	}
	return r, nil
}
