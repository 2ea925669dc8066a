// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/durable/durabletest"
	"github.com/sotto-project/sotto/transparency"
)

func TestMain(m *testing.M) { os.Exit(durabletest.Main(m, cosignForEver)) }

// branches is the file in which the hostile log of this test notes which leaf it
// showed the witness at which index: a byte each.
const branches = "branches"

// cosignForEver is a witness and a log that shows it, after each crash, another
// leaf in the place of the last one it had shown, in the hope that it was forgotten.
func cosignForEver(dir string, round int, ack func(string, ...any)) error {
	store, err := OpenFileStore(filepath.Join(dir, "w"))
	if err != nil {
		return err
	}
	signer, err := transparency.NewSigner(origin, key(origin))
	if err != nil {
		return err
	}
	cosigners, err := OpenCosigners(filepath.Join(dir, "w"), myName, true)
	if err != nil {
		return err
	}
	w, err := New(Setup{Cosigners: cosigners, Logs: []Log{{Origin: origin, LogKey: signer.VKey()}}, Store: store})
	if err != nil {
		return err
	}
	leaves, err := os.ReadFile(filepath.Join(dir, branches))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	show := func(leaves []byte, old uint64) (string, error) {
		tr := treeOf(leaves)
		root, err := tr.Root(tr.Size())
		if err != nil {
			return "", err
		}
		r := &Request{Old: old, Note: signer.Sign(tr.Size(), root)}
		if 0 < old && old < tr.Size() {
			if r.Proof, err = tr.ProveConsistency(old, tr.Size()); err != nil {
				return "", err
			}
		}
		_, err = w.AddCheckpoint(r)
		return fmt.Sprintf("%d %x", tr.Size(), root), err
	}
	note := func(leaves []byte) error {
		return durable.WriteFile(filepath.Join(dir, branches), leaves, 0o600)
	}
	if n := len(leaves); n > 0 {
		fork := append(leaves[:n-1:n-1], leaves[n-1]^0x80)
		switch what, err := show(fork, uint64(n-1)); {
		case err == nil, codeOf(err) == CodeStale: // it had not signed the other one, or this one already
			if err := note(fork); err != nil {
				return err
			}
			ack("signed %s", what)
			leaves = fork
		case codeOf(err) != CodeFork:
			return err
		}
	}
	for n := uint64(len(leaves)); ; n++ {
		next := append(leaves[:n:n], byte(round)&0x7f)
		if err := note(next); err != nil { // before it is shown
			return err
		}
		what, err := show(next, n)
		if err != nil {
			return err
		}
		ack("signed %s", what)
		leaves = next
	}
}

// codeOf is the code of a refusal.
func codeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func treeOf(leaves []byte) *transparency.Tree {
	var tr transparency.Tree
	for i, b := range leaves {
		if err := tr.Append([]byte{byte(i), b}); err != nil {
			panic(err)
		}
	}
	return &tr
}

// signatures are the roots that were ever signed, by size.
type signatures struct {
	roots map[uint64]string
	last  uint64
}

func (s *signatures) add(t *testing.T, size uint64, root string) {
	t.Helper()
	if old := s.roots[size]; old != "" && old != root {
		t.Errorf("two roots of %d leaves were signed", size)
	}
	s.roots[size], s.last = root, max(s.last, size)
}

func (s *signatures) take(t *testing.T, acks []string) {
	t.Helper()
	for _, a := range acks {
		var size uint64
		var root string
		if _, err := fmt.Sscanf(a, "signed %d %s", &size, &root); err != nil {
			t.Fatalf("%q", a)
		}
		s.add(t, size, root)
	}
}

// compare looks at what the witness remembers: never less than it gave out.
func (s *signatures) compare(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(statePath(filepath.Join(dir, "w")))
	if errors.Is(err, fs.ErrNotExist) && s.last == 0 {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	st, err := parseState(b, origin)
	if err != nil {
		t.Fatal(err)
	}
	if n := st.cp.Size; n < s.last || n > s.last+1 {
		t.Errorf("remembers %d leaves; %d were acknowledged", n, s.last)
	}
	s.add(t, st.cp.Size, fmt.Sprintf("%x", st.cp.Root))
}

func newKillDir(t *testing.T) string {
	dir := t.TempDir()
	if err := Create(filepath.Join(dir, "w"), myName, origin); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestKilled: kill -9 at any moment, with a log that tries to have a second root
// signed after each: what was signed is remembered, and no size has two roots.
func TestKilled(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		dir, s := newKillDir(t), &signatures{roots: map[uint64]string{}}
		rng := rand.New(rand.NewPCG(7, 21))
		for round := range durabletest.Rounds() {
			s.take(t, durabletest.Kill(t, dir, round, rng))
			s.compare(t, dir)
			if t.Failed() {
				t.Fatalf("in round %d", round)
			}
		}
		t.Logf("%d leaves", s.last)
	})
}

// TestDiskFull: no room for its memory: it signs nothing, and with room again it
// goes on from what it signed last.
func TestDiskFull(t *testing.T) {
	for _, limit := range []uint64{8, 100, 3000} {
		t.Run(fmt.Sprintf("DS-07/%d bytes", limit), func(t *testing.T) {
			dir, s := newKillDir(t), &signatures{roots: map[uint64]string{}}
			s.take(t, durabletest.Kill(t, dir, 1, rand.New(rand.NewPCG(7, limit))))
			s.compare(t, dir)
			acks, last := durabletest.Full(t, dir, 2, limit)
			t.Logf("then: %s", last)
			if len(acks) > 0 {
				t.Errorf("signed %d times without a memory of it", len(acks))
			}
			s.compare(t, dir)
			s.take(t, durabletest.Kill(t, dir, 3, rand.New(rand.NewPCG(8, limit))))
			s.compare(t, dir)
		})
	}
}
