// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
	"github.com/sotto-project/sotto/internal/wire"
)

// TestFailureTable: each write that a bank asks for fails, once without being
// done and once done with its answer lost. Whoever asks again has what he would
// have had, and no unit is made or lost.
func TestFailureTable(t *testing.T) {
	w := storetest.NewWorld(t)
	type world struct {
		*storetest.World
		s *storetest.Memory
		b *redeem.Bank
		r *storetest.Request
	}
	held := func(x *world) {
		if _, err := x.b.Hold(t.Context(), x.r.Hold(0)); err != nil {
			t.Fatal(err)
		}
	}
	swap := func(x *world) []byte {
		return x.Swap(5, []*blind.Coin{coinOf(x.World, 3)}, x.Coins, []*blind.Blank{x.Blank(x.Coins), x.Blank(x.Coins)}, []uint8{2, 2})
	}
	var body []byte
	for name, c := range map[string]struct {
		writes  int64
		prepare func(*world)
		ask     func(ctx context.Context, x *world) ([]byte, error)
	}{
		"hold": {1, func(*world) {}, func(ctx context.Context, x *world) ([]byte, error) { return ticket(x.b.Hold(ctx, x.r.Hold(0))) }},
		"turn": {1, held, func(ctx context.Context, x *world) ([]byte, error) { return ticket(x.b.Turn(ctx, x.r.Turn(0, 1))) }},
		"settle by usage": {1, held, func(ctx context.Context, x *world) ([]byte, error) {
			return change(x.b.Settle(ctx, x.r.Used(0, 21)))
		}},
		"settle by receipt": {1, held, func(ctx context.Context, x *world) ([]byte, error) { return change(x.b.Settle(ctx, x.r.AllBusy(0))) }},
		"end by itself":     {1, func(x *world) { held(x); x.Follow(x.b, 6); x.Follow(x.b, 7) }, func(ctx context.Context, x *world) ([]byte, error) { return change(x.b.Change(ctx, x.r.Hash())) }},
		"expire": {1, func(x *world) { held(x); x.Follow(x.b, 6); x.Follow(x.b, 7) }, func(ctx context.Context, x *world) ([]byte, error) {
			_, _, err := x.b.Expire(ctx, 10)
			if err != nil {
				return nil, err
			}
			return change(x.b.Change(ctx, x.r.Hash()))
		}},
		"swap": {1, func(x *world) { body = swap(x) }, func(ctx context.Context, x *world) ([]byte, error) {
			list, err := x.b.Swap(ctx, body)
			return []byte(fmt.Sprint(list)), err
		}},
		"a new statement": {2, func(*world) {}, func(ctx context.Context, x *world) ([]byte, error) {
			return nil, x.b.Follow(ctx, x.Epoch(5), x.Epoch(6))
		}},
	} {
		for at := int64(1); at <= c.writes; at++ {
			for _, done := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/write %d/done %v", name, at, done), func(t *testing.T) {
					m := storetest.NewMemory(w.Generation)
					f := storetest.NewFaulty(m)
					x := &world{World: w.With(t), s: m}
					x.b, x.r = x.Bank(f, 5), x.Request(5)
					c.prepare(x)
					f.Writes.Store(0)
					f.At, f.Done = at, done
					_, err := c.ask(t.Context(), x)
					if !errors.Is(err, storetest.ErrFault) {
						t.Fatalf("%v: the write was not asked for, or its failure was hidden", err)
					}
					first, err := c.ask(t.Context(), x)
					if err != nil {
						t.Fatal(err)
					}
					if n := f.Writes.Load(); n < at {
						t.Errorf("%d writes, want %d", n, c.writes)
					}
					again, err := c.ask(t.Context(), x)
					if err != nil || !bytes.Equal(first, again) {
						t.Errorf("asked again: %v", err)
					}
					conserved(t, m)
				})
			}
		}
	}
}

func coinOf(w *storetest.World, exponent uint8) *blind.Coin { return w.Token(w.Coins, exponent) }

func ticket(t *wire.Ticket, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return t.Append(nil), nil
}

func change(c *wire.Change, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return c.Append(nil), nil
}

// conserved checks that per operation what was charged and what came back is
// what was paid, that each operation has its coin, and that each coin minted is
// in the table, once.
func conserved(t *testing.T, m *storetest.Memory) {
	t.Helper()
	lines := 0
	spent := map[[32]byte]int{}
	for _, key := range m.Coins {
		if _, ok := m.Ops[key]; !ok {
			t.Errorf("a coin was used up by nothing")
		}
		spent[key]++
	}
	for key, op := range m.Ops {
		if spent[key] == 0 {
			t.Errorf("an operation without a coin")
		}
		switch op.State {
		case redeem.StateHeld:
		case redeem.StateUsed, redeem.StateReturned:
			full := append(slices.Clone(op.Data), make([]byte, wire.ChangeSize-len(op.Data))...)
			c, err := wire.ParseChange(full)
			if err != nil {
				t.Fatal(err)
			}
			back := uint64(0)
			for _, coin := range c.Coins {
				back += 1 << coin.Exponent
			}
			if charged := uint64(c.Usage.Used) << (storetest.Class - 6); charged+back != 1<<storetest.Class {
				t.Errorf("%d charged, %d came back, of %d", charged, back, 1<<storetest.Class)
			}
			lines += len(c.Coins)
		case redeem.StateSwapped:
			lines += len(op.Data) / wire.MintedSize
		}
	}
	if len(m.Lines) != lines {
		t.Errorf("%d lines in tables, %d coins minted", len(m.Lines), lines)
	}
}

// TestAtRest: CT-25, who has the database has nothing that spends.
func TestAtRest(t *testing.T) {
	w := storetest.NewWorld(t)
	m := storetest.NewMemory(w.Generation)
	b := w.Bank(m, 5)
	coin, shown := w.Token(w.Coins, storetest.Class), w.Token(w.Entitlements, 0)
	held := w.Paid(5, coin, wire.TokenCoin, shown)
	if _, err := b.Hold(t.Context(), held.Hold(0)); err != nil {
		t.Fatal(err)
	}
	swapped := w.Token(w.Coins, 3)
	if _, err := b.Swap(t.Context(), w.Swap(5, []*blind.Coin{swapped}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3})); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	for _, op := range m.Ops {
		fmt.Fprintf(&dump, "%s%s", op.Key, op.Data)
	}
	for c, key := range m.Coins {
		fmt.Fprintf(&dump, "%s%s", c.ID, key)
	}
	for k, l := range m.Lines {
		fmt.Fprintf(&dump, "%s%s%s", k[0], k[1], l.Minted.Append(nil))
	}
	hash := held.Hash()
	if !bytes.Contains(dump.Bytes(), hash[:]) {
		t.Fatal("the dump is not one")
	}
	t.Run("CT-25", func(t *testing.T) {
		for _, c := range []*blind.Coin{coin, shown, swapped} {
			for name, secret := range map[string][]byte{"output": c.Output.Bytes(), "nonce": c.Nonce[:], "MAC": held.Block.Spend.MAC[:]} {
				if bytes.Contains(dump.Bytes(), secret[:16]) {
					t.Errorf("%s in the database", name)
				}
			}
		}
	})
}
