// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// TestReleasesInForceAreJudgedAtEachLook is AT-44 for an auditor that watches: what
// happens to a release after it was first named, and to the folder after it was
// opened, counts.
func TestReleasesInForceAreJudgedAtEachLook(t *testing.T) {
	m := rt.NewMaker(begin)
	fresh := m.Make(rt.Repository, begin.Add(-100*time.Hour), nil, "toy", [32]byte{1})
	fresh = m.Endorse(fresh, 0, begin.Add(-time.Hour))
	stale := m.Endorse(m.Make(rt.Repository, begin.Add(-200*time.Hour), nil, "toy", [32]byte{1}), 0, begin.Add(-rt.MaxWord+10*time.Minute))
	start := func(t *testing.T, named []byte, there bool) (*rig, string) {
		k := newKeys(t)
		m1, m2 := pair(k, chain(t, 2, func(_ uint64, s *statement.Statement) {
			if !s.Empty {
				s.Releases = []statement.Release{{Digest: release.Digest(named), Name: "node"}}
			}
		}))
		r := newRig(t, k, m1, m2)
		m1.clock, m2.clock = r.cfg.Now, r.cfg.Now
		dir := t.TempDir()
		if there {
			put(t, dir, "one", named)
		}
		files, err := OpenReleaseFiles(dir, &m.Trust)
		if err != nil {
			t.Fatal(err)
		}
		r.cfg.Releases = files
		return r, dir
	}
	verdict := func(r *rig) string {
		rep, err := r.a.Report()
		if err != nil {
			t.Fatal(err)
		}
		return rep.Verdict
	}
	t.Run("AT-44 withdrawn since", func(t *testing.T) {
		r, dir := start(t, fresh, true)
		r.mustStep().want()
		if v := verdict(r); v != "clean" {
			t.Errorf("%s", v)
		}
		put(t, dir, "two", m.Revoke(fresh, "release", rt.ID(fresh), "a flaw", begin))
		r.now = begin.Add(time.Minute)
		r.mustStep().want(ReleaseRefused)
		r.mustStep().want()
		if v := verdict(r); v != "alarms" {
			t.Errorf("%s", v)
		}
	})
	t.Run("the last word on it grew old", func(t *testing.T) {
		r, _ := start(t, stale, true)
		r.mustStep().want()
		r.now = begin.Add(20 * time.Minute)
		r.mustStep().want(ReleaseRefused)
	})
	t.Run("refused from the start, and told once", func(t *testing.T) {
		r, _ := start(t, m.Make(rt.Repository, begin.Add(-time.Hour), nil, "toy", [32]byte{1}), true)
		r.mustStep()
		if len(r.told) != 1 {
			t.Errorf("%v", r.told)
		}
		r.want(ReleaseRefused)
		r.open().mustStep().want()
		if v := verdict(r); v != "alarms" {
			t.Errorf("%s", v)
		}
	})
	t.Run("the file comes after the statement", func(t *testing.T) {
		r, dir := start(t, fresh, false)
		r.mustStep().want()
		if v := verdict(r); v != "incomplete" {
			t.Errorf("%s: nothing vouches for what is in force", v)
		}
		put(t, dir, "one", fresh)
		r.now = begin.Add(time.Minute)
		r.mustStep().want()
		if v := verdict(r); v != "clean" {
			t.Errorf("%s", v)
		}
	})
	t.Run("the file does not come", func(t *testing.T) {
		r, _ := start(t, fresh, false)
		r.mustStep().want()
		r.now = begin.Add(10*time.Minute - time.Second)
		r.mustStep().want()
		r.now = begin.Add(10 * time.Minute)
		r.mustStep().want(ReleaseMissing)
		if rep, err := r.a.Report(); err != nil || rep.Worst() != Critical {
			t.Errorf("%v", err)
		}
	})
	t.Run("the file goes", func(t *testing.T) {
		r, dir := start(t, fresh, true)
		r.mustStep().want()
		if err := os.Remove(filepath.Join(dir, "one")); err != nil {
			t.Fatal(err)
		}
		r.mustStep().want()
		if v := verdict(r); v != "incomplete" {
			t.Errorf("%s", v)
		}
	})
	t.Run("what was put there since is one's own", func(t *testing.T) {
		r, dir := start(t, fresh, false)
		r.open()
		f, err := release.ParseFile(fresh)
		if err != nil {
			t.Fatal(err)
		}
		if r.a.ours(f.Logged()[0]) {
			t.Error("before it is there")
		}
		put(t, dir, "one", fresh)
		if !r.a.ours(f.Logged()[0]) {
			t.Error("not known")
		}
	})
}

func put(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}
