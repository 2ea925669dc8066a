// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/httpx"
)

// Control serves the health word and the report of the last verification, on a
// listener of its own.
//
//	GET /health         {"state": the verdict of the last report, or "not checked"}
//	GET /report         the report; JSON, or text when asked for text/plain
//	POST /verify        verify every node anew, then the report
//	GET /peers          verify every node anew, then what they say of one another
//	GET /wallet         what the wallet holds; 404 without one
//	POST /v1/attest     {"node": id or its beginning, hex}: one node proves itself now
//
// The last is served beside the OpenAI routes, too.
func (p *Proxy) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		state := "not checked"
		if rep := p.cfg.Client.Report(); rep != nil {
			state = rep.Verdict
		}
		writeJSON(w, http.StatusOK, map[string]string{"state": state})
	})
	mux.HandleFunc("GET /report", p.report)
	mux.HandleFunc("POST /verify", func(w http.ResponseWriter, r *http.Request) {
		if _, err := p.cfg.Client.Verify(r.Context()); err != nil {
			p.fail(w, err)
			return
		}
		p.report(w, r)
	})
	mux.HandleFunc("POST /v1/attest", p.attest)
	mux.HandleFunc("GET /wallet", p.wallet)
	mux.HandleFunc("GET /peers", func(w http.ResponseWriter, r *http.Request) {
		m, err := p.cfg.Client.Peers(r.Context())
		if m == nil {
			p.fail(w, err)
			return
		}
		p.show(w, r, err, m)
	})
	return p.guard(mux)
}

// attest has one node prove itself: client.Client.Attest. The challenge is
// drawn there and not taken from the caller, who would have to be told what a
// good one is.
func (p *Proxy) attest(w http.ResponseWriter, r *http.Request) {
	httpx.LimitBody(w, r, 4<<10)
	var q struct {
		Node string `json:"node"`
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		writeError(w, http.StatusBadRequest, "invalid_request_error", client.CodeRequest, `The body is {"node": "the id of a node, or its beginning, in hex"}.`)
		return
	}
	id, err := p.cfg.Client.FindNode(r.Context(), q.Node)
	if err != nil {
		p.fail(w, err)
		return
	}
	a, err := p.cfg.Client.Attest(r.Context(), id)
	if a == nil {
		p.fail(w, err)
		return
	}
	p.show(w, r, err, a)
}

// show answers in the form asked for. What was refused has a status that says
// so, and everything that led to it.
func (p *Proxy) show(w http.ResponseWriter, r *http.Request, refusal error, v interface{ Text() string }) {
	status := http.StatusOK
	if refusal != nil {
		status = statusOf(client.CodeOf(refusal))
	}
	if strings.Contains(r.Header.Get("Accept"), "text/plain") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, v.Text())
		return
	}
	writeJSON(w, status, v)
}

func (p *Proxy) wallet(w http.ResponseWriter, r *http.Request) {
	m, err := p.cfg.Client.Money(r.Context(), nil)
	if client.CodeOf(err) == client.CodePayment {
		writeError(w, http.StatusNotFound, "service_unavailable", client.CodePayment, "The trust file names no wallet.")
		return
	}
	if err != nil {
		p.fail(w, err)
		return
	}
	p.show(w, r, nil, m)
}

func (p *Proxy) report(w http.ResponseWriter, r *http.Request) {
	rep := p.cfg.Client.Report()
	if rep == nil {
		writeError(w, http.StatusNotFound, "service_unavailable", "report.none", "Nothing was verified yet; POST /verify.")
		return
	}
	p.show(w, r, nil, rep)
}
