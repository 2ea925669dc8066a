// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package evidence is the container in which a node's evidence travels: a list
// of typed pieces, and the two small formats of our own among them (the key
// statement and the measured configuration).
//
// It parses, prints and digests; it judges nothing. What a piece proves is the
// business of package attestation, and a bundle that parses here is still only
// a claim.
package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxSize is the most bytes a bundle may have. Anything larger is refused
// before it is looked at (docs/spec/attestation.md, Section 2).
const MaxSize = 32 << 20

// magic opens every bundle; the last byte is the version of the container.
const magic = "sotto-evidence\x00\x01"

const (
	headerSize      = len(magic) + 2
	pieceHeaderSize = 6
)

// A Kind says what a piece is. Kinds are never reused.
type Kind uint16

// The pieces of epoch evidence, then those of freshness evidence.
const (
	KindKeyStatement  Kind = 1  // [KeyStatement]
	KindConfig        Kind = 2  // [Config], measured into PCR 13
	KindEventLog      Kind = 3  // TCG crypto-agile event log (PC Client PFP, Section 10)
	KindAKPublic      Kind = 4  // TPMT_PUBLIC of the attestation key
	KindQuote         Kind = 5  // TPMS_ATTEST of a quote
	KindQuoteSig      Kind = 6  // TPMT_SIGNATURE over it
	KindPCRs          Kind = 7  // [PCRs] the quote covers
	KindREKPublic     Kind = 8  // TPMT_PUBLIC of the P-256 half of the REK
	KindREKParent     Kind = 9  // TPMT_PUBLIC of its parent
	KindCreationData  Kind = 10 // TPMS_CREATION_DATA
	KindCreation      Kind = 11 // TPMS_ATTEST of TPM2_CertifyCreation
	KindCreationSig   Kind = 12 // TPMT_SIGNATURE over it
	KindSNPReport     Kind = 13 // SEV-SNP ATTESTATION_REPORT, 1184 bytes
	KindSNPCert       Kind = 14 // VCEK or VLEK certificate, DER
	KindSNPCRL        Kind = 15 // CRL of the product line, DER
	KindSVSMManifest  Kind = 16 // services manifest of an SVSM's vTPM
	KindHCLReport     Kind = 17 // Azure HCL report: hardware report and runtime data
	KindTDXQuote      Kind = 18 // Intel TDX quote, version 4 or 5
	KindTDXCollateral Kind = 19 // [List] of seven: see docs/spec/attestation.md
	KindCCEL          Kind = 20 // confidential computing event log (UEFI 2.10, Section 38.4)
	KindAKCerts       Kind = 21 // [List] of DER: certificate of the attestation key, intermediates
	KindEKCerts       Kind = 22 // [List] of DER: certificate of the endorsement key, intermediates
	KindNitroDoc      Kind = 23 // AWS NitroTPM attestation document, COSE_Sign1
	KindIMALog        Kind = 24 // IMA log, binary_runtime_measurements of the SHA-256 bank
	KindGPU           Kind = 25 // GPU evidence, see docs/spec/attestation.md
	KindFreshQuote    Kind = 32 // TPMS_ATTEST of the freshness quote
	KindFreshQuoteSig Kind = 33 // TPMT_SIGNATURE over it
	KindFreshPCRs     Kind = 34 // [PCRs] it covers
	KindFreshIMALog   Kind = 35 // what the IMA log grew by since epoch evidence
)

// limits holds the most bytes a piece of each kind may have. The sum is far
// below [MaxSize]: a bundle is refused by its lengths alone, before hashing.
var limits = map[Kind]int{
	KindKeyStatement:  KeyStatementSize,
	KindConfig:        64 << 10,
	KindEventLog:      1 << 20,
	KindAKPublic:      1 << 10,
	KindQuote:         2 << 10,
	KindQuoteSig:      1 << 10,
	KindPCRs:          24 * pcrEntrySize,
	KindREKPublic:     1 << 10,
	KindREKParent:     1 << 10,
	KindCreationData:  1 << 10,
	KindCreation:      2 << 10,
	KindCreationSig:   1 << 10,
	KindSNPReport:     1184,
	KindSNPCert:       8 << 10,
	KindSNPCRL:        256 << 10,
	KindFreshQuote:    2 << 10,
	KindFreshQuoteSig: 1 << 10,
	KindFreshPCRs:     24 * pcrEntrySize,
	KindSVSMManifest:  4 << 10,
	KindHCLReport:     16 << 10,
	KindTDXQuote:      16 << 10,
	KindTDXCollateral: 512 << 10,
	KindCCEL:          1 << 20,
	KindAKCerts:       32 << 10,
	KindEKCerts:       32 << 10,
	KindNitroDoc:      32 << 10,
	KindIMALog:        4 << 20,
	KindGPU:           4 << 20, // more than the most of everything that its format has
	KindFreshIMALog:   4 << 20,
}

var names = map[Kind]string{
	KindKeyStatement: "key statement", KindConfig: "measured configuration", KindEventLog: "event log",
	KindAKPublic: "attestation key", KindQuote: "quote", KindQuoteSig: "quote signature", KindPCRs: "PCR values",
	KindREKPublic: "REK public area", KindREKParent: "REK parent", KindCreationData: "creation data",
	KindCreation: "creation certificate", KindCreationSig: "creation signature", KindSNPReport: "SEV-SNP report",
	KindSNPCert: "SEV-SNP certificate", KindSNPCRL: "SEV-SNP CRL", KindFreshQuote: "freshness quote",
	KindFreshQuoteSig: "freshness quote signature", KindFreshPCRs: "freshness PCR values",
	KindSVSMManifest: "SVSM services manifest", KindHCLReport: "HCL report", KindTDXQuote: "TDX quote", KindTDXCollateral: "TDX collateral",
	KindCCEL: "confidential computing event log", KindAKCerts: "attestation key certificate", KindEKCerts: "endorsement key certificate",
	KindNitroDoc: "Nitro attestation document", KindIMALog: "IMA log", KindGPU: "GPU evidence", KindFreshIMALog: "freshness IMA log",
}

// String names the kind in words, for reports and refusals.
func (k Kind) String() string {
	if n, ok := names[k]; ok {
		return n
	}
	return fmt.Sprintf("piece %d", uint16(k))
}

// EpochKinds and FreshnessKinds return the pieces that each of the two bundles
// consists of: exactly these, each once.
func EpochKinds() []Kind {
	return []Kind{KindKeyStatement, KindConfig, KindEventLog, KindAKPublic, KindQuote, KindQuoteSig, KindPCRs,
		KindREKPublic, KindREKParent, KindCreationData, KindCreation, KindCreationSig, KindSNPReport, KindSNPCert, KindSNPCRL}
}

// FreshnessKinds is the list for freshness evidence; see [EpochKinds].
func FreshnessKinds() []Kind { return []Kind{KindFreshQuote, KindFreshQuoteSig, KindFreshPCRs} }

// A Piece is one typed blob.
type Piece struct {
	Kind Kind
	Data []byte
}

// A Bundle is a list of pieces, kinds strictly ascending:
//
//	struct {
//	    Kind   kind;                    // uint16
//	    opaque data<0..2^32-1>;         // capped per kind
//	} Piece;
//
//	struct {
//	    opaque magic[16] = "sotto-evidence" || 0x00 || 0x01;
//	    uint16 count;
//	    Piece  pieces[count];
//	} Bundle;
type Bundle struct {
	Pieces []Piece
}

// ErrSize says that a bundle or one of its pieces is larger than it may be. It
// is told apart from malformed bytes because the cure differs.
var ErrSize = errors.New("evidence: larger than allowed")

var errFormat = errors.New("evidence: malformed bundle")

// Parse reads one bundle and nothing after it. The data of the pieces aliases
// b. It returns [ErrSize] for anything over a cap.
func Parse(b []byte) (*Bundle, error) {
	if len(b) > MaxSize {
		return nil, ErrSize
	}
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return nil, errFormat
	}
	count := int(binary.BigEndian.Uint16(b[len(magic):]))
	if count > len(limits) {
		return nil, errFormat
	}
	rest, out := b[headerSize:], &Bundle{Pieces: make([]Piece, 0, count)}
	for range count {
		if len(rest) < pieceHeaderSize {
			return nil, errFormat
		}
		kind, size := Kind(binary.BigEndian.Uint16(rest)), binary.BigEndian.Uint32(rest[2:])
		rest = rest[pieceHeaderSize:]
		limit, known := limits[kind]
		switch {
		case !known:
			return nil, errFormat
		case uint64(size) > uint64(limit):
			return nil, ErrSize
		case uint64(size) > uint64(len(rest)):
			return nil, errFormat
		}
		out.Pieces = append(out.Pieces, Piece{Kind: kind, Data: rest[:size:size]})
		rest = rest[size:]
	}
	if len(rest) != 0 {
		return nil, errFormat
	}
	return out, out.Check()
}

// Check reports whether the bundle could have come out of [Parse]: known kinds
// in ascending order, none over its cap.
func (b *Bundle) Check() error {
	last := -1
	for _, p := range b.Pieces {
		limit, known := limits[p.Kind]
		switch {
		case !known, int(p.Kind) <= last:
			return errFormat
		case len(p.Data) > limit:
			return ErrSize
		}
		last = int(p.Kind)
	}
	return nil
}

// Append prints the bundle after dst. It fails where [Bundle.Check] does.
func (b *Bundle) Append(dst []byte) ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	dst = append(dst, magic...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b.Pieces)))
	for _, p := range b.Pieces {
		dst = binary.BigEndian.AppendUint16(dst, uint16(p.Kind))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p.Data)))
		dst = append(dst, p.Data...)
	}
	return dst, nil
}

// Digest returns the SHA-256 of the printed bundle: the name under which it
// stands in node records and packs. A bundle that does not print has the zero
// digest, which no record may name.
func (b *Bundle) Digest() [32]byte {
	if b.Check() != nil {
		return [32]byte{}
	}
	h, head := sha256.New(), make([]byte, 0, headerSize)
	h.Write(binary.BigEndian.AppendUint16(append(head, magic...), uint16(len(b.Pieces))))
	for _, p := range b.Pieces {
		h.Write(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(head[:0], uint16(p.Kind)), uint32(len(p.Data))))
		h.Write(p.Data)
	}
	return [32]byte(h.Sum(nil))
}

// Get returns the data of the piece of that kind, or nil and false.
func (b *Bundle) Get(k Kind) ([]byte, bool) {
	for _, p := range b.Pieces {
		if p.Kind == k {
			return p.Data, true
		}
	}
	return nil, false
}
