// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency_test

import (
	"fmt"
	"testing"

	"github.com/sotto-project/sotto/transparency"
)

// TestTwoWorldsNeedWhoIsInBothQuorums: two quorums of q among n witnesses share at
// least 2q-n. An honest witness signs one history, so two worlds verify as soon
// as that many sign both and the log shows each of the others one of them: one of
// three where two are asked for. docs/design/0015-witnesses.md says what follows.
func TestTwoWorldsNeedWhoIsInBothQuorums(t *testing.T) {
	for n := 1; n <= 5; n++ {
		tr := &transparency.Trust{Origin: origin, LogKey: trust(t).LogKey}
		for i := range n {
			tr.Witnesses = append(tr.Witnesses, witness(t, fmt.Sprintf("w%d.example", i)).VKey())
		}
		for q := 1; q <= n; q++ {
			tr.Quorum = q
			for hostile := 0; hostile <= n; hostile++ {
				if got, want := splits(t, tr, hostile), hostile >= 2*q-n; got != want {
					t.Errorf("%d of %d, %d hostile: two worlds %v, want %v", q, n, hostile, got, want)
				}
			}
		}
	}
}

// splits is whether some division of the honest witnesses has two worlds verify.
// The hostile ones, who are the first, sign both.
func splits(t *testing.T, tr *transparency.Trust, hostile int) bool {
	n := len(tr.Witnesses)
	for first := hostile; first <= n; first++ { // honest ones before this one see one world, the rest the other
		one, two := signed(t, 5), signed(t, 6)
		for i := range n {
			name := fmt.Sprintf("w%d.example", i)
			if i < first {
				one = cosign(t, one, name, noon)
			}
			if i < hostile || i >= first {
				two = cosign(t, two, name, noon)
			}
		}
		_, a := tr.ParseCheckpoint(one)
		_, b := tr.ParseCheckpoint(two)
		if a == nil && b == nil {
			return true
		}
	}
	return false
}
