// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/sotto-project/sotto/internal/durable"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// migrations are the steps from one version of the schema to the next; the
// database's user_version counts those that were taken. One that was released
// is never changed.
//
// Nothing in here is a secret: of API keys there are hashes, of tokens blinded
// elements and evaluations, of vouchers the ids of those that were used. What is
// a matter of record only grows: the triggers refuse the rest.
var migrations = []string{`
CREATE TABLE meta (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	generation INTEGER NOT NULL CHECK (generation > 0),
	served     INTEGER NOT NULL  -- newest epoch it served in; 0: none since it was made or restored
) STRICT;
CREATE TABLE accounts (
	id      BLOB PRIMARY KEY CHECK (length(id) = 16),
	balance INTEGER NOT NULL CHECK (balance BETWEEN 0 AND 9007199254740991),
	frozen  INTEGER NOT NULL CHECK (frozen IN (0, 1)),
	moves   INTEGER NOT NULL,  -- entries of its history
	note    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE keys (
	id      BLOB PRIMARY KEY CHECK (length(id) = 8),
	account BLOB NOT NULL REFERENCES accounts (id),
	hash    BLOB NOT NULL CHECK (length(hash) = 32),
	until   INTEGER NOT NULL   -- last epoch it opens in
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_account ON keys (account);
CREATE TABLE grants (
	account BLOB NOT NULL REFERENCES accounts (id),
	tier    INTEGER NOT NULL CHECK (tier BETWEEN 1 AND 255),
	tokens  INTEGER NOT NULL CHECK (tokens >= 0),
	PRIMARY KEY (account, tier)
) STRICT, WITHOUT ROWID;
CREATE TABLE history (
	account BLOB NOT NULL REFERENCES accounts (id),
	number  INTEGER NOT NULL,
	epoch   INTEGER NOT NULL,
	kind    TEXT NOT NULL CHECK (kind IN ('topup', 'issue', 'redeem')),
	units   INTEGER NOT NULL CHECK (units >= 0),
	request BLOB CHECK (length(request) = 32),
	event   TEXT UNIQUE,       -- a top-up counts once
	digest  BLOB,              -- of the event
	PRIMARY KEY (account, number),
	CHECK ((kind = 'topup') = (event IS NOT NULL) AND (kind = 'topup') = (request IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX history_request ON history (account, request) WHERE request IS NOT NULL;
CREATE TRIGGER history_kept BEFORE DELETE ON history BEGIN SELECT RAISE (ABORT, 'history only grows'); END;
CREATE TRIGGER history_fixed BEFORE UPDATE ON history BEGIN SELECT RAISE (ABORT, 'history only grows'); END;
CREATE TABLE requests (
	account BLOB NOT NULL REFERENCES accounts (id),
	request BLOB NOT NULL,
	number  INTEGER NOT NULL,  -- in the account's history
	digest  BLOB NOT NULL,     -- of the request, to tell it from another of the same id
	keyset  BLOB,              -- of an issue
	epoch   INTEGER NOT NULL,
	tokens  INTEGER NOT NULL,
	last    INTEGER NOT NULL,  -- kept until the tokens' last epoch is over
	answer  BLOB NOT NULL,
	PRIMARY KEY (account, request)
) STRICT;
CREATE INDEX requests_keyset ON requests (account, keyset, number);
CREATE INDEX requests_epoch ON requests (account, epoch, tokens);
CREATE TABLE vouchers (
	coin BLOB PRIMARY KEY CHECK (length(coin) = 32),
	last INTEGER NOT NULL      -- kept as long as the voucher would be taken
) STRICT, WITHOUT ROWID;
CREATE TABLE sold (
	keyset   BLOB NOT NULL,
	exponent INTEGER NOT NULL,
	epoch    INTEGER NOT NULL,
	tokens   INTEGER NOT NULL,   -- to everybody together
	last     INTEGER NOT NULL,
	PRIMARY KEY (keyset, exponent, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE admin_log (
	number INTEGER PRIMARY KEY,
	entry  TEXT NOT NULL,
	hash   BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER admin_log_kept BEFORE DELETE ON admin_log BEGIN SELECT RAISE (ABORT, 'the log only grows'); END;
CREATE TRIGGER admin_log_fixed BEFORE UPDATE ON admin_log BEGIN SELECT RAISE (ABORT, 'the log only grows'); END;
`}

// applicationID marks the file as a database of this package ("Sacc").
const applicationID = 0x53616363

// A Store is the database of the identified port. What a method returned
// without an error is on disk.
type Store struct{ write, read *sql.DB }

// CreateStore makes a database of a generation. It refuses a path that is taken.
func CreateStore(path string, generation uint64) error {
	if generation == 0 || generation > 1<<40 {
		return errors.New("accounts: create: a generation is 1 or more")
	}
	if err := durable.CreateFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("accounts: create: %w", err)
	}
	db, err := open(path, false)
	if err != nil {
		return err
	}
	defer db.Close()
	err = migrate(db, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO meta VALUES (1, ?, 0)", generation)
		return err
	})
	if err != nil {
		return fmt.Errorf("accounts: create: %v", err)
	}
	return durable.SyncDir(filepath.Dir(path))
}

// OpenStore opens a database that is there, and brings its schema up to date.
func OpenStore(path string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("accounts: store: %w", err)
	}
	w, err := open(path, false)
	if err != nil {
		return nil, err
	}
	var id int
	if err := w.QueryRow("PRAGMA application_id").Scan(&id); err != nil || id != applicationID {
		w.Close()
		return nil, fmt.Errorf("accounts: store: %s is no database of accounts", path)
	}
	if err := migrate(w, nil); err != nil {
		w.Close()
		return nil, fmt.Errorf("accounts: store: %v", err)
	}
	r, err := open(path, true)
	if err != nil {
		w.Close()
		return nil, err
	}
	return &Store{w, r}, nil
}

// Close closes the database.
func (s *Store) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

func open(path string, reading bool) (*sql.DB, error) {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(wal)", "synchronous(full)", "foreign_keys(1)", "trusted_schema(0)"}}
	if reading {
		q.Add("_pragma", "query_only(1)")
	} else {
		q.Set("_txlock", "immediate") // a transaction that read first and writes then would fail where two meet
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("accounts: store: %v", err)
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("accounts: store: %v", err)
	}
	if !reading {
		db.SetMaxOpenConns(1)
	} else {
		db.SetMaxOpenConns(4)
	}
	return db, nil
}

func migrate(db *sql.DB, first func(*sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var have int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	if have > len(migrations) {
		return fmt.Errorf("schema %d is newer than this program", have)
	}
	if have == len(migrations) {
		return nil
	}
	for _, m := range migrations[have:] {
		if _, err := tx.Exec(m); err != nil {
			return err
		}
	}
	if first != nil {
		if err := first(tx); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

// update runs f in one transaction: all of it is on disk when update returns
// nil, and none of it otherwise.
func (s *Store) update(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return storeError(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return storeError(tx.Commit())
}

// storeError says that the store failed, and nothing of what was in it.
func storeError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("accounts: store: %v", err)
}

// generation returns the database's generation, and the newest epoch in which
// it served.
func (s *Store) generation(ctx context.Context) (generation, served uint64, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT generation, served FROM meta").Scan(&generation, &served)
	return generation, served, storeError(err)
}

// serve remembers that it serves in an epoch.
func (s *Store) serve(ctx context.Context, epoch uint64) error {
	return s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE meta SET served = max(served, ?)", epoch)
		return storeError(err)
	})
}

// prune drops what no request can refer to any more: the answers about keysets
// whose last epoch is over, and the vouchers of those. History stays.
func (s *Store) prune(ctx context.Context, epoch uint64) error {
	return s.update(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{"DELETE FROM requests WHERE last < ?", "DELETE FROM vouchers WHERE last < ?", "DELETE FROM sold WHERE last < ?", "DELETE FROM keys WHERE until < ?"} {
			if _, err := tx.Exec(q, epoch); err != nil {
				return storeError(err)
			}
		}
		return nil
	})
}

// Restore is the operator's word that this database, brought back from a backup
// or promoted from a copy, is the one that counts. It raises the generation to one
// above its own and above what statements have named, and returns it; the bank
// serves when a statement names that one, and every other copy stops then.
func (s *Store) Restore(ctx context.Context, who string, named uint64) (generation uint64, err error) {
	if named >= 1<<40 {
		return 0, errors.New("accounts: restore: no such generation")
	}
	err = s.update(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRow("UPDATE meta SET generation = max(generation, ?) + 1, served = 0 RETURNING generation", named).Scan(&generation); err != nil {
			return storeError(err)
		}
		return logEntry(tx, Act{Who: who, What: "restore", Generation: generation, Outcome: "ok"})
	})
	return generation, err
}
