// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hcl

import (
	"bytes"
	"crypto/sha512"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Offsets into TDREPORT_STRUCT (Intel TDX Module ABI, 348551, Section 4.9).
const (
	tdReportSize  = 1024
	offCPUSVN     = 16
	offTCBHash    = 32
	offInfoHash   = 80
	offData       = 128
	offReserved   = 192
	offMAC        = 224
	offTCBInfo    = 256 // TEE_TCB_INFO, 239 bytes
	sizeTCBInfo   = 239
	offTCBSVN     = offTCBInfo + 8
	offMRSEAM     = offTCBInfo + 24
	offMRSigner   = offTCBInfo + 72
	offSEAMAttr   = offTCBInfo + 120
	offTDInfo     = 512 // TDINFO_STRUCT, 512 bytes
	offTDAttr     = offTDInfo
	sizeTDQuoted  = 8 + 8 + 4*48 + 4*48 // ATTRIBUTES to RTMR3, as they stand in a quote
	quoteBodySize = 584
)

// A TDREPORT is a parsed TDREPORT_STRUCT. Its MAC is under a key that no verifier
// has, so no field of it is proof of anything: what is, is the TD quote made from
// it, and [TDREPORT.CheckQuoteBody] holds the two against each other.
type TDREPORT struct {
	Data [64]byte // REPORTDATA

	raw []byte
}

func parseTDREPORT(b []byte) (*TDREPORT, error) {
	tcb, info := sha512.Sum384(b[offTCBInfo:offTCBInfo+sizeTCBInfo]), sha512.Sum384(b[offTDInfo:])
	switch {
	case b[0] != 0x81 || b[1] != 0 || b[2] > 1 || !zero(b[3:offCPUSVN]): // REPORTTYPE: TDX, subtype 0, version 0 or 1
		return nil, refuse.As(refuse.Format, "TDREPORT of type %x", b[:4])
	case !zero(b[offReserved:offMAC]), !zero(b[offTCBInfo+sizeTCBInfo : offTDInfo]):
		return nil, refuse.As(refuse.Format, "TDREPORT has bits that mean nothing")
	case !bytes.Equal(b[offTCBHash:offInfoHash], tcb[:]), !bytes.Equal(b[offInfoHash:offData], info[:]):
		return nil, refuse.As(refuse.Format, "TDREPORT does not hash to its own digests")
	}
	t := &TDREPORT{raw: b}
	copy(t.Data[:], b[offData:])
	return t, nil
}

// CheckQuoteBody decides whether the body of a TD quote (the 584 bytes of a
// version 4 body, TDREPORT 1.0; the first 584 of a TDREPORT 1.5 body) is of this
// TDREPORT: every field that both have is equal. A refusal has the code
// att.binding. It is what ties the report beside the runtime data to the quote
// that was verified; the quote's REPORTDATA must be [Report.ReportData] as well,
// which this implies only together with [Report.CheckTD].
func (t *TDREPORT) CheckQuoteBody(body []byte) error {
	if len(body) < quoteBodySize {
		return refuse.As(refuse.Format, "TD quote body of %d bytes, want %d", len(body), quoteBodySize)
	}
	for _, f := range []struct {
		name           string
		quote, of, len int
	}{
		{"TEE_TCB_SVN", 0, offTCBSVN, 16},
		{"MRSEAM", 16, offMRSEAM, 48},
		{"MRSIGNERSEAM", 64, offMRSigner, 48},
		{"SEAMATTRIBUTES", 112, offSEAMAttr, 8},
		{"TDATTRIBUTES to RTMR3", 120, offTDAttr, sizeTDQuoted},
		{"REPORTDATA", 520, offData, 64},
	} {
		if !bytes.Equal(body[f.quote:f.quote+f.len], t.raw[f.of:f.of+f.len]) {
			return refuse.As(refuse.Binding, "TD quote and TDREPORT differ in %s", f.name)
		}
	}
	return nil
}

// CheckTD decides whether the TDREPORT is over the runtime data. A refusal has
// the code att.binding. Proof is the quote: see [TDREPORT.CheckQuoteBody].
func (r *Report) CheckTD() error {
	if r.TD == nil {
		return refuse.As(refuse.TEE, "HCL report holds no TDREPORT")
	}
	if r.TD.Data != r.data {
		return refuse.As(refuse.Binding, "TDREPORT is over %x.., runtime data hash to %x..", r.TD.Data[:16], r.data[:16])
	}
	return nil
}
