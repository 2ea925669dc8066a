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
	"slices"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// keep is cash's one goroutine: it asks for what is owed when a request is over and
// when it is due, and looks at the stock at moments that it draws: requests say
// nothing of when those are.
func (k *cash) keep() {
	next := time.Now().Add(drawn(stockPause))
	for {
		t := time.NewTimer(min(time.Until(next), k.untilAsk()))
		select {
		case <-k.ctx.Done():
		case <-k.wake:
		case <-t.C:
		}
		if t.Stop(); k.ctx.Err() != nil {
			return
		}
		if time.Now().Before(next) {
			k.ask(k.ctx)
			continue
		}
		_ = k.top(k.ctx, false, false) // what it could not do is there at the next moment
		next = time.Now().Add(drawn(stockPause))
	}
}

// A question is when the bank is asked for the change of one payment, and how
// long after it the next time is.
type question struct {
	at    time.Time
	pause time.Duration
}

// askSpread is over how long the questions of a wallet are spread that was opened
// with something owed.
const askSpread = 10 * time.Minute

// due says whether a payment is to be asked for now, and draws when it is the next
// time. Each has times of its own: questions for several in a row, again and again,
// would show to router's and gateway's and bank's clocks which requests are one
// wallet's.
func (k *cash) due(headerHash [32]byte, all bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away[headerHash] {
		return false
	}
	now := time.Now()
	q, known := k.asks[headerHash]
	if !known && !all { // of a process before this one
		q = question{at: now.Add(drawn(askSpread))}
	}
	if now.Before(q.at) && !all {
		k.asks[headerHash] = q
		return false
	}
	q.pause = min(max(2*q.pause, time.Second), keepPause)
	q.at = now.Add(q.pause/2 + drawn(q.pause))
	k.asks[headerHash] = q
	return true
}

// drawn is a moment before the end of a span. Where none can be drawn it is the end.
func drawn(span time.Duration) time.Duration {
	n, err := below(int(span / time.Millisecond))
	if err != nil {
		return span
	}
	return time.Duration(n) * time.Millisecond
}

// untilAsk is how long it is to the next question.
func (k *cash) untilAsk() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	first := stockPause
	for h, q := range k.asks {
		if !k.away[h] {
			first = min(first, time.Until(q.at))
		}
	}
	return max(first, time.Until(k.askAgain))
}

// ask asks for what is due and does nothing else: what it is followed by would be
// one wallet's, too.
func (k *cash) ask(ctx context.Context) {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-k.turn }()
	w, err := k.client.current(ctx)
	if err == nil && w.sets != nil {
		err = k.owed(ctx, w, false)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.askAgain = (time.Time{}); err != nil || w.sets == nil {
		k.askAgain = time.Now().Add(keepPause/2 + drawn(keepPause/2))
	}
}

// stockPause is the most that lies between two looks at the stock. Each comes at
// a drawn moment: a purchase or a swap that followed a request at once would tell
// who pools the bank's two ports, and has a fine clock, whose request it was
// (CT-20; docs/linking.md has the odds).
const stockPause = 20 * time.Minute

// top does one round, alone. Where somebody waits for it now is set; all asks for
// everything that is owed.
func (k *cash) top(ctx context.Context, now, all bool) error {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-k.turn }()
	return k.round(ctx, now, all)
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

// round does once what there is to do. Where nobody waits, swaps and purchases have a
// moment of their own each: a purchase right behind a swap would say whose the coins
// were.
func (k *cash) round(ctx context.Context, now, all bool) error {
	w, err := k.client.current(ctx)
	if err != nil {
		return err
	}
	if w.sets == nil {
		return nil
	}
	epoch := w.statement.Epoch
	err = errors.Join(k.Wallet.Expire(epoch), k.owed(ctx, w, all))
	if caught := k.client.Caught(); caught != nil {
		return errors.Join(err, caught) // what is ours is still asked for; nothing is given to somebody who was caught
	}
	for _, send := range []func(context.Context, *world) (bool, error){k.swaps, k.buys} {
		sent, sendErr := send(ctx, w)
		if err = errors.Join(err, sendErr); sent && !now {
			return err
		}
	}
	err = errors.Join(err, k.stock(ctx, w, now))
	if now && !all {
		return err // a request waits: whole tables are not read beside it
	}
	return errors.Join(err, k.trace(ctx, w))
}

// errOwed: something is owed still.
var errOwed = errors.New("client: change is owed")

// owed asks the bank for the change of payments that are over: all of them, or
// those that are due.
func (k *cash) owed(ctx context.Context, w *world, all bool) (err error) {
	list := k.Wallet.Owed()
	k.mu.Lock()
	for h := range k.asks {
		if !k.away[h] && !slices.ContainsFunc(list, func(o wallet.Owed) bool { return o.HeaderHash == h }) {
			delete(k.asks, h)
		}
	}
	k.mu.Unlock()
	for _, o := range list {
		if !k.due(o.HeaderHash, all) {
			continue
		}
		c, askErr := k.change(ctx, w, o.HeaderHash)
		switch {
		case CodeOf(askErr) == credits.CodeAbsent:
			r, absentErr := k.Wallet.Absent(o.HeaderHash, w.statement.Epoch)
			if r.Pending && all {
				absentErr = errors.Join(absentErr, errOwed)
			} else if absentErr == nil && !r.Pending {
				k.forget(o.HeaderHash)
			}
			err = errors.Join(err, absentErr)
		case nobody(askErr):
			return errors.Join(err, askErr)
		case askErr != nil: // about this one: the others are asked for all the same
			err = errors.Join(err, askErr)
		case c.Ended() && o.Epoch < w.statement.Epoch && c.Generation < w.statement.MintGeneration:
			// What the bank signed before it was restored, kept back since by somebody on
			// the way, proves nothing against it.
			k.suspect(refuse(credits.CodeGeneration, "change came from generation %d of the bank's database; by now it is %d; the bank is asked again", c.Generation, w.statement.MintGeneration))
			if all {
				err = errors.Join(err, errOwed)
			}
		case !k.take(o.HeaderHash, c, w) && all:
			err = errors.Join(err, errOwed)
		}
	}
	return err
}

// nobody reports whether nobody answered at all: the next question would fare no
// better. What was said about one payment or swap must not keep others waiting.
func nobody(err error) bool {
	switch CodeOf(err) {
	case CodeRelay, "bank.unreachable", "":
		return err != nil
	}
	return false
}

// trace looks for the change of payments of which a crash left no header hash to
// ask for it by. The table is fetched whole, at the drawn moments of the stock.
func (k *cash) trace(ctx context.Context, w *world) error {
	epoch := w.statement.Epoch
	if due, _ := k.Wallet.Gone(epoch); due > 0 {
		_, err := k.Wallet.Trace(epoch, func(keyset [32]byte) iter.Seq2[credits.TableEntry, error] { return k.client.entries(ctx, keyset) })
		var bad *credits.Refusal
		if errors.As(err, &bad) {
			k.suspect(refuse(bad.Code, "the bank's table: %s", bad.Why))
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

// swaps sends the swaps that were begun, and reports whether there were any.
func (k *cash) swaps(ctx context.Context, w *world) (sent bool, err error) {
	list, err := k.Wallet.Swaps(w.statement.Epoch)
	if err != nil {
		return false, err
	}
	for _, s := range list {
		askErr := k.swap(ctx, w, s)
		if err = errors.Join(err, askErr); nobody(askErr) {
			break
		}
	}
	return len(list) > 0, err
}

// swap sends one swap. One that the bank refused is over, as a purchase is.
func (k *cash) swap(ctx context.Context, w *world, s *wallet.Swap) error {
	refused, err := k.exchange(ctx, w, s)
	if refused != nil {
		return ended(k.Wallet.Refused(s.ID, refused.Code))
	}
	return err
}

// ended passes over that an order is not open any more: the same was sent twice at
// once, and the other one's answer was first.
func ended(err error) error {
	if errors.Is(err, wallet.ErrUnknown) {
		return nil
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
	err = ended(k.Wallet.Swapped(s.ID, minted))
	var bad *credits.Refusal
	if errors.As(err, &bad) {
		// Nothing of it is kept. It came through the gateway, and nobody signed it:
		// it proves nothing against the bank.
		wrong := refuse(bad.Code, "tokens came for a swap that are not as they must be: %s", bad.Why)
		k.suspect(wrong)
		return nil, wrong
	}
	return nil, err
}

// buys sends the purchases and redemptions that were begun, and reports whether
// there were any.
func (k *cash) buys(ctx context.Context, w *world) (sent bool, err error) {
	if k.Issuer == nil {
		return false, nil
	}
	list, err := k.Wallet.Buys()
	if err != nil {
		return false, err
	}
	redeems, err := k.Wallet.Redeems()
	if err != nil {
		return false, err
	}
	for _, b := range list {
		if err := k.order(ctx, w, b); err != nil {
			return true, err
		}
	}
	for _, r := range redeems {
		if err := k.redeem(ctx, w, r); err != nil {
			return true, err
		}
	}
	return len(list)+len(redeems) > 0, nil
}

// order sends one purchase. One that the bank refuses is over: that is no error
// here, since to try it again helps nothing.
func (k *cash) order(ctx context.Context, w *world, b *wallet.Buy) error {
	elements, proofs, err := k.Issuer.Issue(ctx, b)
	if refused := k.over(w, err); refused != nil {
		// The account has less, or the keyset is sold no more.
		return ended(k.Wallet.Refused(b.Request, refused.Code))
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
		return ended(k.Wallet.Refused(r.Request, refused.Code))
	}
	if err != nil {
		return err
	}
	return ended(k.Wallet.Redeemed(r.Request, w.statement.Epoch))
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
	err = ended(err)
	var bad *credits.Refusal
	if errors.As(err, &bad) && bad.Code == credits.CodeKey {
		k.catch(refuse(bad.Code, "the bank's tokens: %s", bad.Why)) // over the bank's own TLS: nobody else wrote them
	}
	return err
}

// stock begins what the wallet's policy wants: swaps first, then a purchase.
func (k *cash) stock(ctx context.Context, w *world, now bool) error {
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
	if len(plan.Swaps) > 0 && !now {
		return nil
	}
	// What was refused is not tried with every payment: each try burns blanks.
	if k.Issuer == nil || len(plan.Buy) == 0 || refused {
		return nil
	}
	if _, err := k.Wallet.Buy(w.sets, w.statement.Epoch, wire.TokenCoin, 0, plan.Buy); err != nil {
		return fmt.Errorf("client: buy: %w", err)
	}
	_, err := k.buys(ctx, w)
	return err
}

// Top brings the wallet up to date now: what is owed, what was begun, what its
// policy wants. It is what happens by itself while requests are paid.
func (c *Client) Top(ctx context.Context) error {
	k := c.cash
	if k == nil {
		return errNoWallet()
	}
	k.anew()
	switch err := k.top(ctx, true, true); {
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
