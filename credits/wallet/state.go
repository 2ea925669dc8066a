// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// States of a token in stock.
const (
	stateReady    = 0
	stateStale    = 1 // was seen on its way, or is of an older generation: only to be swapped
	stateDoubtful = 2 // may be spent already: to be swapped alone, so that it spoils no other
)

// How a payment that was not settled ended.
const (
	fateReady    = 0 // it was never sent
	fateStale    = 1 // it was sent, and the bank did not hold it in time
	fateDoubtful = 2 // somebody said that the token was spent elsewhere
)

// Kinds of orders.
const (
	orderSwap   = 1
	orderBuy    = 2
	orderRedeem = 3
)

const (
	// maxBuy is how many tokens one purchase has at most.
	maxBuy = 1024
	// maxHistory is how many events are kept, maxClosed for how many epochs the
	// end of a payment is, so that the same change again is known.
	maxHistory, maxClosed = 4096, 8
	// keepSpent is for how many epochs it is kept what was spent.
	keepSpent = 1024

	stateBack = 4 // of a closed payment: it was none
)

// An Event is a line of the history. It has no prompt, no node and no header
// hash in it, and its time is an epoch.
type Event struct {
	Epoch uint64
	Kind  string // spend, buy, swap, redeem, lost, expired
	Units uint64
}

type token struct {
	ref
	exponent uint8
	state    uint8
	ripe     uint64 // first epoch to spend it in
	output   redact.Secret

	held  bool // by a payment or an order; not in the record
	apart bool // prepared for a payment that was not made yet; not in the record
}

func (t *token) units() uint64 { return 1 << t.exponent }

type payment struct {
	payRecord
	code string
}

type order struct {
	orderRecord
	code string // not empty: it was refused, and its blanks are only looked for
}

type closed struct {
	epoch         uint64
	state, used   uint8
	charged, back uint64
}

// A state is what the journal's records come to. It draws nothing and writes
// nothing: the same records give the same state.
type state struct {
	generation uint32
	sets       map[[32]byte]*credits.Keyset
	next       map[[32]byte]uint64 // first index of the generation that is free, by keyset
	made       map[[32]byte]uint64 // one more than the highest that came to a token
	tokens     map[ref]*token
	payments   map[[32]byte]*payment
	prepared   map[ref]*preparedRecord // by coin
	orders     map[[32]byte]*order
	closed     map[[32]byte]closed
	spent      map[uint64]uint64 // units by epoch: held or charged
	events     []Event
	lost       uint64 // units
	moved      bool
}

func newState() *state {
	return &state{sets: map[[32]byte]*credits.Keyset{}, next: map[[32]byte]uint64{}, made: map[[32]byte]uint64{}, tokens: map[ref]*token{}, payments: map[[32]byte]*payment{}, prepared: map[ref]*preparedRecord{},
		orders: map[[32]byte]*order{}, closed: map[[32]byte]closed{}, spent: map[uint64]uint64{}}
}

var errState = errors.New("wallet: a record in the journal does not fit the ones before it")

// apply changes the state by one record, or returns an error and changes nothing.
func (s *state) apply(r record) error {
	switch r := r.(type) {
	case *generationRecord:
		if r.generation < s.generation {
			return errState
		}
		s.generation, s.next, s.made = r.generation, map[[32]byte]uint64{}, map[[32]byte]uint64{}
	case *keysetRecord:
		k, err := credits.ParseKeyset(r.data)
		if err != nil {
			return errState
		}
		s.sets[k.ID()] = k
	case *coinRecord:
		return s.add(r.token)
	case *payRecord:
		return s.pay(r)
	case *settledRecord:
		return s.settled(r)
	case *notedRecord:
		p, ok := s.payments[r.hash]
		if !ok {
			return errState
		}
		p.code = r.code
	case *backRecord:
		return s.back(r)
	case *orderRecord:
		return s.order(r)
	case *doneRecord:
		return s.done(r)
	case *refusedRecord:
		return s.refused(r)
	case *closedRecord:
		s.closed[r.hash] = r.closed
	case *nextRecord:
		s.next[r.keyset], s.made[r.keyset] = r.index, r.made
	case *spentRecord:
		if s.spent[r.epoch] = r.units; r.units == 0 {
			delete(s.spent, r.epoch)
		}
	case *eventRecord:
		s.event(r.Event)
	case *lostRecord:
		s.lost = r.units
	case *expireRecord:
		s.expire(r.epoch)
	case *movedRecord:
		s.moved = true
	case *preparedRecord:
		return s.prepare(r)
	case *freedRecord:
		return s.freed(r)
	case *doubtedRecord:
		s.doubted()
	case *foundRecord:
		return s.found(r)
	default:
		return errState
	}
	return nil
}

func (s *state) event(e Event) {
	s.events = append(s.events, e)
	s.events = s.events[max(0, len(s.events)-maxHistory):]
}

func (s *state) add(t token) error {
	if s.known(t.ref) || s.sets[t.keyset] == nil {
		return errState
	}
	s.tokens[t.ref] = &t
	return nil
}

// known reports whether a token is there, or was and is not forgotten.
func (s *state) known(r ref) bool { return s.tokens[r] != nil || s.prepared[r] != nil }

// free returns a token that nothing holds.
func (s *state) free(r ref) (*token, bool) {
	t, ok := s.tokens[r]
	return t, ok && !t.held && !t.apart
}

// burn marks n indexes as used: they are never sent again, whatever comes of them.
func (s *state) burn(keyset [32]byte, generation uint32, first, n uint64) {
	if generation == s.generation {
		s.next[keyset] = max(s.next[keyset], first+n)
	}
}

// mark notes that an index came to a token: a search for the wallet's tokens
// goes on behind it.
func (s *state) mark(r ref) {
	if r.generation == s.generation {
		s.made[r.keyset] = max(s.made[r.keyset], r.index+1)
	}
}

// unmarked is how many indexes of a keyset were burned since one came to a token.
func (s *state) unmarked(keyset [32]byte) uint64 {
	return s.next[keyset] - min(s.next[keyset], s.made[keyset])
}

func (s *state) typeOf(keyset [32]byte) uint8 {
	if k := s.sets[keyset]; k != nil {
		return k.Type
	}
	return 0
}

func (s *state) pay(r *payRecord) error {
	_, twice := s.payments[r.hash]
	t, ok := s.free(r.coin)
	if p := s.prepared[r.coin]; p != nil {
		t, ok = s.tokens[r.coin], p.state == preparedReady && p.pays(r)
	}
	if twice || !ok || t.exponent != r.class || s.sets[r.keyset] == nil {
		return errState
	}
	if r.tier != 0 {
		shown, ok := s.free(r.shown)
		if !ok || s.prepared[r.shown] != nil {
			return errState
		}
		shown.held = true
	}
	delete(s.prepared, r.coin)
	t.held, t.apart = true, false
	s.burn(r.keyset, r.generation, r.first, wire.Blanks)
	s.payments[r.hash] = &payment{payRecord: *r}
	if r.pass == 0 {
		s.spent[r.epoch] += t.units()
	}
	return nil
}

// end takes a payment off the books, and the tokens that it held.
func (s *state) end(p *payment) {
	delete(s.payments, p.hash)
	delete(s.tokens, p.coin)
	if p.tier != 0 {
		delete(s.tokens, p.shown)
	}
}

func (s *state) settled(r *settledRecord) error {
	p, ok := s.payments[r.hash]
	if !ok {
		return errState
	}
	held := uint64(1) << p.class
	if p.pass == 1 {
		held = 0
	}
	first := ref{p.keyset, p.generation, p.first}
	back, ok := s.fits(first, r.coins, held)
	if !ok {
		return errState
	}
	s.end(p)
	s.take(first, r.coins)
	if p.pass == 0 {
		s.unspend(p.epoch, back)
	}
	s.closed[r.hash] = closed{p.epoch, r.state, r.used, held - back, back}
	s.event(Event{p.epoch, "spend", held - back})
	return nil
}

// fits says what change on the blanks from first on is worth, and whether none of
// it is there already and it is no more than was held.
func (s *state) fits(first ref, coins []made, held uint64) (back uint64, ok bool) {
	for i, c := range coins {
		if s.known(ref{first.keyset, first.generation, first.index + uint64(i)}) {
			return 0, false
		}
		back += 1 << c.exponent
	}
	return back, back <= held
}

// take takes change into the wallet.
func (s *state) take(first ref, coins []made) {
	for i, c := range coins {
		t := token{ref: ref{first.keyset, first.generation, first.index + uint64(i)}, exponent: c.exponent, output: c.output}
		s.tokens[t.ref] = &t
		s.mark(t.ref)
	}
}

func (s *state) unspend(epoch, units uint64) {
	if s.spent[epoch] -= min(units, s.spent[epoch]); s.spent[epoch] == 0 {
		delete(s.spent, epoch)
	}
}

func (s *state) back(r *backRecord) error {
	p, ok := s.payments[r.hash]
	if !ok {
		return errState
	}
	t := s.tokens[p.coin]
	units := t.units()
	if p.pass == 1 {
		units = 0
	} else {
		s.unspend(p.epoch, units)
	}
	switch {
	case r.fate == fateReady:
		t.held = false
		if p.tier != 0 {
			s.tokens[p.shown].held = false
		}
		delete(s.payments, p.hash)
	case r.fate == fateStale && p.pass == 0:
		s.end(p)
		t.held, t.state = false, max(t.state, stateStale)
		s.tokens[t.ref] = t
	case p.pass == 0: // whoever said so may have made it up: a swap of it alone tells
		s.end(p)
		t.held, t.state = false, stateDoubtful
		s.tokens[t.ref] = t
	default: // a pass that was seen is not shown again, nor is an entitlement
		s.end(p)
	}
	s.closed[r.hash] = closed{epoch: p.epoch, state: stateBack, back: units}
	return nil
}

func (s *state) lose(epoch, units uint64) {
	if units > 0 {
		s.lost += units
		s.event(Event{epoch, "lost", units})
	}
}

func (s *state) order(r *orderRecord) error {
	if _, twice := s.orders[r.id]; twice {
		return errState
	}
	seen := map[ref]bool{}
	for _, p := range r.paid {
		if _, ok := s.free(p); !ok || seen[p] {
			return errState
		}
		seen[p] = true
	}
	for _, v := range r.wanted {
		if s.sets[v.keyset] == nil {
			return errState
		}
	}
	for _, p := range r.paid {
		s.tokens[p].held = true
	}
	for _, v := range r.wanted {
		s.burn(v.keyset, r.generation, v.index, 1)
	}
	s.orders[r.id] = &order{orderRecord: *r}
	return nil
}

func (s *state) done(r *doneRecord) error {
	o, ok := s.orders[r.id]
	if !ok || len(r.made) != len(o.wanted) {
		return errState
	}
	for _, v := range o.wanted {
		if s.known(ref{v.keyset, o.generation, v.index}) {
			return errState
		}
	}
	var paid, units uint64
	for _, p := range o.paid {
		paid += s.tokens[p].units()
		s.unspent(p)
		delete(s.tokens, p)
	}
	for i, v := range o.wanted {
		t := token{ref: ref{v.keyset, o.generation, v.index}, exponent: v.exponent, ripe: r.made[i].from, output: r.made[i].output}
		s.tokens[t.ref] = &t
		s.mark(t.ref)
		if typ := s.typeOf(v.keyset); typ == wire.TokenCoin || typ == wire.TokenVoucher {
			units += t.units()
		}
	}
	delete(s.orders, r.id)
	s.event(Event{r.epoch, []string{orderSwap: "swap", orderBuy: "buy", orderRedeem: "redeem"}[o.what], max(units, paid)})
	return nil
}

// refused gives back what an order held. Of several coins of which one is spent
// nobody says which: they are doubtful then, and tried one by one.
func (s *state) refused(r *refusedRecord) error {
	o, ok := s.orders[r.id]
	if !ok || o.code != "" {
		return errState
	}
	for _, p := range o.paid {
		t := s.tokens[p]
		t.held = false
		switch {
		case r.code == codeUnsent:
		case r.code == credits.CodeSpent && len(o.paid) == 1 && s.prepared[p] != nil:
			delete(s.tokens, p)
			s.prepared[p].state = preparedGone // the payment was made: its change is looked for
		case r.code == credits.CodeSpent && len(o.paid) == 1:
			delete(s.tokens, p)
			s.lose(o.epoch, t.units())
		case r.code == credits.CodeSpent:
			t.state = stateDoubtful
		case o.what == orderSwap:
			t.state = max(t.state, stateStale)
		}
	}
	o.code, o.paid = r.code, nil
	if len(o.wanted) == 0 || r.code == codeUnsent {
		delete(s.orders, r.id)
	}
	return nil
}

// expire forgets what is of no use in an epoch: tokens that can no longer be
// spent, and payments whose table is gone.
func (s *state) expire(epoch uint64) {
	dead := func(keyset [32]byte) bool { k := s.sets[keyset]; return k == nil || k.SpendLast < epoch }
	var units uint64
	for _, h := range sortedKeys(s.payments) {
		if p := s.payments[h]; dead(p.keyset) {
			if p.pass == 0 {
				units += 1 << p.class
			}
			s.end(p)
		}
	}
	for _, h := range sortedKeys(s.orders) {
		o := s.orders[h]
		gone := len(o.wanted) == 0 && o.epoch+maxClosed < epoch
		for _, v := range o.wanted {
			gone = gone || dead(v.keyset)
		}
		if gone {
			for _, p := range o.paid {
				s.tokens[p].held = false
			}
			delete(s.orders, h)
		}
	}
	for r, p := range s.prepared {
		switch {
		case p.state == preparedGone && dead(p.keyset):
			units += 1 << p.class
			delete(s.prepared, r)
		case p.state == preparedReady && (dead(p.keyset) || dead(r.keyset)):
			s.tokens[r].apart = false
			delete(s.prepared, r)
		case p.state == preparedDoubtful && dead(r.keyset) && !s.tokens[r].held:
			delete(s.prepared, r) // the coin goes below
		}
	}
	for r, t := range s.tokens {
		if dead(r.keyset) && !t.held {
			if typ := s.typeOf(r.keyset); typ == wire.TokenCoin || typ == wire.TokenVoucher {
				units += t.units()
			}
			delete(s.tokens, r)
		}
	}
	if units > 0 {
		s.lost += units
		s.event(Event{epoch, "expired", units})
	}
	maps.DeleteFunc(s.closed, func(_ [32]byte, c closed) bool { return c.epoch+maxClosed < epoch })
	maps.DeleteFunc(s.spent, func(e, _ uint64) bool { return e+keepSpent < epoch })
	used := map[[32]byte]bool{}
	for r := range s.tokens {
		used[r.keyset] = true
	}
	for _, p := range s.payments {
		used[p.keyset] = true
	}
	for _, p := range s.prepared {
		used[p.keyset] = true
	}
	for id, k := range s.sets {
		if k.SpendLast < epoch && !used[id] {
			delete(s.sets, id)
			delete(s.next, id)
			delete(s.made, id)
		}
	}
}

func sortedKeys[V any](m map[[32]byte]V) [][32]byte {
	return slices.SortedFunc(maps.Keys(m), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
}

func compareRefs(a, b ref) int {
	return cmp.Or(bytes.Compare(a.keyset[:], b.keyset[:]), cmp.Compare(a.generation, b.generation), cmp.Compare(a.index, b.index))
}

// snapshot is records that come to the same state, in one order.
func (s *state) snapshot() (list []record) {
	list = append(list, &generationRecord{s.generation})
	for _, id := range sortedKeys(s.sets) {
		list = append(list, &keysetRecord{s.sets[id].Append(nil)})
	}
	for _, r := range slices.SortedFunc(maps.Keys(s.tokens), compareRefs) {
		t := *s.tokens[r]
		t.held, t.apart = false, false
		list = append(list, &coinRecord{t})
	}
	for _, h := range sortedKeys(s.payments) {
		p := s.payments[h]
		list = append(list, &p.payRecord)
		if p.code != "" {
			list = append(list, &notedRecord{h, p.code})
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(s.prepared), compareRefs) {
		list = append(list, s.prepared[r])
	}
	for _, h := range sortedKeys(s.orders) {
		o := s.orders[h]
		list = append(list, &o.orderRecord)
		if o.code != "" {
			list = append(list, &refusedRecord{h, o.code})
		}
	}
	for _, h := range sortedKeys(s.closed) {
		list = append(list, &closedRecord{h, s.closed[h]})
	}
	for _, id := range sortedKeys(s.next) {
		list = append(list, &nextRecord{id, s.next[id], s.made[id]})
	}
	spent := maps.Clone(s.spent)
	for _, p := range s.payments { // replaying a payment counts it, whether it still counts or not
		spent[p.epoch] += 0
	}
	for _, e := range slices.Sorted(maps.Keys(spent)) {
		list = append(list, &spentRecord{e, spent[e]})
	}
	for _, e := range s.events {
		list = append(list, &eventRecord{e})
	}
	list = append(list, &lostRecord{s.lost})
	if s.moved {
		list = append(list, &movedRecord{})
	}
	return list
}

// replay is [state.apply] of a record's bytes.
func (s *state) replay(b []byte) error {
	r, err := parse(b)
	if err != nil {
		return err
	}
	if err := s.apply(r); err != nil {
		return fmt.Errorf("%w (kind %d)", err, r.kind())
	}
	return nil
}
