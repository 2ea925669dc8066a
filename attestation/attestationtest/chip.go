// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A Chip is a SIMULATED processor that signs reports as an AMD-SP would, for a
// guest that runs the lab image. It implements collect.Reporter.
type Chip struct {
	ID     attestation.ChipID
	Cert   []byte // VCEK certificate, DER
	Serial *big.Int
	CRL    []byte // sent along; the root's by default

	// Tamper, if set, changes the 1184 bytes of a report before they are signed:
	// hardware that says something else.
	Tamper func(report []byte)

	key *ecdsa.PrivateKey
}

// ChipSpec says how a chip's certificate comes out. The zero value of every
// field but Name is the ordinary thing.
type ChipSpec struct {
	Name     string          // the chip id is derived from it
	TCB      attestation.TCB // that the certificate is for; zero: [LabTCB]
	CertChip attestation.ChipID
	NoChip   bool              // leave the hardware id out
	CSP      string            // make it a VLEK of that provider
	Issuer   *x509.Certificate // whose name stands as issuer; nil: the ASK, or ASVK for a VLEK
	NotAfter time.Time
}

// NewChip makes the chip of that name with a fresh VCEK.
func (r *Root) NewChip(name string) (*Chip, error) { return r.MintChip(ChipSpec{Name: name}) }

// MintChip makes a chip to order; see [ChipSpec].
func (r *Root) MintChip(s ChipSpec) (*Chip, error) {
	c := &Chip{ID: sha512.Sum512([]byte("SIMULATED chip " + s.Name)), CRL: r.crl}
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		return nil, err
	}
	if c.Serial, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, err
	}
	c.Serial.Add(c.Serial, big.NewInt(1<<16)) // clear of the issuers' serials
	if s.TCB == (attestation.TCB{}) {
		s.TCB = LabTCB
	}
	if s.CertChip == (attestation.ChipID{}) {
		s.CertChip = c.ID
	}
	if s.NotAfter.IsZero() {
		s.NotAfter = time.Now().Add(7 * 365 * 24 * time.Hour)
	}
	issuer, cn := r.ask, "SEV-VCEK"
	if s.CSP != "" {
		issuer, cn = r.asvk, "SEV-VLEK"
	}
	if s.Issuer != nil {
		issuer = s.Issuer
	}
	cert, err := r.certify(&x509.Certificate{
		SerialNumber: c.Serial, Subject: name(cn), SignatureAlgorithm: x509.SHA384WithRSAPSS,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: s.NotAfter, ExtraExtensions: extensions(s),
	}, issuer, &c.key.PublicKey, r.askKey)
	if err != nil {
		return nil, err
	}
	c.Cert = cert.Raw
	return c, nil
}

// extensions prints AMD's certificate extensions (AMD 57230, Section 2.1).
func extensions(s ChipSpec) []pkix.Extension {
	number := func(id asn1.ObjectIdentifier, v uint8) pkix.Extension {
		b, _ := asn1.Marshal(int(v)) // integers always marshal
		return pkix.Extension{Id: id, Value: b}
	}
	text := func(id asn1.ObjectIdentifier, v string) pkix.Extension {
		b, _ := asn1.MarshalWithParams(v, "ia5") // ASCII always marshals
		return pkix.Extension{Id: id, Value: b}
	}
	out := []pkix.Extension{
		number(kds.OidStructVersion, 1), text(kds.OidProductName1, Product+"-B1"),
		number(kds.OidBlSpl, s.TCB.Bootloader), number(kds.OidTeeSpl, s.TCB.TEE), number(kds.OidSnpSpl, s.TCB.SNP),
		number(kds.OidSpl4, 0), number(kds.OidSpl5, 0), number(kds.OidSpl6, 0), number(kds.OidSpl7, 0),
		number(kds.OidUcodeSpl, s.TCB.Microcode),
	}
	if s.CSP != "" {
		return append(out, text(kds.OidCspID, s.CSP))
	}
	if !s.NoChip {
		out = append(out, pkix.Extension{Id: kds.OidHwid, Value: s.CertChip[:]})
	}
	return out
}

// An Endorsement is a report with the collateral a verifier needs with it.
type Endorsement struct {
	Report []byte // SEV-SNP ATTESTATION_REPORT
	Cert   []byte // VCEK or VLEK certificate, DER
	CRL    []byte // CRL of the product line, DER
}

// Report implements collect.Reporter with [Chip.Endorse].
func (c *Chip) Report(_ context.Context, data [64]byte) ([]evidence.Piece, error) {
	e, err := c.Endorse(data)
	if err != nil {
		return nil, err
	}
	return []evidence.Piece{
		{Kind: evidence.KindSNPReport, Data: e.Report},
		{Kind: evidence.KindSNPCert, Data: e.Cert},
		{Kind: evidence.KindSNPCRL, Data: e.CRL},
	}, nil
}

// Endorse signs a report over data.
func (c *Chip) Endorse(data [64]byte) (*Endorsement, error) {
	b := c.unsigned(data)
	if c.Tamper != nil {
		c.Tamper(b)
	}
	if err := c.Sign(b); err != nil {
		return nil, err
	}
	return &Endorsement{Report: b, Cert: c.Cert, CRL: c.CRL}, nil
}

// Sign writes a signature over the first 672 bytes of a report into the rest.
func (c *Chip) Sign(report []byte) error {
	clear(report[0x2a0:])
	sum := sha512.Sum384(abi.SignedComponent(report))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, sum[:])
	if err != nil {
		return err
	}
	return abi.SetSignature(r, s, report)
}

// Offsets into a report (AMD 56860, Table 23), for tampering.
const (
	OffVersion     = 0x00
	OffPolicy      = 0x08
	OffVMPL        = 0x30
	OffSigAlgo     = 0x34
	OffCurrentTCB  = 0x38
	OffPlatform    = 0x40
	OffSigner      = 0x48
	OffData        = 0x50
	OffMeasurement = 0x90
	OffMigration   = 0x160
	OffReportedTCB = 0x180
	OffModel       = 0x189
	OffChipID      = 0x1a0
	OffCommitted   = 0x1e0
	OffLaunchTCB   = 0x1f0
	OffSignature   = 0x2a0
)

// unsigned fills in a report of version 5: an EPYC Genoa with every protection
// on, guest at VMPL 0, signed by the VCEK, no migration agent.
func (c *Chip) unsigned(data [64]byte) []byte {
	b := make([]byte, abi.ReportSize)
	le := binary.LittleEndian
	le.PutUint32(b[OffVersion:], 5)
	le.PutUint64(b[OffPolicy:], 1<<17|1<<20|1<<22|1<<23|1<<24|1<<25|1<<8|55)
	le.PutUint32(b[OffSigAlgo:], 1)
	le.PutUint64(b[OffPlatform:], 1<<2|1<<3|1<<4|1<<5)
	copy(b[OffData:], data[:])
	image := Image()
	copy(b[OffMeasurement:], image.Measurement[:])
	for i := range 32 {
		b[OffMigration+i] = 0xff
	}
	b[0x188], b[OffModel], b[0x18a] = 0x19, 0x11, 1
	copy(b[OffChipID:], c.ID[:])
	tcb := TCBBytes(LabTCB)
	for _, off := range []int{OffCurrentTCB, OffReportedTCB, OffCommitted, OffLaunchTCB} {
		copy(b[off:], tcb[:])
	}
	return b
}

// TCBBytes prints a TCB_VERSION as it stands in a report.
func TCBBytes(t attestation.TCB) [8]byte {
	return [8]byte{t.Bootloader, t.TEE, 0, 0, 0, 0, t.SNP, t.Microcode}
}
