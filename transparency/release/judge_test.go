// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release_test

import (
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

// A shelf holds files by digest, and counts who asks.
type shelf struct {
	mu    sync.Mutex
	files map[[32]byte][]byte
	asked int
}

func (s *shelf) put(files ...[]byte) (named []release.Named) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[[32]byte][]byte{}
	}
	for _, f := range files {
		s.files[release.Digest(f)] = f
		named = append(named, release.Named{Digest: release.Digest(f), Name: "x"})
	}
	return named
}

func (s *shelf) find(d [32]byte) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	f, ok := s.files[d]
	return f, ok
}

// TestJudgeLooksAgainAtWhatTimeTurns: what is remembered of a file is what holds
// at any later time.
func TestJudgeLooksAgainAtWhatTimeTurns(t *testing.T) {
	f := newFixture(t)
	var s shelf
	named := s.put(f.bytes())
	j := must(release.NewJudge(&f.trust, 2))
	judge := func(at time.Time, asked int, want transparency.Code) {
		t.Helper()
		before := s.asked
		set, err := j.Judge(named, s.find, at)
		if release.CodeOf(err) != want || (err == nil) != (set != nil) || s.asked-before != asked {
			t.Errorf("%v, read %d times, want %q and %d", err, s.asked-before, want, asked)
		}
	}
	judge(now, 1, "")
	judge(now.Add(time.Minute), 0, "")
	judge(now.Add(10*time.Minute), 0, "")
	judge(now.Add(10*time.Minute+time.Second), 1, "")
	judge(now, 1, "") // the clock went back: all of it again
	judge(now.Add(time.Hour+2*time.Minute), 1, release.CodeStale)
	judge(signed.Add(-time.Hour), 1, "log.time")
}

func TestJudgeRemembersFew(t *testing.T) {
	f := newFixture(t)
	var s shelf
	one := s.put(f.bytes())
	f.endorse("carol", release.ClaimReviewed, now.Add(-time.Hour))
	two := s.put(f.bytes())
	for most, want := range map[int]int{0: 4, 1: 4, 2: 2} {
		j, before := must(release.NewJudge(&f.trust, most)), s.asked
		for range 2 {
			must(j.Judge(one, s.find, now))
			must(j.Judge(two, s.find, now))
		}
		if got := s.asked - before; got != want {
			t.Errorf("with room for %d: read %d times, want %d", most, got, want)
		}
	}
}

// TestSets: what several releases of one statement come to.
func TestSets(t *testing.T) {
	m := rt.NewMaker(now)
	m.Trust.Emergency = nil
	j := must(release.NewJudge(&m.Trust, 8))
	images := []attestation.Image{attestationtest.ImageOn(attestation.SNP)}
	make := func(at time.Time, model string) []byte { return m.Make(rt.Repository, at, images, model, weights) }
	reviewed := func(b []byte) []byte { return m.Endorse(b, 0, now.Add(-time.Hour)) }
	good, young := reviewed(make(signed, "toy")), reviewed(make(now.Add(-time.Hour), "toy2"))
	node := [32]byte{7}
	for name, c := range map[string]struct {
		files  [][]byte
		want   transparency.Code
		images int
		models int
	}{
		"none":                     {nil, "", 0, 0},
		"one":                      {[][]byte{good}, "", 1, 1},
		"a young one":              {[][]byte{young}, release.CodeAge, 0, 0},
		"a young one beside":       {[][]byte{young, good}, "", 1, 1},
		"AT-42/never logged":       {[][]byte{good, rt.Unlogged(young)}, release.CodeAbsent, 0, 0},
		"AT-46/no proof":           {[][]byte{rt.Unproven(young), good}, release.CodeInclusion, 0, 0},
		"AT-43/another identity":   {[][]byte{good, reviewed(m.Make("https://git.simulated.example/other/sotto", signed, images, "toy2", weights))}, release.CodeIdentity, 0, 0},
		"AT-51/withdrawn":          {[][]byte{m.Revoke(good, release.KindRelease, rt.ID(good), "x", now)}, release.CodeRevoked, 0, 0},
		"AT-51/withdrawn beside":   {[][]byte{good, m.Revoke(young, release.KindRelease, rt.ID(young), "x", now)}, "", 2, 1},
		"AT-51/a young one's word": {[][]byte{good, m.Revoke(young, release.KindNode, node, "x", now)}, "", 1, 1},
		"too many":                 {manyOf(good, 65), release.CodeFormat, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var s shelf
			set, err := j.Judge(s.put(c.files...), s.find, now)
			if release.CodeOf(err) != c.want {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if err != nil {
				return
			}
			if len(set.Released.Images) != c.images || len(set.Released.Models) != c.models || len(set.Verdicts) != len(c.files) {
				t.Errorf("%+v", set)
			}
			if name == "AT-51/a young one's word" && (len(set.Released.RevokedNodes) != 1 || set.Released.RevokedNodes[0] != node) {
				t.Error("a withdrawal was lost")
			}
		})
	}
	t.Run("AT-42/kept back", func(t *testing.T) {
		var s shelf
		if _, err := j.Judge([]release.Named{{Digest: [32]byte{1}, Name: "x"}}, s.find, now); release.CodeOf(err) != release.CodeAbsent {
			t.Errorf("%v", err)
		}
	})
	t.Run("another file", func(t *testing.T) {
		lie := func([32]byte) ([]byte, bool) { return good, true }
		if _, err := j.Judge([]release.Named{{Digest: [32]byte{1}, Name: "x"}}, lie, now); release.CodeOf(err) != release.CodeFormat {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-44/no trust", func(t *testing.T) {
		if _, err := release.NewJudge(&release.Trust{}, 1); release.CodeOf(err) != release.CodeTrust {
			t.Errorf("%v", err)
		}
	})
}

func manyOf(b []byte, n int) (out [][]byte) {
	for range n {
		out = append(out, b)
	}
	return out
}

func TestJudgeIsShared(t *testing.T) {
	f := newFixture(t)
	var s shelf
	named := s.put(f.bytes())
	j := must(release.NewJudge(&f.trust, 1))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := j.Judge(named, s.find, now.Add(time.Duration(i)*time.Second)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
