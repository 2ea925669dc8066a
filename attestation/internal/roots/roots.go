// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package roots holds the type of a set of hardware roots. It is internal so
// that a set can come from two places only: the vendors' own certificates, or
// package attestationtest, which shipped programs may not import.
package roots

import (
	"crypto/x509"
	"maps"
	"slices"
)

// A Vendor owns roots other than AMD's, which come by product line.
type Vendor string

// The vendors. What each signs is in docs/platforms.md.
const (
	Intel     Vendor = "intel"     // SGX root CA: PCK certificates, TCB info, QE identity
	NVIDIA    Vendor = "nvidia"    // device identity, RIM and OCSP roots
	AWS       Vendor = "aws"       // Nitro root
	Google    Vendor = "google"    // EK/AK CA root of Compute Engine vTPMs
	Microsoft Vendor = "microsoft" // Azure virtual TPM root
	TPM       Vendor = "tpm"       // makers of discrete and firmware TPMs: EK roots
)

// A Line holds the certificates of one AMD product line. ASVK may be nil.
type Line struct {
	Product        string // "Genoa"
	ARK, ASK, ASVK *x509.Certificate
}

// A Set is a set of roots. The zero Set trusts nothing.
type Set struct {
	lines     map[string]Line
	vendors   map[Vendor][]*x509.Certificate
	simulated bool
}

// New returns a set of the given lines. simulated says that whoever made them
// is not a hardware vendor; evidence under such roots must say so itself.
func New(simulated bool, lines ...Line) Set {
	s := Set{lines: map[string]Line{}, simulated: simulated}
	for _, l := range lines {
		s.lines[l.Product] = l
	}
	return s
}

// With returns a set that also trusts the given roots of a vendor. s is not
// changed.
func (s Set) With(v Vendor, certs ...*x509.Certificate) Set {
	vendors := maps.Clone(s.vendors)
	if vendors == nil {
		vendors = map[Vendor][]*x509.Certificate{}
	}
	vendors[v] = append(slices.Clone(vendors[v]), certs...)
	s.vendors = vendors
	return s
}

// Of returns the roots of a vendor; none if the set trusts none.
func (s Set) Of(v Vendor) []*x509.Certificate { return s.vendors[v] }

// Line returns the certificates of a product line.
func (s Set) Line(product string) (Line, bool) { l, ok := s.lines[product]; return l, ok }

// Simulated reports whether the set holds roots that stand for no hardware.
func (s Set) Simulated() bool { return s.simulated }

// IsZero reports whether the set trusts nothing.
func (s Set) IsZero() bool { return len(s.lines) == 0 && len(s.vendors) == 0 }
