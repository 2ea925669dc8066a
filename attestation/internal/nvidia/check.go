// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Limits say which genuine devices are acceptable. Its zero value accepts none.
//
// Measurements are compared by Manifests, by Token, or by both; at least one has
// to be asked for. A version is allowed if it is listed or not below the least;
// a list and a least version that are both empty allow none.
type Limits struct {
	GPUs          int      // exactly; at least one
	Switches      int      // exactly
	Chips         []string // "GH100", "LS10"
	Drivers       []string // "580.95.05"
	MinDriver     string
	VBIOS         []string // of GPUs: "96.00.74.00.1A"
	MinVBIOS      string
	SwitchBIOS    []string // of switches, in the same form
	MinSwitchBIOS string
	ProtectedPCIE bool // every GPU is in protected PCIe mode; else none is
	Manifests     bool // every measurement that NVIDIA's manifests state is as stated
	Token         bool // NVIDIA's service vouches for every device
}

func errClaims(format string, args ...any) error {
	return refuse.As(refuse.GPUClaims, format, args...)
}

// Check decides whether genuine devices are acceptable.
func (g *Genuine) Check(l *Limits) error {
	switch {
	case l.GPUs <= 0, l.Switches < 0:
		return refuse.As(refuse.Policy, "limits name no number of GPUs")
	case !l.Manifests && !l.Token:
		return refuse.As(refuse.Policy, "limits ask for neither manifests nor a token")
	}
	if n, m := len(g.devices(GPU)), len(g.devices(Switch)); n != l.GPUs || m != l.Switches {
		return refuse.As(refuse.GPUCount, "%d GPUs and %d switches, want %d and %d", n, m, l.GPUs, l.Switches)
	}
	for i := range g.Devices {
		if err := g.Devices[i].check(l); err != nil {
			return err
		}
	}
	if l.Token {
		for _, k := range []Kind{GPU, Switch} {
			if len(g.devices(k)) == 0 {
				continue
			}
			if g.overall[k] == nil {
				return errToken("no token about the %ss", k)
			}
			if !g.overall[k].isTrue("x-nvidia-overall-att-result") {
				return errClaims("x-nvidia-overall-att-result is %.40s", g.overall[k]["x-nvidia-overall-att-result"])
			}
		}
	}
	return nil
}

func (d *Device) check(l *Limits) error {
	if !slices.Contains(l.Chips, d.Chip) {
		return errClaims("chip %s is not among %v", d.Chip, l.Chips)
	}
	if d.Kind == GPU && !allowed(d.Driver(), l.Drivers, l.MinDriver, 10) {
		return errClaims("driver version %q", d.Driver())
	}
	list, least := l.VBIOS, l.MinVBIOS
	if d.Kind == Switch {
		list, least = l.SwitchBIOS, l.MinSwitchBIOS
	}
	if !allowed(d.VBIOS(), list, least, 16) {
		return errClaims("VBIOS version %q of %v", d.VBIOS(), d.Kind)
	}
	// One GPU outside the mode of the others is one GPU too few.
	if d.Kind == GPU && d.ProtectedPCIE() != l.ProtectedPCIE {
		return refuse.As(refuse.GPUCount, "protected PCIe mode is %t on %s, want %t", d.ProtectedPCIE(), d.UEID, l.ProtectedPCIE)
	}
	if l.Manifests {
		if err := d.compare(); err != nil {
			return err
		}
	}
	if l.Token {
		return d.checkClaims()
	}
	return nil
}

// compare holds the measurements against the manifests. Blocks count from 1,
// manifests from 0. Measurement 35 is of a video decoder that can be off; NVIDIA
// leaves it out then, by a field that the device signs.
func (d *Device) compare() error {
	if d.vbios == nil || d.Kind == GPU && d.driver == nil {
		return errRIM("no manifest of the driver or the VBIOS of %s", d.UEID)
	}
	const videoDecoder = 35
	off, _ := d.Field(FieldNVDEC0)
	for _, r := range []*reference{d.driver, d.vbios} {
		if r == nil {
			continue
		}
		for _, index := range slices.Sorted(maps.Keys(r.golden)) {
			if index == videoDecoder && len(off) == 1 && off[0] == statusOff {
				continue
			}
			got := d.measurement(index)
			if !slices.ContainsFunc(r.golden[index], func(want []byte) bool { return bytes.Equal(got, want) }) {
				return errClaims("measurement %d of %s is %x, want what %s %s measures to", index, d.UEID, got, r.product, r.version)
			}
		}
	}
	return nil
}

// measurement returns the measurement of a manifest's index, or nil.
func (d *Device) measurement(index int) []byte {
	for _, b := range d.Blocks {
		if int(b.Index) == index+1 {
			return b.Value
		}
	}
	return nil
}

// Claims of version 3 that have to be true, by kind of device.
var trueClaims = map[Kind][]string{
	GPU: {"secboot", "x-nvidia-gpu-arch-check", "x-nvidia-gpu-attestation-report-parsed",
		"x-nvidia-gpu-attestation-report-nonce-match", "x-nvidia-gpu-attestation-report-signature-verified",
		"x-nvidia-gpu-attestation-report-cert-chain-fwid-match",
		"x-nvidia-gpu-driver-rim-fetched", "x-nvidia-gpu-driver-rim-schema-validated", "x-nvidia-gpu-driver-rim-signature-verified",
		"x-nvidia-gpu-driver-rim-version-match", "x-nvidia-gpu-driver-rim-measurements-available",
		"x-nvidia-gpu-vbios-rim-fetched", "x-nvidia-gpu-vbios-rim-schema-validated", "x-nvidia-gpu-vbios-rim-signature-verified",
		"x-nvidia-gpu-vbios-rim-version-match", "x-nvidia-gpu-vbios-rim-measurements-available", "x-nvidia-gpu-vbios-index-no-conflict"},
	Switch: {"secboot", "x-nvidia-switch-arch-check", "x-nvidia-switch-attestation-report-parsed",
		"x-nvidia-switch-attestation-report-nonce-match", "x-nvidia-switch-attestation-report-signature-verified",
		"x-nvidia-switch-attestation-report-cert-chain-fwid-match",
		"x-nvidia-switch-bios-rim-fetched", "x-nvidia-switch-bios-rim-schema-validated", "x-nvidia-switch-bios-rim-signature-verified",
		"x-nvidia-switch-bios-rim-version-match", "x-nvidia-switch-bios-rim-measurements-available"},
}

// Claims that are about a chain of certificates.
var chainClaims = map[Kind][]string{
	GPU:    {"x-nvidia-gpu-attestation-report-cert-chain", "x-nvidia-gpu-driver-rim-cert-chain", "x-nvidia-gpu-vbios-rim-cert-chain"},
	Switch: {"x-nvidia-switch-attestation-report-cert-chain", "x-nvidia-switch-bios-rim-cert-chain"},
}

// checkClaims looks at what NVIDIA's service says about a device, and that it
// names the versions that the device itself reports.
func (d *Device) checkClaims() error {
	c := d.claims
	if c == nil {
		return errToken("no token about %s", d.UEID)
	}
	for _, name := range trueClaims[d.Kind] {
		if !c.isTrue(name) {
			return errClaims("%s is %.40s, want true", name, c[name])
		}
	}
	for _, want := range d.textClaims() {
		if got := c.text(want[0]); !strings.EqualFold(got, want[1]) || want[1] == "" {
			return errClaims("%s is %.60q, want %q", want[0], got, want[1])
		}
	}
	for _, name := range chainClaims[d.Kind] {
		chain, ok := parseClaims(c[name])
		if status := chain.text("x-nvidia-cert-status"); !ok || status != "valid" {
			return errClaims("x-nvidia-cert-status of %s is %.40q, want valid", name, status)
		}
		if status := chain.text("x-nvidia-cert-ocsp-status"); status != "good" {
			return errClaims("x-nvidia-cert-ocsp-status of %s is %.40q, want good", name, status)
		}
	}
	for _, name := range []string{"x-nvidia-mismatch-measurement-records", "x-nvidia-attestation-warning"} {
		if !c.without(name) {
			return errClaims("%s is %.80s", name, c[name])
		}
	}
	return nil
}

func (d *Device) textClaims() [][2]string {
	common := [][2]string{{"measres", "success"}, {"dbgstat", "disabled"}}
	if d.Kind == Switch {
		return append(common, [2]string{"x-nvidia-switch-bios-version", d.VBIOS()})
	}
	return append(common, [2]string{"x-nvidia-gpu-driver-version", d.Driver()}, [2]string{"x-nvidia-gpu-vbios-version", d.VBIOS()})
}

// allowed decides about a version; base is that of its parts.
func allowed(version string, list []string, least string, base int) bool {
	if version == "" {
		return false
	}
	if slices.ContainsFunc(list, func(v string) bool { return strings.EqualFold(v, version) }) {
		return true
	}
	got, ok := parts(version, base)
	want, okLeast := parts(least, base)
	return ok && okLeast && slices.Compare(got, want) >= 0
}

// parts reads "580.95.05"; ok is false for anything but numbers and dots.
func parts(version string, base int) (out []uint64, ok bool) {
	for p := range strings.SplitSeq(version, ".") {
		n, err := strconv.ParseUint(p, base, 32)
		if err != nil {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}
