// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package account_test

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/account"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/wallet"
)

// A bank answers what a test says.
type bank struct {
	t      *testing.T
	answer http.HandlerFunc
	dir    string
	key    *api.Key
	config account.Config
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{t: t, dir: t.TempDir()}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.answer(w, r) }))
	t.Cleanup(s.Close)
	var err error
	if b.key, err = api.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	b.config = account.Config{URL: s.URL, CA: b.file("ca", string(ca), 0o644), Key: b.file("key", b.key.Text()+"\n", 0o600)}
	return b
}

func (b *bank) file(name, text string, mode os.FileMode) string {
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *bank) open() *account.Account {
	b.t.Helper()
	a, err := account.Open(b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(a.Close)
	return a
}

// says has the bank answer with a document.
func (b *bank) says(v any) {
	b.answer = func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(v) }
}

func (b *bank) refuses(status int, code string) {
	b.answer = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code})
	}
}

// wants is a code, and no byte of the key.
func (b *bank) wants(what, code string, err error) {
	b.t.Helper()
	if client.CodeOf(err) != code || strings.Contains(err.Error(), b.key.Text()[30:]) {
		b.t.Errorf("%s: %v, want %s", what, err, code)
	}
}

var purchase = &wallet.Buy{Request: [32]byte{1}, Keyset: [32]byte{2}, Tokens: []wallet.BuyToken{{Exponent: 10, Blinded: [32]byte{3}}, {Exponent: 6, Blinded: [32]byte{4}}}}

func honest() *api.Issued {
	return &api.Issued{Request: purchase.Request, Keyset: purchase.Keyset, Units: 1024 + 64,
		Tokens: []api.Token{{Exponent: 10, Blinded: [32]byte{3}, Element: [32]byte{5}}, {Exponent: 6, Blinded: [32]byte{4}, Element: [32]byte{6}}},
		Proofs: []api.Batch{{Exponent: 6, Proof: [64]byte{7}}, {Exponent: 10, Proof: [64]byte{8}}}}
}

// TestAnswersAreAboutThePurchase: what comes back is for the wallet only if it is
// about what was asked; otherwise the purchase stays begun.
func TestAnswersAreAboutThePurchase(t *testing.T) {
	b := newBank(t)
	a := b.open()
	b.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+b.key.Text() || r.URL.Path != "/v1/issue" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		json.NewEncoder(w).Encode(honest())
	}
	elements, proofs, err := a.Issue(t.Context(), purchase)
	if err != nil || len(elements) != 2 || elements[0] != [32]byte{5} || elements[1] != [32]byte{6} || proofs[6] != [64]byte{7} || proofs[10] != [64]byte{8} {
		t.Fatal(elements, proofs, err)
	}
	for name, change := range map[string]func(*api.Issued){
		"another request":  func(i *api.Issued) { i.Request[0]++ },
		"another keyset":   func(i *api.Issued) { i.Keyset[0]++ },
		"fewer tokens":     func(i *api.Issued) { i.Tokens = i.Tokens[:1] },
		"more tokens":      func(i *api.Issued) { i.Tokens = append(i.Tokens, i.Tokens[0]) },
		"tokens exchanged": func(i *api.Issued) { i.Tokens[0], i.Tokens[1] = i.Tokens[1], i.Tokens[0] },
		"another exponent": func(i *api.Issued) { i.Tokens[0].Exponent++ },
		"another blank":    func(i *api.Issued) { i.Tokens[0].Blinded[0]++ },
		"no proof":         func(i *api.Issued) { i.Proofs = i.Proofs[:1] },
		"a proof twice":    func(i *api.Issued) { i.Proofs[0] = i.Proofs[1] },
		"a proof too many": func(i *api.Issued) { i.Proofs = append(i.Proofs, api.Batch{Exponent: 7}) },
		"charged too much": func(i *api.Issued) { i.Units++ },
		"charged less":     func(i *api.Issued) { i.Units-- },
	} {
		t.Run(name, func(t *testing.T) {
			i := honest()
			change(i)
			b.says(i)
			elements, proofs, err := a.Issue(t.Context(), purchase)
			if elements != nil || proofs != nil {
				t.Error("given to the wallet")
			}
			b.wants(name, client.CodeBank, err)
		})
	}
}

// TestRefusals: a refusal for good ends a purchase, and nothing else does.
func TestRefusals(t *testing.T) {
	b := newBank(t)
	a := b.open()
	for code, want := range map[string]string{
		credits.CodeFunds: credits.CodeFunds, credits.CodeEpoch: credits.CodeEpoch, credits.CodeClass: credits.CodeClass, credits.CodeSig: credits.CodeSig,
		api.CodeRequest: api.CodeRequest, api.CodeFrozen: api.CodeFrozen, api.CodeGrant: api.CodeGrant,
		api.CodeAuth: client.CodeBank, api.CodeRate: client.CodeBank, credits.CodeRate: client.CodeBank, credits.CodeGeneration: client.CodeBank,
		"starting": client.CodeBank, "store": client.CodeBank, "never.heard": client.CodeBank, "Not A Code\x1b[2J": client.CodeBank, "": client.CodeBank,
	} {
		b.refuses(402, code)
		_, _, err := a.Issue(t.Context(), purchase)
		b.wants(code, want, err)
		b.wants(code, want, a.Redeem(t.Context(), &wallet.Redeem{}))
		if strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q", err)
		}
	}
	for name, f := range map[string]http.HandlerFunc{
		"cut":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
		},
		"too long": func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 9<<20)) },
		"null":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("null")) },
	} {
		b.answer = f
		_, _, err := a.Issue(t.Context(), purchase)
		b.wants(name, client.CodeBank, err)
		if name != "null" {
			_, err := a.State(t.Context())
			b.wants(name, client.CodeBank, err)
			_, err = a.History(t.Context())
			b.wants(name, client.CodeBank, err)
		}
	}
}

func TestRedeemIsAboutTheVouchers(t *testing.T) {
	b := newBank(t)
	a := b.open()
	r := &wallet.Redeem{Request: [32]byte{1}, Vouchers: []credits.Paid{{Exponent: 6}, {Exponent: 10}}}
	b.says(api.Redeemed{Request: r.Request, Units: 1088})
	if err := a.Redeem(t.Context(), r); err != nil {
		t.Error(err)
	}
	b.says(api.Redeemed{Request: r.Request, Units: 1024})
	b.wants("too little", client.CodeBank, a.Redeem(t.Context(), r))
	b.says(api.Redeemed{Request: api.ID{2}, Units: 1088})
	b.wants("another", client.CodeBank, a.Redeem(t.Context(), r))
}

// TestOneAccount: a bank that calls the account by another name later would have
// vouchers put elsewhere.
func TestOneAccount(t *testing.T) {
	b := newBank(t)
	a := b.open()
	b.says(api.AccountState{Account: api.Account{1}, Balance: 7})
	digest, err := a.Digest(t.Context())
	if err != nil || digest([32]byte{2}) != api.RedeemDigest(api.Account{1}, api.ID{2}) {
		t.Error(err)
	}
	b.says(api.AccountState{Account: api.Account{2}})
	_, err = a.State(t.Context())
	b.wants("another account", client.CodeBank, err)
	b.says(api.AccountState{Account: api.Account{1}, Balance: api.MaxBalance + 1})
	_, err = a.State(t.Context())
	b.wants("a balance", client.CodeBank, err)
}

// TestWork: the proof that a bank asks for is done, if it is one of minutes.
func TestWork(t *testing.T) {
	b := newBank(t)
	a := b.open()
	for bits, want := range map[int]string{8: "", 0: api.CodeWork, 29: api.CodeWork} {
		b.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/account" {
				json.NewEncoder(w).Encode(api.AccountState{Account: api.Account{1}, Limits: api.Limits{WorkBits: bits}})
				return
			}
			q := new(api.IssueRequest)
			if err := json.NewDecoder(r.Body).Decode(q); err != nil || !q.Worked(api.Account{1}, 8) {
				w.WriteHeader(http.StatusForbidden)
				w.Write([]byte(`{"code":"account.work"}`))
				return
			}
			i := honest()
			i.Units = 0 // passes
			json.NewEncoder(w).Encode(i)
		}
		p := *purchase
		p.Request[5] = 3 // one whose work is not 0
		_, _, err := a.Issue(t.Context(), &p)
		if want == "" {
			want = client.CodeBank // it is about another request: the work was taken
		}
		b.wants("work", want, err)
	}
}

// TestPages: lists end, and what they hold is batches of the keyset.
func TestPages(t *testing.T) {
	b := newBank(t)
	a := b.open()
	other := honest()
	other.Keyset = [32]byte{9}
	b.answer = func(w http.ResponseWriter, r *http.Request) {
		page := api.IssuedPage{Issued: []api.Issued{*honest(), *other}}
		if r.URL.RawQuery == "" {
			page.Next = 5
		}
		json.NewEncoder(w).Encode(page)
	}
	n := 0
	for batch, err := range a.Issued(t.Context(), purchase.Keyset) {
		if err != nil || len(batch.Blinded) != 1 || len(batch.Elements) != 1 {
			t.Fatal(batch, err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d batches", n)
	}
	for range a.Issued(t.Context(), purchase.Keyset) {
		break // whoever has enough may stop
	}
	for name, page := range map[string]any{
		"for ever": api.IssuedPage{Next: 5}, "too many": api.IssuedPage{Issued: make([]api.Issued, api.PageIssued+1)},
	} {
		b.says(page)
		var last error
		for _, err := range a.Issued(t.Context(), purchase.Keyset) {
			last = err
		}
		b.wants(name, client.CodeBank, last)
	}
	b.says(api.HistoryPage{Next: 5, Entries: []api.Entry{{Kind: "topup", Units: 5}}})
	_, err := a.History(t.Context())
	b.wants("for ever", client.CodeBank, err)
	b.says(api.HistoryPage{Entries: []api.Entry{{Kind: "topup", Units: 5}}})
	if list, err := a.History(t.Context()); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

// TestKeyFiles: a key that others can read is not used, and nothing of a file is
// in an error.
func TestKeyFiles(t *testing.T) {
	b := newBank(t)
	for name, c := range map[string]account.Config{
		"nothing":          {},
		"no key":           {URL: b.config.URL},
		"no such file":     {URL: b.config.URL, Key: b.file("k", "", 0o600) + "x"},
		"open to a group":  {URL: b.config.URL, Key: b.file("group", b.key.Text(), 0o640)},
		"open to all":      {URL: b.config.URL, Key: b.file("all", b.key.Text(), 0o604)},
		"empty":            {URL: b.config.URL, Key: b.file("empty", "", 0o600)},
		"no key in it":     {URL: b.config.URL, Key: b.file("none", "sotto_canary", 0o600)},
		"two lines":        {URL: b.config.URL, Key: b.file("two", b.key.Text()+"\n\n", 0o600)},
		"large":            {URL: b.config.URL, Key: b.file("large", strings.Repeat("canary", 100), 0o600)},
		"not https":        {URL: "http://bank.example", Key: b.config.Key},
		"a user in it":     {URL: "https://u:p@bank.example", Key: b.config.Key},
		"no such CA":       {URL: b.config.URL, Key: b.config.Key, CA: b.config.CA + "x"},
		"no certificate":   {URL: b.config.URL, Key: b.config.Key, CA: b.config.Key},
		"nothing but keys": {Key: b.config.Key},
	} {
		a, err := account.Open(c)
		if err == nil || a != nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), b.key.Text()[30:]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := account.Open(account.Config{Key: b.dir + "/absent"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	t.Run("another CA", func(t *testing.T) {
		c := b.config
		c.CA = "" // the system's
		a, err := account.Open(c)
		if err == nil {
			_, err = a.State(t.Context())
			b.wants("another CA", client.CodeBank, err)
		}
	})
}
