// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// TestErrorsAfterOpeningAreSealed: whatever is wrong with an opened request, a
// router sees a sealed answer like any other.
func TestErrorsAfterOpeningAreSealed(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxRequest = 1 << 20 })
	js := []bhttp.Field{{Name: "content-type", Value: "application/json"}}
	tests := []struct {
		name, body string
		o          option
		status     int
		code       string
	}{
		{"not JSON", "hello", option{}, 400, "json.syntax"},
		{"no body", "", option{}, 400, "json.syntax"},
		{"duplicate", `{"a":1,"a":2}`, option{}, 400, "json.duplicate"},
		{"late duplicate", `{"a":1,"b":"` + strings.Repeat("x", 300<<10) + `","a":2}`, option{}, 400, "json.duplicate"},
		{"early duplicate", `{"a":1,"a":2,"b":"` + strings.Repeat("x", 300<<10) + `"}`, option{}, 400, "json.duplicate"},
		{"too large", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, option{}, 413, "json.size"},
		{"remote image", `{"messages":[{"content":[{"image_url":{"url":"http://169.254.169.254/"}}]}]}`, option{}, 400, "request.url"},
		{"TN-08", `{"temperature":"NaN"}`, option{}, 400, "request.range"},
		{"admin member", `{"lora":[{"id":0}]}`, option{}, 400, "request.member"},
		{"another model", `{"model":"gpt-4"}`, option{}, 404, "request.model"},
		{"TN-07", hello, option{path: "/slots"}, 404, "target"},
		{"path with a query", hello, option{path: "/v1/completions?x"}, 404, "target"},
		{"GET", "", option{method: "GET"}, 405, "target"},
		{"no content type", hello, option{fields: []bhttp.Field{{Name: "x", Value: "y"}}}, 415, "request.type"},
		{"text", hello, option{fields: []bhttp.Field{{Name: "content-type", Value: "text/plain"}}}, 415, "request.type"},
		{"compressed", hello, option{fields: append(js, bhttp.Field{Name: "content-encoding", Value: "gzip"})}, 415, "request.type"},
		{"short conversation secret", hello, option{conversation: "short"}, 400, "request.conversation"},
		{"not binary HTTP", "", option{raw: []byte{9, 9, 9}}, 400, "bhttp.format"},
		{"cut binary HTTP", "", option{raw: []byte{2, 4, 'P', 'O'}}, 400, "bhttp.truncated"},
		{"CR-23", "", option{raw: []byte("\x02\x04POST\x05https\x01a\x03/v1\x0aconnection\x01x\x00\x00\x00")}, 400, "bhttp.field"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := f.chat(tt.body, tt.o)
			if o.status != tt.status || codeOf(t, o.body) != tt.code || o.err != nil || o.ctype != "application/json" {
				t.Errorf("%+v", o)
			}
		})
	}
	t.Run("refused early, and then cut", func(t *testing.T) {
		s := f.seal(`{"a":1,"a":2,"b":"`+strings.Repeat("x", 300<<10)+`"}`, option{})
		s.bytes = s.bytes[:len(s.bytes)-1]
		if code := problemOf(t, f.send(s)); code != "stream.truncated" {
			t.Errorf("code %q", code)
		}
	})
	if n := f.calls.Load(); n != 0 {
		t.Errorf("engine got %d whole requests", n)
	}
	if o := f.chat(hello, option{}); o.status != 200 {
		t.Errorf("the next request: %+v", o)
	}
}

func TestSaltsKeepTenantsApart(t *testing.T) {
	f := newFixture(t, nil)
	salt := func(body string, o option) string {
		t.Helper()
		if a := f.chat(body, o); a.status != 200 {
			t.Fatalf("%+v", a)
		}
		var got struct {
			Salt string `json:"cache_salt"`
		}
		if err := json.Unmarshal(<-f.bodies, &got); err != nil || len(got.Salt) != 43 {
			t.Fatalf("%q, %v", got.Salt, err)
		}
		return got.Salt
	}
	t.Run("TN-01", func(t *testing.T) {
		if first, second := salt(hello, option{}), salt(hello, option{}); first == second {
			t.Error("two requests share a cache")
		}
		const secret = "a conversation's secret"
		a := salt(hello, option{conversation: secret})
		if a != salt(`{"model":"toy"}`, option{conversation: secret}) {
			t.Error("one conversation has two caches")
		}
		if a == salt(hello, option{conversation: secret + "2"}) || strings.Contains(a, secret) {
			t.Error("two conversations share a cache")
		}
	})
	t.Run("TN-02", func(t *testing.T) {
		// A caller who knows another's salt cannot ask for it.
		if salt(`{"cache_salt":"chosen"}`, option{}) == "chosen" {
			t.Error("the caller chose the salt")
		}
	})
	llama := f.node.cfg.Engine.Kind
	f.node.cfg.Engine.Kind = "llama.cpp"
	defer func() { f.node.cfg.Engine.Kind = llama }()
	f.chat(`{"cache_prompt":true}`, option{})
	if got := string(<-f.bodies); !strings.Contains(got, `"cache_prompt":false`) || strings.Contains(got, "true") {
		t.Errorf("llama.cpp got %s", got)
	}
}

func TestEngineDeathIsAnErrorNotSilence(t *testing.T) {
	f := newFixture(t, nil)
	die := func(w http.ResponseWriter, s string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, s)
		conn.Close()
	}
	for policy := range uint8(3) {
		t.Run(fmt.Sprintf("within events, policy %d", policy), func(t *testing.T) {
			f.answerWith(func(w http.ResponseWriter, r *http.Request) {
				die(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n18\r\ndata: {\"a\":1}\n\ndata: {\"b\r\n")
			})
			o := f.chat(hello, option{policy: policy})
			if o.status != 200 || o.err != nil || len(o.trailers) != 1 || o.trailers[0] != (bhttp.Field{Name: "sotto-incomplete", Value: "node.engine"}) {
				t.Errorf("%+v", o)
			}
			var last string
			for _, e := range strings.Split(o.body, "\n\n") {
				if d, ok := strings.CutPrefix(strings.TrimSpace(e), "data: "); ok {
					last = d
				}
			}
			if codeOf(t, last) != "node.engine" || !strings.HasPrefix(o.body, "data: {\"a\":1}\n\n") || strings.Contains(o.body, `{"b`) {
				t.Errorf("%q", o.body)
			}
		})
	}
	for name, wire := range map[string]string{
		"before anything":        "",
		"within a short answer":  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"half",
		"not an engine":          "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
		"redirects":              "HTTP/1.1 307 x\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n",
		"a crash page, in words": "HTTP/1.1 500 x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\ntraceback",
	} {
		t.Run(name, func(t *testing.T) {
			f.answerWith(func(w http.ResponseWriter, r *http.Request) { die(w, wire) })
			o := f.chat(hello, option{})
			if o.status != 502 || codeOf(t, o.body) != "node.engine" || o.err != nil {
				t.Errorf("%+v", o)
			}
		})
	}
	t.Run("within a long answer", func(t *testing.T) {
		f.answerWith(func(w http.ResponseWriter, r *http.Request) {
			die(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n{\"half")
		})
		o := f.chat(hello, option{})
		if o.status != 200 || len(o.trailers) != 1 || o.trailers[0].Name != "sotto-incomplete" {
			t.Errorf("%+v", o)
		}
	})
	t.Run("its own errors pass", func(t *testing.T) {
		f.answerWith(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Secret", "of the engine")
			w.WriteHeader(422)
			io.WriteString(w, `{"error":{"message":"too long"}}`)
		})
		if o := f.chat(hello, option{}); o.status != 422 || !strings.Contains(o.body, "too long") {
			t.Errorf("%+v", o)
		}
	})
	f.engine.Store(nil)
	if o := f.chat(hello, option{}); o.status != 200 {
		t.Errorf("the next request: %+v", o)
	}
}

func TestClientThatGoesAwayStopsTheEngine(t *testing.T) {
	f := newFixture(t, nil)
	for policy := range uint8(3) {
		begun, stopped := make(chan struct{}), make(chan struct{})
		f.answerWith(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // a server looks for the end of a connection only behind the body
			close(begun)
			events("1")(w, r)
			<-r.Context().Done()
			close(stopped)
		})
		s := f.seal(hello, option{policy: policy})
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "POST", f.url+"/v1/request", bytes.NewReader(s.bytes))
		req.Header.Set("Peer", defaultRouter)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, hpke.PrefaceSize+10)); err != nil {
			t.Fatal(err)
		}
		// Under the constant policy frames leave before the engine has begun.
		select {
		case <-begun:
		case <-time.After(5 * time.Second):
			t.Fatalf("policy %d: the engine was not asked", policy)
		}
		cancel()
		resp.Body.Close()
		select {
		case <-stopped:
		case <-time.After(5 * time.Second):
			t.Errorf("policy %d: engine still computing", policy)
		}
		waitFor(t, func() bool { return f.node.gate.count() == 0 && len(f.node.gate.slots) == 0 })
	}
}

// TestNothingLeavesBeforeTheEnd is TA-13 and design rule 3: an engine that
// would answer at once gives a client nothing while its request is open.
func TestNothingLeavesBeforeTheEnd(t *testing.T) {
	f := newFixture(t, nil)
	for policy := range uint8(3) {
		s := f.seal(`{"messages":[{"content":"`+strings.Repeat("z", 200<<10)+`"}]}`, option{policy: policy})
		r, w := io.Pipe()
		got := make(chan *http.Response, 1)
		go func() { got <- f.post(defaultRouter, "/v1/request", r) }()
		w.Write(s.bytes[:len(s.bytes)-1])
		select {
		case resp := <-got:
			t.Fatalf("policy %d: answered %d before the last byte", policy, resp.StatusCode)
		case <-time.After(100 * time.Millisecond):
		}
		if f.calls.Load() != int64(policy) {
			t.Error("engine has a whole request before the last byte")
		}
		w.Write(s.bytes[len(s.bytes)-1:])
		w.Close()
		if o := s.open(<-got); o.status != 200 {
			t.Errorf("%+v", o)
		}
	}
}

func TestSlowAndOversizedInputIsBounded(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.UploadTime, c.MaxRequest = 100*time.Millisecond, 64<<10 })
	t.Run("CR-32", func(t *testing.T) {
		s := f.seal(`{"messages":[{"content":"`+strings.Repeat("z", 40<<10)+`"}]}`, option{})
		r, w := io.Pipe()
		go func() {
			w.Write(s.bytes[:s.head+100])
			for i := s.head + 100; i < len(s.bytes); i += 2000 {
				time.Sleep(10 * time.Millisecond)
				if _, err := w.Write(s.bytes[i:min(i+2000, len(s.bytes))]); err != nil {
					return
				}
			}
			w.Close()
		}()
		if code := problemOf(t, f.post(defaultRouter, "/v1/request", r)); code != "request.slow" {
			t.Errorf("code %q", code)
		}
	})
	t.Run("CR-08", func(t *testing.T) {
		// More than any allowed request takes, padding and all.
		s := f.seal(hello, option{padding: 4 << 20})
		resp := f.send(s)
		if resp.StatusCode == 200 {
			if o := s.open(resp); o.status == 200 {
				t.Error("4 MiB of padding accepted")
			}
		} else if code := problemOf(t, resp); code != "request.size" {
			t.Errorf("code %q", code)
		}
	})
	if o := f.chat(hello, option{}); o.status != 200 {
		t.Errorf("the next request: %+v", o)
	}
}

// TestNothingOfARequestIsWritten sweeps logs and metrics for marks that were in
// prompts, answers, members and engine errors.
func TestNothingOfARequestIsWritten(t *testing.T) {
	f := newFixture(t, nil)
	const mark = "canary8842"
	body := func(s string) string { return fmt.Sprintf(s, mark) }
	f.answerWith(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body(`{"answer":"%s"}`))
	})
	for _, b := range []string{`{"messages":[{"content":"%s"}]}`, `{"%s":1,"x":}`, `{"model":"%s"}`, `{"image_url":"http://%s"}`, `{"temperature":"%s"}`} {
		f.chat(body(b), option{conversation: mark + mark})
	}
	f.chat(hello, option{path: "/" + mark})
	f.answerWith(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", mark) })
	f.chat(body(`{"messages":[{"content":"%s"}]}`), option{})
	s := f.seal(body(`{"messages":[{"content":"%s"}]}`), option{})
	problemOf(t, f.post(defaultRouter, "/v1/request", bytes.NewReader(s.bytes[:len(s.bytes)-1])))
	log, metrics := f.log.String(), f.metrics()
	if strings.Contains(log, mark) || strings.Contains(metrics, mark) {
		t.Errorf("found in logs or metrics:\n%s\n%s", log, metrics)
	}
	if !strings.Contains(log, "epoch key made") || !strings.Contains(metrics, `sotto_node_requests_total{code="ok"} 1`) ||
		!strings.Contains(metrics, `sotto_node_requests_total{code="node.engine"} 1`) || !strings.Contains(metrics, `{code="stream.truncated"} 1`) ||
		!strings.Contains(metrics, "sotto_node_tpm_commands_total") {
		t.Errorf("logs and metrics do not say what they should:\n%s\n%s", log, metrics)
	}
	if strings.Contains(metrics, `code="other"} 1`) {
		t.Error("an outcome outside the list")
	}
}

// TestRefusalsLookAlikeOutside: a router cannot tell by status or headers what
// an opened request was refused for.
func TestRefusalsLookAlikeOutside(t *testing.T) {
	f := newFixture(t, nil)
	t.Run("CR-30", func(t *testing.T) {
		var first http.Header
		for _, b := range []string{`x`, `{"a":1,"a":1}`, `{"model":"x"}`, hello} {
			s := f.seal(b, option{policy: hpke.PolicyFrames})
			resp := f.send(s)
			resp.Header.Del("Date")
			// Present when all of the answer left in one write, which its size and
			// time say as well.
			resp.Header.Del("Content-Length")
			if first == nil {
				first = resp.Header
			}
			if resp.StatusCode != 200 || fmt.Sprint(resp.Header) != fmt.Sprint(first) {
				t.Errorf("%s: %d %v, the first %v", b, resp.StatusCode, resp.Header, first)
			}
			s.open(resp)
		}
	})
}

func TestAnswerLeavesInEqualFrames(t *testing.T) {
	f := newFixture(t, nil)
	f.answerWith(events("a", strings.Repeat("b", 300), "c", strings.Repeat("d", 5000), "[DONE]"))
	for _, policy := range []uint8{hpke.PolicyFrames, hpke.PolicyConstant} {
		s := f.seal(hello, option{policy: policy})
		b, err := io.ReadAll(f.send(s).Body)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b) - hpke.PrefaceSize; n <= 0 || n%1024 != 0 {
			t.Errorf("policy %d: %d bytes", policy, n)
		}
	}
}
