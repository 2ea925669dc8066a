// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package storetest has what every store of a bank is tested with: the contract
// that a [redeem.Store] keeps, and a small SIMULATED world of keysets, nodes,
// coins and requests to drive a bank over it. It is for tests and benchmarks.
package storetest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/statement"
)

// Class is what requests are paid with, where a test does not say: 2^10 units.
const Class = 10

// A World is keysets, nodes and a ticket key.
type World struct {
	tb         testing.TB
	Ticket     ed25519.PrivateKey
	Generation uint64
	// Coins are sold in epochs 1 to 10 and 11 to 20, spent until 40 and 50.
	Coins, Later, Passes, Vouchers, Entitlements *issue.Keys
	Nodes                                        []Node
	seed                                         redact.Secret
	index                                        *atomic.Uint64
}

// A Node is one that statements list.
type Node struct {
	ID  [32]byte
	Key ed25519.PrivateKey
}

// NewWorld makes one with three nodes.
func NewWorld(tb testing.TB) *World {
	w := &World{tb: tb, Ticket: ed25519.NewKeyFromSeed(make([]byte, 32)), Generation: 7, seed: redact.New(make([]byte, blind.SeedSize)), index: new(atomic.Uint64)}
	all := []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	w.Coins = w.generate(credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, all)
	w.Later = w.generate(credits.Keyset{Type: wire.TokenCoin, First: 11, Last: 20, SpendLast: 50}, all)
	w.Passes = w.generate(credits.Keyset{Type: wire.TokenPass, Name: "free", First: 1, Last: 20, SpendLast: 40}, []uint8{6, Class})
	w.Vouchers = w.generate(credits.Keyset{Type: wire.TokenVoucher, First: 1, Last: 20, SpendLast: 40}, []uint8{6, Class})
	w.Entitlements = w.generate(credits.Keyset{Type: wire.TokenEntitlement, Tier: 3, Name: "large", First: 1, Last: 20, SpendLast: 40}, []uint8{0})
	for i := range 3 {
		seed := sha256.Sum256([]byte{byte(i)})
		w.Nodes = append(w.Nodes, Node{sha256.Sum256(seed[:]), ed25519.NewKeyFromSeed(seed[:])})
	}
	slices.SortFunc(w.Nodes, func(a, b Node) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return w
}

// Headless is the [testing.TB] of a process that is none of a test: what fails
// there panics.
func Headless() testing.TB { return headless{} }

type headless struct{ testing.TB }

func (headless) Helper()                  {}
func (headless) Context() context.Context { return context.Background() }
func (headless) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }

// Stamp makes the blanks of this world others than those of a world with
// another number.
func (w *World) Stamp(n uint64) { w.index.Store(n << 32) }

// With is the world for a sub-test.
func (w *World) With(tb testing.TB) *World {
	c := *w
	c.tb = tb
	return &c
}

func (w *World) generate(k credits.Keyset, exponents []uint8) *issue.Keys {
	// The same in every process: a child's coins are its parent's.
	seed := sha256.Sum256(fmt.Append(nil, "SIMULATED ", k.Type, k.First))
	keys, err := issue.Generate(mathrand.NewChaCha8(seed), k, exponents)
	w.must(err)
	return keys
}

func (w *World) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *World) keysets() []*issue.Keys {
	return []*issue.Keys{w.Coins, w.Later, w.Passes, w.Vouchers, w.Entitlements}
}

// Keys finds a keyset's.
func (w *World) Keys(id [32]byte) (*issue.Keys, bool) {
	for _, k := range w.keysets() {
		if k.Keyset().ID() == id {
			return k, true
		}
	}
	return nil, false
}

// Record is a node's in an epoch.
func (w *World) Record(epoch uint64, node int) []byte {
	n := w.Nodes[node]
	r := statement.Record{NodeID: n.ID, Epoch: epoch, REK: []byte("SIMULATED"), NodeKey: n.Key.Public().(ed25519.PublicKey)}
	b, err := r.Append(nil)
	w.must(err)
	return b
}

// Statement is an epoch's: all keysets that can be spent, all nodes.
func (w *World) Statement(epoch uint64) *statement.Statement {
	start := time.Unix(1_800_000_000+int64(epoch)*3600, 0).UTC()
	s := &statement.Statement{
		Epoch: epoch, NotBefore: start, NextPublic: start.Add(50 * time.Minute), NotAfter: start.Add(time.Hour),
		GatewayKeys: [][]byte{[]byte("SIMULATED")}, Payment: statement.PaymentCoins, MintGeneration: w.Generation,
		TicketKey: w.Ticket.Public().(ed25519.PublicKey), Models: []statement.Model{{Name: "toy", Context: 512}},
	}
	for _, k := range w.keysets() {
		if set := k.Keyset(); epoch <= set.SpendLast {
			s.CoinKeysets = append(s.CoinKeysets, statement.Keyset{ID: set.ID(), Data: set.Append(nil)})
		}
	}
	slices.SortFunc(s.CoinKeysets, func(a, b statement.Keyset) int { return slices.Compare(a.ID[:], b.ID[:]) })
	for i, n := range w.Nodes {
		s.Nodes = append(s.Nodes, statement.Node{ID: n.ID, Record: statement.Digest(w.Record(epoch, i))})
	}
	return s
}

// Epoch is [World.Statement] as a bank takes it.
func (w *World) Epoch(n uint64) *redeem.Epoch {
	e, err := redeem.NewEpoch(w.Statement(n))
	w.must(err)
	return e
}

// Bank makes a bank over s that has seen the statements of epoch n and of the
// one before it.
func (w *World) Bank(s redeem.Store, n uint64, change ...func(*redeem.Config)) *redeem.Bank {
	w.tb.Helper()
	b := w.NewBank(s, change...)
	w.Follow(b, n)
	return b
}

// NewBank makes a bank that has seen no statement.
func (w *World) NewBank(s redeem.Store, change ...func(*redeem.Config)) *redeem.Bank {
	w.tb.Helper()
	c := redeem.Config{Store: s, Keys: w.Keys, Ticket: w.Ticket}
	for _, f := range change {
		f(&c)
	}
	b, err := redeem.New(c)
	w.must(err)
	return b
}

// Follow tells b the statements of epoch n and of the one before it.
func (w *World) Follow(b *redeem.Bank, n uint64) {
	w.tb.Helper()
	w.must(b.Follow(w.tb.Context(), w.Epoch(n), w.Epoch(n-1)))
}

// Token makes a token of 2^exponent units, as a client gets one.
func (w *World) Token(k *issue.Keys, exponent uint8) *blind.Coin {
	w.tb.Helper()
	return w.Finish(k, []*blind.Blank{w.Blank(k)}, exponent)[0]
}

// Blank makes one that was never used.
func (w *World) Blank(k *issue.Keys) *blind.Blank {
	w.tb.Helper()
	b, err := blind.At(w.seed, k.Keyset().ID(), 0, w.index.Add(1))
	w.must(err)
	return b
}

// Finish has blanks evaluated at the source.
func (w *World) Finish(k *issue.Keys, blanks []*blind.Blank, exponent uint8) []*blind.Coin {
	w.tb.Helper()
	var elements [][32]byte
	for _, b := range blanks {
		elements = append(elements, b.Element)
	}
	out, proof, err := k.Evaluate(exponent, elements)
	w.must(err)
	coins, err := blind.Finish(blanks, k.Keyset(), exponent, out, proof)
	w.must(err)
	return coins
}

// Unwrap makes coins of a change block, as a client does, with all its checks.
func (w *World) Unwrap(k *issue.Keys, blanks []*blind.Blank, c *wire.Change) (coins []*blind.Coin) {
	w.tb.Helper()
	for i, m := range c.Coins {
		out, err := blind.Finish(blanks[i:i+1], k.Keyset(), m.Exponent, [][32]byte{m.Element}, m.Proof)
		w.must(err)
		coins = append(coins, out...)
	}
	return coins
}

// A Request is one that is paid.
type Request struct {
	w      *World
	Block  wire.RoutingBlock
	Header *hpke.Header
	Blanks []*blind.Blank
}

// Request makes one of an epoch for all nodes, paid with a token of its own.
func (w *World) Request(epoch uint64) *Request {
	w.tb.Helper()
	return w.Paid(epoch, w.Token(w.Coins, Class), wire.TokenCoin, nil)
}

// Paid makes a request that is paid with a token, and shows an entitlement if
// there is one.
func (w *World) Paid(epoch uint64, token *blind.Coin, tokenType uint8, shown *blind.Coin) *Request {
	w.tb.Helper()
	r := &Request{w: w, Block: wire.RoutingBlock{Payment: wire.PaymentCoins, Epoch: epoch}}
	common := hpke.Common{Suite: hpke.NodeSuite, Epoch: epoch, K: uint8(len(w.Nodes)), MediaType: hpke.MediaBinaryHTTP}
	rand.Read(common.BodyNonce[:])
	r.Header = &hpke.Header{Common: common}
	for _, n := range w.Nodes {
		r.Header.Entries = append(r.Header.Entries, hpke.Entry{NodeID: n.ID, Enc: make([]byte, hpke.NodeSuite.EncSize()), SealedDEK: make([]byte, 48)})
	}
	r.Header.Common.CandidatesHash = hpke.CandidatesHash(r.Header.CandidateIDs())
	sold := w.Coins
	if epoch > sold.Keyset().Last {
		sold = w.Later
	}
	for i := range r.Block.Spend.Blanks {
		b := w.Blank(sold)
		r.Blanks, r.Block.Spend.Blanks[i] = append(r.Blanks, b), b.Element
	}
	r.Pay(token, tokenType, shown)
	return r
}

// Pay computes the MACs anew.
func (r *Request) Pay(token *blind.Coin, tokenType uint8, shown *blind.Coin) {
	s := &r.Block.Spend
	if shown != nil {
		s.Tier = 3
	}
	token.Pay(s, tokenType, r.Hash(), r.Block.Epoch)
	if shown != nil {
		shown.Show(s, r.Hash(), r.Block.Epoch)
	}
}

// Hash is the header hash.
func (r *Request) Hash() [32]byte { return r.Header.Hash() }

func (r *Request) candidate(b []byte, i int) []byte {
	rec := r.w.Record(r.Header.Common.Epoch, i)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(rec))), rec...)
	return r.Header.Forward(i).Append(b)
}

// Hold is the body of a hold for candidate i.
func (r *Request) Hold(i int) []byte { return r.candidate(r.Block.Append(nil), i) }

// Turn is the body of a turn from one candidate to another.
func (r *Request) Turn(from, to int) []byte {
	b := r.Busy(from)
	return r.candidate(b.Append(nil), to)
}

// Ask is what candidate i was asked.
func (r *Request) Ask(i int) wire.Ask {
	return wire.Ask{HeaderHash: r.Hash(), Epoch: r.Header.Common.Epoch, Index: uint8(i), Attempt: r.Block.Attempt}
}

// Busy is candidate i's receipt.
func (r *Request) Busy(i int) wire.BusyReceipt {
	b := r.Ask(i).Receipt(r.w.Nodes[i].ID)
	b.Sign(r.w.Nodes[i].Key)
	return b
}

// Usage is candidate i's word on what was used.
func (r *Request) Usage(i int, used uint8) wire.Usage {
	u := wire.Usage{HeaderHash: r.Hash(), NodeID: r.w.Nodes[i].ID, Epoch: r.Header.Common.Epoch, Class: r.Block.Spend.Class, Index: uint8(i), Attempt: r.Block.Attempt, Used: used}
	u.Sign(r.w.Nodes[i].Key)
	return u
}

// Used is the body of a settlement by candidate i's usage.
func (r *Request) Used(i int, used uint8) []byte {
	u := r.Usage(i, used)
	return u.Append([]byte{redeem.SettleUsage})
}

// AllBusy is the body of a settlement by candidate i's receipt.
func (r *Request) AllBusy(i int) []byte {
	b := r.Busy(i)
	return b.Append([]byte{redeem.SettleBusy})
}

// Swap is the body of a swap of coins for blanks of exponents under a keyset.
func (w *World) Swap(epoch uint64, paid []*blind.Coin, k *issue.Keys, blanks []*blind.Blank, exponents []uint8) []byte {
	s := credits.Swap{Epoch: epoch}
	for i, b := range blanks {
		s.Wanted = append(s.Wanted, credits.Wanted{Type: k.Keyset().Type, Keyset: b.Keyset, Exponent: exponents[i], Blinded: b.Element})
	}
	for _, c := range paid {
		s.Paid = append(s.Paid, credits.Paid{Keyset: c.Keyset, Exponent: c.Exponent, Nonce: c.Nonce, MAC: credits.SwapMAC(c.Output.Bytes(), s.Digest())})
	}
	return s.Append(nil)
}
