// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
)

func newCA(t *testing.T) *httpxtest.CA {
	t.Helper()
	ca, err := httpxtest.CreateCA(t.TempDir(), "SIMULATED test root")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *httpxtest.CA, name string, addrs ...string) httpx.TLS {
	t.Helper()
	c, err := ca.Issue(name, addrs...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serveTLS serves h under the configuration and returns its address.
func serveTLS(t *testing.T, tc *tls.Config, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httpx.NewServer(h)
	s.TLSConfig = tc
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- httpx.Serve(ctx, ln, s) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func TestMutualTLS(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	sc, err := issue(t, ca, "router.sotto").Server(true)
	if err != nil {
		t.Fatal(err)
	}
	h := httpx.RequirePeer([]string{"gateway.sotto"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, httpx.PeerName(r)+" "+r.Proto)
	}))
	addr := serveTLS(t, sc, h)
	get := func(id httpx.TLS, name string) (int, string, error) {
		cc, err := id.Client(name)
		if err != nil {
			t.Fatal(err)
		}
		tr := httpx.NewTransport(cc)
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("https://" + addr)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), nil
	}
	if code, b, err := get(issue(t, ca, "gateway.sotto"), "router.sotto"); err != nil || code != 200 || b != "gateway.sotto HTTP/1.1" {
		t.Errorf("the right peer: %d %q %v", code, b, err)
	}
	if code, b, err := get(issue(t, ca, "relay.sotto", "gateway.sotto"), "router.sotto"); err != nil || code != 403 || !strings.Contains(b, `"code":"peer"`) {
		t.Errorf("another peer of the same CA: %d %q %v", code, b, err)
	}
	stranger := issue(t, other, "gateway.sotto")
	stranger.CA = ca.File()
	if code, _, err := get(stranger, "router.sotto"); err == nil {
		t.Errorf("a stranger's certificate was accepted: %d", code)
	}
	if code, _, err := get(httpx.TLS{CA: ca.File()}, "router.sotto"); err == nil {
		t.Errorf("no certificate was accepted: %d", code)
	}
	if _, _, err := get(issue(t, ca, "gateway.sotto"), "node.sotto"); err == nil {
		t.Error("a server of another name was accepted")
	}
	if _, _, err := get(issue(t, other, "gateway.sotto"), "router.sotto"); err == nil {
		t.Error("a server of another CA was accepted")
	}
}

func TestCL05(t *testing.T) {
	t.Run("CL-05", func(t *testing.T) {
		ca := newCA(t)
		sc, err := issue(t, ca, "relay.example").Server(false)
		if err != nil {
			t.Fatal(err)
		}
		addr := serveTLS(t, sc, http.NotFoundHandler())
		cc, err := httpx.TLS{CA: ca.File()}.Client("relay.example")
		if err != nil {
			t.Fatal(err)
		}
		old := cc.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if c, err := tls.Dial("tcp", addr, old); err == nil {
			c.Close()
			t.Error("the server accepted TLS 1.2")
		}
		h2 := cc.Clone()
		h2.NextProtos = []string{"h2", "http/1.1"}
		c, err := tls.Dial("tcp", addr, h2)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
			t.Errorf("negotiated %q", p)
		}
		// And our client refuses a server that knows only TLS 1.2.
		sc12 := sc.Clone()
		sc12.MinVersion, sc12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		addr12 := serveTLS(t, sc12, http.NotFoundHandler())
		if c, err := tls.Dial("tcp", addr12, cc); err == nil {
			c.Close()
			t.Error("the client accepted TLS 1.2")
		}
	})
}

// TestOnlyHTTP1: the floods of HTTP/2 (rapid reset, CONTINUATION, HPACK) have
// nothing to flood. A peer that speaks it unasked is cut off, and the next
// request works.
func TestOnlyHTTP1(t *testing.T) {
	t.Run("CR-33", func(t *testing.T) {
		ca := newCA(t)
		sc, err := issue(t, ca, "relay.example").Server(false)
		if err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int32
		addr := serveTLS(t, sc, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		cc, err := httpx.TLS{CA: ca.File()}.Client("relay.example")
		if err != nil {
			t.Fatal(err)
		}
		c, err := tls.Dial("tcp", addr, cc)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		// The client preface and an empty SETTINGS frame (RFC 9113, Section 3.4).
		if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c) // to its end: the server hangs up
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 4") && !strings.HasPrefix(string(answer), "HTTP/1.1 505") || asked.Load() != 0 {
			t.Errorf("%.60q, %v; the handler ran %d times", answer, err, asked.Load())
		}
		tr := httpx.NewTransport(cc)
		defer tr.CloseIdleConnections()
		if resp, err := (&http.Client{Transport: tr}).Get("https://" + addr); err != nil || resp.StatusCode != 200 {
			t.Errorf("the next request: %v", err)
		} else {
			resp.Body.Close()
		}
	})
}

func TestTLSRefusesHalfAConfiguration(t *testing.T) {
	ca := newCA(t)
	id := issue(t, ca, "a.sotto")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]httpx.TLS{
		"nothing":         {},
		"no key":          {Cert: id.Cert},
		"no cert":         {Key: id.Key},
		"missing file":    {Cert: id.Cert, Key: id.Key + "x", CA: id.CA},
		"no ca":           {Cert: id.Cert, Key: id.Key},
		"empty ca":        {Cert: id.Cert, Key: id.Key, CA: empty},
		"key of another":  {Cert: id.Cert, Key: issue(t, ca, "b.sotto").Key, CA: id.CA},
		"key is the cert": {Cert: id.Cert, Key: id.Cert, CA: id.CA},
	} {
		if _, err := c.Server(true); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTLSRefusesAWorldReadableKey(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	id := issue(t, newCA(t), "a.sotto")
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o644: false, 0o602: false} {
		if err := os.Chmod(id.Key, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := id.Server(false); (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestTransportIgnoresTheEnvironmentsProxy(t *testing.T) {
	if tr := httpx.NewTransport(nil); tr.Proxy != nil {
		t.Error("a proxy of the environment would see which relay a user has")
	}
}
