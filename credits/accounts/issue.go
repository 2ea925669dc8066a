// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/wire"
)

// digestOf is what tells a request from another with its id.
func digestOf(r any) ([32]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return [32]byte{}, fmt.Errorf("accounts: %v", err)
	}
	return sha256.Sum256(b), nil
}

// Issue has blinded elements evaluated and charges for them. It returns the
// JSON of an [api.Issued], which is on disk by then: the same request again gets
// the same bytes, and is not charged.
func (e *Engine) Issue(ctx context.Context, a api.Account, r *api.IssueRequest) ([]byte, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	if !wellFormed(r) {
		return nil, errRequest
	}
	// The proof of work is no part of what is asked for: whoever lost the answer asks
	// again without it, as at first.
	asked := *r
	asked.Work = 0
	digest, err := digestOf(&asked)
	if err != nil {
		return nil, err
	}
	lane := e.lane(a)
	lane.Lock()
	defer lane.Unlock()
	if answer, err := earlier(e.store.read, a, r.Request, digest); answer != nil || err != nil {
		return answer, err
	}
	set, units, err := e.price(v, r)
	if err != nil {
		return nil, err
	}
	// Everything that is cheap to refuse is refused before the arithmetic. The
	// transaction looks again.
	if err := e.allowed(e.store.read, v, a, set, r, units); err != nil {
		return nil, err
	}
	keys, ok := e.keys.Of(set.ID())
	if !ok {
		return nil, errStarting
	}
	out, err := evaluate(keys, r)
	if err != nil {
		return nil, err
	}
	out.Epoch, out.Units = v.Epoch, units
	answer, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("accounts: %v", err)
	}
	err = e.update(ctx, v, func(tx *sql.Tx) error {
		had, err := earlier(tx, a, r.Request, digest) // another process may have been first
		if err != nil || had != nil {
			answer = had
			return err
		}
		if err := e.allowed(tx, v, a, set, r, units); err != nil {
			return err
		}
		number, err := book(tx, a, v.Epoch, move{kind: api.KindIssue, units: units, request: &r.Request})
		if err != nil {
			return err
		}
		if err := sell(tx, v.Epoch, set, r); err != nil {
			return err
		}
		return remember(tx, a, r.Request, number, digest, r.Keyset[:], v.Epoch, len(r.Tokens), set.SpendLast, answer)
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// wellFormed: a number of tokens in bounds, and none of them twice.
func wellFormed(r *api.IssueRequest) bool {
	seen := make(map[api.Value]bool, len(r.Tokens))
	for _, t := range r.Tokens {
		seen[t.Blinded] = true
	}
	return len(r.Tokens) > 0 && len(r.Tokens) <= api.MaxTokens && len(seen) == len(r.Tokens)
}

// price looks at the request alone: what it costs, in units.
func (e *Engine) price(v View, r *api.IssueRequest) (*credits.Keyset, uint64, error) {
	set, ok := v.Set.Find(r.Keyset)
	if !ok || !set.Sells(v.Epoch) {
		return nil, 0, errEpoch
	}
	if set.Type == wire.TokenVoucher {
		return nil, 0, errClass // vouchers are what coins are swapped into, at the other port
	}
	sold := map[uint8]bool{}
	for _, k := range set.Keys {
		sold[k.Exponent] = true
	}
	var units uint64
	for _, t := range r.Tokens {
		if !sold[t.Exponent] {
			return nil, 0, errClass
		}
		units += 1 << t.Exponent // at most 2^10 times 2^40
	}
	if set.Type != wire.TokenCoin {
		units = 0
	}
	return set, units, nil
}

// allowed judges the request by the account's state, as q sees it.
func (e *Engine) allowed(q querier, v View, a api.Account, set *credits.Keyset, r *api.IssueRequest, units uint64) error {
	var balance, inEpoch, inPeriod, grant uint64
	var frozen bool
	switch err := q.QueryRow("SELECT balance, frozen FROM accounts WHERE id = ?", a[:]).Scan(&balance, &frozen); {
	case errors.Is(err, sql.ErrNoRows):
		return errAuth
	case err != nil:
		return storeError(err)
	case frozen:
		return errFrozen
	case units > balance:
		return errFunds
	}
	if err := q.QueryRow("SELECT coalesce(sum(tokens), 0) FROM requests WHERE account = ? AND epoch = ? AND keyset IS NOT NULL", a[:], v.Epoch).Scan(&inEpoch); err != nil {
		return storeError(err)
	}
	wanted := uint64(len(r.Tokens))
	if inEpoch+wanted > e.rules.TokensPerEpoch {
		return errTooMany
	}
	if set.Type == wire.TokenCoin {
		return nil
	}
	if err := q.QueryRow("SELECT coalesce(sum(tokens), 0) FROM requests WHERE account = ? AND keyset = ?", a[:], r.Keyset[:]).Scan(&inPeriod); err != nil {
		return storeError(err)
	}
	switch set.Type {
	case wire.TokenPass:
		grant = e.rules.Passes
	case wire.TokenEntitlement:
		err := q.QueryRow("SELECT tokens FROM grants WHERE account = ? AND tier = ?", a[:], set.Tier).Scan(&grant)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return storeError(err)
		}
	}
	if inPeriod+wanted > grant {
		return errGrant
	}
	if set.Type == wire.TokenPass && (e.proof == nil || !e.proof.Proves(a, r)) {
		return errWork
	}
	return nil
}

// evaluate evaluates the tokens of each exponent together, with one proof.
func evaluate(keys *issue.Keys, r *api.IssueRequest) (*api.Issued, error) {
	out := &api.Issued{Request: r.Request, Keyset: r.Keyset, Tokens: make([]api.Token, len(r.Tokens))}
	at := map[uint8][]int{}
	for i, t := range r.Tokens {
		at[t.Exponent] = append(at[t.Exponent], i)
	}
	for _, exponent := range slices.Sorted(maps.Keys(at)) {
		blinded := make([][32]byte, len(at[exponent]))
		for n, i := range at[exponent] {
			blinded[n] = r.Tokens[i].Blinded
		}
		elements, proof, err := keys.Evaluate(exponent, blinded)
		switch {
		case errors.Is(err, issue.ErrElement):
			return nil, errSig
		case err != nil:
			return nil, errClass
		}
		for n, i := range at[exponent] {
			out.Tokens[i] = api.Token{Exponent: exponent, Blinded: r.Tokens[i].Blinded, Element: elements[n]}
		}
		out.Proofs = append(out.Proofs, api.Batch{Exponent: exponent, Proof: proof})
	}
	return out, nil
}

// Issued returns what an account had evaluated of a keyset, from the history
// entry after `after` on: the JSON of an [api.IssuedPage].
//
// The entries are the answers as they were given, each with its batch proofs: a
// restored wallet makes the blinded elements of its indices again, finds those
// requests that are its own whole, and verifies each batch. Proofs for single
// tokens would have the bank compute all of it anew, with keys that may be gone.
func (e *Engine) Issued(ctx context.Context, a api.Account, keyset api.ID, after uint64) ([]byte, error) {
	if _, err := e.View(ctx); err != nil {
		return nil, err
	}
	rows, err := e.store.read.QueryContext(ctx,
		"SELECT number, answer FROM requests WHERE account = ? AND keyset = ? AND number > ? ORDER BY number LIMIT ?", a[:], keyset[:], after, api.PageIssued+1)
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	p := struct {
		Issued []json.RawMessage `json:"issued"`
		Next   uint64            `json:"next"`
	}{Issued: []json.RawMessage{}}
	var last uint64
	for rows.Next() {
		if len(p.Issued) == api.PageIssued {
			p.Next = last
			break
		}
		var answer []byte
		if err := rows.Scan(&last, &answer); err != nil {
			return nil, storeError(err)
		}
		p.Issued = append(p.Issued, answer)
	}
	if err := rows.Err(); err != nil {
		return nil, storeError(err)
	}
	return json.Marshal(p)
}

// sell counts what was sold to everybody together.
func sell(tx *sql.Tx, epoch uint64, set *credits.Keyset, r *api.IssueRequest) error {
	n := map[uint8]int{}
	for _, t := range r.Tokens {
		n[t.Exponent]++
	}
	for _, exponent := range slices.Sorted(maps.Keys(n)) {
		_, err := tx.Exec("INSERT INTO sold VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens",
			r.Keyset[:], exponent, epoch, n[exponent], set.SpendLast)
		if err != nil {
			return storeError(err)
		}
	}
	return nil
}

// Crowd says how many tokens of a keyset were sold to everybody together before
// this epoch, each number rounded down to a power of two: two looks do not show
// what somebody bought between them.
func (e *Engine) Crowd(ctx context.Context, keyset api.ID) (*api.Crowd, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := e.store.read.QueryContext(ctx,
		"SELECT exponent, sum(tokens) FROM sold WHERE keyset = ? AND epoch < ? GROUP BY exponent ORDER BY exponent", keyset[:], v.Epoch)
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	c := &api.Crowd{Keyset: keyset, Epoch: v.Epoch, Sold: []api.Sold{}}
	for rows.Next() {
		var s api.Sold
		if err := rows.Scan(&s.Exponent, &s.Tokens); err != nil {
			return nil, storeError(err)
		}
		s.Tokens = 1 << (bits.Len64(s.Tokens) - 1)
		c.Sold = append(c.Sold, s)
	}
	return c, storeError(rows.Err())
}

// Redeem puts the value of vouchers on an account: all of them or none, each
// once. It returns the JSON of an [api.Redeemed]; the same request again gets
// the same bytes.
func (e *Engine) Redeem(ctx context.Context, a api.Account, r *api.RedeemRequest) ([]byte, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.Vouchers) == 0 || len(r.Vouchers) > api.MaxVouchers {
		return nil, errRequest
	}
	digest, err := digestOf(r)
	if err != nil {
		return nil, err
	}
	lane := e.lane(a)
	lane.Lock()
	defer lane.Unlock()
	if answer, err := earlier(e.store.read, a, r.Request, digest); answer != nil || err != nil {
		return answer, err
	}
	var frozen bool
	switch err := e.store.read.QueryRowContext(ctx, "SELECT frozen FROM accounts WHERE id = ?", a[:]).Scan(&frozen); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errAuth
	case err != nil:
		return nil, storeError(err)
	case frozen:
		return nil, errFrozen
	}
	coins, units, last, err := e.worth(v, a, r)
	if err != nil {
		return nil, err
	}
	answer, err := json.Marshal(api.Redeemed{Request: r.Request, Epoch: v.Epoch, Units: units})
	if err != nil {
		return nil, fmt.Errorf("accounts: %v", err)
	}
	err = e.update(ctx, v, func(tx *sql.Tx) error {
		had, err := earlier(tx, a, r.Request, digest)
		if err != nil || had != nil {
			answer = had
			return err
		}
		for _, c := range coins {
			done, err := tx.Exec("INSERT INTO vouchers VALUES (?, ?) ON CONFLICT DO NOTHING", c.id[:], c.last)
			if err != nil {
				return storeError(err)
			}
			if n, err := done.RowsAffected(); err != nil || n != 1 {
				return errSpent
			}
		}
		number, err := book(tx, a, v.Epoch, move{kind: api.KindRedeem, units: units, request: &r.Request})
		if err != nil {
			return err
		}
		return remember(tx, a, r.Request, number, digest, nil, v.Epoch, len(r.Vouchers), last, answer)
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

type voucher struct {
	id   [32]byte
	last uint64 // epoch in which it can be spent
}

// worth verifies the vouchers of a request and adds them up.
func (e *Engine) worth(v View, a api.Account, r *api.RedeemRequest) (coins []voucher, units, last uint64, err error) {
	over := api.RedeemDigest(a, r.Request)
	seen := map[[32]byte]bool{}
	for _, w := range r.Vouchers {
		set, ok := v.Set.Spendable(w.Keyset, v.Epoch)
		if !ok {
			return nil, 0, 0, errEpoch
		}
		if set.Type != wire.TokenVoucher {
			return nil, 0, 0, errClass
		}
		if _, ok := set.Key(w.Exponent); !ok {
			return nil, 0, 0, errClass
		}
		keys, ok := e.keys.Of(set.ID())
		if !ok {
			return nil, 0, 0, errStarting
		}
		if !keys.Verify(w.Exponent, w.Nonce, w.MAC, func(out []byte) [32]byte { return credits.SwapMAC(out, over) }) {
			return nil, 0, 0, errSig
		}
		c := voucher{credits.CoinID(w.Keyset, w.Exponent, w.Nonce), set.SpendLast}
		if seen[c.id] {
			return nil, 0, 0, errSpent
		}
		seen[c.id] = true
		coins, units, last = append(coins, c), units+1<<w.Exponent, max(last, set.SpendLast)
	}
	return coins, units, last, nil
}

// eventDigest tells an event from another with its id.
func eventDigest(a api.Account, units uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(a[:], units))
}
