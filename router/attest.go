// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

const (
	// maxAsking is how many challenges may be under way.
	maxAsking = 256
	// attestTimeout bounds one; the node's TPM may have a queue.
	attestTimeout = 30 * time.Second
	// maxAttest is the longest answer, in bytes.
	maxAttest = 48 << 20

	typeJSON = "application/json"
)

// An attestQuestion is the body of POST /v1/attest.
type attestQuestion struct {
	Node      string `json:"node"` // id, lower-case hexadecimal
	Epoch     uint64 `json:"epoch"`
	Challenge []byte `json:"challenge"` // 32 bytes
}

// attest is POST /v1/attest: it hands a caller's challenge to the one node that
// it is for. There is nothing of the caller in it, and nothing that this router
// could answer itself. A node that the router's own policy refuses is asked
// too: who wants to see for themselves may.
func (r *Router) attest(w http.ResponseWriter, req *http.Request) {
	httpx.LimitBody(w, req, 1<<10)
	q := new(attestQuestion)
	d := json.NewDecoder(req.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(q); err != nil || len(q.Challenge) != 32 {
		r.refuse(w, http.StatusBadRequest, "attest")
		return
	}
	id, err := hex.DecodeString(q.Node)
	if _, more := d.Token(); more != io.EOF || err != nil || len(id) != 32 || hex.EncodeToString(id) != q.Node {
		r.refuse(w, http.StatusBadRequest, "attest")
		return
	}
	e, ok := r.epoch(q.Epoch)
	if !ok {
		r.refuse(w, http.StatusConflict, "epoch")
		return
	}
	if e.keys[[32]byte(id)] == nil {
		r.refuse(w, http.StatusBadRequest, "route.candidate")
		return
	}
	at := (*r.byID.Load())[[32]byte(id)]
	if at == nil {
		r.refuse(w, http.StatusBadGateway, "node.unreachable")
		return
	}
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	default:
		r.refuse(w, http.StatusServiceUnavailable, "overload")
		return
	}
	r.counts.attests.Add(1)
	r.challenge(req.Context(), w, at, q)
}

// challenge asks the node and passes its answer on.
func (r *Router) challenge(ctx context.Context, w http.ResponseWriter, at *place, q *attestQuestion) {
	ctx, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	body, err := json.Marshal(struct {
		Epoch     uint64 `json:"epoch"`
		Challenge []byte `json:"challenge"`
	}{q.Epoch, q.Challenge})
	if err != nil {
		r.refuse(w, http.StatusBadRequest, "attest")
		return
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, at.attest.String(), bytes.NewReader(body))
	if err != nil {
		r.refuse(w, http.StatusBadGateway, "node.unreachable")
		return
	}
	out.Header = http.Header{"Content-Type": {typeJSON}, "User-Agent": noAgent}
	resp, err := r.upstream.RoundTrip(out)
	if err != nil {
		code, status := "node.failed", http.StatusBadGateway
		switch {
		case ctx.Err() != nil:
			code, status = "node.timeout", http.StatusGatewayTimeout
		case unsent(err):
			code = "node.unreachable"
		}
		r.refuse(w, status, code)
		return
	}
	defer resp.Body.Close()
	limit := int64(maxAttest)
	switch {
	case resp.StatusCode == http.StatusOK && typed(resp, typeJSON):
	case resp.StatusCode >= 400 && resp.StatusCode <= 599 && typed(resp, typeProblem):
		limit = maxProblem
	default:
		r.refuse(w, http.StatusBadGateway, "node.answer")
		return
	}
	if resp.ContentLength < 0 || resp.ContentLength > limit {
		r.refuse(w, http.StatusBadGateway, "node.answer")
		return
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = resp.Header["Content-Type"], noStore
	h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	w.WriteHeader(resp.StatusCode)
	if err := httpx.Stream(w, &capped{resp.Body, limit}); err != nil {
		r.counts.cut.Add(1)
		httpx.Abort()
	}
}
