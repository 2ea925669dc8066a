// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/client/proxy"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

const token = "a-token-of-some-length"

func newProxy(t testing.TB, w *clienttest.World, tune func(*proxy.Config)) *proxy.Proxy {
	t.Helper()
	cfg := proxy.Config{Client: w.Client()}
	if tune != nil {
		tune(&cfg)
	}
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func chat() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"toy","messages":[]}`))
	r.Host = "127.0.0.1:8484"
	r.Header.Set("Content-Type", "application/json")
	return r
}

// do lets h answer r and returns status, body, and the code of the error.
func do(t testing.TB, h http.Handler, r *http.Request) (status int, body, code string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	var e struct {
		Error struct {
			Message, Type, Code string
			Param               *string
		}
	}
	if rec.Code >= 400 {
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Error.Message == "" || e.Error.Type == "" || e.Error.Code == "" {
			t.Errorf("no error in OpenAI's shape: %d %q", rec.Code, rec.Body)
		}
		if rec.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Error("lets a web page read the error")
		}
	}
	return rec.Code, rec.Body.String(), e.Error.Code
}

// TestStrangers: the proxy serves this machine's own programs, not web pages
// in this machine's browsers, and not other machines.
func TestStrangers(t *testing.T) {
	w := clienttest.Start(t, 3)
	p := newProxy(t, w, nil)
	faces := map[string]func() *http.Request{
		"api": chat,
		"models": func() *http.Request {
			r := httptest.NewRequest("GET", "/v1/models", nil)
			r.Host = "localhost:1"
			return r
		},
	}
	faces["attest"] = func() *http.Request {
		r := httptest.NewRequest("POST", "/v1/attest", strings.NewReader(`{"node":"`+hexID(w.Nodes[0])+`"}`))
		r.Host = "127.0.0.1:1"
		return r
	}
	control := map[string]func() *http.Request{
		"health": func() *http.Request { r := httptest.NewRequest("GET", "/health", nil); r.Host = "[::1]:1"; return r },
		"verify": func() *http.Request { r := httptest.NewRequest("POST", "/verify", nil); r.Host = "127.0.0.1"; return r },
	}
	each := func(f func(h http.Handler, r *http.Request, name string)) {
		for name, make := range faces {
			f(p.Handler(), make(), name)
		}
		for name, make := range control {
			f(p.Control(), make(), name)
		}
	}
	t.Run("CL-10/this machine", func(t *testing.T) {
		for _, host := range []string{"127.0.0.1", "127.0.0.1:8484", "localhost:8484", "[::1]:8484", "127.1.2.3:80"} {
			each(func(h http.Handler, r *http.Request, name string) {
				r.Host = host
				if status, body, _ := do(t, h, r); status != 200 {
					t.Errorf("%s for %s: %d %s", name, host, status, body)
				}
			})
		}
		each(func(h http.Handler, r *http.Request, name string) {
			r.Header.Set("Origin", "http://localhost:3000") // a page of this machine's own
			if status, body, _ := do(t, h, r); status != 200 {
				t.Errorf("%s: %d %s", name, status, body)
			}
		})
	})
	t.Run("CL-10/DNS rebinding", func(t *testing.T) {
		for _, host := range []string{"evil.example", "evil.example:8484", "localhost.evil.example", "127.0.0.1.evil.example:8484", "192.168.1.5:8484", "0.0.0.0:8484", "[::]:8484",
			"[::ffff:192.168.1.5]:8484", "2130706433:8484", "0x7f000001", "127.0.0.1@evil.example", "localhost.:8484", ""} {
			each(func(h http.Handler, r *http.Request, name string) {
				r.Host = host
				if status, _, code := do(t, h, r); status != 403 || code != "proxy.host" {
					t.Errorf("%s for host %q: %d %s", name, host, status, code)
				}
			})
		}
	})
	t.Run("CL-10/web pages", func(t *testing.T) {
		for _, origin := range []string{"https://evil.example", "http://evil.example:8484", "null", "http://localhost.evil.example", "file://", "chrome-extension://abc", "http://127.0.0.1.evil.example"} {
			each(func(h http.Handler, r *http.Request, name string) {
				r.Header.Set("Origin", origin)
				if status, _, code := do(t, h, r); status != 403 || code != "proxy.origin" {
					t.Errorf("%s for origin %q: %d %s", name, origin, status, code)
				}
			})
		}
		each(func(h http.Handler, r *http.Request, name string) { // a form or an image sends no Origin everywhere
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			if status, _, code := do(t, h, r); status != 403 || code != "proxy.origin" {
				t.Errorf("%s across sites: %d %s", name, status, code)
			}
		})
		r := chat() // what a page may send without asking first
		r.Header.Set("Content-Type", "text/plain")
		if status, _, code := do(t, p.Handler(), r); status != 400 || code != client.CodeRequest {
			t.Errorf("a simple request: %d %s", status, code)
		}
		r = chat()
		r.Method = http.MethodOptions
		if status, _, _ := do(t, p.Handler(), r); status < 400 {
			t.Errorf("a preflight: %d", status)
		}
	})
	t.Run("CL-10/WebSocket", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/v1/realtime", nil)
		r.Host = "127.0.0.1"
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		if status, _, code := do(t, p.Handler(), r); status != 404 || code != "target" {
			t.Errorf("%d %s", status, code)
		}
	})
}

func TestToken(t *testing.T) {
	w := clienttest.Start(t, 3)
	p := newProxy(t, w, func(c *proxy.Config) { c.Token, c.Wide = token, true })
	t.Run("CL-10/token", func(t *testing.T) {
		for value, want := range map[string]int{
			"Bearer " + token: 200, "": 401, "Bearer ": 401, token: 401, "bearer " + token: 401, "Basic " + token: 401,
			"Bearer " + token[:21]: 401, "Bearer " + token + "x": 401, "Bearer sk-123": 401,
		} {
			for r, h := range map[*http.Request]http.Handler{chat(): p.Handler(), httptest.NewRequest("GET", "/health", nil): p.Control()} {
				r.Host = "proxy.lan:8484"
				if value != "" {
					r.Header.Set("Authorization", value)
				}
				status, body, _ := do(t, h, r)
				if (status == 401) != (want == 401) || strings.Contains(body, token) {
					t.Errorf("%q: %d %s", value, status, body)
				}
			}
		}
		r := chat() // a web page is a stranger with the token, too
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Origin", "https://evil.example")
		if status, _, code := do(t, p.Handler(), r); status != 403 || code != "proxy.origin" {
			t.Errorf("%d %s", status, code)
		}
	})
	t.Run("CL-10/wide", func(t *testing.T) {
		if _, err := proxy.New(proxy.Config{Client: w.Client(), Wide: true}); err == nil {
			t.Error("beyond loopback without a token")
		}
		if _, err := proxy.New(proxy.Config{}); err == nil {
			t.Error("without a client")
		}
		for addr, want := range map[string]string{
			"127.0.0.1:0": "narrow", "localhost:1": "narrow", "[::1]:1": "narrow", "127.9.9.9:1": "narrow",
			"0.0.0.0:1": "wide", ":1": "wide", "[::]:1": "wide", "192.168.1.5:1": "wide", "host.example:1": "wide", "no port": "error",
		} {
			wide, err := proxy.CheckListen(addr, token)
			got := map[bool]string{true: "wide", false: "narrow"}[wide]
			if _, bare := proxy.CheckListen(addr, ""); want != "narrow" && bare == nil {
				t.Errorf("%s without a token", addr)
			}
			if err != nil {
				got = "error"
			}
			if got != want {
				t.Errorf("%s: %s, want %s", addr, got, want)
			}
		}
	})
}

// TestAnswers: an answer is whole, or says that it is not.
func TestAnswers(t *testing.T) {
	w := clienttest.Start(t, 3)
	s := httptest.NewServer(newProxy(t, w, nil).Handler())
	t.Cleanup(s.Close)
	post := func() (*http.Response, string, error) {
		resp, err := http.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"toy","user":"me","messages":[]}`))
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp, string(b), err
	}
	events := bhttp.Field{Name: "content-type", Value: "text/event-stream"}
	document := bhttp.Field{Name: "content-type", Value: "application/json"}
	t.Run("whole", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) {
			s := x.Begin(200, events, bhttp.Field{Name: "set-cookie", Value: "a=b"}, bhttp.Field{Name: "x-node", Value: "7"}, bhttp.Field{Name: "x-request-id", Value: "1"})
			s.Say("data: 1\n\n")
			s.Last("data: [DONE]\n\n")
		})
		resp, body, err := post()
		if err != nil || body != "data: 1\n\ndata: [DONE]\n\n" || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("X-Node") != "" {
			t.Errorf("%q %v %v", body, resp.Header, err)
		}
		if got := resp.Header.Get(client.RemovedHeader); got != "user" {
			t.Errorf("does not say that user was left out: %q", got)
		}
	})
	t.Run("CL-18/events cut short", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) {
			s := x.Begin(200, events)
			s.Say("data: 1\n\ndata: half an ev")
			panic(http.ErrAbortHandler)
		})
		_, body, err := post()
		rest, ok := strings.CutPrefix(body, "data: 1\n\ndata: half an ev\n\ndata: ")
		if err != nil || !ok || !strings.Contains(rest, `"code":"stream.truncated"`) || strings.Contains(body, "[DONE]") || !strings.HasSuffix(body, "\n\n") {
			t.Errorf("%q %v", body, err)
		}
	})
	t.Run("CL-18/a document cut short", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) {
			s := x.Begin(200, document)
			s.Say(`{"whole":"but for the seal's end"}`)
			panic(http.ErrAbortHandler)
		})
		resp, body, err := post()
		if err != nil || resp.StatusCode != 502 || !strings.Contains(body, `"code":"stream.truncated"`) || strings.Contains(body, "whole") {
			t.Errorf("%d %q %v", resp.StatusCode, body, err)
		}
	})
	t.Run("CL-18/a long document cut short", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) {
			s := x.Begin(200, document)
			s.Say(strings.Repeat("x", 200<<10))
			panic(http.ErrAbortHandler)
		})
		if _, body, err := post(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes taken for the whole: %v", len(body), err)
		}
	})
	t.Run("the node's errors", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) { x.Reply(400, "application/json", `{"error":{"code":"json.depth"}}`) })
		if resp, body, err := post(); err != nil || resp.StatusCode != 400 || body != `{"error":{"code":"json.depth"}}` {
			t.Errorf("%q %v", body, err)
		}
	})
}

// TestSlowBodies: a body that stands still is the application's error, and
// named as such.
func TestSlowBodies(t *testing.T) {
	w := clienttest.Start(t, 3)
	h := newProxy(t, w, nil).Handler()
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"slow":    {os.ErrDeadlineExceeded, 400, client.CodeSlow},
		"cut off": {io.ErrUnexpectedEOF, 400, client.CodeRequest},
		"reset":   {errors.New("read tcp 127.0.0.1:5->127.0.0.1:6: connection reset by peer"), 400, client.CodeRequest},
	} {
		for _, before := range []string{"", `{"model":"toy","messages":["`, `{"model":"toy","messages":["` + strings.Repeat("x", 2<<20)} {
			r := chat()
			r.ContentLength = -1
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(before), failing{c.err}))
			status, body, code := do(t, h, r)
			if status != c.status || code != c.code || strings.Contains(body, "127.0.0.1:5") {
				t.Errorf("%s after %d bytes: %d %s", name, len(before), status, body)
			}
		}
	}
	if seen := w.Seen(); len(seen) > 0 {
		t.Errorf("%d requests were opened", len(seen))
	}
	status, _, code := do(t, h, func() *http.Request { r := chat(); r.ContentLength = client.MaxStep + 1; return r }())
	if status != 400 || code != client.CodeTooLarge {
		t.Errorf("announced as too large: %d %s", status, code)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestModelsAndReport(t *testing.T) {
	w := clienttest.Start(t, 3)
	p := newProxy(t, w, nil)
	get := func(h http.Handler, path, accept string) (int, string, string) {
		r := httptest.NewRequest("GET", path, nil)
		r.Host = "127.0.0.1"
		r.Header.Set("Accept", accept)
		return do(t, h, r)
	}
	if status, _, code := get(p.Control(), "/report", ""); status != 404 || code != "report.none" {
		t.Errorf("a report of nothing: %d %s", status, code)
	}
	if _, body, _ := get(p.Control(), "/health", ""); !strings.Contains(body, "not checked") {
		t.Errorf("health before anything: %s", body)
	}
	if status, body, _ := get(p.Handler(), "/v1/models", ""); status != 200 || !strings.Contains(body, `"id":"toy"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := get(p.Handler(), "/v1/models/toy", ""); status != 200 {
		t.Errorf("%d", status)
	}
	if status, _, code := get(p.Handler(), "/v1/models/gpt", ""); status != 404 || code != client.CodeModel {
		t.Errorf("%d %s", status, code)
	}
	r := httptest.NewRequest("POST", "/verify", nil)
	r.Host = "127.0.0.1"
	if status, body, _ := do(t, p.Control(), r); status != 200 || !strings.Contains(body, "verified with named gaps") {
		t.Errorf("%d %s", status, body)
	}
	if _, body, _ := get(p.Control(), "/report", "text/plain"); !strings.HasPrefix(body, "SIMULATED HARDWARE") {
		t.Errorf("%.200s", body)
	}
	t.Run("CL-01", func(t *testing.T) {
		for _, hop := range w.Relays {
			hop.Intercept(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { httpx.Problem(w, 503, "overload") })
			})
		}
		fresh := newProxy(t, w, nil)
		w.NoSend(t, func() {
			if status, _, code := do(t, fresh.Handler(), chat()); status != 503 || code != client.CodeRelay {
				t.Errorf("%d %s", status, code)
			}
		})
	})
}

func hexID(n *clienttest.Node) string {
	id := n.ID()
	return hex.EncodeToString(id[:])
}

// TestAttestAndPeers: both are there for this machine's programs, in JSON and
// in words, and a refusal has a status of its own.
func TestAttestAndPeers(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Cross()
	p := newProxy(t, w, nil)
	ask := func(h http.Handler, method, path, body, accept string) (int, string, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Host = "localhost:1"
		r.Header.Set("Accept", accept)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		var v struct {
			Node  struct{ ID, Code string }
			Error struct{ Code string }
		}
		json.Unmarshal(rec.Body.Bytes(), &v)
		return rec.Code, rec.Body.String(), v.Node.ID + v.Node.Code + v.Error.Code
	}
	id := hexID(w.Nodes[0])
	for name, h := range map[string]http.Handler{"api": p.Handler(), "control": p.Control()} {
		if status, body, got := ask(h, "POST", "/v1/attest", `{"node":"`+id[:16]+`"}`, ""); status != 200 || got != id || !strings.Contains(body, `"challenge"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body, _ := ask(p.Control(), "POST", "/v1/attest", `{"node":"`+id+`"}`, "text/plain"); status != 200 || !strings.Contains(body, "reappears") {
		t.Errorf("%d %s", status, body)
	}
	for body, code := range map[string]string{
		`{"node":"zz"}`: client.CodeNode, `{}`: client.CodeNode, `x`: client.CodeRequest, `{"node":"aa","challenge":"00"}`: client.CodeRequest,
	} {
		if status, _, got := ask(p.Handler(), "POST", "/v1/attest", body, ""); status != 400 || got != code {
			t.Errorf("%s: %d %s", body, status, got)
		}
	}
	if status, body, _ := ask(p.Control(), "GET", "/peers", "", ""); status != 200 || strings.Count(body, `"state":"verified"`) != 9 {
		t.Errorf("%d %s", status, body)
	}
	w.Nodes[0].Harm()
	if status, _, got := ask(p.Control(), "POST", "/v1/attest", `{"node":"`+id+`"}`, ""); status != 502 || got != id+"att.pcr.value" {
		t.Errorf("a refused node: %d %s", status, got)
	}
	w.Refresh(w.Log.Last().Epoch)
	w.Cross()
	if status, body, _ := ask(p.Control(), "GET", "/peers", "", "text/plain"); status != 502 || !strings.Contains(body, "refuses "+id[:8]) {
		t.Errorf("a refused peer: %d %s", status, body)
	}
}

// TestWalletAtTheControlPort: what is in the wallet is said on the control port
// only, and without a wallet nothing is.
func TestWalletAtTheControlPort(t *testing.T) {
	w := clienttest.Start(t, 1)
	get := func(p *proxy.Proxy, h http.Handler, accept string) (int, string, string) {
		r := httptest.NewRequest(http.MethodGet, "/wallet", nil)
		r.Host = "127.0.0.1:8484"
		r.Header.Set("Accept", accept)
		return do(t, h, r)
	}
	p := newProxy(t, w, nil)
	if status, _, code := get(p, p.Control(), ""); status != http.StatusNotFound || code != client.CodePayment {
		t.Errorf("%d %s", status, code)
	}
	seed, err := wallet.NewSeed(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	purse, err := wallet.Create(t.TempDir()+"/w", seed)
	if err != nil {
		t.Fatal(err)
	}
	defer purse.Close()
	p = newProxy(t, w, func(c *proxy.Config) {
		c.Client = w.Client(func(c *client.Config) { c.Payments = &client.Payments{Wallet: purse} })
	})
	status, body, _ := get(p, p.Control(), "")
	var m client.Money
	if err := json.Unmarshal([]byte(body), &m); err != nil || status != http.StatusOK || m.Epoch == 0 || m.Balance != 0 || m.Caught != nil {
		t.Errorf("%d %q %v", status, body, err)
	}
	if status, body, _ := get(p, p.Control(), "text/plain"); status != http.StatusOK || !strings.Contains(body, "balance    0 units") {
		t.Errorf("%d %q", status, body)
	}
	if status, _, _ := get(p, p.Handler(), ""); status != http.StatusNotFound {
		t.Errorf("at the port of applications: %d", status)
	}
}
