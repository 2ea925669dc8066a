// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package simulate_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/lab/simulate"
)

func small() simulate.Steering {
	return simulate.Steering{Requests: 6000, Clients: 6, Seeds: 20, Busy: 0.05, Fail: 0.01, Down: 1, Seed: 1}
}

// TestSteeringIsNoticed: RT-03 and RT-11 over many requests, where no single
// answer shows anything.
func TestSteeringIsNoticed(t *testing.T) {
	r, err := small().Run()
	if err != nil {
		t.Fatal(err)
	}
	row := func(part string) simulate.Row {
		for _, row := range r.Rows {
			if strings.Contains(row.Router, part) {
				return row
			}
		}
		t.Fatalf("no router %q", part)
		return simulate.Row{}
	}
	last := len(r.Steps) - 1
	t.Run("RT-03", func(t *testing.T) {
		if got := row("drops all"); got.Alone[0] != 1 || !got.Pooled[0] {
			t.Errorf("a router that answers at its own node only: %+v", got)
		}
		if got := row("when it is drawn"); got.Alone[last] != 1 || !got.Pooled[last] {
			t.Errorf("a router that fails what its node does not get: %+v", got)
		}
	})
	t.Run("RT-11", func(t *testing.T) {
		if got := row("colluding"); !got.Pooled[last] {
			t.Errorf("nodes that are busy for a friend: %+v", got)
		}
	})
	if r.Honest.Warned+r.Honest.Refused+r.Honest.Pooled > 0 {
		t.Errorf("false alarms: %+v", r.Honest)
	}
	if got := r.Reads; got < 0.1426 || got > 0.1427 { // 1-(19/20)^3
		t.Errorf("readable %v", got)
	}
}

func TestSameSeedSameTable(t *testing.T) {
	s := small()
	s.Requests, s.Seeds = 600, 3
	a, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Run()
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("another table, %v", err)
	}
	s.Seed = 2
	if b, err = s.Run(); err != nil || reflect.DeepEqual(a, b) {
		t.Errorf("another seed, the same table, %v", err)
	}
}

func TestSteeringAtItsBounds(t *testing.T) {
	for name, s := range map[string]simulate.Steering{
		"too few nodes":       {Nodes: 2},
		"too many candidates": {Candidates: 9},
		"nobody honest":       {Owned: 15, Down: 6},
		"always busy":         {Busy: 1},
		"fewer requests":      {Requests: 5},
		"negative":            {Seeds: -1},
	} {
		if _, err := s.Run(); err == nil {
			t.Error(name)
		}
	}
}
