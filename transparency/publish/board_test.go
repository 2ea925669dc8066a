// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/httpx"
)

// The public port, as a table of requests and answers.
func TestBoard(t *testing.T) {
	var b Board
	h := b.Handler()
	ask := func(method, path string, header ...string) *http.Response {
		r := httptest.NewRequest(method, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	if r := ask("GET", "/v1/statement/latest"); r.StatusCode != 404 {
		t.Errorf("an empty board: %d", r.StatusCode)
	}
	for e := uint64(1); e <= 6; e++ {
		b.Post(e, []byte("signed"), []byte("pack"))
	}
	b.Point(6, time.Minute)
	b.Refresh([]byte("note"), nil, 15*time.Second)
	b.Archive(func(e uint64) ([]byte, error) {
		if e > 6 {
			return nil, http.ErrNoLocation
		}
		return []byte("old"), nil
	})
	for _, c := range []struct {
		path, body, cache string
		status            int
	}{
		{"/v1/statement/latest", "signed", "public, max-age=60, must-revalidate", 200},
		{"/v1/statement/6", "signed", forever, 200},
		{"/v1/statement/1", "old", forever, 200},
		{"/v1/statement/7", "", "no-store", 404},
		{"/v1/statement/06", "", "no-store", 404},
		{"/v1/statement/-1", "", "no-store", 404},
		{"/v1/statement/18446744073709551616", "", "no-store", 404},
		{"/v1/checkpoint", "note", "public, max-age=15, must-revalidate", 200},
		{"/v1/pack/6", "pack", forever, 200},
		{"/v1/pack/2", "", "no-store", 404},
		{"/v1/freshness", "", "no-store", 404},
		{"/", "", "no-store", 404},
		{"/v1/statement/../../log.key", "", "", 307}, // the mux's own redirect to the cleaned path, which is 404
		{"/log.key", "", "no-store", 404},
	} {
		r := ask("GET", c.path)
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		if r.StatusCode != c.status || r.Header.Get("Cache-Control") != c.cache || c.status == 200 && string(body[:n]) != c.body {
			t.Errorf("%s: %d %q %q", c.path, r.StatusCode, r.Header.Get("Cache-Control"), body[:n])
		}
	}
	etag := ask("GET", "/v1/statement/6").Header.Get("ETag")
	if r := ask("GET", "/v1/statement/6", "If-None-Match", etag); etag == "" || r.StatusCode != 304 {
		t.Errorf("etag %q: %d", etag, r.StatusCode)
	}
	if r := ask("HEAD", "/v1/pack/6"); r.StatusCode != 200 || r.Header.Get("Content-Length") != "4" {
		t.Errorf("HEAD: %d", r.StatusCode)
	}
	if r := ask("POST", "/v1/pack/6"); r.StatusCode == 200 {
		t.Error("POST accepted")
	}
}

// DS-02: what a reader costs does not grow with what is served.
func TestDS02(t *testing.T) {
	var b Board
	cost := func(size int) float64 {
		b.Post(1, make([]byte, size), nil)
		h := b.Handler()
		r := httptest.NewRequest("HEAD", "/v1/statement/1", nil)
		return testing.AllocsPerRun(100, func() { h.ServeHTTP(httptest.NewRecorder(), r) })
	}
	if small, large := cost(100), cost(10<<20); large > small+2 {
		t.Errorf("%v allocations for a small statement, %v for a large one", small, large)
	}
}

const goodYAML = `
listen: 127.0.0.1:8443
dir: /var/lib/sotto/log
origin: example.org/sotto
epoch: 1h
lead: 10m
freshness: 1m
payment: none
policy: /etc/sotto/policy.json
gateway_keys: [/etc/sotto/gateway.ohttp-keys]
node_tls: {cert: a.pem, key: a.key, ca: ca.pem}
models:
  - {name: m, weights: "` + "0505050505050505050505050505050505050505050505050505050505050505" + `", context: 4096, apis: [chat, completions]}
nodes:
  - {name: n1, url: "https://10.0.0.1:8443", server_name: n1.sotto, model: m}
  - {name: n2, url: "https://10.0.0.2:8443", model: m, claims: {region: fsn1}, prices: {0: 64}}
`

func TestConfig(t *testing.T) {
	c, err := config.Parse[Config]([]byte(goodYAML))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Lead != 10*time.Minute || c.Nodes[1].Prices[0] != 64 {
		t.Errorf("%+v", c)
	}
	for name, edit := range map[string]func(*Config){
		"zero":             func(c *Config) { *c = Config{} },
		"no payment":       func(c *Config) { c.Payment = "" },
		"payment free":     func(c *Config) { c.Payment = "free" },
		"lead too long":    func(c *Config) { c.Lead = time.Hour },
		"fractions":        func(c *Config) { c.Epoch = 1500 * time.Millisecond },
		"fraction of lead": func(c *Config) { c.Lead = 1500 * time.Millisecond },
		"epoch of 1 s":     func(c *Config) { c.Epoch = time.Second },
		"no freshness":     func(c *Config) { c.Freshness = -1 },
		"no nodes":         func(c *Config) { c.Nodes = nil },
		"no gateway keys":  func(c *Config) { c.GatewayKeys = nil },
		"node twice":       func(c *Config) { c.Nodes[1].Name = "n1" },
		"node of no model": func(c *Config) { c.Nodes[1].Model = "x" },
		"cleartext node":   func(c *Config) { c.Nodes[1].URL = "http://10.0.0.2" },
		"no client cert":   func(c *Config) { c.NodeTLS = httpx.TLS{CA: "ca.pem"} },
		"ftp":              func(c *Config) { c.Nodes[1].URL = "ftp://10.0.0.2" },
		"weights":          func(c *Config) { c.Models[0].Weights = "05" },
		"api":              func(c *Config) { c.Models[0].APIs = []string{"images"} },
		"release":          func(c *Config) { c.Releases = []ReleaseConfig{{Name: "x"}} },
		"release's digest": func(c *Config) { c.Releases = []ReleaseConfig{{Name: "x", File: "x", Digest: "05"}} },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := config.Parse[Config]([]byte(goodYAML))
			edit(&c)
			if err := c.Validate(); err == nil {
				t.Error("valid")
			}
		})
	}
}

func TestSplitKeys(t *testing.T) {
	for in, want := range map[string]int{"": -1, "\x00": -1, "\x00\x00": -1, "\x00\x02a": -1, "\x00\x01a": 1, "\x00\x01a\x00\x02bc": 2, "\x00\x01a\x00": -1} {
		keys, err := splitKeys([]byte(in))
		if (err != nil) != (want < 0) || err == nil && len(keys) != want {
			t.Errorf("%q: %v, %v", in, keys, err)
		}
	}
}

func TestDialerNeedsItsFiles(t *testing.T) {
	c, err := config.Parse[Config]([]byte(strings.Replace(goodYAML, "ca.pem", t.TempDir()+"/none", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewDialer(c); err == nil {
		t.Error("a dialer without its certificate")
	}
}
