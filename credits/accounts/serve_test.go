// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/accounts/apiclient"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/internal/wire"
)

// served is a bank on real ports, with TLS.
type served struct {
	*world
	ca            *httpxtest.CA
	public, admin string
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{}
	dir := t.TempDir()
	ca, err := httpxtest.CreateCA(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue("bank.sotto", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s.ca = ca
	s.world = newWorld(t, func(c *accounts.Config) {
		c.TLS, c.Admin.TLS, c.Admin.Listen = id, id, "127.0.0.1:0"
	})
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	a, b := listen(), listen()
	s.public, s.admin = "https://"+a.Addr().String(), "https://"+b.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.bank.ServeOn(ctx, a, b) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// client has a certificate of a name, or none.
func (s *served) client(t *testing.T, name string) *http.Transport {
	t.Helper()
	id := httpx.TLS{CA: s.ca.File()}
	if name != "" {
		var err error
		if id, err = s.ca.Issue(name); err != nil {
			t.Fatal(err)
		}
	}
	tc, err := id.Client("")
	if err != nil {
		t.Fatal(err)
	}
	tr := httpx.NewTransport(tc)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func (s *served) ask(t *testing.T, tr *http.Transport, method, url string, body any) (int, []byte) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

// TestBuyAndRedeem goes the whole way over the wire: an administrator makes an
// account, its owner buys, restores, redeems.
func TestBuyAndRedeem(t *testing.T) {
	s := serve(t)
	admin := s.client(t, adminName)
	status, b := s.ask(t, admin, "POST", s.admin+"/v1/accounts", accounts.NewAccount{})
	if status != 200 {
		t.Fatal(status, string(b))
	}
	made := into[accounts.AccountKey](t, b)
	if status, b := s.ask(t, admin, "POST", s.admin+"/v1/accounts/"+made.Account.String()+"/topup", accounts.Pay{Event: "e1", Units: 5000}); status != 200 {
		t.Fatal(status, string(b))
	}
	key, err := api.ParseKey(made.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := apiclient.New(s.public, key, s.client(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	u := &user{w: s.world, account: made.Account, key: made.Key, seed: s.world.seed()}
	r, blanks := u.want(wire.TokenCoin, 10, 10, 6)
	i, err := c.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	set := s.keys[wire.TokenCoin].Keyset()
	if _, err := finish(set, i, blanks); err != nil {
		t.Error(err)
	}
	p, err := c.Issued(t.Context(), api.ID(set.ID()), 0)
	if err != nil || len(p.Issued) != 1 {
		t.Fatal(err)
	}
	if _, err := finish(set, &p.Issued[0], blanks); err != nil {
		t.Error(err)
	}
	if _, err := c.Redeem(t.Context(), redeem(made.Account, newID(), s.vouchers(6)...)); err != nil {
		t.Error(err)
	}
	a, err := c.Account(t.Context())
	if err != nil || a.Balance != 5000-2112+64 || a.Account != made.Account {
		t.Errorf("%+v %v", a, err)
	}
	h, err := c.History(t.Context(), 0)
	if err != nil || len(h.Entries) != 3 || h.Entries[0].Kind != api.KindTopUp || h.Entries[1].Units != 2112 || h.Entries[2].Number != 3 || h.Entries[2].Epoch != 10 {
		t.Errorf("%+v %v", h, err)
	}
	r, _ = u.want(wire.TokenCoin, 40)
	var refusal *apiclient.Refusal
	if _, err := c.Issue(t.Context(), r); !errors.As(err, &refusal) || refusal.Code != "credit.funds" || refusal.Status != 402 {
		t.Error(err)
	}
	s.check()

	// Who has no certificate of the right name does not get in at the other port.
	for name, want := range map[string]int{"": 0, "router.sotto": 403, adminName: 200} {
		if status, _ := s.ask(t, s.client(t, name), "GET", s.admin+"/v1/health", nil); status != want {
			t.Errorf("admin port, as %q: %d", name, status)
		}
	}
	if status, _ := s.ask(t, admin, "POST", s.public+"/v1/accounts", accounts.NewAccount{}); status != 404 {
		t.Errorf("an admin route at the public port: %d", status)
	}
}
