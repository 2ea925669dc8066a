// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package account is a client's account at the bank: it buys coins there and
// brings vouchers back.
//
// The bank knows whose account it is; what is bought is blinded. Its transport
// is its own, and no connection of it is one on which requests, swaps or change
// are asked for. It checks that answers are about what was asked; whether tokens
// are good is the wallet's to check.
package account

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/accounts/apiclient"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/httpx"
)

// maxWork is the hardest proof of work that is done, in bits: minutes, not days.
const maxWork = 28

// Config says which account. The zero value refuses.
type Config struct {
	// URL is the identified port of the bank, https.
	URL string
	// CA is a PEM file with the roots that its certificate chains to; empty means
	// the system's.
	CA string
	// Key is a file with the account's API key. One that others than its owner can
	// read is refused.
	Key string
}

// An Account is a [client.Issuer]. It is safe for concurrent use. Its errors are
// [client.Error]s: with a code of the bank's where the bank refused for good, and
// with [client.CodeBank] where it is not known what became of what was asked, or
// where the same may be asked again later.
type Account struct {
	bank  *apiclient.Client
	close func()

	mu sync.Mutex
	id *api.Account // once it is known
}

var _ client.Issuer = (*Account)(nil)

// Open reads the files that c names. It dials nobody.
func Open(c Config) (*Account, error) {
	key, err := readKey(c.Key)
	if err != nil {
		return nil, err
	}
	tc, err := httpx.TLS{CA: c.CA}.Client("")
	if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	t := httpx.NewTransport(tc)
	bank, err := apiclient.New(c.URL, key, t)
	if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	return &Account{bank: bank, close: t.CloseIdleConnections}, nil
}

// readKey reads an API key; nothing of the file is in an error.
func readKey(path string) (*api.Key, error) {
	if path == "" {
		return nil, errors.New("account: no file with an API key is named")
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("account: key: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("account: %s is open to others than its owner (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	if st.Size() > 256 {
		return nil, fmt.Errorf("account: %s is no API key", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("account: key: %w", err)
	}
	defer clear(b)
	key, err := api.ParseKey(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return nil, fmt.Errorf("account: %s is no API key: the operator gives one, sotto_... on one line", path)
	}
	return key, nil
}

// Close drops idle connections.
func (a *Account) Close() { a.close() }

// final are the refusals of an order that had no effect and, sent again, would
// have none. The bank looks for an earlier answer to it before it judges any of
// these.
var final = map[string]string{
	credits.CodeFunds:  "the account has less; the operator tops it up",
	credits.CodeEpoch:  "the keyset is on sale no more; try again, with a new purchase",
	credits.CodeClass:  "the bank sells no such coins",
	credits.CodeSig:    "the bank does not take what the wallet made; ask the operator",
	credits.CodeSpent:  "a voucher of it is on an account already",
	api.CodeRequest:    "the bank does not take the order; ask the operator",
	api.CodeFrozen:     "the operator has stopped the account; ask there",
	api.CodeGrant:      "the account has no more of these in this period",
	api.CodeWork:       "the bank wants a proof of work that this program does not do",
	api.CodeLimit:      "the account can hold no more",
	credits.CodeAbsent: "the bank knows no such thing",
}

// later are refusals after which the same may be asked again.
var later = map[string]string{
	api.CodeAuth:           "the API key is not valid (any more): put the new one into its file",
	api.CodeRate:           "too many requests at once; it is tried again",
	credits.CodeRate:       "too many tokens in this epoch; it is tried again",
	credits.CodeGeneration: "the bank is being restored; it is tried again",
	"starting":             "the bank is starting; it is tried again",
}

// refusal gives an error of the bank's port its code.
func refusal(err error) error {
	var bank *apiclient.Refusal
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &bank):
		return unknown("the bank's account port: %v", strings.TrimPrefix(err.Error(), "bank: "))
	}
	if hint, ok := final[bank.Code]; ok {
		return &client.Error{Code: bank.Code, Detail: "the bank refused", Hint: hint}
	}
	e := unknown("the bank refused: %s", bank.Code)
	e.Hint = later[bank.Code]
	return e
}

func unknown(format string, args ...any) *client.Error {
	return &client.Error{Code: client.CodeBank, Detail: fmt.Sprintf(format, args...)}
}

// State asks for the account's balance and limits.
func (a *Account) State(ctx context.Context) (*api.AccountState, error) {
	s, err := a.bank.Account(ctx)
	if err != nil {
		return nil, refusal(err)
	}
	if s.Balance > api.MaxBalance {
		return nil, unknown("a balance of %d", s.Balance)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.id != nil && *a.id != s.Account {
		return nil, unknown("the bank says that this key is of account %s; before, it said %s", s.Account, *a.id)
	}
	a.id = &s.Account
	return s, nil
}

// Digest is what the MACs of vouchers cover that are put on this account: see
// [wallet.Wallet.Redeem].
func (a *Account) Digest(ctx context.Context) (func(request [32]byte) [32]byte, error) {
	a.mu.Lock()
	id := a.id
	a.mu.Unlock()
	if id == nil {
		s, err := a.State(ctx)
		if err != nil {
			return nil, err
		}
		id = &s.Account
	}
	return func(request [32]byte) [32]byte { return api.RedeemDigest(*id, request) }, nil
}

// Issue implements [client.Issuer].
func (a *Account) Issue(ctx context.Context, b *wallet.Buy) ([][32]byte, map[uint8][64]byte, error) {
	q := &api.IssueRequest{Request: b.Request, Keyset: b.Keyset}
	for _, t := range b.Tokens {
		q.Tokens = append(q.Tokens, api.Want{Exponent: t.Exponent, Blinded: t.Blinded})
	}
	out, err := a.bank.Issue(ctx, q)
	var bank *apiclient.Refusal
	if errors.As(err, &bank) && bank.Code == api.CodeWork {
		if err := a.work(ctx, q); err != nil {
			return nil, nil, err
		}
		out, err = a.bank.Issue(ctx, q)
	}
	if err != nil {
		return nil, nil, refusal(err)
	}
	return issued(b, out)
}

// work does the proof that the bank asks for with passes.
func (a *Account) work(ctx context.Context, q *api.IssueRequest) error {
	s, err := a.State(ctx)
	if err != nil {
		return err
	}
	if s.Limits.WorkBits < 1 || s.Limits.WorkBits > maxWork {
		return &client.Error{Code: api.CodeWork, Detail: fmt.Sprintf("the bank asks for a proof of work of %d bits", s.Limits.WorkBits), Hint: final[api.CodeWork]}
	}
	if err := q.DoWork(ctx, s.Account, s.Limits.WorkBits); err != nil {
		return unknown("the proof of work was interrupted: %v", err)
	}
	return nil
}

// issued checks that an answer is about the purchase: its id, its keyset, each
// token where it was asked for, one proof for each exponent, and no price but the
// tokens' worth.
func issued(b *wallet.Buy, out *api.Issued) ([][32]byte, map[uint8][64]byte, error) {
	if out.Request != b.Request || out.Keyset != b.Keyset || len(out.Tokens) != len(b.Tokens) {
		return nil, nil, unknown("the bank's answer is about another purchase")
	}
	var elements [][32]byte
	var units uint64
	wanted := map[uint8]bool{}
	for i, t := range out.Tokens {
		if t.Exponent != b.Tokens[i].Exponent || t.Blinded != b.Tokens[i].Blinded {
			return nil, nil, unknown("the bank's answer has another token than was asked for")
		}
		elements, wanted[t.Exponent] = append(elements, t.Element), true
		units += 1 << t.Exponent
	}
	if out.Units != units && out.Units != 0 { // passes and entitlements cost nothing
		return nil, nil, unknown("the bank charged %d units for tokens worth %d; ask the operator", out.Units, units)
	}
	proofs := map[uint8][64]byte{}
	for _, p := range out.Proofs {
		if _, twice := proofs[p.Exponent]; twice || !wanted[p.Exponent] {
			return nil, nil, unknown("the bank's answer has a proof that nobody asked for")
		}
		proofs[p.Exponent] = p.Proof
	}
	if len(proofs) != len(wanted) {
		return nil, nil, unknown("the bank's answer lacks a proof")
	}
	return elements, proofs, nil
}

// Redeem implements [client.Issuer].
func (a *Account) Redeem(ctx context.Context, r *wallet.Redeem) error {
	q := &api.RedeemRequest{Request: r.Request}
	var units uint64
	for _, v := range r.Vouchers {
		q.Vouchers = append(q.Vouchers, api.Voucher{Keyset: v.Keyset, Exponent: v.Exponent, Nonce: v.Nonce, MAC: v.MAC})
		units += 1 << v.Exponent
	}
	out, err := a.bank.Redeem(ctx, q)
	switch {
	case err != nil:
		return refusal(err)
	case out.Request != r.Request:
		return unknown("the bank's answer is about another redemption")
	case out.Units != units:
		return unknown("the bank put %d units on the account for vouchers worth %d; ask the operator", out.Units, units)
	}
	return nil
}

// Issued is what the account ever had evaluated of a keyset, for
// [wallet.Sources].
func (a *Account) Issued(ctx context.Context, keyset [32]byte) iter.Seq2[wallet.Batch, error] {
	return func(yield func(wallet.Batch, error) bool) {
		for after := uint64(0); ; {
			page, err := a.bank.Issued(ctx, keyset, after)
			if err == nil && (len(page.Issued) > api.PageIssued || page.Next != 0 && page.Next <= after) {
				err = errors.New("a page that is not as it must be")
			}
			if err != nil {
				yield(wallet.Batch{}, refusal(err))
				return
			}
			for i := range page.Issued {
				for _, b := range batches(&page.Issued[i]) {
					if page.Issued[i].Keyset == keyset && !yield(b, nil) {
						return
					}
				}
			}
			if after = page.Next; after == 0 {
				return
			}
		}
	}
}

// batches splits an answer as it was proven. The wallet verifies each.
func batches(x *api.Issued) (list []wallet.Batch) {
	for _, p := range x.Proofs {
		b := wallet.Batch{Exponent: p.Exponent, Proof: p.Proof}
		for _, t := range x.Tokens {
			if t.Exponent == p.Exponent {
				b.Blinded, b.Elements = append(b.Blinded, t.Blinded), append(b.Elements, t.Element)
			}
		}
		if len(b.Blinded) > 0 {
			list = append(list, b)
		}
	}
	return list
}

// History returns what moved on the account, oldest first.
func (a *Account) History(ctx context.Context) (list []api.Entry, err error) {
	for after := uint64(0); ; {
		page, err := a.bank.History(ctx, after)
		if err == nil && (len(page.Entries) > api.PageHistory || page.Next != 0 && page.Next <= after) {
			err = errors.New("a page that is not as it must be")
		}
		if err != nil {
			return nil, refusal(err)
		}
		list = append(list, page.Entries...)
		if after = page.Next; after == 0 {
			return list, nil
		}
	}
}
