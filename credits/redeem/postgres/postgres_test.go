// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package postgres_test

import (
	"testing"

	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/postgres"
	"github.com/sotto-project/sotto/credits/redeem/postgres/pgtest"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
)

func makerOn(server *pgtest.Server) storetest.Maker {
	return func(t testing.TB, generation uint64) storetest.Database {
		t.Helper()
		conn := server.Database(t)
		if err := postgres.Create(t.Context(), conn, generation); err != nil {
			t.Fatal(err)
		}
		return storetest.Database{Open: func(t testing.TB) redeem.Store { return open(t, conn) }, Shared: true}
	}
}

func open(t testing.TB, conn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) { storetest.Contract(t, makerOn(serverOf(t))) }

func TestAttacks(t *testing.T) { storetest.Attacks(t, makerOn(serverOf(t))) }

// BenchmarkBank has its server on a disk.
func BenchmarkBank(b *testing.B) {
	if m := pgtest.Missing(); m != "" {
		b.Skip(m)
	}
	server, err := pgtest.RunIn("")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { server.Close() })
	storetest.Bench(b, makerOn(server))
}
