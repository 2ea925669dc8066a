// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/statement"
)

// bubble is a node on a fake clock: nothing of it touches a network.
func bubble(t *testing.T, change func(*Config, *Hardware)) *fixture {
	t.Helper()
	f := &fixture{t: t, log: new(syncBuffer), fw: new(firmware)}
	var err error
	if f.sim, err = simtpm.OpenSimulator(); err != nil {
		t.Fatal(err)
	}
	f.tpm = tpm.New(f.sim)
	cfg, hw := testConfig("http://127.0.0.1:9"), Hardware{TPM: f.tpm, Reporter: f.fw, EventLog: []byte("log")}
	if change != nil {
		change(&cfg, &hw)
	}
	if f.node, err = New(cfg, hw, slog.New(slog.NewTextHandler(f.log, nil))); err != nil {
		t.Fatal(err)
	}
	if err := f.node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.node.erase()
		_ = f.tpm.Close()
		_ = f.sim.Close()
	})
	e, err := f.node.makeEpoch(t.Context(), &epochQuestion{7, []byte("a checkpoint")})
	if err != nil {
		t.Fatal(err)
	}
	if f.record, err = statement.ParseRecord(e.answer.Record); err != nil {
		t.Fatal(err)
	}
	return f
}

// deliver hands a request to the handler, as a router would.
func (f *fixture) deliver(s *sealedRequest) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(f.t.Context(), "POST", "/v1/request", bytes.NewReader(s.bytes))
	r.Header.Set("Peer", defaultRouter)
	r.Header.Set(wire.AskHeader, s.ask.String())
	w := httptest.NewRecorder()
	asPeer(f.node.Handler()).ServeHTTP(w, r)
	return w
}

// opens reports whether the node's key still opens what was recorded.
func (f *fixture) opens(s *sealedRequest) bool {
	key, err := f.node.keys.Open(s.f.Common.Epoch)
	if err != nil {
		return false
	}
	_, err = recipient.Open(s.f, key)
	return err == nil
}

func TestSelfCheckStopsTheNodeWithinOneInterval(t *testing.T) {
	const interval = 10 * time.Minute
	t.Run("C-26", func(t *testing.T) {
		for name, harm := range map[string]func(*fixture, *faults){
			"a seal PCR": func(f *fixture, _ *faults) {
				if err := f.tpm.Extend(f.t.Context(), 11, [32]byte{1}); err != nil {
					f.t.Error(err)
				}
			},
			"the platform reports no more": func(f *fixture, _ *faults) { f.fw.err.set(errTest) },
			"the platform's own check":     func(_ *fixture, own *faults) { own.set(errTest) },
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var own faults
					f := bubble(t, func(c *Config, hw *Hardware) {
						c.SelfCheckInterval = new(interval)
						hw.Check = func(context.Context) error { return own.get() }
					})
					ctx, stop := context.WithCancel(t.Context())
					ended := make(chan struct{})
					go func() { f.node.watch(ctx); close(ended) }()
					defer func() { stop(); <-ended }()

					recorded := f.seal(hello, option{})
					time.Sleep(3*interval + interval/3) // healthy for a while
					synctest.Wait()
					if f.node.isDrained() || !f.opens(recorded) {
						t.Fatal("drained without a reason")
					}
					harm(f, &own)
					time.Sleep(interval)
					synctest.Wait()
					if !f.node.isDrained() {
						t.Fatal("still serving one interval later")
					}
					if f.opens(recorded) {
						t.Error("a recorded request still opens")
					}
					if w := f.deliver(f.seal(hello, option{})); w.Code != 503 || !strings.Contains(w.Body.String(), "node.draining") {
						t.Errorf("%d %s", w.Code, w.Body)
					}
					if w := f.deliver(recorded); w.Code == 200 {
						t.Error("the recorded request ran")
					}
					if !strings.Contains(f.metrics(), "sotto_node_self_check_failures_total 1") {
						t.Error("not counted")
					}
					time.Sleep(5 * interval)
					own.set(nil)
					f.fw.err.set(nil)
					time.Sleep(5 * interval)
					if !f.node.isDrained() || f.node.epoch(7) != nil {
						t.Error("it came back by itself")
					}
				})
			})
		}
	})
}

// TestUndecidedSelfChecksAreNoWayOut: whoever can keep the TPM busy cannot keep
// a node unchecked for longer than two intervals.
func TestUndecidedSelfChecksAreNoWayOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Minute
		var own faults
		f := bubble(t, func(c *Config, hw *Hardware) {
			c.SelfCheckInterval = new(interval)
			hw.Check = func(context.Context) error { return own.get() }
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { f.node.watch(ctx); close(ended) }()
		defer func() { stop(); <-ended }()
		time.Sleep(interval + 2*time.Second)
		own.set(&undecidedError{tpm.ErrBusy})
		time.Sleep(interval / 2)
		own.set(nil)
		time.Sleep(3 * interval)
		synctest.Wait()
		if f.node.isDrained() {
			t.Fatal("drained though the next look decided")
		}
		own.set(&undecidedError{tpm.ErrBusy})
		time.Sleep(2*interval + 2*time.Second)
		synctest.Wait()
		if !f.node.isDrained() {
			t.Error("never checked, never drained")
		}
	})
}

func TestSelfCheckErrorsAreVerdictsOrNone(t *testing.T) {
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var undecided *undecidedError
	if err := f.node.check(ctx); !errors.As(err, &undecided) {
		t.Errorf("a check that was stopped: %v", err)
	}
	if err := f.tpm.Extend(t.Context(), 4, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	var verdict *collect.SelfCheckError
	if err := f.node.check(t.Context()); !errors.As(err, &verdict) || verdict.Reason != collect.ReasonPCR {
		t.Errorf("a moved register: %v", err)
	}
}

// TestNothingRunsAfterTheSelfCheckFailed: a body that was on its way when the
// keys were erased is not given to the engine.
func TestNothingRunsAfterTheSelfCheckFailed(t *testing.T) {
	f := newFixture(t, nil)
	s := f.seal(hello, option{})
	slow := &gated{bytes.NewReader(s.bytes[:len(s.bytes)-1]), bytes.NewReader(s.bytes[len(s.bytes)-1:]), make(chan struct{}), make(chan struct{})}
	got := make(chan string, 1)
	go func() {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/request", slow)
		_, err := f.node.handle(httptest.NewRecorder(), r)
		got <- err.Error()
	}()
	<-slow.reached
	f.node.Drain()
	close(slow.release)
	if err := <-got; err != errDraining.Error() {
		t.Errorf("%v", err)
	}
	if f.calls.Load() != 0 {
		t.Error("the engine was asked")
	}
}

// gated is a reader whose last byte waits.
type gated struct {
	first, last      *bytes.Reader
	reached, release chan struct{}
}

func (g *gated) Read(p []byte) (int, error) {
	if g.first.Len() > 0 {
		return g.first.Read(p)
	}
	select {
	case <-g.reached:
	default:
		close(g.reached)
	}
	<-g.release
	return g.last.Read(p)
}
