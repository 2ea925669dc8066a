// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package issue_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/wire"
)

// TestRing: keys come and go with their files; one that cannot be read changes
// nothing.
func TestRing(t *testing.T) {
	dir := t.TempDir()
	r := issue.NewRing(dir)
	add := func(name string, first uint64) [32]byte {
		t.Helper()
		k, err := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: first, Last: first, SpendLast: first}, []uint8{0})
		if err != nil {
			t.Fatal(err)
		}
		if err := issue.CreateFile(filepath.Join(dir, name), k); err != nil {
			t.Fatal(err)
		}
		return k.Keyset().ID()
	}
	has := func(want bool, id [32]byte) {
		t.Helper()
		if _, ok := r.Of(id); ok != want {
			t.Errorf("it has the keys: %v, want %v", ok, want)
		}
	}
	load := func() {
		t.Helper()
		if err := r.Load(); err != nil {
			t.Fatal(err)
		}
	}
	a := add("a"+issue.KeySuffix, 1)
	other := add("b.txt", 2)
	has(false, a)
	load()
	has(true, a)
	has(false, other)
	b := add("b"+issue.KeySuffix, 3)
	load()
	has(true, b)
	if len(r.All()) != 2 {
		t.Errorf("%d keysets", len(r.All()))
	}
	bad := filepath.Join(dir, "c"+issue.KeySuffix)
	if err := os.WriteFile(bad, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.Load() == nil {
		t.Error("a file of no keys")
	}
	has(true, b)
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "a"+issue.KeySuffix)); err != nil {
		t.Fatal(err)
	}
	load()
	has(false, a)
	has(true, b)
	if issue.NewRing(filepath.Join(dir, "none")).Load() == nil {
		t.Error("a directory that is not there")
	}
}
