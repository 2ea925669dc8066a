// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
)

func TestCutRequests(t *testing.T) {
	t.Run("CR-01", func(t *testing.T) {
		x := newWorld(t, nil)
		var whole atomic.Int64
		x.setRouter(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				httpx.Abort()
			}
			whole.Add(1)
		})
		// A long request begins to stream before its end is seen; a short one
		// never reaches the router unless it is complete.
		for _, n := range []int{100, small + 50000} {
			_, sealed := x.seal(message(t, post("/v1/request"), make([]byte, n), 300))
			for _, at := range []int{0, 1, 6, 7, 1126, 1127, 1128, 1140, len(sealed) / 2, len(sealed) - 400, len(sealed) - 17, len(sealed) - 1} {
				if at >= len(sealed) {
					continue
				}
				// Each try is sealed afresh, or it would be a replay.
				r, sealed := x.seal(message(t, post("/v1/request"), make([]byte, n), 300))
				resp := x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed[:at]))
				h, b, err := open(r, resp)
				if err == nil && (h.Status != 400 || !strings.Contains(b, "stream.truncated") && !strings.Contains(b, "stream.auth")) {
					t.Errorf("%d bytes cut at %d: %d %s", n, at, h.Status, b)
				}
				if err != nil && resp.StatusCode != 400 {
					t.Errorf("%d bytes cut at %d: %d, %v", n, at, resp.StatusCode, err)
				}
			}
		}
		if whole.Load() != 0 {
			t.Errorf("the router took %d cut requests for complete ones", whole.Load())
		}
		if status, _ := x.do(post("/v1/request"), []byte("next")); status != 200 {
			t.Errorf("the next request: %d", status)
		}
	})
	t.Run("connection cut in the middle aborts the origin", func(t *testing.T) {
		x := newWorld(t, nil)
		aborted := make(chan error, 1)
		x.setRouter(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			aborted <- err
		})
		_, sealed := x.seal(message(t, post("/v1/request"), make([]byte, 1<<20), 0))
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", x.url+"/ohttp", pr)
		req.Header.Set("Content-Type", ohttp.TypeChunkedRequest)
		go x.relay.Do(req)
		pw.Write(sealed[:500000])
		pw.CloseWithError(errors.New("gone"))
		select {
		case err := <-aborted:
			if err == nil {
				t.Error("the router took a part for the whole")
			}
		case <-time.After(5 * time.Second):
			t.Error("the router still waits")
		}
	})
}

func TestOriginDiesInItsAnswer(t *testing.T) {
	t.Run("CR-01", func(t *testing.T) {
		x := newWorld(t, nil)
		x.setRouter(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "first half")
			http.NewResponseController(w).Flush()
			httpx.Abort()
		})
		r, sealed := x.seal(message(t, post("/v1/request"), nil, 0))
		_, got, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed)))
		if !errors.Is(err, encap.ErrTruncated) || !strings.HasPrefix("first half", got) {
			t.Errorf("%q, %v", got, err)
		}
		if n := x.metric("requests_total", codeCut); n != 1 {
			t.Errorf("counted %v", n)
		}
	})
	t.Run("before its answer", func(t *testing.T) {
		x := newWorld(t, nil)
		x.setRouter(func(http.ResponseWriter, *http.Request) { httpx.Abort() })
		if status, b := x.do(post("/v1/request"), []byte("q")); status != 502 || !strings.Contains(b, `"code":"origin"`) {
			t.Errorf("%d %s", status, b)
		}
	})
}

func TestOriginAnswersEarly(t *testing.T) {
	x := newWorld(t, nil)
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 1000))
		httpx.Problem(w, 503, "busy")
	})
	r, sealed := x.seal(message(t, post("/v1/request"), make([]byte, 20<<20), 0))
	// The relay stalls in the middle: the answer must not wait for it.
	pr, pw := io.Pipe()
	go pw.Write(sealed[:1<<20])
	defer pw.Close()
	h, b, err := open(r, x.send(ohttp.TypeChunkedRequest, pr))
	if err != nil || h.Status != 503 || !strings.Contains(b, `"busy"`) {
		t.Errorf("%+v %s %v", h, b, err)
	}
}

func TestClientGoneCancelsTheOrigin(t *testing.T) {
	x := newWorld(t, nil)
	gone := make(chan struct{})
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "x")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	_, sealed := x.seal(message(t, post("/v1/request"), nil, 0))
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "POST", x.url+"/ohttp", bytes.NewReader(sealed))
	req.Header.Set("Content-Type", ohttp.TypeChunkedRequest)
	resp, err := x.relay.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the origin was not cancelled")
	}
}

func TestTokensLeaveAtOnce(t *testing.T) {
	x := newWorld(t, nil)
	step := make(chan struct{})
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for i := range 5 {
			fmt.Fprintf(w, "token%d", i)
			http.NewResponseController(w).Flush()
			<-step // the next token only after the client has this one
		}
	})
	r, sealed := x.seal(message(t, post("/v1/request"), nil, 0))
	rd := bhttp.NewReader(r.Response(x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed)).Body), bhttp.Limits{})
	if _, _, err := rd.ReadResponse(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 6)
	for i := range 5 {
		if _, err := io.ReadFull(rd.Body(), buf); err != nil || string(buf) != fmt.Sprintf("token%d", i) {
			t.Fatalf("token %d: %q, %v", i, buf, err)
		}
		step <- struct{}{}
	}
	if _, err := rd.Body().Read(buf); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func TestDowngrade(t *testing.T) {
	t.Run("CR-09", func(t *testing.T) {
		x := newWorld(t, nil)
		_, sealed := x.seal(message(t, post("/v1/request"), nil, 0))
		for name, change := range map[string]func([]byte){
			"AES-128":       func(b []byte) { b[6] = 1 },
			"HKDF-SHA512":   func(b []byte) { b[4] = 3 },
			"classical KEM": func(b []byte) { b[1], b[2] = 0, 0x20 },
			"Kyber draft":   func(b []byte) { b[1], b[2] = 0, 0x30 },
			"node's KEM":    func(b []byte) { b[1], b[2] = 0, 0x50 },
			"export only":   func(b []byte) { b[5], b[6] = 0xff, 0xff },
		} {
			b := bytes.Clone(sealed)
			change(b)
			resp := x.send(ohttp.TypeChunkedRequest, bytes.NewReader(b))
			got, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 400 || !bytes.Contains(got, []byte(`"code":"suite"`)) || !bytes.Contains(got, []byte(ohttp.ProblemKey)) {
				t.Errorf("%s: %d %s", name, resp.StatusCode, got)
			}
		}
		if x.calls.Load() != 0 {
			t.Error("the origin was called")
		}
	})
}

func TestReplay(t *testing.T) {
	t.Run("CR-15", func(t *testing.T) {
		x := newWorld(t, nil)
		r, sealed := x.seal(message(t, post("/v1/request"), []byte("once"), 0))
		if _, b, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed))); err != nil || b != "POST /v1/request 4:once" {
			t.Fatal(b, err)
		}
		h, b, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed)))
		if err != nil || h.Status != 409 || b != `{"type":"about:blank","status":409,"code":"replay"}` {
			t.Errorf("second copy: %+v %s %v", h, b, err)
		}
		// Many at once of a fresh one: exactly one reaches the origin.
		r, sealed = x.seal(message(t, post("/v1/request"), []byte("race"), 0))
		before := x.calls.Load()
		var wg sync.WaitGroup
		var served atomic.Int64
		for range 50 {
			wg.Go(func() {
				req, _ := http.NewRequest("POST", x.url+"/ohttp", bytes.NewReader(sealed))
				req.Header.Set("Content-Type", ohttp.TypeChunkedRequest)
				resp, err := x.relay.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if h, _, err := open(r, resp); err == nil && h.Status == 200 {
					served.Add(1)
				}
			})
		}
		wg.Wait()
		if served.Load() != 1 || x.calls.Load() != before+1 {
			t.Errorf("%d answers, %d calls", served.Load(), x.calls.Load()-before)
		}

		// 10^5 copies, straight into the handler's memory of requests.
		c := newReplayCache(1 << 20)
		enc := bytes.Repeat([]byte("e"), 1120)
		fresh := 0
		for range 100000 {
			if c.add(enc) {
				fresh++
			}
		}
		if fresh != 1 || c.len() != 1 {
			t.Errorf("%d of 10^5 copies passed, %d remembered", fresh, c.len())
		}
	})
}

func TestReplayWindow(t *testing.T) {
	const window = 1000
	c := newReplayCache(window)
	enc := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	for i := range 50 * window {
		if !c.add(enc(i)) {
			t.Fatalf("request %d was refused as a replay", i)
		}
		for _, back := range []int{0, 1, window - 1} {
			if i >= back && c.add(enc(i-back)) {
				t.Fatalf("replay of request %d passed after %d others", i-back, back)
			}
		}
	}
	if n := c.len(); n > 2*window {
		t.Errorf("%d remembered, window %d", n, window)
	}
	t.Run("BOUND", func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := newReplayCache(1 << 17)
		for i := range 1 << 20 {
			c.add(enc(i))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		// 32 bytes a request of the window: two tables of 2^18 slots.
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 5<<20 {
			t.Errorf("a window of 2^17 holds %d bytes", grown)
		}
		runtime.KeepAlive(c)
	})
}

func TestSSRF(t *testing.T) {
	t.Run("CR-27", func(t *testing.T) {
		x := newWorld(t, nil)
		type req = bhttp.RequestHead
		for _, h := range []req{
			{Method: "POST", Scheme: "http", Authority: "router.sotto", Path: "/v1/request"},
			{Method: "POST", Scheme: "file", Authority: "router.sotto", Path: "/etc/passwd"},
			{Method: "POST", Scheme: "gopher", Authority: "router.sotto", Path: "/v1/request"},
			{Method: "POST", Scheme: "HTTPS", Authority: "router.sotto", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "169.254.169.254", Path: "/latest/meta-data"},
			{Method: "POST", Scheme: "https", Authority: "[::1]", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "127.0.0.1:22", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto:22", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto:443", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "user@router.sotto", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto@evil.example", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "ROUTER.sotto", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto.", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sott\u043e", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "xn--router-5nf.sotto", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "bank.sotto", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "bank.sotto", Path: "/v1/hold"},
			{Method: "POST", Scheme: "https", Authority: "bank.sotto", Path: "/v1/turn"},
			{Method: "POST", Scheme: "https", Authority: "bank.sotto", Path: "/v1/settle"},
			{Method: "GET", Scheme: "https", Authority: "bank.sotto", Path: "/v1/swap"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/swap"},
			{Method: "POST", Scheme: "https", Authority: "bank.sotto", Path: "/v1/swap/"},
			{Method: "GET", Scheme: "https", Authority: "bank.sotto", Path: "/v1/table/" + strings.Repeat("a", 63)},
			{Method: "GET", Scheme: "https", Authority: "bank.sotto", Path: "/v1/table/" + strings.Repeat("A", 64)},
			{Method: "GET", Scheme: "https", Authority: "bank.sotto", Path: "/v1/table/" + strings.Repeat("a", 64) + "/"},
			{Method: "GET", Scheme: "https", Authority: "bank.sotto", Path: "/v1/table/" + strings.Repeat("a", 64) + "/01"},
			{Method: "GET", Scheme: "https", Authority: "bank.sotto", Path: "/v1/table/" + strings.Repeat("a", 64) + "/1/1"},
			{Method: "POST", Scheme: "https", Authority: "bank.sotto", Path: "/v1/table/" + strings.Repeat("a", 64)},
			{Method: "POST", Scheme: "https", Authority: "", Path: "/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "https://evil.example/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "//evil.example/v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/../v1/request"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/%72equest"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/request/"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/request?x=1"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/request#x"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/epoch"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/metrics"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "*"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/request"},
			{Method: "DELETE", Scheme: "https", Authority: "router.sotto", Path: "/v1/request"},
			{Method: "CONNECT", Scheme: "https", Authority: "router.sotto", Path: "/v1/request"},
			{Method: "post", Scheme: "https", Authority: "router.sotto", Path: "/v1/request"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/01"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/01/delta"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack//delta"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/1/delta/delta"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/1/../../x"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/%31"},
			{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/99999999999999999999"},
			{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/pack/1"},
			{Method: "POST", Scheme: "https", Authority: "", Path: "/v1/request", Fields: []bhttp.Field{{Name: "host", Value: "router.sotto"}}},
		} {
			r, sealed := x.seal(rawRequest(&h))
			ans, b, err := open(r, x.send(ohttp.TypeChunkedRequest, bytes.NewReader(sealed)))
			switch {
			case err != nil:
				t.Errorf("%s %s %s %s: %v", h.Method, h.Scheme, h.Authority, h.Path, err)
			case ans.Status == 403 && strings.Contains(b, `"code":"target"`):
			case ans.Status == 400 && strings.Contains(b, `"code":"bhttp.field"`): // not even HTTP
			default:
				t.Errorf("%s %s %s %s: %d %s", h.Method, h.Scheme, h.Authority, h.Path, ans.Status, b)
			}
		}
		if n := x.calls.Load(); n != 0 {
			t.Errorf("%d requests reached the router", n)
		}
	})
}

// rawRequest prints a request in the known-length framing without any check.
func rawRequest(h *bhttp.RequestHead) []byte {
	str := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(s))|1<<14), s...)
	}
	b := []byte{0}
	for _, s := range []string{h.Method, h.Scheme, h.Authority, h.Path} {
		b = str(b, s)
	}
	var fields []byte
	for _, f := range h.Fields {
		fields = str(str(fields, f.Name), f.Value)
	}
	return append(str(b, string(fields)), 0, 0)
}
