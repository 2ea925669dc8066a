// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/wire"
)

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, name, text string, perm os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
}

// as gives a request the verified certificate of a name.
func as(req *http.Request, name string) *http.Request {
	if name != "" {
		req.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{DNSNames: []string{name}}}}}
	}
	return req
}

func (w *world) adminAsk(name, method, path string, body any) (int, string, []byte) {
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	req := httptest.NewRequest(method, path, bytes.NewReader(b))
	req.Header.Set("Content-Type", "application/json")
	if body == nil {
		req = httptest.NewRequest(method, path, nil)
	}
	return do(w.bank.AdminHandler(), as(req, name))
}

func (w *world) admin(method, path string, body any, want int) []byte {
	w.t.Helper()
	status, code, out := w.adminAsk(adminName, method, path, body)
	if status != want {
		w.t.Fatalf("%s %s: %d %s", method, path, status, code)
	}
	return out
}

func expect(t *testing.T, what string, status int, code string, wantStatus int, wantCode string) {
	t.Helper()
	if status != wantStatus || code != wantCode {
		t.Errorf("%s: %d %q, want %d %q", what, status, code, wantStatus, wantCode)
	}
}

func TestIssue(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(10_000)
	coin := w.keys[wire.TokenCoin].Keyset()
	r, blanks := u.want(wire.TokenCoin, 10, 6, 10, 0)
	status, code, first := u.ask("POST", "/v1/issue", r)
	expect(t, "issue", status, code, 200, "")
	i := into[api.Issued](t, first)
	if i.Units != 1024+64+1024+1 || i.Epoch != 10 || i.Request != r.Request || len(i.Proofs) != 3 {
		t.Errorf("%+v", i)
	}
	coins, err := finish(coin, i, blanks)
	if err != nil || len(coins) != 4 {
		t.Fatal(err)
	}
	if got := u.balance(); got != 10_000-2113 {
		t.Errorf("balance %d", got)
	}
	t.Run("CT-04", func(t *testing.T) {
		// The answer was lost: the same again is the same, and costs nothing.
		for range 3 {
			status, code, again := u.ask("POST", "/v1/issue", r)
			expect(t, "again", status, code, 200, "")
			if !bytes.Equal(first, again) {
				t.Error("another answer")
			}
		}
		w.reopen()
		if _, _, again := u.ask("POST", "/v1/issue", r); !bytes.Equal(first, again) {
			t.Error("another answer after a restart")
		}
		if got := u.balance(); got != 10_000-2113 {
			t.Errorf("balance %d", got)
		}
		other, _ := u.want(wire.TokenCoin, 6)
		other.Request = r.Request
		status, code, _ := u.ask("POST", "/v1/issue", other)
		expect(t, "other content", status, code, 409, "credit.request")
		// Another account's request of the same id is its own.
		v := w.user(5000)
		status, code, _ = v.ask("POST", "/v1/issue", r)
		expect(t, "another account", status, code, 200, "")
	})
	t.Run("restore", func(t *testing.T) {
		path := "/v1/issued/" + api.ID(coin.ID()).String()
		for n := range 20 {
			r, _ := u.want(wire.TokenCoin, 0)
			if status, code, _ := u.ask("POST", "/v1/issue", r); status != 200 {
				t.Fatal(n, status, code)
			}
		}
		var all []api.Issued
		for after := ""; ; {
			status, code, b := u.ask("GET", path+after, nil)
			expect(t, "issued", status, code, 200, "")
			p := into[api.IssuedPage](t, b)
			if all = append(all, p.Issued...); p.Next == 0 {
				break
			}
			b, _ = json.Marshal(p.Next)
			after = "?after=" + string(b)
		}
		if len(all) != 21 {
			t.Fatalf("%d requests", len(all))
		}
		if _, err := finish(coin, &all[0], blanks); err != nil {
			t.Error(err)
		}
		v := w.user(0)
		_, _, b := v.ask("GET", path, nil)
		if p := into[api.IssuedPage](t, b); len(p.Issued) != 0 || p.Next != 0 {
			t.Error("another account's")
		}
	})
	w.check()
}

func TestIssueRefuses(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(100)
	post := func(what string, r any, status int, code string) {
		t.Helper()
		s, c, _ := u.ask("POST", "/v1/issue", r)
		expect(t, what, s, c, status, code)
	}
	r, _ := u.want(wire.TokenCoin, 6, 6)
	post("128 of 100", r, 402, "credit.funds")
	r, _ = u.want(wire.TokenCoin, 10)
	post("1024 of 100", r, 402, "credit.funds")
	r, _ = u.want(wire.TokenCoin, 1)
	post("no such denomination", r, 402, "credit.class")
	r, _ = u.want(wire.TokenVoucher, 0)
	post("a voucher", r, 402, "credit.class")
	r, _ = u.want(wire.TokenCoin)
	post("none", r, 400, "credit.request")
	r, _ = u.want(wire.TokenCoin, 0, 0)
	r.Tokens[1].Blinded = r.Tokens[0].Blinded
	post("one twice", r, 400, "credit.request")
	r, _ = u.want(wire.TokenCoin, 0)
	r.Tokens = make([]api.Want, api.MaxTokens+1)
	post("1025", r, 400, "credit.request")
	r, _ = u.want(wire.TokenCoin, 0)
	r.Keyset[0]++
	post("no such keyset", r, 402, "credit.epoch")
	t.Run("CT-06", func(t *testing.T) {
		for _, e := range []api.Value{{}, {0xff}, {0: 0xed, 31: 0x7f}, {1}} {
			r, _ := u.want(wire.TokenCoin, 0)
			r.Tokens[0].Blinded = e
			post("no element", r, 402, "credit.sig")
		}
	})
	t.Run("CT-08", func(t *testing.T) {
		for epoch, ok := range map[uint64]bool{10: true, 11: true, 19: true, 20: false} {
			w := newWorld(t, nil)
			u := w.user(100)
			w.walk(epoch)
			r, _ := u.want(wire.TokenCoin, 0)
			s, c, _ := u.ask("POST", "/v1/issue", r)
			if ok {
				expect(t, "in time", s, c, 200, "")
			} else {
				expect(t, "over", s, c, 402, "credit.epoch")
			}
		}
	})
	if got := u.balance(); got != 100 {
		t.Errorf("balance %d after refusals", got)
	}
	w.check()
}

func TestEqualRequestsAtOnce(t *testing.T) {
	t.Run("CT-04", func(t *testing.T) {
		w := newWorld(t, nil)
		u := w.user(1000)
		r, _ := u.want(wire.TokenCoin, 6, 0)
		q := redeem(u.account, newID(), w.vouchers(6)...)
		answers := make([][2]string, 100)
		var wg sync.WaitGroup
		for n := range answers {
			wg.Go(func() {
				_, _, a := u.ask("POST", "/v1/issue", r)
				_, _, b := u.ask("POST", "/v1/redeem", q)
				answers[n] = [2]string{string(a), string(b)}
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a != answers[0] || strings.Contains(a[0]+a[1], "code") {
				t.Fatal(a)
			}
		}
		if got := u.balance(); got != 1000-65+64 {
			t.Errorf("balance %d", got)
		}
		w.check()
	})
}

func TestRedeem(t *testing.T) {
	w := newWorld(t, nil)
	u, v := w.user(0), w.user(0)
	c := w.vouchers(10, 6, 0)
	r := redeem(u.account, newID(), c...)
	status, code, first := u.ask("POST", "/v1/redeem", r)
	expect(t, "redeem", status, code, 200, "")
	if x := into[api.Redeemed](t, first); x.Units != 1089 || u.balance() != 1089 {
		t.Errorf("%+v", x)
	}
	if _, _, again := u.ask("POST", "/v1/redeem", r); !bytes.Equal(first, again) {
		t.Error("another answer")
	}
	post := func(t *testing.T, what string, who *user, r *api.RedeemRequest, status int, code string) {
		t.Helper()
		s, c, _ := who.ask("POST", "/v1/redeem", r)
		expect(t, what, s, c, status, code)
	}
	t.Run("CT-01", func(t *testing.T) {
		post(t, "same voucher, another request", u, redeem(u.account, newID(), c[0]), 409, "credit.spent")
		post(t, "same voucher, another account", v, redeem(v.account, newID(), c[1]), 409, "credit.spent")
		fresh := w.vouchers(0)
		post(t, "a fresh one beside a used one", v, redeem(v.account, newID(), fresh[0], c[1]), 409, "credit.spent")
		post(t, "one twice in a request", v, redeem(v.account, newID(), fresh[0], fresh[0]), 409, "credit.spent")
		post(t, "the fresh one was not used up", v, redeem(v.account, newID(), fresh[0]), 200, "")
	})
	t.Run("CT-02", func(t *testing.T) {
		one := w.vouchers(6)
		before := u.balance() + v.balance()
		var won sync.Map
		var wg sync.WaitGroup
		n := 200
		if testing.Short() {
			n = 50
		}
		for n := range n {
			who := []*user{u, v}[n%2]
			r := redeem(who.account, newID(), one...)
			wg.Go(func() {
				if s, c, _ := who.ask("POST", "/v1/redeem", r); s == 200 {
					won.Store(n, true)
				} else if c != "credit.spent" {
					t.Error(s, c)
				}
			})
		}
		wg.Wait()
		n = 0
		won.Range(func(any, any) bool { n++; return true })
		if n != 1 || u.balance()+v.balance() != before+64 {
			t.Errorf("%d won; %d units", n, u.balance()+v.balance()-before)
		}
	})
	t.Run("stolen on its way", func(t *testing.T) {
		// Seen by somebody in between: it is bound to the account and the request.
		r := redeem(u.account, newID(), w.vouchers(6)...)
		post(t, "on another account", v, r, 402, "credit.sig")
		moved := *r
		moved.Request = newID()
		post(t, "with another request id", u, &moved, 402, "credit.sig")
		post(t, "where it belongs", u, r, 200, "")
	})
	t.Run("CT-09", func(t *testing.T) {
		r := redeem(u.account, newID(), w.vouchers(0)...)
		r.Vouchers[0].Exponent = 10
		post(t, "dearer", u, r, 402, "credit.sig")
		r.Vouchers[0].Exponent = 11
		post(t, "no such denomination", u, r, 402, "credit.class")
		r = redeem(u.account, newID(), w.vouchers(0)...)
		r.Vouchers[0].Keyset = w.keys[wire.TokenCoin].Keyset().ID()
		post(t, "as a coin", u, r, 402, "credit.class")
		r = redeem(u.account, newID(), w.vouchers(0)...)
		r.Vouchers[0].MAC[0] ^= 1
		post(t, "MAC", u, r, 402, "credit.sig")
		r.Vouchers = nil
		post(t, "none", u, r, 400, "credit.request")
		r.Vouchers = make([]api.Voucher, api.MaxVouchers+1)
		post(t, "65", u, r, 400, "credit.request")
	})
	t.Run("more than an account can hold", func(t *testing.T) {
		u := w.user(api.MaxBalance)
		post(t, "one more", u, redeem(u.account, newID(), w.vouchers(0)...), 409, "account.limit")
		if u.balance() != api.MaxBalance {
			t.Error(u.balance())
		}
	})
	t.Run("CT-08", func(t *testing.T) {
		last, late := redeem(u.account, newID(), w.vouchers(0)...), redeem(u.account, newID(), w.vouchers(0)...)
		w.walk(29)
		post(t, "used long ago", v, redeem(v.account, newID(), c[0]), 409, "credit.spent") // CT-21: pruned too early
		post(t, "in the last epoch", u, last, 200, "")
		w.walk(30)
		post(t, "after it", u, late, 402, "credit.epoch")
		post(t, "the answer is gone, the history is not", u, last, 409, "credit.request")
	})
	w.check()
}

func TestPasses(t *testing.T) {
	w := newWorld(t, func(c *accounts.Config) {
		c.Rules.Passes, c.Rules.PassProof, c.Rules.WorkBits = 3, "work", 8
	})
	u := w.user(0)
	issue := func(r *api.IssueRequest, status int, code string) {
		t.Helper()
		s, c, _ := u.ask("POST", "/v1/issue", r)
		expect(t, "passes", s, c, status, code)
	}
	r, blanks := u.want(wire.TokenPass, 10, 6)
	for r.Worked(u.account, 8) {
		r.Work++
	}
	issue(r, 403, "account.work")
	if err := r.DoWork(t.Context(), u.account, 8); err != nil {
		t.Fatal(err)
	}
	s, c, b := u.ask("POST", "/v1/issue", r)
	expect(t, "with work", s, c, 200, "")
	if _, err := finish(w.keys[wire.TokenPass].Keyset(), into[api.Issued](t, b), blanks); err != nil {
		t.Error(err)
	}
	// CT-04: whoever lost the answer asks again as at first, without the work.
	lost := *r
	lost.Work = 0
	if s, c, again := u.ask("POST", "/v1/issue", &lost); s != 200 || !bytes.Equal(again, b) {
		t.Errorf("the same again: %d %s", s, c)
	}
	// Work is for one request: for another it is worth nothing.
	other, _ := u.want(wire.TokenPass, 10)
	for other.Work = r.Work; other.Worked(u.account, 8); {
		other, _ = u.want(wire.TokenPass, 10)
		other.Work = r.Work
	}
	issue(other, 403, "account.work")
	r, _ = u.want(wire.TokenPass, 0, 0)
	r.DoWork(t.Context(), u.account, 8)
	issue(r, 403, "account.grant") // two more than three
	r, _ = u.want(wire.TokenPass, 0)
	r.DoWork(t.Context(), u.account, 8)
	issue(r, 200, "")
	if u.balance() != 0 {
		t.Error("passes cost")
	}
	w.check()
}

func TestEntitlements(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(0)
	r, _ := u.want(wire.TokenEntitlement, 0)
	s, c, _ := u.ask("POST", "/v1/issue", r)
	expect(t, "without a grant", s, c, 403, "account.grant")
	w.admin("POST", "/v1/accounts/"+u.account.String()+"/grant", api.Entitlement{Tier: 3, Tokens: 2}, 200)
	s, c, _ = u.ask("POST", "/v1/issue", r)
	expect(t, "with one", s, c, 200, "")
	r, _ = u.want(wire.TokenEntitlement, 0, 0)
	s, c, _ = u.ask("POST", "/v1/issue", r)
	expect(t, "more than granted", s, c, 403, "account.grant")
	_, _, b := u.ask("GET", "/v1/account", nil)
	if a := into[api.AccountState](t, b); len(a.Limits.Entitlements) != 1 || a.Limits.Entitlements[0] != (api.Entitlement{Tier: 3, Tokens: 2}) {
		t.Errorf("%+v", a)
	}
	w.check()
}

func TestTokensPerEpoch(t *testing.T) {
	w := newWorld(t, func(c *accounts.Config) { c.Rules.TokensPerEpoch = 3 })
	u := w.user(100)
	r, _ := u.want(wire.TokenCoin, 0, 0)
	s, c, _ := u.ask("POST", "/v1/issue", r)
	expect(t, "two", s, c, 200, "")
	r2, _ := u.want(wire.TokenCoin, 0, 0)
	s, c, _ = u.ask("POST", "/v1/issue", r2)
	expect(t, "four", s, c, 429, credits.CodeRate)
	w.clock.set(11, 1)
	s, c, _ = u.ask("POST", "/v1/issue", r2)
	expect(t, "in the next epoch", s, c, 200, "")
}
