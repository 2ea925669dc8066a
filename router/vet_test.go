// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/router"
)

func (w *world) poll() {
	w.t.Helper()
	if err := w.router.Poll(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// only is a request that names one node.
func (w *world) only(n *node) (status int, body string) {
	w.t.Helper()
	code, b, err := w.post(message(w.header(w.epoch, n.id), strings.NewReader("x")))
	if err != nil {
		w.t.Fatal(err)
	}
	return code, string(b)
}

func (w *world) unreachable(n *node, want bool, why string) {
	w.t.Helper()
	code, body := w.only(n)
	if got := code == 502 && strings.Contains(body, `"code":"node.unreachable"`); got != want {
		w.t.Errorf("%s: %d %.80q", why, code, body)
	}
}

func (w *world) metric(reg *prometheus.Registry, line string) bool {
	rec := httptest.NewRecorder()
	metrics.Handler(reg).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return strings.Contains(rec.Body.String(), line+"\n")
}

// TestOnlyNodesThatProveThemselvesGetRequests: a listed node whose evidence the
// router's policy refuses is to requests as if it were not there.
func TestOnlyNodesThatProveThemselvesGetRequests(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, 3, nil)
	w.router.Register(reg)
	for _, n := range w.nodes {
		w.unreachable(n, false, "a good node")
	}
	ran := w.ran()
	t.Run("AT-24", func(t *testing.T) {
		// Listed with the key of another one.
		w.nodes[0].hw.Tamper = func(s *evidence.KeyStatement) { s.REK[5] ^= 1 }
		w.epoch = w.pub.publish(w.nodes, time.Now().Add(-time.Second), time.Now().Add(time.Hour))
		w.poll()
		w.unreachable(w.nodes[0], true, "another key than the record's")
		w.unreachable(w.nodes[1], false, "a good node beside it")
		if !w.metric(reg, `sotto_router_node_refusals_total{code="att.rek.name"} 1`) || !w.metric(reg, `sotto_router_nodes_verified 2`) {
			t.Error("not counted")
		}
		w.poll()
		if !w.metric(reg, `sotto_router_node_refusals_total{code="att.rek.name"} 1`) {
			t.Error("counted twice for one evidence")
		}
	})
	t.Run("AT-01", func(t *testing.T) {
		w.pub.refresh(time.Now().Add(-time.Hour))
		w.poll()
		for _, n := range w.nodes {
			w.unreachable(n, true, "freshness evidence of an hour ago")
		}
		w.pub.refresh(time.Now())
		w.poll()
		w.unreachable(w.nodes[1], false, "fresh again")
	})
	t.Run("AT-02", func(t *testing.T) {
		// The machine changed since the epoch began.
		if err := w.nodes[2].hw.TPM.Extend(t.Context(), 11, [32]byte{1}); err != nil {
			t.Fatal(err)
		}
		w.pub.refresh(time.Now())
		w.poll()
		w.unreachable(w.nodes[2], true, "a moved register")
		w.unreachable(w.nodes[1], false, "a good node beside it")
	})
	if n := w.ran() - ran; n != 3 {
		t.Errorf("%d requests ran, want the 3 of the good nodes", n)
	}
}

// TestANodeThatMissedOneRefreshKeepsItsStanding until what it showed is too old.
func TestANodeThatMissedOneRefreshKeepsItsStanding(t *testing.T) {
	w := newWorld(t, 2, func(c *router.Config) {
		p := *attestationtest.Policy(hardware())
		p.MaxFreshAge = attestation.Duration(2 * time.Second)
		c.Machines = &p
	})
	w.pub.refresh(time.Now(), w.nodes[0])
	w.poll()
	w.unreachable(w.nodes[0], false, "missed once")
	time.Sleep(2100 * time.Millisecond)
	w.unreachable(w.nodes[0], true, "too old, before anybody looked again")
	w.pub.refresh(time.Now(), w.nodes[0])
	w.poll()
	w.unreachable(w.nodes[0], true, "missing still")
	w.unreachable(w.nodes[1], false, "a good node beside it")
	w.pub.refresh(time.Now())
	w.poll()
	w.unreachable(w.nodes[0], false, "back")
}

// TestPolicyFilesTrustVendorsOnly: no file makes a router accept simulated
// hardware.
func TestPolicyFilesTrustVendorsOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(path, must(json.Marshal(attestationtest.Policy(hardware()))), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	w := newWorld(t, 1, func(c *router.Config) { c.Machines, c.Policy = nil, path })
	w.router.Register(reg)
	w.unreachable(w.nodes[0], true, "simulated hardware")
	w.pub.refresh(time.Now())
	w.poll()
	if !w.metric(reg, `sotto_router_node_refusals_total{code="att.simulated"} 1`) {
		t.Error("refused for another reason")
	}
}

func TestMetricsAreAFixedList(t *testing.T) {
	w := newWorld(t, 1, nil)
	reg := prometheus.NewRegistry()
	w.router.Register(reg)
	w.answered(w.header(w.epoch, w.ids()...), []byte("x"), false)
	fs := must(reg.Gather())
	got := map[string]float64{}
	for _, f := range fs {
		for _, m := range f.Metric {
			// The one label is a code of a closed list, and of no request.
			if len(m.Label) != 0 && (f.GetName() != "sotto_router_node_refusals_total" || m.Label[0].GetName() != "code") {
				t.Errorf("%s has labels", f.GetName())
			}
			got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if len(got) != 17 || got["sotto_router_requests_total"] != 1 || got["sotto_router_answered_total"] != 1 || got["sotto_router_nodes_up"] != 1 || got["sotto_router_epoch"] != 1 {
		t.Errorf("got %v", got)
	}
}
