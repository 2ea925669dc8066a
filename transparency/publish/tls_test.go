// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// A testCA issues certificates into a folder.
type testCA struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newCA(t *testing.T) *testCA {
	c := &testCA{t: t, dir: t.TempDir()}
	c.cert, c.key = c.make("ca", nil, nil)
	return c
}

func (c *testCA) make(name string, parent *x509.Certificate, signer ed25519.PrivateKey) (*x509.Certificate, ed25519.PrivateKey) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, signer)
	if err != nil {
		c.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(c.dir, name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert, key
}

func (c *testCA) issue(name string) httpx.TLS {
	c.make(name, c.cert, c.key)
	return httpx.TLS{Cert: filepath.Join(c.dir, name+".pem"), Key: filepath.Join(c.dir, name+".key"), CA: filepath.Join(c.dir, "ca.pem")}
}

// Nodes are asked over mutual TLS, and only one that proves the name it was
// configured with is believed to be it.
func TestMutualTLS(t *testing.T) {
	ca := newCA(t)
	w := newWorld(t, 1)
	server, err := ca.issue("n1.sotto").Server(true)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	srv := httpx.NewServer(httpx.RequirePeer([]string{"publisher.sotto"}, w.nodes[0].Config.Handler))
	srv.TLSConfig = server
	done := make(chan error)
	go func() { done <- httpx.Serve(ctx, ln, srv) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	n := NodeConfig{Name: "n1", URL: "https://" + ln.Addr().String() + "/", ServerName: "n1.sotto", Model: "m"}
	dial := func(n NodeConfig, id httpx.TLS) error {
		d, err := NewDialer(Config{Nodes: []NodeConfig{n}, NodeTLS: id})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		_, _, err = d.Epoch(ctx, n, 1, []byte("note"))
		return err
	}
	me := ca.issue("publisher.sotto")
	if err := dial(n, me); err != nil {
		t.Error(err)
	}
	other := n
	other.ServerName = "n2.sotto"
	var e *NodeError
	if err := dial(other, me); !errors.As(err, &e) || e.Code != "node.unreachable" {
		t.Errorf("a node of another name: %v", err)
	}
	if err := dial(n, ca.issue("router.sotto")); !errors.As(err, &e) || e.Code != "node.answer" {
		t.Errorf("asked as another peer: %v", err)
	}
	strange := newCA(t).issue("publisher.sotto")
	strange.CA = me.CA
	if err := dial(n, strange); !errors.As(err, &e) || e.Code != "node.unreachable" {
		t.Errorf("asked with a certificate of another root: %v", err)
	}
	if server.MinVersion != tls.VersionTLS13 {
		t.Error("below TLS 1.3")
	}
}
