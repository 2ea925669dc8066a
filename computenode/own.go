// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/transparency/statement"
)

// judgeOwn verifies the node's own epoch evidence, its GPUs included, as a client
// with that policy would. What is wrong with a machine is better said here, by
// its operator's own node, than by every client. How old the checkpoint is is not
// the question: the node has just been given it.
func (n *Node) judgeOwn(r *statement.Record, b *evidence.Bundle, checkpoint []byte) error {
	if n.own == nil {
		return nil
	}
	c, err := evidence.ParseConfig(n.measured)
	if err != nil {
		return fmt.Errorf("node: own evidence: %w", err)
	}
	payment, _ := c.PaymentMode()
	policy, now := *n.own, time.Now()
	policy.WithoutFreshness = true
	_, err = attestation.Verify(attestation.Evidence{Epoch: b}, &policy, attestation.References{
		Epoch: r.Epoch, EvidenceDigest: r.EvidenceDigest, NodeID: r.NodeID, REK: r.REK, NodeKey: r.NodeKey,
		EpochCheckpoint: attestation.Checkpoint{Hash: sha256.Sum256(checkpoint), Time: now},
		Model:           c.Model, WeightsDigest: c.WeightsDigest(), Payment: payment,
	}, now)
	if err != nil {
		return fmt.Errorf("node: own evidence: %w", err)
	}
	return nil
}
