// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/lab"
)

// startNginx runs nginx with the shipped configuration in front of a lab's
// gateway and publisher, with the certificate of its first relay, and returns
// the address and the version.
func startNginx(t *testing.T, r ready) (addr, version string) {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("nginx is not installed (Debian: apt-get install nginx-light)")
		}
	}
	conf, err := os.ReadFile(filepath.Join("..", "..", "deploy", "relay", "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	public := func(name string) string { return filepath.Join(r.Dir, "tls", "public", name) }
	for _, edit := range [][2]string{
		{"listen 443 ssl;", "listen " + addr + " ssl;"},
		{"gateway.example:443;", strings.TrimPrefix(r.Gateway, "https://") + ";"},
		{"log.example:443;", strings.TrimPrefix(r.Publisher, "https://") + ";"},
		{"gateway.example;", "gateway.sotto;"},
		{"log.example;", "publisher.sotto;"},
		{"/etc/sotto/relay.pem", public("relay-1.pem")},
		{"/etc/sotto/relay.key", public("relay-1.key")},
		{"/etc/ssl/certs/ca-certificates.crt", public("ca.pem")},
		{"worker_processes auto;", "worker_processes 1;"},
	} {
		if !bytes.Contains(conf, []byte(edit[0])) {
			t.Fatalf("deploy/relay/nginx.conf has no %q any more", edit[0])
		}
		conf = bytes.ReplaceAll(conf, []byte(edit[0]), []byte(edit[1]))
	}
	// Started by root, nginx works as another user, who must reach its files.
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), conf, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "-v").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := exec.Command(bin, "-p", dir, "-c", "nginx.conf", "-g", "daemon off;")
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("nginx: %v\n%s", err, said.Bytes())
		}
	})
	awaitPort(t, addr)
	return addr, strings.TrimSpace(string(out))
}

// awaitPort returns when something listens at addr.
func awaitPort(t *testing.T, addr string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nothing listens at %s: %v", addr, err)
		}
	}
}

// counted counts what a connection has read.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestNginxRelay puts nginx in the place of a lab's first relay. It mirrors the
// statement, so that the client's comparison of two mirrors rests on it, and
// carries prompts.
func TestNginxRelay(t *testing.T) {
	l := theLab(t)
	addr, version := startNginx(t, l.ready)
	t.Log(version)
	trust, err := os.ReadFile(lab.TrustFile(l.ready.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(trust, []byte(l.ready.Relays[0]+"\n")) {
		t.Fatalf("no relay %s in the trust file:\n%s", l.ready.Relays[0], trust)
	}
	file := filepath.Join(l.ready.Dir, "trust-nginx.yaml") // beside the lab's own: it names files there
	if err := os.WriteFile(file, bytes.Replace(trust, []byte(l.ready.Relays[0]+"\n"), []byte("https://"+addr+"\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := lab.LoadTrust(file)
	if err != nil {
		t.Fatal(err)
	}
	var through atomic.Int64 // bytes that came from nginx
	cfg.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, to)
		if err == nil && to == addr {
			c = counted{c, &through}
		}
		return c, err
	}
	sotto, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sotto.Close()
	if _, err := sotto.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	if through.Load() == 0 {
		t.Fatal("nginx was not asked for the statement")
	}
	c := openai.NewClient(option.WithBaseURL(client.BaseURL), option.WithAPIKey("unused"), option.WithMaxRetries(0),
		option.WithHTTPClient(&http.Client{Transport: sotto}))

	// The client draws a relay for each request.
	carried := func(t *testing.T, what string, send func() error) {
		t.Helper()
		for range 40 {
			before := through.Load()
			if err := send(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if through.Load()-before > 500 {
				return
			}
		}
		t.Fatalf("%s: none of 40 requests went through nginx", what)
	}
	want := sky(t)
	carried(t, "stream", func() error {
		text, finish, pieces, err := streamed(t.Context(), c, chat(want.Prompt, 90))
		if err == nil && (text != want.Answer || finish != want.Finish || pieces < 10) {
			t.Errorf("%q (%s) in %d pieces, want %q", text, finish, pieces, want.Answer)
		}
		return err
	})
	// A request of many chunks arrives whole: the engine reads it to its end
	// and says that it is too long.
	carried(t, "300 kB", func() error {
		_, err := c.Chat.Completions.New(t.Context(), chat(strings.Repeat("light ", 50_000), 5))
		var e *openai.Error
		if errors.As(err, &e) && e.StatusCode == http.StatusBadRequest && strings.Contains(e.Message, "longer than the model's context") {
			return nil
		}
		return errors.Join(errors.New("not refused by the engine"), err)
	})
}
