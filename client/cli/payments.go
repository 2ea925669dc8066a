// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/account"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/wire"
)

// Payments is the trust file's section on how to pay.
type Payments struct {
	// Wallet is the wallet's folder.
	Wallet string `yaml:"wallet"`
	// Class, Tokens, Tier and Wait are as in [client.Payments].
	Class  uint8 `yaml:"class,omitempty"`
	Tokens int   `yaml:"tokens,omitempty"`
	Tier   uint8 `yaml:"tier,omitempty"`
	Wait   bool  `yaml:"wait,omitempty"`
	// Account is the account at the bank that coins are bought from. Without one the
	// wallet is filled by import, and by change, only.
	Account *Account `yaml:"account,omitempty"`
}

// Account is the trust file's section on an account at a bank.
type Account struct {
	URL string `yaml:"url"`          // of the identified port, https
	CA  string `yaml:"ca,omitempty"` // PEM; the system's roots if absent
	Key string `yaml:"key"`          // file with the API key
}

// Config is what a client takes. Relative paths are below dir. Nothing is opened
// yet.
func (p *Payments) Config(dir string) (*client.Payments, error) {
	below := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	switch {
	case p.Wallet == "":
		return nil, errors.New("wallet is missing: in which folder are the coins?")
	case p.Class != 0 && (p.Class < wire.MinClass || p.Class > wire.MaxClass):
		return nil, fmt.Errorf("class is %d to %d", wire.MinClass, wire.MaxClass)
	case p.Tokens < 0:
		return nil, errors.New("tokens is how long an answer may be, 1 or more")
	}
	s := &purse{dir: below(p.Wallet)}
	if a := p.Account; a != nil {
		if a.URL == "" || a.Key == "" {
			return nil, errors.New("account needs url and key")
		}
		s.account = &account.Config{URL: a.URL, CA: below(a.CA), Key: below(a.Key)}
	}
	return &client.Payments{Class: p.Class, Tokens: p.Tokens, Tier: p.Tier, Wait: p.Wait, Source: s}, nil
}

// ownerFile says, for people, who has the wallet open. The lock is what counts.
const ownerFile = "owner"

// A purse opens the wallet and the account that a trust file names.
type purse struct {
	dir     string
	account *account.Config
	name    string // of who opens it, for others
}

// purseOf returns the purse of a configuration that has one.
func purseOf(c *client.Config) (*purse, bool) {
	if c.Payments == nil {
		return nil, false
	}
	p, ok := c.Payments.Source.(*purse)
	return p, ok
}

// Open implements [client.Source].
func (p *purse) Open() (*wallet.Wallet, client.Issuer, error) {
	var issuer client.Issuer
	if p.account != nil {
		a, err := account.Open(*p.account)
		if err != nil {
			return nil, nil, err
		}
		issuer = a
	}
	w, err := p.wallet()
	if err != nil {
		return nil, nil, err
	}
	return w, issuer, nil
}

func (p *purse) wallet() (*wallet.Wallet, error) {
	w, err := wallet.Open(p.dir)
	if err != nil {
		return nil, p.explain(err)
	}
	// A hint and no more: if it cannot be written, or is an old one, nothing breaks.
	_ = durable.WriteFile(filepath.Join(p.dir, ownerFile), fmt.Appendf(nil, "%s, process %d\n", cmp.Or(p.name, "a proxy or a program of its own"), os.Getpid()), 0o600)
	return w, nil
}

// explain says what to do about a wallet that does not open.
func (p *purse) explain(err error) error {
	switch {
	case errors.Is(err, durable.ErrLocked):
		who := "another process"
		if b, err := readCapped(filepath.Join(p.dir, ownerFile), 256); err == nil && len(b) > 0 {
			who = strings.TrimSpace(string(b))
		}
		return fmt.Errorf("the wallet %s is open elsewhere (%s): a wallet is used by one process at a time. End that one first; "+
			"while sotto proxy has it, its control port shows it (GET /wallet), and programs can pay through the proxy", p.dir, who)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no wallet in %s: sotto wallet create makes one, sotto wallet restore finds one again from its words", p.dir)
	}
	return err
}
