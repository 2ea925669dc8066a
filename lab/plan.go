// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/computenode"
	"github.com/sotto-project/sotto/credits/ceremony"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/lab/engine/model"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/gateway"
	"github.com/sotto-project/sotto/relay"
	"github.com/sotto-project/sotto/router"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/release/releasetest"
)

// origin names the lab's statement log.
const origin = "sotto-lab.invalid/SIMULATED"

// mirrorAge is how long a relay keeps its copy of the newest statement.
const mirrorAge = 200 * time.Millisecond

// A seat is one process of the plan.
type seat struct {
	name      string
	role      string
	twin      string // role of a hostile twin that takes the seat; empty: none
	config    string // file
	listeners []net.Listener
	url       string
	metrics   string // address of the metrics port, or ""
	sees      string // what this party may see, for the reader of the start-up lines
}

// A plan is everything that is settled before the first process starts: ports,
// certificates, keys, and one configuration file for each role.
type plan struct {
	dir    string
	opts   Options
	seats  []*seat
	engine string // where nodes find the engine

	public, operator *authority
	gatewayKeys      []string // key files
	keyConfigs       string   // application/ohttp-keys
}

func newPlan(dir string, o Options) (*plan, error) {
	p := &plan{dir: dir, opts: o}
	if err := os.Remove(filepath.Join(dir, turnFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := p.draw(); err != nil {
		p.closeListeners()
		return nil, err
	}
	return p, nil
}

func (p *plan) draw() error {
	if err := p.seatAll(); err != nil {
		return err
	}
	for _, step := range []func() error{p.authorities, p.hardware, p.keys, p.log, p.witnesses, p.releases, p.bank, p.configs, p.trust} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// seatAll opens every port.
func (p *plan) seatAll() error {
	seat1 := func(name, role, scheme, sees string) {
		p.seats = append(p.seats, &seat{name: name, role: role, url: scheme, sees: sees})
	}
	if p.opts.Engine == "" {
		seat1("engine", "engine", "http", "on the node's own machine: what the node sees")
	}
	for i := range p.opts.Nodes {
		seat1(nodeName(i), "node", "https", "prompt and answer while it computes; never who asked")
	}
	for i := range witnesses {
		seat1(witnessName(i), "witness", "https", "checkpoints of the public log; signs one history of it")
	}
	seat1("publisher", "publisher", "https", "public statements and evidence")
	if p.paid() {
		for i := range max(p.opts.Banks, 1) {
			seat1(bankName(i), "bank", "https", "valid coins, and which node may run what they pay for; never who, never an account")
		}
		seat1("accounts", "accounts", "https", "your account and what it bought; never when or for what it is spent")
	}
	seat1("router", "router", "https", "candidates and padded sizes; never who, what or which model")
	seat1("gateway", "gateway", "https", "a sealed prompt; never an address, never the prompt")
	seat1("relay-1", "relay", "https", "your address and a sealed size; never what is inside")
	seat1("relay-2", "relay", "https", "your address and a sealed size; never what is inside")
	seat1("proxy", "proxy", "http", "runs on your machine: everything of yours")
	if p.opts.Plain {
		p.seatPlain()
	}
	for _, s := range p.seats {
		addr := ""
		if s.role == "proxy" {
			addr = p.opts.Listen
		}
		ln, err := listen(addr)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, ln)
		s.url += "://" + ln.Addr().String()
		s.config = filepath.Join(p.dir, s.name+".yaml")
		if err := p.meter(s); err != nil {
			return err
		}
	}
	control, err := listen("")
	if err != nil {
		return err
	}
	proxy := p.seat("proxy")
	proxy.listeners = append(proxy.listeners, control)
	if p.paid() {
		admin, err := listen("")
		if err != nil {
			return err
		}
		s := p.seat("accounts")
		s.listeners = append(s.listeners, admin)
	}
	if err := p.bribe(); err != nil {
		return err
	}
	p.engine = p.opts.Engine
	if p.engine == "" {
		p.engine = p.seat("engine").url
	}
	return nil
}

// meter picks a metrics port. The role opens it itself, as its configuration
// says. Meanwhile an outgoing connection, of which a machine with labs makes
// hundreds, could be given a port that the system chose; so it is one that the
// system gives to nobody.
func (p *plan) meter(s *seat) error {
	switch s.role {
	case "node", "publisher", "gateway", "witness", "bank", "accounts": // in the others it is the main's affair
	default:
		return nil
	}
	if !p.opts.Metrics {
		return nil
	}
	var failed error
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstMeter+rand.IntN(meters)))
		if err != nil {
			failed = err
			continue
		}
		at := ln.Addr().String()
		if err := ln.Close(); err != nil {
			return err
		}
		if !slices.ContainsFunc(p.seats, func(o *seat) bool { return o.metrics == at }) {
			s.metrics = at
			return nil
		}
	}
	return fmt.Errorf("no port for the metrics of %s: %w", s.name, failed)
}

// Ports for metrics: below those for outgoing connections (IANA's begin at 49152,
// Linux's at 32768), above most services'.
const (
	firstMeter = 20000
	meters     = 12000
)

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }

func (p *plan) seat(name string) *seat {
	for _, s := range p.seats {
		if s.name == name {
			return s
		}
	}
	panic("lab: internal error: no seat " + name)
}

// closeListeners lets go of the ports; roles have inherited theirs by then.
func (p *plan) closeListeners() {
	for _, s := range p.seats {
		for _, ln := range s.listeners {
			ln.Close()
		}
	}
}

func (p *plan) authorities() (err error) {
	if p.public, err = newAuthority(filepath.Join(p.dir, "tls", "public"), "public CA"); err != nil {
		return err
	}
	p.operator, err = newAuthority(filepath.Join(p.dir, "tls", "operator"), "operator CA")
	return err
}

// hardwareDir is where a lab keeps its simulated hardware root: beside the
// configuration files.
func hardwareDir(config string) string { return filepath.Join(filepath.Dir(config), "hardware") }

func (p *plan) hardware() error {
	dir := filepath.Join(p.dir, "hardware")
	if _, err := os.Stat(dir); err == nil {
		_, err = attestationtest.OpenRoot(dir)
		return err
	}
	_, err := attestationtest.CreateRoot(dir)
	return err
}

// keys makes the gateway's keys, or takes those of an earlier run: X-Wing
// first, X25519 for third parties' clients.
func (p *plan) keys() error {
	var configs []*ohttp.KeyConfig
	for i, kem := range []uint16{hpke.KEMXWing, hpke.KEMX25519} {
		path := filepath.Join(p.dir, fmt.Sprintf("gateway-%d.key", i+1))
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			k, err := gateway.GenerateKey(uint8(i+1), kem)
			if err == nil {
				err = gateway.CreateKeyFile(path, k)
			}
			if err != nil {
				return err
			}
		}
		k, err := gateway.OpenKeyFile(path)
		if err != nil {
			return err
		}
		p.gatewayKeys = append(p.gatewayKeys, path)
		configs = append(configs, k.Config())
	}
	b, err := ohttp.AppendKeyConfigs(nil, configs)
	if err != nil {
		return err
	}
	p.keyConfigs = filepath.Join(p.dir, "gateway.ohttp-keys")
	return os.WriteFile(p.keyConfigs, b, 0o644)
}

// policy is the file of which machines the lab's roles and clients accept.
func (p *plan) policy() string { return filepath.Join(p.dir, "policy.json") }

func (p *plan) logDir() string { return filepath.Join(p.dir, "log") }

func (p *plan) log() error {
	if _, err := os.Stat(p.logDir()); err == nil {
		return nil
	}
	return publish.CreateLog(p.logDir(), origin, time.Now())
}

// configs writes one file for each role, in the roles' own formats.
func (p *plan) configs() error {
	trust, err := p.logTrust()
	if err != nil {
		return err
	}
	var nodes []string
	var listed []publish.NodeConfig
	for i := range p.opts.Nodes {
		s := p.seat(nodeName(i))
		nodes = append(nodes, s.url)
		listed = append(listed, publish.NodeConfig{Name: s.name, URL: s.url, ServerName: s.name + ".sotto", Model: model.Name})
	}
	weights := sha256.Sum256(model.GGUF)
	witness := 0
	for _, s := range p.seats {
		var cfg any
		var err error
		switch s.role {
		case "witness":
			cfg, err = p.witnessConfig(s, witness, trust)
			witness++
		case "relay":
			cfg, err = p.relayConfig(s)
		case "gateway":
			cfg, err = p.gatewayConfig(s)
		case "router":
			cfg, err = p.routerConfig(s, nodes, trust)
		case "publisher":
			cfg, err = p.publisherConfig(s, listed, weights)
		case "node":
			cfg, err = p.nodeConfig(s, weights, trust)
		case "plain":
			cfg, err = p.plainConfig(s)
		case "engine":
			cfg = engineConfig{Fixed: p.opts.Fixed}
		case "bank":
			cfg, err = p.bankConfig(s, trust)
		case "accounts":
			cfg, err = p.accountsConfig(s, trust)
		case "proxy": // a client's: see trust
			continue
		}
		if err != nil {
			return err
		}
		if err := writeYAML(s.config, cfg); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) relayConfig(s *seat) (relay.Config, error) {
	id, err := p.public.issue(s.name, s.name+".sotto")
	return relay.Config{
		Listen: addr(s), TLS: id,
		Gateway: p.seat("gateway").url + "/ohttp", GatewayCA: p.public.ca(),
		Mirror: p.mirror(s), MirrorCA: p.public.ca(),
		MirrorAge: mirrorAge,
	}, err
}

// mirror is where a relay finds the statements. Only a hostile publisher has
// more than one port; each relay has another one then.
func (p *plan) mirror(relay *seat) string {
	lns := p.seat("publisher").listeners
	i := 0
	for _, s := range p.seats {
		if s == relay {
			break
		}
		if s.role == relay.role {
			i++
		}
	}
	return "https://" + lns[i%len(lns)].Addr().String()
}

func (p *plan) gatewayConfig(s *seat) (gateway.Config, error) {
	public, err := p.public.issue(s.name, s.name+".sotto")
	if err != nil {
		return gateway.Config{}, err
	}
	inside, err := p.operator.issue(s.name, "gateway.sotto")
	return gateway.Config{
		Listen: addr(s), TLS: public, Metrics: s.metrics, Keys: p.gatewayKeys, Identity: inside,
		Router: gateway.Origin{URL: p.seat("router").url}, Bank: gateway.Origin{URL: p.bankURL(), Replicas: p.bankReplicas()},
	}, err
}

// bankURL is the bank's anonymous port, or "" where nobody pays.
func (p *plan) bankURL() string {
	if !p.paid() {
		return ""
	}
	return p.seat("bank").url
}

// bankReplicas are the addresses of the bank's other processes.
func (p *plan) bankReplicas() (addrs []string) {
	for _, s := range p.seats {
		if s.role == "bank" && s.name != bankName(0) {
			addrs = append(addrs, addr(s))
		}
	}
	return addrs
}

func (p *plan) routerConfig(s *seat, nodes []string, trust *transparency.Trust) (router.Config, error) {
	id, err := p.operator.issue(s.name, "router.sotto")
	return router.Config{
		Listen: addr(s), TLS: id, Trust: *trust,
		Publisher: p.seat("publisher").url, PublisherCA: p.public.ca(),
		Bank: p.bankURL(), BankReplicas: p.bankReplicas(),
		Nodes: nodes, Policy: p.policy(), Poll: 200 * time.Millisecond, Health: 100 * time.Millisecond, Grace: p.opts.Epoch / 4,
	}, err
}

// lead is how long before an epoch ends nodes are asked for the next one's keys. A
// statement takes about half a second to make here (evidence of three nodes, a
// durable append, freshness), whatever the epoch.
func (p *plan) lead() time.Duration {
	return max(p.opts.Epoch/6, min(2*time.Second, p.opts.Epoch/2)).Truncate(time.Second)
}

func (p *plan) publisherConfig(s *seat, nodes []publish.NodeConfig, weights [32]byte) (publish.Config, error) {
	public, err := p.public.issue(s.name, s.name+".sotto")
	if err != nil {
		return publish.Config{}, err
	}
	inside, err := p.operator.issue(s.name, "publisher.sotto")
	if err != nil {
		return publish.Config{}, err
	}
	asked, err := p.askedWitnesses()
	var ticket, keysets string
	var mint uint64
	if p.paid() {
		ticket, keysets, mint = p.bankDir("ticket.key.pub"), p.bankDir("keys", ceremony.ListFile), generation
	}
	return publish.Config{
		Listen: addr(s), TLS: public, Metrics: s.metrics, Dir: p.logDir(), Origin: origin, Witnesses: asked, Quorum: quorum,
		Epoch: p.opts.Epoch, Lead: p.lead(),
		Freshness: min(time.Minute, max(time.Second, p.opts.Epoch/10)),
		Nodes:     nodes, NodeTLS: inside, GatewayKeys: []string{p.keyConfigs},
		Payment: p.payment(), MintGeneration: mint, TicketKey: ticket, CoinKeysets: keysets,
		Policy:   p.policy(),
		Releases: []publish.ReleaseConfig{{Name: "SIMULATED sotto " + releasetest.Tag, File: releaseFile(p.dir, listed)}},
		Models: []publish.ModelConfig{{
			Name: model.Name, Weights: hex.EncodeToString(weights[:]), Context: 512,
			APIs: []string{"chat", "completions", "embeddings"},
		}},
	}, err
}

func (p *plan) nodeConfig(s *seat, weights [32]byte, trust *transparency.Trust) (computenode.Config, error) {
	id, err := p.operator.issue(s.name, s.name+".sotto")
	if err != nil {
		return computenode.Config{}, err
	}
	tickets, err := p.ticketKeys()
	kind := "llama.cpp"
	if p.opts.Engine == "" {
		kind = "other"
	}
	return computenode.Config{
		Listen: addr(s), TLS: id, Metrics: s.metrics, Model: model.Name, Weights: hex.EncodeToString(weights[:]),
		Payment: p.payment(), TicketKeys: tickets, Prices: p.prices(),
		Simulated: true, Engine: computenode.EngineConfig{Address: p.engine, Kind: kind},
		Epoch: p.opts.Epoch, Lead: p.lead(), Running: 64, Queued: 256,
		Peers: computenode.PeersConfig{Policy: p.policy(), Trust: *trust},
	}, err
}

// trust writes what this lab's clients believe.
func (p *plan) trust() error {
	root, err := attestationtest.OpenRoot(filepath.Join(p.dir, "hardware"))
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(attestationtest.LabPolicy(root), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.policy(), b, 0o644); err != nil {
		return err
	}
	log, err := p.logTrust()
	if err != nil {
		return err
	}
	state := "state"
	if m, evil := FindMode(p.opts.Evil); evil && !m.later {
		// What a hostile part proves against the log is not held against the
		// honest ones that follow it in this directory.
		state = "none"
	}
	t := cli.Trust{
		Relays:   []string{p.seat("relay-1").url, p.seat("relay-2").url},
		RelayCA:  p.public.ca(),
		Log:      *log,
		Policy:   "policy.json",
		Releases: filepath.Join("releases", releaseTrust),
		Shaping:  p.opts.Shaping,
		State:    state,
		Payments: p.payments("wallet"),
	}
	if err := writeYAML(TrustFile(p.dir), t); err != nil {
		return err
	}
	// The proxy is a client like others, with a wallet of its own.
	t.Payments = p.payments("wallet-proxy")
	return writeYAML(p.seat("proxy").config, t)
}

func addr(s *seat) string { return s.listeners[0].Addr().String() }

func writeYAML(path string, v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte("# Written by sotto-lab for SIMULATED hardware.\n"), b...), 0o600)
}

func (p *plan) ready(dir string) Ready {
	r := Ready{
		Event: "ready", OpenAI: p.seat("proxy").url + "/v1", Gateway: p.seat("gateway").url, Router: p.seat("router").url,
		Publisher: p.seat("publisher").url, Engine: p.engine, Dir: dir, Simulated: true,
		Control: "http://" + p.seat("proxy").listeners[1].Addr().String(),
	}
	for _, s := range p.seats {
		switch s.role {
		case "relay":
			r.Relays = append(r.Relays, s.url)
		case "node":
			r.Nodes = append(r.Nodes, s.url)
		}
		if s.metrics != "" {
			r.Metrics = append(r.Metrics, "http://"+s.metrics+"/metrics")
		}
	}
	return r
}
