// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/transparency"
)

const (
	stateHeader = "sotto witness state 1\ntime "
	emptyHeader = "sotto witness state 1\nempty "
)

// A state is what a witness remembers of one log:
//
//	sotto witness state 1
//	time <second of the last cosignature>
//	                         (empty line)
//	<note: the log's own signatures, then ours>
//
// or, of a log that it has signed nothing of, the empty tree:
//
//	sotto witness state 1
//	empty <origin>
type state struct {
	time int64
	cp   *transparency.Checkpoint
}

// emptyState is what is remembered of a log when it is added. It is written down:
// a memory that is not there would otherwise look the same as one that was lost.
func emptyState(origin string) *state {
	return &state{cp: &transparency.Checkpoint{Origin: origin, Root: sha256.Sum256(nil)}}
}

func (s *state) append(b []byte) []byte {
	if s.time == 0 {
		return append(append(b, emptyHeader...), s.cp.Origin+"\n"...)
	}
	b = strconv.AppendInt(append(b, stateHeader...), s.time, 10)
	b = append(b, "\n\n"...)
	return append(b, s.cp.Note...)
}

// parseState refuses what is not whole: a witness that took a damaged memory
// for none would sign a second history.
func parseState(b []byte, origin string) (*state, error) {
	if empty := emptyState(origin); bytes.Equal(b, empty.append(nil)) {
		return empty, nil
	}
	rest, ok := strings.CutPrefix(string(b), stateHeader)
	digits, note, ok2 := strings.Cut(rest, "\n\n")
	sec, err := strconv.ParseInt(digits, 10, 64)
	if !ok || !ok2 || err != nil || sec <= 0 {
		return nil, fmt.Errorf("state of %q: damaged", origin)
	}
	cp, err := transparency.ReadUnverified([]byte(note))
	if err != nil {
		return nil, fmt.Errorf("state of %q: %v", origin, err)
	}
	s := &state{sec, cp}
	if cp.Origin != origin || !bytes.Equal(s.append(nil), b) {
		return nil, fmt.Errorf("state of %q: damaged, or of %q", origin, cp.Origin)
	}
	return s, nil
}

func (s *state) when() time.Time { return time.Unix(s.time, 0).UTC() }
