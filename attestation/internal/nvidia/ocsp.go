// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

var (
	oidOCSPBasic = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidECDSA384  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
)

// shapeOCSP reports whether der has the one shape that is read: successful,
// basic, ECDSA with SHA-384, at most one certificate, nothing after anything.
// golang.org/x/crypto/ocsp checks what is signed; what is beside it may be
// anything there, and would be bits that nobody judges.
func shapeOCSP(der []byte) bool {
	in := cryptobyte.String(der)
	var outer, inner, explicit, basic, alg, certs, cert cryptobyte.String
	var status int
	var kind, sigAlg asn1.ObjectIdentifier
	var octets []byte
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Enum(&status) || status != 0 ||
		!outer.ReadASN1(&explicit, cbasn1.Tag(0).ContextSpecific().Constructed()) || !outer.Empty() ||
		!explicit.ReadASN1(&inner, cbasn1.SEQUENCE) || !explicit.Empty() || !inner.ReadASN1ObjectIdentifier(&kind) ||
		!kind.Equal(oidOCSPBasic) || !inner.ReadASN1Bytes(&octets, cbasn1.OCTET_STRING) || !inner.Empty() {
		return false
	}
	body := cryptobyte.String(octets)
	var sig []byte
	if !body.ReadASN1(&basic, cbasn1.SEQUENCE) || !body.Empty() || !basic.SkipASN1(cbasn1.SEQUENCE) ||
		!basic.ReadASN1(&alg, cbasn1.SEQUENCE) || !alg.ReadASN1ObjectIdentifier(&sigAlg) || !alg.Empty() ||
		!sigAlg.Equal(oidECDSA384) || !basic.ReadASN1BitStringAsBytes(&sig) {
		return false
	}
	if basic.Empty() {
		return true
	}
	return basic.ReadASN1(&explicit, cbasn1.Tag(0).ContextSpecific().Constructed()) && basic.Empty() &&
		explicit.ReadASN1(&certs, cbasn1.SEQUENCE) && explicit.Empty() && certs.ReadASN1Element(&cert, cbasn1.SEQUENCE) && certs.Empty()
}

// checkOCSP verifies the answer about a certificate (RFC 6960, Section 3.2): by
// its issuer or a responder that the issuer itself named, about this serial,
// neither early nor older than the grace allows, and good. An answer without
// nextUpdate ends at its thisUpdate.
func (s *session) checkOCSP(der []byte, cert, issuer *x509.Certificate) error {
	name, triple := cert.Subject.CommonName, link{string(cert.Raw), string(issuer.Raw), string(der)}
	if s.fresh[triple] {
		return nil
	}
	switch {
	case len(der) == 0:
		return refuse.As(refuse.GPUOCSP, "no answer about %q", name)
	case len(der) > maxAnswer, !shapeOCSP(der):
		return refuse.As(refuse.GPUOCSP, "answer about %q malformed", name)
	}
	r, err := s.parseOCSP(der, cert, issuer)
	if err != nil {
		return err
	}
	end := r.NextUpdate
	if end.IsZero() {
		end = r.ThisUpdate
	}
	switch {
	case r.ThisUpdate.After(s.now), r.ProducedAt.After(s.now):
		return refuse.As(refuse.GPUOCSP, "answer about %q is from the future: %v", name, r.ThisUpdate)
	case s.now.After(end.Add(s.opts.Grace)):
		return refuse.As(refuse.GPUOCSP, "answer about %q expired %v", name, end)
	case r.Status == ocsp.Revoked:
		return refuse.As(refuse.Revoked, "%q on %v, reason %d", cert.Subject.String(), r.RevokedAt, r.RevocationReason)
	case r.Status != ocsp.Good:
		return refuse.As(refuse.GPUOCSP, "status of %q is not known", name)
	}
	if s.oldest.IsZero() || r.ThisUpdate.Before(s.oldest) {
		s.oldest = r.ThisUpdate
	}
	s.fresh[triple] = true
	return nil
}

// parseOCSP reads an answer and verifies its signature: by the responder that it
// brings along, which has to be the issuer's, or else by the issuer.
func (s *session) parseOCSP(der []byte, cert, issuer *x509.Certificate) (*ocsp.Response, error) {
	// Without an issuer the library verifies by the certificate that came along,
	// and nothing where none did.
	r, err := ocsp.ParseResponseForCert(der, cert, nil)
	if err == nil && r.Certificate == nil {
		err = r.CheckSignatureFrom(issuer)
	}
	if err != nil {
		return nil, refuse.As(refuse.GPUOCSP, "answer about %q: %v", cert.Subject.CommonName, err)
	}
	if r.Certificate != nil && !r.Certificate.Equal(issuer) {
		return r, s.checkResponder(r.Certificate, issuer)
	}
	return r, nil
}

// checkResponder decides whether a certificate may answer for an issuer (RFC
// 6960, Section 4.2.2.2): it is issued by it for that purpose. It is not itself
// looked up, as id-pkix-ocsp-nocheck says of such certificates.
func (s *session) checkResponder(c, issuer *x509.Certificate) error {
	if _, err := parseCertificate(c.Raw, refuse.GPUOCSP); err != nil {
		return err
	}
	switch {
	case c.IsCA, !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return refuse.As(refuse.GPUOCSP, "%q may not answer for %q", c.Subject.String(), issuer.Subject.String())
	case s.now.Before(c.NotBefore), s.now.After(c.NotAfter):
		return refuse.As(refuse.GPUOCSP, "responder %q is valid from %v to %v", c.Subject.String(), c.NotBefore, c.NotAfter)
	}
	return s.checkIssued(c, issuer, refuse.GPUOCSP)
}
