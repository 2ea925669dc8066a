// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"crypto"
	"io"

	ristretto "github.com/bwesterb/go-ristretto"
	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/zk/dleq"
)

// What follows lets circl's prover compute in circl's own arithmetic (the module
// under its group.Ristretto255) with what circl does not tell it: which factors
// are public. Each blank of a batch is multiplied by a hash of the public key, the
// blank and its evaluation, which whoever gets the proof computes as well; that
// product may take a time that depends on the factor, and then takes half of it.
// Products with the private key or the proof's randomness stay in constant time.
// And what was encoded once is not encoded again.
//
// The proof itself, its transcript and its randomness, is circl's. Tests hold every
// product and every proof against what circl computes alone.

// prover makes the proofs of RFC 9497, Section 2.2.1, under the suite of coins.
var prover = dleq.Prover{Params: dleq.Params{G: curve{}, H: crypto.SHA512, DST: []byte("OPRFV1-\x01-ristretto255-SHA512")}}

// A curve is ristretto255, as far as a prover asks for it. What it does not ask
// for is not there: the embedded group is nil.
type curve struct{ group.Group }

func (curve) NewElement() group.Element { return curve{}.Identity() }

func (curve) Identity() group.Element {
	e := new(point)
	e.p.SetZero()
	return e
}

func (curve) Generator() group.Element {
	e := &point{base: true}
	e.p.SetBase()
	return e
}

func (curve) NewScalar() group.Scalar { return &scalar{Scalar: group.Ristretto255.NewScalar()} }

func (curve) RandomScalar(r io.Reader) group.Scalar {
	return &scalar{Scalar: group.Ristretto255.RandomScalar(r)}
}

// HashToScalar returns a scalar that is public: in a proof, all that is hashed
// can be seen.
func (curve) HashToScalar(msg, dst []byte) group.Scalar {
	return &scalar{group.Ristretto255.HashToScalar(msg, dst), true}
}

// A scalar is circl's, and whether it is public: what was computed with it is not.
type scalar struct {
	group.Scalar
	public bool
}

func (s *scalar) Mul(x, y group.Scalar) group.Scalar {
	s.Scalar.Mul(x.(*scalar).Scalar, y.(*scalar).Scalar)
	s.public = false
	return s
}

func (s *scalar) Sub(x, y group.Scalar) group.Scalar {
	s.Scalar.Sub(x.(*scalar).Scalar, y.(*scalar).Scalar)
	s.public = false
	return s
}

// factor is s as the arithmetic takes it. Every scalar here is reduced.
func (s *scalar) factor() *ristretto.Scalar {
	f := new(ristretto.Scalar)
	b, err := s.MarshalBinary()
	if err != nil || !f.SetBytesStrict((*[32]byte)(b)) {
		panic("issue: internal error: a scalar that is not reduced")
	}
	return f
}

// A point is an element, with its encoding once that is known.
type point struct {
	group.Element // nil, as in curve
	p             ristretto.Point
	enc           []byte
	base          bool // the generator, of which there is a table
}

// decode decodes the one encoding of an element that is not the identity, as
// [credits.ParseElement] does. (The identity's one encoding is zero.)
func decode(b [32]byte) (*point, bool) {
	e := new(point)
	if b == [32]byte{} || !e.p.SetBytes(&b) {
		return nil, false
	}
	e.enc = b[:]
	return e, true
}

func (e *point) Mul(x group.Element, s group.Scalar) group.Element {
	from, by := x.(*point), s.(*scalar)
	switch {
	case by.public:
		e.p.PublicScalarMult(&from.p, by.factor())
	case from.base:
		e.p.ScalarMultBase(by.factor())
	default:
		e.p.ScalarMult(&from.p, by.factor())
	}
	e.enc, e.base = nil, false
	return e
}

func (e *point) Add(x, y group.Element) group.Element {
	e.p.Add(&x.(*point).p, &y.(*point).p)
	e.enc, e.base = nil, false
	return e
}

// MarshalBinaryCompress returns what its callers only read.
func (e *point) MarshalBinaryCompress() ([]byte, error) {
	if e.enc == nil {
		e.enc = e.p.Bytes()
	}
	return e.enc, nil
}
