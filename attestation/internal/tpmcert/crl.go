// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpmcert

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Caps on revocation lists.
const (
	maxCRLs = maxCerts
	maxCRL  = 256 << 10
)

// checkCRLs verifies the lists that came along, each of another issuer in the
// chain, and looks up every certificate in the list of its issuer.
func (c *Chain) checkCRLs(chain []*x509.Certificate, lists [][]byte, l Limits, now time.Time) error {
	if len(lists) > maxCRLs {
		return refuse.As(refuse.CRL, "%d revocation lists", len(lists))
	}
	byIssuer := make([]*x509.RevocationList, len(chain))
	for _, der := range lists {
		crl, err := parseCRL(der, l, now)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(chain, func(ca *x509.Certificate) bool {
			return ca.IsCA && bytes.Equal(crl.RawIssuer, ca.RawSubject) && crl.CheckSignatureFrom(ca) == nil
		})
		if i < 0 || byIssuer[i] != nil {
			return refuse.As(refuse.CRL, "list of %q is of no issuer in the chain, or the second one", crl.Issuer.String())
		}
		byIssuer[i] = crl
		c.CRLAge = max(c.CRLAge, now.Sub(crl.ThisUpdate))
	}
	for i, cert := range chain[:len(chain)-1] {
		crl := byIssuer[i+1]
		if crl == nil {
			if !l.AllowNoCRL {
				return refuse.As(refuse.CRL, "no list of %q", cert.Issuer.String())
			}
			c.NoCRL = true
			continue
		}
		for _, e := range crl.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return refuse.As(refuse.Revoked, "certificate %x of %q", cert.SerialNumber, cert.Issuer.String())
			}
		}
	}
	return nil
}

func parseCRL(der []byte, l Limits, now time.Time) (*x509.RevocationList, error) {
	if len(der) > maxCRL {
		return nil, refuse.As(refuse.CRL, "list of %d bytes", len(der))
	}
	crl, err := x509.ParseRevocationList(der)
	switch {
	case err != nil:
		return nil, refuse.As(refuse.CRL, "%v", err)
	case len(crl.Raw) != len(der): // the standard library ignores what follows
		return nil, refuse.As(refuse.CRL, "bytes after the list")
	case critical(crl.Extensions):
		return nil, refuse.As(refuse.CRL, "list is partial or indirect")
	case crl.ThisUpdate.After(now):
		return nil, refuse.As(refuse.CRL, "from the future: %v", crl.ThisUpdate)
	case crl.NextUpdate.IsZero(), now.After(crl.NextUpdate.Add(l.CRLGrace)):
		return nil, refuse.As(refuse.CRL, "expired %v", crl.NextUpdate)
	}
	for _, e := range crl.RevokedCertificateEntries {
		if critical(e.Extensions) {
			return nil, refuse.As(refuse.CRL, "list is indirect")
		}
	}
	return crl, nil
}

// critical reports whether any extension would change what the list means.
// crypto/x509 leaves those to the caller.
func critical(extensions []pkix.Extension) bool {
	return slices.ContainsFunc(extensions, func(e pkix.Extension) bool { return e.Critical })
}
