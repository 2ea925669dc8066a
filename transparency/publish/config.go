// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Config is the publisher's YAML file. The operator owns and trusts it; what
// it says becomes public with the next statement.
type Config struct {
	// Listen is the address of the public port, such as "0.0.0.0:8443". Required.
	Listen string `yaml:"listen"`
	// TLS is the public port's certificate. Readers need not trust it: what is
	// served verifies by itself. Without one the port speaks cleartext, which
	// only the lab has a use for.
	TLS httpx.TLS `yaml:"tls"`
	// Metrics is the address of the metrics port. Empty: none.
	Metrics string `yaml:"metrics"`

	// Dir is the log's directory, made once by CreateLog. It holds the log's
	// identity: back it up, never restore it beside a log that went on.
	Dir string `yaml:"dir"`
	// Origin names the log for ever, such as "example.org/sotto". Required.
	Origin string `yaml:"origin"`

	// Witnesses cosign the log: nothing is published before Quorum of them have.
	// None: the log's own clock cosigns, which says when, and not that others see
	// the same. Readers need these keys and the quorum in their trust.
	Witnesses []WitnessConfig `yaml:"witnesses"`
	// Quorum is how many witnesses must have cosigned, 1 to all. Required with
	// witnesses.
	Quorum int `yaml:"quorum"`

	// Epoch is how long one lasts. Default 1h.
	Epoch time.Duration `yaml:"epoch"`
	// Lead is how long before an epoch ends the next statement is made. Default
	// a sixth of Epoch.
	Lead time.Duration `yaml:"lead"`
	// Freshness is how often the checkpoint is cosigned anew and freshness
	// evidence collected over it. Default 1m.
	Freshness time.Duration `yaml:"freshness"`
	// NodeTimeout bounds one request to one node. Default 20s.
	NodeTimeout time.Duration `yaml:"node_timeout"`
	// Patience is how long the first epoch after a start waits for nodes that do
	// not answer yet, once one does. Default 10s.
	Patience time.Duration `yaml:"patience"`

	// Nodes are asked for keys and evidence at each epoch. At least one.
	Nodes []NodeConfig `yaml:"nodes"`
	// NodeTLS is the client identity that nodes know as publisher.sotto, and the
	// roots their certificates chain to.
	NodeTLS httpx.TLS `yaml:"node_tls"`
	// Policy is a JSON file: which machines may be listed. It protects the
	// operator's name, not the clients, who decide by their own.
	Policy string `yaml:"policy"`

	// GatewayKeys are files in application/ohttp-keys format (RFC 9458, Section
	// 3.2), preferred first. They are read anew for each statement.
	GatewayKeys []string `yaml:"gateway_keys"`
	// Payment is "none" or "coins". Required, so that nobody runs for free by
	// forgetting a line.
	Payment string `yaml:"payment"`
	// MintGeneration is the bank's; it only rises.
	MintGeneration uint64 `yaml:"mint_generation"`
	// TicketKey is a file with the bank's public ticket key. Empty with "none".
	TicketKey string `yaml:"ticket_key"`
	// CoinKeysets is the bank's public list of keysets, as `sotto-bank keys` writes
	// it. It is read anew for each statement. Empty with "none".
	CoinKeysets string `yaml:"coin_keysets"`
	// Models are what nodes may serve.
	Models []ModelConfig `yaml:"models"`
	// Releases are what nodes may run. Their files travel with every statement that
	// names them, and are read anew for each.
	Releases []ReleaseConfig `yaml:"releases"`
}

// A WitnessConfig is one witness of the log, run by somebody else.
type WitnessConfig struct {
	// URL is the witness's submission prefix (C2SP tlog-witness), https. It is
	// trusted with availability only.
	URL string `yaml:"url"`
	// Keys are its verifier keys: type 0x04 (Ed25519), 0x06 (ML-DSA-44) or both.
	Keys []string `yaml:"keys"`
	// CA names a PEM file of the roots for its certificate; the system's when empty.
	CA string `yaml:"ca"`
}

// A NodeConfig is one node to ask.
type NodeConfig struct {
	// Name is for the operator's log. Required, unique.
	Name string `yaml:"name"`
	// URL is the node's base URL.
	URL string `yaml:"url"`
	// ServerName is the name in the node's certificate; the URL's host if empty.
	ServerName string `yaml:"server_name"`
	// Model is the model it is to be listed for, a name in Models.
	Model string `yaml:"model"`
	// Claims are published as merely stated, in place of the node's own if given.
	Claims map[string]string `yaml:"claims"`
	// Prices, by class, in place of the node's own if given.
	Prices map[uint8]uint32 `yaml:"prices"`
}

// A ModelConfig is one model on offer.
type ModelConfig struct {
	Name    string   `yaml:"name"`
	Weights string   `yaml:"weights"` // SHA-256 in hex
	Context uint32   `yaml:"context"` // tokens
	APIs    []string `yaml:"apis"`    // "chat", "completions", "embeddings"
}

// A ReleaseConfig names one release.
type ReleaseConfig struct {
	// Name is for people, such as "sotto v1.2.3".
	Name string `yaml:"name"`
	// File is the release file, as sotto-release writes it. Required.
	File string `yaml:"file"`
	// Digest is its SHA-256 in hex; with it no other file is listed. Optional.
	Digest string `yaml:"digest"`
}

// withDefaults fills in what may be left out.
func (c Config) withDefaults() Config {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Epoch, time.Hour}, {&c.Freshness, time.Minute}, {&c.NodeTimeout, 20 * time.Second}, {&c.Patience, 10 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Lead == 0 {
		c.Lead = max((c.Epoch / 6).Truncate(time.Second), time.Second)
	}
	return c
}

// Validate checks everything that can be checked without touching a file.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.Listen == "" || c.Dir == "" || c.Origin == "":
		return errors.New("publish: listen, dir and origin are required")
	case c.Epoch < 2*time.Second || c.Epoch%time.Second != 0:
		return fmt.Errorf("publish: epoch: %v is not a whole number of seconds, 2 or more", c.Epoch)
	case c.Lead < 0 || c.Lead >= c.Epoch || c.Lead%time.Second != 0:
		return fmt.Errorf("publish: lead: %v is not a whole number of seconds, less than an epoch", c.Lead)
	case c.Freshness <= 0 || c.NodeTimeout <= 0 || c.Patience < 0:
		return errors.New("publish: freshness, node_timeout and patience must be positive")
	case len(c.Nodes) == 0 || len(c.Models) == 0 || len(c.GatewayKeys) == 0:
		return errors.New("publish: nodes, models and gateway_keys are required")
	}
	if err := c.validateWitnesses(); err != nil {
		return err
	}
	mode, err := paymentMode(c.Payment)
	if err != nil {
		return err
	}
	if paid := mode == statement.PaymentCoins; (c.TicketKey != "") != paid || (c.CoinKeysets != "") != paid || (c.MintGeneration != 0) != paid {
		return errors.New(`publish: payment "coins" needs mint_generation, ticket_key and coin_keysets; "none" has none of them`)
	}
	models, err := c.models()
	if err != nil {
		return err
	}
	if err := c.validateReleases(); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, n := range c.Nodes {
		u, err := url.Parse(n.URL)
		switch {
		case n.Name == "" || names[n.Name]:
			return fmt.Errorf("publish: node %q: name missing or taken", n.Name)
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			return fmt.Errorf("publish: node %q: url", n.Name)
		case u.Scheme == "http" && c.NodeTLS != (httpx.TLS{}):
			return fmt.Errorf("publish: node %q: cleartext url beside node_tls", n.Name)
		case u.Scheme == "https" && (c.NodeTLS.Cert == "" || c.NodeTLS.CA == ""):
			return fmt.Errorf("publish: node %q: node_tls needs cert, key and ca: nodes and publisher prove themselves to each other", n.Name)
		case !slices.ContainsFunc(models, func(m statement.Model) bool { return m.Name == n.Model }):
			return fmt.Errorf("publish: node %q: model %q is not in models", n.Name, n.Model)
		}
		names[n.Name] = true
	}
	return nil
}

func (c *Config) validateWitnesses() error {
	if c.Quorum < 0 || c.Quorum > len(c.Witnesses) || (c.Quorum == 0) != (len(c.Witnesses) == 0) {
		return fmt.Errorf("publish: quorum: %d of %d witnesses", c.Quorum, len(c.Witnesses))
	}
	urls := map[string]bool{}
	for _, w := range c.Witnesses {
		u, err := url.Parse(w.URL)
		if err != nil || u.Host == "" || u.Scheme != "https" || urls[w.URL] {
			return fmt.Errorf("publish: witness %q: url is no https address, or taken", w.URL)
		}
		if len(w.Keys) == 0 {
			return fmt.Errorf("publish: witness %q: no keys", w.URL)
		}
		urls[w.URL] = true
	}
	return nil
}

func paymentMode(s string) (uint8, error) {
	switch s {
	case "none":
		return statement.PaymentNone, nil
	case "coins":
		return statement.PaymentCoins, nil
	}
	return 0, fmt.Errorf(`publish: payment: %q is neither "none" nor "coins"`, s)
}

var apiBits = map[string]uint16{
	"chat": statement.APIChatCompletions, "completions": statement.APICompletions, "embeddings": statement.APIEmbeddings,
}

// models lists them as a statement does, by name.
func (c *Config) models() ([]statement.Model, error) {
	var out []statement.Model
	for _, m := range c.Models {
		weights, err := hash(m.Weights)
		if err != nil {
			return nil, fmt.Errorf("publish: model %q: weights: %v", m.Name, err)
		}
		x := statement.Model{Name: m.Name, Weights: weights, Context: m.Context}
		for _, api := range m.APIs {
			bit, ok := apiBits[api]
			if !ok {
				return nil, fmt.Errorf("publish: model %q: unknown api %q", m.Name, api)
			}
			x.APIs |= bit
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b statement.Model) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// validateReleases checks what can be checked without the files.
func (c *Config) validateReleases() error {
	for _, r := range c.Releases {
		if r.File == "" {
			return fmt.Errorf("publish: release %q: file is required: readers need it to look at what is named", r.Name)
		}
		if _, err := hash(r.Digest); r.Digest != "" && err != nil {
			return fmt.Errorf("publish: release %q: digest: %v", r.Name, err)
		}
	}
	return nil
}

// releases reads the files of what is to be listed, and lists them.
func (c *Config) releases() (out []statement.Release, files [][]byte, err error) {
	for _, r := range c.Releases {
		b, err := os.ReadFile(r.File)
		if err != nil {
			return nil, nil, fmt.Errorf("publish: release %q: %w", r.Name, err)
		}
		if len(b) == 0 || len(b) > maxRelease {
			return nil, nil, fmt.Errorf("publish: release %q: %d bytes, want 1 to %d", r.Name, len(b), maxRelease)
		}
		d := statement.Digest(b)
		if want, err := hash(r.Digest); r.Digest != "" && (err != nil || want != d) {
			return nil, nil, fmt.Errorf("publish: release %q: the SHA-256 of %s is %x, want %s", r.Name, r.File, d, r.Digest)
		}
		if slices.ContainsFunc(out, func(o statement.Release) bool { return o.Digest == d }) {
			return nil, nil, fmt.Errorf("publish: release %q: %s is listed twice", r.Name, r.File)
		}
		out, files = append(out, statement.Release{Digest: d, Name: r.Name}), append(files, b)
	}
	slices.SortFunc(out, func(a, b statement.Release) int { return slices.Compare(a.Digest[:], b.Digest[:]) })
	return out, files, nil
}

// maxRelease is what readers of a release file accept.
const maxRelease = 8 << 20

func hash(s string) (out [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(out) {
		return out, errors.New("not 32 bytes in hex")
	}
	return [32]byte(b), nil
}

// gatewayKeys reads the files anew: the gateway rotates its keys.
func (c *Config) gatewayKeys() ([][]byte, error) {
	var out [][]byte
	for _, path := range c.GatewayKeys {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("publish: gateway keys: %w", err)
		}
		keys, err := splitKeys(b)
		if err != nil {
			return nil, fmt.Errorf("publish: gateway keys: %s: %v", path, err)
		}
		out = append(out, keys...)
	}
	return out, nil
}

// splitKeys cuts application/ohttp-keys into its entries, each a 16-bit length
// and a KeyConfig (RFC 9458, Section 3.2), without looking into them.
func splitKeys(b []byte) ([][]byte, error) {
	var out [][]byte
	for s := cryptobyte.String(b); !s.Empty(); {
		var k cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&k) || k.Empty() {
			return nil, errors.New("not in application/ohttp-keys format")
		}
		out = append(out, k)
	}
	if len(out) == 0 {
		return nil, errors.New("no key")
	}
	return out, nil
}

// keysets reads the bank's public list. What is in a keyset is for those who use
// it to judge: here it is bytes under an id.
func (c *Config) keysets() ([]statement.Keyset, error) {
	if c.CoinKeysets == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.CoinKeysets)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	var list []statement.Keyset
	for r := cryptobyte.String(b); !r.Empty(); {
		var k statement.Keyset
		var data cryptobyte.String
		if !r.CopyBytes(k.ID[:]) || !r.ReadUint16LengthPrefixed(&data) {
			return nil, fmt.Errorf("publish: %s is no list of keysets", c.CoinKeysets)
		}
		k.Data = data
		list = append(list, k)
	}
	return list, nil
}

func readSmall(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	if len(b) == 0 || len(b) > 255 {
		return nil, fmt.Errorf("publish: %s: %d bytes, want 1 to 255", path, len(b))
	}
	return b, nil
}
