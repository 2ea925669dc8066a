// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

// MaxSwap is the longest body of a swap, in bytes.
const MaxSwap = 8 + 2 + 2 + credits.MaxSwap*(66+97)

// swapLabel sets the keys of swaps apart from header hashes.
const swapLabel = "sotto bank swap v1\x00"

// Swap makes new tokens of coins. The same swap again, in a later epoch too,
// returns what the first one made.
func (b *Bank) Swap(ctx context.Context, body []byte) ([]wire.Minted, error) {
	s, err := credits.ParseSwap(body)
	if err != nil {
		return nil, refuse(CodeRouting, "no swap")
	}
	v, e, err := b.serving(s.Epoch)
	if err != nil {
		return nil, err
	}
	// The epoch is not part of what a swap is: an answer that was lost at the
	// end of one is asked for in the next.
	key := sha256.Sum256(append([]byte(swapLabel), body[8:]...))
	coins, err := b.paid(ctx, e, s)
	if r := (*credits.Refusal)(nil); errors.As(err, &r) && r.Code == credits.CodeEpoch {
		// Their time may have ended since the answer was lost: what they became is
		// owed all the same. Who has the bytes has shown the MACs before, and what is
		// answered is of use to nobody but who made the blanks.
		if op, err := b.c.Store.Get(ctx, key); err == nil {
			return minted(&op, len(s.Wanted))
		}
	}
	if err != nil {
		return nil, err
	}
	switch op, err := b.c.Store.Get(ctx, key); {
	case err == nil:
		return minted(&op, len(s.Wanted))
	case !errors.Is(err, ErrAbsent):
		return nil, of(err)
	}
	until, err := b.wanted(e, s)
	if err != nil {
		return nil, err
	}
	// Before the arithmetic: a coin that is spent must not be worth 64
	// evaluations each time that it is shown.
	for _, c := range coins {
		switch _, err := b.c.Store.Spender(ctx, c); {
		case err == nil:
			// By this very swap, if it was asked twice at once.
			if op, err := b.c.Store.Get(ctx, key); err == nil {
				return minted(&op, len(s.Wanted))
			}
			return nil, of(ErrSpent)
		case !errors.Is(err, ErrAbsent):
			return nil, of(err)
		}
	}
	d := &Draft{Op: Op{Key: key, Until: until, Epoch: s.Epoch, State: StateSwapped}, Coins: coins, Type: RateSwap, Limit: b.c.Rates[RateSwap]}
	if err := b.aside(ctx, func() error { return b.fill(d, e, s) }); err != nil {
		return nil, err
	}
	b.gate.pass()
	op, err := b.c.Store.Begin(ctx, v.generation, d)
	if err != nil {
		return nil, of(err)
	}
	return minted(&op, len(s.Wanted))
}

func minted(op *Op, n int) ([]wire.Minted, error) {
	list, err := credits.ParseMintedList(op.Data, n)
	if err != nil || op.State != StateSwapped {
		return nil, &Failure{errData}
	}
	return list, nil
}

// paid judges the coins of a swap.
func (b *Bank) paid(ctx context.Context, e *Epoch, s *credits.Swap) ([]Coin, error) {
	coins := make([]Coin, len(s.Paid))
	for i := range s.Paid {
		p := &s.Paid[i]
		set, ok := e.set.Spendable(p.Keyset, e.Number())
		if !ok || set.Type != wire.TokenCoin {
			return nil, refuse(credits.CodeEpoch, "no keyset whose coins can be swapped now")
		}
		coins[i] = Coin{p.ID(), set.SpendLast}
	}
	for i := range s.Paid {
		if set, _ := e.set.Find(s.Paid[i].Keyset); !has(set, s.Paid[i].Exponent) {
			return nil, refuse(credits.CodeClass, "no such denomination")
		}
	}
	if wanted, paid := s.Worth(); wanted != paid {
		return nil, refuse(credits.CodeClass, "what is wanted is not worth what is paid")
	}
	digest := s.Digest()
	rule := func(output []byte) [32]byte { return credits.SwapMAC(output, digest) }
	return coins, b.aside(ctx, func() error {
		for i := range s.Paid {
			p := &s.Paid[i]
			keys, ok := b.c.Keys(p.Keyset)
			if !ok {
				return refuse(codeStarting, "the keys of a keyset in use are not at hand")
			}
			if !keys.Verify(p.Exponent, p.Nonce, p.MAC, rule) {
				return refuse(credits.CodeSig, "the MAC is not this coin's over what is wanted")
			}
		}
		return nil
	})
}

// wanted judges the other side of a swap: what is on sale, in denominations
// that there are.
func (b *Bank) wanted(e *Epoch, s *credits.Swap) (until uint64, err error) {
	for i := range s.Wanted {
		w := &s.Wanted[i]
		set, ok := e.set.Selling(w.Type, 0, e.Number())
		if !ok || set.ID() != w.Keyset {
			return 0, refuse(credits.CodeEpoch, "not the keyset of this type that is on sale")
		}
		until = max(until, set.SpendLast)
	}
	for i := range s.Wanted {
		if set, _ := e.set.Find(s.Wanted[i].Keyset); !has(set, s.Wanted[i].Exponent) {
			return 0, refuse(credits.CodeClass, "no such denomination")
		}
	}
	return until, nil
}

// fill mints what a swap wants into a draft.
func (b *Bank) fill(d *Draft, e *Epoch, s *credits.Swap) error {
	for i := range s.Wanted {
		w := &s.Wanted[i]
		if !credits.Canonical(w.Blinded) {
			return refuse(CodeRouting, "a blank that is no element")
		}
		set, _ := e.set.Find(w.Keyset)
		m, entries, err := b.mint(w.Keyset, set.SpendLast, []uint8{w.Exponent}, [][32]byte{w.Blinded})
		if err != nil {
			return &Failure{err}
		}
		d.Data = credits.AppendMintedList(d.Data, m)
		d.Entries = append(d.Entries, entries...)
	}
	return nil
}

// minBucket is how many lines a bucket has at least, on average: who fetches
// one is one of that many.
const minBucket = 4096

// Buckets returns into how many buckets the table of a keyset is divided. It is
// the same for everybody in an epoch.
func (b *Bank) Buckets(ctx context.Context, keyset [32]byte) (uint32, error) {
	v, set, err := b.tabled(keyset)
	if err != nil {
		return 0, err
	}
	n, err := b.bits(ctx, v, set)
	if err != nil {
		return 0, of(err)
	}
	return 1 << n, nil
}

func (b *Bank) tabled(keyset [32]byte) (*view, *credits.Keyset, error) {
	v := b.view.Load()
	if err := v.ready(); err != nil {
		return nil, nil, err
	}
	set, ok := v.find(keyset)
	if !ok {
		return nil, nil, refuse(credits.CodeEpoch, "no such keyset, or not in its time")
	}
	return v, set, nil
}

func (b *Bank) bits(ctx context.Context, v *view, set *credits.Keyset) (uint8, error) {
	if n, err := b.c.Store.Fixed(ctx, set.ID(), v.newest); !errors.Is(err, ErrAbsent) {
		return n, err
	}
	lines, err := b.c.Store.Count(ctx, set.ID(), set.SpendLast)
	if err != nil {
		return 0, err
	}
	n := max(bits.Len64(lines/minBucket)-1, 0)
	return b.c.Store.Bits(ctx, set.ID(), v.newest, uint8(min(n, 24)))
}

// Bucket returns the lines of one bucket.
func (b *Bank) Bucket(ctx context.Context, keyset [32]byte, n uint32) ([]credits.TableEntry, error) {
	v, set, err := b.tabled(keyset)
	if err != nil {
		return nil, err
	}
	bits, err := b.bits(ctx, v, set)
	if err != nil {
		return nil, of(err)
	}
	if n >= 1<<bits {
		return nil, refuse(credits.CodeAbsent, "no such bucket")
	}
	var low, high [32]byte
	for i := range high {
		high[i] = 0xff
	}
	if bits > 0 {
		prefix := n << (32 - bits)
		binary.BigEndian.PutUint32(low[:], prefix)
		binary.BigEndian.PutUint32(high[:], prefix|(1<<(32-bits)-1))
	}
	out, err := b.c.Store.Table(ctx, keyset, set.SpendLast, low, high)
	return out, of(err)
}
