// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
)

// Trust is the file that says whom a client believes. It is the user's own:
// nothing that a server sends can change or widen it. Paths in it are relative
// to the file.
type Trust struct {
	// Relays are the base URLs of two or more relays of independent operators.
	Relays []string `yaml:"relays"`
	// RelayCA is a PEM file with the roots that the relays' certificates chain
	// to. Empty means the system's roots.
	RelayCA string `yaml:"relay_ca,omitempty"`
	// Log names the statement log and its signers.
	Log transparency.Trust `yaml:"log"`
	// Policy is a JSON file: which machines may see a prompt.
	Policy string `yaml:"policy"`
	// Releases is a JSON file: whose releases to believe (docs/spec/release.md).
	// Absent: the policy alone says what may run. Policies that start from the
	// profile strict or business need it.
	Releases string `yaml:"releases,omitempty"`
	// Candidates is how many nodes a request is sealed to; 3 if absent.
	Candidates int `yaml:"candidates,omitempty"`
	// MinSet is the fewest nodes that a draw is made from; as many as Candidates
	// if absent.
	MinSet int `yaml:"min_set,omitempty"`
	// Steering says what an alarm of the steering statistic does: "warn" never
	// refuses, "refuse" refuses at a warning; if absent, warnings are shown and
	// surer alarms refuse.
	Steering string `yaml:"steering,omitempty"`
	// Shaping is "frames" (the default), "constant" or "off".
	Shaping string `yaml:"shaping,omitempty"`
	// MaxFreshness is the largest age of the youngest cosigned checkpoint,
	// such as "5m"; five minutes if absent.
	MaxFreshness string `yaml:"max_freshness,omitempty"`
	// State is a directory for what is remembered of the log; "none" keeps
	// nothing. The system's place for what programs keep if absent.
	State string `yaml:"state,omitempty"`
	// Payments is how epochs that ask for coins are paid; they are refused if
	// absent.
	Payments *Payments `yaml:"payments,omitempty"`
}

// LoadTrust reads a trust file. The hardware roots are the vendors', built into
// this program; a file cannot add any.
func LoadTrust(path string) (client.Config, error) {
	var none client.Config
	if path == "" {
		return none, errors.New("no trust file; name one with --trust (docs/trust-file.md shows one)")
	}
	t, err := config.Load[Trust](path)
	if err != nil {
		return none, err
	}
	beside := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(filepath.Dir(path), p)
	}
	if t.Policy == "" {
		return none, fmt.Errorf("%s: field policy is missing: which machines may see a prompt?", path)
	}
	b, err := os.ReadFile(beside(t.Policy))
	if err != nil {
		return none, err
	}
	policy, err := attestation.ParsePolicy(b)
	if err != nil {
		return none, fmt.Errorf("%s: %v", beside(t.Policy), err)
	}
	policy.Roots = attestation.VendorRoots()
	releases, err := loadReleases(path, t.Releases, beside)
	if err != nil {
		return none, err
	}
	if releases == nil && (policy.Profile == "strict" || policy.Profile == "business") {
		return none, fmt.Errorf("%s: field releases is missing: the profile %q asks that what runs was released to everybody; name whose releases to believe", path, policy.Profile)
	}
	cfg := client.Config{
		Relays:     t.Relays,
		Trust:      t.Log,
		Policy:     policy,
		Releases:   releases,
		Candidates: t.Candidates,
		MinSet:     t.MinSet,
		Steering:   t.Steering,
		Shaping:    t.Shaping,
	}
	switch t.State {
	case "":
		cfg.State = defaultState()
	case noState:
	default:
		cfg.State = beside(t.State)
	}
	if t.MaxFreshness != "" {
		if cfg.MaxFreshness, err = time.ParseDuration(t.MaxFreshness); err != nil || cfg.MaxFreshness <= 0 {
			return none, fmt.Errorf("%s: field max_freshness: %q is no duration such as 5m", path, t.MaxFreshness)
		}
	}
	if t.Payments != nil {
		if cfg.Payments, err = t.Payments.Config(filepath.Dir(path)); err != nil {
			return none, fmt.Errorf("%s: field payments: %w", path, err)
		}
	}
	if t.RelayCA != "" {
		pem, err := os.ReadFile(beside(t.RelayCA))
		if err != nil {
			return none, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return none, fmt.Errorf("%s: no certificate in it", beside(t.RelayCA))
		}
		cfg.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	return cfg, nil
}

// loadReleases reads the file of whose releases to believe: a file of the user's
// own, never something to be fetched (AT-44).
func loadReleases(trust, name string, beside func(string) string) (*release.Trust, error) {
	if name == "" {
		return nil, nil
	}
	if strings.Contains(name, "://") {
		return nil, transparency.Refuse(release.CodeRemote, "%s: field releases: %q is to be fetched: name a file of your own", trust, name)
	}
	b, err := os.ReadFile(beside(name))
	if err != nil {
		return nil, err
	}
	t, err := release.ParseTrust(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", beside(name), err)
	}
	return t, nil
}
