// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"strings"
)

// FingerprintWords is how many words a fingerprint has, 8 bits each.
const FingerprintWords = 12

// fingerprintRounds makes each try to find two statements with one fingerprint
// cost this much more.
const fingerprintRounds = 1 << 17

// words are 256 short English words, ascending; no two begin with the same
// three letters, so that what is misheard is seldom another word of the list.
//
//go:embed words.txt
var words string

// Fingerprint is what two people read to each other to find out whether they
// see the same world: words for a log's origin, an epoch and its statement.
// Their checkpoints may differ in size. Section 9 of docs/spec/epoch.md.
func Fingerprint(origin string, epoch uint64, leafHash [32]byte) []string {
	in := append([]byte(origin), 0)
	in = binary.BigEndian.AppendUint64(in, epoch)
	in = append(in, leafHash[:]...)
	// The error is that of parameters that are none.
	sum, err := pbkdf2.Key(sha256.New, string(in), []byte("sotto epoch fingerprint v1"), fingerprintRounds, FingerprintWords)
	if err != nil {
		return nil
	}
	list := strings.Fields(words)
	out := make([]string, len(sum))
	for i, b := range sum {
		out[i] = list[b]
	}
	return out
}
