// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package attestationtest makes hardware that does not exist: a root, chips with
// certificates and a revocation list under it, a measured boot, and a TPM in
// software. Everything it makes says SIMULATED and is refused by whoever was not
// given its roots.
//
// Only the lab and tests may import it. It fakes the root, not the verifier:
// what it makes goes through attestation.Verify unchanged. Its keys protect
// nothing.
package attestationtest

import (
	"encoding/hex"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// Product is the product line that simulated chips claim to be of.
const Product = "Genoa"

// Floor is the TCB that lab policies ask for; [LabTCB] what simulated chips run.
var (
	Floor  = attestation.TCB{Bootloader: 9, TEE: 0, SNP: 23, Microcode: 72}
	LabTCB = attestation.TCB{Bootloader: 10, TEE: 0, SNP: 25, Microcode: 84}
)

// Policy returns the lab's policy: the lab image on any chip of this root, no
// GPU, evidence up to three hours and freshness up to ten minutes old. It waives
// nothing else.
func Policy(r *Root) *attestation.Policy {
	return &attestation.Policy{
		Roots:     r.Roots(),
		Platforms: []attestation.Platform{attestation.SNP},
		Images:    []attestation.Image{Image()},
		SNP: attestation.SNPPolicy{
			Products:     []string{Product},
			Floors:       map[string]attestation.TCB{Product: Floor},
			AllowAnyChip: true,
		},
		AllowNoGPU:  true,
		AllowNoIMA:  true,
		MaxEpochAge: attestation.Duration(3 * time.Hour),
		MaxFreshAge: attestation.Duration(10 * time.Minute),
		MaxSkew:     attestation.Duration(time.Minute),
	}
}

// Config returns a measured configuration for a lab node: no payment, simulated.
func Config(model string, weights [32]byte) *evidence.Config {
	return &evidence.Config{Version: 1, Payment: "none", Model: model, Weights: hex.EncodeToString(weights[:]), Simulated: true}
}
