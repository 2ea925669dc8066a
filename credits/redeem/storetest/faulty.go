// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/sotto-project/sotto/credits/redeem"
)

// ErrFault is what a [Faulty] store says when it is told to fail.
var ErrFault = errors.New("faulty: told to fail")

// A Faulty store does what the one under it does, but for one write.
type Faulty struct {
	redeem.Store
	Writes, Reads atomic.Int64

	// At is the write, from 1, that fails; 0: none. With Done it is done all the
	// same: the answer is what was lost.
	At   int64
	Done bool
}

// NewFaulty returns one that fails nothing yet.
func NewFaulty(s redeem.Store) *Faulty { return &Faulty{Store: s} }

// write does f, or fails.
func (f *Faulty) write(do func() error) error {
	if f.Writes.Add(1) != f.At {
		return do()
	}
	if f.Done {
		if err := do(); err != nil {
			return err
		}
	}
	return ErrFault
}

func (f *Faulty) Begin(ctx context.Context, generation uint64, d *redeem.Draft) (op redeem.Op, err error) {
	err = f.write(func() (err error) { op, err = f.Store.Begin(ctx, generation, d); return err })
	return op, err
}

func (f *Faulty) Advance(ctx context.Context, generation uint64, op redeem.Op, entries []redeem.Entry) error {
	return f.write(func() error { return f.Store.Advance(ctx, generation, op, entries) })
}

func (f *Faulty) Serve(ctx context.Context, generation, epoch uint64) error {
	return f.write(func() error { return f.Store.Serve(ctx, generation, epoch) })
}

func (f *Faulty) Prepare(ctx context.Context, untils []uint64) error {
	return f.write(func() error { return f.Store.Prepare(ctx, untils) })
}

func (f *Faulty) Bits(ctx context.Context, keyset [32]byte, epoch uint64, bits uint8) (n uint8, err error) {
	err = f.write(func() (err error) { n, err = f.Store.Bits(ctx, keyset, epoch, bits); return err })
	return n, err
}

func (f *Faulty) Get(ctx context.Context, key [32]byte) (redeem.Op, error) {
	f.Reads.Add(1)
	return f.Store.Get(ctx, key)
}

func (f *Faulty) Spender(ctx context.Context, c redeem.Coin) ([32]byte, error) {
	f.Reads.Add(1)
	return f.Store.Spender(ctx, c)
}
