// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// A Config is the gateway's one YAML file. Every limit has a default that
// holds when the field is zero; everything else must be given.
type Config struct {
	// Listen is the TCP address that relays dial, such as ":8443".
	Listen string `yaml:"listen"`
	// TLS is the server's identity towards relays, who are strangers: they
	// present no certificate, and its ca is not read.
	TLS httpx.TLS `yaml:"tls"`
	// Metrics is the address of the metrics port; none if empty.
	Metrics string `yaml:"metrics"`

	// Keys are paths of key files (see CreateKeyFile), in the order in which
	// the gateway prefers them. All are valid at once. To rotate, replace the
	// files, say next -> current -> previous; they are read again every
	// KeyPoll, and a set that does not load leaves the old one in force.
	Keys []string `yaml:"keys"`
	// KeyPoll is how often the key files are read again. Default 30s.
	KeyPoll time.Duration `yaml:"key_poll"`

	// Identity is the client certificate shown to the origins, and the roots
	// their certificates must chain to. Its name is gateway.sotto.
	Identity httpx.TLS `yaml:"identity"`
	// Router and Bank are where the two authorities inside the encapsulation
	// lead. A bank without a URL is not served.
	Router Origin `yaml:"router"`
	Bank   Origin `yaml:"bank"`

	// MaxRequest is the largest encapsulated request in bytes. Default 64 MiB.
	MaxRequest int64 `yaml:"max_request"`
	// MaxWhole is the largest message, in bytes and each way, in the form of
	// RFC 9458, which is held in memory. Default 1 MiB.
	MaxWhole int `yaml:"max_whole"`
	// MaxInFlight is how many requests run at once; further ones are refused.
	// Default 16384.
	MaxInFlight int `yaml:"max_in_flight"`
	// ReplayWindow is how many of a key's latest requests are remembered at
	// least, each in 8 to 16 bytes. Default 1048576. See docs/spec/oblivious-http.md.
	ReplayWindow int `yaml:"replay_window"`
	// DateWindow is how far the date field inside a request may be off, where
	// a client sends one. Default 1h.
	DateWindow time.Duration `yaml:"date_window"`
}

// An Origin is one fixed place that requests are forwarded to.
type Origin struct {
	// URL is scheme, host and port: "https://10.0.0.5:8443". No path.
	URL string `yaml:"url"`
	// Name is the DNS name that the origin's certificate must carry. Default:
	// router.sotto or bank.sotto.
	Name string `yaml:"name"`
	// Replicas are further addresses, as "10.0.0.9:8443", of processes that
	// serve the same: banks on one PostgreSQL, say.
	Replicas []string `yaml:"replicas"`
}

// withDefaults returns the configuration with its defaults, or what is wrong
// with it.
func (c Config) withDefaults() (Config, error) {
	def(&c.KeyPoll, 30*time.Second)
	def(&c.DateWindow, time.Hour)
	def(&c.MaxRequest, 64<<20)
	def(&c.MaxWhole, 1<<20)
	def(&c.MaxInFlight, 16384)
	def(&c.ReplayWindow, 1<<20)
	def(&c.Router.Name, "router.sotto")
	def(&c.Bank.Name, "bank.sotto")
	switch {
	case len(c.Keys) == 0:
		return c, errors.New("gateway: keys: at least one is needed")
	case c.Router.URL == "":
		return c, errors.New("gateway: router: url is missing")
	case c.Identity.Cert == "" || c.Identity.Key == "" || c.Identity.CA == "":
		return c, errors.New("gateway: identity: cert, key and ca are needed: origins are spoken to over mutual TLS")
	case c.KeyPoll < 0 || c.DateWindow < 0 || c.MaxRequest < 0 || c.MaxWhole < 0 || c.MaxInFlight < 0 || c.ReplayWindow < 0:
		return c, errors.New("gateway: a limit is negative")
	}
	if err := c.Router.valid(); err != nil {
		return c, fmt.Errorf("gateway: router: %v", err)
	}
	if c.Bank.URL == "" {
		if len(c.Bank.Replicas) > 0 {
			return c, errors.New("gateway: bank: replicas come beside url, which is missing")
		}
		return c, nil
	}
	if err := c.Bank.valid(); err != nil {
		return c, fmt.Errorf("gateway: bank: %v", err)
	}
	return c, nil
}

func (o Origin) valid() error {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return errors.New("url must be https://host:port and nothing else")
	}
	if err := httpx.CheckReplicas(o.Replicas); err != nil {
		return fmt.Errorf("replicas: %v", err)
	}
	return nil
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
