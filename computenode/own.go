// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/collect"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/transparency/statement"
)

// judgeOwn verifies the node's own epoch evidence, its GPUs included, as a client
// with that policy would. What is wrong with a machine is better said here, by
// its operator's own node, than by every client. How old the checkpoint is is not
// the question: the node has just been given it.
func (n *Node) judgeOwn(r *statement.Record, b *evidence.Bundle, point [32]byte) error {
	return n.judgeSelf(r, attestation.Evidence{Epoch: b}, point, [32]byte{})
}

// judgeNow does what a client with a challenge of its own does (POST /v1/attest):
// it has the TPM quote one over the newest epoch's evidence, and judges all of
// it, what the run-time log grew by included, under the node's own policy.
func (n *Node) judgeNow(ctx context.Context) error {
	e := n.epoch(n.newest())
	if n.own == nil || e == nil {
		return nil
	}
	record, err := statement.ParseRecord(e.answer.Record)
	if err != nil {
		return err
	}
	ev, err := attestation.ParseEvidence(e.answer.Evidence, nil)
	if err != nil {
		return err
	}
	challenge := draw()
	if ev.Freshness, err = n.collector.Challenge(ctx, e.digest, challenge); err != nil {
		return &undecidedError{err}
	}
	return decided(n.judgeSelf(record, ev, e.point, challenge))
}

// judgeAgain asks everything once more, the GPUs over a nonce that they have not
// seen, and judges it as the evidence of an epoch is.
func (n *Node) judgeAgain(ctx context.Context) error {
	e := n.epoch(n.newest())
	if n.own == nil || e == nil {
		return nil
	}
	public, err := n.keys.Public(e.number)
	if err != nil {
		return nil // expired since: there is nothing to vouch for
	}
	record, err := statement.ParseRecord(e.answer.Record)
	if err != nil {
		return err
	}
	drawn := draw()
	b, err := n.collector.Again(ctx, collect.KeyMaterial{Epoch: public.Epoch, REK: public.Bytes, Seal: public.Seal, NodeKey: e.verify}, drawn)
	var verdict *collect.SelfCheckError
	if errors.As(err, &verdict) {
		return err
	} else if err != nil {
		return &undecidedError{err}
	}
	record.EvidenceDigest = b.Digest()
	return decided(n.judgeOwn(record, b, sha256.Sum256(drawn[:])))
}

// draw returns 32 bytes that nobody has seen.
func draw() (b [32]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

// collateral is what a refusal that says nothing about the machine names: files
// of the vendors that are out of date. The operator may be about to replace them.
var collateral = []attestation.Code{"att.crl", "att.gpu.ocsp", "att.tdx.collateral"}

// decided tells refusals that are verdicts on the machine from those that are
// not. Undecided is no way out: see [Node.repeat].
func decided(err error) error {
	var refusal *attestation.RefusalError
	if errors.As(err, &refusal) && slices.Contains(collateral, refusal.Code) {
		return &undecidedError{err}
	}
	return err
}

// judgeSelf verifies evidence under the node's own policy, with freshness
// evidence over a challenge if there is one.
func (n *Node) judgeSelf(r *statement.Record, ev attestation.Evidence, point, challenge [32]byte) error {
	if n.own == nil {
		return nil
	}
	c, err := evidence.ParseConfig(n.measured)
	if err != nil {
		return fmt.Errorf("node: own evidence: %w", err)
	}
	payment, _ := c.PaymentMode()
	policy, now := *n.own, time.Now()
	policy.WithoutFreshness = ev.Freshness == nil
	if policy.MaxFreshAge <= 0 {
		policy.MaxFreshAge = attestation.Duration(time.Minute) // the challenge is of this moment
	}
	refs := attestation.References{
		Epoch: r.Epoch, EvidenceDigest: r.EvidenceDigest, NodeID: r.NodeID, REK: r.REK, NodeKey: r.NodeKey,
		EpochCheckpoint: attestation.Checkpoint{Hash: point, Time: now},
		Model:           c.Model, WeightsDigest: c.WeightsDigest(), Payment: payment,
	}
	if n.tickets != nil {
		refs.TicketKey = n.tickets[0] // its own word: the statement's is for others to compare
	}
	if ev.Freshness != nil {
		refs.Challenge, refs.FreshCheckpoint.Time = challenge, now
	}
	if _, err = n.memo.Verify(ev, &policy, refs, now); err != nil {
		return fmt.Errorf("node: own evidence: %w", err)
	}
	return nil
}
