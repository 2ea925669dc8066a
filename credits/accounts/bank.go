// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/transparency"
)

// Config is the identified port's YAML file. The zero Config is refused.
type Config struct {
	// Listen is the TCP address that users reach, such as "0.0.0.0:8443".
	Listen string `yaml:"listen"`
	// TLS is the certificate of that address. Its ca is not used: users have API
	// keys.
	TLS httpx.TLS `yaml:"tls"`
	// Store is the database file, made by `sotto-bank create`. It has nothing in
	// common with the anonymous port's.
	Store string `yaml:"store"`
	// Keys is the directory of key files, as `sotto-bank keys new` writes them. New
	// files are found without a restart.
	Keys string `yaml:"keys"`

	// Publisher is the base of the publisher's public address, as
	// "https://log.example". Not trusted: every statement is verified.
	Publisher string `yaml:"publisher"`
	// PublisherCA names a PEM file of the roots for Publisher's certificate;
	// the system's when empty.
	PublisherCA string `yaml:"publisher_ca"`
	// Trust is the log, and the witnesses, whose statements say which epoch it is,
	// which keysets there are and which generation counts.
	Trust transparency.Trust `yaml:"trust"`
	// Away is how many epochs after the one in which it served last the database
	// is refused as one that may be an old copy. Default 2, as the specification
	// has it; more is for the lab, whose epochs are seconds.
	Away uint64 `yaml:"away"`
	// Poll is the pause between two looks at the publisher. Default 10s.
	Poll time.Duration `yaml:"poll"`
	// Rules are what accounts may have.
	Rules Rules `yaml:"rules"`
	// TopUp lets a payment provider put money on accounts. Empty: only
	// administrators do.
	TopUp Provider `yaml:"topup"`
	// Admin is the address of administrators. Empty: there is none, and no
	// account can be made.
	Admin AdminPort `yaml:"admin"`
	// Metrics is the address of the metrics port. Empty: none.
	Metrics string `yaml:"metrics"`

	// Log gets the bank's own state, never anything of an account. Nil: no log.
	Log *slog.Logger `yaml:"-"`
	// Source replaces publisher and trust, for tests.
	Source Source `yaml:"-"`
}

// An AdminPort is where administrators reach the bank.
type AdminPort struct {
	// Listen is its TCP address, inside the operator's network.
	Listen string `yaml:"listen"`
	// TLS is its identity; administrators have certificates of ca.
	TLS httpx.TLS `yaml:"tls"`
	// Peers are the certificate names that may ask. Default admin.sotto.
	Peers []string `yaml:"peers"`
}

// A Provider is a payment provider's way in.
type Provider struct {
	// Secret is a file with what the provider signs its events with: 32 bytes or
	// more, which only its owner can read.
	Secret string `yaml:"secret"`
	// Units says, for each currency as the provider names it, how many units the
	// smallest part of it is worth. Others are refused.
	Units map[string]uint64 `yaml:"units"`
}

// A Bank is the identified port. Make one with [New].
type Bank struct {
	config Config
	store  *Store
	keys   *issue.Ring
	log    *log // nil: a Source was given
	engine *Engine
	secret redact.Secret // of the payment provider; empty: none
	limits limiter
	reg    *prometheus.Registry
	counts counts

	public, admin http.Handler
}

// Validate checks everything that can be checked without touching a file.
func (c Config) Validate() error { return c.defaults() }

func (c *Config) defaults() error {
	if c.Poll <= 0 {
		c.Poll = 10 * time.Second
	}
	if len(c.Admin.Peers) == 0 {
		c.Admin.Peers = []string{"admin.sotto"}
	}
	switch {
	case c.Listen == "":
		return errors.New("accounts: listen: required")
	case c.TLS.Cert == "" || c.TLS.Key == "":
		return errors.New("accounts: tls: cert and key are needed")
	case c.Store == "":
		return errors.New("accounts: store: required; `sotto-bank create` makes it")
	case c.Keys == "":
		return errors.New("accounts: keys: required; `sotto-bank keys new` fills it")
	case c.Admin.Listen != "" && (c.Admin.TLS.Cert == "" || c.Admin.TLS.Key == "" || c.Admin.TLS.CA == ""):
		return errors.New("accounts: admin: tls: cert, key and ca are all needed")
	case (c.TopUp.Secret == "") != (len(c.TopUp.Units) == 0):
		return errors.New("accounts: topup: secret and units come together")
	}
	for name, units := range c.TopUp.Units {
		if units == 0 || units > 1<<40 || name == "" || len(name) > 16 || !printable(name) {
			return fmt.Errorf("accounts: topup: units: %q: 1 to 2^40 units, a name of up to 16 characters", name)
		}
	}
	if c.Source == nil {
		if _, err := origin(c.Publisher); err != nil {
			return err
		}
		if err := c.Trust.Validate(); err != nil {
			return fmt.Errorf("accounts: trust: %w", err)
		}
	}
	return c.Rules.defaults()
}

// New checks c, opens the database and reads the files that c names. It does
// not listen or dial. Close the Bank when it was not served.
func New(c Config) (*Bank, error) {
	if err := c.defaults(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bank{config: c, keys: issue.NewRing(c.Keys), limits: limiter{rules: c.Rules}, reg: prometheus.NewRegistry()}
	b.register()
	if err := b.keys.Load(); err != nil {
		return nil, err
	}
	if c.TopUp.Secret != "" {
		secret, err := readSecret(c.TopUp.Secret)
		if err != nil {
			return nil, err
		}
		b.secret = secret
	}
	source := c.Source
	if source == nil {
		l, err := newLog(&c)
		if err != nil {
			return nil, err
		}
		b.log, source = l, l
	}
	var err error
	if b.store, err = OpenStore(c.Store); err != nil {
		return nil, err
	}
	if b.engine, err = NewEngine(b.store, source, b.keys, c.Rules, c.Away); err != nil {
		b.store.Close()
		return nil, err
	}
	b.public, b.admin = b.publicRoutes(), b.adminRoutes()
	return b, nil
}

// Close closes the database.
func (b *Bank) Close() error { return b.store.Close() }

// Handler serves users.
func (b *Bank) Handler() http.Handler { return b.public }

// AdminHandler serves administrators; who may ask is judged by their certificates.
func (b *Bank) AdminHandler() http.Handler { return b.admin }

// Poll looks at the publisher and at the directory of keys once.
func (b *Bank) Poll(ctx context.Context) error {
	var errs []error
	if b.log != nil {
		errs = append(errs, b.log.poll(ctx))
	}
	errs = append(errs, b.keys.Load())
	return errors.Join(errs...)
}

// Serve listens on the configured addresses until ctx ends.
func (b *Bank) Serve(ctx context.Context) error {
	public, err := new(net.ListenConfig).Listen(ctx, "tcp", b.config.Listen)
	if err != nil {
		return fmt.Errorf("accounts: listen: %w", err)
	}
	var admin net.Listener
	if a := b.config.Admin.Listen; a != "" {
		if admin, err = new(net.ListenConfig).Listen(ctx, "tcp", a); err != nil {
			return errors.Join(fmt.Errorf("accounts: admin: listen: %w", err), public.Close())
		}
	}
	return b.ServeOn(ctx, public, admin)
}

// ServeOn is [Bank.Serve] on listeners that are there already; admin may be nil.
// It closes them.
func (b *Bank) ServeOn(ctx context.Context, public, admin net.Listener) error {
	jobs, err := b.jobs(public, admin)
	if err != nil {
		err = errors.Join(err, public.Close())
		if admin != nil {
			err = errors.Join(err, admin.Close())
		}
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ends := make(chan error, len(jobs))
	for _, job := range jobs {
		go func() { ends <- job(ctx) }() // all of them are waited for below
	}
	var all error
	for range jobs {
		all = errors.Join(all, <-ends)
		stop() // one that ends, ends all
	}
	return all
}

func (b *Bank) jobs(public, admin net.Listener) ([]func(context.Context) error, error) {
	tc, err := b.config.TLS.Server(false)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	s := httpx.NewServer(b.public)
	s.TLSConfig = tc
	jobs := []func(context.Context) error{
		func(ctx context.Context) error { return httpx.Serve(ctx, public, s) },
		b.poll,
	}
	if admin != nil {
		atc, err := b.config.Admin.TLS.Server(true)
		if err != nil {
			return nil, fmt.Errorf("accounts: admin: %w", err)
		}
		as := httpx.NewServer(b.admin)
		as.TLSConfig = atc
		jobs = append(jobs, func(ctx context.Context) error { return httpx.Serve(ctx, admin, as) })
	}
	if b.config.Metrics != "" {
		jobs = append(jobs, func(ctx context.Context) error { return metrics.Serve(ctx, b.config.Metrics, b.reg) })
	}
	h, err := b.store.LogHead()
	if err != nil {
		return nil, err
	}
	// In the log of the machine, too: a chain that is cut later does not lead to it.
	b.config.Log.Info("admin log", "head", h.String())
	return jobs, nil
}

// poll keeps the bank's time, whether anybody asks or not: an epoch in which it
// did not serve is one after which its database might be a backup.
func (b *Bank) poll(ctx context.Context) error {
	tick := time.NewTicker(b.config.Poll)
	defer tick.Stop()
	state := ""
	for {
		err := b.Poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			b.config.Log.Warn("poll", "err", err)
		}
		now := "ready"
		if _, err := b.engine.View(ctx); err != nil {
			now = statusOf(err).Code
		}
		if now != state {
			b.config.Log.Info("state", "state", now)
			state = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func readSecret(path string) (redact.Secret, error) {
	st, err := os.Stat(path)
	if err != nil {
		return redact.Secret{}, fmt.Errorf("accounts: topup: secret: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return redact.Secret{}, fmt.Errorf("accounts: topup: secret: %s is open to others than its owner (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return redact.Secret{}, fmt.Errorf("accounts: topup: secret: %w", err)
	}
	s := strings.TrimRight(string(b), "\n")
	if len(s) < 32 {
		return redact.Secret{}, fmt.Errorf("accounts: topup: secret: %s has less than 32 bytes", path)
	}
	return redact.New([]byte(s)), nil
}
