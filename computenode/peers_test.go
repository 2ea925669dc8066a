// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// judging is a node that judges the nodes of w, with the keys of e.
func judging(t *testing.T, w *rostertest.World, e *rostertest.Epoch) *fixture {
	t.Helper()
	f := unstarted(t, func(c *Config) { c.Peers = PeersConfig{Trust: w.Trust, Machines: w.Policy} })
	if err := f.node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.epoch(e.Statement.Epoch)
	return f
}

func question(e *rostertest.Epoch) *peersQuestion {
	q := &peersQuestion{Statement: e.Signed, Pack: e.Pack, Freshness: e.Freshness}
	for _, n := range e.Statement.Nodes {
		q.Peers = append(q.Peers, n.ID[:])
	}
	return q
}

func (f *fixture) push(q *peersQuestion) *http.Response {
	f.t.Helper()
	b, err := json.Marshal(q)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.post(defaultRouter, "/v1/peers", bytes.NewReader(b))
}

func (f *fixture) verdicts(q *peersQuestion) []wire.PeerVerdict {
	f.t.Helper()
	resp := f.push(q)
	b, err := io.ReadAll(resp.Body)
	var a peersAnswer
	if err != nil || resp.StatusCode != 200 || json.Unmarshal(b, &a) != nil {
		f.t.Fatalf("%d %s %v", resp.StatusCode, b, err)
	}
	list, err := wire.ParsePeerVerdicts(a.Verdicts)
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

func TestNodeJudgesItsPeers(t *testing.T) {
	w := rostertest.New(t, 3)
	e := w.Epoch(time.Now().Add(-time.Minute), func(i int, r *statement.Record) {
		if i == 1 {
			r.REK = w.Nodes[0].REK() // AT-24
		}
	})
	w.Refresh(e, time.Now())
	f := judging(t, w, e)
	list := f.verdicts(question(e))
	if len(list) != 3 {
		t.Fatalf("%d verdicts", len(list))
	}
	fresh, err := statement.ParseFreshness(e.Freshness)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		want := ""
		if v.Subject == w.Nodes[1].ID() {
			want = "att.rek.name"
		}
		bundle, _ := fresh.Find(v.Epoch, v.Subject)
		switch {
		case v.Code != want:
			t.Errorf("%x: %q, want %q", v.Subject[:4], v.Code, want)
		case !v.Verify(f.record.NodeKey) || v.Verifier != f.node.ID() || v.Epoch != e.Statement.Epoch:
			t.Errorf("%x: not this node's word", v.Subject[:4])
		case v.Policy != w.Policy.Digest() || v.Freshness != statement.Digest(bundle) || v.Evidence == [32]byte{}:
			t.Errorf("%x: other digests", v.Subject[:4])
		case time.Since(v.Time) > time.Minute:
			t.Errorf("%x: at %v", v.Subject[:4], v.Time)
		}
	}
	if m := f.metrics(); !strings.Contains(m, `sotto_node_peers_judged_total{code="ok"} 2`) || !strings.Contains(m, `sotto_node_peers_judged_total{code="att.rek.name"} 1`) {
		t.Error("not counted")
	}
}

// TestNodeBelievesTheLogAndNotTheRouter: what a router pushes verifies by
// itself, or nothing is signed.
func TestNodeBelievesTheLogAndNotTheRouter(t *testing.T) {
	w, other := rostertest.New(t, 2), rostertest.New(t, 2)
	over := w.Epoch(time.Now().Add(-61*time.Minute), nil)
	e := w.Epoch(over.Statement.NotAfter, nil) // a minute ago: whatever this took
	w.Refresh(e, time.Now())
	foreign := other.Epoch(time.Now().Add(-time.Minute), nil)
	f := judging(t, w, e)
	for name, c := range map[string]struct {
		change func(*peersQuestion)
		code   string
	}{
		"another log's statement":  {func(q *peersQuestion) { q.Statement = foreign.Signed }, "peers.refused"},
		"another log's checkpoint": {func(q *peersQuestion) { q.Freshness = foreign.Freshness }, "peers.refused"},
		"another log's pack":       {func(q *peersQuestion) { q.Pack = foreign.Pack }, "peers.refused"},
		"no statement":             {func(q *peersQuestion) { q.Statement = nil }, "peers.refused"},
		"a statement that is over": {func(q *peersQuestion) { q.Statement, q.Pack = over.Signed, over.Pack }, "peers.refused"},
		"a node of no statement":   {func(q *peersQuestion) { q.Peers = [][]byte{make([]byte, 32)} }, "peers.refused"},
		"itself":                   {func(q *peersQuestion) { id := f.node.ID(); q.Peers = [][]byte{id[:]} }, "peers.refused"},
		"nobody":                   {func(q *peersQuestion) { q.Peers = nil }, "peers.format"},
		"too many":                 {func(q *peersQuestion) { q.Peers = make([][]byte, maxPeers+1) }, "peers.format"},
	} {
		q := question(e)
		c.change(q)
		if code := problemOf(t, f.push(q)); code != c.code {
			t.Errorf("%s: %q, want %q", name, code, c.code)
		}
	}
	t.Run("AT-01", func(t *testing.T) {
		w.Refresh(e, time.Now().Add(-time.Hour))
		for _, v := range f.verdicts(question(e)) {
			if v.Code != "att.stale" {
				t.Errorf("old freshness evidence: %q", v.Code)
			}
		}
	})
	q := question(e)
	q.Freshness = nil
	if code := problemOf(t, f.push(q)); code != "peers.refused" {
		t.Errorf("no list: %q", code)
	}
	ahead := w.Epoch(time.Now().Add(-time.Minute), nil)
	if code := problemOf(t, f.push(question(ahead))); code != "epoch" {
		t.Errorf("an epoch without a key: %q", code)
	}
	f.node.peers.turn <- struct{}{}
	if code := problemOf(t, f.push(question(e))); code != "busy" {
		t.Errorf("a second push at once: %q", code)
	}
	<-f.node.peers.turn
	if code := problemOf(t, f.post(defaultPublisher, "/v1/peers", strings.NewReader(`{}`))); code != "peer" {
		t.Errorf("a publisher: %q", code)
	}
	f.node.Drain()
	if code := problemOf(t, f.push(question(e))); code != "node.draining" {
		t.Errorf("draining: %q", code)
	}
}

func TestPeersAreNotJudgedUnasked(t *testing.T) {
	f := newFixture(t, nil)
	if code := problemOf(t, f.push(new(peersQuestion))); code != "target" {
		t.Errorf("a node without a policy for peers: %q", code)
	}
	w := rostertest.New(t, 1)
	good := testConfig("http://127.0.0.1:9000")
	hw := f.node.hw
	for name, c := range map[string]struct {
		peers PeersConfig
		ok    bool
	}{
		"no trust":     {PeersConfig{Machines: w.Policy}, false},
		"no policy":    {PeersConfig{Trust: w.Trust}, false},
		"no such file": {PeersConfig{Trust: w.Trust, Policy: filepath.Join(t.TempDir(), "x")}, false},
		"not a policy": {PeersConfig{Trust: w.Trust, Policy: write(t, "{]")}, false},
		"a policy":     {PeersConfig{Trust: w.Trust, Policy: write(t, "{}")}, true},
	} {
		cfg := good
		cfg.Peers = c.peers
		if _, err := New(cfg, hw, f.node.log); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A file gives no simulated roots: nodes of the lab are refused by it.
	n, err := newPeers(PeersConfig{Trust: w.Trust, Policy: write(t, string(must(json.Marshal(w.Policy))))})
	if err != nil {
		t.Fatal(err)
	}
	v := w.View(w.Epoch(time.Now(), nil))
	k, err := v.Case(v.Statement.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.judge.Judge(k, time.Now()); err == nil || !strings.Contains(err.Error(), "att.simulated") {
		t.Errorf("%v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func write(t *testing.T, s string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
