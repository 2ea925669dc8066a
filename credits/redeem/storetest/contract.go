// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/wire"
)

// A Database is what a store keeps its things in. Open may be called again:
// after what it returned was closed, or, where the database is shared, any time.
type Database struct {
	Open   func(t testing.TB) redeem.Store
	Shared bool
}

// A Maker makes a new database of a generation.
type Maker func(t testing.TB, generation uint64) Database

// generation is that of databases in the contract's tests.
const generation = 7

// Contract runs what every store must do.
func Contract(t *testing.T, maker Maker) {
	for name, f := range map[string]func(*testing.T, Maker){
		"begin": testBegin, "advance": testAdvance, "fence": testFence, "rates": testRates, "parts": testParts,
		"tables": testTables, "reads": testReads, "reopen": testReopen, "one coin": testOneCoin, "batches": testBatches, "generation": testRaise,
	} {
		t.Run(name, func(t *testing.T) { f(t, maker) })
	}
}

func id(parts ...any) [32]byte { return sha256.Sum256([]byte(fmt.Sprint(parts...))) }

func draft(n int, coins ...int) *redeem.Draft {
	d := &redeem.Draft{Op: redeem.Op{Key: id("op", n), Until: 40, Epoch: 5, State: redeem.StateHeld, Data: []byte(fmt.Sprint("data of ", n))}}
	for _, c := range coins {
		d.Coins = append(d.Coins, redeem.Coin{ID: id("coin", c), Until: 40})
	}
	return d
}

func line(keyset, name [32]byte, exponent uint8, mark byte) redeem.Entry {
	return redeem.Entry{Keyset: keyset, Until: 40, TableEntry: credits.TableEntry{Name: name, Minted: wire.Minted{Exponent: exponent, Element: [32]byte{mark}, Proof: [64]byte{mark}}}}
}

// fresh is a store that serves in epoch 5.
func fresh(t testing.TB, maker Maker) redeem.Store {
	t.Helper()
	s := maker(t, generation).Open(t)
	ok(t, s.Prepare(t.Context(), []uint64{40, 50}))
	ok(t, s.Serve(t.Context(), generation, 5))
	return s
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

func same(a, b redeem.Op) bool {
	return a.Key == b.Key && a.Until == b.Until && a.Epoch == b.Epoch && a.State == b.State && a.Version == b.Version && bytes.Equal(a.Data, b.Data)
}

func testBegin(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	d := draft(1, 1, 2)
	op, err := s.Begin(ctx, generation, d)
	ok(t, err)
	if !same(op, d.Op) {
		t.Fatalf("%+v", op)
	}
	t.Run("CT-04 the same again", func(t *testing.T) {
		other := draft(1, 3)
		other.Data = []byte("another")
		op, err := s.Begin(ctx, generation, other)
		ok(t, err)
		if !same(op, d.Op) {
			t.Errorf("%+v", op)
		}
		_, err = s.Spender(ctx, other.Coins[0])
		is(t, err, redeem.ErrAbsent)
	})
	t.Run("CT-01 a coin of another", func(t *testing.T) {
		for _, coins := range [][]int{{1}, {4, 1}, {2, 5}} {
			d := draft(2, coins...)
			_, err := s.Begin(ctx, generation, d)
			is(t, err, redeem.ErrSpent)
			_, err = s.Get(ctx, d.Key)
			is(t, err, redeem.ErrAbsent)
		}
		for _, free := range []int{4, 5} {
			_, err := s.Spender(ctx, draft(0, free).Coins[0])
			is(t, err, redeem.ErrAbsent)
		}
		key, err := s.Spender(ctx, d.Coins[1])
		ok(t, err)
		if key != d.Key {
			t.Error("another spender")
		}
		_, err = s.Begin(ctx, generation, draft(3, 4, 5))
		ok(t, err)
	})
	t.Run("no such part", func(t *testing.T) {
		d := draft(9, 9)
		d.Until = 41
		if _, err := s.Begin(ctx, generation, d); err == nil {
			t.Error("written into a part that is not there")
		}
	})
}

func testAdvance(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	d := draft(1, 1)
	op, err := s.Begin(ctx, generation, d)
	ok(t, err)
	next := op
	next.Data = []byte("turn")
	ok(t, s.Advance(ctx, generation, next, nil))
	is(t, s.Advance(ctx, generation, next, nil), redeem.ErrConflict)
	next.Version, next.State, next.Data = 1, redeem.StateUsed, []byte("change")
	k := id("keyset")
	ok(t, s.Advance(ctx, generation, next, []redeem.Entry{line(k, id("x"), 3, 1), line(k, id("y"), 4, 2)}))
	got, err := s.Get(ctx, op.Key)
	ok(t, err)
	if got.State != redeem.StateUsed || got.Version != 2 || string(got.Data) != "change" {
		t.Errorf("%+v", got)
	}
	t.Run("no lines of one that lost", func(t *testing.T) {
		is(t, s.Advance(ctx, generation, next, []redeem.Entry{line(k, id("z"), 3, 1)}), redeem.ErrConflict)
		if n, err := s.Count(ctx, k, 40); err != nil || n != 2 {
			t.Error(n, err)
		}
	})
	is(t, s.Advance(ctx, generation, redeem.Op{Key: id("nobody"), Until: 40, Epoch: 5, State: redeem.StateUsed}, nil), redeem.ErrConflict)
}

func testFence(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	op, err := s.Begin(ctx, generation, draft(1, 1))
	ok(t, err)
	_, err = s.Begin(ctx, generation-1, draft(2, 2))
	is(t, err, redeem.ErrGeneration)
	is(t, s.Advance(ctx, generation+1, op, nil), redeem.ErrGeneration)
	is(t, s.Serve(ctx, generation+1, 6), redeem.ErrGeneration)
	ok(t, s.Serve(ctx, generation, 6))
	_, err = s.Begin(ctx, generation, draft(2, 2)) // of 5, the epoch before
	ok(t, err)
	ok(t, s.Serve(ctx, generation, 7))
	ok(t, s.Serve(ctx, generation, 3)) // of one that is behind
	if m, err := s.Meta(ctx); err != nil || m != (redeem.Meta{Generation: generation, Served: 7}) {
		t.Errorf("%+v %v", m, err)
	}
	t.Run("CT-21 of an epoch that is over", func(t *testing.T) {
		_, err := s.Begin(ctx, generation, draft(3, 3))
		is(t, err, redeem.ErrStale)
		op.State = redeem.StateUsed
		is(t, s.Advance(ctx, generation, op, nil), redeem.ErrStale)
		op.State = redeem.StateReturned
		ok(t, s.Advance(ctx, generation, op, nil))
	})
}

func testRates(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	limited := func(n int, epoch uint64, kind uint8) *redeem.Draft {
		d := draft(n, n)
		d.Type, d.Limit, d.Epoch = kind, 3, epoch
		return d
	}
	var all sync.WaitGroup
	var won, refused atomic.Int64
	for n := range 20 {
		all.Go(func() {
			switch _, err := s.Begin(ctx, generation, limited(n, 5, 3)); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, redeem.ErrRate):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 3 || refused.Load() != 17 {
		t.Errorf("%d won, %d were refused", won.Load(), refused.Load())
	}
	again := 0
	for n := range 20 { // those that have a place keep it
		if _, err := s.Begin(ctx, generation, limited(n, 5, 3)); err == nil {
			again++
		}
	}
	if again != 3 {
		t.Errorf("%d had a place", again)
	}
	for n := range 20 { // a refusal used up nothing
		if _, err := s.Begin(ctx, generation, draft(100+n, n)); err == nil {
			again++
		}
	}
	if again != 20 {
		t.Errorf("%d coins were left", again-3)
	}
	_, err := s.Begin(ctx, generation, limited(40, 6, 3))
	ok(t, err)
	_, err = s.Begin(ctx, generation, limited(41, 5, 1))
	ok(t, err)
}

func testParts(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	ok(t, s.Prepare(ctx, []uint64{40, 50, 60}))
	old, late := draft(1, 1), draft(2, 2)
	late.Until, late.Coins[0].Until = 50, 50
	_, err := s.Begin(ctx, generation, old)
	ok(t, err)
	_, err = s.Begin(ctx, generation, late)
	ok(t, err)
	ok(t, s.Drop(ctx, 40)) // those before it
	_, err = s.Get(ctx, old.Key)
	ok(t, err)
	ok(t, s.Drop(ctx, 41))
	ok(t, s.Drop(ctx, 41))
	_, err = s.Get(ctx, old.Key)
	is(t, err, redeem.ErrAbsent)
	_, err = s.Get(ctx, late.Key)
	ok(t, err)
	_, err = s.Spender(ctx, late.Coins[0])
	ok(t, err)
	if ops, err := s.Open(ctx, 5, 10); err != nil || len(ops) != 1 {
		t.Error(ops, err)
	}
}

func testTables(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	k := id("keyset")
	d := draft(1, 1)
	d.State = redeem.StateSwapped
	var want []credits.TableEntry
	for n := range 100 {
		e := line(k, id("name", n), uint8(n%10), byte(n))
		d.Entries, want = append(d.Entries, e), append(want, e.TableEntry)
	}
	d.Entries = append(d.Entries, line(id("other keyset"), id("name"), 1, 1))
	_, err := s.Begin(ctx, generation, d)
	ok(t, err)
	slices.SortFunc(want, func(a, b credits.TableEntry) int { return bytes.Compare(a.Name[:], b.Name[:]) })
	var last [32]byte
	for i := range last {
		last[i] = 0xff
	}
	got, err := s.Table(ctx, k, 40, [32]byte{}, last)
	ok(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("%d lines", len(got))
	}
	got, err = s.Table(ctx, k, 40, want[10].Name, want[20].Name)
	ok(t, err)
	if !slices.Equal(got, want[10:21]) {
		t.Errorf("%d lines", len(got))
	}
	t.Run("a blank that was sent twice", func(t *testing.T) {
		for n, e := range []redeem.Entry{line(k, want[0].Name, want[0].Minted.Exponent, 200), line(k, want[0].Name, 11, 201), line(k, want[0].Name, 10, 202)} {
			d := draft(10+n, 10+n)
			d.Entries = []redeem.Entry{e, e}
			_, err := s.Begin(ctx, generation, d)
			ok(t, err)
		}
		got, err := s.Table(ctx, k, 40, want[0].Name, want[0].Name)
		ok(t, err)
		if len(got) != 1 || got[0].Minted.Exponent != 11 || got[0].Minted.Element[0] != 201 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("several times in one write, in two parts", func(t *testing.T) {
		d := draft(20, 20)
		for n, exponent := range []uint8{2, 12, 5, 12, 1} {
			e := line(k, id("twice"), exponent, byte(n))
			late := e
			late.Keyset, late.Until = id("later keyset"), 50
			d.Entries = append(d.Entries, e, late, late)
		}
		_, err := s.Begin(ctx, generation, d)
		ok(t, err)
		for until, k := range map[uint64][32]byte{40: k, 50: id("later keyset")} {
			got, err := s.Table(ctx, k, until, id("twice"), id("twice"))
			ok(t, err)
			if len(got) != 1 || got[0].Minted.Exponent != 12 {
				t.Errorf("part %d: %+v", until, got)
			}
		}
	})
	_, err = s.Fixed(ctx, k, 5)
	is(t, err, redeem.ErrAbsent)
	for _, bits := range []uint8{3, 4} {
		if n, err := s.Bits(ctx, k, 5, bits); err != nil || n != 3 {
			t.Error(n, err)
		}
	}
	if n, err := s.Fixed(ctx, k, 5); err != nil || n != 3 {
		t.Error(n, err)
	}
}

func testReads(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	for n := range 10 {
		d := draft(n, n)
		d.Epoch = uint64(4 + n%3)
		_, err := s.Begin(ctx, generation, d)
		ok(t, err)
	}
	for epoch, want := range map[uint64]int{3: 0, 4: 4, 5: 7, 6: 10, 7: 10} {
		ops, err := s.Open(ctx, epoch, 100)
		ok(t, err)
		if len(ops) != want {
			t.Errorf("%d are open in %d, want %d", len(ops), epoch, want)
		}
	}
	ops, err := s.Open(ctx, 6, 3)
	ok(t, err)
	if len(ops) != 3 || ops[0].Epoch != 4 {
		t.Errorf("%+v", ops)
	}
	ops[0].State = redeem.StateReturned
	ok(t, s.Advance(ctx, generation, ops[0], nil))
	if ops, err := s.Open(ctx, 4, 100); err != nil || len(ops) != 3 {
		t.Error(len(ops), err)
	}
	if n, err := s.Count(ctx, id("nothing"), 40); err != nil || n != 0 {
		t.Error(n, err)
	}
}

func testReopen(t *testing.T, maker Maker) {
	db := maker(t, generation)
	s, ctx := db.Open(t), t.Context()
	ok(t, s.Prepare(ctx, []uint64{40}))
	ok(t, s.Serve(ctx, generation, 5))
	d := draft(1, 1)
	_, err := s.Begin(ctx, generation, d)
	ok(t, err)
	ok(t, s.Close())
	if _, err := s.Begin(ctx, generation, draft(2, 2)); err == nil {
		t.Error("written into what is closed")
	}
	s = db.Open(t)
	op, err := s.Get(ctx, d.Key)
	ok(t, err)
	if !same(op, d.Op) {
		t.Errorf("%+v", op)
	}
	_, err = s.Begin(ctx, generation, draft(2, 1))
	is(t, err, redeem.ErrSpent)
}

// testOneCoin: of a thousand that spend one coin at the same time, one does,
// over three stores where the database is shared.
func testOneCoin(t *testing.T, maker Maker) {
	db := maker(t, generation)
	stores := []redeem.Store{db.Open(t)}
	if db.Shared {
		stores = append(stores, db.Open(t), db.Open(t))
	}
	ctx := t.Context()
	ok(t, stores[0].Prepare(ctx, []uint64{40}))
	ok(t, stores[0].Serve(ctx, generation, 5))
	t.Run("CT-02", func(t *testing.T) {
		var all sync.WaitGroup
		var won, spent atomic.Int64
		start := make(chan struct{})
		for n := range 1000 {
			all.Go(func() {
				<-start
				switch _, err := stores[n%len(stores)].Begin(ctx, generation, draft(n, 1, 1000+n)); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, redeem.ErrSpent):
					spent.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		if won.Load() != 1 || spent.Load() != 999 {
			t.Errorf("%d won, %d were refused", won.Load(), spent.Load())
		}
		ops, err := stores[0].Open(ctx, 5, 2000)
		ok(t, err)
		if len(ops) != 1 {
			t.Errorf("%d operations", len(ops))
		}
		used := 0
		for n := range 1000 {
			if _, err := stores[0].Spender(ctx, draft(0, 1000+n).Coins[0]); err == nil {
				used++
			}
		}
		if used != 1 {
			t.Errorf("%d other coins were used up", used)
		}
	})
}

// testBatches: what is written together with others fares as if it were alone.
func testBatches(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	var all sync.WaitGroup
	var won atomic.Int64
	for n := range 400 {
		all.Go(func() {
			// Two of each key, and each coin wanted by two keys.
			d := draft(n/2, n/4)
			binary.BigEndian.PutUint32(d.Coins[0].ID[:], uint32(n/4))
			if n%50 == 49 {
				d.Until = 41 // no such part: it fails, and nobody else
				if _, err := s.Begin(ctx, generation, d); err == nil {
					t.Error("written into a part that is not there")
				}
				return
			}
			op, err := s.Begin(ctx, generation, d)
			switch {
			case errors.Is(err, redeem.ErrSpent):
				return
			case err != nil:
				t.Error(err)
				return
			case op.State != redeem.StateHeld:
				return
			}
			next := op
			next.State, next.Data = redeem.StateUsed, []byte("end")
			switch err := s.Advance(ctx, generation, next, []redeem.Entry{line(id("k"), id("n", n/2), 1, 1)}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, redeem.ErrConflict):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n, err := s.Count(ctx, id("k"), 40); err != nil || int64(n) != won.Load() || won.Load() != 100 {
		t.Errorf("%d ended, %d lines, %v", won.Load(), n, err)
	}
}

func testRaise(t *testing.T, maker Maker) {
	s, ctx := fresh(t, maker), t.Context()
	is(t, s.Raise(ctx, generation), redeem.ErrGeneration)
	ok(t, s.Raise(ctx, generation+2))
	if m, err := s.Meta(ctx); err != nil || m != (redeem.Meta{Generation: generation + 2}) {
		t.Errorf("%+v %v", m, err)
	}
	_, err := s.Begin(ctx, generation, draft(1, 1))
	is(t, err, redeem.ErrGeneration)
	_, err = s.Begin(ctx, generation+2, draft(1, 1))
	ok(t, err)
}
