// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/wire"
)

// rows is what reads: the writer's transaction, or the readers' connections.
type rows interface {
	QueryRow(query string, args ...any) *sql.Row
}

func readMeta(r rows) (m redeem.Meta, err error) {
	var generation, served int64
	if err := r.QueryRow("SELECT generation, served FROM meta").Scan(&generation, &served); err != nil {
		return m, fmt.Errorf("sqlite: meta: %w", err)
	}
	return redeem.Meta{Generation: uint64(generation), Served: uint64(served)}, nil
}

// Meta is what the database knows about itself.
func (s *Store) Meta(context.Context) (redeem.Meta, error) { return readMeta(s.read) }

// absent reports whether an error says that there is no such row, or no part
// that it could be in.
func absent(err error) bool {
	return errors.Is(err, sql.ErrNoRows) || err != nil && strings.Contains(err.Error(), "no such table")
}

func getOp(r rows, until uint64, key [32]byte) (redeem.Op, error) {
	op, epoch := redeem.Op{Key: key, Until: until}, int64(0)
	err := r.QueryRow(fmt.Sprintf("SELECT epoch, state, version, data FROM ops_%d WHERE key = ?", until), key[:]).
		Scan(&epoch, &op.State, &op.Version, &op.Data)
	op.Epoch = uint64(epoch)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return redeem.Op{}, redeem.ErrAbsent
	case err != nil:
		return redeem.Op{}, fmt.Errorf("sqlite: get: %w", err)
	}
	return op, nil
}

func spender(r rows, c redeem.Coin) (key [32]byte, err error) {
	var b []byte
	err = r.QueryRow(fmt.Sprintf("SELECT key FROM coins_%d WHERE id = ?", c.Until), c.ID[:]).Scan(&b)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return key, redeem.ErrAbsent
	case err != nil:
		return key, fmt.Errorf("sqlite: spender: %w", err)
	}
	copy(key[:], b)
	return key, nil
}

// A reader is the connections that read, with statements prepared once.
type reader struct {
	*sql.DB
	mu    sync.Mutex // guards stmts
	stmts map[string]*sql.Stmt
}

// QueryRow reads one row.
func (r *reader) QueryRow(query string, args ...any) *sql.Row {
	r.mu.Lock()
	st := r.stmts[query]
	if st == nil && len(r.stmts) < maxStmts {
		var err error
		if st, err = r.Prepare(query); err == nil {
			r.stmts[query] = st
		}
	}
	r.mu.Unlock()
	if st == nil {
		return r.DB.QueryRow(query, args...)
	}
	return st.QueryRow(args...)
}

// forgetParts has the list of parts read again.
func (s *Store) forgetParts() {
	s.partsMu.Lock()
	defer s.partsMu.Unlock()
	s.parts = nil
}

// forget drops the statements of a part that was dropped, and the list of parts.
func (s *Store) forget(until uint64) {
	s.forgetParts()
	s.read.mu.Lock()
	defer s.read.mu.Unlock()
	for q, st := range s.read.stmts {
		if strings.Contains(q, fmt.Sprintf("_%d ", until)) {
			st.Close()
			delete(s.read.stmts, q)
		}
	}
}

// partsNow lists the parts, the newest first: what is asked for is mostly there.
// This process is the only one that makes or drops any.
func (s *Store) partsNow(ctx context.Context) (out []uint64, err error) {
	s.partsMu.Lock()
	defer s.partsMu.Unlock()
	if s.parts != nil {
		return s.parts, nil
	}
	defer func() {
		if err == nil {
			s.parts = out
		}
	}()
	r, err := s.read.QueryContext(ctx, "SELECT until FROM parts ORDER BY until DESC")
	if err != nil {
		return nil, fmt.Errorf("sqlite: parts: %w", err)
	}
	defer r.Close()
	for r.Next() {
		var u int64
		if err := r.Scan(&u); err != nil {
			return nil, fmt.Errorf("sqlite: parts: %w", err)
		}
		out = append(out, uint64(u))
	}
	return out, r.Err()
}

// Get returns an operation.
func (s *Store) Get(ctx context.Context, key [32]byte) (redeem.Op, error) {
	parts, err := s.partsNow(ctx)
	if err != nil {
		return redeem.Op{}, err
	}
	for _, u := range parts {
		switch op, err := getOp(s.read, u, key); {
		case err == nil:
			return op, nil
		case !errors.Is(err, redeem.ErrAbsent) && !absent(err): // dropped meanwhile
			return redeem.Op{}, err
		}
	}
	return redeem.Op{}, redeem.ErrAbsent
}

// Spender returns the operation that used up a coin.
func (s *Store) Spender(_ context.Context, c redeem.Coin) ([32]byte, error) {
	return spender(s.read, c)
}

// Open returns operations that are held.
func (s *Store) Open(ctx context.Context, epoch uint64, n int) (out []redeem.Op, err error) {
	parts, err := s.partsNow(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range parts {
		if err := func() error {
			r, err := s.read.QueryContext(ctx, fmt.Sprintf("SELECT key, epoch, state, version, data FROM ops_%d WHERE state = 1 AND epoch <= ? ORDER BY epoch LIMIT ?", u), int64(epoch), n-len(out))
			if err != nil {
				if absent(err) {
					return nil
				}
				return err
			}
			defer r.Close()
			for r.Next() {
				op, key, e := redeem.Op{Until: u}, []byte(nil), int64(0)
				if err := r.Scan(&key, &e, &op.State, &op.Version, &op.Data); err != nil {
					return err
				}
				op.Key, op.Epoch = [32]byte(key), uint64(e)
				out = append(out, op)
			}
			return r.Err()
		}(); err != nil {
			return nil, fmt.Errorf("sqlite: open: %w", err)
		}
		if len(out) >= n {
			break
		}
	}
	return out, nil
}

// Count counts the lines of a table.
func (s *Store) Count(ctx context.Context, keyset [32]byte, until uint64) (n uint64, err error) {
	err = s.read.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*) FROM lines_%d WHERE keyset = ?", until), keyset[:]).Scan(&n)
	if absent(err) {
		return 0, nil
	}
	return n, err
}

// Fixed returns what [Store.Bits] fixed.
func (s *Store) Fixed(ctx context.Context, keyset [32]byte, epoch uint64) (n uint8, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT bits FROM buckets WHERE epoch = ? AND keyset = ?", int64(epoch), keyset[:]).Scan(&n)
	if absent(err) {
		return 0, redeem.ErrAbsent
	}
	return n, err
}

// Table returns lines by name.
func (s *Store) Table(ctx context.Context, keyset [32]byte, until uint64, low, high [32]byte) (out []credits.TableEntry, err error) {
	r, err := s.read.QueryContext(ctx, fmt.Sprintf("SELECT name, minted FROM lines_%d WHERE keyset = ? AND name BETWEEN ? AND ? ORDER BY name", until), keyset[:], low[:], high[:])
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("sqlite: table: %w", err)
	}
	defer r.Close()
	for r.Next() {
		var name, minted []byte
		if err := r.Scan(&name, &minted); err != nil {
			return nil, fmt.Errorf("sqlite: table: %w", err)
		}
		m, err := wire.ParseMinted(minted)
		if err != nil || len(name) != 32 {
			return nil, errors.New("sqlite: table: a damaged line")
		}
		out = append(out, credits.TableEntry{Name: [32]byte(name), Minted: m})
	}
	return out, r.Err()
}

var _ redeem.Store = (*Store)(nil)
