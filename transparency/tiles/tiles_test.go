// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tiles

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/transparency"
)

func grown(t testing.TB, n int, leaf func(i int) string) *transparency.Tree {
	t.Helper()
	tree := new(transparency.Tree)
	for i := range n {
		if err := tree.Append([]byte(leaf(i))); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func honest(i int) string { return fmt.Sprint("leaf ", i) }

func rootOf(t testing.TB, tree *transparency.Tree, size uint64) [32]byte {
	t.Helper()
	h, err := tree.Root(size)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func from(tree *transparency.Tree) Fetch {
	return func(_ context.Context, path string) ([]byte, error) { return Cut(tree, path) }
}

// TestProve: every pair of sizes around the edges of tiles, and a tree that
// rewrote a leaf is told from one that only grew.
func TestProve(t *testing.T) {
	const n = 600
	good := grown(t, n, honest)
	other := grown(t, n, func(i int) string {
		if i == 3 {
			return "rewritten"
		}
		return honest(i)
	})
	sizes := []uint64{1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 300, 511, 512, 513, n}
	for _, old := range sizes {
		for _, size := range sizes {
			if old > size {
				continue
			}
			h, proof, err := Prove(t.Context(), from(good), old, size, rootOf(t, good, size))
			if err != nil || h != rootOf(t, good, old) {
				t.Fatalf("%d to %d: %v", old, size, err)
			}
			p := make(tlog.TreeProof, len(proof))
			for i := range proof {
				p[i] = proof[i]
			}
			if old < size {
				if err := tlog.CheckTree(p, int64(size), rootOf(t, good, size), int64(old), rootOf(t, good, old)); err != nil {
					t.Fatalf("%d to %d: the proof: %v", old, size, err)
				}
			}
			h, _, err = Prove(t.Context(), from(other), old, size, rootOf(t, other, size))
			if rewrote := old > 3; err != nil || (h != rootOf(t, good, old)) != rewrote {
				t.Errorf("AT-48: %d to %d: rewritten tree: %v, differs %v", old, size, err, h != rootOf(t, good, old))
			}
			// Tiles of another tree lead nowhere, and accuse nobody.
			if _, _, err := Prove(t.Context(), from(other), old, size, rootOf(t, good, size)); old < size && size > 3 && err == nil {
				t.Errorf("%d to %d: tiles of another tree were believed", old, size)
			}
		}
	}
	for _, c := range [][2]uint64{{0, 5}, {6, 5}, {1, 1<<48 + 1}} {
		if _, _, err := Prove(t.Context(), from(good), c[0], c[1], [32]byte{}); err == nil {
			t.Errorf("%v: no error", c)
		}
	}
}

// TestTilesThatLie: AT-46 for tiles: hashes cut, added, flipped, of another
// place; each is an error and never another root.
func TestTilesThatLie(t *testing.T) {
	tree := grown(t, 600, honest)
	root := rootOf(t, tree, 600)
	for name, lie := range map[string]func(path string, b []byte) ([]byte, error){
		"cut":     func(_ string, b []byte) ([]byte, error) { return b[:len(b)-32], nil },
		"added":   func(_ string, b []byte) ([]byte, error) { return append(b, make([]byte, 32)...), nil },
		"flipped": func(_ string, b []byte) ([]byte, error) { b[0] ^= 1; return b, nil },
		"empty":   func(string, []byte) ([]byte, error) { return nil, nil },
		"absent":  func(string, []byte) ([]byte, error) { return nil, errors.New("absent") },
		"of another place": func(path string, b []byte) ([]byte, error) {
			return Cut(tree, "tile/0/001")
		},
	} {
		t.Run("AT-46/"+name, func(t *testing.T) {
			_, _, err := Prove(t.Context(), func(_ context.Context, path string) ([]byte, error) {
				b, err := Cut(tree, path)
				if err != nil {
					return nil, err
				}
				return lie(path, b)
			}, 300, 600, root)
			if err == nil {
				t.Error("believed")
			}
		})
	}
	t.Run("partial tiles are gone", func(t *testing.T) {
		big := grown(t, 1024, honest)
		h, _, err := Prove(t.Context(), func(_ context.Context, path string) ([]byte, error) {
			if strings.Contains(path, ".p/") && !strings.HasPrefix(path, "tile/1/") {
				return nil, errors.New("absent")
			}
			return Cut(big, path)
		}, 300, 600, root)
		if err != nil || h != rootOf(t, tree, 300) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzPath: one spelling for a path.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"tile/0/000", "tile/1/x001/234.p/5", "tile/5/999.p/255", "tile/0/x000/001", "tile/data/000", "tile/6/000", "tile/0/1", "tile/entries/000", "tile/0/000.p/256", "tile/0/000.p/0", "tile/00/000", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePath(s)
		if err != nil {
			return
		}
		if path(p) != s || p.L < 0 || p.L > MaxLevel || p.W < 1 || p.W > 256 {
			t.Errorf("%q is %+v, printed %q", s, p, path(p))
		}
	})
}
