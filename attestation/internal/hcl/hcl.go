// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package hcl reads what Azure's paravisor (HCL, OpenHCL) puts into the vTPM of a
// confidential virtual machine, at NV index 0x01400001: a hardware report that the
// paravisor asked for at boot, and the runtime data that the report is over.
//
// The runtime data name the vTPM's attestation key. That is the whole binding:
// the hardware vouches for a digest of the runtime data, these for the modulus of
// the key, and the key for PCRs and nonce. The report itself is as old as the
// boot; freshness is the TPM's. The public area around the modulus (that the key
// is restricted, say) is vouched for by the paravisor only, which is software of
// Microsoft's in the launch measurement.
//
// Nothing here verifies a signature: an SNP report goes to package snp with
// [Report.ReportData] as its expected REPORT_DATA, a TD quote to package tdx.
// The layout is that of openhcl_attestation_protocol::igvm_attest::get and of
// Microsoft's guest attestation samples; names of fields are theirs.
package hcl

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
)

// Size is the size of the NV index in bytes. A report is taken as it is read
// there, with zeros after it, or cut to its own size; no other length will do.
const Size = 2600

// A Kind says what hardware report is inside.
type Kind uint32

// The kinds of hardware report that are read. VBS (1) and TVM (3) are refused:
// no confidential computing hardware speaks in them.
const (
	SNP Kind = 2 // AMD SEV-SNP ATTESTATION_REPORT, 1184 bytes
	TDX Kind = 4 // Intel TDREPORT_STRUCT, 1024 bytes
)

// String returns the kind as reports name it.
func (k Kind) String() string {
	switch k {
	case SNP:
		return "SEV-SNP"
	case TDX:
		return "TDX"
	}
	return "unknown"
}

// Sizes and constants of the format.
const (
	headerSize   = 32
	hardwareSize = 1184
	requestSize  = 20
	dataOffset   = headerSize + hardwareSize + requestSize

	signature   = "HCLA"
	akRequest   = 2 // IGVM_ATTEST_REQUEST_TYPE: AK certificate
	requestData = 1 // version of the request data

	hashSHA256 = 1
	hashSHA384 = 2
	hashSHA512 = 3
)

// A Report is a parsed report. The slices alias what was parsed.
type Report struct {
	Kind     Kind
	Version  uint32 // of the header: 1 or 2
	Hardware []byte // SNP report of 1184 bytes, or TDREPORT of 1024
	TD       *TDREPORT
	Runtime  *Runtime

	data [64]byte
}

// Parse reads exactly one report:
//
//	struct {
//	    opaque signature[4] = "HCLA";
//	    uint32 version;              // 1 or 2; integers are little-endian
//	    uint32 report_size;          // header to the end of the runtime data
//	    uint32 request_type = 2;     // AK certificate
//	    uint32 status = 0;
//	    uint32 reserved[3] = 0;
//	    opaque hardware_report[1184]; // a TDREPORT ends in 160 zeros
//	    uint32 data_size;            // 20 + variable_data_size
//	    uint32 data_version = 1;
//	    uint32 report_type;          // 2 SEV-SNP, 4 TDX
//	    uint32 hash_type;            // 1 SHA-256, 2 SHA-384, 3 SHA-512
//	    uint32 variable_data_size;
//	    opaque runtime_data[variable_data_size]; // JSON
//	    opaque zeros<0..2600>;       // to the size of the index
//	} HCLReport;
//
// Refusals have the code att.format.
func Parse(b []byte) (*Report, error) {
	if len(b) < dataOffset || len(b) > Size {
		return nil, refuse.As(refuse.Format, "HCL report of %d bytes, want %d to %d", len(b), dataOffset, Size)
	}
	word := func(off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
	request := headerSize + hardwareSize
	r := &Report{Version: word(4), Kind: Kind(word(request + 8)), Hardware: b[headerSize : headerSize+hardwareSize]}
	size, variable := word(8), word(request+16)
	switch {
	case string(b[:4]) != signature:
		return nil, refuse.As(refuse.Format, "HCL report does not begin with %s", signature)
	case r.Version != 1 && r.Version != 2:
		return nil, refuse.As(refuse.Format, "HCL report version %d", r.Version)
	case word(12) != akRequest || !zero(b[16:headerSize]):
		return nil, refuse.As(refuse.Format, "HCL report of request type %d, or with a status", word(12))
	case variable > Size || int(variable) > len(b)-dataOffset || size != uint32(dataOffset)+variable || word(request) != requestSize+variable:
		return nil, refuse.As(refuse.Format, "HCL report sizes %d, %d and %d do not fit", size, word(request), variable)
	case word(request+4) != requestData:
		return nil, refuse.As(refuse.Format, "HCL request data version %d", word(request+4))
	case len(b) != int(size) && len(b) != Size, !zero(b[size:]):
		return nil, refuse.As(refuse.Format, "HCL report has bytes after it")
	}
	runtime := b[dataOffset:size]
	if err := r.hash(word(request+12), runtime); err != nil {
		return nil, err
	}
	if err := r.readHardware(); err != nil {
		return nil, err
	}
	var err error
	r.Runtime, err = parseRuntime(runtime)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// hash computes what the hardware report must be over: the digest of the exact
// bytes of the runtime data, and zeros.
func (r *Report) hash(algorithm uint32, runtime []byte) error {
	switch algorithm {
	case hashSHA256:
		sum := sha256.Sum256(runtime)
		copy(r.data[:], sum[:])
	case hashSHA384:
		sum := sha512.Sum384(runtime)
		copy(r.data[:], sum[:])
	case hashSHA512:
		r.data = sha512.Sum512(runtime)
	default:
		return refuse.As(refuse.Format, "HCL report hash type %d", algorithm)
	}
	return nil
}

func (r *Report) readHardware() error {
	switch r.Kind {
	case SNP:
		return nil
	case TDX:
		if !zero(r.Hardware[tdReportSize:]) {
			return refuse.As(refuse.Format, "bytes after the TDREPORT")
		}
		r.Hardware = r.Hardware[:tdReportSize]
		var err error
		r.TD, err = parseTDREPORT(r.Hardware)
		return err
	}
	return refuse.As(refuse.Format, "HCL report type %d is neither SEV-SNP nor TDX", r.Kind)
}

// ReportData returns the 64 bytes that the hardware's report, or the TD quote,
// must be over.
func (r *Report) ReportData() [64]byte { return r.data }

// CheckAK decides whether ak is the key that the runtime data name. Refusals have
// the code att.binding. It says nothing unless the hardware is over
// [Report.ReportData].
func (r *Report) CheckAK(ak *tpm.AK) error {
	if !r.Runtime.AK.Equal(ak.Key()) {
		return refuse.As(refuse.Binding, "attestation key is not the %s of the runtime data", akName)
	}
	return nil
}

// Limits say which machines with a genuine report are acceptable. The zero value
// is the strictest.
type Limits struct {
	// AllowConsole accepts a machine whose serial console the host serves: a way
	// in for whoever owns the account, if the guest listens.
	AllowConsole bool
	// AllowSecureBootOff accepts a machine that was configured without Secure
	// Boot. Whether it was in force is told by the event log.
	AllowSecureBootOff bool
}

// Check compares the configuration that the paravisor states with limits. A
// machine without a TPM is refused in any case: it would have no key of its own.
func (r *Report) Check(l Limits) error {
	switch c := r.Runtime; {
	case !c.TPM:
		return refuse.As(refuse.Platform, "vm-configuration: tpm-enabled is false")
	case !c.SecureBoot && !l.AllowSecureBootOff:
		return refuse.As(refuse.SecureBoot, "vm-configuration: secure-boot is false")
	case c.Console && !l.AllowConsole:
		return refuse.As(refuse.Platform, "vm-configuration: console-enabled is true")
	}
	return nil
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
