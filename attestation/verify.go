// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/eventlog"
	"github.com/sotto-project/sotto/attestation/internal/hcl"
	"github.com/sotto-project/sotto/attestation/internal/nitro"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/snp"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
	"github.com/sotto-project/sotto/attestation/internal/tpmcert"
)

// VendorRoots returns the roots of every hardware vendor whose evidence this
// package judges, as they publish them; docs/platforms.md lists owners,
// fingerprints and dates.
func VendorRoots() Roots {
	return snp.AMD().With(roots.Intel, tdx.Roots()...).With(roots.NVIDIA, nvidia.Roots()...).With(roots.AWS, nitro.Roots()...).
		With(roots.Google, tpmcert.Google()...).With(roots.Microsoft, tpmcert.Microsoft()...).With(roots.TPM, tpmcert.TPM()...)
}

// ParseEvidence reads the two bundles as they travel. fresh may be empty, which
// only a policy with [Policy.WithoutFreshness] accepts. Its errors are those of
// [Verify], att.size and att.format, without a report.
func ParseEvidence(epoch, fresh []byte) (Evidence, error) {
	var ev Evidence
	var err error
	if ev.Epoch, err = parseBundle(epoch); err != nil || len(fresh) == 0 {
		return ev, err
	}
	ev.Freshness, err = parseBundle(fresh)
	return ev, err
}

func parseBundle(b []byte) (*evidence.Bundle, error) {
	out, err := evidence.Parse(b)
	if err == nil {
		return out, nil
	}
	e := &RefusalError{Code: refuse.Format, Detail: err.Error()}
	if errors.Is(err, evidence.ErrSize) {
		e.Code = refuse.Size
	}
	e.Hint = hints[e.Code]
	return nil, e
}

// Verify decides whether evidence proves what refs say about a node and whether
// p allows such a node. It returns a result with a report, or a *[RefusalError]
// that carries the report up to the step that failed. It never waits, dials,
// reads a clock or keeps anything; its arguments are not changed.
func Verify(ev Evidence, p *Policy, refs References, now time.Time) (*Result, error) {
	v := &verification{ev: ev, p: p, refs: refs, now: now, report: &Report{
		Node: refs.NodeID, NodeHex: hex.EncodeToString(refs.NodeID[:]), Time: now, Simulated: p != nil && p.Roots.Simulated(),
	}}
	v.report.Evidence = hex.EncodeToString(refs.EvidenceDigest[:])
	for _, s := range steps {
		if s.when != nil && !s.when(v) {
			continue
		}
		out, err := s.run(v)
		step := Step{ID: s.id, What: s.what, Source: s.source, Meaning: s.meaning, Vouches: s.vouches, ByHand: byHand[s.id],
			Expected: out.expected, Got: out.got, Gap: out.gap, Verdict: Verified}
		switch {
		case v.hcl != nil && (strings.HasPrefix(s.id, "snp.") || strings.HasPrefix(s.id, "tdx.")):
			// Azure's hardware report is as old as the boot, which nothing dates.
		case s.ofEpoch:
			step.Age = now.Sub(refs.EpochCheckpoint.Time)
		case s.ofFresh && !refs.FreshCheckpoint.Time.IsZero():
			step.Age = now.Sub(refs.FreshCheckpoint.Time)
		}
		if err != nil {
			return nil, v.refuse(step, err)
		}
		if out.gap != "" {
			step.Verdict = VerifiedWithGaps
		}
		v.report.add(step)
	}
	v.report.Tier, v.report.TierWhy = v.tier()
	return v.result(), nil
}

// A verification is one run of [Verify]: inputs, and what earlier steps found
// out for later ones.
type verification struct {
	ev     Evidence
	p      *Policy
	refs   References
	now    time.Time
	report *Report

	platform  Platform
	statement *evidence.KeyStatement
	ak        *tpm.AK
	pcrs      evidence.PCRs
	quote     *tpm.Attest
	log       *eventlog.Log
	config    *evidence.Config
	image     *Image

	// What the platform's hardware proved. launch is zero where the platform
	// measures none, rtmrs where it has none.
	genuine   *snp.Genuine // SEV-SNP
	tdx       *tdx.Genuine
	hcl       *hcl.Report
	nitro     *nitro.Genuine
	gpu       *nvidia.Genuine
	launch    Measurement
	rtmrs     [4][48]byte
	nitroPCRs map[int][48]byte
	ccel      *eventlog.CC
	freshPCRs evidence.PCRs
	line      string // kernel command line; empty where RTMR 2 speaks for it
	ek        *tpmcert.EK
	behind    bool // accepted by a dated grace
}

// piece returns a piece of epoch evidence; that all are there was checked.
func (v *verification) piece(k evidence.Kind) []byte { b, _ := v.ev.Epoch.Get(k); return b }

func (v *verification) refuse(step Step, err error) error {
	e := &RefusalError{Code: refuse.Format, Detail: printable(err.Error()), Node: v.refs.NodeID, Report: v.report}
	var r *refuse.Error
	if errors.As(err, &r) {
		e.Code, e.Detail = r.Code, printable(r.Detail)
		if r.Want != "" {
			step.Expected, step.Got = r.Want, r.Got
		}
	}
	e.Hint = hints[e.Code]
	step.Verdict, step.Code, step.Gap = Failed, e.Code, ""
	if step.Got == "" {
		step.Got = e.Detail
	}
	v.report.add(step)
	return e
}

func (v *verification) result() *Result {
	r := &Result{
		NodeID: v.statement.NodeID, Epoch: v.statement.Epoch, REK: append([]byte(nil), v.statement.REK[:]...),
		NodeKey: ed25519.PublicKey(append([]byte(nil), v.statement.NodeKey[:]...)),
		Model:   v.config.Model, WeightsDigest: v.config.WeightsDigest(), Payment: v.refs.Payment,
		Platform: v.platform, Tier: v.report.Tier, Image: v.image.Name, Measurement: v.launch, Simulated: v.p.Roots.Simulated(),
		NotBefore: v.refs.EpochCheckpoint.Time, Report: v.report,
	}
	switch {
	case v.genuine != nil:
		r.Product = v.genuine.Product
		if v.genuine.CSP == "" {
			r.Chip = v.genuine.ChipID
		}
	case v.tdx != nil:
		r.Product, r.Chip = "TDX", v.tdx.PCK.ID()
	}
	if !v.p.WithoutFreshness {
		r.FreshSince = v.refs.FreshCheckpoint.Time
	}
	return r
}

// Error names the code, the node, what was found and what to do next.
func (e *RefusalError) Error() string {
	s := fmt.Sprintf("%s: node %x: %s", e.Code, e.Node[:8], e.Detail)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// hints say what a user or operator can do next.
var hints = map[Code]string{
	refuse.Policy:        "complete the policy and references; an empty field never means that a check is skipped",
	refuse.Size:          "drop this node; honest evidence is a few kilobytes",
	refuse.Absent:        "ask the node's operator for complete evidence",
	refuse.Format:        "drop this node, or upgrade if it speaks a newer version",
	refuse.Digest:        "fetch the pack again from another mirror; if it stays, report it",
	refuse.Epoch:         "fetch the current statement and evidence; a node that restarted has to be listed again",
	refuse.Nonce:         "fetch the pack again; if it stays, evidence is being replayed",
	refuse.Stale:         "fetch newer evidence; check that the relay and mirrors are not holding it back",
	refuse.Clock:         "check the local clock",
	refuse.Simulated:     "lab evidence is for sotto-lab only",
	refuse.CRL:           "the operator has to ship a current revocation list",
	refuse.Revoked:       "the vendor revoked this hardware; do not use the node",
	refuse.TCB:           "the operator has to update firmware",
	refuse.TCBCert:       "the operator has to fetch the certificate for the running firmware",
	refuse.Product:       "name the product in the policy only if its known attacks are acceptable to you",
	refuse.Platform:      "the operator has to change host or guest settings; a policy can waive the bit by name",
	refuse.Inventory:     "the chip has to be enrolled in the log",
	refuse.Image:         "the software is not a known release; do not use the node",
	refuse.Unreleased:    "the operator runs, or lists, what nobody published; do not use the node and report it",
	refuse.Revocation:    "the release was withdrawn; the operator has to update",
	refuse.GPUAbsent:     "set allow_no_gpu to accept nodes whose GPU is not attested",
	refuse.TEE:           "name the platform in the policy only if what it proves is enough for you: docs/platforms.md",
	refuse.AKCert:        "the operator has to ship the certificate that the cloud or the enrolment authority issued for this key",
	refuse.EK:            "name the maker's root in the policy if you trust it",
	refuse.IMAAbsent:     "set allow_no_ima to accept nodes that keep no list of what ran",
	refuse.IMAEntry:      "the release has no such file; do not use the node",
	refuse.IMAReplay:     "entries were left out or changed; do not use the node",
	refuse.TDXStatus:     "the operator has to update firmware; a policy can grant the status until a date",
	refuse.TDXCollateral: "the operator has to ship Intel's current collateral",
	refuse.GPUOCSP:       "the operator has to ship current OCSP answers",
	refuse.GPUCount:      "set gpu.count and gpu.switches to what a machine has; a missing device may be out of protected mode",
	refuse.GPUBinding:    "GPU and machine do not belong together; report it",
	refuse.REKName:       "keys and evidence belong to different nodes; report it",
}
