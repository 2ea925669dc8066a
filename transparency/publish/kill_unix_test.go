// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package publish

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/durable/durabletest"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

func TestMain(m *testing.M) { os.Exit(durabletest.Main(m, commitForEver)) }

// commitForEver commits one statement after the other; each round has others.
func commitForEver(dir string, round int, ack func(string, ...any)) error {
	l, err := OpenLog(dir, testOrigin, noon)
	if err != nil {
		return err
	}
	for {
		s, p := next(l)
		s.NextPublic = s.NotBefore.Add(time.Duration(round) * time.Second)
		leaf, err := s.Append(nil)
		if err != nil {
			return err
		}
		if err := l.Commit(s, p, noon); err != nil {
			return err
		}
		ack("epoch %d %s", s.Epoch, digest(leaf))
		_, c, err := l.Checkpoint(noon)
		if err != nil {
			return err
		}
		ack("root %d %x", c.Size, c.Root)
	}
}

// A ledger is everything that was ever acknowledged.
type ledger struct {
	epochs, roots map[uint64]string
	last          uint64
}

func (g *ledger) root(t *testing.T, size uint64, root string) {
	t.Helper()
	if old := g.roots[size]; old != "" && old != root {
		t.Errorf("two roots of %d leaves were signed", size)
	}
	g.roots[size] = root
}

func (g *ledger) take(t *testing.T, acks []string) {
	t.Helper()
	for _, a := range acks {
		var n uint64
		var kind, hash string
		if _, err := fmt.Sscanf(a, "%s %d %s", &kind, &n, &hash); err != nil {
			t.Fatalf("%q", a)
		}
		if kind == "root" {
			g.root(t, n, hash)
			continue
		}
		g.epochs[n], g.last = hash, max(g.last, n)
	}
}

// compare opens the log and demands all that was acknowledged, each statement at
// the index that is its epoch, and signed.
func (g *ledger) compare(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "log", "signed")) // acknowledged or not
	if err == nil {
		c, err := transparency.ReadUnverified(b)
		if err != nil {
			t.Fatal(err)
		}
		g.root(t, c.Size, fmt.Sprintf("%x", c.Root))
	}
	l, err := OpenLog(dir, testOrigin, noon)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if e := l.Last().Epoch; e < g.last || e > g.last+1 || l.Pending() || l.Broken() {
		t.Errorf("epoch %d is the last; %d was acknowledged, and one may have been under way", e, g.last)
	}
	for e := uint64(0); e <= l.Last().Epoch; e++ {
		b, err := l.Signed(e)
		if err != nil {
			t.Fatal(err)
		}
		s, err := statement.ParseSigned(b)
		if err != nil {
			t.Fatal(err)
		}
		if st, _, err := s.Verify(l.Trust()); err != nil || st.Epoch != e || s.Index != e {
			t.Errorf("epoch %d: %v", e, err)
		}
		if want := g.epochs[e]; want != "" && digest(s.Leaf) != want {
			t.Errorf("epoch %d is another statement than was acknowledged", e)
		}
		g.epochs[e] = digest(s.Leaf)
		g.last = max(g.last, e)
	}
	for n, root := range g.roots {
		if got, err := l.tiles.Root(context.Background(), n); err != nil || fmt.Sprintf("%x", got) != root {
			t.Errorf("the root of %d leaves is not the one that was signed: %v", n, err)
		}
	}
	_, c, err := l.Checkpoint(noon)
	if err != nil {
		t.Fatal(err)
	}
	g.root(t, c.Size, fmt.Sprintf("%x", c.Root))
}

func newLedger() *ledger { return &ledger{epochs: map[uint64]string{}, roots: map[uint64]string{}} }

// TestKilled: kill -9 at any moment of a commit: no statement that was public is
// lost or replaced, and no size has two roots.
func TestKilled(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		dir, g := filepath.Join(t.TempDir(), "log"), newLedger()
		if err := CreateLog(dir, testOrigin, noon); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(7, 22))
		for round := range durabletest.Rounds() {
			g.take(t, durabletest.Kill(t, dir, round, rng))
			g.compare(t, dir)
			if t.Failed() {
				t.Fatalf("in round %d", round)
			}
		}
		t.Logf("%d epochs", g.last)
	})
}

// TestDiskFull: writes that the system refuses, at each size of file.
func TestDiskFull(t *testing.T) {
	for _, limit := range []uint64{8, 64, 3000, 4000} {
		t.Run(fmt.Sprintf("DS-07/%d bytes", limit), func(t *testing.T) {
			dir, g := filepath.Join(t.TempDir(), "log"), newLedger()
			if err := CreateLog(dir, testOrigin, noon); err != nil {
				t.Fatal(err)
			}
			g.take(t, durabletest.Kill(t, dir, 1, rand.New(rand.NewPCG(7, limit))))
			g.compare(t, dir)
			acks, last := durabletest.Full(t, dir, 2, limit)
			t.Logf("%d acknowledged, then: %s", len(acks), last)
			g.take(t, acks)
			g.compare(t, dir)
			g.take(t, durabletest.Kill(t, dir, 3, rand.New(rand.NewPCG(8, limit))))
			g.compare(t, dir)
		})
	}
}
