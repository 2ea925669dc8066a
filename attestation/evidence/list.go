// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"encoding/binary"
	"errors"
)

// maxList is the most items a [List] may have: honest ones have seven, or a
// certificate for each GPU of a machine.
const maxList = 64

// A List is a piece that is several blobs:
//
//	struct { opaque data<0..2^32-1>; } Item;
//	Item items[n];                        // to the end of the piece
type List [][]byte

// Append prints the list after dst.
func (l List) Append(dst []byte) []byte {
	for _, item := range l {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(item)))
		dst = append(dst, item...)
	}
	return dst
}

// ParseList reads a list and nothing after it. The items alias b.
func ParseList(b []byte) (List, error) {
	var out List
	for len(b) > 0 {
		if len(b) < 4 || len(out) == maxList {
			return nil, errors.New("evidence: malformed list")
		}
		n := binary.BigEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return nil, errors.New("evidence: malformed list")
		}
		out = append(out, b[4:4+n:4+n])
		b = b[4+n:]
	}
	return out, nil
}
