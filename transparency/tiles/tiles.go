// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tiles proves with the tiles of a log (C2SP tlog-tiles) that a larger
// tree of it contains a smaller one, and cuts tiles out of a tree.
//
// It takes and gives hashes only: entries are never asked for. It dials nobody;
// whoever fetches gives it a function, and no tile is believed before it leads
// to a root that was signed.
package tiles

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	height   = 8                             // tlog-tiles has one height
	MaxLevel = 5                             // of trees of fewer than 2^48 leaves
	MaxSize  = (1 << height) * tlog.HashSize // bytes of a full tile
)

// A Fetch gets a tile by its path below the log's prefix, such as
// "tile/0/x001/234.p/5".
type Fetch func(ctx context.Context, path string) ([]byte, error)

// path prints where a tile of hashes is found:
//
//	tile/<level>/<index, in groups of three digits, all but the last with an x>[.p/<width>]
func path(t tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", t.H))
}

// parsePath reads the one spelling of a path.
func parsePath(s string) (tlog.Tile, error) {
	rest, ok := strings.CutPrefix(s, "tile/")
	t, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s", height, rest))
	if !ok || err != nil || t.L < 0 || t.L > MaxLevel || path(t) != s {
		return tlog.Tile{}, fmt.Errorf("tiles: no path of a tile of hashes: %q", s)
	}
	return t, nil
}

// Cut returns the bytes of the tile at a path of the tree that r reads. What
// the tree does not have is an error.
func Cut(r tlog.HashReader, tilePath string) ([]byte, error) {
	t, err := parsePath(tilePath)
	if err != nil {
		return nil, err
	}
	return tlog.ReadTileData(t, r)
}

// Prove returns the root that the tree of size leaves with this root has at
// old leaves, and the consistency proof (RFC 6962, Section 2.1.2) between the
// two. Tiles that do not lead to root are an error: they say nothing about the
// log. So a returned root of the old size that is not the one known for it
// proves that the log rewrote itself, whoever served the tiles.
func Prove(ctx context.Context, fetch Fetch, old, size uint64, root [32]byte) (oldRoot [32]byte, proof [][32]byte, err error) {
	if old == 0 || old > size || size > 1<<48 {
		return oldRoot, nil, fmt.Errorf("tiles: no proof from %d to %d leaves", old, size)
	}
	if old == size {
		return root, nil, nil
	}
	r := tlog.TileHashReader(tlog.Tree{N: int64(size), Hash: root}, &reader{ctx, fetch})
	h, err := tlog.TreeHash(int64(old), r)
	if err != nil {
		return oldRoot, nil, fmt.Errorf("tiles: %w", err)
	}
	p, err := tlog.ProveTree(int64(size), int64(old), r)
	if err != nil {
		return oldRoot, nil, fmt.Errorf("tiles: %w", err)
	}
	// Nothing rests on the library's having authenticated every hash.
	if err := tlog.CheckTree(p, int64(size), root, int64(old), h); err != nil {
		return oldRoot, nil, fmt.Errorf("tiles: %w", err)
	}
	for _, x := range p {
		proof = append(proof, x)
	}
	return h, proof, nil
}

// reader is a tlog.TileReader over a Fetch.
type reader struct {
	ctx   context.Context // of the one call that this reader serves
	fetch Fetch
}

func (r *reader) Height() int { return height }

func (r *reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		b, err := r.read(t)
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

// read gets one tile. A log may have dropped a partial tile once the full one
// is there.
func (r *reader) read(t tlog.Tile) ([]byte, error) {
	want := t.W * tlog.HashSize
	b, err := r.fetch(r.ctx, path(t))
	if err != nil && t.W < 1<<height && r.ctx.Err() == nil {
		t.W = 1 << height
		full, ferr := r.fetch(r.ctx, path(t))
		if ferr != nil || len(full) != MaxSize {
			return nil, err
		}
		return full[:want], nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) != want {
		return nil, fmt.Errorf("%s has %d bytes, want %d", path(t), len(b), want)
	}
	return b, nil
}
