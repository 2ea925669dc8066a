// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/wire"
)

const selectOps = "SELECT key, until, epoch, state, version, data FROM sotto_bank.ops"

func scanOps(rows pgx.Rows, err error) ([]redeem.Op, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (op redeem.Op, err error) {
		var key []byte
		var until, epoch, version int64
		var state int16
		if err := r.Scan(&key, &until, &epoch, &state, &version, &op.Data); err != nil {
			return op, err
		}
		if len(key) != 32 {
			return op, errors.New("a damaged operation")
		}
		op.Key, op.Until, op.Epoch, op.State, op.Version = [32]byte(key), uint64(until), uint64(epoch), uint8(state), uint32(version)
		return op, nil
	})
}

func scanKeys(rows pgx.Rows, err error) (map[[32]byte]bool, error) {
	if err != nil {
		return nil, err
	}
	out := map[[32]byte]bool{}
	var key []byte
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error {
		if len(key) != 32 {
			return errors.New("a damaged key")
		}
		out[[32]byte(key)] = true
		return nil
	})
	return out, err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("postgres: %s: %w", what, clean(err))
}

// Meta is what the database knows about itself.
func (s *Store) Meta(ctx context.Context) (m redeem.Meta, err error) {
	var generation, served int64
	err = s.pool.QueryRow(ctx, "SELECT generation, served, history <> ("+history+") FROM sotto_bank.meta").Scan(&generation, &served, &m.Moved)
	m.Generation, m.Served = uint64(generation), uint64(served)
	return m, wrap("meta", err)
}

// Serve notes that the database serves in an epoch.
func (s *Store) Serve(ctx context.Context, generation, epoch uint64) error {
	if err := s.step("serve"); err != nil {
		return err
	}
	r, err := s.pool.Exec(ctx, "UPDATE sotto_bank.meta SET served = greatest(served, $2) WHERE generation = $1 AND history = ("+history+")", int64(generation), int64(epoch))
	if err == nil && r.RowsAffected() != 1 {
		return redeem.ErrGeneration
	}
	return wrap("serve", err)
}

// Raise gives the database a higher generation, on the server that it is on now.
func (s *Store) Raise(ctx context.Context, generation uint64) error {
	if err := s.step("raise"); err != nil {
		return err
	}
	r, err := s.pool.Exec(ctx, "UPDATE sotto_bank.meta SET generation = $1, served = 0, history = ("+history+") WHERE generation < $1", int64(generation))
	if err == nil && r.RowsAffected() != 1 {
		return redeem.ErrGeneration
	}
	return wrap("raise", err)
}

// parts lists the parts that there are.
func parts(ctx context.Context, q interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}) ([]uint64, error) {
	rows, err := q.Query(ctx, "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'sotto_bank.ops'::regclass")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (uint64, error) {
		var name string
		if err := r.Scan(&name); err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimPrefix(name, "ops_"), 10, 63)
	})
}

// ddl keeps processes that make or drop parts from doing it at the same time. It
// saves them errors; what is right does not depend on it.
const ddl = "SELECT pg_advisory_xact_lock(7240129)"

// Prepare makes the parts that operations will be in.
func (s *Store) Prepare(ctx context.Context, untils []uint64) error {
	have, err := parts(ctx, s.pool)
	if err != nil {
		return wrap("prepare", err)
	}
	missing := slices.DeleteFunc(slices.Clone(untils), func(u uint64) bool { return slices.Contains(have, u) })
	if len(missing) == 0 {
		return nil
	}
	if err := s.step("prepare"); err != nil {
		return err
	}
	return wrap("prepare", pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, ddl); err != nil {
			return err
		}
		for _, u := range missing {
			for _, table := range []string{"ops", "coins", "lines"} {
				if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE TABLE IF NOT EXISTS sotto_bank.%[1]s_%[2]d PARTITION OF sotto_bank.%[1]s FOR VALUES IN (%[2]d)", table, u)); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// Drop drops every part whose Until is before an epoch.
func (s *Store) Drop(ctx context.Context, before uint64) error {
	have, err := parts(ctx, s.pool)
	if err != nil {
		return wrap("drop", err)
	}
	for _, u := range have {
		if u >= before {
			continue
		}
		if err := s.step("drop"); err != nil {
			return err
		}
		if err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, ddl); err != nil {
				return err
			}
			for _, table := range []string{"ops", "coins", "lines"} {
				if _, err := tx.Exec(ctx, fmt.Sprintf("DROP TABLE IF EXISTS sotto_bank.%s_%d", table, u)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return wrap("drop", err)
		}
	}
	for _, table := range []string{"rates", "buckets"} {
		if _, err := s.pool.Exec(ctx, "DELETE FROM sotto_bank."+table+" WHERE epoch < $1", int64(before)); err != nil {
			return wrap("drop", err)
		}
	}
	return nil
}

// Get returns an operation.
func (s *Store) Get(ctx context.Context, key [32]byte) (redeem.Op, error) {
	ops, err := scanOps(s.pool.Query(ctx, selectOps+" WHERE key = $1", key[:]))
	switch {
	case err != nil:
		return redeem.Op{}, wrap("get", err)
	case len(ops) == 0:
		return redeem.Op{}, redeem.ErrAbsent
	}
	return ops[0], nil
}

// Spender returns the operation that used up a coin.
func (s *Store) Spender(ctx context.Context, c redeem.Coin) (key [32]byte, err error) {
	var b []byte
	err = s.pool.QueryRow(ctx, "SELECT key FROM sotto_bank.coins WHERE id = $1 AND until = $2", c.ID[:], int64(c.Until)).Scan(&b)
	if errors.Is(err, pgx.ErrNoRows) {
		return key, redeem.ErrAbsent
	}
	copy(key[:], b)
	return key, wrap("spender", err)
}

// Open returns operations that are held.
func (s *Store) Open(ctx context.Context, epoch uint64, n int) ([]redeem.Op, error) {
	ops, err := scanOps(s.pool.Query(ctx, selectOps+" WHERE state = 1 AND epoch <= $1 ORDER BY epoch LIMIT $2", int64(epoch), n))
	return ops, wrap("open", err)
}

// Count counts the lines of a table.
func (s *Store) Count(ctx context.Context, keyset [32]byte, until uint64) (uint64, error) {
	var n int64
	err := s.pool.QueryRow(ctx, "SELECT count(*) FROM sotto_bank.lines WHERE keyset = $1 AND until = $2", keyset[:], int64(until)).Scan(&n)
	return uint64(n), wrap("count", err)
}

// Bits fixes into how many buckets a table is divided in an epoch.
func (s *Store) Bits(ctx context.Context, keyset [32]byte, epoch uint64, bits uint8) (uint8, error) {
	if err := s.step("bits"); err != nil {
		return 0, err
	}
	if _, err := s.pool.Exec(ctx, "INSERT INTO sotto_bank.buckets VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", int64(epoch), keyset[:], int16(bits)); err != nil {
		return 0, wrap("bits", err)
	}
	return s.Fixed(ctx, keyset, epoch)
}

// Fixed returns what [Store.Bits] fixed.
func (s *Store) Fixed(ctx context.Context, keyset [32]byte, epoch uint64) (uint8, error) {
	var n int16
	err := s.pool.QueryRow(ctx, "SELECT bits FROM sotto_bank.buckets WHERE epoch = $1 AND keyset = $2", int64(epoch), keyset[:]).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, redeem.ErrAbsent
	}
	return uint8(n), wrap("fixed", err)
}

// Table returns lines by name.
func (s *Store) Table(ctx context.Context, keyset [32]byte, until uint64, low, high [32]byte) ([]credits.TableEntry, error) {
	rows, err := s.pool.Query(ctx, "SELECT name, minted FROM sotto_bank.lines WHERE keyset = $1 AND until = $2 AND name BETWEEN $3 AND $4 ORDER BY name", keyset[:], int64(until), low[:], high[:])
	if err != nil {
		return nil, wrap("table", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (e credits.TableEntry, err error) {
		var name, minted []byte
		if err := r.Scan(&name, &minted); err != nil {
			return e, err
		}
		m, err := wire.ParseMinted(minted)
		if err != nil || len(name) != 32 {
			return e, errors.New("a damaged line")
		}
		return credits.TableEntry{Name: [32]byte(name), Minted: m}, nil
	})
	return out, wrap("table", err)
}

var _ redeem.Store = (*Store)(nil)
