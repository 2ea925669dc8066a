// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/router"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

func (w *world) get(path string) (int, []byte) {
	w.t.Helper()
	resp, err := w.http.Get(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, must(io.ReadAll(resp.Body))
}

func (p *publisher) set(path string, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[path] = b
}

func TestPackAndFreshnessAreServedAsFetched(t *testing.T) {
	w := newWorld(t, 2, nil)
	if code, b := w.get("/v1/pack/1"); code != 200 || !bytes.Equal(b, w.pub.files["/v1/pack/1"]) {
		t.Errorf("pack: %d, %d bytes", code, len(b))
	}
	if code, b := w.get("/v1/freshness"); code != 200 || !bytes.Equal(b, w.pub.files["/v1/freshness"]) {
		t.Errorf("freshness: %d, %d bytes", code, len(b))
	}
	for _, path := range []string{"/v1/pack/2", "/v1/pack/0", "/v1/pack/01", "/v1/pack/x", "/v1/pack/", "/v1/pack/1/delta", "/v1/pack/01/delta", "/v1/pack/1/other"} {
		if code, _ := w.get(path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, b := w.get("/v1/health"); code != 200 || string(b) != `{"state":"ready","epoch":1,"nodes":2,"verified":2}` {
		t.Errorf("health: %d %q", code, b)
	}
}

// TestEpochsOverlap: the next epoch is routed from its beginning and the last
// one while its nodes keep its keys.
func TestEpochsOverlap(t *testing.T) {
	w := newWorld(t, 2, nil)
	now := time.Now()
	latest := w.pub.files["/v1/statement/latest"]
	next := w.pub.publish(w.nodes, now.Add(time.Second), now.Add(2*time.Hour))
	w.pub.set("/v1/statement/latest", latest) // public, not in force
	if err := w.router.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.answered(w.header(w.epoch, w.ids()...), []byte("old"), false)
	w.answered(w.header(next, w.ids()...), []byte("new"), false)

	far := w.pub.publish(w.nodes, now.Add(time.Hour), now.Add(3*time.Hour))
	if err := w.router.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.refused(message(w.header(far, w.ids()...), strings.NewReader("x")), 409, "epoch") // has not begun
}

func TestEpochsEnd(t *testing.T) {
	w := newWorld(t, 1, func(c *router.Config) { c.Grace = time.Second })
	now := time.Now()
	short := w.pub.publish(w.nodes, now.Add(-time.Second), now.Add(time.Second))
	if err := w.router.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.answered(w.header(short, w.ids()...), []byte("x"), false)
	time.Sleep(2500 * time.Millisecond)
	w.refused(message(w.header(short, w.ids()...), strings.NewReader("x")), 409, "epoch")
}

// TestPublisherOutage: what is known stays good.
func TestPublisherOutage(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		w := newWorld(t, 1, nil)
		w.pub.mu.Lock()
		w.pub.down = true
		w.pub.mu.Unlock()
		if err := w.router.Poll(context.Background()); err == nil {
			t.Error("the outage went unnoticed")
		}
		w.answered(w.header(w.epoch, w.ids()...), []byte("x"), false)
	})
}

// TestRostersThatAreRefused: whatever the publisher's address serves, only the
// log's word makes a roster.
func TestRostersThatAreRefused(t *testing.T) {
	code := func(t *testing.T, err error, want transparency.Code) {
		t.Helper()
		var e *transparency.Error
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	next := func(t *testing.T) *world {
		w := newWorld(t, 2, nil)
		w.pub.publish(w.nodes, time.Now(), time.Now().Add(time.Hour))
		return w
	}
	for _, tc := range []struct {
		name string
		want transparency.Code
		do   func(w *world)
	}{
		{"another log", transparency.CodeSignature, func(w *world) {
			w.pub.signer = must(transparency.NewSigner(logOrigin, key("evil")))
			w.pub.set("/v1/statement/latest", w.pub.sign())
		}},
		{"no witness", transparency.CodeWitness, func(w *world) {
			w.pub.witness = must(transparency.NewCosigner("witness.test", key("evil")))
			w.pub.set("/v1/statement/latest", w.pub.sign())
		}},
		{"a pack that lacks a node", transparency.CodePackMissing, func(w *world) {
			w.pub.set("/v1/pack/2", must((&statement.Pack{Epoch: 2}).Append(nil)))
		}},
		{"a pack that is none", transparency.CodeStatement, func(w *world) { w.pub.set("/v1/pack/2", []byte("x")) }},
		{"a statement that is none", transparency.CodeStatement, func(w *world) { w.pub.set("/v1/statement/latest", []byte("x")) }},
		{"a flipped bit", transparency.CodeInclusion, func(w *world) {
			b := bytes.Clone(w.pub.files["/v1/statement/latest"])
			i := bytes.Index(b, w.nodes[0].id[:])
			b[i+40] ^= 1 // in the record's hash
			w.pub.set("/v1/statement/latest", b)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := next(t)
			tc.do(w)
			code(t, w.router.Poll(context.Background()), tc.want)
			if got, _ := w.get("/v1/pack/2"); got != 404 {
				t.Error("the epoch was taken on")
			}
			w.answered(w.header(w.epoch, w.ids()...), []byte("x"), false)
		})
	}
	t.Run("RT-05", func(t *testing.T) {
		// Another world for the epoch that the router has already.
		w := newWorld(t, 2, nil)
		evil := newPublisher()
		now := time.Now()
		evil.publish(nil, now.Add(-2*time.Hour), now)
		evil.publish(w.nodes[:1], now.Add(-time.Minute), now.Add(time.Hour))
		w.pub.set("/v1/statement/latest", evil.files["/v1/statement/latest"])
		code(t, w.router.Poll(context.Background()), transparency.CodeFork)
		w.answered(w.header(w.epoch, w.ids()...), []byte("x"), false)
	})
}

// TestForgedHealth is RT-14: an address that claims another node's id draws
// nothing away while the owner answers, and no id outside the log is routed to.
func TestForgedHealth(t *testing.T) {
	t.Run("RT-14", func(t *testing.T) {
		w := newWorld(t, 2, nil)
		w.nodes[0].claim.Store(&w.nodes[1].id)
		for range 3 {
			w.router.Check(context.Background())
			w.answered(w.header(w.epoch, w.nodes[1].id), []byte("x"), false)
		}
		if w.nodes[0].ran.Load() != 0 || w.nodes[1].ran.Load() != 3 {
			t.Errorf("ran %d and %d", w.nodes[0].ran.Load(), w.nodes[1].ran.Load())
		}
		stranger := [32]byte{7}
		w.nodes[0].claim.Store(&stranger)
		w.router.Check(context.Background())
		w.refused(message(w.header(w.epoch, stranger), strings.NewReader("x")), 400, "route.candidate")
		w.nodes[0].claim.Store(nil)
		w.router.Check(context.Background())
		w.answered(w.header(w.epoch, w.nodes[0].id), []byte("x"), false)
	})
}

func TestLogNamesNoRequest(t *testing.T) {
	var out bytes.Buffer
	w := newWorld(t, 2, func(c *router.Config) { c.Log = slog.New(slog.NewTextHandler(&out, nil)) })
	h := w.header(w.epoch, w.ids()...)
	w.answered(h, []byte("x"), false)
	w.order(h)[0].stop()
	w.router.Check(context.Background())
	w.refused(message(h, strings.NewReader("x")), 502, "node.unreachable")
	hash := h.Hash()
	for _, bad := range []string{fmt.Sprintf("%x", hash[:4]), fmt.Sprintf("%x", w.nodes[0].id[:4]), fmt.Sprintf("%x", w.nodes[1].id[:4])} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%s is in the log:\n%s", bad, out.String())
		}
	}
	if !strings.Contains(out.String(), "msg=roster epoch=1 nodes=2") || !strings.Contains(out.String(), "up=false") {
		t.Errorf("the log says too little:\n%s", out.String())
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	w := newWorld(t, 1, nil)
	id := must(w.ca.Issue("r.sotto"))
	good := router.Config{
		TLS: id, Publisher: "https://p.example", Trust: w.pub.trust(), Nodes: []string{"https://n.example"}, Machines: attestationtest.Policy(hardware()),
	}
	if _, err := router.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*router.Config){
		"zero":                func(c *router.Config) { *c = router.Config{} },
		"no trust":            func(c *router.Config) { c.Trust = transparency.Trust{} },
		"no nodes":            func(c *router.Config) { c.Nodes = nil },
		"cleartext node":      func(c *router.Config) { c.Nodes = []string{"http://n.example"} },
		"cleartext publisher": func(c *router.Config) { c.Publisher = "http://p.example" },
		"no certificate":      func(c *router.Config) { c.TLS = httpx.TLS{CA: id.CA} },
		"no roots":            func(c *router.Config) { c.TLS.CA = "" },
		"too many candidates": func(c *router.Config) { c.MaxCandidates = 9 },
		"no policy":           func(c *router.Config) { c.Machines = nil },
		"no policy file":      func(c *router.Config) { c.Machines, c.Policy = nil, filepath.Join(t.TempDir(), "x") },
		"not a policy":        func(c *router.Config) { c.Machines, c.Policy = nil, id.Key },
		"a group too large":   func(c *router.Config) { c.PeerGroup = 65 },
		"bounds swapped":      func(c *router.Config) { c.MinCandidates, c.MaxCandidates = 3, 2 },
		"cleartext bank":      func(c *router.Config) { c.Bank = "http://b.example" },
		"a bank's port alone": func(c *router.Config) { c.Bank, c.BankReplicas = "https://b.example", []string{":8443"} },
		"replicas of no bank": func(c *router.Config) { c.BankReplicas = []string{"10.0.0.9:8443"} },
	} {
		c := good
		change(&c)
		if _, err := router.New(c); err == nil || !strings.HasPrefix(err.Error(), "router: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*router.Config){ // without touching a file
		"cleartext bank":      func(c *router.Config) { c.Bank = "http://b.example" },
		"a replica's URL":     func(c *router.Config) { c.Bank, c.BankReplicas = "https://b.example", []string{"https://c.example"} },
		"replicas of no bank": func(c *router.Config) { c.BankReplicas = []string{"10.0.0.9:8443"} },
	} {
		c := good
		c.Policy = "policy.json"
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: a check finds nothing", name)
		}
	}
}

// TestServeLooksAroundByItself: with nothing but ServeOn the router becomes
// ready, notices a new epoch and a node that went, and ends when told.
func TestServeLooksAroundByItself(t *testing.T) {
	w := newWorld(t, 2, nil)
	addr, _ := serveTLS(t, must(w.ca.Issue("log2.sotto", "127.0.0.1")), false, w.pub)
	r := must(router.New(router.Config{
		TLS: must(w.ca.Issue("router.sotto", "127.0.0.1")), Publisher: "https://" + addr, PublisherCA: w.ca.File(), Trust: w.pub.trust(),
		Nodes: []string{w.nodes[0].url, w.nodes[1].url}, Poll: 20 * time.Millisecond, Health: 20 * time.Millisecond,
		Machines: attestationtest.Policy(hardware()),
	}))
	raddr, _ := serve(t, r.ServeOn)
	w.url = "https://" + raddr
	until := func(want string) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if _, b := w.get("/v1/health"); string(b) == want {
				return
			}
		}
		t.Errorf("never %s", want)
	}
	until(`{"state":"ready","epoch":1,"nodes":2,"verified":2}`)
	w.pub.publish(w.nodes, time.Now(), time.Now().Add(time.Hour))
	until(`{"state":"ready","epoch":2,"nodes":2,"verified":2}`)
	w.nodes[0].stop()
	until(`{"state":"ready","epoch":2,"nodes":1,"verified":2}`)
}

// TestFreshnessIsFetchedWhateverElseFails: a next epoch that cannot be had does
// not let the evidence of the one in force grow old.
func TestFreshnessIsFetchedWhateverElseFails(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		w := newWorld(t, 1, nil)
		now := time.Now()
		next := w.pub.publish(w.nodes, now, now.Add(time.Hour))
		w.pub.set(fmt.Sprint("/v1/pack/", next), []byte("no pack"))
		want := must((&statement.Freshness{Checkpoint: []byte("newer note")}).Append(nil))
		w.pub.set("/v1/freshness", want)
		if err := w.router.Poll(context.Background()); err == nil {
			t.Error("a pack that is none went unnoticed")
		}
		if code, b := w.get("/v1/freshness"); code != 200 || !bytes.Equal(b, want) {
			t.Errorf("%d %q", code, b)
		}
	})
}
