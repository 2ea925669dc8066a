// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/attestation/collect"
	"github.com/sotto-project/sotto/computenode/internal/rek"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency/statement"
)

// An epoch is what a node holds for one epoch besides its request key.
type epoch struct {
	number uint64
	sign   ed25519.PrivateKey // signs busy receipts; under Node.mu
	verify ed25519.PublicKey
	digest [32]byte // of the epoch evidence
	point  [32]byte // SHA-256 of the checkpoint note that it is over
	answer epochAnswer
	seen   *memory
}

// epochAnswer is the answer to POST /v1/epoch.
type epochAnswer struct {
	Record   []byte `json:"record"`   // statement.Record
	Evidence []byte `json:"evidence"` // evidence.Bundle
}

// epochQuestion is the body of POST /v1/epoch and POST /v1/freshness.
type epochQuestion struct {
	Epoch      uint64 `json:"epoch"`
	Checkpoint []byte `json:"checkpoint"` // note as cosigned
}

// maxCheckpoint bounds a checkpoint note, in bytes.
const maxCheckpoint = 32 << 10

var errFormat = errors.New("node: question not understood")

func readQuestion(w http.ResponseWriter, r *http.Request) (*epochQuestion, error) {
	q := new(epochQuestion)
	if err := readJSON(w, r, q, 2*maxCheckpoint); err != nil || len(q.Checkpoint) == 0 || len(q.Checkpoint) > maxCheckpoint {
		return nil, errFormat
	}
	return q, nil
}

func answerJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		httpx.Problem(w, http.StatusInternalServerError, "internal")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

// serveHealth answers with one of four words (ND-03).
func (n *Node) serveHealth(w http.ResponseWriter, _ *http.Request) {
	n.mu.RLock()
	started, drained, have, number := n.started, n.drained, len(n.epochs) > 0, n.highest
	n.mu.RUnlock()
	h := struct {
		State string `json:"state"`
		Node  string `json:"node"`
		Epoch uint64 `json:"epoch"`
	}{State: "ready", Epoch: number}
	switch {
	case drained:
		h.State = "draining"
	case !started || !have:
		h.State = "starting"
	case n.gate.full():
		h.State = "busy"
	}
	if started {
		h.Node = hex.EncodeToString(n.id[:])
	}
	answerJSON(w, h)
}

// serveEpoch makes the keys and evidence of an epoch, once: asked again it
// gives the same answer, whatever the checkpoint.
func (n *Node) serveEpoch(w http.ResponseWriter, r *http.Request) {
	q, err := readQuestion(w, r)
	if err != nil {
		httpx.Problem(w, http.StatusBadRequest, "epoch.format")
		return
	}
	e, err := n.makeEpoch(r.Context(), q)
	switch {
	case err == nil:
		answerJSON(w, e.answer)
	case errors.Is(err, rek.ErrEpoch):
		httpx.Problem(w, http.StatusConflict, "epoch.order")
	default:
		n.log.Error("no keys or evidence for the epoch", "epoch", q.Epoch, "error", err)
		httpx.Problem(w, http.StatusServiceUnavailable, "epoch.evidence")
	}
}

var errNotServing = errors.New("node: starting or draining")

func (n *Node) makeEpoch(ctx context.Context, q *epochQuestion) (*epoch, error) {
	n.making.Lock()
	defer n.making.Unlock()
	n.mu.RLock()
	e, ready := n.epochs[q.Epoch], n.started && !n.drained
	n.mu.RUnlock()
	if !ready {
		return nil, errNotServing
	}
	if e != nil {
		return e, nil
	}
	// A key whose evidence could not be made the last time is used now.
	public, err := n.keys.Public(q.Epoch)
	if errors.Is(err, rek.ErrUnknownEpoch) {
		public, err = n.keys.Rotate(ctx, q.Epoch)
	}
	if err != nil {
		return nil, err
	}
	n.prune()
	if e, err = n.vouch(ctx, public, q.Checkpoint); err != nil {
		return nil, err
	}
	if err := n.keys.ExpireAt(q.Epoch, time.Now().Add(n.cfg.Lead+n.cfg.Epoch+n.cfg.Grace)); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.drained {
		return nil, errNotServing
	}
	for old := range n.epochs {
		// The one before has Lead left to run. An error means it is gone.
		_ = n.keys.ExpireAt(old, time.Now().Add(n.cfg.Lead+n.cfg.Grace))
	}
	n.epochs[q.Epoch], n.highest = e, q.Epoch
	n.meters.rotated.Inc()
	n.log.Info("epoch key made", "epoch", q.Epoch)
	return e, nil
}

// vouch has the hardware vouch for the keys of an epoch.
func (n *Node) vouch(ctx context.Context, public *rek.Public, checkpoint []byte) (*epoch, error) {
	verify, sign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("node: %v", err)
	}
	bundle, err := n.collector.Epoch(ctx, collect.KeyMaterial{
		Epoch: public.Epoch, REK: public.Bytes, Seal: public.Seal, NodeKey: verify,
	}, checkpoint)
	if err != nil {
		return nil, err
	}
	evidence, err := bundle.Append(nil)
	if err != nil {
		return nil, err
	}
	e := &epoch{number: public.Epoch, sign: sign, verify: verify, digest: statement.Digest(evidence), point: sha256.Sum256(checkpoint),
		seen: newMemory(n.cfg.Remembered)}
	record := statement.Record{
		NodeID: n.id, Epoch: public.Epoch, REK: public.Bytes, NodeKey: verify, EvidenceDigest: e.digest,
		Prices: n.cfg.prices(), Claims: n.cfg.claims(),
	}
	b, err := record.Append(nil)
	if err != nil {
		return nil, err
	}
	e.answer = epochAnswer{Record: b, Evidence: evidence}
	return e, n.judgeOwn(&record, bundle, e.point)
}

// serveFreshness quotes a checkpoint over the epoch's evidence.
func (n *Node) serveFreshness(w http.ResponseWriter, r *http.Request) {
	q, err := readQuestion(w, r)
	if err != nil {
		httpx.Problem(w, http.StatusBadRequest, "epoch.format")
		return
	}
	e := n.epoch(q.Epoch)
	if e == nil {
		httpx.Problem(w, http.StatusNotFound, "epoch")
		return
	}
	bundle, err := n.collector.Freshness(r.Context(), e.digest, q.Checkpoint)
	if err == nil {
		var b []byte
		if b, err = bundle.Append(nil); err == nil {
			answerJSON(w, struct {
				Evidence []byte `json:"evidence"`
			}{b})
			return
		}
	}
	n.log.Error("no freshness evidence", "epoch", q.Epoch, "error", err)
	httpx.Problem(w, http.StatusServiceUnavailable, "epoch.evidence")
}

// epoch returns what is held for an epoch, or nil.
func (n *Node) epoch(number uint64) *epoch {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.epochs[number]
}

func (n *Node) newest() uint64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.highest
}

// prune drops what is held for epochs whose key is gone.
func (n *Node) prune() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for number, e := range n.epochs {
		if _, err := n.keys.Public(number); err != nil {
			clear(e.sign)
			delete(n.epochs, number)
			n.log.Info("epoch key erased", "epoch", number)
		}
	}
}
