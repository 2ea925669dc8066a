// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"crypto/sha256"
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
//
// docs/spec/verify/policy.schema.json describes the JSON.
type Policy struct {
	// Profile names the built-in policy that this one starts from, see [Profile];
	// empty: from nothing. What the file says beside it can only tighten.
	Profile string `json:"profile,omitempty"`

	// Roots are the hardware vendors' certificates: [VendorRoots], or in the lab
	// and in tests those of attestationtest. They are not part of the JSON.
	Roots Roots `json:"-"`

	Platforms []Platform `json:"platforms"` // that may be used; none may if empty
	Images    []Image    `json:"images"`    // software that may run; none may if empty
	// RevokedImages names measurements that are refused even where Images lists
	// them, so that a revocation needs no edit of the list.
	RevokedImages []Measurement `json:"revoked_images,omitempty"`

	SNP   SNPPolicy   `json:"snp"`
	TDX   TDXPolicy   `json:"tdx"`
	TPM   TPMPolicy   `json:"tpm"`
	Azure AzurePolicy `json:"azure"`
	Nitro NitroPolicy `json:"nitro"`
	GPU   GPUPolicy   `json:"gpu"`

	// AllowNoGPU accepts a node without GPU evidence. Evidence that is there is
	// checked all the same.
	AllowNoGPU bool `json:"allow_no_gpu"`
	// AllowNoIMA accepts a node that keeps no list of what it executed since
	// boot, or an image that has no rules for such a list.
	AllowNoIMA bool `json:"allow_no_ima"`
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

// An Image is one release of the node's software on one platform, as its build
// published it. Where the launch measurement covers the firmware only, several
// images share it, and kernel and command line tell them apart.
type Image struct {
	Name     string   `json:"name"`
	Platform Platform `json:"platform"`
	// Measurement is SEV-SNP's MEASUREMENT or TDX's MRTD; absent on platforms that
	// have none.
	Measurement Measurement `json:"measurement,omitzero"`
	// RTMRs are expected values of TDX's run-time registers. 1 and 2 (loader and
	// kernel; initrd and command line) must be given on tdx and google-tdx, 0
	// (firmware configuration) may be.
	RTMRs map[int]Measurement `json:"rtmrs,omitempty"`
	// PCRs are expected final values. 4, 9 and 11 (loader, kernel and initrd, and
	// the sections of a unified kernel image) must be given; 0 and 2 (firmware)
	// may be: in the direct profile the launch measurement covers them.
	PCRs map[int]Digest `json:"pcrs"`
	// NitroPCRs are expected values of the registers that NitroTPM's document
	// carries (SHA-384); 4 and 7 must be given on nitro-tpm.
	NitroPCRs map[int]Measurement `json:"nitro_pcrs,omitempty"`
	// CommandLines are the kernel command lines allowed, byte for byte.
	CommandLines []string `json:"command_lines"`
	// ACPI are the SHA-384 digests of the tables from the host that are measured
	// into RTMR 0, in order. On tdx and google-tdx these or RTMR 0 must be given.
	ACPI []Measurement `json:"acpi,omitempty"`
	// RTMR2Events are the SHA-384 digests of everything in RTMR 2 but the command
	// line. With them the line is read and compared; without, RTMR 2 speaks for it.
	RTMR2Events []Measurement `json:"rtmr2_events,omitempty"`
	// IMA says what may run after boot; absent: nothing that a log shows.
	IMA *IMARules `json:"ima,omitempty"`
	// CPUOnly says that the release has no driver for a GPU, so that prompts stay
	// in the machine's own memory. It then needs no GPU evidence.
	CPUOnly bool `json:"cpu_only,omitempty"`
	// TPMOutside says that the launch measurement covers neither the vTPM nor
	// kernel, initrd and command line. PCRs then prove nothing about software, the
	// TPM is custody of keys only, and the report says so.
	TPMOutside bool `json:"tpm_outside,omitempty"`
}

// IMARules say which entries of an IMA log are expected.
type IMARules struct {
	Files   map[string][]Digest `json:"files,omitempty"`   // by path
	Digests []Digest            `json:"digests,omitempty"` // under any path
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

// ParsePolicy reads a policy from JSON. Unknown members are refused, and so is
// what can be read in two ways: a member twice or in another case, null. One that
// names a profile starts from it, and is refused where it is looser: a mistake in
// a file is not how a profile is left. The caller sets the Roots.
func ParsePolicy(b []byte) (*Policy, error) {
	if err := checkPolicyText(b); err != nil {
		return nil, fmt.Errorf("policy: %v", err)
	}
	var named struct {
		Profile string `json:"profile"`
	}
	if err := json.Unmarshal(b, &named); err != nil {
		return nil, fmt.Errorf("policy: %v", err)
	}
	p, base := new(Policy), (*Policy)(nil)
	if named.Profile != "" {
		var err error
		if p, err = Profile(named.Profile); err != nil {
			return nil, err
		}
		base, _ = Profile(named.Profile)
	}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("policy: %v", err)
	}
	if base != nil {
		if field := looser(p, base); field != "" {
			return nil, fmt.Errorf("policy: %s is looser than the profile %q; to loosen, name another profile or none", field, named.Profile)
		}
	}
	return p, nil
}

// Digest identifies a policy in reports and records: SHA-256 of its JSON. The
// roots are not part of it; reports say SIMULATED where they are.
func (p *Policy) Digest() [32]byte {
	b, err := json.Marshal(p)
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(b)
}
