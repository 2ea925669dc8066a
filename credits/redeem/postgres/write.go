// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sotto-project/sotto/credits/redeem"
)

// maxBatch is how many writes share a transaction at most.
const maxBatch = 256

// tries is how often a batch is tried while the database is away or in its own
// way, and pause how long between: it doubles.
const (
	tries = 6
	pause = 20 * time.Millisecond
)

// A write is what [Store.Begin] and [Store.Advance] wait for.
type write struct {
	generation uint64
	err        error
	settled    bool // err, or its absence, is final
	done       chan struct{}
}

func (w *write) end(err error) { w.err, w.settled = err, true }

func submit[T any](ctx context.Context, s *Store, to chan T, w T, done chan struct{}) error {
	select {
	case to <- w:
	case <-s.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done // not ctx: whoever asks must learn what became of it
	return nil
}

// run takes batches from a channel and does them.
func run[T any](s *Store, from chan T, core func(T) *write, same func(a, b T) bool, do func(ctx context.Context, c *pgx.Conn, batch []T, again bool) error) {
	for {
		var batch []T
		select {
		case j := <-from:
			batch = append(batch, j)
		case <-s.stop:
			return
		}
		runtime.Gosched() // whoever came together with the first is about to ask
	more:
		for len(batch) < maxBatch {
			select {
			case j := <-from:
				batch = append(batch, j)
			default:
				break more
			}
		}
		// What touches the same rows is done one after the other: within a
		// transaction it could not be told who was first.
		for len(batch) > 0 {
			var now, later []T
			for _, j := range batch {
				if slices.ContainsFunc(now, func(o T) bool { return same(o, j) }) {
					later = append(later, j)
				} else {
					now = append(now, j)
				}
			}
			persist(s, now, core, do)
			batch = later
		}
	}
}

// persist does a batch until it is done, or does not succeed.
func persist[T any](s *Store, batch []T, core func(T) *write, do func(ctx context.Context, c *pgx.Conn, batch []T, again bool) error) {
	wait, again := s.pause, false
	for try := 1; ; try++ {
		err := s.transact(func(ctx context.Context, c *pgx.Conn) error { return do(ctx, c, batch, again) })
		if err == nil {
			break
		}
		if !passing(err) && len(batch) > 1 {
			// One of them is what fails: alone it fails nobody else.
			for i := range batch {
				persist(s, batch[i:i+1], core, do)
			}
			return
		}
		if !passing(err) || try == tries {
			for _, j := range batch {
				core(j).end(fmt.Errorf("postgres: %w", clean(err)))
			}
			break
		}
		again = true // it may have been committed
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.stop: // try on, but without a pause
		}
		t.Stop()
		wait *= 2
	}
	for _, j := range batch {
		close(core(j).done)
	}
}

// transact does one transaction: f begins it, with [start], and commits it, with
// [Store.commit]. An error of the commit says that nothing is known.
func (s *Store) transact(f func(ctx context.Context, c *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.step("begin"); err != nil {
		return err
	}
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	if err := f(ctx, c.Conn()); err != nil {
		if c.Conn().PgConn().TxStatus() != 'I' {
			c.Exec(ctx, "ROLLBACK") // where that fails the pool throws the connection away
		}
		return err
	}
	return s.step("committed")
}

// start begins a transaction, reads what the database knows about itself, and
// keeps that from changing until the transaction has ended. What is in more is
// sent along, in one trip; only that it was done is looked at.
func start(ctx context.Context, c *pgx.Conn, more ...*pgx.QueuedQuery) (m redeem.Meta, err error) {
	var trip pgx.Batch
	trip.Queue("BEGIN")
	trip.Queue("SELECT generation, served, history <> (" + history + ") FROM sotto_bank.meta FOR SHARE")
	trip.QueuedQueries = append(trip.QueuedQueries, more...)
	r := c.SendBatch(ctx, &trip)
	defer func() { err = cmp.Or(err, r.Close()) }()
	if _, err := r.Exec(); err != nil {
		return m, err
	}
	var generation, served int64
	if err := r.QueryRow().Scan(&generation, &served, &m.Moved); err != nil {
		return m, err
	}
	for range more {
		if _, err := r.Exec(); err != nil {
			return m, err
		}
	}
	m.Generation, m.Served = uint64(generation), uint64(served)
	return m, nil
}

// commit sends what is left to do and the commit, in one trip: the server does
// not come to the commit where one of the others fails.
func (s *Store) commit(ctx context.Context, c *pgx.Conn, trip *pgx.Batch) (err error) {
	if err := s.step("commit"); err != nil {
		return err
	}
	n := trip.Len()
	trip.Queue("COMMIT")
	r := c.SendBatch(ctx, trip)
	defer func() { err = cmp.Or(err, r.Close()) }()
	for range n {
		if _, err := r.Exec(); err != nil {
			return err
		}
	}
	tag, err := r.Exec()
	if err == nil && tag.String() != "COMMIT" {
		return errors.New("the transaction was rolled back")
	}
	return err
}

// passing reports whether an error may be gone at the next try: a connection
// that was lost, a server that stops or starts, transactions in each other's way.
func passing(err error) bool {
	if p := (*pgconn.PgError)(nil); errors.As(err, &p) {
		return p.Code == "40001" || p.Code == "40P01" || p.Code == "55P03" || p.Code == "53300" ||
			strings.HasPrefix(p.Code, "08") || strings.HasPrefix(p.Code, "57P")
	}
	return !errors.Is(err, context.DeadlineExceeded)
}
