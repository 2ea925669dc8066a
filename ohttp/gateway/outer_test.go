// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
)

func TestHeadersAreDropped(t *testing.T) {
	x := newWorld(t, nil)
	var mu sync.Mutex
	var seen http.Header
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = r.Header.Clone()
		io.Copy(io.Discard, r.Body)
	})
	allowed := func() {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for name := range seen {
			if !slices.Contains([]string{"Content-Type", "Accept", "Content-Length", "Accept-Encoding"}, name) {
				t.Errorf("the router saw %s: %s", name, seen[name])
			}
		}
	}
	t.Run("CR-29", func(t *testing.T) {
		r, sealed := x.seal(message(t, post("/v1/request"), []byte("q"), 0))
		resp := x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed),
			"X-Forwarded-For", "192.0.2.7", "Via", "1.1 relay", "Cookie", "id=7", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		if _, _, err := open(r, resp); err != nil {
			t.Fatal(err)
		}
		allowed()
		if n := x.metric("outer_fields_dropped_total", ""); n != 4 {
			t.Errorf("alarm counted %v fields, want 4", n)
		}
		if x.logs.Len() > 0 {
			t.Errorf("logged %q", x.logs)
		}
	})
	t.Run("RT-15", func(t *testing.T) {
		head := post("/v1/request")
		head.Fields = []bhttp.Field{
			{Name: "accept", Value: "application/sotto-response"}, {Name: "content-type", Value: "application/octet-stream"},
			{Name: "cookie", Value: "id=7"}, {Name: "traceparent", Value: "00-1"}, {Name: "x-credit-amount", Value: "1000"},
			{Name: "x-encapsulated-key", Value: "AAAA"}, {Name: "x-node-id", Value: "42"},
		}
		r, sealed := x.seal(message(t, head, []byte("q"), 0))
		if _, _, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed))); err != nil {
			t.Fatal(err)
		}
		allowed()
		mu.Lock()
		defer mu.Unlock()
		if seen.Get("Content-Type") != "application/octet-stream" || seen.Get("User-Agent") != "" {
			t.Errorf("header %v", seen)
		}
		if n := x.metric("inner_fields_dropped_total", ""); n != 5 {
			t.Errorf("counted %v fields, want 5", n)
		}
	})
}

func TestDate(t *testing.T) {
	x := newWorld(t, nil)
	for _, c := range []struct {
		value  string
		status int
	}{
		{time.Now().UTC().Format(http.TimeFormat), 200},
		{time.Now().Add(-2 * time.Hour).UTC().Format(http.TimeFormat), 400},
		{time.Now().Add(2 * time.Hour).UTC().Format(http.TimeFormat), 400},
		{"yesterday", 400},
	} {
		head := post("/v1/request")
		head.Fields = []bhttp.Field{{Name: "date", Value: c.value}}
		status, b := x.do(head, nil)
		if status != c.status || status == 400 && !strings.Contains(b, ohttp.ProblemDate) {
			t.Errorf("date %q: %d %s", c.value, status, b)
		}
	}
}

// outside is what a relay can tell of an answer.
func outside(resp *http.Response) string {
	b, _ := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	return fmt.Sprint(resp.StatusCode, resp.Header, string(b))
}

func TestErrorsBeforeDecapsulationLookAlike(t *testing.T) {
	t.Run("CR-30", func(t *testing.T) {
		x := newWorld(t, nil)
		n := 300 // of each family over TLS; the handler's answer is what is compared
		if testing.Short() {
			n = 30
		}
		families := map[string]func(b []byte) []byte{
			"ciphertext":       func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
			"enc, ML-KEM part": func(b []byte) []byte { b[7] ^= 1; return b },
			"enc, X25519 part": func(b []byte) []byte { b[7+1100] ^= 1; return b },
			"enc, low order":   func(b []byte) []byte { clear(b[7+1088 : 7+1120]); return b },
			"cut":              func(b []byte) []byte { return b[:len(b)-1] },
			"no chunk":         func(b []byte) []byte { return b[:7+1120] },
			"cut in enc":       func(b []byte) []byte { return b[:500] },
			"length lies":      func(b []byte) []byte { b[7+1120] = 0x41; return b },
			"empty":            func(b []byte) []byte { return nil },
		}
		_, sealed := x.seal(message(t, post("/v1/request"), make([]byte, 3000), 0))
		want := ""
		took := map[string][]time.Duration{}
		for range n {
			for name, f := range families {
				body := f(bytes.Clone(sealed))
				began := time.Now()
				resp := x.send(ohttp.TypeChunkedRequest, bytes.NewReader(body))
				got := outside(resp)
				took[name] = append(took[name], time.Since(began))
				resp.Body.Close()
				if want == "" {
					want = got
				}
				if got != want {
					t.Fatalf("%s answers %s, others %s", name, got, want)
				}
			}
		}
		if !strings.HasPrefix(want, "400 ") || x.calls.Load() != 0 {
			t.Errorf("answer %s, %d calls", want, x.calls.Load())
		}
		// Families that got as far as the private key must take about the same
		// time; a factor of 3 is an alarm even on a busy machine.
		median := func(name string) time.Duration { slices.Sort(took[name]); return took[name][n/2] }
		base := median("ciphertext")
		for _, name := range []string{"enc, ML-KEM part", "enc, X25519 part"} {
			if m := median(name); m > 3*base+time.Millisecond || base > 3*m+time.Millisecond {
				t.Errorf("%s takes %v, a bad tag %v", name, m, base)
			}
		}
	})
}

func TestMediaTypes(t *testing.T) {
	t.Run("CR-31", func(t *testing.T) {
		x := newWorld(t, nil)
		_, sealed := x.seal(message(t, post("/v1/request"), []byte("q"), 0))
		resp := x.send(ohttp.TypeRequest, bytes.NewReader(sealed))
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !bytes.Contains(b, []byte(`"refused"`)) {
			t.Errorf("chunked announced as whole: %d %s", resp.StatusCode, b)
		}
		s, _ := x.config.Suite()
		whole, _, err := encap.Seal(x.config, s, message(t, post("/v1/request"), []byte("q"), 0))
		if err != nil {
			t.Fatal(err)
		}
		resp = x.send(ohttp.TypeChunkedRequest, bytes.NewReader(whole))
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !bytes.Contains(b, []byte(`"refused"`)) {
			t.Errorf("whole announced as chunked: %d %s", resp.StatusCode, b)
		}
		for _, kind := range []string{"", "application/octet-stream", "message/ohttp-chunked-req; x=1", "Message/Ohttp-Chunked-Req", ohttp.TypeChunkedResponse} {
			resp := x.send(kind, bytes.NewReader(sealed))
			if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 415 {
				t.Errorf("type %q: %d %s", kind, resp.StatusCode, b)
			}
		}
		if x.calls.Load() != 0 {
			t.Error("the origin was called")
		}
	})
	x := newWorld(t, nil)
	for path, want := range map[string]int{"/": 404, "/ohttp": 405, "/ohttp/": 404, "/metrics": 404, ohttp.GatewayPath: 200} {
		resp, err := x.relay.Get(x.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestTooMuch(t *testing.T) {
	x := newWorld(t, func(c *Config) { c.MaxRequest = 200000 })
	r, sealed := x.seal(message(t, post("/v1/request"), make([]byte, 300000), 0))
	h, b, err := open(r, x.send(ohttp.TypeChunkedRequest, io.MultiReader(bytes.NewReader(sealed))))
	if err != nil || h.Status != 413 || !strings.Contains(b, `"code":"size"`) {
		t.Errorf("over the limit: %+v %s %v", h, b, err)
	}
	x = newWorld(t, func(c *Config) { c.MaxInFlight = 1 })
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		_, sealed := x.seal(message(t, post("/v1/request"), nil, 0))
		resp := x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed))
		b, _ := io.ReadAll(resp.Body)
		fmt.Fprintf(w, "%d %s", resp.StatusCode, b)
	})
	if _, b := x.do(post("/v1/request"), nil); !strings.HasPrefix(b, "503 ") || !strings.Contains(b, `"busy"`) {
		t.Errorf("a second request at once: %s", b)
	}
}

func TestSlowPeers(t *testing.T) {
	t.Run("CR-32", func(t *testing.T) {
		x := newWorld(t, nil)
		n := 300 // half-open requests; the bounds are the same for 10^4
		var conns []net.Conn
		defer func() {
			for _, c := range conns {
				c.Close()
			}
		}()
		addr := strings.TrimPrefix(x.url, "https://")
		_, sealed := x.seal(message(t, post("/v1/request"), make([]byte, 9000), 0))
		tc := x.relay.Transport.(*http.Transport).TLSClientConfig
		for i := range n {
			c, err := tls.Dial("tcp", addr, tc)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			switch i % 3 {
			case 0:
				io.WriteString(c, "POST /ohttp HTTP/1.1\r\nHost: g\r\nX")
			case 1:
				fmt.Fprintf(c, "POST /ohttp HTTP/1.1\r\nHost: g\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
					ohttp.TypeChunkedRequest, len(sealed), sealed[:100])
			case 2: // opens, and then brings nothing more
				_, big := x.seal(message(t, post("/v1/request"), make([]byte, 20000), 0))
				fmt.Fprintf(c, "POST /ohttp HTTP/1.1\r\nHost: g\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
					ohttp.TypeChunkedRequest, len(big), big[:18000])
			}
		}
		began := time.Now()
		for range 20 {
			if status, b := x.do(post("/v1/request"), []byte("good")); status != 200 {
				t.Errorf("a good client got %d %s", status, b)
			}
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("20 good requests took %v", d)
		}
		if running := x.metric("requests_running", ""); running > float64(n) {
			t.Errorf("%v running", running)
		}
	})
}

func TestClassicalKey(t *testing.T) {
	x := newWorld(t, nil)
	k, err := GenerateKey(9, hpke.KEMX25519)
	if err != nil {
		t.Fatal(err)
	}
	path := x.dir + "/classical.key"
	if err := CreateKeyFile(path, k); err != nil {
		t.Fatal(err)
	}
	x.g.cfg.Keys = append(x.g.cfg.Keys, path)
	if err := x.g.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, alg := range ohttp.OfferedAlgorithms() {
		x.config = k.Config()
		x.config.Algorithms = []ohttp.Algorithms{alg}
		if status, b := x.do(post("/v1/request"), []byte("q")); status != 200 {
			t.Errorf("AEAD %d: %d %s", alg.AEAD, status, b)
		}
	}
}
