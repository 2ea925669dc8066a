// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/sotto-project/sotto/internal/httpx"
)

// The media types of RFC 9458 and of chunked OHTTP. Nothing else passes.
var (
	requestTypes  = []string{"message/ohttp-chunked-req", "message/ohttp-req"}
	responseTypes = []string{"message/ohttp-chunked-res", "message/ohttp-res"}
)

const problemType = "application/problem+json"

// inMemory is the longest request, in bytes, that is held until it is whole.
const inMemory = 32 << 10

// maxProblem is the longest problem document passed on, in bytes.
const maxProblem = 4 << 10

// outgoing holds every header set that a request can leave with: one for each
// media type, without and with Incremental. There are no others, so nothing
// that a client sends besides can pass. They are shared and never written.
var outgoing = func() (h [2][2]http.Header) {
	for i, t := range requestTypes {
		for j := range h[i] {
			h[i][j] = http.Header{
				"Content-Type": {t},
				"User-Agent":   {""}, // present and empty: net/http sends none
			}
		}
		h[i][1]["Incremental"] = []string{"?1"}
	}
	return h
}()

// header chooses the header set for a request, false when its media type is
// not one of ours, is missing, or is given twice.
func header(in http.Header) (http.Header, bool) {
	ct := in["Content-Type"]
	if len(ct) != 1 {
		return nil, false
	}
	incremental := 0
	if v := in["Incremental"]; len(v) == 1 && v[0] == "?1" {
		incremental = 1
	}
	for i, t := range requestTypes {
		if ct[0] == t {
			return outgoing[i][incremental], true
		}
	}
	return nil, false
}

// forward is POST /ohttp.
func (r *Relay) forward(w http.ResponseWriter, req *http.Request) {
	h, ok := header(req.Header)
	if !ok {
		r.refuse(w, http.StatusUnsupportedMediaType, "media")
		return
	}
	if req.ContentLength > r.config.MaxRequest {
		r.refuse(w, http.StatusRequestEntityTooLarge, "size")
		return
	}
	if r.inFlight.Add(1) > r.config.MaxConcurrent {
		r.inFlight.Add(-1)
		r.refuse(w, http.StatusServiceUnavailable, "busy")
		return
	}
	defer r.inFlight.Add(-1)
	r.requests.Add(1)
	httpx.LimitBody(w, req, r.config.MaxRequest)

	if err := httpx.BufferBody(req, inMemory); err != nil {
		r.failed.Add(1)
		httpx.BodyProblem(w, err)
		return
	}
	// Ends with the handler, hence also when the client goes away: net/http
	// ends the request's context then, and a write to it fails.
	ctx, cancel := context.WithTimeout(req.Context(), r.config.Timeout)
	defer cancel()
	// From here on the answer may begin, and end, while a long request is
	// still on its way (chunked OHTTP).
	resp, err := r.upstream.RoundTrip((&http.Request{
		Method: http.MethodPost, URL: r.gateway, Host: r.gateway.Host, ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: req.Body, ContentLength: req.ContentLength,
	}).WithContext(ctx))
	if err != nil {
		r.unanswered(w, req, ctx)
		return
	}
	defer resp.Body.Close()
	r.answer(w, resp)
}

// unanswered answers for a gateway that did not. Causes stay here: they would
// tell a client about the operator's network.
func (r *Relay) unanswered(w http.ResponseWriter, req *http.Request, ctx context.Context) {
	r.failed.Add(1)
	if err := httpx.BodyErr(req); err != nil {
		httpx.BodyProblem(w, err)
		return
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		httpx.Problem(w, http.StatusGatewayTimeout, "gateway.timeout")
		return
	}
	httpx.Problem(w, http.StatusBadGateway, "gateway.unreachable")
}

// answer passes on the gateway's answer: status, media type, length where it
// is known, and the body as it comes.
func (r *Relay) answer(w http.ResponseWriter, resp *http.Response) {
	limit := r.config.MaxAnswer
	ct, ok := answerType(resp)
	if !ok {
		r.failed.Add(1)
		httpx.Problem(w, http.StatusBadGateway, "gateway.answer")
		return
	}
	if ct == problemType {
		limit = maxProblem
	}
	if resp.ContentLength > limit {
		r.failed.Add(1)
		httpx.Problem(w, http.StatusBadGateway, "gateway.answer")
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{ct}
	h["Cache-Control"] = noStore
	if v := resp.Header["Incremental"]; len(v) == 1 && v[0] == "?1" {
		h["Incremental"] = incremental
	}
	if resp.ContentLength >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	w.WriteHeader(resp.StatusCode)
	if err := httpx.Stream(w, &capped{resp.Body, limit}); err != nil {
		r.failed.Add(1)
		httpx.Abort()
	}
}

var (
	noStore     = []string{"no-store"}
	incremental = []string{"?1"}
)

// answerType returns the media type to pass on, false when the answer is none
// that a gateway gives: 200 with a sealed message, or an error with a problem
// document. Redirects, partial content and the like would be a web server's.
func answerType(resp *http.Response) (string, bool) {
	ct := resp.Header["Content-Type"]
	if len(ct) != 1 {
		return "", false
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		for _, t := range responseTypes {
			if ct[0] == t {
				return t, true
			}
		}
	case resp.StatusCode >= 400 && resp.StatusCode <= 599 && ct[0] == problemType:
		return problemType, true
	}
	return "", false
}

var errTooLong = errors.New("relay: answer is too long")

// capped fails, rather than ends, at its limit: an answer that is cut must not
// look complete.
type capped struct {
	src  io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLong
	}
	return n, err
}
