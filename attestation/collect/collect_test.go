// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package collect_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/mlkem"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// TestCollectedEvidenceVerifies runs the reference simulator through what a node
// does: boot, measure, make keys, collect. The verifier reads with a parser of
// its own, so this is also where the two meet.
func TestCollectedEvidenceVerifies(t *testing.T) {
	ctx := t.Context()
	wire, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	dev := tpm.New(wire)
	defer dev.Close()
	root, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	weights := sha256.Sum256([]byte("lab weights"))
	c := newCollector(ctx, t, dev, root, weights)

	seal, err := dev.CreateSealKey(ctx, evidence.SealPCRs())
	if err != nil {
		t.Fatal(err)
	}
	pq, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	rek := append(pq.EncapsulationKey().Bytes(), seal.PublicKey().Bytes()...)
	nodeKey, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	early, late := []byte("checkpoint of epoch 40\n"), []byte("checkpoint now\n")
	keys := collect.KeyMaterial{Epoch: 41, REK: rek, Seal: seal, NodeKey: nodeKey}
	epoch, err := c.Epoch(ctx, keys, early)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := c.Freshness(ctx, epoch.Digest(), late)
	if err != nil {
		t.Fatal(err)
	}

	now := time.Now()
	policy := attestationtest.Policy(root)
	refs := attestation.References{
		Epoch: 41, EvidenceDigest: epoch.Digest(), NodeID: c.NodeID(), REK: rek, NodeKey: nodeKey,
		EpochCheckpoint: attestation.Checkpoint{Hash: sha256.Sum256(early), Time: now.Add(-time.Hour)},
		FreshCheckpoint: attestation.Checkpoint{Hash: sha256.Sum256(late), Time: now},
		Model:           "toy", WeightsDigest: weights, Payment: evidence.PaymentNone,
	}
	ev := travel(t, epoch, fresh)
	r, err := attestation.Verify(ev, policy, refs, now)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.REK, rek) || !r.Simulated {
		t.Errorf("result %+v", r)
	}

	t.Run("AT-64", func(t *testing.T) {
		// State changes after attestation: freshness tells.
		if err := dev.Extend(ctx, 11, [32]byte{1}); err != nil {
			t.Fatal(err)
		}
		if ev.Freshness, err = c.Freshness(ctx, epoch.Digest(), late); err != nil {
			t.Fatal(err)
		}
		_, err = attestation.Verify(ev, policy, refs, now)
		var refusal *attestation.RefusalError
		if !errors.As(err, &refusal) || refusal.Code != "att.pcr.value" {
			t.Errorf("%v", err)
		}
	})
}

func newCollector(ctx context.Context, t *testing.T, dev *tpm.TPM, root *attestationtest.Root, weights [32]byte) *collect.Collector {
	log, err := attestationtest.Boot(ctx, dev)
	if err != nil {
		t.Fatal(err)
	}
	config, err := attestationtest.Config("toy", weights).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := collect.MeasureConfig(ctx, dev, append(config, ' ')); err == nil {
		t.Error("measured a configuration that no verifier reads")
	}
	if err := collect.MeasureConfig(ctx, dev, config); err != nil {
		t.Fatal(err)
	}
	ak, err := dev.CreateAK(ctx)
	if err != nil {
		t.Fatal(err)
	}
	chip, err := root.NewChip("node 0")
	if err != nil {
		t.Fatal(err)
	}
	return &collect.Collector{TPM: dev, AK: ak, Reporter: chip, EventLog: log, Config: config}
}

// travel prints and parses, as every bundle does on its way.
func travel(t *testing.T, epoch, fresh *evidence.Bundle) attestation.Evidence {
	a, err := epoch.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := fresh.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := attestation.ParseEvidence(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}
