// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package stream is the chunk framing of chunked Oblivious HTTP
// (draft-ietf-ohai-chunked-ohttp-08, Sections 4 to 6), and the keys of a
// response. Client and gateway share it, each with its own half of the crypto.
//
//	struct {
//	    varint length;            // > 0, RFC 9000 Section 16
//	    opaque sealed[length];    // AAD ""
//	} Chunk;
//
//	struct {
//	    varint zero = 0;
//	    opaque sealed[...];       // to the end of the stream; AAD "final"
//	} FinalChunk;
//
// It is pure: bytes in, bytes out. It neither dials nor logs nor reads a clock.
package stream

import "sync"

const (
	tagSize  = 16    // Nt of every AEAD spoken
	maxChunk = 16384 // plaintext bytes of a chunk; see ohttp.MaxChunk
	maxSeal  = maxChunk + tagSize
	prefix   = 4         // bytes of the longest length we print
	maxCount = 1<<32 - 1 // chunks of one stream, far below where any AEAD tires
)

var finalAAD = []byte("final")

// Buffers come in two sizes. A stream starts with a small one, enough for a
// short message, and moves to a large one when it turns out to be long: ten
// thousand stalled connections then hold little.
const (
	smallBuffer = 12 << 10
	largeBuffer = 4 * (prefix + maxSeal)
)

type buffer [largeBuffer]byte
type miniature [smallBuffer]byte

var (
	large = sync.Pool{New: func() any { return new(buffer) }}
	small = sync.Pool{New: func() any { return new(miniature) }}
)

// A pooled buffer belongs to one stream between get and put.
type pooled struct {
	b []byte
	l *buffer
	s *miniature
}

func (p *pooled) get() {
	p.s = small.Get().(*miniature)
	p.b = p.s[:]
}

// grow moves to a large buffer and reports whether there was one to move to.
// keep is copied to its start.
func (p *pooled) grow(keep []byte) bool {
	if p.l != nil {
		return false
	}
	l := large.Get().(*buffer)
	copy(l[:], keep)
	p.put()
	p.l, p.b = l, l[:]
	return true
}

// put gives the buffer back. Plaintext is wiped first: the next stream to use
// the buffer is somebody else's.
func (p *pooled) put() {
	switch {
	case p.l != nil:
		clear(p.l[:])
		large.Put(p.l)
	case p.s != nil:
		clear(p.s[:])
		small.Put(p.s)
	}
	*p = pooled{}
}
