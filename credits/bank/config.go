// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bank

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/postgres"
	"github.com/sotto-project/sotto/credits/redeem/sqlite"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/follow"
)

// Config is the anonymous port's YAML file. The zero Config is refused.
type Config struct {
	// Listen is the TCP address that router and gateway reach.
	Listen string `yaml:"listen"`
	// TLS is the bank's identity and the operator's CA.
	TLS httpx.TLS `yaml:"tls"`
	// Routers are the certificate names that may hold, turn and settle. Default
	// router.sotto.
	Routers []string `yaml:"routers"`
	// Gateways are the certificate names that bring clients' own requests:
	// change, swap, tables. Default gateway.sotto.
	Gateways []string `yaml:"gateways"`
	// Publisher is the base of the publisher's public address, as
	// "https://log.example". Not trusted: every statement is verified.
	Publisher string `yaml:"publisher"`
	// PublisherCA names a PEM file of the roots for Publisher's certificate;
	// the system's when empty.
	PublisherCA string `yaml:"publisher_ca"`
	// Trust is the log, and the witnesses, whose statements count.
	Trust transparency.Trust `yaml:"trust"`
	// SQLite is the database file, made by `sotto-bank create`, for one bank
	// process. It has nothing in common with the identified port's.
	SQLite string `yaml:"sqlite"`
	// Postgres, in place of SQLite, is a file with one line, a PostgreSQL
	// connection string, that only its owner can read: it may hold a password.
	// Several bank processes can share the database.
	Postgres string `yaml:"postgres"`
	// Keys is the directory of key files, as the identified port has them. New
	// files are found without a restart.
	Keys string `yaml:"keys"`
	// TicketKey is the file of the key that signs tickets; the statement names
	// its public side.
	TicketKey string `yaml:"ticket_key"`
	// Rates is how many requests an epoch has room for, by the type of token that
	// pays: "coin", "pass"; and how many swaps: "swap". What is not there has no limit.
	Rates map[string]uint64 `yaml:"rates"`
	// Away is from how many epochs without service on a database is taken for an
	// old copy, which `sotto-bank restore` must raise first. Default 2: it served
	// in the epoch before the newest statement's, or later.
	Away uint64 `yaml:"away"`
	// Poll is the pause between two looks at the publisher. Default 10s.
	Poll time.Duration `yaml:"poll"`
	// Metrics is the address of the metrics port. Empty: none.
	Metrics string `yaml:"metrics"`
}

// types are the names of [Config.Rates].
var types = map[string]uint8{"coin": wire.TokenCoin, "pass": wire.TokenPass, "swap": redeem.RateSwap}

func (c *Config) defaults() {
	if len(c.Routers) == 0 {
		c.Routers = []string{"router.sotto"}
	}
	if len(c.Gateways) == 0 {
		c.Gateways = []string{"gateway.sotto"}
	}
	if c.Poll <= 0 {
		c.Poll = 10 * time.Second
	}
	if c.Away == 0 {
		c.Away = 2
	}
}

// Validate checks everything that can be checked without touching a file.
func (c Config) Validate() error {
	switch {
	case c.TLS.Cert == "" || c.TLS.Key == "" || c.TLS.CA == "":
		return errors.New("bank: tls: cert, key and ca are all needed")
	case (c.SQLite == "") == (c.Postgres == ""):
		return errors.New("bank: sqlite or postgres: one of them, made by `sotto-bank create`")
	case c.Keys == "":
		return errors.New("bank: keys: required; `sotto-bank keys new` fills it")
	case c.TicketKey == "":
		return errors.New("bank: ticket_key: required")
	}
	for name := range c.Rates {
		if _, ok := types[name]; !ok {
			return fmt.Errorf("bank: rates: %q pays for no request", name)
		}
	}
	if _, err := c.origin(); err != nil {
		return err
	}
	if err := c.Trust.Validate(); err != nil {
		return fmt.Errorf("bank: trust: %w", err)
	}
	return nil
}

// origin accepts an absolute https URL of scheme, host and path alone.
func (c *Config) origin() (*url.URL, error) {
	u, err := url.Parse(c.Publisher)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("bank: publisher: want an https URL, have %q", c.Publisher)
	}
	if u.Path == "" {
		u.Path = "/" // JoinPath onto an empty path gives a relative one, which no server takes
	}
	return u, nil
}

func (c *Config) openStore(ctx context.Context) (redeem.Store, error) {
	if c.SQLite != "" {
		return sqlite.Open(ctx, c.SQLite)
	}
	conn, err := c.connString()
	if err != nil {
		return nil, err
	}
	return postgres.Open(ctx, conn)
}

// CreateStore makes the database of a configuration, empty. Take a generation
// that no statement has ever named: an empty database has forgotten what was
// spent in an old one.
func CreateStore(ctx context.Context, c Config, generation uint64) error {
	if c.SQLite != "" {
		return sqlite.Create(ctx, c.SQLite, generation)
	}
	conn, err := c.connString()
	if err != nil {
		return err
	}
	return postgres.Create(ctx, conn, generation)
}

// Named returns the highest mint generation that statements name now: see
// [follow.Publisher.Generation].
func (c *Config) Named(ctx context.Context) (uint64, error) {
	base, err := c.origin()
	if err != nil {
		return 0, err
	}
	pc, err := httpx.TLS{CA: c.PublisherCA}.Client("")
	if err != nil {
		return 0, fmt.Errorf("bank: publisher_ca: %w", err)
	}
	t := httpx.NewTransport(pc)
	defer t.CloseIdleConnections()
	return follow.NewPublisher(base, t).Generation(ctx, &c.Trust)
}

// Restore raises the generation of a database that is back from a backup, or
// was promoted, to one above its own and above what statements have named, and
// returns it. (A backup that comes back a second time has the number before the
// one that its first return was given: by its own count alone it would be the
// database that everybody was told of, with what was spent since forgotten.) It
// serves when a statement names it; every other copy stops then. A SQLite file
// must not be in use.
func Restore(ctx context.Context, c Config, named uint64) (generation uint64, err error) {
	s, err := c.openStore(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m, err := s.Meta(ctx)
	if err != nil {
		return 0, err
	}
	generation = max(m.Generation, named) + 1
	return generation, s.Raise(ctx, generation)
}

// readPrivate reads a small file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is open to others than its owner (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	if st.Size() > 4096 {
		return nil, fmt.Errorf("%s: larger than 4096 bytes", path)
	}
	return os.ReadFile(path)
}

// connString reads the file of [Config.Postgres].
func (c *Config) connString() (string, error) {
	b, err := readPrivate(c.Postgres)
	if err != nil {
		return "", fmt.Errorf("bank: postgres: %w", err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("bank: postgres: %s: want one line", c.Postgres)
	}
	return s, nil
}
