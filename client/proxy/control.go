// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net/http"
	"strings"
)

// Control serves the health word and the report of the last verification, on a
// listener of its own: nothing of it lives under /v1, where applications look.
//
//	GET /health         {"state": the verdict of the last report, or "not checked"}
//	GET /report         the report; JSON, or text when asked for text/plain
//	POST /verify        verify every node anew, then the report
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
	return p.guard(mux)
}

func (p *Proxy) report(w http.ResponseWriter, r *http.Request) {
	rep := p.cfg.Client.Report()
	if rep == nil {
		writeError(w, http.StatusNotFound, "service_unavailable", "report.none", "Nothing was verified yet; POST /verify.")
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "text/plain") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, rep.Text())
		return
	}
	writeJSON(w, http.StatusOK, rep)
}
