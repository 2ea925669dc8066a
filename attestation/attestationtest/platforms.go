// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// A Machine is what a node runs on: it endorses 64 bytes with the hardware
// evidence of its platform. It implements collect.Reporter.
type Machine struct {
	Platform attestation.Platform
	Chip     *Chip             // of SEV-SNP platforms
	TD       *faketdx.Platform // of TDX platforms

	// What follows, if set, makes bad evidence.
	TamperHCL   func(*fakecloud.HCL)
	TamperQuote func(*faketdx.QuoteSpec)
	Collateral  faketdx.CollateralSpec
	TamperDoc   func(*fakenitro.Spec)
	// Manifest is the SVSM's, where it is not the attestation key.
	Manifest []byte
	// ForeignAK has the certificate of the attestation key be of this key.
	ForeignAK crypto.PublicKey

	root *Root
	tpm  *SoftTPM
	ek   *fakecloud.EK // of a TPM of its own, and of an SVSM's
}

func newMachine(r *Root, p attestation.Platform, name string, t *SoftTPM) (*Machine, error) {
	m := &Machine{Platform: p, root: r, tpm: t}
	var err error
	switch p {
	case attestation.SNP, attestation.SNPSVSM, attestation.GoogleSNP, attestation.AzureSNP:
		m.Chip, err = r.NewChip(name)
	case attestation.TDX, attestation.GoogleTDX, attestation.AzureTDX:
		m.TD, err = r.intel.NewPlatform(faketdx.PlatformSpec{Name: name})
	}
	if err == nil && (p == attestation.TPM || p == attestation.SNPSVSM) {
		m.ek, err = fakecloud.NewECCEK()
	}
	return m, err
}

// Report returns the platform's own pieces over data, kinds ascending.
func (m *Machine) Report(ctx context.Context, data [64]byte) ([]evidence.Piece, error) {
	switch m.Platform {
	case attestation.SNP:
		return m.Chip.Report(ctx, data)
	case attestation.GoogleSNP:
		return m.and(evidence.KindAKCerts, m.root.google)(m.Chip.Report(ctx, data))
	case attestation.SNPSVSM:
		return m.svsm(ctx, data)
	case attestation.AzureSNP, attestation.AzureTDX:
		return m.azure(ctx)
	case attestation.TDX:
		return m.quote(data)
	case attestation.GoogleTDX:
		return m.and(evidence.KindAKCerts, m.root.google)(m.quote(data))
	case attestation.TPM:
		pieces, err := m.and(evidence.KindAKCerts, m.root.enrol)(nil, nil)
		if err != nil {
			return nil, err
		}
		certs, err := m.root.maker.EKCerts(m.ek.Key(), nil)
		return append(pieces, evidence.Piece{Kind: evidence.KindEKCerts, Data: evidence.List(certs).Append(nil)}), err
	case attestation.NitroTPM:
		s := fakenitro.Spec{UserData: data[:], Time: time.Now().Truncate(time.Millisecond)}
		if m.TamperDoc != nil {
			m.TamperDoc(&s)
		}
		doc, err := m.root.aws.Document(s)
		return []evidence.Piece{{Kind: evidence.KindNitroDoc, Data: doc}}, err
	}
	return nil, fmt.Errorf("attestationtest: no machine of platform %q", m.Platform)
}

// and adds a certificate of the attestation key.
func (m *Machine) and(kind evidence.Kind, ca *fakecloud.CA) func([]evidence.Piece, error) ([]evidence.Piece, error) {
	return func(pieces []evidence.Piece, err error) ([]evidence.Piece, error) {
		if err != nil {
			return nil, err
		}
		var ek crypto.PublicKey
		if m.ek != nil {
			ek = m.ek.Key()
		}
		ak := m.tpm.Key()
		if m.ForeignAK != nil {
			ak = m.ForeignAK
		}
		certs, err := ca.AKCerts(ak, ek, nil)
		return append(pieces, evidence.Piece{Kind: kind, Data: evidence.List(certs).Append(nil)}), err
	}
}

// svsm reports over the manifest, which names the attestation key, or with an
// enrolled one the endorsement key.
func (m *Machine) svsm(ctx context.Context, data [64]byte) ([]evidence.Piece, error) {
	manifest := m.Manifest
	if manifest == nil {
		manifest = m.tpm.Public()
	}
	pieces, err := m.Chip.Report(ctx, fakecloud.SVSMReportData(data, manifest))
	return append(pieces, evidence.Piece{Kind: evidence.KindSVSMManifest, Data: manifest}), err
}

// EK returns the public area of the machine's endorsement key.
func (m *Machine) EK() []byte { return m.ek.Public() }

// Enrolled adds an enrolment authority's certificate to an SVSM's evidence.
func (m *Machine) Enrolled(pieces []evidence.Piece) ([]evidence.Piece, error) {
	return m.and(evidence.KindAKCerts, m.root.enrol)(pieces, nil)
}

func (m *Machine) azure(ctx context.Context) ([]evidence.Piece, error) {
	ak, _ := m.tpm.Key().(*rsa.PublicKey)
	h := &fakecloud.HCL{AK: ak, TDX: m.TD != nil}
	var other []evidence.Piece
	h.Hardware = func(data [64]byte) ([]byte, error) {
		if m.Chip != nil {
			pieces, err := m.Chip.Report(ctx, data)
			if err != nil {
				return nil, err
			}
			other = pieces[1:]
			return pieces[0].Data, nil
		}
		pieces, err := m.quote(data)
		if err != nil {
			return nil, err
		}
		other = pieces[:2] // no CCEL: the vTPM has the log
		q, err := tdx.ParseQuote(pieces[0].Data)
		if err != nil {
			return nil, err
		}
		return q.Signed()[48:], nil
	}
	if m.TamperHCL != nil {
		m.TamperHCL(h)
	}
	report, err := h.Report()
	if err != nil {
		return nil, err
	}
	hcl := evidence.Piece{Kind: evidence.KindHCLReport, Data: report}
	if m.Chip != nil {
		return append(other, hcl), nil
	}
	return append([]evidence.Piece{hcl}, other...), nil
}

func (m *Machine) quote(data [64]byte) ([]evidence.Piece, error) {
	events := CCEvents()
	image := ImageOn(m.Platform)
	s := faketdx.QuoteSpec{Data: data, MRTD: image.Measurement, RTMR: CCRegisters(events)}
	if m.TamperQuote != nil {
		m.TamperQuote(&s)
	}
	quote, err := m.TD.Quote(s)
	if err != nil {
		return nil, err
	}
	c, err := m.TD.Collateral(m.Collateral)
	if err != nil {
		return nil, err
	}
	list := evidence.List{c.TCBInfo, c.TCBIssuers, c.QEIdentity, c.QEIssuers, c.PCKCRL, c.PCKCRLIssuers, c.RootCRL}
	return []evidence.Piece{
		{Kind: evidence.KindTDXQuote, Data: quote},
		{Kind: evidence.KindTDXCollateral, Data: list.Append(nil)},
		{Kind: evidence.KindCCEL, Data: CCLog(events)},
	}, nil
}

// PolicyOn is [Policy] for one platform, with every part of it that the platform
// needs.
func PolicyOn(r *Root, p attestation.Platform) *attestation.Policy {
	policy := Policy(r)
	policy.Platforms, policy.Images = []attestation.Platform{p}, []attestation.Image{ImageOn(p)}
	policy.TDX = attestation.TDXPolicy{MinEvaluationNumber: faketdx.Evaluation, AllowAnyChip: true}
	policy.TPM.AllowNoCRL = true
	policy.Nitro.MaxAge = attestation.Duration(time.Hour)
	if r.enrol != nil {
		for _, c := range r.enrol.Roots() {
			policy.TPM.EnrolmentCAs += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
		}
	}
	return policy
}

// GPUPolicy returns the part about GPUs for nodes with count SIMULATED GPUs.
func GPUPolicy(count int) attestation.GPUPolicy {
	return attestation.GPUPolicy{Count: count, Chips: []string{"GH100"}, Drivers: []string{fakegpu.Driver}, VBIOS: []string{fakegpu.VBIOS}}
}
