// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
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
func run[T any](s *Store, from chan T, core func(T) *write, same func(a, b T) bool, do func(ctx context.Context, tx pgx.Tx, batch []T, again bool) error) {
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
func persist[T any](s *Store, batch []T, core func(T) *write, do func(ctx context.Context, tx pgx.Tx, batch []T, again bool) error) {
	wait, again := s.pause, false
	for try := 1; ; try++ {
		err := s.transact(func(ctx context.Context, tx pgx.Tx) error { return do(ctx, tx, batch, again) })
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

// transact does one transaction. An error of its commit says that nothing is
// known.
func (s *Store) transact(f func(ctx context.Context, tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.step("begin"); err != nil {
		return err
	}
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if err := f(ctx, tx); err != nil {
		return err
	}
	if err := s.step("commit"); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	return s.step("committed")
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

// fence reads what the database knows about itself, and keeps that from
// changing until the transaction has ended.
func fence(ctx context.Context, tx pgx.Tx) (m redeem.Meta, err error) {
	var generation, served int64
	err = tx.QueryRow(ctx, "SELECT generation, served, history <> ("+history+") FROM sotto_bank.meta FOR SHARE").Scan(&generation, &served, &m.Moved)
	m.Generation, m.Served = uint64(generation), uint64(served)
	return m, err
}

// A begin is a [Store.Begin] that waits.
type begin struct {
	write
	d  *redeem.Draft
	op redeem.Op
}

// Begin writes an operation with its coins and table entries.
func (s *Store) Begin(ctx context.Context, generation uint64, d *redeem.Draft) (redeem.Op, error) {
	b := &begin{write: write{generation: generation, done: make(chan struct{})}, d: d}
	if err := submit(ctx, s, s.begins, b, b.done); err != nil {
		return redeem.Op{}, err
	}
	return b.op, b.err
}

func (s *Store) runBegins() {
	run(s, s.begins, func(b *begin) *write { return &b.write }, func(a, b *begin) bool {
		return a.d.Key == b.d.Key || slices.ContainsFunc(a.d.Coins, func(x redeem.Coin) bool {
			return slices.ContainsFunc(b.d.Coins, func(y redeem.Coin) bool { return x.ID == y.ID })
		})
	}, s.doBegins)
}

func (s *Store) doBegins(ctx context.Context, tx pgx.Tx, batch []*begin, _ bool) error {
	for _, b := range batch {
		b.err, b.settled = nil, false
	}
	meta, err := fence(ctx, tx)
	if err != nil {
		return err
	}
	todo := map[[32]byte]*begin{}
	for _, b := range batch {
		if err := meta.CanWrite(b.generation, b.d.Epoch, b.d.State); err != nil {
			b.end(err)
		} else {
			todo[b.d.Key] = b
		}
	}
	rates, err := s.admit(ctx, tx, todo)
	if err != nil {
		return err
	}
	fresh, err := s.insertOps(ctx, tx, todo)
	if err != nil {
		return err
	}
	if err := s.insertCoins(ctx, tx, fresh); err != nil {
		return err
	}
	var lines []redeem.Entry
	for k, b := range fresh {
		b.op = b.d.Op
		b.end(nil)
		lines = append(lines, b.d.Entries...)
		if b.d.Limit > 0 {
			rates[rateOf(b.d)]++
		}
		delete(todo, k)
	}
	if err := s.insertLines(ctx, tx, lines); err != nil {
		return err
	}
	for r, n := range rates {
		if _, err := tx.Exec(ctx, "UPDATE sotto_bank.rates SET n = n + $3 WHERE epoch = $1 AND type = $2", int64(r.epoch), int16(r.kind), n); err != nil {
			return err
		}
	}
	return s.readBack(ctx, tx, todo)
}

// readBack finds the operations that were there before.
func (s *Store) readBack(ctx context.Context, tx pgx.Tx, todo map[[32]byte]*begin) error {
	if len(todo) == 0 {
		return nil
	}
	ops, err := scanOps(tx.Query(ctx, selectOps+" WHERE key = ANY($1)", keysOf(todo)))
	if err != nil {
		return err
	}
	for _, op := range ops {
		if b := todo[op.Key]; b != nil {
			b.op = op
			b.end(nil)
			delete(todo, op.Key)
		}
	}
	for k, b := range todo {
		if !b.settled {
			return errors.New("an operation came and went")
		}
		delete(todo, k)
	}
	return nil
}

func keysOf(m map[[32]byte]*begin) [][]byte {
	var out [][]byte
	for k := range m {
		out = append(out, bytes.Clone(k[:]))
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}

type rate struct {
	epoch uint64
	kind  uint8
}

func rateOf(d *redeem.Draft) rate { return rate{d.Epoch, d.Type} }

// admit refuses new operations that an epoch has no room for. It holds the rows
// that count them until the transaction ends; the map it returns is for what is
// to be added.
func (s *Store) admit(ctx context.Context, tx pgx.Tx, todo map[[32]byte]*begin) (map[rate]int64, error) {
	limited := map[rate][]*begin{}
	for _, b := range todo {
		if b.d.Limit > 0 {
			limited[rateOf(b.d)] = append(limited[rateOf(b.d)], b)
		}
	}
	add := map[rate]int64{}
	rates := slices.SortedFunc(func(yield func(rate) bool) {
		for r := range limited {
			if !yield(r) {
				return
			}
		}
	}, func(a, b rate) int { return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.kind, b.kind)) })
	for _, r := range rates {
		var n int64
		if err := tx.QueryRow(ctx, "INSERT INTO sotto_bank.rates VALUES ($1, $2, 0) ON CONFLICT (epoch, type) DO UPDATE SET n = sotto_bank.rates.n RETURNING n", int64(r.epoch), int16(r.kind)).Scan(&n); err != nil {
			return nil, err
		}
		var keys [][]byte
		for _, b := range limited[r] {
			keys = append(keys, b.d.Key[:])
		}
		had, err := scanKeys(tx.Query(ctx, "SELECT key FROM sotto_bank.ops WHERE key = ANY($1)", keys))
		if err != nil {
			return nil, err
		}
		for _, b := range limited[r] {
			if had[b.d.Key] {
				continue
			}
			if uint64(n) >= b.d.Limit {
				b.end(redeem.ErrRate)
				delete(todo, b.d.Key)
				continue
			}
			n++
		}
		add[r] = 0
	}
	return add, nil
}

// insertOps inserts operations that are not there, in the order of their keys,
// and returns those.
func (s *Store) insertOps(ctx context.Context, tx pgx.Tx, todo map[[32]byte]*begin) (map[[32]byte]*begin, error) {
	if len(todo) == 0 {
		return nil, nil
	}
	if err := s.step("op"); err != nil {
		return nil, err
	}
	keys := keysOf(todo)
	var untils, epochs, versions []int64
	var states []int16
	var data [][]byte
	for _, k := range keys {
		d := todo[[32]byte(k)].d
		untils, epochs, versions = append(untils, int64(d.Until)), append(epochs, int64(d.Epoch)), append(versions, int64(d.Version))
		states, data = append(states, int16(d.State)), append(data, blob(d.Data))
	}
	had, err := scanKeys(tx.Query(ctx, `INSERT INTO sotto_bank.ops (key, until, epoch, state, version, data)
		SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::bytea[]) ON CONFLICT DO NOTHING RETURNING key`,
		keys, untils, epochs, states, versions, data))
	if err != nil {
		return nil, err
	}
	fresh := map[[32]byte]*begin{}
	for k := range had {
		fresh[k] = todo[k]
	}
	return fresh, nil
}

// blob is b, never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// insertCoins uses up the coins of new operations, in the order of their ids.
// An operation one of whose coins belongs to another is taken out again.
func (s *Store) insertCoins(ctx context.Context, tx pgx.Tx, fresh map[[32]byte]*begin) error {
	type row struct {
		redeem.Coin
		key [32]byte
	}
	var rows []row
	for k, b := range fresh {
		for _, c := range b.d.Coins {
			rows = append(rows, row{c, k})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := s.step("coin"); err != nil {
		return err
	}
	slices.SortFunc(rows, func(a, b row) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	var ids, keys [][]byte
	var untils []int64
	for i := range rows {
		ids, keys, untils = append(ids, rows[i].ID[:]), append(keys, rows[i].key[:]), append(untils, int64(rows[i].Until))
	}
	used, err := scanKeys(tx.Query(ctx, `INSERT INTO sotto_bank.coins (id, until, key)
		SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) ON CONFLICT DO NOTHING RETURNING id`, ids, untils, keys))
	if err != nil {
		return err
	}
	var out [][]byte
	for i := range rows {
		if !used[rows[i].ID] && fresh[rows[i].key] != nil {
			fresh[rows[i].key].end(redeem.ErrSpent)
			delete(fresh, rows[i].key)
			out = append(out, rows[i].key[:])
		}
	}
	if len(out) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, "DELETE FROM sotto_bank.coins WHERE id = ANY($1) AND key = ANY($2)", ids, out); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DELETE FROM sotto_bank.ops WHERE key = ANY($1)", out)
	return err
}

// insertLines writes table entries, in the order of their names. Of two with one
// name the one worth more stays: its exponent is the first byte.
func (s *Store) insertLines(ctx context.Context, tx pgx.Tx, lines []redeem.Entry) error {
	if len(lines) == 0 {
		return nil
	}
	if err := s.step("line"); err != nil {
		return err
	}
	lines = slices.Clone(lines)
	slices.SortFunc(lines, func(a, b redeem.Entry) int {
		return cmp.Or(bytes.Compare(a.Keyset[:], b.Keyset[:]), bytes.Compare(a.Name[:], b.Name[:]), int(b.Minted.Exponent)-int(a.Minted.Exponent))
	})
	lines = slices.CompactFunc(lines, func(a, b redeem.Entry) bool { return a.Keyset == b.Keyset && a.Name == b.Name })
	var keysets, names, minted [][]byte
	var untils []int64
	for i := range lines {
		keysets, names = append(keysets, lines[i].Keyset[:]), append(names, lines[i].Name[:])
		minted, untils = append(minted, lines[i].Minted.Append(nil)), append(untils, int64(lines[i].Until))
	}
	_, err := tx.Exec(ctx, `INSERT INTO sotto_bank.lines AS had (keyset, name, until, minted)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[])
		ON CONFLICT (keyset, name, until) DO UPDATE SET minted = excluded.minted WHERE get_byte(excluded.minted, 0) > get_byte(had.minted, 0)`,
		keysets, names, untils, minted)
	return err
}

// An advance is a [Store.Advance] that waits.
type advance struct {
	write
	op    redeem.Op
	lines []redeem.Entry
}

// Advance writes what becomes of an operation.
func (s *Store) Advance(ctx context.Context, generation uint64, op redeem.Op, entries []redeem.Entry) error {
	a := &advance{write: write{generation: generation, done: make(chan struct{})}, op: op, lines: entries}
	if err := submit(ctx, s, s.advances, a, a.done); err != nil {
		return err
	}
	return a.err
}

func (s *Store) runAdvances() {
	run(s, s.advances, func(a *advance) *write { return &a.write }, func(a, b *advance) bool { return a.op.Key == b.op.Key }, s.doAdvances)
}

func (s *Store) doAdvances(ctx context.Context, tx pgx.Tx, batch []*advance, again bool) error {
	meta, err := fence(ctx, tx)
	if err != nil {
		return err
	}
	todo := map[[32]byte]*advance{}
	var keys, data [][]byte
	var untils, versions []int64
	var states []int16
	for _, a := range batch {
		a.err, a.settled = nil, false
		if err := meta.CanWrite(a.generation, a.op.Epoch, a.op.State); err != nil {
			a.end(err)
			continue
		}
		todo[a.op.Key] = a
		keys, data = append(keys, a.op.Key[:]), append(data, blob(a.op.Data))
		untils, versions, states = append(untils, int64(a.op.Until)), append(versions, int64(a.op.Version)), append(states, int16(a.op.State))
	}
	if len(todo) == 0 {
		return nil
	}
	if err := s.step("advance"); err != nil {
		return err
	}
	// Locked in the order of their keys: others may have some of the same.
	if _, err := tx.Exec(ctx, "SELECT FROM sotto_bank.ops WHERE key = ANY($1) ORDER BY key FOR UPDATE", keys); err != nil {
		return err
	}
	done, err := scanKeys(tx.Query(ctx, `UPDATE sotto_bank.ops o SET state = u.state, data = u.data, version = o.version + 1
		FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bytea[]) u (key, until, version, state, data)
		WHERE o.key = u.key AND o.until = u.until AND o.version = u.version RETURNING o.key`, keys, untils, versions, states, data))
	if err != nil {
		return err
	}
	if again && len(done) < len(todo) {
		// Of those that are not what they were, some may be what this batch made
		// of them, in a commit whose answer was lost.
		ops, err := scanOps(tx.Query(ctx, selectOps+" WHERE key = ANY($1)", keys))
		if err != nil {
			return err
		}
		for i := range ops {
			if a := todo[ops[i].Key]; a != nil && ops[i].Version == a.op.Version+1 && ops[i].State == a.op.State && bytes.Equal(ops[i].Data, a.op.Data) {
				done[ops[i].Key] = true
			}
		}
	}
	var lines []redeem.Entry
	for k, a := range todo {
		if !done[k] {
			a.end(redeem.ErrConflict)
			continue
		}
		a.end(nil)
		lines = append(lines, a.lines...)
	}
	return s.insertLines(ctx, tx, lines)
}
