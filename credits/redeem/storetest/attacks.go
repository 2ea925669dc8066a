// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/wire"
)

// Code is the code of a refusal, "" for nil, and "?" for any other error.
func Code(err error) string {
	if err == nil {
		return ""
	}
	if r := (*credits.Refusal)(nil); errors.As(err, &r) {
		return r.Code
	}
	return "? " + err.Error()
}

func refused(t testing.TB, err error, code string) {
	t.Helper()
	if c := Code(err); c != code {
		t.Errorf("%q, want %q (%v)", c, code, err)
	}
}

// Again is the same payment for another request, on the same blanks: what a
// double spend is.
func (r *Request) Again(token *blind.Coin) *Request {
	h := *r.Header
	rand.Read(h.Common.BodyNonce[:])
	c := &Request{w: r.w, Block: r.Block, Header: &h, Blanks: r.Blanks}
	c.Pay(token, r.Block.Spend.Type, nil)
	return c
}

// worth is what coins are worth, in units.
func worth(coins []*blind.Coin) (sum uint64) {
	for _, c := range coins {
		sum += 1 << c.Exponent
	}
	return sum
}

// Attacks runs what a bank over any store must refuse, and what it must do all
// the same.
func Attacks(t *testing.T, maker Maker) {
	w := NewWorld(t)
	for name, f := range map[string]func(*testing.T, *World, Maker){
		"life": testLife, "double spends": testDoubleSpends, "honest retries": testRetries, "forged": testForged, "times": testTimes,
		"usages": testUsages, "turns": testTurns, "expiry": testExpiry, "swaps": testSwaps, "passes": testPasses, "fences": testFences,
		"buckets": testBuckets, "strangers": testStrangers,
	} {
		t.Run(name, func(t *testing.T) { f(t, w.With(t), maker) })
	}
}

func (w *World) open(maker Maker) redeem.Store {
	w.tb.Helper()
	return maker(w.tb, w.Generation).Open(w.tb)
}

func testLife(t *testing.T, w *World, maker Maker) {
	b, ctx := w.Bank(w.open(maker), 5), t.Context()
	t.Run("every usage leaves what is due", func(t *testing.T) {
		for _, used := range []uint8{0, 1, 31, 32, 57, 63, 64} {
			w := w.With(t)
			r := w.Request(5)
			tk, err := b.Hold(ctx, r.Hold(1))
			ok(t, err)
			want := wire.Ticket{HeaderHash: r.Hash(), Epoch: 5, Generation: 7, Class: Class, Index: 1, Signature: tk.Signature}
			if *tk != want || !tk.Verify(w.Ticket.Public().(ed25519.PublicKey)) {
				t.Fatalf("%+v", tk)
			}
			c, err := b.Settle(ctx, r.Used(1, used))
			ok(t, err)
			if got := worth(w.Unwrap(w.Coins, r.Blanks, c)); got != uint64(64-used)<<(Class-6) {
				t.Errorf("used %d: %d units came back", used, got)
			}
			if c.State != wire.ChangeUsed || c.Usage != r.Usage(1, used) || c.Generation != 7 {
				t.Errorf("%+v", c)
			}
			// What came back can be spent.
			if used == 63 {
				continue // one unit pays for no request
			}
		}
	})
	t.Run("CT-05 hang-up", func(t *testing.T) {
		w := w.With(t)
		r := w.Request(5)
		_, err := b.Hold(ctx, r.Hold(0))
		ok(t, err)
		c, err := b.Change(ctx, r.Hash())
		ok(t, err)
		if c.State != wire.ChangePending {
			t.Errorf("%+v", c)
		}
		// The router ends the answer; the node says what it had produced.
		_, err = b.Settle(ctx, r.Used(0, 12))
		ok(t, err)
		c, err = b.Change(ctx, r.Hash())
		ok(t, err)
		if worth(w.Unwrap(w.Coins, r.Blanks, c)) != 52<<(Class-6) {
			t.Error("not the rest")
		}
	})
	t.Run("change is spent", func(t *testing.T) {
		w := w.With(t)
		r := w.Request(5)
		_, err := b.Hold(ctx, r.Hold(0))
		ok(t, err)
		c, err := b.Settle(ctx, r.Used(0, 32))
		ok(t, err)
		coin := w.Unwrap(w.Coins, r.Blanks, c)[0]
		next := w.Paid(5, coin, wire.TokenCoin, nil)
		_, err = b.Hold(ctx, next.Hold(0))
		ok(t, err)
		_, err = b.Hold(ctx, next.Again(coin).Hold(0))
		refused(t, err, credits.CodeSpent)
	})
	t.Run("an entitlement beside a coin", func(t *testing.T) {
		w := w.With(t)
		shown := w.Token(w.Entitlements, 0)
		r := w.Paid(5, w.Token(w.Coins, Class), wire.TokenCoin, shown)
		tk, err := b.Hold(ctx, r.Hold(0))
		ok(t, err)
		if tk.Tier != 3 {
			t.Errorf("%+v", tk)
		}
		coin := w.Token(w.Coins, Class)
		_, err = b.Hold(ctx, w.Paid(5, coin, wire.TokenCoin, shown).Hold(0))
		refused(t, err, credits.CodeSpent) // used up with the hold
		_, err = b.Hold(ctx, w.Paid(5, coin, wire.TokenCoin, nil).Hold(0))
		ok(t, err) // and the coin that was refused beside it is not
	})
}

func testDoubleSpends(t *testing.T, w *World, maker Maker) {
	db := maker(t, w.Generation)
	stores := []redeem.Store{db.Open(t)}
	if db.Shared {
		stores = append(stores, db.Open(t), db.Open(t))
	}
	var banks []*redeem.Bank
	for n := range 3 {
		banks = append(banks, w.Bank(stores[n%len(stores)], 5))
	}
	ctx := t.Context()
	t.Run("CT-01", func(t *testing.T) {
		coin := w.Token(w.Coins, Class)
		r := w.Paid(5, coin, wire.TokenCoin, nil)
		_, err := banks[0].Hold(ctx, r.Hold(0))
		ok(t, err)
		for _, b := range banks {
			_, err = b.Hold(ctx, r.Again(coin).Hold(0))
			refused(t, err, credits.CodeSpent)
		}
		_, err = banks[1].Settle(ctx, r.AllBusy(0))
		ok(t, err)
		_, err = banks[2].Hold(ctx, r.Again(coin).Hold(0)) // what comes back is new coins, always
		refused(t, err, credits.CodeSpent)
		_, err = banks[0].Swap(ctx, w.Swap(5, []*blind.Coin{coin}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{Class}))
		refused(t, err, credits.CodeSpent)
	})
	t.Run("CT-02 a thousand at once", func(t *testing.T) {
		n := 1000
		if testing.Short() {
			n = 100
		}
		coin := w.Token(w.Coins, Class)
		first := w.Paid(5, coin, wire.TokenCoin, nil)
		var all sync.WaitGroup
		var won atomic.Int64
		start := make(chan struct{})
		for i := range n {
			r := first.Again(coin)
			all.Go(func() {
				<-start
				switch _, err := banks[i%3].Hold(ctx, r.Hold(i%3)); Code(err) {
				case "":
					won.Add(1)
				case credits.CodeSpent:
				default:
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d tickets for one coin", won.Load())
		}
	})
	t.Run("two tickets of one request", func(t *testing.T) {
		r := w.Request(5)
		var all sync.WaitGroup
		var won [3]atomic.Int64
		for i := range 30 {
			all.Go(func() {
				if _, err := banks[i%3].Hold(ctx, r.Hold(i%3)); err == nil {
					won[i%3].Add(1)
				} else {
					refused(t, err, credits.CodeTurn)
				}
			})
		}
		all.Wait()
		winners := 0
		for i := range won {
			if won[i].Load() > 0 {
				winners++
			}
		}
		if winners != 1 {
			t.Errorf("%d candidates had a first ticket", winners)
		}
	})
	t.Run("two coins for one request", func(t *testing.T) {
		r := w.Request(5)
		_, err := banks[0].Hold(ctx, r.Hold(0))
		ok(t, err)
		second := *r
		coin := w.Token(w.Coins, Class)
		second.Pay(coin, wire.TokenCoin, nil)
		_, err = banks[1].Hold(ctx, second.Hold(0))
		refused(t, err, credits.CodeSpent)
		_, err = banks[1].Hold(ctx, r.Again(coin).Hold(0))
		ok(t, err) // it was not used up by that
	})
}

// testRetries: CT-04, an answer that was lost is given again, and changes nothing.
func testRetries(t *testing.T, w *World, maker Maker) {
	b, ctx := w.Bank(w.open(maker), 5), t.Context()
	r := w.Request(5)
	tk, err := b.Hold(ctx, r.Hold(0))
	ok(t, err)
	again, err := b.Hold(ctx, r.Hold(0))
	ok(t, err)
	if *tk != *again {
		t.Error("CT-04: another ticket")
	}
	_, err = b.Hold(ctx, r.Hold(1))
	refused(t, err, credits.CodeTurn) // a second first candidate
	next, err := b.Turn(ctx, r.Turn(0, 2))
	ok(t, err)
	again, err = b.Turn(ctx, r.Turn(0, 2))
	ok(t, err)
	if *next != *again || next.Turn != 1 || next.Index != 2 {
		t.Errorf("CT-04: %+v", again)
	}
	_, err = b.Hold(ctx, r.Hold(0))
	refused(t, err, credits.CodeTurn)
	c, err := b.Settle(ctx, r.Used(2, 9))
	ok(t, err)
	for _, body := range [][]byte{r.Used(2, 9), r.Used(2, 8), r.AllBusy(2), r.Used(0, 1)} {
		same, err := b.Settle(ctx, body)
		ok(t, err)
		if !slices.Equal(same.Append(nil), c.Append(nil)) {
			t.Error("CT-04: another change")
		}
	}
	_, err = b.Hold(ctx, r.Hold(0))
	refused(t, err, credits.CodeTurn)
	_, err = b.Turn(ctx, r.Turn(2, 1))
	refused(t, err, credits.CodeTurn)
	t.Run("after a return its ticket is not given again", func(t *testing.T) {
		r := w.Request(5)
		_, err := b.Hold(ctx, r.Hold(0))
		ok(t, err)
		c, err := b.Settle(ctx, r.AllBusy(0))
		ok(t, err)
		if c.State != wire.ChangeReturned || worth(w.Unwrap(w.Coins, r.Blanks, c)) != 1<<Class {
			t.Errorf("%+v", c)
		}
		_, err = b.Hold(ctx, r.Hold(0))
		refused(t, err, credits.CodeTurn) // the node may have room by now: it would run for nothing
	})
}

func testForged(t *testing.T, w *World, maker Maker) {
	s := w.open(maker)
	b, ctx := w.Bank(s, 5), t.Context()
	coin := w.Token(w.Coins, Class)
	untouched := func(t *testing.T) {
		t.Helper()
		if _, err := s.Spender(ctx, redeem.Coin{ID: credits.CoinID(coin.Keyset, coin.Exponent, coin.Nonce), Until: 40}); !errors.Is(err, redeem.ErrAbsent) {
			t.Errorf("the coin was used up: %v", err)
		}
	}
	for name, c := range map[string]struct {
		code string
		f    func(s *wire.Spend)
	}{
		"CT-06 a bit of the MAC":          {credits.CodeSig, func(s *wire.Spend) { s.MAC[31] ^= 1 }},
		"CT-06 another nonce":             {credits.CodeSig, func(s *wire.Spend) { s.Nonce[0] ^= 1 }},
		"CT-06 another blank":             {credits.CodeSig, func(s *wire.Spend) { s.Blanks[7] = s.Blanks[0] }},
		"CT-06 no MAC":                    {credits.CodeSig, func(s *wire.Spend) { s.MAC = [32]byte{} }},
		"CT-09 a larger class":            {credits.CodeSig, func(s *wire.Spend) { s.Class++ }},
		"CT-09 a smaller class":           {credits.CodeSig, func(s *wire.Spend) { s.Class-- }},
		"CT-09 a class without key":       {credits.CodeClass, func(s *wire.Spend) { s.Class = 13 }},
		"CT-09 as a pass":                 {credits.CodeEpoch, func(s *wire.Spend) { s.Type = wire.TokenPass }},
		"CT-09 of the other keyset":       {credits.CodeEpoch, func(s *wire.Spend) { s.Keyset = w.Later.Keyset().ID() }},
		"CT-09 of a keyset that is none":  {credits.CodeEpoch, func(s *wire.Spend) { s.Keyset[0] ^= 1 }},
		"CT-09 a tier that was not shown": {credits.CodeSig, func(s *wire.Spend) { s.Tier, s.TierKeyset = 3, w.Entitlements.Keyset().ID() }},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.Paid(5, coin, wire.TokenCoin, nil)
			c.f(&r.Block.Spend)
			_, err := b.Hold(ctx, r.Hold(0))
			refused(t, err, c.code)
			untouched(t)
		})
	}
	t.Run("CT-09 a tier", func(t *testing.T) {
		shown := w.Token(w.Entitlements, 0)
		for name, f := range map[string]func(s *wire.Spend){
			"another": func(s *wire.Spend) { s.Tier = 4 }, "its MAC": func(s *wire.Spend) { s.TierMAC[0] ^= 1 }, "none": func(s *wire.Spend) {
				s.Tier, s.TierKeyset, s.TierNonce, s.TierMAC = 0, [32]byte{}, [32]byte{}, [32]byte{}
			},
		} {
			r := w.Paid(5, coin, wire.TokenCoin, shown)
			f(&r.Block.Spend)
			_, err := b.Hold(ctx, r.Hold(0))
			if c := Code(err); c != credits.CodeSig {
				t.Errorf("%s: %q", name, c)
			}
			untouched(t)
		}
	})
	t.Run("CT-22 a MAC over another request", func(t *testing.T) {
		r := w.Paid(5, coin, wire.TokenCoin, nil)
		stolen := *r.Header
		stolen.Common.BodyNonce[0] ^= 1
		r.Header = &stolen
		_, err := b.Hold(ctx, r.Hold(0))
		refused(t, err, credits.CodeSig)
		untouched(t)
	})
	t.Run("CT-06 blanks that are no elements", func(t *testing.T) {
		for _, bad := range [][32]byte{{}, {0xff, 31: 0xff}, {1}} {
			r := w.Paid(5, coin, wire.TokenCoin, nil)
			r.Block.Spend.Blanks[3] = bad
			r.Pay(coin, wire.TokenCoin, nil)
			_, err := b.Hold(ctx, r.Hold(0))
			refused(t, err, redeem.CodeRouting)
			untouched(t)
		}
	})
	t.Run("candidates", func(t *testing.T) {
		r := w.Paid(5, coin, wire.TokenCoin, nil)
		other := w.Request(5)
		for name, body := range map[string][]byte{
			"another request's header": append(r.Block.Append(nil), other.Hold(0)[wire.RoutingBlockSize:]...),
		} {
			_, err := b.Hold(ctx, body)
			if c := Code(err); c != credits.CodeSig {
				t.Errorf("%s: %q", name, c)
			}
		}
		// A node that the client did not name, or the record of another.
		w2 := w.With(t)
		w2.Nodes = slices.Clone(w.Nodes)
		w2.Nodes[0], w2.Nodes[1] = w2.Nodes[1], w2.Nodes[0]
		r2 := *r
		r2.w = w2
		_, err := b.Hold(ctx, r2.Hold(0))
		refused(t, err, redeem.CodeHeader)
		r3 := *r
		header := *r.Header
		header.Entries = slices.Clone(header.Entries)
		header.Entries[0].NodeID[0] ^= 1
		r3.Header = &header
		_, err = b.Hold(ctx, r3.Hold(0))
		refused(t, err, redeem.CodeHeader)
		untouched(t)
	})
	t.Run("none of all this cost it anything", func(t *testing.T) {
		_, err := b.Hold(ctx, w.Paid(5, coin, wire.TokenCoin, nil).Hold(0))
		ok(t, err)
	})
}

// testTimes: CT-08, at every edge. Coins are spent in 1 to 40; a hold is for the
// newest statement's epoch or the one before it.
func testTimes(t *testing.T, w *World, maker Maker) {
	s, ctx := w.open(maker), t.Context()
	b := w.NewBank(s, func(c *redeem.Config) { c.Away = 100 })
	for _, c := range []struct {
		newest, epoch uint64
		code          string
	}{
		{1, 1, ""}, {1, 2, redeem.CodeEpoch}, {2, 1, ""}, {3, 1, redeem.CodeEpoch}, {3, 2, ""}, {3, 4, redeem.CodeEpoch},
		{10, 10, ""}, {11, 11, ""}, {20, 20, ""}, {21, 21, credits.CodeEpoch}, // no coins on sale to give change in
	} {
		w.Follow(b, c.newest)
		r := w.Paid(c.epoch, w.Token(w.Coins, Class), wire.TokenCoin, nil)
		if _, err := b.Hold(ctx, r.Hold(0)); Code(err) != c.code {
			t.Errorf("CT-08: newest %d, for %d: %v, want %q", c.newest, c.epoch, err, c.code)
		}
	}
	t.Run("CT-08 before it is on sale", func(t *testing.T) {
		b := w.Bank(w.open(maker), 10)
		_, err := b.Hold(ctx, w.Paid(10, w.Token(w.Later, Class), wire.TokenCoin, nil).Hold(0))
		refused(t, err, credits.CodeEpoch)
	})
	t.Run("CT-08 coins of a closing period are exchanged", func(t *testing.T) {
		b := w.Bank(w.open(maker), 20)
		coin := w.Token(w.Coins, Class)
		list, err := b.Swap(ctx, w.Swap(20, []*blind.Coin{coin}, w.Later, []*blind.Blank{w.Blank(w.Later), w.Blank(w.Later)}, []uint8{Class - 1, Class - 1}))
		ok(t, err)
		if len(list) != 2 {
			t.Error(list)
		}
		_, err = b.Swap(ctx, w.Swap(20, []*blind.Coin{w.Token(w.Coins, Class)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{Class}))
		refused(t, err, credits.CodeEpoch) // those are not sold any more
	})
	t.Run("CT-08 the last epoch and the one after it", func(t *testing.T) {
		for epoch, code := range map[uint64]string{40: "", 41: credits.CodeEpoch} {
			b := w.Bank(w.open(maker), epoch)
			pass := w.Token(w.Passes, Class)
			r := w.Paid(epoch, pass, wire.TokenPass, nil)
			if _, err := b.Hold(ctx, r.Hold(0)); Code(err) != code {
				t.Errorf("%d: %v, want %q", epoch, err, code)
			}
		}
	})
}

// testUsages: CT-10 and CT-11.
func testUsages(t *testing.T, w *World, maker Maker) {
	b, ctx := w.Bank(w.open(maker), 5), t.Context()
	r, other := w.Request(5), w.Request(5)
	for _, x := range []*Request{r, other} {
		_, err := b.Hold(ctx, x.Hold(0))
		ok(t, err)
	}
	sign := func(u wire.Usage, node int) []byte {
		u.Sign(w.Nodes[node].Key)
		return u.Append([]byte{redeem.SettleUsage})
	}
	edit := func(f func(*wire.Usage)) wire.Usage {
		u := r.Usage(0, 3)
		f(&u)
		return u
	}
	for name, body := range map[string][]byte{
		"CT-10 more than was held":     sign(edit(func(u *wire.Usage) { u.Used = 65 }), 0),
		"CT-10 the largest number":     sign(edit(func(u *wire.Usage) { u.Used = 255 }), 0),
		"CT-10 of a larger class":      sign(edit(func(u *wire.Usage) { u.Class++ }), 0),
		"CT-10 of another epoch":       sign(edit(func(u *wire.Usage) { u.Epoch++ }), 0),
		"CT-10 of another attempt":     sign(edit(func(u *wire.Usage) { u.Attempt++ }), 0),
		"CT-10 as another candidate":   sign(edit(func(u *wire.Usage) { u.Index, u.NodeID = 1, w.Nodes[1].ID }), 1),
		"CT-10 as the holder":          sign(edit(func(u *wire.Usage) {}), 1),
		"CT-10 with a bit flipped":     func() []byte { b := r.Used(0, 3); b[len(b)-1] ^= 1; return b }(),
		"CT-10 used was edited":        func() []byte { b := r.Used(0, 3); b[len(b)-65] = 1; return b }(),
		"CT-11 another node's receipt": r.AllBusy(1),
	} {
		_, err := b.Settle(ctx, body)
		if c := Code(err); c != credits.CodeRefund {
			t.Errorf("%s: %q", name, c)
		}
	}
	t.Run("CT-11 somebody else's usage", func(t *testing.T) {
		u := other.Usage(0, 0) // cheap, and signed: under this request's hash it is not the node's word
		u.HeaderHash = r.Hash()
		_, err := b.Settle(ctx, u.Append([]byte{redeem.SettleUsage}))
		refused(t, err, credits.CodeRefund)
	})
	t.Run("the hold stands", func(t *testing.T) {
		c, err := b.Settle(ctx, r.Used(0, 3))
		ok(t, err)
		if c.Usage.Used != 3 {
			t.Errorf("%+v", c)
		}
	})
	_, err := b.Settle(ctx, w.Request(5).Used(0, 3))
	refused(t, err, credits.CodeAbsent)
}

func testTurns(t *testing.T, w *World, maker Maker) {
	b, ctx := w.Bank(w.open(maker), 5), t.Context()
	r := w.Request(5)
	_, err := b.Turn(ctx, r.Turn(0, 1))
	refused(t, err, credits.CodeAbsent)
	_, err = b.Hold(ctx, r.Hold(0))
	ok(t, err)
	_, err = b.Turn(ctx, r.Turn(1, 2))
	refused(t, err, credits.CodeTurn) // not who has the ticket
	_, err = b.Turn(ctx, r.Turn(0, 0))
	refused(t, err, credits.CodeTurn) // it had its turn
	forged := r.Turn(0, 1)
	forged[wire.BusyReceiptSize-1] ^= 1
	_, err = b.Turn(ctx, forged)
	refused(t, err, credits.CodeTurn)
	other := w.Request(5)
	_, err = b.Turn(ctx, append(r.Turn(0, 1)[:wire.BusyReceiptSize], other.Turn(0, 1)[wire.BusyReceiptSize:]...))
	refused(t, err, redeem.CodeHeader)
	for turn, to := range []int{1, 2} {
		tk, err := b.Turn(ctx, r.Turn(turn, to))
		ok(t, err)
		if tk.Turn != uint8(turn+1) || tk.Index != uint8(to) {
			t.Errorf("%+v", tk)
		}
	}
	for from := range 3 {
		for to := range 3 {
			if _, err := b.Turn(ctx, r.Turn(from, to)); from == 1 && to == 2 {
				ok(t, err) // the last one again
			} else {
				refused(t, err, credits.CodeTurn)
			}
		}
	}
	_, err = b.Settle(ctx, r.AllBusy(1))
	refused(t, err, credits.CodeRefund)
	c, err := b.Settle(ctx, r.AllBusy(2))
	ok(t, err)
	if worth(w.Unwrap(w.Coins, r.Blanks, c)) != 1<<Class {
		t.Error("not all came back")
	}
	t.Run("one receipt, two next candidates, at once", func(t *testing.T) {
		r := w.Request(5)
		_, err := b.Hold(ctx, r.Hold(0))
		ok(t, err)
		var all sync.WaitGroup
		var won [3]atomic.Int64
		for i := range 20 {
			all.Go(func() {
				if _, err := b.Turn(ctx, r.Turn(0, 1+i%2)); err == nil {
					won[1+i%2].Add(1)
				} else {
					refused(t, err, credits.CodeTurn)
				}
			})
		}
		all.Wait()
		if (won[1].Load() > 0) == (won[2].Load() > 0) {
			t.Errorf("%d and %d", won[1].Load(), won[2].Load())
		}
	})
}

func testExpiry(t *testing.T, w *World, maker Maker) {
	s, ctx := w.open(maker), t.Context()
	b := w.Bank(s, 5)
	var held []*Request
	for range 5 {
		r := w.Request(5)
		_, err := b.Hold(ctx, r.Hold(0))
		ok(t, err)
		held = append(held, r)
	}
	w.Follow(b, 6)
	if n, more, err := b.Expire(ctx, 100); n != 0 || more || err != nil {
		t.Fatal(n, more, err)
	}
	_, err := b.Settle(ctx, held[0].Used(0, 10)) // an answer may take an hour
	ok(t, err)
	w.Follow(b, 7)
	t.Run("CT-22 a hold ends by itself", func(t *testing.T) {
		c, err := b.Change(ctx, held[1].Hash()) // whoever asks does not wait for the others
		ok(t, err)
		if c.State != wire.ChangeReturned || worth(w.Unwrap(w.Coins, held[1].Blanks, c)) != 1<<Class {
			t.Errorf("%+v", c)
		}
	})
	t.Run("nobody is charged late", func(t *testing.T) {
		for range 2 {
			c, err := b.Settle(ctx, held[2].Used(0, 64))
			ok(t, err)
			if c.State != wire.ChangeReturned || c.Usage != (wire.Usage{}) || worth(w.Unwrap(w.Coins, held[2].Blanks, c)) != 1<<Class {
				t.Errorf("%+v", c)
			}
		}
	})
	n, more, err := b.Expire(ctx, 1)
	if n != 1 || !more || err != nil {
		t.Error(n, more, err)
	}
	n, more, err = b.Expire(ctx, 100)
	if n != 1 || more || err != nil {
		t.Error(n, more, err)
	}
	_, err = b.Turn(ctx, held[3].Turn(0, 1))
	refused(t, err, redeem.CodeEpoch)
	c, err := b.Change(ctx, held[0].Hash())
	ok(t, err)
	if c.State != wire.ChangeUsed {
		t.Errorf("%+v", c)
	}
}

func testSwaps(t *testing.T, w *World, maker Maker) {
	s, ctx := w.open(maker), t.Context()
	b := w.Bank(s, 5)
	two := []*blind.Coin{w.Token(w.Coins, 3), w.Token(w.Coins, 3)}
	blanks := []*blind.Blank{w.Blank(w.Coins), w.Blank(w.Coins), w.Blank(w.Coins)}
	body := w.Swap(5, two, w.Coins, blanks, []uint8{3, 2, 2})
	list, err := b.Swap(ctx, body)
	ok(t, err)
	c := &wire.Change{Coins: list}
	if got := worth(w.Unwrap(w.Coins, blanks, c)); got != 16 {
		t.Errorf("%d units", got)
	}
	t.Run("CT-04 the same again, in the next epoch, too", func(t *testing.T) {
		for _, epoch := range []uint64{5, 6} {
			w.Follow(b, epoch)
			again, err := b.Swap(ctx, w.Swap(epoch, two, w.Coins, blanks, []uint8{3, 2, 2}))
			ok(t, err)
			if !slices.Equal(again, list) {
				t.Error("another answer")
			}
		}
	})
	for name, c := range map[string]struct {
		code string
		body []byte
	}{
		"CT-01 for something else": {credits.CodeSpent, w.Swap(6, two, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{4})},
		"more than it is worth":    {credits.CodeClass, w.Swap(6, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{4})},
		"less than it is worth":    {credits.CodeClass, w.Swap(6, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{2})},
		"no such denomination":     {credits.CodeClass, w.Swap(6, []*blind.Coin{w.Token(w.Coins, 3)}, w.Vouchers, []*blind.Blank{w.Blank(w.Vouchers)}, []uint8{3})},
		"passes":                   {credits.CodeEpoch, w.Swap(6, []*blind.Coin{w.Token(w.Passes, 6)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{6})},
		"not on sale":              {credits.CodeEpoch, w.Swap(6, []*blind.Coin{w.Token(w.Coins, 3)}, w.Later, []*blind.Blank{w.Blank(w.Later)}, []uint8{3})},
		"CT-06 a MAC": {credits.CodeSig, func() []byte {
			b := w.Swap(6, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3})
			b[len(b)-1] ^= 1
			return b
		}()},
		"of another epoch": {redeem.CodeEpoch, w.Swap(4, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3})},
	} {
		_, err := b.Swap(ctx, c.body)
		if code := Code(err); code != c.code {
			t.Errorf("%s: %q, want %q", name, code, c.code)
		}
	}
	t.Run("all or nothing", func(t *testing.T) {
		good := w.Token(w.Coins, 3)
		_, err := b.Swap(ctx, w.Swap(6, []*blind.Coin{good, two[0]}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{4}))
		refused(t, err, credits.CodeSpent)
		_, err = b.Swap(ctx, w.Swap(6, []*blind.Coin{good}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3}))
		ok(t, err)
	})
	t.Run("CT-02 many at once", func(t *testing.T) {
		coin := w.Token(w.Coins, 3)
		var all sync.WaitGroup
		var won atomic.Int64
		for range 20 {
			body := w.Swap(6, []*blind.Coin{coin}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3})
			all.Go(func() {
				if _, err := b.Swap(ctx, body); err == nil {
					won.Add(1)
				} else {
					refused(t, err, credits.CodeSpent)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d swaps of one coin", won.Load())
		}
	})
	t.Run("the same at once", func(t *testing.T) {
		body := w.Swap(6, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3})
		lists := make([][]wire.Minted, 10)
		var all sync.WaitGroup
		for i := range lists {
			all.Go(func() {
				var err error
				if lists[i], err = b.Swap(ctx, body); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, l := range lists {
			if !slices.Equal(l, lists[0]) {
				t.Error("two answers to one swap")
			}
		}
	})
}

func testPasses(t *testing.T, w *World, maker Maker) {
	s, ctx := w.open(maker), t.Context()
	b := w.Bank(s, 5, func(c *redeem.Config) { c.Rates = map[uint8]uint64{wire.TokenPass: 2} })
	var r *Request
	for range 2 {
		r = w.Paid(5, w.Token(w.Passes, Class), wire.TokenPass, nil)
		_, err := b.Hold(ctx, r.Hold(0))
		ok(t, err)
	}
	last := w.Token(w.Passes, Class)
	_, err := b.Hold(ctx, w.Paid(5, last, wire.TokenPass, nil).Hold(0))
	refused(t, err, credits.CodeRate)
	_, err = b.Hold(ctx, r.Hold(0))
	ok(t, err) // it has its place
	_, err = b.Hold(ctx, w.Request(5).Hold(0))
	ok(t, err) // coins have no limit here
	c, err := b.Settle(ctx, r.Used(0, 1))
	ok(t, err)
	if len(c.Coins) != 0 || c.State != wire.ChangeUsed {
		t.Errorf("change for a pass: %+v", c)
	}
	w.Follow(b, 6)
	_, err = b.Hold(ctx, w.Paid(6, last, wire.TokenPass, nil).Hold(0))
	ok(t, err) // another epoch has room
}

// testFences: CT-21.
func testFences(t *testing.T, w *World, maker Maker) {
	ctx := t.Context()
	follow := func(b *redeem.Bank, n uint64) string {
		if err := b.Follow(ctx, w.Epoch(n), w.Epoch(n-1)); err != nil && b.State().Code == "ready" {
			t.Errorf("ready with %v", err)
		}
		return b.State().Code
	}
	t.Run("CT-21 away for too long", func(t *testing.T) {
		s := w.open(maker)
		w.Bank(s, 5)
		for n, code := range map[uint64]string{5: "ready", 6: "ready", 7: credits.CodeGeneration, 9: credits.CodeGeneration} {
			b := w.NewBank(s, func(c *redeem.Config) {})
			if n == 6 {
				continue // it would serve, and note it
			}
			if got := follow(b, n); got != code {
				t.Errorf("served in 5, started in %d: %s", n, got)
			}
			if n > 6 {
				_, err := b.Hold(ctx, w.Request(n).Hold(0))
				refused(t, err, credits.CodeGeneration)
				_, err = b.Swap(ctx, w.Swap(n, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3}))
				refused(t, err, credits.CodeGeneration)
				_, err = b.Buckets(ctx, w.Coins.Keyset().ID())
				refused(t, err, credits.CodeGeneration)
			}
		}
		if got := follow(w.NewBank(s), 6); got != "ready" {
			t.Errorf("the epoch after: %s", got)
		}
	})
	t.Run("CT-21 another generation", func(t *testing.T) {
		s := w.open(maker)
		for _, g := range []uint64{w.Generation - 1, w.Generation + 1, 0} {
			w2 := w.With(t)
			w2.Generation = g
			b := w2.NewBank(s)
			if err := b.Follow(ctx, w2.Epoch(5)); err == nil || b.State().Code != credits.CodeGeneration {
				t.Errorf("generation %d: %v", g, err)
			}
		}
	})
	t.Run("CT-21 raised under a bank that serves", func(t *testing.T) {
		s := w.open(maker)
		b := w.Bank(s, 5)
		ok(t, s.Raise(ctx, w.Generation+1))
		_, err := b.Hold(ctx, w.Request(5).Hold(0))
		refused(t, err, credits.CodeGeneration)
		if got := follow(b, 5); got != credits.CodeGeneration {
			t.Error(got)
		}
	})
	t.Run("CT-21 a replica an hour behind", func(t *testing.T) {
		db := maker(t, w.Generation)
		s := db.Open(t)
		behind, ahead := w.Bank(s, 5), w.Bank(s, 5)
		w.Follow(ahead, 6)
		r := w.Request(5)
		_, err := behind.Hold(ctx, r.Hold(0)) // 5 is the epoch before
		ok(t, err)
		w.Follow(ahead, 7)
		_, err = behind.Hold(ctx, w.Request(5).Hold(0))
		refused(t, err, redeem.CodeEpoch)
		_, err = behind.Turn(ctx, r.Turn(0, 1))
		refused(t, err, redeem.CodeEpoch)
		c, err := behind.Settle(ctx, r.Used(0, 64))
		ok(t, err)
		if c.State != wire.ChangeReturned {
			t.Error("charged late")
		}
	})
	t.Run("RT-02 one record for two nodes", func(t *testing.T) {
		st := w.Statement(5) // a publisher that lets one node stand for another
		st.Nodes[1].Record = st.Nodes[0].Record
		e, err := redeem.NewEpoch(st)
		ok(t, err)
		b := w.NewBank(w.open(maker))
		ok(t, b.Follow(ctx, e))
		_, err = b.Hold(ctx, w.Request(5).Hold(0))
		ok(t, err) // its key is known from here on
		_, err = b.Hold(ctx, bytes.Replace(w.Request(5).Hold(1), w.Record(5, 1), w.Record(5, 0), 1))
		refused(t, err, redeem.CodeHeader)
	})
	t.Run("DS-01 swaps leave room for tickets", func(t *testing.T) {
		if runtime.GOMAXPROCS(0) < 2 {
			t.Skip("one processor")
		}
		open, inside := make(chan struct{}), make(chan struct{}, 1)
		var swapping atomic.Bool
		b := w.Bank(w.open(maker), 5, func(c *redeem.Config) {
			c.Keys = func(id [32]byte) (*issue.Keys, bool) {
				if swapping.Load() { // in the arithmetic of a swap
					select {
					case inside <- struct{}{}:
					default:
					}
					<-open
				}
				return w.Keys(id)
			}
		})
		swapping.Store(true)
		var all sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			body := w.Swap(5, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3})
			all.Go(func() {
				_, err := b.Swap(ctx, body)
				ok(t, err)
			})
		}
		<-inside
		for range 1000 {
			runtime.Gosched() // as many as can be are inside
		}
		swapping.Store(false)
		short, stop := context.WithTimeout(ctx, 10*time.Second)
		defer stop()
		r := w.Request(5)
		_, err := b.Hold(short, r.Hold(0))
		ok(t, err)
		close(open)
		all.Wait()
	})
	t.Run("DS-08 swaps have a bound", func(t *testing.T) {
		s := w.open(maker)
		b := w.NewBank(s, func(c *redeem.Config) { c.Rates = map[uint8]uint64{redeem.RateSwap: 2} })
		w.Follow(b, 5)
		swap := func(epoch uint64) []byte {
			return w.Swap(epoch, []*blind.Coin{w.Token(w.Coins, 3)}, w.Coins, []*blind.Blank{w.Blank(w.Coins)}, []uint8{3})
		}
		first := swap(5)
		for _, body := range [][]byte{first, swap(5), first} { // the same again is none
			_, err := b.Swap(ctx, body)
			ok(t, err)
		}
		more := swap(5)
		_, err := b.Swap(ctx, more)
		refused(t, err, credits.CodeRate)
		r := w.Request(5)
		_, err = b.Hold(ctx, r.Hold(0)) // requests are counted by themselves
		ok(t, err)
		w.Follow(b, 6)
		_, err = b.Swap(ctx, append(binary.BigEndian.AppendUint64(nil, 6), more[8:]...)) // the coin was not used up
		ok(t, err)
	})
	t.Run("CT-21 pruned too early", func(t *testing.T) {
		s := w.open(maker)
		b := w.NewBank(s, func(c *redeem.Config) { c.Away = 100 })
		w.Follow(b, 20)
		coin := w.Token(w.Coins, 3)
		spent := w.Swap(20, []*blind.Coin{coin}, w.Later, []*blind.Blank{w.Blank(w.Later)}, []uint8{3})
		_, err := b.Swap(ctx, spent)
		ok(t, err)
		for _, n := range []uint64{40, 41} { // the last epoch of the coin, and the one in which that may still be asked for
			w.Follow(b, n)
			ok(t, b.Drop(ctx))
			_, err := s.Spender(ctx, redeem.Coin{ID: credits.CoinID(coin.Keyset, 3, coin.Nonce), Until: 40})
			ok(t, err)
		}
		// Whose answer was lost gets it after the coin's last epoch, too; nobody else does.
		late := append(binary.BigEndian.AppendUint64(nil, 41), spent[8:]...)
		list, err := b.Swap(ctx, late)
		if ok(t, err); len(list) != 1 {
			t.Errorf("%d tokens", len(list))
		}
		late[len(late)-1] ^= 1
		_, err = b.Swap(ctx, late)
		refused(t, err, credits.CodeEpoch)
		w.Follow(b, 42)
		ok(t, b.Drop(ctx))
		if _, err := s.Spender(ctx, redeem.Coin{ID: credits.CoinID(coin.Keyset, 3, coin.Nonce), Until: 40}); err == nil {
			t.Error("the part was kept")
		}
		_, err = b.Swap(ctx, w.Swap(42, []*blind.Coin{coin}, w.Later, []*blind.Blank{w.Blank(w.Later)}, []uint8{3}))
		refused(t, err, credits.CodeEpoch)
	})
	t.Run("a statement that this bank cannot serve under", func(t *testing.T) {
		s := w.open(maker)
		for name, f := range map[string]func(*redeem.Config){
			"another ticket key": func(c *redeem.Config) { c.Ticket = ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%032d", 1))) },
		} {
			b := w.NewBank(s, f)
			if got := follow(b, 5); got != "starting" {
				t.Errorf("%s: %s", name, got)
			}
		}
		none := w.Statement(5)
		none.Payment = 0
		e, err := redeem.NewEpoch(none)
		ok(t, err)
		b := w.NewBank(s)
		if err := b.Follow(ctx, e); err == nil || b.State().Code != "starting" {
			t.Error(err)
		}
	})
}

func testBuckets(t *testing.T, w *World, maker Maker) {
	s, ctx := w.open(maker), t.Context()
	b := w.Bank(s, 5)
	k := w.Coins.Keyset().ID()
	const lines = 9000
	d := &redeem.Draft{Op: redeem.Op{Key: id("many"), Until: 40, Epoch: 5, State: redeem.StateSwapped}}
	for n := range lines {
		d.Entries = append(d.Entries, line(k, id("name", n), 1, byte(n)))
	}
	_, err := s.Begin(ctx, w.Generation, d)
	ok(t, err)
	n, err := b.Buckets(ctx, k)
	ok(t, err)
	if n != 2 {
		t.Fatalf("%d buckets for %d lines", n, lines)
	}
	seen := map[[32]byte]bool{}
	for i := range n {
		list, err := b.Bucket(ctx, k, i)
		ok(t, err)
		if _, err := credits.ParseTable(credits.AppendTable(nil, list)); err != nil {
			t.Error(err)
		}
		for _, e := range list {
			if uint32(e.Name[0]>>7) != i {
				t.Errorf("%x in bucket %d", e.Name, i)
			}
			seen[e.Name] = true
		}
	}
	if len(seen) != lines {
		t.Errorf("%d lines", len(seen))
	}
	_, err = b.Bucket(ctx, k, n)
	refused(t, err, credits.CodeAbsent)
	_, err = b.Buckets(ctx, id("no keyset"))
	refused(t, err, credits.CodeEpoch)
}

// testStrangers: what comes from nobody who has a token costs the store nothing.
func testStrangers(t *testing.T, w *World, maker Maker) {
	ctx := t.Context()
	f := NewFaulty(w.open(maker))
	b := w.Bank(f, 5)
	f.Writes.Store(0)
	r := w.Request(5)
	r.Block.Spend.MAC[0] ^= 1
	for range 50 {
		_, err := b.Hold(ctx, r.Hold(0))
		refused(t, err, credits.CodeSig)
	}
	if n := f.Writes.Load() + f.Reads.Load(); n != 0 {
		t.Errorf("DS-01: the store was asked %d times", n)
	}
}
