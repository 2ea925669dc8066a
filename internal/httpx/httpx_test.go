// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// start serves h on loopback for the length of the test.
func start(t *testing.T, s *http.Server, writeIdle time.Duration) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln, s, writeIdle, 200*time.Millisecond) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func TestProblemIsStatic(t *testing.T) {
	w := httptest.NewRecorder()
	Problem(w, 409, "replay")
	want := `{"type":"about:blank","status":409,"code":"replay"}`
	if got := w.Body.String(); got != want || w.Code != 409 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %q %v", w.Code, got, w.Header())
	}
}

func TestLimitBodyAtItsBounds(t *testing.T) {
	const limit = 1000
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		LimitBody(w, r, limit)
		b, err := io.ReadAll(r.Body)
		fmt.Fprint(w, len(b), TooLarge(err), err == nil)
	}))
	addr := start(t, s, WriteIdle)
	for _, n := range []int{0, 1, limit - 1, limit, limit + 1, 10 * limit, 1 << 20} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = bytes.NewReader(make([]byte, n))
			if chunked {
				body = io.MultiReader(body)
			}
			resp, err := http.Post("http://"+addr, "x/y", body)
			if err != nil && n > 256<<10 {
				continue // cut off while it was still sending
			}
			if err != nil {
				t.Fatal(n, chunked, err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			want := fmt.Sprint(n, false, true)
			if n > limit {
				want = fmt.Sprint(limit, true, false)
				if !chunked {
					want = fmt.Sprint(0, true, false)
				}
			}
			if string(got) != want {
				t.Errorf("%d bytes, chunked %v: got %q, want %q", n, chunked, got, want)
			}
		}
	}
}

func TestServerBoundsABodyNobodyLimited(t *testing.T) {
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, TooLarge(err))
	}))
	addr := start(t, s, WriteIdle)
	resp, err := http.Post("http://"+addr, "x/y", bytes.NewReader(make([]byte, DefaultBody+1)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, _ := io.ReadAll(resp.Body); string(got) != "true" {
		t.Errorf("got %q", got)
	}
}

// closedWithin reads c to its end and fails when that takes longer than max.
func closedWithin(t *testing.T, c net.Conn, max time.Duration) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(max))
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("still open after %v and %d bytes", max, len(b))
	}
	return b
}

func TestSlowPeers(t *testing.T) {
	const idle = 200 * time.Millisecond
	cut := make(chan error, 1)
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/read":
			LimitBodyIdle(w, r, 1<<20, idle)
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, " slow:", TooSlow(err))
		case "/ignore":
			LimitBodyIdle(w, r, 1<<20, idle)
		case "/wait": // answers long after the window of its body
			LimitBodyIdle(w, r, 1<<20, idle)
			io.Copy(io.Discard, r.Body)
			select {
			case <-time.After(3 * idle):
				io.WriteString(w, "waited")
			case <-r.Context().Done():
			}
		case "/endless":
			for b := make([]byte, 1<<16); ; {
				if _, err := w.Write(b); err != nil {
					cut <- err
					return
				}
			}
		}
	}))
	s.ReadHeaderTimeout = idle
	addr := start(t, s, idle)
	dial := func(t *testing.T) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	trickle := func(c net.Conn) { // far below 1 KiB a window, never silent
		for range 40 {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(idle / 8)
		}
	}
	t.Run("CR-32", func(t *testing.T) {
		t.Run("header", func(t *testing.T) {
			c := dial(t)
			io.WriteString(c, "GET / HTTP/1.1\r\nX: ")
			go trickle(c)
			closedWithin(t, c, 4*idle)
		})
		t.Run("body", func(t *testing.T) {
			c := dial(t)
			io.WriteString(c, "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
			go trickle(c)
			if b := closedWithin(t, c, 4*idle); !bytes.Contains(b, []byte("slow:true")) {
				t.Errorf("got %q", b)
			}
		})
		t.Run("ignored body", func(t *testing.T) {
			c := dial(t)
			io.WriteString(c, "POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
			go trickle(c)
			closedWithin(t, c, 4*idle)
		})
		t.Run("reader", func(t *testing.T) {
			c := dial(t)
			io.WriteString(c, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
			select { // we read nothing, so the kernel's buffers fill up
			case err := <-cut:
				if !TooSlow(err) {
					t.Errorf("got %v", err)
				}
			case <-time.After(10 * idle):
				t.Error("still writing to a peer that does not read")
			}
		})
		t.Run("steady sender is served", func(t *testing.T) {
			c := dial(t)
			io.WriteString(c, "POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20480\r\n\r\n")
			for range 10 { // 2 KiB a half window, for five windows in all
				c.Write(make([]byte, 2048))
				time.Sleep(idle / 2)
			}
			if b := closedWithin(t, c, 4*idle); !bytes.Contains(b, []byte("20480 slow:false")) {
				t.Errorf("got %q", b)
			}
		})
		t.Run("deadline ends with the body", func(t *testing.T) {
			for _, te := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
				c := dial(t)
				io.WriteString(c, "POST /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+te)
				if b := closedWithin(t, c, 10*idle); !bytes.HasSuffix(b, []byte("waited")) {
					t.Errorf("got %q", b)
				}
			}
		})
	})
}

func TestServerSpeaksHTTP1Only(t *testing.T) {
	addr := start(t, NewServer(http.NotFoundHandler()), WriteIdle)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, _ := bufio.NewReader(c).ReadString('\n')
	if !strings.HasPrefix(line, "HTTP/1.1 4") && !strings.HasPrefix(line, "HTTP/1.1 505") {
		t.Errorf("got %q", line)
	}
}

func TestHeaderTooLongIsRefused(t *testing.T) {
	addr := start(t, NewServer(http.NotFoundHandler()), WriteIdle)
	for n, want := range map[int]int{MaxHeader - 200: 404, MaxHeader + 1: 431} {
		req, _ := http.NewRequest("GET", "http://"+addr, nil)
		req.Header.Set("X", strings.Repeat("x", n))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%d bytes: got %d", n, resp.StatusCode)
		}
	}
}

// pieces is a reader that hands out one piece a read.
type pieces struct {
	p   [][]byte
	err error
}

func (r *pieces) Read(b []byte) (int, error) {
	if len(r.p) == 0 {
		return 0, r.err
	}
	n := copy(b, r.p[0])
	if r.p[0] = r.p[0][n:]; len(r.p[0]) == 0 {
		r.p = r.p[1:]
	}
	if len(r.p) == 0 && r.err == io.EOF {
		return n, io.EOF
	}
	return n, nil
}

// flushes counts the flushes of a recorder.
type flushes struct {
	*httptest.ResponseRecorder
	n int
}

func (f *flushes) FlushError() error { f.n++; return nil }

func TestStreamFlushesWhenIdle(t *testing.T) {
	full := make([]byte, BufferSize)
	for _, tc := range []struct {
		name  string
		p     [][]byte
		n     int
		total int
	}{
		{"empty", nil, 0, 0},
		{"one piece with the end", [][]byte{[]byte("a")}, 0, 1},
		{"two pieces", [][]byte{[]byte("a"), []byte("b")}, 1, 2},
		{"full buffers are coalesced", [][]byte{full, full, []byte("c")}, 0, 2*BufferSize + 1},
		{"one short of full", [][]byte{full[1:], []byte("c")}, 1, BufferSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &flushes{ResponseRecorder: httptest.NewRecorder()}
			if err := Stream(w, &pieces{tc.p, io.EOF}); err != nil {
				t.Fatal(err)
			}
			if w.n != tc.n || w.Body.Len() != tc.total {
				t.Errorf("%d flushes of %d bytes, want %d of %d", w.n, w.Body.Len(), tc.n, tc.total)
			}
		})
	}
}

func TestStreamReportsTruncation(t *testing.T) {
	w := &flushes{ResponseRecorder: httptest.NewRecorder()}
	if err := Stream(w, &pieces{[][]byte{[]byte("a")}, io.ErrUnexpectedEOF}); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

func TestAbortIsSeenAsTruncation(t *testing.T) {
	addr := start(t, NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		Abort()
	})), WriteIdle)
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "half" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := Serve(context.Background(), ln, NewServer(http.NotFoundHandler())); err == nil {
		t.Error("served on a closed listener")
	}
}

func TestServeLetsRequestsFinish(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	in := make(chan struct{})
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(in)
		time.Sleep(100 * time.Millisecond)
		io.WriteString(w, "done")
	}))
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, s) }()
	go func() { <-in; cancel() }()
	resp, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "done" {
		t.Errorf("got %q", b)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestUnreadBodyIsNotTheNextRequest: a handler answers without reading; what
// is left of the body must not be taken for a request (RT-15's way in).
func TestUnreadBodyIsNotTheNextRequest(t *testing.T) {
	var paths []string
	addr := start(t, NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		LimitBody(w, r, 1<<30)
		if r.URL.Path == "/some" {
			io.ReadFull(r.Body, make([]byte, 10))
		}
		Problem(w, 400, "no")
	})), WriteIdle)
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, path := range []string{"/none", "/some"} {
		for _, size := range []int{100, 250 << 10, 1 << 20} {
			for _, chunked := range []bool{false, true} {
				paths = nil
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				body := strings.Repeat("x", 10) + strings.Repeat(smuggled, size/len(smuggled)+1)
				head := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
				if chunked {
					head = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(body))
					body += "\r\n0\r\n\r\n"
				}
				io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\n"+head)
				go io.WriteString(c, body+"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				closedWithin(t, c, 5*time.Second)
				c.Close()
				for _, p := range paths {
					if p == "/smuggled" {
						t.Errorf("%s, %d bytes, chunked %v: %v", path, size, chunked, paths)
						break
					}
				}
			}
		}
	}
}

// TestRefusalDoesNotAskForTheBody: a client that waits for 100 Continue gets
// the refusal instead.
func TestRefusalDoesNotAskForTheBody(t *testing.T) {
	addr := start(t, NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		LimitBody(w, r, 1<<20)
		Problem(w, 503, "busy")
	})), WriteIdle)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 503 ") {
		t.Errorf("got %q, %v", line, err)
	}
}
