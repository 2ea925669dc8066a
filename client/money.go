// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
)

func errNoWallet() *Error {
	return refuse(CodePayment, "there is no wallet").hint("name one in the trust file's section payments (docs/wallet.md)")
}

// anew forgets a refusal: somebody asks for it to be tried again.
func (k *cash) anew() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused, k.again = nil, true
}

// lastRefused is how the bank ended an order since [cash.anew], or nil.
func (k *cash) lastRefused() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refused == nil {
		return nil
	}
	return k.refused
}

// till is what an order begins with: somebody who sells, and the keysets.
func (c *Client) till(ctx context.Context) (*cash, *world, error) {
	k := c.cash
	if k == nil {
		return nil, nil, errNoWallet()
	}
	if k.Issuer == nil {
		return nil, nil, refuse(CodePayment, "there is no account at the bank").hint("name it in the trust file: payments.account (docs/wallet.md)")
	}
	if err := c.Caught(); err != nil {
		return nil, nil, err
	}
	w, err := c.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	if w.sets == nil {
		return nil, nil, refuse(CodePayment, "nobody pays in epoch %d: there is nothing to buy", w.statement.Epoch)
	}
	return k, w, nil
}

// Buy buys tokens for the wallet now. After an [Error] with [CodeBank] it is not
// known whether the bank sold them: the purchase stays begun, and [Client.Top]
// goes on with it.
func (c *Client) Buy(ctx context.Context, tokenType, tier uint8, exponents []uint8) error {
	k, w, err := c.till(ctx)
	if err != nil {
		return err
	}
	b, err := k.Wallet.Buy(w.sets, w.statement.Epoch, tokenType, tier, exponents)
	if err != nil {
		return payError(err)
	}
	k.anew()
	if err := orderError(k.order(ctx, w, b)); err != nil {
		return err
	}
	return k.lastRefused()
}

// orderError gives the errors of an order codes.
func orderError(err error) error {
	var own *Error
	var bad *credits.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.As(err, &bad):
		return refuse(bad.Code, "%s", bad.Why)
	}
	return err
}

// A Redeemer is an [Issuer] that says what the MACs of vouchers for its account
// cover.
type Redeemer interface {
	Issuer
	Digest(ctx context.Context) (func(request [32]byte) [32]byte, error)
}

// Redeem swaps coins into count vouchers of 2^exponent units, and puts all
// vouchers that there are on the account. It returns how many units these were.
// What it began and could not end, [Client.Top] goes on with.
func (c *Client) Redeem(ctx context.Context, exponent uint8, count int) (units uint64, err error) {
	k, w, err := c.till(ctx)
	if err != nil {
		return 0, err
	}
	r, ok := k.Issuer.(Redeemer)
	if !ok {
		return 0, refuse(CodePayment, "the account takes no vouchers")
	}
	digest, err := r.Digest(ctx) // first: if the account is not there, nothing is swapped
	if err != nil {
		return 0, err
	}
	if err := k.enough(w, exponent, count); err != nil {
		return 0, err
	}
	k.anew()
	for count > 0 {
		n, err := k.vouchers(ctx, w, exponent, count)
		if err != nil {
			return 0, orderError(err)
		}
		count -= n
	}
	var spent error
	for {
		o, err := k.Wallet.Redeem(w.sets, w.statement.Epoch, digest)
		var bad *credits.Refusal
		if errors.As(err, &bad) && bad.Code == credits.CodeFunds {
			break // no more vouchers
		}
		if err == nil {
			err = k.redeem(ctx, w, o)
		}
		if err == nil {
			err = k.lastRefused()
		}
		if CodeOf(err) == credits.CodeSpent {
			// A wallet that was restored has vouchers that it had redeemed before. Of
			// those that were refused together each goes alone now, which tells.
			spent = err
			k.anew()
			continue
		}
		if err != nil {
			return units, orderError(err)
		}
		for _, v := range o.Vouchers {
			units += 1 << v.Exponent
		}
	}
	if units == 0 && spent != nil {
		return 0, orderError(spent)
	}
	return units, nil
}

// enough refuses before anything is swapped: half of what was asked for would be
// a surprise.
func (k *cash) enough(w *world, exponent uint8, count int) error {
	epoch, first := w.statement.Epoch, min(count, credits.MaxSwap)
	plan, ok := k.Wallet.Vouchers(w.sets, epoch, exponent, first)
	if have := k.Wallet.Status(epoch, nil).Balance; have>>exponent < uint64(count) || !ok || len(plan.Exponents) < first {
		return refuse(credits.CodeFunds, "%d vouchers of %d units are wanted; the wallet has %d units, of which one swap makes %d vouchers", count, uint64(1)<<exponent, have, len(plan.Exponents)).
			hint("`sotto wallet status` shows what is there; `sotto wallet top` brings in what is owed; smaller vouchers may fit")
	}
	return nil
}

// vouchers makes one swap's vouchers, at most count, and says how many.
func (k *cash) vouchers(ctx context.Context, w *world, exponent uint8, count int) (int, error) {
	plan, ok := k.Wallet.Vouchers(w.sets, w.statement.Epoch, exponent, count)
	if !ok {
		return 0, refuse(credits.CodeFunds, "no coins make %d vouchers of %d units exactly", count, uint64(1)<<exponent).
			hint("`sotto wallet status` shows what is there; `sotto wallet top` brings in what is owed")
	}
	s, err := k.Wallet.Swap(w.sets, w.statement.Epoch, wire.TokenVoucher, plan.Picks, plan.Exponents)
	if err != nil {
		return 0, err
	}
	refused, err := k.exchange(ctx, w, s)
	if refused != nil {
		return 0, errors.Join(k.Wallet.Refused(s.ID, refused.Code), refused)
	}
	return len(plan.Exponents), err
}

// Drain waits until change was read behind every answer so far, or ctx ends.
func (c *Client) Drain(ctx context.Context) {
	k := c.cash
	if k == nil {
		return
	}
	k.mu.Lock()
	done := make(chan struct{})
	k.drain = append(k.drain, done)
	k.idle()
	k.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Paid returns how many units were charged to requests whose change is there,
// and how many payments have not ended. It is 0 and 0 without a wallet.
func (c *Client) Paid() (units uint64, owed int) {
	if c.cash == nil {
		return 0, 0
	}
	_, gone := c.cash.Wallet.Gone(0)
	owed = len(c.cash.Wallet.Owed()) + gone
	c.cash.mu.Lock()
	defer c.cash.mu.Unlock()
	return c.cash.paid, owed
}

// Begun returns how many swaps, purchases and redemptions were begun and have
// not ended.
func (c *Client) Begun() int {
	if c.cash == nil {
		return 0
	}
	return c.cash.Wallet.Status(0, nil).Orders
}

// Money is what a wallet holds, for people and programs. Amounts are units.
type Money struct {
	Epoch      uint64 `json:"epoch"`
	Behind     string `json:"behind,omitempty"` // why it is not as of the current epoch
	Balance    uint64 `json:"balance"`
	Ready      uint64 `json:"ready"`
	Prepared   uint64 `json:"prepared,omitempty"` // of the balance, set apart for the next payments
	Pending    uint64 `json:"pending"`            // held by payments that have not ended
	Ordered    uint64 `json:"ordered"`            // in swaps that have not ended
	Vouchers   uint64 `json:"vouchers"`
	Lost       uint64 `json:"lost"`
	Owed       int    `json:"owed"`   // payments that have not ended
	Orders     int    `json:"orders"` // swaps, purchases and redemptions that have not
	Generation uint32 `json:"generation"`
	Moved      bool   `json:"moved,omitempty"`

	Coins   []MoneyRow    `json:"coins"`
	Keysets []MoneyKeyset `json:"keysets"`
	Limits  MoneyLimits   `json:"limits"`
	Caught  *MoneyCaught  `json:"caught,omitempty"`
	Doubts  int           `json:"doubts,omitempty"` // how often something came about money that nobody had signed
	Doubt   *MoneyCaught  `json:"doubt,omitempty"`  // the last of these; nothing of it was believed

	hurry bool // coins that wait are spent before their time if no other pays
}

// A MoneyRow counts tokens of one kind and worth.
type MoneyRow struct {
	Kind    string  `json:"kind"` // coin, voucher, pass or entitlement
	Tier    uint8   `json:"tier,omitempty"`
	Units   uint64  `json:"units"` // of one
	Ready   int     `json:"ready"`
	Waiting int     `json:"waiting,omitempty"`
	Stale   int     `json:"stale,omitempty"` // to be swapped before they are spent
	Held    int     `json:"held,omitempty"`
	Set     *uint64 `json:"set,omitempty"` // how many like it were made, if it was looked at
}

// A MoneyKeyset says until when tokens can be spent.
type MoneyKeyset struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	Sold   uint64 `json:"sold_until"` // epochs, both included
	Spends uint64 `json:"spent_until"`
	Tokens int    `json:"tokens"`
	Units  uint64 `json:"units"`
}

// MoneyLimits are those of the wallet's policy, and what was spent of them; 0 is
// no limit.
type MoneyLimits struct {
	PerEpoch    uint64 `json:"per_epoch"`
	PerWindow   uint64 `json:"per_window"`
	Window      uint64 `json:"window"`
	Spent       uint64 `json:"spent"`
	SpentWindow uint64 `json:"spent_window"`
}

// MoneyCaught is why nothing is paid any more, or what was not believed.
type MoneyCaught struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Money says what the wallet holds in the current epoch; where that is not to be
// had, in the last one that the wallet knows of. issued is as in
// [wallet.Wallet.Status], and may be nil.
func (c *Client) Money(ctx context.Context, issued func(keyset [32]byte, exponent uint8) (uint64, bool)) (*Money, error) {
	if c.cash == nil {
		return nil, errNoWallet()
	}
	m := &Money{Coins: []MoneyRow{}, Keysets: []MoneyKeyset{}, hurry: !c.cash.Wait}
	if w, err := c.current(ctx); err == nil {
		m.Epoch = w.statement.Epoch
	} else {
		m.Behind = cmp.Or(CodeOf(err), err.Error())
		for _, e := range c.cash.Wallet.History() {
			m.Epoch = max(m.Epoch, e.Epoch)
		}
		for _, o := range c.cash.Wallet.Owed() {
			m.Epoch = max(m.Epoch, o.Epoch)
		}
	}
	m.fill(c.cash.Wallet.Status(m.Epoch, issued))
	var e *Error
	if errors.As(c.Caught(), &e) {
		m.Caught = &MoneyCaught{e.Code, e.Detail, e.Hint}
	}
	times, last := c.Doubts()
	if errors.As(last, &e) {
		m.Doubts, m.Doubt = times, &MoneyCaught{e.Code, e.Detail, e.Hint}
	}
	return m, nil
}

func (m *Money) fill(s wallet.Status) {
	m.Balance, m.Ready, m.Prepared, m.Pending, m.Ordered, m.Vouchers, m.Lost = s.Balance, s.Ready, s.Prepared, s.Pending, s.Ordered, s.Vouchers, s.Lost
	m.Owed, m.Orders, m.Generation, m.Moved = s.Owed, s.Orders, s.Generation, s.Moved
	m.Limits = MoneyLimits{s.Policy.PerEpoch, s.Policy.PerWindow, s.Policy.Window, s.Spent, s.SpentWindow}
	for _, d := range s.Denominations {
		r := MoneyRow{Kind: credits.TypeName(d.Type), Tier: d.Tier, Units: 1 << d.Exponent, Ready: d.Ready, Waiting: d.Waiting, Stale: d.Stale, Held: d.Held}
		if d.Type == wire.TokenEntitlement {
			r.Units = 0
		}
		if d.Hiding.Known {
			n := d.Hiding.Tokens
			r.Set = &n
		}
		m.Coins = append(m.Coins, r)
	}
	for _, k := range s.Keysets {
		m.Keysets = append(m.Keysets, MoneyKeyset{fmt.Sprintf("%x", k.ID[:8]), credits.TypeName(k.Type), k.Name, k.Last, k.SpendLast, k.Tokens, k.Units})
	}
}

// Text is m for people. What an operator named is in it: it is to be made
// printable.
func (m *Money) Text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	if m.Caught != nil {
		line("STOPPED", "nothing is paid any more: %s: %s", m.Caught.Code, m.Caught.Detail)
		if m.Caught.Hint != "" {
			line("", "%s", m.Caught.Hint)
		}
	}
	if m.Doubt != nil {
		line("doubts", "%d; nothing of it was believed. The last: %s: %s", m.Doubts, m.Doubt.Code, m.Doubt.Detail)
	}
	if m.Moved {
		line("MOVED", "this wallet was exported; the copy goes on, and this one does nothing more")
	}
	if m.Behind != "" {
		line("epoch", "%d, the last that this wallet knows of (%s)", m.Epoch, m.Behind)
	} else {
		line("epoch", "%d", m.Epoch)
	}
	line("balance", "%d units, of which %d can be spent now", m.Balance, m.Ready)
	if m.Prepared > 0 {
		line("prepared", "%d units of these, for the next requests", m.Prepared)
	}
	if m.Vouchers > 0 {
		line("vouchers", "%d units, to be put on the account", m.Vouchers)
	}
	if m.Owed > 0 {
		line("owed", "change of %d payments, which hold %d units", m.Owed, m.Pending)
	}
	if m.Orders > 0 {
		line("begun", "%d swaps, purchases or redemptions, which hold %d units; sotto wallet top goes on with them", m.Orders, m.Ordered)
	}
	if m.Lost > 0 {
		line("lost", "%d units: spent elsewhere, or expired", m.Lost)
	}
	m.rows(line)
	l := m.Limits
	limit := func(n uint64) string {
		if n == 0 {
			return "no limit"
		}
		return fmt.Sprintf("at most %d", n)
	}
	line("spent", "%d units in this epoch (%s), %d in %d epochs (%s)", l.Spent, limit(l.PerEpoch), l.SpentWindow, l.Window, limit(l.PerWindow))
	return b.String()
}

func (m *Money) rows(line func(name, format string, args ...any)) {
	wait := "wait their time"
	if m.hurry {
		wait += ", or until no other pays"
	}
	for _, r := range m.Coins {
		name, parts := fmt.Sprintf("%s of %d", r.Kind, r.Units), []string{fmt.Sprintf("%d ready", r.Ready)}
		if r.Kind == credits.TypeName(wire.TokenEntitlement) {
			name = fmt.Sprintf("%s of tier %d", r.Kind, r.Tier)
		}
		for _, p := range []struct {
			n    int
			what string
		}{{r.Waiting, wait}, {r.Stale, "to be swapped"}, {r.Held, "in use"}} {
			if p.n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
			}
		}
		if r.Set != nil {
			parts = append(parts, fmt.Sprintf("among %d made as change or by swaps, and those that were bought", *r.Set))
		}
		line("", "%s: %s", name, strings.Join(parts, ", "))
	}
	for _, k := range m.Keysets {
		many := "s"
		if k.Tokens == 1 {
			many = ""
		}
		line("keyset", "%s, %d %s%s: sold until epoch %d, spent until %d", k.ID, k.Tokens, k.Kind, many, k.Sold, k.Spends)
	}
}
