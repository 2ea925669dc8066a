// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/transparency/statement"
)

// An Epoch is one verified statement as the bank uses it.
type Epoch struct {
	statement *statement.Statement
	set       *credits.Set
	keys      sync.Map // id of a node that the statement names -> ed25519.PublicKey
}

// NewEpoch reads the keysets of a verified statement.
func NewEpoch(s *statement.Statement) (*Epoch, error) {
	var list []credits.Listed
	for _, k := range s.CoinKeysets {
		list = append(list, credits.Listed(k))
	}
	set, err := credits.NewSet(list)
	if err != nil {
		return nil, fmt.Errorf("redeem: statement %d: %w", s.Epoch, err)
	}
	return &Epoch{statement: s, set: set}, nil
}

// Number is the epoch's.
func (e *Epoch) Number() uint64 { return e.statement.Epoch }

// node returns the key of a node by its record, which must be the one that the
// statement names for this id.
func (e *Epoch) node(id [32]byte, record []byte) (ed25519.PublicKey, bool) {
	n, ok := e.statement.Node(id)
	if !ok || statement.Digest(record) != n.Record {
		return nil, false
	}
	if k, ok := e.keys.Load(id); ok {
		return k.(ed25519.PublicKey), true
	}
	r, err := statement.ParseRecord(record)
	if err != nil || r.NodeID != id || r.Epoch != e.statement.Epoch {
		return nil, false
	}
	e.keys.Store(id, r.NodeKey) // there are as many as the statement names
	return r.NodeKey, true
}

// A view is what the bank knows of the log, and whether it may serve. It is
// never changed: [Bank.Follow] puts a new one in its place.
type view struct {
	code       string // why nothing is served; empty: it is
	newest     uint64
	generation uint64
	now, prev  *Epoch // of newest and of the epoch before it; nil where it is not known
}

func (v *view) epoch(n uint64) (*Epoch, bool) {
	switch {
	case v.now != nil && n == v.newest:
		return v.now, true
	case v.prev != nil && n+1 == v.newest:
		return v.prev, true
	}
	return nil, false
}

// find returns a keyset that a statement known here lists.
func (v *view) find(id [32]byte) (*credits.Keyset, bool) {
	for _, e := range []*Epoch{v.now, v.prev} {
		if e != nil {
			if k, ok := e.set.Find(id); ok {
				return k, true
			}
		}
	}
	return nil, false
}

// State says whether a bank serves, and why not.
type State struct {
	Code       string // "ready", "starting" or bank.generation
	Epoch      uint64 // newest verified statement
	Generation uint64 // of the database
}

// State returns the bank's.
func (b *Bank) State() State {
	v := b.view.Load()
	s := State{v.code, v.newest, v.generation}
	if s.Code == "" {
		s.Code = "ready"
	}
	return s
}

// Follow tells the bank the statements that it goes by: the newest that is
// public and the one before it, in any order. It serves in the newest one's
// epoch once the database has noted that, and not at all while the database is
// not the one that the statement names or may be an old copy of it. The error
// says why.
func (b *Bank) Follow(ctx context.Context, epochs ...*Epoch) error {
	b.following.Lock()
	defer b.following.Unlock()
	if len(epochs) == 0 {
		return errors.New("redeem: no statement")
	}
	next := &view{code: codeStarting}
	for _, e := range epochs {
		if e.Number() >= next.newest {
			next.newest, next.now = e.Number(), e
		}
	}
	for _, e := range epochs {
		if e.Number()+1 == next.newest {
			next.prev = e
		}
	}
	old := b.view.Load()
	if next.newest < old.newest {
		return nil // a mirror that is behind
	}
	err := b.enter(ctx, next)
	if errors.Is(err, errDatabase) && next.newest == old.newest {
		return err // away for a moment: what stood stands, each write is fenced by itself
	}
	b.view.Store(next)
	return err
}

var errDatabase = errors.New("redeem: database")

// enter judges whether the database may serve under v, and notes that it does.
func (b *Bank) enter(ctx context.Context, v *view) error {
	said := v.now.statement
	if said.Empty && v.prev != nil {
		said = v.prev.statement // an outage names no generation: the one before it stands
	}
	meta, err := b.c.Store.Meta(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errDatabase, err)
	}
	v.generation = meta.Generation
	switch {
	case said.Empty || said.Payment != statement.PaymentCoins:
		return fmt.Errorf("redeem: statement %d names no payment in coins", said.Epoch)
	case !b.public.Equal(ed25519.PublicKey(said.TicketKey)):
		return fmt.Errorf("redeem: statement %d names another ticket key", said.Epoch)
	case said.MintGeneration != meta.Generation:
		v.code = credits.CodeGeneration
		return fmt.Errorf("redeem: statement %d names generation %d, the database has %d", said.Epoch, said.MintGeneration, meta.Generation)
	case meta.Moved:
		v.code = credits.CodeGeneration
		return errors.New("redeem: the database is not where it last served: a copy, or a standby that was promoted, may lack what came last")
	case meta.Served != 0 && v.newest >= meta.Served+b.c.Away:
		v.code = credits.CodeGeneration
		return fmt.Errorf("redeem: the database last served in epoch %d, and it is %d: it may be an old copy", meta.Served, v.newest)
	}
	if err := b.c.Store.Prepare(ctx, v.untils()); err != nil {
		return fmt.Errorf("%w: %w", errDatabase, err)
	}
	if meta.Served < v.newest {
		if err := b.c.Store.Serve(ctx, meta.Generation, v.newest); err != nil {
			return fmt.Errorf("%w: %w", errDatabase, err)
		}
	}
	v.code = ""
	return nil
}

// Missing lists the keysets of the newest statement whose keys are not at hand:
// their tokens are refused with `starting`.
func (b *Bank) Missing() (out [][32]byte) {
	v := b.view.Load()
	if v.now == nil {
		return nil
	}
	for _, k := range v.now.set.All() {
		if _, ok := b.c.Keys(k.ID()); !ok {
			out = append(out, k.ID())
		}
	}
	return out
}

// untils are the parts of the database that v's keysets need.
func (v *view) untils() []uint64 {
	var out []uint64
	for _, e := range []*Epoch{v.now, v.prev} {
		if e == nil {
			continue
		}
		for _, k := range e.set.All() {
			out = append(out, k.SpendLast)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Drop drops the parts of the database that nothing can be spent of any more,
// by its own count of epochs.
func (b *Bank) Drop(ctx context.Context) error {
	if b.view.Load().code != "" {
		return nil
	}
	meta, err := b.c.Store.Meta(ctx)
	if err != nil || meta.Served < 2 {
		return err
	}
	return b.c.Store.Drop(ctx, meta.Served-1)
}
