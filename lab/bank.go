// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/account"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/credits/ceremony"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency"
)

// The lab's money is play money: an account with more of it than anybody uses
// up, and prices at which a prompt costs a part of a coin.
const (
	playMoney  = 1 << 40
	generation = 1
	periodEnds = 1 << 30 // one mint period for as long as a lab runs
)

var labPrices = map[uint8]uint32{0: 64, 1: 64, 2: 32_000}

func (p *plan) paid() bool { return p.opts.Coins }

// bankName names the bank's processes: "bank", "bank-2", and so on.
func bankName(i int) string {
	if i == 0 {
		return "bank"
	}
	return fmt.Sprintf("bank-%d", i+1)
}

func (p *plan) bankDir(name ...string) string {
	return filepath.Join(append([]string{p.dir, "bank"}, name...)...)
}

func (p *plan) payment() string {
	if p.paid() {
		return "coins"
	}
	return "none"
}

// bank makes keys and databases that are not there yet, and the wallets.
func (p *plan) bank() error {
	if !p.paid() {
		return nil
	}
	if _, err := os.Stat(p.bankDir("ticket.key.pub")); errors.Is(err, fs.ErrNotExist) {
		if err := p.mint(); err != nil {
			return err
		}
	}
	for _, name := range []string{"wallet", "wallet-proxy"} {
		if err := makeWallet(filepath.Join(p.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) mint() error {
	if err := os.MkdirAll(p.bankDir("keys"), 0o700); err != nil {
		return err
	}
	coins := make([]uint8, client.DefaultClass+7)
	for i := range coins {
		coins[i] = uint8(i)
	}
	plan := ceremony.Plan{First: 1, Last: periodEnds, SpendLast: periodEnds, Coins: coins, Vouchers: coins}
	if _, _, err := ceremony.Run(p.bankDir("keys"), plan, "sotto-lab, SIMULATED", time.Now(), rand.Reader); err != nil {
		return err
	}
	if err := accounts.CreateStore(p.bankDir("accounts.db"), generation); err != nil {
		return err
	}
	store, err := p.bankStore()
	if err != nil {
		return err
	}
	if err := bank.CreateStore(context.Background(), store, generation); err != nil {
		return err
	}
	public, err := bank.CreateTicketKey(p.bankDir("ticket.key"), rand.Reader)
	if err != nil {
		return err
	}
	return os.WriteFile(p.bankDir("ticket.key.pub"), public, 0o644)
}

// makeWallet makes a wallet that keeps itself in coins, if there is none.
func makeWallet(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	seed, err := wallet.NewSeed(rand.Reader)
	if err != nil {
		return err
	}
	w, err := wallet.Create(dir, seed)
	if err != nil {
		return err
	}
	policy := wallet.DefaultPolicy()
	// Play money need not wait: what a wait hides, a lab of one user cannot show.
	policy.Stock, policy.Delay = labStock(), 0
	return errors.Join(w.SetPolicy(policy), w.Close())
}

// labStock is how many coins of each class a wallet keeps: long prompts are paid
// with the classes above the first.
func labStock() map[uint8]int {
	return map[uint8]int{client.DefaultClass: 32, client.DefaultClass + 3: 4, client.DefaultClass + 6: 2}
}

func (p *plan) prices() map[uint8]uint32 {
	if !p.paid() {
		return nil
	}
	return labPrices
}

func (p *plan) ticketKeys() ([]string, error) {
	if !p.paid() {
		return nil, nil
	}
	b, err := os.ReadFile(p.bankDir("ticket.key.pub"))
	return []string{hex.EncodeToString(b)}, err
}

// bankStore says where the anonymous port keeps its books.
func (p *plan) bankStore() (c bank.Config, err error) {
	if p.opts.Postgres == "" {
		c.SQLite = p.bankDir("spent.db")
		return c, nil
	}
	c.Postgres, err = filepath.Abs(p.opts.Postgres)
	return c, err
}

func (p *plan) bankConfig(s *seat, trust *transparency.Trust) (bank.Config, error) {
	c, err := p.bankStore()
	if err != nil {
		return c, err
	}
	c.Listen, c.Publisher, c.PublisherCA, c.Trust = addr(s), p.seat("publisher").url, p.public.ca(), *trust
	c.Keys, c.TicketKey = p.bankDir("keys"), p.bankDir("ticket.key")
	c.Away, c.Poll, c.Metrics = periodEnds, 200*time.Millisecond, s.metrics
	c.TLS, err = p.operator.issue(s.name, wire.BankAuthority)
	return c, err
}

func (p *plan) accountsConfig(s *seat, trust *transparency.Trust) (accounts.Config, error) {
	public, err := p.public.issue(s.name, s.name+".sotto")
	if err != nil {
		return accounts.Config{}, err
	}
	inside, err := p.operator.issue(s.name+"-admin", "accounts.sotto")
	return accounts.Config{
		Listen: addr(s), TLS: public, Store: p.bankDir("accounts.db"), Keys: p.bankDir("keys"),
		Publisher: p.seat("publisher").url, PublisherCA: p.public.ca(), Trust: *trust,
		Away: periodEnds, Poll: 200 * time.Millisecond, Metrics: s.metrics,
		Admin: accounts.AdminPort{Listen: s.listeners[1].Addr().String(), TLS: inside},
	}, err
}

// payments is how a client with a wallet of its own pays; nil where nobody does.
func (p *plan) payments(wallet string) *cli.Payments {
	if !p.paid() {
		return nil
	}
	return &cli.Payments{Wallet: wallet, Account: &cli.Account{
		URL: p.seat("accounts").url, CA: p.public.ca(), Key: filepath.Join("bank", accountKey),
	}}
}

// accountKey is the file with the API key of the lab's one account.
const accountKey = "account.key"

// fund opens the account, as an administrator does, and puts play money on it.
func (l *Lab) fund(ctx context.Context) error {
	path := l.plan.bankDir(accountKey)
	if _, err := os.Stat(path); err == nil || !l.plan.paid() {
		return nil
	}
	if _, err := l.plan.operator.issue("admin", "admin.sotto"); err != nil {
		return err
	}
	tc, err := l.plan.operator.files("admin").Client("accounts.sotto")
	if err != nil {
		return err
	}
	t := httpx.NewTransport(tc)
	defer t.CloseIdleConnections()
	call := func(path string, in, out any) error {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		url := "https://" + l.plan.seat("accounts").listeners[1].Addr().String() + path
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := t.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: status %d: %s", path, resp.StatusCode, b)
		}
		return json.Unmarshal(b, out)
	}
	var made accounts.AccountKey
	if err := l.patiently(ctx, func() error { return call("/v1/accounts", accounts.NewAccount{Note: "SIMULATED"}, &made) }); err != nil {
		return fmt.Errorf("account at the bank: %w", err)
	}
	var done accounts.Done
	if err := call("/v1/accounts/"+made.Account.String()+"/topup", accounts.Pay{Event: "play-money", Units: playMoney}, &done); err != nil {
		return fmt.Errorf("play money: %w", err)
	}
	return durable.CreateFile(path, []byte(made.Key+"\n"), 0o600)
}

// patiently tries f until it works or the start took too long: the bank serves
// once it has seen a statement.
func (l *Lab) patiently(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// purses numbers the wallets of a process's clients.
var purses atomic.Int64

// A purse makes a wallet of its own when it is opened: a wallet belongs to one
// client at a time, and tests have many.
type purse struct {
	dir     string
	account account.Config
}

func (p *purse) Open() (*wallet.Wallet, client.Issuer, error) {
	a, err := account.Open(p.account)
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(p.dir, fmt.Sprintf("wallet-%d-%d", os.Getpid(), purses.Add(1)))
	if err := makeWallet(dir); err != nil {
		return nil, nil, err
	}
	w, err := wallet.Open(dir)
	return w, a, err
}

// purse is how one more client of the lab pays; nil where nobody does.
func (l *Lab) purse() *client.Payments {
	if !l.plan.paid() {
		return nil
	}
	return &client.Payments{Source: &purse{l.dir, l.accountConfig()}}
}

func (l *Lab) accountConfig() account.Config {
	return account.Config{URL: l.plan.seat("accounts").url, CA: l.plan.public.ca(), Key: l.plan.bankDir(accountKey)}
}

func serveBank(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[bank.Config](path)
	if err != nil {
		return err
	}
	b, err := bank.New(cfg, log)
	if err != nil {
		return err
	}
	return errors.Join(b.ServeOn(ctx, lns[0]), b.Close())
}

func serveAccounts(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[accounts.Config](path)
	if err != nil {
		return err
	}
	cfg.Log = log
	b, err := accounts.New(cfg)
	if err != nil {
		return err
	}
	return errors.Join(b.ServeOn(ctx, lns[0], lns[1]), b.Close())
}
