// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/postgres"
	"github.com/sotto-project/sotto/credits/redeem/postgres/pgtest"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
	"github.com/sotto-project/sotto/internal/durable/durabletest"
)

func TestMain(m *testing.M) {
	code := durabletest.Main(m, pay)
	if shared != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// shared is the server of all tests but the one that kills it.
var shared *pgtest.Server

func serverOf(t testing.TB) *pgtest.Server {
	t.Helper()
	if m := pgtest.Missing(); m != "" {
		t.Skip(m)
	}
	if shared == nil {
		var err error
		if shared, err = pgtest.Run(); err != nil {
			t.Fatal(err)
		}
	}
	return shared
}

// pay is a replica of the bank, in a process of its own.
func pay(dir string, round int, ack func(string, ...any)) error {
	conn, err := os.ReadFile(filepath.Join(dir, "conn"))
	if err != nil {
		return err
	}
	s, err := postgres.Open(context.Background(), string(conn))
	if err != nil {
		return err
	}
	return storetest.Pay(s, uint64(round), ack)
}

func fresh(t testing.TB, server *pgtest.Server) string {
	t.Helper()
	conn := server.Database(t)
	if err := postgres.Create(t.Context(), conn, 7); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestReplicaKilled: three replicas pay on one database. One of them is killed,
// again and again; the others notice nothing, nothing is lost and nothing spent
// twice.
func TestReplicaKilled(t *testing.T) {
	server := serverOf(t)
	conn, dir := fresh(t, server), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "conn"), []byte(conn), 0o600); err != nil {
		t.Fatal(err)
	}
	w := storetest.NewWorld(t)
	w.Stamp(1 << 20)
	ledger := storetest.NewLedger()
	stop := make(chan struct{})
	var others sync.WaitGroup
	acks := make([][]string, 2)
	for i := range acks {
		s := open(t, conn)
		var mu sync.Mutex
		others.Go(func() {
			err := storetest.Pay(s, uint64(1<<21+i), func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				acks[i] = append(acks[i], fmt.Sprintf(format, args...))
				select {
				case <-stop:
					s.Close() // the next request ends it
				default:
				}
			})
			select {
			case <-stop:
			default:
				t.Errorf("a replica that was not killed stopped: %v", err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	check := open(t, conn)
	for round := range durabletest.Rounds() / 2 {
		ledger.Take(t, durabletest.Kill(t, dir, round, rng))
	}
	close(stop)
	others.Wait()
	for i := range acks {
		ledger.Take(t, acks[i])
	}
	ledger.Check(t, w, check)
	ledger.End(t, w, check)
	t.Logf("%d payments", ledger.Len())
}

// TestServerKilled: the database server is killed under load and comes back. No
// bank process has to be restarted, and what it acknowledged stands.
func TestServerKilled(t *testing.T) {
	server := pgtest.Start(t)
	conn := fresh(t, server)
	w := storetest.NewWorld(t)
	w.Stamp(1 << 20)
	s := open(t, conn)
	b := w.Bank(s, 5)
	ctx := t.Context()
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		var requests []*storetest.Request
		for range 24 {
			requests = append(requests, w.Request(5))
		}
		held := make([]atomic.Bool, len(requests))
		ended := make([]atomic.Pointer[string], len(requests))
		var all sync.WaitGroup
		for i, r := range requests {
			all.Go(func() {
				if _, err := b.Hold(ctx, r.Hold(0)); err != nil {
					return // the answer of a bank whose database is away
				}
				held[i].Store(true)
				if c, err := b.Settle(ctx, r.Used(0, uint8(i))); err == nil {
					text := string(c.Append(nil))
					ended[i].Store(&text)
				}
			})
		}
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		for i, r := range requests {
			if held[i].Load() {
				if _, err := s.Get(ctx, r.Hash()); err != nil {
					t.Fatalf("CT-03: a hold that was acknowledged: %v", err)
				}
			} else if _, err := again(func() (any, error) { return b.Hold(ctx, r.Hold(0)) }); err != nil && storetest.Code(err) != credits.CodeTurn {
				t.Fatalf("CT-03: asked again: %v", err)
			}
			c, err := again(func() (string, error) {
				c, err := b.Settle(ctx, r.Used(0, uint8(i)))
				if err != nil {
					return "", err
				}
				return string(c.Append(nil)), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if p := ended[i].Load(); p != nil && *p != c {
				t.Error("CT-03: another change than the one that was acknowledged")
			}
		}
	}
}

// again asks until a database that is coming back answers.
func again[T any](f func() (T, error)) (T, error) {
	for end := time.Now().Add(30 * time.Second); ; {
		v, err := f()
		if e := (*redeem.Failure)(nil); !errors.As(err, &e) || time.Now().After(end) {
			return v, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestLostCommit: the server commits, and the answer does not come. The write is
// done again by itself, and is found to be there.
func TestLostCommit(t *testing.T) {
	server := serverOf(t)
	w := storetest.NewWorld(t)
	for _, step := range []string{"op", "coin", "advance", "line", "commit", "committed"} {
		t.Run(step, func(t *testing.T) {
			w := w.With(t)
			s := open(t, fresh(t, server))
			b := w.Bank(s, 5)
			var n atomic.Int64
			s.Fail(func(at string) error {
				if at == step && n.Add(1)%2 == 1 {
					return errors.New("the connection was lost")
				}
				return nil
			})
			r := w.Request(5)
			if _, err := b.Hold(t.Context(), r.Hold(0)); err != nil {
				t.Error(err)
			}
			c, err := b.Settle(t.Context(), r.Used(0, 21))
			if err != nil {
				t.Fatal(err)
			}
			if w.Unwrap(w.Coins, r.Blanks, c); n.Load() == 0 {
				t.Error("the step was never reached")
			}
			if n, err := s.Count(t.Context(), w.Coins.Keyset().ID(), 40); err != nil || int(n) != len(c.Coins) {
				t.Errorf("%d lines of %d coins, %v", n, len(c.Coins), err)
			}
		})
	}
}

// TestFailureTable makes each step of a write fail for longer than it is tried.
func TestFailureTable(t *testing.T) {
	server := serverOf(t)
	fail := func(s redeem.Store, f func(string) error) { s.(*postgres.Store).Fail(f) }
	hasty := func(t testing.TB, generation uint64) storetest.Database {
		db := makerOn(server)(t, generation)
		open := db.Open
		db.Open = func(t testing.TB) redeem.Store {
			s := open(t)
			s.(*postgres.Store).Hurry()
			return s
		}
		return db
	}
	storetest.Steps(t, hasty, fail, []string{"begin", "op", "coin", "advance", "line", "serve", "prepare", "raise", "commit", "committed"}, "committed", true)
}

// TestMoved: CT-21, a database on another server, or on one whose past has
// branched, may lack what came last. It is refused until it is raised.
func TestMoved(t *testing.T) {
	server := serverOf(t)
	conn := fresh(t, server)
	w := storetest.NewWorld(t)
	s := open(t, conn)
	b := w.Bank(s, 5)
	r := w.Request(5)
	ctx := t.Context()
	if _, err := b.Hold(ctx, r.Hold(0)); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	// What a promoted standby, or a dump loaded elsewhere, has in its row.
	if _, err := c.Exec(ctx, "UPDATE sotto_bank.meta SET history = '1/00000000'"); err != nil {
		t.Fatal(err)
	}
	t.Run("CT-21", func(t *testing.T) {
		_, err := b.Hold(ctx, w.Request(5).Hold(0)) // at once, not at the next look
		if storetest.Code(err) != credits.CodeGeneration {
			t.Errorf("held: %v", err)
		}
		if err := b.Follow(ctx, w.Epoch(5)); err == nil || b.State().Code != credits.CodeGeneration {
			t.Errorf("follows: %v", err)
		}
		if err := s.Serve(ctx, 7, 6); !errors.Is(err, redeem.ErrGeneration) {
			t.Errorf("serves: %v", err)
		}
		if err := s.Raise(ctx, 8); err != nil {
			t.Fatal(err)
		}
		if err := b.Follow(ctx, w.Epoch(5)); err == nil {
			t.Error("a statement of the old generation")
		}
		next := w.With(t)
		next.Generation = 8
		next.Follow(b, 6)
		if _, err := b.Hold(ctx, next.Request(6).Hold(0)); err != nil {
			t.Error(err)
		}
	})
}

// TestOpen: what is refused, and that no error tells the connection string.
func TestOpen(t *testing.T) {
	server := serverOf(t)
	ctx := t.Context()
	empty := server.Database(t)
	if _, err := postgres.Open(ctx, empty); err == nil {
		t.Error("CT-21: an empty database was opened")
	}
	if err := postgres.Create(ctx, empty, 0); err == nil {
		t.Error("generation 0")
	}
	if err := postgres.Create(ctx, empty, 7); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Create(ctx, empty, 8); err == nil || !strings.Contains(err.Error(), "name an empty one") {
		t.Errorf("made over another, or no word on what to do: %v", err)
	}
	s := open(t, empty)
	if m, err := s.Meta(ctx); err != nil || m.Generation != 7 {
		t.Error(m, err)
	}
	for _, conn := range []string{"postgres://u:canary@localhost:1/x", "host=/nonexistent password=canary", "canary ="} {
		_, err := postgres.Open(ctx, conn)
		if err == nil {
			t.Fatal("opened")
		}
		if text := err.Error(); strings.Contains(text, "canary") || strings.Contains(text, "localhost") {
			t.Errorf("%q", text)
		}
	}
}

// TestPlainRole: the bank needs no superuser, for all that it does.
func TestPlainRole(t *testing.T) {
	conn, ctx := serverOf(t).Database(t), t.Context()
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "CREATE ROLE plain LOGIN; DO $$ BEGIN EXECUTE 'GRANT CREATE ON DATABASE ' || current_database() || ' TO plain'; END $$"); err != nil {
		t.Fatal(err)
	}
	conn = strings.Replace(conn, "user=bank", "user=plain", 1)
	if err := postgres.Create(ctx, conn, 7); err != nil {
		t.Fatal(err)
	}
	s, w := open(t, conn), storetest.NewWorld(t)
	b := w.Bank(s, 5)
	r := w.Request(5)
	if _, err := b.Hold(ctx, r.Hold(0)); err != nil {
		t.Error(err)
	}
	if err := s.Drop(ctx, 41); err != nil {
		t.Error(err)
	}
	if m, err := s.Meta(ctx); err != nil || m.Moved {
		t.Error(m, err)
	}
}
