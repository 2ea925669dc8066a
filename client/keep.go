// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// keep is cash's one goroutine: whenever something is owed or missing it does
// what it can, and tries what failed again after a growing pause.
func (k *cash) keep() {
	failed := time.Duration(0)
	for {
		pause := failed
		if pause == 0 {
			pause = stockPause // nobody nudges for the stock
		}
		t := time.NewTimer(pause)
		select {
		case <-k.ctx.Done():
		case <-k.wake:
		case <-t.C:
		}
		if t.Stop(); k.ctx.Err() != nil {
			return
		}
		switch err := k.top(k.ctx, false); {
		case k.ctx.Err() != nil:
			return
		case err != nil:
			failed = min(max(2*failed, time.Second), keepPause)
		default:
			failed = 0
		}
	}
}

// stockPause is the most that lies between two looks at the stock. Each comes at
// a drawn moment: a purchase or a swap that followed a request at once would tell
// who pools the bank's two ports, and has a fine clock, whose request it was
// (CT-20; docs/linking.md has the odds).
const stockPause = 20 * time.Minute

// top does one round, alone. The stock is looked at only when its time has come,
// or when somebody needs it now.
func (k *cash) top(ctx context.Context, now bool) error {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-k.turn }()
	if !now && time.Now().Before(k.next) {
		return k.round(ctx, false)
	}
	err := k.round(ctx, true)
	d, drawErr := below(int(stockPause / time.Millisecond))
	k.next = time.Now().Add(time.Duration(d) * time.Millisecond)
	return errors.Join(err, drawErr)
}

// make swaps other coins for one of a class that a request needs now. Whether it
// could shows in what is there.
func (k *cash) make(ctx context.Context, w *world, class uint8) {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-k.turn }()
	plan, ok := k.Wallet.PlanFor(w.sets, w.statement.Epoch, class)
	if !ok {
		return
	}
	if s, err := k.Wallet.Swap(w.sets, w.statement.Epoch, wire.TokenCoin, plan.Picks, plan.Exponents); err == nil {
		_ = k.swap(ctx, w, s) // begun, it is gone on with later
	}
}

// round does once what there is to do; the stock only if it is asked for.
func (k *cash) round(ctx context.Context, stock bool) error {
	w, err := k.client.current(ctx)
	if err != nil {
		return err
	}
	if w.sets == nil {
		return nil
	}
	epoch := w.statement.Epoch
	err = errors.Join(k.Wallet.Expire(epoch), k.owed(ctx, w))
	if caught := k.client.Caught(); caught != nil {
		return errors.Join(err, caught) // what is ours is still asked for; nothing is given to somebody who was caught
	}
	err = errors.Join(err, k.swaps(ctx, w), k.buys(ctx, w))
	if stock {
		err = errors.Join(err, k.stock(ctx, w), k.trace(ctx, w))
	}
	return err
}

// errOwed: something is owed still.
var errOwed = errors.New("client: change is owed")

// owed asks the bank for the change of payments that are over.
func (k *cash) owed(ctx context.Context, w *world) (err error) {
	for _, o := range k.Wallet.Owed() {
		k.mu.Lock()
		away := k.away[o.HeaderHash]
		k.mu.Unlock()
		if away {
			continue
		}
		c, askErr := k.change(ctx, w, o.HeaderHash)
		switch {
		case CodeOf(askErr) == credits.CodeAbsent:
			r, absentErr := k.Wallet.Absent(o.HeaderHash, w.statement.Epoch)
			if r.Pending {
				absentErr = errors.Join(absentErr, errOwed)
			}
			err = errors.Join(err, absentErr)
		case askErr != nil:
			return errors.Join(err, askErr)
		case c.State == wire.ChangePending:
			err = errors.Join(err, errOwed)
		default:
			k.take(o.HeaderHash, c, w)
		}
	}
	return err
}

// trace looks for the change of payments of which a crash left no header hash to
// ask for it by. The table is fetched whole, at the drawn moments of the stock.
func (k *cash) trace(ctx context.Context, w *world) error {
	epoch := w.statement.Epoch
	if due, _ := k.Wallet.Gone(epoch); due > 0 {
		_, err := k.Wallet.Trace(epoch, func(keyset [32]byte) iter.Seq2[credits.TableEntry, error] { return k.client.entries(ctx, keyset) })
		var bad *credits.Refusal
		if errors.As(err, &bad) {
			k.catch(refuse(bad.Code, "the bank's table: %s", bad.Why))
		}
		if err != nil {
			return err
		}
	}
	if _, left := k.Wallet.Gone(epoch); left > 0 {
		return errOwed
	}
	return nil
}

// errStop ends a table early: whoever reads it has failed.
var errStop = errors.New("stop")

// entries is [Client.Table] to range over.
func (c *Client) entries(ctx context.Context, keyset [32]byte) iter.Seq2[credits.TableEntry, error] {
	return func(yield func(credits.TableEntry, error) bool) {
		err := c.Table(ctx, keyset, func(e credits.TableEntry) error {
			if !yield(e, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(credits.TableEntry{}, err)
		}
	}
}

func (k *cash) change(ctx context.Context, w *world, headerHash [32]byte) (*wire.Change, error) {
	b, err := k.client.tellBank(ctx, w, "/v1/change", headerHash[:])
	if err != nil {
		return nil, err
	}
	c, err := wire.ParseChange(b)
	if err != nil {
		return nil, refuse(credits.CodeChange, "the bank's answer is no change block")
	}
	return c, nil
}

// swaps sends the swaps that were begun.
func (k *cash) swaps(ctx context.Context, w *world) error {
	list, err := k.Wallet.Swaps(w.statement.Epoch)
	if err != nil {
		return err
	}
	for _, s := range list {
		if err := k.swap(ctx, w, s); err != nil {
			return err
		}
	}
	return nil
}

// swap sends one swap. One that the bank refused is over, as a purchase is.
func (k *cash) swap(ctx context.Context, w *world, s *wallet.Swap) error {
	refused, err := k.exchange(ctx, w, s)
	if refused != nil {
		return k.Wallet.Refused(s.ID, refused.Code)
	}
	return err
}

// exchange sends one swap and says with what the bank refused it, if it did.
func (k *cash) exchange(ctx context.Context, w *world, s *wallet.Swap) (refused *Error, err error) {
	b, err := k.client.tellBank(ctx, w, "/v1/swap", s.Request.Append(nil))
	switch code := CodeOf(err); {
	case code == credits.CodeSpent, code == credits.CodeSig, code == credits.CodeEpoch, code == credits.CodeClass:
		return refuse(code, "the bank refused a swap"), nil
	case err != nil:
		return nil, err
	}
	minted, err := credits.ParseMintedList(b, len(s.Request.Wanted))
	if err != nil {
		return nil, refuse(credits.CodeChange, "the bank's answer to a swap is none")
	}
	return nil, k.bought(k.Wallet.Swapped(s.ID, minted))
}

// buys sends the purchases and redemptions that were begun.
func (k *cash) buys(ctx context.Context, w *world) error {
	if k.Issuer == nil {
		return nil
	}
	list, err := k.Wallet.Buys()
	if err != nil {
		return err
	}
	for _, b := range list {
		if err := k.order(ctx, w, b); err != nil {
			return err
		}
	}
	redeems, err := k.Wallet.Redeems()
	if err != nil {
		return err
	}
	for _, r := range redeems {
		if err := k.redeem(ctx, w, r); err != nil {
			return err
		}
	}
	return nil
}

// order sends one purchase. One that the bank refuses is over: that is no error
// here, since to try it again helps nothing.
func (k *cash) order(ctx context.Context, w *world, b *wallet.Buy) error {
	elements, proofs, err := k.Issuer.Issue(ctx, b)
	if refused := k.over(w, err); refused != nil {
		// The account has less, or the keyset is sold no more.
		return k.Wallet.Refused(b.Request, refused.Code)
	}
	if err != nil {
		return err
	}
	return k.bought(k.Wallet.Bought(b.Request, w.statement.Epoch, elements, proofs))
}

// redeem sends one redemption.
func (k *cash) redeem(ctx context.Context, w *world, r *wallet.Redeem) error {
	err := k.Issuer.Redeem(ctx, r)
	if refused := k.over(w, err); refused != nil {
		return k.Wallet.Refused(r.Request, refused.Code)
	}
	if err != nil {
		return err
	}
	return k.Wallet.Redeemed(r.Request, w.statement.Epoch)
}

// over returns the refusal with which the bank ended an order, and keeps it; nil
// if it did not.
func (k *cash) over(w *world, err error) *Error {
	var own *Error
	if !errors.As(err, &own) || own.Code == CodeBank {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused, k.refusedIn = own, w.statement.Epoch
	return own
}

// bought catches a bank that made tokens with another key.
func (k *cash) bought(err error) error {
	var bad *credits.Refusal
	if errors.As(err, &bad) && bad.Code == credits.CodeKey {
		k.catch(refuse(bad.Code, "the bank's tokens: %s", bad.Why))
	}
	return err
}

// stock begins what the wallet's policy wants: swaps first, then a purchase.
func (k *cash) stock(ctx context.Context, w *world) error {
	k.mu.Lock()
	again := k.again
	k.again = false
	k.mu.Unlock()
	look := k.Wallet.Plan
	if again {
		look = k.Wallet.PlanAnew
	}
	plan := look(w.sets, w.statement.Epoch)
	for _, p := range plan.Swaps {
		s, err := k.Wallet.Swap(w.sets, w.statement.Epoch, wire.TokenCoin, p.Picks, p.Exponents)
		if err != nil {
			return fmt.Errorf("client: swap: %w", err)
		}
		if err := k.swap(ctx, w, s); err != nil {
			return err
		}
	}
	k.mu.Lock()
	refused := k.refused != nil && k.refusedIn == w.statement.Epoch
	k.mu.Unlock()
	// What was refused is not tried with every payment: each try burns blanks.
	if k.Issuer == nil || len(plan.Buy) == 0 || refused {
		return nil
	}
	if _, err := k.Wallet.Buy(w.sets, w.statement.Epoch, wire.TokenCoin, 0, plan.Buy); err != nil {
		return fmt.Errorf("client: buy: %w", err)
	}
	return k.buys(ctx, w)
}

// Top brings the wallet up to date now: what is owed, what was begun, what its
// policy wants. It is what happens by itself while requests are paid.
func (c *Client) Top(ctx context.Context) error {
	k := c.cash
	if k == nil {
		return errNoWallet()
	}
	k.anew()
	switch err := k.top(ctx, true); {
	case err == nil:
		return k.lastRefused()
	case CodeOf(err) == "" && errors.Is(err, errOwed):
		return refuse(credits.CodePending, "the bank holds payments that have not ended").hint("a hold ends by itself when the second epoch after it is public")
	default:
		return worldError(orderError(err))
	}
}

// Sets returns the keysets of the current statement, nil where nobody pays,
// and its epoch.
func (c *Client) Sets(ctx context.Context) (*credits.Set, uint64, error) {
	w, err := c.current(ctx)
	if err != nil {
		return nil, 0, err
	}
	return w.sets, w.statement.Epoch, nil
}

// tellBank posts content to a path of the bank's anonymous port, padded as
// every question is.
func (c *Client) tellBank(ctx context.Context, w *world, path string, content []byte) ([]byte, error) {
	return c.ask(ctx, w, &query{
		head:    &bhttp.RequestHead{Method: http.MethodPost, Scheme: "https", Authority: wire.BankAuthority, Path: path},
		content: content, size: largest(firstStep, w.shape.encap),
	})
}

// maxBuckets is the most that a table can be divided into (docs/spec/payment.md,
// section 7): a bank that named more would have us ask for ever.
const maxBuckets = 1 << 24

// Table fetches the whole recovery table of a keyset, a bucket at a time, and
// gives each entry to f: nothing in what is asked says which entries matter.
func (c *Client) Table(ctx context.Context, keyset [32]byte, f func(credits.TableEntry) error) error {
	w, err := c.current(ctx)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/v1/table/%x", keyset)
	b, err := c.bankObject(ctx, w, path)
	if err != nil {
		return err
	}
	if len(b) != 4 || binary.BigEndian.Uint32(b) > maxBuckets {
		return refuse(CodeBank, "the bank's answer is no number of buckets")
	}
	n := binary.BigEndian.Uint32(b)
	for i := range n {
		b, err := c.bankObject(ctx, w, fmt.Sprintf("%s/%d", path, i))
		if err != nil {
			return err
		}
		entries, err := credits.ParseTable(b)
		if err != nil {
			return refuse(CodeBank, "the bank's table is none")
		}
		for _, e := range entries {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Client) bankObject(ctx context.Context, w *world, path string) ([]byte, error) {
	return c.ask(ctx, w, &query{head: &bhttp.RequestHead{Method: http.MethodGet, Scheme: "https", Authority: wire.BankAuthority, Path: path}})
}
