// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package roots

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"
)

// Words says, for reports, what a certificate that does not chain should have had
// and what it has instead: its issuer's name, a signature by that one's key, dates
// around now. It decides nothing; err is why the chain was refused.
func Words(cert, issuer *x509.Certificate, now time.Time, err error) (want, got string) {
	date := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case !bytes.Equal(cert.RawIssuer, issuer.RawSubject):
		return fmt.Sprintf("issued by %q", issuer.Subject.String()), fmt.Sprintf("issued by %q", cert.Issuer.String())
	case issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil:
		return fmt.Sprintf("signed by the key of %q", issuer.Subject.String()),
			fmt.Sprintf("a signature that this key did not make, under a certificate whose signed part has SHA-256 %x", sha256.Sum256(cert.RawTBSCertificate))
	case now.Before(cert.NotBefore), now.After(cert.NotAfter):
		return "valid at " + date(now), fmt.Sprintf("valid from %s to %s", date(cert.NotBefore), date(cert.NotAfter))
	}
	return fmt.Sprintf("a chain through %q to a trusted root, valid at %s", issuer.Subject.String(), date(now)), err.Error()
}
