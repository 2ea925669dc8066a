// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"bytes"
	"context"
	"errors"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/statement"
)

// MaxAsk is the longest body of a hold or a turn, in bytes.
const MaxAsk = wire.RoutingBlockSize + 2 + statement.MaxRecordSize + hpke.CommonSize + 1 + wire.MaxCandidates*32 + 4096

// maxCoins is how many blanks change is written on at most: one for each bit of
// 63 parts. The others are there to make eight of them.
const maxCoins = 6

// candidate is who shall have the ticket: a node that the client named.
type candidate struct {
	record  []byte
	forward *hpke.Forwarded
	hash    [32]byte
}

// parseCandidate reads `opaque record<1..2^16-1> || Forwarded` to its end.
func parseCandidate(b []byte) (*candidate, error) {
	bad := refuse(CodeHeader, "no record and header of a candidate")
	if len(b) < 2 {
		return nil, bad
	}
	n := int(b[0])<<8 | int(b[1])
	if b = b[2:]; n == 0 || len(b) < n {
		return nil, bad
	}
	c := &candidate{record: b[:n]}
	r := bytes.NewReader(b[n:])
	var err error
	if c.forward, err = hpke.ReadForwarded(r); err != nil || r.Len() != 0 {
		return nil, bad
	}
	if c.hash, err = c.forward.Hash(); err != nil {
		return nil, bad
	}
	return c, nil
}

// turn finds the candidate in the statement of its epoch.
func (c *candidate) turn(e *Epoch) (turn, error) {
	key, ok := e.node(c.forward.Entry.NodeID, c.record)
	if !ok {
		return turn{}, refuse(CodeHeader, "a record that the statement does not name for this node")
	}
	return turn{c.forward.Index, c.forward.Entry.NodeID, [32]byte(key)}, nil
}

// Hold takes the token that pays for a request out of circulation and returns
// the ticket for its first candidate. The same hold again returns the same
// ticket, for as long as it is the only one that was signed.
func (b *Bank) Hold(ctx context.Context, body []byte) (*wire.Ticket, error) {
	if len(body) < wire.RoutingBlockSize {
		return nil, refuse(CodeRouting, "no routing block")
	}
	block, err := wire.ParseRoutingBlock(body[:wire.RoutingBlockSize])
	if err != nil || block.Payment != wire.PaymentCoins {
		return nil, refuse(CodeRouting, "no routing block that pays")
	}
	c, err := parseCandidate(body[wire.RoutingBlockSize:])
	if err != nil {
		return nil, err
	}
	if c.forward.Common.Epoch != block.Epoch {
		return nil, refuse(CodeHeader, "sealed for another epoch")
	}
	v, e, err := b.serving(block.Epoch)
	if err != nil {
		return nil, err
	}
	t, err := c.turn(e)
	if err != nil {
		return nil, err
	}
	h := &hold{
		tokenType: block.Spend.Type, class: block.Spend.Class, tier: block.Spend.Tier, attempt: block.Attempt,
		candidates: c.forward.Common.K, turns: []turn{t},
	}
	coins, until, err := b.judge(ctx, e, h, &block.Spend, c.hash)
	if err != nil {
		return nil, err
	}
	h.paid = paidHash(coins)
	d := &Draft{
		Op:    Op{Key: c.hash, Until: until, Epoch: block.Epoch, State: StateHeld, Data: h.append(nil)},
		Coins: coins, Type: h.tokenType, Limit: b.c.Rates[h.tokenType],
	}
	b.gate.pass()
	op, err := b.c.Store.Begin(ctx, v.generation, d)
	if err != nil {
		return nil, of(err)
	}
	return b.again(v, &op, d, h)
}

// again signs the ticket of a hold that is in the database as op, if op is what
// d says: whoever asks twice gets it twice, and nobody two different ones.
func (b *Bank) again(v *view, op *Op, d *Draft, h *hold) (*wire.Ticket, error) {
	if !bytes.Equal(op.Data, d.Data) || op.State != StateHeld {
		if was, err := parseHold(op.Data); op.State == StateHeld && err == nil && was.paid != h.paid {
			return nil, refuse(credits.CodeSpent, "another token paid for this request")
		}
		return nil, refuse(credits.CodeTurn, "another ticket of this request was signed, or it is over")
	}
	b.fresh.put(v.generation, op)
	return b.sign(v, op, h), nil
}

func (b *Bank) sign(v *view, op *Op, h *hold) *wire.Ticket {
	t := h.ticket(op, v.generation)
	t.Sign(b.c.Ticket)
	return &t
}

// judge checks what pays for a request, and fills in where its change goes. It
// costs the store nothing: only who has a token can make it write.
func (b *Bank) judge(ctx context.Context, e *Epoch, h *hold, s *wire.Spend, hash [32]byte) (coins []Coin, until uint64, err error) {
	n := e.Number()
	set, ok := e.set.Spendable(s.Keyset, n)
	if !ok || set.Type != s.Type {
		return nil, 0, refuse(credits.CodeEpoch, "no keyset of this type whose tokens can be spent now")
	}
	until = set.SpendLast
	sold, onSale := e.set.Selling(wire.TokenCoin, 0, n)
	var tiers *credits.Keyset
	if s.Tier != 0 {
		if tiers, ok = e.set.Spendable(s.TierKeyset, n); !ok || tiers.Type != wire.TokenEntitlement {
			return nil, 0, refuse(credits.CodeEpoch, "no keyset of entitlements that can be shown now")
		}
	}
	switch {
	case s.Type == wire.TokenCoin && !onSale:
		return nil, 0, refuse(credits.CodeEpoch, "no coins are on sale that change could be given in")
	case s.Type == wire.TokenCoin:
		for x := s.Class - wire.MinClass; x <= s.Class; x++ {
			if !has(sold, x) {
				return nil, 0, refuse(credits.CodeClass, "a denomination is missing in which change could come")
			}
		}
		h.keyset, h.blanks = sold.ID(), s.Blanks
	}
	if onSale {
		until = sold.SpendLast
	}
	if !has(set, s.Class) {
		return nil, 0, refuse(credits.CodeClass, "no such denomination")
	}
	keys, ok := b.c.Keys(s.Keyset)
	if ok && h.keyset != [32]byte{} {
		_, ok = b.c.Keys(h.keyset) // without them it could never be settled
	}
	if !ok {
		return nil, 0, refuse(codeStarting, "the keys of a keyset in use are not at hand")
	}
	coins = []Coin{{credits.CoinID(s.Keyset, s.Class, s.Nonce), set.SpendLast}}
	rule := func(output []byte) [32]byte { return credits.SpendMAC(output, hash, n, s) }
	return coins, until, b.compute(ctx, func() error {
		if !keys.Verify(s.Class, s.Nonce, s.MAC, rule) {
			return refuse(credits.CodeSig, "the MAC is not this token's over this request")
		}
		if s.Tier != 0 {
			shown, ok := b.c.Keys(s.TierKeyset)
			if !ok {
				return refuse(codeStarting, "the keys of a keyset in use are not at hand")
			}
			if tiers.Tier != s.Tier || !shown.Verify(0, s.TierNonce, s.TierMAC, rule) {
				return refuse(credits.CodeSig, "the entitlement is not this tier's, or its MAC not over this request")
			}
			coins = append(coins, Coin{credits.CoinID(s.TierKeyset, 0, s.TierNonce), tiers.SpendLast})
		}
		// Whoever has the coin says where its change goes; a blank that is none
		// could never be settled.
		for i := range maxCoins {
			if h.keyset != [32]byte{} && !credits.Canonical(h.blanks[i]) {
				return refuse(CodeRouting, "a blank that is no element")
			}
		}
		return nil
	})
}

func has(k *credits.Keyset, exponent uint8) bool {
	for i := range k.Keys {
		if k.Keys[i].Exponent == exponent {
			return true
		}
	}
	return false
}

// Turn signs the ticket of the next candidate, against the busy receipt of the
// one that has the ticket now.
func (b *Bank) Turn(ctx context.Context, body []byte) (*wire.Ticket, error) {
	if len(body) < wire.BusyReceiptSize {
		return nil, refuse(CodeRouting, "no busy receipt")
	}
	receipt, err := wire.ParseBusyReceipt(body[:wire.BusyReceiptSize])
	if err != nil {
		return nil, refuse(CodeRouting, "no busy receipt")
	}
	c, err := parseCandidate(body[wire.BusyReceiptSize:])
	if err != nil {
		return nil, err
	}
	if c.hash != receipt.HeaderHash {
		return nil, refuse(CodeHeader, "a receipt about another request")
	}
	v, e, err := b.serving(c.forward.Common.Epoch)
	if err != nil {
		return nil, err
	}
	next, err := c.turn(e)
	if err != nil {
		return nil, err
	}
	for {
		op, err := b.c.Store.Get(ctx, c.hash)
		if err != nil {
			return nil, of(err)
		}
		h, t, err := b.pass(v, &op, &receipt, next)
		if t != nil || err != nil {
			return t, err
		}
		op.Data = h.append(nil)
		switch err := b.c.Store.Advance(ctx, v.generation, op, nil); {
		case err == nil:
			op.Version++
			b.fresh.put(v.generation, &op)
			return b.sign(v, &op, h), nil
		case !errors.Is(err, ErrConflict):
			return nil, of(err)
		} // somebody else was faster: see what is there now
	}
}

// pass judges whether the ticket of op may go to next. It returns the ticket if
// it has gone there by the same receipt before, and else the hold as it will be.
func (b *Bank) pass(v *view, op *Op, receipt *wire.BusyReceipt, next turn) (*hold, *wire.Ticket, error) {
	if op.State != StateHeld {
		return nil, nil, refuse(credits.CodeTurn, "the request is over")
	}
	h, err := parseHold(op.Data)
	if err != nil {
		return nil, nil, &Failure{err}
	}
	// By the receipt of the one before the holder this ticket was signed once.
	if n := len(h.turns); n > 1 && *h.holder() == next && h.answers(op, receipt, &h.turns[n-2]) {
		return nil, b.sign(v, op, h), nil
	}
	if !h.answers(op, receipt, h.holder()) {
		return nil, nil, refuse(credits.CodeTurn, "no busy receipt of the node that has the ticket")
	}
	if h.tried(next.index) || len(h.turns) >= wire.MaxCandidates {
		return nil, nil, refuse(credits.CodeTurn, "this candidate had its turn")
	}
	h.turns = append(h.turns, next)
	return h, nil, nil
}

// answers reports whether a receipt is t's, about what its ticket let it run.
func (h *hold) answers(op *Op, r *wire.BusyReceipt, t *turn) bool {
	ask := wire.Ask{HeaderHash: op.Key, Epoch: op.Epoch, Index: t.index, Attempt: h.attempt}
	return r.Answers(ask, t.node) && r.Verify(t.verifies())
}
