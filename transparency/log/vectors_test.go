// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/transparency-dev/tessera"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/tiles"
)

var update = flag.Bool("update", false, "write testdata/vectors/log-v1.json anew")

const (
	vectorFile   = "testdata/vectors/log-v1.json"
	vectorOrigin = "vectors.sotto.example/log"
	vectorSize   = 300 // one full tile and one partial one on the first level, two levels
)

// vectors is the file for other implementations; docs/spec/log.md, Section 8,
// says what it holds.
type vectors struct {
	Source      string            `json:"source"`
	Leaves      string            `json:"leaves"`
	Keys        string            `json:"keys"`
	Origin      string            `json:"origin"`
	LogKey      string            `json:"log_key"`
	LogKeyPQ    string            `json:"log_key_pq"`
	Note        string            `json:"note"`
	Files       map[string]string `json:"files"` // path: SHA-256 of what is served there
	Roots       []root            `json:"roots"`
	Inclusion   []inclusion       `json:"inclusion"`
	Consistency []consistency     `json:"consistency"`
}

type root struct {
	Size uint64 `json:"size"`
	Root string `json:"root"`
}

// That the leaf at Index is in a tree of Size.
type inclusion struct {
	Index uint64   `json:"index"`
	Size  uint64   `json:"size"`
	Proof []string `json:"proof"`
}

// That a tree of From leaves grew to one of Size.
type consistency struct {
	From  uint64   `json:"from"`
	Size  uint64   `json:"size"`
	Proof []string `json:"proof"`
}

func vectorLeaf(e uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{1}, e)
	st := sha256.Sum256(fmt.Appendf(nil, "statement %d", e))
	return append(b, st[:]...)
}

// What follows is RFC 6962, Section 2.1, word for word, and knows nothing of tiles
// or of the code that is tested.

type leaves [][]byte

func vectorLeaves(n uint64) (out leaves) {
	for e := range n {
		out = append(out, vectorLeaf(e))
	}
	return out
}

func pair(a, b [32]byte) [32]byte {
	return sha256.Sum256(append(append([]byte{1}, a[:]...), b[:]...))
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

func mth(d leaves) [32]byte {
	switch len(d) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, d[0]...))
	}
	k := split(len(d))
	return pair(mth(d[:k]), mth(d[k:]))
}

func path(m int, d leaves) [][32]byte {
	if len(d) == 1 {
		return nil
	}
	if k := split(len(d)); m < k {
		return append(path(m, d[:k]), mth(d[k:]))
	} else {
		return append(path(m-k, d[k:]), mth(d[:k]))
	}
}

func subproof(m int, d leaves, whole bool) [][32]byte {
	if m == len(d) {
		if whole {
			return nil
		}
		return [][32]byte{mth(d)}
	}
	if k := split(len(d)); m <= k {
		return append(subproof(m, d[:k], whole), mth(d[k:]))
	} else {
		return append(subproof(m-k, d[k:], false), mth(d[:k]))
	}
}

// files cuts a tree into what is served, by C2SP tlog-tiles: at level L hash i is
// that of the 256^L leaves from i*256^L on.
func files(d leaves) map[string][]byte {
	out := map[string][]byte{}
	name := func(kind string, n, width int) string {
		if width == 256 {
			return fmt.Sprintf("tile/%s/%03d", kind, n)
		}
		return fmt.Sprintf("tile/%s/%03d.p/%d", kind, n, width)
	}
	for level, span := 0, 1; len(d)/span > 0; level, span = level+1, span*256 {
		for n := 0; n*256 < len(d)/span; n++ {
			var tile, bundle []byte
			width := min(256, len(d)/span-n*256)
			for i := n * 256; i < n*256+width; i++ {
				h := mth(d[i*span : (i+1)*span])
				tile = append(tile, h[:]...)
				if level == 0 {
					bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(d[i]))), d[i]...)
				}
			}
			out[name(fmt.Sprint(level), n, width)] = tile
			if level == 0 {
				out[name("entries", n, width)] = bundle
			}
		}
	}
	return out
}

func hexes(p [][32]byte) []string {
	out := []string{}
	for _, h := range p {
		out = append(out, hex.EncodeToString(h[:]))
	}
	return out
}

func vectorSigner(t *testing.T) *transparency.Signer {
	ed, pq := sha256.Sum256([]byte("sotto log vectors ed25519")), sha256.Sum256([]byte("sotto log vectors ml-dsa-44"))
	s, err := transparency.NewHybridSigner(vectorOrigin, ed25519.NewKeyFromSeed(ed[:]), pq[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func makeVectors(t *testing.T) *vectors {
	d, s := vectorLeaves(vectorSize), vectorSigner(t)
	v := &vectors{
		Source: "docs/spec/log.md, Section 8; made by go test ./transparency/log -run Vectors -update",
		Leaves: `leaf e names SHA-256("statement " || e), e in decimal`,
		Keys:   `seeds are SHA-256("sotto log vectors ed25519") and SHA-256("sotto log vectors ml-dsa-44")`,
		Origin: vectorOrigin, LogKey: s.VKey(), LogKeyPQ: s.VKeyPQ(),
		Note: string(s.Sign(vectorSize, mth(d))), Files: map[string]string{},
	}
	for name, b := range files(d) {
		h := sha256.Sum256(b)
		v.Files[name] = hex.EncodeToString(h[:])
	}
	for _, n := range []uint64{0, 1, 2, 3, 255, 256, 257, 300} {
		h := mth(d[:n])
		v.Roots = append(v.Roots, root{n, hex.EncodeToString(h[:])})
		if n > 0 {
			v.Inclusion = append(v.Inclusion, inclusion{n - 1, vectorSize, hexes(path(int(n-1), d))})
			v.Consistency = append(v.Consistency, consistency{n, vectorSize, hexes(subproof(int(n), d, true))})
		}
	}
	return v
}

// TestVectors: the file is what RFC 6962 and C2SP tlog-tiles say of its leaves,
// the log that Tessera writes serves just that, and readers of it come to the
// same roots and proofs.
func TestVectors(t *testing.T) {
	b, err := json.MarshalIndent(makeVectors(t), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(vectorFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(vectorFile)
	if err != nil || !bytes.Equal(have, b) {
		t.Fatalf("%s is not what the specifications say of its leaves (%v)", vectorFile, err)
	}
	var v vectors
	if err := json.Unmarshal(have, &v); err != nil {
		t.Fatal(err)
	}

	cfg := Config{Dir: filepath.Join(t.TempDir(), "log"), Signer: vectorSigner(t)}
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	l := open(t, cfg)
	var last future
	for e := range uint64(vectorSize) {
		last = l.add(t.Context(), tessera.NewEntry(vectorLeaf(e)))
	}
	if _, err := last(); err != nil {
		t.Fatal(err)
	}
	note, c, err := l.Checkpoint(t.Context())
	if err != nil || string(note) != v.Note {
		t.Fatalf("signed %q, %v", note, err)
	}
	if err := l.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	fetch := get(l.Handler())
	for name, want := range v.Files {
		b, err := fetch(t.Context(), name)
		if h := sha256.Sum256(b); err != nil || hex.EncodeToString(h[:]) != want {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	tr := tiles.New(c.Size, c.Root, fetch)
	for _, r := range v.Roots {
		if got, err := tr.Root(t.Context(), r.Size); err != nil || hex.EncodeToString(got[:]) != r.Root {
			t.Errorf("root of %d: %x, %v", r.Size, got, err)
		}
	}
	for _, p := range v.Inclusion {
		if got, err := tr.Prove(t.Context(), p.Index); err != nil || fmt.Sprint(hexes(got)) != fmt.Sprint(p.Proof) {
			t.Errorf("leaf %d: %v, %v", p.Index, hexes(got), err)
		}
	}
	for _, p := range v.Consistency {
		if got, err := tr.ProveConsistency(t.Context(), p.From); err != nil || fmt.Sprint(hexes(got)) != fmt.Sprint(p.Proof) {
			t.Errorf("from %d: %v, %v", p.From, hexes(got), err)
		}
	}
}
