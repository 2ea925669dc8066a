// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/relay"
)

// echo answers with the hash of the request's body.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", chunkedRes)
	fmt.Fprintf(w, "%x", sha256.Sum256(b))
})

func TestBodiesPassUnchanged(t *testing.T) {
	ca := newCA(t)
	w := start(t, ca, upstream(t, ca, echo), nil)
	for _, n := range []int{0, 1, 4095, 4096, 16384, 40000} {
		for _, chunked := range []bool{false, true} {
			b := make([]byte, n)
			rand.Read(b)
			var body io.Reader = bytes.NewReader(b)
			if chunked {
				body = io.MultiReader(body)
			}
			resp, got, err := w.post(chunkedReq, body)
			if err != nil || resp.StatusCode != 200 || string(got) != fmt.Sprintf("%x", sha256.Sum256(b)) {
				t.Fatalf("%d bytes, chunked %v: %v %q %v", n, chunked, resp, got, err)
			}
		}
	}
	if s := w.relay.Stats(); s.Requests != 12 || s.Refused != 0 || s.Failed != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestOnlyListedHeadersPass compares what arrives, byte for byte, with the
// canonical list.
func TestOnlyListedHeadersPass(t *testing.T) {
	ca := newCA(t)
	heads := make(chan string, 1)
	gateway := raw(t, ca, func(c net.Conn, r *bufio.Reader) {
		head, err := readHead(r)
		if err != nil {
			return
		}
		heads <- head
		io.CopyN(io.Discard, r, 4)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: "+chunkedRes+"\r\nContent-Length: 2\r\nIncremental: ?1\r\n"+
			"Set-Cookie: id=1\r\nServer: x\r\nVia: y\r\nETag: z\r\nAlt-Svc: h3\r\nNEL: n\r\nReport-To: r\r\nX-Request-Id: 7\r\nConnection: close\r\n\r\nok")
	})
	w := start(t, ca, gateway, nil)
	smuggled := []string{
		"X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7", "Via: 1.1 proxy", "Cookie: a=b", "Authorization: Bearer sk-1",
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage: u=1", "b3: 1", "User-Agent: curl",
		"Accept-Language: de", "Origin: https://a.example", "Referer: https://a.example", "X-Stainless-OS: Linux",
		"x-credit-amount: 9", "x-encapsulated-key: k", "x-node-id: n", "Idempotency-Key: 1", "Date: Thu, 01 Jan 1970 00:00:00 GMT",
		"Connection: X-Keep", "X-Keep: 1", "Trailer: X-T", "TE: trailers", "Accept: */*", "Accept-Encoding: gzip",
	}
	for _, id := range []string{"CR-29", "RT-13", "RT-15"} {
		t.Run(id, func(t *testing.T) {
			c := w.dial()
			io.WriteString(c, "POST /ohttp?session=1 HTTP/1.1\r\nHost: relay.example\r\nContent-Type: "+chunkedReq+"\r\nIncremental: ?1\r\nContent-Length: 4\r\n"+
				strings.Join(smuggled, "\r\n")+"\r\n\r\nbody")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			head := strings.Split(strings.TrimSuffix(<-heads, "\r\n"), "\r\n")
			slices.Sort(head)
			want := []string{
				"Content-Length: 4", "Content-Type: " + chunkedReq, "Host: " + strings.TrimPrefix(gateway, "https://"),
				"Incremental: ?1", "POST /ohttp HTTP/1.1",
			}
			if !slices.Equal(head, want) {
				t.Errorf("the gateway got\n%q, want\n%q", head, want)
			}
			delete(resp.Header, "Date") // the relay's own clock
			wantBack := map[string]string{"Content-Type": chunkedRes, "Content-Length": "2", "Incremental": "?1", "Cache-Control": "no-store"}
			for k, v := range resp.Header {
				if wantBack[k] != v[0] || len(v) != 1 {
					t.Errorf("the client got %s: %q", k, v)
				}
			}
			if string(body) != "ok" || len(resp.Header) != len(wantBack) {
				t.Errorf("the client got %v %q", resp.Header, body)
			}
		})
	}
}

func TestRequestsTheRelayRefuses(t *testing.T) {
	ca := newCA(t)
	var called atomic.Int32
	w := start(t, ca, upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called.Add(1)
		echo(w, r)
	})), func(c *relay.Config) { c.MaxRequest = 1000 })
	for _, tc := range []struct{ name, request, want string }{
		{"no media type", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", `415 "media"`},
		{"another media type", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\na", `415 "media"`},
		{"media type with a parameter", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedReq + ";u=1\r\nContent-Length: 1\r\n\r\na", `415 "media"`},
		{"media type twice", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedReq + "\r\nContent-Type: " + chunkedReq + "\r\nContent-Length: 1\r\n\r\na", `415 "media"`},
		{"answer's media type", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedRes + "\r\nContent-Length: 1\r\n\r\na", `415 "media"`},
		{"too long", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedReq + "\r\nContent-Length: 1001\r\n\r\n", `413 "size"`},
		{"another path", "POST /ohttp/x HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedReq + "\r\nContent-Length: 1\r\n\r\na", `404 "path"`},
		{"another method", "GET /ohttp HTTP/1.1\r\nHost: x\r\n\r\n", `404 "path"`},
		{"another host in the path", "POST http://169.254.169.254/v1/x HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedReq + "\r\nContent-Length: 1\r\n\r\na", `404 "path"`},
		{"CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", "404"},
		{"mirror that is not configured", "GET /v1/checkpoint HTTP/1.1\r\nHost: x\r\n\r\n", `404 "path"`},
		{"two lengths", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedReq + "\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"},
		{"length and chunks", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: " + chunkedReq + "\r\nTransfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\nab", "501"},
		{"bare line feed in a name", "POST /ohttp HTTP/1.1\r\nHost: x\r\nX\n: y\r\n\r\n", "400"},
		{"space before the colon", "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na", "400"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", `505 "version"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.dial()
			io.WriteString(c, tc.request)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			status, code, _ := strings.Cut(tc.want, " ")
			if fmt.Sprint(resp.StatusCode) != status || !strings.Contains(string(b), code) {
				t.Errorf("got %d %q, want %s", resp.StatusCode, b, tc.want)
			}
		})
	}
	if resp, b, err := w.post(chunkedReq, io.MultiReader(bytes.NewReader(make([]byte, 1001)))); err != nil || resp.StatusCode != 413 {
		t.Errorf("too long without a length: %v %q %v", resp, b, err)
	}
	if n := called.Load(); n > 1 { // the last may begin before it proves too long
		t.Errorf("the gateway was called %d times", n)
	}
	if _, b, err := w.post(chunkedReq, bytes.NewReader(make([]byte, 1000))); err != nil || len(b) != 64 {
		t.Errorf("the next request: %q %v", b, err)
	}
}

func TestAnswersTheRelayRefuses(t *testing.T) {
	ok := "Content-Type: " + chunkedRes + "\r\n"
	problem := "Content-Type: application/problem+json\r\n"
	for _, tc := range []struct {
		name, answer string
		status       int
		cut          bool // after its head
	}{
		{"complete", "HTTP/1.1 200 OK\r\n" + ok + "Content-Length: 2\r\n\r\nok", 200, false},
		{"gateway's problem", "HTTP/1.1 422 X\r\n" + problem + "Content-Length: 2\r\n\r\n{}", 422, false},
		{"after an informational", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n" + ok + "Content-Length: 2\r\n\r\nok", 200, false},
		{"trailers are dropped", "HTTP/1.1 200 OK\r\n" + ok + "Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", 200, false},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n", 502, false},
		{"page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok", 502, false},
		{"no type", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, false},
		{"request's type", "HTTP/1.1 200 OK\r\nContent-Type: " + chunkedReq + "\r\nContent-Length: 2\r\n\r\nok", 502, false},
		{"partial", "HTTP/1.1 206 Partial\r\n" + ok + "Content-Length: 2\r\n\r\nok", 502, false},
		{"status 999", "HTTP/1.1 999 X\r\n" + problem + "Content-Length: 2\r\n\r\n{}", 502, false},
		{"switching", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502, false},
		{"huge header", "HTTP/1.1 200 OK\r\n" + ok + "X: " + strings.Repeat("x", 64<<10) + "\r\nContent-Length: 2\r\n\r\nok", 502, false},
		{"announced too long", "HTTP/1.1 200 OK\r\n" + ok + "Content-Length: 100000\r\n\r\n", 502, false},
		{"long problem", "HTTP/1.1 400 X\r\n" + problem + "Content-Length: 5000\r\n\r\n", 502, false},
		{"nothing", "", 502, false},
		{"not HTTP", "SSH-2.0-x\r\n", 502, false},
		{"cut in a chunk", "HTTP/1.1 200 OK\r\n" + ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nok", 200, true},
		{"cut between chunks", "HTTP/1.1 200 OK\r\n" + ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 200, true},
		{"shorter than announced", "HTTP/1.1 200 OK\r\n" + ok + "Content-Length: 5\r\n\r\nok", 200, true},
		{"bad chunk", "HTTP/1.1 200 OK\r\n" + ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n", 200, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ca := newCA(t)
			w := start(t, ca, raw(t, ca, func(c net.Conn, r *bufio.Reader) {
				readHead(r)
				io.WriteString(c, tc.answer)
			}), func(c *relay.Config) { c.MaxAnswer = 10000 })
			resp, b, err := w.post(chunkedReq, strings.NewReader("x"))
			switch {
			case tc.cut && err == nil:
				t.Errorf("a cut answer looks complete: %q", b)
			case tc.cut:
			case err != nil:
				t.Fatal(err)
			case resp.StatusCode != tc.status:
				t.Errorf("got %d %q", resp.StatusCode, b)
			case tc.status == 502 && !strings.Contains(string(b), `"code":"gateway.`):
				t.Errorf("got %q", b)
			case tc.status == 200 && string(b) != "ok":
				t.Errorf("got %q", b)
			case len(resp.Trailer) != 0:
				t.Errorf("trailers %v", resp.Trailer)
			}
		})
	}
	t.Run("gateway is down", func(t *testing.T) {
		ca := newCA(t)
		ln, _ := net.Listen("tcp", "127.0.0.1:0")
		ln.Close()
		w := start(t, ca, "https://"+ln.Addr().String(), nil)
		resp, b, err := w.post(chunkedReq, strings.NewReader("x"))
		if err != nil || resp.StatusCode != 502 || !strings.Contains(string(b), "gateway.unreachable") || strings.Contains(string(b), "127.0.0.1") {
			t.Errorf("got %v %q %v", resp, b, err)
		}
	})
	t.Run("gateway has another certificate", func(t *testing.T) {
		w := start(t, newCA(t), upstream(t, newCA(t), echo), nil)
		resp, b, err := w.post(chunkedReq, strings.NewReader("x"))
		if err != nil || resp.StatusCode != 502 || !strings.Contains(string(b), "gateway.unreachable") {
			t.Errorf("got %v %q %v", resp, b, err)
		}
	})
}

// TestEndlessAnswer is CR-08: the gateway streams zeros for ever.
func TestEndlessAnswer(t *testing.T) {
	t.Run("CR-08", func(t *testing.T) {
		ca := newCA(t)
		ended := make(chan struct{})
		w := start(t, ca, upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", chunkedRes)
			for b := make([]byte, 1<<16); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		})), func(c *relay.Config) { c.MaxAnswer = 8 << 20 })
		resp, err := w.http.Post(w.url+"/ohttp", chunkedReq, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if err == nil || n > 8<<20 || n < 4<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("the gateway is still streaming")
		}
	})
}

// TestFullDuplex: the answer begins and ends while the request is on its way.
func TestFullDuplex(t *testing.T) {
	ca := newCA(t)
	w := start(t, ca, upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", chunkedRes)
		b := make([]byte, 1)
		for {
			if _, err := io.ReadFull(r.Body, b); err != nil {
				return
			}
			w.Write(bytes.ToUpper(b))
			http.NewResponseController(w).Flush()
		}
	})), nil)
	pr, pw := io.Pipe()
	go pw.Write([]byte("a"))
	resp, err := w.http.Post(w.url+"/ohttp", chunkedReq, pr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 1)
	for i := range 5 {
		if _, err := io.ReadFull(resp.Body, b); err != nil || b[0] != byte('A'+i) {
			t.Fatalf("step %d: %q %v", i, b, err)
		}
		pw.Write([]byte{byte('b' + i)})
	}
	pw.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "F" {
		t.Errorf("rest %q %v", rest, err)
	}
}

func TestEarlyRefusalReachesASlowSender(t *testing.T) {
	ca := newCA(t)
	w := start(t, ca, raw(t, ca, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 401 X\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
	}), nil)
	c := w.dial()
	io.WriteString(c, "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: "+chunkedReq+"\r\nContent-Length: 100000\r\n\r\nbegin")
	began := time.Now()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 401 || time.Since(began) > 5*time.Second {
		t.Errorf("got %v %v after %v", resp, err, time.Since(began))
	}
}

// TestClientGoesAway: the gateway's request ends when nobody waits for it.
func TestClientGoesAway(t *testing.T) {
	for _, sent := range []string{"whole", "half"} {
		t.Run(sent, func(t *testing.T) {
			ca := newCA(t)
			in, ended := make(chan struct{}), make(chan struct{})
			w := start(t, ca, upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				io.ReadFull(r.Body, make([]byte, 5))
				close(in)
				if sent == "whole" {
					io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					return
				}
				io.Copy(io.Discard, r.Body)
			})), nil)
			c := w.dial()
			n := map[string]int{"whole": 5, "half": 100000}[sent]
			fmt.Fprintf(c, "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\nbegin", chunkedReq, n)
			<-in
			c.Close()
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Error("the gateway still works for nobody")
			}
		})
	}
}

// TestSlowClients is CR-32 at the relay: many slow ones do not stop a good one.
func TestSlowClients(t *testing.T) {
	t.Run("CR-32", func(t *testing.T) {
		ca := newCA(t)
		w := start(t, ca, upstream(t, ca, echo), nil)
		for i := range 200 {
			c := w.dial()
			if i%2 == 0 {
				io.WriteString(c, "POST /ohttp HTTP/1.1\r\nX: ")
			} else {
				io.WriteString(c, "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: "+chunkedReq+"\r\nContent-Length: 1000\r\n\r\nx")
			}
		}
		began := time.Now()
		if _, b, err := w.post(chunkedReq, strings.NewReader("good")); err != nil || len(b) != 64 || time.Since(began) > 5*time.Second {
			t.Errorf("got %q %v after %v", b, err, time.Since(began))
		}
	})
}

func TestRequestsAreBounded(t *testing.T) {
	ca := newCA(t)
	in, release := make(chan struct{}, 4), make(chan struct{})
	w := start(t, ca, upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in <- struct{}{}
		<-release
		echo(w, r)
	})), func(c *relay.Config) { c.MaxConcurrent = 2 })
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := w.post(chunkedReq, strings.NewReader("x"))
			results <- err
		}()
	}
	<-in
	<-in
	resp, b, err := w.post(chunkedReq, strings.NewReader("x"))
	if err != nil || resp.StatusCode != 503 || !strings.Contains(string(b), `"busy"`) {
		t.Errorf("the third: %v %q %v", resp, b, err)
	}
	if s := w.relay.Stats(); s.InFlight != 2 {
		t.Errorf("stats %+v", s)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// TestBulkKeepsMemoryFlat sends 10 MB each way at once and watches the heap.
func TestBulkKeepsMemoryFlat(t *testing.T) {
	const size = 10 << 20
	ca := newCA(t)
	var peak atomic.Uint64
	w := start(t, ca, upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(w, r, size)
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != size {
			return
		}
		w.Header().Set("Content-Type", chunkedRes)
		for b := make([]byte, 16384); n > 0; n -= int64(len(b)) {
			w.Write(b)
			var m runtime.MemStats
			if n%(1<<20) == 0 {
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapAlloc))
			}
		}
	})), nil)
	w.post(chunkedReq, strings.NewReader("warm up"))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	resp, err := w.http.Post(w.url+"/ohttp", chunkedReq, io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	// Client, relay and gateway are in this heap.
	if grown := int64(peak.Load()) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestConfigsThatAreRefused(t *testing.T) {
	for name, c := range map[string]relay.Config{
		"zero":             {},
		"cleartext":        {Gateway: "http://g.example/ohttp"},
		"no path":          {Gateway: "https://g.example"},
		"a query":          {Gateway: "https://g.example/ohttp?x=1"},
		"credentials":      {Gateway: "https://u:p@g.example/ohttp"},
		"missing roots":    {Gateway: "https://g.example/ohttp", GatewayCA: "/nonexistent/ca.pem"},
		"cleartext mirror": {Gateway: "https://g.example/ohttp", Mirror: "http://l.example"},
	} {
		if _, err := relay.New(c); err == nil || !strings.HasPrefix(err.Error(), "relay: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServeNeedsACertificateAndAPort(t *testing.T) {
	r, err := relay.New(relay.Config{Listen: "127.0.0.1:0", Gateway: "https://g.example/ohttp"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(context.Background()); err == nil || !strings.Contains(err.Error(), "cert") {
		t.Errorf("without a certificate: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r, err = relay.New(relay.Config{Listen: ln.Addr().String(), Gateway: "https://g.example/ohttp"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(context.Background()); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("a taken port: %v", err)
	}
}
