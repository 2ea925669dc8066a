// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// A replayCache remembers the requests to one key by digests of their
// encapsulated keys, which are fresh for every honest request.
//
// Rule: a copy is refused as long as the key lives or until at least window
// other requests came after it, whichever ends first. It never refuses an
// honest request because it is full: that would let anyone silence the gateway
// by filling it. What slips through after so many requests meets the node,
// which remembers for the whole life of its own key.
//
// Memory: two generations of at most window digests of 8 bytes, in tables that
// double as they fill: 32 MiB a key at the default window, little when idle.
// Digests are salted, so nobody can prepare two requests that collide; two
// honest ones do with probability 2^-43 at a full window.
type replayCache struct {
	salt   [32]byte
	window int

	mu         sync.Mutex // guards what follows
	young, old table
}

func newReplayCache(window int) *replayCache {
	c := &replayCache{window: max(window, 1)}
	rand.Read(c.salt[:]) // never fails: the runtime ends the process instead
	return c
}

// add reports whether enc is new, and remembers it.
func (c *replayCache) add(enc []byte) bool {
	h := sha256.New()
	h.Write(c.salt[:])
	h.Write(enc)
	var sum [sha256.Size]byte
	d := binary.LittleEndian.Uint64(h.Sum(sum[:0])) | 1 // 0 is an empty slot

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.old.has(d) || c.young.has(d) {
		return false
	}
	if c.young.n == c.window {
		c.old, c.young = c.young, table{}
	}
	c.young.add(d)
	return true
}

func (c *replayCache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.young.n + c.old.n
}

// A table is a set of non-zero numbers that are already random: open
// addressing, linear probing, at most three quarters full.
type table struct {
	slots []uint64 // a power of two, or none
	n     int
}

// at returns the slot that holds d, or the empty one where it belongs. The
// top bits choose the slot: the lowest one is always set.
func (t *table) at(d uint64) int {
	mask := len(t.slots) - 1
	i := int(d>>32) & mask
	for t.slots[i] != 0 && t.slots[i] != d {
		i = (i + 1) & mask
	}
	return i
}

func (t *table) has(d uint64) bool { return t.n > 0 && t.slots[t.at(d)] == d }

func (t *table) add(d uint64) {
	if 4*(t.n+1) > 3*len(t.slots) {
		grown := table{slots: make([]uint64, max(1024, 2*len(t.slots)))}
		for _, v := range t.slots {
			if v != 0 {
				grown.slots[grown.at(v)] = v
			}
		}
		t.slots = grown.slots
	}
	t.slots[t.at(d)] = d
	t.n++
}
