// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
)

// A world is a gateway and a router behind it, over TLS as deployed. The test
// is the relay and the client.
type world struct {
	t      testing.TB
	g      *Gateway
	url    string
	relay  *http.Client
	config *ohttp.KeyConfig
	calls  atomic.Int64 // requests that reached the router
	router atomic.Pointer[http.HandlerFunc]
	dir    string
	logs   *bytes.Buffer
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	x := &world{t: t, dir: t.TempDir(), logs: new(bytes.Buffer)}
	ca, err := httpxtest.CreateCA(x.dir, "SIMULATED test root")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, addrs ...string) httpx.TLS {
		id, err := ca.Issue(name, addrs...)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	k, err := GenerateKey(1, hpke.KEMXWing)
	if err != nil {
		t.Fatal(err)
	}
	x.config = k.Config()
	key := filepath.Join(x.dir, "current.key")
	if err := CreateKeyFile(key, k); err != nil {
		t.Fatal(err)
	}
	rc, err := issue("router.sotto").Server(true)
	if err != nil {
		t.Fatal(err)
	}
	router := x.listen(rc, httpx.RequirePeer([]string{"gateway.sotto"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.calls.Add(1)
		httpx.LimitBody(w, r, 1<<30)
		if h := x.router.Load(); h != nil {
			(*h)(w, r)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			httpx.Abort()
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%s %s %d:%s", r.Method, r.URL.Path, len(b), b[:min(len(b), 20)])
	})))
	cfg := Config{
		Listen: "127.0.0.1:0", TLS: issue("gateway.example"), Keys: []string{key}, Identity: issue("gateway.sotto"),
		Router: Origin{URL: "https://" + router},
	}
	if change != nil {
		change(&cfg)
	}
	if x.g, err = New(cfg, slog.New(slog.NewTextHandler(x.logs, nil))); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.g.ServeOn(ctx, ln) }()
	tc, err := httpx.TLS{CA: ca.File()}.Client("gateway.example")
	if err != nil {
		t.Fatal(err)
	}
	tr := httpx.NewTransport(tc)
	x.relay, x.url = &http.Client{Transport: tr}, "https://"+ln.Addr().String()
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	for range 200 { // until the keys are loaded
		if x.g.keys.Load() != nil {
			return x
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the gateway did not start")
	return nil
}

// setRouter replaces the router's behaviour, which is to echo.
func (x *world) setRouter(h http.HandlerFunc) { x.router.Store(&h) }

func (x *world) listen(tc *tls.Config, h http.Handler) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	s := httpx.NewServer(h)
	s.TLSConfig = tc
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- httpx.Serve(ctx, ln, s) }()
	x.t.Cleanup(func() { cancel(); <-done })
	return ln.Addr().String()
}

func post(path string) *bhttp.RequestHead {
	return &bhttp.RequestHead{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: path}
}

// message is a request in binary HTTP.
func message(t testing.TB, head *bhttp.RequestHead, content []byte, padding int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := bhttp.NewRequestWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(nil, padding); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// seal encapsulates a message, chunked.
func (x *world) seal(message []byte) (*encap.Request, []byte) {
	x.t.Helper()
	s, err := x.config.Suite()
	if err != nil {
		x.t.Fatal(err)
	}
	var b bytes.Buffer
	r, err := encap.NewRequest(&b, x.config, s)
	if err != nil {
		x.t.Fatal(err)
	}
	if _, err := r.Write(message); err != nil {
		x.t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		x.t.Fatal(err)
	}
	return r, b.Bytes()
}

// send posts as a relay does.
func (x *world) send(kind string, body io.Reader, header ...string) *http.Response {
	x.t.Helper()
	req, err := http.NewRequest("POST", x.url+"/ohttp", body)
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := x.relay.Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// open reads the encapsulated answer.
func open(r *encap.Request, resp *http.Response) (*bhttp.ResponseHead, string, error) {
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != ohttp.TypeChunkedResponse {
		b, _ := io.ReadAll(resp.Body)
		return nil, "", fmt.Errorf("outside: %d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), b)
	}
	rd := bhttp.NewReader(r.Response(resp.Body), bhttp.Limits{})
	head, _, err := rd.ReadResponse()
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(rd.Body())
	return head, string(b), err
}

// do sends one request and opens the answer.
func (x *world) do(head *bhttp.RequestHead, content []byte) (int, string) {
	x.t.Helper()
	r, sealed := x.seal(message(x.t, head, content, 0))
	h, b, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed)))
	if err != nil {
		x.t.Fatal(err)
	}
	return h.Status, b
}

// metric returns a counter's value, one code of it if code is given.
func (x *world) metric(name, code string) float64 {
	families, err := x.g.m.reg.Gather()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "sotto_gateway_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if code == "" || m.GetLabel()[0].GetValue() == code {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	x.t.Fatalf("no metric %s %s", name, code)
	return 0
}

func TestForwardsBothWays(t *testing.T) {
	x := newWorld(t, nil)
	for _, n := range []int{0, 1, small - 1, small, small + 1, 200000, 5 << 20} {
		content := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		want := fmt.Sprintf("POST /v1/request %d:%s", n, content[:min(n, 20)])
		if status, got := x.do(post("/v1/request"), content); status != 200 || got != want {
			t.Errorf("%d bytes: %d %q, want %q", n, status, got, want)
		}
	}
	get := post("/v1/pack/12")
	get.Method = "GET"
	if status, got := x.do(get, nil); status != 200 || got != "GET /v1/pack/12 0:" {
		t.Errorf("GET: %d %q", status, got)
	}
	get.Path = "/v1/pack/12/delta"
	if status, got := x.do(get, nil); status != 200 || got != "GET /v1/pack/12/delta 0:" {
		t.Errorf("GET: %d %q", status, got)
	}
	if n := x.metric("requests_total", codeOK); n != 9 {
		t.Errorf("counted %v requests", n)
	}
	if x.logs.Len() > 0 {
		t.Errorf("the gateway logged %q", x.logs)
	}
}

func TestLargeAnswer(t *testing.T) {
	x := newWorld(t, nil)
	want := bytes.Repeat([]byte("sixteen bytes ok"), 10<<16)
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/sotto-response")
		w.Header().Set("X-Internal", "secret")
		w.Write(want)
	})
	r, sealed := x.seal(message(t, post("/v1/request"), nil, 0))
	h, got, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed)))
	if err != nil || got != string(want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
	if len(h.Fields) != 1 || h.Fields[0].Value != "application/sotto-response" {
		t.Errorf("fields %v", h.Fields)
	}
}

func TestPaddingIsIgnored(t *testing.T) {
	x := newWorld(t, nil)
	for _, pad := range []int{1, 5000, 100000} {
		r, sealed := x.seal(message(t, post("/v1/request"), []byte("hello"), pad))
		if _, got, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed))); err != nil || got != "POST /v1/request 5:hello" {
			t.Errorf("%d bytes of padding: %q, %v", pad, got, err)
		}
	}
}

func TestWholeForm(t *testing.T) {
	x := newWorld(t, nil)
	s, _ := x.config.Suite()
	enc, sealed, err := encap.Seal(x.config, s, message(t, post("/v1/request"), []byte("hi"), 0))
	if err != nil {
		t.Fatal(err)
	}
	resp := x.send(ohttp.TypeRequest, bytes.NewReader(enc))
	b, _ := io.ReadAll(resp.Body)
	if resp.Header.Get("Content-Type") != ohttp.TypeResponse {
		t.Fatalf("%d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), b)
	}
	plain, err := sealed.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	ans, err := bhttp.ParseResponse(plain)
	if err != nil || string(ans.Content) != "POST /v1/request 2:hi" {
		t.Errorf("answer %+v, %v", ans, err)
	}
	// An answer that does not fit is an error inside, not a cut answer.
	x.setRouter(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 1<<20+1)) })
	enc, sealed, _ = encap.Seal(x.config, s, message(t, post("/v1/request"), nil, 0))
	b, _ = io.ReadAll(x.send(ohttp.TypeRequest, bytes.NewReader(enc)).Body)
	plain, err = sealed.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	if ans, err := bhttp.ParseResponse(plain); err != nil || ans.Status != 502 || !strings.Contains(string(ans.Content), `"code":"size"`) {
		t.Errorf("answer %+v, %v", ans, err)
	}
}

func TestKeysLocation(t *testing.T) {
	x := newWorld(t, nil)
	resp, err := x.relay.Get(x.url + ohttp.GatewayPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	list, err := ohttp.ParseKeyConfigs(b)
	if err != nil || resp.Header.Get("Content-Type") != ohttp.TypeKeys || len(list) != 1 || list[0].ID != 1 {
		t.Errorf("%d %v %v %v", resp.StatusCode, resp.Header, list, err)
	}
}

func TestRotation(t *testing.T) {
	x := newWorld(t, nil)
	old := x.config
	path := func(n string) string { return filepath.Join(x.dir, n) }
	next, err := GenerateKey(2, hpke.KEMX25519)
	if err != nil {
		t.Fatal(err)
	}
	r, sealed := x.seal(message(t, post("/v1/request"), []byte("before"), 0))
	x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed))

	if err := os.Rename(path("current.key"), path("previous.key")); err != nil {
		t.Fatal(err)
	}
	if err := x.g.Reload(); err == nil {
		t.Error("a missing key file went unnoticed")
	}
	if status, _ := x.do(post("/v1/request"), nil); status != 200 {
		t.Error("a failed reload took the old keys away")
	}
	if err := CreateKeyFile(path("current.key"), next); err != nil {
		t.Fatal(err)
	}
	x.g.cfg.Keys = append(x.g.cfg.Keys, path("previous.key"))
	if err := x.g.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*ohttp.KeyConfig{old, next.Config()} {
		x.config = c
		if status, _ := x.do(post("/v1/request"), nil); status != 200 {
			t.Errorf("key %d: %d", c.ID, status)
		}
	}
	// What was seen before the rotation is still known after it.
	if _, got, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed))); err != nil || !strings.Contains(got, `"replay"`) {
		t.Errorf("replay across a rotation: %q, %v", got, err)
	}
	x.g.cfg.Keys = x.g.cfg.Keys[:1]
	if err := x.g.Reload(); err != nil {
		t.Fatal(err)
	}
	x.config = old
	_, sealed = x.seal(message(t, post("/v1/request"), nil, 0))
	resp := x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed))
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 400 || !strings.Contains(string(b), ohttp.ProblemKey) || !strings.Contains(string(b), `"code":"key"`) {
		t.Errorf("a retired key: %d %s", resp.StatusCode, b)
	}
	if err := CreateKeyFile(path("current.key"), next); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key file was overwritten: %v", err)
	}
}

func TestConfigRefusesItself(t *testing.T) {
	good := func() Config {
		return Config{Keys: []string{"k"}, Router: Origin{URL: "https://r:1"}, Identity: httpx.TLS{Cert: "c", Key: "k", CA: "a"}}
	}
	if _, err := New(good(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"zero":          func(c *Config) { *c = Config{} },
		"no keys":       func(c *Config) { c.Keys = nil },
		"no router":     func(c *Config) { c.Router.URL = "" },
		"plain http":    func(c *Config) { c.Router.URL = "http://r:1" },
		"a path":        func(c *Config) { c.Router.URL = "https://r:1/v1" },
		"a slash":       func(c *Config) { c.Router.URL = "https://r:1/" },
		"a user":        func(c *Config) { c.Router.URL = "https://u@r:1" },
		"bank http":     func(c *Config) { c.Bank.URL = "http://b" },
		"no bank":       func(c *Config) { c.Bank.Replicas = []string{"b:1"} },
		"no port":       func(c *Config) { c.Bank = Origin{URL: "https://b", Replicas: []string{"b"}} },
		"no identity":   func(c *Config) { c.Identity = httpx.TLS{} },
		"negative":      func(c *Config) { c.MaxRequest = -1 },
		"negative time": func(c *Config) { c.KeyPoll = -1 },
	} {
		c := good()
		change(&c)
		if _, err := New(c, slog.Default()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeyFile(t *testing.T) {
	k, err := GenerateKey(200, hpke.KEMXWing)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Text()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKey(text.Bytes())
	if err != nil || again.id != 200 || !bytes.Equal(again.Config().Key.Bytes(), k.Config().Key.Bytes()) {
		t.Errorf("parsed back %v, %v", again, err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s %d", k, *k, k, text, text); strings.Count(s, "[redacted]") != 5 {
		t.Errorf("a key prints as %s", s)
	}
	path := filepath.Join(t.TempDir(), "k")
	if err := CreateKeyFile(path, k); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyFile(path); err == nil {
		t.Error("a key file open to everybody was read")
	}
}

func FuzzParseKey(f *testing.F) {
	for _, kem := range []uint16{hpke.KEMXWing, hpke.KEMX25519} {
		k, err := GenerateKey(7, kem)
		if err != nil {
			f.Fatal(err)
		}
		text, err := k.Text()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := ParseKey(in)
		if err != nil {
			return
		}
		if out, err := k.Text(); err != nil || !bytes.Equal(out.Bytes(), in) {
			t.Errorf("accepted %q, printed %q (%v)", in, out.Bytes(), err)
		}
	})
}
