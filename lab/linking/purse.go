// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package linking

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// errFunds: nothing to pay with.
var errFunds = errors.New("linking: no coin")

// A purse is one client's money.
type purse interface {
	pay(p *play, hash [32]byte, class uint8) (wire.Spend, error)
	settle(p *play, hash [32]byte, c *wire.Change) error
	// top does what the client's background work does.
	top(p *play) error
	// came is what a nonce's coin came from.
	came(nonce [32]byte) (origin, bool)
}

// An origin is where a coin came from.
type origin struct {
	swap   bool
	parent int // -1: bought
}

// An honest purse is the wallet that clients have.
type honest struct {
	client int
	w      *wallet.Wallet
	seed   redact.Secret
	next   uint64 // index, as the wallet counts
	from   map[[32]byte]origin
	blanks map[[32]byte]uint64 // of requests that are not settled
}

func newHonest(dir string, client int, policy wallet.Policy) (*honest, error) {
	seed := sha256.Sum256(fmt.Append(nil, "SIMULATED ", client))
	h := &honest{client: client, seed: redact.New(seed[:]), from: map[[32]byte]origin{}, blanks: map[[32]byte]uint64{}}
	var err error
	if h.w, err = wallet.Create(filepath.Join(dir, fmt.Sprint(client)), h.seed); err != nil {
		return nil, err
	}
	return h, h.w.SetPolicy(policy)
}

// note says of n blanks where their coins come from. The bench counts indexes
// as the wallet does, and notices where it counts otherwise: a coin that is
// spent then came from nowhere.
func (h *honest) note(keyset [32]byte, first uint64, n int, o origin) {
	for i := range n {
		h.from[blind.Nonce(h.seed, keyset, 0, first+uint64(i))] = o
	}
}

func (h *honest) came(nonce [32]byte) (origin, bool) { o, ok := h.from[nonce]; return o, ok }

func (h *honest) pay(p *play, hash [32]byte, class uint8) (wire.Spend, error) {
	pay := wallet.Payment{Epoch: p.epoch, HeaderHash: hash, Class: class, Sets: p.w.sets, Hurry: true}
	s, err := h.w.Pay(pay)
	if none := (*wallet.NoCoinError)(nil); errors.As(err, &none) {
		if err := h.top(p); err != nil {
			return s, err
		}
		s, err = h.w.Pay(pay)
		if errors.As(err, &none) {
			return s, errFunds
		}
	}
	if err == nil {
		h.blanks[hash], h.next = h.next, h.next+wire.Blanks
	}
	return s, err
}

func (h *honest) settle(p *play, hash [32]byte, c *wire.Change) error {
	h.note(p.w.onSale().Keyset().ID(), h.blanks[hash], wire.Blanks, origin{false, len(p.log.requests)})
	delete(h.blanks, hash)
	_, err := h.w.Settle(hash, c)
	return err
}

func (h *honest) top(p *play) error {
	plan := h.w.Plan(p.w.sets, p.epoch)
	for _, s := range plan.Swaps {
		order, err := h.w.Swap(p.w.sets, p.epoch, wire.TokenCoin, s.Picks, s.Exponents)
		if err != nil {
			return err
		}
		h.note(order.Request.Wanted[0].Keyset, h.next, len(s.Exponents), origin{true, len(p.log.swaps)})
		h.next += uint64(len(s.Exponents))
		minted, err := p.swapped(h.client, order.Request)
		if err != nil {
			return err
		}
		if err := h.w.Swapped(order.ID, minted); err != nil {
			return err
		}
	}
	if len(plan.Buy) == 0 {
		return nil
	}
	b, err := h.w.Buy(p.w.sets, p.epoch, wire.TokenCoin, 0, plan.Buy)
	if err != nil {
		return err
	}
	h.note(b.Keyset, h.next, len(b.Tokens), origin{false, -1})
	h.next += uint64(len(b.Tokens))
	exponents, blinded := make([]uint8, len(b.Tokens)), make([][32]byte, len(b.Tokens))
	for i, t := range b.Tokens {
		exponents[i], blinded[i] = t.Exponent, t.Blinded
	}
	elements, proofs, err := p.bought(h.client, b.Keyset, exponents, blinded)
	if err != nil {
		return err
	}
	return h.w.Bought(b.Request, p.epoch, elements, proofs)
}

// A broken purse is a wallet with a fault that the real one does not have, to
// see that the bench notices it.
type broken struct {
	client int
	flaw   Flaw
	seed   redact.Secret
	next   uint64
	coins  []*blind.Coin
	from   map[[32]byte]origin
	out    map[[32]byte][]*blind.Blank
}

func newBroken(client int, flaw Flaw) *broken {
	seed := sha256.Sum256(fmt.Append(nil, "SIMULATED, broken ", client))
	return &broken{client: client, flaw: flaw, seed: redact.New(seed[:]), next: 1, from: map[[32]byte]origin{}, out: map[[32]byte][]*blind.Blank{}}
}

func (b *broken) came(nonce [32]byte) (origin, bool) { o, ok := b.from[nonce]; return o, ok }

func (b *broken) blank(k *credits.Keyset, index uint64) (*blind.Blank, error) {
	return blind.At(b.seed, k.ID(), 0, index)
}

func (b *broken) pay(p *play, hash [32]byte, c uint8) (wire.Spend, error) {
	var s wire.Spend
	if len(b.coins) == 0 {
		if err := b.top(p); err != nil {
			return s, err
		}
	}
	// The newest first: it hides nothing of what a marked one shows.
	coin := b.coins[len(b.coins)-1]
	b.coins = b.coins[:len(b.coins)-1]
	for i := range s.Blanks {
		index := b.next
		if b.flaw == ReusedBlank && i == wire.Blanks-1 {
			index = 0 // no change is written on the last
		} else {
			b.next++
		}
		x, err := b.blank(p.w.onSale().Keyset(), index)
		if err != nil {
			return s, err
		}
		b.out[hash] = append(b.out[hash], x)
		s.Blanks[i] = x.Element
	}
	coin.Pay(&s, wire.TokenCoin, hash, p.epoch)
	return s, nil
}

func (b *broken) settle(p *play, hash [32]byte, c *wire.Change) error {
	blanks := b.out[hash]
	delete(b.out, hash)
	for i, m := range c.Coins {
		b.from[blanks[i].Nonce] = origin{false, len(p.log.requests)}
		coins, err := blind.Finish(blanks[i:i+1], p.w.onSale().Keyset(), m.Exponent, [][32]byte{m.Element}, m.Proof)
		if err != nil {
			return err
		}
		// It spends what it can pay a request with.
		if m.Exponent >= wire.MinClass && b.flaw == OddSplit {
			b.coins = append(b.coins, coins...)
		}
	}
	return nil
}

// top buys two coins when there are none: at once, and of what its flaw says.
func (b *broken) top(p *play) error {
	if len(b.coins) > 0 {
		return nil
	}
	keys, exponent := p.w.onSale(), uint8(class)
	switch b.flaw {
	case OddAmount:
		exponent = oddClass(b.client)
	case OldKeyset: // what the bank gave it a key of
		keys = p.w.keys[b.client]
	}
	var blanks []*blind.Blank
	var blinded [][32]byte
	for range 2 {
		x, err := b.blank(keys.Keyset(), b.next)
		if err != nil {
			return err
		}
		b.next++
		b.from[x.Nonce] = origin{false, -1}
		blanks, blinded = append(blanks, x), append(blinded, x.Element)
	}
	elements, proofs, err := p.bought(b.client, keys.Keyset().ID(), []uint8{exponent, exponent}, blinded)
	if err != nil {
		return err
	}
	b.coins, err = blind.Finish(blanks, keys.Keyset(), exponent, elements, proofs[exponent])
	return err
}

// oddClass is a denomination that few others have.
func oddClass(client int) uint8 { return wire.MinClass + uint8(client)%(wire.MaxClass-wire.MinClass+1) }
