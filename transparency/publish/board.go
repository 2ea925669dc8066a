// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// keepEpochs is how many epochs a board holds in memory; older statements are
// read from the log.
const keepEpochs = 4

// Media types of what a board serves.
const (
	TypeStatement  = "application/sotto-statement"
	TypeCheckpoint = "text/plain; charset=utf-8"
	TypePack       = "application/octet-stream"
	TypeFreshness  = "application/sotto-freshness"
)

// A Board serves bytes that were made beforehand: what one reader costs does
// not depend on what is served (attack DS-02). It holds no secret and judges
// nothing. The zero Board is empty and ready.
type Board struct {
	page atomic.Pointer[page]

	mu sync.Mutex // one writer at a time; readers take none
}

// A page is everything served at one moment. It does not change.
type page struct {
	latest, checkpoint, freshness *blob
	statements, packs             map[uint64]*blob
	archive                       func(epoch uint64) ([]byte, error)
}

type blob struct {
	body        []byte
	contentType string
	etag, cache string
}

const forever = "public, max-age=31536000, immutable"

func newBlob(body []byte, contentType, cache string) *blob {
	sum := sha256.Sum256(body)
	return &blob{body, contentType, `"` + hex.EncodeToString(sum[:16]) + `"`, cache}
}

func brief(d time.Duration) string {
	return fmt.Sprintf("public, max-age=%d, must-revalidate", max(int(d/time.Second), 1))
}

// change replaces the page by an edited copy.
func (b *Board) change(edit func(*page)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := page{statements: map[uint64]*blob{}, packs: map[uint64]*blob{}}
	if old := b.page.Load(); old != nil {
		next = *old
		next.statements, next.packs = maps.Clone(old.statements), maps.Clone(old.packs)
	}
	edit(&next)
	b.page.Store(&next)
}

// Post makes a statement and its pack, nil for an empty one, public under its
// epoch, together. It does not change what "latest" is.
func (b *Board) Post(epoch uint64, signed, pack []byte) {
	b.change(func(p *page) {
		p.statements[epoch] = newBlob(signed, TypeStatement, forever)
		if pack != nil {
			p.packs[epoch] = newBlob(pack, TypePack, forever)
		}
		for _, m := range []map[uint64]*blob{p.statements, p.packs} {
			maps.DeleteFunc(m, func(e uint64, _ *blob) bool { return e+keepEpochs <= epoch })
		}
	})
}

// Has reports whether the statement of an epoch is posted and still in memory.
func (b *Board) Has(epoch uint64) bool {
	p := b.page.Load()
	return p != nil && p.statements[epoch] != nil
}

// Point makes the posted statement of epoch the latest. Caches may keep that
// answer for maxAge.
func (b *Board) Point(epoch uint64, maxAge time.Duration) {
	b.change(func(p *page) {
		if s := p.statements[epoch]; s != nil {
			p.latest = newBlob(s.body, TypeStatement, brief(maxAge))
		}
	})
}

// Refresh replaces checkpoint note and freshness list, together. A nil list
// leaves the one that is there.
func (b *Board) Refresh(checkpoint, freshness []byte, maxAge time.Duration) {
	b.change(func(p *page) {
		p.checkpoint = newBlob(checkpoint, TypeCheckpoint, brief(maxAge))
		if freshness != nil {
			p.freshness = newBlob(freshness, TypeFreshness, brief(maxAge))
		}
	})
}

// Archive gives the board a source for statements it no longer holds.
func (b *Board) Archive(read func(epoch uint64) ([]byte, error)) {
	b.change(func(p *page) { p.archive = read })
}

// Handler serves the public port:
//
//	GET /v1/statement/latest    the statement in force
//	GET /v1/statement/{epoch}   any statement, the next one included once public
//	GET /v1/checkpoint          the newest cosigned checkpoint
//	GET /v1/pack/{epoch}        the packs of the newest epochs
//	GET /v1/freshness           the newest freshness evidence of all nodes
//
// What is not there is 404 `absent`.
func (b *Board) Handler() http.Handler {
	mux := http.NewServeMux()
	fixed := func(pick func(*page) *blob) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if p := b.page.Load(); p != nil {
				serve(w, r, pick(p))
				return
			}
			serve(w, r, nil)
		}
	}
	numbered := func(pick func(*page, uint64) *blob) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			epoch, ok := parseEpoch(r.PathValue("epoch"))
			if p := b.page.Load(); p != nil && ok {
				serve(w, r, pick(p, epoch))
				return
			}
			serve(w, r, nil)
		}
	}
	mux.HandleFunc("GET /v1/statement/latest", fixed(func(p *page) *blob { return p.latest }))
	mux.HandleFunc("GET /v1/checkpoint", fixed(func(p *page) *blob { return p.checkpoint }))
	mux.HandleFunc("GET /v1/freshness", fixed(func(p *page) *blob { return p.freshness }))
	mux.HandleFunc("GET /v1/statement/{epoch}", numbered((*page).statement))
	mux.HandleFunc("GET /v1/pack/{epoch}", numbered(func(p *page, e uint64) *blob { return p.packs[e] }))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { httpx.Problem(w, http.StatusNotFound, "absent") })
	return mux
}

func (p *page) statement(epoch uint64) *blob {
	if s := p.statements[epoch]; s != nil {
		return s
	}
	if p.archive == nil {
		return nil
	}
	// One small file, the same for everybody; caches in front keep it for ever.
	signed, err := p.archive(epoch)
	if err != nil {
		return nil
	}
	return newBlob(signed, TypeStatement, forever)
}

// parseEpoch accepts one spelling, so that each statement has one URL.
func parseEpoch(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}

func serve(w http.ResponseWriter, r *http.Request, b *blob) {
	if b == nil {
		httpx.Problem(w, http.StatusNotFound, "absent")
		return
	}
	h := w.Header()
	h.Set("Content-Type", b.contentType)
	h.Set("Cache-Control", b.cache)
	h.Set("ETag", b.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*") // public bytes; the browser client verifies them itself
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.body))
}
