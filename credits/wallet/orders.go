// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/wire"
)

// An order is written down before it is sent. After a crash it is there again,
// with the same blanks and the same MACs, and is sent again: its other side has
// done it once at most.

// A Swap makes new tokens of coins at the anonymous port: `POST /v1/swap`.
type Swap struct {
	ID      [32]byte // the wallet's own name for it; it does not travel
	Request *credits.Swap
}

// A Buy has an account pay for tokens at the identified port, or takes passes
// and entitlements there: `POST /v1/issue`.
type Buy struct {
	Request [32]byte // random; the same again is the same purchase
	Keyset  [32]byte
	Tokens  []BuyToken
}

// A BuyToken is one blank of a purchase.
type BuyToken struct {
	Exponent uint8
	Blinded  [32]byte
}

// A Redeem puts vouchers on an account at the identified port: `POST /v1/redeem`.
type Redeem struct {
	Request  [32]byte // random; the same again is the same redemption
	Vouchers []credits.Paid
}

func orderError(code, why string) error { return &credits.Refusal{Code: code, Why: why} }

// begin completes an order, writes it down, and returns when it is on disk. fill
// is called with the wallet's state held; it chooses tokens and says which
// keysets the blanks are of.
func (w *Wallet) begin(o *orderRecord, fill func() ([]*credits.Keyset, error)) error {
	if _, err := io.ReadFull(w.random, o.id[:]); err != nil {
		return fmt.Errorf("wallet: order: %v", err)
	}
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return err
	}
	sets, err := fill()
	if err != nil {
		w.mu.Unlock()
		return err
	}
	// What is prepared can still be given for something else: nothing of it left.
	if err := w.free(func(p *preparedRecord) bool { return slices.Contains(o.paid, p.coin) }); err != nil {
		w.mu.Unlock()
		return err
	}
	o.generation = w.state.generation
	free := map[[32]byte]uint64{}
	for i := range o.wanted {
		v := &o.wanted[i]
		n, ok := free[v.keyset]
		if !ok {
			n = w.state.next[v.keyset]
		}
		v.index, free[v.keyset] = n, n+1
	}
	var list []record
	for _, k := range sets {
		list = append(list, w.keep(k)...)
	}
	c, err := w.record(append(list, o)...)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := w.wait(c); err != nil {
		return fmt.Errorf("wallet: order: %w", err)
	}
	return nil
}

// want returns blanks for exponents, largest first: the order given is no mark.
func wants(set *credits.Keyset, exponents []uint8, most int) ([]want, error) {
	if len(exponents) == 0 || len(exponents) > most {
		return nil, orderError(credits.CodeClass, fmt.Sprintf("1 to %d tokens at once", most))
	}
	exponents = slices.Clone(exponents)
	slices.Sort(exponents)
	slices.Reverse(exponents)
	var list []want
	for _, e := range exponents {
		if _, ok := set.Key(e); !ok {
			return nil, orderError(credits.CodeClass, fmt.Sprintf("no tokens of 2^%d are on sale", e))
		}
		list = append(list, want{keyset: set.ID(), exponent: e})
	}
	return list, nil
}

// A Pick names a token of the wallet for a swap.
type Pick struct{ ref ref }

// Swap begins a swap of tokens that a [Plan] picked for new ones of a type, coins
// or vouchers, of the exponents given. What the tokens are worth more than
// vouchers comes back as coins; for coins both sides are worth the same.
func (w *Wallet) Swap(sets *credits.Set, epoch uint64, tokenType uint8, picks []Pick, exponents []uint8) (*Swap, error) {
	sale, ok := selling(sets, tokenType, 0, epoch)
	if !ok || tokenType != wire.TokenCoin && tokenType != wire.TokenVoucher {
		return nil, orderError(credits.CodeEpoch, fmt.Sprintf("no %s is on sale in epoch %d", credits.TypeName(tokenType), epoch))
	}
	wanted, err := wants(sale, exponents, credits.MaxSwap)
	if err != nil {
		return nil, err
	}
	o := &orderRecord{what: orderSwap, epoch: epoch, wanted: wanted}
	err = w.begin(o, func() ([]*credits.Keyset, error) {
		units, err := w.collect(o, sets, picks)
		if err != nil {
			return nil, err
		}
		need := credits.Units(exponents)
		if units == need {
			return []*credits.Keyset{sale}, nil
		}
		coins, ok := sets.Selling(wire.TokenCoin, 0, epoch)
		if units < need || tokenType == wire.TokenCoin || !ok {
			return nil, orderError(credits.CodeClass, fmt.Sprintf("coins of %d units for %d", units, need))
		}
		rest, err := wants(coins, credits.Split(units-need), credits.MaxSwap-len(wanted))
		if err != nil {
			return nil, err
		}
		o.wanted = append(o.wanted, rest...)
		return []*credits.Keyset{sale, coins}, nil
	})
	if err != nil {
		return nil, err
	}
	return w.swap(o.id, epoch)
}

// collect puts coins into an order, and returns what they are worth. The caller
// holds mu.
func (w *Wallet) collect(o *orderRecord, sets *credits.Set, picks []Pick) (units uint64, err error) {
	if len(picks) == 0 || len(picks) > credits.MaxSwap {
		return 0, orderError(credits.CodeClass, fmt.Sprintf("1 to %d coins at once", credits.MaxSwap))
	}
	for _, p := range picks {
		t, ok := w.state.tokens[p.ref]
		if !ok || t.held || slices.Contains(o.paid, p.ref) {
			return 0, orderError(credits.CodeAbsent, "a coin that is not there any more")
		}
		if k, ok := sets.Spendable(t.keyset, o.epoch); !ok || k.Type != wire.TokenCoin {
			return 0, orderError(credits.CodeEpoch, "a coin that cannot be spent in this epoch")
		}
		o.paid, units = append(o.paid, p.ref), units+t.units()
	}
	return units, nil
}

func selling(sets *credits.Set, tokenType, tier uint8, epoch uint64) (*credits.Keyset, bool) {
	if sets == nil {
		return nil, false
	}
	return sets.Selling(tokenType, tier, epoch)
}

// get returns an order that was neither done nor refused, and copies of the
// tokens that pay for it.
func (w *Wallet) get(id [32]byte, what uint8) (o orderRecord, paid []token, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return o, nil, err
	}
	x, ok := w.state.orders[id]
	if !ok || x.what != what || x.code != "" {
		return o, nil, ErrUnknown
	}
	for _, r := range x.paid {
		paid = append(paid, *w.state.tokens[r])
	}
	return x.orderRecord, paid, nil
}

// ids returns the orders on disk that were neither done nor refused.
func (w *Wallet) ids(what uint8) (list [][32]byte, err error) {
	defer func() {
		if err = w.synced(); err != nil {
			list = nil
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range sortedKeys(w.state.orders) {
		if o := w.state.orders[id]; o.what == what && o.code == "" {
			list = append(list, id)
		}
	}
	return list, nil
}

// swap makes the request of a swap that is on disk. The epoch is not in the
// MACs: the same swap can be sent in a later one.
func (w *Wallet) swap(id [32]byte, epoch uint64) (*Swap, error) {
	o, paid, err := w.get(id, orderSwap)
	if err != nil {
		return nil, err
	}
	s := &Swap{ID: id, Request: &credits.Swap{Epoch: epoch}}
	for _, v := range o.wanted {
		b, err := w.blank(ref{v.keyset, o.generation, v.index})
		if err != nil {
			return nil, fmt.Errorf("wallet: swap: %w", err)
		}
		s.Request.Wanted = append(s.Request.Wanted, credits.Wanted{Type: w.typeOf(v.keyset), Keyset: v.keyset, Exponent: v.exponent, Blinded: b.Element})
	}
	s.Request.Paid = w.pay(paid, s.Request.Digest())
	return s, nil
}

func (w *Wallet) typeOf(keyset [32]byte) uint8 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.typeOf(keyset)
}

// pay makes what tokens pay with, by nonce: the order in stock is no mark.
func (w *Wallet) pay(tokens []token, digest [32]byte) (list []credits.Paid) {
	for i := range tokens {
		c := w.coin(&tokens[i])
		list = append(list, credits.Paid{Keyset: c.Keyset, Exponent: c.Exponent, Nonce: c.Nonce, MAC: credits.SwapMAC(c.Output.Bytes(), digest)})
	}
	slices.SortFunc(list, func(a, b credits.Paid) int { return bytes.Compare(a.Nonce[:], b.Nonce[:]) })
	return list
}

// Swaps returns the swaps that were begun and not ended, to be sent in an epoch.
func (w *Wallet) Swaps(epoch uint64) (list []*Swap, err error) {
	ids, err := w.ids(orderSwap)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		s, err := w.swap(id, epoch)
		if errors.Is(err, ErrUnknown) {
			continue // ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// Swapped takes the answer to a swap. Of an answer that is not right in every
// part nothing is kept.
func (w *Wallet) Swapped(id [32]byte, minted []wire.Minted) error {
	o, _, err := w.get(id, orderSwap)
	if err != nil {
		return err
	}
	if len(minted) != len(o.wanted) {
		return orderError(credits.CodeChange, fmt.Sprintf("%d tokens for %d that were wanted", len(minted), len(o.wanted)))
	}
	done := &doneRecord{id: id, epoch: o.epoch}
	for i, v := range o.wanted {
		if minted[i].Exponent != v.exponent {
			return orderError(credits.CodeChange, "a token of another denomination than was wanted")
		}
		out, err := w.mint(w.set(v.keyset), ref{v.keyset, o.generation, v.index}, &minted[i])
		if err != nil {
			return err
		}
		done.made = append(done.made, ripe{0, out})
	}
	return w.end(done)
}

func (w *Wallet) set(id [32]byte) *credits.Keyset {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.sets[id]
}

// end writes the end of an order down; of two at once the first counts.
func (w *Wallet) end(r *doneRecord) error {
	w.mu.Lock()
	if o, ok := w.state.orders[r.id]; !ok || len(o.wanted) != len(r.made) {
		w.mu.Unlock()
		return ErrUnknown
	}
	c, err := w.record(r)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := w.wait(c); err != nil {
		return fmt.Errorf("wallet: order: %w", err)
	}
	w.tidy()
	return nil
}

// Refused ends an order that had no effect, by the code of the refusal: coins
// come back to be swapped, not to be spent, since they were seen. If one of
// several is spent (`credit.spent`) all are swapped one by one from then on. The
// blanks are remembered: a table may show that it had an effect after all.
func (w *Wallet) Refused(id [32]byte, code string) error {
	if !codeOK(code) || code == "" || code == codeUnsent {
		code = "unknown"
	}
	return w.refuse(id, code)
}

// Drop ends an order that left for nobody: tokens are as before.
func (w *Wallet) Drop(id [32]byte) error { return w.refuse(id, codeUnsent) }

func (w *Wallet) refuse(id [32]byte, code string) error {
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return err
	}
	if o, ok := w.state.orders[id]; !ok || o.code != "" {
		w.mu.Unlock()
		return ErrUnknown
	}
	c, err := w.record(&refusedRecord{id, code})
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return w.wait(c)
}

// Buy begins a purchase of tokens of a type, and tier for entitlements, that are
// on sale in an epoch.
func (w *Wallet) Buy(sets *credits.Set, epoch uint64, tokenType, tier uint8, exponents []uint8) (*Buy, error) {
	sale, ok := selling(sets, tokenType, tier, epoch)
	if !ok || tokenType == wire.TokenVoucher {
		return nil, orderError(credits.CodeEpoch, fmt.Sprintf("no %s is on sale in epoch %d", credits.TypeName(tokenType), epoch))
	}
	wanted, err := wants(sale, exponents, maxBuy)
	if err != nil {
		return nil, err
	}
	o := &orderRecord{what: orderBuy, epoch: epoch, wanted: wanted}
	if err := w.begin(o, func() ([]*credits.Keyset, error) { return []*credits.Keyset{sale}, nil }); err != nil {
		return nil, err
	}
	return w.buy(o.id)
}

func (w *Wallet) buy(id [32]byte) (*Buy, error) {
	o, _, err := w.get(id, orderBuy)
	if err != nil {
		return nil, err
	}
	b := &Buy{Request: id, Keyset: o.wanted[0].keyset}
	for _, v := range o.wanted {
		x, err := w.blank(ref{v.keyset, o.generation, v.index})
		if err != nil {
			return nil, fmt.Errorf("wallet: buy: %w", err)
		}
		b.Tokens = append(b.Tokens, BuyToken{v.exponent, x.Element})
	}
	return b, nil
}

// Buys returns the purchases that were begun and not ended.
func (w *Wallet) Buys() (list []*Buy, err error) {
	ids, err := w.ids(orderBuy)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		b, err := w.buy(id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// Bought takes the answer to a purchase, as of an epoch: what was made of each
// blank, and for each exponent the proof of all tokens of it together. Each coin
// draws how many epochs it waits.
func (w *Wallet) Bought(request [32]byte, epoch uint64, elements [][32]byte, proofs map[uint8][64]byte) error {
	o, _, err := w.get(request, orderBuy)
	if err != nil {
		return err
	}
	if len(elements) != len(o.wanted) {
		return orderError(credits.CodeChange, fmt.Sprintf("%d tokens for %d that were bought", len(elements), len(o.wanted)))
	}
	set := w.set(o.wanted[0].keyset)
	done := &doneRecord{id: request, epoch: epoch, made: make([]ripe, len(o.wanted))}
	for from := 0; from < len(o.wanted); {
		to, exponent := from, o.wanted[from].exponent
		var blanks []*blind.Blank
		for ; to < len(o.wanted) && o.wanted[to].exponent == exponent; to++ {
			b, err := w.blank(ref{o.wanted[to].keyset, o.generation, o.wanted[to].index})
			if err != nil {
				return fmt.Errorf("wallet: buy: %w", err)
			}
			blanks = append(blanks, b)
		}
		coins, err := blind.Finish(blanks, set, exponent, elements[from:to], proofs[exponent])
		if err != nil {
			return orderError(credits.CodeKey, "a token that was not made with the logged key")
		}
		for i, c := range coins {
			wait := uint64(0)
			if set.Type == wire.TokenCoin {
				if wait, err = w.draw(w.Policy().Delay); err != nil {
					return err
				}
			}
			done.made[from+i] = ripe{epoch + wait, c.Output}
		}
		from = to
	}
	return w.end(done)
}

// draw returns one of 0 to most.
func (w *Wallet) draw(most uint64) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(w.random, b[:]); err != nil {
		return 0, fmt.Errorf("wallet: %v", err)
	}
	return binary.BigEndian.Uint64(b[:]) % (most + 1), nil // most is small: no bias to speak of
}

// Redeem begins to put vouchers on an account, all that there are, 64 at most.
// digest is what their MACs cover, given the id of the request.
func (w *Wallet) Redeem(sets *credits.Set, epoch uint64, digest func(request [32]byte) [32]byte) (*Redeem, error) {
	if sets == nil {
		return nil, orderError(credits.CodeEpoch, "no keysets")
	}
	o := &orderRecord{what: orderRedeem, epoch: epoch}
	err := w.begin(o, func() ([]*credits.Keyset, error) {
		for _, t := range w.state.tokens {
			if k, ok := sets.Spendable(t.keyset, epoch); ok && k.Type == wire.TokenVoucher && !t.held && t.state != stateDoubtful {
				o.paid = append(o.paid, t.ref)
			}
		}
		slices.SortFunc(o.paid, compareRefs)
		o.paid = o.paid[:min(len(o.paid), credits.MaxSwap)]
		if len(o.paid) == 0 { // those that may be spent go alone
			for _, t := range w.state.tokens {
				if k, ok := sets.Spendable(t.keyset, epoch); ok && k.Type == wire.TokenVoucher && !t.held {
					o.paid = []ref{t.ref}
				}
			}
		}
		if len(o.paid) == 0 {
			return nil, orderError(credits.CodeFunds, "no vouchers: coins are swapped into vouchers first")
		}
		o.digest = digest(o.id)
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return w.redeem(o.id)
}

func (w *Wallet) redeem(id [32]byte) (*Redeem, error) {
	o, paid, err := w.get(id, orderRedeem)
	if err != nil {
		return nil, err
	}
	return &Redeem{Request: id, Vouchers: w.pay(paid, o.digest)}, nil
}

// Redeems returns the redemptions that were begun and not ended.
func (w *Wallet) Redeems() (list []*Redeem, err error) {
	ids, err := w.ids(orderRedeem)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		r, err := w.redeem(id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// Redeemed ends a redemption: the vouchers' value is on the account.
func (w *Wallet) Redeemed(request [32]byte, epoch uint64) error {
	if _, _, err := w.get(request, orderRedeem); err != nil {
		return err
	}
	return w.end(&doneRecord{id: request, epoch: epoch})
}
