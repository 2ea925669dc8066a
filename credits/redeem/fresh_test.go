// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem_test

import (
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
	"github.com/sotto-project/sotto/internal/wire"
)

// TestWhatIsRememberedDecidesNothing: a bank settles a hold of its own without
// reading it, and by what the database says where that is something else.
func TestWhatIsRememberedDecidesNothing(t *testing.T) {
	w := storetest.NewWorld(t)
	ctx := t.Context()
	type world struct {
		m    *storetest.Memory
		f    *storetest.Faulty
		b, o *redeem.Bank // over one store
		r    *storetest.Request
	}
	start := func(t *testing.T) *world {
		t.Helper()
		m := storetest.NewMemory(w.Generation)
		x := &world{m: m, f: storetest.NewFaulty(m), r: w.With(t).Request(5)}
		x.b, x.o = w.Bank(x.f, 5), w.Bank(m, 5)
		if _, err := x.b.Hold(ctx, x.r.Hold(0)); err != nil {
			t.Fatal(err)
		}
		x.f.Reads.Store(0)
		return x
	}
	settle := func(t *testing.T, b *redeem.Bank, body []byte, state, used uint8) {
		t.Helper()
		c, err := b.Settle(ctx, body)
		if err != nil {
			t.Fatal(err)
		}
		if c.State != state || c.Usage.Used != used {
			t.Errorf("state %d, %d used; want %d, %d", c.State, c.Usage.Used, state, used)
		}
	}
	t.Run("its own hold is not read, its end is", func(t *testing.T) {
		x := start(t)
		settle(t, x.b, x.r.Used(0, 9), wire.ChangeUsed, 9)
		if n := x.f.Reads.Load(); n != 0 {
			t.Errorf("%d reads", n)
		}
		settle(t, x.b, x.r.Used(0, 8), wire.ChangeUsed, 9)
		if n := x.f.Reads.Load(); n != 1 {
			t.Errorf("%d reads", n)
		}
	})
	t.Run("after a turn, too", func(t *testing.T) {
		x := start(t)
		if _, err := x.b.Turn(ctx, x.r.Turn(0, 1)); err != nil {
			t.Fatal(err)
		}
		x.f.Reads.Store(0)
		settle(t, x.b, x.r.Used(1, 9), wire.ChangeUsed, 9)
		if n := x.f.Reads.Load(); n != 0 {
			t.Errorf("%d reads", n)
		}
	})
	t.Run("CT-11 settled elsewhere", func(t *testing.T) {
		x := start(t)
		settle(t, x.o, x.r.Used(0, 3), wire.ChangeUsed, 3)
		settle(t, x.b, x.r.Used(0, 64), wire.ChangeUsed, 3)
		conserved(t, x.m)
	})
	t.Run("CT-11 returned elsewhere", func(t *testing.T) {
		x := start(t)
		settle(t, x.o, x.r.AllBusy(0), wire.ChangeReturned, 0)
		settle(t, x.b, x.r.Used(0, 64), wire.ChangeReturned, 0)
		conserved(t, x.m)
	})
	t.Run("CT-11 its turn went elsewhere", func(t *testing.T) {
		x := start(t)
		if _, err := x.o.Turn(ctx, x.r.Turn(0, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := x.b.Settle(ctx, x.r.Used(0, 64)); storetest.Code(err) != credits.CodeRefund {
			t.Errorf("who had the ticket before settles: %v", err)
		}
		settle(t, x.b, x.r.Used(1, 9), wire.ChangeUsed, 9)
		conserved(t, x.m)
	})
	t.Run("a usage that is none costs nobody his own", func(t *testing.T) {
		x := start(t)
		bad := x.r.Used(0, 9)
		bad[len(bad)-1] ^= 1
		if _, err := x.b.Settle(ctx, bad); storetest.Code(err) != credits.CodeRefund {
			t.Errorf("%v", err)
		}
		settle(t, x.b, x.r.Used(0, 9), wire.ChangeUsed, 9)
	})
	t.Run("who only looks asks the database", func(t *testing.T) {
		x := start(t)
		if c, err := x.b.Change(ctx, x.r.Hash()); err != nil || c.State != wire.ChangePending {
			t.Fatal(c, err)
		}
		settle(t, x.o, x.r.Used(0, 3), wire.ChangeUsed, 3)
		if c, err := x.b.Change(ctx, x.r.Hash()); err != nil || c.State != wire.ChangeUsed {
			t.Error(c, err)
		}
	})
	t.Run("CT-21 a database that was restored", func(t *testing.T) {
		x := start(t)
		// In what was restored the same request went to another node, in as many writes.
		restored := storetest.NewMemory(w.Generation)
		if _, err := w.Bank(restored, 5).Hold(ctx, x.r.Hold(1)); err != nil {
			t.Fatal(err)
		}
		if err := x.m.Raise(ctx, w.Generation+1); err != nil {
			t.Fatal(err)
		}
		x.m.Ops[x.r.Hash()] = restored.Ops[x.r.Hash()]
		raised := w.With(t)
		raised.Generation++
		raised.Follow(x.b, 5)
		if _, err := x.b.Settle(ctx, x.r.Used(0, 64)); storetest.Code(err) != credits.CodeRefund {
			t.Errorf("settled by what was before the restore: %v", err)
		}
		settle(t, x.b, x.r.Used(1, 9), wire.ChangeUsed, 9)
	})
	t.Run("CT-22 its time is over", func(t *testing.T) {
		x := start(t)
		w.Follow(x.b, 6)
		w.Follow(x.b, 7)
		x.f.Reads.Store(0)
		settle(t, x.b, x.r.Used(0, 64), wire.ChangeReturned, 0)
		if n := x.f.Reads.Load(); n != 1 {
			t.Errorf("%d reads", n)
		}
		conserved(t, x.m)
	})
}
