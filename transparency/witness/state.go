// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/transparency"
)

const stateHeader = "sotto witness state 1\ntime "

// A state is what a witness remembers of one log:
//
//	sotto witness state 1
//	time <second of the last cosignature>
//	                         (empty line)
//	<note: the log's own signatures, then ours>
type state struct {
	time int64
	cp   *transparency.Checkpoint
}

func (s *state) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, stateHeader...), s.time, 10)
	b = append(b, "\n\n"...)
	return append(b, s.cp.Note...)
}

// parseState refuses what is not whole: a witness that took a damaged memory
// for none would sign a second history.
func parseState(b []byte, origin string) (*state, error) {
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
