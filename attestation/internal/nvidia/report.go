// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// What stands in the two messages (DMTF DSP0274 1.1.0, Sections 10.11.1 and
// 10.11.2). NVIDIA's devices ask themselves: the driver hands out request and
// response as one blob, and the signature is over both.
const (
	spdmVersion      = 0x11
	codeRequest      = 0xe0 // GET_MEASUREMENTS
	codeResponse     = 0x60 // MEASUREMENTS
	wantSignature    = 0x01 // Param1 of the request
	allMeasurements  = 0xff // Param2 of the request
	specDMTF         = 0x01
	requestSize      = 37
	responseHeadSize = 8
	nonceSize        = 32
	signatureSize    = 96
	maxPadding       = 16
)

// A FieldType says what an entry of the opaque data is. The numbers are those of
// NVIDIA's published verifiers; those that nothing here reads are not named.
type FieldType uint16

// The fields that are read.
const (
	FieldDriver        FieldType = 3  // driver version, ASCII, may end in one NUL
	FieldVBIOS         FieldType = 6  // VBIOS version, eight bytes
	FieldNVDEC0        FieldType = 11 // 0xaa on, 0x55 off
	FieldProject       FieldType = 17
	FieldProjectSKU    FieldType = 18
	FieldFWID          FieldType = 20 // SHA-384 of the firmware that holds the signing key
	FieldProtectedPCIE FieldType = 21 // 0xaa on, 0x55 off
)

// How a device says on and off.
const (
	statusOn  = 0xaa
	statusOff = 0x55
)

// A Block is one measurement, in the DMTF layout.
type Block struct {
	Index uint8 // from 1; manifests count from 0
	Type  uint8 // DMTFSpecMeasurementValueType
	Value []byte
}

// A Field is one entry of the opaque data.
type Field struct {
	Type FieldType
	Data []byte
}

// A Report is a parsed attestation report: a GET_MEASUREMENTS request and the
// MEASUREMENTS response to it.
type Report struct {
	Nonce     [nonceSize]byte // of the request: the challenge
	Slot      uint8           // certificate slot, 0 to 15
	Blocks    []Block         // indices strictly ascending
	Answer    [nonceSize]byte // nonce of the response, drawn by the device
	Fields    []Field         // each type once
	Signature [signatureSize]byte
}

func errReport(format string, args ...any) error { return refuse.As(refuse.GPUReport, format, args...) }

// ParseReport reads exactly one report. The parsed form prints back to b.
func ParseReport(b []byte) (*Report, error) {
	r, rest, err := readReport(b)
	if err == nil && len(rest) != 0 {
		return nil, errReport("%d bytes after the signature", len(rest))
	}
	return r, err
}

// Trim returns a report as a driver hands it out without the zero bytes that may
// follow the signature: an H100's was recorded with one. They are under no
// signature, so evidence holds none; a collector cuts them off.
func Trim(raw []byte) ([]byte, error) {
	_, rest, err := readReport(raw)
	if err != nil {
		return nil, err
	}
	if len(rest) > maxPadding || len(bytes.Trim(rest, "\x00")) != 0 {
		return nil, errReport("%d bytes after the signature", len(rest))
	}
	return raw[:len(raw)-len(rest)], nil
}

// readReport reads a report and returns what follows it.
func readReport(b []byte) (r *Report, rest []byte, err error) {
	if len(b) > maxReport || len(b) < requestSize+responseHeadSize+nonceSize+2+signatureSize {
		return nil, nil, errReport("report of %d bytes", len(b))
	}
	r = new(Report)
	req, resp := b[:requestSize], b[requestSize:]
	if req[0] != spdmVersion || req[1] != codeRequest || req[2] != wantSignature || req[3] != allMeasurements || req[requestSize-1] > 15 {
		return nil, nil, errReport("no signed SPDM 1.1 GET_MEASUREMENTS of all blocks")
	}
	copy(r.Nonce[:], req[4:])
	r.Slot = req[requestSize-1]
	if resp[0] != spdmVersion || resp[1] != codeResponse || resp[2] != 0 || resp[3] != r.Slot {
		return nil, nil, errReport("no MEASUREMENTS response from slot %d", r.Slot)
	}
	count, size := int(resp[4]), int(resp[5])|int(resp[6])<<8|int(resp[7])<<16
	rest = resp[responseHeadSize:]
	if size > len(rest)-nonceSize-2-signatureSize {
		return nil, nil, errReport("measurement record of %d bytes", size)
	}
	if err := r.readBlocks(rest[:size], count); err != nil {
		return nil, nil, err
	}
	copy(r.Answer[:], rest[size:])
	rest = rest[size+nonceSize:]
	opaque := int(binary.LittleEndian.Uint16(rest))
	if len(rest) < 2+opaque+signatureSize {
		return nil, nil, errReport("opaque data of %d bytes", opaque)
	}
	copy(r.Signature[:], rest[2+opaque:])
	if err := r.readFields(rest[2 : 2+opaque]); err != nil {
		return nil, nil, err
	}
	return r, rest[2+opaque+signatureSize:], nil
}

func (r *Report) readBlocks(b []byte, count int) error {
	for range count {
		if len(b) < 7 {
			return errReport("measurement record cut")
		}
		index, size, value := b[0], int(binary.LittleEndian.Uint16(b[2:])), int(binary.LittleEndian.Uint16(b[5:]))
		if b[1] != specDMTF || size != value+3 || size > len(b)-4 || index == 0 {
			return errReport("measurement block %d malformed", index)
		}
		if n := len(r.Blocks); n > 0 && r.Blocks[n-1].Index >= index {
			return errReport("measurement block %d out of order", index)
		}
		r.Blocks = append(r.Blocks, Block{Index: index, Type: b[4], Value: b[7 : 4+size]})
		b = b[4+size:]
	}
	if len(b) != 0 || count == 0 {
		return errReport("measurement record does not hold %d blocks", count)
	}
	return nil
}

// readFields reads the opaque data: type, length and value, each number 16 bits
// and little-endian. Drivers from CUDA 13.5 on write another layout, told apart
// by its first bytes, which this version does not read.
func (r *Report) readFields(b []byte) error {
	if bytes.HasPrefix(b, []byte("NVDAOD")) {
		return errReport("opaque data in the versioned layout, which is not read yet")
	}
	seen := map[FieldType]bool{}
	for len(b) > 0 {
		if len(b) < 4 {
			return errReport("opaque data cut")
		}
		t, size := FieldType(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
		if size > len(b)-4 || seen[t] {
			return errReport("opaque field %d cut or doubled", t)
		}
		seen[t] = true
		r.Fields = append(r.Fields, Field{Type: t, Data: b[4 : 4+size]})
		b = b[4+size:]
	}
	return nil
}

// Append prints the report after dst, signature included. It is the reverse of
// [ParseReport] for what that returns.
func (r *Report) Append(dst []byte) []byte {
	dst = append(dst, spdmVersion, codeRequest, wantSignature, allMeasurements)
	dst = append(append(dst, r.Nonce[:]...), r.Slot)
	var record, opaque []byte
	for _, m := range r.Blocks {
		record = append(record, m.Index, specDMTF)
		record = binary.LittleEndian.AppendUint16(record, uint16(len(m.Value)+3))
		record = append(record, m.Type)
		record = append(binary.LittleEndian.AppendUint16(record, uint16(len(m.Value))), m.Value...)
	}
	for _, f := range r.Fields {
		opaque = binary.LittleEndian.AppendUint16(opaque, uint16(f.Type))
		opaque = append(binary.LittleEndian.AppendUint16(opaque, uint16(len(f.Data))), f.Data...)
	}
	n := len(record)
	dst = append(dst, spdmVersion, codeResponse, 0, r.Slot, uint8(len(r.Blocks)), byte(n), byte(n>>8), byte(n>>16))
	dst = append(append(dst, record...), r.Answer[:]...)
	dst = append(binary.LittleEndian.AppendUint16(dst, uint16(len(opaque))), opaque...)
	return append(dst, r.Signature[:]...)
}

// Field returns the data of a field, or nil and false.
func (r *Report) Field(t FieldType) ([]byte, bool) {
	for _, f := range r.Fields {
		if f.Type == t {
			return f.Data, true
		}
	}
	return nil, false
}

// Driver returns the driver version, "580.95.05"; empty if the report has none.
func (r *Report) Driver() string {
	b, _ := r.Field(FieldDriver)
	return printable(strings.TrimSuffix(string(b), "\x00"))
}

// VBIOS returns the VBIOS version, "96.00.74.00.1A"; empty if the report has
// none. Two little-endian words hold it, the last part in the second.
func (r *Report) VBIOS() string {
	b, _ := r.Field(FieldVBIOS)
	if len(b) != 8 {
		return ""
	}
	return fmt.Sprintf("%02X.%02X.%02X.%02X.%02X", b[3], b[2], b[1], b[0], b[4])
}

// printable returns s if it is short ASCII that may stand in a report or a
// manifest, else nothing.
func printable(s string) string {
	if len(s) > 64 {
		return ""
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return s
}

// ProtectedPCIE reports whether the device says that it is in protected PCIe
// mode, the mode in which several GPUs share NVSwitches.
func (r *Report) ProtectedPCIE() bool {
	b, _ := r.Field(FieldProtectedPCIE)
	return len(b) == 1 && b[0] == statusOn
}
