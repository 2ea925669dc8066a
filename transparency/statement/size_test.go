// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A roster is a statement of n nodes and as many chips, in a log of ten years,
// with everything that its readers verify: two keys of the log, and three
// witnesses with two keys each.
func bigSigned(t testing.TB, n int) ([]byte, *transparency.Trust) {
	t.Helper()
	const epoch = 10 * 365 * 24
	st := full(epoch)
	st.Nodes, st.Chips = nil, nil
	for i := range n {
		var id [32]byte
		binary.BigEndian.PutUint64(id[:], uint64(i))
		st.Nodes = append(st.Nodes, statement.Node{ID: id, Record: sha256.Sum256(id[:])})
		st.Chips = append(st.Chips, id)
	}
	leaf := encode(t, st)
	var tree transparency.Tree
	for range epoch {
		if err := tree.Append(make([]byte, statement.LeafSize)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Append(statement.LogLeaf(leaf)); err != nil {
		t.Fatal(err)
	}
	root, err := tree.Root(tree.Size())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := tree.Prove(epoch, tree.Size())
	if err != nil {
		t.Fatal(err)
	}
	seed := sha256.Sum256([]byte("test key pq"))
	signer, err := transparency.NewHybridSigner(origin, key(origin), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	tr := &transparency.Trust{Origin: origin, LogKey: signer.VKey(), LogKeyPQ: signer.VKeyPQ(), Quorum: 3}
	signed := signer.Sign(tree.Size(), root)
	for i := range 3 {
		name := fmt.Sprintf("witness-%d.example", i)
		w, err := transparency.NewCosigner(name, key(name))
		if err != nil {
			t.Fatal(err)
		}
		if signed, err = w.Cosign(signed, noon); err != nil {
			t.Fatal(err)
		}
		skey, vkey, err := fnote.GenerateMLDSAKey(name)
		if err != nil {
			t.Fatal(err)
		}
		signed = append(signed, pqLine(t, skey, signed)...)
		tr.Witnesses = append(tr.Witnesses, w.VKey(), vkey)
	}
	b, err := (&statement.Signed{Leaf: leaf, Index: epoch, Proof: proof, Checkpoint: signed}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b, tr
}

// pqLine is a cosignature by other code than ours.
func pqLine(t testing.TB, skey string, signed []byte) string {
	t.Helper()
	s, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	n, err := note.Sign(&note.Note{Text: string(text) + "\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(n), "\n")
	if _, err := base64.StdEncoding.DecodeString(strings.TrimSpace(lines[4][strings.LastIndex(lines[4], " ")+1:])); err != nil {
		t.Fatal(err)
	}
	return lines[4]
}

func open(t testing.TB, b []byte, tr *transparency.Trust) {
	s, err := statement.ParseSigned(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, c, err := s.Verify(tr); err != nil || len(c.Cosignatures) < 3 || !c.PostQuantum {
		t.Fatalf("%+v, %v", c, err)
	}
}

// What every client fetches and checks each epoch.
func TestSignedStatementIsSmallAndQuick(t *testing.T) {
	for _, row := range []struct {
		nodes, bytes int
		time         time.Duration
	}{{1000, 120_000, 5 * time.Millisecond}, {10_000, 1_100_000, 40 * time.Millisecond}} {
		b, tr := bigSigned(t, row.nodes)
		if len(b) > row.bytes {
			t.Errorf("%d nodes: %d bytes, want %d", row.nodes, len(b), row.bytes)
		}
		best := time.Hour
		for range 20 { // the machine may be busy; one undisturbed run is enough
			start := time.Now()
			open(t, b, tr)
			best = min(best, time.Since(start))
		}
		t.Logf("%d nodes: %d bytes, checked in %v", row.nodes, len(b), best)
		if best > row.time && !raceDetector {
			t.Errorf("%d nodes: checked in %v, want %v", row.nodes, best, row.time)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("%d nodes", n), func(b *testing.B) {
			raw, tr := bigSigned(b, n)
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				open(b, raw, tr)
			}
		})
	}
}
