// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Subjects of Intel's certificates (Intel SGX PCK certificate and CRL profile,
// Sections 1.3 and 1.4). All hang under one root, hence a name is what keeps a
// key for one purpose from serving another.
const (
	nameRoot       = "Intel SGX Root CA"
	namePlatformCA = "Intel SGX PCK Platform CA"
	nameProcessor  = "Intel SGX PCK Processor CA"
	namePCK        = "Intel SGX PCK Certificate"
	nameTCBSigning = "Intel SGX TCB Signing"
)

// maxChain bounds a PEM chain of three certificates of less than 2 KiB each.
const maxChain = 12 << 10

// parseChain reads exactly n certificates in PEM, leaf first, in the one spelling
// that encoding/pem prints. The last newline may be missing, as in the service's
// headers, or be followed by one zero byte, as in quotes. Keys are all on P-256,
// as Intel's are: anybody can put a certificate of an RSA key that takes a second
// to verify with where the issuer should be.
func parseChain(b []byte, n int) ([]*x509.Certificate, error) {
	if len(b) > maxChain {
		return nil, fmt.Errorf("chain of %d bytes, at most %d", len(b), maxChain)
	}
	rest, again := bytes.TrimSuffix(b, []byte{0}), []byte(nil)
	certs := make([]*x509.Certificate, 0, n)
	for range n {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("chain of %d certificates, want %d", len(certs), n)
		}
		again = append(again, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %v", len(certs), err)
		}
		if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("certificate %d is of a key that is not on P-256", len(certs))
		}
		certs = append(certs, c)
	}
	for _, spelling := range [][]byte{again, bytes.TrimSuffix(again, []byte{'\n'}), append(bytes.Clone(again), 0)} {
		if bytes.Equal(b, spelling) {
			return certs, nil
		}
	}
	return nil, errors.New("chain has bytes besides its certificates")
}

// checkChain decides whether a chain, root included, is valid at now under one of
// the trusted roots, which has to be the very certificate at its end.
func checkChain(chain, trusted []*x509.Certificate, now time.Time) error {
	root := chain[len(chain)-1]
	if !slices.ContainsFunc(trusted, root.Equal) {
		return fmt.Errorf("under %q, which is no trusted root", root.Subject.String())
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	opts.Roots.AddCert(root)
	for _, c := range chain[1 : len(chain)-1] {
		opts.Intermediates.AddCert(c)
	}
	paths, err := chain[0].Verify(opts)
	if err != nil {
		return err
	}
	if len(paths[0]) != len(chain) {
		return errors.New("path is not the chain given")
	}
	return nil
}

// checkNames holds the subjects of a chain against what they have to be.
func checkNames(chain []*x509.Certificate, names ...[]string) error {
	for i, c := range chain {
		if !slices.Contains(names[i], c.Subject.CommonName) {
			return fmt.Errorf("certificate %d is %q, want one of %q", i, c.Subject.CommonName, names[i])
		}
	}
	return nil
}

// checkCRL verifies a revocation list that came along.
func checkCRL(der []byte, issuer *x509.Certificate, now time.Time, grace time.Duration) (*x509.RevocationList, error) {
	name := issuer.Subject.CommonName
	crl, err := x509.ParseRevocationList(der)
	switch {
	case err != nil:
		return nil, refuse.As(refuse.CRL, "of %q: %v", name, err)
	case len(crl.Raw) != len(der): // the standard library ignores what follows
		return nil, refuse.As(refuse.CRL, "bytes after the list of %q", name)
	case !bytes.Equal(crl.RawIssuer, issuer.RawSubject):
		return nil, refuse.As(refuse.CRL, "issued by %q, want %q", crl.Issuer.String(), issuer.Subject.String())
	case crl.CheckSignatureFrom(issuer) != nil:
		return nil, refuse.As(refuse.CRL, "not signed by %q", name)
	case crl.ThisUpdate.After(now):
		return nil, refuse.As(refuse.CRL, "of %q is from the future: %v", name, crl.ThisUpdate)
	case crl.NextUpdate.IsZero(), now.After(crl.NextUpdate.Add(grace)):
		return nil, refuse.As(refuse.CRL, "of %q expired %v", name, crl.NextUpdate)
	}
	for _, e := range crl.Extensions {
		if e.Critical { // a list of some, or of changes only, says nothing of the others
			return nil, refuse.As(refuse.CRL, "of %q is not complete: extension %v", name, e.Id)
		}
	}
	return crl, nil
}

// revoked reports whether the list names the certificate.
func revoked(crl *x509.RevocationList, c *x509.Certificate) bool {
	return slices.ContainsFunc(crl.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(c.SerialNumber) == 0
	})
}
