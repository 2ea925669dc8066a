// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// Simulated is what every name under a simulated root contains.
const Simulated = "SIMULATED"

// A Genuine is a report that hardware of a trusted line signed, with what its
// certificate says.
type Genuine struct {
	*Report
	CertTCB kds.TCBParts
	CSP     string // of a VLEK
	CRLAge  time.Duration
}

// Collateral is what travels with a report.
type Collateral struct{ Cert, CRL []byte }

// Verify decides whether a report is genuine at now: its product line has a
// trusted root, the certificate chains to it, neither the certificate nor its
// issuer is revoked, and the certificate's key signed every byte. The CRL is
// required; grace is how long past its nextUpdate it still counts.
func Verify(report []byte, c Collateral, trusted roots.Set, now time.Time, grace time.Duration) (*Genuine, error) {
	r, err := ParseReport(report)
	if err != nil {
		return nil, err
	}
	cert, err := parseCert(c.Cert)
	if err != nil {
		return nil, err
	}
	if claims := strings.Contains(cert.Issuer.String()+cert.Subject.String(), Simulated); claims != trusted.Simulated() {
		return nil, refuse.As(refuse.Simulated, "report certificate under %q, simulated roots: %t", cert.Issuer.String(), trusted.Simulated())
	}
	if r.Signer.SigningKey != abi.VcekReportSigner && r.Signer.SigningKey != abi.VlekReportSigner {
		return nil, refuse.As(refuse.SigningKey, "report is signed by %v", r.Signer.SigningKey)
	}
	if r.Version >= minNamingProduct && r.Product == "" {
		return nil, refuse.As(refuse.Product, "processor of no known product line")
	}
	g := &Genuine{Report: r}
	if err := g.readExtensions(cert); err != nil {
		return nil, err
	}
	line, ok := trusted.Line(g.Product)
	if g.Product == "" {
		return nil, refuse.As(refuse.Product, "processor of no known product line")
	} else if !ok {
		return nil, refuse.As(refuse.Chain, "no trusted root for %s", g.Product)
	}
	if err := g.checkCRL(c.CRL, cert, line, now, grace); err != nil {
		return nil, err
	}
	return g, g.checkSignatures(c.Cert, cert, line, now)
}

// readExtensions reads AMD's extensions (AMD 57230, Section 2.1). A VCEK without
// the chip's identifier is a refusal of its own: it would fit any chip.
func (g *Genuine) readExtensions(cert *x509.Certificate) error {
	vcek := g.Signer.SigningKey == abi.VcekReportSigner
	if vcek && !hasExtension(cert, kds.OidHwid) && !hasExtension(cert, kds.OidCspID) {
		return refuse.As(refuse.Chip, "certificate names no chip")
	}
	if g.Product == turin {
		return g.readTurinExtensions(cert, vcek)
	}
	ext, err := kds.CertificateExtensions(cert, g.Signer.SigningKey)
	if err != nil {
		return refuse.As(refuse.Chain, "report certificate: %v", err)
	}
	g.CertTCB, g.CSP = kds.DecomposeTCBVersion(ext.TCBVersion), ext.CspID
	if g.Version < minNamingProduct {
		g.Product = kds.ProductLineOfProductName(ext.ProductName)
	}
	if g.Product == turin { // its levels were read in another layout
		return refuse.As(refuse.Format, "report version %d from %s", g.Version, turin)
	}
	switch {
	case vcek && g.Signer.MaskChipKey, vcek && g.ChipID == [64]byte{}:
		return refuse.As(refuse.Chip, "the report hides its chip")
	case vcek && !bytes.Equal(ext.HWID, g.ChipID[:]):
		return refuse.As(refuse.Chip, "certificate is for chip %x.., report from %x..", ext.HWID[:8], g.ChipID[:8])
	}
	return nil
}

func hasExtension(cert *x509.Certificate, id []int) bool {
	for _, e := range cert.Extensions {
		if e.Id.Equal(id) {
			return true
		}
	}
	return false
}

// checkCRL verifies the revocation list that came along and looks the
// certificate and its issuer up in it.
func (g *Genuine) checkCRL(der []byte, cert *x509.Certificate, line roots.Line, now time.Time, grace time.Duration) error {
	crl, err := x509.ParseRevocationList(der)
	switch {
	case err != nil:
		return refuse.As(refuse.CRL, "%v", err)
	case len(crl.Raw) != len(der): // the standard library ignores what follows
		return refuse.As(refuse.CRL, "bytes after the list")
	case !bytes.Equal(crl.RawIssuer, line.ARK.RawSubject):
		return refuse.As(refuse.CRL, "issued by %q, want the root of %s", crl.Issuer.String(), line.Product)
	case crl.CheckSignatureFrom(line.ARK) != nil:
		return refuse.As(refuse.CRL, "not signed by the root of %s", line.Product)
	case crl.ThisUpdate.After(now):
		return refuse.As(refuse.CRL, "from the future: %v", crl.ThisUpdate)
	case crl.NextUpdate.IsZero(), now.After(crl.NextUpdate.Add(grace)):
		return refuse.As(refuse.CRL, "expired %v", crl.NextUpdate)
	case slices.ContainsFunc(crl.Extensions, func(e pkix.Extension) bool { return e.Critical }):
		return refuse.As(refuse.CRL, "list is partial or indirect") // and says nothing of the others
	}
	ica := g.issuer(line)
	if ica == nil {
		return refuse.As(refuse.Chain, "no trusted issuer of a %v for %s", g.Signer.SigningKey, line.Product)
	}
	for _, e := range crl.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(ica.SerialNumber) == 0 {
			return refuse.As(refuse.Revoked, "issuer %q", ica.Subject.String())
		}
		// Every VCEK that AMD issues has serial 0, hence the issuer of the entry
		// does not tell them apart; a chip so listed is refused all the same.
		if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
			return refuse.As(refuse.Revoked, "report certificate %x", cert.SerialNumber)
		}
	}
	g.CRLAge = now.Sub(crl.ThisUpdate)
	return nil
}

// issuer returns the certificate that issues keys of the report's kind, or nil.
func (g *Genuine) issuer(line roots.Line) *x509.Certificate {
	if g.Signer.SigningKey == abi.VlekReportSigner {
		return line.ASVK
	}
	return line.ASK
}

// offline is the getter of last resort: it gets nothing.
type offline struct{}

func (offline) Get(string) ([]byte, error) { return nil, errors.New("no network in a verifier") }

// checkSignatures has go-sev-guest check the chain and the signature. Every
// option is set: an empty one would mean a default of its own.
func (g *Genuine) checkSignatures(der []byte, cert *x509.Certificate, line roots.Line, now time.Time) error {
	if g.Product == turin {
		return g.checkTurinSignatures(cert, line, now)
	}
	root := trust.AMDRootCertsProduct(line.Product)
	root.ProductCerts = &trust.ProductCerts{Ask: line.ASK, Asvk: line.ASVK, Ark: line.ARK}
	chain := &sevsnp.CertificateChain{VcekCert: der}
	if g.Signer.SigningKey == abi.VlekReportSigner {
		chain = &sevsnp.CertificateChain{VlekCert: der}
	}
	err := verify.SnpAttestation(&sevsnp.Attestation{Report: g.proto, CertificateChain: chain}, &verify.Options{
		CheckRevocations:    false, // checkCRL did, without network, for the issuer and the certificate
		DisableCertFetching: true,
		Getter:              offline{},
		Now:                 now,
		TrustedRoots:        map[string][]*trust.AMDRootCerts{line.Product: {root}},
	})
	if err == nil {
		return nil
	}
	// The library does not type its errors: with a chain that stands, it is the
	// signature that failed, or a name in the certificate.
	if opts := root.X509Options(now, g.Signer.SigningKey); opts != nil && bytes.Equal(cert.RawIssuer, g.issuer(line).RawSubject) {
		if _, chainErr := cert.Verify(*opts); chainErr == nil && verify.SnpReportSignature(g.raw, cert) != nil {
			return refuse.As(refuse.Signature, "report is not signed by its certificate")
		}
	}
	return chainRefusal(cert, g.issuer(line), now, err)
}

func chainRefusal(cert, issuer *x509.Certificate, now time.Time, err error) error {
	want, got := roots.Words(cert, issuer, now, err)
	return &refuse.Error{Code: refuse.Chain, Detail: err.Error(), Want: want, Got: got}
}

// AMD returns the roots that AMD publishes, as go-sev-guest embeds them.
func AMD() roots.Set {
	lines := []roots.Line{}
	for product, pems := range map[string][2][]byte{
		"Milan": {trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes},
		"Genoa": {trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes},
		turin:   {trust.AskArkTurinVcekBytes, append(bytes.TrimSpace(trust.AskArkTurinVlekBytes), '\n')}, // AMD's file ends in an empty line
	} {
		var vcek, vlek trust.ProductCerts
		if vcek.FromKDSCertBytes(pems[0]) != nil || vlek.FromKDSCertBytes(pems[1]) != nil || !vcek.Ark.Equal(vlek.Ark) {
			continue // a line that cannot be read is a line that is not trusted
		}
		lines = append(lines, roots.Line{Product: product, ARK: vcek.Ark, ASK: vcek.Ask, ASVK: vlek.Asvk})
	}
	return roots.New(false, lines...)
}
