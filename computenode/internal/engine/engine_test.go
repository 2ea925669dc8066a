// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, o Options, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func ask(t *testing.T, c *Client, body string) (*Answer, error) {
	t.Helper()
	u, err := c.Begin(t.Context(), "/v1/chat/completions")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(u, body); err != nil {
		t.Logf("upload: %v", err)
	}
	a, err := u.Finish()
	if err == nil {
		t.Cleanup(a.Close)
	}
	return a, err
}

func TestOnlyLoopbackAndUnixAddresses(t *testing.T) {
	for _, ok := range []string{"http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.1.2.3:1", "http://[::1]:8000", "unix:///run/engine.sock"} {
		if _, err := New(ok, Options{}); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, no := range []string{
		"", "127.0.0.1:8000", "http://localhost:8000", "http://engine:8000", "http://0.0.0.0:8000", "http://[::]:8000", "http://10.0.0.1:80",
		"http://[::ffff:127.0.0.1]:8000", "http://[::ffff:10.0.0.1]:80", "http://[::1%25lo]:8000", "http://127.0.0.1", "http://127.0.0.1:0", "http://127.1:80", "http://0x7f000001:80",
		"http://2130706433:80", "https://127.0.0.1:8000", "http://user@127.0.0.1:80", "http://127.0.0.1:80?x", "http://127.0.0.1:80/admin", "http://127.0.0.1:80#f", "http://127.0.0.1:80#",
		"http://169.254.169.254:80", "http://[fe80::1]:80", "file:///etc/passwd", "unix://run/engine.sock", "unix:///run/../engine.sock", "unix:///run/e?x", "unix:run/e", "tcp://127.0.0.1:80",
		"http://127.0.0.1.example:80", "http://127.0.0.1:80@10.0.0.1:80", "http://１２７.0.0.1:80",
	} {
		if _, err := New(no, Options{}); err == nil {
			t.Errorf("%s accepted", no)
		}
	}
}

// TestAdminRoutesCannotBeNamed is TN-07.
func TestAdminRoutesCannotBeNamed(t *testing.T) {
	c, err := New("http://127.0.0.1:9", Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("TN-07", func(t *testing.T) {
		for _, p := range []string{
			"", "/", "/slots", "/metrics", "/props", "/cache", "/lora-adapters", "/tokenize", "/detokenize", "/v1/load_lora_adapter", "/reset_prefix_cache", "/flush_cache",
			"/v1/models", "/api/pull", "/v1/chat/completions/", "/v1/chat/completions?x=1", "/v1/./completions", "/v1/../slots", "//v1/completions", "/V1/completions", "/v1/completions%2f..", "/v1/embeddings\x00",
			"http://10.0.0.1/v1/completions", "v1/completions",
		} {
			if _, err := c.Begin(t.Context(), p); err == nil {
				t.Errorf("%q allowed", p)
			}
		}
		for _, p := range Paths() {
			u, err := c.Begin(t.Context(), p)
			if err != nil {
				t.Fatalf("%q: %v", p, err)
			}
			u.Abort()
		}
	})
}

func TestRequestIsCleanAndWhole(t *testing.T) {
	for _, n := range []int{0, 1, smallBody - 1, smallBody, smallBody + 1, 5 << 20} {
		body := strings.Repeat("x", n)
		c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			got, err := io.ReadAll(r.Body)
			if err != nil || string(got) != body || r.Method != "POST" || r.RequestURI != "/v1/chat/completions" {
				t.Errorf("%d bytes, %v, %s %s", len(got), err, r.Method, r.RequestURI)
			}
			if n > 0 && n <= smallBody && r.ContentLength != int64(n) {
				t.Errorf("length %d not announced: %d", n, r.ContentLength)
			}
			for name := range r.Header {
				switch name {
				case "Content-Type", "Content-Length", "Accept":
				default:
					t.Errorf("header %s: %v", name, r.Header[name])
				}
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.Header().Set("Set-Cookie", "x=y")
			io.WriteString(w, `{"ok":true}`)
		})
		a, err := ask(t, c, body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(a)
		if err != nil || string(got) != `{"ok":true}` || a.Status != 200 || a.ContentType != JSON || a.Length != 11 {
			t.Errorf("%q, %v, %+v", got, err, a.Length)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "e.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", JSON)
		io.WriteString(w, `{}`)
	})}
	go s.Serve(ln)
	defer s.Close()
	c, err := New("unix://"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	a, err := ask(t, c, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(a); err != nil || string(b) != `{}` {
		t.Errorf("%q, %v", b, err)
	}
}

func TestProxiesAndRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("went elsewhere") }))
	defer elsewhere.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, elsewhere.URL)
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", JSON)
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
		})
		if _, err := ask(t, c, "{}"); err != ErrProtocol {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAnswersNotUnderstood(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"HTML":    func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") },
		"no type": func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil },
		"compressed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", JSON)
			w.Header().Set("Content-Encoding", "gzip")
		},
		"no framing": func(w http.ResponseWriter, _ *http.Request) {
			raw(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")
		},
	} {
		if _, err := ask(t, serve(t, Options{}, h), "{}"); err != ErrProtocol {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// raw answers with exactly s and hangs up.
func raw(w http.ResponseWriter, s string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, s)
	conn.Close()
}

const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

func TestDeathInsideAnAnswer(t *testing.T) {
	chunked := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	tests := []struct {
		name, wire, want string
		err              error
	}{
		{"chunked, complete", head + "Transfer-Encoding: chunked\r\n\r\n" + chunked("data: 1\n\n") + "0\r\n\r\n", "data: 1\n\n", nil},
		{"chunked, cut between events", head + "Transfer-Encoding: chunked\r\n\r\n" + chunked("data: 1\n\n"), "data: 1\n\n", ErrDied},
		{"chunked, cut inside a line", head + "Transfer-Encoding: chunked\r\n\r\n" + chunked("data: 1\n\ndata: {\"a"), "data: 1\n\n", ErrDied},
		{"chunked, complete without a last newline", head + "Transfer-Encoding: chunked\r\n\r\n" + chunked("data: 1") + "0\r\n\r\n", "data: 1", nil},
		{"bare, with its mark", head + "\r\ndata: 1\n\ndata: [DONE]\n\n", "data: 1\n\ndata: [DONE]\n\n", nil},
		{"bare, without its mark", head + "\r\ndata: 1\n\n", "data: 1\n\n", ErrDied},
		{"bare, mark not last", head + "\r\ndata: [DONE]\n\ndata: 1\n\n", "data: [DONE]\n\ndata: 1\n\n", ErrDied},
		{"length not reached", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"a\"", "{\"a\"", ErrDied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				raw(w, tt.wire)
			})
			a, err := ask(t, c, "{}")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(a)
			if string(got) != tt.want || err != tt.err {
				t.Errorf("%q, %v", got, err)
			}
			if _, again := a.Read(make([]byte, 1)); tt.err != nil && again != tt.err {
				t.Errorf("failed answer revived: %v", again)
			}
		})
	}
	c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) { raw(w, "") })
	if _, err := ask(t, c, "{}"); err != ErrUnreachable {
		t.Errorf("no answer at all: %v", err)
	}
	gone, _ := New("http://127.0.0.1:1", Options{})
	if _, err := ask(t, gone, "{}"); err != ErrUnreachable {
		t.Errorf("nobody there: %v", err)
	}
}

func TestEventsLeaveAsTheyCome(t *testing.T) {
	next := make(chan struct{})
	c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", Events)
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			<-next
		}
	})
	a, err := ask(t, c, "{}")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b := make([]byte, 100)
		n, err := a.Read(b)
		if string(b[:n]) != fmt.Sprintf("data: %d\n\n", i) || err != nil {
			t.Fatalf("%q, %v", b[:n], err)
		}
		next <- struct{}{}
	}
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}

func TestSilenceAndSizeAreBounded(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	c := serve(t, Options{IdleTimeout: 50 * time.Millisecond, MaxAnswer: 1000}, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", Events)
		io.WriteString(w, "data: 1\n")
		http.NewResponseController(w).Flush()
		if string(b) == "large" {
			w.Write(bytes.Repeat([]byte("data\n"), 1000))
			return
		}
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	for body, want := range map[string]error{"silent": ErrSilent, "large": ErrLarge} {
		a, err := ask(t, c, body)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(a); err != want || len(got) > 1000 {
			t.Errorf("%s: %d bytes, %v", body, len(got), err)
		}
	}
	slow := serve(t, Options{HeaderTimeout: 30 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	if _, err := ask(t, slow, "{}"); err != ErrSilent {
		t.Errorf("silent head: %v", err)
	}
}

func TestCancelReachesTheEngine(t *testing.T) {
	cancelled := make(chan struct{})
	c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", Events)
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(cancelled)
	})
	ctx, cancel := context.WithCancel(t.Context())
	u, err := c.Begin(ctx, "/v1/completions")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(u, "{}")
	a, err := u.Finish()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := a.Read(make([]byte, 100)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-cancelled:
	case <-time.After(5 * time.Second):
		t.Error("engine still computing")
	}
}

// TestAbortedUploadIsNeverWhole: a late refusal leaves the engine with a body
// that did not end.
func TestAbortedUploadIsNeverWhole(t *testing.T) {
	seen := make(chan error, 1)
	c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		seen <- err
	})
	u, err := c.Begin(t.Context(), "/v1/completions")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(make([]byte, 10*smallBody)); err != nil {
		t.Fatal(err)
	}
	u.Abort()
	select {
	case err := <-seen:
		if err == nil {
			t.Error("engine saw the end of an aborted body")
		}
	case <-time.After(5 * time.Second):
		t.Error("engine still waits")
	}
	// Below smallBody nothing was sent at all.
	u, err = c.Begin(t.Context(), "/v1/completions")
	if err != nil {
		t.Fatal(err)
	}
	u.Write([]byte("{}"))
	u.Abort()
	select {
	case <-seen:
		t.Error("engine saw an aborted small request")
	case <-time.After(20 * time.Millisecond):
	}
}

func TestEngineThatAnswersEarly(t *testing.T) {
	c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", JSON)
		w.Header().Set("Connection", "close")
		w.WriteHeader(413)
		io.WriteString(w, `{"error":{}}`)
	})
	u, err := c.Begin(t.Context(), "/v1/completions")
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err = u.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	if err == nil {
		t.Fatal("an engine that stopped reading took everything")
	}
	// The kernel may drop an answer when data comes after it: either is told.
	if a, err := u.Finish(); err == nil {
		if a.Status != 413 {
			t.Errorf("status %d", a.Status)
		}
		a.Close()
	} else if err != ErrUnreachable {
		t.Error(err)
	}
}
