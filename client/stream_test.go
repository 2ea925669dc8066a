// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// A middle is somebody between two parties: it has the honest answer to a
// request and says what goes back.
type middle func(w http.ResponseWriter, request []byte, honest *httptest.ResponseRecorder)

// between puts m in front of hop, for requests for inference only.
func between(hop *clienttest.Hop, path string, m middle) {
	hop.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			// Asking for evidence passes: those requests are small.
			if err != nil || r.URL.Path != path || len(b) < 4<<10 {
				h.ServeHTTP(w, r)
				return
			}
			honest := httptest.NewRecorder()
			h.ServeHTTP(honest, r)
			m(w, b, honest)
		})
	})
}

// atRelays puts m into both relays, atTheRouter behind the gateway, where the
// encapsulation is genuine and what is inside it is not.
func atRelays(w *world, m middle) {
	for _, r := range w.Relays {
		between(r, "/ohttp", m)
	}
}

func atTheRouter(w *world, m middle) { between(w.Router, "/v1/request", m) }

// with answers as the honest party did, but for the body.
func with(w http.ResponseWriter, honest *httptest.ResponseRecorder, body []byte) {
	for k, v := range honest.Header() {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(honest.Code)
	w.Write(body)
}

// incomplete checks an answer that must not pass for a whole one.
func incomplete(t testing.TB, got string, err error, codes ...string) {
	t.Helper()
	refused(t, err, codes...)
	var e *client.Error
	if errors.As(err, &e) && !e.Sent {
		t.Errorf("does not say that the prompt was sent: %v", err)
	}
	if strings.HasSuffix(got, "}") {
		t.Errorf("a whole answer came all the same: %q", got)
	}
}

// outerEnd is more than the bytes of an outer final chunk that holds no more than
// the end of a binary HTTP message.
const outerEnd = 64

// TestTruncation cuts the answer everywhere, with an HTTP message that looks
// complete around it.
func TestTruncation(t *testing.T) {
	w := clienttest.Start(t, 3)
	// The last byte of the answer travels with the end, so that no cut leaves
	// a whole one.
	w.Answer(func(x *clienttest.Exchange) {
		s := x.Begin(http.StatusOK, bhttp.Field{Name: "content-type", Value: "application/json"})
		s.Say(`{"answer":"` + strings.Repeat("x", 2000))
		s.Last(`"}`)
	})
	c := w.Client()
	whole, err := ask(t, c)
	if err != nil || !strings.HasSuffix(whole, `"}`) {
		t.Fatalf("%q %v", whole, err)
	}
	for name, at := range map[string]func(*world, middle){"relay": atRelays, "router": atTheRouter} {
		t.Run("CR-01/"+name, func(t *testing.T) {
			var mu sync.Mutex
			cut, size := 0, 0
			at(w, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
				mu.Lock()
				defer mu.Unlock()
				b := honest.Body.Bytes()
				if size = len(b); cut < size {
					b = b[:cut]
				}
				with(rw, honest, b)
			})
			for n := 0; size == 0 || n < size; n++ {
				if n > 80 && n < size-80 && n%61 != 0 {
					continue // every offset near both ends, some between
				}
				mu.Lock()
				cut = n
				mu.Unlock()
				got, err := ask(t, c)
				if got == whole && name == "relay" && n > size-outerEnd {
					// On a busy machine the gateway flushes the answer before its end
					// comes: what a relay then keeps back is the end alone, which says
					// so, and nothing of the answer.
					refused(t, err, client.CodeTruncated, client.CodeStreamShort)
					continue
				}
				incomplete(t, got, err, client.CodeTruncated, client.CodeStreamShort)
				if !strings.HasPrefix(whole, got) {
					t.Errorf("cut at %d: delivered %q, which is not how the answer begins", n, got)
				}
			}
			if size < 2000 {
				t.Errorf("an answer of %d bytes", size)
			}
		})
	}
	for _, r := range append(w.Relays, w.Router) {
		r.Intercept(nil)
	}
	if got, err := ask(t, c); err != nil || got != whole {
		t.Errorf("afterwards: %q %v", got, err)
	}
}

// TestConsumers: an application that reads an answer the ordinary way cannot
// take a part of it for the whole.
func TestConsumers(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	t.Run("CL-18", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) {
			s := x.Begin(http.StatusOK, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
			s.Say("data: {}\n\ndata: [DONE]\n\n")
			panic(http.ErrAbortHandler) // everything came but the sealed end
		})
		resp, err := c.RoundTrip(request(t, chatURL, body(canary)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		refused(t, err, client.CodeTruncated)
		if !strings.Contains(string(b), "[DONE]") || resp.ContentLength != -1 {
			t.Errorf("%q, length %d", b, resp.ContentLength)
		}
		for range 3 { // failed streams stay failed
			if n, again := resp.Body.Read(make([]byte, 10)); n != 0 || again != err {
				t.Errorf("read again: %d %v", n, again)
			}
		}
	})
	t.Run("the engine died", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) {
			s := x.Begin(http.StatusOK, bhttp.Field{Name: "content-type", Value: "text/plain"})
			s.Say("half")
			s.End(bhttp.Field{Name: "sotto-incomplete", Value: "node.engine"})
		})
		_, err := ask(t, c)
		refused(t, err, "node.engine")
	})
	t.Run("read after close", func(t *testing.T) {
		w.Answer(nil)
		resp, err := c.RoundTrip(request(t, chatURL, body(canary)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		refused(t, err, client.CodeTruncated)
	})
}

// TestForgedAnswers: whatever comes back that this request's node did not make
// for it is refused, and nothing of it is delivered.
func TestForgedAnswers(t *testing.T) {
	w := clienttest.Start(t, 3)
	one := w.Client(func(cfg *config) { cfg.Candidates = 1 }) // no choice to be explained
	var old, oldInner []byte
	keep := func(dst *[]byte) middle {
		return func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			*dst = bytes.Clone(honest.Body.Bytes())
			with(rw, honest, honest.Body.Bytes())
		}
	}
	atRelays(w, keep(&old))
	atTheRouter(w, keep(&oldInner))
	mustAsk(t, one)
	flip := func(i int) middle {
		return func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			b := bytes.Clone(honest.Body.Bytes())
			if i < 0 {
				i += len(b)
			}
			b[i] ^= 0x40
			with(rw, honest, b)
		}
	}
	record := wire.RouteRecordSize
	cases := []struct {
		name  string
		at    func(*world, middle)
		m     middle
		codes []string
	}{
		{"CR-05/at the relay", atRelays, func(rw http.ResponseWriter, req []byte, honest *httptest.ResponseRecorder) { with(rw, honest, req) }, []string{"stream.auth", "stream.truncated"}},
		{"CR-05/at the router", atTheRouter, func(rw http.ResponseWriter, req []byte, honest *httptest.ResponseRecorder) {
			with(rw, honest, append(honest.Body.Bytes()[:record:record], req[wire.RoutingBlockSize:]...))
		}, []string{"stream.auth", "stream.truncated"}},
		{"CR-06/another request's answer, at the relay", atRelays, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) { with(rw, honest, old) }, []string{"stream.auth"}},
		{"CR-06/another request's answer, at the router", atTheRouter, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) { with(rw, honest, oldInner) }, []string{"stream.auth", "route.candidate"}},
		{"a bit of the encapsulation's nonce", atRelays, flip(3), []string{"stream.auth"}},
		{"a bit of the encapsulation's last chunk", atRelays, flip(-1), []string{"stream.auth", "stream.truncated"}}, // which look alike there
		{"a bit of the node's nonce", atTheRouter, flip(record + 5), []string{"stream.auth"}},
		{"a bit of the node's last frame", atTheRouter, flip(-1), []string{"stream.auth"}},
		{"bytes after the end, at the relay", atRelays, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			with(rw, honest, append(honest.Body.Bytes(), 0))
		}, []string{"stream.auth", "stream.truncated"}},
		{"bytes after the end, at the router", atTheRouter, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			with(rw, honest, append(honest.Body.Bytes(), "more"...))
		}, []string{"stream.auth", "stream.truncated"}},
		{"CR-09/the answer is not chunked", atRelays, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			honest.Header().Set("Content-Type", "message/ohttp-res")
			with(rw, honest, honest.Body.Bytes())
		}, []string{"suite"}},
		{"CR-09/the answer is in the clear", atRelays, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			honest.Header().Set("Content-Type", "application/json")
			with(rw, honest, []byte(`{"answer":"me"}`))
		}, []string{"suite"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, hop := range append(w.Relays, w.Router) {
				hop.Intercept(nil)
			}
			c.at(w, c.m)
			got, err := ask(t, one)
			refused(t, err, c.codes...)
			if err == nil {
				t.Errorf("%q was taken for an answer", got)
			}
		})
	}
	for name, at := range map[string]func(*world, middle){"relay": atRelays, "router": atTheRouter} {
		t.Run("CR-07/"+name, func(t *testing.T) {
			for _, hop := range append(w.Relays, w.Router) {
				hop.Intercept(nil)
			}
			n := 0
			at(w, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
				prefix := 0
				if name == "router" {
					prefix = record
				}
				with(rw, honest, honest.Body.Bytes()[:prefix+n])
			})
			for n = range 33 {
				got, err := ask(t, one)
				incomplete(t, got, err, client.CodeStreamShort, client.CodeTruncated)
			}
		})
	}
	t.Run("CR-08", func(t *testing.T) { endless(t, w, one) })
}

// endless: zeros without end are refused at once, and not collected.
func endless(t *testing.T, w *world, c *client.Client) {
	for name, at := range map[string]func(*world, middle){"relay": atRelays, "router": atTheRouter} {
		for _, hop := range append(w.Relays, w.Router) {
			hop.Intercept(nil)
		}
		at(w, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			with(rw, honest, nil)
			zeros := make([]byte, 64<<10)
			for {
				if _, err := rw.Write(zeros); err != nil {
					return
				}
			}
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := ask(t, c)
		runtime.ReadMemStats(&after)
		if d := time.Since(start); err == nil || d > 5*time.Second || after.TotalAlloc-before.TotalAlloc > 64<<20 {
			t.Errorf("%s: %v after %v, %d MiB allocated", name, err, d, (after.TotalAlloc-before.TotalAlloc)>>20)
		}
		if client.CodeOf(err) == "" {
			t.Errorf("%s: untyped: %v", name, err)
		}
	}
}

// TestRoutes: the router may not choose who answers.
func TestRoutes(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	// rewrite changes the route record in front of the sealed answer.
	rewrite := func(f func(*wire.RouteRecord)) middle {
		return func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
			b := honest.Body.Bytes()
			if honest.Code != http.StatusOK {
				with(rw, honest, b)
				return
			}
			r, err := wire.ParseRouteRecord(b[:wire.RouteRecordSize])
			if err != nil {
				t.Error(err)
				return
			}
			f(r)
			with(rw, honest, append(r.Append(nil), b[wire.RouteRecordSize:]...))
		}
	}
	t.Run("RT-01", func(t *testing.T) {
		for _, index := range []uint8{3, 7} {
			atTheRouter(w, rewrite(func(r *wire.RouteRecord) { r.Index = index }))
			_, err := ask(t, c)
			refused(t, err, client.CodeCandidate)
		}
	})
	t.Run("RT-11", func(t *testing.T) {
		var receipt wire.BusyReceipt
		for name, f := range map[string]func(*wire.RouteRecord){
			"another of the draw, no receipt":    func(r *wire.RouteRecord) { r.Index = (r.Index + 1) % 3 },
			"another of the draw, a made-up one": func(r *wire.RouteRecord) { r.Index, r.Skipped = (r.Index+1)%3, append(r.Skipped, receipt) },
			"one receipt too many":               func(r *wire.RouteRecord) { r.Skipped = append(r.Skipped, receipt) },
		} {
			atTheRouter(w, rewrite(f))
			_, err := ask(t, c)
			if refused(t, err, client.CodeSkip, client.CodeCandidate); err == nil {
				t.Error(name)
			}
		}
		// The receipts of an earlier request do not excuse this one.
		var kept []wire.BusyReceipt
		atTheRouter(w, rewrite(func(r *wire.RouteRecord) { kept = append(kept, r.Skipped...) }))
		for range 20 {
			if len(kept) > 0 {
				break
			}
			w.Nodes[0].Busy(1)
			if _, err := ask(t, c); err != nil {
				t.Fatal(err)
			}
		}
		if len(kept) == 0 {
			t.Fatal("no receipt in twenty requests to one busy node of three")
		}
		w.Nodes[0].Busy(0)
		atTheRouter(w, rewrite(func(r *wire.RouteRecord) { r.Index, r.Skipped = (r.Index+1)%3, kept[:1] }))
		_, err := ask(t, c)
		refused(t, err, client.CodeSkip)
	})
	t.Run("an honest skip", func(t *testing.T) {
		w.Router.Intercept(nil)
		for i := range 10 {
			w.Nodes[0].Busy(1)
			w.Nodes[1].Busy(1)
			if _, err := ask(t, c); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
	})
	t.Run("receipts that were left out", func(t *testing.T) {
		left := 0
		atTheRouter(w, rewrite(func(r *wire.RouteRecord) {
			if len(r.Skipped) > 0 {
				left++
				r.Skipped = nil
			}
		}))
		for range 20 {
			if left > 0 {
				break
			}
			w.Nodes[0].Busy(1)
			before := left
			_, err := ask(t, c)
			if left > before {
				refused(t, err, client.CodeSkip)
			} else if err != nil {
				t.Error(err)
			}
		}
		if left == 0 {
			t.Error("never tried")
		}
	})
}

// TestHangups: the application goes away, and everything it held goes with it.
func TestHangups(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	gone := make(chan struct{}, 1)
	w.Answer(func(x *clienttest.Exchange) {
		s := x.Begin(http.StatusOK, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
		s.Say("data: {}\n\n")
		<-x.Context().Done()
		gone <- struct{}{}
	})
	resp, err := c.RoundTrip(request(t, chatURL, body(canary)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the node still computes for nobody")
	}
	// One application's cancellation is not another's error.
	w.Answer(nil)
	mustAsk(t, c)
}

// TestConcurrentRequests share one world and are told apart.
func TestConcurrentRequests(t *testing.T) {
	w := clienttest.Start(t, 4)
	w.Answer(func(x *clienttest.Exchange) { x.Reply(200, "application/json", string(x.Content)) })
	c := w.Client()
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			want := body(fmt.Sprint("request ", i, strings.Repeat(".", i*1000)))
			resp, err := c.RoundTrip(request(t, chatURL, want))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != want {
				t.Errorf("request %d: %d bytes of %d, %v", i, len(b), len(want), err)
			}
		})
	}
	wg.Wait()
}
