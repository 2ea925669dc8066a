// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"testing"
	"time"
)

// two mirrors that serve the same.
func pair(k *testKeys, leaves [][]byte) (*fakeMirror, *fakeMirror) {
	return k.mirror("one.invalid", leaves...), k.mirror("two.invalid", leaves...)
}

func TestAnHonestLogIsQuiet(t *testing.T) {
	for _, n := range []int{1, 2, 255, 256, 257, 1023, 1024, 1025, 2100} {
		k := newKeys(t)
		m1, m2 := pair(k, chain(t, n, nil))
		r := newRig(t, k, m1, m2)
		r.now = begin.Add(time.Duration(n-1) * time.Hour).Add(-30 * time.Minute)
		m1.at, m2.at = r.now, r.now
		r.mustStep().want()
		s := r.a.state
		if s.Next != uint64(n) || s.Totals.Leaves != uint64(n) || s.Totals.Compared != uint64(n)+min(uint64(n), 1024) {
			t.Errorf("%d leaves: %+v", n, s.Totals)
		}
		// Opened anew there is nothing left to do, and nothing counted twice.
		r.open().mustStep().want()
		if r.a.state.Totals.Leaves != uint64(n) {
			t.Errorf("%d leaves: %+v", n, r.a.state.Totals)
		}
	}
}
