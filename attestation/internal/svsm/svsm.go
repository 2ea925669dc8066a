// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package svsm reads the services manifest of a Secure VM Service Module, whose
// vTPM runs at VMPL 0 inside the launch measurement, and binds it to an SNP
// report (AMD 58019, Revision 1.00, Sections 7 and 8.3).
//
// The SVSM asks for a report over SHA-512(nonce || manifest), where nonce is 64
// bytes of the guest's; through configfs-tsm (service_provider svsm) the guest
// gets report and manifest. REPORT_DATA is therefore not ours to choose, only the
// nonce is: [ReportData] computes what must stand there. The report is at the
// SVSM's own level, VMPL 0: one from a lower level could be asked for by the guest
// with REPORT_DATA of its liking, so policy must demand exactly 0.
//
// What the manifest names decides what is proven:
//
//   - An attestation key, byte for byte the evidence's own ([BindsAK]): the key
//     lives in this SVSM, nothing else is needed. This is Sotto's profile, made by
//     SVSMs that create the attestation key themselves.
//   - An endorsement key ([BindsEK]): this is what COCONUT-SVSM's vTPM service
//     answers (manifest version 0: the TPMT_PUBLIC of the RSA-2048 key of the TCG
//     template), and what AMD 58019 describes. An endorsement key signs nothing. An
//     attestation key in the same vTPM is proven only by TPM2_ActivateCredential,
//     which is an exchange with secrets and so not something that evidence can
//     carry: somebody must have run it and certified the result. The caller has to
//     ask for an attestation key certificate by an enrolment authority that names
//     this very endorsement key, and must refuse without.
//
// The vTPM of an SVSM is made anew at every boot unless its state is kept, so in
// the second case enrolment comes with every boot.
package svsm

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
)

// MaxSize is the cap on a manifest in bytes.
const MaxSize = 8 << 10

// maxServices bounds the table; no module has more than three services.
const maxServices = 16

const (
	headerSize = 24
	entrySize  = 24
)

// A GUID is in the byte order in which the manifest has it: the first three
// fields little-endian.
type GUID [16]byte

// GUIDs of AMD 58019, Sections 7.1 and 8.3.1.
var (
	// Services heads a manifest of all services:
	// 63849ebb-3d92-4670-a1ff-58f9c94b87bb.
	Services = GUID{0xbb, 0x9e, 0x84, 0x63, 0x92, 0x3d, 0x70, 0x46, 0xa1, 0xff, 0x58, 0xf9, 0xc9, 0x4b, 0x87, 0xbb}
	// VTPM is the vTPM service: c476f1eb-0123-45a5-9641-b4e7dde5bfe3.
	VTPM = GUID{0xeb, 0xf1, 0x76, 0xc4, 0x23, 0x01, 0xa5, 0x45, 0x96, 0x41, 0xb4, 0xe7, 0xdd, 0xe5, 0xbf, 0xe3}
)

// A Binding says which key of the vTPM a manifest names.
type Binding int

// The bindings. The zero value is none.
const (
	BindsAK Binding = 1 + iota // the attestation key itself
	BindsEK                    // an endorsement key; see the package documentation
)

// String returns the binding as reports name it.
func (b Binding) String() string {
	switch b {
	case BindsAK:
		return "attestation key"
	case BindsEK:
		return "endorsement key only"
	}
	return "none"
}

// A Manifest is a parsed manifest.
type Manifest struct {
	Public *tpm.Public // what the vTPM service says
	Table  bool        // a table of all services, not the answer of one
}

// ReportData returns what REPORT_DATA must be: SHA-512(nonce || manifest), over
// the exact bytes of the manifest.
func ReportData(nonce [64]byte, manifest []byte) [64]byte {
	h := sha512.New()
	h.Write(nonce[:])
	h.Write(manifest)
	return [64]byte(h.Sum(nil))
}

// Parse reads exactly one manifest: the answer of the vTPM service alone, which
// is a TPMT_PUBLIC, or a table of services that holds it:
//
//	struct {
//	    GUID   services;         // integers are little-endian
//	    uint32 size;             // of the whole
//	    uint32 count;
//	    struct {
//	        GUID   service;
//	        uint32 offset, size; // from the start of the whole
//	    } entries[count];
//	    opaque data[];           // in order of the entries, without gaps
//	} Manifest;
//
// Refusals have the code att.format.
func Parse(b []byte) (*Manifest, error) {
	if len(b) > MaxSize {
		return nil, refuse.As(refuse.Format, "manifest of %d bytes", len(b))
	}
	m, public := new(Manifest), b
	if bytes.HasPrefix(b, Services[:]) {
		var err error
		if public, err = findVTPM(b); err != nil {
			return nil, err
		}
		m.Table = true
	}
	p, err := tpm.ParsePublic(public)
	if err != nil {
		return nil, refuse.As(refuse.Format, "manifest of the vTPM: %v", err)
	}
	m.Public = p
	return m, nil
}

// findVTPM returns the vTPM's part of a table, which must be exact.
func findVTPM(b []byte) ([]byte, error) {
	if len(b) < headerSize {
		return nil, refuse.As(refuse.Format, "manifest is cut")
	}
	size, count := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
	if int(size) != len(b) || count == 0 || count > maxServices || len(b) < headerSize+int(count)*entrySize {
		return nil, refuse.As(refuse.Format, "manifest of %d bytes states %d and %d services", len(b), size, count)
	}
	var found []byte
	seen, next := map[GUID]bool{}, headerSize+int(count)*entrySize
	for i := range int(count) {
		e := b[headerSize+i*entrySize:][:entrySize]
		service := GUID(e[:16])
		offset, length := binary.LittleEndian.Uint32(e[16:]), binary.LittleEndian.Uint32(e[20:])
		if seen[service] || uint64(offset) != uint64(next) || uint64(length) > uint64(len(b)-next) {
			return nil, refuse.As(refuse.Format, "manifest entry %d stands twice or lies elsewhere", i)
		}
		seen[service] = true
		if service == VTPM {
			found = b[next : next+int(length)]
		}
		next += int(length)
	}
	if next != len(b) {
		return nil, refuse.As(refuse.Format, "manifest has bytes after its services")
	}
	if found == nil {
		return nil, refuse.As(refuse.Format, "manifest names no vTPM")
	}
	return found, nil
}

// Check says which key of the vTPM the manifest names. [BindsEK] is not yet an
// answer to whether ak is in this vTPM. Any other key than ak or an endorsement
// key is refused with att.binding. It proves nothing unless an SNP report from
// VMPL 0 is over [ReportData].
func (m *Manifest) Check(ak *tpm.AK) (Binding, error) {
	if m.Public.Equal(ak.Public) {
		return BindsAK, nil
	}
	if _, err := tpm.CheckEK(m.Public.Bytes()); err == nil {
		return BindsEK, nil
	}
	return 0, refuse.As(refuse.Binding, "the SVSM vouches for key %x, not for the attestation key", m.Public.Name())
}
