// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/transparency"
)

// The whole role, from its configuration, over TLS, across a restart.
func TestServe(t *testing.T) {
	ca := must(httpxtest.CreateCA(t.TempDir(), "test"))
	id := must(ca.Issue("w.test", "127.0.0.1"))
	log := must(transparency.NewSigner(origin, key(origin)))
	cfg := Config{Listen: "127.0.0.1:0", TLS: id, Dir: newDir(t), Name: myName, MLDSA: true, Logs: []Log{{Origin: origin, LogKey: log.VKey()}}, Metrics: "127.0.0.1:0"}
	client := &http.Client{Transport: httpx.NewTransport(must(httpx.TLS{CA: ca.File()}.Client("")))}
	defer client.CloseIdleConnections()
	for round := range 2 {
		s, err := Open(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" {
			if _, err := Open(cfg, nil); err == nil {
				t.Error("opened twice")
			}
		}
		ln := must(net.Listen("tcp", "127.0.0.1:0"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.ServeOn(ctx, ln) }()
		tr := tree(1, 0, 5+round)
		w := &world{Witness: s.Witness, signer: log}
		req := w.request(tr, uint64(5*round))
		resp, err := client.Post("https://"+ln.Addr().String()+"/add-checkpoint", "text/plain", bytes.NewReader(req.Append(nil)))
		if err != nil {
			t.Fatal(err)
		}
		lines := must(io.ReadAll(resp.Body))
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("round %d: %d %s", round, resp.StatusCode, lines)
		}
		for _, vkey := range s.VKeys() {
			if _, at, err := must(transparency.ParseCosignerKey(vkey)).Pick(req.Note, lines); err != nil || time.Since(at).Abs() > time.Minute {
				t.Errorf("%v, %v", at, err)
			}
		}
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

// A flood of requests is refused, not queued: each costs a write.
func TestBusy(t *testing.T) {
	store := &slowStore{entered: make(chan struct{}, maxConcurrent), release: make(chan struct{})}
	w := newWorld(t, store)
	h := w.Handler()
	body := w.request(tree(1, 0, 1), 0).Append(nil)
	done := make(chan int, maxConcurrent)
	for range maxConcurrent {
		go func() { done <- ask(h, body) }()
	}
	for range maxConcurrent {
		<-store.entered
	}
	if status := ask(h, body); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	close(store.release)
	for range maxConcurrent {
		if status := <-done; status != 200 && status != 409 {
			t.Errorf("status %d", status)
		}
	}
	if status := ask(h, body); status != 409 {
		t.Errorf("afterwards %d", status)
	}
}

func ask(h http.Handler, body []byte) int {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(body)))
	return rec.Code
}

// slowStore holds every request at the door.
type slowStore struct {
	MemoryStore
	entered, release chan struct{}
}

func (s *slowStore) Update(origin string, f func([]byte) ([]byte, error)) error {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.release
	return s.MemoryStore.Update(origin, f)
}

func TestConfigRefuses(t *testing.T) {
	log := must(transparency.NewSigner(origin, key(origin)))
	ok := Config{Listen: "x", Dir: "x", Name: myName, Logs: []Log{{Origin: origin, LogKey: log.VKey()}}}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*Config){
		"zero":        func(c *Config) { *c = Config{} },
		"no listen":   func(c *Config) { c.Listen = "" },
		"no dir":      func(c *Config) { c.Dir = "" },
		"no name":     func(c *Config) { c.Name = "" },
		"no logs":     func(c *Config) { c.Logs = nil },
		"bad name":    func(c *Config) { c.Name = "a+b" },
		"half of tls": func(c *Config) { c.TLS.Cert = "x" },
		"log twice":   func(c *Config) { c.Logs = append(c.Logs, c.Logs...) },
		"no key":      func(c *Config) { c.Logs = []Log{{Origin: origin}} },
		"pq only":     func(c *Config) { c.Logs = []Log{{Origin: origin, LogKeyPQ: log.VKey()}} },
	} {
		c := ok
		edit(&c)
		if c.Validate() == nil {
			t.Error(name)
		}
		if _, err := Open(c, nil); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	ok.Dir = filepath.Join(t.TempDir(), "absent")
	if _, err := Open(ok, nil); err == nil {
		t.Error("opened what is not there")
	}
}
