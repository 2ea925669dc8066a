// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package bank_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/credits/redeem/postgres/pgtest"
	"github.com/sotto-project/sotto/internal/wire"
)

// TestPostgres: the port over a PostgreSQL database, and its restore.
func TestPostgres(t *testing.T) {
	server := pgtest.Start(t)
	file := filepath.Join(t.TempDir(), "conn")
	if err := os.WriteFile(file, []byte(server.Database(t)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPort(t, func(c *bank.Config) { c.SQLite, c.Postgres = "", file })
	p.pub.publish(p.w.Statement(1))
	stop := p.start()
	p.wait("ready", 1)
	r := p.w.Request(1)
	if status, b := p.ask("router.sotto", "POST", "/v1/hold", r.Hold(0)); status != 200 {
		t.Fatalf("%s", b)
	}
	_, b := p.ask("router.sotto", "POST", "/v1/settle", r.Used(0, 57))
	if c, err := wire.ParseChange(b); err != nil || len(p.w.Unwrap(p.w.Coins, r.Blanks, c)) != 3 {
		t.Fatalf("%v %s", err, b)
	}
	if g, err := bank.Restore(t.Context(), p.conf, 0); err != nil || g != 8 {
		t.Fatal(g, err)
	}
	// The one that still runs on the database that was raised is stopped by that.
	p.refused("router.sotto", "POST", "/v1/hold", p.w.Request(1).Hold(0), 503, "bank.generation")
	stop()
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := bank.New(p.conf, nil); err == nil {
		t.Error("a file with a password that everybody can read")
	}
}
