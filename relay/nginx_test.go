// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
)

// startNginx runs a real nginx with deploy/relay/nginx.conf in front of the two
// upstreams, after putting the test's names, ports and files into it.
func startNginx(t *testing.T, ca *httpxtest.CA, gateway, log string) *world {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("nginx is not installed: apt-get install nginx-light")
		}
	}
	conf, err := os.ReadFile("../deploy/relay/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id := identity(t, ca, "relay.example")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	for _, r := range [][2]string{
		{"listen 443 ssl;", "listen " + addr + " ssl;"},
		{"server    gateway.example:443;", "server " + strings.TrimPrefix(gateway, "https://") + ";"},
		{"server    log.example:443;", "server " + strings.TrimPrefix(log, "https://") + ";"},
		{"gateway.example;", "gateway.sotto;"},
		{"log.example;", "gateway.sotto;"},
		{"/etc/sotto/relay.pem", id.Cert},
		{"/etc/sotto/relay.key", id.Key},
		{"/etc/ssl/certs/ca-certificates.crt", ca.File()},
		{"worker_processes auto;", "worker_processes 1;"},
		{"client_body_timeout         30s;", "client_body_timeout 1s;"},
	} {
		if !bytes.Contains(conf, []byte(r[0])) {
			t.Fatalf("nginx.conf has no %q any more", r[0])
		}
		conf = bytes.ReplaceAll(conf, []byte(r[0]), []byte(r[1]))
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		// Its workers are nobody then, and must reach their cache.
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), conf, 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(bin, "-p", dir, "-c", "nginx.conf", "-g", "daemon off;")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Logf("nginx: %s", out.String())
		}
	})
	tc, err := httpx.TLS{CA: ca.File()}.Client("relay.example")
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := tls.Dial("tcp", addr, tc)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("nginx does not serve: %v", err)
		}
	}
	tr := httpx.NewTransport(tc)
	t.Cleanup(tr.CloseIdleConnections)
	return &world{t: t, ca: ca, url: "https://" + addr, addr: addr, tls: tc, http: &http.Client{Transport: tr}}
}

func TestNginxAsRelay(t *testing.T) {
	ca := newCA(t)
	l := &log{}
	l.status.Store(200)
	var mode atomic.Pointer[http.HandlerFunc]
	set := func(f http.HandlerFunc) { mode.Store(&f) }
	gateway := upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(w, r, 1<<30)
		(*mode.Load())(w, r)
	}))
	w := startNginx(t, ca, gateway, upstream(t, ca, l))

	t.Run("bodies pass unchanged", func(t *testing.T) {
		set(echo)
		for _, n := range []int{0, 1, 16384, 300 << 10} {
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
	})
	for _, id := range []string{"CR-29", "RT-13", "RT-15"} {
		t.Run(id, func(t *testing.T) { nginxHeaders(t, w, set) })
	}
	t.Run("both directions stream", func(t *testing.T) { nginxStreams(t, w, set) })
	t.Run("refusals", func(t *testing.T) { nginxRefusals(t, w, set) })
	t.Run("CR-32", func(t *testing.T) {
		set(echo)
		c := w.dial()
		io.WriteString(c, "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: "+chunkedReq+"\r\nContent-Length: 1000\r\n\r\nx")
		began := time.Now()
		io.Copy(io.Discard, c)
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("open for %v", d)
		}
	})
	t.Run("mirror", func(t *testing.T) {
		for range 3 {
			if code, b, h := w.get("/v1/statement/7"); code != 200 || b != "/v1/statement/7 1" || h.Get("Set-Cookie") != "" {
				t.Errorf("got %d %q %v", code, b, h)
			}
		}
		if code, b, _ := w.get("/v1/checkpoint"); code != 200 || b != "/v1/checkpoint 2" {
			t.Errorf("got %d %q", code, b)
		}
		for _, p := range []string{"/v1/statement/01", "/v1/statement/x", "/v1/pack/1", "/v1/freshness", "/"} {
			if code, b, _ := w.get(p); code != 404 || !strings.Contains(b, `"code":"path"`) {
				t.Errorf("%s: %d %q", p, code, b)
			}
		}
		if n := l.calls.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
		for _, p := range []string{"checkpoint", "tile/0/000", "tile/5/x001/234.p/255", "tile/entries/x001/234.p/9"} {
			if code, b, _ := w.get("/v1/log/" + p); code != 200 || !strings.HasPrefix(b, "/v1/log/"+p+" ") {
				t.Errorf("%s: %d %q", p, code, b)
			}
		}
		for _, p := range badTiles {
			if code, b, _ := w.get("/v1/log/" + p); code != 404 {
				t.Errorf("%s: %d %q", p, code, b)
			}
		}
	})
}

func nginxHeaders(t *testing.T, w *world, set func(http.HandlerFunc)) {
	heads := make(chan http.Header, 1)
	set(func(rw http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		h.Set("Host", r.Host)
		h.Set("Target", r.Method+" "+r.RequestURI)
		heads <- h
		io.Copy(io.Discard, r.Body)
		for _, k := range []string{"Set-Cookie", "ETag", "Via", "Alt-Svc", "NEL", "Report-To", "X-Request-Id", "X-Accel-Redirect", "Server-Timing"} {
			rw.Header().Set(k, "1")
		}
		rw.Header().Set("Content-Type", chunkedRes)
		io.WriteString(rw, "ok")
	})
	c := w.dial()
	io.WriteString(c, "POST /ohttp?session=1 HTTP/1.1\r\nHost: relay.example\r\nContent-Type: "+chunkedReq+"\r\nIncremental: ?1\r\nContent-Length: 4\r\n"+
		"X-Forwarded-For: 192.0.2.7\r\nCookie: a=b\r\ntraceparent: 00-1\r\nbaggage: u\r\nx-credit-amount: 9\r\nUser-Agent: u\r\nAuthorization: a\r\nAccept-Language: de\r\nVia: v\r\n\r\nbody")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	got := <-heads
	var names []string
	for k := range got {
		names = append(names, k)
	}
	slices.Sort(names)
	if want := []string{"Content-Length", "Content-Type", "Host", "Incremental", "Target"}; !slices.Equal(names, want) {
		t.Errorf("the gateway got %v", got)
	}
	if got.Get("Target") != "POST /ohttp" || got.Get("Host") != "gateway.sotto" {
		t.Errorf("the gateway got %v", got)
	}
	for k := range resp.Header {
		if !slices.Contains([]string{"Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Date", "Server", "Cache-Control"}, k) {
			t.Errorf("the client got %s: %q", k, resp.Header[k])
		}
	}
	if string(b) != "ok" || resp.Header.Get("Content-Type") != chunkedRes {
		t.Errorf("the client got %v %q", resp.Header, b)
	}
}

func nginxStreams(t *testing.T, w *world, set func(http.HandlerFunc)) {
	came := make(chan string, 10)
	set(func(rw http.ResponseWriter, r *http.Request) {
		b := make([]byte, 4)
		for range 3 {
			if _, err := io.ReadFull(r.Body, b); err != nil {
				return
			}
			came <- string(b)
		}
		io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", chunkedRes)
		for range 3 {
			io.WriteString(rw, "back")
			http.NewResponseController(rw).Flush()
			<-came
		}
	})
	pr, pw := io.Pipe()
	go func() {
		for range 3 {
			pw.Write([]byte("here"))
			select {
			case <-came: // the piece arrived before the next was sent
			case <-time.After(5 * time.Second):
			}
		}
		pw.Close()
	}()
	resp, err := w.http.Post(w.url+"/ohttp", chunkedReq, pr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 4)
	for i := range 3 {
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "back" {
			t.Fatalf("piece %d: %q %v", i, b, err)
		}
		came <- "go on"
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("rest %q %v", rest, err)
	}
}

func nginxRefusals(t *testing.T, w *world, set func(http.HandlerFunc)) {
	set(func(rw http.ResponseWriter, r *http.Request) { t.Error("the gateway was called") })
	if resp, b, err := w.post("text/plain", strings.NewReader("x")); err != nil || resp.StatusCode != 415 || !strings.Contains(string(b), `"code":"media"`) {
		t.Errorf("media: %v %q %v", resp, b, err)
	}
	if code, b, _ := w.get("/ohttp"); code != 404 || !strings.Contains(b, `"code":"path"`) {
		t.Errorf("GET: %d %q", code, b)
	}
	c := w.dial()
	io.WriteString(c, "POST /ohttp HTTP/1.1\r\nHost: x\r\nContent-Type: "+chunkedReq+"\r\nContent-Length: 70000000\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 413 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("size: %v %v", resp, err)
	}
	old := w.tls.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := tls.Dial("tcp", w.addr, old); err == nil {
		c.Close()
		t.Error("TLS 1.2 was accepted")
	}
	// A gateway's error passes, a cut answer stays cut.
	set(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		httpx.Problem(rw, 422, "key")
	})
	if resp, b, err := w.post(chunkedReq, strings.NewReader("x")); err != nil || resp.StatusCode != 422 || !strings.Contains(string(b), `"code":"key"`) {
		t.Errorf("problem: %v %q %v", resp, b, err)
	}
	set(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", chunkedRes)
		io.WriteString(rw, "half")
		http.NewResponseController(rw).Flush()
		httpx.Abort()
	})
	if _, b, err := w.post(chunkedReq, strings.NewReader("x")); err == nil {
		t.Errorf("a cut answer looks complete: %q", b)
	}
}
