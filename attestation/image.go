// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Incomplete names what an image lacks, or states though nothing would compare
// it; "" if nothing. A policy with such an image is refused.
func (i *Image) Incomplete() string {
	if what := i.incomplete(); what != "" {
		return what
	}
	return i.uncompared()
}

// incomplete names what an image lacks; "" if nothing.
func (i *Image) incomplete() string {
	if _, known := piecesOf[i.Platform]; !known {
		return "known platform"
	}
	switch {
	case i.Name == "":
		return "name"
	case i.Platform.measuresLaunch() == (i.Measurement == Measurement{}):
		return "measurement, or one that its platform does not have"
	case len(i.CommandLines) == 0:
		return "command line"
	}
	for _, pcr := range []int{4, 9, 11} {
		if _, ok := i.PCRs[pcr]; !ok {
			return fmt.Sprintf("value for PCR %d", pcr)
		}
	}
	for _, r := range []int{1, 2} {
		if _, ok := i.RTMRs[r]; ok != i.Platform.measuresRTMRs() {
			return fmt.Sprintf("value for RTMR %d, or one that its platform does not have", r)
		}
	}
	if _, ok := i.RTMRs[0]; i.Platform.measuresRTMRs() && !ok && len(i.ACPI) == 0 {
		return "value for RTMR 0 and no list of ACPI tables"
	}
	for _, r := range []int{4, 7} {
		if _, ok := i.NitroPCRs[r]; ok != (i.Platform == NitroTPM) {
			return fmt.Sprintf("SHA-384 value for PCR %d, or one that its platform does not have", r)
		}
	}
	return ""
}

// uncompared names what an image states and nothing would ever look at; "" if
// there is nothing. Whoever wrote it believes that it is checked.
func (i *Image) uncompared() string {
	for _, pcr := range slices.Sorted(maps.Keys(i.PCRs)) {
		if !slices.Contains(evidence.QuotePCRs(), pcr) {
			return fmt.Sprintf("PCR %d is in no quote", pcr)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(i.RTMRs)) {
		if r < 0 || r > 2 || !onTDX(i.Platform) {
			return fmt.Sprintf("RTMR %d is not compared on %s", r, i.Platform)
		}
	}
	switch {
	case !i.Platform.measuresRTMRs() && len(i.ACPI)+len(i.RTMR2Events) != 0:
		return "lists of a TD's events"
	case i.Platform != NitroTPM && len(i.NitroPCRs) != 0:
		return "registers of a Nitro document"
	case i.Platform != SNP && i.TPMOutside:
		return "tpm_outside, which is for " + string(SNP)
	}
	return ""
}

// checkImage finds the release by its launch measurement. Where several share
// one, because it covers the firmware only, kernel and command line tell them
// apart; if none fits, the first is the one that the next steps complain about.
func checkImage(v *verification) (outcome, error) {
	m := v.launch
	if slices.Contains(v.p.RevokedImages, m) && v.platform.measuresLaunch() {
		return outcome{}, refuse.As(refuse.Revocation, "image %x.. was withdrawn", m[:8])
	}
	for i := range v.p.Images {
		image := &v.p.Images[i]
		if image.Platform != v.platform || image.Measurement != m {
			continue
		}
		if v.image == nil {
			v.image = image
		}
		if v.compare(image) == nil {
			v.image = image
			break
		}
	}
	if v.image == nil {
		return outcome{}, refuse.As(refuse.Image, "unknown image %x on %s", m[:], v.platform)
	}
	out := outcome{got: v.image.Name}
	if v.platform.measuresLaunch() {
		out.got += fmt.Sprintf(", %x", m[:])
	}
	if !v.softwareProven() {
		out.gap = "vTPM outside the launch measurement: its registers hold keys, they prove nothing about software"
	}
	return out, nil
}

// softwareProven says whether something that the hardware signed covers loader,
// kernel, initrd and command line.
func (v *verification) softwareProven() bool {
	switch {
	case v.platform.registersProve(), v.platform.measuresRTMRs():
		return true
	case v.platform == SNP:
		return !v.image.TPMOutside
	}
	return false
}

// checkComponents compares final values with the release's.
func checkComponents(v *verification) (outcome, error) {
	if err := v.compare(v.image); err != nil {
		return outcome{}, err
	}
	which := "PCRs 4, 9, 11"
	if v.platform.measuresRTMRs() {
		which = "RTMRs 1, 2; " + which
	}
	return outcome{expected: which + " of " + v.image.Name, got: "equal"}, nil
}

// compare holds every register that an image gives against the attested values.
// Kernel registers come first, so that another kernel is called one.
func (v *verification) compare(i *Image) error {
	for _, pcr := range []int{4, 9, 11} {
		if got, want := v.pcrs[pcr], i.PCRs[pcr]; got != want {
			return refuse.Differ(refuse.Kernel, fmt.Sprintf("PCR %d against %s", pcr, i.Name), fmt.Sprintf("%x", want), fmt.Sprintf("%x", got))
		}
	}
	for _, r := range []struct {
		index int
		code  refuse.Code
	}{{1, refuse.Kernel}, {2, refuse.Kernel}, {0, refuse.Image}} { // RTMR 3 is the running system's
		if want, ok := i.RTMRs[r.index]; ok && v.rtmrs[r.index] != want {
			return refuse.Differ(r.code, fmt.Sprintf("RTMR %d against %s", r.index, i.Name), fmt.Sprintf("%x", want), fmt.Sprintf("%x", v.rtmrs[r.index]))
		}
	}
	for pcr, want := range i.NitroPCRs {
		if got := v.nitroPCRs[pcr]; got != want {
			return refuse.Differ(refuse.Kernel, fmt.Sprintf("PCR %d of the Nitro document against %s", pcr, i.Name), fmt.Sprintf("%x", want), fmt.Sprintf("%x", got))
		}
	}
	for _, pcr := range slices.Sorted(maps.Keys(i.PCRs)) {
		switch want, got := i.PCRs[pcr], v.pcrs[pcr]; {
		case got == want:
		case pcr == 0 || pcr == 2:
			return refuse.As(refuse.Image, "PCR %d (firmware) is not that of %s", pcr, i.Name)
		default:
			return refuse.As(refuse.Kernel, "PCR %d is not that of %s", pcr, i.Name)
		}
	}
	return nil
}
