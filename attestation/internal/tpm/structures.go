// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tpm reads the TPM 2.0 structures that evidence consists of and checks
// what they say: keys, quotes and certified creations (TPM 2.0 Library, Part 2).
//
// It reads only the shapes that Sotto accepts, each in its one encoding, and
// holds no handle to a TPM: commands are the business of attestation/collect/tpm.
package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
)

// Constants of TPM 2.0 Library, Part 2 (section in brackets).
const (
	generated    = 0xff544347 // TPM_GENERATED_VALUE [6.2]
	stQuote      = 0x8018     // TPM_ST [6.9]
	stCreation   = 0x801a
	algSHA256    = 0x000b // TPM_ALG_ID [6.3]
	algNull      = 0x0010
	algECDSA     = 0x0018
	algECDH      = 0x0019
	algECC       = 0x0023
	algAES       = 0x0006
	algCFB       = 0x0043
	curveP256    = 0x0003     // TPM_ECC_CURVE [6.4]
	rhNull       = 0x40000007 // TPM_HANDLE [7.4]
	ccPolicyPCR  = 0x0000017f // TPM_CC [6.5.2]
	pcrSelectLen = 3          // sizeofSelect of a PC Client TPM: PCR 0..23
)

// Attributes of a key (TPMA_OBJECT, Part 2, Section 8.3).
const (
	attrFixedTPM             = 1 << 1
	attrSTClear              = 1 << 2
	attrFixedParent          = 1 << 4
	attrSensitiveDataOrigin  = 1 << 5
	attrUserWithAuth         = 1 << 6
	attrAdminWithPolicy      = 1 << 7
	attrNoDA                 = 1 << 10
	attrEncryptedDuplication = 1 << 11
	attrRestricted           = 1 << 16
	attrDecrypt              = 1 << 17
	attrSign                 = 1 << 18
)

var errShape = errors.New("malformed TPM structure")

// A Public is a TPMT_PUBLIC, read far enough to judge it. Curve and the fields
// after it are set for ECC keys on P-256 only.
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
}

// ParsePublic reads exactly one TPMT_PUBLIC:
//
//	struct {
//	    uint16 type;
//	    uint16 nameAlg;
//	    uint32 objectAttributes;
//	    opaque authPolicy<0..64>;
//	    TPMU_PUBLIC_PARMS parameters; // of TPM_ALG_ECC
//	    opaque x<0..32>, y<0..32>;
//	} TPMT_PUBLIC;
//
// For other types than ECC only the fields before parameters are read: such a
// key is named and refused, never used.
func ParsePublic(b []byte) (*Public, error) {
	s, p := cryptobyte.String(b), &Public{raw: b}
	var policy cryptobyte.String
	if !s.ReadUint16(&p.Type) || !s.ReadUint16(&p.NameAlg) || !s.ReadUint32(&p.Attributes) || !s.ReadUint16LengthPrefixed(&policy) {
		return nil, errShape
	}
	p.AuthPolicy = policy
	if p.Type != algECC {
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
	if p.scheme != algNull && !s.ReadUint16(&p.schemeHash) {
		return nil, errShape
	}
	var x, y cryptobyte.String
	if !s.ReadUint16(&p.curve) || !s.ReadUint16(&p.kdf) {
		return nil, errShape
	}
	if p.scheme == 0x001a || p.kdf != algNull { // ECDAA has a counter, a KDF a hash: neither is ever ours
		return p, nil
	}
	if !s.ReadUint16LengthPrefixed(&x) || !s.ReadUint16LengthPrefixed(&y) || !s.Empty() {
		return nil, errShape
	}
	p.x, p.y = x, y
	return p, nil
}

// Name returns the key's name: nameAlg || SHA-256(public area). Keys with other
// name algorithms are refused before anyone asks.
func (p *Public) Name() []byte {
	h := sha256.Sum256(p.raw)
	return append(binary.BigEndian.AppendUint16(nil, algSHA256), h[:]...)
}

// qualifiedName returns the name of a primary key of the NULL hierarchy that
// also says where it stands (Part 1, Section 16).
func (p *Public) qualifiedName() []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, rhNull))
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

// A Clock is a TPMS_CLOCK_INFO with the firmware version that stands after it.
type Clock struct {
	Clock           uint64 // milliseconds
	Reset, Restart  uint32
	Safe            byte
	FirmwareVersion uint64
}

// SameBoot reports whether two attestations by one key were made between the
// same two resets. The TPM offsets the counters by a value that depends on the
// key, so only those of one key compare.
func (c Clock) SameBoot(d Clock) bool {
	return c.Reset == d.Reset && c.Restart == d.Restart && c.FirmwareVersion == d.FirmwareVersion
}

// A Selection is one TPMS_PCR_SELECTION.
type Selection struct {
	Hash uint16
	Bits []byte
}

// An Attest is a TPMS_ATTEST of a quote or a creation:
//
//	struct {
//	    uint32 magic = 0xff544347;
//	    uint16 type;                 // TPM_ST_ATTEST_QUOTE or _CREATION
//	    opaque qualifiedSigner<0..2^16-1>;
//	    opaque extraData<0..2^16-1>;
//	    uint64 clock; uint32 resetCount; uint32 restartCount; uint8 safe;
//	    uint64 firmwareVersion;
//	    TPMU_ATTEST attested;
//	} TPMS_ATTEST;
type Attest struct {
	Type      uint16
	Signer    []byte
	ExtraData []byte
	Clock     Clock

	Selections []Selection // quote
	Digest     []byte      // quote: of the PCR values; creation: creationHash
	Object     []byte      // creation: name of the object
}

// parseAttest reads exactly one TPMS_ATTEST of a quote or creation.
func parseAttest(b []byte) (*Attest, error) {
	s, a := cryptobyte.String(b), new(Attest)
	var magic uint32
	var signer, extra, first, second cryptobyte.String
	if !s.ReadUint32(&magic) || magic != generated || !s.ReadUint16(&a.Type) ||
		!s.ReadUint16LengthPrefixed(&signer) || !s.ReadUint16LengthPrefixed(&extra) ||
		!s.ReadUint64(&a.Clock.Clock) || !s.ReadUint32(&a.Clock.Reset) || !s.ReadUint32(&a.Clock.Restart) ||
		!s.ReadUint8(&a.Clock.Safe) || a.Clock.Safe > 1 || !s.ReadUint64(&a.Clock.FirmwareVersion) {
		return nil, errShape
	}
	a.Signer, a.ExtraData = signer, extra
	switch a.Type {
	case stQuote:
		var ok bool
		if a.Selections, ok = readSelections(&s); !ok || !s.ReadUint16LengthPrefixed(&second) {
			return nil, errShape
		}
	case stCreation:
		if !s.ReadUint16LengthPrefixed(&first) || !s.ReadUint16LengthPrefixed(&second) {
			return nil, errShape
		}
	default:
		return nil, errShape
	}
	a.Object, a.Digest = first, second
	if !s.Empty() {
		return nil, errShape
	}
	return a, nil
}

// readSelections reads a TPML_PCR_SELECTION: uint32 count, then per bank the
// hash, a length and as many bytes of bits.
func readSelections(s *cryptobyte.String) ([]Selection, bool) {
	var count uint32
	if !s.ReadUint32(&count) || count > 16 {
		return nil, false
	}
	var out []Selection
	for range count {
		var sel Selection
		var bits cryptobyte.String
		if !s.ReadUint16(&sel.Hash) || !s.ReadUint8LengthPrefixed(&bits) {
			return nil, false
		}
		sel.Bits = bits
		out = append(out, sel)
	}
	return out, true
}

// selection prints the TPML_PCR_SELECTION of the SHA-256 bank for some PCRs.
func selection(pcrs []int) []byte {
	var bits [pcrSelectLen]byte
	for _, i := range pcrs {
		bits[i/8] |= 1 << (i % 8)
	}
	out := binary.BigEndian.AppendUint32(nil, 1)
	out = binary.BigEndian.AppendUint16(out, algSHA256)
	return append(append(out, pcrSelectLen), bits[:]...)
}

// verifySignature checks a TPMT_SIGNATURE (ECDSA with SHA-256) over signed:
//
//	struct {
//	    uint16 sigAlg = TPM_ALG_ECDSA;
//	    uint16 hash = TPM_ALG_SHA256;
//	    opaque r<1..32>, s<1..32>;
//	} TPMT_SIGNATURE;
func verifySignature(key *ecdsa.PublicKey, signed, signature []byte) bool {
	s := cryptobyte.String(signature)
	var alg, hash uint16
	var r, t cryptobyte.String
	if !s.ReadUint16(&alg) || alg != algECDSA || !s.ReadUint16(&hash) || hash != algSHA256 ||
		!s.ReadUint16LengthPrefixed(&r) || !s.ReadUint16LengthPrefixed(&t) || !s.Empty() ||
		len(r) == 0 || len(r) > 32 || len(t) == 0 || len(t) > 32 {
		return false
	}
	sum := sha256.Sum256(signed)
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(r), new(big.Int).SetBytes(t))
}

// A creationData is a TPMS_CREATION_DATA:
//
//	struct {
//	    TPML_PCR_SELECTION pcrSelect;
//	    opaque pcrDigest<0..64>;
//	    uint8  locality;
//	    uint16 parentNameAlg;
//	    opaque parentName<0..68>;
//	    opaque parentQualifiedName<0..68>;
//	    opaque outsideInfo<0..64>;
//	} TPMS_CREATION_DATA;
type creationData struct {
	selections      []Selection
	pcrDigest       []byte
	locality        uint8
	parentNameAlg   uint16
	parentName      []byte
	parentQualified []byte
	outside         []byte
}

func parseCreationData(b []byte) (*creationData, error) {
	s, d := cryptobyte.String(b), new(creationData)
	var ok bool
	var digest, name, qualified, outside cryptobyte.String
	if d.selections, ok = readSelections(&s); !ok || !s.ReadUint16LengthPrefixed(&digest) || !s.ReadUint8(&d.locality) ||
		!s.ReadUint16(&d.parentNameAlg) || !s.ReadUint16LengthPrefixed(&name) || !s.ReadUint16LengthPrefixed(&qualified) ||
		!s.ReadUint16LengthPrefixed(&outside) || !s.Empty() {
		return nil, errShape
	}
	d.pcrDigest, d.parentName, d.parentQualified, d.outside = digest, name, qualified, outside
	return d, nil
}
