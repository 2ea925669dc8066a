// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package wallet

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/durable/durabletest"
	"github.com/sotto-project/sotto/internal/wire"
)

func TestMain(m *testing.M) { os.Exit(durabletest.Main(m, spendForEver)) }

// spendForEver buys, pays with several at once, takes change, swaps.
func spendForEver(dir string, round int, ack func(string, ...any)) error {
	keys, err := issue.OpenFile(filepath.Join(dir, "mint"))
	if err != nil {
		return err
	}
	m := &mint{t: quiet{}, keys: []*issue.Keys{keys}, spent: map[[32]byte]bool{}}
	w, err := Open(filepath.Join(dir, "w"))
	if err != nil {
		return err
	}
	w.compact = 16 << 10 // often
	sets := m.sets()
	for n := 0; ; n++ {
		b, err := w.Buy(sets, 1, wire.TokenCoin, 0, []uint8{10, 10, 10})
		if err != nil {
			return err
		}
		ack("blanks purchase-%x %x", b.Request[:8], b.Tokens)
		elements, proofs := m.issue(b)
		if err := w.Bought(b.Request, 1, elements, proofs); err != nil {
			return err
		}
		ack("bought %d", 3<<10)
		if err := resolve(w, m, ack); err != nil {
			return err
		}
		if n%2 == 0 { // some of the next are prepared
			if err := w.Prepare(Payment{Epoch: 1, Class: 10, Sets: sets}, 1+n%3); err != nil {
				return err
			}
		}
		var wg sync.WaitGroup
		errs := make([]error, 3)
		spends := make([]wire.Spend, 3)
		for i := range 3 {
			wg.Go(func() {
				spends[i], errs[i] = w.Pay(Payment{Epoch: 1, HeaderHash: name(round, n, i), Class: 10, Sets: sets})
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		for i := range 3 {
			h := name(round, n, i)
			ack("paid %x %x", h, spends[i].Blanks[0])
			ack("blanks payment-%x %x %x", h[:8], spends[i].Nonce, spends[i].Blanks)
			if i == 2 {
				continue // nobody answers
			}
			if _, err := w.Settle(h, m.settle(h, 1, &spends[i], 37)); err != nil {
				return err
			}
			ack("settled %x", h)
		}
		p, _ := picks(w)
		p = p[:min(len(p), 8)]
		var units uint64
		for _, k := range p {
			units += w.state.tokens[k.ref].units()
		}
		s, err := w.Swap(sets, 1, wire.TokenCoin, p, credits.Split(units))
		if err != nil {
			return err
		}
		ack("blanks swap-%x %x", s.ID[:8], wanted(s))
		minted, code := m.swap(s.Request)
		if code != "" {
			return errors.New(code)
		}
		if err := w.Swapped(s.ID, minted); err != nil {
			return err
		}
		ack("swapped")
	}
}

// resolve swaps what may have been spent, each coin alone.
func resolve(w *Wallet, m *mint, ack func(string, ...any)) error {
	for _, p := range w.Plan(m.sets(), 1).Swaps {
		s, err := w.Swap(m.sets(), 1, wire.TokenCoin, p.Picks, p.Exponents)
		if err != nil {
			return err
		}
		ack("blanks swap-%x %x", s.ID[:8], wanted(s))
		minted, code := m.swap(s.Request)
		if code != "" {
			return errors.New(code)
		}
		if err := w.Swapped(s.ID, minted); err != nil {
			return err
		}
	}
	return nil
}

// quiet is for a mint outside a test: what fails there panics.
type quiet struct{ testing.TB }

func (quiet) Helper()                   {}
func (quiet) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }

func name(round, n, i int) [32]byte { return header(round<<12 | n<<2 | i) }

func wanted(s *Swap) (list [][32]byte) {
	for _, w := range s.Request.Wanted {
		list = append(list, w.Blinded)
	}
	return list
}

// A ledger is everything that was ever acknowledged.
type ledger struct {
	blanks map[string]string // what each was sent in
	paid   map[[32]byte]bool // true: settled
	first  map[[32]byte]string
	lost   int // header hashes that were not on disk
	bought uint64
}

func (g *ledger) take(t *testing.T, acks []string) {
	t.Helper()
	for _, a := range acks {
		f := strings.SplitN(a, " ", 3)
		switch f[0] {
		case "blanks":
			for _, b := range strings.Fields(strings.Trim(f[2], "[]")) {
				if b = strings.Trim(b, "{}"); len(b) < 64 {
					continue // an exponent
				}
				if was, ok := g.blanks[b]; ok && was != f[1] {
					t.Fatalf("a blank was sent in %s and in %s", was, f[1])
				}
				g.blanks[b] = f[1]
			}
		case "paid", "settled":
			h, err := hex.DecodeString(f[1])
			if err != nil || len(h) != 32 {
				t.Fatalf("%q: %v", a, err)
			}
			g.paid[[32]byte(h)] = f[0] == "settled"
			if f[0] == "paid" {
				g.first[[32]byte(h)] = f[2]
			}
		case "bought":
			var n uint64
			fmt.Sscan(f[1], &n)
			g.bought += n
		}
	}
}

// check opens the wallet after a kill: everything that was acknowledged is there.
func (g *ledger) check(t *testing.T, dir string) {
	t.Helper()
	w, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	doubtful := map[string]bool{} // by the first blank
	for _, p := range w.state.prepared {
		b, err := w.blank(ref{p.keyset, p.generation, p.first})
		if err != nil {
			t.Fatal(err)
		}
		doubtful[fmt.Sprintf("%x", b.Element)] = p.state == preparedDoubtful
	}
	for h, settled := range g.paid {
		_, open := w.state.payments[h]
		_, closed := w.state.closed[h]
		if settled && !closed || !open && !closed && !doubtful[g.first[h]] {
			t.Errorf("payment %x is forgotten", h[:8])
		}
		if !open && !closed { // the coin is in doubt: that is known until it was swapped
			g.lost++
			delete(g.paid, h)
		}
	}
	st := w.Status(1, nil)
	var bought, spent uint64
	for _, e := range w.History() {
		switch e.Kind {
		case "buy":
			bought += e.Units
		case "spend":
			spent += e.Units
		}
	}
	if bought < g.bought || bought != st.Balance+st.Pending+st.Ordered+spent {
		t.Errorf("bought %d, of which %d acknowledged; spent %d; %+v", bought, g.bought, spent, st)
	}
}

func killWorld(t *testing.T) (dir string, g *ledger) {
	t.Helper()
	dir = t.TempDir()
	m := newMint(t, coins1)
	if err := issue.CreateFile(filepath.Join(dir, "mint"), m.keys[0]); err != nil {
		t.Fatal(err)
	}
	w, err := Create(filepath.Join(dir, "w"), testSeed)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetPolicy(Policy{Window: 24}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return dir, &ledger{blanks: map[string]string{}, paid: map[[32]byte]bool{}, first: map[[32]byte]string{}}
}

func TestKilled(t *testing.T) {
	t.Run("CT-03", func(t *testing.T) {
		dir, g := killWorld(t)
		rng := rand.New(rand.NewPCG(1, 2))
		for round := range durabletest.Rounds() {
			g.take(t, durabletest.Kill(t, dir, round, rng))
			g.check(t, filepath.Join(dir, "w"))
		}
		if len(g.paid) == 0 || len(g.blanks) == 0 {
			t.Error("nothing was done")
		}
	})
}

func TestDiskFull(t *testing.T) {
	for _, limit := range []uint64{3000, 5000, 9001, 20000} {
		dir, g := killWorld(t)
		acks, last := durabletest.Full(t, dir, 1, limit)
		if !strings.Contains(last, "wallet") && !strings.Contains(last, "durable") {
			t.Errorf("limit %d: %s", limit, last)
		}
		g.take(t, acks)
		g.check(t, filepath.Join(dir, "w"))
		g.take(t, durabletest.Kill(t, dir, 2, rand.New(rand.NewPCG(1, limit))))
		g.check(t, filepath.Join(dir, "w"))
		if left, err := filepath.Glob(filepath.Join(dir, "w", ".*")); err != nil && !errors.Is(err, fs.ErrNotExist) || len(left) > 1 {
			t.Errorf("left behind %v", left)
		}
	}
}
