// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Profiles lists the names that [Profile] knows, strictest first.
func Profiles() []string { return []string{"strict", "business", "self-hosted", "lab"} }

// Profile returns a built-in policy without images, which only its user can
// name, and without roots:
//
//   - strict: bare metal whose software is in the launch measurement or RTMRs,
//     enrolled chips, attested GPUs, run-time log, every platform protection.
//   - business: clouds too; chips need not be enrolled, SMT may be on, TDX hosts
//     behind on updates count until a date.
//   - self-hosted: one's own machines, down to a TPM without a confidential VM.
//   - lab: what sotto-lab simulates. It still needs simulated roots, which no
//     shipped program has.
func Profile(name string) (*Policy, error) {
	p := &Policy{
		Profile: name,
		SNP: SNPPolicy{
			Products: []string{"Genoa"}, Floors: map[string]TCB{"Genoa": genoaFloor}, CRLGrace: Duration(24 * time.Hour),
		},
		TDX:         TDXPolicy{MinEvaluationNumber: tdxEvaluation, CollateralGrace: Duration(24 * time.Hour)},
		Nitro:       NitroPolicy{MaxAge: Duration(3 * time.Hour)},
		GPU:         GPUPolicy{Chips: []string{"GH100", "GB100", "LS10"}, OCSPGrace: Duration(24 * time.Hour)},
		MaxEpochAge: Duration(3 * time.Hour), MaxFreshAge: Duration(10 * time.Minute), MaxSkew: Duration(time.Minute),
	}
	switch name {
	case "strict":
		p.Platforms = []Platform{SNP, SNPSVSM, TDX}
	case "business":
		p.Platforms = []Platform{SNP, SNPSVSM, TDX, AzureSNP, AzureTDX, GoogleTDX}
		p.SNP.AllowAnyChip, p.SNP.AllowSMT, p.SNP.AllowAES128, p.SNP.AllowRollback = true, true, true, true
		p.SNP.AllowNoCiphertextHiding, p.SNP.AllowPageSwap, p.SNP.AllowRAPL, p.SNP.AllowMultiSocket = true, true, true, true
		p.TDX.AllowAnyChip, p.TPM.AllowNoCRL, p.AllowNoIMA = true, true, true
		p.TDX.AllowVE, p.Azure.AllowConsole = true, true // as Azure's machines are
		p.TDX.StatusGrace = []StatusGrace{
			{"OutOfDate", graceEnd, "cloud hosts lag behind Intel's TCB recoveries"},
			{"SWHardeningNeeded", graceEnd, "named advisories need hardened software"},
		}
	case "self-hosted":
		p.Platforms = []Platform{SNP, SNPSVSM, TDX, TPM}
		p.SNP.AllowSMT, p.SNP.AllowNoCiphertextHiding, p.SNP.AllowPageSwap, p.SNP.AllowRAPL = true, true, true, true
		p.SNP.AllowMultiSocket, p.TPM.AllowNoCRL, p.AllowNoGPU, p.AllowNoIMA = true, true, true, true
	case "lab":
		p.Platforms = Platforms()
		p.SNP.Floors = map[string]TCB{"Genoa": {Bootloader: 9, SNP: 23, Microcode: 72}}
		p.SNP.AllowAnyChip, p.TDX.AllowAnyChip, p.TPM.AllowNoCRL, p.AllowNoGPU = true, true, true, true
		p.TDX.MinEvaluationNumber, p.Azure.AllowConsole = 1, true
	default:
		return nil, fmt.Errorf("policy: no profile %q; there are %s", name, strings.Join(Profiles(), ", "))
	}
	return p, nil
}

// What the built-in profiles ask for. Each is a judgement of its date;
// docs/platforms.md gives the sources.
var (
	genoaFloor = TCB{Bootloader: 10, TEE: 0, SNP: 27, Microcode: 86}
	graceEnd   = Date(time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC))
)

// tdxEvaluation is the tcbEvaluationDataNumber that profiles ask for at least.
const tdxEvaluation = 19

// looser names the first field in which p lets in what base does not; "" if
// there is none. What base leaves to its user to name (images, chips, a number
// of GPUs) is no loosening.
func looser(p, base *Policy) string {
	for _, c := range []struct {
		name  string
		loose bool
	}{
		{"platforms", !subset(p.Platforms, base.Platforms)},
		{"allow_no_gpu", p.AllowNoGPU && !base.AllowNoGPU},
		{"allow_no_ima", p.AllowNoIMA && !base.AllowNoIMA},
		{"allow_secure_boot_off", p.AllowSecureBootOff && !base.AllowSecureBootOff},
		{"without_freshness", p.WithoutFreshness && !base.WithoutFreshness},
		{"max_epoch_age", p.MaxEpochAge > base.MaxEpochAge},
		{"max_fresh_age", p.MaxFreshAge > base.MaxFreshAge},
		{"max_skew", p.MaxSkew > base.MaxSkew},
		{"images.tpm_outside", provesSoftware(base.Platforms) && slices.ContainsFunc(p.Images, func(i Image) bool { return i.TPMOutside })},
	} {
		if c.loose {
			return c.name
		}
	}
	for _, f := range []func(*Policy, *Policy) string{looserSNP, looserTDX, looserRest} {
		if name := f(p, base); name != "" {
			return name
		}
	}
	return ""
}

func looserSNP(a, b *Policy) string {
	p, base := &a.SNP, &b.SNP
	for name, floor := range p.Floors {
		if slices.Contains(base.Products, name) && !floor.covers(base.Floors[name]) {
			return "snp.floors." + name
		}
	}
	for _, c := range []struct {
		name  string
		loose bool
	}{
		{"products", !subset(p.Products, base.Products)},
		{"floor_grace", len(p.FloorGrace) > 0},
		{"vmpl", p.VMPL > base.VMPL},
		{"vleks", !subset(p.VLEKs, base.VLEKs)},
		{"crl_grace", p.CRLGrace > base.CRLGrace},
		{"launch_mitigations", base.LaunchMitigations&^p.LaunchMitigations != 0},
		{"current_mitigations", base.CurrentMitigations&^p.CurrentMitigations != 0},
		{"allow_any_chip", p.AllowAnyChip && !base.AllowAnyChip},
		{"allow_smt", p.AllowSMT && !base.AllowSMT},
		{"allow_cxl", p.AllowCXL && !base.AllowCXL},
		{"allow_multi_socket", p.AllowMultiSocket && !base.AllowMultiSocket},
		{"allow_aes128", p.AllowAES128 && !base.AllowAES128},
		{"allow_rapl", p.AllowRAPL && !base.AllowRAPL},
		{"allow_no_ciphertext_hiding", p.AllowNoCiphertextHiding && !base.AllowNoCiphertextHiding},
		{"allow_page_swap", p.AllowPageSwap && !base.AllowPageSwap},
		{"allow_no_ecc", p.AllowNoECC && !base.AllowNoECC},
		{"allow_rollback", p.AllowRollback && !base.AllowRollback},
		{"allow_no_alias_check", p.AllowNoAliasCheck && !base.AllowNoAliasCheck},
	} {
		if c.loose {
			return "snp." + c.name
		}
	}
	return ""
}

func looserTDX(a, b *Policy) string {
	p, base := &a.TDX, &b.TDX
	for _, g := range p.StatusGrace {
		if !slices.ContainsFunc(base.StatusGrace, func(o StatusGrace) bool { return o.Status == g.Status && !g.Until.End().After(o.Until.End()) }) {
			return "tdx.status_grace"
		}
	}
	for _, c := range []struct {
		name  string
		loose bool
	}{
		{"min_evaluation_number", p.MinEvaluationNumber < base.MinEvaluationNumber},
		{"collateral_grace", p.CollateralGrace > base.CollateralGrace},
		{"allow_any_chip", p.AllowAnyChip && !base.AllowAnyChip},
		{"allow_ve", p.AllowVE && !base.AllowVE},
	} {
		if c.loose {
			return "tdx." + c.name
		}
	}
	return ""
}

func looserRest(p, base *Policy) string {
	switch {
	case p.TPM.AllowNoCRL && !base.TPM.AllowNoCRL:
		return "tpm.allow_no_crl"
	case p.Azure.AllowConsole && !base.Azure.AllowConsole:
		return "azure.allow_console"
	case p.Nitro.MaxAge > base.Nitro.MaxAge:
		return "nitro.max_age"
	case p.GPU.OCSPGrace > base.GPU.OCSPGrace:
		return "gpu.ocsp_grace"
	case !subset(p.GPU.Chips, base.GPU.Chips):
		return "gpu.chips"
	case p.GPU.AllowTokenOnly && !base.GPU.AllowTokenOnly:
		return "gpu.allow_token_only"
	}
	return ""
}

// provesSoftware reports whether each of the platforms proves what it runs, so
// that a profile of them promises it.
func provesSoftware(platforms []Platform) bool {
	return !slices.ContainsFunc(platforms, func(p Platform) bool { return p == GoogleSNP || p == TPM })
}

// covers reports whether every part of t is at least that of floor.
func (t TCB) covers(floor TCB) bool {
	return t.Bootloader >= floor.Bootloader && t.TEE >= floor.TEE && t.SNP >= floor.SNP && t.Microcode >= floor.Microcode && t.FMC >= floor.FMC
}

func subset[T comparable](a, b []T) bool {
	return !slices.ContainsFunc(a, func(v T) bool { return !slices.Contains(b, v) })
}
