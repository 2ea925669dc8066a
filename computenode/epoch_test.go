// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/hpke/recipient"
)

func TestEpochsRotateAndAreErased(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Epoch, c.Lead, c.Grace = 400*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond
	})
	first := f.seal(hello, option{})
	again := f.epoch(7)
	if r := f.record; r.NodeID != f.node.ID() || r.Epoch != 7 || r.EvidenceDigest != sha256.Sum256(again.Evidence) {
		t.Errorf("record %+v", r)
	}
	if o := first.open(f.send(first)); o.status != 200 {
		t.Errorf("asked twice, the key is another: %+v", o)
	}
	kept := f.seal(hello, option{})
	f.epoch(8)
	if resp := f.post(defaultPublisher, "/v1/epoch", strings.NewReader(`{"epoch":6,"checkpoint":"eA=="}`)); problemOf(t, resp) != "epoch.order" {
		t.Error("an epoch before the newest was made")
	}
	if o := kept.open(f.send(kept)); o.status != 200 {
		t.Errorf("in the grace period: %+v", o)
	}
	// Nobody asks any more: the timers alone must erase both.
	old, recent := *kept, f.seal(hello, option{})
	time.Sleep(200 * time.Millisecond)
	if code := problemOf(t, f.send(&old)); code != "node.rekeyed" && code != "replay" {
		t.Errorf("after the grace period: %q", code)
	}
	time.Sleep(500 * time.Millisecond)
	if code := problemOf(t, f.send(recent)); code != "node.rekeyed" {
		t.Errorf("after everything: %q", code)
	}
	f.node.prune()
	if f.node.epoch(7) != nil || f.node.epoch(8) != nil || f.health() != "starting" {
		t.Error("epochs without a key are still held")
	}
}

// TestRestartOpensNothing is CR-18: what was recorded before a crash is shut
// for the process after it, and says so.
func TestRestartOpensNothing(t *testing.T) {
	f := newFixture(t, nil)
	ran, unsent := f.seal(hello, option{}), f.seal(hello, option{})
	ran.open(f.send(ran))
	t.Run("CR-18", func(t *testing.T) {
		// A crash: no erasure, only another process with the same TPM and configuration.
		next, err := New(f.node.cfg, f.node.hw, f.node.log)
		if err != nil {
			t.Fatal(err)
		}
		if err := next.Start(t.Context()); err != nil {
			t.Fatalf("a restart in the same boot: %v", err)
		}
		defer next.erase()
		before := f.node
		f.node = next
		defer func() { f.node = before }()
		for _, s := range []*sealedRequest{ran, unsent} {
			request := bytes.NewReader(s.bytes)
			_, err := next.handle(discard{}, post(t, request))
			if err != errRekeyed {
				t.Errorf("%v", err)
			}
		}
	})
}

// discard is a ResponseWriter for handlers that must refuse before they write.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return len(p), nil }

func post(t *testing.T, body io.Reader) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), "POST", "/v1/request", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestConfigIsMeasuredBeforeAnythingIsServed(t *testing.T) {
	f := unstarted(t, nil)
	t.Run("AT-39", func(t *testing.T) {
		if f.health() != "starting" {
			t.Error("ready before it started")
		}
		resp := f.post(defaultPublisher, "/v1/epoch", strings.NewReader(`{"epoch":1,"checkpoint":"eA=="}`))
		if code := problemOf(t, resp); code != "epoch.evidence" {
			t.Errorf("keys before the measurement: %q", code)
		}
		if err := f.node.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		values, err := f.tpm.ReadPCRs(t.Context(), []int{evidence.ConfigPCR})
		if err != nil || values[evidence.ConfigPCR] != evidence.ConfigPCRValue(sha256.Sum256(f.node.measured)) {
			t.Errorf("register %x, %v", values[evidence.ConfigPCR], err)
		}
		a := f.epoch(1)
		b, err := evidence.Parse(a.Evidence)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Pieces {
			if p.Kind == evidence.KindConfig && !bytes.Equal(p.Data, f.node.measured) {
				t.Errorf("evidence holds %s", p.Data)
			}
		}
		// Another configuration in the same boot.
		cfg := f.node.cfg
		cfg.MaxTokens++
		other, err := New(cfg, f.node.hw, f.node.log)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(t.Context()); err != ErrConfigMeasured {
			t.Errorf("a second configuration: %v", err)
		}
	})
	t.Run("ND-13", func(t *testing.T) {
		// Every setting but addresses, files and merely stated words changes the digest.
		base := f.node.cfg
		for name, change := range map[string]func(*Config){
			"model": func(c *Config) { c.Model = "x" }, "weights": func(c *Config) { c.Weights = strings.Repeat("cd", 32) },
			"simulated": func(c *Config) { c.Simulated = false }, "kind": func(c *Config) { c.Engine.Kind = "other" }, "engine model": func(c *Config) { c.Engine.Model = "x" },
			"epoch": func(c *Config) { c.Epoch *= 2 }, "lead": func(c *Config) { c.Lead++ }, "grace": func(c *Config) { c.Grace++ },
			"running": func(c *Config) { c.Running++ }, "queued": func(c *Config) { c.Queued++ }, "rate": func(c *Config) { c.Rate++ }, "burst": func(c *Config) { c.Burst++ },
			"remembered": func(c *Config) { c.Remembered++ }, "max request": func(c *Config) { c.MaxRequest++ }, "max tokens": func(c *Config) { c.MaxTokens++ },
			"max choices": func(c *Config) { c.MaxChoices++ }, "self check": func(c *Config) { c.SelfCheckInterval = new(*c.SelfCheckInterval + 1) }, "upload": func(c *Config) { c.UploadTime++ },
			"header timeout": func(c *Config) { c.Engine.HeaderTimeout++ }, "idle": func(c *Config) { c.Engine.IdleTimeout++ }, "answer": func(c *Config) { c.Engine.MaxAnswer++ },
		} {
			c := base
			change(&c)
			if b, err := c.Measured(); err != nil || bytes.Equal(b, f.node.measured) {
				t.Errorf("%s is not measured (%v)", name, err)
			}
		}
		c := base
		c.Listen, c.Metrics, c.Engine.Address = "x", "y", "z"
		if b, err := c.Measured(); err != nil || !bytes.Equal(b, f.node.measured) {
			t.Errorf("addresses are measured: %v", err)
		}
	})
}

func TestEvidenceThatFailsIsTriedAgainWithTheSameKey(t *testing.T) {
	f := newFixture(t, nil)
	f.fw.err.set(errTest)
	resp := f.post(defaultPublisher, "/v1/epoch", strings.NewReader(`{"epoch":8,"checkpoint":"eA=="}`))
	if code := problemOf(t, resp); code != "epoch.evidence" {
		t.Errorf("code %q", code)
	}
	public, err := f.node.keys.Public(8)
	if err != nil {
		t.Fatal(err)
	}
	f.fw.err.set(nil)
	f.epoch(8)
	if !bytes.Equal(public.Bytes, f.record.REK) {
		t.Error("another key")
	}
	if o := f.chat(hello, option{}); o.status != 200 {
		t.Errorf("%+v", o)
	}
}

func TestFreshness(t *testing.T) {
	f := newFixture(t, nil)
	resp := f.post(defaultPublisher, "/v1/freshness", strings.NewReader(`{"epoch":7,"checkpoint":"eA=="}`))
	var a struct{ Evidence []byte }
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	b, err := evidence.Parse(a.Evidence)
	if err != nil || len(b.Pieces) != len(evidence.FreshnessKinds()) {
		t.Errorf("%v", err)
	}
	for body, code := range map[string]string{
		`{"epoch":9,"checkpoint":"eA=="}`: "epoch", `{"epoch":7}`: "epoch.format", `{"epoch":7,"checkpoint":"eA==","x":1}`: "epoch.format",
		`{"epoch":7,"checkpoint":"eA=="} x`: "epoch.format", `{"epoch":7,"checkpoint":"` + strings.Repeat("A", 100<<10) + `"}`: "epoch.format", ``: "epoch.format",
	} {
		if got := problemOf(t, f.post(defaultPublisher, "/v1/freshness", strings.NewReader(body))); got != code {
			t.Errorf("%.50s: %q", body, got)
		}
	}
	if code := problemOf(t, f.post(defaultRouter, "/v1/freshness", strings.NewReader(`{}`))); code != "peer" {
		t.Errorf("router asked for evidence: %q", code)
	}
}

func TestSelfCheckFailureDrainsAndErases(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SelfCheckInterval = new(20 * time.Millisecond) })
	var bad atomic.Bool
	f.node.hw.Check = func(context.Context) error {
		if bad.Load() {
			return errTest
		}
		return nil
	}
	release := make(chan struct{})
	f.answerWith(func(w http.ResponseWriter, r *http.Request) { <-release; events("still here")(w, r) })
	running := f.seal(hello, option{})
	done := make(chan opened, 1)
	go func() { done <- running.open(f.send(running)) }()
	<-f.bodies
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { f.node.watch(ctx); close(watched) }()
	defer func() { stop(); <-watched }()
	time.Sleep(60 * time.Millisecond)
	if f.health() != "ready" {
		t.Fatal("drained without a reason")
	}
	bad.Store(true)
	<-watched
	if f.health() != "draining" {
		t.Errorf("health %q", f.health())
	}
	s := f.seal(hello, option{})
	if code := problemOf(t, f.send(s)); code != "node.draining" {
		t.Errorf("code %q", code)
	}
	if _, err := f.node.keys.Open(7); err == nil {
		if key, _ := f.node.keys.Open(7); key != nil {
			if _, err := recipient.Open(s.f, key); err == nil {
				t.Error("the key still opens")
			}
		}
	}
	close(release)
	if o := <-done; o.status != 200 || o.err != nil || !strings.Contains(o.body, "still here") {
		t.Errorf("the running answer: %+v", o)
	}
	select {
	case <-f.node.Drain():
	case <-time.After(5 * time.Second):
		t.Error("drain did not end")
	}
}

func TestSelfCheckSeesAMovedRegister(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.node.check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.tpm.Extend(t.Context(), 11, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := f.node.check(t.Context()); err == nil {
		t.Error("a seal PCR moved unseen")
	}
}

func TestConfigRefuses(t *testing.T) {
	good := testConfig("http://127.0.0.1:9000")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no model": func(c *Config) { c.Model = "" }, "no weights": func(c *Config) { c.Weights = "" }, "short weights": func(c *Config) { c.Weights = "ab" },
		"no payment": func(c *Config) { c.Payment = "" }, "coins": func(c *Config) { c.Payment = "coins" }, "no engine": func(c *Config) { c.Engine.Address = "" },
		"remote engine": func(c *Config) { c.Engine.Address = "http://10.0.0.1:80" }, "named engine": func(c *Config) { c.Engine.Address = "http://localhost:80" },
		"no kind": func(c *Config) { c.Engine.Kind = "" }, "unknown kind": func(c *Config) { c.Engine.Kind = "tgi" },
		"negative": func(c *Config) { c.Running = -1 }, "rate": func(c *Config) { c.Rate = -1 }, "lead": func(c *Config) { c.Lead = 2 * time.Hour }, "size": func(c *Config) { c.MaxRequest = -1 },
		"no self check": func(c *Config) { c.SelfCheckInterval = new(time.Duration(0)) }, "a rare self check": func(c *Config) { c.SelfCheckInterval = new(2 * time.Hour) },
		"peers without a policy": func(c *Config) { c.Peers.Trust.LogKey = "x" }, "peers without trust": func(c *Config) { c.Peers.Policy = "x" },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s accepted", name)
		}
	}
	if (Config{}).Validate() == nil {
		t.Error("the zero Config accepted")
	}
	if _, err := New(good, Hardware{}, nil); err == nil {
		t.Error("no hardware accepted")
	}
}
