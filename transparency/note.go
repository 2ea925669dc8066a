// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a checkpoint note. Sixteen ML-DSA-44 cosignatures fit.
const (
	MaxNoteSize   = 1<<16 - 1
	maxSignatures = 16
	maxNameSize   = 255     // C2SP tlog-cosignature: opaque cosigner_name<1..2^8-1>
	maxTreeSize   = 1 << 48 // epochs; far below what tlog's int64 holds
)

// A signature is one line under a note's text (C2SP signed-note):
//
//	em dash (U+2014), space, key name, space, base64(key id[4] || signature)
type signature struct {
	name string
	hash uint32
	sig  []byte
}

// parseNote splits a signed note into its text, with the final newline, and
// its signatures. It accepts one spelling only: golang.org/x/mod's note.Open
// tolerates slack in the base64 and drops doubled signatures, either of which
// would let a mirror make many notes, with many hashes, out of one.
func parseNote(b []byte) (text []byte, sigs []signature, err error) {
	if len(b) > MaxNoteSize || !utf8.Valid(b) {
		return nil, nil, Refuse(CodeFormat, "note: larger than %d bytes or not UTF-8", MaxNoteSize)
	}
	i := bytes.LastIndex(b, []byte("\n\n"))
	if i < 0 {
		return nil, nil, Refuse(CodeFormat, "note: no empty line before the signatures")
	}
	text, rest := b[:i+1], string(b[i+2:])
	for _, r := range string(text) {
		if r < ' ' && r != '\n' || r == 0x7f {
			return nil, nil, Refuse(CodeFormat, "note: control character in the text")
		}
	}
	for rest != "" {
		line, after, ok := strings.Cut(rest, "\n")
		s, good := parseSignature(line)
		if !ok || !good || len(sigs) == maxSignatures {
			return nil, nil, Refuse(CodeFormat, "note: signature line %d", len(sigs)+1)
		}
		sigs, rest = append(sigs, s), after
	}
	if len(sigs) == 0 {
		return nil, nil, Refuse(CodeFormat, "note: no signature")
	}
	return text, sigs, nil
}

func parseSignature(line string) (s signature, ok bool) {
	rest, ok := strings.CutPrefix(line, "— ")
	name, b64, ok2 := strings.Cut(rest, " ")
	raw, ok3 := decodeBase64(b64)
	if !ok || !ok2 || !ok3 || !validName(name) || len(raw) < 5 {
		return signature{}, false
	}
	return signature{name: name, hash: binary.BigEndian.Uint32(raw), sig: raw[4:]}, true
}

// appendSignature prints the line that parseSignature reads.
func appendSignature(note []byte, s signature) []byte {
	raw := append(binary.BigEndian.AppendUint32(nil, s.hash), s.sig...)
	note = append(note, "— "+s.name+" "...)
	note = base64.StdEncoding.AppendEncode(note, raw)
	return append(note, '\n')
}

// decodeBase64 accepts the one standard spelling: the standard library skips
// line breaks and, unless strict, ignores stray bits before the padding.
func decodeBase64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && !strings.ContainsAny(s, "\r\n")
}

// parseDecimal accepts digits without sign or leading zeros.
func parseDecimal(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}

// validName reports whether s can name a key (C2SP signed-note).
func validName(s string) bool {
	return s != "" && len(s) <= maxNameSize && utf8.ValidString(s) &&
		strings.IndexFunc(s, unicode.IsSpace) < 0 && !strings.Contains(s, "+")
}

// ValidOrigin reports whether s can be a log's origin, which is also the name
// of its key.
func ValidOrigin(s string) bool {
	return validName(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}
