// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
)

func TestMirrorsOverHTTP(t *testing.T) {
	k := newKeys(t)
	honest := k.mirror("x", chain(t, 3, nil)...)
	slow := make(chan struct{})
	url := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		var b []byte
		var err error
		switch p := r.URL.Path; {
		case p == "/v1/checkpoint":
			b, err = honest.Checkpoint(ctx)
		case p == "/v1/log/tile/0/000.p/2": // endless
			for ctx.Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case p == "/v1/log/tile/0/000.p/1": // never
			w.(http.Flusher).Flush()
			select {
			case <-slow:
			case <-ctx.Done():
			}
			return
		case p == "/v1/log/tile/1/000":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
			return
		case strings.HasPrefix(p, "/v1/log/"):
			b, err = honest.Tile(ctx, strings.TrimPrefix(p, "/v1/log/"))
		default:
			err = fs.ErrNotExist
		}
		if err != nil {
			http.Error(w, "absent", http.StatusNotFound)
			return
		}
		w.Write(b)
	})
	defer close(slow)
	m, err := NewHTTPMirror(url, nil, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if b, err := m.Checkpoint(ctx); err != nil || len(b) == 0 || len(b) > transparency.MaxNoteSize {
		t.Errorf("%v", err)
	}
	if _, err := m.Tile(ctx, "tile/0/000.p/3"); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := m.Pack(ctx, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := m.Tile(ctx, "tile/0/000.p/2"); !errors.Is(err, errTooLong) {
		t.Errorf("an endless tile: %v", err)
	}
	if _, err := m.Tile(ctx, "tile/0/000.p/1"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tile that does not come: %v", err)
	}
	if _, err := m.Tile(ctx, "tile/1/000"); err == nil {
		t.Error("a redirection was followed")
	}
	for _, u := range []string{"", "relay.example", "ftp://relay.example", "https://a:b@relay.example", "https://relay.example/?x"} {
		if _, err := NewHTTPMirror(u, nil, time.Second); err == nil {
			t.Errorf("%q is a mirror", u)
		}
	}
}

// serveFiles serves a folder on the loopback interface until the test ends.
func serveFiles(t testing.TB, dir string) string {
	t.Helper()
	return serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := fs.ReadFile(os.DirFS(dir), strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			httpx.Problem(w, http.StatusNotFound, "absent")
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	})
}

func serveFunc(t testing.TB, f http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		httpx.Serve(ctx, ln, httpx.NewServer(f))
	}()
	t.Cleanup(func() { stop(); <-ended })
	return "http://" + ln.Addr().String()
}
