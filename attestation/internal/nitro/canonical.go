// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro

import "encoding/binary"

// Major types of CBOR (RFC 8949, Section 3.1), those a document may use.
const (
	unsigned = 0
	negative = 1
	bstr     = 2
	text     = 3
	array    = 4
	object   = 5

	null = 0xf6
)

const (
	maxDepth = 4
	maxItems = 256
)

// major returns the major type of an item, or one that no item has.
func major(raw []byte) int {
	if len(raw) == 0 {
		return -1
	}
	return int(raw[0] >> 5)
}

// canonical reports whether b is exactly one item in which every length and
// number has its shortest form, lengths are definite, and nothing but integers,
// strings, arrays, maps and null occurs: so that values have one spelling, but
// for the order of map keys. It is bounded by depth and by number of items.
func canonical(b []byte) bool {
	items := 0
	rest, ok := skip(b, maxDepth, &items)
	return ok && len(rest) == 0
}

// skip walks over one item and what it contains.
func skip(b []byte, depth int, items *int) ([]byte, bool) {
	if *items++; *items > maxItems || depth == 0 || len(b) == 0 {
		return nil, false
	}
	if b[0] == null {
		return b[1:], true
	}
	kind := major(b)
	n, b, ok := head(b)
	if !ok {
		return nil, false
	}
	switch kind {
	case unsigned, negative:
		return b, true
	case bstr, text:
		if n > uint64(len(b)) {
			return nil, false
		}
		return b[n:], true
	case array, object:
		if n > maxItems {
			return nil, false
		}
		if kind == object {
			n *= 2
		}
		for range n {
			if b, ok = skip(b, depth-1, items); !ok {
				return nil, false
			}
		}
		return b, true
	}
	return nil, false // tags, floats, other simple values
}

// head reads the argument of an item's head, which must be in its shortest form
// (RFC 8949, Section 4.2.1).
func head(b []byte) (n uint64, rest []byte, ok bool) {
	info := b[0] & 31
	if b = b[1:]; info < 24 {
		return uint64(info), b, true
	}
	size := 1 << (info - 24)
	if info > 27 || len(b) < size {
		return 0, nil, false
	}
	var buf [8]byte
	copy(buf[8-size:], b[:size])
	n = binary.BigEndian.Uint64(buf[:])
	switch size {
	case 1:
		ok = n >= 24
	default:
		ok = n>>(4*size) != 0 // does not fit into half the bytes
	}
	return n, b[size:], ok
}
