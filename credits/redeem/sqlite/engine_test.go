// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/sqlite"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
)

func create(t testing.TB) redeem.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bank.db")
	if err := sqlite.Create(t.Context(), path, 7); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestQuick(t *testing.T) {
	w := storetest.NewWorld(t)
	b := w.Bank(create(t), 5)
	r := w.Request(5)
	tk, err := b.Hold(t.Context(), r.Hold(0))
	if err != nil {
		t.Fatal(err)
	}
	if tk2, err := b.Hold(t.Context(), r.Hold(0)); err != nil || *tk2 != *tk {
		t.Fatal(err)
	}
	if _, err := b.Turn(t.Context(), r.Turn(0, 1)); err != nil {
		t.Fatal(err)
	}
	c, err := b.Settle(t.Context(), r.Used(1, 64-7))
	if err != nil {
		t.Fatal(err)
	}
	if coins := w.Unwrap(w.Coins, r.Blanks, c); len(coins) != 3 {
		t.Fatal(coins)
	}
}
