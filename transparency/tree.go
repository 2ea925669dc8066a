// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// A Tree is a Merkle tree held in memory (RFC 6962, Section 2.1), about 64
// bytes a leaf. The zero Tree is empty. It is not safe for concurrent use.
type Tree struct {
	size   int64
	hashes []tlog.Hash // in tlog's stored order
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return uint64(t.size) }

// ReadHashes implements tlog.HashReader.
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("tree: no stored hash %d", x)
		}
		out[i] = t.hashes[x]
	}
	return out, nil
}

// Append adds a leaf.
func (t *Tree) Append(leaf []byte) error {
	hashes, err := tlog.StoredHashes(t.size, leaf, t)
	if err != nil {
		return fmt.Errorf("tree: %v", err)
	}
	t.hashes = append(t.hashes, hashes...)
	t.size++
	return nil
}

// Root is the hash of the first size leaves.
func (t *Tree) Root(size uint64) ([32]byte, error) {
	if size > t.Size() {
		return [32]byte{}, fmt.Errorf("tree: root of %d leaves of %d", size, t.size)
	}
	h, err := tlog.TreeHash(int64(size), t)
	return h, err
}

// Prove makes the inclusion proof of the leaf at index in the first size leaves.
func (t *Tree) Prove(index, size uint64) ([][32]byte, error) {
	if size > t.Size() || index >= size {
		return nil, fmt.Errorf("tree: proof of leaf %d in %d leaves of %d", index, size, t.size)
	}
	p, err := tlog.ProveRecord(int64(size), int64(index), t)
	return plain(p), err
}

// ProveConsistency makes the proof that the first size leaves extend the first
// old leaves.
func (t *Tree) ProveConsistency(old, size uint64) ([][32]byte, error) {
	if size > t.Size() || old > size || old == 0 {
		return nil, fmt.Errorf("tree: consistency of %d and %d leaves of %d", old, size, t.size)
	}
	p, err := tlog.ProveTree(int64(size), int64(old), t)
	return plain(p), err
}

// Tile cuts the first width hashes out of tile n of a level (C2SP tlog-tiles).
func (t *Tree) Tile(level int, n uint64, width int) ([]byte, error) {
	const height = 8
	if level < 0 || level > 5 || width < 1 || width > 1<<height || n > maxTreeSize || n<<height+uint64(width) > t.Size()>>(height*level) {
		return nil, fmt.Errorf("tree: no tile %d/%d of %d hashes in %d leaves", level, n, width, t.size)
	}
	return tlog.ReadTileData(tlog.Tile{H: height, L: level, N: int64(n), W: width}, t)
}

func plain(hashes []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(hashes))
	for i, h := range hashes {
		out[i] = h
	}
	return out
}
