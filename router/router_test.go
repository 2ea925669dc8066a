// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/router"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestRequestsReachTheFirstOfTheDraw(t *testing.T) {
	w := newWorld(t, 4, nil)
	for _, n := range []int{0, 1, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300 << 10} {
		for _, chunked := range []bool{false, true} {
			h := w.header(w.epoch, w.ids()[:3]...)
			first := w.order(h)[0]
			before := first.ran.Load()
			w.answered(h, random(n), chunked)
			if first.ran.Load() != before+1 {
				t.Errorf("%d bytes: another node ran it", n)
			}
		}
	}
	for k := 1; k <= 4; k++ {
		w.answered(w.header(w.epoch, w.ids()[:k]...), random(100), false)
	}
}

// TestNodeGetsOnlyItsOwn: neither another's entry nor a header of the client's.
func TestNodeGetsOnlyItsOwn(t *testing.T) {
	w := newWorld(t, 3, nil)
	h := w.header(w.epoch, w.ids()...)
	first := w.order(h)[0]
	var got []byte
	first.setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
		got, _ = io.ReadAll(r.Body)
		rw.Header().Set("Content-Type", "application/sotto-response")
		rw.Header().Set("Set-Cookie", "id=1")
		rw.Header().Set("X-Node-Id", "n")
		io.WriteString(rw, "ok")
	})
	for _, id := range []string{"RT-13", "RT-15", "CR-29"} {
		t.Run(id, func(t *testing.T) {
			req := must(http.NewRequest("POST", w.url+"/v1/request?x=1", message(h, strings.NewReader("body"))))
			for _, line := range []string{"x-credit-amount: 9", "x-encapsulated-key: k", "x-node-id: n", "Sotto-Ask: x", "traceparent: 00-1", "baggage: b",
				"X-Forwarded-For: 192.0.2.1", "Via: 1.1 x", "Cookie: a=b", "User-Agent: u", "Authorization: a", "Accept: */*", "Idempotency-Key: 1"} {
				k, v, _ := strings.Cut(line, ": ")
				req.Header.Set(k, v)
			}
			resp, err := w.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			head := <-first.heads
			if len(head) != 3 || head.Get("Content-Type") != "application/sotto-request" || head.Get("Content-Length") == "" || len(head.Get(wire.AskHeader)) != 56 {
				t.Errorf("the node got %v", head)
			}
			delete(resp.Header, "Date")
			for k := range resp.Header {
				if k != "Content-Type" && k != "Content-Length" && k != "Cache-Control" {
					t.Errorf("the gateway got %s: %q", k, resp.Header[k])
				}
			}
			if want := hpke.ForwardedSize(hpke.NodeSuite, 3) + len("body"); len(got) != want {
				t.Errorf("%d bytes, want %d", len(got), want)
			}
			for _, e := range h.Entries {
				if e.NodeID != first.id && (bytes.Contains(got, e.Enc) || bytes.Contains(got, e.NodeID[:])) {
					t.Error("another candidate's entry reached the node")
				}
			}
		})
	}
}

// TestBusyNodes is RT-11 seen from the router: each skip has its receipt, a
// short body reaches the next candidate whole, and a long one too when the
// busy node answers before it flows.
func TestBusyNodes(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, size := range []int{10, 64 << 10, 2 << 20} {
		for busy := range 3 {
			for _, chunked := range []bool{false, true} {
				h := w.header(w.epoch, w.ids()...)
				order := w.order(h)
				for i, n := range order {
					n.busy.Store(i < busy)
				}
				before := w.ran()
				if rec := w.answered(h, random(size), chunked); len(rec.Skipped) != busy || w.ran() != before+1 {
					t.Errorf("%d busy: %d receipts, ran %d times", busy, len(rec.Skipped), w.ran()-before)
				}
			}
		}
	}
	for _, n := range w.nodes {
		n.busy.Store(true)
	}
	before := w.ran()
	w.refused(message(w.header(w.epoch, w.ids()...), strings.NewReader("x")), 503, "node.busy")
	if w.ran() != before {
		t.Error("somebody ran it")
	}
}

// TestBusyAfterTheBodyBegan: a node that reads a long body and then calls
// itself busy cannot be replaced; the client hears busy.
func TestBusyAfterTheBodyBegan(t *testing.T) {
	w := newWorld(t, 2, nil)
	h := w.header(w.epoch, w.ids()...)
	first := w.order(h)[0]
	first.setAnswer(func(rw http.ResponseWriter, r *http.Request, ask wire.Ask) {
		io.Copy(io.Discard, r.Body)
		first.sign(rw, ask)
	})
	w.refused(message(h, bytes.NewReader(random(300<<10))), 503, "node.busy")
	if w.ran() != 0 {
		t.Error("the other node ran half a request")
	}
}

func TestReceiptsThatAreNone(t *testing.T) {
	w := newWorld(t, 2, nil)
	for name, change := range map[string]func(b *wire.BusyReceipt, other *node) []byte{
		"unsigned":           func(b *wire.BusyReceipt, _ *node) []byte { b.Signature = [64]byte{}; return b.Append(nil) },
		"by another node":    func(b *wire.BusyReceipt, o *node) []byte { b.Sign(o.key); return b.Append(nil) },
		"of another request": func(b *wire.BusyReceipt, _ *node) []byte { b.HeaderHash[0]++; return b.Append(nil) },
		"of another attempt": func(b *wire.BusyReceipt, _ *node) []byte { b.Attempt++; return b.Append(nil) },
		"naming another":     func(b *wire.BusyReceipt, o *node) []byte { b.NodeID = o.id; b.Sign(o.key); return b.Append(nil) },
		"short":              func(b *wire.BusyReceipt, _ *node) []byte { return b.Append(nil)[1:] },
		"long":               func(b *wire.BusyReceipt, _ *node) []byte { return append(b.Append(nil), 0) },
		"empty":              func(*wire.BusyReceipt, *node) []byte { return nil },
		"endless":            func(*wire.BusyReceipt, *node) []byte { return make([]byte, 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			h := w.header(w.epoch, w.ids()...)
			order := w.order(h)
			order[1].setAnswer(nil)
			order[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, ask wire.Ask) {
				b := ask.Receipt(order[0].id)
				b.Sign(order[0].key)
				out := change(&b, order[1])
				rw.Header().Set("Content-Type", "application/sotto-busy")
				rw.WriteHeader(503)
				rw.Write(out)
			})
			w.refused(message(h, strings.NewReader("x")), 502, "node.receipt")
		})
	}
	if w.ran() != 0 {
		t.Error("a request was passed on without a receipt")
	}
}

func TestRequestsTheRouterRefuses(t *testing.T) {
	w := newWorld(t, 3, func(c *router.Config) { c.MinCandidates, c.MaxRequest = 2, 1<<20 })
	ids := w.ids()
	stranger := [32]byte{1}
	good := func() []byte {
		return must(io.ReadAll(message(w.header(w.epoch, ids...), strings.NewReader("x"))))
	}
	edit := func(at int, v byte) io.Reader {
		b := good()
		b[at] = v
		return bytes.NewReader(b)
	}
	w.refused(edit(0, 2), 400, "routing")
	w.refused(edit(1, 1), 400, "routing")
	w.refused(edit(1000, 1), 400, "routing")
	w.refused(edit(wire.RoutingBlockSize, 9), 400, "suite")
	w.refused(edit(wire.RoutingBlockSize+2, 9), 400, "suite")
	w.refused(edit(wire.RoutingBlockSize+15, 0), 400, "header")
	w.refused(edit(wire.RoutingBlockSize+15, 9), 400, "header")
	w.refused(edit(wire.RoutingBlockSize+16, 0), 400, "header")
	b := good()
	b[wire.RoutingBlockSize+60] ^= 9 // the candidates' hash
	w.refused(bytes.NewReader(b), 400, "header")
	w.refused(edit(9, 7), 409, "epoch") // the block's epoch is not the header's
	w.refused(message(w.header(w.epoch+1, ids...), strings.NewReader("x")), 409, "epoch")
	w.refused(message(w.header(0, ids...), strings.NewReader("x")), 409, "epoch") // an empty leaf
	w.refused(message(w.header(w.epoch, ids[0]), strings.NewReader("x")), 400, "route.k")
	w.refused(message(w.header(w.epoch, ids[0], ids[0]), strings.NewReader("x")), 400, "header")
	for _, n := range []int{0, 1, wire.RoutingBlockSize - 1, wire.RoutingBlockSize, wire.RoutingBlockSize + 1, wire.RoutingBlockSize + hpke.HeaderSize(hpke.NodeSuite, 3) - 1} {
		w.refused(bytes.NewReader(good()[:n]), 400, "truncated")
	}
	w.refused(message(w.header(w.epoch, ids...), bytes.NewReader(make([]byte, 1<<20))), 413, "size")
	b = must(io.ReadAll(message(w.header(w.epoch, ids...), bytes.NewReader(make([]byte, 1<<20)))))
	w.refused(bytes.NewReader(b), 413, "size")
	t.Run("RT-01", func(t *testing.T) {
		w.refused(message(w.header(w.epoch, ids[0], ids[1], stranger), strings.NewReader("x")), 400, "route.candidate")
	})
	if w.ran() != 0 {
		t.Error("a node ran a refused request")
	}
	w.answered(w.header(w.epoch, ids...), []byte("x"), true)
}

func TestPeersTheRouterRefuses(t *testing.T) {
	w := newWorld(t, 1, nil)
	t.Run("RT-14", func(t *testing.T) {
		for _, path := range []string{"/v1/request", "/v1/health", "/v1/pack/1", "/v1/node", "/"} {
			resp, err := w.client("relay.sotto").Post(w.url+path, "x/y", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 403 {
				t.Errorf("%s: %d", path, resp.StatusCode)
			}
		}
		tr := httpx.NewTransport(&tls.Config{RootCAs: must(httpx.TLS{CA: w.ca.File()}.Client("")).RootCAs, ServerName: "router.sotto"})
		defer tr.CloseIdleConnections()
		if resp, err := (&http.Client{Transport: tr}).Get(w.url + "/v1/health"); err == nil {
			t.Errorf("no certificate: %d", resp.StatusCode)
		}
		resp, err := w.http.Post(w.url+"/v1/node", "x/y", strings.NewReader("x"))
		if err != nil || resp.StatusCode != 404 {
			t.Errorf("the gateway cannot register nodes: %v %v", resp, err)
		}
	})
}

// TestNodeThatIsDown: no receipt, hence no next candidate.
func TestNodeThatIsDown(t *testing.T) {
	w := newWorld(t, 2, nil)
	h := w.header(w.epoch, w.ids()...)
	order := w.order(h)
	order[0].stop()
	w.refused(message(h, strings.NewReader("x")), 502, "node.unreachable")
	w.router.Check(context.Background()) // now it is known to be down
	w.refused(message(h, strings.NewReader("x")), 502, "node.unreachable")
	if order[1].ran.Load() != 0 {
		t.Error("the next candidate got it without a receipt")
	}
}

// TestNodeThatDies: before its answer it is an error, in its answer the answer
// is cut; never does anybody else run the request.
func TestNodeThatDies(t *testing.T) {
	w := newWorld(t, 2, nil)
	for name, f := range map[string]func(http.ResponseWriter, *http.Request, wire.Ask){
		"before it reads": func(http.ResponseWriter, *http.Request, wire.Ask) { httpx.Abort() },
		"after it read":   func(_ http.ResponseWriter, r *http.Request, _ wire.Ask) { io.Copy(io.Discard, r.Body); httpx.Abort() },
	} {
		t.Run(name, func(t *testing.T) {
			h := w.header(w.epoch, w.ids()...)
			w.order(h)[0].setAnswer(f)
			w.order(h)[1].setAnswer(nil)
			w.refused(message(h, strings.NewReader("x")), 502, "node.failed")
		})
	}
	t.Run("in its answer", func(t *testing.T) {
		h := w.header(w.epoch, w.ids()...)
		w.order(h)[1].setAnswer(nil)
		w.order(h)[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
			io.Copy(io.Discard, r.Body)
			rw.Header().Set("Content-Type", "application/sotto-response")
			io.WriteString(rw, "half")
			http.NewResponseController(rw).Flush()
			httpx.Abort()
		})
		status, b, err := w.post(message(h, strings.NewReader("x")))
		if err == nil || status != 200 {
			t.Errorf("a cut answer looks complete: %d %d bytes", status, len(b))
		}
	})
	if w.ran() != 0 {
		t.Error("somebody else ran the request")
	}
	for _, n := range w.nodes {
		n.setAnswer(nil)
	}
	w.answered(w.header(w.epoch, w.ids()...), []byte("next"), false)
}

func TestAnswersTheRouterRefuses(t *testing.T) {
	w := newWorld(t, 1, func(c *router.Config) { c.MaxAnswer = 1 << 20 })
	for _, tc := range []struct {
		name   string
		f      func(rw http.ResponseWriter)
		status int
		code   string
	}{
		{"problem", func(rw http.ResponseWriter) { httpx.Problem(rw, 409, "replay") }, 409, "replay"},
		{"no type", func(rw http.ResponseWriter) { rw.Write([]byte("ok")) }, 502, "node.answer"},
		{"redirect", func(rw http.ResponseWriter) {
			rw.Header().Set("Location", "https://evil.example/")
			rw.WriteHeader(307)
		}, 502, "node.answer"},
		{"503 without receipt", func(rw http.ResponseWriter) { rw.WriteHeader(503) }, 502, "node.answer"},
		{"page", func(rw http.ResponseWriter) { http.Error(rw, "<html>", 500) }, 502, "node.answer"},
		{"announced too long", func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "application/sotto-response")
			rw.Header().Set("Content-Length", fmt.Sprint(1<<20+1))
			rw.Write(make([]byte, 1<<20+1))
		}, 502, "node.answer"},
		{"long problem", func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.Header().Set("Content-Length", "5000")
			rw.WriteHeader(400)
			rw.Write(make([]byte, 5000))
		}, 502, "node.answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.nodes[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
				io.Copy(io.Discard, r.Body)
				tc.f(rw)
			})
			w.refused(message(w.header(w.epoch, w.ids()...), strings.NewReader("x")), tc.status, tc.code)
		})
	}
	t.Run("CR-08", func(t *testing.T) {
		w.nodes[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
			rw.Header().Set("Content-Type", "application/sotto-response")
			for b := make([]byte, 1<<16); ; {
				if _, err := rw.Write(b); err != nil {
					return
				}
			}
		})
		if _, b, err := w.post(message(w.header(w.epoch, w.ids()...), strings.NewReader("x"))); err == nil || len(b) > 2<<20 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	})
}

// TestFanOut is RT-02 seen from the router: one request, one node, however
// many ask at once.
func TestFanOut(t *testing.T) {
	t.Run("RT-02", func(t *testing.T) {
		w := newWorld(t, 3, nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { w.answered(w.header(w.epoch, w.ids()...), random(2000), false) })
		}
		wg.Wait()
		if n := w.ran(); n != 50 {
			t.Errorf("50 requests ran %d times", n)
		}
	})
}

func TestClientGoesAway(t *testing.T) {
	w := newWorld(t, 1, nil)
	in, ended := make(chan struct{}), make(chan struct{})
	w.nodes[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
		io.Copy(io.Discard, r.Body)
		close(in)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-in; cancel() }()
	req := must(http.NewRequestWithContext(ctx, "POST", w.url+"/v1/request", message(w.header(w.epoch, w.ids()...), strings.NewReader("x"))))
	if _, err := w.http.Do(req); err == nil {
		t.Error("answered")
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the node still works for nobody")
	}
}

func TestAnswersStream(t *testing.T) {
	w := newWorld(t, 1, nil)
	step := make(chan struct{})
	w.nodes[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
		io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", "application/sotto-response")
		for range 3 {
			io.WriteString(rw, "x")
			http.NewResponseController(rw).Flush()
			<-step
		}
	})
	resp, err := w.http.Post(w.url+"/v1/request", "x/y", message(w.header(w.epoch, w.ids()...), strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, wire.RouteRecordSize)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		step <- struct{}{}
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("%q %v", rest, err)
	}
}

func TestBulkKeepsMemoryFlat(t *testing.T) {
	const size = 10 << 20
	w := newWorld(t, 1, nil)
	var peak atomic.Uint64
	w.nodes[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != size+int64(hpke.ForwardedSize(hpke.NodeSuite, 1)) {
			return
		}
		rw.Header().Set("Content-Type", "application/sotto-response")
		for b, sent := make([]byte, 16384), 0; sent < size; sent += len(b) {
			rw.Write(b)
			if sent%(1<<20) == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapAlloc))
			}
		}
	})
	send := func() {
		resp, err := w.http.Post(w.url+"/v1/request", "x/y", message(w.header(w.epoch, w.ids()...), io.LimitReader(zeros{}, size)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size+wire.RouteRecordSize {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	send() // warm up
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak.Store(0)
	send()
	if grown := int64(peak.Load()) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestRequestsAreBounded(t *testing.T) {
	w := newWorld(t, 1, func(c *router.Config) { c.MaxConcurrent = 1 })
	in, release := make(chan struct{}), make(chan struct{})
	w.nodes[0].setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
		close(in)
		<-release
		httpx.Problem(rw, 400, "header")
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.post(message(w.header(w.epoch, w.ids()...), strings.NewReader("x")))
	}()
	<-in
	w.refused(message(w.header(w.epoch, w.ids()...), strings.NewReader("x")), 503, "overload")
	close(release)
	<-done
}
