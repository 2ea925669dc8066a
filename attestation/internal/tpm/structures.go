// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tpm reads the TPM 2.0 structures that evidence consists of and checks
// what they say: keys, quotes and certified creations (TPM 2.0 Library, Part 2).
//
// It reads only the shapes that Sotto accepts, each in its one encoding, and
// holds no handle to a TPM: commands are the business of attestation/collect/tpm.
package tpm

import (
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/cryptobyte"
)

// Constants of TPM 2.0 Library, Part 2 (section in brackets).
const (
	generated    = 0xff544347 // TPM_GENERATED_VALUE [6.2]
	stQuote      = 0x8018     // TPM_ST [6.9]
	stCreation   = 0x801a
	algRSA       = 0x0001 // TPM_ALG_ID [6.3]
	algAES       = 0x0006
	algSHA256    = 0x000b
	algNull      = 0x0010
	algRSASSA    = 0x0014
	algRSAES     = 0x0015
	algRSAPSS    = 0x0016
	algOAEP      = 0x0017
	algECDSA     = 0x0018
	algECDH      = 0x0019
	algECDAA     = 0x001a
	algECC       = 0x0023
	algCFB       = 0x0043
	curveP256    = 0x0003     // TPM_ECC_CURVE [6.4]
	rhOwner      = 0x40000001 // TPM_HANDLE [7.4]
	rhNull       = 0x40000007
	rhEndorse    = 0x4000000b
	rhPlatform   = 0x4000000c
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
