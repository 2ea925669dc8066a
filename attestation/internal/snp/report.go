// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package snp verifies SEV-SNP attestation reports (AMD 56860, Section 7.3).
//
// Genuine and acceptable are two functions. [Verify] says whether AMD hardware
// of a known product line signed the report, with collateral that travelled
// along; chain and signature are checked by go-sev-guest, without network.
// [Check] compares what the report says with what the caller allows, and reads
// no field as "not checked". Which limits apply is never the report's choice.
package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"math/big"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/proto/sevsnp"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Versions of the report's layout that this package reads. The first does not
// name the processor: it is read so that what stands in its certificate can be
// told, and never acceptable.
const (
	minVersion       = 2
	minNamingProduct = 3
	minMitigations   = 5
	maxVersion       = 5
)

// A Report is a parsed ATTESTATION_REPORT.
type Report struct {
	raw   []byte
	proto *sevsnp.Report

	Version     uint32
	Policy      abi.SnpPolicy
	VMPL        uint32
	Platform    abi.SnpPlatformInfo
	Signer      abi.SignerInfo
	Data        [64]byte
	Measurement [48]byte
	HostData    [32]byte // HOST_DATA: what the host gave along at launch
	IDKey       [48]byte // ID_KEY_DIGEST: zeros without an ID block
	AuthorKey   [48]byte // AUTHOR_KEY_DIGEST: zeros if the ID key has no author
	FamilyID    [16]byte // of the ID block
	ImageID     [16]byte // of the ID block
	GuestSVN    uint32   // of the ID block
	ReportIDMA  [32]byte
	ChipID      [64]byte
	Product     string // product line by family and model: "Genoa"; empty if unknown
	Reported    kds.TCBParts
	Current     kds.TCBParts
	Committed   kds.TCBParts
	Launch      kds.TCBParts

	// Mitigation vectors: bits of verified mitigations, whose meaning AMD gives
	// with each bulletin. Zero before version 5.
	LaunchMitigations, CurrentMitigations uint64
}

// p384Order is n, the order of P-384's base point. Scalars outside 1..n-1 are
// refused here, by name, rather than by whatever a library makes of them.
var p384Order, _ = new(big.Int).SetString("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)

// ParseReport reads exactly one report. Reserved bytes must be zero, and every
// byte is covered by what it returns: the parsed form prints back to b.
func ParseReport(b []byte) (*Report, error) {
	if len(b) != abi.ReportSize {
		return nil, refuse.As(refuse.Format, "report of %d bytes, want %d", len(b), abi.ReportSize)
	}
	version := binary.LittleEndian.Uint32(b)
	if version < minVersion || version > maxVersion {
		return nil, refuse.As(refuse.Format, "report version %d, want %d to %d", version, minVersion, maxVersion)
	}
	if alg := abi.SignatureAlgo(b); alg != abi.SignEcdsaP384Sha384 {
		return nil, refuse.As(refuse.Format, "report signature algorithm %d", alg)
	}
	p, err := abi.ReportToProto(b)
	if err != nil {
		return nil, refuse.As(refuse.Format, "report: %v", err)
	}
	again, err := abi.ReportToAbiBytes(p)
	if err != nil || !bytes.Equal(again, b) {
		return nil, refuse.As(refuse.Format, "report has bits that mean nothing")
	}
	for _, scalar := range [][]byte{p.Signature[:72], p.Signature[72:144]} {
		v := abi.AmdBigInt(scalar)
		if v.Sign() == 0 || v.Cmp(p384Order) >= 0 {
			return nil, refuse.As(refuse.Format, "report signature out of range")
		}
	}
	return fromProto(b, p)
}

func fromProto(raw []byte, p *sevsnp.Report) (*Report, error) {
	r := &Report{raw: raw, proto: p, Version: p.Version, VMPL: p.Vmpl}
	var err error
	if r.Policy, err = abi.ParseSnpPolicy(p.Policy); err != nil {
		return nil, refuse.As(refuse.Format, "guest policy: %v", err)
	}
	if r.Platform, err = abi.ParseSnpPlatformInfo(p.PlatformInfo); err != nil {
		return nil, refuse.As(refuse.Format, "PLATFORM_INFO: %v", err)
	}
	if r.Signer, err = abi.ParseSignerInfo(p.SignerInfo); err != nil {
		return nil, refuse.As(refuse.Format, "signer: %v", err)
	}
	copy(r.Data[:], p.ReportData)
	copy(r.Measurement[:], p.Measurement)
	copy(r.HostData[:], p.HostData)
	copy(r.IDKey[:], p.IdKeyDigest)
	copy(r.AuthorKey[:], p.AuthorKeyDigest)
	copy(r.FamilyID[:], p.FamilyId)
	copy(r.ImageID[:], p.ImageId)
	r.GuestSVN = p.GuestSvn
	r.LaunchMitigations, r.CurrentMitigations = p.LaunchMitVector, p.CurrentMitVector
	if r.Version < minMitigations && (r.LaunchMitigations|r.CurrentMitigations) != 0 {
		return nil, refuse.As(refuse.Format, "report of version %d has mitigation vectors", r.Version)
	}
	copy(r.ReportIDMA[:], p.ReportIdMa)
	copy(r.ChipID[:], p.ChipId)
	// The map is by model; the stepping is the chip's revision and open.
	decompose := kds.DecomposeTCBVersion
	switch fms := p.Cpuid1EaxFms &^ 0xf; {
	case fms == turinClassic, fms == turinDense:
		r.Product, decompose = turin, decomposeTurin
	case fms != 0:
		r.Product = kds.ProductLineCpuid[fms]
	}
	r.Reported = decompose(kds.TCBVersion(p.ReportedTcb))
	r.Current = decompose(kds.TCBVersion(p.CurrentTcb))
	r.Committed = decompose(kds.TCBVersion(p.CommittedTcb))
	r.Launch = decompose(kds.TCBVersion(p.LaunchTcb))
	return r, nil
}

// parseCert reads a certificate, DER and nothing after it.
func parseCert(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse.As(refuse.Format, "report certificate: %v", err)
	}
	return c, nil
}
