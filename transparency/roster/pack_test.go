// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package roster_test

import (
	"testing"
	"time"

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
