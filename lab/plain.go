// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/httpx"
)

// The plain chain has one [httputil.ReverseProxy] for every party of Sotto that
// a request can pass between client and engine, in a process of its own, with
// the same TLS to the same sides: relays, gateway, router, nodes. A request
// passes one of each kind, drawn where Sotto draws. It is what the network
// alone costs.

// plainConfig is one hop of the plain chain.
type plainConfig struct {
	TLS      httpx.TLS `yaml:"tls"`
	Mutual   bool      `yaml:"mutual"`   // the hop before must show a certificate
	Upstream []string  `yaml:"upstream"` // one is drawn for each request
	Client   httpx.TLS `yaml:"client"`   // towards https
}

// plainPrefix comes before the name of the party whose place a hop has.
const plainPrefix = "plain-"

// seatPlain adds the plain chain to the plan.
func (p *plan) seatPlain() {
	for _, s := range p.seats {
		switch s.role {
		case "relay", "gateway", "router", "node":
			p.seats = append(p.seats, &seat{
				name: plainPrefix + s.name, role: "plain", url: "https",
				sees: "everything: a plain reverse proxy, for comparison",
			})
		}
	}
}

// plainConfig has the public identity where relay and gateway have it, the
// operator's where router and node do.
func (p *plan) plainConfig(s *seat) (c plainConfig, err error) {
	public := func() { c.TLS, err = p.public.issue(s.name, s.name+".sotto") }
	inside := func() { c.TLS, err = p.operator.issue(s.name, s.name+".sotto") }
	switch p.seat(strings.TrimPrefix(s.name, plainPrefix)).role {
	case "relay":
		public()
		c.Client, c.Upstream = httpx.TLS{CA: p.public.ca()}, p.urls("plain-gateway")
	case "gateway":
		inside()
		c.Client, c.Upstream = c.TLS, p.urls("plain-router")
		if err == nil {
			public()
		}
	case "router":
		inside()
		c.Client, c.Upstream, c.Mutual = c.TLS, p.urls("plain-node-"), true
	case "node":
		inside()
		c.Upstream, c.Mutual = []string{p.engine}, true
	}
	return c, err
}

// urls lists the addresses of the seats whose names begin with prefix.
func (p *plan) urls(prefix string) []string {
	var out []string
	for _, s := range p.seats {
		if strings.HasPrefix(s.name, prefix) {
			out = append(out, s.url)
		}
	}
	return out
}

// Plain says where the plain chain begins, one base URL for each relay, and
// what its TLS trusts. The lab must have been started with [Options.Plain].
func (l *Lab) Plain() (bases []string, tc *tls.Config, err error) {
	if !l.opts.Plain {
		return nil, nil, errors.New("lab: started without a plain chain")
	}
	tc, err = httpx.TLS{CA: l.plan.public.ca()}.Client("")
	return l.plan.urls("plain-relay-"), tc, err
}

// maxPlain bounds a body through the plain chain, in bytes: the relay's limit.
const maxPlain = 64 << 20

func servePlain(ctx context.Context, path string, lns []net.Listener, _ *slog.Logger) error {
	cfg, err := config.Load[plainConfig](path)
	if err != nil {
		return err
	}
	var up []*url.URL
	for _, s := range cfg.Upstream {
		u, err := url.Parse(s)
		if err != nil {
			return err
		}
		up = append(up, u)
	}
	var out *tls.Config
	if up[0].Scheme == "https" {
		if out, err = cfg.Client.Client(""); err != nil {
			return err
		}
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(up[rand.N(len(up))]) },
		Transport: httpx.NewTransport(out),
	}
	s := httpx.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(w, r, maxPlain)
		proxy.ServeHTTP(w, r)
	}))
	if s.TLSConfig, err = cfg.TLS.Server(cfg.Mutual); err != nil {
		return err
	}
	return httpx.Serve(ctx, lns[0], s)
}
