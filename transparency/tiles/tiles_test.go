// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tiles_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/transparency/tiles"
)

func leaf(i uint64) []byte { return fmt.Appendf(nil, "leaf %d", i) }

// A source is a log's tiles made by other code: stored hashes as tlog has them,
// cut into tiles as tlog cuts them.
type source struct {
	size   uint64
	hashes []tlog.Hash
	files  map[string][]byte
	reads  int
	down   error
}

func (s *source) ReadHashes(x []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(x))
	for i := range x {
		out[i] = s.hashes[x[i]]
	}
	return out, nil
}

func newSource(t testing.TB, size uint64) *source {
	t.Helper()
	s := &source{size: size, files: map[string][]byte{}}
	bundle := map[uint64][]byte{}
	for i := range size {
		h, err := tlog.StoredHashes(int64(i), leaf(i), s)
		if err != nil {
			t.Fatal(err)
		}
		s.hashes = append(s.hashes, h...)
		if bundle[i/256], err = tiles.AppendEntry(bundle[i/256], leaf(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tile := range tlog.NewTiles(8, 0, int64(size)) {
		p := tiles.Path{Level: tile.L, N: uint64(tile.N), Width: tile.W}
		b, err := tlog.ReadTileData(tile, s)
		if err != nil {
			t.Fatal(err)
		}
		s.files[p.String()] = b
	}
	for n, b := range bundle {
		s.files[tiles.Path{Entries: true, N: n, Width: int(min(256, size-n*256))}.String()] = b
	}
	return s
}

func (s *source) fetch(_ context.Context, path string) ([]byte, error) {
	s.reads++
	if s.down != nil {
		return nil, s.down
	}
	b, ok := s.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (s *source) root(t testing.TB, n uint64) [32]byte {
	t.Helper()
	h, err := tlog.TreeHash(int64(n), s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (s *source) tree(t testing.TB) *tiles.Tree {
	return tiles.New(s.size, s.root(t, s.size), s.fetch)
}

var sizes = []uint64{0, 1, 2, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537}

// Proofs and leaves agree with another implementation at every boundary.
func TestTree(t *testing.T) {
	for _, size := range sizes {
		s := newSource(t, size)
		tr, ctx := s.tree(t), t.Context()
		for _, i := range append(sizes, size) {
			if i > size {
				continue
			}
			if got, err := tr.Root(ctx, i); err != nil || got != s.root(t, i) {
				t.Errorf("root of %d in %d: %v", i, size, err)
			}
			if i > 0 && i < size {
				want, _ := tlog.ProveTree(int64(size), int64(i), s)
				if got, err := tr.ProveConsistency(ctx, i); err != nil || !same(got, want) {
					t.Errorf("consistency of %d in %d: %v", i, size, err)
				}
			}
			if i == size {
				if _, err := tr.Leaf(ctx, i); err == nil {
					t.Errorf("leaf %d of %d", i, size)
				}
				if _, err := tr.Prove(ctx, i); err == nil {
					t.Errorf("proof of leaf %d of %d", i, size)
				}
				if _, err := tr.ProveConsistency(ctx, i+1); err == nil {
					t.Errorf("consistency of more than there is: %d", i)
				}
				if p, err := tr.ProveConsistency(ctx, i); err != nil || len(p) != 0 {
					t.Errorf("consistency with itself: %v", err)
				}
				continue
			}
			want, _ := tlog.ProveRecord(int64(size), int64(i), s)
			if got, err := tr.Prove(ctx, i); err != nil || !same(got, want) {
				t.Errorf("proof of %d in %d: %v", i, size, err)
			}
			if got, err := tr.Leaf(ctx, i); err != nil || !bytes.Equal(got, leaf(i)) {
				t.Errorf("leaf %d in %d: %q, %v", i, size, got, err)
			}
		}
	}
}

func same(a [][32]byte, b []tlog.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestLeaves(t *testing.T) {
	s := newSource(t, 600)
	tr := s.tree(t)
	for _, r := range [][2]uint64{{0, 600}, {0, 0}, {600, 600}, {255, 257}, {256, 512}, {599, 600}, {1, 255}} {
		i := r[0]
		for b, err := range tr.Leaves(t.Context(), r[0], r[1]) {
			if err != nil || !bytes.Equal(b, leaf(i)) {
				t.Fatalf("%v: leaf %d: %q, %v", r, i, b, err)
			}
			i++
		}
		if i != r[1] {
			t.Errorf("%v: stopped at %d", r, i)
		}
	}
	for _, r := range [][2]uint64{{0, 601}, {601, 601}, {2, 1}} {
		n := 0
		for b, err := range tr.Leaves(t.Context(), r[0], r[1]) {
			if n++; b != nil || err == nil {
				t.Errorf("%v: %q", r, b)
			}
		}
		if n != 1 {
			t.Errorf("%v: %d answers, want one error", r, n)
		}
	}
	for range tr.Leaves(t.Context(), 0, 600) {
		break // must not be called again
	}
}

// A log may drop a partial tile once the full one is there.
func TestPartialTilesThatWereDropped(t *testing.T) {
	small, big := newSource(t, 300), newSource(t, 512)
	tr := tiles.New(300, small.root(t, 300), big.fetch)
	if _, err := tr.Prove(t.Context(), 299); err == nil {
		t.Error("no tile of level 1 is full: the partial one must be there")
	}
	big.files["tile/1/000.p/1"] = small.files["tile/1/000.p/1"]
	if got, err := tr.Leaf(t.Context(), 299); err != nil || !bytes.Equal(got, leaf(299)) {
		t.Errorf("%q, %v", got, err)
	}
}

// Any bit of any tile or bundle that is used, flipped, and any file cut,
// doubled, or swapped for another, is found out (attack AT-46).
func TestLyingLogIsFoundOut(t *testing.T) {
	s := newSource(t, 300)
	root := s.root(t, 300)
	read := func() error {
		tr := tiles.New(300, root, s.fetch)
		for _, err := range tr.Leaves(t.Context(), 0, 300) {
			if err != nil {
				return err
			}
		}
		_, err := tr.Prove(t.Context(), 0)
		return err
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	for path, b := range s.files {
		for name, bad := range map[string][]byte{
			"cut": b[:len(b)-1], "empty": {}, "longer": append(bytes.Clone(b), 0), "doubled": append(bytes.Clone(b), b...),
		} {
			s.files[path] = bad
			if err := read(); err == nil {
				t.Errorf("AT-46 %s %s: not found out", path, name)
			}
		}
		for i := range b {
			s.files[path] = bytes.Clone(b)
			s.files[path][i] ^= 1 << (i % 8)
			if i%13 == 0 { // every byte of every file would take minutes
				if err := read(); err == nil {
					t.Errorf("AT-46 %s: byte %d flipped and not found out", path, i)
				}
			}
		}
		for other, o := range s.files {
			if s.files[path] = o; !bytes.Equal(o, b) && read() == nil {
				t.Errorf("AT-46 %s in place of %s: not found out", other, path)
			}
		}
		s.files[path] = b
	}
	// Another root: nothing is believed, and it is the log that is accused.
	root[0] ^= 1
	if err := read(); !errors.Is(err, tiles.ErrMismatch) {
		t.Errorf("got %v", err)
	}
}

// A network that is down is not a log that lies.
func TestFetchErrorsAccuseNobody(t *testing.T) {
	s := newSource(t, 300)
	tr := s.tree(t)
	for _, down := range []error{errors.New("no route"), context.Canceled, fs.ErrNotExist} {
		s.down = down
		for name, err := range map[string]error{
			"leaf":        second(tr.Leaf(t.Context(), 3)),
			"proof":       second(tr.Prove(t.Context(), 3)),
			"consistency": second(tr.ProveConsistency(t.Context(), 3)),
			"root":        second(tr.Root(t.Context(), 3)),
		} {
			if !errors.Is(err, down) || errors.Is(err, tiles.ErrMismatch) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Walking a long log takes the memory of a few tiles, and each tile once.
func TestWalkIsBounded(t *testing.T) {
	s := newSource(t, 1<<17)
	tr := s.tree(t)
	s.reads = 0
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, err := range tr.Leaves(t.Context(), 0, s.size) {
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("kept %d bytes", grown)
	}
	runtime.KeepAlive(tr)
	if s.reads > 2*len(s.files) {
		t.Errorf("%d fetches for %d files", s.reads, len(s.files))
	}
}

func TestOwn(t *testing.T) {
	for _, size := range sizes {
		s := newSource(t, size)
		if h, err := tlog.TreeHash(int64(size), tiles.Own(t.Context(), size, s.fetch)); err != nil || h != tlog.Hash(s.root(t, size)) {
			t.Errorf("%d: %v", size, err)
		}
		if _, err := tiles.Own(t.Context(), size, s.fetch).ReadHashes([]int64{tlog.StoredHashIndex(0, int64(size))}); err == nil {
			t.Errorf("%d: a hash beyond the end", size)
		}
	}
}

// The paths of C2SP tlog-tiles, with its own examples.
func TestPaths(t *testing.T) {
	for s, want := range map[string]tiles.Path{
		"tile/0/000":                  {Width: 256},
		"tile/0/x001/x234/067":        {N: 1234067, Width: 256},
		"tile/0/273.p/112":            {N: 273, Width: 112},
		"tile/1/000.p/17":             {Level: 1, Width: 17},
		"tile/5/001":                  {Level: 5, N: 1, Width: 256},
		"tile/entries/x001/000.p/255": {Entries: true, N: 1000, Width: 255},
	} {
		if p, err := tiles.ParsePath(s); err != nil || p != want || p.String() != s {
			t.Errorf("%s: %+v, %v", s, p, err)
		}
	}
	for _, s := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001",
		"tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/000.p/1.p/1", "tile/6/000", "tile/00/000",
		"tile/-1/000", "tile/+0/000", "/tile/0/000", "tile/entries/000/", "tile/Entries/000", "tile/0/+01", "tile/0/1_0",
		"tile/0/x999/x999/x999/x999/x999/x999/x999/999", "tile/0/x001/x099/x511/x627/776",
	} {
		if p, err := tiles.ParsePath(s); err == nil {
			t.Errorf("%q: %+v", s, p)
		}
	}
	if p := (tiles.Path{N: 1, Width: 3}); p.In(258) || !p.In(259) || (tiles.Path{Level: 1, Width: 1}).In(255) || !(tiles.Path{Level: 1, Width: 1}).In(256) {
		t.Error("In")
	}
}

func TestBundles(t *testing.T) {
	if _, err := tiles.AppendEntry(nil, make([]byte, tiles.MaxEntry+1)); err == nil {
		t.Error("printed an entry that is too long")
	}
	b, err := tiles.AppendEntry(nil, make([]byte, tiles.MaxEntry))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := tiles.ParseBundle(b); err != nil || len(e) != 1 || len(e[0]) != tiles.MaxEntry {
		t.Error(err)
	}
	for n, ok := range map[int]bool{0: false, 1: true, 256: true, 257: false} {
		if e, err := tiles.ParseBundle(make([]byte, 2*n)); (err == nil) != ok || ok && len(e) != n {
			t.Errorf("%d empty entries: %v", n, err)
		}
	}
	b, _ = tiles.AppendEntry([]byte{0, 1, 7}, []byte("ab"))
	if cut, err := tiles.CutBundle(b, 1); err != nil || !bytes.Equal(cut, []byte{0, 1, 7}) {
		t.Errorf("%x, %v", cut, err)
	}
	if _, err := tiles.CutBundle(b, 3); err == nil {
		t.Error("cut more than there is")
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"tile/0/000", "tile/entries/x001/234.p/5", "tile/5/x999/999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := tiles.ParsePath(s)
		if err == nil && p.String() != s {
			t.Errorf("accepted %q, printed %q", s, p)
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte{0, 1, 'x', 0, 0})
	f.Add([]byte{255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := tiles.ParseBundle(b)
		if err != nil {
			return
		}
		var out []byte
		for _, e := range entries {
			if out, err = tiles.AppendEntry(out, e); err != nil {
				t.Fatal(err)
			}
		}
		cut, err := tiles.CutBundle(b, len(entries))
		if !bytes.Equal(out, b) || err != nil || !bytes.Equal(cut, b) {
			t.Errorf("accepted %x, printed %x", b, out)
		}
	})
}

// Whatever a log answers, a reader ends with the leaf that was signed or an
// error.
func FuzzTree(f *testing.F) {
	s := newSource(f, 300)
	root := s.root(f, 300)
	f.Add("tile/0/000", []byte{1}, uint16(3))
	f.Add("tile/entries/001.p/44", []byte{0, 0}, uint16(299))
	f.Fuzz(func(t *testing.T, path string, data []byte, i uint16) {
		tr := tiles.New(300, root, func(ctx context.Context, p string) ([]byte, error) {
			if p == path {
				return data, nil
			}
			return s.fetch(ctx, p)
		})
		index := uint64(i) % 300
		if got, err := tr.Leaf(t.Context(), index); err == nil && !bytes.Equal(got, leaf(index)) {
			t.Errorf("leaf %d: %q", index, got)
		}
		if p, err := tr.Prove(t.Context(), index); err == nil {
			want, _ := tlog.ProveRecord(300, int64(index), s)
			if !same(p, want) {
				t.Errorf("proof of %d: %x", index, p)
			}
		}
	})
}
