// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// Leaves walks the leaves from index i up to, not including, j, each checked
// against its hash in the tree.
func (l *Log) Leaves(ctx context.Context, i, j uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		size, err := l.Size(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		t, err := l.Tree(ctx, size)
		if err != nil {
			yield(nil, err)
			return
		}
		t.Leaves(ctx, i, j)(yield)
	}
}

const (
	immutable = "public, max-age=31536000, immutable"
	brief     = "public, max-age=2, must-revalidate"
)

// Handler serves the log to readers and mirrors (C2SP tlog-tiles), below "/":
//
//	GET /checkpoint
//	GET /tile/<L>/<N>[.p/<W>]
//	GET /tile/entries/<N>[.p/<W>]
//
// Only what the published note covers is there: leaves of a tree that nobody has
// signed yet could still be others after a crash, and answers are cached for a
// year. The rest is 404 `absent`.
func (l *Log) Handler() http.Handler {
	mux := http.NewServeMux()
	absent := func(w http.ResponseWriter) {
		httpx.Problem(w, http.StatusNotFound, "absent")
	}
	mux.HandleFunc("GET /checkpoint", func(w http.ResponseWriter, r *http.Request) {
		c := l.published.Load()
		if c == nil {
			absent(w)
			return
		}
		serve(w, r, c.Note, "text/plain; charset=utf-8", brief)
	})
	mux.HandleFunc("GET /tile/", func(w http.ResponseWriter, r *http.Request) {
		p, err := tiles.ParsePath(strings.TrimPrefix(r.URL.EscapedPath(), "/"))
		c := l.published.Load()
		if err != nil || c == nil || !p.In(c.Size) {
			absent(w)
			return
		}
		b, err := l.fetch(r.Context(), p.String())
		if errors.Is(err, fs.ErrNotExist) {
			absent(w)
			return
		}
		if err != nil {
			httpx.Problem(w, http.StatusInternalServerError, "internal")
			return
		}
		serve(w, r, b, "application/octet-stream", immutable)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { absent(w) })
	return mux
}

func serve(w http.ResponseWriter, r *http.Request, b []byte, contentType, cache string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", cache)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*") // public bytes; a browser client verifies them itself
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}
