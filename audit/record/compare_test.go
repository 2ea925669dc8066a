// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/audit/record"
)

// A world is one simulated node as a log lists it, with evidence.
type world struct {
	root *attestationtest.Root
	refs attestation.References
	ev   attestation.Evidence
	now  time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	root, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	weights := sha256.Sum256([]byte("weights"))
	config, err := attestationtest.Config("toy", weights).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	node, err := attestationtest.NewNode(root, attestationtest.NodeSpec{Name: "node", Config: config})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{root: root, now: time.Now()}
	early := attestation.Checkpoint{Hash: hash("early"), Time: w.now.Add(-time.Hour)}
	late := attestation.Checkpoint{Hash: hash("late"), Time: w.now.Add(-time.Minute)}
	if w.ev.Epoch, err = node.Epoch(41, early.Hash); err != nil {
		t.Fatal(err)
	}
	w.refs = node.References(w.ev.Epoch, 41, early, late)
	if w.ev.Freshness, err = node.Freshness(w.refs.EvidenceDigest, late.Hash); err != nil {
		t.Fatal(err)
	}
	return w
}

// audit verifies as one party would, and signs what came of it.
func (w *world) audit(t *testing.T, who string, p *attestation.Policy, at time.Time) *record.Record {
	t.Helper()
	res, err := attestation.Verify(w.ev, p, w.refs, at)
	var report *attestation.Report
	var e *attestation.RefusalError
	switch {
	case err == nil:
		report = res.Report
	case errors.As(err, &e):
		report = e.Report
	default:
		t.Fatal(err)
	}
	key := testKey(who)
	r := newRecord(t, record.Params{
		Key: public(key), Name: who, Build: "v0.3.0", Time: at, Policy: hash(fmt.Sprint(p.AllowNoGPU)), Epoch: 41, Statement: hash("statement"),
		Nodes: []record.NodeParams{{Report: stripped(report), Evidence: w.ev.Epoch.Digest(), Freshness: w.ev.Freshness.Digest()}},
	})
	back, err := record.Verify(sign(t, r, key), public(key))
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// stripped leaves the policy's digest to the test, which knows no roots' names.
func stripped(r *attestation.Report) *attestation.Report {
	c := *r
	c.Policy = ""
	return &c
}

func TestTwoParties(t *testing.T) {
	w := newWorld(t)
	policy := attestationtest.Policy(w.root)
	a := w.audit(t, "a", policy, w.now)
	if a.Nodes[0].Verdict != attestation.VerifiedWithGaps || !a.Nodes[0].Simulated || a.Status() != "warning" {
		t.Fatalf("lab evidence: %+v", a.Nodes[0])
	}

	t.Run("agree", func(t *testing.T) {
		if d := record.Compare(a, w.audit(t, "b", policy, w.now.Add(time.Second))); d != nil {
			t.Errorf("differences: %+v", d)
		}
	})
	t.Run("other policy", func(t *testing.T) {
		strict := attestationtest.Policy(w.root)
		strict.AllowNoGPU = false
		d := record.Compare(a, w.audit(t, "b", strict, w.now))
		has(t, d, "policy_sha256", "")
		has(t, d, "verdict", "policy")
		has(t, d, "code", "policy")
	})
	t.Run("too late", func(t *testing.T) {
		d := record.Compare(a, w.audit(t, "b", policy, w.now.Add(24*time.Hour)))
		has(t, d, "verdict", "time")
	})
	t.Run("other evidence", func(t *testing.T) {
		b := w.audit(t, "b", policy, w.now)
		b.Nodes[0].Evidence = hash("another")
		d := record.Compare(a, b)
		has(t, d, "evidence_sha256", "")
		if len(d) != 1 {
			t.Errorf("differences: %+v", d)
		}
	})
}

func TestCompare(t *testing.T) {
	change := func(f func(*record.Record)) []record.Difference {
		a, b := newRecord(t, goldenParams()), newRecord(t, goldenParams())
		f(b)
		d := record.Compare(a, b)
		if back := record.Compare(b, a); len(back) != len(d) || len(d) > 0 && (back[0].A != d[0].B || back[0].B != d[0].A || back[0].Because != d[0].Because) {
			t.Errorf("the other way round: %+v, %+v", d, back)
		}
		return d
	}
	if d := change(func(r *record.Record) { r.KeyID, r.Name, r.Build, r.Time = "x", "y", "z", r.Time.Add(1) }); d != nil {
		t.Errorf("two parties: %+v", d)
	}
	for name, c := range map[string]struct {
		field, because string
		f              func(*record.Record)
	}{
		"split view":    {"statement_sha256", "", func(r *record.Record) { r.Statement = hash("x") }},
		"another epoch": {"statement_sha256", "time", func(r *record.Record) { r.Statement, r.Epoch = hash("x"), 42 }},
		"verdict":       {"verdict", "", func(r *record.Record) { r.Nodes[0].Verdict = attestation.Verified }},
		"tier":          {"tier", "", func(r *record.Record) { r.Nodes[0].Tier = 1 }},
		"gap":           {"gaps", "", func(r *record.Record) { r.Nodes[0].Gaps, r.Nodes[1].Gaps = []string{"x"}, []string{"x"} }},
		"simulated":     {"simulated", "", func(r *record.Record) { r.Nodes[1].Simulated = true }},
		"another build": {"tier", "verifier", func(r *record.Record) { r.Nodes[0].Tier, r.Build = 1, "v0.4.0" }},
		"freshness":     {"freshness_sha256", "time", func(r *record.Record) { r.Nodes[0].Freshness = hash("x") }},
		"node left out": {"submods", "choice", func(r *record.Record) { r.Nodes = r.Nodes[:1] }},
		"other node":    {"submods", "choice", func(r *record.Record) { r.Nodes[1].ID[31] ^= 1 }},
		"several reasons": {"tier", "policy, evidence, verifier", func(r *record.Record) {
			r.Nodes[0].Tier, r.Build, r.Policy, r.Nodes[0].Freshness = 1, "x", hash("x"), hash("x")
		}},
	} {
		t.Run(name, func(t *testing.T) { has(t, change(c.f), c.field, c.because) })
	}
}

func has(t *testing.T, ds []record.Difference, field, because string) {
	t.Helper()
	for _, d := range ds {
		if d.Field == field {
			if d.Because != because || d.A == d.B {
				t.Errorf("%+v, want because of %q", d, because)
			}
			return
		}
	}
	t.Errorf("no difference in %s: %+v", field, ds)
}
