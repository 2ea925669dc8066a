// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package relay is the party that knows a client's address and nothing else:
// it forwards opaque Oblivious HTTP messages to one gateway and mirrors the
// public statements. The specification is docs/spec/relay.md.
//
// It uses the standard library and internal/httpx only, cannot parse what it
// forwards, keeps no record of who sent it, and writes no log at all.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// Config is the relay's YAML file. The zero Config is refused.
type Config struct {
	// Listen is the TCP address that clients reach, as "0.0.0.0:443".
	Listen string `yaml:"listen"`
	// TLS is the certificate that clients check. Its ca is not used: clients
	// have no certificates, and must not.
	TLS httpx.TLS `yaml:"tls"`
	// Gateway is the one place requests go, as
	// "https://gateway.example/ohttp". Only https. Trusted with nothing but
	// availability: what it answers is sealed for the client.
	Gateway string `yaml:"gateway"`
	// GatewayCA names a PEM file of the roots for Gateway's certificate; the
	// system's when empty.
	GatewayCA string `yaml:"gateway_ca"`
	// Mirror is the base of the publisher's public address, as
	// "https://log.example". Empty: nothing is mirrored. Not trusted: clients
	// check every signature themselves.
	Mirror string `yaml:"mirror"`
	// MirrorCA is for Mirror what GatewayCA is for Gateway.
	MirrorCA string `yaml:"mirror_ca"`
	// MirrorAge is how long the newest statement and checkpoint are served
	// from memory. Default 5s.
	MirrorAge time.Duration `yaml:"mirror_age"`
	// MaxRequest is the longest request body, in bytes. Default 64 MiB.
	MaxRequest int64 `yaml:"max_request"`
	// MaxAnswer is the longest answer, in bytes; a longer one is cut. Default
	// 1 GiB.
	MaxAnswer int64 `yaml:"max_answer"`
	// MaxConcurrent is how many requests may be under way; one more is
	// answered 503. It never looks at addresses. Default 16384.
	MaxConcurrent int64 `yaml:"max_concurrent"`
	// Timeout ends a request that is not done by then. Default 1h.
	Timeout time.Duration `yaml:"timeout"`
}

// Stats are sums since the start. They say how much, never who or when.
type Stats struct {
	Requests    uint64 // requests for the gateway that were taken on
	InFlight    uint64 // of these, now under way
	Refused     uint64 // requests answered by the relay itself
	Failed      uint64 // requests that the gateway did not answer in full
	MirrorHits  uint64 // mirrored objects served from memory
	MirrorLoads uint64 // mirrored objects fetched
	MirrorFails uint64 // fetches that failed
}

// A Relay forwards and mirrors. Make one with [New].
type Relay struct {
	config   Config
	gateway  *url.URL
	upstream *http.Transport // for the gateway alone
	mirror   *mirror         // nil when nothing is mirrored
	server   http.Handler

	inFlight                  atomic.Int64
	requests, refused, failed atomic.Uint64
}

// New checks c and reads the root certificates it names. It does not listen or
// dial.
func New(c Config) (*Relay, error) {
	defaults(&c)
	r := &Relay{config: c}
	var err error
	if r.gateway, err = origin("gateway", c.Gateway); err != nil {
		return nil, err
	}
	if r.gateway.Path == "" {
		return nil, errors.New("relay: gateway: no path")
	}
	if r.upstream, err = transport("gateway_ca", c.GatewayCA); err != nil {
		return nil, err
	}
	if c.Mirror != "" {
		base, err := origin("mirror", c.Mirror)
		if err != nil {
			return nil, err
		}
		// Its own transport: what is public shares no connection with what
		// is not.
		t, err := transport("mirror_ca", c.MirrorCA)
		if err != nil {
			return nil, err
		}
		r.mirror = newMirror(base, t, c.MirrorAge)
	}
	r.server = r.routes()
	return r, nil
}

func defaults(c *Config) {
	set := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&c.MaxRequest, 64<<20)
	set(&c.MaxAnswer, 1<<30)
	set(&c.MaxConcurrent, 16384)
	set((*int64)(&c.MirrorAge), int64(5*time.Second))
	set((*int64)(&c.Timeout), int64(time.Hour))
}

// origin accepts an absolute https URL of scheme, host and path alone.
func origin(field, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("relay: %s: want an https URL of host and path, have %q", field, s)
	}
	return u, nil
}

func transport(field, ca string) (*http.Transport, error) {
	tc, err := httpx.TLS{CA: ca}.Client("")
	if err != nil {
		return nil, fmt.Errorf("relay: %s: %w", field, err)
	}
	return httpx.NewTransport(tc), nil
}

// Handler serves everything that a client may ask.
func (r *Relay) Handler() http.Handler { return r.server }

func (r *Relay) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ohttp", r.forward)
	if r.mirror != nil {
		mux.HandleFunc("GET /v1/statement/{epoch}", r.statement)
		mux.HandleFunc("GET /v1/checkpoint", r.checkpoint)
		mux.HandleFunc("GET /v1/log/{path...}", r.log)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		r.refuse(w, http.StatusNotFound, "path")
	})
	return mux
}

// Serve listens on the configured address and serves until ctx ends.
func (r *Relay) Serve(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", r.config.Listen)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return r.ServeOn(ctx, ln)
}

// ServeOn serves on ln, which it closes, until ctx ends.
func (r *Relay) ServeOn(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	tc, err := r.config.TLS.Server(false)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	s := httpx.NewServer(r.server)
	s.TLSConfig = tc
	defer r.upstream.CloseIdleConnections()
	return httpx.Serve(ctx, ln, s)
}

// Stats returns the sums so far.
func (r *Relay) Stats() Stats {
	s := Stats{
		Requests: r.requests.Load(),
		InFlight: uint64(max(0, r.inFlight.Load())),
		Refused:  r.refused.Load(),
		Failed:   r.failed.Load(),
	}
	if m := r.mirror; m != nil {
		s.MirrorHits, s.MirrorLoads, s.MirrorFails = m.hits.Load(), m.loads.Load(), m.fails.Load()
	}
	return s
}

// refuse answers for the relay itself.
func (r *Relay) refuse(w http.ResponseWriter, status int, code string) {
	r.refused.Add(1)
	httpx.Problem(w, status, code)
}
