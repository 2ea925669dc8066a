// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"time"

	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/verify"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// EPYC Turin (family 1Ah) lays its TCB out differently, has one level more (FMC)
// and identifies a chip by 8 bytes (AMD 56860, Section 2.2; AMD 57230, Section
// 3.1, Table 11). go-sev-guest v0.15.0 reads neither, so its certificates and
// signatures are checked here, with crypto/x509 and go-sev-guest's check of the
// report's signature.
const (
	turin        = "Turin"
	turinClassic = 0x00b00f20 // CPUID_1_EAX, stepping 0: models 02h
	turinDense   = 0x00b10f10 // model 11h
	turinChipID  = 8
)

// decomposeTurin reads a TCB_VERSION of family 1Ah: FMC, boot loader, TEE, SNP,
// three reserved bytes, microcode. FMC stands in Spl4 of the parts.
func decomposeTurin(tcb kds.TCBVersion) kds.TCBParts {
	at := func(i int) uint8 { return uint8(tcb >> (8 * i)) }
	return kds.TCBParts{Spl4: at(0), BlSpl: at(1), TeeSpl: at(2), SnpSpl: at(3), Spl5: at(4), Spl6: at(5), Spl7: at(6), UcodeSpl: at(7)}
}

var oidFMCSpl = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 9}

// readTurinExtensions reads the extensions of a certificate of struct version 1.
func (g *Genuine) readTurinExtensions(cert *x509.Certificate, vcek bool) error {
	var version uint8
	for _, f := range []struct {
		id asn1.ObjectIdentifier
		to *uint8
	}{
		{kds.OidStructVersion, &version}, {oidFMCSpl, &g.CertTCB.Spl4}, {kds.OidBlSpl, &g.CertTCB.BlSpl}, {kds.OidTeeSpl, &g.CertTCB.TeeSpl},
		{kds.OidSnpSpl, &g.CertTCB.SnpSpl}, {kds.OidUcodeSpl, &g.CertTCB.UcodeSpl},
	} {
		var v int
		if rest, err := asn1.Unmarshal(extension(cert, f.id), &v); err != nil || len(rest) != 0 || v < 0 || v > 255 {
			return refuse.As(refuse.Chain, "report certificate: extension %v is not a level", f.id)
		}
		*f.to = uint8(v)
	}
	if version != 1 {
		return refuse.As(refuse.Chain, "report certificate of struct version %d from %s, want 1", version, turin)
	}
	hwid, csp := extension(cert, kds.OidHwid), extension(cert, kds.OidCspID)
	if !vcek {
		if rest, err := asn1.UnmarshalWithParams(csp, &g.CSP, "ia5"); err != nil || len(rest) != 0 || g.CSP == "" || hwid != nil {
			return refuse.As(refuse.Chain, "report certificate is not a VLEK's")
		}
		return nil
	}
	switch {
	case csp != nil:
		return refuse.As(refuse.Chain, "report certificate is a VLEK's")
	case g.Signer.MaskChipKey, g.ChipID == [64]byte{}:
		return refuse.As(refuse.Chip, "the report hides its chip")
	case len(hwid) != turinChipID || !bytes.Equal(hwid, g.ChipID[:turinChipID]) || [64 - turinChipID]byte(g.ChipID[turinChipID:]) != [64 - turinChipID]byte{}:
		return refuse.As(refuse.Chip, "certificate is for chip %x, report from %x..", hwid, g.ChipID[:turinChipID])
	}
	return nil
}

// extension returns the value of an extension; nil if it is not there. That none
// stands twice is crypto/x509's business.
func extension(cert *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range cert.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}

// checkTurinSignatures checks what AMD 57230 says of names, key and algorithm,
// the chain, and the report's signature.
func (g *Genuine) checkTurinSignatures(cert *x509.Certificate, line roots.Line, now time.Time) error {
	issuer := g.issuer(line)
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	switch {
	case issuer == nil:
		return refuse.As(refuse.Chain, "no trusted issuer of a %v for %s", g.Signer.SigningKey, line.Product)
	case !ok || key.Curve != elliptic.P384() || cert.SignatureAlgorithm != x509.SHA384WithRSAPSS || cert.IsCA:
		return refuse.As(refuse.Chain, "report certificate is not of a key on P-384, or not signed with RSASSA-PSS")
	case cert.Subject.CommonName != "SEV-"+g.Signer.SigningKey.String() || !bytes.Equal(cert.RawIssuer, issuer.RawSubject):
		return refuse.As(refuse.Chain, "report certificate of %q by %q", cert.Subject.String(), cert.Issuer.String())
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	opts.Roots.AddCert(line.ARK)
	opts.Intermediates.AddCert(issuer)
	if _, err := cert.Verify(opts); err != nil {
		return chainRefusal(cert, issuer, now, err)
	}
	if err := verify.SnpReportSignature(g.raw, cert); err != nil {
		return refuse.As(refuse.Signature, "report is not signed by its certificate")
	}
	return nil
}
