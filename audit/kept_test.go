// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/statement"
)

// TestOneForkIsKeptOnce is AT-48 against the auditor's disk: new cosignatures each
// minute, and lines that a mirror adds, make no second file and no second alarm;
// new forks make sixteen.
func TestOneForkIsKeptOnce(t *testing.T) {
	k := newKeys(t)
	kept := func(r *rig) []string {
		files, err := filepath.Glob(filepath.Join(r.cfg.Dir, "evidence", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	t.Run("AT-48 cosigned anew each minute, with lines that nobody knows", func(t *testing.T) {
		leaves := chain(t, 5, nil)
		m1, m2 := k.mirror("one.invalid", leaves...), k.mirror("two.invalid", grow(t, leaves[:4], edited)...)
		m2.onStatement = func(epoch uint64, _ []byte) []byte { return m1.signed(epoch) }
		r := newRig(t, k, m1, m2)
		honest := m1.sign
		for i := range 5 {
			junk := fmt.Sprintf("— stranger.invalid AAAAA%dAA\n", i)
			for _, m := range []*fakeMirror{m1, m2} {
				m.edit(func() {
					m.at = r.now
					m.sign = func(size uint64, root [32]byte, at time.Time) []byte {
						return append(honest(size, root, at), junk...)
					}
				})
			}
			if r.mustStep(); i == 0 {
				r.want(LogFork)
			} else {
				r.want()
			}
			r.now = r.now.Add(time.Minute)
		}
		files := kept(r)
		if len(files) != 1 {
			t.Fatalf("%q", files)
		}
		r.evidence("roots") // it still convinces
		if b, err := os.ReadFile(files[0]); err != nil || bytes.Contains(b, []byte("stranger")) {
			t.Errorf("%v\n%s", err, b)
		}
	})
	t.Run("AT-48 a new fork each time", func(t *testing.T) {
		leaves := chain(t, 3, nil)
		m1, m2 := k.mirror("one.invalid", leaves...), k.mirror("two.invalid")
		m2.onStatement = func(epoch uint64, _ []byte) []byte { return m1.signed(epoch) }
		r := newRig(t, k, m1, m2)
		for i := range maxKept + 3 {
			m2.edit(func() {
				m2.leaves, m2.tree = grow(t, leaves[:2], func(s *statement.Statement) { s.TicketKey = []byte{byte(i)} }), nil
			})
			r.mustStep()
		}
		if n := len(kept(r)); n != maxKept || len(r.told) != maxKept {
			t.Errorf("%d files, %d told", n, len(r.told))
		}
	})
}
