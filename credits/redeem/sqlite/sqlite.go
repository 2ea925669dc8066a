// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package sqlite keeps a bank's operations in one SQLite file, for one process.
//
// One goroutine writes. What is asked for while it commits goes into its next
// transaction, so that many share one fsync (WAL, synchronous=FULL): nobody is
// answered before the commit that has his write in it. It opens no file that
// [Create] did not make, and makes none over an old one.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"

	_ "modernc.org/sqlite" // the driver, "sqlite"

	"github.com/sotto-project/sotto/internal/durable"
)

// schema is the version of what is in the file, its user_version. A file of an
// older one is brought up to it by Open, step by step: see migrations.
const schema = 1

// migrations has at i what makes a file of version i one of version i+1.
var migrations = [schema]string{`
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, served INTEGER NOT NULL) STRICT;
CREATE TABLE parts (until INTEGER PRIMARY KEY) STRICT;
CREATE TABLE rates (epoch INTEGER NOT NULL, type INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (epoch, type)) STRICT, WITHOUT ROWID;
CREATE TABLE buckets (epoch INTEGER NOT NULL, keyset BLOB NOT NULL, bits INTEGER NOT NULL, PRIMARY KEY (epoch, keyset)) STRICT, WITHOUT ROWID;
`}

// part is what is kept for one Until.
const part = `
CREATE TABLE ops_%[1]d (key BLOB NOT NULL UNIQUE, epoch INTEGER NOT NULL, state INTEGER NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE INDEX held_%[1]d ON ops_%[1]d (epoch) WHERE state = 1;
CREATE TABLE coins_%[1]d (id BLOB PRIMARY KEY, key BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE lines_%[1]d (keyset BLOB NOT NULL, name BLOB NOT NULL, minted BLOB NOT NULL, PRIMARY KEY (keyset, name)) STRICT, WITHOUT ROWID;
`

// A Store is an open file. Make one with [Open], close it when done.
type Store struct {
	read  *reader
	db    *sql.DB // has one connection, the writer's
	write *writer
	lock  *os.File

	partsMu sync.Mutex
	parts   []uint64 // nil: read them

	jobs   chan *job
	stop   chan struct{}
	done   chan struct{}
	closed sync.Once

	// fail, in tests, makes a step of the writer fail.
	fail func(step string) error
}

func dsn(path string, mode string) string {
	q := url.Values{"mode": {mode}, "_pragma": {"busy_timeout(10000)", "cache_size(-16000)"}}
	if mode != "ro" {
		q["_pragma"] = append(q["_pragma"], "journal_mode(WAL)", "synchronous(FULL)")
		q.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// Create makes a new file with an empty database of the given generation. Take
// a generation that no statement has ever named: an empty database has
// forgotten what was spent in an old one.
func Create(ctx context.Context, path string, generation uint64) error {
	if generation == 0 {
		return errors.New("sqlite: generation: want 1 or more")
	}
	if err := durable.CreateFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "rw"))
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	defer db.Close()
	if err := migrate(ctx, db, 0); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO meta VALUES (1, ?, 0)", int64(generation)); err != nil {
		return fmt.Errorf("sqlite: %s: %w", path, err)
	}
	return db.Close()
}

// migrate brings a file of an older version up to [schema], all or nothing.
func migrate(ctx context.Context, db *sql.DB, from int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	defer tx.Rollback()
	for ; from < schema; from++ {
		if _, err := tx.ExecContext(ctx, migrations[from]); err != nil {
			return fmt.Errorf("sqlite: migrate from version %d: %w", from, err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schema)); err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	return tx.Commit()
}

// Open opens a file that [Create] made. A second process is refused.
func Open(ctx context.Context, path string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	lock, err := durable.Lock(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s := &Store{lock: lock, jobs: make(chan *job), stop: make(chan struct{}), done: make(chan struct{})}
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: %s: %w", path, err), s.release())
	}
	go s.run() // ends with Close, which waits for it
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) (err error) {
	if s.db, err = sql.Open("sqlite", dsn(path, "rw")); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	var version int
	if err := s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version == 0:
		return errors.New("holds no bank's database")
	case version > schema:
		return fmt.Errorf("version %d is of a newer program, this one knows %d", version, schema)
	case version < schema:
		if err := migrate(ctx, s.db, version); err != nil {
			return err
		}
	}
	var mode string
	if err := s.db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		return errors.Join(fmt.Errorf("journal mode is %q, want wal", mode), err)
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	s.write = &writer{conn, map[string]*sql.Stmt{}}
	read, err := sql.Open("sqlite", dsn(path, "ro"))
	if err != nil {
		return err
	}
	read.SetMaxOpenConns(4)
	read.SetMaxIdleConns(4)
	s.read = &reader{DB: read, stmts: map[string]*sql.Stmt{}}
	return nil
}

// Close lets what was asked for be done first.
func (s *Store) Close() (err error) {
	s.closed.Do(func() {
		close(s.stop)
		<-s.done
		err = s.release()
	})
	return err
}

func (s *Store) release() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		s.write.reset()
		errs = append(errs, s.write.conn.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
