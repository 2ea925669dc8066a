// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"sync"
	"sync/atomic"
	"time"
)

// How many writes go to a store together at most while processors are wanted,
// and how long the first of them waits for the others at most.
const (
	gateMost = 16
	gateWait = 10 * time.Millisecond
)

// A gate has writes go to the store in company while there is more to compute
// than processors: a commit of its own for each would take processor time from
// those who wait for it. Where nobody waits for a processor, nobody waits here.
// The zero gate works.
type gate struct {
	wanted atomic.Int64 // who waits for a processor

	mu     sync.Mutex // guards what follows
	inside int
	open   chan struct{} // closed for all who are inside
}

// pass returns when it is time to write.
func (g *gate) pass() {
	g.mu.Lock()
	if g.open == nil {
		g.open = make(chan struct{})
	}
	g.inside++
	if g.inside >= gateMost || g.wanted.Load() == 0 {
		g.release()
		g.mu.Unlock()
		return
	}
	open := g.open
	g.mu.Unlock()
	t := time.NewTimer(gateWait)
	defer t.Stop()
	select {
	case <-open:
	case <-t.C:
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.open == open {
			g.release()
		}
	}
}

// release lets all go who are inside. The caller has g.mu.
func (g *gate) release() {
	close(g.open)
	g.inside, g.open = 0, nil
}
