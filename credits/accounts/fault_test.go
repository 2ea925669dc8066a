// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/wire"
)

// TestFailureTable makes each write of each operation fail: nothing of the
// operation is there then, money included, and the same request does it all when
// the database is well again.
func TestFailureTable(t *testing.T) {
	for _, c := range []struct {
		op     string
		writes []string // "table verb", in order
	}{
		{"issue", []string{"accounts UPDATE", "history INSERT", "sold INSERT", "requests INSERT"}},
		{"redeem", []string{"vouchers INSERT", "accounts UPDATE", "history INSERT", "requests INSERT"}},
		{"event", []string{"accounts UPDATE", "history INSERT"}},
		{"topup", []string{"accounts UPDATE", "history INSERT", "admin_log INSERT"}},
		{"create", []string{"accounts INSERT", "keys INSERT", "admin_log INSERT"}},
		{"rotate", []string{"keys UPDATE", "keys INSERT", "admin_log INSERT"}},
		{"freeze", []string{"accounts UPDATE", "admin_log INSERT"}},
		{"grant", []string{"grants INSERT", "admin_log INSERT"}},
		{"epoch", []string{"meta UPDATE"}},
	} {
		if testing.Short() && c.op != "issue" && c.op != "redeem" {
			continue // the rest, each with a database of its own, is for the long run
		}
		for _, write := range c.writes {
			t.Run(c.op+"/"+write, func(t *testing.T) {
				var table, verb string
				fmt.Sscan(write, &table, &verb)
				w := newWorld(t, nil)
				u := w.user(1000)
				r, _ := u.want(wire.TokenCoin, 6)
				q := redeem(u.account, newID(), w.vouchers(6)...)
				path := "/v1/accounts/" + u.account.String()
				do := func() (int, string) {
					var s int
					var code string
					switch c.op {
					case "issue":
						s, code, _ = u.ask("POST", "/v1/issue", r)
					case "redeem":
						s, code, _ = u.ask("POST", "/v1/redeem", q)
					case "event":
						s, code = 200, ""
						if w.bank.Engine().TopUp(t.Context(), "", "evt", u.account, 7) != nil {
							s, code = 500, "store"
						}
					case "topup":
						s, code, _ = w.adminAsk(adminName, "POST", path+"/topup", accounts.Pay{Event: "evt", Units: 7})
					case "create":
						s, code, _ = w.adminAsk(adminName, "POST", "/v1/accounts", accounts.NewAccount{})
					case "rotate":
						s, code, _ = w.adminAsk(adminName, "POST", path+"/rotate", accounts.Turn{Overlap: 3})
					case "freeze":
						s, code, _ = w.adminAsk(adminName, "POST", path+"/freeze", struct{}{})
					case "grant":
						s, code, _ = w.adminAsk(adminName, "POST", path+"/grant", api.Entitlement{Tier: 3, Tokens: 1})
					case "epoch":
						w.clock.set(11, 1)
						s, code, _ = u.ask("GET", "/v1/account", nil)
					}
					return s, code
				}
				before := *w.check()
				if err := w.bank.Store().Exec("CREATE TRIGGER broken BEFORE " + verb + " ON " + table + " BEGIN SELECT RAISE (ABORT, 'disk'); END"); err != nil {
					t.Fatal(err)
				}
				if s, code := do(); s != 500 || code != "store" {
					t.Fatalf("%d %q", s, code)
				}
				after := *w.check()
				before.Log, after.Log = accounts.Head{}, accounts.Head{} // that it was refused may be logged
				if before != after {
					t.Errorf("half of it was done: %+v, %+v", before, after)
				}
				if err := w.bank.Store().Exec("DROP TRIGGER broken"); err != nil {
					t.Fatal(err)
				}
				if s, code := do(); s != 200 {
					t.Errorf("afterwards: %d %q", s, code)
				}
				w.check()
			})
		}
	}
}

func TestStoreOfALaterProgram(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.bank.Store().Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	w.bank.Close()
	if _, err := accounts.OpenStore(w.conf.Store); err == nil {
		t.Error("a schema that this program does not know was opened")
	}
	if _, err := accounts.OpenStore(filepath.Join(w.dir, "absent.db")); err == nil {
		t.Error("a database sprang into being")
	}
	w.conf.Store = filepath.Join(w.dir, "other.db")
	if err := accounts.CreateStore(w.conf.Store, 1); err != nil {
		t.Fatal(err)
	}
	w.open()
}
