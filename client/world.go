// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A world is one epoch as this client verified it: the statement that every
// mirror agrees on, the pack it names, the youngest freshness evidence.
// Requests are sealed against one world from start to end.
type world struct {
	statement  *statement.Statement
	leaf       [32]byte                 // SHA-256 of the statement
	checkpoint *transparency.Checkpoint // the statement's
	mirrors    int                      // how many served the same statement
	gateway    *ohttp.KeyConfig
	suite      hpke.Suite
	shape      *shape

	pack       *statement.Pack
	epochPoint *transparency.Checkpoint // that all epoch evidence was made over
	freshness  *statement.Freshness
	fresh      *transparency.Checkpoint // that all freshness evidence was made over

	listed []*listed
}

// A listed node is a row of the roster; it becomes a [node] by verification,
// at most once per world.
type listed struct {
	id  [32]byte
	row statement.Node

	once   sync.Once
	node   *node
	report *attestation.Report
	err    error
}

// A node was verified and may be sealed to.
type node struct {
	id      [32]byte
	key     *hpke.PublicKey
	signing ed25519.PublicKey // for busy receipts
}

func (w *world) modelName(l *listed) string { return w.statement.Models[l.row.Model].Name }

func (w *world) models() []Model {
	out := make([]Model, len(w.statement.Models))
	for i, m := range w.statement.Models {
		out[i] = Model{Name: m.Name, Weights: hex.EncodeToString(m.Weights[:]), Nodes: len(w.serving(m.Name))}
	}
	return out
}

// onlyModel is the model's name if the statement has just one.
func (w *world) onlyModel() string {
	if len(w.statement.Models) == 1 {
		return w.statement.Models[0].Name
	}
	return ""
}

func (w *world) serving(model string) []*listed {
	var out []*listed
	for _, l := range w.listed {
		if w.modelName(l) == model {
			out = append(out, l)
		}
	}
	return out
}

// verified verifies a listed node, once.
func (w *world) verified(l *listed, p *attestation.Policy, now time.Time) (*node, error) {
	l.once.Do(func() { l.node, l.report, l.err = w.verify(l, p, now) })
	return l.node, l.err
}

func (w *world) verify(l *listed, p *attestation.Policy, now time.Time) (*node, *attestation.Report, error) {
	record, epochBundle, err := w.pack.Node(l.row)
	if err != nil {
		return nil, nil, worldError(err)
	}
	ev, err := w.evidence(l, epochBundle)
	if err != nil {
		return nil, nil, err
	}
	model := w.statement.Models[l.row.Model]
	res, err := attestation.Verify(ev, p, attestation.References{
		Epoch:           w.statement.Epoch,
		EvidenceDigest:  record.EvidenceDigest,
		NodeID:          l.id,
		REK:             record.REK,
		NodeKey:         record.NodeKey,
		EpochCheckpoint: attestation.Checkpoint{Hash: w.epochPoint.Hash(), Time: w.epochPoint.Time},
		FreshCheckpoint: attestation.Checkpoint{Hash: w.fresh.Hash(), Time: w.fresh.Time},
		Model:           model.Name,
		WeightsDigest:   model.Weights,
		Payment:         w.statement.Payment,
	}, now)
	if err != nil {
		return nil, reportOf(err), worldError(err)
	}
	key, err := hpke.ParsePublicKey(hpke.NodeSuite.KEM, res.REK)
	if err != nil {
		return nil, res.Report, refuse("att.rek.kind", "node %s: %v", short(l.id), err)
	}
	return &node{id: l.id, key: key, signing: res.NodeKey}, res.Report, nil
}

func (w *world) evidence(l *listed, epochBundle []byte) (attestation.Evidence, error) {
	var ev attestation.Evidence
	freshBundle, ok := w.freshness.Find(w.statement.Epoch, l.id)
	if !ok {
		return ev, refuse("att.stale", "no freshness evidence of node %s", short(l.id))
	}
	var err error
	if ev.Epoch, err = evidence.Parse(epochBundle); err != nil {
		return ev, refuse("att.format", "node %s: %v", short(l.id), err)
	}
	if ev.Freshness, err = evidence.Parse(freshBundle); err != nil {
		return ev, refuse("att.format", "node %s: %v", short(l.id), err)
	}
	return ev, nil
}

func reportOf(err error) *attestation.Report {
	var r *attestation.RefusalError
	if errors.As(err, &r) {
		return r.Report
	}
	return nil
}

// worldError carries the codes of the packages beneath over into [Error].
func worldError(err error) error {
	var own *Error
	var att *attestation.RefusalError
	var tr *transparency.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &att):
		return &Error{Code: string(att.Code), Detail: "node " + short(att.Node) + ": " + att.Detail, Hint: att.Hint}
	case errors.As(err, &tr):
		return &Error{Code: string(tr.Code), Detail: tr.Detail}
	}
	return err
}

// Verify fetches the world anew, verifies every listed node, and returns the
// report. The error is that of the first node refused, if any; the report is
// complete all the same.
func (c *Client) Verify(ctx context.Context) (*Report, error) {
	w, err := c.refresh(ctx, nil)
	if err != nil {
		return nil, err
	}
	var first error
	if len(w.listed) == 0 {
		first = refuse(CodeSmallSet, "the statement of epoch %d lists no node", w.statement.Epoch)
	}
	for _, l := range w.listed {
		if _, err := w.verified(l, c.cfg.Policy, c.cfg.Now()); err != nil && first == nil {
			first = err
		}
	}
	c.note(w, w.listed)
	return c.Report(), first
}
