// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
)

// owning is a node on a simulated machine that judges its own evidence by a
// policy for such machines, after change.
func owning(t *testing.T, change func(*attestation.Policy)) *fixture {
	t.Helper()
	root, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	chip, err := root.NewChip("SIMULATED chip")
	if err != nil {
		t.Fatal(err)
	}
	policy := attestationtest.Policy(root)
	change(policy)
	f := unstarted(t, func(c *Config) {
		c.Own, c.Simulated = policy, true
		c.Weights = hex.EncodeToString(bytes.Repeat([]byte{1}, 32))
	})
	f.node.hw.Reporter = chip
	if f.node.hw.EventLog, err = attestationtest.Boot(t.Context(), f.tpm); err != nil {
		t.Fatal(err)
	}
	if err := f.node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestNodeJudgesItsOwnEvidence: a node whose own policy refuses it offers nothing
// (C-17), and says why where its operator looks.
func TestNodeJudgesItsOwnEvidence(t *testing.T) {
	t.Run("accepted", func(t *testing.T) {
		f := owning(t, func(*attestation.Policy) {})
		f.epoch(7)
	})
	t.Run("AT-54", func(t *testing.T) {
		f := owning(t, func(p *attestation.Policy) { p.AllowNoGPU = false })
		q, _ := json.Marshal(epochQuestion{7, []byte("a checkpoint")})
		resp := f.post(defaultPublisher, "/v1/epoch", bytes.NewReader(q))
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 503 || !strings.Contains(string(b), "epoch.evidence") {
			t.Errorf("%d %s %v", resp.StatusCode, b, err)
		}
		if !strings.Contains(f.log.String(), "att.gpu.absent") {
			t.Errorf("the log does not say why: %s", f.log)
		}
		if f.node.epoch(7) != nil {
			t.Error("the epoch is served all the same")
		}
	})
}
