// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
	"github.com/sotto-project/sotto/internal/wire"
)

// A purse is one payment and what it can be by now, by the rules of
// docs/spec/payment.md, section 6, without any database: "" nothing, "h" and the
// candidates that had a ticket, "u" and the 64ths used, or "r". A write whose
// answer was lost makes two of one.
type purse struct {
	r     *storetest.Request
	coin  *blind.Coin
	epoch uint64
	can   map[string]bool
}

// TestRandom: CT-23. Random operations by a client, a router and two replicas of
// a bank that crash at any write, in random order with lost answers, are what
// the model says; and no unit is ever made or lost.
func TestRandom(t *testing.T) {
	steps := 100_000
	if testing.Short() {
		steps = 3_000
	}
	t.Run(fmt.Sprintf("CT-23 %d operations", steps), func(t *testing.T) {
		seed := rand.Uint64()
		defer func() {
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		}()
		newRandom(t, rand.New(rand.NewPCG(seed, 0))).run(steps)
	})
}

type random struct {
	t      *testing.T
	rng    *rand.Rand
	w      *storetest.World
	m      *storetest.Memory
	f      [2]*storetest.Faulty
	banks  [2]*redeem.Bank
	epoch  uint64
	purses []*purse
}

func newRandom(t *testing.T, rng *rand.Rand) *random {
	x := &random{t: t, rng: rng, w: storetest.NewWorld(t), epoch: 3}
	x.m = storetest.NewMemory(x.w.Generation)
	for i := range x.banks {
		x.f[i] = storetest.NewFaulty(x.m)
		x.restart(i)
	}
	for range 8 {
		x.pay(3)
	}
	return x
}

// restart is a crash of a replica: it knows nothing but the database.
func (x *random) restart(i int) {
	x.f[i].At = 0
	x.banks[i] = x.w.NewBank(x.f[i])
	x.follow(i)
}

func (x *random) follow(i int) {
	if err := x.banks[i].Follow(x.t.Context(), x.w.Epoch(x.epoch), x.w.Epoch(x.epoch-1)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *random) pay(epoch uint64) {
	coin := x.w.Token(x.w.Coins, storetest.Class)
	x.purses = append(x.purses, &purse{x.w.Paid(epoch, coin, wire.TokenCoin, nil), coin, epoch, map[string]bool{"": true}})
}

func (x *random) run(steps int) {
	for step := range steps {
		// New epochs now and then, as long as coins are sold.
		if step%(max(steps/7, 1)) == 0 && step > 0 && x.epoch < 10 {
			x.epoch++
			x.follow(x.rng.IntN(2)) // the other one is behind for a while
		}
		if x.rng.IntN(200) == 0 {
			x.restart(x.rng.IntN(2))
		}
		if x.rng.IntN(60) == 0 {
			x.pay(x.epoch)
		}
		i, p := x.rng.IntN(2), x.purses[len(x.purses)-1-min(x.rng.IntN(20), len(x.purses)-1)]
		if x.rng.IntN(10) == 0 {
			p = x.purses[x.rng.IntN(len(x.purses))]
		}
		f, b := x.f[i], x.banks[i]
		if x.rng.IntN(6) == 0 {
			f.At, f.Done = f.Writes.Load()+1, x.rng.IntN(2) == 0
		}
		x.step(b, p)
		f.At = 0
		if x.rng.IntN(1000) == 0 {
			conserved(x.t, x.m)
		}
		if x.t.Failed() {
			return
		}
	}
	conserved(x.t, x.m)
	x.recover()
}

// an act is one request: what the bank says to it, and what the model says for
// each thing that a payment can be.
type act struct {
	name  string
	real  func() (string, error)
	model func(s string) (next, says string)
}

func ticketSays(index, turn int) string { return fmt.Sprintf("ticket %d of turn %d", index, turn) }

func changeSays(c *wire.Change) string {
	return fmt.Sprintf("change: state %d, %d used, %d coins", c.State, c.Usage.Used, len(c.Coins))
}

// says is the answer to whoever asks for the change of an ended hold.
func says(s string) string {
	c := &wire.Change{State: wire.ChangeReturned, Coins: make([]wire.Minted, 1)}
	if s[0] == 'u' {
		c.State, c.Usage.Used = wire.ChangeUsed, s[1]
		c.Coins = make([]wire.Minted, len(wire.Due(storetest.Class, s[1])))
	}
	return changeSays(c)
}

func (x *random) act(b *redeem.Bank, p *purse) act {
	ctx := x.t.Context()
	view := b.State().Epoch
	meta, err := x.m.Meta(ctx)
	if err != nil {
		x.t.Fatal(err)
	}
	current := (p.epoch == view || p.epoch+1 == view)
	over, stale := p.epoch+2 <= view, p.epoch+1 < meta.Served
	from, to := x.rng.IntN(3), x.rng.IntN(3)
	if x.rng.IntN(2) == 0 { // mostly what an honest router does
		for s := range p.can {
			if s != "" && s[0] == 'h' {
				from = int(s[len(s)-1] - '0')
			}
		}
	}
	ticketOf := func(t *wire.Ticket, err error) (string, error) {
		if err != nil {
			return "", err
		}
		return ticketSays(int(t.Index), int(t.Turn)), nil
	}
	changeOf := func(c *wire.Change, err error) (string, error) {
		if err != nil {
			return "", err
		}
		return changeSays(c), nil
	}
	settled := func(end string) func(s string) (string, string) {
		return func(s string) (string, string) {
			switch {
			case s == "":
				return s, credits.CodeAbsent
			case s[0] != 'h':
				return s, says(s)
			case over:
				return "r", says("r")
			case int(s[len(s)-1]-'0') != from:
				return s, credits.CodeRefund
			case end[0] == 'u' && stale:
				return "r", says("r")
			}
			return end, says(end)
		}
	}
	switch x.rng.IntN(6) {
	case 0:
		return act{"hold", func() (string, error) { return ticketOf(b.Hold(ctx, p.r.Hold(to))) }, func(s string) (string, string) {
			first := fmt.Sprint("h", to)
			switch {
			case !current || stale:
				return s, redeem.CodeEpoch
			case s == "" || s == first:
				return first, ticketSays(to, 0)
			}
			return s, credits.CodeTurn
		}}
	case 1:
		return act{"turn", func() (string, error) { return ticketOf(b.Turn(ctx, p.r.Turn(from, to))) }, func(s string) (string, string) {
			f, g := byte('0'+from), byte('0'+to)
			switch n := len(s); {
			case !current:
				return s, redeem.CodeEpoch
			case s == "":
				return s, credits.CodeAbsent
			case s[0] != 'h':
				return s, credits.CodeTurn
			case n > 2 && s[n-1] == g && s[n-2] == f:
				return s, ticketSays(to, n-2)
			case s[n-1] != f || strings.ContainsRune(s, rune(g)):
				return s, credits.CodeTurn
			case stale:
				return s, redeem.CodeEpoch
			default:
				return s + string(g), ticketSays(to, n-1)
			}
		}}
	case 2:
		used := uint8(x.rng.IntN(65))
		return act{"settle", func() (string, error) { return changeOf(b.Settle(ctx, p.r.Used(from, used))) }, settled(string([]byte{'u', used}))}
	case 3:
		if x.rng.IntN(3) > 0 {
			break
		}
		return act{"all busy", func() (string, error) { return changeOf(b.Settle(ctx, p.r.AllBusy(from))) }, settled("r")}
	case 4:
		if p.can[""] {
			break // it could win
		}
		again := p.r.Again(p.coin)
		return act{"double spend", func() (string, error) { return ticketOf(b.Hold(ctx, again.Hold(to))) }, func(s string) (string, string) {
			if !current || stale {
				return s, redeem.CodeEpoch
			}
			return s, credits.CodeSpent
		}}
	}
	return act{"change", func() (string, error) { return changeOf(b.Change(ctx, p.r.Hash())) }, func(s string) (string, string) {
		switch {
		case s == "":
			return s, credits.CodeAbsent
		case s[0] != 'h':
			return s, says(s)
		case over:
			return "r", says("r")
		}
		return s, changeSays(&wire.Change{})
	}}
}

func (x *random) step(b *redeem.Bank, p *purse) {
	if x.rng.IntN(50) == 0 {
		x.expire(b)
		return
	}
	a := x.act(b, p)
	said, err := a.real()
	lost := errors.Is(err, storetest.ErrFault)
	if err != nil && !lost {
		said = storetest.Code(err)
	}
	next := map[string]bool{}
	for s := range p.can {
		switch n, says := a.model(s); {
		case lost:
			next[s], next[n] = true, true
		case says == said:
			next[n] = true
		}
	}
	if len(next) == 0 {
		x.t.Errorf("%s of epoch %d, seen from %d: the bank says %q; the payment was one of %q", a.name, p.epoch, b.State().Epoch, said, slices.Collect(maps.Keys(p.can)))
	}
	p.can = next
}

// expire ends some of the holds whose time is over. Which, the model does not know.
func (x *random) expire(b *redeem.Bank) {
	_, _, err := b.Expire(x.t.Context(), 1+x.rng.IntN(5))
	if err != nil && !errors.Is(err, storetest.ErrFault) {
		x.t.Error(err)
	}
	view := b.State().Epoch
	for _, p := range x.purses {
		for s := range p.can {
			if s != "" && s[0] == 'h' && p.epoch+2 <= view {
				p.can["r"] = true
			}
		}
	}
}

// recover is what every client does in the end: it asks, and has all that is
// its own.
func (x *random) recover() {
	b := x.w.Bank(x.m, 12, func(c *redeem.Config) { c.Away = 100 })
	states := map[string]int{}
	for i, p := range x.purses {
		c, err := b.Change(x.t.Context(), p.r.Hash())
		if storetest.Code(err) == credits.CodeAbsent {
			if !p.can[""] {
				x.t.Errorf("a payment that was held is gone: %q", slices.Collect(maps.Keys(p.can)))
			}
			states["unspent"]++
			continue
		}
		if err != nil {
			x.t.Fatal(err)
		}
		states[fmt.Sprint("state ", c.State)]++
		if i%20 != 0 {
			continue
		}
		sum := uint64(c.Usage.Used) << (storetest.Class - 6)
		for _, coin := range x.w.Unwrap(x.w.Coins, p.r.Blanks, c) {
			sum += 1 << coin.Exponent
		}
		if sum != 1<<storetest.Class {
			x.t.Errorf("%d units of %d", sum, 1<<storetest.Class)
		}
	}
	x.t.Log(states)
}
