// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
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

// A flood of a log's newest checkpoint, which anybody can send: the log, when it
// grows, does not wait for the flood, and nobody waits without end. DS-02.
func TestFloodDoesNotSilenceTheLog(t *testing.T) {
	t.Run("DS-02 every turn taken", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := &slowStore{release: make(chan struct{})}
			w := newWorld(t, store)
			h := w.Handler()
			must(w.AddCheckpoint(w.request(tree(1, 0, 1), 0)))
			store.slow.Store(maxConcurrent)
			again := w.request(tree(1, 0, 1), 1).Append(nil)
			flood := make(chan int, maxConcurrent+maxWaiting)
			for range maxConcurrent + maxWaiting {
				go func() { flood <- ask(h, again) }()
			}
			synctest.Wait()
			start := time.Now()
			if status := ask(h, again); status != http.StatusServiceUnavailable || time.Since(start) != 0 {
				t.Errorf("one more than can wait: %d after %v", status, time.Since(start))
			}
			for n := 2; n < 22; n++ {
				if status := ask(h, w.request(tree(1, 0, n), uint64(n-1)).Append(nil)); status != 200 || time.Since(start) != 0 {
					t.Fatalf("the log with %d leaves: %d after %v", n, status, time.Since(start))
				}
			}
			count := map[int]int{}
			for range maxWaiting {
				count[<-flood]++ // nobody gives up a turn: those who wait are told so
			}
			if count[503] != maxWaiting || time.Since(start) != maxWait {
				t.Errorf("waited %v: %v", time.Since(start), count)
			}
			close(store.release)
			for range maxConcurrent {
				if status := <-flood; status != 409 { // the log has grown meanwhile
					t.Errorf("status %d", status)
				}
			}
			if status := ask(h, w.request(tree(1, 0, 21), 21).Append(nil)); status != 200 {
				t.Errorf("afterwards %d", status)
			}
		})
	})
	t.Run("DS-02 128 senders", func(t *testing.T) {
		w := newWorld(t, fileStore(t, newDir(t)))
		w.Witness.now = time.Now // each second signs again
		must(w.AddCheckpoint(w.request(tree(1, 0, 1), 0)))
		h := w.Handler()
		var wg sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		var newest atomic.Value
		newest.Store(w.request(tree(1, 0, 1), 1).Append(nil))
		for range 128 {
			wg.Go(func() {
				for ctx.Err() == nil {
					ask(h, newest.Load().([]byte))
				}
			})
		}
		for n := 2; n <= 21; n++ {
			if status := ask(h, w.request(tree(1, 0, n), uint64(n-1)).Append(nil)); status != 200 {
				t.Errorf("the log with %d leaves: %d", n, status)
			}
			newest.Store(w.request(tree(1, 0, n), uint64(n)).Append(nil))
		}
		stop()
		wg.Wait()
	})
	t.Run("DS-02 a signature that is not the log's takes no turn", func(t *testing.T) {
		store := &slowStore{release: make(chan struct{})}
		store.slow.Store(1 << 20)
		h := newWorld(t, store).Handler()
		body := (&Request{Note: must(transparency.NewSigner(origin, key("impostor"))).Sign(5, [32]byte{1})}).Append(nil)
		for range maxConcurrent + 2 {
			if status := ask(h, body); status != 403 {
				t.Fatalf("status %d", status)
			}
		}
	})
}

// The same tree in the same second has one answer, and costs one write.
func TestOneAnswerASecond(t *testing.T) {
	store := fileStore(t, newDir(t))
	w := newWorld(t, store)
	writes := 0
	store.write = func(path string, data []byte, perm fs.FileMode) error {
		writes++
		return durable.WriteFile(path, data, perm)
	}
	r := w.request(tree(1, 0, 5), 0)
	lines := must(w.AddCheckpoint(r))
	again := w.request(tree(1, 0, 5), 5)
	for range 20 {
		if got := must(w.AddCheckpoint(again)); !bytes.Equal(got, lines) {
			t.Errorf("another answer: %q", got)
		}
	}
	// What somebody else added to the note changes nothing.
	foreign := &Request{Old: 5, Note: must(must(transparency.NewCosigner("x.example", key("x"))).Cosign(again.Note, noon))}
	if got := must(w.AddCheckpoint(foreign)); !bytes.Equal(got, lines) || writes != 1 {
		t.Errorf("%d writes, %q", writes, got)
	}
	if n := w.counter(t, "sotto_witness_cosigned_total"); n != "1" {
		t.Errorf("counted %s", n)
	}
	w.at(noon.Add(time.Second))
	w.verify(t, again.Note, must(w.AddCheckpoint(again)), noon.Add(time.Second))
	if writes != 2 {
		t.Errorf("%d writes", writes)
	}
	// What a process before this one wrote may not be on the disk yet: it is written again.
	w.open(t)
	if _, err := w.AddCheckpoint(again); err != nil || writes != 3 {
		t.Errorf("%d writes, %v", writes, err)
	}
}

func ask(h http.Handler, body []byte) int {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(body)))
	return rec.Code
}

// slowStore holds the next few requests at the door.
type slowStore struct {
	MemoryStore
	slow    atomic.Int64
	release chan struct{}
}

func (s *slowStore) Update(origin string, f func([]byte) ([]byte, error)) error {
	if s.slow.Add(-1) >= 0 {
		<-s.release
	}
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
