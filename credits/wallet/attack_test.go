// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var r *credits.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// at once: nothing that is bought waits.
func prompt(t testing.TB) *Wallet {
	t.Helper()
	w := newWallet(t)
	if err := w.SetPolicy(Policy{Window: 24}); err != nil {
		t.Fatal(err)
	}
	return w
}

func pay(t testing.TB, w *Wallet, m *mint, n int, epoch uint64, class uint8) wire.Spend {
	t.Helper()
	s, err := w.Pay(Payment{Epoch: epoch, HeaderHash: header(n), Class: class, Sets: m.sets()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChangeThatIsWrong(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10)
	s := pay(t, w, m, 1, 1, 10)
	evil := newMint(t, coins1)
	id := m.keys[0].Keyset().ID()
	for name, c := range map[string]struct {
		code string
		edit func(c *wire.Change)
	}{
		"CT-13: other coins of the same worth": {credits.CodeChange, func(c *wire.Change) {
			c.Coins = nil
			for i, e := range []uint8{7, 7, 7, 5, 4} {
				c.Coins = append(c.Coins, m.evaluate(id, e, s.Blanks[i]))
			}
		}},
		"CT-13: another order":      {credits.CodeChange, func(c *wire.Change) { c.Coins[0], c.Coins[1] = c.Coins[1], c.Coins[0] }},
		"CT-10: one coin less":      {credits.CodeChange, func(c *wire.Change) { c.Coins = c.Coins[:3] }},
		"CT-10: no change":          {credits.CodeChange, func(c *wire.Change) { c.Coins, c.Keyset = nil, [32]byte{} }},
		"CT-10: change of less use": {credits.CodeChange, func(c *wire.Change) { c.Usage.Used = 1 }},
		"one coin more":             {credits.CodeChange, func(c *wire.Change) { c.Coins = append(c.Coins, m.evaluate(id, 0, s.Blanks[4])) }},
		"half of it returned":       {credits.CodeChange, func(c *wire.Change) { c.State, c.Usage = wire.ChangeReturned, wire.Usage{} }},
		"CT-11: another request":    {credits.CodeRefund, func(c *wire.Change) { c.Usage.HeaderHash = header(9) }},
		"CT-11: another epoch":      {credits.CodeRefund, func(c *wire.Change) { c.Usage.Epoch++ }},
		"CT-11: another class":      {credits.CodeRefund, func(c *wire.Change) { c.Usage.Class = 11 }},
		"CT-10: used 65":            {credits.CodeRefund, func(c *wire.Change) { c.Usage.Used = 65 }},
		"CT-14: another keyset":     {credits.CodeKey, func(c *wire.Change) { c.Keyset = header(1) }},
		"CT-14: another key": {credits.CodeKey, func(c *wire.Change) {
			c.Coins[1] = evil.evaluate(evil.keys[0].Keyset().ID(), 7, s.Blanks[1])
		}},
		"CT-15: a bad proof":     {credits.CodeKey, func(c *wire.Change) { c.Coins[2].Proof[9] ^= 1 }},
		"CT-15: a cheaper key":   {credits.CodeKey, func(c *wire.Change) { x := m.evaluate(id, 0, s.Blanks[0]); x.Exponent = 8; c.Coins[0] = x }},
		"CT-12: another's blank": {credits.CodeKey, func(c *wire.Change) { c.Coins[0] = m.evaluate(id, 8, s.Blanks[1]) }},
		"CT-06: the identity":    {credits.CodeKey, func(c *wire.Change) { c.Coins[0].Element = [32]byte{} }},
	} {
		t.Run(name, func(t *testing.T) {
			change := m.settle(header(1), 1, &s, 37)
			c.edit(change)
			if r, err := w.Settle(header(1), change); r != (Result{}) {
				t.Errorf("%+v, %v", r, err)
			} else {
				wantCode(t, err, c.code)
			}
			if st := w.Status(1, nil); st.Owed != 1 || st.Balance != 0 || st.Pending != 1<<10 {
				t.Fatalf("something of it was kept: %+v", st)
			}
		})
	}
	if _, err := w.Settle(header(2), m.settle(header(2), 1, &s, 0)); !errors.Is(err, ErrUnknown) {
		t.Errorf("change of nothing: %v", err)
	}
	for _, state := range []uint8{wire.ChangePending, wire.ChangeRefused} {
		if r, err := w.Settle(header(1), &wire.Change{State: state}); err != nil || !r.Pending {
			t.Errorf("state %d: %+v, %v", state, r, err)
		}
	}
	if o := w.Owed(); len(o) != 1 || o[0].Code != credits.CodeRefund {
		t.Errorf("owed %+v", o)
	}
	c := &wire.Change{State: wire.ChangeReturned}
	m.write(c, 1, &s, 0)
	if r, err := w.Settle(header(1), c); err != nil || r.Charged != 0 || r.Back != 1<<10 || r.Ran {
		t.Errorf("returned: %+v, %v", r, err)
	}
}

// Every usage of every kind of class gives exactly what is due.
func TestEveryUsage(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	step := uint8(1)
	if testing.Short() {
		step = 16
	}
	for used := uint8(0); used <= wire.Parts; used += step {
		buy(t, w, m, 1, wire.TokenCoin, 0, 13)
		before := w.Status(1, nil).Balance
		n := 100 + int(used)
		s := pay(t, w, m, n, 1, 13)
		r, err := w.Settle(header(n), m.settle(header(n), 1, &s, used))
		if err != nil || r.Charged != uint64(used)<<7 || r.Charged+r.Back != 1<<13 {
			t.Fatalf("used %d: %+v, %v", used, r, err)
		}
		if after := w.Status(1, nil).Balance; before-after != r.Charged {
			t.Fatalf("used %d: %d units are gone", used, before-after)
		}
	}
}

func TestNoCoin(t *testing.T) {
	m := newMint(t, coins1)
	w := newWallet(t)
	ask := func(epoch uint64, class uint8, hurry bool) error {
		_, err := w.Pay(Payment{Epoch: epoch, HeaderHash: header(int(class)), Class: class, Sets: m.sets(), Hurry: hurry})
		return err
	}
	var no *NoCoinError
	if err := ask(1, 10, false); !errors.As(err, &no) || no.Units != 0 || no.Ripe != 0 || no.Code() != credits.CodeFunds {
		t.Errorf("an empty wallet: %v", err)
	}
	t.Run("CT-20", func(t *testing.T) { // bought, and spent at once
		if err := w.SetPolicy(Policy{Delay: 2, Window: 24}); err != nil {
			t.Fatal(err)
		}
		waits := map[uint64]bool{}
		for range 40 {
			buy(t, w, m, 3, wire.TokenCoin, 0, 9)
		}
		for _, tok := range w.state.tokens {
			waits[tok.ripe] = true
		}
		if len(waits) != 3 || !waits[3] || !waits[4] || !waits[5] {
			t.Errorf("coins wait until %v", waits)
		}
		w.random = zeroToOne{} // draws 1
		buy(t, w, m, 3, wire.TokenCoin, 0, 10)
		if err := ask(3, 10, false); !errors.As(err, &no) || no.Ripe != 4 {
			t.Errorf("a coin that waits: %v", err)
		}
		if err := ask(3, 10, true); err != nil {
			t.Errorf("in a hurry: %v", err)
		}
	})
	if err := ask(4, 6, false); !errors.As(err, &no) || no.Units != 40<<9 || !strings.Contains(no.Error(), "a swap makes one") {
		t.Errorf("others are there: %v", err)
	}
	t.Run("CT-08", func(t *testing.T) { // a coin of a keyset whose time is over, or has not come
		m.keys = append(m.keys, newMint(t, coins2).keys...)
		for epoch, ok := range map[uint64]bool{20: true, 21: false, 0: false} {
			_, err := w.Pay(Payment{Epoch: epoch, HeaderHash: header(1000 + int(epoch)), Class: 9, Sets: m.sets()})
			if (err == nil) != ok {
				t.Errorf("epoch %d: %v", epoch, err)
			}
		}
		late := newMint(t, credits.Keyset{Type: wire.TokenCoin, First: 51, Last: 60, SpendLast: 99})
		m.keys = append(m.keys, late.keys...)
		if _, err := w.Pay(Payment{Epoch: 51, HeaderHash: header(2000), Class: 9, Sets: m.sets()}); !errors.As(err, &no) || no.Units != 0 {
			t.Errorf("a coin was spent after its time: %v", err)
		}
	})
	_, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 10})
	wantCode(t, err, credits.CodeClass)
	for _, class := range []uint8{0, 5, 41, 255} {
		_, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: class, Sets: m.sets()})
		wantCode(t, err, credits.CodeClass)
	}
}

type zeroToOne struct{}

// Read gives numbers of which each is 1 when eight bytes are read.
func (zeroToOne) Read(b []byte) (int, error) {
	clear(b)
	b[len(b)-1] = 1
	return len(b), nil
}

func TestLimits(t *testing.T) {
	m := newMint(t, coins1, pass)
	w := newWallet(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{10}, 9)...)
	buy(t, w, m, 1, wire.TokenPass, 0, 10, 10)
	if err := w.SetPolicy(Policy{PerEpoch: 2 << 10, PerWindow: 3 << 10, Window: 3}); err != nil {
		t.Fatal(err)
	}
	n := 0
	ask := func(epoch uint64, allowPass bool) error {
		n++
		s, err := w.Pay(Payment{Epoch: epoch, HeaderHash: header(n), Class: 10, Sets: m.sets(), Hurry: true, AllowPass: allowPass})
		if err == nil && (s.Type == wire.TokenPass) != allowPass {
			t.Errorf("paid with type %d", s.Type)
		}
		return err
	}
	var limit *LimitError
	for i, want := range []struct {
		epoch uint64
		ok    bool
	}{{4, true}, {4, true}, {4, false}, {5, true}, {5, false}, {6, false}, {7, true}, {7, true}, {7, false}, {8, true}} {
		if err := ask(want.epoch, false); (err == nil) != want.ok || !want.ok && !errors.As(err, &limit) {
			t.Errorf("%d: epoch %d: %v", i, want.epoch, err)
		}
	}
	if err := ask(7, true); err != nil {
		t.Errorf("a pass costs nothing: %v", err)
	}
	// What comes back counts as not spent.
	s := pay(t, w, m, 500, 10, 10)
	if _, err := w.Settle(header(500), m.settle(header(500), 10, &s, 0)); err != nil {
		t.Fatal(err)
	}
	if st := w.Status(10, nil); st.Spent != 0 || st.SpentWindow != 1<<10 {
		t.Errorf("spent %d, in the window %d", st.Spent, st.SpentWindow)
	}
	for _, bad := range []Policy{{}, {Window: 1025}, {Window: 1, Delay: 169}, {Window: 1, Stock: map[uint8]int{5: 1}}, {Window: 1, Stock: map[uint8]int{41: 1}},
		{Window: 1, Stock: map[uint8]int{6: 0}}, {Window: 1, Stock: map[uint8]int{6: 257}}, {Window: 1, PerEpoch: 1 << 63}} {
		if err := w.SetPolicy(bad); err == nil {
			t.Errorf("took %+v", bad)
		}
	}
	want := Policy{Stock: map[uint8]int{6: 1, 40: 256}, Delay: 168, Renew: 9, PerEpoch: 1, PerWindow: 2, Window: 1024}
	if err := w.SetPolicy(want); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w)
	if got := w.Policy(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v", got)
	}
}

func reopen(t testing.TB, w *Wallet) *Wallet {
	t.Helper()
	w.Close()
	v, err := Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestPassesAndTiers(t *testing.T) {
	m := newMint(t, coins1, pass, tier3)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenPass, 0, 10, 10)
	buy(t, w, m, 1, wire.TokenEntitlement, 3, 0)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10)
	p := Payment{Epoch: 1, HeaderHash: header(1), Class: 10, Sets: m.sets(), AllowPass: true}
	s, err := w.Pay(p)
	if err != nil || s.Type != wire.TokenPass || !m.hold(p.HeaderHash, 1, &s) {
		t.Fatalf("%v", err)
	}
	// A pass has no change; money on its blanks is refused.
	c := &wire.Change{State: wire.ChangeUsed, Usage: wire.Usage{HeaderHash: header(1), Epoch: 1, Class: 10, Used: 3}}
	bad := *c
	bad.Keyset = m.keys[0].Keyset().ID()
	bad.Coins = []wire.Minted{m.evaluate(bad.Keyset, 6, s.Blanks[0])}
	_, err = w.Settle(header(1), &bad)
	wantCode(t, err, credits.CodeChange)
	if r, err := w.Settle(header(1), c); err != nil || r.Charged != 0 || r.Back != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	p.HeaderHash, p.Tier = header(2), 4
	var no *NoCoinError
	if _, err := w.Pay(p); !errors.As(err, &no) || no.Tier != 4 {
		t.Errorf("a tier that is not there: %v", err)
	}
	p.Tier = 3
	if s, err = w.Pay(p); err != nil || s.Tier != 3 || !m.hold(p.HeaderHash, 1, &s) {
		t.Fatal(err)
	}
	if !m.keys[2].Verify(0, s.TierNonce, s.TierMAC, func(o []byte) [32]byte { return credits.SpendMAC(o, p.HeaderHash, 1, &s) }) {
		t.Error("the entitlement does not verify")
	}
	p.HeaderHash = header(3)
	if _, err := w.Pay(p); !errors.As(err, &no) {
		t.Errorf("an entitlement was shown twice: %v", err)
	}
	// A pass and an entitlement that were seen are not shown again; unsent ones are.
	if _, err := w.Absent(header(2), 3); err != nil {
		t.Fatal(err)
	}
	if st := w.Status(3, nil); len(st.Denominations) != 1 || st.Denominations[0].Type != wire.TokenCoin {
		t.Errorf("%+v", st.Denominations)
	}
	p.HeaderHash, p.AllowPass, p.Tier = header(4), false, 0
	if _, err := w.Pay(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Unsent(header(4)); err != nil {
		t.Fatal(err)
	}
	p.HeaderHash = header(5)
	if _, err := w.Pay(p); err != nil {
		t.Errorf("an unsent coin is gone: %v", err)
	}
	_, err = w.Pay(p)
	wantCode(t, err, credits.CodeSpent)
}

// What became of a payment that nobody answered.
func TestAbsent(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10, 10)
	for i := range 3 {
		pay(t, w, m, i, 2, 10)
	}
	if err := w.Failed(header(1), credits.CodeSpent); err != nil {
		t.Fatal(err)
	}
	if err := w.Failed(header(0), "Not A Code\n"); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w)
	if o := w.Owed(); len(o) != 3 {
		t.Fatalf("owed %+v", o)
	}
	for _, epoch := range []uint64{0, 2, 3} { // a hold can still come
		if r, err := w.Absent(header(0), epoch); err != nil || !r.Pending {
			t.Errorf("epoch %d: %+v, %v", epoch, r, err)
		}
	}
	if r, err := w.Absent(header(0), 4); err != nil || r.Back != 1<<10 || r.Charged != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	var no *NoCoinError
	if _, err := w.Pay(Payment{Epoch: 4, HeaderHash: header(7), Class: 10, Sets: m.sets()}); !errors.As(err, &no) || no.Units != 1<<10 {
		t.Errorf("a coin that was seen pays again: %v", err)
	}
	if _, err := w.Absent(header(1), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Pay(Payment{Epoch: 4, HeaderHash: header(7), Class: 10, Sets: m.sets()}); !errors.As(err, &no) {
		t.Errorf("a coin that was seen pays again: %v", err)
	}
	if st := w.Status(4, nil); st.Lost != 0 || st.Balance != 2<<10 || st.Pending != 1<<10 {
		t.Errorf("%+v", st)
	}
	w = reopen(t, w)
	plan := w.Plan(m.sets(), 4) // those that were seen are swapped, the one that is said to be spent alone
	if len(plan.Swaps) != 2 || len(plan.Swaps[0].Picks) != 1 || len(plan.Buy) != 0 {
		t.Fatalf("%+v", plan)
	}
	// A router that said so made it up: nothing is lost by its word.
	swapAll(t, w, m, 4)
	if st := w.Status(4, nil); st.Ready != 2<<10 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := w.Absent(header(9), 4); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// swapAll does what the plan says, and returns the codes of what was refused.
func swapAll(t testing.TB, w *Wallet, m *mint, epoch uint64) (codes []string) {
	t.Helper()
	for _, p := range w.Plan(m.sets(), epoch).Swaps {
		s, err := w.Swap(m.sets(), epoch, wire.TokenCoin, p.Picks, p.Exponents)
		if err != nil {
			t.Fatal(err)
		}
		minted, code := m.swap(s.Request)
		if code != "" {
			codes, err = append(codes, code), w.Refused(s.ID, code)
		} else {
			err = w.Swapped(s.ID, minted)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return codes
}

// TestConcurrent: many payments at once have different coins and different
// blanks, and their changes do too.
func TestConcurrent(t *testing.T) {
	t.Run("CT-27", func(t *testing.T) {
		m := newMint(t, coins1)
		w := prompt(t)
		const n = 100
		buy(t, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{10}, n)...)
		sets := m.sets()
		spends := make([]wire.Spend, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				var err error
				if spends[i], err = w.Pay(Payment{Epoch: 1, HeaderHash: header(i), Class: 10, Sets: sets}); err != nil {
					t.Error(err)
				}
				w.Status(1, nil)
			})
		}
		wg.Wait()
		seen := map[[32]byte]bool{}
		changes := make([]*wire.Change, n/4)
		for i := range n {
			if !m.hold(header(i), 1, &spends[i]) {
				t.Fatalf("payment %d: a coin twice, or a bad MAC", i)
			}
			for _, b := range spends[i].Blanks {
				if seen[b] {
					t.Fatal("a blank was sent twice")
				}
				seen[b] = true
			}
		}
		for i := range changes {
			changes[i] = m.settle(header(i), 1, &spends[i], uint8(64-i))
			for range 2 {
				wg.Go(func() {
					if _, err := w.Settle(header(i), changes[i]); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		var charged uint64
		for i := range changes {
			charged += uint64(64-i) << 4
		}
		if st := w.Status(1, nil); st.Balance+st.Pending != n<<10-charged || st.Owed != n-len(changes) {
			t.Errorf("%+v", st)
		}
	})
}
