// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package clienttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/statement"
)

// An Edit changes an epoch before it is signed. Nil fields change nothing.
type Edit struct {
	Nodes     []*Node // who is listed; nil: all
	Evidence  func(n *Node, b *evidence.Bundle)
	Record    func(*statement.Record)
	Statement func(*statement.Statement, *statement.Pack)
	Fresh     func(*statement.Freshness)
	FreshTime time.Time // of the cosigned checkpoint; zero: now
}

// Epoch publishes the next epoch, which begins at start, on both boards.
func (w *World) Epoch(start time.Time, length time.Duration, edits ...Edit) uint64 {
	w.t.Helper()
	var e Edit
	for _, e = range edits {
	}
	if e.Nodes == nil {
		e.Nodes = w.Nodes
	}
	start = start.UTC().Truncate(time.Second)
	number := w.Log.Last().Epoch + 1
	made := start // nothing is cosigned in the future, nor before what was cosigned already
	if now := time.Now(); now.Before(made) || w.made.After(made) {
		made = now
	}
	w.made = made
	note, cp, err := w.Log.Checkpoint(made)
	w.must(err)
	var listings []publish.Listing
	for _, n := range e.Nodes {
		n.rekey(w)
		b, err := n.hw.Epoch(number, sha256.Sum256(cp.Note))
		w.must(err)
		if e.Evidence != nil {
			e.Evidence(n, b)
		}
		listings = append(listings, n.listing(w, number, b, e.Record))
	}
	frame := publish.Epoch{Number: number, NotBefore: start, NotAfter: start.Add(length), Beacon: w.Log.Beacon(), Checkpoint: note}
	st, pack, err := w.config.Compose(frame, listings, w.Policy)
	w.must(err)
	if e.Statement != nil {
		e.Statement(st, pack)
	}
	w.must(w.Log.Commit(st, pack, made))
	w.Post(number)
	w.Refresh(number, e)
	return number
}

// Post puts an epoch of the log on both boards, as the latest.
func (w *World) Post(number uint64) {
	w.t.Helper()
	signed, err := w.Log.Signed(number)
	w.must(err)
	pack, err := w.Log.Pack(number)
	w.must(err)
	for _, b := range w.Boards {
		b.Post(number, signed, pack)
		b.Point(number, time.Second)
	}
}

// Refresh collects freshness evidence of the listed nodes for an epoch and has
// the router look at everything.
func (w *World) Refresh(number uint64, edits ...Edit) {
	w.t.Helper()
	note, raw := w.freshness(number, edits...)
	for _, b := range w.Boards {
		b.Refresh(note, raw, time.Second)
	}
	w.Look()
}

// FreshAt is the freshness list that there would be at a time; nobody is given it.
func (w *World) FreshAt(number uint64, at time.Time) []byte {
	w.t.Helper()
	_, raw := w.freshness(number, Edit{FreshTime: at})
	return raw
}

func (w *World) freshness(number uint64, edits ...Edit) (note, raw []byte) {
	w.t.Helper()
	var e Edit
	for _, e = range edits {
	}
	at := e.FreshTime
	if at.IsZero() {
		at = time.Now()
	}
	if at.After(w.made) {
		w.made = at
	}
	note, cp, err := w.Log.Checkpoint(at)
	w.must(err)
	list := &statement.Freshness{Checkpoint: note}
	st, err := w.Log.Statement(number)
	w.must(err)
	for _, n := range w.Nodes {
		if _, listed := st.Node(n.ID()); !listed {
			continue
		}
		b, err := n.hw.Freshness(n.digest, sha256.Sum256(cp.Note))
		w.must(err)
		raw, err := b.Append(nil)
		w.must(err)
		list.Items = append(list.Items, statement.Fresh{Epoch: number, NodeID: n.ID(), Bundle: raw})
	}
	slices.SortFunc(list.Items, func(a, b statement.Fresh) int { return bytes.Compare(a.NodeID[:], b.NodeID[:]) })
	if e.Fresh != nil {
		e.Fresh(list)
	}
	raw, err = list.Append(nil)
	w.must(err)
	return note, raw
}

// Look makes the router poll the log and its nodes, and the bank the log. What it finds unacceptable
// it leaves: tests of the client's own refusals begin there.
func (w *World) Look() {
	w.router.Poll(context.Background())
	w.router.Check(context.Background())
	if w.Mint != nil {
		w.Mint.bank.Poll(context.Background())
	}
}

// Cross makes the router have its nodes judge one another.
func (w *World) Cross() { w.router.CrossVerify(context.Background()) }

// Tree is the log's own tree, with leaf replace, if that is not negative, replaced,
// and more leaves that nobody published.
func (w *World) Tree(replace, more int) *transparency.Tree {
	w.t.Helper()
	tree := new(transparency.Tree)
	for e := range w.Log.Last().Epoch + 1 {
		raw, err := w.Log.Signed(e)
		w.must(err)
		s, err := statement.ParseSigned(raw)
		w.must(err)
		leaf := statement.LogLeaf(s.Leaf)
		if int(e) == replace {
			leaf = []byte("SIMULATED: another leaf")
		}
		w.must(tree.Append(leaf))
	}
	for range more {
		w.must(tree.Append([]byte("SIMULATED: a leaf that nobody published")))
	}
	return tree
}

// Fork makes another statement for the newest epoch, signed by the log's own
// keys, and returns its signed bytes: what an operator would show to some.
func (w *World) Fork(e Edit) []byte {
	w.t.Helper()
	first, err := w.Log.Signed(w.Log.Last().Epoch)
	w.must(err)
	signed, err := statement.ParseSigned(first)
	w.must(err)
	st, err := statement.Parse(signed.Leaf)
	w.must(err)
	if e.Nodes != nil {
		st.Nodes = slices.DeleteFunc(st.Nodes, func(n statement.Node) bool {
			return !slices.ContainsFunc(e.Nodes, func(m *Node) bool { return m.ID() == n.ID })
		})
	}
	if e.Statement != nil {
		e.Statement(st, nil)
	}
	leaf, err := st.Append(nil)
	w.must(err)
	var tree transparency.Tree
	for epoch := range st.Epoch {
		raw, err := w.Log.Signed(epoch)
		w.must(err)
		before, err := statement.ParseSigned(raw)
		w.must(err)
		w.must(tree.Append(statement.LogLeaf(before.Leaf)))
	}
	w.must(tree.Append(statement.LogLeaf(leaf)))
	root, err := tree.Root(tree.Size())
	w.must(err)
	note, err := w.Log.Keys().Clock.Cosign(w.Log.Keys().Log.Sign(tree.Size(), root), time.Now())
	w.must(err)
	proof, err := tree.Prove(st.Epoch, tree.Size())
	w.must(err)
	out, err := (&statement.Signed{Leaf: leaf, Index: st.Epoch, Proof: proof, Checkpoint: note}).Append(nil)
	w.must(err)
	return out
}
