// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package postgres keeps a bank's operations in a PostgreSQL database, for any
// number of bank processes.
//
// What keeps them apart is the database's own constraints: the primary keys of
// operations and coins, and the version of an operation. Each process writes in
// batches, many operations to a transaction. Nobody is answered before its
// commit, with synchronous_commit on; a commit whose answer is lost is done
// again, which finds what is there.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schema is the version of what is in the database. One of an older version is
// brought up to it by Open.
const schema = 1

// migrations has at i what makes version i+1 of version i.
var migrations = [schema]string{`
CREATE SCHEMA sotto_bank;
CREATE TABLE sotto_bank.meta (one int PRIMARY KEY CHECK (one = 1), version int NOT NULL, generation bigint NOT NULL, served bigint NOT NULL, history text NOT NULL);
CREATE TABLE sotto_bank.rates (epoch bigint, type smallint, n bigint NOT NULL, PRIMARY KEY (epoch, type));
CREATE TABLE sotto_bank.buckets (epoch bigint, keyset bytea, bits smallint NOT NULL, PRIMARY KEY (epoch, keyset));
CREATE TABLE sotto_bank.ops (key bytea, until bigint, epoch bigint NOT NULL, state smallint NOT NULL, version bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (key, until)) PARTITION BY LIST (until);
CREATE INDEX held ON sotto_bank.ops (epoch) WHERE state = 1;
CREATE TABLE sotto_bank.coins (id bytea, until bigint, key bytea NOT NULL, PRIMARY KEY (id, until)) PARTITION BY LIST (until);
CREATE TABLE sotto_bank.lines (keyset bytea, name bytea, until bigint, minted bytea NOT NULL, PRIMARY KEY (keyset, name, until)) PARTITION BY LIST (until);
`}

// history names the server and the line of its past: it changes when a standby
// is promoted, when a backup is restored to a point in time, and when a dump is
// loaded elsewhere.
const history = "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)"

// A Store is a pool of connections. Make one with [Open], close it when done.
type Store struct {
	pool *pgxpool.Pool

	begins   chan *begin
	advances chan *advance
	stop     chan struct{}
	workers  sync.WaitGroup
	closed   sync.Once

	pause time.Duration // the first between two tries; set before the first write

	// fail, in tests, makes a step of a write fail.
	fail atomic.Pointer[func(step string) error]
}

// maxConns is how many connections a process has: its writers', and readers'.
const maxConns = 12

// writers is how many transactions of each kind a process has under way. More
// than one, so that the next batch is read and checked while one commits.
const writers = 2

func config(conn string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(conn)
	if err != nil {
		return nil, errors.New("postgres: the connection string is none") // the parser's error repeats it
	}
	c.MaxConns = maxConns
	for name, value := range map[string]string{
		"application_name": "sotto-bank", "synchronous_commit": "on", "default_transaction_isolation": "read committed",
		// Each statement is planned once for a connection, not for every batch: planning
		// takes longer than what it plans. Plans made while a part was empty must do when
		// it is full, so they go by the indexes.
		"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off",
		"statement_timeout": "30000", "lock_timeout": "20000", "idle_in_transaction_session_timeout": "30000",
	} {
		c.ConnConfig.RuntimeParams[name] = value
	}
	return c, nil
}

// Create makes the bank's schema, empty, in a database that has none. Take a
// generation that no statement has ever named: an empty database has forgotten
// what was spent in an old one.
func Create(ctx context.Context, conn string, generation uint64) error {
	if generation == 0 {
		return errors.New("postgres: generation: want 1 or more")
	}
	c, err := config(conn)
	if err != nil {
		return err
	}
	db, err := pgx.ConnectConfig(ctx, c.ConnConfig)
	if err != nil {
		return fmt.Errorf("postgres: %w", clean(err))
	}
	defer db.Close(ctx)
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		for _, m := range migrations {
			if _, err := tx.Exec(ctx, m); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "INSERT INTO sotto_bank.meta SELECT 1, $1, $2, 0, ("+history+")", schema, int64(generation))
		return err
	})
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) && e.Code == duplicateSchema {
		return errors.New("postgres: create: this database holds the books of a bank already (schema sotto_bank): name an empty one")
	}
	if err != nil {
		return fmt.Errorf("postgres: create: %w", err)
	}
	return nil
}

// duplicateSchema is PostgreSQL's code for a schema that is there.
const duplicateSchema = "42P06"

// Open connects to a database in which [Create] was. It refuses a server that
// does not write through to its disk.
func Open(ctx context.Context, conn string) (*Store, error) {
	c, err := config(conn)
	if err != nil {
		return nil, err
	}
	s := &Store{begins: make(chan *begin), advances: make(chan *advance), stop: make(chan struct{}), pause: pause}
	if s.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return nil, fmt.Errorf("postgres: %w", clean(err))
	}
	if err := s.check(ctx); err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("postgres: %w", clean(err))
	}
	for range writers {
		s.workers.Go(s.runBegins) // both end with Close, which waits for them
		s.workers.Go(s.runAdvances)
	}
	return s, nil
}

func (s *Store) check(ctx context.Context) error {
	var fsync string
	if err := s.pool.QueryRow(ctx, "SHOW fsync").Scan(&fsync); err != nil {
		return err
	}
	if fsync != "on" {
		return errors.New("the server has fsync off: what it says is written need not be")
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var version int
		if err := tx.QueryRow(ctx, "SELECT version FROM sotto_bank.meta FOR UPDATE").Scan(&version); err != nil {
			return err
		}
		if version > schema || version < 1 {
			return fmt.Errorf("version %d is of a newer program, this one knows %d", version, schema)
		}
		for v := version; v < schema; v++ {
			if _, err := tx.Exec(ctx, migrations[v]); err != nil {
				return fmt.Errorf("migrate from version %d: %w", v, err)
			}
		}
		_, err := tx.Exec(ctx, "UPDATE sotto_bank.meta SET version = $1 WHERE version <> $1", schema)
		return err
	})
}

// Close lets what was asked for be done first.
func (s *Store) Close() error {
	s.closed.Do(func() {
		close(s.stop)
		s.workers.Wait()
		s.pool.Close()
	})
	return nil
}

// clean takes out of an error of connecting what the connection string said.
func clean(err error) error {
	if c := (*pgconn.ConnectError)(nil); errors.As(err, &c) {
		return errors.New("cannot connect to the database")
	}
	return err
}

var errClosed = errors.New("postgres: closed")

func (s *Store) step(name string) error {
	if f := s.fail.Load(); f != nil {
		return (*f)(name)
	}
	return nil
}
