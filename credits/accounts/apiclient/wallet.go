// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package apiclient

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/wallet"
)

// final are the refusals after which a request is over: the same again would get
// the same. After any other error it is still in the wallet, to be sent again.
var final = []string{api.CodeRequest, api.CodeGrant, api.CodeWork, api.CodeLimit,
	credits.CodeEpoch, credits.CodeClass, credits.CodeSig, credits.CodeFunds, credits.CodeSpent}

// ErrAnswer is an answer that is not about what was asked. Nothing of it is used.
var ErrAnswer = errors.New("bank: an answer to another request")

// Purchase sends a purchase that a wallet began and gives the wallet what came
// back, which the wallet verifies. workBits is the account's limits' work_bits
// for passes; otherwise 0.
func (c *Client) Purchase(ctx context.Context, w *wallet.Wallet, b *wallet.Buy, account api.Account, workBits int) error {
	r := &api.IssueRequest{Request: b.Request, Keyset: b.Keyset}
	for _, t := range b.Tokens {
		r.Tokens = append(r.Tokens, api.Want{Exponent: t.Exponent, Blinded: t.Blinded})
	}
	if workBits > 0 {
		// The least that works, so that the same request is made again after a crash.
		if err := r.DoWork(ctx, account, workBits); err != nil {
			return err
		}
	}
	i, err := c.Issue(ctx, r)
	if err != nil {
		return end(w, b.Request, err)
	}
	if i.Request != r.Request || i.Keyset != r.Keyset || len(i.Tokens) != len(r.Tokens) {
		return ErrAnswer
	}
	elements, proofs := make([][32]byte, len(i.Tokens)), map[uint8][64]byte{}
	for n, t := range i.Tokens {
		if t.Exponent != r.Tokens[n].Exponent || t.Blinded != r.Tokens[n].Blinded {
			return ErrAnswer
		}
		elements[n] = t.Element
	}
	for _, p := range i.Proofs {
		proofs[p.Exponent] = p.Proof
	}
	return w.Bought(b.Request, i.Epoch, elements, proofs)
}

// PutBack sends a redemption that a wallet began with [api.RedeemDigest] as its
// digest, and ends it.
func (c *Client) PutBack(ctx context.Context, w *wallet.Wallet, b *wallet.Redeem) (units uint64, err error) {
	r := &api.RedeemRequest{Request: b.Request}
	for _, p := range b.Vouchers {
		r.Vouchers = append(r.Vouchers, api.Voucher{Keyset: p.Keyset, Exponent: p.Exponent, Nonce: p.Nonce, MAC: p.MAC})
	}
	done, err := c.Redeem(ctx, r)
	if err != nil {
		return 0, end(w, b.Request, err)
	}
	var worth uint64
	for _, p := range b.Vouchers {
		worth += 1 << p.Exponent
	}
	if done.Request != r.Request || done.Units != worth {
		return 0, ErrAnswer
	}
	return done.Units, w.Redeemed(b.Request, done.Epoch)
}

// end tells the wallet of a refusal that will not change.
func end(w *wallet.Wallet, request [32]byte, err error) error {
	var r *Refusal
	if !errors.As(err, &r) || !slices.Contains(final, r.Code) {
		return err
	}
	return errors.Join(err, w.Refused(request, r.Code))
}

// Batches ranges over what the account had evaluated of a keyset, whole: what a
// wallet is restored from ([wallet.Sources]).
func (c *Client) Batches(ctx context.Context, keyset [32]byte) iter.Seq2[wallet.Batch, error] {
	return func(yield func(wallet.Batch, error) bool) {
		for after := uint64(0); ; {
			p, err := c.Issued(ctx, keyset, after)
			if err != nil {
				yield(wallet.Batch{}, err)
				return
			}
			for _, i := range p.Issued {
				for _, proof := range i.Proofs {
					b := wallet.Batch{Exponent: proof.Exponent, Proof: proof.Proof}
					for _, t := range i.Tokens {
						if t.Exponent == proof.Exponent {
							b.Blinded, b.Elements = append(b.Blinded, t.Blinded), append(b.Elements, t.Element)
						}
					}
					if !yield(b, nil) {
						return
					}
				}
			}
			if p.Next == 0 {
				return
			}
			if p.Next <= after {
				yield(wallet.Batch{}, ErrAnswer) // it would go on for ever
				return
			}
			after = p.Next
		}
	}
}
