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
