// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"net/http"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// Public is what the public port serves: h, a board's handler, and below
// /v1/log/ the newest checkpoint and the tiles of l's tree (C2SP tlog-tiles),
// hashes only.
func Public(h http.Handler, l *Log) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /v1/log/checkpoint", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/v1/checkpoint"
		h.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /v1/log/tile/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		p, err := tiles.ParsePath("tile/" + r.PathValue("rest"))
		if err != nil || p.Entries {
			httpx.Problem(w, http.StatusNotFound, "absent")
			return
		}
		l.mu.Lock()
		b, err := l.tree.Tile(p.Level, p.N, p.Width)
		l.mu.Unlock()
		if err != nil {
			httpx.Problem(w, http.StatusNotFound, "absent")
			return
		}
		serve(w, r, newBlob(b, "application/octet-stream", forever))
	})
	return mux
}
