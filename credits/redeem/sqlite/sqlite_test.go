// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/sqlite"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
)

func maker(t testing.TB, generation uint64) storetest.Database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bank.db")
	if err := sqlite.Create(t.Context(), path, generation); err != nil {
		t.Fatal(err)
	}
	return storetest.Database{Open: func(t testing.TB) redeem.Store { return open(t, path) }}
}

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) { storetest.Contract(t, maker) }
func TestAttacks(t *testing.T)  { storetest.Attacks(t, maker) }

// TestFailureTable makes each step of a write fail.
func TestFailureTable(t *testing.T) {
	fail := func(s redeem.Store, f func(string) error) { s.(*sqlite.Store).Fail(f) }
	storetest.Steps(t, maker, fail, []string{"begin", "op", "coin", "rate", "advance", "line", "serve", "prepare", "prepared", "forget", "raise", "commit", "committed"}, "committed", true)
}

// TestRefusalThatCannotBeUndone: an operation was written before its second coin
// was found spent; where it cannot be taken out again, nothing of it stays.
func TestRefusalThatCannotBeUndone(t *testing.T) {
	ctx := t.Context()
	s := maker(t, 7).Open(t).(*sqlite.Store)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(s.Prepare(ctx, []uint64{40}))
	ok(s.Serve(ctx, 7, 5))
	draft := func(key byte, coins ...byte) *redeem.Draft {
		d := &redeem.Draft{Op: redeem.Op{Key: [32]byte{key}, Until: 40, Epoch: 5, State: redeem.StateHeld}}
		for _, c := range coins {
			d.Coins = append(d.Coins, redeem.Coin{ID: [32]byte{c}, Until: 40})
		}
		return d
	}
	_, err := s.Begin(ctx, 7, draft(1, 1))
	ok(err)
	for n := range 3 { // each of the two deletions fails, then none
		left := n
		s.Fail(func(step string) error {
			if step == "undo" {
				if left == 0 {
					return storetest.ErrFault
				}
				left--
			}
			return nil
		})
		want := storetest.ErrFault
		if n == 2 {
			want = redeem.ErrSpent
		}
		if _, err := s.Begin(ctx, 7, draft(2, 2, 1)); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", n, err, want)
		}
		s.Fail(func(string) error { return nil })
		if _, err := s.Get(ctx, [32]byte{2}); !errors.Is(err, redeem.ErrAbsent) {
			t.Errorf("%d: it is there, %v", n, err)
		}
		if _, err := s.Spender(ctx, redeem.Coin{ID: [32]byte{2}, Until: 40}); !errors.Is(err, redeem.ErrAbsent) {
			t.Errorf("%d: its first coin is spent, %v", n, err)
		}
	}
	_, err = s.Begin(ctx, 7, draft(3, 2))
	ok(err)
}

// TestFiles: which files are opened, and which are not.
func TestFiles(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "a bank?.db") // characters that a URI would take for its own
	if _, err := sqlite.Open(ctx, path); err == nil {
		t.Error("opened what nobody made")
	}
	if err := sqlite.Create(ctx, path, 0); err == nil {
		t.Error("generation 0")
	}
	if err := sqlite.Create(ctx, path, 7); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Create(ctx, path, 8); err == nil {
		t.Error("made over another")
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	s := open(t, path)
	if _, err := sqlite.Open(ctx, path); err == nil {
		t.Error("CT-21: two processes have one file open")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(ctx, empty); err == nil {
		t.Error("CT-21: an empty file was taken for a database")
	}
	t.Run("of a newer program", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "bank.db")
		if err := sqlite.Create(ctx, path, 7); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(fmt.Sprint("PRAGMA user_version = ", sqlite.Schema+1)); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(ctx, path); err == nil {
			t.Error("opened")
		}
	})
}

func BenchmarkBank(b *testing.B) { storetest.Bench(b, maker) }
