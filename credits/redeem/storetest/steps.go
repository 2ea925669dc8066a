// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/wire"
)

// Steps makes every step of a store's writes fail, one after the other, and
// checks that nothing was written, or, after the commit, all of it; and that
// whoever asks again has what he asked for. fail tells the store when to fail;
// steps are what it calls them, and committed the one after which all is there.
// A store that tries again by itself says so: then only a step that keeps
// failing is seen.
func Steps(t *testing.T, maker Maker, fail func(s redeem.Store, f func(step string) error), steps []string, committed string, persistent bool) {
	w := NewWorld(t)
	ctx := t.Context()
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			w := w.With(t)
			s := w.open(maker)
			b := w.Bank(s, 5, func(c *redeem.Config) { c.Rates = map[uint8]uint64{wire.TokenPass: 100} })
			var hits atomic.Int64
			broken := func(f func() error) {
				t.Helper()
				var once atomic.Bool
				fail(s, func(at string) error {
					if at == step && (persistent || !once.Swap(true)) {
						hits.Add(1)
						return ErrFault
					}
					return nil
				})
				before := hits.Load()
				err := f()
				fail(s, func(string) error { return nil })
				if hit := hits.Load() > before; hit != errors.Is(err, ErrFault) {
					t.Errorf("step reached: %v, but %v", hit, err)
				}
			}
			holds := func(r *Request, want bool) {
				t.Helper()
				if _, err := s.Get(ctx, r.Hash()); (err == nil) != want {
					t.Errorf("the hold is there: %v, want %v", err == nil, want)
				}
			}
			after := func(n int64) bool { return hits.Load() == n || step == committed }

			for _, r := range []*Request{w.Request(5), w.Paid(5, w.Token(w.Passes, Class), wire.TokenPass, nil)} {
				n := hits.Load()
				broken(func() error { _, err := b.Hold(ctx, r.Hold(0)); return err })
				holds(r, after(n))
				_, err := b.Hold(ctx, r.Hold(0))
				ok(t, err)
				n = hits.Load()
				broken(func() error { _, err := b.Settle(ctx, r.Used(0, 21)); return err })
				if op, err := s.Get(ctx, r.Hash()); err != nil || (op.State == redeem.StateUsed) != after(n) {
					t.Errorf("state %d, %v", op.State, err)
				}
				c, err := b.Settle(ctx, r.Used(0, 21))
				ok(t, err)
				again, err := b.Change(ctx, r.Hash())
				ok(t, err)
				if !slices.Equal(c.Append(nil), again.Append(nil)) {
					t.Error("two changes")
				}
			}
			coin, blank := w.Token(w.Coins, 3), w.Blank(w.Coins)
			body := w.Swap(5, []*blind.Coin{coin}, w.Coins, []*blind.Blank{blank}, []uint8{3})
			broken(func() error { _, err := b.Swap(ctx, body); return err })
			list, err := b.Swap(ctx, body)
			ok(t, err)
			w.Unwrap(w.Coins, []*blind.Blank{blank}, &wire.Change{Coins: list})
			broken(func() error { return b.Follow(ctx, w.Epoch(5), w.Epoch(6)) })
			w.Follow(b, 6)
			broken(func() error { return s.Prepare(ctx, []uint64{90}) })
			ok(t, s.Prepare(ctx, []uint64{90}))
			broken(func() error { return s.Drop(ctx, 5) })
			ok(t, s.Drop(ctx, 5))
			broken(func() error { return s.Raise(ctx, w.Generation+1) })
			if err := s.Raise(ctx, w.Generation+1); err != nil {
				is(t, err, redeem.ErrGeneration) // it had been
			}
			if m, err := s.Meta(ctx); err != nil || m.Generation != w.Generation+1 {
				t.Error(m, err)
			}
			if hits.Load() == 0 {
				t.Error("the step was never reached")
			}
			if n, err := s.Count(ctx, w.Coins.Keyset().ID(), 40); err != nil || n != uint64(len(wire.Due(Class, 21)))+1 {
				t.Errorf("%d lines, %v", n, err)
			}
		})
	}
}
