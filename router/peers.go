// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sotto-project/sotto/internal/wire"
	verifier "github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

const (
	// maxGroup is the most nodes that one node is asked to judge.
	maxGroup = 64
	// maxPushes is how many nodes are asked at once.
	maxPushes = 8
	// pushTimeout bounds one push: a node judges its whole group meanwhile.
	pushTimeout = time.Minute
)

// crossed is what CrossVerify remembers.
type crossed struct {
	pushed   map[standingKey][32]byte // last freshness list that a node has judged its peers by
	verdicts map[verdictKey]wire.PeerVerdict
}

type verdictKey struct {
	epoch             uint64
	verifier, subject [32]byte
}

// CrossVerify pushes what is public about nodes to other nodes, each to its
// group, and keeps the verdicts they sign. What was pushed before and did not
// change is not pushed again. The router cannot make a verdict; it can only
// leave one out, which shows as not checked.
func (r *Router) CrossVerify(ctx context.Context) {
	r.crossing.Lock()
	defer r.crossing.Unlock()
	ro, at := r.roster.Load(), *r.byID.Load()
	list, point, err := verifier.OpenFreshness(&r.config.Trust, ro.freshness)
	if err != nil {
		return
	}
	if r.crossed.pushed == nil {
		r.crossed = crossed{map[standingKey][32]byte{}, map[verdictKey]wire.PeerVerdict{}}
	}
	digest, now := statement.Digest(ro.freshness), time.Now()
	// One epoch after the other: a node judges for one push at a time.
	for n, e := range ro.epochs {
		if e.opened == nil || now.After(e.statement.NotAfter) {
			continue
		}
		view := &verifier.View{Statement: e.statement, Pack: e.opened, EpochPoint: e.point, Freshness: list, FreshPoint: point}
		var wg sync.WaitGroup
		var mu sync.Mutex // guards r.crossed in the goroutines
		slots := make(chan struct{}, maxPushes)
		for i, row := range e.statement.Nodes {
			k, p := standingKey{n, row.ID}, at[row.ID]
			mu.Lock()
			done := r.crossed.pushed[k] == digest
			mu.Unlock()
			if p == nil || done || len(e.statement.Nodes) < 2 {
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				verdicts, err := r.push(ctx, p, e, view, i)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					r.crossed.pushed[k] = digest
				}
				for _, v := range verdicts {
					r.crossed.verdicts[verdictKey{v.Epoch, v.Verifier, v.Subject}] = v
				}
			})
		}
		wg.Wait()
	}
	r.keepVerdicts(ro)
}

// keepVerdicts drops what is about epochs that are gone and puts the rest in
// place. It is called with crossing held.
func (r *Router) keepVerdicts(ro *roster) {
	for k := range r.crossed.pushed {
		if ro.epochs[k.epoch] == nil {
			delete(r.crossed.pushed, k)
		}
	}
	var list []wire.PeerVerdict
	for k, v := range r.crossed.verdicts {
		if ro.epochs[k.epoch] == nil {
			delete(r.crossed.verdicts, k)
			continue
		}
		list = append(list, v)
	}
	b := wire.AppendPeerVerdicts(nil, list)
	r.verdicts.Store(&b)
}

// group is whom node i of a statement judges: those that follow it, in a ring.
// Every node is thereby judged by as many.
func (r *Router) group(nodes []statement.Node, i int) []statement.Node {
	var out []statement.Node
	for d := 1; d < len(nodes) && len(out) < r.config.PeerGroup; d++ {
		out = append(out, nodes[(i+d)%len(nodes)])
	}
	return out
}

// errNotPeer says that a node judges nobody: it has no policy for it.
var errNotPeer = errors.New("router: the node judges nobody")

// push has node i judge its group, and returns the verdicts that it signed on
// what was asked. No error means that there is no need to ask again.
func (r *Router) push(ctx context.Context, p *place, e *epoch, view *verifier.View, i int) ([]wire.PeerVerdict, error) {
	group := r.group(e.statement.Nodes, i)
	body, err := pushBody(e, view, group)
	if err != nil {
		return nil, err
	}
	b, err := r.postPeers(ctx, p, body)
	if errors.Is(err, errNotPeer) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := wire.ParsePeerVerdicts(b)
	if err != nil {
		r.counts.verdictsRefused.Add(1)
		return nil, err
	}
	var out []wire.PeerVerdict
	for _, v := range list {
		if !r.asked(&v, e, view, e.statement.Nodes[i].ID, group) {
			r.counts.verdictsRefused.Add(1)
			continue
		}
		r.counts.verdicts.Add(1)
		out = append(out, v)
	}
	return out, nil
}

// asked reports whether a verdict is by the node that was asked, on a node and
// the evidence that it was asked about, and signed.
func (r *Router) asked(v *wire.PeerVerdict, e *epoch, view *verifier.View, by [32]byte, group []statement.Node) bool {
	if v.Verifier != by || v.Epoch != e.statement.Epoch || !v.Verify(e.keys[by]) {
		return false
	}
	for _, row := range group {
		if row.ID != v.Subject {
			continue
		}
		record, _, err := view.Pack.Node(row)
		if err != nil {
			return v.Evidence == [32]byte{} // there was none to judge
		}
		fresh, _ := view.Freshness.Find(v.Epoch, v.Subject)
		return v.Evidence == record.EvidenceDigest && (v.Freshness == [32]byte{} || v.Freshness == statement.Digest(fresh))
	}
	return false
}

// pushBody is what a node needs to judge a group, and no more.
func pushBody(e *epoch, view *verifier.View, group []statement.Node) ([]byte, error) {
	pack := &statement.Pack{Epoch: view.Pack.Epoch, Checkpoint: view.Pack.Checkpoint}
	list := &statement.Freshness{Checkpoint: view.Freshness.Checkpoint}
	ids := make([][]byte, len(group))
	wanted := map[[32]byte]bool{}
	for i, row := range group {
		ids[i], wanted[row.ID] = row.ID[:], true
		if _, evidence, err := view.Pack.Node(row); err == nil {
			record, _ := view.Pack.Object(row.Record)
			pack.Add(record)
			pack.Add(evidence)
		}
	}
	for _, x := range view.Freshness.Items { // in their order
		if x.Epoch == e.statement.Epoch && wanted[x.NodeID] {
			list.Items = append(list.Items, x)
		}
	}
	signed, err := e.signed.Append(nil)
	if err != nil {
		return nil, err
	}
	packed, err := pack.Append(nil)
	if err != nil {
		return nil, err
	}
	fresh, err := list.Append(nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Statement []byte   `json:"statement"`
		Pack      []byte   `json:"pack"`
		Freshness []byte   `json:"freshness"`
		Peers     [][]byte `json:"peers"`
	}{signed, packed, fresh, ids})
}

func (r *Router) postPeers(ctx context.Context, p *place, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.peers.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Content-Type": {typeJSON}, "User-Agent": noAgent}
	resp, err := r.upstream.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound && typed(resp, typeProblem):
		return nil, errNotPeer
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("router: peers: status %d", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxGroup*2*wire.PeerVerdictSize))
	if err != nil {
		return nil, err
	}
	var a struct {
		Verdicts []byte `json:"verdicts"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, errors.New("router: peers: no JSON")
	}
	return a.Verdicts, nil
}

// peers is GET /v1/peers: the verdicts of nodes on one another.
func (r *Router) peers(w http.ResponseWriter, _ *http.Request) { object(w, *r.verdicts.Load()) }
