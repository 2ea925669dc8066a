// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"time"
)

// A TLS names the files of one party's identity. All are PEM.
type TLS struct {
	// Cert is the certificate chain, leaf first. Trusted by peers.
	Cert string `yaml:"cert"`
	// Key is the private key of the leaf. A file that others than its owner
	// and group can read is refused.
	Key string `yaml:"key"`
	// CA holds the roots that a peer's certificate must chain to. On a client
	// without CA the system's roots count; a mutual server must have one.
	CA string `yaml:"ca"`
}

// Server reads the files and returns the server side: TLS 1.3, HTTP/1.1. With
// mutual set a client must present a certificate of t.CA (see [RequirePeer]
// for which one).
func (t TLS) Server(mutual bool) (*tls.Config, error) {
	c, err := t.base()
	if err != nil {
		return nil, err
	}
	if len(c.Certificates) == 0 {
		return nil, errors.New("tls: a server needs cert and key")
	}
	if mutual {
		if c.ClientCAs, err = t.roots(); err != nil {
			return nil, err
		}
		if c.ClientCAs == nil {
			return nil, errors.New("tls: mutual TLS needs ca")
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// Client reads the files and returns the client side: TLS 1.3, HTTP/1.1, with
// a certificate when t has one. The server must prove serverName, or the name
// it was dialled by when serverName is empty.
func (t TLS) Client(serverName string) (*tls.Config, error) {
	c, err := t.base()
	if err != nil {
		return nil, err
	}
	if c.RootCAs, err = t.roots(); err != nil {
		return nil, err
	}
	c.ServerName = serverName
	c.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	return c, nil
}

func (t TLS) base() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		// Small first records would cost a bulk stream a system call for each
		// 1.2 kB; on the internal legs and for sealed chunks they win nothing.
		DynamicRecordSizingDisabled: true,
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("tls: cert and key come together")
	}
	if t.Cert == "" {
		return c, nil
	}
	cert, err := os.ReadFile(t.Cert)
	if err != nil {
		return nil, fmt.Errorf("tls: cert: %w", err)
	}
	key, err := readKey(t.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls: %s and %s: %v", t.Cert, t.Key, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

func (t TLS) roots() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("tls: ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("tls: ca: %s holds no certificate", t.CA)
	}
	return pool, nil
}

// readKey refuses a key that everybody on the machine can read or replace.
func readKey(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tls: key: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("tls: key: %s is open to everybody (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tls: key: %w", err)
	}
	return b, nil
}

const (
	// PeerIdle bounds the silence of a server in the middle of an answer. A
	// long prefill is silent for minutes.
	PeerIdle = 10 * time.Minute
	// connIdle is how long a transport keeps an unused connection.
	connIdle = 60 * time.Second
)

// NewTransport returns a client transport: HTTP/1.1, no proxy from the
// environment, no compression, keep-alive connections for hundreds of
// concurrent requests. A server must make progress within [PeerIdle], a
// request body's writes within [WriteIdle]. With tc nil it speaks cleartext,
// for loopback.
//
// Each identity has a transport of its own: connections are never shared
// between an anonymous and an identified use.
func NewTransport(tc *tls.Config) *http.Transport {
	d := &net.Dialer{Timeout: 10 * time.Second}
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &conn{Conn: c, readIdle: PeerIdle, writeIdle: WriteIdle}, nil
		},
		TLSClientConfig:        tc,
		TLSHandshakeTimeout:    HeaderTimeout,
		Protocols:              p,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    512,
		IdleConnTimeout:        connIdle,
		ExpectContinueTimeout:  HeaderTimeout,
		MaxResponseHeaderBytes: 16 << 10,
		// A full copy buffer and its chunk header leave in one write.
		WriteBufferSize: BufferSize + 1<<10,
		ReadBufferSize:  16 << 10,
	}
}

// PeerName returns the first DNS name of the client certificate that was
// verified for r's connection, and "" when there is none.
func PeerName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return ""
	}
	names := r.TLS.VerifiedChains[0][0].DNSNames
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// RequirePeer lets only requests of the named peers (see [PeerName]) reach h;
// all others get 403 `peer`. With no names it refuses everybody.
func RequirePeer(names []string, h http.Handler) http.Handler {
	names = slices.Clone(names)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := PeerName(r); n == "" || !slices.Contains(names, n) {
			Problem(w, http.StatusForbidden, "peer")
			return
		}
		h.ServeHTTP(w, r)
	})
}
