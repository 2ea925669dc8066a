// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency_test

import (
	"fmt"
	"testing"

	"github.com/sotto-project/sotto/transparency"
)

// TestSplitNeeds: with as many liars as it says two worlds verify, and with one
// fewer none do, for every quorum of up to five witnesses, however the honest ones
// are divided. AT-48.
func TestSplitNeeds(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for q := 1; q <= n; q++ {
			t.Run(fmt.Sprintf("AT-48/%d of %d", q, n), func(t *testing.T) {
				tr := trust(t)
				tr.Witnesses, tr.Quorum = nil, q
				for i := range n {
					tr.Witnesses = append(tr.Witnesses, witness(t, fmt.Sprintf("w%d.example", i)).VKey())
				}
				need := tr.SplitNeeds()
				if want := max(0, 2*q-n); need != want {
					t.Errorf("says %d, want %d", need, want)
				}
				for liars := range n + 1 {
					if got := twoWorlds(t, tr, liars); got != (liars >= need) {
						t.Errorf("%d liars: two worlds %v, and it says %d", liars, got, need)
					}
				}
			})
		}
	}
	tr := trust(t)
	tr.Witnesses, tr.Quorum = tr.Witnesses[:1], 2
	if (&transparency.Trust{}).SplitNeeds() != 0 || tr.SplitNeeds() != 0 || (*transparency.Trust)(nil).SplitNeeds() != 0 {
		t.Error("a trust that cannot be used promises something")
	}
}

// A second key of a witness is no second witness.
func TestSplitNeedsCountsNames(t *testing.T) {
	tr := trust(t)
	tr.Witnesses = []string{witness(t, "a.example").VKey(), witness(t, "b.example").VKey(), witness(t, "c.example").VKey(), pqWitness(t, "a.example").VKey()}
	tr.Quorum = 2
	if n := tr.SplitNeeds(); n != 1 {
		t.Errorf("2 of 3 with a second key: %d", n)
	}
}

// twoWorlds is whether two roots of one size both verify when the first witnesses
// lie, and each of the others signs one of them.
func twoWorlds(t *testing.T, tr *transparency.Trust, liars int) bool {
	t.Helper()
	n, s := len(tr.Witnesses), signer(t, origin)
	for part := liars; part <= n; part++ {
		a, b := s.Sign(5, [32]byte{1}), s.Sign(5, [32]byte{2})
		for i := range n {
			name := fmt.Sprintf("w%d.example", i)
			if i < part {
				a = cosign(t, a, name, noon)
			}
			if i < liars || i >= part {
				b = cosign(t, b, name, noon)
			}
		}
		_, errA := tr.ParseCheckpoint(a)
		_, errB := tr.ParseCheckpoint(b)
		if errA == nil && errB == nil {
			return true
		}
	}
	return false
}
