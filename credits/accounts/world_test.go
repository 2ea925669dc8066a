// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// A clock says what the newest statement does.
type clock struct {
	mu   sync.Mutex
	view accounts.View
	err  error
}

func (c *clock) View() (accounts.View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view, c.err
}

func (c *clock) set(epoch, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.Epoch, c.view.Generation = epoch, generation
}

// walk lets epochs pass, in each of which the bank serves.
func (w *world) walk(epoch uint64) {
	w.t.Helper()
	for e := w.clock.view.Epoch + 1; e <= epoch; e++ {
		w.clock.set(e, 1)
		if _, _, b := ask(w.bank.Handler(), "GET", "/v1/health", "", nil); into[struct{ State string }](w.t, b).State != "ready" {
			w.t.Fatalf("epoch %d: %s", e, b)
		}
	}
}

// Sold in epochs 10 to 19, spent until 29.
func mintAll(t testing.TB, dir string) (map[uint8]*issue.Keys, *credits.Set) {
	t.Helper()
	m := minted()
	for _, k := range m.keys {
		if err := issue.CreateFile(filepath.Join(dir, fmt.Sprintf("%d%s", k.Keyset().Type, issue.KeySuffix)), k); err != nil {
			t.Fatal(err)
		}
	}
	return m.keys, m.set
}

// minted makes keys once for all tests.
var minted = sync.OnceValue(func() (m struct {
	keys map[uint8]*issue.Keys
	set  *credits.Set
}) {
	m.keys = map[uint8]*issue.Keys{}
	var sets []*credits.Keyset
	for _, k := range []credits.Keyset{
		{Type: wire.TokenCoin}, {Type: wire.TokenVoucher}, {Type: wire.TokenPass, Name: "free"}, {Type: wire.TokenEntitlement, Tier: 3, Name: "large"},
	} {
		k.First, k.Last, k.SpendLast = 10, 19, 29
		exponents := []uint8{0, 6, 10, 40}
		if k.Type == wire.TokenEntitlement {
			exponents = []uint8{0}
		}
		x := must(issue.Generate(rand.Reader, k, exponents))
		m.keys[k.Type], sets = x, append(sets, x.Keyset())
	}
	m.set = must(credits.NewSet(must(credits.ParseList(credits.AppendList(nil, sets)))))
	return m
})

// A world is a bank with play money and whoever asks it.
type world struct {
	t     testing.TB
	clock *clock
	keys  map[uint8]*issue.Keys
	set   *credits.Set
	conf  accounts.Config
	bank  *accounts.Bank
	dir   string
}

const adminName = "admin.sotto"

var secret = bytes.Repeat([]byte("canary-provider-"), 2)

func newWorld(t testing.TB, change func(*accounts.Config)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: &clock{}}
	keyDir := filepath.Join(w.dir, "keys")
	mkdir(t, keyDir)
	w.keys, w.set = mintAll(t, keyDir)
	w.clock.view = accounts.View{Epoch: 10, Generation: 1, Set: w.set}
	store := filepath.Join(w.dir, "accounts.db")
	if err := accounts.CreateStore(store, 1); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(w.dir, "secret"), string(secret)+"\n", 0o600)
	w.conf = accounts.Config{
		Listen: "127.0.0.1:0", TLS: httpx.TLS{Cert: "x", Key: "x"}, Store: store, Keys: keyDir, Source: w.clock,
		Rules: accounts.Rules{Passes: 3, PassProof: "account", RequestsPerHour: 1 << 30, Burst: 1 << 30},
		TopUp: accounts.Provider{Secret: filepath.Join(w.dir, "secret"), Units: map[string]uint64{"eur": 1000}},
	}
	if change != nil {
		change(&w.conf)
	}
	w.open()
	t.Cleanup(func() { w.bank.Close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.bank, err = accounts.New(w.conf); err != nil {
		w.t.Fatal(err)
	}
}

// reopen ends the bank and starts it again on the same database.
func (w *world) reopen() {
	w.t.Helper()
	if err := w.bank.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

// ask sends one request to a handler and returns status, code and body.
func ask(h http.Handler, method, path, key string, body any) (int, string, []byte) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = bytes.NewReader([]byte(b))
	default:
		enc, err := json.Marshal(b)
		if err != nil {
			panic(err)
		}
		r = bytes.NewReader(enc)
	}
	req := httptest.NewRequestWithContext(context.Background(), method, path, r)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return do(h, req)
}

func do(h http.Handler, req *http.Request) (int, string, []byte) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	out := rec.Body.Bytes()
	var p struct{ Code string }
	if rec.Code != http.StatusOK && json.Unmarshal(out, &p) != nil {
		p.Code = "no problem document"
	}
	return rec.Code, p.Code, out
}

func into[T any](t testing.TB, b []byte) *T {
	t.Helper()
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return v
}

// A user has an account and a wallet.
type user struct {
	w       *world
	account api.Account
	key     string
	seed    redact.Secret
	next    uint64
}

func (w *world) user(units uint64) *user {
	w.t.Helper()
	u := &user{w: w, seed: w.seed()}
	a := into[accounts.AccountKey](w.t, w.admin("POST", "/v1/accounts", accounts.NewAccount{Note: "customer 7"}, 200))
	u.account, u.key = a.Account, a.Key
	if units > 0 {
		w.admin("POST", "/v1/accounts/"+u.account.String()+"/topup", accounts.Pay{Event: random(), Units: units}, 200)
	}
	return u
}

func (*world) seed() redact.Secret {
	seed := make([]byte, 32)
	rand.Read(seed)
	return redact.New(seed)
}

func random() string { return rand.Text() }

func newID() (id api.ID) { rand.Read(id[:]); return id }

// want makes a request for tokens and the blanks behind it.
func (u *user) want(tokenType uint8, exponents ...uint8) (*api.IssueRequest, []*blind.Blank) {
	u.w.t.Helper()
	id := u.w.keys[tokenType].Keyset().ID()
	r := &api.IssueRequest{Request: newID(), Keyset: id}
	var blanks []*blind.Blank
	for _, e := range exponents {
		b, err := blind.At(u.seed, id, 0, u.next)
		if err != nil {
			u.w.t.Fatal(err)
		}
		u.next++
		blanks, r.Tokens = append(blanks, b), append(r.Tokens, api.Want{Exponent: e, Blinded: b.Element})
	}
	return r, blanks
}

// finish verifies what was issued as a wallet does.
func finish(set *credits.Keyset, i *api.Issued, blanks []*blind.Blank) ([]*blind.Coin, error) {
	var coins []*blind.Coin
	for _, p := range i.Proofs {
		var bs []*blind.Blank
		var els [][32]byte
		for n, t := range i.Tokens {
			if t.Exponent == p.Exponent {
				if t.Blinded != blanks[n].Element {
					return nil, errors.New("another blinded element")
				}
				bs, els = append(bs, blanks[n]), append(els, t.Element)
			}
		}
		c, err := blind.Finish(bs, set, p.Exponent, els, p.Proof)
		if err != nil {
			return nil, err
		}
		coins = append(coins, c...)
	}
	if len(coins) != len(blanks) {
		return nil, errors.New("not all of them are proven")
	}
	return coins, nil
}

func (u *user) ask(method, path string, body any) (int, string, []byte) {
	return ask(u.w.bank.Handler(), method, path, u.key, body)
}

func (u *user) balance() uint64 {
	u.w.t.Helper()
	status, code, b := u.ask("GET", "/v1/account", nil)
	if status != 200 {
		u.w.t.Fatal(status, code)
	}
	return into[api.AccountState](u.w.t, b).Balance
}

// vouchers makes vouchers as the anonymous port would: whoever redeems them
// cannot be told from anybody else.
func (w *world) vouchers(exponents ...uint8) []*blind.Coin {
	w.t.Helper()
	seed := make([]byte, 32)
	rand.Read(seed)
	keys := w.keys[wire.TokenVoucher]
	var out []*blind.Coin
	for i, e := range exponents {
		b, err := blind.At(redact.New(seed), keys.Keyset().ID(), 0, uint64(i))
		if err != nil {
			w.t.Fatal(err)
		}
		els, proof, err := keys.Evaluate(e, [][32]byte{b.Element})
		if err != nil {
			w.t.Fatal(err)
		}
		c, err := blind.Finish([]*blind.Blank{b}, keys.Keyset(), e, els, proof)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, c...)
	}
	return out
}

func redeem(a api.Account, id api.ID, coins ...*blind.Coin) *api.RedeemRequest {
	r := &api.RedeemRequest{Request: id}
	for _, c := range coins {
		r.Vouchers = append(r.Vouchers, api.Voucher{Keyset: c.Keyset, Exponent: c.Exponent, Nonce: c.Nonce,
			MAC: credits.SwapMAC(c.Output.Bytes(), api.RedeemDigest(a, id))})
	}
	return r
}

// check looks whether money is where it should be.
func (w *world) check() *accounts.Totals {
	w.t.Helper()
	s, err := accounts.OpenStore(w.conf.Store)
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	totals, err := s.Check(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return totals
}

func rawURL(text string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(text) }
func base64url(b []byte) string          { return base64.RawURLEncoding.EncodeToString(b) }

func logger(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func metricsOf(t *testing.T, b *accounts.Bank) []byte {
	t.Helper()
	rec := httptest.NewRecorder()
	metrics.Handler(b.Registry()).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 || !bytes.Contains(rec.Body.Bytes(), []byte("sotto_accounts_answers_total")) {
		t.Fatal(rec.Code)
	}
	return rec.Body.Bytes()
}

func jsonBytes(v any) ([]byte, error) { return json.Marshal(v) }
