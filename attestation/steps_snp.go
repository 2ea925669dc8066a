// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-sev-guest/kds"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/snp"
	"github.com/sotto-project/sotto/attestation/internal/svsm"
)

// challenge is what hardware reports are made over: the attestation key and,
// through the quote's qualifying data, every other key.
func (v *verification) challenge() [64]byte {
	qualifier := evidence.EpochQualifier(v.piece(evidence.KindKeyStatement), v.statement.GPUDigest)
	return evidence.ReportData(v.piece(evidence.KindAKPublic), qualifier)
}

func checkGenuine(v *verification) (outcome, error) {
	report := v.piece(evidence.KindSNPReport)
	if v.hcl != nil {
		report = v.hcl.Hardware
	}
	c := snp.Collateral{Cert: v.piece(evidence.KindSNPCert), CRL: v.piece(evidence.KindSNPCRL)}
	g, err := snp.Verify(report, c, v.p.Roots, v.now, time.Duration(v.p.SNP.CRLGrace))
	if err != nil {
		return outcome{}, err
	}
	v.genuine, v.launch = g, g.Measurement
	return outcome{got: fmt.Sprintf("%s, %v, revocation list %v old", g.Product, g.Signer.SigningKey, g.CRLAge.Round(time.Second))}, nil
}

// reportData is what REPORT_DATA must be, by platform.
func (v *verification) reportData() [64]byte {
	switch v.platform {
	case SNPSVSM:
		return svsm.ReportData(v.challenge(), v.piece(evidence.KindSVSMManifest))
	case AzureSNP, AzureTDX:
		return v.hcl.ReportData()
	}
	return v.challenge()
}

func checkAcceptable(v *verification) (outcome, error) {
	p := &v.p.SNP
	l := &snp.Limits{
		Products: p.Products, Floors: map[string]kds.TCBParts{}, AllowAnyChip: p.AllowAnyChip, VMPL: p.VMPL, VLEKs: p.VLEKs,
		Waive: snp.Waivers{SMT: p.AllowSMT, CXL: p.AllowCXL, MultiSocket: p.AllowMultiSocket, AES128: p.AllowAES128,
			RAPL: p.AllowRAPL, NoCiphertextHiding: p.AllowNoCiphertextHiding, PageSwap: p.AllowPageSwap,
			NoECC: p.AllowNoECC, NoAliasCheck: p.AllowNoAliasCheck, Rollback: p.AllowRollback},
		Data: v.reportData(), LaunchMitigations: p.LaunchMitigations, CurrentMitigations: p.CurrentMitigations,
	}
	if v.platform != SNP {
		l.VMPL = 0 // SVSM, paravisor and Google's guests ask from there
	}
	for _, k := range p.IDKeys {
		l.IDKeys = append(l.IDKeys, k)
	}
	for _, k := range p.AuthorKeys {
		l.AuthorKeys = append(l.AuthorKeys, k)
	}
	for name, f := range p.Floors {
		l.Floors[name] = f.parts()
	}
	grace := v.graceSNP(l)
	for _, c := range p.Chips {
		l.Chips = append(l.Chips, c)
	}
	if err := v.genuine.Check(l); err != nil {
		return outcome{}, err
	}
	if err := v.restrict(v.genuine.Product, v.genuine.ChipID, v.genuine.CSP == ""); err != nil {
		return outcome{}, err
	}
	out := outcome{expected: "at least " + snp.Levels(l.Floors[v.genuine.Product]),
		got: snp.Levels(v.genuine.Reported)}
	var gaps []string
	if grace != "" {
		gaps = append(gaps, grace)
	}
	if v.genuine.CSP != "" {
		gaps = append(gaps, fmt.Sprintf("chip unknown: signed by the VLEK of %q", v.genuine.CSP))
	}
	if p.AllowAnyChip {
		gaps = append(gaps, "chip inventory: any genuine chip is accepted")
	}
	if l.Waive != (snp.Waivers{}) {
		gaps = append(gaps, "platform: waived by policy: "+strings.Join(l.Waive.Names(), ", "))
	}
	out.gap = strings.Join(gaps, "; ")
	return out, nil
}

func (t TCB) parts() kds.TCBParts {
	return kds.TCBParts{BlSpl: t.Bootloader, TeeSpl: t.TEE, SnpSpl: t.SNP, UcodeSpl: t.Microcode, Spl4: t.FMC}
}

// graceSNP puts a dated lower floor in the place of the ordinary one if the
// machine needs it and its date has not passed. It returns the gap's name.
func (v *verification) graceSNP(l *snp.Limits) string {
	g, ok := v.p.SNP.FloorGrace[v.genuine.Product]
	floor, has := v.p.SNP.Floors[v.genuine.Product]
	r := v.genuine.Reported
	reported := TCB{Bootloader: r.BlSpl, TEE: r.TeeSpl, SNP: r.SnpSpl, Microcode: r.UcodeSpl, FMC: r.Spl4}
	if !ok || !has || reported.covers(floor) || !v.now.Before(g.Until.End()) {
		return ""
	}
	l.Floors[v.genuine.Product] = g.Floor.parts()
	v.behind = true
	return fmt.Sprintf("firmware: below the floor, accepted until %s", g.Until)
}

// restrict applies what the verified statement asks for beside the policy.
func (v *verification) restrict(product string, chip [64]byte, known bool) error {
	if floor, ok := v.refs.Floors[product]; ok && v.genuine != nil {
		for _, t := range []struct {
			name string
			tcb  kds.TCBParts
		}{{"reported", v.genuine.Reported}, {"committed", v.genuine.Committed}, {"launch", v.genuine.Launch}} {
			if !kds.TCBPartsLE(floor.parts(), t.tcb) {
				return &refuse.Error{Code: refuse.TCB,
					Detail: fmt.Sprintf("%s TCB below the statement's floor: %s", t.name, snp.Levels(t.tcb)), Want: "at least " + snp.Levels(floor.parts()), Got: t.name + " " + snp.Levels(t.tcb)}
			}
		}
	}
	if len(v.refs.Chips) > 0 && (!known || !slices.Contains(v.refs.Chips, sha256.Sum256(chip[:]))) {
		return refuse.As(refuse.Inventory, "chip %x.. is not enrolled in the statement", chip[:8])
	}
	return nil
}
