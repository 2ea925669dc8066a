// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// logCheckpoint is the object that says how far the log goes. Nobody's signature is
// checked for it: a publisher that lies about its size hides its own log.
const logCheckpoint = "/v1/log/checkpoint"

// reachAge is how old the log's size may be to say that something is beyond it. It is
// short, because a client may have a newer checkpoint by another way.
const reachAge = 100 * time.Millisecond

// noteSize is the second line of a checkpoint (C2SP tlog-checkpoint).
func noteSize(note []byte) (uint64, bool) {
	origin, rest, ok := strings.Cut(string(note), "\n")
	digits, _, ok2 := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && ok2 && origin != "" && err == nil && strconv.FormatUint(n, 10) == digits
}

// tileEnd is the level of a path that [tilePath] accepts, 0 for leaves, and the index at
// that level of the last hash in it. There are at most 15 digits: nothing overflows.
func tileEnd(path string) (level uint, last uint64) {
	s := strings.TrimPrefix(path, "tile/")
	head, rest, _ := strings.Cut(s, "/")
	if head != "entries" {
		level = uint(head[0] - '0')
	}
	index, width, partial := strings.Cut(rest, ".p/")
	n, _ := strconv.ParseUint(strings.NewReplacer("x", "", "/", "").Replace(index), 10, 64)
	w := uint64(256)
	if partial {
		w, _ = strconv.ParseUint(width, 10, 64)
	}
	return level, n*256 + w - 1
}

// size is how many leaves the mirrored log has, if that is known. The caller holds
// m.mu.
func (m *mirror) size() (n uint64, ok bool) {
	if o := m.objects[logCheckpoint]; o != nil {
		return noteSize(o.body)
	}
	return 0, false
}

// reached is whether the log goes as far as a asks; also when that is not known, and
// nobody waits: then the publisher says. It asks for a newer checkpoint before it says
// no. The caller holds m.mu, which is not held meanwhile.
func (m *mirror) reached(ctx context.Context, a ask) bool {
	within := func() bool {
		n, ok := m.size()
		return !ok || a.last < n>>(8*a.level)
	}
	o, now := m.objects[logCheckpoint], time.Now()
	if o == nil && (m.pending[a.kind] == 0 || now.Sub(m.tried) < time.Second) || o != nil && within() {
		return true
	}
	if o == nil || now.Sub(o.fetched) >= reachAge {
		m.tried = now
		m.mu.Unlock()
		m.get(ctx, ask{path: logCheckpoint, limit: maxNote, age: reachAge})
		m.mu.Lock()
	}
	return within()
}

// miss remembers that an object is not there, for as long as the newest statement is
// kept and the log has not grown. The caller holds m.mu.
func (m *mirror) miss(path string) {
	now := time.Now()
	if len(m.absent) >= maxAbsent {
		for p, a := range m.absent {
			if now.After(a.until) {
				delete(m.absent, p)
			}
		}
	}
	if len(m.absent) < maxAbsent {
		n, _ := m.size()
		m.absent[path] = absence{now.Add(m.age), n}
	}
}
