// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
)

// TestMain checks, after a whole run, that every code of the closed list was
// the outcome of some test.
func TestMain(m *testing.M) {
	status := m.Run()
	if status == 0 && !filtered() {
		for _, c := range attestation.Codes() {
			if _, ok := covered.Load(c); !ok {
				println("no test ends in", string(c))
				status = 1
			}
		}
	}
	os.Exit(status)
}

// filtered reports whether only some tests were asked for.
func filtered() bool {
	for _, name := range []string{"test.run", "test.fuzz", "test.list", "test.skip"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return true
		}
	}
	return false
}

func TestVerifyAcceptsHonestNode(t *testing.T) {
	f := newFixture(t, nil).make()
	r, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	if r.NodeID != f.node.ID() || !bytes.Equal(r.REK, f.node.REK()) || !r.NodeKey.Equal(f.node.Public()) ||
		r.Model != "toy" || r.WeightsDigest != weights || !r.Simulated || r.Product != "Genoa" || r.Epoch != epoch {
		t.Errorf("result %+v", r)
	}
	if r.Report.Verdict != attestation.VerifiedWithGaps {
		t.Errorf("verdict %v", r.Report.Verdict)
	}
	gaps := strings.Join(r.Report.Gaps(), "\n")
	for _, want := range []string{"simulated", "chip inventory", "run time", "GPU", "fan-out"} {
		if !strings.Contains(gaps, want) {
			t.Errorf("gap %q is not named in\n%s", want, gaps)
		}
	}
	for _, s := range r.Report.Steps {
		if s.ID == "" || s.What == "" || s.Source == "" || s.Meaning == "" || s.Vouches == "" ||
			s.Verdict != attestation.Verified && s.Verdict != attestation.VerifiedWithGaps {
			t.Errorf("step %+v", s)
		}
	}
	text := r.Report.Text()
	for _, want := range []string{"SIMULATED HARDWARE", "VERIFIED WITH NAMED GAPS", "tpm.quote", "attested, at most 1h0m"} {
		if !strings.Contains(text, want) {
			t.Errorf("text lacks %q:\n%s", want, text)
		}
	}
	var back attestation.Report
	if err := json.Unmarshal(r.Report.JSON(), &back); err != nil || back.Verdict != r.Report.Verdict || len(back.Steps) != len(r.Report.Steps) {
		t.Errorf("JSON: %v", err)
	}
}

// TestVerifyIsPure verifies twice and expects the same, inputs untouched.
func TestVerifyIsPure(t *testing.T) {
	f := newFixture(t, nil).make()
	before, _ := f.ev.Epoch.Append(nil)
	first, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Report.JSON(), second.Report.JSON()) {
		t.Error("two reports of one verification differ")
	}
	if after, _ := f.ev.Epoch.Append(nil); !bytes.Equal(before, after) {
		t.Error("evidence was changed")
	}
}

func TestZeroPolicyRefuses(t *testing.T) {
	for name, change := range map[string]func(*fixture){
		"nil policy":   func(f *fixture) { f.policy = nil },
		"zero policy":  func(f *fixture) { f.policy = &attestation.Policy{} },
		"no roots":     func(f *fixture) { f.policy.Roots = attestation.Roots{} },
		"no images":    func(f *fixture) { f.policy.Images = nil },
		"image twice":  func(f *fixture) { f.policy.Images = append(f.policy.Images, f.policy.Images[0]) },
		"no PCR 9":     func(f *fixture) { delete(f.policy.Images[0].PCRs, 9) },
		"no lines":     func(f *fixture) { f.policy.Images[0].CommandLines = nil },
		"no products":  func(f *fixture) { f.policy.SNP.Products = nil },
		"no floor":     func(f *fixture) { f.policy.SNP.Floors = nil },
		"no epoch age": func(f *fixture) { f.policy.MaxEpochAge = 0 },
		"no fresh age": func(f *fixture) { f.policy.MaxFreshAge = 0 },
		"no refs":      func(f *fixture) { f.refs = attestation.References{} },
		"no model":     func(f *fixture) { f.refs.Model = "" },
		"no REK":       func(f *fixture) { f.refs.REK = nil },
		"no digest":    func(f *fixture) { f.refs.EvidenceDigest = [32]byte{} },
		"no early":     func(f *fixture) { f.refs.EpochCheckpoint = attestation.Checkpoint{} },
		"no late":      func(f *fixture) { f.refs.FreshCheckpoint.Hash = [32]byte{} },
		"no time":      func(f *fixture) { f.now = time.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil).make()
			change(f)
			_, err := f.verify()
			refused(t, err, "att.policy")
		})
	}
}

func TestPolicyJSON(t *testing.T) {
	p := attestationtest.Policy(testRoot())
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	back, err := attestation.ParsePolicy(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("%v\n%s\n%s", err, b, again)
	}
	for _, bad := range []string{``, `{"image":[]}`, `{} {}`, `{"max_skew":"-1s"}`, `{"max_skew":"soon"}`, `{"snp":{"chips":["00"]}}`} {
		if _, err := attestation.ParsePolicy([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestReportTextCannotMoveTheCursor(t *testing.T) {
	r := &attestation.Report{Steps: []attestation.Step{{Got: "a\x1b[2Jb\u202ec\nd"}}}
	if text := r.Text(); strings.ContainsAny(text, "\x1b\u202e") || !strings.Contains(text, "a?[2Jb?c?d") {
		t.Errorf("%q", text)
	}
}
