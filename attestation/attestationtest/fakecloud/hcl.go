// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fakecloud

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// Sizes of an HCL report.
const (
	HCLSize      = 2600 // of the NV index
	hclHeader    = 32
	hclHardware  = 1184
	hclRequest   = 20
	hclDataStart = hclHeader + hclHardware + hclRequest
)

// An HCL says what Azure's paravisor puts into its report. The zero value of
// every field but AK and Hardware is the ordinary thing.
type HCL struct {
	AK *rsa.PublicKey
	EK *rsa.PublicKey // left out if nil

	// Hardware returns the hardware's word over 64 bytes: an SNP report of 1184
	// bytes, or for TDX the 584 bytes of the body of a TD quote over them, from
	// which the TDREPORT is made.
	Hardware func(data [64]byte) ([]byte, error)
	TDX      bool

	NoSecureBoot, NoTPM, Console bool
	UserData                     [64]byte
	Version                      uint32 // of the header; 2 if zero
	Hash                         uint32 // 1 (SHA-256) if zero, 2 SHA-384, 3 SHA-512

	// TamperRuntime, if set, changes the runtime data before they are hashed;
	// Tamper the finished report.
	TamperRuntime func(string) string
	Tamper        func([]byte) []byte
}

// Report makes the report, as it is read from the NV index.
func (h *HCL) Report() ([]byte, error) {
	runtime := h.Runtime()
	if h.TamperRuntime != nil {
		runtime = h.TamperRuntime(runtime)
	}
	if h.Hash == 0 {
		h.Hash = 1
	}
	var data [64]byte
	switch h.Hash {
	case 2:
		sum := sha512.Sum384([]byte(runtime))
		copy(data[:], sum[:])
	case 3:
		data = sha512.Sum512([]byte(runtime))
	default:
		sum := sha256.Sum256([]byte(runtime))
		copy(data[:], sum[:])
	}
	hardware, err := h.Hardware(data)
	if err != nil {
		return nil, err
	}
	kind := uint32(2)
	if h.TDX {
		kind, hardware = 4, TDREPORT(hardware)
	}
	if h.Version == 0 {
		h.Version = 2
	}
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("HCLA"), h.Version)
	b = le.AppendUint32(b, uint32(hclDataStart+len(runtime)))
	b = le.AppendUint32(b, 2)
	b = append(b, make([]byte, 16)...)
	b = append(b, hardware...)
	b = append(b, make([]byte, hclHeader+hclHardware-len(b))...)
	for _, v := range []uint32{uint32(hclRequest + len(runtime)), 1, kind, h.Hash, uint32(len(runtime))} {
		b = le.AppendUint32(b, v)
	}
	b = append(b, runtime...)
	if len(b) < HCLSize {
		b = append(b, make([]byte, HCLSize-len(b))...)
	}
	if h.Tamper != nil {
		b = h.Tamper(b)
	}
	return b, nil
}

// Runtime prints the runtime data as the paravisor does.
func (h *HCL) Runtime() string {
	key := func(name, operation string, key *rsa.PublicKey) string {
		return fmt.Sprintf(`{"kid":%q,"key_ops":[%q],"kty":"RSA","e":"AQAB","n":%q}`,
			name, operation, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
	}
	keys := []string{key("HCLAkPub", "sign", h.AK)}
	if h.EK != nil {
		keys = append(keys, key("HCLEkPub", "encrypt", h.EK))
	}
	return fmt.Sprintf(`{"keys":[%s],"vm-configuration":{"console-enabled":%t,"secure-boot":%t,"tpm-enabled":%t,`+
		`"vmUniqueId":"00000000-0000-4000-8000-51A01A7ED000"},"user-data":"%X"}`,
		strings.Join(keys, ","), h.Console, !h.NoSecureBoot, !h.NoTPM, h.UserData)
}

// TDREPORT makes the TDREPORT_STRUCT that a TD quote with this body (584 bytes)
// would have been made from. Its MAC is no MAC.
func TDREPORT(body []byte) []byte {
	b := make([]byte, 1024)
	b[0] = 0x81
	copy(b[16:32], "SIMULATED CPUSVN")
	copy(b[128:192], body[520:584])
	copy(b[224:256], "SIMULATED MAC of no TDX module..")
	copy(b[256:264], []byte{0xff, 0x01}) // VALID
	copy(b[264:280], body[0:16])
	copy(b[280:328], body[16:64])
	copy(b[328:376], body[64:112])
	copy(b[376:384], body[112:120])
	copy(b[512:], body[120:520])
	tcb, info := sha512.Sum384(b[256:256+239]), sha512.Sum384(b[512:])
	copy(b[32:], tcb[:])
	copy(b[80:], info[:])
	return b
}

// A Service is an entry of an SVSM's services manifest.
type Service struct {
	GUID [16]byte // as the manifest has it: first three fields little-endian
	Data []byte
}

// Manifest prints the services manifest of an SVSM with several services. That
// of the vTPM alone is its TPMT_PUBLIC.
func Manifest(services ...Service) []byte {
	head := 24 * (1 + len(services))
	size := head
	for _, s := range services {
		size += len(s.Data)
	}
	le := binary.LittleEndian
	b := []byte{0xbb, 0x9e, 0x84, 0x63, 0x92, 0x3d, 0x70, 0x46, 0xa1, 0xff, 0x58, 0xf9, 0xc9, 0x4b, 0x87, 0xbb}
	b = le.AppendUint32(le.AppendUint32(b, uint32(size)), uint32(len(services)))
	for _, s := range services {
		b = append(b, s.GUID[:]...)
		b = le.AppendUint32(le.AppendUint32(b, uint32(head)), uint32(len(s.Data)))
		head += len(s.Data)
	}
	for _, s := range services {
		b = append(b, s.Data...)
	}
	return b
}

// SVSMReportData returns what an SVSM asks a report over: SHA-512 of nonce and
// manifest.
func SVSMReportData(nonce [64]byte, manifest []byte) [64]byte {
	return sha512.Sum512(append(nonce[:len(nonce):len(nonce)], manifest...))
}
