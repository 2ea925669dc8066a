// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package steer_test

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/audit/steer"
)

func id(n int) [32]byte { return sha256.Sum256([]byte{'n', byte(n), byte(n >> 8)}) }

func ids(n int) (out [][32]byte) {
	for i := range n {
		out = append(out, id(i))
	}
	return out
}

// play observes n uniform draws of k, each ended by f, which gets the order as
// numbers of nodes.
func play(m *steer.Meter, seed uint64, epoch uint64, n, nodes, k int, f func(r *rand.Rand, order []int) (steer.Outcome, int)) (all []steer.Observation) {
	r := rand.New(rand.NewPCG(seed, 1))
	pool := ids(nodes)
	for range n {
		order := r.Perm(nodes)[:k]
		o := steer.Observation{Pool: pool}
		for _, i := range order {
			o.Order = append(o.Order, pool[i])
		}
		o.Outcome, o.Position = f(r, order)
		if err := m.Observe(epoch, o); err != nil {
			panic(err)
		}
		all = append(all, o)
	}
	return all
}

func kinds(m *steer.Meter, level steer.Level) (out []steer.Kind) {
	for _, a := range m.Alarms() {
		if a.Level >= level && !slices.Contains(out, a.Kind) {
			out = append(out, a.Kind)
		}
	}
	return out
}

func first(*rand.Rand, []int) (steer.Outcome, int) { return steer.Answered, 0 }

// TestSteering: what a router can do without breaking the public draw.
func TestSteering(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		want steer.Kind
		f    func(*rand.Rand, []int) (steer.Outcome, int)
	}{
		{"RT-03/fails what its own node is drawn for and does not get", 600, steer.KindSet, func(_ *rand.Rand, o []int) (steer.Outcome, int) {
			if o[0] != 7 && slices.Contains(o, 7) {
				return steer.Failed, 0
			}
			return steer.Answered, 0
		}},
		{"RT-03/fails all that its own node does not get", 60, steer.KindFailures, func(_ *rand.Rand, o []int) (steer.Outcome, int) {
			if o[0] != 7 {
				return steer.Failed, 0
			}
			return steer.Answered, 0
		}},
		{"RT-11/all but one are busy", 400, steer.KindAnswers, func(_ *rand.Rand, o []int) (steer.Outcome, int) {
			if i := slices.Index(o, 7); i >= 0 {
				return steer.Answered, i
			}
			return steer.Answered, 0
		}},
		{"RT-11/busy in front of one", 600, steer.KindSet, func(_ *rand.Rand, o []int) (steer.Outcome, int) {
			if i := slices.Index(o, 7); i == 1 {
				return steer.Answered, 1
			}
			return steer.Answered, 0
		}},
		{"RT-01/against the draw", 3, steer.KindSkip, func(*rand.Rand, []int) (steer.Outcome, int) { return steer.Skipped, 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m steer.Meter
			play(&m, 1, 5, c.n, 12, 3, c.f)
			got := m.Alarms()
			if !slices.Contains(kinds(&m, steer.Refuse), c.want) {
				t.Fatalf("alarms %v, want one of kind %s", got, c.want)
			}
			for _, a := range got {
				if a.Kind == c.want && (c.want == steer.KindSet || c.want == steer.KindAnswers) && a.Node != id(7) {
					t.Errorf("alarm about node %x", a.Node[:4])
				}
				if a.String() == "" || a.Level.String() == "quiet" {
					t.Errorf("alarm %+v says nothing", a)
				}
			}
		})
	}
}

// TestHonestTrouble raises nothing: who is down or busy is so for everybody.
func TestHonestTrouble(t *testing.T) {
	asked := func(down, busy func(r *rand.Rand, node int) bool) func(*rand.Rand, []int) (steer.Outcome, int) {
		return func(r *rand.Rand, order []int) (steer.Outcome, int) {
			for i, n := range order {
				if down(r, n) {
					return steer.Failed, 0
				}
				if !busy(r, n) {
					return steer.Answered, i
				}
			}
			return steer.Failed, 0
		}
	}
	never := func(*rand.Rand, int) bool { return false }
	rate := func(p float64) func(*rand.Rand, int) bool {
		return func(r *rand.Rand, _ int) bool { return r.Float64() < p }
	}
	for name, f := range map[string]func(*rand.Rand, []int) (steer.Outcome, int){
		"nothing":              first,
		"a third is down":      asked(func(_ *rand.Rand, n int) bool { return n%3 == 0 }, never),
		"one is always busy":   asked(never, func(_ *rand.Rand, n int) bool { return n == 4 }),
		"all a little of both": asked(rate(0.04), rate(0.15)),
		"one down, others busy": asked(func(_ *rand.Rand, n int) bool { return n == 2 },
			func(r *rand.Rand, n int) bool { return r.Float64() < 0.1 }),
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(30) {
				var m steer.Meter
				all := play(&m, seed, 5, 800, 12, 3, f)
				if got := m.Alarms(); got != nil {
					t.Errorf("seed %d: %v", seed, got)
				}
				if p := steer.Pool(all); p.Steered {
					t.Errorf("seed %d: pooled %+v", seed, p)
				}
			}
		})
	}
}

// TestEvidenceFades: an alarm stands for a while and then needs new reasons.
func TestEvidenceFades(t *testing.T) {
	var m steer.Meter
	play(&m, 1, 100, 60, 12, 3, func(*rand.Rand, []int) (steer.Outcome, int) { return steer.Failed, 0 })
	if kinds(&m, steer.Refuse) == nil {
		t.Fatal("no alarm")
	}
	play(&m, 2, 101, 1, 12, 3, first)
	if kinds(&m, steer.Refuse) == nil {
		t.Error("forgotten after an hour")
	}
	play(&m, 3, 100+24*30, 1, 12, 3, first)
	if got := m.Alarms(); got != nil {
		t.Errorf("after a month: %v", got)
	}
	before := m.Totals()
	play(&m, 4, 5, 1, 12, 3, first) // a request that ends late
	if m.Totals().Hour != before.Hour {
		t.Error("the hour went back")
	}
}

// TestFadesUnobserved: who stops sending has nothing to observe; time alone lets an
// alarm fade, of skips too, and how it is divided into looks changes nothing.
func TestFadesUnobserved(t *testing.T) {
	for name, c := range map[string]struct {
		outcome      steer.Outcome
		n            int
		until, clear uint64 // hours after which it still refuses, and not any more
	}{
		"RT-01/three skips":  {steer.Skipped, 3, 6, 7},
		"RT-01/twenty skips": {steer.Skipped, 20, 71, 73},
		"RT-03/failures":     {steer.Failed, 60, 20, 24 * 14},
	} {
		t.Run(name, func(t *testing.T) {
			var m, steps steer.Meter
			for _, m := range []*steer.Meter{&m, &steps} {
				play(m, 1, 100, c.n, 12, 3, func(*rand.Rand, []int) (steer.Outcome, int) { return c.outcome, 0 })
			}
			m.Advance(100 + c.until)
			if kinds(&m, steer.Refuse) == nil {
				t.Errorf("forgotten after %d hours", c.until)
			}
			m.Advance(100 + c.clear)
			if got := kinds(&m, steer.Refuse); got != nil {
				t.Errorf("after %d hours: %v", c.clear, m.Alarms())
			}
			for e := uint64(90); e <= 100+c.clear; e++ {
				steps.Advance(e)
			}
			if got := kinds(&steps, steer.Refuse); got != nil {
				t.Errorf("in steps: %v", got)
			}
			if m.Totals().Requests != uint64(c.n) || m.Totals().Hour != 100+c.clear {
				t.Errorf("%+v", m.Totals())
			}
		})
	}
	var one steer.Meter
	play(&one, 1, 100, 1, 12, 3, func(*rand.Rand, []int) (steer.Outcome, int) { return steer.Skipped, 0 })
	if one.Advance(123); kinds(&one, steer.Warn) == nil {
		t.Error("one skip is forgotten within a day")
	}
	if one.Advance(125); one.Alarms() != nil {
		t.Error("one skip stands for ever")
	}
}

func TestImpossibleObservations(t *testing.T) {
	good := steer.Observation{Pool: ids(4), Order: ids(3), Outcome: steer.Answered, Position: 2, Retries: 2}
	var m steer.Meter
	if err := m.Observe(1, good); err != nil {
		t.Fatal(err)
	}
	state := m.Append(nil)
	for name, change := range map[string]func(*steer.Observation){
		"no outcome":             func(o *steer.Observation) { o.Outcome = 0 },
		"unknown outcome":        func(o *steer.Observation) { o.Outcome = 4 },
		"nobody drawn":           func(o *steer.Observation) { o.Order = nil },
		"nine drawn":             func(o *steer.Observation) { o.Pool, o.Order = ids(9), ids(9) },
		"one drawn twice":        func(o *steer.Observation) { o.Order = [][32]byte{id(0), id(0)} },
		"drawn from elsewhere":   func(o *steer.Observation) { o.Order = [][32]byte{id(9)}; o.Position = 0 },
		"answered by nobody":     func(o *steer.Observation) { o.Position = 3 },
		"negative":               func(o *steer.Observation) { o.Position = -1 },
		"failed, and answered":   func(o *steer.Observation) { o.Outcome = steer.Failed },
		"four attempts":          func(o *steer.Observation) { o.Retries = 3 },
		"fewer than were drawn":  func(o *steer.Observation) { o.Pool = ids(2) },
		"nobody could be drawn":  func(o *steer.Observation) { o.Pool = nil },
		"skipped, with a place":  func(o *steer.Observation) { o.Outcome = steer.Skipped },
		"a negative retry count": func(o *steer.Observation) { o.Retries = -1 },
	} {
		o := good
		change(&o)
		if m.Observe(1, o) == nil {
			t.Errorf("%s: accepted", name)
		}
		if steer.Pool([]steer.Observation{o}).Requests != 0 {
			t.Errorf("%s: pooled", name)
		}
	}
	if !bytes.Equal(state, m.Append(nil)) {
		t.Error("a refused observation left traces")
	}
}

// TestMeterIsBounded: no roster makes the state larger than it may be.
func TestMeterIsBounded(t *testing.T) {
	var m steer.Meter
	for i := range 3 {
		pool := ids((i + 1) * 500)[i*250:]
		if err := m.Observe(uint64(i), steer.Observation{Pool: pool, Order: pool[:3], Outcome: steer.Failed}); err != nil {
			t.Fatal(err)
		}
	}
	b := m.Append(nil)
	if len(b) != steer.MaxState {
		t.Errorf("%d bytes, want %d", len(b), steer.MaxState)
	}
	if _, err := steer.Parse(b); err != nil {
		t.Error(err)
	}
	small := steer.Observation{Pool: ids(2000)[1990:], Order: ids(2000)[1990:1993], Outcome: steer.Failed}
	for range 200 { // the newest nodes have room
		if err := m.Observe(9, small); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.Append(nil)) != steer.MaxState {
		t.Error("the size changed")
	}
}

func TestStateHasOneSpelling(t *testing.T) {
	var m steer.Meter
	play(&m, 1, 7, 50, 5, 3, func(r *rand.Rand, _ []int) (steer.Outcome, int) {
		return steer.Outcome(1 + r.IntN(3)), 0
	})
	b := m.Append(nil)
	p, err := steer.Parse(b)
	if err != nil || !bytes.Equal(p.Append(nil), b) {
		t.Fatalf("%v", err)
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], append(slices.Clone(b), 0), flip(b, 0), flip(b, 14)} {
		if _, err := steer.Parse(bad); err == nil {
			t.Errorf("accepted %d bytes", len(bad))
		}
	}
	swapped := slices.Clone(b)
	n := (len(b) - 65) / 5
	copy(swapped[65:], b[65+n:65+2*n])
	copy(swapped[65+n:], b[65:65+n])
	if _, err := steer.Parse(swapped); err == nil {
		t.Error("accepted nodes out of order")
	}
	huge := slices.Clone(b)
	huge[65+32] ^= 0x40
	if _, err := steer.Parse(huge); err == nil {
		t.Error("accepted a score over the limit")
	}
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 0xff
	return b
}

func FuzzState(f *testing.F) {
	var m steer.Meter
	f.Add(m.Append(nil))
	play(&m, 1, 7, 20, 5, 3, first)
	f.Add(m.Append(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := steer.Parse(in)
		if err != nil {
			return
		}
		if !bytes.Equal(in, m.Append(nil)) {
			t.Errorf("accepted %x, printed another", in)
		}
		m.Alarms()
	})
}
