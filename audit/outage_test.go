// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sotto-project/sotto/transparency/statement"
)

// TestOutages: each part is away for a while under a watching auditor, which goes
// on, tells of it after the time that it states, and recovers by itself.
func TestOutages(t *testing.T) {
	for name, c := range map[string]struct {
		during func(r *outage)
		after  func(r *outage)
		quiet  time.Duration // nothing is told until then
		want   []Code
	}{
		"DS-07 one mirror": {
			func(o *outage) { o.m2.edit(func() { o.m2.down = errors.New("connection refused") }) },
			func(o *outage) { o.m2.edit(func() { o.m2.down = nil }) },
			9 * time.Minute, []Code{MirrorDown}},
		"DS-07 all mirrors": {
			func(o *outage) { o.each(func(m *fakeMirror) { m.down = errors.New("connection refused") }) },
			func(o *outage) { o.each(func(m *fakeMirror) { m.down = nil }) },
			9 * time.Minute, []Code{LogStale, MirrorDown, StatementLate}},
		"DS-07 the log signs nothing new": {
			func(o *outage) {
				at := o.now()
				o.each(func(m *fakeMirror) { m.clock = func() time.Time { return at } })
				o.stopped = true
			},
			func(o *outage) { o.each(func(m *fakeMirror) { m.clock = o.now }); o.stopped = false },
			9 * time.Minute, []Code{LogStale, StatementLate, WitnessMissing}},
		"DS-07 one witness": {
			func(o *outage) { o.each(func(m *fakeMirror) { m.sign = o.k.without(1) }) },
			func(o *outage) { o.each(func(m *fakeMirror) { m.sign = o.k.without(-1) }) },
			59 * time.Minute, []Code{WitnessMissing}},
		"DS-07 all witnesses": {
			func(o *outage) { o.each(func(m *fakeMirror) { m.sign = o.k.without(0, 1) }) },
			func(o *outage) { o.each(func(m *fakeMirror) { m.sign = o.k.without(-1) }) },
			9 * time.Minute, []Code{LogStale, MirrorDown, StatementLate, WitnessMissing}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOutage(t)
				ctx, stop := context.WithCancel(context.Background())
				ended := make(chan error)
				go func() { ended <- o.r.a.Watch(ctx) }()
				o.pass(2 * time.Hour)
				o.r.want()
				c.during(o)
				o.pass(c.quiet)
				o.r.want()
				o.pass(95 * time.Minute)
				o.r.want(c.want...)
				c.after(o)
				o.pass(time.Hour)
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if open := o.r.a.state.Incidents; len(open) > 0 {
					t.Errorf("not over: %v", open)
				}
				if got, want := o.r.a.state.Next, uint64(len(o.m1.leaves)); got != want {
					t.Errorf("audited %d of %d", got, want)
				}
			})
		})
	}
}

// An outage is a log that grows each hour, and an auditor that watches it.
type outage struct {
	t       *testing.T
	k       *testKeys
	m1, m2  *fakeMirror
	r       *rig
	start   time.Time
	stopped bool // no new statements
}

func newOutage(t *testing.T) *outage {
	o := &outage{t: t, k: newKeys(t), start: time.Now()}
	leaves := chain(t, 2, nil)
	o.m1, o.m2 = pair(o.k, leaves)
	o.r = newRig(t, o.k, o.m1, o.m2)
	o.each(func(m *fakeMirror) { m.clock = o.now })
	o.r.cfg.Now = o.now
	o.r.open()
	// Hundreds of looks: what is durable is TestFailureTable's.
	o.r.a.store.write = os.WriteFile
	return o
}

func (o *outage) now() time.Time { return begin.Add(time.Since(o.start)) }

func (o *outage) each(f func(*fakeMirror)) {
	for _, m := range []*fakeMirror{o.m1, o.m2} {
		m.edit(func() { f(m) })
	}
}

// pass lets time go by, minute by minute; statements appear when they are due.
func (o *outage) pass(d time.Duration) {
	for range d / time.Minute {
		last, err := statement.Parse(o.m1.leaves[len(o.m1.leaves)-1])
		if err != nil {
			o.t.Fatal(err)
		}
		if !o.stopped && !o.now().Before(last.NextPublic) {
			leaves := grow(o.t, o.m1.leaves, nil)
			o.each(func(m *fakeMirror) { m.leaves = slices.Clone(leaves) })
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	}
}

// without signs as a mirror's log does, but for some witnesses.
func (k *testKeys) without(missing ...int) func(uint64, [32]byte, time.Time) []byte {
	return func(size uint64, root [32]byte, at time.Time) []byte {
		note := k.log.Sign(size, root)
		for i, w := range k.witnesses {
			if slices.Contains(missing, i) {
				continue
			}
			var err error
			if note, err = w.Cosign(note, at); err != nil {
				panic(err)
			}
		}
		return note
	}
}

func TestDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		gone := false
		o.each(func(m *fakeMirror) {
			m.leaves = chain(t, 6, func(e uint64, s *statement.Statement) {
				if e >= 4 {
					s.Chips = nil
				}
			})
			m.size = 2
		})
		ended := make(chan struct{})
		var res *DrillResult
		var err error
		go func() {
			defer close(ended)
			res, err = Drill(context.Background(), DrillConfig{Trust: o.k.trust(), Mirror: o.m1, Subject: Subject{"chip", [32]byte{1}}, Every: time.Minute, Now: o.now})
		}()
		for i := range 5 * 60 {
			o.m1.edit(func() { o.m1.size = min(2+(i+10)/60, 6) }) // public ten minutes before
			time.Sleep(time.Minute)
			synctest.Wait()
			select {
			case <-ended:
				gone = true
			default:
			}
			if gone {
				break
			}
		}
		if err != nil || res == nil || res.Epochs != 3 || res.BegunEpoch != 1 || res.InForceEpoch != 4 || res.Seconds < 3*3600-60 || res.Seconds > 3*3600+60 || !res.Public.Before(res.InForce.Add(-8*time.Minute)) {
			t.Errorf("%+v, %v", res, err)
		}
		if _, err := Drill(context.Background(), DrillConfig{Trust: o.k.trust(), Mirror: o.m1, Subject: Subject{"chip", [32]byte{7}}, Now: o.now}); err == nil {
			t.Error("a drill about what is not listed")
		}
	})
}
