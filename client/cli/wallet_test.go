// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A till is a real identified port with one account, and a world whose statement
// lists its keysets. The epoch is the world's.
type till struct {
	patience   time.Duration // how long a command may take
	t          *testing.T
	w          *clienttest.World
	bank       *accounts.Bank
	server     *httptest.Server
	account    api.Account
	dir        string
	pay        cli.Payments
	set        *credits.Set
	listed     []statement.Keyset
	down       atomic.Bool  // the port cuts every connection
	lost       atomic.Bool  // it does what it is asked, and the answer is lost
	asked      atomic.Int32 // requests that reached it
	lostRedeem atomic.Bool  // as lost, of redemptions only
	gateway    [][]byte     // keys of the gateway in the place of the world's
}

// View implements [accounts.Source].
func (b *till) View() (accounts.View, error) {
	return accounts.View{Epoch: b.w.Log.Last().Epoch, Generation: 1, Set: b.set}, nil
}

func newTill(t *testing.T, units uint64, types ...uint8) *till {
	t.Helper()
	b := &till{t: t, w: clienttest.Start(t, 1), dir: t.TempDir(), patience: 20 * time.Second}
	keys := filepath.Join(b.dir, "keys")
	b.must(os.Mkdir(keys, 0o700))
	var sets []*credits.Keyset
	if types == nil {
		types = []uint8{wire.TokenCoin, wire.TokenVoucher}
	}
	for _, typ := range types {
		k, exponents := credits.Keyset{Type: typ}, []uint8{6, 10, 16, 17}
		k.First, k.Last, k.SpendLast = 1, 1000, 2000
		switch typ {
		case wire.TokenPass:
			k.Name = "free"
		case wire.TokenEntitlement:
			k.Name, k.Tier, exponents = "large", 3, []uint8{0}
		}
		x, err := issue.Generate(rand.Reader, k, exponents)
		b.must(err)
		b.must(issue.CreateFile(filepath.Join(keys, fmt.Sprintf("%d%s", k.Type, issue.KeySuffix)), x))
		sets = append(sets, x.Keyset())
	}
	list, err := credits.ParseList(credits.AppendList(nil, sets))
	b.must(err)
	b.set, err = credits.NewSet(list)
	b.must(err)
	for _, l := range list {
		b.listed = append(b.listed, statement.Keyset{ID: l.ID, Data: l.Data})
	}
	b.epoch()
	b.open(keys)
	made := b.admin("/v1/accounts", accounts.NewAccount{Note: "customer 7"})
	var a accounts.AccountKey
	b.must(json.Unmarshal(made, &a))
	b.account = a.Account
	if units > 0 {
		b.admin("/v1/accounts/"+a.Account.String()+"/topup", accounts.Pay{Event: "evt-1", Units: units})
	}
	key := filepath.Join(b.dir, "api-key")
	b.must(os.WriteFile(key, []byte(a.Key+"\n"), 0o600))
	b.pay = cli.Payments{Wallet: filepath.Join(b.dir, "wallet"), Account: &cli.Account{URL: b.server.URL, CA: b.w.CA.File(), Key: key}}
	return b
}

func (b *till) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// epoch publishes an epoch in which requests are paid.
func (b *till) epoch() {
	b.w.Epoch(time.Now(), time.Hour, clienttest.Edit{Statement: func(s *statement.Statement, _ *statement.Pack) {
		s.Payment, s.MintGeneration, s.CoinKeysets, s.TicketKey = statement.PaymentCoins, 1, b.listed, bytes.Repeat([]byte{7}, 32)
		if b.gateway != nil {
			s.GatewayKeys = b.gateway
		}
	}})
}

func (b *till) open(keys string) {
	b.t.Helper()
	store := filepath.Join(b.dir, "accounts.db")
	b.must(accounts.CreateStore(store, 1))
	var err error
	b.bank, err = accounts.New(accounts.Config{Listen: "127.0.0.1:0", TLS: httpx.TLS{Cert: "x", Key: "x"}, Store: store, Keys: keys, Source: b,
		Rules: accounts.Rules{Passes: 8, PassProof: "work", WorkBits: 8}})
	b.must(err)
	b.t.Cleanup(func() { b.bank.Close() })
	id, err := b.w.CA.Issue("bank.example", "127.0.0.1")
	b.must(err)
	tc, err := id.Server(false)
	b.must(err)
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(b.serve))
	b.server.TLS = tc
	b.server.StartTLS()
	b.t.Cleanup(b.server.Close)
}

func (b *till) serve(w http.ResponseWriter, r *http.Request) {
	b.asked.Add(1)
	if b.down.Load() {
		panic(http.ErrAbortHandler)
	}
	if b.lost.Load() || b.lostRedeem.Load() && r.URL.Path == "/v1/redeem" {
		b.bank.Handler().ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	b.bank.Handler().ServeHTTP(w, r)
}

func (b *till) admin(path string, body any) []byte {
	b.t.Helper()
	raw, err := json.Marshal(body)
	b.must(err)
	req := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(raw))
	req.Header.Set("Content-Type", "application/json")
	req.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{DNSNames: []string{"admin.sotto"}}}}}
	rec := httptest.NewRecorder()
	b.bank.AdminHandler().ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		b.t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return rec.Body.Bytes()
}

func (b *till) load(string) (client.Config, error) {
	cfg := b.w.Config()
	var err error
	cfg.Payments, err = b.pay.Config(b.dir)
	return cfg, err
}

// sotto runs a command that has to end with a code.
func (b *till) sotto(want int, stdin string, args ...string) result {
	b.t.Helper()
	root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.Commands(b.load, "trust.yaml")...)
	out, errs, code, err := runFor(b.t, b.patience, root, stdin, args...)
	r := result{stdout: out, stderr: errs, err: err}
	if code != want {
		b.t.Fatalf("sotto %s: exit code %d, want %d: %v\n%s%s", strings.Join(args, " "), code, want, err, out, errs)
	}
	b.secret(r)
	return r
}

// secret fails if the API key, a word list or a seed is in what was printed.
func (b *till) secret(r result) {
	b.t.Helper()
	all := r.stdout + r.stderr
	if r.err != nil {
		all += r.err.Error()
	}
	for _, f := range []string{"api-key", "words", "wallet/seed"} {
		raw, err := os.ReadFile(filepath.Join(b.dir, f))
		if err != nil {
			continue
		}
		if text := strings.TrimSpace(string(raw)); strings.Contains(all, text[max(0, len(text)-40):]) {
			b.t.Errorf("%s was printed: %s", f, all)
		}
	}
}

func (b *till) words() string { return filepath.Join(b.dir, "words") }

func (b *till) create() {
	b.t.Helper()
	b.sotto(cli.ExitOK, "", "wallet", "create", "--words-file", b.words())
}

func TestWalletBuys(t *testing.T) {
	b := newTill(t, 1<<21)
	b.sotto(cli.ExitFailed, "", "wallet", "status") // there is none
	b.create()
	r := b.sotto(cli.ExitOK, "", "wallet", "buy", "1000000")
	has(t, r.stdout, "bought     16 coins of 65536 units, 1048576 units in all", "balance    1048576 units")
	o := object(t, b.sotto(cli.ExitOK, "", "wallet", "status", "--json"))
	if o["balance"] != float64(1<<20) || o["owed"] != 0.0 || o["orders"] != 0.0 {
		t.Errorf("%v", o)
	}
	r = b.sotto(cli.ExitOK, "", "wallet", "status")
	has(t, r.stdout, "coin of 65536", "keyset", "no limit")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "history").stdout, "buy", "1048576 units")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "history", "--account").stdout, "topup", "2097152 units evt-1", "issue")
	t.Run("more than the account has", func(t *testing.T) {
		r := b.sotto(cli.ExitRefused, "", "wallet", "buy", "2097152", "--class", "17")
		has(t, r.err.Error(), "credit.funds", "operator")
		if o := object(t, b.sotto(cli.ExitOK, "", "wallet", "status", "--json")); o["orders"] != 0.0 {
			t.Errorf("%v", o)
		}
	})
	t.Run("a stock", func(t *testing.T) {
		has(t, b.sotto(cli.ExitOK, "", "wallet", "policy", "--stock", "10=8", "--per-epoch", "5000", "--delay", "0").stdout, "8 coins of 1024 units (class 10)", "at most 5000 units")
		has(t, b.sotto(cli.ExitOK, "", "wallet", "buy", "--stock").stdout, "coin of 1024: 8 ready")
		has(t, b.sotto(cli.ExitOK, "", "wallet", "top").stdout, "coin of 1024: 8 ready")
		o := object(t, b.sotto(cli.ExitOK, "", "wallet", "policy", "--stock", "10=0", "--per-epoch", "0", "--json"))
		if o["per_epoch"] != 0.0 || len(o["stock"].(map[string]any)) != 0 {
			t.Errorf("%v", o)
		}
	})
	t.Run("export and import", func(t *testing.T) {
		file := filepath.Join(b.dir, "moved")
		there := filepath.Join(b.dir, "there")
		if err := os.WriteFile(there, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{there, filepath.Join(b.dir, "absent", "file"), filepath.Join(there, "file")} { // and it goes on
			b.sotto(cli.ExitUsage, "", "wallet", "export", bad)
		}
		if strings.Contains(b.sotto(cli.ExitOK, "", "wallet", "status").stdout, "MOVED") {
			t.Error("a file that could not be written stopped the wallet")
		}
		b.sotto(cli.ExitOK, "", "wallet", "export", file)
		has(t, b.sotto(cli.ExitOK, "", "wallet", "status").stdout, "MOVED")
		b.sotto(cli.ExitFailed, "", "wallet", "import", file) // there is one already
		b.pay.Wallet += "-2"
		b.sotto(cli.ExitOK, "", "wallet", "import", file)
		has(t, b.sotto(cli.ExitOK, "", "wallet", "status").stdout, "balance    1056768 units")
	})
}

// TestPassesAndEntitlements: what an account gives for nothing is taken, up to what
// it gives, and costs nothing.
func TestPassesAndEntitlements(t *testing.T) {
	b := newTill(t, 1<<20, wire.TokenCoin, wire.TokenVoucher, wire.TokenPass, wire.TokenEntitlement)
	b.admin("/v1/accounts/"+b.account.String()+"/grant", api.Entitlement{Tier: 3, Tokens: 4})
	b.create()
	has(t, b.sotto(cli.ExitOK, "", "wallet", "buy", "--type", "pass", "5").stdout, "taken      5 of type pass", "pass of 65536: 5 ready", "balance    0 units")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "buy", "--type", "pass", "--class", "10", "3").stdout, "pass of 1024: 3 ready")
	r := b.sotto(cli.ExitRefused, "", "wallet", "buy", "--type", "pass", "1")
	has(t, r.err.Error(), "account.grant")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "buy", "--type", "entitlement", "--tier", "3", "4").stdout, "entitlement of tier 3: 4 ready")
	b.sotto(cli.ExitRefused, "", "wallet", "buy", "--type", "entitlement", "--tier", "3", "1")
	b.sotto(cli.ExitRefused, "", "wallet", "buy", "--type", "entitlement", "--tier", "4", "1") // nobody has one
	if o := object(t, b.sotto(cli.ExitOK, "", "wallet", "status", "--json")); o["balance"] != 0.0 || o["orders"] != 0.0 {
		t.Errorf("%v", o)
	}
	if s := b.sotto(cli.ExitOK, "", "wallet", "history", "--account").stdout; strings.Count(s, "issue") != 3 || strings.Count(s, " 0 units") != 3 {
		t.Error(s)
	}
	for _, args := range [][]string{{"--type", "voucher", "1"}, {"--type", "pass", "0"}, {"--type", "pass", "01"}, {"--type", "pass", "1025"}, {"--type", "pass", "--stock"}, {"--type", "pass"},
		{"--type", "pass", "--tier", "1", "1"}, {"--type", "entitlement", "1"}, {"--type", "entitlement", "--tier", "0", "1"}, {"--type", "entitlement", "--tier", "3", "--class", "10", "1"}, {"--tier", "3", "65536"}} {
		b.sotto(cli.ExitUsage, "", append([]string{"wallet", "buy"}, args...)...)
	}
}

// TestPurchaseIsNotPaidTwice: whatever of a purchase is lost, going on with it
// buys once.
func TestPurchaseIsNotPaidTwice(t *testing.T) {
	t.Run("CT-04", func(t *testing.T) {
		for name, broken := range map[string]func(*till) *atomic.Bool{
			"the question is lost": func(b *till) *atomic.Bool { return &b.down },
			"the answer is lost":   func(b *till) *atomic.Bool { return &b.lost },
		} {
			t.Run(name, func(t *testing.T) {
				b := newTill(t, 1<<20)
				b.create()
				broken(b).Store(true)
				r := b.sotto(cli.ExitBegun, "", "wallet", "buy", "131072")
				has(t, r.err.Error(), "bank.answer", "sotto wallet top")
				has(t, b.sotto(cli.ExitOK, "", "wallet", "status").stdout, "balance    0 units", "begun      1 ")
				b.sotto(cli.ExitBegun, "", "wallet", "top")
				broken(b).Store(false)
				has(t, b.sotto(cli.ExitOK, "", "wallet", "top").stdout, "balance    131072 units")
				if s := b.sotto(cli.ExitOK, "", "wallet", "history", "--account").stdout; strings.Count(s, "issue") != 1 {
					t.Errorf("%s", s)
				}
			})
		}
	})
}

// TestWordsAreSecret: words and keys are in no argument, output or error, and a
// file that others can read is not taken.
func TestWordsAreSecret(t *testing.T) {
	b := newTill(t, 1<<20)
	t.Run("not into a pipe", func(t *testing.T) {
		r := b.sotto(cli.ExitUsage, "", "wallet", "create")
		has(t, r.err.Error(), "--words-file")
		if _, err := os.Stat(b.pay.Wallet); err == nil {
			t.Error("a wallet was made, and nobody has its words")
		}
	})
	b.create()
	st, err := os.Stat(b.words())
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	words, err := os.ReadFile(b.words())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(words))); n != 24 {
		t.Errorf("%d words", n)
	}
	if _, err := wallet.FromWords(string(words)); err != nil {
		t.Error(err)
	}
	t.Run("twice", func(t *testing.T) {
		b.sotto(cli.ExitFailed, "", "wallet", "create", "--words-file", b.words()+"2")
		if _, err := os.Stat(b.words() + "2"); err == nil {
			t.Error("words of no wallet were left behind")
		}
		old := b.pay.Wallet
		b.pay.Wallet += "-other"
		defer func() { b.pay.Wallet = old }()
		b.sotto(cli.ExitFailed, "", "wallet", "create", "--words-file", b.words()) // not over another's words
		if _, err := os.Stat(b.pay.Wallet); err == nil {
			t.Error("a wallet was made, and nobody has its words")
		}
	})
	t.Run("arguments", func(t *testing.T) {
		for _, args := range [][]string{{"create", "abandon"}, {"restore", "abandon"}, {"buy"}, {"buy", "1", "--stock"}, {"buy", "0"}, {"buy", "01"}, {"buy", "-1"}, {"buy", "1e6"},
			{"buy", "18446744073709551616"}, {"buy", "1", "--class", "5"}, {"buy", "1", "--class", "41"}, {"buy", "4611686018427387903"}, {"redeem", "1"}, {"redeem"},
			{"policy", "--stock", "16"}, {"policy", "--stock", "016=1"}, {"policy", "--stock", "5=1"}, {"policy", "--stock", "16=257"}, {"policy", "--window", "0"}, {"export"}, {"import"}} {
			b.sotto(cli.ExitUsage, "", append([]string{"wallet"}, args...)...)
		}
	})
	t.Run("restore", func(t *testing.T) {
		b.pay.Wallet += "-restored"
		const canary = "zebra zoo wrongword"
		r := b.sotto(cli.ExitUsage, canary, "wallet", "restore")
		if strings.Contains(r.err.Error(), "wrongword") || !strings.Contains(r.err.Error(), "3 were given") {
			t.Error(r.err)
		}
		b.sotto(cli.ExitUsage, strings.Repeat("zoo ", 24), "wallet", "restore")
		b.sotto(cli.ExitUsage, strings.Repeat("zoo ", 1000), "wallet", "restore")
		if err := os.Chmod(b.words(), 0o644); err != nil {
			t.Fatal(err)
		}
		has(t, b.sotto(cli.ExitUsage, "", "wallet", "restore", "--words-file", b.words()).err.Error(), "chmod 600")
	})
	t.Run("a key that others can read", func(t *testing.T) {
		if err := os.Chmod(b.pay.Account.Key, 0o640); err != nil {
			t.Fatal(err)
		}
		has(t, b.sotto(cli.ExitFailed, "", "wallet", "buy", "1").err.Error(), "chmod 600")
	})
	t.Run("no key", func(t *testing.T) {
		b.must(os.Chmod(b.pay.Account.Key, 0o600))
		b.must(os.WriteFile(b.pay.Account.Key, []byte("sotto_canary"), 0o600))
		r := b.sotto(cli.ExitFailed, "", "wallet", "buy", "1")
		if strings.Contains(r.err.Error(), "canary") {
			t.Error(r.err)
		}
	})
}

// TestOneOwner: a wallet that is open is not opened again, and who has it is said.
func TestOneOwner(t *testing.T) {
	b := newTill(t, 0)
	b.create()
	cfg, err := b.load("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"wallet", "status"}, {"wallet", "policy"}, {"wallet", "export", filepath.Join(b.dir, "x")}, {"wallet", "top"}} {
		has(t, b.sotto(cli.ExitFailed, "", args...).err.Error(), "open elsewhere", fmt.Sprintf("process %d", os.Getpid()), "one process at a time")
	}
	if r := b.sotto(cli.ExitFailed, "hello", "chat"); r.err == nil || !strings.Contains(r.err.Error(), "open elsewhere") {
		t.Error(r.err)
	}
	c.Close()
	b.sotto(cli.ExitOK, "", "wallet", "status")
}

// TestNoAccount: without one there is nothing to buy from, and nobody is asked.
func TestNoAccount(t *testing.T) {
	b := newTill(t, 0)
	b.create()
	b.pay.Account = nil
	has(t, b.sotto(cli.ExitRefused, "", "wallet", "buy", "1").err.Error(), "payments.account")
	has(t, b.sotto(cli.ExitUsage, "", "wallet", "history", "--account").err.Error(), "payments.account")
	if n := b.asked.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
	t.Run("no section", func(t *testing.T) {
		for _, c := range []string{"create", "status", "top", "history", "policy", "restore"} {
			if _, _, code, err := run(t, command(b.w), "", "wallet", c); code != cli.ExitUsage || !strings.Contains(err.Error(), "payments") {
				t.Errorf("%s: %d %v", c, code, err)
			}
		}
	})
	t.Run("the bank's port is not a relay's connection", func(t *testing.T) {
		for _, d := range b.w.Meter.Dials() {
			if "https://"+d == b.server.URL {
				t.Error("the account's port was dialled by what talks to relays")
			}
		}
	})
}

func TestPaymentsSection(t *testing.T) {
	for name, p := range map[string]cli.Payments{
		"no wallet":      {},
		"a small class":  {Wallet: "w", Class: 5},
		"a large class":  {Wallet: "w", Class: 41},
		"no tokens":      {Wallet: "w", Tokens: -1},
		"no url":         {Wallet: "w", Account: &cli.Account{Key: "k"}},
		"no key":         {Wallet: "w", Account: &cli.Account{URL: "https://b"}},
		"nothing of one": {Wallet: "w", Account: &cli.Account{}},
	} {
		if c, err := p.Config("d"); err == nil || c != nil {
			t.Errorf("%s: taken", name)
		}
	}
	if c, err := (&cli.Payments{Wallet: "w", Class: 40, Tokens: 7, Tier: 3}).Config("d"); err != nil || c.Class != 40 || c.Tokens != 7 || c.Tier != 3 || c.Wallet != nil || c.Source == nil {
		t.Errorf("%+v %v", c, err)
	}
}
