// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// Pay pays for requests over a store, several at once, until it fails. It says
// what it will ask before it does, and what it was told after: for
// [Ledger.Take] in the process that ended this one.
func Pay(s redeem.Store, stamp uint64, ack func(format string, args ...any)) error {
	w := NewWorld(Headless())
	w.Stamp(stamp)
	b := w.Bank(s, 5)
	var all sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		all.Go(func() {
			for n := 0; errs[i] == nil; n++ {
				errs[i] = w.payOnce(b, n, ack)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (w *World) payOnce(b *redeem.Bank, n int, ack func(format string, args ...any)) error {
	ctx := context.Background()
	coin := w.Token(w.Coins, Class)
	r := w.Paid(5, coin, wire.TokenCoin, nil)
	hash := r.Hash()
	ack("hold %x %x %x", hash, coin.Nonce, r.Hold(0))
	if _, err := b.Hold(ctx, r.Hold(0)); err != nil {
		return err
	}
	ack("held %x", hash)
	holder := 0
	if n%3 == 0 {
		ack("turn %x %x", hash, r.Turn(0, 1))
		if _, err := b.Turn(ctx, r.Turn(0, 1)); err != nil {
			return err
		}
		ack("turned %x", hash)
		holder = 1
	}
	if n%4 == 3 {
		return nil // its router died
	}
	body := r.Used(holder, uint8(n*7%65))
	if n%5 == 4 {
		body = r.AllBusy(holder)
	}
	ack("settle %x %x", hash, body)
	c, err := b.Settle(ctx, body)
	if err != nil {
		return err
	}
	ack("ended %x %x", hash, sha256.Sum256(c.Append(nil)))
	return nil
}

// A Ledger is what was ever acknowledged, by whatever processes.
type Ledger struct {
	payments map[string]*payment
}

type payment struct {
	hash                      [32]byte
	nonce, hold, turn, settle []byte
	held, turned              bool
	ended                     string
}

// NewLedger makes an empty one.
func NewLedger() *Ledger { return &Ledger{map[string]*payment{}} }

// Len is how many payments it knows of.
func (l *Ledger) Len() int { return len(l.payments) }

// Take takes the lines that [Pay] printed.
func (l *Ledger) Take(t testing.TB, acks []string) {
	t.Helper()
	for _, line := range acks {
		f := strings.Fields(line)
		if len(f) < 2 {
			t.Fatalf("%q", line)
		}
		p := l.payments[f[1]]
		if p == nil {
			p = &payment{hash: [32]byte(unhex(t, f[1]))}
			l.payments[f[1]] = p
		}
		switch f[0] {
		case "hold":
			p.nonce, p.hold = unhex(t, f[2]), unhex(t, f[3])
		case "held":
			p.held = true
		case "turn":
			p.turn = unhex(t, f[2])
		case "turned":
			p.turned = true
		case "settle":
			p.settle = unhex(t, f[2])
		case "ended":
			p.ended = f[2]
		default:
			t.Fatalf("%q", line)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Check looks at a store after its process was ended: what was acknowledged is
// there, what was not can be asked for again, no coin can be spent twice, and per
// payment what was charged and what comes back is what was paid.
func (l *Ledger) Check(t testing.TB, w *World, s redeem.Store) {
	t.Helper()
	ctx := t.Context()
	b := w.Bank(s, 5)
	n := 0
	for _, p := range l.payments {
		if p.held {
			if _, err := s.Get(ctx, p.hash); err != nil {
				t.Fatalf("CT-03: a hold that was acknowledged: %v", err)
			}
		}
		// Whoever lost an answer asks again.
		if !p.held {
			tk, err := b.Hold(ctx, p.hold)
			ok(t, err)
			if tk.Turn != 0 {
				t.Errorf("CT-03: %+v", tk)
			}
			p.held = true
		}
		if p.turn != nil && p.settle == nil {
			_, err := b.Turn(ctx, p.turn)
			ok(t, err)
			p.turned = true
		}
		if p.settle != nil {
			c, err := b.Settle(ctx, p.settle)
			ok(t, err)
			digest := fmt.Sprintf("%x", sha256.Sum256(c.Append(nil)))
			if p.ended != "" && p.ended != digest {
				t.Error("CT-03: another change than the one that was acknowledged")
			}
			p.ended = digest
			back := uint64(c.Usage.Used) << (Class - 6)
			for _, m := range c.Coins {
				back += 1 << m.Exponent
			}
			if back != 1<<Class {
				t.Errorf("CT-03: %d units of %d", back, 1<<Class)
			}
		}
		key, err := s.Spender(ctx, redeem.Coin{ID: credits.CoinID(w.Coins.Keyset().ID(), Class, [32]byte(p.nonce)), Until: 40})
		ok(t, err)
		if key != p.hash {
			t.Error("CT-03: the coin is another payment's")
		}
		if n++; n%4 == 0 {
			out, err := w.Coins.Output(Class, [32]byte(p.nonce))
			ok(t, err)
			coin := &blind.Coin{Keyset: w.Coins.Keyset().ID(), Exponent: Class, Nonce: [32]byte(p.nonce), Output: redact.New(out)}
			_, err = b.Hold(ctx, w.Paid(5, coin, wire.TokenCoin, nil).Hold(0))
			refused(t, err, credits.CodeSpent)
		}
	}
}

// End lets the time of every hold be over, and checks that all that was not
// charged comes back.
func (l *Ledger) End(t testing.TB, w *World, s redeem.Store) {
	t.Helper()
	b := w.NewBank(s, func(c *redeem.Config) { c.Away = 100 })
	w.Follow(b, 7)
	for {
		_, more, err := b.Expire(t.Context(), 100)
		ok(t, err)
		if !more {
			break
		}
	}
	states := map[uint8]int{}
	for _, p := range l.payments {
		op, err := s.Get(t.Context(), p.hash)
		ok(t, err)
		states[op.State]++
	}
	if states[redeem.StateHeld] != 0 || states[redeem.StateUsed]+states[redeem.StateReturned] != len(l.payments) {
		t.Errorf("%v of %d", states, len(l.payments))
	}
}
