// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Limits say which genuine reports are acceptable. Its zero value accepts none.
// The fields above the gap have no value that means "not looked at". Those below
// narrow further where a caller knows more; what they say nothing about is a
// claim of the report, signed and shown, that nothing depends on.
type Limits struct {
	Products     []string
	Floors       map[string]kds.TCBParts // Turin's FMC level is Spl4, which other lines reserve
	Chips        [][64]byte
	AllowAnyChip bool
	VMPL         uint32
	VLEKs        []string
	Waive        Waivers
	Data         [64]byte // REPORT_DATA, recomputed by the caller

	HostData   *[32]byte  // HOST_DATA, exactly; nil: whatever the host gave along
	IDKeys     [][48]byte // digests of keys one of which must have signed the ID block; none: any, or no block
	AuthorKeys [][48]byte // digests of keys one of which must have signed the ID key; none: any, or none
	// Bits of mitigation vectors that must be set, at launch and now (AMD 56860,
	// Table 23, versions 5 and later). Reports of older versions have none set.
	LaunchMitigations, CurrentMitigations uint64
}

// Waivers are the platform properties a caller does without.
type Waivers struct {
	SMT, CXL, MultiSocket, AES128, RAPL, NoCiphertextHiding, PageSwap, NoECC, NoAliasCheck, Rollback bool
}

// Names lists what is waived, in the words of a report.
func (w Waivers) Names() []string {
	var out []string
	for _, x := range []struct {
		waived bool
		name   string
	}{
		{w.SMT, "SMT"}, {w.CXL, "CXL memory"}, {w.MultiSocket, "several sockets"}, {w.AES128, "AES-128"}, {w.RAPL, "power readings (RAPL)"},
		{w.NoCiphertextHiding, "no ciphertext hiding"}, {w.PageSwap, "page swapping"}, {w.NoECC, "memory without ECC"},
		{w.NoAliasCheck, "no alias check"}, {w.Rollback, "firmware that can be rolled back"},
	} {
		if x.waived {
			out = append(out, x.name)
		}
	}
	return out
}

// Levels prints firmware levels for people. Only Turin has an FMC.
func Levels(t kds.TCBParts) string {
	s := fmt.Sprintf("bootloader %d, TEE %d, SNP %d, microcode %d", t.BlSpl, t.TeeSpl, t.SnpSpl, t.UcodeSpl)
	if t.Spl4 != 0 {
		s += fmt.Sprintf(", FMC %d", t.Spl4)
	}
	return s
}

// Check decides whether a genuine report is acceptable. MEASUREMENT is left to
// the caller, who knows the images.
func (g *Genuine) Check(l *Limits) error {
	for _, check := range []func(*Limits) error{g.checkProduct, g.checkTCB, g.checkGuest, g.checkPlatform, g.checkMitigations, g.checkLaunch, g.checkChip} {
		if err := check(l); err != nil {
			return err
		}
	}
	if g.Data != l.Data {
		return refuse.As(refuse.Binding, "REPORT_DATA %x.., want %x..", g.Data[:16], l.Data[:16])
	}
	return nil
}

func (g *Genuine) checkProduct(l *Limits) error {
	if !slices.Contains(l.Products, g.Product) {
		return refuse.As(refuse.Product, "%s is not among %v", g.Product, l.Products)
	}
	if g.Version < minNamingProduct {
		return refuse.As(refuse.Format, "report version %d leaves the processor to its certificate", g.Version)
	}
	if g.Signer.SigningKey == abi.VlekReportSigner && !slices.Contains(l.VLEKs, g.CSP) {
		return refuse.As(refuse.SigningKey, "signed by a VLEK of %q, allowed are those of %q", g.CSP, l.VLEKs)
	}
	return nil
}

// checkTCB compares all four TCB versions with the floor, so that firmware can
// neither be old now, nor have been when the guest was launched, nor be rolled
// back later (AMD 56860, Section 3.3), and the certificate with the report: a
// report may not claim a level that its key was not derived for.
func (g *Genuine) checkTCB(l *Limits) error {
	floor, ok := l.Floors[g.Product]
	if !ok {
		return refuse.As(refuse.TCB, "no floor for %s", g.Product)
	}
	for _, v := range []struct {
		name string
		tcb  kds.TCBParts
	}{{"reported", g.Reported}, {"current", g.Current}, {"committed", g.Committed}, {"launch", g.Launch}} {
		if part := below(v.tcb, floor); part != "" {
			return &refuse.Error{Code: refuse.TCB,
				Detail: fmt.Sprintf("%s %s below the floor: %s", v.name, part, Levels(v.tcb)), Want: "at least " + Levels(floor), Got: v.name + " " + Levels(v.tcb)}
		}
	}
	if g.Reported != g.CertTCB {
		return DifferentTCB(g)
	}
	if !l.Waive.Rollback && (g.Current != g.Committed || g.Reported != g.Committed) {
		return refuse.As(refuse.TCB, "reported, current and committed differ: firmware can be rolled back")
	}
	return nil
}

// DifferentTCB refuses a report whose key was derived for other levels.
func DifferentTCB(g *Genuine) error {
	want, got := Levels(g.Reported), Levels(g.CertTCB)
	return &refuse.Error{Code: refuse.TCBCert, Detail: fmt.Sprintf("reported %s, certificate for %s", want, got), Want: want, Got: got}
}

// below names the first part of v that is under the floor.
func below(v, floor kds.TCBParts) string {
	switch {
	case v.BlSpl < floor.BlSpl:
		return "bootloader"
	case v.TeeSpl < floor.TeeSpl:
		return "TEE"
	case v.SnpSpl < floor.SnpSpl:
		return "SNP"
	case v.UcodeSpl < floor.UcodeSpl:
		return "microcode"
	case v.Spl4 < floor.Spl4:
		return "FMC"
	case !kds.TCBPartsLE(floor, v):
		return "reserved part"
	}
	return ""
}

// checkGuest looks at what the guest was launched with.
func (g *Genuine) checkGuest(l *Limits) error {
	noAgent := [32]byte{}
	for i := range noAgent {
		noAgent[i] = 0xff
	}
	switch {
	case g.Policy.Debug:
		return refuse.As(refuse.Debug, "guest policy bit 19 lets the host read the guest")
	case g.Policy.MigrateMA:
		return refuse.As(refuse.Migrate, "guest policy bit 18 allows a migration agent")
	case g.ReportIDMA != noAgent:
		return refuse.As(refuse.Migrate, "a migration agent is attached")
	case g.VMPL != l.VMPL:
		return refuse.As(refuse.VMPL, "report from VMPL %d, want %d", g.VMPL, l.VMPL)
	}
	return nil
}

// checkPlatform names the first property that is neither there nor waived.
func (g *Genuine) checkPlatform(l *Limits) error {
	w := l.Waive
	for _, p := range []struct {
		waived, bad bool
		bit         string
	}{
		{w.SMT, g.Policy.SMT, "guest policy bit 16: SMT allowed"},
		{w.SMT, g.Platform.SMTEnabled, "PLATFORM_INFO bit 0: SMT on"},
		{w.MultiSocket, !g.Policy.SingleSocket, "guest policy bit 20: several sockets allowed"},
		{w.CXL, g.Policy.CXLAllowed, "guest policy bit 21: CXL allowed"},
		{w.AES128, !g.Policy.MemAES256XTS, "guest policy bit 22: AES-128 allowed"},
		{w.RAPL, !g.Policy.RAPLDis, "guest policy bit 23: RAPL allowed"},
		{w.RAPL, !g.Platform.RAPLDisabled, "PLATFORM_INFO bit 3: RAPL on"},
		{w.NoCiphertextHiding, !g.Policy.CipherTextHidingDRAM, "guest policy bit 24: ciphertext hiding not required"},
		{w.NoCiphertextHiding, !g.Platform.CiphertextHidingDRAMEnabled, "PLATFORM_INFO bit 4: ciphertext hiding off"},
		{w.PageSwap, !g.Policy.PageSwapDisable, "guest policy bit 25: page swapping allowed"},
		{w.NoECC, !g.Platform.ECCEnabled, "PLATFORM_INFO bit 2: no ECC memory"},
		{w.NoAliasCheck, !g.Platform.AliasCheckComplete, "PLATFORM_INFO bit 5: alias check not done"},
	} {
		if p.bad && !p.waived {
			return refuse.As(refuse.Platform, "%s", p.bit)
		}
	}
	return nil
}

// checkMitigations names the first required mitigation that is not verified.
func (g *Genuine) checkMitigations(l *Limits) error {
	for _, v := range []struct {
		name      string
		got, want uint64
	}{{"launch", g.LaunchMitigations, l.LaunchMitigations}, {"current", g.CurrentMitigations, l.CurrentMitigations}} {
		if missing := v.want &^ v.got; missing != 0 {
			return refuse.As(refuse.Platform, "%s mitigation vector bit %d is not set", v.name, bits.TrailingZeros64(missing))
		}
	}
	return nil
}

// checkLaunch compares what the host or the owner gave along at launch with what
// the caller expects of it, if anything.
func (g *Genuine) checkLaunch(l *Limits) error {
	switch {
	case l.HostData != nil && g.HostData != *l.HostData:
		return refuse.As(refuse.Image, "HOST_DATA %x.., want %x..", g.HostData[:8], l.HostData[:8])
	case len(l.IDKeys) != 0 && !slices.Contains(l.IDKeys, g.IDKey):
		return refuse.As(refuse.Image, "ID key %x.. is not among those expected", g.IDKey[:8])
	case len(l.AuthorKeys) != 0 && !slices.Contains(l.AuthorKeys, g.AuthorKey):
		return refuse.As(refuse.Image, "author key %x.. is not among those expected", g.AuthorKey[:8])
	}
	return nil
}

// checkChip holds the chip against the inventory. A VLEK names no chip, so under
// a strict inventory it is nobody.
func (g *Genuine) checkChip(l *Limits) error {
	if !l.AllowAnyChip && (g.Signer.SigningKey == abi.VlekReportSigner || !slices.Contains(l.Chips, g.ChipID)) {
		return refuse.As(refuse.Inventory, "chip %x.. is not enrolled", g.ChipID[:8])
	}
	return nil
}
