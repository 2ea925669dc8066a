// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package sqlite_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sotto-project/sotto/credits/redeem/sqlite"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
	"github.com/sotto-project/sotto/internal/durable/durabletest"
)

func TestMain(m *testing.M) { os.Exit(durabletest.Main(m, pay)) }

// steps are where a write can be interrupted.
var steps = []string{"begin", "op", "coin", "advance", "line", "commit", "committed"}

// pay pays for requests for ever. In the first rounds it ends its own process at
// a step, each step's first and fifth time; later it is killed at any moment.
func pay(dir string, round int, ack func(string, ...any)) error {
	s, err := sqlite.Open(context.Background(), filepath.Join(dir, "bank.db"))
	if err != nil {
		return err
	}
	if round < 2*len(steps) {
		var n atomic.Int64
		at := int64(1 + 4*(round/len(steps)))
		s.Fail(func(step string) error {
			if step == steps[round%len(steps)] && n.Add(1) == at+3 { // not those of the start
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return nil
		})
	}
	return storetest.Pay(s, uint64(round), ack)
}

// TestKilled: CT-03, the bank's process is killed at every step of a write, and at
// any other moment.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bank.db")
	if err := sqlite.Create(t.Context(), path, 7); err != nil {
		t.Fatal(err)
	}
	w := storetest.NewWorld(t)
	w.Stamp(1 << 20)
	ledger := storetest.NewLedger()
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 2*len(steps) + durabletest.Rounds()
	for round := range rounds {
		ledger.Take(t, durabletest.Kill(t, dir, round, rng))
		s := open(t, path)
		ledger.Check(t, w, s)
		if round == rounds-1 {
			ledger.End(t, w, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d payments", ledger.Len())
}

// TestDiskFull: DS-08, a bank without room refuses; what it acknowledged stands.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bank.db")
	if err := sqlite.Create(t.Context(), path, 7); err != nil {
		t.Fatal(err)
	}
	w := storetest.NewWorld(t)
	w.Stamp(1 << 20)
	ledger := storetest.NewLedger()
	t.Run("DS-08", func(t *testing.T) {
		for i, limit := range []uint64{150_000, 250_000, 400_000} {
			acks, last := durabletest.Full(t, dir, 1000+i, limit)
			if !strings.Contains(last, "sqlite") {
				t.Errorf("limit %d: %q", limit, last)
			}
			ledger.Take(t, acks)
			s := open(t, path)
			ledger.Check(t, w, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Logf("%d payments", ledger.Len())
}
