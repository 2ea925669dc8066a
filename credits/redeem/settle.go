// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

// Kinds of a settlement's body.
const (
	SettleUsage uint8 = 1
	SettleBusy  uint8 = 2
)

// MaxSettle is the longest body of a settlement, in bytes.
const MaxSettle = 1 + wire.UsageSize

// Settle ends a hold: by the usage of the node that has the ticket, or by its
// busy receipt when there is nobody left to ask. The same settlement again, or
// one after the hold ended otherwise, returns the change of the end.
func (b *Bank) Settle(ctx context.Context, body []byte) (*wire.Change, error) {
	key, ends, err := parseSettle(body)
	if err != nil {
		return nil, err
	}
	return b.settle(ctx, key, ends)
}

// an ending judges whether a hold ends, and with which usage.
type ending func(op *Op, h *hold) (used *wire.Usage, err error)

func parseSettle(body []byte) (key [32]byte, e ending, err error) {
	bad := refuse(credits.CodeRefund, "no usage or receipt of the node that has the ticket")
	switch {
	case len(body) == 1+wire.UsageSize && body[0] == SettleUsage:
		u, err := wire.ParseUsage(body[1:])
		if err != nil {
			return key, nil, refuse(credits.CodeRefund, "a usage out of bounds")
		}
		return u.HeaderHash, func(op *Op, h *hold) (*wire.Usage, error) {
			t := h.ticket(op, 0)
			if !u.Of(&t, h.holder().node) || !u.Verify(h.holder().verifies()) {
				return nil, bad
			}
			return &u, nil
		}, nil
	case len(body) == 1+wire.BusyReceiptSize && body[0] == SettleBusy:
		r, err := wire.ParseBusyReceipt(body[1:])
		if err != nil {
			return key, nil, refuse(credits.CodeRefund, "a receipt out of bounds")
		}
		return r.HeaderHash, func(op *Op, h *hold) (*wire.Usage, error) {
			if !h.answers(op, &r, h.holder()) {
				return nil, bad
			}
			return nil, nil
		}, nil
	}
	return key, nil, refuse(CodeRouting, "no settlement")
}

// Change says what became of a payment: [wire.ChangePending] while it is held.
func (b *Bank) Change(ctx context.Context, key [32]byte) (*wire.Change, error) {
	return b.settle(ctx, key, nil)
}

// settle ends the hold of key as ends has it, or, when its time is over, by
// itself, and returns the change. Without ends it only looks.
func (b *Bank) settle(ctx context.Context, key [32]byte, ends ending) (*wire.Change, error) {
	v := b.view.Load()
	if err := v.ready(); err != nil {
		return nil, err
	}
	stale := false
	for first := true; ; first = false {
		op, known := Op{}, false
		if first && ends != nil {
			op, known = b.fresh.take(v, key)
		}
		if !known {
			var err error
			if op, err = b.c.Store.Get(ctx, key); err != nil {
				return nil, of(err)
			}
		}
		switch op.State {
		case StateUsed, StateReturned:
			return b.told(v, &op)
		case StateSwapped:
			return nil, refuse(credits.CodeAbsent, "nothing is known by that name")
		}
		var c *wire.Change
		var err error
		switch over := stale || op.Epoch+2 <= v.newest; {
		case over:
			c, err = b.end(ctx, v, &op, nil) // nobody is charged late
		case ends == nil:
			return &wire.Change{State: wire.ChangePending, Generation: v.generation}, nil
		default:
			c, err = b.end(ctx, v, &op, ends)
		}
		switch {
		case err == nil:
			return c, nil
		case errors.Is(err, ErrConflict), known && errors.As(err, new(*credits.Refusal)):
			// Somebody else was faster, or may have been: see what is there now.
		case errors.Is(err, ErrStale) && !stale:
			stale = true // the database has seen a newer statement than this process
		default:
			return nil, err
		}
	}
}

// told is the change of an operation that has ended.
func (b *Bank) told(v *view, op *Op) (*wire.Change, error) {
	c, err := parseEnd(op.Data)
	if err != nil {
		return nil, &Failure{err}
	}
	return b.word(v, op, c), nil
}

// word makes c the bank's word: whoever carries it to the client can alter
// nothing, and what the bank said can be shown to others.
func (b *Bank) word(v *view, op *Op, c *wire.Change) *wire.Change {
	c.Generation = v.generation
	c.Sign(b.c.Ticket, op.Key)
	return c
}

// end mints what comes back of a hold and writes that it has ended.
func (b *Bank) end(ctx context.Context, v *view, op *Op, ends ending) (*wire.Change, error) {
	h, err := parseHold(op.Data)
	if err != nil {
		return nil, &Failure{err}
	}
	c, done := &wire.Change{State: wire.ChangeReturned}, *op
	done.State = StateReturned
	used := uint8(0)
	if ends != nil {
		u, err := ends(op, h)
		if err != nil {
			return nil, err
		}
		if u != nil {
			c.State, c.Usage, used = wire.ChangeUsed, *u, u.Used
			done.State = StateUsed
		}
	}
	var entries []Entry
	if due := wire.Due(h.class, used); h.keyset != [32]byte{} && len(due) > 0 {
		c.Keyset = h.keyset
		if err := b.compute(ctx, func() (err error) {
			c.Coins, entries, err = b.mint(h.keyset, op.Until, due, h.blanks[:])
			return err
		}); err != nil {
			return nil, &Failure{err}
		}
	}
	done.Data = endData(c)
	b.gate.pass()
	switch err := b.c.Store.Advance(ctx, v.generation, done, entries); {
	case errors.Is(err, ErrConflict), errors.Is(err, ErrStale):
		return nil, err
	case err != nil:
		return nil, of(err)
	}
	return b.word(v, op, c), nil
}

// Expire ends at most n holds whose time is over, and reports how many it
// ended and whether there may be more.
func (b *Bank) Expire(ctx context.Context, n int) (ended int, more bool, err error) {
	v := b.view.Load()
	if v.ready() != nil || v.newest < 2 {
		return 0, false, nil
	}
	ops, err := b.c.Store.Open(ctx, v.newest-2, n)
	if err != nil {
		return 0, false, of(err)
	}
	var done atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, len(ops))
	for i := range ops {
		all.Go(func() {
			switch _, err := b.end(ctx, v, &ops[i], nil); {
			case err == nil:
				done.Add(1)
			case !errors.Is(err, ErrConflict):
				errs[i] = err
			}
		})
	}
	all.Wait()
	return int(done.Load()), len(ops) == n, errors.Join(errs...)
}
