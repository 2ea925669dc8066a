// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sotto-project/sotto/credits/redeem"
)

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

func (s *Store) doAdvances(ctx context.Context, c *pgx.Conn, batch []*advance, again bool) error {
	all := make([][]byte, len(batch))
	for i, a := range batch {
		all[i] = a.op.Key[:]
	}
	// Locked in the order of their keys: others may have some of the same.
	meta, err := start(ctx, c, &pgx.QueuedQuery{SQL: "SELECT FROM sotto_bank.ops WHERE key = ANY($1) ORDER BY key FOR UPDATE", Arguments: []any{all}})
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
	var last pgx.Batch
	if len(todo) == 0 {
		return s.commit(ctx, c, &last)
	}
	if err := s.step("advance"); err != nil {
		return err
	}
	done, err := scanKeys(c.Query(ctx, `UPDATE sotto_bank.ops o SET state = u.state, data = u.data, version = o.version + 1
		FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bytea[]) u (key, until, version, state, data)
		WHERE o.key = u.key AND o.until = u.until AND o.version = u.version RETURNING o.key`, keys, untils, versions, states, data))
	if err != nil {
		return err
	}
	if again && len(done) < len(todo) {
		// Of those that are not what they were, some may be what this batch made
		// of them, in a commit whose answer was lost.
		ops, err := scanOps(c.Query(ctx, selectOps+" WHERE key = ANY($1)", keys))
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
	if err := s.queueLines(&last, lines); err != nil {
		return err
	}
	return s.commit(ctx, c, &last)
}

// queueLines queues the writing of table entries, in the order of their names. Of two with one
// name the one worth more stays: its exponent is the first byte.
func (s *Store) queueLines(trip *pgx.Batch, lines []redeem.Entry) error {
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
	trip.Queue(`INSERT INTO sotto_bank.lines AS had (keyset, name, until, minted)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[])
		ON CONFLICT (keyset, name, until) DO UPDATE SET minted = excluded.minted WHERE get_byte(excluded.minted, 0) > get_byte(had.minted, 0)`,
		keysets, names, untils, minted)
	return nil
}

// blob is b, never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
