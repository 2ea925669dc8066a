// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
)

type source struct{}

func (source) View() (accounts.View, error) {
	return accounts.View{Epoch: 7, Generation: 1, Set: new(credits.Set)}, nil
}

// TestAdministration runs the commands against a bank's admin port.
func TestAdministration(t *testing.T) {
	dir := t.TempDir()
	ca, err := httpxtest.CreateCA(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	bankTLS, err := ca.Issue("bank.sotto")
	if err != nil {
		t.Fatal(err)
	}
	c := accounts.Config{Listen: "127.0.0.1:0", TLS: bankTLS, Store: filepath.Join(dir, "a.db"), Keys: dir, Source: source{},
		Admin: accounts.AdminPort{Listen: "127.0.0.1:0", TLS: bankTLS}}
	if err := accounts.CreateStore(c.Store, 1); err != nil {
		t.Fatal(err)
	}
	b, err := accounts.New(c)
	if err != nil {
		t.Fatal(err)
	}
	var lns [2]net.Listener
	for i := range lns {
		if lns[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.ServeOn(ctx, lns[0], lns[1]) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.Close()
	})
	as := func(name string) string {
		id, err := ca.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name+".yaml")
		text := fmt.Sprintf("url: https://%s\nname: bank.sotto\ntls: {cert: %q, key: %q, ca: %q}\n", lns[1].Addr(), id.Cert, id.Key, id.CA)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	admin, router := as("admin.sotto"), as("router.sotto")
	do := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(args, &out, &errs); code != want {
			t.Fatalf("%q: exit %d: %s%s", args, code, out.String(), errs.String())
		}
		if want != 0 && out.Len() > 0 || want == 0 && errs.Len() > 0 {
			t.Errorf("%q: %s%s", args, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	var made accounts.AccountKey
	if err := json.Unmarshal([]byte(do(0, "account", "create", "-admin", admin, "-note", "customer 7")), &made); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ParseKey(made.Key); err != nil {
		t.Fatal(err)
	}
	id := made.Account.String()
	do(0, "account", "topup", "-admin", admin, "-account", id, "-units", "500", "-event", "e1")
	do(0, "account", "topup", "-admin", admin, "-account", id, "-units", "500", "-event", "e1") // counts once
	do(0, "account", "topup", "-admin", admin, "-account", id, "-units", "5")
	do(0, "grant", "-admin", admin, "-account", id, "-tier", "3", "-tokens", "9")
	do(0, "account", "freeze", "-admin", admin, "-account", id)
	var state api.AccountState
	if err := json.Unmarshal([]byte(do(0, "account", "show", "-admin", admin, "-account", id)), &state); err != nil {
		t.Fatal(err)
	}
	if state.Balance != 505 || !state.Frozen || len(state.Limits.Entitlements) != 1 || state.Epoch != 7 {
		t.Errorf("%+v", state)
	}
	do(0, "account", "unfreeze", "-admin", admin, "-account", id)
	if rotated := do(0, "account", "rotate", "-admin", admin, "-account", id, "-overlap", "0"); strings.Contains(rotated, made.Key) {
		t.Error("the old key again")
	}
	if h := do(0, "account", "history", "-admin", admin, "-account", id); strings.Count(h, `"topup"`) != 2 {
		t.Error(h)
	}
	if l := do(0, "account", "list", "-admin", admin); !strings.Contains(l, "customer 7") {
		t.Error(l)
	}
	if h := do(0, "health", "-admin", admin); !strings.Contains(h, `"log"`) {
		t.Error(h)
	}
	gone := filepath.Join(dir, "gone.yaml") // where nobody listens
	there, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(gone, regexp.MustCompile(`(127\.0\.0\.1):\d+`).ReplaceAll(there, []byte("$1:1")), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, args := range map[string][]string{
		"refused: peer":           {"account", "freeze", "-admin", router, "-account", id},
		"refused: account.absent": {"account", "freeze", "-admin", admin, "-account", strings.Repeat("0", 32)},
		"refused: credit.request": {"account", "topup", "-admin", admin, "-account", id, "-units", "0"},
		"with -event admin-":      {"account", "topup", "-admin", gone, "-account", id, "-units", "5"},
		"1 to 255":                {"grant", "-admin", admin, "-account", id, "-tier", "256", "-tokens", "1"},
	} {
		if out := do(1, args...); !strings.Contains(out, text) {
			t.Errorf("%q: %s", args, out)
		}
	}
	do(2, "account", "freeze", "-admin", admin)
	do(2, "account", "freeze", "-account", id)
	do(2, "account", "freeze", "-admin", filepath.Join(dir, "absent.yaml"), "-account", id)
	do(2, "account", "freeze", "-admin", admin, "-account", id, "more")
	n := 0
	s, err := accounts.OpenStore(c.Store) // beside the bank that serves
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.VerifyLog(ctx, accounts.Head{}, func(_ uint64, entry string) {
		n++
		if strings.Contains(entry, made.Key[23:]) {
			t.Error("the log has a key")
		}
	}); err != nil || n != 14 {
		t.Error(n, err)
	}
	if totals, err := s.Check(ctx); err != nil || totals.Balance != 505 {
		t.Error(totals, err)
	}
}
