// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// simulated is what every certificate name under a simulated root contains.
const simulated = "SIMULATED"

func saysSimulated(c *x509.Certificate) bool {
	return strings.Contains(c.Issuer.String()+c.Subject.String(), simulated)
}

// trust decides whose roots count: those that the request gives, in the place of
// all others, or those of the program. The request is the caller's own; nothing
// in evidence leads here.
func (j *judgement) trust(vendor roots.Vendor) error {
	j.out.Roots = RootsBuiltIn
	if j.request.has("roots") {
		certs, err := j.given("roots")
		if err != nil {
			return err
		}
		j.trusted = roots.New(len(certs) > 0 && saysSimulated(certs[0])).With(vendor, certs...)
	}
	j.out.Simulated = j.trusted.Simulated()
	return nil
}

// given parses the roots of a request. All of them say SIMULATED or none does.
func (j *judgement) given(name string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for i, der := range j.request.certificates(name) {
		c, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
			return nil, j.request.failf("%s: certificate %d: %v", name, i, err)
		case !c.IsCA:
			return nil, j.request.failf("%s: certificate %d is of no authority", name, i)
		case i > 0 && saysSimulated(c) != saysSimulated(certs[0]):
			return nil, j.request.failf("%s: some are SIMULATED, some are not", name)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, j.request.failf("%s: no certificates", name)
	}
	j.out.Roots = RootsGiven
	return certs, nil
}

// trustAMD is trust for AMD's product lines. A line is told by the names of the
// certificates under its root: "SEV-Genoa" issues VCEKs, "SEV-VLEK-Genoa" VLEKs.
// Certificates of chain serve where they are roots that are trusted, or are
// issued by one; any other is refused.
func (j *judgement) trustAMD() error {
	j.out.Roots = RootsBuiltIn
	lines, is := map[string]roots.Line{}, j.trusted.Simulated()
	var certs []*x509.Certificate
	var err error
	if j.request.has("roots") {
		if certs, err = j.given("roots"); err != nil {
			return err
		}
		is = saysSimulated(certs[0])
		for _, c := range certs {
			placed(lines, certs, c)
		}
	} else {
		for _, product := range products {
			if l, ok := j.trusted.Line(product); ok {
				lines[product], certs = l, append(certs, l.ARK)
			}
		}
	}
	j.out.Simulated = is
	chain, err := j.chain()
	if err != nil {
		return err
	}
	if err := j.request.finish(); err != nil { // all is read
		return err
	}
	for _, c := range chain {
		if !placed(lines, certs, c) {
			return refuse.As(refuse.Chain, "chain: %q is not issued by a trusted root", c.Subject.String())
		}
	}
	j.trusted = roots.New(is, slices.Collect(maps.Values(lines))...)
	return nil
}

// chain parses the certificates that came along: those of chain, and those after
// the first in certificate.
func (j *judgement) chain() ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for i, der := range append(j.beside, j.request.certificates("chain")...) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, &malformedError{refuse.Format, fmt.Sprintf("chain: certificate %d: %v", i, err)}
		}
		out = append(out, c)
	}
	return out, j.request.fault()
}

const (
	prefixVCEK = "SEV-"
	prefixVLEK = "SEV-VLEK-"
)

// lineOf returns the product line that an issuing certificate is of.
func lineOf(c *x509.Certificate) (product string, vlek bool) {
	if p, ok := strings.CutPrefix(c.Subject.CommonName, prefixVLEK); ok {
		return p, true
	}
	p, _ := strings.CutPrefix(c.Subject.CommonName, prefixVCEK)
	return p, false
}

// placed puts a certificate that a root has issued into the line of its name, in
// the place of what was there. It reports whether there is a place for it; a
// root needs none.
func placed(lines map[string]roots.Line, certs []*x509.Certificate, c *x509.Certificate) bool {
	product, vlek := lineOf(c)
	for _, root := range certs {
		if root.Equal(c) {
			return true
		}
		l, known := lines[product]
		if product == "" || !c.IsCA || known && !l.ARK.Equal(root) || c.CheckSignatureFrom(root) != nil {
			continue
		}
		l.Product, l.ARK = product, root
		if vlek {
			l.ASVK = c
		} else {
			l.ASK = c
		}
		lines[product] = l
		return true
	}
	return false
}
