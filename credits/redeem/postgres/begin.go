// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sotto-project/sotto/credits/redeem"
)

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

func (s *Store) doBegins(ctx context.Context, c *pgx.Conn, batch []*begin, _ bool) error {
	for _, b := range batch {
		b.err, b.settled = nil, false
	}
	meta, err := start(ctx, c)
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
	rates, err := s.admit(ctx, c, todo)
	if err != nil {
		return err
	}
	fresh, err := s.insert(ctx, c, todo)
	if err != nil {
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
	if err := readBack(ctx, c, todo); err != nil {
		return err
	}
	var last pgx.Batch
	if err := s.queueLines(&last, lines); err != nil {
		return err
	}
	for r, n := range rates {
		last.Queue("UPDATE sotto_bank.rates SET n = n + $3 WHERE epoch = $1 AND type = $2", int64(r.epoch), int16(r.kind), n)
	}
	return s.commit(ctx, c, &last)
}

// readBack finds the operations that were there before.
func readBack(ctx context.Context, c *pgx.Conn, todo map[[32]byte]*begin) error {
	if len(todo) == 0 {
		return nil
	}
	ops, err := scanOps(c.Query(ctx, selectOps+" WHERE key = ANY($1)", keysOf(todo)))
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
func (s *Store) admit(ctx context.Context, c *pgx.Conn, todo map[[32]byte]*begin) (map[rate]int64, error) {
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
		if err := c.QueryRow(ctx, "INSERT INTO sotto_bank.rates VALUES ($1, $2, 0) ON CONFLICT (epoch, type) DO UPDATE SET n = sotto_bank.rates.n RETURNING n", int64(r.epoch), int16(r.kind)).Scan(&n); err != nil {
			return nil, err
		}
		var keys [][]byte
		for _, b := range limited[r] {
			keys = append(keys, b.d.Key[:])
		}
		had, err := scanKeys(c.Query(ctx, "SELECT key FROM sotto_bank.ops WHERE key = ANY($1)", keys))
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

// insert inserts operations that are not there, in the order of their keys, and
// uses up their coins, in the order of their ids, in one trip. It returns the
// operations that are new; one of whose coins belongs to another is taken out
// again, and so are the coins of one that was there before.
func (s *Store) insert(ctx context.Context, c *pgx.Conn, todo map[[32]byte]*begin) (map[[32]byte]*begin, error) {
	if len(todo) == 0 {
		return nil, nil
	}
	var trip pgx.Batch
	if err := s.queueOps(&trip, todo); err != nil {
		return nil, err
	}
	coins, err := s.queueCoins(&trip, todo)
	if err != nil {
		return nil, err
	}
	r := c.SendBatch(ctx, &trip)
	defer r.Close()
	had, err := scanKeys(r.Query())
	if err != nil {
		return nil, err
	}
	var used map[[32]byte]bool
	if len(coins) > 0 {
		if used, err = scanKeys(r.Query()); err != nil {
			return nil, err
		}
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	fresh := map[[32]byte]*begin{}
	for k := range had {
		fresh[k] = todo[k]
	}
	var out pgx.Batch
	var spent, ids, keys [][]byte
	for i := range coins {
		if k := coins[i].key; !used[coins[i].ID] && fresh[k] != nil {
			fresh[k].end(redeem.ErrSpent)
			delete(fresh, k)
			spent = append(spent, coins[i].key[:])
		}
	}
	for i := range coins {
		if used[coins[i].ID] && fresh[coins[i].key] == nil {
			ids, keys = append(ids, coins[i].ID[:]), append(keys, coins[i].key[:])
		}
	}
	if len(ids) > 0 {
		out.Queue("DELETE FROM sotto_bank.coins WHERE id = ANY($1) AND key = ANY($2)", ids, keys)
	}
	if len(spent) > 0 {
		out.Queue("DELETE FROM sotto_bank.ops WHERE key = ANY($1)", spent)
	}
	return fresh, c.SendBatch(ctx, &out).Close()
}

func (s *Store) queueOps(trip *pgx.Batch, todo map[[32]byte]*begin) error {
	if err := s.step("op"); err != nil {
		return err
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
	trip.Queue(`INSERT INTO sotto_bank.ops (key, until, epoch, state, version, data)
		SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::bytea[]) ON CONFLICT DO NOTHING RETURNING key`,
		keys, untils, epochs, states, versions, data)
	return nil
}

// A use is a coin and the operation that uses it up.
type use struct {
	redeem.Coin
	key [32]byte
}

func (s *Store) queueCoins(trip *pgx.Batch, todo map[[32]byte]*begin) ([]use, error) {
	var rows []use
	for k, b := range todo {
		for _, c := range b.d.Coins {
			rows = append(rows, use{c, k})
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	if err := s.step("coin"); err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b use) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	var ids, keys [][]byte
	var untils []int64
	for i := range rows {
		ids, keys, untils = append(ids, rows[i].ID[:]), append(keys, rows[i].key[:]), append(untils, int64(rows[i].Until))
	}
	trip.Queue(`INSERT INTO sotto_bank.coins (id, until, key)
		SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) ON CONFLICT DO NOTHING RETURNING id`, ids, untils, keys)
	return rows, nil
}
