// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package engine is a client of one OpenAI-compatible inference engine on the
// same machine: a loopback address or a unix socket, and nothing else.
//
// It knows three paths. An engine's other routes (slots, metrics, adapters,
// tokenisation, model loading) cannot be named through it. It follows no
// redirect, uses no proxy, resolves no name and reads no environment. What an
// engine answers is data: two content types pass, no other header does.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Embeddings is the path whose answers have no tokens.
const Embeddings = "/v1/embeddings"

// Paths are the requests that an engine may be asked, all with POST.
func Paths() []string {
	return []string{"/v1/chat/completions", "/v1/completions", Embeddings}
}

// Allowed reports whether path is one of [Paths], in its one spelling.
func Allowed(path string) bool { return slices.Contains(Paths(), path) }

// Options bound one engine. Zero values mean the defaults.
type Options struct {
	// HeaderTimeout is how long an engine may compute before it answers at
	// all: a whole answer when it does not stream. Default 10 minutes.
	HeaderTimeout time.Duration
	// IdleTimeout is the longest silence within an answer, the wait for the
	// first token after its head included. Default 10 minutes.
	IdleTimeout time.Duration
	// MaxAnswer is the largest answer, in bytes. Default 256 MiB.
	MaxAnswer int64
}

// An Error says that the engine, not the request, is at fault. Its text is
// fixed: nothing the engine said is in it.
type Error struct{ Reason string }

func (e *Error) Error() string { return "engine: " + e.Reason }

// The ways in which an engine can fail.
var (
	ErrUnreachable error = &Error{"unreachable"}
	ErrDied        error = &Error{"connection ended inside an answer"}
	ErrSilent      error = &Error{"silent for too long"}
	ErrProtocol    error = &Error{"answer not understood"}
	ErrLarge       error = &Error{"answer too large"}
)

var errPath = errors.New("engine: path not allowed")

// A Client talks to one engine. It may be used by many goroutines.
type Client struct {
	transport *http.Transport
	opt       Options
}

// New returns a client of the engine at address: "http://127.0.0.1:8000",
// "http://[::1]:8000" or "unix:///run/engine.sock". Everything else is refused:
// a name could be resolved to another machine, 0.0.0.0 and mapped addresses
// mean different things to different parts of a system. It does not connect.
func New(address string, o Options) (*Client, error) {
	network, addr, err := parse(address)
	if err != nil {
		return nil, err
	}
	if o.HeaderTimeout == 0 {
		o.HeaderTimeout = 10 * time.Minute
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 10 * time.Minute
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 256 << 20
	}
	d := &net.Dialer{Timeout: 5 * time.Second}
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return &Client{opt: o, transport: &http.Transport{
		// The one address there is, whatever a request's URL says.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		},
		Proxy:                  nil,
		Protocols:              p,
		DisableCompression:     true, // nothing is compressed before it is sealed (TA-12)
		ResponseHeaderTimeout:  o.HeaderTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    256,
		// Below the 5 s after which uvicorn hangs up, so that no request meets
		// a connection that is being closed.
		IdleConnTimeout: 4 * time.Second,
		WriteBufferSize: 32 << 10,
		ReadBufferSize:  32 << 10,
	}}, nil
}

// Close drops the idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Probe reports whether the engine takes connections. It sends no request.
func (c *Client) Probe(ctx context.Context) error {
	conn, err := c.transport.DialContext(ctx, "", "")
	if err != nil {
		return ErrUnreachable
	}
	return conn.Close()
}

func parse(address string) (network, addr string, err error) {
	refuse := func(why string) (string, string, error) {
		return "", "", fmt.Errorf("engine: address refused: %s", why)
	}
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsAny(path, "?#%\x00") {
			return refuse("a unix socket needs an absolute, clean path")
		}
		return "unix", path, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return refuse("not a URL")
	}
	switch {
	case u.Scheme != "http":
		return refuse("only http on loopback, or unix")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "", u.Opaque != "", u.Path != "" && u.Path != "/", strings.Contains(address, "#"):
		return refuse("only scheme, address and port")
	}
	ap, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return refuse("needs a literal address and a port, no name")
	}
	a := ap.Addr()
	if a.Is4In6() || a.Zone() != "" || !a.IsLoopback() || ap.Port() == 0 {
		return refuse("not a loopback address")
	}
	return "tcp", ap.String(), nil
}
