// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package roster_test

import (
	"bytes"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
	"github.com/sotto-project/sotto/transparency/statement"
)

func TestNodesOfAViewProveThemselves(t *testing.T) {
	w := rostertest.New(t, 2)
	e := w.Epoch(time.Now().Add(-time.Minute), nil)
	w.Refresh(e, time.Now())
	v, judge := w.View(e), roster.NewJudge(w.Policy, nil)
	for _, row := range v.Statement.Nodes {
		c, err := v.Case(row)
		if err != nil {
			t.Fatal(err)
		}
		r, err := judge.Judge(c, time.Now())
		if err != nil || r.NodeID != row.ID || c.FreshDigest() == [32]byte{} {
			t.Errorf("%v", err)
		}
	}
	if judge.PolicyDigest() != w.Policy.Digest() {
		t.Error("another policy's digest")
	}
}

// TestReleasesReachTheVerdict: what the view's holder verified restricts every
// node, remembered verdicts included.
func TestReleasesReachTheVerdict(t *testing.T) {
	w := rostertest.New(t, 1)
	e := w.Epoch(time.Now().Add(-time.Minute), nil)
	w.Refresh(e, time.Now())
	v, judge := w.View(e), roster.NewJudge(w.Policy, roster.NewCache(4))
	verdict := func() string {
		c, err := v.Case(v.Statement.Nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		_, err = judge.Judge(c, time.Now())
		return roster.CodeOf(err)
	}
	model := v.Statement.Models[v.Statement.Nodes[0].Model]
	good := &attestation.Released{Models: []attestation.ReleasedModel{{Name: model.Name, Weights: model.Weights}}}
	for _, image := range w.Policy.Images {
		good.Images = append(good.Images, attestation.ReleasedImage{Image: image, Release: "x"})
	}
	for _, c := range []struct {
		released *attestation.Released
		want     string
	}{{nil, ""}, {&attestation.Released{}, "log.absent"}, {good, ""}, {&attestation.Released{Images: good.Images}, "log.absent"}} {
		v.Released = c.released
		if got := verdict(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.released, got, c.want)
		}
	}
}

func TestCasesThatAreNone(t *testing.T) {
	w := rostertest.New(t, 2)
	e := w.Epoch(time.Now().Add(-time.Minute), nil)
	row := w.View(e).Statement.Nodes[0]
	for name, c := range map[string]struct {
		change func(*roster.View)
		code   string
	}{
		"no list":            {func(v *roster.View) { v.Freshness = nil }, "att.stale"},
		"not in the list":    {func(v *roster.View) { v.Freshness.Items = v.Freshness.Items[1:] }, "att.stale"},
		"malformed":          {func(v *roster.View) { v.Freshness.Items[0].Bundle = []byte("x") }, "att.format"},
		"no record":          {func(v *roster.View) { v.Pack = &statement.Pack{Epoch: v.Pack.Epoch} }, "pack.missing"},
		"another node's row": {func(v *roster.View) { v.Freshness.Items[0].Bundle = v.Freshness.Items[1].Bundle }, "att.quote"},
	} {
		v := w.View(e)
		c.change(v)
		k, err := v.Case(row)
		if err == nil {
			_, err = roster.NewJudge(w.Policy, nil).Judge(k, time.Now())
		}
		if got := roster.CodeOf(err); got != c.code {
			t.Errorf("%s: %q (%v), want %q", name, got, err, c.code)
		}
	}
	if _, _, err := roster.OpenPack(&w.Trust, &statement.Statement{Epoch: 9}, e.Pack); roster.CodeOf(err) != "pack.missing" {
		t.Errorf("the pack of another epoch: %v", err)
	}
	if _, _, err := roster.OpenFreshness(new(w.Trust), nil); err == nil {
		t.Error("no list was one")
	}
	if roster.CodeOf(nil) != "" {
		t.Error("a code for nothing")
	}
}

func TestChallengeIsTheCallers(t *testing.T) {
	w := rostertest.New(t, 1)
	e := w.Epoch(time.Now().Add(-time.Minute), nil)
	v, node := w.View(e), w.Nodes[0]
	var challenge, other [32]byte
	rand.Read(challenge[:])
	rand.Read(other[:])
	c, err := v.EpochCase(v.Statement.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	quote := func(to [32]byte) []byte { return w.Challenge(node, c.Refs.EvidenceDigest, to) }
	drawn := time.Now()
	judge := roster.NewJudge(w.Policy, roster.NewCache(4))
	if err := c.Challenge(challenge, drawn, quote(challenge)); err != nil {
		t.Fatal(err)
	}
	r, err := judge.Judge(c, time.Now())
	if err != nil || !r.FreshSince.Equal(drawn) {
		t.Fatalf("%v", err)
	}
	for name, raw := range map[string][]byte{"AT-03": quote(other), "AT-03 checkpoint": v.Freshness.Items[0].Bundle} {
		t.Run(name, func(t *testing.T) {
			if err := c.Challenge(challenge, drawn, raw); err != nil {
				t.Fatal(err)
			}
			if _, err := judge.Judge(c, time.Now()); roster.CodeOf(err) != "att.nonce" {
				t.Errorf("%v", err)
			}
		})
	}
	if err := c.Challenge(challenge, drawn, nil); roster.CodeOf(err) != "att.format" {
		t.Errorf("no answer: %v", err)
	}
}

func TestCacheSkipsNothingThatCouldHaveChanged(t *testing.T) {
	w := rostertest.New(t, 2)
	e := w.Epoch(time.Now().Add(-time.Minute), nil)
	v, cache := w.View(e), roster.NewCache(2)
	judge := roster.NewJudge(w.Policy, cache)
	one := func(i int) *roster.Case {
		c, err := v.Case(v.Statement.Nodes[i])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	now := time.Now()
	first, err := judge.Judge(one(0), now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := judge.Judge(one(0), now.Add(7*time.Second))
	if err != nil || cache.Hits() != 1 || !again.Report.Time.Equal(first.Report.Time) {
		t.Fatalf("the same case was verified again: %v", err)
	}
	fresh := func(what string, j *roster.Judge, c *roster.Case, at time.Time, want string) {
		t.Helper()
		before := cache.Hits()
		_, err := j.Judge(c, at)
		if cache.Hits() != before || roster.CodeOf(err) != want {
			t.Errorf("%s: taken from the cache (%v), or %v", what, cache.Hits() != before, err)
		}
	}
	fresh("later", judge, one(0), now.Add(roster.CacheTime+time.Second), "")
	if _, err := judge.Judge(one(0), now); err != nil {
		t.Fatal(err)
	}
	fresh("earlier", judge, one(0), now.Add(-time.Second), "")
	fresh("too old", judge, one(0), now.Add(time.Duration(w.Policy.MaxFreshAge)+time.Second), "att.stale")
	strict := *w.Policy
	strict.MaxFreshAge = attestation.Duration(30 * time.Second)
	fresh("another policy", roster.NewJudge(&strict, cache), one(0), now, "att.stale")
	simulated := *w.Policy
	simulated.Roots = attestation.VendorRoots()
	fresh("other roots", roster.NewJudge(&simulated, cache), one(0), now, "att.simulated")
	refs := one(0)
	refs.Refs.REK = one(1).Refs.REK
	t.Run("AT-24", func(t *testing.T) { fresh("another REK", judge, refs, now, "att.rek.name") })
	w.Refresh(e, time.Now())
	v = w.View(e)
	fresh("new freshness evidence", judge, one(0), time.Now(), "")
	bad := one(0)
	last := len(bad.Evidence.Freshness.Pieces) - 1
	bad.Evidence.Freshness.Pieces[last].Data = bytes.Clone(bad.Evidence.Freshness.Pieces[last].Data)
	bad.Evidence.Freshness.Pieces[last].Data[1] ^= 1
	fresh("a flipped bit", judge, bad, time.Now(), "att.pcr.value")
	for i := range 2 {
		judge.Judge(one(i), time.Now())
	}
	if cache.Len() > 2 {
		t.Errorf("%d cases in a cache of 2", cache.Len())
	}
}

func TestEachRunsEachOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		count := make([]atomic.Int32, n)
		roster.Each(n, func(i int) { count[i].Add(1) })
		for i := range count {
			if count[i].Load() != 1 {
				t.Fatalf("%d of %d ran %d times", i, n, count[i].Load())
			}
		}
	}
}
