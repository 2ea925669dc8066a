// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/transparency"
)

const (
	header     = "sotto-log-memory/v1\n"
	keepEpochs = 8
	maxMemory  = transparency.MaxNoteSize + 1<<12 // bytes of a file
)

// An Epoch is one that was accepted, with SHA-256 of its statement.
type Epoch struct {
	Number uint64
	Leaf   [32]byte
}

// A Memory is what a client knows of a log from before. It only grows.
type Memory struct {
	Since  time.Time // when this memory began
	Seen   time.Time // when the checkpoint was first accepted
	Note   []byte    // the largest checkpoint
	Epochs []Epoch   // the highest accepted, newest first; at most 8

	// Point is Note, verified.
	Point *transparency.Checkpoint
}

// Highest is the highest epoch accepted so far, if there is any.
func (m *Memory) Highest() (Epoch, bool) {
	if m == nil || len(m.Epochs) == 0 {
		return Epoch{}, false
	}
	return m.Epochs[0], true
}

// Leaf is the statement that was accepted for an epoch, if that is remembered.
func (m *Memory) Leaf(epoch uint64) ([32]byte, bool) {
	if m != nil {
		for _, e := range m.Epochs {
			if e.Number == epoch {
				return e.Leaf, true
			}
		}
	}
	return [32]byte{}, false
}

// Covers reports whether m knows everything that a client that has accepted
// point and e must know.
func (m *Memory) Covers(point *transparency.Checkpoint, e *Epoch) bool {
	if m == nil || m.Point.Size < point.Size {
		return false
	}
	if e == nil {
		return true
	}
	h, ok := m.Highest()
	return ok && h.Number >= e.Number
}

// With is m with a checkpoint and an epoch that were accepted after it. Neither
// ever makes it smaller. It judges nothing.
func (m *Memory) With(point *transparency.Checkpoint, e *Epoch, now time.Time) *Memory {
	now = now.UTC().Truncate(time.Second)
	next := &Memory{Since: now, Seen: now, Note: point.Note, Point: point}
	if m != nil {
		next.Since, next.Epochs = m.Since, slices.Clone(m.Epochs)
		if point.Size <= m.Point.Size {
			next.Seen, next.Note, next.Point = m.Seen, m.Note, m.Point
		}
	}
	if h, ok := next.Highest(); e != nil && (!ok || e.Number > h.Number) {
		next.Epochs = append([]Epoch{*e}, next.Epochs...)
		next.Epochs = next.Epochs[:min(len(next.Epochs), keepEpochs)]
	}
	return next
}

// keysOf is a digest of everything in a trust: the memory of one is no memory
// of another. By way of JSON, so that what a trust comes to hold is in it.
func keysOf(t transparency.Trust) [32]byte {
	t.Witnesses = slices.Sorted(slices.Values(t.Witnesses))
	b, err := json.Marshal(t)
	if err != nil {
		return [32]byte{} // strings and numbers: never
	}
	return sha256.Sum256(append([]byte("sotto log memory\n"), b...))
}

// print writes m for t:
//
//	sotto-log-memory/v1
//	origin <origin>
//	keys <SHA-256, hex>
//	since <seconds since 1970>
//	seen <seconds since 1970>
//	epoch <number> <SHA-256 of the statement, hex>   (0 to 8 lines, descending)
//
//	<checkpoint note>
func (m *Memory) print(origin string, keys [32]byte) []byte {
	b := fmt.Appendf(nil, "%sorigin %s\nkeys %x\nsince %d\nseen %d\n", header, origin, keys, m.Since.Unix(), m.Seen.Unix())
	for _, e := range m.Epochs {
		b = fmt.Appendf(b, "epoch %d %x\n", e.Number, e.Leaf)
	}
	return append(append(b, '\n'), m.Note...)
}

// parse reads exactly one memory, in its one spelling. It does not look at the
// note.
func parse(b []byte) (m *Memory, origin string, keys [32]byte, ok bool) {
	head, note, found := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(b) > maxMemory || len(lines) < 5 || len(lines) > 5+keepEpochs || lines[0]+"\n" != header || len(note) == 0 {
		return nil, "", keys, false
	}
	m = &Memory{Note: note}
	value := func(i int, name string) string {
		v, _ := strings.CutPrefix(lines[i], name+" ")
		return v
	}
	seconds := func(i int, name string) time.Time {
		n, _ := strconv.ParseInt(value(i, name), 10, 64)
		return time.Unix(n, 0).UTC()
	}
	digest := func(s string) (d [32]byte) {
		raw, _ := hex.DecodeString(s)
		copy(d[:], raw)
		return d
	}
	origin, keys = value(1, "origin"), digest(value(2, "keys"))
	m.Since, m.Seen = seconds(3, "since"), seconds(4, "seen")
	for i := 5; i < len(lines); i++ {
		number, leaf, _ := strings.Cut(value(i, "epoch"), " ")
		n, _ := strconv.ParseUint(number, 10, 64)
		if i > 5 && n >= m.Epochs[len(m.Epochs)-1].Number {
			return nil, "", keys, false
		}
		m.Epochs = append(m.Epochs, Epoch{n, digest(leaf)})
	}
	// What does not print back the same was not understood.
	return m, origin, keys, bytes.Equal(m.print(origin, keys), b)
}
