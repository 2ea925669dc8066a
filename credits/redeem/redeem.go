// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package redeem is the bank's anonymous side as a state machine: it turns a
// coin into a ticket, a usage into change, coins into other coins, and says
// what became of a payment, over a [Store] that survives crashes.
//
// It knows no account, no address and no clock: its time is the newest
// statement that it was given ([Bank.Follow]). It dials nothing and logs
// nothing. credits/bank serves it; the specification is docs/spec/payment.md,
// sections 6 to 8, and its codes are [credits.Refusal]s.
package redeem

import (
	"context"
	"crypto/ed25519"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/wire"
)

// Codes beside those of package credits.
const (
	CodeRouting  = "routing"    // a body that is not as the specification has it
	CodeHeader   = "header"     // a header, or a node record, that is not what a statement names
	CodeEpoch    = "epoch"      // of no statement that is current or about to be
	codeStarting = "starting"   // no statement yet, or one that this bank cannot serve
	CodeStarting = codeStarting // the same
	CodeStore    = "bank.store" // the database did not do it: nothing was answered, ask again
)

// RateSwap is the key of [Config.Rates] for swaps, which are of no token type. A
// swap costs nothing and may be made of its own outcome again: without a limit
// one coin lets somebody fill the tables and the disk.
const RateSwap uint8 = 0

// Config is what a bank is made of. All but Rates and Away are required.
type Config struct {
	Store Store
	// Keys returns the private keys of a keyset.
	Keys func(keyset [32]byte) (*issue.Keys, bool)
	// Ticket is the key that the statements name as ticket_key.
	Ticket ed25519.PrivateKey
	// Rates is how many holds an epoch has room for, by token type, and how many
	// swaps, by [RateSwap]. What is not there, or has 0, has no limit.
	Rates map[uint8]uint64
	// Away is from how many epochs without service on a database counts as one
	// that may be an old copy. Default 2: it served in the epoch before the
	// newest statement's.
	Away uint64
}

// A Bank redeems. It is safe for concurrent use, and several may share a
// store that several processes may have open.
type Bank struct {
	c         Config
	public    ed25519.PublicKey
	view      atomic.Pointer[view]
	following sync.Mutex
	cpu       chan struct{} // a place for each processor: arithmetic, not requests, is what there is little of
	fresh     fresh
	gate      gate
	swaps     chan struct{} // how many of these swaps may have
}

// New returns a bank that serves nothing until [Bank.Follow].
func New(c Config) (*Bank, error) {
	if c.Store == nil || c.Keys == nil || len(c.Ticket) != ed25519.PrivateKeySize {
		return nil, errors.New("redeem: store, keys and ticket are required")
	}
	if c.Away == 0 {
		c.Away = 2
	}
	b := &Bank{c: c, public: c.Ticket.Public().(ed25519.PublicKey), cpu: make(chan struct{}, runtime.GOMAXPROCS(0))}
	b.swaps = make(chan struct{}, max(1, cap(b.cpu)/2))
	b.view.Store(&view{code: codeStarting})
	return b, nil
}

func refuse(code, why string) error { return &credits.Refusal{Code: code, Why: why} }

// of turns what a store refused into what a request is refused with.
func of(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrSpent):
		return refuse(credits.CodeSpent, "the token was used for something else")
	case errors.Is(err, ErrRate):
		return refuse(credits.CodeRate, "the epoch has no room for more tokens of this type")
	case errors.Is(err, ErrStale):
		return refuse(CodeEpoch, "over for this database")
	case errors.Is(err, ErrGeneration):
		return refuse(credits.CodeGeneration, "the database was given another generation")
	case errors.Is(err, ErrAbsent):
		return refuse(credits.CodeAbsent, "nothing is known by that name")
	}
	return &Failure{err}
}

// A Failure is a database that did not do what it was asked to, as far as is
// known. Nothing was answered; the same request again finds out, or does it.
type Failure struct{ Err error }

func (f *Failure) Error() string { return "redeem: " + CodeStore + ": " + f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// compute runs f when a processor is free for it.
func (b *Bank) compute(ctx context.Context, f func() error) error {
	b.gate.wanted.Add(1)
	select {
	case b.cpu <- struct{}{}:
		b.gate.wanted.Add(-1)
	case <-ctx.Done():
		b.gate.wanted.Add(-1)
		return ctx.Err()
	}
	defer func() { <-b.cpu }()
	return f()
}

// aside is compute for swaps. One may be worth 128 times the arithmetic of a
// ticket, and somebody waits for the ticket: however many there are, half of the
// processors are free of them.
func (b *Bank) aside(ctx context.Context, f func() error) error {
	select {
	case b.swaps <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.swaps }()
	return b.compute(ctx, f)
}

// mint evaluates blanks, each with the key of one denomination.
func (b *Bank) mint(keyset [32]byte, until uint64, exponents []uint8, blanks [][32]byte) ([]wire.Minted, []Entry, error) {
	keys, ok := b.c.Keys(keyset)
	if !ok {
		return nil, nil, errors.New("redeem: the keys of a keyset in use are not at hand")
	}
	minted, entries := make([]wire.Minted, len(exponents)), make([]Entry, len(exponents))
	for i, e := range exponents {
		out, proof, err := keys.Evaluate(e, blanks[i:i+1])
		if err != nil {
			return nil, nil, err
		}
		minted[i] = wire.Minted{Exponent: e, Element: out[0], Proof: proof}
		entries[i] = Entry{keyset, until, credits.TableEntry{Name: credits.TableName(blanks[i]), Minted: minted[i]}}
	}
	return minted, entries, nil
}

// serving returns the view, and the epoch n of it, or the refusal.
func (b *Bank) serving(n uint64) (*view, *Epoch, error) {
	v := b.view.Load()
	if v.now == nil {
		return nil, nil, refuse(codeStarting, "no statement yet")
	}
	e, ok := v.epoch(n)
	if !ok || e.statement.Empty {
		return nil, nil, refuse(CodeEpoch, "of no statement that is current or about to be")
	}
	if err := v.ready(); err != nil {
		return nil, nil, err
	}
	return v, e, nil
}

func (v *view) ready() error {
	switch v.code {
	case "":
		return nil
	case credits.CodeGeneration:
		return refuse(v.code, "the database is not the one that the statement names, or may be an old copy")
	}
	return refuse(codeStarting, "no statement that this bank can serve under")
}
