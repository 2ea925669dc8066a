// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package rostertest makes epochs of SIMULATED nodes: a log with a witness of
// its own, statements in it, packs and freshness lists that verify under it. It
// is for tests and benchmarks; nothing in it runs a server.
package rostertest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// Model is what all nodes serve; Weights its weights.
const Model = "toy"

// Weights is the digest of the model's weights.
var Weights = sha256.Sum256([]byte("SIMULATED weights"))

const origin = "rostertest.invalid/SIMULATED"

// A World is a log and nodes.
type World struct {
	t testing.TB

	Root   *attestationtest.Root
	Policy *attestation.Policy
	Trust  transparency.Trust
	Nodes  []*attestationtest.Node
	Log    *publish.Log
	config publish.Config
}

// root is made once: its keys take longer than all else.
var root = sync.OnceValues(attestationtest.GenerateRoot)

// New makes a world of n nodes and no epoch yet.
func New(t testing.TB, n int) *World {
	t.Helper()
	return newWorld(t, n, 0)
}

// NewGPU is [New] for nodes with some GPUs each, of which no two are the same;
// manifests and answers about issuers are, as with NVIDIA's. The policy asks for
// as many.
func NewGPU(t testing.TB, n, gpus int) *World {
	t.Helper()
	return newWorld(t, n, gpus)
}

func newWorld(t testing.TB, n, gpus int) *World {
	t.Helper()
	w := &World{t: t, Nodes: make([]*attestationtest.Node, n)}
	var err error
	w.Root, err = root()
	w.must(err)
	w.Policy = attestationtest.Policy(w.Root)
	if gpus > 0 {
		w.Policy.AllowNoGPU, w.Policy.GPU = false, attestationtest.GPUPolicy(gpus)
	}
	config, err := attestationtest.Config(Model, Weights).Append(nil)
	w.must(err)
	errs := make([]error, n)
	roster.Each(n, func(i int) {
		spec := attestationtest.NodeSpec{Name: fmt.Sprintf("node-%d", i+1), Config: config}
		if gpus > 0 {
			spec.GPU = &fakegpu.Spec{First: i * gpus, GPUs: gpus, NoTokens: true, Shared: true}
		}
		w.Nodes[i], errs[i] = attestationtest.NewNode(w.Root, spec)
	})
	for _, err := range errs {
		w.must(err)
	}
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	w.must(os.WriteFile(keys, []byte{0, 3, 's', 'i', 'm'}, 0o600))
	w.config = publish.Config{
		Payment: "none", GatewayKeys: []string{keys},
		Models: []publish.ModelConfig{{Name: Model, Weights: hex.EncodeToString(Weights[:]), Context: 512, APIs: []string{"chat"}}},
	}
	start := time.Now().Add(-time.Hour)
	w.must(publish.CreateLog(filepath.Join(dir, "log"), origin, start))
	w.Log, err = publish.OpenLog(filepath.Join(dir, "log"), origin, start)
	w.must(err)
	t.Cleanup(func() { w.Log.Close() })
	w.Trust = *w.Log.Keys().Trust()
	return w
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// An Epoch is what is public about one epoch.
type Epoch struct {
	Statement *statement.Statement
	Signed    []byte // statement.Signed
	Pack      []byte // statement.Pack
	Freshness []byte // statement.Freshness, of this epoch's nodes alone
	records   []*statement.Record
}

// Epoch lists all nodes in the next epoch, which begins at start and lasts an
// hour, with fresh keys and evidence. edit, if given, changes records before
// they are listed.
func (w *World) Epoch(start time.Time, edit func(i int, r *statement.Record)) *Epoch {
	w.t.Helper()
	number := w.Log.Last().Epoch + 1
	start = start.UTC().Truncate(time.Second)
	made := start
	if now := time.Now(); now.Before(made) {
		made = now
	}
	note, cp, err := w.Log.Checkpoint(made)
	w.must(err)
	listings, records, errs := make([]publish.Listing, len(w.Nodes)), make([]*statement.Record, len(w.Nodes)), make([]error, len(w.Nodes))
	// All have their keys before any record is edited: an edit may look at others.
	roster.Each(len(w.Nodes), func(i int) { errs[i] = w.Nodes[i].Rekey() })
	for _, err := range errs {
		w.must(err)
	}
	roster.Each(len(w.Nodes), func(i int) {
		n := w.Nodes[i]
		b, err := n.Epoch(number, sha256.Sum256(cp.Note))
		if err != nil {
			errs[i] = err
			return
		}
		raw, err := b.Append(nil)
		r := &statement.Record{NodeID: n.ID(), Epoch: number, REK: n.REK(), NodeKey: n.Public(), EvidenceDigest: b.Digest()}
		if edit != nil {
			edit(i, r)
		}
		listings[i], records[i], errs[i] = publish.Listing{Record: r, Model: Model, Evidence: raw}, r, err
	})
	for _, err := range errs {
		w.must(err)
	}
	frame := publish.Epoch{Number: number, NotBefore: start, NotAfter: start.Add(time.Hour), Beacon: w.Log.Beacon(), Checkpoint: note}
	st, pack, err := w.config.Compose(frame, listings, w.Policy)
	w.must(err)
	w.must(w.Log.Commit(st, pack, made))
	e := &Epoch{Statement: st, records: records}
	e.Signed, err = w.Log.Signed(number)
	w.must(err)
	e.Pack, err = w.Log.Pack(number)
	w.must(err)
	w.Refresh(e, made)
	return e
}

// Refresh collects freshness evidence over a checkpoint cosigned at a time.
func (w *World) Refresh(e *Epoch, at time.Time) {
	w.t.Helper()
	note, cp, err := w.Log.Checkpoint(at)
	w.must(err)
	list := &statement.Freshness{Checkpoint: note, Items: make([]statement.Fresh, len(w.Nodes))}
	errs := make([]error, len(w.Nodes))
	roster.Each(len(w.Nodes), func(i int) {
		b, err := w.Nodes[i].Freshness(e.records[i].EvidenceDigest, sha256.Sum256(cp.Note))
		if err != nil {
			errs[i] = err
			return
		}
		list.Items[i] = statement.Fresh{Epoch: e.Statement.Epoch, NodeID: w.Nodes[i].ID()}
		list.Items[i].Bundle, errs[i] = b.Append(nil)
	})
	for _, err := range errs {
		w.must(err)
	}
	slices.SortFunc(list.Items, func(a, b statement.Fresh) int { return slices.Compare(a.NodeID[:], b.NodeID[:]) })
	e.Freshness, err = list.Append(nil)
	w.must(err)
}

// View opens an epoch as somebody who trusts the world's log.
func (w *World) View(e *Epoch) *roster.View {
	w.t.Helper()
	signed, err := statement.ParseSigned(e.Signed)
	w.must(err)
	v := new(roster.View)
	v.Statement, _, err = signed.Verify(&w.Trust)
	w.must(err)
	v.Pack, v.EpochPoint, err = roster.OpenPack(&w.Trust, v.Statement, e.Pack)
	w.must(err)
	v.Freshness, v.FreshPoint, err = roster.OpenFreshness(&w.Trust, e.Freshness)
	w.must(err)
	return v
}

// Challenge makes a node's answer to a challenge, over its evidence of an epoch.
func (w *World) Challenge(n *attestationtest.Node, epochDigest, challenge [32]byte) []byte {
	w.t.Helper()
	b, err := Challenge(n, epochDigest, challenge)
	w.must(err)
	return b
}

// Challenge is [World.Challenge] for servers.
func Challenge(n *attestationtest.Node, epochDigest, challenge [32]byte) ([]byte, error) {
	qualifier := evidence.ChallengeQualifier(epochDigest, challenge)
	quote, err := n.TPM.Quote(qualifier[:], evidence.QuotePCRs())
	if err != nil {
		return nil, err
	}
	return (&evidence.Bundle{Pieces: []evidence.Piece{
		{Kind: evidence.KindFreshQuote, Data: quote.Attest},
		{Kind: evidence.KindFreshQuoteSig, Data: quote.Signature},
		{Kind: evidence.KindFreshPCRs, Data: evidence.PCRs(quote.PCRs).Append(nil)},
	}}).Append(nil)
}
