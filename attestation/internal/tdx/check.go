// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"math/bits"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Limits say which genuine quotes are acceptable. Its zero value accepts none:
// there is no field whose zero means that something is not looked at.
type Limits struct {
	// Graces lists statuses besides [UpToDate] that pass until a time.
	Graces []Grace

	// MinEvaluation is the lowest tcbEvaluationDataNumber, from 1: Intel raises it
	// with every round of firmware fixes, hence it bounds how old a view of the
	// world an operator may show while it is still in date.
	MinEvaluation int

	Chips        [][64]byte // enrolled platforms, see [PCK.ID]
	AllowAnyChip bool

	Modules        [][48]byte // MRSEAM
	AllowAnyModule bool       // any that Intel signed; its status counts all the same

	// Values that the host chose. Zero means that they must be zero.
	MRConfigID, MROwner, MROwnerConfig, MRServiceTD [48]byte

	Waive Waivers
	Data  [64]byte // REPORTDATA, recomputed by the caller
}

// A Grace lets a status pass up to and including a time. [Revoked] and
// [NotSupported] have none.
type Grace struct {
	Status Status
	Until  time.Time
}

// Waivers are the properties a caller does without.
type Waivers struct {
	SeptVE    bool // the host may make the guest fault on pages it takes away
	KeyLocker bool // the TD may use key locker
	Perfmon   bool // the TD may read performance counters
}

// TD attributes (TDX module ABI, ATTRIBUTES).
const (
	attrDebug      = 1 << 0
	attrUntrusted  = 0xff // the group whose bits each mean: debugged or profiled from outside
	attrLASS       = 1 << 27
	attrSeptVE     = 1 << 28
	attrMigratable = 1 << 29
	attrPKS        = 1 << 30
	attrKeyLocker  = 1 << 31
	attrPerfmon    = 1 << 63

	// LASS and PKS only take rights away from the guest's own kernel.
	attrKnown = attrLASS | attrSeptVE | attrMigratable | attrPKS | attrKeyLocker | attrPerfmon
)

// XFAM bits (TDX module ABI, XFAM): what every TD has, and what one may have.
const (
	xfamFixed1 = 0x3     // x87, SSE
	xfamFixed0 = 0x6dbe7 // and AVX, AVX-512, PT, PKRU, CET, UINTR, LBR, AMX
)

// Check decides whether a genuine quote is acceptable. MRTD and the RTMRs are
// left to the caller, who knows the images.
func (g *Genuine) Check(l *Limits) error {
	for _, check := range []func(*Limits) error{g.checkStatus, g.checkAttributes, g.checkModule, g.checkHostValues, g.checkChip} {
		if err := check(l); err != nil {
			return err
		}
	}
	if g.Data != l.Data {
		return refuse.As(refuse.Binding, "REPORTDATA %x.., want %x..", g.Data[:16], l.Data[:16])
	}
	return nil
}

// Grace returns the grace without which the quote would be refused for its
// status, for a report to name. ok is false if it needs none or there is none.
func (g *Genuine) Grace(l *Limits) (grace Grace, ok bool) {
	if g.Status == UpToDate || g.Status == Revoked || g.Status == NotSupported {
		return Grace{}, false
	}
	for _, c := range l.Graces {
		if c.Status == g.Status && !g.At.After(c.Until) && (!ok || c.Until.After(grace.Until)) {
			grace, ok = c, true
		}
	}
	return grace, ok
}

func (g *Genuine) checkStatus(l *Limits) error {
	if _, ok := g.Grace(l); g.Status != UpToDate && !ok {
		return refuse.As(refuse.TDXStatus, "%s: firmware %s, module %s, quoting enclave %s, of %s, advisories %v",
			g.Status, g.TCBStatus, g.ModuleStatus, g.QEStatus, g.TCBDate.Format(time.DateOnly), g.Advisories)
	}
	if l.MinEvaluation <= 0 || g.Evaluation < l.MinEvaluation {
		return refuse.As(refuse.TDXCollateral, "tcbEvaluationDataNumber %d, want %d or more, from 1", g.Evaluation, l.MinEvaluation)
	}
	return nil
}

func (g *Genuine) checkAttributes(l *Limits) error {
	a, w := g.Attributes, l.Waive
	switch unknown := a &^ (attrKnown | attrUntrusted); {
	case a&attrDebug != 0:
		return refuse.As(refuse.Debug, "TD attribute bit 0 lets the host read the guest")
	case a&attrUntrusted != 0:
		return refuse.As(refuse.Debug, "TD attributes %#x: under debug or profiling", a&attrUntrusted)
	case a&attrMigratable != 0:
		return refuse.As(refuse.Migrate, "TD attribute bit 29 allows migration")
	case g.MRServiceTD != l.MRServiceTD:
		return refuse.As(refuse.Migrate, "service TDs %x.. are bound, want %x..", g.MRServiceTD[:8], l.MRServiceTD[:8])
	case unknown != 0:
		return refuse.As(refuse.Platform, "TD attribute bit %d is reserved", bits.TrailingZeros64(unknown))
	case a&attrSeptVE == 0 && !w.SeptVE:
		return refuse.As(refuse.Platform, "TD attribute bit 28: SEPT_VE_DISABLE is not set")
	case a&attrKeyLocker != 0 && !w.KeyLocker:
		return refuse.As(refuse.Platform, "TD attribute bit 31: key locker allowed")
	case a&attrPerfmon != 0 && !w.Perfmon:
		return refuse.As(refuse.Platform, "TD attribute bit 63: performance counters allowed")
	case g.XFAM&xfamFixed1 != xfamFixed1, g.XFAM&^xfamFixed0 != 0:
		return refuse.As(refuse.Platform, "XFAM %#x, want %#x and nothing beyond %#x", g.XFAM, xfamFixed1, xfamFixed0)
	}
	return nil
}

// checkModule holds the module against the list; signer, attributes and status
// were compared with what Intel says of it.
func (g *Genuine) checkModule(l *Limits) error {
	if !l.AllowAnyModule && !slices.Contains(l.Modules, g.MRSEAM) {
		return refuse.As(refuse.TDXModule, "TDX module %x.. is not among those listed", g.MRSEAM[:8])
	}
	return nil
}

// checkHostValues looks at what the host may set as it likes: nothing measures
// it, hence software that reads it can be told anything.
func (g *Genuine) checkHostValues(l *Limits) error {
	for _, v := range []struct {
		name      string
		got, want [48]byte
	}{{"MRCONFIGID", g.MRConfigID, l.MRConfigID}, {"MROWNER", g.MROwner, l.MROwner}, {"MROWNERCONFIG", g.MROwnerConfig, l.MROwnerConfig}} {
		if v.got != v.want {
			return refuse.As(refuse.Platform, "%s %x.., want %x..", v.name, v.got[:8], v.want[:8])
		}
	}
	return nil
}

// checkChip holds the platform against the inventory. One whose certificate
// states neither package nor registration is nobody.
func (g *Genuine) checkChip(l *Limits) error {
	if l.AllowAnyChip {
		return nil
	}
	id := g.PCK.ID()
	if (g.PCK.PPID == [16]byte{} && g.PCK.PIID == [16]byte{}) || !slices.Contains(l.Chips, id) {
		return refuse.As(refuse.Inventory, "platform %x.. is not enrolled", id[:8])
	}
	return nil
}
