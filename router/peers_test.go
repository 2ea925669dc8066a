// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/router"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A push is what a node was asked to judge.
type push struct {
	Statement, Pack, Freshness []byte
	Peers                      [][]byte
}

// vouch makes a node sign "accepted" for whoever it is asked about, after edit.
func (n *node) vouch(trust func() *world, edit func(*wire.PeerVerdict)) (pushes func() []push) {
	var mu sync.Mutex
	var got []push
	f := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(rw, r, 64<<20)
		var p push
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			httpx.Problem(rw, 400, "peers.format")
			return
		}
		mu.Lock()
		got = append(got, p)
		mu.Unlock()
		t := trust().pub.trust()
		signed := must(statement.ParseSigned(p.Statement))
		st, _, err := signed.Verify(&t)
		if err != nil {
			httpx.Problem(rw, 400, "peers.refused")
			return
		}
		pack, _, err := roster.OpenPack(&t, st, p.Pack)
		if err != nil {
			httpx.Problem(rw, 400, "peers.refused")
			return
		}
		fresh := must(statement.ParseFreshness(p.Freshness))
		var list []wire.PeerVerdict
		for _, id := range p.Peers {
			row, _ := st.Node([32]byte(id))
			record, _, err := pack.Node(row)
			if err != nil {
				httpx.Problem(rw, 400, "peers.refused")
				return
			}
			bundle, _ := fresh.Find(st.Epoch, row.ID)
			v := wire.PeerVerdict{
				Epoch: st.Epoch, Verifier: n.id, Subject: row.ID, Evidence: record.EvidenceDigest, Freshness: statement.Digest(bundle),
				Policy: [32]byte{1}, Time: time.Now().UTC().Truncate(time.Second),
			}
			v.Sign(n.key)
			if edit != nil {
				edit(&v)
			}
			list = append(list, v)
		}
		json.NewEncoder(rw).Encode(map[string][]byte{"verdicts": wire.AppendPeerVerdicts(nil, list)})
	})
	n.peers.Store(&f)
	return func() []push {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func (w *world) matrix() map[[2][32]byte]wire.PeerVerdict {
	w.t.Helper()
	w.router.CrossVerify(context.Background())
	code, b := w.get("/v1/peers")
	list, err := wire.ParsePeerVerdicts(b)
	if code != 200 || err != nil {
		w.t.Fatalf("%d %v", code, err)
	}
	out := map[[2][32]byte]wire.PeerVerdict{}
	for _, v := range list {
		out[[2][32]byte{v.Verifier, v.Subject}] = v
	}
	return out
}

func TestNodesJudgeOneAnother(t *testing.T) {
	w := newWorld(t, 4, func(c *router.Config) { c.PeerGroup = 2 })
	this := func() *world { return w }
	pushes := make([]func() []push, 4)
	for i, n := range w.nodes[:3] {
		pushes[i] = n.vouch(this, nil) // the fourth judges nobody
	}
	if _, b := w.get("/v1/peers"); len(b) != 0 {
		t.Error("verdicts before anybody was asked")
	}
	m := w.matrix()
	if len(m) != 6 {
		t.Errorf("%d verdicts, want 3 nodes' on 2 each", len(m))
	}
	for k, v := range m {
		i := 0
		for w.nodes[i].id != k[0] {
			i++
		}
		if !v.Verify(w.nodes[i].key.Public().(ed25519.PublicKey)) || k[0] == k[1] {
			t.Error("a verdict that is none was served")
		}
	}
	for i, p := range pushes[:3] {
		got := p()
		if len(got) != 1 || len(got[0].Peers) != 2 {
			t.Fatalf("node %d was asked %d times", i, len(got))
		}
		if pack := must(statement.ParsePack(got[0].Pack)); pack.Len() != 4 {
			t.Errorf("node %d got %d objects, needs 4", i, pack.Len())
		}
	}
	w.matrix()
	if n := len(pushes[0]()); n != 1 {
		t.Error("asked again with nothing new")
	}
	w.pub.refresh(time.Now())
	w.poll()
	w.matrix()
	if n := len(pushes[0]()); n != 2 {
		t.Errorf("asked %d times after new freshness evidence", n)
	}
	// The epoch goes, and its verdicts with it.
	w.epoch = w.pub.publish(w.nodes, time.Now(), time.Now().Add(time.Hour))
	w.poll()
	for k, v := range w.matrix() {
		if v.Epoch != 1 && v.Epoch != w.epoch {
			t.Errorf("%x: epoch %d", k[0][:4], v.Epoch)
		}
	}
}

// TestVerdictsThatAreRefused: a router keeps only what a node signed about what
// it was asked. (A client checks all of it again.)
func TestVerdictsThatAreRefused(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, 3, nil)
	w.router.Register(reg)
	this := func() *world { return w }
	liar := w.nodes[0]
	for name, edit := range map[string]func(*wire.PeerVerdict){
		"unsigned":          func(v *wire.PeerVerdict) { v.Signature = [64]byte{} },
		"forged":            func(v *wire.PeerVerdict) { v.Code = "att.tcb" },
		"signed by another": func(v *wire.PeerVerdict) { v.Sign(w.nodes[1].key) },
		"in another's name": func(v *wire.PeerVerdict) { v.Verifier, v.Subject = w.nodes[1].id, w.nodes[2].id; v.Sign(liar.key) },
		"of another epoch":  func(v *wire.PeerVerdict) { v.Epoch--; v.Sign(liar.key) },
		"on somebody else":  func(v *wire.PeerVerdict) { v.Subject[0] ^= 1; v.Sign(liar.key) },
		"on other evidence": func(v *wire.PeerVerdict) { v.Evidence[0] ^= 1; v.Sign(liar.key) },
		"on older evidence": func(v *wire.PeerVerdict) { v.Freshness[0] ^= 1; v.Sign(liar.key) },
	} {
		liar.vouch(this, edit)
		w.pub.refresh(time.Now())
		w.poll()
		if m := w.matrix(); len(m) != 0 {
			t.Errorf("%s: %d verdicts kept", name, len(m))
		}
	}
	if w.metric(reg, "sotto_router_peer_verdicts_refused_total 0") || !w.metric(reg, "sotto_router_peer_verdicts_total 0") {
		t.Error("not counted")
	}
	for name, f := range map[string]http.HandlerFunc{
		"no JSON":  func(rw http.ResponseWriter, _ *http.Request) { rw.Write([]byte("x")) },
		"too much": func(rw http.ResponseWriter, _ *http.Request) { rw.Write(make([]byte, 1<<20)) },
		"refusing": func(rw http.ResponseWriter, _ *http.Request) { httpx.Problem(rw, 409, "epoch") },
	} {
		liar.peers.Store(&f)
		w.pub.refresh(time.Now())
		w.poll()
		if m := w.matrix(); len(m) != 0 {
			t.Errorf("%s: %d verdicts", name, len(m))
		}
	}
	// One that could not answer is asked again though nothing is new.
	liar.vouch(this, nil)
	if m := w.matrix(); len(m) != 2 {
		t.Errorf("%d verdicts once it answers", len(m))
	}
}
