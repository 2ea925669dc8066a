// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
)

const epoch = 41

var weights = sha256.Sum256([]byte("lab weights"))

// testRoot is made once: its RSA keys are the slowest thing here.
var testRoot = sync.OnceValue(func() *attestationtest.Root {
	r, err := attestationtest.GenerateRoot()
	if err != nil {
		panic(err)
	}
	return r
})

// A fixture is one node with everything a verification needs. Tests change it
// before or after [fixture.make], and judge what [fixture.verify] says.
type fixture struct {
	t      testing.TB
	root   *attestationtest.Root
	node   *attestationtest.Node
	policy *attestation.Policy
	refs   attestation.References
	ev     attestation.Evidence
	now    time.Time
	early  attestation.Checkpoint
	late   attestation.Checkpoint
}

func newFixture(t testing.TB, change func(*attestationtest.NodeSpec)) *fixture {
	t.Helper()
	f := &fixture{t: t, root: testRoot(), now: time.Now()}
	f.policy = attestationtest.Policy(f.root)
	config, err := attestationtest.Config("toy", weights).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	spec := attestationtest.NodeSpec{Name: "node", Config: config}
	if change != nil {
		change(&spec)
	}
	if spec.Platform != "" {
		f.policy = attestationtest.PolicyOn(f.root, spec.Platform)
	}
	if spec.GPU != nil {
		f.policy.AllowNoGPU, f.policy.GPU = false, attestationtest.GPUPolicy(1)
	}
	if f.node, err = attestationtest.NewNode(f.root, spec); err != nil {
		t.Fatal(err)
	}
	if spec.IMA {
		f.policy.AllowNoIMA, f.policy.Images[0].IMA = false, attestationtest.IMARules(f.node.IMA)
	}
	f.early = attestation.Checkpoint{Hash: sha256.Sum256([]byte("checkpoint 40")), Time: f.now.Add(-time.Hour)}
	f.late = attestation.Checkpoint{Hash: sha256.Sum256([]byte("checkpoint now")), Time: f.now.Add(-time.Minute)}
	return f
}

// make has the node collect, and the log list what it collected.
func (f *fixture) make() *fixture {
	f.t.Helper()
	var err error
	if f.ev.Epoch, err = f.node.Epoch(epoch, f.early.Hash); err != nil {
		f.t.Fatal(err)
	}
	f.refs = f.node.References(f.ev.Epoch, epoch, f.early, f.late)
	f.refs.Model, f.refs.WeightsDigest, f.refs.Payment = "toy", weights, evidence.PaymentNone // whatever the node runs
	f.refresh()
	return f
}

// refresh makes freshness evidence for the epoch evidence as it is now.
func (f *fixture) refresh() {
	f.t.Helper()
	f.refs.EvidenceDigest = f.ev.Epoch.Digest()
	var err error
	if f.ev.Freshness, err = f.node.Freshness(f.refs.EvidenceDigest, f.late.Hash); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) verify() (*attestation.Result, error) {
	return attestation.Verify(f.ev, f.policy, f.refs, f.now)
}

// piece returns the data of a piece, to be changed in place.
func (f *fixture) piece(k evidence.Kind) *[]byte {
	for _, b := range []*evidence.Bundle{f.ev.Epoch, f.ev.Freshness} {
		for i := range b.Pieces {
			if b.Pieces[i].Kind == k {
				b.Pieces[i].Data = append([]byte(nil), b.Pieces[i].Data...)
				return &b.Pieces[i].Data
			}
		}
	}
	f.t.Fatalf("no %v", k)
	return nil
}

// refused fails the test unless err is a refusal with exactly that code, with
// the report that goes with it.
func refused(t *testing.T, err error, want attestation.Code) {
	t.Helper()
	var e *attestation.RefusalError
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want %s", err, want)
	}
	if e.Code != want {
		t.Fatalf("refused with %v, want %s", err, want)
	}
	covered.Store(want, true)
	if e.Report == nil || e.Report.Verdict != attestation.Failed {
		t.Errorf("report of a refusal: %+v", e.Report)
	} else if last := e.Report.Steps[len(e.Report.Steps)-1]; last.Code != want || last.Verdict != attestation.Failed {
		t.Errorf("last step of a refusal: %+v", last)
	}
}

// covered collects the codes that some test has seen.
var covered sync.Map

// epochKinds and freshKinds are the pieces of evidence that a fixture makes.
func epochKinds() []evidence.Kind { must, _ := attestation.SNP.Pieces(); return must }

func freshKinds() []evidence.Kind {
	return []evidence.Kind{evidence.KindFreshQuote, evidence.KindFreshQuoteSig, evidence.KindFreshPCRs}
}
