// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package roster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// perNode is the most that a node may add to what clients fetch each epoch, in
// bytes, beyond what seldom changes.
const perNode = 4 << 10

// TestPackOfTheNextEpoch: who has the pack of the epoch before fetches, per node,
// its record and what is new of its evidence, and gets the same pack.
func TestPackOfTheNextEpoch(t *testing.T) {
	const nodes = 16
	w := rostertest.New(t, nodes)
	start := time.Now().Add(-time.Minute)
	first, second := w.Epoch(start, nil), w.Epoch(start.Add(10*time.Second), nil)
	old, err := statement.ParsePack(first.Pack)
	if err != nil {
		t.Fatal(err)
	}
	p, err := statement.ParsePack(second.Pack)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := p.AppendDelta(nil, old)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for _, n := range second.Statement.Nodes {
		record, evidence, err := p.Node(n)
		if err != nil {
			t.Fatal(err)
		}
		whole += len(evidence)
		if b, err := record.Append(nil); err == nil {
			whole += len(b)
		}
	}
	t.Logf("%d nodes: records and evidence %d bytes each, in a pack %d, in a delta %d", nodes, whole/nodes, len(second.Pack)/nodes, (len(delta)-len(p.Checkpoint))/nodes)
	if got := (len(delta) - len(p.Checkpoint)) / nodes; got > perNode {
		t.Errorf("%d bytes for a node and epoch, want at most %d", got, perNode)
	}
}

// TestTenThousandNodesFit: the bounds of packs are for hostile ones. What each node
// adds to a small pack, ten thousand times, is within them; of nodes with eight
// GPUs, whose own bytes fill a pack first, as many are as those leave room for.
func TestTenThousandNodesFit(t *testing.T) {
	const few, more, most = 4, 12, 10_000
	for _, row := range []struct{ gpus, nodes int }{{0, most}, {1, most}, {8, 4600}} {
		t.Run(fmt.Sprintf("%d GPUs", row.gpus), func(t *testing.T) {
			w := rostertest.New
			if row.gpus > 0 {
				w = func(t testing.TB, n int) *rostertest.World { return rostertest.NewGPU(t, n, row.gpus) }
			}
			var objects, size, joined [2]int
			for i, n := range []int{few, more} {
				e := w(t, n).Epoch(time.Now().Add(-time.Minute), nil)
				p, err := statement.ParsePack(e.Pack)
				if err != nil {
					t.Fatal(err)
				}
				objects[i], size[i] = p.Len(), len(e.Pack)
				for _, n := range e.Statement.Nodes {
					record, evidence, err := p.Node(n)
					if err != nil {
						t.Fatal(err)
					}
					b, err := record.Append(nil)
					if err != nil {
						t.Fatal(err)
					}
					joined[i] += len(b) + len(evidence)
				}
			}
			each := func(x [2]int) int { return (x[1] - x[0] + more - few - 1) / (more - few) }
			t.Logf("a node: %d objects, %d bytes of the pack, %d joined", each(objects), each(size), each(joined))
			for name, got := range map[string][2]int{
				"objects":       {each(objects), statement.MaxObjects},
				"bytes":         {each(size), statement.MaxPackSize},
				"bytes, joined": {each(joined), statement.MaxAssembled},
			} {
				if got[0]*row.nodes > got[1] {
					t.Errorf("%d nodes: %d %s, want at most %d", row.nodes, got[0]*row.nodes, name, got[1])
				}
			}
		})
	}
}

// TestNodesShareNoBomb: sixty-six bytes of a statement name a record, and each record
// the same large evidence; the pack is small, its readers' work would not be (AT-62).
func TestNodesShareNoBomb(t *testing.T) {
	w := rostertest.New(t, 1)
	first := w.Epoch(time.Now().Add(-time.Minute), nil)
	v := w.View(first)
	genuine, _, err := v.Pack.Node(v.Statement.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		short int // bytes that the last evidence lacks of what makes the bound exact
		ok    bool
	}{{1, true}, {0, true}, {-1, false}} {
		t.Run(fmt.Sprintf("AT-62/%+d", -row.short), func(t *testing.T) {
			st := *v.Statement
			st.Nodes = nil
			p := &statement.Pack{Epoch: st.Epoch, Checkpoint: v.Pack.Checkpoint}
			left := statement.MaxAssembled - row.short
			big := p.Add(make([]byte, 16<<20))
			for i := byte(1); left > 0; i++ {
				r := *genuine
				r.NodeID, r.EvidenceDigest = [32]byte{i}, big
				b, err := r.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				if left -= len(b) + 16<<20; left < 16<<20 {
					// The last has what is left.
					left += 16 << 20
					r.EvidenceDigest = p.Add(make([]byte, left))
					if b, err = r.Append(nil); err != nil {
						t.Fatal(err)
					}
					left = 0
				}
				st.Nodes = append(st.Nodes, statement.Node{ID: r.NodeID, Record: p.Add(b)})
			}
			raw, err := p.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = roster.OpenPack(&w.Trust, &st, raw)
			if row.ok && err != nil {
				t.Error(err)
			} else if got, want := roster.CodeOf(err), string(transparency.CodeStatement); !row.ok && got != want {
				t.Errorf("%v (%s), want %s", err, got, want)
			}
		})
	}
}
