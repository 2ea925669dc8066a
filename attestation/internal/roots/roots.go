// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package roots holds the type of a set of hardware roots. It is internal so
// that a set can come from two places only: AMD's own certificates, or package
// attestationtest, which shipped programs may not import.
package roots

import "crypto/x509"

// A Line holds the certificates of one AMD product line. ASVK may be nil.
type Line struct {
	Product        string // "Genoa"
	ARK, ASK, ASVK *x509.Certificate
}

// A Set is a set of roots. The zero Set trusts nothing.
type Set struct {
	lines     map[string]Line
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

// Line returns the certificates of a product line.
func (s Set) Line(product string) (Line, bool) { l, ok := s.lines[product]; return l, ok }

// Simulated reports whether the set holds roots that stand for no hardware.
func (s Set) Simulated() bool { return s.simulated }

// IsZero reports whether the set trusts nothing.
func (s Set) IsZero() bool { return len(s.lines) == 0 }
