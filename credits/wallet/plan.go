// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

// A Plan is what has to be done, in this order, for the stock of the policy to
// be there. Nothing of it is begun.
type Plan struct {
	Swaps []SwapPlan
	Buy   []uint8 // exponents of coins to buy, largest first
	Units uint64  // that the purchase costs
	Short map[uint8]int
}

// A SwapPlan is one swap to begin with [Wallet.Swap].
type SwapPlan struct {
	Picks     []Pick
	Exponents []uint8
}

// Plan looks at the stock in an epoch. Tokens that must not be spent, or soon
// cannot be, are swapped for new ones; change is swapped into coins of the classes
// that are missing; what is missing then is bought. Of each class a power of two
// of coins is bought, so that an odd number says nothing about what was spent.
// What was refused in this epoch is not planned again: each try burns blanks.
func (w *Wallet) Plan(sets *credits.Set, epoch uint64) Plan { return w.plan(sets, epoch, false) }

// PlanAnew is [Wallet.Plan] for somebody who asks for it to be tried again,
// having put money on the account, say.
func (w *Wallet) PlanAnew(sets *credits.Set, epoch uint64) Plan { return w.plan(sets, epoch, true) }

func (w *Wallet) plan(sets *credits.Set, epoch uint64, again bool) Plan {
	var plan Plan
	sale, ok := selling(sets, wire.TokenCoin, 0, epoch)
	if !ok {
		return plan
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	stock := w.sort(sets, sale, epoch)
	for _, t := range stock.doubtful {
		plan.Swaps = append(plan.Swaps, SwapPlan{[]Pick{{t.ref}}, []uint8{t.exponent}})
	}
	short := map[uint8]int{}
	for class, want := range w.policy.Stock {
		// Half of the stock is the mark under which it is filled up.
		if n := stock.have[class]; 2*n < want || n == 0 {
			short[class] = want - n
		}
	}
	far := w.state.unmarked(sale.ID()) > indexGap/2
	if s, filled := stock.swap(sale, short); len(s.Picks) > 0 {
		plan.Swaps = append(plan.Swaps, s)
		for class, n := range filled {
			if short[class] -= n; short[class] <= 0 {
				delete(short, class)
			}
		}
	} else if far && stock.any != nil {
		plan.Swaps = append(plan.Swaps, SwapPlan{[]Pick{{stock.any.ref}}, []uint8{stock.any.exponent}})
	}
	plan.Short = short
	if !again && w.refusedIn(orderSwap, epoch) {
		plan.Swaps = nil
	}
	if far || !again && w.refusedIn(orderBuy, epoch) {
		return plan
	}
	for _, class := range slices.Backward(slices.Sorted(maps.Keys(short))) {
		if _, ok := sale.Key(class); !ok {
			continue
		}
		for range 1 << bits.Len(uint(short[class]-1)) {
			plan.Buy = append(plan.Buy, class)
		}
	}
	plan.Buy = plan.Buy[:min(len(plan.Buy), maxBuy)]
	plan.Units = credits.Units(plan.Buy)
	return plan
}

// refusedIn reports whether an order of a kind was refused in an epoch, for
// another reason than that a coin is spent: that one has a cure.
func (w *Wallet) refusedIn(what uint8, epoch uint64) bool {
	for _, o := range w.state.orders {
		if o.what == what && o.code != "" && o.code != credits.CodeSpent && o.epoch == epoch {
			return true
		}
	}
	return false
}

// PlanFor is the swap that makes one coin of a class which a request needs now
// and the stock does not have: of as few others as are worth it together, or of
// the smallest one that is worth more. It is false where there are none.
func (w *Wallet) PlanFor(sets *credits.Set, epoch uint64, class uint8) (SwapPlan, bool) {
	sale, ok := selling(sets, wire.TokenCoin, 0, epoch)
	if !ok {
		return SwapPlan{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var less []*token
	var more *token
	for _, r := range slices.SortedFunc(maps.Keys(w.state.tokens), compareRefs) {
		t := w.state.tokens[r]
		k, ok := sets.Spendable(t.keyset, epoch)
		switch {
		case !ok || k.Type != wire.TokenCoin || t.held || t.state == stateDoubtful || t.ripe > epoch:
		case t.exponent < class:
			less = append(less, t)
		case t.exponent > class && (more == nil || t.exponent < more.exponent):
			more = t
		}
	}
	// Powers of two, largest first, come to exactly a larger one if they come to it
	// at all.
	slices.SortStableFunc(less, func(a, b *token) int { return cmp.Compare(b.exponent, a.exponent) })
	var units uint64
	var plan SwapPlan
	for _, t := range less[:min(len(less), credits.MaxSwap)] {
		units, plan.Picks = units+t.units(), append(plan.Picks, Pick{t.ref})
		if units == 1<<class {
			break
		}
	}
	if units != 1<<class {
		if more == nil {
			return SwapPlan{}, false
		}
		units, plan.Picks = more.units(), []Pick{{more.ref}}
	}
	plan.Exponents, _ = split(sale, units, map[uint8]int{class: 1})
	return plan, plan.Exponents != nil
}

// A shelf is the coins of a stock by what is to be done with them.
type shelf struct {
	have     map[uint8]int // coins of a class that is kept, and those that are on their way
	doubtful []*token
	renew    []*token // must be swapped
	loose    []*token // can be: of no class that is kept, or more than are kept
	any      *token   // that the bank has a key for, if there is one
}

// sort looks at every coin. The caller holds mu.
func (w *Wallet) sort(sets *credits.Set, sale *credits.Keyset, epoch uint64) *shelf {
	s := &shelf{have: map[uint8]int{}}
	for _, o := range w.state.orders { // what is on its way is not ordered again
		for _, v := range o.wanted {
			if o.code == "" && w.state.typeOf(v.keyset) == wire.TokenCoin {
				s.have[v.exponent]++
			}
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(w.state.tokens), compareRefs) {
		t := w.state.tokens[r]
		k, ok := sets.Spendable(t.keyset, epoch)
		if !ok || k.Type != wire.TokenCoin || t.held {
			continue
		}
		if _, sold := sale.Key(t.exponent); sold && t.state != stateDoubtful && s.any == nil {
			s.any = t
		}
		switch {
		case t.state == stateDoubtful:
			s.doubtful = append(s.doubtful, t)
		case t.state == stateStale, k.ID() != sale.ID() && k.SpendLast-epoch < w.policy.Renew:
			s.renew = append(s.renew, t)
		case t.ripe > epoch || s.have[t.exponent] < w.policy.Stock[t.exponent]:
			s.have[t.exponent]++
		default:
			s.loose = append(s.loose, t)
		}
	}
	return s
}

// swap makes the one swap that does most: everything that must be renewed, and
// loose coins if they fill what is short. It returns how many of each class it
// fills.
func (s *shelf) swap(sale *credits.Keyset, short map[uint8]int) (SwapPlan, map[uint8]int) {
	slices.SortStableFunc(s.loose, func(a, b *token) int { return cmp.Compare(b.exponent, a.exponent) })
	pool := s.renew
	if len(short) > 0 {
		pool = append(slices.Clone(pool), s.loose...)
	}
	pool = pool[:min(len(pool), credits.MaxSwap)]
	for len(pool) > 0 {
		var units uint64
		var picks []Pick
		for _, t := range pool {
			units, picks = units+t.units(), append(picks, Pick{t.ref})
		}
		exponents, filled := split(sale, units, short)
		if exponents != nil {
			if len(filled) == 0 && len(pool) > len(s.renew) {
				pool = slices.Clone(s.renew[:min(len(s.renew), credits.MaxSwap)])
				continue // loose coins fill nothing: leave them
			}
			return SwapPlan{picks, exponents}, filled
		}
		pool = pool[:len(pool)-1] // more tokens than a swap takes, or no keys for the rest
	}
	return SwapPlan{}, nil
}

// split divides units into what is short, largest class first, and the fewest
// coins for the rest; nil if that is too many, or if a denomination is not on sale.
func split(sale *credits.Keyset, units uint64, short map[uint8]int) (exponents []uint8, filled map[uint8]int) {
	filled = map[uint8]int{}
	for _, class := range slices.Backward(slices.Sorted(maps.Keys(short))) {
		for n := short[class]; n > 0 && units >= 1<<class && len(exponents) < credits.MaxSwap; n-- {
			units -= 1 << class
			exponents, filled[class] = append(exponents, class), filled[class]+1
		}
	}
	exponents = append(exponents, credits.Split(units)...)
	if len(exponents) > credits.MaxSwap {
		return nil, nil
	}
	for _, e := range exponents {
		if _, ok := sale.Key(e); !ok {
			return nil, nil
		}
	}
	slices.Sort(exponents)
	slices.Reverse(exponents)
	return exponents, filled
}

// Vouchers plans the swap of coins into vouchers of a fixed value, for
// redeeming: as many vouchers of 2^exponent units as there are coins for, most and
// 64 at most. Coins that make them exactly are preferred; what others are worth
// more comes back as coins. It reports whether there is anything to swap.
func (w *Wallet) Vouchers(sets *credits.Set, epoch uint64, exponent uint8, most int) (SwapPlan, bool) {
	k, ok := selling(sets, wire.TokenVoucher, 0, epoch)
	if !ok || most < 1 {
		return SwapPlan{}, false
	}
	if _, ok := k.Key(exponent); !ok {
		return SwapPlan{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var pool []*token
	for _, r := range slices.SortedFunc(maps.Keys(w.state.tokens), compareRefs) {
		t := w.state.tokens[r]
		if k, ok := sets.Spendable(t.keyset, epoch); ok && k.Type == wire.TokenCoin && !t.held && t.state != stateDoubtful {
			pool = append(pool, t)
		}
	}
	slices.SortStableFunc(pool, func(a, b *token) int { return cmp.Compare(b.exponent, a.exponent) })
	// Powers of two, largest first: whenever the sum is a multiple of the voucher
	// it is one that the coins so far make exactly.
	var plan, best SwapPlan
	var larger *token // the smallest coin that was too large
	var units uint64
	target := uint64(min(most, credits.MaxSwap)) << exponent
	for _, t := range pool {
		switch {
		case units+t.units() > target:
			larger = t
			continue
		case len(plan.Picks) == credits.MaxSwap:
			continue
		}
		plan.Picks, units = append(plan.Picks, Pick{t.ref}), units+t.units()
		if units%(1<<exponent) == 0 {
			best = vouchers(plan.Picks, exponent, units)
		}
	}
	if len(best.Exponents) == min(most, credits.MaxSwap) {
		return best, true
	}
	if larger != nil && len(plan.Picks) < credits.MaxSwap {
		// With it the target is there: nothing below it is left out but what was
		// too large itself.
		plan.Picks, units = append(plan.Picks, Pick{larger.ref}), units+larger.units()
	}
	for n := min(units, target) >> exponent; n > uint64(len(best.Exponents)); n-- {
		if rest := w.restOf(sets, epoch, units-n<<exponent); rest >= 0 && int(n)+rest <= credits.MaxSwap {
			return vouchers(plan.Picks, exponent, n<<exponent), true
		}
	}
	return best, len(best.Picks) > 0
}

func vouchers(picks []Pick, exponent uint8, units uint64) SwapPlan {
	return SwapPlan{Picks: slices.Clone(picks), Exponents: slices.Repeat([]uint8{exponent}, int(units>>exponent))}
}

// restOf is in how many coins that are on sale units come back; -1: in none.
func (w *Wallet) restOf(sets *credits.Set, epoch, units uint64) int {
	coins, ok := sets.Selling(wire.TokenCoin, 0, epoch)
	if !ok {
		return -1
	}
	rest := credits.Split(units)
	for _, e := range rest {
		if _, ok := coins.Key(e); !ok {
			return -1
		}
	}
	return len(rest)
}
