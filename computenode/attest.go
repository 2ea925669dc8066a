// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// How many challenges a second are quoted, and how many at once after a pause.
// Whoever asks is a stranger and the TPM is the one that opens prompts: what is
// spent here bounds what a flood of challenges can take from it (DS-01).
const (
	attestRate  = 2
	attestBurst = 4
)

// codeBusy is the outcome of a challenge beyond the rate.
const codeBusy = "busy"

// attestSize is what an answer is padded to a multiple of, in bytes, with
// spaces after the JSON. Answers of all nodes then look alike on the way.
const attestSize = 8 << 10

// attestQuestion is the body of POST /v1/attest.
type attestQuestion struct {
	Epoch     uint64 `json:"epoch"`
	Challenge []byte `json:"challenge"` // 32 bytes, the caller's own
}

// attestAnswer is the answer to it.
type attestAnswer struct {
	Epoch     uint64 `json:"epoch"`
	Evidence  []byte `json:"evidence"`  // SHA-256 of the epoch evidence that it is about
	Freshness []byte `json:"freshness"` // evidence.Bundle
}

// serveAttest quotes a caller's challenge over the evidence of an epoch.
func (n *Node) serveAttest(w http.ResponseWriter, r *http.Request) {
	outcome := n.attest(w, r)
	n.meters.attested.Inc(outcome)
}

func (n *Node) attest(w http.ResponseWriter, r *http.Request) (outcome string) {
	fail := func(status int, code string) string {
		httpx.Problem(w, status, code)
		return code
	}
	q := new(attestQuestion)
	if err := readJSON(w, r, q, 1<<10); err != nil || len(q.Challenge) != 32 || [32]byte(q.Challenge) == [32]byte{} {
		return fail(http.StatusBadRequest, "attest.format")
	}
	if n.isDrained() {
		return fail(errDraining.status, errDraining.code)
	}
	e := n.epoch(q.Epoch)
	if e == nil {
		return fail(http.StatusNotFound, "epoch")
	}
	if !n.attests.take(time.Now()) {
		return fail(http.StatusTooManyRequests, codeBusy)
	}
	bundle, err := n.collector.Challenge(r.Context(), e.digest, [32]byte(q.Challenge))
	if err == nil {
		a := attestAnswer{Epoch: e.number, Evidence: e.digest[:]}
		if a.Freshness, err = bundle.Append(nil); err == nil {
			answerPadded(w, a)
			return outcomeOK
		}
	}
	n.log.Error("no evidence over a challenge", "error", err)
	return fail(http.StatusServiceUnavailable, "epoch.evidence")
}

// readJSON reads exactly one object with the members of v and no others.
func readJSON(w http.ResponseWriter, r *http.Request, v any, limit int64) error {
	httpx.LimitBody(w, r, limit)
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errFormat
	}
	if _, err := d.Token(); err != io.EOF {
		return errFormat
	}
	return nil
}

// answerPadded is answerJSON with spaces up to a multiple of attestSize.
func answerPadded(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		httpx.Problem(w, http.StatusInternalServerError, "internal")
		return
	}
	if over := len(b) % attestSize; over > 0 {
		b = append(b, bytes.Repeat([]byte{' '}, attestSize-over)...)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

func (n *Node) isDrained() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.drained
}
