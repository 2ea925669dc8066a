// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// worldMirror serves everything of a world's log.
func worldMirror(t *testing.T, name string, w *rostertest.World, at time.Time, epochs ...*rostertest.Epoch) *fakeMirror {
	t.Helper()
	m := &fakeMirror{name: name, at: at, packs: map[uint64][]byte{}}
	m.sign = func(size uint64, root [32]byte, at time.Time) []byte {
		note, err := w.Log.Keys().Clock.Cosign(w.Log.Keys().Log.Sign(size, root), at)
		if err != nil {
			panic(err)
		}
		return note
	}
	for e := range w.Log.Last().Epoch + 1 {
		st, err := w.Log.Statement(e)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := st.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		m.leaves = append(m.leaves, leaf)
	}
	for _, e := range epochs {
		m.packs[e.Statement.Epoch], m.fresh = e.Pack, e.Freshness
	}
	return m
}

// nodes is a rig over a world of two nodes and two epochs; edit changes records
// of the second.
func nodes(t *testing.T, edit func(int, *statement.Record)) (*rig, *fakeMirror, *fakeMirror) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	w := rostertest.New(t, 2)
	e1 := w.Epoch(now.Add(-40*time.Minute), nil)
	e2 := w.Epoch(now.Add(-20*time.Minute), edit)
	w.Refresh(e2, now)
	r := &rig{t: t, now: now}
	r.cfg = Config{Trust: w.Trust, Policy: w.Policy, Dir: t.TempDir(), Now: func() time.Time { return r.now }, Alarm: func(a Alarm) { r.told = append(r.told, a) }}
	m1, m2 := worldMirror(t, "one.invalid", w, now, e1, e2), worldMirror(t, "two.invalid", w, now, e1, e2)
	r.cfg.Mirrors = []Mirror{m1, m2}
	return r, m1, m2
}

func TestEvidenceIsJudgedAsClientsDo(t *testing.T) {
	r, _, _ := nodes(t, nil)
	r.mustStep().want()
	if s := r.a.state.Totals; s.Packs != 2 || s.NodesJudged != 4 || s.NodesRefused != 0 || s.PacksGone != 0 {
		t.Errorf("%+v", s)
	}
	rep, err := r.a.Report()
	if err != nil || rep.Verdict != "clean" || !rep.Simulated || rep.Epochs[2].Evidence != evidenceJudged {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestEvidenceThatDoesNotHold(t *testing.T) {
	t.Run("AT-24 a listed key that the evidence does not have", func(t *testing.T) {
		r, _, _ := nodes(t, func(i int, rec *statement.Record) {
			if i == 0 {
				rec.REK = bytes.Clone(rec.REK)
				rec.REK[5] ^= 1
			}
		})
		r.mustStep().want(NodeRefused)
		r.open().mustStep().want() // once
		if s := r.a.state; s.Totals.NodesRefused != 1 || len(s.Refused) != 1 {
			t.Errorf("%+v", s.Totals)
		}
	})
	t.Run("an image that the policy does not list", func(t *testing.T) {
		r, _, _ := nodes(t, nil)
		strict := *r.cfg.Policy
		strict.RevokedImages = append(strict.RevokedImages, strict.Images[0].Measurement)
		r.cfg.Policy = &strict
		r.mustStep().want(NodeRefused)
	})
	t.Run("a tampered pack, and one that holds", func(t *testing.T) {
		r, m1, _ := nodes(t, nil)
		m1.onPack = func(_ uint64, b []byte) []byte { b = bytes.Clone(b); b[len(b)-9] ^= 1; return b }
		r.mustStep().want(PackTampered)
		if s := r.a.state.Totals; s.NodesJudged != 4 || s.NodesRefused != 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a pack of another epoch", func(t *testing.T) {
		r, m1, m2 := nodes(t, nil)
		for _, m := range []*fakeMirror{m1, m2} {
			m.packs[2] = m.packs[1]
		}
		r.mustStep().want(PackTampered)
		if s := r.a.state.Totals; s.Packs != 1 || s.PacksGone != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("AT-54 a policy that asks for a GPU", func(t *testing.T) {
		r, _, _ := nodes(t, nil)
		strict := *r.cfg.Policy
		strict.AllowNoGPU = false
		r.cfg.Policy = &strict
		r.mustStep().want(NodeRefused)
	})
}

// TestPacksAreNotHeld: AT-62: what was judged is let go of, but for the packs of the
// newest two epochs: a hostile publisher's are 256 MiB each, and thirty-two are asked for.
func TestPacksAreNotHeld(t *testing.T) {
	const n = 12
	now := time.Now().UTC().Truncate(time.Second)
	w := rostertest.New(t, 1)
	var epochs []*rostertest.Epoch
	for i := range n {
		epochs = append(epochs, w.Epoch(now.Add(time.Duration(i-n)*time.Minute), nil))
	}
	r := &rig{t: t, now: now}
	r.cfg = Config{Trust: w.Trust, Policy: w.Policy, Dir: t.TempDir(), Now: func() time.Time { return r.now }}
	m := worldMirror(t, "one.invalid", w, now, epochs...)
	var held atomic.Int32
	most := int32(0)
	m.onPack = func(_ uint64, b []byte) []byte {
		for range 50 { // what nobody holds is gone after a few rounds
			if runtime.GC(); held.Load() <= 2 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		most = max(most, held.Add(1))
		b = bytes.Clone(b)
		runtime.AddCleanup(&b[0], func(*atomic.Int32) { held.Add(-1) }, &held)
		return b
	}
	r.cfg.Mirrors = []Mirror{m}
	r.mustStep()
	if s := r.a.state.Totals; s.Packs != n || s.NodesRefused != 0 {
		t.Errorf("%+v", s)
	}
	if limit := int32(runtime.GOMAXPROCS(0) + 2); most > limit {
		t.Errorf("%d packs are held at once, want at most %d", most, limit)
	}
}

func TestPackThatComesLate(t *testing.T) {
	r, m1, m2 := nodes(t, nil)
	pack := m1.packs[2]
	hide := func() { delete(m1.packs, 2); delete(m2.packs, 2) }
	hide()
	r.mustStep().want()
	if len(r.a.state.Pending) != 1 {
		t.Fatalf("%v", r.a.state.Pending)
	}
	r.now = r.now.Add(11 * time.Minute)
	m1.at, m2.at = r.now, r.now
	r.open().mustStep()
	if !r.has(PackMissing) {
		t.Error("not told")
	}
	m2.packs[2] = pack
	r.codes()
	r.open().mustStep()
	if s := r.a.state; s.Totals.Packs != 2 || len(s.Pending) != 0 || s.Totals.NodesJudged != 4 {
		t.Errorf("%+v", s.Totals)
	}
	if rec, err := r.a.store.record(2, r.a.state.Next); err != nil || rec.Evidence != evidenceJudged || rec.Judged != 2 {
		t.Errorf("%+v, %v", rec, err)
	}
	for _, i := range r.a.state.Incidents {
		if i.Code == PackMissing {
			t.Error("still open")
		}
	}
}

// has reports whether an alarm of a code was told and not taken.
func (r *rig) has(c Code) bool {
	for _, a := range r.told {
		if a.Code == c {
			return true
		}
	}
	return false
}

func TestStaleFreshness(t *testing.T) {
	r, m1, m2 := nodes(t, nil)
	m1.fresh, m2.fresh = nil, nil
	r.mustStep().want()
	r.now = r.now.Add(11 * time.Minute)
	m1.at, m2.at = r.now, r.now
	r.mustStep().want(NodeStale)
}

func TestReplacedPolicyIsTold(t *testing.T) {
	r, _, _ := nodes(t, nil)
	r.mustStep().want()
	r.cfg.Policy = nil
	r.open().mustStep().want(PolicyChanged)
	r.open().mustStep().want()
}

// published is a folder of one release, as a fake has it.
type published struct {
	digest  [32]byte
	release *release.Release
}

func (p published) Release(_ context.Context, d [32]byte, _ time.Time) (*Release, error) {
	if d != p.digest {
		return nil, fs.ErrNotExist
	}
	return &Release{Name: p.release.Tag, Verified: p.release}, nil
}

// TestReleasesRestrictNodes: where release files are given, a node that runs what
// no named release has is refused, though the auditor's policy allows its image.
func TestReleasesRestrictNodes(t *testing.T) {
	t.Run("AT-42 the statement names no release", func(t *testing.T) {
		r, _, _ := nodes(t, nil)
		r.cfg.Releases = published{}
		r.mustStep()
		if s := r.a.state; s.Totals.NodesRefused != 4 || !slices.Equal(slices.Compact(slices.Sorted(maps.Values(s.Refused))), []string{"log.absent"}) {
			t.Errorf("%+v, %v", s.Totals, s.Refused)
		}
	})
	r, _, _ := nodes(t, nil)
	st := &statement.Statement{Releases: []statement.Release{{Digest: [32]byte{9}, Name: "x"}}}
	r.cfg.Releases = published{[32]byte{9}, &release.Release{Tag: "v1.0.0", Models: []release.Model{{Weights: [32]byte{1}, ModelManifest: release.ModelManifest{Name: "toy"}}}}}
	r.open()
	if got := r.a.allowed(t.Context(), st, r.now); got == nil || len(got.Models) != 1 {
		t.Errorf("%+v", got)
	}
	st.Releases[0].Digest[0]++
	if got := r.a.allowed(t.Context(), st, r.now); got == nil || len(got.Models)+len(got.Images) != 0 {
		t.Errorf("a release that is not there allows %+v", got)
	}
	r.a.cfg.Releases = nil
	if got := r.a.allowed(t.Context(), st, r.now); got != nil {
		t.Errorf("nobody asked: %+v", got)
	}
}
