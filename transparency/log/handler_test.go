// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera"

	"github.com/sotto-project/sotto/transparency/tiles"
)

type (
	entry  = tessera.Entry
	future = tessera.IndexFuture
	index  = tessera.Index
)

func request(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

// get fetches from a handler as a reader does over the network.
func get(h http.Handler) tiles.Fetch {
	return func(_ context.Context, path string) ([]byte, error) {
		switch w := request(h, "GET", "/"+path); w.Code {
		case http.StatusOK:
			return w.Body.Bytes(), nil
		case http.StatusNotFound:
			return nil, fs.ErrNotExist
		default:
			return nil, errors.New(http.StatusText(w.Code))
		}
	}
}

func TestHandler(t *testing.T) {
	l, cfg := newLog(t)
	h := l.Handler()
	grow(t, l, 257)
	for _, path := range []string{"/checkpoint", "/tile/0/000", "/tile/entries/000"} {
		if w := request(h, "GET", path); w.Code != 404 {
			t.Errorf("%s before anything is published: %d", path, w.Code)
		}
	}
	note, _, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	grow(t, l, 258)
	for path, want := range map[string]struct {
		size  int
		cache string
	}{
		"/checkpoint":              {len(note), brief},
		"/tile/0/000":              {8192, immutable},
		"/tile/0/000.p/7":          {7 * 32, immutable},
		"/tile/0/001.p/1":          {32, immutable},
		"/tile/1/000.p/1":          {32, immutable},
		"/tile/entries/000.p/1":    {8, immutable},
		"/tile/entries/001.p/1":    {10, immutable},
		"/tile/entries/000":        {256*2 + 10*6 + 90*7 + 156*8, immutable},
		"/tile/entries/000.p/255":  {255*2 + 10*6 + 90*7 + 155*8, immutable},
		"/":                        {0, ""},
		"/tile/0/001.p/2":          {0, ""}, // not published yet
		"/tile/0/001":              {0, ""},
		"/tile/1/000":              {0, ""},
		"/tile/0/000.p/0":          {0, ""},
		"/tile/0/000.p/256":        {0, ""},
		"/tile/0/000.p/07":         {0, ""},
		"/tile/00/000":             {0, ""},
		"/tile/0/x000/000":         {0, ""},
		"/tile/0/0":                {0, ""},
		"/tile/entries":            {0, ""},
		"/tile/data/000":           {0, ""},
		"/tile/0/%30%30%30":        {0, ""},
		"/signed":                  {0, ""},
		"/lock":                    {0, ""},
		"/tile/.state/treeState":   {0, ""},
		"/tiles/checkpoint":        {0, ""},
		"/tile/0/../../.state/000": {0, ""},
	} {
		w := request(h, "GET", path)
		if want.size == 0 {
			if w.Code != 404 && (w.Code < 300 || w.Code > 399) || w.Code == 404 && w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d, %q", path, w.Code, w.Header())
			}
			continue
		}
		if w.Code != 200 || w.Body.Len() != want.size || w.Header().Get("Cache-Control") != want.cache {
			t.Errorf("%s: %d, %d bytes, %q", path, w.Code, w.Body.Len(), w.Header())
		}
	}
	if ct := request(h, "GET", "/checkpoint").Header().Get("Content-Type"); ct != "text/plain; charset=utf-8" {
		t.Error(ct)
	}
	if ct := request(h, "GET", "/tile/0/000").Header().Get("Content-Type"); ct != "application/octet-stream" {
		t.Error(ct)
	}
	if w := request(h, "POST", "/checkpoint"); w.Code == 200 || strings.Contains(w.Body.String(), "log") {
		t.Error("answered a POST")
	}
	if w := request(h, "HEAD", "/checkpoint"); w.Code != 200 || w.Body.Len() != 0 {
		t.Error("HEAD", w.Code)
	}
	// A partial tile that was dropped in favour of the full one is still served.
	if err := os.RemoveAll(filepath.Join(cfg.Dir, tilesDir, "tile/0/000.p")); err != nil {
		t.Fatal(err)
	}
	if w := request(h, "GET", "/tile/0/000.p/7"); w.Code != 200 || w.Body.Len() != 7*32 {
		t.Errorf("dropped partial tile: %d", w.Code)
	}
}
