// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/sotto-project/sotto/internal/wire"
)

// A gate bounds how many requests are in the node, and how many of those are
// at the engine.
type gate struct {
	slots chan struct{} // one for each request at the engine

	mu     sync.Mutex
	inside int
	most   int
	closed bool          // no more may enter
	empty  chan struct{} // closed when closed and nobody is inside
}

func newGate(running, queued int) *gate {
	return &gate{slots: make(chan struct{}, running), most: running + queued, empty: make(chan struct{})}
}

// enter reports whether there is room; leave must follow then.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.inside >= g.most {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// close lets nobody in any more; the channel is closed when all have left.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}

func (g *gate) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside >= g.most
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}

// run waits for a place at the engine; done must follow if it is nil.
func (g *gate) run(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) done() { <-g.slots }

// A bucket allows a rate of events, whoever causes them.
type bucket struct {
	rate, burst float64

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func newBucket(rate float64, burst int) *bucket {
	return &bucket{rate: rate, burst: float64(burst), tokens: float64(burst)}
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() {
		b.tokens = min(b.burst, b.tokens+max(0, now.Sub(b.last).Seconds())*b.rate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// A memory holds the requests of one epoch that were, or are being, run. Both
// names are kept: the header hash stands for the request, enc for the key
// stream, and neither may come twice. Beside them it holds the header hashes of
// requests for which a busy receipt was signed: another candidate may run those.
type memory struct {
	most int

	mu       sync.Mutex
	seen     map[[16]byte]struct{}
	declined map[[16]byte]struct{}
	bills    map[[16]byte]*wire.Usage // by header hash, of paid requests; nil while one runs
}

func newMemory(requests int) *memory {
	return &memory{most: 2 * requests, seen: make(map[[16]byte]struct{}), declined: make(map[[16]byte]struct{}),
		bills: make(map[[16]byte]*wire.Usage)}
}

// A verdict on a request that wants to be remembered.
type verdict uint8

const (
	isNew verdict = iota
	isReplay
	isFull
)

// mark remembers a request. Of any number of concurrent calls with either name
// in common exactly one is told isNew (CR-16).
func (m *memory) mark(headerHash [32]byte, enc []byte) verdict {
	a, b := names(headerHash, enc)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.seen[a]; ok {
		return isReplay
	}
	if _, ok := m.seen[b]; ok {
		return isReplay
	}
	if _, ok := m.declined[a]; ok {
		return isReplay
	}
	if len(m.seen) >= m.most {
		return isFull
	}
	m.seen[a], m.seen[b] = struct{}{}, struct{}{}
	return isNew
}

// decline reports whether a busy receipt may be signed for a request, and then
// sees to it that the request is never run: isNew, also for one that was
// declined before; isReplay for one that is or was run here; isFull if it could
// not be remembered (RT-02).
func (m *memory) decline(headerHash [32]byte) verdict {
	a := [16]byte(headerHash[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.seen[a]; ok {
		return isReplay
	}
	if _, ok := m.declined[a]; !ok && 2*len(m.declined) >= m.most {
		return isFull
	}
	m.declined[a] = struct{}{}
	return isNew
}

// forget takes back a mark of a request that did not open: nothing was run, and
// who only knows an enc must not be able to use it up.
func (m *memory) forget(headerHash [32]byte, enc []byte) {
	a, b := names(headerHash, enc)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seen, a)
	delete(m.seen, b)
}

// bill remembers what a paid request came to; nil says that it runs. There are
// no more of them than marks.
func (m *memory) bill(headerHash [32]byte, u *wire.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bills[[16]byte(headerHash[:])] = u
}

func (m *memory) billed(headerHash [32]byte) (u *wire.Usage, running bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, known := m.bills[[16]byte(headerHash[:])]
	return u, known && u == nil
}

// names are cut to 16 bytes: who finds a collision has his own request refused.
func names(headerHash [32]byte, enc []byte) (a, b [16]byte) {
	h := sha256.New()
	h.Write([]byte("enc"))
	h.Write(enc)
	return [16]byte(headerHash[:]), [16]byte(h.Sum(nil))
}
