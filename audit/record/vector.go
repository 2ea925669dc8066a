// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"strings"

	"github.com/sotto-project/sotto/attestation"
)

// A Claim is a value of one of AR4SI's categories (draft-ietf-rats-ar4si-10,
// Section 2.3.4). Its range says the tier: 0, 1, -1 none; 2 to 31 affirming; 32
// to 95 warning; 96 to 127 contraindicated; negative ones are not standard.
type Claim int8

// The values that records hold. Of the standard ones only those are used whose
// wording is what was checked.
const (
	NoClaim    Claim = 0
	Unexpected Claim = 1 // the evidence could not be judged: malformed, missing, of another time

	// Affirming, by category.
	TrustworthyInstance Claim = 2 // instance-identity
	ApprovedConfig      Claim = 2 // configuration
	ApprovedRuntime     Claim = 2 // executables: during and after boot
	ApprovedBoot        Claim = 3 // executables: during boot
	GenuineHardware     Claim = 2 // hardware
	EncryptedMemory     Claim = 2 // runtime-opaque

	// Warnings of our own: no standard value says just this.
	Simulated Claim = -33 // no hardware stands behind it
	NamedGap  Claim = -34 // policy accepts a gap that the record names

	// Contraindicated.
	Contraindicated Claim = 96 // recognised, and not acceptable
	Unrecognized    Claim = 97 // instance-identity, hardware: not among those known
	BadCrypto       Claim = 99 // cryptographic validation of the evidence failed
)

// A Vector is AR4SI's trustworthiness vector without the categories on which
// this verifier has nothing to say: what is in storage is not attested
// (storage-opaque, file-system beyond the command line's root hash), and one
// node's data do not come from another attester (sourced-data).
type Vector struct {
	Configuration, Executables, FileSystem, Hardware, Instance, Runtime Claim
}

// entries pairs names and claims in the order of the names.
func (v *Vector) entries() []struct {
	name  string
	claim *Claim
} {
	return []struct {
		name  string
		claim *Claim
	}{
		{"configuration", &v.Configuration}, {"executables", &v.Executables}, {"file-system", &v.FileSystem},
		{"hardware", &v.Hardware}, {"instance-identity", &v.Instance}, {"runtime-opaque", &v.Runtime},
	}
}

// The four tiers of AR4SI, Section 3.2, as JSON names them.
const (
	tierNone            = "none"
	tierAffirming       = "affirming"
	tierWarning         = "warning"
	tierContraindicated = "contraindicated"
)

// status maps a verdict to a tier.
func (n *Node) status() string { return statusOf(n.Verdict) }

func statusOf(v attestation.Verdict) string {
	switch v {
	case attestation.Verified:
		return tierAffirming
	case attestation.VerifiedWithGaps:
		return tierWarning
	case attestation.Failed:
		return tierContraindicated
	}
	return tierNone
}

// rank orders tiers from most to least trust. "none" lies below a warning: where
// nothing was checked there is nothing to rely on.
func rank(tier string) int {
	switch tier {
	case tierAffirming:
		return 0
	case tierWarning:
		return 1
	case tierNone:
		return 2
	}
	return 3
}

// Status is the tier of the record as a whole: that of its worst node.
func (r *Record) Status() string {
	worst := tierAffirming
	for i := range r.Nodes {
		if s := r.Nodes[i].status(); rank(s) > rank(worst) {
			worst = s
		}
	}
	return worst
}

// rank of a single claim. "No claim" is no reason for distrust.
func (c Claim) rank() int {
	switch {
	case c >= 96 || c < -96:
		return 3
	case c >= 32 || c < -32:
		return 1
	}
	return 0
}

// worst is the rank of the worst claim.
func (v *Vector) worst() int {
	w := 0
	for _, e := range v.entries() {
		w = max(w, e.claim.rank())
	}
	return w
}

// vectorOf derives a vector from a report: for a refusal from its code, else from
// the gaps of its steps.
func vectorOf(r *attestation.Report) Vector {
	switch r.Verdict {
	case attestation.Failed:
		for _, s := range r.Steps {
			if s.Verdict == attestation.Failed {
				return refused(s.Code)
			}
		}
		return Vector{Instance: Unexpected}
	case attestation.Verified, attestation.VerifiedWithGaps:
		return accepted(r)
	}
	return Vector{}
}

// accepted starts from what the core's steps prove together and takes back what
// a gap leaves open. Steps are known by the first part of their id.
func accepted(r *attestation.Report) Vector {
	v := Vector{Configuration: ApprovedConfig, Executables: ApprovedRuntime, Hardware: GenuineHardware, Instance: TrustworthyInstance}
	if r.Tier >= 2 && !r.Simulated && confidential(r.Platform) {
		v.Runtime = EncryptedMemory
	}
	ran := false
	for _, s := range r.Steps {
		part, _, _ := strings.Cut(s.ID, ".")
		ran = ran || part == "runtime"
		if s.Gap == "" {
			continue
		}
		switch {
		case part == "policy": // the roots are simulated: set below
		case part == "runtime":
			if v.Executables == ApprovedRuntime {
				v.Executables = ApprovedBoot
			}
		case part == "image" || part == "boot" && s.ID != "boot.secureboot":
			v.Executables = NamedGap
		case part == "config" || part == "payment" || s.ID == "boot.secureboot":
			v.Configuration = NamedGap
		default: // the vendors' steps, TPM and GPU; and what this table does not know
			v.Hardware = NamedGap
		}
		if strings.Contains(s.Gap, "chip") {
			v.Instance = NoClaim // the key is the log's, the chip beneath it is anybody's
		}
	}
	if !ran && v.Executables == ApprovedRuntime {
		v.Executables = ApprovedBoot
	}
	if confidential(r.Platform) && r.Tier < 2 && v.Executables.rank() == 0 {
		v.Executables = NoClaim // the hardware may have signed nothing about software
	}
	if r.Simulated {
		v.Hardware = Simulated
	}
	return v
}

// confidential says whether the platform's hardware encrypts memory against its
// host.
func confidential(p attestation.Platform) bool {
	switch p {
	case attestation.SNP, attestation.SNPSVSM, attestation.AzureSNP, attestation.AzureTDX, attestation.GoogleSNP,
		attestation.GoogleTDX, attestation.TDX:
		return true
	}
	return false
}

// refused says which category a refusal concerns. What came before it in the
// order of steps held, what comes after was not looked at: neither is claimed.
func refused(c attestation.Code) Vector {
	group, rest, _ := strings.Cut(strings.TrimPrefix(string(c), "att."), ".")
	switch group {
	case "node", "inventory":
		return Vector{Instance: Unrecognized}
	case "revoked":
		return Vector{Instance: Contraindicated}
	case "nonce", "key", "binding", "quote", "ak", "ek", "rek", "pcr", "digest":
		return Vector{Instance: BadCrypto}
	case "debug", "migrate":
		return Vector{Configuration: Contraindicated, Runtime: Contraindicated}
	case "config", "payment", "platform", "vmpl", "secureboot", "model":
		return Vector{Configuration: Contraindicated}
	case "image", "acpi":
		if rest == "verity" {
			return Vector{FileSystem: Contraindicated}
		}
		return Vector{Executables: Contraindicated}
	case "log":
		return Vector{Executables: BadCrypto}
	case "ima":
		if rest == "entry" {
			return Vector{Executables: Contraindicated}
		}
		return Vector{Executables: BadCrypto}
	case "chain", "signature", "signingkey", "chip", "crl":
		return Vector{Hardware: BadCrypto}
	case "tcb", "product":
		return Vector{Hardware: Contraindicated}
	case "tee", "simulated":
		return Vector{Hardware: Unrecognized}
	case "tdx":
		if rest == "status" || rest == "module" {
			return Vector{Hardware: Contraindicated}
		}
		return Vector{Hardware: BadCrypto}
	case "gpu":
		switch rest {
		case "claims", "count", "absent":
			return Vector{Hardware: Contraindicated}
		}
		return Vector{Hardware: BadCrypto}
	}
	// policy, size, absent, format, stale, clock, epoch: it could not be judged.
	return Vector{Instance: Unexpected}
}
