// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/transparency"
)

const (
	// maxConcurrent is how many requests are held against the memory at a time.
	// Anybody can send a log's newest checkpoint again, and each second one of
	// them costs a write to the disk.
	maxConcurrent = 64
	// maxWaiting is how many more wait, in all and, of those that a log grows
	// with, for each log. A request is at most [MaxRequest] bytes.
	maxWaiting = 512
	// maxWait is how long one waits: less than a log does (feed).
	maxWait = 3 * time.Second
)

// A queue is who is next. Whoever shows a witness more leaves than it has signed
// has a turn of their own for each log, because nobody but the log makes such a
// checkpoint: those who send again what is signed wait for one another, and not the
// log for them.
type queue struct {
	turns   chan struct{}
	waiting atomic.Int64
	logs    map[string]*lane // never written after newQueue
}

// A lane is one log's turn.
type lane struct {
	turn    chan struct{}
	waiting atomic.Int64
}

func newQueue(logs map[string]*transparency.LogKey) *queue {
	q := &queue{turns: make(chan struct{}, maxConcurrent), logs: map[string]*lane{}}
	for origin := range logs {
		q.logs[origin] = &lane{turn: make(chan struct{}, 1)}
	}
	return q
}

// wait takes a turn, which done gives back. It is false when too many wait already,
// or none came in time.
func (q *queue) wait(ctx context.Context, origin string, grows bool) (done func(), ok bool) {
	waiting, own := &q.waiting, chan struct{}(nil) // nil: never ready
	if l := q.logs[origin]; grows && l != nil {
		waiting, own = &l.waiting, l.turn
	}
	defer waiting.Add(-1)
	if waiting.Add(1) > maxWaiting {
		return nil, false
	}
	late := time.NewTimer(maxWait)
	defer late.Stop()
	select {
	case own <- struct{}{}:
		return func() { <-own }, true
	case q.turns <- struct{}{}:
		return func() { <-q.turns }, true
	case <-late.C:
	case <-ctx.Done():
	}
	return nil, false
}
