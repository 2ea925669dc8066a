// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/credits/redeem"
)

// maxBatch is how many writes share a transaction at most.
const maxBatch = 256

// A job is one write. What its function refuses, it leaves as it was.
type job struct {
	do   func(*tx) error
	err  error // what do said, or why nothing is known
	done chan struct{}
}

var errClosed = errors.New("sqlite: closed")

// submit has do run in the writer's next transaction and waits until that is
// on disk. It does not give up when ctx ends: whoever asks must learn what
// became of it, and a commit takes milliseconds.
func (s *Store) submit(ctx context.Context, do func(*tx) error) error {
	j := &job{do: do, done: make(chan struct{})}
	select {
	case s.jobs <- j:
	case <-s.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	<-j.done
	return j.err
}

// run is the writer.
func (s *Store) run() {
	defer close(s.done)
	for {
		var batch []*job
		select {
		case j := <-s.jobs:
			batch = append(batch, j)
		case <-s.stop:
			return
		}
		runtime.Gosched() // whoever came together with the first is about to ask
	more:
		for len(batch) < maxBatch {
			select {
			case j := <-s.jobs:
				batch = append(batch, j)
			default:
				break more
			}
		}
		if broken := s.transact(batch); broken && len(batch) > 1 {
			// One of them is what fails: alone it fails nobody else.
			for i := range batch {
				s.transact(batch[i : i+1])
			}
		}
		for _, j := range batch {
			close(j.done)
		}
	}
}

// transact does the jobs in one transaction. It reports that one of them broke
// it: then nothing was written.
func (s *Store) transact(batch []*job) (broken bool) {
	fail := func(err error) {
		for _, j := range batch {
			j.err = err
		}
	}
	if err := s.step("begin"); err != nil {
		fail(err)
		return false
	}
	if _, err := s.write.Exec("BEGIN IMMEDIATE"); err != nil {
		fail(fmt.Errorf("sqlite: begin: %w", err))
		return false
	}
	t := &tx{writer: s.write, s: s}
	for _, j := range batch {
		if j.err = j.do(t); j.err != nil && !refusal(j.err) {
			s.write.rollback()
			return true
		}
	}
	if err := s.step("commit"); err != nil {
		s.write.rollback()
		fail(err)
		return false
	}
	if _, err := s.write.Exec("COMMIT"); err != nil {
		s.write.rollback()
		fail(fmt.Errorf("sqlite: commit: %w", err))
		return false
	}
	if err := s.step("committed"); err != nil {
		fail(err)
	}
	return false
}

func (s *Store) step(name string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(name)
}

func refusal(err error) bool {
	for _, e := range []error{redeem.ErrAbsent, redeem.ErrSpent, redeem.ErrConflict, redeem.ErrRate, redeem.ErrStale, redeem.ErrGeneration} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// A writer is the one connection that writes, with its statements, prepared
// once. It is for the goroutine of [Store.run].
type writer struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// maxStmts is when a writer's statements are forgotten: those of parts that
// were dropped are among them.
const maxStmts = 200

func (w *writer) stmt(query string) (*sql.Stmt, error) {
	if st := w.stmts[query]; st != nil {
		return st, nil
	}
	if len(w.stmts) >= maxStmts {
		w.reset()
	}
	st, err := w.conn.PrepareContext(context.Background(), query)
	if err == nil {
		w.stmts[query] = st
	}
	return st, err
}

func (w *writer) reset() {
	for q, st := range w.stmts {
		st.Close()
		delete(w.stmts, q)
	}
}

// Exec runs a statement. (The context of a caller plays no part: whoever is in a
// batch with others does not end it for them.)
func (w *writer) Exec(query string, args ...any) (sql.Result, error) {
	st, err := w.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.Exec(args...)
}

// QueryRow reads one row.
func (w *writer) QueryRow(query string, args ...any) *sql.Row {
	if st, err := w.stmt(query); err == nil {
		return st.QueryRow(args...)
	}
	return w.conn.QueryRowContext(context.Background(), query, args...) // says what is wrong
}

func (w *writer) rollback() { w.Exec("ROLLBACK") } // fails where the engine has done it already

// A tx is the writer's transaction. What it knows it has read in it.
type tx struct {
	*writer
	s    *Store
	meta *redeem.Meta
}

func (t *tx) exec(step, query string, args ...any) error {
	if err := t.s.step(step); err != nil {
		return err
	}
	if query == "" {
		return nil
	}
	_, err := t.Exec(query, args...)
	if err != nil {
		return fmt.Errorf("sqlite: %s: %w", step, err)
	}
	return nil
}

// add executes the insertion of a row, and reports whether there was none.
func (t *tx) add(step, query string, args ...any) (bool, error) {
	if err := t.s.step(step); err != nil {
		return false, err
	}
	r, err := t.Exec(query, args...)
	if err != nil {
		return false, fmt.Errorf("sqlite: %s: %w", step, err)
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

// known is what the database knows about itself.
func (t *tx) known() (redeem.Meta, error) {
	if t.meta == nil {
		m, err := readMeta(t)
		if err != nil {
			return m, err
		}
		t.meta = &m
	}
	return *t.meta, nil
}

func (t *tx) fence(generation, epoch uint64, state uint8) error {
	m, err := t.known()
	if err != nil {
		return err
	}
	return m.CanWrite(generation, epoch, state)
}

// Serve notes that the database serves in an epoch.
func (s *Store) Serve(ctx context.Context, generation, epoch uint64) error {
	return s.submit(ctx, func(t *tx) error {
		m, err := t.known()
		switch {
		case err != nil:
			return err
		case m.Generation != generation:
			return redeem.ErrGeneration
		case m.Served >= epoch:
			return nil
		}
		t.meta = nil
		return t.exec("serve", "UPDATE meta SET served = ?", int64(epoch))
	})
}

// Raise gives the database a higher generation.
func (s *Store) Raise(ctx context.Context, generation uint64) error {
	return s.submit(ctx, func(t *tx) error {
		m, err := t.known()
		switch {
		case err != nil:
			return err
		case m.Generation >= generation:
			return redeem.ErrGeneration
		}
		t.meta = nil
		return t.exec("raise", "UPDATE meta SET generation = ?, served = 0", int64(generation))
	})
}

// Prepare makes the parts that operations will be in.
func (s *Store) Prepare(ctx context.Context, untils []uint64) error {
	have, err := s.partsNow(ctx)
	if err != nil {
		return err
	}
	untils = slices.DeleteFunc(slices.Clone(untils), func(u uint64) bool { return slices.Contains(have, u) })
	if len(untils) == 0 {
		return nil
	}
	err = s.submit(ctx, func(t *tx) error {
		for _, u := range untils {
			var n int
			if err := t.QueryRow("SELECT count(*) FROM parts WHERE until = ?", int64(u)).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				continue
			}
			if err := t.exec("prepare", ""); err != nil {
				return err
			}
			if _, err := t.conn.ExecContext(context.Background(), fmt.Sprintf(part, u)); err != nil {
				return fmt.Errorf("sqlite: prepare: %w", err)
			}
			if err := t.exec("prepared", "INSERT INTO parts VALUES (?)", int64(u)); err != nil {
				return err
			}
		}
		return nil
	})
	s.forgetParts()
	return err
}

// Drop drops every part whose Until is before an epoch.
func (s *Store) Drop(ctx context.Context, before uint64) error {
	parts, err := s.partsNow(ctx)
	if err != nil {
		return err
	}
	for _, u := range parts {
		if u >= before {
			continue
		}
		// One at a time: a large one takes a while, and others wait for it.
		if err := s.submit(ctx, func(t *tx) error {
			for _, name := range []string{"ops", "coins", "lines"} {
				if err := t.exec("drop", fmt.Sprintf("DROP TABLE IF EXISTS %s_%d", name, u)); err != nil {
					return err
				}
			}
			return t.exec("dropped", "DELETE FROM parts WHERE until = ?", int64(u))
		}); err != nil {
			return err
		}
		s.forget(u)
	}
	return s.submit(ctx, func(t *tx) error {
		if err := t.exec("forget", "DELETE FROM rates WHERE epoch < ?", int64(before)); err != nil {
			return err
		}
		return t.exec("forget", "DELETE FROM buckets WHERE epoch < ?", int64(before))
	})
}

// Begin writes an operation with its coins and table entries.
func (s *Store) Begin(ctx context.Context, generation uint64, d *redeem.Draft) (op redeem.Op, err error) {
	err = s.submit(ctx, func(t *tx) error {
		var err error
		op, err = t.begin(generation, d)
		return err
	})
	return op, err
}

func (t *tx) begin(generation uint64, d *redeem.Draft) (redeem.Op, error) {
	none := redeem.Op{}
	if err := t.fence(generation, d.Epoch, d.State); err != nil {
		return none, err
	}
	if d.Limit > 0 {
		if op, err := getOp(t, d.Until, d.Key); err == nil || !errors.Is(err, redeem.ErrAbsent) {
			return op, err
		}
		var n uint64
		if err := t.QueryRow("SELECT n FROM rates WHERE epoch = ? AND type = ?", int64(d.Epoch), d.Type).Scan(&n); err != nil && err != sql.ErrNoRows {
			return none, err
		}
		if n >= d.Limit {
			return none, redeem.ErrRate
		}
	}
	// Written first and looked at where that did not go: mostly it goes. From here
	// on an error that is no refusal breaks the transaction.
	switch added, err := t.add("op", fmt.Sprintf("INSERT INTO ops_%d VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", d.Until), d.Key[:], int64(d.Epoch), d.State, d.Version, blob(d.Data)); {
	case err != nil:
		return none, err
	case !added:
		return getOp(t, d.Until, d.Key)
	}
	for i, c := range d.Coins {
		switch added, err := t.add("coin", fmt.Sprintf("INSERT INTO coins_%d VALUES (?, ?) ON CONFLICT DO NOTHING", c.Until), c.ID[:], d.Key[:]); {
		case err != nil:
			return none, err
		case !added:
			return none, cmp.Or(t.undo(d, i), redeem.ErrSpent)
		}
	}
	if d.Limit > 0 {
		if err := t.exec("rate", "INSERT INTO rates VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", int64(d.Epoch), d.Type); err != nil {
			return none, err
		}
	}
	return d.Op, t.lines(d.Entries)
}

// undo takes out a new operation and the first n of its coins.
func (t *tx) undo(d *redeem.Draft, n int) error {
	for _, c := range d.Coins[:n] {
		if err := t.exec("undo", fmt.Sprintf("DELETE FROM coins_%d WHERE id = ? AND key = ?", c.Until), c.ID[:], d.Key[:]); err != nil {
			return err
		}
	}
	return t.exec("undo", fmt.Sprintf("DELETE FROM ops_%d WHERE key = ?", d.Until), d.Key[:])
}

// blob is b, never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// maxLines is how many table entries one statement writes.
const maxLines = 8

// lines writes table entries. Of two with one name the one worth more stays:
// its exponent is the first byte of what was minted.
func (t *tx) lines(entries []redeem.Entry) error {
	for len(entries) > 0 {
		n, until := 1, entries[0].Until
		for n < min(len(entries), maxLines) && entries[n].Until == until {
			n++
		}
		args := make([]any, 0, 3*maxLines)
		for i := range entries[:n] {
			e := &entries[i]
			args = append(args, e.Keyset[:], e.Name[:], e.Minted.Append(nil))
		}
		if err := t.exec("line", fmt.Sprintf("INSERT INTO lines_%d VALUES (?, ?, ?)%s ON CONFLICT DO UPDATE SET minted = excluded.minted WHERE substr(excluded.minted, 1, 1) > substr(minted, 1, 1)",
			until, strings.Repeat(", (?, ?, ?)", n-1)), args...); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// Advance writes what becomes of an operation.
func (s *Store) Advance(ctx context.Context, generation uint64, op redeem.Op, entries []redeem.Entry) error {
	return s.submit(ctx, func(t *tx) error {
		if err := t.fence(generation, op.Epoch, op.State); err != nil {
			return err
		}
		if err := t.s.step("advance"); err != nil {
			return err
		}
		r, err := t.Exec(fmt.Sprintf("UPDATE ops_%d SET state = ?, version = version + 1, data = ? WHERE key = ? AND version = ?", op.Until),
			op.State, blob(op.Data), op.Key[:], op.Version)
		if err != nil {
			return fmt.Errorf("sqlite: advance: %w", err)
		}
		if n, err := r.RowsAffected(); err != nil || n != 1 {
			return redeem.ErrConflict
		}
		return t.lines(entries)
	})
}

// Bits fixes into how many buckets a table is divided in an epoch.
func (s *Store) Bits(ctx context.Context, keyset [32]byte, epoch uint64, bits uint8) (n uint8, err error) {
	err = s.submit(ctx, func(t *tx) error {
		if err := t.exec("bits", "INSERT INTO buckets VALUES (?, ?, ?) ON CONFLICT DO NOTHING", int64(epoch), keyset[:], bits); err != nil {
			return err
		}
		return t.QueryRow("SELECT bits FROM buckets WHERE epoch = ? AND keyset = ?", int64(epoch), keyset[:]).Scan(&n)
	})
	return n, err
}
