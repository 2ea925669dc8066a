// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/follow"
	verifier "github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A roster is everything the router knows from the log. It is never changed:
// Poll puts a new one in its place.
type roster struct {
	epochs    map[uint64]*epoch
	newest    uint64 // highest epoch of epochs
	freshness []byte // as fetched; nil before the first
	standings map[standingKey]standing
}

// An epoch is one verified statement with its pack.
type epoch struct {
	signed    *statement.Signed
	statement *statement.Statement
	keys      map[[32]byte]ed25519.PublicKey // of the roster's nodes
	records   map[[32]byte][]byte            // their node records, as the bank checks them
	pack      []byte                         // as fetched
	delta     []byte                         // to the pack of the epoch before; nil if that is not at hand
	opened    *statement.Pack                // the same; nil if its checkpoint does not verify
	point     *transparency.Checkpoint       // of the pack
}

// open reports whether requests sealed to the epoch's keys are routed at now.
// It begins a little early and ends late because clocks differ and requests
// travel; the nodes' keys are the real bound.
func (e *epoch) open(now time.Time, grace time.Duration) bool {
	return !e.statement.Empty && !now.Before(e.statement.NotBefore.Add(-transparency.MaxClockSkew)) &&
		now.Before(e.statement.NotAfter.Add(grace))
}

// epoch returns the epoch n if requests for it are routed now.
func (r *Router) epoch(n uint64) (*epoch, bool) {
	e, ok := r.roster.Load().epochs[n]
	return e, ok && e.open(time.Now(), r.config.Grace)
}

// Poll looks at the publisher once: for the statement in force, for the next
// one where it is public, for their packs, and for the newest freshness
// evidence. What it has already it keeps, whatever fails; so an outage of the
// publisher is felt only when the last statement runs out.
func (r *Router) Poll(ctx context.Context) error {
	r.polling.Lock()
	defer r.polling.Unlock()
	old := r.roster.Load()
	next := &roster{epochs: maps.Clone(old.epochs), newest: old.newest, freshness: old.freshness}
	if next.epochs == nil {
		next.epochs = map[uint64]*epoch{}
	}
	err := r.poll(ctx, next)
	r.vet(next, old, time.Now())
	for n, e := range next.epochs {
		// An epoch that is over stays for its grace; the one before the
		// newest stays as the other end of the beacon's chain.
		if n+1 < next.newest && !e.open(time.Now(), r.config.Grace) {
			delete(next.epochs, n)
		}
	}
	r.roster.Store(next)
	if err != nil {
		if r.counts.pollFails.Add(1); r.counts.pollDown.CompareAndSwap(false, true) {
			r.config.Log.Warn("publisher: poll", "err", err)
		}
		return err
	}
	r.counts.pollDown.Store(false)
	if next.newest != old.newest || len(old.epochs) == 0 {
		r.config.Log.Info("roster", "epoch", next.newest, "nodes", len(next.epochs[next.newest].statement.Nodes))
	}
	return nil
}

// poll looks for statements and for freshness, whatever becomes of the other: a
// statement or a pack that cannot be had must not let the evidence of the epoch
// in force grow old.
func (r *Router) poll(ctx context.Context, next *roster) error {
	return errors.Join(r.statements(ctx, next), r.refresh(ctx, next))
}

// statements admits the statement in force and the one after it.
func (r *Router) statements(ctx context.Context, next *roster) error {
	latest, err := r.publisher.Latest(ctx)
	if err != nil {
		return err
	}
	e, err := r.admit(ctx, next, latest)
	if err != nil {
		return err
	}
	// The next statement is public before it is in force. A client may use it
	// the moment it begins, so the router must have it by then.
	ahead, err := r.publisher.Statement(ctx, e.statement.Epoch+1)
	if errors.Is(err, follow.ErrAbsent) {
		return nil
	}
	if err == nil {
		_, err = r.admit(ctx, next, ahead)
	}
	return err
}

// refresh fetches the newest freshness evidence.
func (r *Router) refresh(ctx context.Context, next *roster) error {
	fresh, err := r.publisher.Get(ctx, "/v1/freshness", statement.MaxFreshnessSize)
	if errors.Is(err, follow.ErrAbsent) || bytes.Equal(fresh, next.freshness) && err == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := statement.ParseFreshness(fresh); err != nil {
		return fmt.Errorf("router: freshness: %w", err)
	}
	next.freshness = fresh
	return nil
}

// admit verifies a signed statement, fetches its pack and puts both into next.
// A statement that it has already costs no more than the comparison.
func (r *Router) admit(ctx context.Context, next *roster, raw []byte) (*epoch, error) {
	s, st, known, err := follow.Admit(&r.config.Trust, raw, func(n uint64) *statement.Signed {
		if have := next.epochs[n]; have != nil {
			return have.signed
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("router: %w", err)
	case known:
		return next.epochs[s.Index], nil
	}
	e := &epoch{signed: s, statement: st, keys: map[[32]byte]ed25519.PublicKey{}, records: map[[32]byte][]byte{}}
	if !st.Empty {
		if err := r.unpack(ctx, e, next.epochs[st.Epoch-1]); err != nil {
			return nil, err
		}
	}
	next.epochs[st.Epoch] = e
	next.newest = max(next.newest, st.Epoch)
	return e, nil
}

// unpack fetches the epoch's pack and takes the nodes' signing keys from it. A
// pack that lacks a node of the statement is refused: clients would be unable
// to verify it.
func (r *Router) unpack(ctx context.Context, e, before *epoch) error {
	raw, err := r.publisher.Get(ctx, "/v1/pack/"+strconv.FormatUint(e.statement.Epoch, 10), statement.MaxPackSize)
	if err != nil {
		return err
	}
	p, err := statement.ParsePack(raw)
	if err != nil {
		return fmt.Errorf("router: pack: %w", err)
	}
	if p.Epoch != e.statement.Epoch {
		return fmt.Errorf("router: pack: of epoch %d, want %d", p.Epoch, e.statement.Epoch)
	}
	if err := p.Bounded(e.statement); err != nil {
		return fmt.Errorf("router: pack: %w", err)
	}
	for _, n := range e.statement.Nodes {
		rec, _, err := p.Node(n)
		if err != nil {
			return fmt.Errorf("router: pack: %w", err)
		}
		e.keys[n.ID] = rec.NodeKey
		e.records[n.ID], _ = p.Object(n.Record) // Node has found it
	}
	e.pack = raw
	if before != nil && before.opened != nil {
		// For who has the pack before: without one they fetch the whole.
		if e.delta, err = p.AppendDelta(nil, before.opened); err != nil {
			return fmt.Errorf("router: pack: %w", err)
		}
	}
	if e.opened, e.point, err = verifier.OpenPack(&r.config.Trust, e.statement, raw); err != nil {
		// Served all the same: it is public, and what a client refuses it for is
		// the client's to say. Nobody in it is given requests.
		r.config.Log.Warn("pack: no node of it can be verified", "epoch", e.statement.Epoch, "err", err)
		e.opened = nil
	}
	return nil
}

// pack is GET /v1/pack/{epoch}, and /delta behind it.
func (r *Router) pack(w http.ResponseWriter, req *http.Request) {
	n, err := strconv.ParseUint(req.PathValue("epoch"), 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != req.PathValue("epoch") {
		r.refuse(w, http.StatusNotFound, "path")
		return
	}
	e := r.roster.Load().epochs[n]
	if e == nil {
		r.refuse(w, http.StatusNotFound, "epoch")
		return
	}
	b := e.pack
	if strings.HasSuffix(req.URL.Path, "/delta") {
		b = e.delta
	}
	if b == nil {
		r.refuse(w, http.StatusNotFound, "epoch")
		return
	}
	object(w, b)
}

// freshness is GET /v1/freshness.
func (r *Router) freshness(w http.ResponseWriter, _ *http.Request) {
	b := r.roster.Load().freshness
	if b == nil {
		r.refuse(w, http.StatusServiceUnavailable, "starting")
		return
	}
	object(w, b)
}

func object(w http.ResponseWriter, b []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}
