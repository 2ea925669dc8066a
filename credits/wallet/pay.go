// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// A Payment is what one request asks of a wallet.
type Payment struct {
	Epoch      uint64
	HeaderHash [32]byte
	Class      uint8
	Tier       uint8        // of the entitlement to show; 0: none
	Sets       *credits.Set // of the epoch's verified statement

	AllowPass bool // take a pass of the class if there is one
	Hurry     bool // take a coin that should still wait, if there is no other
}

// A NoCoinError says that there is no token of exactly the class that is asked
// for. Its code is `credit.funds`.
type NoCoinError struct {
	Class, Tier uint8
	Epoch       uint64
	Ripe        uint64 // a coin of the class may be spent from this epoch on; 0: none is there
	Units       uint64 // of other coins: a swap makes one of the class if they are worth it
}

// Code is `credit.funds`.
func (e *NoCoinError) Code() string { return credits.CodeFunds }

func (e *NoCoinError) Error() string {
	head := fmt.Sprintf("wallet: %s: no coin of 2^%d that can be spent in epoch %d", credits.CodeFunds, e.Class, e.Epoch)
	switch {
	case e.Tier != 0:
		return fmt.Sprintf("wallet: %s: no entitlement of tier %d that can be shown in epoch %d; the account issues them", credits.CodeFunds, e.Tier, e.Epoch)
	case e.Ripe != 0:
		return fmt.Sprintf("%s; one that was bought waits until epoch %d", head, e.Ripe)
	case e.Units >= 1<<e.Class:
		return fmt.Sprintf("%s; others are worth %d units: a swap makes one of them", head, e.Units)
	}
	return fmt.Sprintf("%s; others are worth %d units: a purchase is needed", head, e.Units)
}

// sale is the keyset whose blanks go with a payment.
func (p *Payment) sale() (*credits.Keyset, error) {
	if p.Sets == nil || p.Class < wire.MinClass || p.Class > wire.MaxClass {
		return nil, &credits.Refusal{Code: credits.CodeClass, Why: "a payment without keysets or of no class"}
	}
	sale, ok := p.Sets.Selling(wire.TokenCoin, 0, p.Epoch)
	if !ok {
		return nil, &credits.Refusal{Code: credits.CodeEpoch, Why: fmt.Sprintf("no coins are on sale in epoch %d", p.Epoch)}
	}
	return sale, nil
}

// Pay takes a token of exactly the class, oldest keyset first, and eight blanks
// that were never sent, writes both down, and returns the spend. What was
// returned may have been sent: it ends by [Wallet.Settle], [Wallet.Absent], or
// [Wallet.Unsent] if it was not. Where [Wallet.Prepare] has written coin and blanks
// down before, the header hash is written behind the spend.
func (w *Wallet) Pay(p Payment) (wire.Spend, error) {
	sale, err := p.sale()
	if err != nil {
		return wire.Spend{}, err
	}
	w.mu.Lock()
	x, err := w.choose(&p, sale)
	if err != nil {
		w.mu.Unlock()
		return wire.Spend{}, err
	}
	tokenType := w.state.typeOf(x.coin.Keyset)
	c, err := w.record(append(w.keep(sale), x.record)...)
	if err == nil && x.ahead != nil {
		w.late.Go(func() { _ = w.written(c) }) // an error is what the next to do something hears of
	}
	w.mu.Unlock()
	if err != nil {
		return wire.Spend{}, err
	}
	s := wire.Spend{Tier: p.Tier}
	if x.ahead != nil {
		s.Blanks = x.ahead.blanks
	} else if err := w.slowly(c, x.record, &s); err != nil {
		return wire.Spend{}, fmt.Errorf("wallet: pay: %w", err)
	}
	x.coin.Pay(&s, tokenType, p.HeaderHash, p.Epoch)
	if x.shown != nil {
		x.shown.Show(&s, p.HeaderHash, p.Epoch)
	}
	return s, nil
}

func (w *Wallet) written(c waiter) error {
	err := w.wait(c)
	w.tidy()
	return err
}

// slowly does what was not prepared: the blanks, while the disk writes.
func (w *Wallet) slowly(c waiter, r *payRecord, s *wire.Spend) error {
	var errs [wire.Blanks / 2]error
	var wg sync.WaitGroup
	for k := range errs {
		wg.Go(func() {
			list, err := blind.Range(w.seed, r.keyset, r.generation, r.first+uint64(2*k), 2)
			if errs[k] = err; err == nil {
				s.Blanks[2*k], s.Blanks[2*k+1] = list[0].Element, list[1].Element
			}
		})
	}
	err := w.written(c)
	wg.Wait()
	return errors.Join(append(errs[:], err)...)
}

// chosen is what pays for a request.
type chosen struct {
	record      *payRecord
	coin, shown *blind.Coin
	ahead       *ahead // nil: the record has to be on disk first
}

// choose finds the tokens that pay, and makes the record. The caller holds mu.
func (w *Wallet) choose(p *Payment, sale *credits.Keyset) (*chosen, error) {
	if err := w.ready(); err != nil {
		return nil, err
	}
	_, open := w.state.payments[p.HeaderHash]
	_, ended := w.state.closed[p.HeaderHash]
	if open || ended {
		return nil, &credits.Refusal{Code: credits.CodeSpent, Why: "a request with this header was paid already"}
	}
	// What cannot pay any more is in nobody's way.
	if err := w.free(func(old *preparedRecord) bool { return !w.serves(p, old, sale) }); err != nil {
		return nil, err
	}
	r := &payRecord{hash: p.HeaderHash, epoch: p.Epoch, class: p.Class, tier: p.Tier, keyset: sale.ID(), generation: w.state.generation}
	x := &chosen{record: r}
	t, err := w.tender(p, sale, x)
	if err != nil {
		return nil, err
	}
	r.coin, x.coin = t.ref, w.coin(t)
	if p.Tier == 0 {
		delete(w.ahead, r.coin)
		return x, nil
	}
	e := w.pick(p, wire.TokenEntitlement, 0, p.Tier, true)
	if e == nil {
		return nil, &NoCoinError{Tier: p.Tier, Epoch: p.Epoch}
	}
	r.shown, x.shown = e.ref, w.coin(e)
	delete(w.ahead, r.coin)
	return x, nil
}

// tender returns the coin or pass, and fills in the blanks that go with it.
func (w *Wallet) tender(p *Payment, sale *credits.Keyset, x *chosen) (*token, error) {
	x.record.first = w.state.next[sale.ID()]
	if p.AllowPass {
		if t := w.pick(p, wire.TokenPass, p.Class, 0, false); t != nil {
			x.record.pass = 1
			return t, nil
		}
	}
	if old, a := w.prepared(p, sale); old != nil {
		x.record.first, x.ahead = old.first, a
		t := w.state.tokens[old.coin]
		return t, w.within(p.Epoch, t.units())
	}
	t := w.pick(p, wire.TokenCoin, p.Class, 0, false)
	if t == nil && p.Hurry {
		t = w.pick(p, wire.TokenCoin, p.Class, 0, true)
	}
	if t == nil {
		return nil, w.noCoin(p)
	}
	return t, w.within(p.Epoch, t.units())
}

// pick returns the token that is used first: of the oldest keyset, of the
// lowest index. unripe allows those that should wait.
func (w *Wallet) pick(p *Payment, tokenType, exponent, tier uint8, unripe bool) (best *token) {
	var first uint64
	for _, t := range w.state.tokens {
		if t.held || t.apart || t.state != stateReady || t.exponent != exponent || t.ripe > p.Epoch && !unripe {
			continue
		}
		k, ok := p.Sets.Spendable(t.keyset, p.Epoch)
		if !ok || k.Type != tokenType || k.Tier != tier {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(k.First, first), compareRefs(t.ref, best.ref)) < 0 {
			best, first = t, k.First
		}
	}
	return best
}

func (w *Wallet) noCoin(p *Payment) error {
	e := &NoCoinError{Class: p.Class, Epoch: p.Epoch}
	for _, t := range w.state.tokens {
		k, ok := p.Sets.Spendable(t.keyset, p.Epoch)
		if !ok || k.Type != wire.TokenCoin || t.held {
			continue
		}
		if t.exponent == p.Class && t.state == stateReady && (e.Ripe == 0 || t.ripe < e.Ripe) {
			e.Ripe = t.ripe
		}
		if t.state != stateDoubtful {
			e.Units += t.units()
		}
	}
	return e
}

// within says whether the policy lets so many more units be spent in an epoch.
func (w *Wallet) within(epoch, units uint64) error {
	if most := w.policy.PerEpoch; most != 0 && w.state.spent[epoch]+units > most {
		return &LimitError{Epoch: epoch, Units: units, Most: most, Epochs: 1}
	}
	if most := w.policy.PerWindow; most != 0 {
		sum := units
		for e, n := range w.state.spent {
			if e <= epoch && e+w.policy.Window > epoch {
				sum += n
			}
		}
		if sum > most {
			return &LimitError{Epoch: epoch, Units: units, Most: most, Epochs: w.policy.Window}
		}
	}
	return nil
}

// A LimitError says that a payment would go over a limit of the policy.
type LimitError struct {
	Epoch, Units, Most, Epochs uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("wallet: limit: %d units more in epoch %d would be over the %d that the policy has for %d epochs", e.Units, e.Epoch, e.Most, e.Epochs)
}

// A Result is how a payment stands or ended.
type Result struct {
	Pending bool   // nothing is known yet; ask again
	Ran     bool   // a node reported usage
	Used    uint8  // 64ths of the class, if it ran
	Charged uint64 // units
	Back    uint64 // units that came back as coins
	Again   bool   // this was known already
}

func (c closed) result(again bool) Result {
	return Result{Ran: c.state == wire.ChangeUsed, Used: c.used, Charged: c.charged, Back: c.back, Again: again}
}

// Settle takes the change of a payment: it checks the split (`credit.change`),
// keyset and proofs (`key.consistency`), and keeps the coins. Nothing is kept of
// a change that is not right in every part. The same change again changes
// nothing. That the generation is the statement's and that the usage is signed
// by the node that answered is for the client to check before.
func (w *Wallet) Settle(headerHash [32]byte, c *wire.Change) (Result, error) {
	w.mu.Lock()
	p, result, err := w.open(headerHash)
	w.mu.Unlock()
	if p == nil || err != nil {
		return w.known(result, err)
	}
	switch c.State {
	case wire.ChangePending:
		return Result{Pending: true}, nil
	case wire.ChangeRefused:
		return Result{Pending: true}, w.Failed(headerHash, credits.CodeRefund)
	}
	r, err := w.check(p, c)
	if err != nil {
		return Result{}, err
	}
	return w.finish(headerHash, r)
}

// open returns a copy of a payment that has not ended, or its result. The
// caller holds mu.
func (w *Wallet) open(headerHash [32]byte) (*payment, Result, error) {
	if err := w.ready(); err != nil {
		return nil, Result{}, err
	}
	if p, ok := w.state.payments[headerHash]; ok {
		q := *p
		return &q, Result{}, nil
	}
	if c, ok := w.state.closed[headerHash]; ok {
		return nil, c.result(true), nil
	}
	return nil, Result{}, ErrUnknown
}

// known returns a result that somebody else came to, when it is on disk.
func (w *Wallet) known(r Result, err error) (Result, error) {
	if err == nil {
		err = w.synced()
	}
	if err != nil {
		return Result{}, err
	}
	return r, nil
}

// finish writes the end of a payment down. Of two at once the first counts.
func (w *Wallet) finish(headerHash [32]byte, r record) (Result, error) {
	w.mu.Lock()
	p, result, err := w.open(headerHash)
	if p == nil || err != nil {
		w.mu.Unlock()
		return w.known(result, err)
	}
	commit, err := w.record(r)
	result = w.state.closed[headerHash].result(false)
	w.mu.Unlock()
	if err != nil {
		return Result{}, err
	}
	if err := w.wait(commit); err != nil {
		return Result{}, fmt.Errorf("wallet: settle: %w", err)
	}
	w.tidy()
	return result, nil
}

// check makes coins of a change.
func (w *Wallet) check(p *payment, c *wire.Change) (*settledRecord, error) {
	wrong := func(why string) error { return &credits.Refusal{Code: credits.CodeChange, Why: why} }
	r := &settledRecord{hash: p.hash, state: c.State}
	if c.State == wire.ChangeUsed {
		if c.Usage.HeaderHash != p.hash || c.Usage.Epoch != p.epoch || c.Usage.Class != p.class || c.Usage.Used > wire.Parts {
			return nil, &credits.Refusal{Code: credits.CodeRefund, Why: "a usage that is not about this request"}
		}
		r.used = c.Usage.Used
	} else if c.State != wire.ChangeReturned {
		return nil, wrong("a change of no known state")
	}
	var due []uint8
	if p.pass == 0 {
		due = wire.Due(p.class, r.used)
	}
	got := make([]uint8, len(c.Coins))
	for i := range c.Coins {
		got[i] = c.Coins[i].Exponent
	}
	if !slices.Equal(due, got) {
		return nil, wrong(fmt.Sprintf("change of %d coins that is not the canonical split", len(got)))
	}
	if len(due) == 0 {
		if c.Keyset != [32]byte{} {
			return nil, wrong("a keyset without coins")
		}
		return r, nil
	}
	w.mu.Lock()
	set := w.state.sets[p.keyset]
	w.mu.Unlock()
	if c.Keyset != p.keyset || set == nil {
		return nil, &credits.Refusal{Code: credits.CodeKey, Why: "change of a keyset that was not on sale in the request's epoch"}
	}
	for i := range c.Coins {
		out, err := w.mint(set, ref{p.keyset, p.generation, p.first + uint64(i)}, &c.Coins[i])
		if err != nil {
			return nil, err
		}
		r.coins = append(r.coins, made{c.Coins[i].Exponent, out})
	}
	return r, nil
}

// mint makes the output of one blank that was evaluated alone.
func (w *Wallet) mint(set *credits.Keyset, r ref, m *wire.Minted) (redact.Secret, error) {
	b, err := w.blank(r)
	if err != nil {
		return redact.Secret{}, fmt.Errorf("wallet: %w", err)
	}
	coins, err := blind.Finish([]*blind.Blank{b}, set, m.Exponent, [][32]byte{m.Element}, m.Proof)
	if err != nil {
		return redact.Secret{}, &credits.Refusal{Code: credits.CodeKey, Why: "a token that was not made with the logged key"}
	}
	return coins[0].Output, nil
}

// Failed keeps the code that came back instead of an answer. It ends nothing:
// whoever carried the code may have made it up. [Wallet.Owed] has the payment
// until the bank says what became of it.
func (w *Wallet) Failed(headerHash [32]byte, code string) error {
	if !codeOK(code) {
		code = "unknown"
	}
	w.mu.Lock()
	p, _, err := w.open(headerHash)
	if p == nil || err != nil || p.code == code {
		w.mu.Unlock()
		return err
	}
	c, err := w.record(&notedRecord{headerHash, code})
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return w.wait(c)
}

// Unsent ends a payment whose spend left for nobody: its tokens are as before.
// The blanks are burned all the same.
func (w *Wallet) Unsent(headerHash [32]byte) error {
	_, err := w.finish(headerHash, &backRecord{headerHash, fateReady})
	return err
}

// Absent tells that the bank knows no hold of a request (`credit.absent`), as
// of the epoch of a verified statement. A hold can still come until the second
// epoch after the request's; from then on the coin comes back, to be swapped and
// not to be spent, since it was seen. If `credit.spent` was noted it is swapped
// alone: that the bank has no hold of this request says nothing of others, and
// whoever carried the code may have made it up.
func (w *Wallet) Absent(headerHash [32]byte, epoch uint64) (Result, error) {
	w.mu.Lock()
	p, result, err := w.open(headerHash)
	w.mu.Unlock()
	if p == nil || err != nil {
		return w.known(result, err)
	}
	if epoch < p.epoch+2 {
		return Result{Pending: true}, nil
	}
	fate := uint8(fateStale)
	if p.code == credits.CodeSpent {
		fate = fateDoubtful
	}
	return w.finish(headerHash, &backRecord{headerHash, fate})
}

// An Owed is a payment that has not ended: `POST /v1/change` asks for it.
type Owed struct {
	HeaderHash [32]byte
	Epoch      uint64 // of the request
	Class      uint8
	Pass       bool
	Code       string // what came back instead of change, if anything did
}

// Owed returns the payments that have not ended, oldest first.
func (w *Wallet) Owed() []Owed {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Owed
	for _, h := range sortedKeys(w.state.payments) {
		p := w.state.payments[h]
		list = append(list, Owed{h, p.epoch, p.class, p.pass == 1, p.code})
	}
	slices.SortStableFunc(list, func(a, b Owed) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return list
}
