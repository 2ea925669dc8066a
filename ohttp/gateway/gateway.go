// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package gateway is the gateway role: it opens the outer layer of
// encapsulated requests (Oblivious HTTP, RFC 9458 and its chunked form) and
// forwards what is inside to one of two fixed origins, streaming both ways.
//
// It sees neither client addresses, which end at the relay, nor prompts, which
// are sealed to a node inside what it opens. It is never an open proxy: origins,
// methods and paths are a list in code. It keeps nothing but digests of recent
// encapsulated keys, against replay, and writes no log line about a request.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp"
)

// A Gateway is one replica of the role. Replicas share nothing.
type Gateway struct {
	cfg Config
	log *slog.Logger
	m   *instruments

	keys    atomic.Pointer[keySet]  // nil until loaded: everything is refused
	origins atomic.Pointer[origins] // set with the first keys, then fixed
}

type origins struct {
	byName map[string]*origin
}

type origin struct {
	url       string
	transport *http.Transport // one an origin: connections are not shared
}

// New checks the configuration. It reads no file: [Gateway.Reload] does, and
// until then every request is refused.
func New(cfg Config, log *slog.Logger) (*Gateway, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	g := &Gateway{cfg: cfg, log: log}
	g.m = newInstruments(g.keys.Load)
	return g, nil
}

// Metrics returns the registry of the role's instruments.
func (g *Gateway) Metrics() *prometheus.Registry { return g.m.reg }

// Reload reads the key files and puts them in force, all or none. The first
// call also reads the identity towards the origins. Requests under way keep
// the keys they began with.
func (g *Gateway) Reload() error {
	keys := make([]*Key, 0, len(g.cfg.Keys))
	for _, path := range g.cfg.Keys {
		k, err := OpenKeyFile(path)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	set, err := newKeySet(keys, g.keys.Load(), g.cfg.ReplayWindow)
	if err != nil {
		return err
	}
	if g.origins.Load() == nil {
		o, err := g.openOrigins()
		if err != nil {
			return err
		}
		g.origins.Store(o)
	}
	g.keys.Store(set)
	return nil
}

func (g *Gateway) openOrigins() (*origins, error) {
	o := &origins{byName: map[string]*origin{}}
	for name, cfg := range map[string]Origin{wire.RouterAuthority: g.cfg.Router, wire.BankAuthority: g.cfg.Bank} {
		if cfg.URL == "" {
			continue
		}
		tc, err := g.cfg.Identity.Client(cfg.Name)
		if err != nil {
			return nil, fmt.Errorf("gateway: identity: %v", err)
		}
		t, err := httpx.Replicas(httpx.NewTransport(tc), cfg.Replicas)
		if err != nil {
			return nil, fmt.Errorf("gateway: %s: %v", name, err)
		}
		o.byName[name] = &origin{cfg.URL, t}
	}
	return o, nil
}

// Handler returns the gateway's two faces: POST /ohttp, and the location of
// RFC 9540 that serves the key configurations to third parties. (Sotto's own
// clients take them from the epoch statement.)
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ohttp", g.serve)
	mux.HandleFunc("GET "+ohttp.GatewayPath, g.serveKeys)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := stripOuter(r.Header); n > 0 {
			g.m.outer.Add(float64(n))
		}
		mux.ServeHTTP(w, r)
	})
}

func (g *Gateway) serveKeys(w http.ResponseWriter, _ *http.Request) {
	keys := g.keys.Load()
	if keys == nil {
		httpx.Problem(w, http.StatusServiceUnavailable, "starting")
		return
	}
	w.Header().Set("Content-Type", ohttp.TypeKeys)
	w.Header().Set("Cache-Control", "max-age=60")
	w.Write(keys.public)
}

// Serve loads the files, listens, and serves until ctx ends.
func (g *Gateway) Serve(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", g.cfg.Listen)
	if err != nil {
		return fmt.Errorf("gateway: listen: %w", err)
	}
	return g.ServeOn(ctx, ln)
}

// ServeOn is [Gateway.Serve] on a listener of plain TCP, which it closes.
func (g *Gateway) ServeOn(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	if err := g.Reload(); err != nil {
		return err
	}
	defer g.closeIdle()
	tc, err := g.cfg.TLS.Server(false)
	if err != nil {
		return fmt.Errorf("gateway: tls: %v", err)
	}
	s := httpx.NewServer(g.Handler())
	s.TLSConfig = tc
	return metrics.Beside(ctx, g.cfg.Metrics, g.m.reg, func(ctx context.Context) error { return httpx.Serve(ctx, ln, s) }, g.poll)
}

// poll reads the keys again from time to time.
func (g *Gateway) poll(ctx context.Context) error {
	t := time.NewTicker(g.cfg.KeyPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := g.Reload(); err != nil {
			g.m.reload.Inc()
			g.log.Error("keys not reloaded; the old ones stay in force", "error", err)
		}
	}
}

func (g *Gateway) closeIdle() {
	for _, o := range g.origins.Load().byName {
		o.transport.CloseIdleConnections()
	}
}
