// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tiles reads a log that is served as tiles (C2SP tlog-tiles): it makes
// proofs from them and walks the leaves, and believes nothing that does not lead
// to the root of a checkpoint that the caller has verified.
//
// It is pure but for the fetch function it is given: no network, files, clock or
// state on disk, and none of the code that writes a log. Memory is bounded: a
// bundle of leaves at a time and a few tiles, however long the log.
package tiles

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// A Fetch reads what a path names, relative to the log's prefix. For what is not
// there its error is [fs.ErrNotExist]. It may cut off after [MaxBundle] bytes.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// ErrMismatch is the error for tiles, bundles or proofs that do not belong to
// the tree of the checkpoint: whoever serves them lies, or his disk does.
var ErrMismatch = errors.New("tiles: not of the tree that was signed")

// A Tree is the first Size leaves of a log, with the root that says which. Its
// methods may run at the same time.
type Tree struct {
	size  uint64
	root  [32]byte
	fetch Fetch
	cache cache
}

// New makes the tree of a verified checkpoint's size and root.
func New(size uint64, root [32]byte, fetch Fetch) *Tree {
	return &Tree{size: size, root: root, fetch: fetch}
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// hashes reads stored hashes and verifies each against the root.
func (t *Tree) hashes(ctx context.Context) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: int64(t.size), Hash: t.root}, &reader{ctx, t.size, t.fetch, &t.cache})
}

// Prove makes the proof that the leaf at index is in the tree (RFC 6962, Section
// 2.1.1).
func (t *Tree) Prove(ctx context.Context, index uint64) ([][32]byte, error) {
	if index >= t.size {
		return nil, fmt.Errorf("tiles: leaf %d of %d", index, t.size)
	}
	p, err := tlog.ProveRecord(int64(t.size), int64(index), t.hashes(ctx))
	return plain(p), wrap(err)
}

// ProveConsistency makes the proof that the tree extends its own first old
// leaves (RFC 6962, Section 2.1.2). It is empty if old is 0 or the whole tree.
func (t *Tree) ProveConsistency(ctx context.Context, old uint64) ([][32]byte, error) {
	if old > t.size {
		return nil, fmt.Errorf("tiles: consistency of %d and %d leaves", old, t.size)
	}
	if old == 0 || old == t.size {
		return nil, nil
	}
	p, err := tlog.ProveTree(int64(t.size), int64(old), t.hashes(ctx))
	return plain(p), wrap(err)
}

// Root is the hash of the first old leaves.
func (t *Tree) Root(ctx context.Context, old uint64) ([32]byte, error) {
	switch {
	case old > t.size:
		return [32]byte{}, fmt.Errorf("tiles: root of %d leaves of %d", old, t.size)
	case old == t.size:
		return t.root, nil
	}
	h, err := tlog.TreeHash(int64(old), t.hashes(ctx))
	return h, wrap(err)
}

// Leaf reads and verifies one leaf.
func (t *Tree) Leaf(ctx context.Context, index uint64) ([]byte, error) {
	for leaf, err := range t.Leaves(ctx, index, index+1) {
		return leaf, err
	}
	return nil, fmt.Errorf("tiles: leaf %d of %d", index, t.size)
}

// Leaves walks the leaves from index i up to, not including, j, each verified
// before it is given out. It stops at the first error, which comes with a nil
// leaf; a j beyond the tree is one.
func (t *Tree) Leaves(ctx context.Context, i, j uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if i > j || j > t.size {
			yield(nil, fmt.Errorf("tiles: leaves %d to %d of %d", i, j, t.size))
			return
		}
		for i < j {
			n := i / Width
			leaves, err := t.bundle(ctx, n, i, min(j, (n+1)*Width))
			if err != nil {
				yield(nil, err)
				return
			}
			for _, leaf := range leaves {
				if !yield(leaf, nil) {
					return
				}
				i++
			}
		}
	}
}

// bundle reads leaves i up to j, all of bundle n, and verifies them.
func (t *Tree) bundle(ctx context.Context, n, i, j uint64) ([][]byte, error) {
	p, _ := at(true, 0, n, t.size)
	leaves, err := fetchBundle(ctx, t.fetch, p)
	if err != nil {
		return nil, err
	}
	leaves = leaves[i-n*Width : j-n*Width]
	indexes := make([]int64, len(leaves))
	for k := range leaves {
		indexes[k] = tlog.StoredHashIndex(0, int64(i)+int64(k))
	}
	hashes, err := t.hashes(ctx).ReadHashes(indexes)
	if err != nil {
		return nil, wrap(err)
	}
	for k, leaf := range leaves {
		if tlog.RecordHash(leaf) != hashes[k] {
			return nil, fmt.Errorf("%w: leaf %d", ErrMismatch, i+uint64(k))
		}
	}
	return leaves, nil
}

// fetchBundle fetches a bundle, or the full one that has replaced a partial one.
func fetchBundle(ctx context.Context, fetch Fetch, p Path) ([][]byte, error) {
	b, got, err := fetchWidest(ctx, fetch, p)
	if err != nil {
		return nil, err
	}
	entries, err := ParseBundle(b)
	if err != nil || len(entries) != got.Width {
		return nil, fmt.Errorf("%w: %s holds %d entries", ErrMismatch, got, len(entries))
	}
	return entries[:p.Width], nil
}

// fetchWidest fetches p or, when a log has dropped it, the full one, which
// begins with it. It says which.
func fetchWidest(ctx context.Context, fetch Fetch, p Path) ([]byte, Path, error) {
	b, err := fetch(ctx, p.String())
	if p.Width < Width && errors.Is(err, fs.ErrNotExist) {
		p.Width = Width
		b, err = fetch(ctx, p.String())
	}
	if err != nil {
		return nil, p, &fetchError{p, err}
	}
	return b, p, nil
}

// A fetchError is what the fetch function said. It accuses nobody.
type fetchError struct {
	path Path
	err  error
}

func (e *fetchError) Error() string { return fmt.Sprintf("tiles: %s: %v", e.path, e.err) }
func (e *fetchError) Unwrap() error { return e.err }

// ParseBundle reads a bundle of entries: each has its length in front, in 16
// bits. It is 1 to 256 entries.
func ParseBundle(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		if len(b) < 2 || len(out) == Width {
			return nil, errors.New("tiles: malformed bundle")
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < n {
			return nil, errors.New("tiles: malformed bundle")
		}
		out, b = append(out, b[:n:n]), b[n:]
	}
	if len(out) == 0 {
		return nil, errors.New("tiles: empty bundle")
	}
	return out, nil
}

// AppendEntry prints an entry as a bundle holds it.
func AppendEntry(b, entry []byte) ([]byte, error) {
	if len(entry) > MaxEntry {
		return nil, fmt.Errorf("tiles: entry of %d bytes, at most %d", len(entry), MaxEntry)
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(entry))), entry...), nil
}

// CutBundle returns the first width entries of a bundle, as a narrower one.
func CutBundle(b []byte, width int) ([]byte, error) {
	rest := b
	for range width {
		if len(rest) < 2 || len(rest) < 2+int(binary.BigEndian.Uint16(rest)) {
			return nil, errors.New("tiles: bundle is too short")
		}
		rest = rest[2+int(binary.BigEndian.Uint16(rest)):]
	}
	return b[:len(b)-len(rest)], nil
}

// A reader gives tlog the tiles it wants. It lives for one call, which is why it
// may hold the call's context: tlog's interfaces take none.
type reader struct {
	ctx   context.Context
	size  uint64
	fetch Fetch
	cache *cache
}

func (r *reader) Height() int { return height }

func (r *reader) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(want))
	for i, tile := range want {
		if out[i] = r.cache.get(tile); out[i] != nil {
			continue
		}
		b, err := fetchTile(r.ctx, r.fetch, Path{Level: tile.L, N: uint64(tile.N), Width: tile.W})
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

// SaveTiles is called with tiles that have been verified.
func (r *reader) SaveTiles(have []tlog.Tile, data [][]byte) {
	for i, tile := range have {
		r.cache.put(tile, data[i])
	}
}

// fetchTile fetches exactly the hashes that p names.
func fetchTile(ctx context.Context, fetch Fetch, p Path) ([]byte, error) {
	b, got, err := fetchWidest(ctx, fetch, p)
	if err != nil {
		return nil, err
	}
	if len(b) != got.Width*HashSize {
		return nil, fmt.Errorf("%w: %s holds %d bytes", ErrMismatch, got, len(b))
	}
	return b[:p.Width*HashSize], nil
}

// maxCached bounds the verified tiles kept: half a megabyte.
const maxCached = 64

type cache struct {
	mu    sync.Mutex
	tiles map[tlog.Tile][]byte
}

func (c *cache) get(tile tlog.Tile) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tiles[tile]
}

func (c *cache) put(tile tlog.Tile, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tiles == nil || len(c.tiles) >= maxCached {
		c.tiles = map[tlog.Tile][]byte{} // the few that are wanted again come back first
	}
	c.tiles[tile] = data
}

// Own reads stored hashes from the tiles of one's own log of size leaves,
// verifying nothing: for the one who wrote them and computes the root that
// others then verify against.
func Own(ctx context.Context, size uint64, fetch Fetch) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		got := map[Path][]byte{}
		for i, x := range indexes {
			tile := tlog.TileForIndex(height, x)
			p, ok := at(false, tile.L, uint64(tile.N), size)
			if !ok || tile.W > p.Width {
				return nil, fmt.Errorf("tiles: no hash %d in a tree of %d", x, size)
			}
			b := got[p]
			if b == nil {
				var err error
				if b, err = fetchTile(ctx, fetch, p); err != nil {
					return nil, err
				}
				got[p] = b
			}
			tile.W = p.Width
			h, err := tlog.HashFromTile(tile, b, x)
			if err != nil {
				return nil, fmt.Errorf("tiles: %v", err)
			}
			out[i] = h
		}
		return out, nil
	})
}

// wrap gives tlog's complaints about hashes our name.
func wrap(err error) error {
	if fetch := (*fetchError)(nil); err == nil || errors.Is(err, ErrMismatch) || errors.As(err, &fetch) {
		return err
	}
	return fmt.Errorf("%w: %v", ErrMismatch, err)
}

func plain(hashes []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(hashes))
	for i, h := range hashes {
		out[i] = h
	}
	return out
}
