// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

func prepare(t testing.TB, w *Wallet, m *mint, epoch uint64, class uint8, n int) {
	t.Helper()
	if err := w.Prepare(Payment{Epoch: epoch, Class: class, Sets: m.sets(), Hurry: true}, n); err != nil {
		t.Fatal(err)
	}
}

// killed opens a wallet again whose process did nothing before it ended.
func killed(t testing.TB, w *Wallet) *Wallet {
	t.Helper()
	w.late.Wait()
	w.mu.Lock()
	w.err = errors.New("killed")
	w.mu.Unlock()
	return reopen(t, w)
}

// forgets is a journal of which nothing reaches the disk any more, and nobody is
// told: the power is about to go.
type forgets struct{ journal }

type told struct{}

func (told) Wait() error { return nil }

func (forgets) Add([]byte) waiter { return told{} }

// lost sends a prepared payment whose record is lost, and opens the wallet again.
func lost(t testing.TB, w *Wallet, m *mint, n int, class uint8) (wire.Spend, *Wallet) {
	t.Helper()
	whole := w.journal
	w.journal = forgets{whole}
	s := pay(t, w, m, n, 1, class)
	w.late.Wait()
	w.journal = whole
	return s, killed(t, w)
}

// swapDoubtful does what the plan has for what may be spent, and returns the codes.
func swapDoubtful(t testing.TB, w *Wallet, m *mint, epoch uint64) (codes []string) {
	t.Helper()
	for _, p := range w.Plan(m.sets(), epoch).Swaps {
		if len(p.Picks) != 1 {
			t.Fatalf("%d coins in a swap of what may be spent", len(p.Picks))
		}
		s, err := w.Swap(m.sets(), epoch, wire.TokenCoin, p.Picks, p.Exponents)
		if err != nil {
			t.Fatal(err)
		}
		minted, code := m.swap(s.Request)
		if code == "" {
			err = w.Swapped(s.ID, minted)
		} else {
			err = w.Refused(s.ID, code)
		}
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code)
	}
	return codes
}

func (m *mint) entries([32]byte) iter.Seq2[credits.TableEntry, error] {
	return func(yield func(credits.TableEntry, error) bool) {
		for _, e := range m.table {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func trace(t testing.TB, w *Wallet, m *mint, epoch uint64) int {
	t.Helper()
	n, err := w.Trace(epoch, m.entries)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A prepared payment leaves while the disk is busy; one that is not waits.
func TestPreparedWaitsForNoDisk(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10)
	prepare(t, w, m, 1, 10, 1)
	g := &gate{w.journal, make(chan bool, 2), make(chan bool)}
	w.journal = g
	s := pay(t, w, m, 1, 1, 10) // this would not end
	<-g.queued
	if !m.hold(header(1), 1, &s) {
		t.Error("the bank refused an honest spend")
	}
	done := make(chan error)
	go func() {
		_, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(2), Class: 10, Sets: m.sets()})
		done <- err
	}()
	<-g.queued
	select {
	case <-done:
		t.Fatal("what was not prepared left before it was written")
	default:
	}
	close(g.open)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r, err := w.Settle(header(1), m.settle(header(1), 1, &s, 37)); err != nil || r.Charged != 37<<4 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Nothing may leave of what is being prepared and is not on disk.
func TestNotPreparedBeforeItIsOnDisk(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10)
	g := &gate{w.journal, make(chan bool, 4), make(chan bool)}
	w.journal = g
	done := make(chan error, 2)
	go func() { done <- w.Prepare(Payment{Epoch: 1, Class: 10, Sets: m.sets()}, 1) }()
	<-g.queued
	sets := m.sets()
	go func() {
		_, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 10, Sets: sets})
		done <- err
	}()
	<-g.queued
	select {
	case <-done:
		t.Fatal("done before the disk")
	default:
	}
	close(g.open)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestLostHeaderHash: the spend left and the record of its header hash did not
// reach the disk. What the bank says resolves it, to the unit.
func TestLostHeaderHash(t *testing.T) {
	begin := func(t *testing.T, policy Policy) (*mint, wire.Spend, *Wallet) {
		m := newMint(t, coins1)
		w := newWallet(t)
		if err := w.SetPolicy(policy); err != nil {
			t.Fatal(err)
		}
		buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10, 10)
		prepare(t, w, m, 1, 10, 1)
		s, v := lost(t, w, m, 1, 10)
		if st := v.Status(1, nil); st.Balance != 3<<10 || st.Ready != 2<<10 || st.Prepared != 0 || st.Owed != 0 || st.Spent != 1<<10 {
			t.Fatalf("opened again: %+v", st)
		}
		return m, s, v
	}
	plain := Policy{Window: 24}
	t.Run("CT-03: it arrived, part of it was used", func(t *testing.T) {
		for _, used := range []uint8{0, 1, 37, 63} {
			m, s, w := begin(t, plain)
			if !m.hold(header(1), 1, &s) {
				t.Fatal("the bank refused an honest spend")
			}
			if codes := swapDoubtful(t, w, m, 1); !slices.Equal(codes, []string{credits.CodeSpent}) {
				t.Fatalf("swapped: %v", codes)
			}
			st := w.Status(1, nil)
			if due, all := w.Gone(2); due != 0 || all != 1 || st.Balance != 2<<10 || st.Pending != 1<<10 || st.Owed != 1 || st.Lost != 0 {
				t.Fatalf("%d of %d due, %+v", due, all, st)
			}
			if n := trace(t, w, m, 2); n != 0 {
				t.Fatal("looked for before a hold has to have ended")
			}
			m.settle(header(1), 1, &s, used)
			w = reopen(t, w)
			if n := trace(t, w, m, 3); n != 1 {
				t.Fatalf("found %d", n)
			}
			charged := uint64(used) << 4
			if st := w.Status(1, nil); st.Balance != 3<<10-charged || st.Pending != 0 || st.Owed != 0 || st.Lost != 0 || st.Spent != charged {
				t.Fatalf("used %d: %+v", used, st)
			}
			w = reopen(t, w)
			if st := w.Status(1, nil); st.Balance != 3<<10-charged {
				t.Errorf("opened again: %+v", st)
			}
		}
	})
	t.Run("CT-03: it arrived, all of it was used", func(t *testing.T) {
		m, s, w := begin(t, plain)
		m.hold(header(1), 1, &s)
		m.settle(header(1), 1, &s, wire.Parts)
		swapDoubtful(t, w, m, 1)
		for i, epoch := range []uint64{3, 3, 4} { // a bank may be late in its first epoch
			if n := trace(t, w, m, epoch); n != i/2 {
				t.Errorf("look %d: %d ended", i, n)
			}
		}
		if st := w.Status(1, nil); st.Balance != 2<<10 || st.Pending != 0 || st.Spent != 1<<10 || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("CT-03: it did not arrive", func(t *testing.T) {
		m, s, w := begin(t, plain)
		if codes := swapDoubtful(t, w, m, 1); !slices.Equal(codes, []string{""}) {
			t.Fatalf("swapped: %v", codes)
		}
		if m.hold(header(1), 1, &s) {
			t.Error("a coin that was swapped pays")
		}
		if st := w.Status(1, nil); st.Balance != 3<<10 || st.Ready != 3<<10 || st.Spent != 0 || st.Owed != 0 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("CT-12: nothing of it is sent again", func(t *testing.T) {
		m, s, w := begin(t, plain)
		sent := map[[32]byte]bool{s.Nonce: true}
		for _, b := range s.Blanks {
			sent[b] = true
		}
		for n := range 2 {
			prepare(t, w, m, 1, 10, 1)
			again := pay(t, w, m, 10+n, 1, 10)
			for _, b := range append(again.Blanks[:], again.Nonce) {
				if sent[b] {
					t.Fatalf("payment %d sends what the lost one sent: the two are one wallet's", n)
				}
				sent[b] = true
			}
		}
		var no *NoCoinError
		if _, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(20), Class: 10, Sets: m.sets()}); !errors.As(err, &no) {
			t.Errorf("the coin in doubt pays: %v", err)
		}
	})
	t.Run("limits count what may have been spent", func(t *testing.T) {
		m, _, w := begin(t, Policy{Window: 24, PerEpoch: 2 << 10})
		pay(t, w, m, 10, 1, 10)
		var limit *LimitError
		if _, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(11), Class: 10, Sets: m.sets()}); !errors.As(err, &limit) {
			t.Errorf("over the limit: %v", err)
		}
		swapDoubtful(t, w, m, 1) // it was not spent
		pay(t, w, m, 12, 1, 10)
	})
}

// TestFalseTable: a bank that writes something else than change into the table
// is caught, and nothing of it is kept.
func TestFalseTable(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		edit func(m, evil *mint, s *wire.Spend)
	}{
		"CT-14: another key": {credits.CodeKey, func(m, evil *mint, s *wire.Spend) {
			x := evil.evaluate(evil.keys[0].Keyset().ID(), 9, s.Blanks[0])
			m.table = append(m.table, credits.TableEntry{Name: credits.TableName(s.Blanks[0]), Minted: x})
		}},
		"CT-13: not canonical": {credits.CodeChange, func(m, _ *mint, s *wire.Spend) {
			for i, e := range []uint8{8, 8} {
				m.evaluate(m.keys[0].Keyset().ID(), e, s.Blanks[i])
			}
		}},
		"CT-13: another order": {credits.CodeChange, func(m, _ *mint, s *wire.Spend) {
			for i, e := range []uint8{8, 9} {
				m.evaluate(m.keys[0].Keyset().ID(), e, s.Blanks[i])
			}
		}},
		"CT-13: another blank":      {credits.CodeChange, func(m, _ *mint, s *wire.Spend) { m.evaluate(m.keys[0].Keyset().ID(), 9, s.Blanks[1]) }},
		"CT-13: less than a part":   {credits.CodeChange, func(m, _ *mint, s *wire.Spend) { m.evaluate(m.keys[0].Keyset().ID(), 3, s.Blanks[0]) }},
		"CT-10: more than was paid": {credits.CodeChange, func(m, _ *mint, s *wire.Spend) { m.evaluate(m.keys[0].Keyset().ID(), 11, s.Blanks[0]) }},
	} {
		t.Run(name, func(t *testing.T) {
			m, evil := newMint(t, coins1), newMint(t, coins1)
			w := prompt(t)
			buy(t, w, m, 1, wire.TokenCoin, 0, 10)
			prepare(t, w, m, 1, 10, 1)
			s, w := lost(t, w, m, 1, 10)
			m.hold(header(1), 1, &s)
			swapDoubtful(t, w, m, 1)
			c.edit(m, evil, &s)
			n, err := w.Trace(3, m.entries)
			wantCode(t, err, c.code)
			if st := w.Status(1, nil); n != 0 || st.Balance != 0 || st.Pending != 1<<10 || st.Owed != 1 {
				t.Errorf("ended %d, %+v", n, st)
			}
		})
	}
	t.Run("a table that ends early", func(t *testing.T) {
		m := newMint(t, coins1)
		w := prompt(t)
		buy(t, w, m, 1, wire.TokenCoin, 0, 10)
		prepare(t, w, m, 1, 10, 1)
		s, w := lost(t, w, m, 1, 10)
		m.hold(header(1), 1, &s)
		swapDoubtful(t, w, m, 1)
		broken := errors.New("broken")
		for epoch := range uint64(9) {
			if n, err := w.Trace(epoch, func([32]byte) iter.Seq2[credits.TableEntry, error] {
				return func(yield func(credits.TableEntry, error) bool) { yield(credits.TableEntry{}, broken) }
			}); n != 0 || epoch >= 3 && err == nil {
				t.Errorf("epoch %d: ended %d, %v", epoch, n, err)
			}
		}
	})
}

// A wallet that is closed gives everything back: the coin is as before, and not
// even blanks are used up.
func TestClosedGivesBack(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{10}, 6)...)
	before := printAll(w.state.snapshot())
	for n := range 7 {
		prepare(t, w, m, 1, 10, n)
		if st := w.Status(1, nil); st.Prepared != uint64(min(n, 6))<<10 || st.Balance != 6<<10 || st.Ready != 6<<10 {
			t.Errorf("%d prepared: %+v", n, st)
		}
		w = reopen(t, w)
		if after := printAll(w.state.snapshot()); !slices.EqualFunc(before, after, bytes.Equal) {
			t.Errorf("%d prepared: the wallet is another when it was closed", n)
		}
	}
	prepare(t, w, m, 1, 10, 4)
	file := filepath.Join(t.TempDir(), "export")
	if err := w.Export(file); err != nil {
		t.Fatal(err)
	}
	v, err := Import(t.TempDir()+"/v", file)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if after := printAll(v.state.snapshot()); !slices.EqualFunc(before, after, bytes.Equal) {
		t.Error("an export of what was prepared")
	}
	if err := w.Prepare(Payment{Epoch: 1, Class: 10, Sets: m.sets()}, 1); !errors.Is(err, ErrMoved) {
		t.Errorf("prepared in a wallet that moved: %v", err)
	}
}

// What is prepared is part of the stock, and can be used for everything else.
func TestPreparedIsInNobodysWay(t *testing.T) {
	m := newMint(t, coins1, voucher, pass, tier3)
	w := newWallet(t)
	if err := w.SetPolicy(Policy{Window: 24, Stock: map[uint8]int{10: 2}}); err != nil {
		t.Fatal(err)
	}
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10)
	buy(t, w, m, 1, wire.TokenEntitlement, 3, 0)
	prepare(t, w, m, 1, 10, 2)
	if p := w.Plan(m.sets(), 1); len(p.Swaps) != 0 || len(p.Buy) != 0 {
		t.Errorf("what is prepared is missing in the stock: %+v", p)
	}
	// An entitlement beside it: the coin pays, but what is shown is written first.
	s, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 10, Tier: 3, Sets: m.sets()})
	if err != nil || s.Tier != 3 {
		t.Fatal(err)
	}
	if err := w.Unsent(header(1)); err != nil {
		t.Fatal(err)
	}
	prepare(t, w, m, 1, 10, 2)
	// A pass goes first.
	buy(t, w, m, 1, wire.TokenPass, 0, 10)
	if s, err = w.Pay(Payment{Epoch: 1, HeaderHash: header(2), Class: 10, AllowPass: true, Sets: m.sets()}); err != nil || s.Type != wire.TokenPass {
		t.Fatalf("type %d, %v", s.Type, err)
	}
	// A coin of another class is made of one.
	plan, ok := w.PlanFor(m.sets(), 1, 11)
	if !ok || len(plan.Picks) != 2 {
		t.Fatalf("%v: %+v", ok, plan)
	}
	x, err := w.Swap(m.sets(), 1, wire.TokenCoin, plan.Picks, plan.Exponents)
	if err != nil {
		t.Fatal(err)
	}
	if st := w.Status(1, nil); st.Prepared != 0 || st.Ordered != 2<<10 {
		t.Errorf("%+v", st)
	}
	w = killed(t, w)
	if st := w.Status(1, nil); st.Ordered != 2<<10 || len(w.state.prepared) != 0 {
		t.Errorf("after a crash: %+v", st)
	}
	minted, code := m.swap(x.Request)
	if err := w.Swapped(x.ID, minted); err != nil || code != "" || w.Status(1, nil).Balance != 2<<10 {
		t.Errorf("swapped: %q, %v", code, err)
	}
}

// What is prepared is for one epoch and the keyset on sale in it.
func TestPreparedForAnEpoch(t *testing.T) {
	t.Run("CT-08", func(t *testing.T) {
		m := newMint(t, coins1, coins2)
		w := prompt(t)
		buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10, 10, 6)
		prepare(t, w, m, 1, 6, 1)
		prepare(t, w, m, 1, 10, 2)
		first := w.state.ready()
		s := pay(t, w, m, 1, 2, 10)
		if s.Blanks[0] == [32]byte{} || !m.hold(header(1), 2, &s) || w.state.next[m.keys[0].Keyset().ID()] != first[0].first+8 {
			t.Error("what was prepared for another epoch does not pay")
		}
		prepare(t, w, m, 3, 10, 2) // frees what nobody used in this epoch
		for _, p := range w.state.ready() {
			if p.epoch != 3 || p.class != 10 {
				t.Errorf("prepared for epoch %d, class %d", p.epoch, p.class)
			}
		}
		if st := w.Status(3, nil); st.Prepared != 2<<10 {
			t.Errorf("%+v", st)
		}
		s = pay(t, w, m, 2, 11, 10) // the next period's coins are on sale
		if !m.hold(header(2), 11, &s) {
			t.Error("refused")
		}
		if r, err := w.Settle(header(2), m.settle(header(2), 11, &s, 1)); err != nil || r.Charged != 1<<4 {
			t.Errorf("%+v, %v", r, err)
		}
		prepare(t, w, m, 11, 10, 2)
		w = killed(t, w)
		if err := w.Expire(51); err != nil { // the coins are of the first period
			t.Fatal(err)
		}
		if len(w.state.prepared) != 0 {
			t.Error("a doubt about a coin that has ended")
		}
	})
	t.Run("CT-20", func(t *testing.T) { // a coin that should wait is not taken where another is there
		m := newMint(t, coins1)
		w := newWallet(t)
		if err := w.SetPolicy(Policy{Delay: 2, Window: 24}); err != nil {
			t.Fatal(err)
		}
		w.random = zeroToOne{} // draws 1
		buy(t, w, m, 3, wire.TokenCoin, 0, 10)
		if err := w.Prepare(Payment{Epoch: 3, Class: 10, Sets: m.sets()}, 1); err != nil || len(w.state.prepared) != 0 {
			t.Errorf("prepared a coin that waits: %v", err)
		}
		prepare(t, w, m, 3, 10, 1) // in a hurry
		if _, err := w.Pay(Payment{Epoch: 3, HeaderHash: header(1), Class: 10, Sets: m.sets()}); err == nil {
			t.Error("spent one that waits without hurry")
		}
		buy(t, w, m, 2, wire.TokenCoin, 0, 10) // waits until 3
		s, err := w.Pay(Payment{Epoch: 3, HeaderHash: header(2), Class: 10, Sets: m.sets(), Hurry: true})
		if err != nil || len(w.state.ready()) != 1 || !m.hold(header(2), 3, &s) {
			t.Errorf("took the one that waits: %v", err)
		}
		buy(t, w, m, 2, wire.TokenCoin, 0, 10)
		prepare(t, w, m, 3, 10, 1)
		for _, p := range w.state.ready() {
			if w.state.tokens[p.coin].ripe > 3 {
				t.Error("the one that waits stays prepared")
			}
		}
	})
}

// The snapshot has what is prepared, doubtful and gone.
func TestSnapshotOfPrepared(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 9, 9, 8)
	prepare(t, w, m, 1, 10, 1)
	s, w := lost(t, w, m, 1, 10)
	m.hold(header(1), 1, &s)
	swapDoubtful(t, w, m, 1)
	prepare(t, w, m, 1, 9, 2)
	w = killed(t, w)
	prepare(t, w, m, 1, 8, 1)
	if _, err := w.Swap(m.sets(), 1, wire.TokenCoin, w.Plan(m.sets(), 1).Swaps[0].Picks, []uint8{9}); err != nil {
		t.Fatal(err)
	}
	states := map[uint8]int{}
	for _, p := range w.state.prepared {
		states[p.state]++
	}
	if fmt.Sprint(states) != "map[0:1 1:2 2:1]" {
		t.Fatalf("prepared, doubtful, gone: %v", states)
	}
	first := printAll(w.state.snapshot())
	u := newState()
	for _, r := range first {
		if err := u.replay(r); err != nil {
			t.Fatal(err)
		}
	}
	if second := printAll(u.snapshot()); !slices.EqualFunc(first, second, bytes.Equal) {
		t.Error("a snapshot comes to another state")
	}
	if u.next[m.keys[0].Keyset().ID()] != w.state.next[m.keys[0].Keyset().ID()] || u.spent[1] != w.state.spent[1] {
		t.Error("other indexes, or another sum")
	}
	if err := w.Compact(); err != nil {
		t.Fatal(err)
	}
	w = killed(t, w)
	if st := w.Status(1, nil); st.Balance+st.Pending+st.Ordered != 1<<10+2<<9+1<<8 || st.Spent != 1<<10+2<<9+1<<8 {
		t.Errorf("%+v", st)
	}
}

// A record about something prepared that does not fit is refused.
func TestPreparedRecordsThatDoNotFit(t *testing.T) {
	m := newMint(t, coins1)
	k := m.keys[0].Keyset()
	coin := &coinRecord{token{ref: ref{keyset: k.ID(), index: 1}, exponent: 10, output: everyRecord()[2].(*coinRecord).output}}
	p := preparedRecord{epoch: 1, class: 10, coin: coin.ref, keyset: k.ID(), first: 8}
	edit := func(f func(*preparedRecord)) *preparedRecord { q := p; f(&q); return &q }
	fresh := func(list ...record) *state {
		s := newState()
		for _, r := range append([]record{&keysetRecord{k.Append(nil)}, coin}, list...) {
			if err := s.apply(r); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	paid := &payRecord{hash: header(1), epoch: 1, class: 10, coin: coin.ref, keyset: k.ID(), first: 8}
	other := *paid
	other.first = 16
	gone := edit(func(p *preparedRecord) { p.state, p.coin.index = preparedGone, 2 })
	for name, c := range map[string]struct {
		s *state
		r record
	}{
		"a coin that is not there":            {fresh(), edit(func(p *preparedRecord) { p.coin.index = 9 })},
		"another class":                       {fresh(), edit(func(p *preparedRecord) { p.class = 11 })},
		"of no keyset":                        {fresh(), edit(func(p *preparedRecord) { p.keyset = header(1) })},
		"of a coin that paid":                 {fresh(paid), &p},
		"with other blanks":                   {fresh(&p), edit(func(p *preparedRecord) { p.first = 16 })},
		"again after a crash":                 {fresh(&p, &doubtedRecord{}), &p},
		"gone with its coin":                  {fresh(), edit(func(p *preparedRecord) { p.state = preparedGone })},
		"paid with other blanks":              {fresh(&p), &other},
		"paid after a crash, and held":        {fresh(&p, paid), paid},
		"paid in doubt":                       {fresh(&p, &doubtedRecord{}), paid},
		"a coin that is gone":                 {fresh(gone), &coinRecord{token{ref: gone.coin, exponent: 10, output: coin.output}}},
		"freed and not prepared":              {fresh(), &freedRecord{coin.ref}},
		"freed after a crash":                 {fresh(&p, &doubtedRecord{}), &freedRecord{coin.ref}},
		"found and not prepared":              {fresh(), &foundRecord{coin: coin.ref}},
		"found before it is known to be gone": {fresh(&p, &doubtedRecord{}), &foundRecord{coin: coin.ref}},
		"found with too much":                 {fresh(gone), &foundRecord{coin: gone.coin, coins: []made{{11, coin.output}}}},
		"an order of it":                      {fresh(&p), &orderRecord{id: header(4), what: orderSwap, paid: []ref{coin.ref}, wanted: []want{{k.ID(), 10, 30}}}},
	} {
		if err := c.s.apply(c.r); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// stepped is a journal whose writes end one by one.
type stepped struct {
	journal
	adds chan chan bool
	over chan bool // closed when the test is: nothing waits any more
}

type step struct {
	waiter
	open, over chan bool
}

func (s step) Wait() error {
	select {
	case <-s.open:
	case <-s.over:
	}
	return s.waiter.Wait()
}

func stepwise(t *testing.T, w *Wallet) *stepped {
	s := &stepped{w.journal, make(chan chan bool, 9), make(chan bool)}
	w.journal = s
	t.Cleanup(func() { close(s.over) })
	return s
}

func (s *stepped) Add(r []byte) waiter {
	open := make(chan bool)
	c := s.journal.Add(r)
	s.adds <- open
	return step{c, open, s.over}
}

// What was freed and prepared anew is ready when that is on disk, not when what
// was prepared before is: the power may go between the two, and the coin would be
// free again.
func TestPreparedAnew(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10)
	sets := m.sets()
	g := stepwise(t, w)
	first, second, paid := make(chan error), make(chan error), make(chan error)
	go func() { first <- w.Prepare(Payment{Epoch: 1, Class: 10, Sets: sets}, 1) }()
	one := <-g.adds
	w.mu.Lock()
	if err := w.free(func(*preparedRecord) bool { return true }); err != nil {
		t.Fatal(err)
	}
	w.mu.Unlock()
	<-g.adds
	go func() { second <- w.Prepare(Payment{Epoch: 1, Class: 10, Sets: sets}, 1) }()
	two := <-g.adds
	close(one)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 10, Sets: sets})
		paid <- err
	}()
	three := <-g.adds
	select {
	case <-paid:
		t.Fatal("paid with what is not on disk")
	default:
	}
	close(two)
	close(three)
	if err := errors.Join(<-second, <-paid); err != nil {
		t.Error(err)
	}
}

// Blanks that were prepared and not sent are free again only if none behind them
// was used.
func TestFreedBehindAPurchase(t *testing.T) {
	t.Run("CT-12", func(t *testing.T) {
		m := newMint(t, coins1)
		w := prompt(t)
		buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10, 10)
		sent := map[[32]byte]bool{}
		send := func(list ...[32]byte) {
			t.Helper()
			for _, b := range list {
				if sent[b] {
					t.Fatal("a blank is sent twice")
				}
				sent[b] = true
			}
		}
		prepare(t, w, m, 1, 10, 1)
		b, err := w.Buy(m.sets(), 1, wire.TokenCoin, 0, slices.Repeat([]uint8{6}, 9))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range b.Tokens {
			send(x.Blinded)
		}
		w = reopen(t, w)
		for n := range 3 {
			prepare(t, w, m, 1, 10, 3-n)
			s := pay(t, w, m, n, 1, 10)
			send(s.Blanks[:]...)
			w = reopen(t, w)
		}
	})
}

// A payment in another epoch than it was prepared for is written first: after a
// crash nobody would know until when the bank may hold it.
func TestPreparedForAnotherEpochIsWritten(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	buy(t, w, m, 1, wire.TokenCoin, 0, 10)
	prepare(t, w, m, 1, 10, 1)
	g := stepwise(t, w)
	sets, paid := m.sets(), make(chan error)
	go func() {
		_, err := w.Pay(Payment{Epoch: 2, HeaderHash: header(1), Class: 10, Sets: sets})
		paid <- err
	}()
	one := <-g.adds
	select {
	case <-paid:
		t.Fatal("paid before it was written")
	default:
	}
	close(one)
	if err := <-paid; err != nil {
		t.Error(err)
	}
}
