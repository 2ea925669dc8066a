// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxObject   = 2 << 20          // longest statement, in bytes
	maxNote     = 64 << 10         // longest checkpoint
	maxTile     = 256 * 32         // longest tile of hashes
	maxEntries  = 256 * (2 + 1024) // longest bundle of leaves: a leaf names a statement, in 41 bytes today
	maxObjects  = 64               // objects in memory
	maxMemory   = 16 << 20         // their bytes in all
	maxLoads    = 8                // fetches at a time of statements by number, and as many of tiles
	maxPending  = 64               // those that wait for one of them included
	maxQueue    = time.Second      // how long one waits
	maxAbsent   = 256              // numbered objects that are remembered not to be there
	loadTimeout = 10 * time.Second // for one fetch
	numberedAge = time.Minute      // how long a statement asked for by number is served from memory
)

// A mirror serves public objects of one upstream from a small memory. Whoever
// asks learns nothing by being first: every copy is the same, and clients
// check the signatures in it.
type mirror struct {
	base   *url.URL
	client *http.Client
	age    time.Duration // of objects that change

	hits, loads, fails atomic.Uint64

	mu      sync.Mutex
	objects map[string]*object
	memory  int // bytes of all objects
	loading map[string]*load
	pending [kinds]int // of loading
	absent  map[string]absence
	tried   time.Time // when the log's size was last asked for without having one

	turns [kinds]chan struct{} // nil: no bound
}

// A kind of objects has its own turns, so that who asks for what is not there in one
// kind is in nobody's way in another.
type kind int

const (
	newest    kind = iota // one object each: the way to everything else, so not bounded
	statement             // by number: there is no end of them
	tile
	kinds
)

// An absence is that the publisher had no such object, when its log had a size.
type absence struct {
	until time.Time
	size  uint64
}

type object struct {
	body    []byte
	fetched time.Time
	used    time.Time
}

// A load is one fetch under way. done is closed after status and body are set.
type load struct {
	done   chan struct{}
	status int // 200, or what to tell the client
	code   string
	body   []byte
}

func newMirror(base *url.URL, t *http.Transport, age time.Duration) *mirror {
	return &mirror{
		base: base, age: age,
		client: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		objects: map[string]*object{}, loading: map[string]*load{}, absent: map[string]absence{},
		turns: [kinds]chan struct{}{statement: make(chan struct{}, maxLoads), tile: make(chan struct{}, maxLoads)},
	}
}

// statement is GET /v1/statement/latest and GET /v1/statement/{epoch}.
func (r *Relay) statement(w http.ResponseWriter, req *http.Request) {
	epoch := req.PathValue("epoch")
	a := ask{path: "/v1/statement/" + epoch, limit: maxObject, age: r.mirror.age}
	if epoch != "latest" {
		n, err := strconv.ParseUint(epoch, 10, 64)
		if err != nil || strconv.FormatUint(n, 10) != epoch {
			r.refuse(w, http.StatusNotFound, "path")
			return
		}
		// There is only one statement of an epoch, but what was fetched for it
		// need not be that one: a bad answer is not kept for long.
		a.age, a.kind, a.last = numberedAge, statement, n
	}
	r.object(w, req, a, "application/octet-stream")
}

// checkpoint is GET /v1/checkpoint.
func (r *Relay) checkpoint(w http.ResponseWriter, req *http.Request) {
	r.object(w, req, ask{path: "/v1/checkpoint", limit: maxNote, age: r.mirror.age}, "text/plain; charset=utf-8")
}

// log is GET /v1/log/checkpoint and GET /v1/log/tile/...: the hashes that prove
// that the log only grew, and its leaves, which name statements.
func (r *Relay) log(w http.ResponseWriter, req *http.Request) {
	path := req.PathValue("path")
	if path == "checkpoint" {
		r.object(w, req, ask{path: logCheckpoint, limit: maxNote, age: r.mirror.age}, "text/plain; charset=utf-8")
		return
	}
	limit, ok := tilePath(path)
	if !ok {
		r.refuse(w, http.StatusNotFound, "path")
		return
	}
	// A tile does not change; what was fetched for it may be a bad one.
	level, last := tileEnd(path)
	r.object(w, req, ask{"/v1/log/" + path, limit, numberedAge, tile, level, last}, "application/octet-stream")
}

// maxLevel is the highest level of tiles of a log of fewer than 2^48 leaves.
const maxLevel = '5'

// tilePath accepts the one spelling of the path of a tile of hashes or of a bundle
// of leaves (C2SP tlog-tiles), and says how long it may be: tile/<level or
// "entries">/<index in groups of three digits, x before all but the last>, and
// .p/<width> of a partial one.
func tilePath(s string) (limit int, ok bool) {
	s, ok = strings.CutPrefix(s, "tile/")
	if !ok {
		return 0, false
	}
	if rest, entries := strings.CutPrefix(s, "entries/"); entries {
		return maxEntries, tileIndex(rest)
	}
	if len(s) < 2 || s[0] < '0' || s[0] > maxLevel || s[1] != '/' {
		return 0, false
	}
	return maxTile, tileIndex(s[2:])
}

func tileIndex(s string) bool {
	index, width, partial := strings.Cut(s, ".p/")
	if n, err := strconv.ParseUint(width, 10, 8); partial && (err != nil || n == 0 || strconv.FormatUint(n, 10) != width) {
		return false
	}
	groups := strings.Split(index, "/")
	for i, g := range groups {
		if i < len(groups)-1 {
			var ok bool
			if g, ok = strings.CutPrefix(g, "x"); !ok || i == 0 && g == "000" {
				return false
			}
		}
		if len(g) != 3 || strings.Trim(g, "0123456789") != "" {
			return false
		}
	}
	return len(groups) <= 5
}

// An ask is for one object of the upstream.
type ask struct {
	path  string
	limit int           // of its bytes
	age   time.Duration // how old a copy may be
	kind  kind
	level uint   // of what is numbered: of a tile; of a statement, 0
	last  uint64 // the index, at that level, of the last hash in it
}

func (r *Relay) object(w http.ResponseWriter, req *http.Request, a ask, ct string) {
	body, status, code := r.mirror.get(req.Context(), a)
	if status != http.StatusOK {
		r.refuse(w, status, code)
		return
	}
	h := w.Header()
	h.Set("Content-Type", ct)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.Write(body)
}

// get returns an object, from memory when it is young enough, fetched otherwise. When
// the fetch fails an old copy is better than none: it says itself until when it is
// valid. There is no end of numbered objects, so their fetches are bounded, and what
// the log has not reached is not asked for.
func (m *mirror) get(ctx context.Context, a ask) (body []byte, status int, code string) {
	m.mu.Lock()
	now := time.Now()
	o := m.objects[a.path]
	if o != nil {
		o.used = now
		if now.Sub(o.fetched) < a.age {
			m.mu.Unlock()
			m.hits.Add(1)
			return o.body, http.StatusOK, ""
		}
	}
	size, _ := m.size()
	if gone, ok := m.absent[a.path]; ok && now.Before(gone.until) && gone.size == size {
		m.mu.Unlock()
		return nil, http.StatusNotFound, "mirror.absent"
	}
	if a.kind != newest && o == nil && !m.reached(ctx, a) {
		m.mu.Unlock()
		return nil, http.StatusNotFound, "mirror.absent"
	}
	l := m.loading[a.path]
	switch {
	case l != nil:
		m.mu.Unlock()
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, http.StatusGatewayTimeout, "mirror.timeout"
		}
	case a.kind != newest && m.pending[a.kind] >= maxPending:
		m.mu.Unlock()
		return nil, http.StatusServiceUnavailable, "busy"
	default:
		l = &load{done: make(chan struct{})}
		m.loading[a.path] = l
		m.pending[a.kind]++
		m.mu.Unlock()
		m.load(ctx, a, l)
	}
	if l.status >= 500 && o != nil {
		return o.body, http.StatusOK, ""
	}
	return l.body, l.status, l.code
}

// load fetches an object for everybody who waits for l. It goes on when the first
// of them leaves.
func (m *mirror) load(ctx context.Context, a ask, l *load) {
	l.status, l.code = http.StatusServiceUnavailable, "busy"
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.loading, a.path)
		m.pending[a.kind]--
		switch {
		case l.status == http.StatusOK:
			m.keep(a.path, l.body)
		case l.status == http.StatusNotFound && a.kind != newest:
			m.miss(a.path)
		}
		close(l.done)
	}()
	if turns := m.turns[a.kind]; turns != nil {
		late := time.NewTimer(maxQueue)
		defer late.Stop()
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		case <-late.C:
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	m.loads.Add(1)
	l.status, l.code = http.StatusBadGateway, "mirror.unreachable"
	body, status, err := m.fetch(ctx, a)
	switch {
	case err != nil:
		m.fails.Add(1)
	case status == http.StatusNotFound:
		l.status, l.code = http.StatusNotFound, "mirror.absent"
	case status == http.StatusOK:
		l.status, l.code, l.body = http.StatusOK, "", body
	default:
		m.fails.Add(1)
	}
}

func (m *mirror) fetch(ctx context.Context, a ask) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base.JoinPath(a.path).String(), nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("User-Agent", "")
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, resp.StatusCode, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(a.limit)+1))
	if err != nil {
		return nil, 0, err
	}
	if len(b) == 0 || len(b) > a.limit {
		return nil, 0, errors.New("relay: mirrored object is empty or too long")
	}
	return b, http.StatusOK, nil
}

// keep stores an object, at the cost of those that were used longest ago. The
// caller holds m.mu.
func (m *mirror) keep(path string, body []byte) {
	m.forget(path)
	for len(m.objects) >= maxObjects || m.memory+len(body) > maxMemory {
		oldest := ""
		for p, o := range m.objects {
			if oldest == "" || o.used.Before(m.objects[oldest].used) {
				oldest = p
			}
		}
		if oldest == "" {
			return
		}
		m.forget(oldest)
	}
	now := time.Now()
	m.objects[path] = &object{body, now, now}
	m.memory += len(body)
}

func (m *mirror) forget(path string) {
	if o := m.objects[path]; o != nil {
		m.memory -= len(o.body)
		delete(m.objects, path)
	}
}
