// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

// A Status is what a wallet holds in an epoch. Amounts are units of coins.
type Status struct {
	Epoch      uint64
	Generation uint32
	Moved      bool // exported: it does nothing more

	Balance  uint64 // in coins, whether they can be spent yet or not
	Ready    uint64 // of these, in coins that can be spent now
	Prepared uint64 // of the balance, set apart for the next payments
	Pending  uint64 // held by payments that have not ended
	Ordered  uint64 // paid for swaps that have not ended
	Vouchers uint64
	Lost     uint64 // spent elsewhere, or expired

	Spent       uint64 // in this epoch: charged or held
	SpentWindow uint64 // in the policy's window
	Policy      Policy

	Owed, Orders  int
	Denominations []Denomination // by type, largest first
	Keysets       []KeysetStatus // those that tokens are of, by their end
}

// A Denomination counts the tokens of one type and worth.
type Denomination struct {
	Type, Tier, Exponent uint8
	Ready                int // can be spent
	Waiting              int // were bought, and wait
	Stale                int // only to be swapped
	Held                 int // by payments and orders
	Hiding               Hiding
}

// Hiding is an estimate of the set that a spend of a denomination hides in: how
// many tokens like it were issued. The set is smaller in truth: those that were
// spent already, or that belong to one owner, hide less.
type Hiding struct {
	Known  bool
	Tokens uint64 // of the keyset in which there are fewest
}

func (h Hiding) String() string {
	if !h.Known {
		return "not known"
	}
	return fmt.Sprintf("one of at most %d", h.Tokens)
}

// A KeysetStatus says until when tokens of a keyset can be spent.
type KeysetStatus struct {
	ID              [32]byte
	Type, Tier      uint8
	Name            string
	Last, SpendLast uint64 // epochs
	Tokens          int
	Units           uint64
}

// Status counts. issued says how many tokens of a keyset and exponent were
// issued to everybody, if that is known; nil: nothing is known.
func (w *Wallet) Status(epoch uint64, issued func(keyset [32]byte, exponent uint8) (uint64, bool)) Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := Status{Epoch: epoch, Generation: w.state.generation, Moved: w.state.moved, Lost: w.state.lost, Policy: w.policy,
		Spent: w.state.spent[epoch], Owed: len(w.state.payments)}
	for e, n := range w.state.spent {
		if e <= epoch && e+w.policy.Window > epoch {
			st.SpentWindow += n
		}
	}
	for _, p := range w.state.payments {
		if p.pass == 0 {
			st.Pending += 1 << p.class
		}
	}
	for _, p := range w.state.prepared {
		if p.state == preparedGone { // made by a process that died: its change is looked for
			st.Pending, st.Owed = st.Pending+1<<p.class, st.Owed+1
		}
	}
	for _, o := range w.state.orders {
		if o.code == "" {
			st.Orders++
		}
		for _, p := range o.paid {
			if w.state.typeOf(p.keyset) == wire.TokenCoin {
				st.Ordered += w.state.tokens[p].units()
			}
		}
	}
	rows, sets := map[[3]uint8]*Denomination{}, map[[32]byte]*KeysetStatus{}
	for _, t := range w.state.tokens {
		k := w.state.sets[t.keyset]
		row := rows[[3]uint8{k.Type, k.Tier, t.exponent}]
		if row == nil {
			row = &Denomination{Type: k.Type, Tier: k.Tier, Exponent: t.exponent}
			rows[[3]uint8{k.Type, k.Tier, t.exponent}] = row
		}
		set := sets[t.keyset]
		if set == nil {
			set = &KeysetStatus{ID: t.keyset, Type: k.Type, Tier: k.Tier, Name: k.Name, Last: k.Last, SpendLast: k.SpendLast}
			sets[t.keyset] = set
		}
		set.Tokens++
		st.count(row, set, t, k, issued)
	}
	for _, r := range rows {
		st.Denominations = append(st.Denominations, *r)
	}
	for _, k := range sets {
		st.Keysets = append(st.Keysets, *k)
	}
	slices.SortFunc(st.Denominations, func(a, b Denomination) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Tier, b.Tier), cmp.Compare(b.Exponent, a.Exponent))
	})
	slices.SortFunc(st.Keysets, func(a, b KeysetStatus) int {
		return cmp.Or(cmp.Compare(a.SpendLast, b.SpendLast), slices.Compare(a.ID[:], b.ID[:]))
	})
	return st
}

func (st *Status) count(row *Denomination, set *KeysetStatus, t *token, k *credits.Keyset, issued func([32]byte, uint8) (uint64, bool)) {
	worth := t.units()
	if k.Type != wire.TokenCoin && k.Type != wire.TokenVoucher {
		worth = 0
	}
	set.Units += worth
	switch {
	case t.held:
		row.Held++
		return
	case t.state != stateReady:
		row.Stale++
	case t.ripe > st.Epoch || !k.Spends(st.Epoch):
		row.Waiting++
	default:
		row.Ready++
		row.hide(t, issued)
		if k.Type == wire.TokenCoin {
			st.Ready += worth
		}
	}
	switch k.Type {
	case wire.TokenCoin:
		st.Balance += worth
		if t.apart {
			st.Prepared += worth
		}
	case wire.TokenVoucher:
		st.Vouchers += worth
	}
}

func (d *Denomination) hide(t *token, issued func([32]byte, uint8) (uint64, bool)) {
	if issued == nil {
		return
	}
	n, ok := issued(t.keyset, t.exponent)
	if !ok {
		return
	}
	if !d.Hiding.Known || n < d.Hiding.Tokens {
		d.Hiding = Hiding{true, n}
	}
}

// History returns what was spent, bought, swapped and lost, oldest first: the
// last 4096 events.
func (w *Wallet) History() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.state.events)
}
