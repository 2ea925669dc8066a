// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"context"
	"errors"

	"github.com/sotto-project/sotto/credits"
)

// States of an operation. One that is not [StateHeld] never changes again.
const (
	StateHeld     uint8 = 1
	StateUsed     uint8 = 2
	StateReturned uint8 = 3
	StateSwapped  uint8 = 4
)

// What a [Store] refuses. Any other error of a store says that nothing is known
// about what became of a write: the same write again finds out.
var (
	ErrAbsent     = errors.New("redeem: no such operation")
	ErrSpent      = errors.New("redeem: a coin belongs to another operation")
	ErrConflict   = errors.New("redeem: the operation is not what it was")
	ErrRate       = errors.New("redeem: the epoch has no room for more tokens of this type")
	ErrStale      = errors.New("redeem: the epoch is over for this database")
	ErrGeneration = errors.New("redeem: the database has another generation")
)

// An Op is one operation: a hold, under its header hash, or a swap, under a
// hash of its own.
type Op struct {
	Key [32]byte
	// Until is the last epoch in which the tokens of the keyset that it writes on
	// can be spent. What a store keeps is in one part for each Until, and
	// [Store.Drop] drops whole parts. (A mint period has one for each type of
	// token; unlike the period's number it says by itself when a part is over.)
	Until   uint64
	Epoch   uint64
	State   uint8
	Version uint32 // counts the writes, from 0
	Data    []byte
}

// A Coin is the id of a token that an operation uses up, and the last epoch in
// which it could have been spent: it is remembered that long.
type Coin struct {
	ID    [32]byte
	Until uint64
}

// An Entry is a line of the table of a keyset.
type Entry struct {
	Keyset [32]byte
	Until  uint64
	credits.TableEntry
}

// A Draft is an operation to begin.
type Draft struct {
	Op
	Coins   []Coin
	Entries []Entry

	// Type is the token type that is counted, and Limit how many operations of
	// it an epoch has room for; 0: any number, and nothing is counted.
	Type  uint8
	Limit uint64
}

// Meta is what a database knows about itself.
type Meta struct {
	Generation uint64
	Served     uint64 // the newest epoch in which it served; 0: it never did in this generation
	// Moved: it is not where it last served. It was promoted, or copied, and may
	// lack what came last.
	Moved bool
}

// A Store keeps operations, spent coins and tables. What it has said is done is
// durable; several processes may have one database open, where it says so.
//
// Writes are fenced inside their transaction, because a process can be behind
// by any time: one with another generation than the database's is
// [ErrGeneration]; one for an epoch that ended before the database last served
// is [ErrStale] (by then the parts that would refuse it may have been dropped).
type Store interface {
	Meta(ctx context.Context) (Meta, error)
	// Serve notes that the database serves in an epoch. Served only rises. One that
	// has moved is [ErrGeneration].
	Serve(ctx context.Context, generation, epoch uint64) error
	// Raise gives the database a generation higher than the one it has, in which
	// it has not served yet. It is an act of the operator: every other copy is
	// refused from the statement on that names it.
	Raise(ctx context.Context, generation uint64) error
	// Prepare makes the parts that operations will be in.
	Prepare(ctx context.Context, untils []uint64) error
	// Drop drops every part whose Until is before an epoch.
	Drop(ctx context.Context, before uint64) error

	// Begin writes an operation, the coins that it uses up and its table entries,
	// all or nothing, and returns the operation as it is in the database: d's, or
	// the one that had its key before. Where a coin belongs to another operation
	// nothing is written: [ErrSpent]. [ErrRate] comes before it.
	Begin(ctx context.Context, generation uint64, d *Draft) (Op, error)
	// Advance writes State and Data of op, and entries, if the operation in the
	// database still has op's Version, which it raises: otherwise [ErrConflict].
	// Only to [StateReturned] can an operation go whose epoch is over.
	Advance(ctx context.Context, generation uint64, op Op, entries []Entry) error

	// Get returns an operation, or [ErrAbsent].
	Get(ctx context.Context, key [32]byte) (Op, error)
	// Spender returns the key of the operation that used up a coin, or [ErrAbsent].
	Spender(ctx context.Context, c Coin) ([32]byte, error)
	// Open returns at most n operations in [StateHeld] of an epoch or one before it.
	Open(ctx context.Context, epoch uint64, n int) ([]Op, error)

	// Count counts the lines of a keyset's table.
	Count(ctx context.Context, keyset [32]byte, until uint64) (uint64, error)
	// Bits fixes into how many buckets, 2^bits, a keyset's table is divided in an
	// epoch, and returns what was fixed first.
	Bits(ctx context.Context, keyset [32]byte, epoch uint64, bits uint8) (uint8, error)
	// Fixed returns what Bits fixed, or [ErrAbsent].
	Fixed(ctx context.Context, keyset [32]byte, epoch uint64) (uint8, error)
	// Table returns the lines with names from low to high, both included,
	// ascending. Of two lines with one name it has kept the one worth more: a
	// blank that was sent twice, by whomever, is not made worth less by it.
	Table(ctx context.Context, keyset [32]byte, until uint64, low, high [32]byte) ([]credits.TableEntry, error)

	Close() error
}

// CanWrite is the fence: it judges a write for an epoch that leaves the
// operation in a state, by what the database knows about itself at that moment.
func (m Meta) CanWrite(generation, epoch uint64, state uint8) error {
	switch {
	case m.Generation != generation, m.Moved:
		return ErrGeneration
	case state != StateReturned && epoch+1 < m.Served:
		return ErrStale
	}
	return nil
}
