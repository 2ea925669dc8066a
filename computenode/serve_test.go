// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
)

// A ca issues certificates by name into a directory.
type ca struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *ca {
	c := &ca{t: t, dir: t.TempDir()}
	c.key, c.cert = c.issue("ca", nil)
	return c
}

func (c *ca) issue(name string, dns []string) (*ecdsa.PrivateKey, *x509.Certificate) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: dns == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := c.cert, c.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(c.dir, name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return key, cert
}

func (c *ca) tls(name string) httpx.TLS {
	c.issue(name, []string{name})
	return httpx.TLS{Cert: filepath.Join(c.dir, name+".pem"), Key: filepath.Join(c.dir, name+".key"), CA: filepath.Join(c.dir, "ca.pem")}
}

func (c *ca) client(name string) *http.Client {
	tc, err := c.tls(name).Client("node.sotto")
	if err != nil {
		c.t.Fatal(err)
	}
	tr := httpx.NewTransport(tc)
	c.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestServe(t *testing.T) {
	c := newCA(t)
	f := unstarted(t, func(cfg *Config) {
		cfg.Listen, cfg.Metrics, cfg.TLS = freePort(t), freePort(t), c.tls("node.sotto")
	})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.node.Serve(ctx) }()
	router, publisher, other := c.client(defaultRouter), c.client(defaultPublisher), c.client("gateway.sotto")
	base := "https://" + f.node.cfg.Listen
	waitFor(t, func() bool {
		resp, err := router.Get(base + "/v1/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	for client, want := range map[*http.Client]int{router: 403, publisher: 200, other: 403} {
		resp, err := client.Post(base+"/v1/epoch", "application/json", strings.NewReader(`{"epoch":3,"checkpoint":"eA=="}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
	// Without a certificate there is no conversation at all.
	tc, err := httpx.TLS{CA: filepath.Join(c.dir, "ca.pem")}.Client("node.sotto")
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := (&http.Client{Transport: httpx.NewTransport(tc)}).Get(base + "/v1/health"); err == nil {
		resp.Body.Close()
		t.Error("answered a stranger")
	}
	for path, want := range map[string]int{"/metrics": 404, "/v1/slots": 404, "/debug/pprof/": 404} {
		resp, err := router.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	resp, err := http.Get("http://" + f.node.cfg.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(b), "sotto_node_epoch 3") {
		t.Errorf("metrics: %s", b)
	}

	second, err := New(f.node.cfg, f.node.hw, f.node.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Serve(ctx); err == nil || !strings.Contains(err.Error(), f.node.cfg.Listen[strings.LastIndex(f.node.cfg.Listen, ":"):]) {
		t.Errorf("a port that is taken: %v", err)
	}
	stop()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("did not stop")
	}
	if f.node.keys.Err() == nil {
		t.Error("keys outlived the service")
	}
}

func TestServeNeedsMutualTLS(t *testing.T) {
	f := unstarted(t, func(c *Config) { c.Listen = "127.0.0.1:0" })
	if err := f.node.Serve(t.Context()); err == nil {
		t.Error("served without TLS")
	}
}

// TestBusyNeedsNoBody: a router that waits for "continue" keeps the body of a
// request that a busy node did not want.
func TestBusyNeedsNoBody(t *testing.T) {
	f := newFixture(t, nil)
	f.node.gate.most = 0
	s := f.seal(hello, option{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "POST /v1/request HTTP/1.1\r\nHost: n\r\nPeer: %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n%s: %s\r\n\r\n",
		defaultRouter, len(s.bytes), wire.AskHeader, s.ask)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 503 {
		t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	if receipt, err := wire.ParseBusyReceipt(b); err != nil || !receipt.Answers(s.ask, f.record.NodeID) || !receipt.Verify(f.record.NodeKey) {
		t.Errorf("receipt: %v", err)
	}
}
