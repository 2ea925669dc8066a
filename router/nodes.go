// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// healthTimeout bounds one look at a node.
const healthTimeout = 5 * time.Second

// A place is where one node is reached.
type place struct {
	request, attest, peers, usage *url.URL
}

// A node is one configured address. Only Check touches what it found there.
type node struct {
	health *url.URL
	place  place

	id     [32]byte
	up     bool
	looked bool // at least once: a node that never answered is news, too
}

// A state is a node's answer to GET /v1/health.
type state struct {
	State string `json:"state"` // "ready", "busy", "draining" or "starting"
	Node  string `json:"node"`  // id, hexadecimal
	Epoch uint64 `json:"epoch"`
}

// Check looks at every node once, all at the same time, and learns which node
// answers at which address. A node that is busy or draining keeps its address:
// only it can sign that it did not take a request.
func (r *Router) Check(ctx context.Context) {
	r.checking.Lock()
	defer r.checking.Unlock()
	ids, errs := make([][32]byte, len(r.nodes)), make([]error, len(r.nodes))
	var wg sync.WaitGroup
	for i, n := range r.nodes {
		wg.Go(func() { ids[i], errs[i] = r.look(ctx, n) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return // our own end is no news about nodes
	}
	byID := map[[32]byte]*place{}
	// Addresses that had their id before come first: a newcomer that claims
	// the same id cannot draw its requests away while the owner answers.
	for _, had := range []bool{true, false} {
		for i, n := range r.nodes {
			if errs[i] != nil || (n.up && n.id == ids[i]) != had {
				continue
			}
			if _, taken := byID[ids[i]]; taken {
				errs[i] = errors.New("its id answers at another address already")
				continue
			}
			byID[ids[i]] = &n.place
		}
	}
	for i, n := range r.nodes {
		if up := errs[i] == nil; up != n.up || !n.looked {
			r.config.Log.Info("node", "address", n.health.Host, "up", up, "err", errs[i])
		}
		n.id, n.up, n.looked = ids[i], errs[i] == nil, true
	}
	r.byID.Store(&byID)
	r.counts.nodesUp.Store(int64(len(byID)))
}

func (r *Router) look(ctx context.Context, n *node) (id [32]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req := (&http.Request{Method: http.MethodGet, URL: n.health, Host: n.health.Host, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"User-Agent": {""}}}).WithContext(ctx)
	resp, err := r.upstream.RoundTrip(req)
	if err != nil {
		return id, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return id, err
	}
	var s state
	if resp.StatusCode != http.StatusOK {
		return id, fmt.Errorf("health: status %d", resp.StatusCode)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return id, errors.New("health: no JSON")
	}
	raw, err := hex.DecodeString(s.Node)
	if err != nil || len(raw) != len(id) {
		return id, errors.New("health: no node id")
	}
	switch s.State {
	case "ready", "busy", "draining":
		return [32]byte(raw), nil
	}
	return id, fmt.Errorf("health: not ready")
}

// health is GET /v1/health: whether the router could route now.
func (r *Router) health(w http.ResponseWriter, _ *http.Request) {
	ro, up := r.roster.Load(), r.counts.nodesUp.Load()
	state := "starting"
	if e := ro.epochs[ro.newest]; e != nil && up > 0 {
		state = "ready"
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"state":%q,"epoch":%d,"nodes":%d,"verified":%d}`, state, ro.newest, up, ro.vetted(time.Now()))
}
