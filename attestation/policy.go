// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// A Policy says which machines may see a prompt. The zero Policy refuses every
// machine, and so does every forgotten field: each Allow must be typed, each
// list must name what it lets in, each age must be given.
type Policy struct {
	// Roots are the hardware vendors' certificates: [AMDRoots], or in the lab
	// and in tests those of attestationtest. They are not part of the JSON.
	Roots Roots `json:"-"`

	Images []Image `json:"images"` // software that may run; none may if empty
	// RevokedImages names measurements that are refused even where Images lists
	// them, so that a revocation needs no edit of the list.
	RevokedImages []Measurement `json:"revoked_images,omitempty"`

	SNP SNPPolicy `json:"snp"`

	// AllowNoGPU accepts a node without GPU evidence. No version of this package
	// verifies GPU evidence yet, so without it everything is refused.
	AllowNoGPU bool `json:"allow_no_gpu"`
	// AllowSecureBootOff accepts a boot whose events say Secure Boot was off, or
	// do not say. The launch measurement is then the only proof of the loader.
	AllowSecureBootOff bool `json:"allow_secure_boot_off"`

	MaxEpochAge Duration `json:"max_epoch_age"` // of the epoch checkpoint; zero refuses
	MaxFreshAge Duration `json:"max_fresh_age"` // of the freshness checkpoint; zero refuses
	MaxSkew     Duration `json:"max_skew"`      // how far in the future a checkpoint may lie
	// WithoutFreshness verifies epoch evidence alone, for a publisher that is
	// about to list a node. The report then says that freshness was not checked.
	WithoutFreshness bool `json:"without_freshness,omitempty"`
}

// SNPPolicy is the part about AMD SEV-SNP.
type SNPPolicy struct {
	// Products are the product lines that may be used: "Genoa". EPYC Milan has to
	// be named to be accepted: it offers neither ciphertext hiding nor a closed
	// alias check on much of the installed base. Others are refused by Verify.
	Products []string `json:"products"`
	// Floors hold the lowest firmware each product may run, for the reported,
	// current, committed and launch TCB alike. A product without one is refused.
	Floors map[string]TCB `json:"floors"`
	// Chips is the inventory of enrolled chips. A chip outside it is refused
	// unless AllowAnyChip is set.
	Chips        []ChipID `json:"chips,omitempty"`
	AllowAnyChip bool     `json:"allow_any_chip"`
	// VMPL is the privilege level the report must come from, exactly.
	VMPL uint32 `json:"vmpl"`
	// VLEKs names the cloud providers (CSP_ID) whose VLEK may sign reports. With
	// a VLEK the chip is not identified. None may if empty.
	VLEKs []string `json:"vleks,omitempty"`
	// CRLGrace is how long past its nextUpdate a revocation list still counts.
	CRLGrace Duration `json:"crl_grace"`

	AllowSMT                bool `json:"allow_smt"`                  // guest policy bit 16, PLATFORM_INFO bit 0
	AllowCXL                bool `json:"allow_cxl"`                  // guest policy bit 21
	AllowMultiSocket        bool `json:"allow_multi_socket"`         // guest policy bit 20 clear
	AllowAES128             bool `json:"allow_aes128"`               // guest policy bit 22 clear
	AllowRAPL               bool `json:"allow_rapl"`                 // guest policy bit 23 clear, PLATFORM_INFO bit 3 clear
	AllowNoCiphertextHiding bool `json:"allow_no_ciphertext_hiding"` // guest policy bit 24 clear, PLATFORM_INFO bit 4 clear
	AllowPageSwap           bool `json:"allow_page_swap"`            // guest policy bit 25 clear
	AllowNoECC              bool `json:"allow_no_ecc"`               // PLATFORM_INFO bit 2 clear
	AllowNoAliasCheck       bool `json:"allow_no_alias_check"`       // PLATFORM_INFO bit 5 clear
}

// A TCB is a set of security patch levels (AMD 56860, TCB_VERSION, layout of
// Milan and Genoa).
type TCB struct {
	Bootloader uint8 `json:"bootloader"`
	TEE        uint8 `json:"tee"`
	SNP        uint8 `json:"snp"`
	Microcode  uint8 `json:"microcode"`
}

// An Image is one release of the node's software, as its build published it.
type Image struct {
	Name        string      `json:"name"`
	Measurement Measurement `json:"measurement"` // SEV-SNP launch measurement
	// PCRs are expected final values. 4, 9 and 11 (loader, kernel and initrd, and
	// the sections of a unified kernel image) must be given; 0 and 2 (firmware)
	// may be: in the direct profile the launch measurement covers them.
	PCRs map[int]Digest `json:"pcrs"`
	// CommandLines are the kernel command lines allowed, byte for byte.
	CommandLines []string `json:"command_lines"`
	// TPMOutside says that the launch measurement covers neither the vTPM nor
	// kernel, initrd and command line. PCRs then prove nothing about software, the
	// TPM is custody of keys only, and the report says so.
	TPMOutside bool `json:"tpm_outside"`
}

// Roots is a set of hardware roots. It cannot be made from certificates of
// one's own outside this module's tests and lab.
type Roots = roots.Set

// Digest, Measurement and ChipID are fixed-length values that print as
// lower-case hex in JSON.
type (
	Digest      [32]byte
	Measurement [48]byte
	ChipID      [64]byte
)

// MarshalText prints the value in hex.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads exactly 32 bytes in hex.
func (d *Digest) UnmarshalText(b []byte) error { return unhex(d[:], b) }

// MarshalText prints the value in hex.
func (m Measurement) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, m[:]), nil }

// UnmarshalText reads exactly 48 bytes in hex.
func (m *Measurement) UnmarshalText(b []byte) error { return unhex(m[:], b) }

// MarshalText prints the value in hex.
func (c ChipID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, c[:]), nil }

// UnmarshalText reads exactly 64 bytes in hex.
func (c *ChipID) UnmarshalText(b []byte) error { return unhex(c[:], b) }

func unhex(dst, src []byte) error {
	if len(src) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("policy: %d hex digits, want %d", len(src), hex.EncodedLen(len(dst)))
	}
	_, err := hex.Decode(dst, src)
	return err
}

// A Duration is a time.Duration that reads and prints as "1h30m" in JSON.
type Duration time.Duration

// MarshalText prints the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration as time.ParseDuration does; negative ones are
// refused.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return errors.New("policy: malformed duration")
	}
	*d = Duration(v)
	return nil
}

// ParsePolicy reads a policy from JSON; unknown members are refused. The caller
// sets the Roots.
func ParsePolicy(b []byte) (*Policy, error) {
	p, d := new(Policy), json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("policy: %v", err)
	}
	if d.More() {
		return nil, errors.New("policy: bytes after the policy")
	}
	return p, nil
}
