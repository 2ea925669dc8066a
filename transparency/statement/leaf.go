// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/sotto-project/sotto/transparency"
)

// LeafSize is the size of a leaf of the statement log.
const LeafSize = 1 + 8 + 32

// A Leaf is what the log holds of a statement. The statement itself can be
// larger than an entry of a tile log may be (2^16-1 bytes), and whoever walks
// the log for years should not have to fetch every roster to do so.
//
//	struct {
//	    uint8  version = 1;
//	    uint64 epoch;             /* the index of the leaf */
//	    opaque statement[32];     /* SHA-256 of the Statement */
//	} Leaf;
type Leaf struct {
	Epoch     uint64
	Statement [32]byte
}

// Append prints l after b.
func (l Leaf) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, version), l.Epoch)
	return append(b, l.Statement[:]...)
}

// ParseLeaf reads exactly one leaf. Refusal: [transparency.CodeStatement].
func ParseLeaf(b []byte) (Leaf, error) {
	if len(b) != LeafSize || b[0] != version {
		return Leaf{}, malformed("leaf: version or size")
	}
	return Leaf{binary.BigEndian.Uint64(b[1:]), [32]byte(b[9:])}, nil
}

// LogLeaf is the leaf of a statement's bytes: what to append to the log, and
// what an inclusion proof is about.
func LogLeaf(statement []byte) []byte {
	l := Leaf{Statement: sha256.Sum256(statement)}
	if len(statement) >= 10 { // version, kind, epoch; a shorter one is no statement and parses nowhere
		l.Epoch = binary.BigEndian.Uint64(statement[2:])
	}
	return l.Append(nil)
}

// LeafHash is SHA-256 of the leaf of a statement's bytes: the next statement's
// beacon. It is not the RFC 6962 leaf hash, which has a prefix byte.
func LeafHash(statement []byte) [32]byte { return sha256.Sum256(LogLeaf(statement)) }

// Of checks that b are the bytes of the statement that l names, and parses them.
// Refusal: [transparency.CodeStatement], [transparency.CodeInclusion].
func (l Leaf) Of(b []byte) (*Statement, error) {
	st, err := Parse(b)
	if err != nil {
		return nil, err
	}
	if st.Epoch != l.Epoch || sha256.Sum256(b) != l.Statement {
		return nil, transparency.Refuse(transparency.CodeInclusion, "not the statement that leaf %d names", l.Epoch)
	}
	return st, nil
}
