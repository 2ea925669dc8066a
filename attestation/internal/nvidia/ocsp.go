// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

var (
	oidOCSPBasic = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidECDSA384  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
)

// shapeOCSP reads the one shape that is taken: successful, basic, ECDSA with
// SHA-384, at most one certificate, nothing after anything. It returns the
// certificate, nil if there is none, and the answer without it: the library
// would verify a signature as it parses if it saw one, and its bits beside what
// is signed are judged here.
func shapeOCSP(der []byte) (bare, responder []byte, ok bool) {
	in := cryptobyte.String(der)
	var outer, inner, explicit, basic, data, algorithm, alg, certs, cert, bits cryptobyte.String
	var status int
	var kind, sigAlg asn1.ObjectIdentifier
	var octets []byte
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Enum(&status) || status != 0 ||
		!outer.ReadASN1(&explicit, cbasn1.Tag(0).ContextSpecific().Constructed()) || !outer.Empty() ||
		!explicit.ReadASN1(&inner, cbasn1.SEQUENCE) || !explicit.Empty() || !inner.ReadASN1ObjectIdentifier(&kind) ||
		!kind.Equal(oidOCSPBasic) || !inner.ReadASN1Bytes(&octets, cbasn1.OCTET_STRING) || !inner.Empty() {
		return nil, nil, false
	}
	body := cryptobyte.String(octets)
	if !body.ReadASN1(&basic, cbasn1.SEQUENCE) || !body.Empty() || !basic.ReadASN1Element(&data, cbasn1.SEQUENCE) ||
		!basic.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) || !basic.ReadASN1Element(&bits, cbasn1.BIT_STRING) {
		return nil, nil, false
	}
	inside, signed := algorithm, bits
	var sig []byte
	if !inside.ReadASN1(&alg, cbasn1.SEQUENCE) || !alg.ReadASN1ObjectIdentifier(&sigAlg) || !alg.Empty() ||
		!sigAlg.Equal(oidECDSA384) || !signed.ReadASN1BitStringAsBytes(&sig) {
		return nil, nil, false
	}
	if basic.Empty() {
		return der, nil, true
	}
	if !basic.ReadASN1(&explicit, cbasn1.Tag(0).ContextSpecific().Constructed()) || !basic.Empty() ||
		!explicit.ReadASN1(&certs, cbasn1.SEQUENCE) || !explicit.Empty() || !certs.ReadASN1Element(&cert, cbasn1.SEQUENCE) || !certs.Empty() {
		return nil, nil, false
	}
	bare, err := bareOCSP(data, algorithm, bits)
	return bare, cert, err == nil
}

// bareOCSP prints a successful basic answer of three parts.
func bareOCSP(parts ...[]byte) ([]byte, error) {
	var basic, out cryptobyte.Builder
	basic.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, p := range parts {
			b.AddBytes(p)
		}
	})
	octets, err := basic.Bytes()
	if err != nil {
		return nil, err
	}
	out.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(0)
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidOCSPBasic)
				b.AddASN1OctetString(octets)
			})
		})
	})
	return out.Bytes()
}

// checkOCSP looks at the answer about a certificate (RFC 6960, Section 3.2): by
// its issuer or a responder that the issuer itself named, about this serial,
// neither early nor older than the grace allows, and good. An answer without
// nextUpdate ends at its thisUpdate. The signatures are left for later, but for a
// certificate that the answer says is revoked: nobody is named so on the word of
// whoever made up the answer.
func (s *session) checkOCSP(der []byte, cert, issuer *x509.Certificate) error {
	name, triple := cert.Subject.CommonName, link{string(cert.Raw), string(issuer.Raw), string(der)}
	if s.fresh[triple] {
		return nil
	}
	switch {
	case len(der) == 0:
		return refuse.As(refuse.GPUOCSP, "no answer about %q", name)
	case len(der) > maxAnswer:
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
		if err := s.settle(); err != nil {
			return err
		}
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

// parseOCSP reads an answer and notes its signature: by the responder that it
// brings along, which has to be the issuer's, or else by the issuer.
func (s *session) parseOCSP(der []byte, cert, issuer *x509.Certificate) (*ocsp.Response, error) {
	name := cert.Subject.CommonName
	bare, responder, ok := shapeOCSP(der)
	if !ok {
		return nil, refuse.As(refuse.GPUOCSP, "answer about %q malformed", name)
	}
	// Without an issuer the library verifies nothing, since no certificate is left.
	r, err := ocsp.ParseResponseForCert(bare, cert, nil)
	if err != nil {
		return nil, refuse.As(refuse.GPUOCSP, "answer about %q: %v", name, err)
	}
	by := issuer
	if responder != nil {
		if by, err = parseCertificate(responder, refuse.GPUOCSP); err != nil {
			return nil, err
		}
		if !by.Equal(issuer) {
			if err := s.checkResponder(by, issuer); err != nil {
				return nil, err
			}
		}
	}
	s.later(by.PublicKey.(*ecdsa.PublicKey), sigcache.ASN1, r.TBSResponseData, r.Signature, func() error { // parseCertificate saw the key
		return refuse.As(refuse.GPUOCSP, "answer about %q: bad signature", name)
	})
	return r, nil
}

// checkResponder decides whether a certificate may answer for an issuer (RFC
// 6960, Section 4.2.2.2): it is issued by it for that purpose. It is not itself
// looked up, as id-pkix-ocsp-nocheck says of such certificates.
func (s *session) checkResponder(c, issuer *x509.Certificate) error {
	switch {
	case c.IsCA, !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return refuse.As(refuse.GPUOCSP, "%q may not answer for %q", c.Subject.String(), issuer.Subject.String())
	case s.now.Before(c.NotBefore), s.now.After(c.NotAfter):
		return refuse.As(refuse.GPUOCSP, "responder %q is valid from %v to %v", c.Subject.String(), c.NotBefore, c.NotAfter)
	}
	return s.checkIssued(c, issuer, refuse.GPUOCSP)
}
