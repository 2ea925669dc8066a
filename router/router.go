// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package router passes a sealed request to one of the nodes that the client
// drew, and the sealed answer back. It sees candidates and padded sizes; it
// cannot open anything, does not know who asks or for which model, and runs a
// request at most once. The specification is docs/spec/routing.md.
//
// The roster comes from the public log alone: a node is known when the epoch's
// statement names it, reached at the address from which it says so, and given
// requests while the evidence that is public about it satisfies the router's
// own policy. The router signs nothing and keeps nothing of a request.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/follow"
)

// Config is the router's YAML file. The zero Config is refused.
type Config struct {
	// Listen is the TCP address that the gateway reaches.
	Listen string `yaml:"listen"`
	// TLS is the router's identity, both as server (to Peers) and as client
	// (to nodes), and the operator's CA for both.
	TLS httpx.TLS `yaml:"tls"`
	// Peers are the certificate names that may ask. Default gateway.sotto.
	Peers []string `yaml:"peers"`
	// Publisher is the base of the publisher's public address, as
	// "https://log.example". Not trusted: every statement is verified.
	Publisher string `yaml:"publisher"`
	// PublisherCA names a PEM file of the roots for Publisher's certificate;
	// the system's when empty.
	PublisherCA string `yaml:"publisher_ca"`
	// Trust is the log, and the witnesses, whose statements make the roster.
	Trust transparency.Trust `yaml:"trust"`
	// Policy is a JSON file: which machines requests may go to. A node that does
	// not prove itself under it gets none. Clients judge by their own; this one
	// protects the operator's name. Required.
	Policy string `yaml:"policy"`
	// Machines is the policy in place of the file, for the lab and tests: no
	// file can name roots.
	Machines *attestation.Policy `yaml:"-"`
	// PeerGroup is how many others each node is asked to verify, 1 to 64. Nodes
	// that have no policy for it are not asked. Default 8.
	PeerGroup int `yaml:"peer_group"`
	// Nodes are the base addresses of nodes, as "https://10.0.0.7:8443". Which
	// node answers there, the node says itself.
	Nodes []string `yaml:"nodes"`
	// NodeName is the name in every node's certificate; when empty, the host
	// of its address.
	NodeName string `yaml:"node_name"`
	// Bank is the base address of the bank's anonymous port. Required where
	// statements ask for payment by coins; without it such requests are refused.
	Bank string `yaml:"bank"`
	// BankName is the name in the bank's certificate. Default bank.sotto.
	BankName string `yaml:"bank_name"`
	// BankReplicas are further addresses, as "10.0.0.9:8443", of processes that
	// serve the same bank on the same PostgreSQL. What one that is lost was asked is
	// asked of the next.
	BankReplicas []string `yaml:"bank_replicas"`
	// MinCandidates and MaxCandidates bound k. Defaults 1 and 8.
	MinCandidates int `yaml:"min_candidates"`
	MaxCandidates int `yaml:"max_candidates"`
	// Poll is the pause between two looks at the publisher. Default 10s.
	Poll time.Duration `yaml:"poll"`
	// Health is the pause between two looks at each node. Default 2s.
	Health time.Duration `yaml:"health"`
	// Grace is how long after its end an epoch's requests are still routed:
	// as long as nodes keep its keys. Default 15m.
	Grace time.Duration `yaml:"grace"`
	// MaxRequest is the longest request body, in bytes. Default 64 MiB.
	MaxRequest int64 `yaml:"max_request"`
	// MaxAnswer is the longest answer, in bytes; a longer one is cut. Default
	// 1 GiB.
	MaxAnswer int64 `yaml:"max_answer"`
	// MaxConcurrent is how many requests may be under way. Default 16384.
	MaxConcurrent int64 `yaml:"max_concurrent"`
	// Timeout ends a request that is not done by then. Default 1h.
	Timeout time.Duration `yaml:"timeout"`
	// Log gets changes of the roster and of nodes' reachability, never
	// anything of a request. Nil: no log.
	Log *slog.Logger `yaml:"-"`
}

// A Router routes. Make one with [New].
type Router struct {
	config    Config
	publisher *follow.Publisher
	nodes     []*node
	upstream  *http.Transport // to nodes
	bank      *bank           // nil where nobody pays
	server    http.Handler
	counts    counts

	judge *judge

	roster   atomic.Pointer[roster]              // replaced whole by Poll
	byID     atomic.Pointer[map[[32]byte]*place] // replaced whole by Check
	verdicts atomic.Pointer[[]byte]              // replaced whole by CrossVerify: list of wire.PeerVerdict

	polling  sync.Mutex // one Poll at a time
	checking sync.Mutex // one Check at a time
	crossing sync.Mutex // one CrossVerify at a time
	crossed  crossed    // owned by whoever holds crossing
	asking   chan struct{}
}

// New checks c and reads the files it names: keys and policy. It does not
// listen or dial.
func New(c Config) (*Router, error) {
	err := defaults(&c)
	if err != nil {
		return nil, err
	}
	r := &Router{config: c, asking: make(chan struct{}, maxAsking)}
	r.roster.Store(&roster{})
	r.byID.Store(&map[[32]byte]*place{})
	r.verdicts.Store(new([]byte))
	if r.judge, err = openJudge(c); err != nil {
		return nil, err
	}
	tc, err := c.TLS.Client(c.NodeName)
	if err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if len(tc.Certificates) == 0 || tc.RootCAs == nil {
		return nil, errNoTLS
	}
	r.upstream = httpx.NewTransport(tc)
	for _, s := range c.Nodes {
		base, err := origin("nodes", s)
		if err != nil {
			return nil, err
		}
		r.nodes = append(r.nodes, &node{health: base.JoinPath("/v1/health"), place: place{
			request: base.JoinPath("/v1/request"), attest: base.JoinPath("/v1/attest"), peers: base.JoinPath("/v1/peers"),
			usage: base.JoinPath("/v1/usage"),
		}})
	}
	if r.bank, err = newBank(&c); err != nil {
		return nil, err
	}
	base, err := origin("publisher", c.Publisher)
	if err != nil {
		return nil, err
	}
	// The public address is asked anonymously, over connections of its own.
	pc, err := httpx.TLS{CA: c.PublisherCA}.Client("")
	if err != nil {
		return nil, fmt.Errorf("router: publisher_ca: %w", err)
	}
	r.publisher = follow.NewPublisher(base, httpx.NewTransport(pc))
	r.server = httpx.RequirePeer(c.Peers, r.routes())
	return r, nil
}

// Validate checks everything that can be checked without touching a file.
func (c Config) Validate() error {
	if err := defaults(&c); err != nil {
		return err
	}
	if c.TLS.Cert == "" || c.TLS.Key == "" || c.TLS.CA == "" {
		return errNoTLS
	}
	for _, s := range c.Nodes {
		if _, err := origin("nodes", s); err != nil {
			return err
		}
	}
	if err := validBank(&c); err != nil {
		return err
	}
	_, err := origin("publisher", c.Publisher)
	return err
}

var errNoTLS = errors.New("router: tls: cert, key and ca are all needed")

func defaults(c *Config) error {
	set := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&c.MaxRequest, 64<<20)
	set(&c.MaxAnswer, 1<<30)
	set(&c.MaxConcurrent, 16384)
	set((*int64)(&c.Poll), int64(10*time.Second))
	set((*int64)(&c.Health), int64(2*time.Second))
	set((*int64)(&c.Grace), int64(15*time.Minute))
	set((*int64)(&c.Timeout), int64(time.Hour))
	if c.MinCandidates == 0 {
		c.MinCandidates = 1
	}
	if c.MaxCandidates == 0 {
		c.MaxCandidates = wire.MaxCandidates
	}
	if len(c.Peers) == 0 {
		c.Peers = []string{"gateway.sotto"}
	}
	if c.BankName == "" {
		c.BankName = wire.BankAuthority
	}
	if c.PeerGroup == 0 {
		c.PeerGroup = 8
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.MinCandidates < 1 || c.MaxCandidates > wire.MaxCandidates || c.MinCandidates > c.MaxCandidates:
		return fmt.Errorf("router: min_candidates and max_candidates: want 1 to %d", wire.MaxCandidates)
	case len(c.Nodes) == 0:
		return errors.New("router: nodes: none")
	case c.PeerGroup < 1 || c.PeerGroup > maxGroup:
		return fmt.Errorf("router: peer_group: want 1 to %d", maxGroup)
	}
	if err := c.Trust.Validate(); err != nil {
		return fmt.Errorf("router: trust: %w", err)
	}
	if c.Policy == "" && c.Machines == nil {
		return errors.New("router: policy: required: which machines may requests go to?")
	}
	return nil
}

// origin accepts an absolute https URL of scheme, host and path alone.
func origin(field, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("router: %s: want an https URL, have %q", field, s)
	}
	if u.Path == "" {
		u.Path = "/" // JoinPath onto an empty path gives a relative one, which no server takes
	}
	return u, nil
}

// Handler serves what the gateway may ask.
func (r *Router) Handler() http.Handler { return r.server }

func (r *Router) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/request", r.request)
	mux.HandleFunc("GET /v1/pack/{epoch}", r.pack)
	mux.HandleFunc("GET /v1/pack/{epoch}/delta", r.pack)
	mux.HandleFunc("GET /v1/freshness", r.freshness)
	mux.HandleFunc("GET /v1/peers", r.peers)
	mux.HandleFunc("POST /v1/attest", r.attest)
	mux.HandleFunc("GET /v1/health", r.health)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		r.refuse(w, http.StatusNotFound, "path")
	})
	return mux
}

// Serve listens on the configured address, and polls publisher and nodes,
// until ctx ends.
func (r *Router) Serve(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", r.config.Listen)
	if err != nil {
		return fmt.Errorf("router: %w", err)
	}
	return r.ServeOn(ctx, ln)
}

// ServeOn is [Router.Serve] on ln, which it closes.
func (r *Router) ServeOn(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	tc, err := r.config.TLS.Server(true)
	if err != nil {
		return fmt.Errorf("router: %w", err)
	}
	s := httpx.NewServer(r.server)
	s.TLSConfig = tc
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer func() {
		cancel()
		loops.Wait()
		r.upstream.CloseIdleConnections()
		if r.bank != nil {
			r.bank.upstream.CloseIdleConnections()
		}
	}()
	loops.Go(func() { follow.Every(ctx, r.config.Poll, func() bool { return r.Poll(ctx) == nil }) })
	loops.Go(func() { follow.Every(ctx, r.config.Health, func() bool { r.Check(ctx); return true }) })
	loops.Go(func() { follow.Every(ctx, r.config.Poll, func() bool { r.CrossVerify(ctx); return true }) })
	return httpx.Serve(ctx, ln, s)
}
