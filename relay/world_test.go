// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/relay"
)

const (
	chunkedReq = "message/ohttp-chunked-req"
	chunkedRes = "message/ohttp-chunked-res"
)

// A world is a relay on loopback between a test's client and its upstream.
type world struct {
	t     *testing.T
	ca    *httpxtest.CA
	relay *relay.Relay
	url   string
	addr  string
	tls   *tls.Config // of a client of the relay
	http  *http.Client
}

func newCA(t *testing.T) *httpxtest.CA {
	t.Helper()
	ca, err := httpxtest.CreateCA(t.TempDir(), "SIMULATED test root")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func identity(t *testing.T, ca *httpxtest.CA, name string) httpx.TLS {
	t.Helper()
	id, err := ca.Issue(name, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serve runs f on a fresh listener for the length of the test.
func serve(t *testing.T, f func(context.Context, net.Listener) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("serve: does not end")
		}
	})
	return ln.Addr().String()
}

// upstream serves h with TLS as a gateway or publisher would.
func upstream(t *testing.T, ca *httpxtest.CA, h http.Handler) string {
	t.Helper()
	tc, err := identity(t, ca, "gateway.sotto").Server(false)
	if err != nil {
		t.Fatal(err)
	}
	s := httpx.NewServer(h)
	s.TLSConfig = tc
	return "https://" + serve(t, func(ctx context.Context, ln net.Listener) error { return httpx.Serve(ctx, ln, s) })
}

// raw serves each TLS connection with f: an upstream that need not speak HTTP.
func raw(t *testing.T, ca *httpxtest.CA, f func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	tc, err := identity(t, ca, "gateway.sotto").Server(false)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", tc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c, bufio.NewReader(c))
			}()
		}
	}()
	return "https://" + ln.Addr().String()
}

// start runs a relay in front of the gateway with the changes of tune.
func start(t *testing.T, ca *httpxtest.CA, gateway string, tune func(*relay.Config)) *world {
	t.Helper()
	c := relay.Config{TLS: identity(t, ca, "relay.example"), Gateway: gateway + "/ohttp", GatewayCA: ca.File()}
	if tune != nil {
		tune(&c)
	}
	r, err := relay.New(c)
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, r.ServeOn)
	tc, err := httpx.TLS{CA: ca.File()}.Client("relay.example")
	if err != nil {
		t.Fatal(err)
	}
	tr := httpx.NewTransport(tc)
	t.Cleanup(tr.CloseIdleConnections)
	return &world{t, ca, r, "https://" + addr, addr, tc, &http.Client{Transport: tr}}
}

// post sends body through the relay and returns status, header and body.
func (w *world) post(ct string, body io.Reader) (*http.Response, []byte, error) {
	w.t.Helper()
	resp, err := w.http.Post(w.url+"/ohttp", ct, body)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

// dial opens a connection on which a test speaks for itself.
func (w *world) dial() *tls.Conn {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr, w.tls)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// readHead reads one header block as it stood on the wire.
func readHead(r *bufio.Reader) (string, error) {
	var head string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return head, err
		}
		if line == "\r\n" {
			return head, nil
		}
		head += line
	}
}
