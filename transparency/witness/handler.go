// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/sotto-project/sotto/internal/httpx"
)

// Handler serves POST /add-checkpoint (C2SP tlog-witness).
func (w *Witness) Handler() http.Handler {
	mux, q := http.NewServeMux(), newQueue(w.logs)
	mux.HandleFunc("POST /add-checkpoint", func(rw http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(rw, r, MaxRequest)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			httpx.BodyProblem(rw, err)
			return
		}
		req, err := ParseRequest(body)
		if err != nil {
			answer(rw, nil, w.refused(err))
			return
		}
		// Who holds no signature of the log takes nobody's turn.
		a, err := w.look(req)
		if err != nil {
			answer(rw, nil, w.refused(err))
			return
		}
		done, ok := q.wait(r.Context(), a.cp.Origin, w.grows(a))
		if !ok {
			httpx.Problem(rw, http.StatusServiceUnavailable, "busy")
			return
		}
		defer done()
		lines, err := w.answer(a)
		answer(rw, lines, err)
	})
	return mux
}

func answer(rw http.ResponseWriter, lines []byte, err error) {
	var e *Error
	h := rw.Header()
	h.Set("Cache-Control", "no-store")
	switch {
	case err == nil:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		rw.Write(lines)
	case !errors.As(err, &e):
		httpx.Problem(rw, http.StatusInternalServerError, "internal")
	case e.Code == CodeStale:
		h.Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		rw.Write(append(strconv.AppendUint(nil, e.Size, 10), '\n'))
	default:
		problem(rw, e.Code)
	}
}

// problem names the code and nothing else: details are for the witness's own
// operator.
func problem(rw http.ResponseWriter, c Code) {
	switch c {
	case CodeRequest:
		httpx.Problem(rw, http.StatusBadRequest, "witness.request")
	case CodeOld:
		httpx.Problem(rw, http.StatusBadRequest, "witness.old")
	case CodeSignature:
		httpx.Problem(rw, http.StatusForbidden, "witness.signature")
	case CodeOrigin:
		httpx.Problem(rw, http.StatusNotFound, "witness.origin")
	case CodeFork:
		httpx.Problem(rw, http.StatusConflict, "witness.fork")
	case CodeProof:
		httpx.Problem(rw, http.StatusUnprocessableEntity, "witness.proof")
	case CodeClock:
		httpx.Problem(rw, http.StatusServiceUnavailable, "witness.clock")
	default:
		httpx.Problem(rw, http.StatusInternalServerError, "witness.store")
	}
}
