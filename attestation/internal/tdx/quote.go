// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tdx verifies Intel TDX quotes (Intel TDX DCAP Quoting Library API,
// Appendix 3: versions 4 and 5) with collateral as Intel's provisioning
// certification service answers it (PCS API version 4).
//
// Genuine and acceptable are two functions. [Verify] says whether a TD on
// hardware that Intel certified produced the quote, and which status Intel gives
// that hardware's firmware, from collateral that travelled along: nothing is
// fetched. [Genuine.Check] compares what was found with what the caller allows,
// and reads no field as "not checked". Which limits apply is never the quote's
// choice.
package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/binary"
	"math/big"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Sizes and fixed values of the layout (Quoting Library API, A.3).
const (
	headerSize   = 48
	body10Size   = 584
	body15Size   = 648
	qeReportSize = 384

	keyECDSAP256 = 2    // attestation key type
	teeTDX       = 0x81 // TEE type
	certQEReport = 6    // certification data that hold a QE report, and in it:
	certPCKChain = 5    // a PCK certificate chain in PEM

	// MaxQuote bounds a quote, padding included: twice the buffer in which Linux
	// guests receive one.
	MaxQuote = 16 << 10
)

// Body types, as a quote of version 5 states them. A quote of version 4 holds a
// TD report of TDX 1.0 without saying so.
const (
	TDX10 = 2 // 584 bytes
	TDX15 = 3 // 648 bytes: TEE_TCB_SVN_2 and MRSERVICETD added
)

// intelQE is the identifier of Intel's quoting enclave in the header.
var intelQE = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// p256Order is n, the order of P-256's base point.
var p256Order = elliptic.P256().Params().N

// A Quote is a parsed quote. Every byte of the original is in one of its
// fields: [Quote.Print] gives it back.
type Quote struct {
	Version  uint16   // 4 or 5
	UserData [20]byte // header field of the quoting enclave's choice
	Body

	Signature   [64]byte // over header and body, by AttKey: r and s, big-endian
	AttKey      [64]byte // P-256 point: x and y, big-endian
	QE          EnclaveReport
	QESignature [64]byte // over QE, by the PCK
	QEAuth      []byte   // what the quoting enclave hashed together with AttKey
	Chain       []byte   // PCK certificate chain, PEM

	// Padding counts the zero bytes that follow. Linux hands out the buffer in
	// which the host left the quote, not its length, hence recorded quotes of two
	// clouds end in zeros. They are accepted, up to [MaxQuote], because a flipped
	// bit in them is not.
	Padding int
}

// A Body is what is said about the TD (TDX module ABI, TDREPORT_STRUCT).
type Body struct {
	Type           uint16   // [TDX10] or [TDX15]
	TEETCBSVN      [16]byte // firmware when the TD was launched: 0 is the module's SVN, 1 its version
	MRSEAM         [48]byte // measurement of the TDX module
	MRSignerSEAM   [48]byte // its signer; zero is Intel
	SEAMAttributes uint64   // zero
	Attributes     uint64   // TD attributes
	XFAM           uint64   // processor features the TD may use
	MRTD           [48]byte // measurement of the TD as launched
	MRConfigID     [48]byte // set by the host, not measured software
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	Data           [64]byte // REPORTDATA

	// Only in TDX15, else zero.
	TEETCBSVN2  [16]byte // firmware now, where it was updated under the running TD
	MRServiceTD [48]byte // hash of bound service TDs, as those that migrate it
}

// An EnclaveReport is the report of the quoting enclave (Intel SDM, Volume 3D,
// REPORT, without its MAC).
type EnclaveReport struct {
	CPUSVN     [16]byte
	MiscSelect uint32
	Reserved1  [28]byte
	Attributes [16]byte
	MREnclave  [32]byte
	Reserved2  [32]byte
	MRSigner   [32]byte
	Reserved3  [96]byte
	ProdID     uint16
	SVN        uint16
	Reserved4  [60]byte
	Data       [64]byte
}

// ParseQuote reads exactly one quote. Reserved bytes must be zero, signatures in
// range and the attestation key a point of the curve.
func ParseQuote(b []byte) (*Quote, error) {
	if len(b) > MaxQuote {
		return nil, refuse.As(refuse.Size, "quote of %d bytes, at most %d", len(b), MaxQuote)
	}
	q, r := new(Quote), &reader{b: b}
	if err := q.readHeader(r); err != nil {
		return nil, err
	}
	if err := q.readBody(r); err != nil {
		return nil, err
	}
	data := reader{b: r.take(int(r.u32()))} // at most MaxQuote are there to be taken
	if err := q.readSignature(&data); err != nil {
		return nil, err
	}
	if r.bad || data.bad || len(data.b) != 0 {
		return nil, refuse.As(refuse.Format, "quote lengths do not add up")
	}
	if q.Padding = len(r.b); len(bytes.Trim(r.b, "\x00")) != 0 {
		return nil, refuse.As(refuse.Format, "bytes after the quote")
	}
	if !bytes.Equal(q.Print(), b) {
		return nil, refuse.As(refuse.Format, "quote has bits that mean nothing")
	}
	for _, sig := range []*[64]byte{&q.Signature, &q.QESignature} {
		if _, _, ok := scalars(sig); !ok {
			return nil, refuse.As(refuse.Format, "signature out of range")
		}
	}
	if _, err := q.attKey(); err != nil {
		return nil, refuse.As(refuse.Format, "attestation key: %v", err)
	}
	return q, nil
}

func (q *Quote) readHeader(r *reader) error {
	q.Version = r.u16()
	keyType, tee, reserved := r.u16(), r.u32(), r.u32()
	var vendor [16]byte
	r.into(vendor[:], q.UserData[:])
	switch {
	case r.bad:
		return refuse.As(refuse.Format, "quote ends within its header")
	case q.Version != 4 && q.Version != 5:
		return refuse.As(refuse.Format, "quote version %d, want 4 or 5", q.Version)
	case keyType != keyECDSAP256:
		return refuse.As(refuse.Format, "attestation key type %d, want ECDSA P-256", keyType)
	case tee != teeTDX:
		return refuse.As(refuse.Format, "TEE type %#x, want %#x", tee, teeTDX)
	case reserved != 0:
		return refuse.As(refuse.Format, "reserved header field is not zero")
	case vendor != intelQE:
		return refuse.As(refuse.Format, "quoting enclave of vendor %x", vendor)
	}
	return nil
}

func (q *Quote) readBody(r *reader) error {
	q.Type = TDX10
	if q.Version == 5 {
		var size uint32
		q.Type, size = r.u16(), r.u32()
		if !(q.Type == TDX10 && size == body10Size) && !(q.Type == TDX15 && size == body15Size) {
			return refuse.As(refuse.Format, "body of type %d and %d bytes", q.Type, size)
		}
	}
	r.into(q.TEETCBSVN[:], q.MRSEAM[:], q.MRSignerSEAM[:])
	q.SEAMAttributes, q.Attributes, q.XFAM = r.u64(), r.u64(), r.u64()
	r.into(q.MRTD[:], q.MRConfigID[:], q.MROwner[:], q.MROwnerConfig[:])
	r.into(q.RTMR[0][:], q.RTMR[1][:], q.RTMR[2][:], q.RTMR[3][:], q.Data[:])
	if q.Type == TDX15 {
		r.into(q.TEETCBSVN2[:], q.MRServiceTD[:])
	}
	if r.bad {
		return refuse.As(refuse.Format, "quote ends within its body")
	}
	return nil
}

func (q *Quote) readSignature(r *reader) error {
	r.into(q.Signature[:], q.AttKey[:])
	outer, size := r.u16(), r.u32()
	if outer != certQEReport || int64(size) != int64(len(r.b)) {
		return refuse.As(refuse.Format, "certification data of type %d and %d bytes, want type %d and the rest", outer, size, certQEReport)
	}
	q.QE.read(r)
	r.into(q.QESignature[:])
	q.QEAuth = r.take(int(r.u16()))
	inner, size := r.u16(), r.u32()
	if inner != certPCKChain || int64(size) != int64(len(r.b)) {
		return refuse.As(refuse.Format, "inner certification data of type %d and %d bytes, want type %d and the rest", inner, size, certPCKChain)
	}
	q.Chain = r.take(int(size))
	return nil
}

func (e *EnclaveReport) read(r *reader) {
	r.into(e.CPUSVN[:])
	e.MiscSelect = r.u32()
	r.into(e.Reserved1[:], e.Attributes[:], e.MREnclave[:], e.Reserved2[:], e.MRSigner[:], e.Reserved3[:])
	e.ProdID, e.SVN = r.u16(), r.u16()
	r.into(e.Reserved4[:], e.Data[:])
}

// Print returns the 384 bytes that the PCK signs.
func (e *EnclaveReport) Print() []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, qeReportSize), e.CPUSVN[:]...)
	b = le.AppendUint32(b, e.MiscSelect)
	for _, f := range [][]byte{e.Reserved1[:], e.Attributes[:], e.MREnclave[:], e.Reserved2[:], e.MRSigner[:], e.Reserved3[:]} {
		b = append(b, f...)
	}
	b = le.AppendUint16(le.AppendUint16(b, e.ProdID), e.SVN)
	return append(append(b, e.Reserved4[:]...), e.Data[:]...)
}

// Signed returns header and body: what the attestation key signs.
func (q *Quote) Signed() []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(make([]byte, 0, headerSize+6+body15Size), q.Version)
	b = le.AppendUint16(b, keyECDSAP256)
	b = le.AppendUint32(b, teeTDX)
	b = le.AppendUint32(b, 0)
	b = append(append(b, intelQE[:]...), q.UserData[:]...)
	if q.Version == 5 {
		size := uint32(body10Size)
		if q.Type == TDX15 {
			size = body15Size
		}
		b = le.AppendUint32(le.AppendUint16(b, q.Type), size)
	}
	b = append(append(append(b, q.TEETCBSVN[:]...), q.MRSEAM[:]...), q.MRSignerSEAM[:]...)
	b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, q.SEAMAttributes), q.Attributes), q.XFAM)
	for _, f := range [][]byte{q.MRTD[:], q.MRConfigID[:], q.MROwner[:], q.MROwnerConfig[:],
		q.RTMR[0][:], q.RTMR[1][:], q.RTMR[2][:], q.RTMR[3][:], q.Data[:]} {
		b = append(b, f...)
	}
	if q.Type == TDX15 {
		b = append(append(b, q.TEETCBSVN2[:]...), q.MRServiceTD[:]...)
	}
	return b
}

// Print returns the bytes that [ParseQuote] reads as q.
func (q *Quote) Print() []byte {
	le := binary.LittleEndian
	inner := append(append(q.QE.Print(), q.QESignature[:]...), 0, 0)
	le.PutUint16(inner[len(inner)-2:], uint16(len(q.QEAuth)))
	inner = le.AppendUint16(append(inner, q.QEAuth...), certPCKChain)
	inner = append(le.AppendUint32(inner, uint32(len(q.Chain))), q.Chain...)
	data := append(append(make([]byte, 0, 134+len(inner)), q.Signature[:]...), q.AttKey[:]...)
	data = le.AppendUint32(le.AppendUint16(data, certQEReport), uint32(len(inner)))
	data = append(data, inner...)
	b := append(le.AppendUint32(q.Signed(), uint32(len(data))), data...)
	return append(b, make([]byte, q.Padding)...)
}

func (q *Quote) attKey() (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.AttKey[:]...))
}

// scalars splits a signature. ok is false outside 1..n-1, which is refused here,
// by name, rather than by whatever a library makes of it.
func scalars(sig *[64]byte) (r, s *big.Int, ok bool) {
	r, s = new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	return r, s, r.Sign() > 0 && s.Sign() > 0 && r.Cmp(p256Order) < 0 && s.Cmp(p256Order) < 0
}

// A reader takes fields off the front of b. Past the end it yields zeros and
// stays bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) into(fields ...[]byte) {
	for _, f := range fields {
		copy(f, r.take(len(f)))
	}
}

func (r *reader) u16() uint16 {
	var b [2]byte
	r.into(b[:])
	return binary.LittleEndian.Uint16(b[:])
}

func (r *reader) u32() uint32 {
	var b [4]byte
	r.into(b[:])
	return binary.LittleEndian.Uint32(b[:])
}

func (r *reader) u64() uint64 {
	var b [8]byte
	r.into(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
