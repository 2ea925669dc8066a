// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/wire"
)

// A prepared payment is a coin and eight blanks of which it is on disk that they
// belong together, and that they may be sent in one epoch. Only the header hash is
// missing; once it is there nothing has to be written, nor computed on the curve,
// before the spend leaves. What this costs is that after a crash nobody knows
// whether it left (docs/design/0017-prepared-payments.md): then the coin is doubtful.

// How a prepared payment stands.
const (
	preparedReady    = 0 // by this process: nothing of it has left
	preparedDoubtful = 1 // by one that is gone: it may have left
	preparedGone     = 2 // it left: the bank says that the coin is spent
)

// ahead is what this process knows of a prepared payment beside the record.
type ahead struct {
	record *preparedRecord // on disk
	blanks [wire.Blanks][32]byte
}

// pays reports whether r is the payment that was prepared as p.
func (p *preparedRecord) pays(r *payRecord) bool {
	return p.class == r.class && r.pass == 0 && p.keyset == r.keyset && p.generation == r.generation && p.first == r.first
}

func (s *state) prepare(r *preparedRecord) error {
	if old := s.prepared[r.coin]; old != nil { // the same for another epoch
		same := *old
		if same.epoch = r.epoch; old.state != preparedReady || same != *r {
			return errState
		}
		s.prepared[r.coin] = r
		return nil
	}
	t, ok := s.free(r.coin)
	if r.state == preparedGone {
		_, there := s.tokens[r.coin]
		ok = !there
	} else {
		ok = ok && t.exponent == r.class
	}
	if !ok || s.sets[r.keyset] == nil {
		return errState
	}
	if r.state == preparedReady {
		t.apart = true
	}
	s.burn(r.keyset, r.generation, r.first, wire.Blanks)
	s.prepared[r.coin] = r
	return nil
}

// freed gives a coin back as it was. The blanks were seen by nobody: the last
// that were burned are free again.
func (s *state) freed(r *freedRecord) error {
	p := s.prepared[r.coin]
	if p == nil || p.state != preparedReady {
		return errState
	}
	s.tokens[r.coin].apart = false
	delete(s.prepared, r.coin)
	if p.generation == s.generation && s.next[p.keyset] == p.first+wire.Blanks {
		s.next[p.keyset] = p.first
	}
	return nil
}

// doubted: whatever is prepared may have been sent. It counts as spent until it
// is known better, as a payment does.
func (s *state) doubted() {
	for r, p := range s.prepared {
		if p.state != preparedReady {
			continue
		}
		q := *p
		q.state = preparedDoubtful
		s.prepared[r] = &q
		t := s.tokens[r]
		t.apart, t.state = false, stateDoubtful
		s.spent[p.epoch] += t.units()
	}
}

// unspent ends a doubt: the coin was swapped, so it was not spent.
func (s *state) unspent(coin ref) {
	if p := s.prepared[coin]; p != nil {
		s.unspend(p.epoch, 1<<p.class)
		delete(s.prepared, coin)
	}
}

func (s *state) found(r *foundRecord) error {
	p := s.prepared[r.coin]
	if p == nil || p.state != preparedGone {
		return errState
	}
	first := ref{p.keyset, p.generation, p.first}
	held := uint64(1) << p.class
	back, ok := s.fits(first, r.coins, held)
	if !ok {
		return errState
	}
	delete(s.prepared, r.coin)
	s.take(first, r.coins)
	s.unspend(p.epoch, back)
	s.event(Event{p.epoch, "spend", held - back})
	return nil
}

// ready returns what is prepared and was not sent, newest blanks first: freed in
// this order they are all free again.
func (s *state) ready() (list []*preparedRecord) {
	for _, p := range s.prepared {
		if p.state == preparedReady {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *preparedRecord) int {
		return cmp.Or(cmp.Compare(b.first, a.first), compareRefs(a.coin, b.coin))
	})
	return list
}

// Prepare has n payments of a class ready for an epoch, or as many as there are
// coins for, and returns when that is on disk. A payment of this class in this
// epoch then waits for no disk. Passes and entitlements are not prepared: one that
// may have been seen could not be swapped for another. p has no header hash.
func (w *Wallet) Prepare(p Payment, n int) error {
	sale, err := p.sale()
	if err != nil {
		return err
	}
	w.mu.Lock()
	if err := w.ready(); err != nil || w.closed {
		w.mu.Unlock()
		return err
	}
	c, list, err := w.prepare(&p, sale, n)
	w.mu.Unlock()
	if err != nil || c == nil {
		return err
	}
	done := make([]*ahead, len(list))
	for i, r := range list {
		blanks, err := blind.Range(w.seed, r.keyset, r.generation, r.first, wire.Blanks)
		if err != nil {
			return fmt.Errorf("wallet: prepare: %w", err)
		}
		done[i] = &ahead{record: r}
		for k, b := range blanks {
			done[i].blanks[k] = b.Element
		}
	}
	if err := w.wait(c); err != nil {
		return fmt.Errorf("wallet: prepare: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range done {
		// Not if it was paid with meanwhile, or freed and prepared anew: that record
		// may not be on disk.
		if w.state.prepared[a.record.coin] == a.record {
			w.ahead[a.record.coin] = a
		}
	}
	return nil
}

// prepare makes the records, and returns those that something is to be computed
// for. The caller holds mu.
func (w *Wallet) prepare(p *Payment, sale *credits.Keyset, n int) (c waiter, list []*preparedRecord, err error) {
	do := func(r ...record) bool {
		var one waiter
		if one, err = w.record(r...); one != nil {
			c = one
		}
		return err == nil
	}
	ripe := w.pick(p, wire.TokenCoin, p.Class, 0, false) != nil
	for _, old := range w.state.ready() {
		switch {
		case !w.serves(p, old, sale) || ripe && w.state.tokens[old.coin].ripe > p.Epoch || old.class != p.Class && old.epoch < p.Epoch:
			delete(w.ahead, old.coin)
			if !do(&freedRecord{old.coin}) {
				return nil, nil, err
			}
		case old.class != p.Class:
		case old.epoch != p.Epoch:
			r := *old
			r.epoch = p.Epoch
			if !do(&r) {
				return nil, nil, err
			}
			list = append(list, &r)
			n--
		default:
			n--
		}
	}
	for ; n > 0; n-- {
		t := w.pick(p, wire.TokenCoin, p.Class, 0, false)
		if t == nil && p.Hurry {
			t = w.pick(p, wire.TokenCoin, p.Class, 0, true)
		}
		if t == nil {
			break
		}
		r := &preparedRecord{epoch: p.Epoch, class: p.Class, coin: t.ref, keyset: sale.ID(), generation: w.state.generation, first: w.state.next[sale.ID()]}
		if !do(append(w.keep(sale), r)...) {
			return nil, nil, err
		}
		list = append(list, r)
	}
	return c, list, nil
}

// serves reports whether what was prepared can pay in an epoch, with its blanks
// of the keyset on sale. The caller holds mu.
func (w *Wallet) serves(p *Payment, old *preparedRecord, sale *credits.Keyset) bool {
	k, ok := p.Sets.Spendable(old.coin.keyset, p.Epoch)
	return ok && k.Type == wire.TokenCoin && old.keyset == sale.ID() && old.generation == w.state.generation
}

// prepared returns what was prepared for a payment, the oldest blanks first, and
// what is known ahead of it, if that is all: nil where a record has to be written
// first. The caller holds mu.
func (w *Wallet) prepared(p *Payment, sale *credits.Keyset) (r *preparedRecord, a *ahead) {
	ripe := !p.Hurry || w.pick(p, wire.TokenCoin, p.Class, 0, false) != nil
	for _, old := range slices.Backward(w.state.ready()) {
		if old.class != p.Class || !w.serves(p, old, sale) || ripe && w.state.tokens[old.coin].ripe > p.Epoch {
			continue
		}
		if a := w.ahead[old.coin]; a != nil && a.record == old && old.epoch == p.Epoch && p.Tier == 0 {
			return old, a
		}
		if r == nil {
			r = old
		}
	}
	return r, nil
}

// free takes back what was prepared and what f says. The caller holds mu, and
// waits for nothing: whatever is done with the coins is behind it in the journal.
func (w *Wallet) free(f func(*preparedRecord) bool) error {
	for _, p := range w.state.ready() {
		if !f(p) {
			continue
		}
		delete(w.ahead, p.coin)
		if _, err := w.record(&freedRecord{p.coin}); err != nil {
			return err
		}
	}
	return nil
}

// Gone returns how many payments without a header hash are known to have been
// made and can be looked for in an epoch: a process died before it had written
// to whom they belong. [Wallet.Trace] finds their change.
func (w *Wallet) Gone(epoch uint64) (due, all int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.state.prepared {
		if p.state == preparedGone {
			all++
			if p.epoch+2 <= epoch {
				due++
			}
		}
	}
	return due, all
}

// Trace looks for the change of payments without a header hash in the tables,
// which are read whole, as of the epoch of a verified statement. A hold ends when
// the second epoch after its own is public. What is not in the table then, nor in
// a later epoch, was used up.
func (w *Wallet) Trace(epoch uint64, table func(keyset [32]byte) iter.Seq2[credits.TableEntry, error]) (n int, err error) {
	w.mu.Lock()
	var list []preparedRecord
	sets := map[[32]byte]*credits.Keyset{}
	for _, r := range slices.SortedFunc(maps.Keys(w.state.prepared), compareRefs) {
		if p := w.state.prepared[r]; p.state == preparedGone && p.epoch+2 <= epoch {
			list = append(list, *p)
			sets[p.keyset] = w.state.sets[p.keyset]
		}
	}
	w.mu.Unlock()
	names := map[[32]byte]ref{}
	for _, p := range list {
		blanks, err := blind.Range(w.seed, p.keyset, p.generation, p.first, wire.Blanks)
		if err != nil {
			return 0, fmt.Errorf("wallet: trace: %w", err)
		}
		for i, b := range blanks {
			names[credits.TableName(b.Element)] = ref{p.keyset, p.generation, p.first + uint64(i)}
		}
	}
	hits := map[ref]wire.Minted{}
	for _, id := range slices.SortedFunc(maps.Keys(sets), func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) }) {
		for e, err := range table(id) {
			if err != nil {
				return 0, fmt.Errorf("wallet: trace: %w", err)
			}
			if r, ok := names[e.Name]; ok {
				hits[r] = e.Minted
			}
		}
	}
	for i := range list {
		done, err := w.trace(&list[i], sets[list[i].keyset], hits, epoch)
		if err != nil {
			return n, err
		}
		if done {
			n++
		}
	}
	return n, nil
}

// trace ends one payment by what the table has of it.
func (w *Wallet) trace(p *preparedRecord, set *credits.Keyset, hits map[ref]wire.Minted, epoch uint64) (bool, error) {
	r := &foundRecord{coin: p.coin}
	var got []uint8
	for i := range uint64(wire.Blanks) {
		at := ref{p.keyset, p.generation, p.first + i}
		m, ok := hits[at]
		if !ok {
			continue
		}
		if i != uint64(len(got)) {
			return false, orderError(credits.CodeChange, "change on other blanks than the first")
		}
		out, err := w.mint(set, at, &m)
		if err != nil {
			return false, err
		}
		got, r.coins = append(got, m.Exponent), append(r.coins, made{m.Exponent, out})
	}
	if part := uint64(1) << (p.class - wire.MinClass); len(got) > 0 {
		units := credits.Units(got)
		if units%part != 0 || units > 1<<p.class || !slices.Equal(got, wire.Due(p.class, uint8(wire.Parts-units/part))) {
			return false, orderError(credits.CodeChange, "change in the table that is not the canonical split")
		}
	}
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return false, err
	}
	now := w.state.prepared[p.coin]
	if now == nil || now.state != preparedGone {
		w.mu.Unlock()
		return false, nil
	}
	if first, seen := w.looked[p.coin]; len(got) == 0 && (!seen || epoch <= first) {
		// The bank ends holds when it has read the statement, and may be late.
		if !seen {
			w.looked[p.coin] = epoch
		}
		w.mu.Unlock()
		return false, nil
	}
	c, err := w.record(r)
	w.mu.Unlock()
	if err != nil {
		return false, err
	}
	return true, w.wait(c)
}
