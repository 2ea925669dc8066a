// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

// picks is every coin that is free, of all states.
func picks(w *Wallet) (list []Pick, units uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.state.tokens {
		if !t.held && w.state.typeOf(t.keyset) == wire.TokenCoin {
			list, units = append(list, Pick{t.ref}), units+t.units()
		}
	}
	return list, units
}

func TestSwapIsTheSameAfterACrash(t *testing.T) {
	m := newMint(t, coins1, voucher)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 9, 8)
	p, units := picks(w)
	first, err := w.Swap(m.sets(), 1, wire.TokenCoin, p, []uint8{8, 10, 9})
	if err != nil {
		t.Fatal(err)
	}
	if e := first.Request.Wanted; e[0].Exponent != 10 || e[2].Exponent != 8 {
		t.Errorf("the order given shows: %+v", e)
	}
	w = reopen(t, w)
	if err := w.Compact(); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w)
	again, err := w.Swaps(1)
	if err != nil || len(again) != 1 || again[0].ID != first.ID || string(again[0].Request.Append(nil)) != string(first.Request.Append(nil)) {
		t.Fatalf("another swap: %v", err)
	}
	later, err := w.Swaps(2)
	if err != nil || later[0].Request.Epoch != 2 || later[0].Request.Digest() != first.Request.Digest() {
		t.Errorf("in a later epoch: %v", err)
	}
	if _, err := w.Swap(m.sets(), 1, wire.TokenCoin, p, []uint8{10, 9, 8}); err == nil {
		t.Error("coins that are in a swap were swapped again")
	}
	if _, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 10, Sets: m.sets()}); err == nil {
		t.Error("a coin that is in a swap was spent")
	}
	if st := w.Status(1, nil); st.Ordered != units || st.Balance != 0 || st.Orders != 1 {
		t.Errorf("%+v", st)
	}
	minted, code := m.swap(first.Request)
	if code != "" {
		t.Fatal(code)
	}
	evil := newMint(t, coins1)
	for name, c := range map[string]struct {
		code string
		edit func(l []wire.Minted) []wire.Minted
	}{
		"one less":           {credits.CodeChange, func(l []wire.Minted) []wire.Minted { return l[:2] }},
		"one more":           {credits.CodeChange, func(l []wire.Minted) []wire.Minted { return append(l, l[0]) }},
		"none":               {credits.CodeChange, func(l []wire.Minted) []wire.Minted { return nil }},
		"a cheaper one":      {credits.CodeChange, func(l []wire.Minted) []wire.Minted { l[0].Exponent = 9; return l }},
		"exchanged":          {credits.CodeChange, func(l []wire.Minted) []wire.Minted { l[0], l[1] = l[1], l[0]; return l }},
		"CT-15: a bad proof": {credits.CodeKey, func(l []wire.Minted) []wire.Minted { l[2].Proof[0] ^= 1; return l }},
		"CT-14: another key": {credits.CodeKey, func(l []wire.Minted) []wire.Minted {
			l[1] = evil.evaluate(evil.keys[0].Keyset().ID(), 9, first.Request.Wanted[1].Blinded)
			return l
		}},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, w.Swapped(first.ID, c.edit(slices.Clone(minted))), c.code)
			if st := w.Status(1, nil); st.Ordered != units || st.Balance != 0 {
				t.Fatalf("something of it was kept: %+v", st)
			}
		})
	}
	if err := w.Swapped(first.ID, minted); err != nil {
		t.Fatal(err)
	}
	if err := w.Swapped(first.ID, minted); !errors.Is(err, ErrUnknown) {
		t.Errorf("ended twice: %v", err)
	}
	if st := w.Status(1, nil); st.Ready != units || st.Ordered != 0 || st.Orders != 0 {
		t.Errorf("%+v", st)
	}
}

func TestSwapsThatAreNone(t *testing.T) {
	m := newMint(t, coins1, voucher, pass)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{6}, 65)...)
	p, _ := picks(w)
	many := func(n int) []uint8 { return slices.Repeat([]uint8{6}, n) }
	for name, f := range map[string]func() (*Swap, error){
		"worth less": func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenCoin, p[:2], many(1)) },
		"worth more": func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenCoin, p[:2], many(3)) },
		"nothing":    func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenCoin, nil, nil) },
		"65 coins":   func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenCoin, p, []uint8{12, 6}) },
		"65 wanted": func() (*Swap, error) {
			return w.Swap(m.sets(), 1, wire.TokenCoin, p[:1], slices.Repeat([]uint8{0}, 65))
		},
		"a coin twice":     func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenCoin, []Pick{p[0], p[0]}, []uint8{7}) },
		"passes":           func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenPass, p[:1], many(1)) },
		"no keysets":       func() (*Swap, error) { return w.Swap(nil, 1, wire.TokenCoin, p[:1], many(1)) },
		"CT-08: not sold":  func() (*Swap, error) { return w.Swap(m.sets(), 11, wire.TokenCoin, p[:1], many(1)) },
		"CT-08: too late":  func() (*Swap, error) { return w.Swap(m.sets(), 51, wire.TokenVoucher, p[:1], many(1)) },
		"no denomination":  func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenCoin, p[:1], []uint8{14}) },
		"a coin not there": func() (*Swap, error) { return w.Swap(m.sets(), 1, wire.TokenCoin, []Pick{{ref{index: 9}}}, many(1)) },
	} {
		var r *credits.Refusal
		if s, err := f(); s != nil || !errors.As(err, &r) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if st := w.Status(1, nil); st.Ready != 65<<6 || st.Orders != 0 {
		t.Errorf("%+v", st)
	}
	w.random = failing{}
	if _, err := w.Swap(m.sets(), 1, wire.TokenCoin, p[:1], many(1)); err == nil {
		t.Error("an order without a name")
	}
}

// One of several coins is spent, as after a restore: the others survive.
func TestSwapOfASpentCoin(t *testing.T) {
	t.Run("CT-01", func(t *testing.T) {
		m := newMint(t, coins1)
		w := prompt(t)
		buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10, 10)
		p, _ := picks(w)
		w.mu.Lock()
		c := w.coin(w.state.tokens[p[1].ref])
		w.mu.Unlock()
		m.spent[credits.CoinID(c.Keyset, c.Exponent, c.Nonce)] = true
		s, err := w.Swap(m.sets(), 1, wire.TokenCoin, p, []uint8{11, 10})
		if err != nil {
			t.Fatal(err)
		}
		_, code := m.swap(s.Request)
		if code != credits.CodeSpent {
			t.Fatal(code)
		}
		if err := w.Refused(s.ID, code); err != nil {
			t.Fatal(err)
		}
		if err := w.Refused(s.ID, code); !errors.Is(err, ErrUnknown) {
			t.Errorf("refused twice: %v", err)
		}
		w = reopen(t, w)
		if codes := swapAll(t, w, m, 1); !slices.Equal(codes, []string{credits.CodeSpent}) {
			t.Errorf("%v", codes)
		}
		if st := w.Status(1, nil); st.Ready != 2<<10 || st.Lost != 1<<10 {
			t.Errorf("%+v", st)
		}
	})
}

// A gateway says that a swap was refused, and it was not: the table has it.
func TestRefusalThatIsALie(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10)
	p, _ := picks(w)
	s, err := w.Swap(m.sets(), 1, wire.TokenCoin, p, []uint8{9, 9})
	if err != nil {
		t.Fatal(err)
	}
	if _, code := m.swap(s.Request); code != "" {
		t.Fatal(code)
	}
	if err := w.Refused(s.ID, "credit.epoch"); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w)
	if codes := swapAll(t, w, m, 2); !slices.Equal(codes, []string{credits.CodeSpent}) {
		t.Errorf("%v", codes)
	}
	if n, err := w.Find(1, m.sources(nil)); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := w.Find(1, m.sources(nil)); err != nil || n != 0 {
		t.Errorf("found twice: %d, %v", n, err)
	}
	if st := w.Status(1, nil); st.Ready != 2<<9 {
		t.Errorf("%+v", st)
	}
}

// sources is the mint's table, and batches of an account.
func (m *mint) sources(batches []Batch) Sources {
	return Sources{
		Table: func(keyset [32]byte) iter.Seq2[credits.TableEntry, error] {
			return func(yield func(credits.TableEntry, error) bool) {
				for _, e := range m.table {
					if !yield(e, nil) {
						return
					}
				}
			}
		},
		Issued: func(keyset [32]byte) iter.Seq2[Batch, error] {
			return func(yield func(Batch, error) bool) {
				for _, b := range batches {
					if !yield(b, nil) {
						return
					}
				}
			}
		},
	}
}

func TestBuyThatIsWrong(t *testing.T) {
	m := newMint(t, coins1, voucher)
	w := prompt(t)
	b, err := w.Buy(m.sets(), 1, wire.TokenCoin, 0, []uint8{6, 10, 6})
	if err != nil || b.Tokens[0].Exponent != 10 {
		t.Fatal(err)
	}
	w = reopen(t, w)
	again, err := w.Buys()
	if err != nil || len(again) != 1 || again[0].Request != b.Request || !slices.Equal(again[0].Tokens, b.Tokens) {
		t.Fatalf("another purchase: %v", err)
	}
	elements, proofs := m.issue(b)
	wantCode(t, w.Bought(b.Request, 1, elements[:2], proofs), credits.CodeChange)
	wantCode(t, w.Bought(b.Request, 1, append(slices.Clone(elements), elements[0]), proofs), credits.CodeChange)
	wantCode(t, w.Bought(b.Request, 1, elements, map[uint8][64]byte{10: proofs[10]}), credits.CodeKey)
	wantCode(t, w.Bought(b.Request, 1, elements, map[uint8][64]byte{10: proofs[6], 6: proofs[10]}), credits.CodeKey)
	wantCode(t, w.Bought(b.Request, 1, [][32]byte{elements[0], elements[2], elements[1]}, proofs), credits.CodeKey)
	if st := w.Status(1, nil); st.Balance != 0 {
		t.Errorf("%+v", st)
	}
	if err := w.Bought(b.Request, 1, elements, proofs); err != nil {
		t.Fatal(err)
	}
	if err := w.Bought(b.Request, 1, elements, proofs); !errors.Is(err, ErrUnknown) {
		t.Errorf("bought twice: %v", err)
	}
	if st := w.Status(1, nil); st.Ready != 1<<10+2<<6 {
		t.Errorf("%+v", st)
	}
	for name, f := range map[string]func() (*Buy, error){
		"vouchers":        func() (*Buy, error) { return w.Buy(m.sets(), 1, wire.TokenVoucher, 0, []uint8{6}) },
		"nothing":         func() (*Buy, error) { return w.Buy(m.sets(), 1, wire.TokenCoin, 0, nil) },
		"1025":            func() (*Buy, error) { return w.Buy(m.sets(), 1, wire.TokenCoin, 0, make([]uint8, 1025)) },
		"a tier of none":  func() (*Buy, error) { return w.Buy(m.sets(), 1, wire.TokenEntitlement, 3, []uint8{0}) },
		"CT-08: not sold": func() (*Buy, error) { return w.Buy(m.sets(), 11, wire.TokenCoin, 0, []uint8{6}) },
	} {
		var r *credits.Refusal
		if b, err := f(); b != nil || !errors.As(err, &r) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Dropped: the blanks are burned all the same.
	b, _ = w.Buy(m.sets(), 1, wire.TokenCoin, 0, []uint8{6})
	if err := w.Drop(b.Request); err != nil {
		t.Fatal(err)
	}
	c, _ := w.Buy(m.sets(), 1, wire.TokenCoin, 0, []uint8{6})
	if c.Tokens[0].Blinded == b.Tokens[0].Blinded {
		t.Error("a blank was used again")
	}
}

func TestRedeem(t *testing.T) {
	m := newMint(t, coins1, voucher)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 9, 8, 8, 6)
	digest := func(r [32]byte) [32]byte { return credits.CoinID(r, 1, header(1)) }
	_, err := w.Redeem(m.sets(), 1, digest)
	wantCode(t, err, credits.CodeFunds)
	if _, ok := w.Vouchers(m.sets(), 1, 14, 64); ok {
		t.Error("vouchers that are not on sale")
	}
	p, ok := w.Vouchers(m.sets(), 1, 9, 64)
	if !ok || len(p.Picks) != 4 || !slices.Equal(p.Exponents, []uint8{9, 9, 9, 9}) {
		t.Fatalf("%+v", p)
	}
	s, err := w.Swap(m.sets(), 1, wire.TokenVoucher, p.Picks, p.Exponents)
	if err != nil {
		t.Fatal(err)
	}
	minted, code := m.swap(s.Request)
	if code != "" {
		t.Fatal(code)
	}
	if err := w.Swapped(s.ID, minted); err != nil {
		t.Fatal(err)
	}
	if st := w.Status(1, nil); st.Vouchers != 4<<9 || st.Balance != 1<<6 {
		t.Errorf("%+v", st)
	}
	if _, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 9, Sets: m.sets()}); err == nil {
		t.Error("a voucher paid for a request")
	}
	r, err := w.Redeem(m.sets(), 1, digest)
	if err != nil || len(r.Vouchers) != 4 {
		t.Fatal(err)
	}
	for _, v := range r.Vouchers {
		if !m.of(v.Keyset).Verify(v.Exponent, v.Nonce, v.MAC, func(o []byte) [32]byte { return credits.SwapMAC(o, digest(r.Request)) }) {
			t.Error("a voucher does not verify")
		}
	}
	w = reopen(t, w)
	again, err := w.Redeems()
	if err != nil || len(again) != 1 || again[0].Request != r.Request || !slices.Equal(again[0].Vouchers, r.Vouchers) {
		t.Fatalf("another redemption: %v", err)
	}
	if err := w.Redeemed(r.Request, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.Redeemed(r.Request, 1); !errors.Is(err, ErrUnknown) {
		t.Errorf("redeemed twice: %v", err)
	}
	if st := w.Status(1, nil); st.Vouchers != 0 || st.Balance != 1<<6 {
		t.Errorf("%+v", st)
	}
	h := w.History()
	if len(h) != 3 || h[2] != (Event{1, "redeem", 4 << 9}) {
		t.Errorf("%+v", h)
	}
}

func TestPlan(t *testing.T) {
	m := newMint(t, coins1)
	w := newWallet(t)
	if err := w.SetPolicy(Policy{Window: 24, Renew: 5, Stock: map[uint8]int{10: 4, 8: 2}}); err != nil {
		t.Fatal(err)
	}
	p := w.Plan(m.sets(), 1)
	if len(p.Swaps) != 0 || !slices.Equal(p.Buy, []uint8{10, 10, 10, 10, 8, 8}) || p.Units != 4<<10+2<<8 {
		t.Fatalf("%+v", p)
	}
	if p := w.Plan(nil, 1); len(p.Swaps)+len(p.Buy) != 0 {
		t.Errorf("%+v", p)
	}
	b, err := w.Buy(m.sets(), 1, wire.TokenCoin, 0, p.Buy)
	if err != nil {
		t.Fatal(err)
	}
	if p := w.Plan(m.sets(), 1); len(p.Buy) != 0 {
		t.Errorf("what is on its way is ordered again: %+v", p)
	}
	elements, proofs := m.issue(b)
	if err := w.Bought(b.Request, 1, elements, proofs); err != nil {
		t.Fatal(err)
	}
	// Two of four are left: nothing is done; with one left the stock is filled from
	// change, as far as that goes.
	for n := range 3 {
		if p := w.Plan(m.sets(), 1); len(p.Buy)+len(p.Swaps) != 0 {
			t.Errorf("after %d: %+v", n, p)
		}
		s := pay(t, w, m, n, 1, 10)
		if _, err := w.Settle(header(n), m.settle(header(n), 1, &s, 16)); err != nil { // 2^9 and 2^8 come back
			t.Fatal(err)
		}
	}
	p = w.Plan(m.sets(), 1)
	if len(p.Swaps) != 1 || !slices.Equal(p.Swaps[0].Exponents, []uint8{10, 10, 8}) || len(p.Swaps[0].Picks) != 6 {
		t.Fatalf("%+v", p)
	}
	if !slices.Equal(p.Buy, []uint8{10}) {
		t.Errorf("buys %v", p.Buy)
	}
	swapAll(t, w, m, 1)
	// The next mint period, and the end of this one: what is there is renewed.
	m.keys = append(m.keys, newMint(t, coins2).keys...)
	if p := w.Plan(m.sets(), 15); len(p.Swaps) != 0 {
		t.Errorf("renewed too early: %+v", p)
	}
	before := w.Status(46, nil).Balance
	m.keys = append(m.keys, newMint(t, credits.Keyset{Type: wire.TokenCoin, First: 41, Last: 59, SpendLast: 99}).keys...)
	p = w.Plan(m.sets(), 46)
	if len(p.Swaps) != 1 {
		t.Fatalf("%+v", p)
	}
	swapAll(t, w, m, 46)
	if st := w.Status(46, nil); st.Balance != before || len(st.Keysets) != 1 || st.Keysets[0].SpendLast != 99 {
		t.Errorf("%+v", st)
	}
}

// More loose coins than a swap takes, and denominations that are not on sale.
func TestPlanAtItsBounds(t *testing.T) {
	m := newMint(t, coins1)
	w := newWallet(t)
	if err := w.SetPolicy(Policy{Window: 24, Stock: map[uint8]int{13: 1}}); err != nil {
		t.Fatal(err)
	}
	buy(t, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{7}, 70)...)
	p := w.Plan(m.sets(), 1)
	if len(p.Swaps) != 1 || len(p.Swaps[0].Picks) != 64 || !slices.Equal(p.Swaps[0].Exponents, []uint8{13}) || len(p.Buy) != 0 {
		t.Fatalf("%+v", p)
	}
	swapAll(t, w, m, 1)
	if p := w.Plan(m.sets(), 1); len(p.Swaps)+len(p.Buy) != 0 {
		t.Errorf("%+v", p)
	}
	if err := w.SetPolicy(Policy{Window: 24, Stock: map[uint8]int{14: 3}}); err != nil {
		t.Fatal(err)
	}
	if p := w.Plan(m.sets(), 1); len(p.Swaps)+len(p.Buy) != 0 || p.Short[14] != 3 {
		t.Errorf("%+v", p)
	}
}

func TestStatus(t *testing.T) {
	m := newMint(t, coins1, tier3)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10, 6)
	buy(t, w, m, 1, wire.TokenEntitlement, 3, 0)
	pay(t, w, m, 1, 1, 10)
	st := w.Status(1, func(k [32]byte, e uint8) (uint64, bool) { return 5000, e == 10 })
	if st.Balance != 1<<10+1<<6 || st.Ready != st.Balance || st.Pending != 1<<10 || len(st.Denominations) != 3 || len(st.Keysets) != 2 {
		t.Fatalf("%+v", st)
	}
	if d := st.Denominations[0]; d.Exponent != 10 || d.Ready != 1 || d.Held != 1 || d.Hiding.String() != "one of at most 5000" {
		t.Errorf("%+v", d)
	}
	if d := st.Denominations[1]; d.Exponent != 6 || d.Hiding.String() != "not known" {
		t.Errorf("%+v", d)
	}
	if st := w.Status(51, nil); st.Ready != 0 {
		t.Errorf("ready after its time: %+v", st)
	}
	if err := w.Expire(50); err != nil {
		t.Fatal(err)
	}
	if st := w.Status(50, nil); st.Lost != 0 || st.Balance == 0 {
		t.Errorf("expired in its last epoch: %+v", st)
	}
	if err := w.Expire(51); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w)
	if st := w.Status(51, nil); st.Lost != 2<<10+1<<6 || st.Balance+st.Pending != 0 || len(st.Denominations) != 1 {
		t.Errorf("%+v", st)
	}
	h := w.History()
	if e := h[len(h)-1]; e != (Event{51, "expired", 2<<10 + 1<<6}) {
		t.Errorf("%+v", h)
	}
}

func TestExport(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 6)
	s := pay(t, w, m, 1, 1, 10)
	path := filepath.Join(t.TempDir(), "export")
	if err := w.Export(filepath.Join(path, "no", "folder")); err == nil {
		t.Fatal("exported to nowhere")
	}
	w = reopen(t, w)
	if _, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(2), Class: 6, Sets: m.sets()}); !errors.Is(err, ErrMoved) {
		t.Errorf("paid from a wallet that moved: %v", err)
	}
	if err := w.Export(path); err != nil {
		t.Fatal(err)
	}
	if err := w.Export(path); err == nil {
		t.Error("overwrote")
	}
	v, err := Import(t.TempDir()+"/v", path)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if string(v.Seed().Bytes()) != string(testSeed.Bytes()) {
		t.Error("another seed")
	}
	if r, err := v.Settle(header(1), m.settle(header(1), 1, &s, 32)); err != nil || r.Back != 1<<9 {
		t.Errorf("%+v, %v", r, err)
	}
	next := pay(t, v, m, 3, 1, 9)
	for _, a := range next.Blanks {
		if slices.Contains(s.Blanks[:], a) {
			t.Error("a blank was sent twice")
		}
	}
}

// Burned blanks never push what comes later out of a search.
func TestPlanKeepsTheGap(t *testing.T) {
	m := newMint(t, coins1)
	w := newWallet(t)
	if err := w.SetPolicy(Policy{Window: 24, Stock: map[uint8]int{10: 2}}); err != nil {
		t.Fatal(err)
	}
	id := m.keys[0].Keyset().ID()
	refuse := func(epoch uint64) {
		t.Helper()
		b, err := w.Buy(m.sets(), epoch, wire.TokenCoin, 0, w.Plan(m.sets(), epoch).Buy)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Refused(b.Request, credits.CodeFunds); err != nil {
			t.Fatal(err)
		}
		if p := w.Plan(m.sets(), epoch); len(p.Buy) != 0 || p.Short[10] != 2 {
			t.Errorf("asked again in the epoch of a refusal: %+v", p)
		}
	}
	refuse(1)
	w = reopen(t, w)
	refuse(2)
	buy(t, w, m, 3, wire.TokenCoin, 0, 10, 10)
	if n := w.state.unmarked(id); n != 0 {
		t.Errorf("%d burned behind the last token", n)
	}
	w.state.next[id] += indexGap/2 + 1
	p := w.Plan(m.sets(), 4)
	if len(p.Swaps) != 1 || len(p.Swaps[0].Picks) != 1 || !slices.Equal(p.Swaps[0].Exponents, []uint8{10}) {
		t.Fatalf("%+v", p)
	}
	if err := w.Compact(); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w)
	swapAll(t, w, m, 4)
	if p := w.Plan(m.sets(), 4); len(p.Swaps) != 0 || w.state.unmarked(id) != 0 {
		t.Errorf("%+v", p)
	}
	if st := w.Status(4, nil); st.Ready != 2<<10 {
		t.Errorf("%+v", st)
	}
}

// A swap that the bank refuses for good is not tried for ever: each try burns
// blanks.
func TestPlanDoesNotInsist(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10)
	pay(t, w, m, 1, 1, 10)
	if _, err := w.Absent(header(1), 3); err != nil {
		t.Fatal(err)
	}
	for _, epoch := range []uint64{3, 4} {
		p := w.Plan(m.sets(), epoch).Swaps
		if len(p) != 1 {
			t.Fatalf("epoch %d: %+v", epoch, p)
		}
		s, err := w.Swap(m.sets(), epoch, wire.TokenCoin, p[0].Picks, p[0].Exponents)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Refused(s.ID, credits.CodeSig); err != nil {
			t.Fatal(err)
		}
		if p := w.Plan(m.sets(), epoch).Swaps; len(p) != 0 {
			t.Errorf("epoch %d, again: %+v", epoch, p)
		}
	}
	if codes := swapAll(t, w, m, 5); len(codes) != 0 {
		t.Errorf("%v", codes)
	}
	if st := w.Status(5, nil); st.Ready != 1<<10 {
		t.Errorf("%+v", st)
	}
}

// Vouchers of every number, from coins that do not make them exactly.
func TestVouchersWithARest(t *testing.T) {
	for _, c := range []struct {
		coins    []uint8
		exponent uint8
		most     int
		made     int // vouchers
		rest     uint64
	}{
		{[]uint8{13}, 9, 1, 1, 1<<13 - 1<<9},
		{[]uint8{13}, 9, 16, 16, 0},
		{[]uint8{13}, 9, 64, 16, 0},
		{[]uint8{13, 9}, 9, 1, 1, 0}, // the exact one is taken
		{[]uint8{10, 8, 8, 7}, 9, 3, 3, 0},
		{[]uint8{8, 7, 7, 6}, 9, 5, 1, 0},
		{[]uint8{8, 7, 7}, 8, 1, 1, 0},
		{[]uint8{8, 7, 7}, 8, 2, 2, 0},
		{[]uint8{12, 8}, 9, 1, 1, 1<<12 + 1<<8 - 1<<9},
		{[]uint8{8, 8, 8}, 9, 5, 1, 0},
		{[]uint8{8}, 9, 5, 0, 0},
		{[]uint8{8}, 8, 0, 0, 0},
		{[]uint8{13}, 6, 63, 62, 1<<13 - 62<<6}, // 63 and two coins are 65
		{slices.Repeat([]uint8{6}, 70), 6, 70, 64, 0},
		{slices.Repeat([]uint8{6}, 70), 12, 1, 1, 0},
		{slices.Repeat([]uint8{6}, 70), 13, 1, 0, 0},
	} {
		w, m := prompt(t), newMint(t, coins1, voucher)
		buy(t, w, m, 1, wire.TokenCoin, 0, c.coins...)
		before := w.Status(1, nil).Balance
		p, ok := w.Vouchers(m.sets(), 1, c.exponent, c.most)
		if ok != (c.made > 0) || len(p.Exponents) != c.made {
			t.Errorf("%v: %+v", c, p)
			continue
		}
		if !ok {
			continue
		}
		s, err := w.Swap(m.sets(), 1, wire.TokenVoucher, p.Picks, p.Exponents)
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		minted, code := m.swap(s.Request)
		if code != "" {
			t.Fatalf("%v: %s", c, code)
		}
		if err := w.Swapped(s.ID, minted); err != nil {
			t.Fatal(err)
		}
		st := w.Status(1, nil)
		if st.Vouchers != uint64(c.made)<<c.exponent || st.Balance+st.Vouchers != before || st.Ready != st.Balance {
			t.Errorf("%v: %+v", c, st)
		}
		var rest uint64
		for _, x := range s.Request.Wanted {
			if x.Type == wire.TokenCoin {
				rest += 1 << x.Exponent
			}
		}
		if rest != c.rest {
			t.Errorf("%v: %d units came back as coins", c, rest)
		}
	}
}
