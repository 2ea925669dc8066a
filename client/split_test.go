// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/transparency/publish"
)

// TestASplitThatNeedsNobody: AT-48: where two quorums of a trust need not share a
// witness, the report names that as a gap.
func TestASplitThatNeedsNobody(t *testing.T) {
	w := clienttest.Start(t, 3)
	for name, c := range map[string]struct {
		others int
		gap    bool
	}{"AT-48/1 of 1": {0, false}, "AT-48/1 of 2": {1, true}} {
		t.Run(name, func(t *testing.T) {
			r, err := w.Client(func(cfg *config) {
				cfg.Trust.Witnesses = slices.Clone(cfg.Trust.Witnesses)
				for range c.others {
					keys, err := publish.GenerateKeys("another.example/log")
					if err != nil {
						t.Fatal(err)
					}
					cfg.Trust.Witnesses = append(cfg.Trust.Witnesses, keys.Trust().Witnesses...)
				}
			}).Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(strings.Join(r.Gaps, "\n"), "a split needs 0 of these witnesses to lie"); got != c.gap || r.Log.Split == 0 != c.gap {
				t.Errorf("gaps %q, split %d", r.Gaps, r.Log.Split)
			}
		})
	}
}
