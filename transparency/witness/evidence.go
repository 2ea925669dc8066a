// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/transparency"
)

const evidenceHeader = "sotto fork evidence 1\nfirst "

// appendEvidence prints two notes that a log signed, of one size and with two
// roots:
//
//	sotto fork evidence 1
//	first <length of the first note in bytes>
//	                         (empty line)
//	<first note><second note>
func appendEvidence(b, first, second []byte) []byte {
	b = strconv.AppendInt(append(b, evidenceHeader...), int64(len(first)), 10)
	b = append(b, "\n\n"...)
	return append(append(b, first...), second...)
}

// ParseEvidence reads a file of the evidence folder and judges it: both notes
// must be by the log that key belongs to, and contradict each other. The error
// is nil only if the log is convicted.
func ParseEvidence(b []byte, key *transparency.LogKey) (first, second *transparency.Checkpoint, err error) {
	rest, ok := strings.CutPrefix(string(b), evidenceHeader)
	digits, notes, ok2 := strings.Cut(rest, "\n\n")
	n, err := strconv.Atoi(digits)
	if !ok || !ok2 || err != nil || n < 0 || n > len(notes) || strconv.Itoa(n) != digits {
		return nil, nil, fmt.Errorf("fork evidence: damaged")
	}
	if first, err = key.ParseCheckpoint([]byte(notes[:n])); err != nil {
		return nil, nil, fmt.Errorf("fork evidence: first note: %w", err)
	}
	if second, err = key.ParseCheckpoint([]byte(notes[n:])); err != nil {
		return nil, nil, fmt.Errorf("fork evidence: second note: %w", err)
	}
	if first.Size != second.Size || first.Root == second.Root {
		return nil, nil, fmt.Errorf("fork evidence: the notes do not contradict each other")
	}
	return first, second, nil
}
