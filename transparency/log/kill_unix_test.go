// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package log

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/internal/durable/durabletest"
	"github.com/sotto-project/sotto/transparency"
)

func TestMain(m *testing.M) { os.Exit(durabletest.Main(m, appendForEver)) }

// appendForEver appends, signs and publishes, one leaf after the other. A leaf
// says in which round it was made: a leaf that is replaced is seen.
func appendForEver(dir string, round int, ack func(string, ...any)) error {
	seed := sha256.Sum256([]byte("test key " + origin))
	signer, err := transparency.NewHybridSigner(origin, ed25519.NewKeyFromSeed(seed[:]), seed[:])
	if err != nil {
		return err
	}
	ctx := context.Background()
	l, err := Open(ctx, Config{Dir: dir, Signer: signer})
	if err != nil {
		return err
	}
	for {
		i, err := l.Size(ctx)
		if err != nil {
			return err
		}
		b := fmt.Appendf(nil, "leaf %d of round %d", i, round)
		if err := l.AppendAt(ctx, i, b); err != nil {
			return err
		}
		ack("leaf %d %s", i, b)
		note, c, err := l.Checkpoint(ctx)
		if err != nil {
			return err
		}
		ack("signed %d %x", c.Size, c.Root)
		if err := l.Publish(ctx, note); err != nil {
			return err
		}
		ack("published %d %x", c.Size, c.Root)
	}
}

// A ledger is everything that was ever acknowledged.
type ledger struct {
	leaves           map[uint64]string
	roots            map[uint64]string
	signed, promised uint64
}

// take reads acknowledgements. Two roots of one size are a fork.
func (g *ledger) take(t *testing.T, acks []string) {
	t.Helper()
	for _, a := range acks {
		var n uint64
		var kind, root string
		if _, err := fmt.Sscanf(a, "leaf %d", &n); err == nil {
			g.leaves[n] = a[len(fmt.Sprintf("leaf %d ", n)):]
			continue
		}
		if _, err := fmt.Sscanf(a, "%s %d %s", &kind, &n, &root); err != nil {
			t.Fatalf("%q", a)
		}
		g.root(t, n, root)
		if g.signed = max(g.signed, n); kind == "published" {
			g.promised = max(g.promised, n)
		}
	}
}

func (g *ledger) root(t *testing.T, size uint64, root string) {
	t.Helper()
	if old := g.roots[size]; old != "" && old != root {
		t.Errorf("two roots of %d leaves were signed", size)
	}
	g.roots[size] = root
}

// compare opens the log and demands all that was acknowledged, once.
func (g *ledger) compare(t *testing.T, cfg Config) {
	t.Helper()
	for _, name := range []string{signedFile, publishedFile} { // acknowledged or not
		b, err := os.ReadFile(filepath.Join(cfg.Dir, name))
		if errors.Is(err, fs.ErrNotExist) && (name == signedFile && g.signed == 0 || name == publishedFile && g.promised == 0) {
			continue
		}
		c, err := cfg.Signer.Verify(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g.root(t, c.Size, fmt.Sprintf("%x", c.Root))
		if name == signedFile && c.Size < g.signed {
			t.Errorf("%d leaves were signed, and %d are recorded", g.signed, c.Size)
		}
	}
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	size, err := l.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := uint64(len(g.leaves)); size < n || size > n+1 {
		t.Errorf("%d leaves; %d were acknowledged, and one may have been under way", size, n)
	}
	i, seen := uint64(0), map[string]bool{}
	for b, err := range l.Leaves(t.Context(), 0, size) {
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := g.leaves[i]; ok && want != string(b) || seen[string(b)] {
			t.Errorf("leaf %d is %q; %q was acknowledged", i, b, want)
		}
		g.leaves[i], seen[string(b)] = string(b), true // from now on it is there
		i++
	}
	for n, root := range g.roots {
		if got, err := l.Root(t.Context(), n); err != nil || fmt.Sprintf("%x", got) != root {
			t.Errorf("the root of %d leaves is not the one that was signed: %v", n, err)
		}
	}
	if c := l.Published(); g.promised > 0 && (c == nil || c.Size < g.promised) {
		t.Errorf("serves %+v; %d leaves were published", c, g.promised)
	}
	if _, c, err := l.Checkpoint(t.Context()); err != nil || c.Size < g.signed {
		t.Errorf("signs %+v, %v; %d leaves were signed", c, err, g.signed)
	} else {
		g.root(t, c.Size, fmt.Sprintf("%x", c.Root))
	}
}

func newLedger() *ledger { return &ledger{leaves: map[uint64]string{}, roots: map[uint64]string{}} }

// TestKilled: kill -9 at any moment, in the storage's own writes too: nothing that
// was acknowledged is lost or doubled, and no size has two roots.
func TestKilled(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		cfg, g := config(t), newLedger()
		if err := Create(cfg); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(7, 20))
		for round := range durabletest.Rounds() {
			g.take(t, durabletest.Kill(t, cfg.Dir, round, rng))
			g.compare(t, cfg)
			if t.Failed() {
				t.Fatalf("in round %d", round)
			}
		}
		t.Logf("%d leaves, %d roots", len(g.leaves), len(g.roots))
	})
}

// TestDiskFull: writes that the system refuses, at each size of file: what was
// acknowledged is there, and with room again the log goes on.
func TestDiskFull(t *testing.T) {
	for _, limit := range []uint64{8, 64, 400, 3000, 254*32 - 1} {
		t.Run(fmt.Sprintf("DS-07/%d bytes", limit), func(t *testing.T) {
			cfg, g := config(t), newLedger()
			if err := Create(cfg); err != nil {
				t.Fatal(err)
			}
			if limit > 4<<10 { // room for notes, and not for a tile of 254 hashes
				l := open(t, cfg)
				grow(t, l, 252)
				crash(t, l)
				g.compareGrown(252)
			}
			acks, last := durabletest.Full(t, cfg.Dir, 1, limit)
			t.Logf("%d acknowledged, then: %s", len(acks), last)
			g.take(t, acks)
			g.compare(t, cfg)
			g.take(t, durabletest.Kill(t, cfg.Dir, 2, rand.New(rand.NewPCG(7, limit))))
			g.compare(t, cfg)
		})
	}
}

// compareGrown takes leaves that the test itself has appended.
func (g *ledger) compareGrown(n uint64) {
	for i := range n {
		g.leaves[i] = string(leaf(i))
	}
}
