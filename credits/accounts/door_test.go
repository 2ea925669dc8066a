// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/wire"
)

// TestDefaultDeny: the tables here are what docs/spec/accounts.md says, and
// whatever else is asked for reaches no handler.
func TestDefaultDeny(t *testing.T) {
	w := newWorld(t, nil)
	public, admin, publicMux, adminMux := w.bank.Tables()
	wantPublic := []string{"GET /v1/account", "POST /v1/issue", "GET /v1/issued/{keyset}", "GET /v1/crowd/{keyset}", "POST /v1/redeem", "GET /v1/history", "POST /v1/topup", "GET /v1/health"}
	wantAdmin := []string{"GET /v1/health", "GET /v1/accounts", "POST /v1/accounts", "GET /v1/accounts/{account}", "GET /v1/accounts/{account}/history",
		"POST /v1/accounts/{account}/topup", "POST /v1/accounts/{account}/freeze", "POST /v1/accounts/{account}/unfreeze",
		"POST /v1/accounts/{account}/rotate", "POST /v1/accounts/{account}/grant"}
	if !slices.Equal(public, wantPublic) || !slices.Equal(admin, wantAdmin) {
		t.Errorf("tables %q %q", public, admin)
	}
	id := strings.Repeat("0", 32)
	paths := []string{"/", "/v1", "/v1/", "/v2/issue", "/v1/issue/", "/v1/admin", "/metrics", "/debug/pprof/", "/v1/account/" + id, "/v1/accounts/" + id + "/delete", "/v1/accounts/" + id + "/freeze/x"}
	for _, p := range slices.Concat(wantPublic, wantAdmin) {
		_, p, _ = strings.Cut(p, " ")
		paths = append(paths, strings.NewReplacer("{account}", id, "{keyset}", id+id).Replace(p))
	}
	for name, c := range map[string]struct {
		mux     *http.ServeMux
		table   []string
		allowed map[string]bool
	}{
		"public": {publicMux, wantPublic, map[string]bool{"GET /v1/health": true}},
		"admin":  {adminMux, wantAdmin, nil},
	} {
		met := map[string]bool{}
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"} {
				req := httptest.NewRequest(method, "http://x"+path, nil)
				_, pattern := c.mux.Handler(req)
				if !slices.Contains(c.table, pattern) && pattern != "/" {
					t.Errorf("%s: %s %s is served by %q", name, method, path, pattern)
				}
				met[pattern] = true
				// Nobody who is not known gets anything.
				if status, code, _ := do(c.mux, req); status < 400 && !c.allowed[pattern] || status >= 500 {
					t.Errorf("%s: %s %s without a name: %d %s", name, method, path, status, code)
				}
				if name == "admin" && (method == "GET" || method == "POST") { // each refusal is a commit
					for _, who := range []string{"router.sotto", "gateway.sotto", "admin.sotto.example"} {
						if status, code, _ := do(c.mux, as(httptest.NewRequest(method, "http://x"+path, nil), who)); code != "peer" || status != 403 {
							t.Errorf("%s %s as %s: %d %s", method, path, who, status, code)
						}
					}
				}
			}
		}
		for _, p := range c.table {
			if !met[p] {
				t.Errorf("%s: %s was not tried", name, p)
			}
		}
	}
	// An API key opens nothing at the admin port, nor a certificate at the public one.
	u := w.user(10)
	if status, code, _ := ask(w.bank.AdminHandler(), "GET", "/v1/accounts", u.key, nil); status != 403 || code != "peer" {
		t.Error(status, code)
	}
	if status, code, _ := do(w.bank.Handler(), as(httptest.NewRequest("GET", "/v1/account", nil), adminName)); status != 401 || code != "auth" {
		t.Error(status, code)
	}
}

func TestKeysOfAPI(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(10)
	other := w.user(20)
	t.Run("unknown, wrong and malformed are alike", func(t *testing.T) {
		wrong := u.key[:len(u.key)-4] + "AAA" + u.key[len(u.key)-1:]
		mixed := u.key[:6+16] + other.key[6+16:] // one's id, the other's secret
		unknown := "sotto_0123456789abcdef_" + u.key[6+17:]
		var first string
		for _, key := range []string{wrong, mixed, unknown, "x", u.key + "x", " " + u.key, strings.ToUpper(u.key), ""} {
			req := httptest.NewRequest("GET", "/v1/account", nil)
			req.Header.Set("Authorization", "Bearer "+key)
			rec := httptest.NewRecorder()
			w.bank.Handler().ServeHTTP(rec, req)
			got := fmt.Sprint(rec.Code, rec.Header(), rec.Body)
			if first == "" {
				first = got
			}
			if rec.Code != 401 || got != first {
				t.Errorf("%q: %s", key, got)
			}
		}
		for _, h := range []string{u.key, "bearer " + u.key, "Basic " + u.key, "Bearer  " + u.key} {
			req := httptest.NewRequest("GET", "/v1/account", nil)
			req.Header.Set("Authorization", h)
			if status, code, _ := do(w.bank.Handler(), req); status != 401 || code != "auth" {
				t.Errorf("%q: %d %s", h, status, code)
			}
		}
		req := httptest.NewRequest("GET", "/v1/account", nil)
		req.Header["Authorization"] = []string{"Bearer " + u.key, "Bearer " + other.key}
		if status, _, _ := do(w.bank.Handler(), req); status != 401 {
			t.Error("two keys at once")
		}
	})
	t.Run("rotate", func(t *testing.T) {
		old := u.key
		status := func(key string) int {
			s, _, _ := ask(w.bank.Handler(), "GET", "/v1/account", key, nil)
			return s
		}
		turn := func(overlap uint64) string {
			return into[accounts.AccountKey](t, w.admin("POST", "/v1/accounts/"+u.account.String()+"/rotate", accounts.Turn{Overlap: overlap}, 200)).Key
		}
		second := turn(2) // epochs 10 and 11
		if status(old) != 200 || status(second) != 200 {
			t.Error("the old key is over at once")
		}
		w.walk(11)
		if status(old) != 200 || status(second) != 200 {
			t.Error("in the last epoch of the overlap")
		}
		w.walk(12)
		if status(old) != 401 || status(second) != 200 {
			t.Error("after the overlap")
		}
		third, fourth := turn(5), turn(5)
		if status(second) != 401 && status(third) != 401 || status(fourth) != 200 {
			t.Error("more than two keys open the account")
		}
		fifth := turn(0)
		if status(second) != 401 || status(third) != 401 || status(fourth) != 401 || status(fifth) != 200 {
			t.Error("without an overlap")
		}
		u.key = fifth
	})
	t.Run("frozen", func(t *testing.T) {
		path := "/v1/accounts/" + u.account.String()
		w.admin("POST", path+"/freeze", struct{}{}, 200)
		r, _ := u.want(wire.TokenCoin, 0)
		s, c, _ := u.ask("POST", "/v1/issue", r)
		expect(t, "issue", s, c, 403, "account.frozen")
		s, c, _ = u.ask("POST", "/v1/redeem", redeem(u.account, newID(), w.vouchers(0)...))
		expect(t, "redeem", s, c, 403, "account.frozen")
		_, _, b := u.ask("GET", "/v1/account", nil)
		if !into[api.AccountState](t, b).Frozen {
			t.Error("it does not say so")
		}
		w.admin("POST", path+"/topup", accounts.Pay{Event: "late", Units: 5}, 200)
		w.admin("POST", path+"/unfreeze", struct{}{}, 200)
		s, c, _ = u.ask("POST", "/v1/issue", r)
		expect(t, "issue", s, c, 200, "")
	})
	w.check()
}

// TestOneAccountCannotReadAnother: whatever a key is asked for, it gets its own.
func TestOneAccountCannotReadAnother(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.user(777_777), w.user(1)
	r, _ := a.want(wire.TokenCoin, 10)
	if s, c, _ := a.ask("POST", "/v1/issue", r); s != 200 {
		t.Fatal(c)
	}
	for _, path := range []string{"/v1/account", "/v1/history", "/v1/issued/" + r.Keyset.String(), "/v1/history?after=0",
		"/v1/account?account=" + a.account.String(), "/v1/history?account=" + a.account.String(), "/v1/accounts/" + a.account.String()} {
		_, _, body := b.ask("GET", path, nil)
		for _, canary := range []string{a.account.String(), "777777", "776753", r.Request.String()} {
			if strings.Contains(string(body), canary) {
				t.Errorf("%s shows %s: %s", path, canary, body)
			}
		}
	}
	// The numbers of a history are the account's own: they say nothing of how much
	// others do.
	_, _, body := b.ask("GET", "/v1/history", nil)
	if h := into[api.HistoryPage](t, body); len(h.Entries) != 1 || h.Entries[0].Number != 1 {
		t.Errorf("%s", body)
	}
}

// TestCrowd: what everybody bought together is told, an epoch late and coarsely,
// and says nothing of one purchase.
func TestCrowd(t *testing.T) {
	t.Run("CT-20", func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.user(100_000), w.user(100_000)
		path := "/v1/crowd/" + api.ID(w.keys[wire.TokenCoin].Keyset().ID()).String()
		look := func() []api.Sold {
			s, c, out := a.ask("GET", path, nil)
			expect(t, "crowd", s, c, 200, "")
			return into[api.Crowd](t, out).Sold
		}
		buy := func(u *user, exponents ...uint8) {
			r, _ := u.want(wire.TokenCoin, exponents...)
			if s, c, _ := u.ask("POST", "/v1/issue", r); s != 200 {
				t.Fatal(c)
			}
		}
		buy(a, 0, 0, 0, 6)
		buy(b, 0, 0)
		if len(look()) != 0 {
			t.Error("told in the epoch itself")
		}
		w.walk(11)
		want := []api.Sold{{Exponent: 0, Tokens: 4}, {Exponent: 6, Tokens: 1}}
		if got := look(); !slices.Equal(got, want) {
			t.Errorf("%+v", got)
		}
		buy(b, 0)
		w.walk(12)
		if got := look(); !slices.Equal(got, want) {
			t.Errorf("one purchase shows: %+v", got)
		}
		w.walk(30)
		if got := look(); len(got) != 0 {
			t.Errorf("kept: %+v", got)
		}
	})
}

func TestGeneration(t *testing.T) {
	get := func(w *world, key string) string {
		_, code, _ := ask(w.bank.Handler(), "GET", "/v1/account", key, nil)
		return code
	}
	t.Run("CT-21", func(t *testing.T) {
		w := newWorld(t, nil)
		u := w.user(100)
		backup := filepath.Join(w.dir, "backup.db")
		if err := w.bank.Store().Exec("VACUUM INTO ?", backup); err != nil {
			t.Fatal(err)
		}
		v := w.vouchers(6)
		if s, _, _ := u.ask("POST", "/v1/redeem", redeem(u.account, newID(), v...)); s != 200 {
			t.Fatal(s)
		}
		for _, g := range []uint64{0, 2} { // another generation counts
			w.clock.set(10, g)
			if c := get(w, u.key); c != credits.CodeGeneration {
				t.Errorf("generation %d: %q", g, c)
			}
		}
		w.clock.set(10, 1)
		w.walk(13)
		// Yesterday's backup, in which the voucher is not used.
		w.bank.Close()
		conf := w.conf
		w.conf.Store = backup
		w.open()
		again := redeem(u.account, newID(), v...)
		for range 2 {
			s, c, _ := u.ask("POST", "/v1/redeem", again)
			expect(t, "a backup", s, c, 503, credits.CodeGeneration)
		}
		// The operator says that it counts, and a statement says it, too: this one
		// serves, and the other stops.
		if g, err := w.bank.Store().Restore(context.Background(), "local", 0); g != 2 || err != nil {
			t.Fatal(g, err)
		}
		if c := get(w, u.key); c != credits.CodeGeneration {
			t.Errorf("before a statement names it: %q", c)
		}
		w.clock.set(13, 2)
		if c := get(w, u.key); c != "" {
			t.Errorf("restored: %q", c)
		}
		w.check()
		w.bank.Close()
		w.conf = conf
		w.open()
		if c := get(w, u.key); c != credits.CodeGeneration {
			t.Errorf("the other copy: %q", c)
		}
	})
	t.Run("an epoch is skipped", func(t *testing.T) {
		w := newWorld(t, nil)
		u := w.user(1)
		w.clock.set(11, 1)
		w.reopen()
		if c := get(w, u.key); c != "" {
			t.Error(c)
		}
		w.clock.set(13, 1)
		if c := get(w, u.key); c != credits.CodeGeneration {
			t.Error(c)
		}
	})
	t.Run("an epoch that is over", func(t *testing.T) {
		w := newWorld(t, nil)
		u := w.user(1)
		w.walk(12)
		w.clock.set(11, 1)
		if c := get(w, u.key); c != credits.CodeGeneration {
			t.Error(c)
		}
	})
	t.Run("no statement", func(t *testing.T) {
		w := newWorld(t, nil)
		u := w.user(1)
		w.clock.err = fmt.Errorf("none")
		if c := get(w, u.key); c != "starting" {
			t.Error(c)
		}
		if s, c, _ := w.adminAsk(adminName, "POST", "/v1/accounts", accounts.NewAccount{}); s != 503 || c != "starting" {
			t.Error(s, c)
		}
	})
}

func TestTopUp(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(0)
	now := time.Now()
	post := func(body string, signature ...string) (int, string) {
		req := httptest.NewRequest("POST", "/v1/topup", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header["Sotto-Signature"] = signature
		s, c, _ := do(w.bank.Handler(), req)
		return s, c
	}
	event := func(id, currency string, amount uint64) string {
		b, _ := json.Marshal(api.TopUp{Event: id, Account: u.account, Amount: amount, Currency: currency})
		return string(b)
	}
	sign := func(body string, at time.Time) string { return accounts.SignEvent(secret, []byte(body), at) }
	body := event("evt_1", "eur", 7)
	for range 3 { // providers send events again
		if s, c := post(body, sign(body, now)); s != 200 {
			t.Fatal(s, c)
		}
	}
	if u.balance() != 7000 {
		t.Errorf("balance %d", u.balance())
	}
	for what, c := range map[string]struct {
		body, code string
		signature  []string
	}{
		"no signature":            {event("evt_2", "eur", 7), api.CodePayment, nil},
		"two signatures":          {event("evt_2", "eur", 7), api.CodePayment, []string{sign(event("evt_2", "eur", 7), now), sign(event("evt_2", "eur", 7), now)}},
		"another body":            {event("evt_2", "eur", 8), api.CodePayment, []string{sign(event("evt_2", "eur", 7), now)}},
		"another secret":          {event("evt_2", "eur", 7), api.CodePayment, []string{accounts.SignEvent([]byte("x"), []byte(event("evt_2", "eur", 7)), now)}},
		"six minutes old":         {event("evt_2", "eur", 7), api.CodePayment, []string{sign(event("evt_2", "eur", 7), now.Add(-6*time.Minute))}},
		"six minutes to come":     {event("evt_2", "eur", 7), api.CodePayment, []string{sign(event("evt_2", "eur", 7), now.Add(6*time.Minute))}},
		"another time":            {event("evt_2", "eur", 7), api.CodePayment, []string{strings.Replace(sign(event("evt_2", "eur", 7), now.Add(-time.Hour)), fmt.Sprint(now.Add(-time.Hour).Unix()), fmt.Sprint(now.Unix()), 1)}},
		"no time":                 {event("evt_2", "eur", 7), api.CodePayment, []string{"v1=00"}},
		"same id, other amount":   {event("evt_1", "eur", 8), api.CodeRequest, []string{sign(event("evt_1", "eur", 8), now)}},
		"a currency nobody knows": {event("evt_2", "usd", 7), api.CodeRequest, []string{sign(event("evt_2", "usd", 7), now)}},
		"nothing":                 {event("evt_2", "eur", 0), api.CodeRequest, []string{sign(event("evt_2", "eur", 0), now)}},
		"overflow":                {event("evt_2", "eur", 1<<62), api.CodeLimit, []string{sign(event("evt_2", "eur", 1<<62), now)}},
		"more than there may be":  {event("evt_2", "eur", 9007199254740), api.CodeLimit, []string{sign(event("evt_2", "eur", 9007199254740), now)}},
		"an id that is too long":  {event(strings.Repeat("e", 129), "eur", 1), api.CodeRequest, []string{sign(event(strings.Repeat("e", 129), "eur", 1), now)}},
		"an id that is no text":   {event("evt 2\n", "eur", 1), api.CodeRequest, []string{sign(event("evt 2\n", "eur", 1), now)}},
	} {
		if s, code := post(c.body, c.signature...); code != c.code {
			t.Errorf("%s: %d %q, want %q", what, s, code, c.code)
		}
	}
	nobody := strings.Replace(event("evt_3", "eur", 1), u.account.String(), strings.Repeat("0", 32), 1)
	if _, c := post(nobody, sign(nobody, now)); c != api.CodeAbsent {
		t.Error(c)
	}
	if u.balance() != 7000 {
		t.Errorf("balance %d", u.balance())
	}
	w.check()
	// Without a provider there is no such route.
	plain := newWorld(t, func(c *accounts.Config) { c.TopUp = accounts.Provider{} })
	req := httptest.NewRequest("POST", "/v1/topup", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sotto-Signature", accounts.SignEvent(nil, []byte(body), now))
	if s, c, _ := do(plain.bank.Handler(), req); s != 404 || c != "path" {
		t.Error(s, c)
	}
}

func TestAdminLog(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(100)
	w.adminAsk("router.sotto", "POST", "/v1/accounts/"+u.account.String()+"/freeze", struct{}{})
	w.adminAsk(adminName, "POST", "/v1/accounts/"+strings.Repeat("0", 32)+"/freeze", struct{}{})
	w.adminAsk(adminName, "POST", "/v1/accounts/"+u.account.String()+"/rotate", accounts.Turn{})
	w.adminAsk(adminName, "DELETE", "/v1/accounts", nil)
	w.adminAsk(adminName, "GET", "/v1/accounts/"+u.account.String(), nil)
	w.adminAsk(adminName, "GET", "/v1/accounts", nil)
	var log []accounts.Act
	h, err := w.bank.Store().VerifyLog(t.Context(), accounts.Head{}, func(_ uint64, entry string) { log = append(log, *into[accounts.Act](t, []byte(entry))) })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range log {
		got = append(got, a.Who+" "+a.What+" "+a.Outcome)
		if _, err := time.Parse(time.RFC3339, a.At); err != nil {
			t.Error(err)
		}
	}
	want := []string{"admin.sotto create ok", "admin.sotto topup ok", "router.sotto freeze peer", "admin.sotto freeze account.absent", "admin.sotto rotate ok",
		"admin.sotto unknown path", "admin.sotto show ok", "admin.sotto list ok"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	_, _, b := w.adminAsk(adminName, "GET", "/v1/health", nil)
	if state := into[struct{ State, Log string }](t, b); state.State != "ready" || state.Log != h.String() {
		t.Errorf("%s", b)
	}
	if _, _, b := ask(w.bank.Handler(), "GET", "/v1/health", "", nil); strings.Contains(string(b), "log") {
		t.Errorf("the public health has the log's head: %s", b)
	}
	s := w.bank.Store()
	for what, q := range map[string]string{
		"delete": "DELETE FROM admin_log WHERE number = 3", "update": "UPDATE admin_log SET entry = '{}' WHERE number = 3",
		"history": "DELETE FROM history", "money": "UPDATE history SET units = 0",
	} {
		if err := s.Exec(q); err == nil {
			t.Errorf("%s: a log that only grows was changed", what)
		}
	}
	// Somebody who owns the file can drop the triggers; the chain shows it.
	for what, steps := range map[string][]string{
		"changed":   {"UPDATE admin_log SET entry = replace(entry, 'freeze', 'nothing') WHERE number = 3"},
		"taken out": {"DELETE FROM admin_log WHERE number = 3"},
		"cut":       {"DELETE FROM admin_log WHERE number > 4"},
		"emptied":   {"DELETE FROM admin_log"},
	} {
		w := newWorld(t, nil)
		u := w.user(1)
		for range 4 {
			w.admin("POST", "/v1/accounts/"+u.account.String()+"/freeze", struct{}{}, 200)
		}
		s := w.bank.Store()
		noted, err := s.LogHead()
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range slices.Concat([]string{"DROP TRIGGER admin_log_kept", "DROP TRIGGER admin_log_fixed"}, steps) {
			if err := s.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.VerifyLog(t.Context(), noted, nil); err == nil {
			t.Errorf("%s: not seen", what)
		}
	}
}

// TestNothingSecretIsKept sweeps what a bank writes for what it was told.
func TestNothingSecretIsKept(t *testing.T) {
	t.Run("CT-25", func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, func(c *accounts.Config) { c.Log = logger(&log) })
		u := w.user(5000)
		second := into[accounts.AccountKey](t, w.admin("POST", "/v1/accounts/"+u.account.String()+"/rotate", accounts.Turn{Overlap: 2}, 200)).Key
		r, blanks := u.want(wire.TokenCoin, 10, 6)
		_, _, b := u.ask("POST", "/v1/issue", r)
		coins, err := finish(w.keys[wire.TokenCoin].Keyset(), into[api.Issued](t, b), blanks)
		if err != nil {
			t.Fatal(err)
		}
		vouchers := w.vouchers(6, 10)
		q := redeem(u.account, newID(), vouchers...)
		u.ask("POST", "/v1/redeem", q)
		bad := *q
		bad.Request = newID()
		_, _, refused := u.ask("POST", "/v1/redeem", &bad)
		canaries := map[string][]byte{"provider": secret}
		for name, key := range map[string]string{"key": u.key, "second key": second} {
			k, err := api.ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			text := key[len("sotto_")+17:]
			raw, err := rawURL(text)
			if err != nil || k.Text() != key {
				t.Fatal(err)
			}
			canaries[name], canaries[name+" raw"] = []byte(text), raw
		}
		for i, c := range slices.Concat(coins, vouchers) {
			canaries[fmt.Sprint("output ", i)] = c.Output.Bytes()
			canaries[fmt.Sprint("nonce ", i)] = c.Nonce[:]
		}
		for i, v := range q.Vouchers {
			canaries[fmt.Sprint("mac ", i)] = v.MAC[:]
		}
		written := map[string][]byte{"refusal": refused, "metrics": metricsOf(t, w.bank)}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			b, err := os.ReadFile(w.conf.Store + suffix)
			if err != nil {
				t.Fatal(err)
			}
			written["database"+suffix] = b
		}
		w.bank.Close() // a store that fails is something to log
		if s, c, _ := u.ask("POST", "/v1/redeem", q); s != 500 || c != "store" {
			t.Error(s, c)
		}
		written["log"] = log.Bytes()
		if !bytes.Contains(written["database-wal"], []byte(u.account[:])) || log.Len() == 0 {
			t.Fatal("the sweep does not see what is there")
		}
		for where, text := range written {
			for name, c := range canaries {
				for _, spelled := range [][]byte{c, []byte(hex.EncodeToString(c)), []byte(base64url(c))} {
					if bytes.Contains(text, spelled) {
						t.Errorf("%s is in the %s", name, where)
					}
				}
			}
		}
		for _, what := range []any{w.bank, u.key[:0], vouchers[0]} {
			if text := fmt.Sprintf("%v %+v %#v", what, what, what); strings.Contains(text, string(secret)) {
				t.Error("a secret prints")
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t, func(c *accounts.Config) { c.Rules.RequestsPerHour, c.Rules.Burst = 1, 3 })
	a, b := w.user(0), w.user(0)
	var codes []string
	for range 5 {
		_, c, _ := a.ask("GET", "/v1/account", nil)
		codes = append(codes, c)
	}
	if !slices.Equal(codes, []string{"", "", "", "account.rate", "account.rate"}) {
		t.Errorf("%q", codes)
	}
	if s, _, _ := b.ask("GET", "/v1/account", nil); s != 200 {
		t.Error("another account pays for it")
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(10)
	r, _ := u.want(wire.TokenCoin, 0)
	good, _ := json.Marshal(r)
	for what, body := range map[string]string{
		"empty": "", "null": "null", "list": "[]", "cut": string(good[:len(good)-1]), "two": string(good) + "{}", "after": string(good) + "x",
		"unknown member": strings.Replace(string(good), `{"request"`, `{"user":1,"request"`, 1),
		"twice":          strings.Replace(string(good), `{"request"`, `{"request":"`+r.Request.String()+`","request"`, 1),
		"another case":   strings.Replace(string(good), `"request"`, `"Request"`, 1),
		"long s":         strings.Replace(string(good), `"tokens"`, `"tokenſ"`, 1),
		"escaped name":   strings.Replace(string(good), `"request"`, `"\u0072equest\u0000"`, 1),
		"null member":    strings.Replace(string(good), `"tokens":`, `"work":null,"tokens":`, 1),
		"upper case":     strings.Replace(string(good), r.Request.String(), strings.ToUpper(r.Request.String()), 1),
		"short id":       strings.Replace(string(good), r.Request.String(), r.Request.String()[2:], 1),
		"negative":       strings.Replace(string(good), `"exponent":0`, `"exponent":-1`, 1),
		"256":            strings.Replace(string(good), `"exponent":0`, `"exponent":256`, 1),
		"fraction":       strings.Replace(string(good), `"exponent":0`, `"exponent":0.5`, 1),
		"text":           strings.Replace(string(good), `"exponent":0`, `"exponent":"0"`, 1),
		"not UTF-8":      strings.Replace(string(good), `"exponent"`, "\"exponent\xff\"", 1),
		"deep":           strings.Repeat("[", 1000),
	} {
		s, c, _ := u.ask("POST", "/v1/issue", body)
		expect(t, what, s, c, 400, "credit.request")
	}
	s, c, _ := u.ask("POST", "/v1/issue", strings.Repeat(" ", api.MaxBody+1))
	expect(t, "too long", s, c, 413, "size")
	s, c, _ = u.ask("POST", "/v1/issue?x=1", string(good))
	expect(t, "query", s, c, 400, "credit.request")
	req := httptest.NewRequest("POST", "/v1/issue", bytes.NewReader(good))
	req.Header.Set("Authorization", "Bearer "+u.key)
	s, c, _ = do(w.bank.Handler(), req)
	expect(t, "no type", s, c, 415, "type")
	for _, q := range []string{"?after=-1", "?after=01", "?after=1&after=2", "?before=1", "?after=", "?after=99999999999999999999", "?after=%31x"} {
		s, c, _ := u.ask("GET", "/v1/history"+q, nil)
		expect(t, q, s, c, 400, "credit.request")
	}
	for _, id := range []string{"x", strings.Repeat("0", 63), strings.Repeat("A", 64)} {
		s, c, _ := u.ask("GET", "/v1/issued/"+id, nil)
		expect(t, id, s, c, 400, "credit.request")
	}
	if u.balance() != 10 {
		t.Error("refused bodies cost")
	}
}
