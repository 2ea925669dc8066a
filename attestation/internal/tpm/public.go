// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
)

// rsaExponent is the one public exponent accepted. A TPM prints it as 0, its
// default (Part 2, Section 12.2.3.5).
const rsaExponent = 65537

// A Public is a TPMT_PUBLIC, read far enough to judge it. Curve and the fields
// after it are set for ECC keys on P-256 only, the modulus for RSA keys only.
type Public struct {
	raw        []byte
	Type       uint16
	NameAlg    uint16
	Attributes uint32
	AuthPolicy []byte

	symAlg, symBits, symMode uint16
	scheme, schemeHash       uint16
	curve, kdf               uint16
	x, y                     []byte
	keyBits                  uint16
	exponent                 uint32
	modulus                  []byte
}

// ParsePublic reads exactly one TPMT_PUBLIC:
//
//	struct {
//	    uint16 type;
//	    uint16 nameAlg;
//	    uint32 objectAttributes;
//	    opaque authPolicy<0..64>;
//	    TPMU_PUBLIC_PARMS parameters; // of TPM_ALG_ECC or TPM_ALG_RSA
//	    select (type) {
//	        case TPM_ALG_ECC: opaque x<0..32>, y<0..32>;
//	        case TPM_ALG_RSA: opaque modulus<0..512>;
//	    } unique;
//	} TPMT_PUBLIC;
//
// For other types, and for schemes that no key of ours has, only the fields
// before them are read: such a key is named and refused, never used.
func ParsePublic(b []byte) (*Public, error) {
	s, p := cryptobyte.String(b), &Public{raw: b}
	var policy cryptobyte.String
	if !s.ReadUint16(&p.Type) || !s.ReadUint16(&p.NameAlg) || !s.ReadUint32(&p.Attributes) || !s.ReadUint16LengthPrefixed(&policy) {
		return nil, errShape
	}
	p.AuthPolicy = policy
	if p.Type != algECC && p.Type != algRSA {
		return p, nil
	}
	if !s.ReadUint16(&p.symAlg) {
		return nil, errShape
	}
	if p.symAlg != algNull && (!s.ReadUint16(&p.symBits) || !s.ReadUint16(&p.symMode)) {
		return nil, errShape
	}
	if !s.ReadUint16(&p.scheme) {
		return nil, errShape
	}
	read := p.readECC
	if p.Type == algRSA {
		read = p.readRSA
	}
	if err := read(&s); err != nil {
		return nil, err
	}
	return p, nil
}

// readECC reads a TPMS_ECC_PARMS from its scheme's details on, and the point.
func (p *Public) readECC(s *cryptobyte.String) error {
	if p.scheme != algNull && !s.ReadUint16(&p.schemeHash) {
		return errShape
	}
	var x, y cryptobyte.String
	if !s.ReadUint16(&p.curve) || !s.ReadUint16(&p.kdf) {
		return errShape
	}
	if p.scheme == algECDAA || p.kdf != algNull { // ECDAA has a counter, a KDF a hash: neither is ever ours
		return nil
	}
	if !s.ReadUint16LengthPrefixed(&x) || !s.ReadUint16LengthPrefixed(&y) || !s.Empty() {
		return errShape
	}
	p.x, p.y = x, y
	return nil
}

// readRSA reads a TPMS_RSA_PARMS from its scheme's details on, and the modulus.
func (p *Public) readRSA(s *cryptobyte.String) error {
	switch p.scheme {
	case algNull, algRSAES: // without a hash
	case algRSASSA, algRSAPSS, algOAEP:
		if !s.ReadUint16(&p.schemeHash) {
			return errShape
		}
	default:
		return nil
	}
	var modulus cryptobyte.String
	if !s.ReadUint16(&p.keyBits) || !s.ReadUint32(&p.exponent) || !s.ReadUint16LengthPrefixed(&modulus) || !s.Empty() {
		return errShape
	}
	p.modulus = modulus
	return nil
}

// Bytes returns the encoding that was read. The caller must not change it.
func (p *Public) Bytes() []byte { return p.raw }

// Name returns the key's name: nameAlg || SHA-256(public area). Keys with other
// name algorithms are refused before anyone asks.
func (p *Public) Name() []byte {
	h := sha256.Sum256(p.raw)
	return append(binary.BigEndian.AppendUint16(nil, algSHA256), h[:]...)
}

// qualifiedName returns the name of a primary key of a hierarchy that also says
// where it stands (Part 1, Section 16).
func (p *Public) qualifiedName(hierarchy uint32) []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, hierarchy))
	h.Write(p.Name())
	return append(binary.BigEndian.AppendUint16(nil, algSHA256), h.Sum(nil)...)
}

// Point returns the public key as an uncompressed point, coordinates padded.
// TPMs may leave leading zeros out.
func (p *Public) Point() ([]byte, bool) {
	if len(p.x) == 0 || len(p.y) == 0 || len(p.x) > 32 || len(p.y) > 32 || p.curve != curveP256 {
		return nil, false
	}
	out := make([]byte, 65)
	out[0] = 4
	copy(out[33-len(p.x):33], p.x)
	copy(out[65-len(p.y):], p.y)
	return out, true
}

// ECDSA returns the key for verification.
func (p *Public) ECDSA() (*ecdsa.PublicKey, error) {
	point, ok := p.Point()
	if !ok {
		return nil, errShape
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// RSA returns the key for verification. Keys of 2048, 3072 and 4096 bits with
// exponent 65537 are returned, each with a modulus of exactly that length.
func (p *Public) RSA() (*rsa.PublicKey, error) {
	switch {
	case p.Type != algRSA, p.keyBits != 2048 && p.keyBits != 3072 && p.keyBits != 4096,
		len(p.modulus) != int(p.keyBits)/8, p.modulus[0]&0x80 == 0, p.modulus[len(p.modulus)-1]&1 == 0,
		p.exponent != 0 && p.exponent != rsaExponent:
		return nil, errShape
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(p.modulus), E: rsaExponent}, nil
}

// Key returns the public key as the standard library has it: *ecdsa.PublicKey on
// P-256 or *rsa.PublicKey.
func (p *Public) Key() (crypto.PublicKey, error) {
	if p.Type == algRSA {
		return p.RSA()
	}
	return p.ECDSA()
}

// verifySignature checks a TPMT_SIGNATURE (Part 2, Section 11.3.4) with SHA-256
// over signed, of the one scheme that key has:
//
//	struct {
//	    uint16 sigAlg;               // TPM_ALG_ECDSA or TPM_ALG_RSASSA
//	    uint16 hash = TPM_ALG_SHA256;
//	    select (sigAlg) {
//	        case TPM_ALG_ECDSA:  opaque r<1..32>, s<1..32>;
//	        case TPM_ALG_RSASSA: opaque sig<256..512>; // as long as the modulus
//	    };
//	} TPMT_SIGNATURE;
func verifySignature(key crypto.PublicKey, signed, signature []byte) bool {
	s := cryptobyte.String(signature)
	var alg, hash uint16
	if !s.ReadUint16(&alg) || !s.ReadUint16(&hash) || hash != algSHA256 {
		return false
	}
	sum := sha256.Sum256(signed)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		var r, t cryptobyte.String
		if alg != algECDSA || !s.ReadUint16LengthPrefixed(&r) || !s.ReadUint16LengthPrefixed(&t) || !s.Empty() ||
			len(r) == 0 || len(r) > 32 || len(t) == 0 || len(t) > 32 {
			return false
		}
		return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(r), new(big.Int).SetBytes(t))
	case *rsa.PublicKey:
		var sig cryptobyte.String
		if alg != algRSASSA || !s.ReadUint16LengthPrefixed(&sig) || !s.Empty() || len(sig) != key.Size() {
			return false
		}
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) == nil
	}
	return false
}

// Equal reports whether two public areas are the same bytes.
func (p *Public) Equal(q *Public) bool { return bytes.Equal(p.raw, q.raw) }
