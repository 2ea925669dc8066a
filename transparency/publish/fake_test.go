// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A fakeNode answers like a node. Its evidence is a bundle that holds what it
// would have quoted; fakeVerify compares that with the references, so that the
// publisher's references are checked, too.
type fakeNode struct {
	*httptest.Server

	mu    sync.Mutex
	name  string
	boot  int // counts restarts; keys are lost with each
	down  bool
	evil  string
	made  map[uint64][]byte // epoch to evidence
	asked int
	says  map[string]string // measured settings
}

func bundle(t testing.TB, v any, settings map[string]string) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	c := evidence.Config{Version: 1, Payment: "none", Model: "m", Weights: strings.Repeat("ab", 32), Simulated: true, Settings: settings}
	config, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&evidence.Bundle{Pieces: []evidence.Piece{{Kind: evidence.KindConfig, Data: config}, {Kind: evidence.KindEventLog, Data: b}}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func unbundle(b *evidence.Bundle, v any) error {
	if b == nil {
		return errors.New("no bundle")
	}
	data, _ := b.Get(evidence.KindEventLog)
	return json.Unmarshal(data, v)
}

type fakeEpoch struct {
	ID, Checkpoint [32]byte
	Epoch          uint64
	Model          string
}

type fakeFresh struct{ Evidence, Checkpoint [32]byte }

func startNode(t *testing.T, name string) *fakeNode {
	n := &fakeNode{name: name, made: map[uint64][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/epoch", func(w http.ResponseWriter, r *http.Request) { n.epoch(t, w, r) })
	mux.HandleFunc("POST /v1/freshness", func(w http.ResponseWriter, r *http.Request) { n.freshness(t, w, r) })
	n.Server = httptest.NewServer(mux)
	t.Cleanup(n.Close)
	return n
}

func (n *fakeNode) id() [32]byte {
	if n.evil == "twin" {
		return sha256.Sum256([]byte("node-1"))
	}
	return sha256.Sum256([]byte(n.name))
}

func (n *fakeNode) restart() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boot, n.made = n.boot+1, map[uint64][]byte{}
}

func (n *fakeNode) set(down bool, evil string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down, n.evil = down, evil
}

func (n *fakeNode) epoch(t *testing.T, w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	var q struct {
		Epoch      uint64
		Checkpoint []byte
	}
	if n.down || json.NewDecoder(r.Body).Decode(&q) != nil {
		http.Error(w, "", http.StatusServiceUnavailable)
		return
	}
	ev := n.made[q.Epoch] // the same again, as real nodes do
	if ev == nil {
		ev = bundle(t, fakeEpoch{n.id(), sha256.Sum256(q.Checkpoint), q.Epoch, "m"}, n.says)
		n.made[q.Epoch] = ev
	}
	rec := &statement.Record{NodeID: n.id(), Epoch: q.Epoch, REK: []byte{byte(n.boot), 1}, NodeKey: make([]byte, 32), EvidenceDigest: statement.Digest(ev),
		Claims: []statement.Claim{{Name: "region", Value: "home"}}}
	switch n.evil {
	case "other id":
		rec.NodeID[0]++
	case "other epoch":
		rec.Epoch++
	case "other evidence":
		rec.EvidenceDigest[0]++
	case "garbage":
		w.Write([]byte("{"))
		return
	case "huge":
		w.Write(bytes.Repeat([]byte(" "), maxAnswer+1))
		return
	}
	raw, err := rec.Append(nil)
	if err != nil {
		t.Error(err)
	}
	json.NewEncoder(w).Encode(map[string][]byte{"record": raw, "evidence": ev})
}

func (n *fakeNode) freshness(t *testing.T, w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var q struct {
		Epoch      uint64
		Checkpoint []byte
	}
	if n.down || json.NewDecoder(r.Body).Decode(&q) != nil || n.made[q.Epoch] == nil {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	f := fakeFresh{statement.Digest(n.made[q.Epoch]), sha256.Sum256(q.Checkpoint)}
	if n.evil == "stale" {
		f.Checkpoint = [32]byte{}
	}
	json.NewEncoder(w).Encode(map[string][]byte{"evidence": bundle(t, f, nil)})
}

func fakeVerify(ev attestation.Evidence, p *attestation.Policy, refs attestation.References, _ time.Time) (*attestation.Result, error) {
	var e fakeEpoch
	var f fakeFresh
	refusal := &attestation.RefusalError{Node: refs.NodeID}
	if err := unbundle(ev.Epoch, &e); err != nil || e != (fakeEpoch{refs.NodeID, refs.EpochCheckpoint.Hash, refs.Epoch, refs.Model}) ||
		refs.WeightsDigest == [32]byte{} || refs.EvidenceDigest != ev.Epoch.Digest() || refs.EpochCheckpoint.Time.IsZero() {
		refusal.Code = "att.epoch"
		return nil, refusal
	}
	if p.WithoutFreshness {
		return &attestation.Result{}, nil
	}
	if err := unbundle(ev.Freshness, &f); err != nil || f != (fakeFresh{refs.EvidenceDigest, refs.FreshCheckpoint.Hash}) {
		refusal.Code = "att.stale"
		return nil, refusal
	}
	return &attestation.Result{}, nil
}
