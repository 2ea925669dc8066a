// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package linking_test

import (
	"os"
	"testing"

	"github.com/sotto-project/sotto/lab/linking"
)

// The bounds, in share of first guesses over chance, for as many questions as a
// short play has: docs/linking.md has those of a long one. What a relay adds is the sizes
// of requests, which it and a node both know.
var bounds = map[linking.Question]float64{linking.Who: 0.04, linking.Parent: 0.15, linking.Sibling: 0.04}

const (
	withRelay = 0.08
	// inside is how far from one half a coalition may rank what is alike.
	inside = 0.15
)

func run(t *testing.T, s linking.Linking) *linking.Result {
	t.Helper()
	// In memory where there is a file system for it: thousands of small commits
	// measure a disk.
	if d, err := os.MkdirTemp("/dev/shm", "sotto-linking-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(d) })
		s.Dir = d
	} else {
		s.Dir = t.TempDir()
	}
	r, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCoalitionsDoNotLink: CT-12 and CT-13, and CT-20 as far as logs go: no
// coalition's pooled logs link a purchase to a spend, a spend to the spend of its
// change, or two requests, by more than the bound over chance.
func TestCoalitionsDoNotLink(t *testing.T) {
	t.Parallel()
	s := linking.Linking{Clients: 200, Epochs: 2, Seed: 1}
	if testing.Short() {
		s.Clients = 60
	}
	r := run(t, s)
	if len(r.Logs) != 41 {
		t.Errorf("%d rows", len(r.Logs))
	}
	for _, row := range r.Logs {
		bound := bounds[row.Question]
		if row.Coalition&linking.Relay != 0 {
			bound = max(bound, withRelay)
		}
		if testing.Short() {
			bound *= 4
		}
		if row.Asked == 0 && row.Question != linking.Parent {
			t.Errorf("%s: nothing was asked", row.Name)
		}
		if row.Advantage() > bound && row.Hits > 3/float64(row.Asked)+row.Chance {
			t.Errorf("%s by %s: %.1f %% right by %.1f %% chance, up to %.1f points over it; the bound is %.1f", row.Name, row.Parts, 100*row.Hits, 100*row.Chance, 100*row.Advantage(), 100*bound)
		}
		if row.Matched >= 100 && (row.Inside > 0.5+inside || row.Inside < 0.5-inside) {
			t.Errorf("%s by %s: inside the crowd %.3f", row.Name, row.Parts, row.Inside)
		}
	}
}

// TestBrokenWalletsAreLinked is the control: the same attackers find what a
// wallet with a fault shows.
func TestBrokenWalletsAreLinked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id       string
		flaw     linking.Flaw
		question linking.Question
		by       linking.Part
		least    float64
	}{
		{"CT-12: a reused blank", linking.ReusedBlank, linking.Sibling, linking.Gateway, 0.9},
		{"CT-13: odd amounts", linking.OddAmount, linking.Who, linking.Gateway | linking.Identified, 0.9},
		{"CT-13: odd change", linking.OddSplit, linking.Parent, linking.Anonymous, 0.5},
		{"CT-14: a keyset of its own", linking.OldKeyset, linking.Who, linking.Anonymous | linking.Identified, 0.9},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			r := run(t, linking.Linking{Clients: 16, Epochs: 2, Requests: 4, Seed: 2, Flaw: c.flaw})
			for _, row := range r.Logs {
				if row.Question == c.question && row.Coalition == c.by {
					if row.Asked < 10 || row.Hits < c.least {
						t.Errorf("%s by %s: %.1f %% of %d right", row.Name, row.Parts, 100*row.Hits, row.Asked)
					}
					return
				}
			}
			t.Error("not asked")
		})
	}
}

// TestClocks: CT-20. Ports that share a clock finer than the epoch see which
// request a purchase follows, as long as wallets order when a request is over.
func TestClocks(t *testing.T) {
	t.Parallel()
	s := linking.Linking{Clients: 60, Epochs: 3, Seed: 3}
	at := linking.Worst(run(t, s).Live, linking.Who)
	s.Wait = true
	waits := linking.Worst(run(t, s).Live, linking.Who)
	if at.Hits < 1.5*waits.Hits {
		t.Errorf("at once %.1f %%, waiting %.1f %%", 100*at.Hits, 100*waits.Hits)
	}
}

func TestAtItsBounds(t *testing.T) {
	for name, s := range map[string]linking.Linking{
		"nobody": {Clients: 1}, "too many": {Clients: 20_000}, "one epoch": {Epochs: 1}, "no requests": {Requests: -1}, "another flaw": {Flaw: 99},
	} {
		if _, err := s.Run(t.Context()); err == nil {
			t.Error(name)
		}
	}
}
