// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"errors"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// VerifyWithoutCRL is [Verify] for a caller who has no revocation list and says
// so: it does not decide whether the certificate was revoked, and everything
// else as Verify does. It is for looking at one report by itself, and not enough
// to trust a machine; attestation.Verify has no way to it.
func VerifyWithoutCRL(report, cert []byte, trusted roots.Set, now time.Time) (*Genuine, error) {
	// Verify refuses for want of a list after it has decided all that comes before.
	_, err := Verify(report, Collateral{Cert: cert}, trusted, now, 0)
	var e *refuse.Error
	if !errors.As(err, &e) || e.Code != refuse.CRL {
		return nil, err
	}
	r, err := ParseReport(report)
	if err != nil {
		return nil, err
	}
	c, err := parseCert(cert)
	if err != nil {
		return nil, err
	}
	g := &Genuine{Report: r}
	if err := g.readExtensions(c); err != nil {
		return nil, err
	}
	line, ok := trusted.Line(g.Product)
	if !ok || g.issuer(line) == nil {
		return nil, refuse.As(refuse.Chain, "no trusted issuer of a %v for %s", g.Signer.SigningKey, g.Product)
	}
	if err := g.checkSignatures(cert, c, line, now); err != nil {
		return nil, err
	}
	return g, nil
}
