// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"
	"strings"

	"github.com/sotto-project/sotto/attestation"
)

// A State says what a report has to say about one layer of a machine.
type State string

// The states. NotCovered: nothing in this evidence speaks for the layer.
// NotReached: verification stopped before.
const (
	Covered    State = "covered"
	InPart     State = "in part"
	NotCovered State = "not covered"
	Failed     State = "failed"
	NotReached State = "not reached"
)

// A Layer is one of the nine layers of a machine that a report accounts for.
type Layer struct {
	Name    string
	State   State
	Vouches attestation.Voucher // empty unless Covered or InPart
	By      string              // what speaks for it; empty unless Covered or InPart
	Why     string              // what is missing; empty if Covered
	Steps   []string            // of the report, that this rests on
}

// Says puts the layer into one sentence, which is never empty.
func (l Layer) Says() string {
	switch {
	case l.State == Covered:
		return l.By
	case l.By != "":
		return l.By + "; " + l.Why
	}
	return l.Why
}

// How a platform's registers come to prove software, or not.
const (
	byPCR   = iota // registers of a TPM that is inside the launch measurement, or the machine's own
	byRTMR         // registers of the TDX module
	byStart        // the launch measurement holds kernel, initrd and command line
	byCloud        // registers of a TPM of the host: no proof against the host
)

var proofOf = map[attestation.Platform]int{
	attestation.SNP: byStart, attestation.SNPSVSM: byPCR, attestation.AzureSNP: byPCR, attestation.AzureTDX: byPCR,
	attestation.GoogleSNP: byCloud, attestation.GoogleTDX: byRTMR, attestation.TDX: byRTMR, attestation.TPM: byPCR,
	attestation.NitroTPM: byPCR,
}

// genuineOf names the step in which hardware speaks, by platform.
var genuineOf = map[attestation.Platform]string{
	attestation.SNP: "snp.genuine", attestation.SNPSVSM: "snp.genuine", attestation.AzureSNP: "snp.genuine", attestation.GoogleSNP: "snp.genuine",
	attestation.AzureTDX: "tdx.genuine", attestation.GoogleTDX: "tdx.genuine", attestation.TDX: "tdx.genuine",
	attestation.TPM: "tpm.ekcert", attestation.NitroTPM: "nitro.genuine",
}

// outside is said where the TPM is no part of what was measured at launch.
const outside = "the registers are those of a TPM outside the launch measurement, whose host could have them say anything"

// Layers accounts for the nine layers, from firmware to weights, in this order.
// It reads verdicts and gaps of the report's steps; it judges nothing anew.
func Layers(r *attestation.Report) []Layer {
	a := &account{r: r, platform: r.Platform}
	if a.platform == "" && a.step("snp.genuine") != nil {
		a.platform = attestation.SNP
	}
	a.genuine = genuineOf[a.platform]
	if a.genuine == "" {
		a.genuine = "platform" // not known: its step was not reached, or refused
	}
	return []Layer{a.firmware(), a.tpm(), a.loader(), a.kernel(), a.commandLine(), a.rootFS(), a.policies(), a.application(), a.weights()}
}

type account struct {
	r        *attestation.Report
	platform attestation.Platform
	genuine  string
}

func (a *account) step(id string) *attestation.Step {
	i := slices.IndexFunc(a.r.Steps, func(s attestation.Step) bool { return s.ID == id })
	if i < 0 {
		return nil
	}
	return &a.r.Steps[i]
}

// rests makes a layer of the steps it rests on: as good as the weakest.
func (a *account) rests(name, by string, steps ...string) Layer {
	l := Layer{Name: name, State: Covered, Vouches: attestation.Attested, By: by, Steps: steps}
	var gaps []string
	for _, id := range steps {
		s := a.step(id)
		switch {
		case s == nil:
			return Layer{Name: name, State: NotReached, Why: a.stopped(), Steps: steps}
		case s.Verdict == attestation.Failed:
			return Layer{Name: name, State: Failed, Why: clean(string(s.Code) + ", see " + s.ID), Steps: steps}
		case s.Verdict == attestation.NotChecked:
			return Layer{Name: name, State: NotReached, Why: "not checked: " + s.ID, Steps: steps}
		case s.Vouches == attestation.Stated:
			l.Vouches = attestation.Stated
		}
		if s.Gap != "" && !slices.Contains(gaps, clean(s.Gap)) {
			gaps = append(gaps, clean(s.Gap))
		}
	}
	if len(gaps) > 0 {
		return l.inPart(strings.Join(gaps, "; "))
	}
	return l
}

// stopped says why later steps are missing.
func (a *account) stopped() string {
	for _, s := range a.r.Steps {
		if s.Verdict == attestation.Failed {
			return clean("verification stopped at " + s.ID + " (" + string(s.Code) + ")")
		}
	}
	return "the step that would say so is not in this report"
}

// inPart weakens a layer; one that is already weaker stays as it is.
func (l Layer) inPart(why string) Layer {
	switch {
	case l.State == Covered:
		l.State, l.Why = InPart, why
	case l.State == InPart && !strings.Contains(l.Why, why):
		l.Why += "; " + why
	}
	return l
}

// whole forgets gaps that are about something else than this layer.
func (l Layer) whole() Layer {
	if l.State == InPart {
		l.State, l.Why = Covered, ""
	}
	return l
}

func (l Layer) notCovered(why string) Layer {
	if l.State == Covered || l.State == InPart {
		return Layer{Name: l.Name, State: NotCovered, Why: why, Steps: l.Steps}
	}
	return l
}

func (a *account) firmware() Layer {
	const name = "VM firmware"
	switch a.platform {
	case attestation.TPM:
		return a.rests(name, "PCR 0 and 2, where the release lists them", "tpm.quote", "boot.components").
			inPart("firmware of a machine of one's own is often not the release's")
	case attestation.NitroTPM:
		return a.rests(name, "AWS's signed document", a.genuine, "nitro.acceptable").
			inPart("the firmware is AWS's, and its register is compared only where the release lists it")
	case attestation.AzureSNP, attestation.AzureTDX:
		return a.rests(name, "launch measurement of paravisor and firmware", a.genuine, "image.measurement")
	}
	l := a.rests(name, "launch measurement", a.genuine, "image.measurement")
	if l.State == InPart && proofOf[a.platform] != byPCR && onlyGap(l.Why) {
		l.State, l.Why = Covered, "" // what the TPM does not say takes nothing from the launch measurement of firmware
	}
	return l
}

// onlyGap says whether the gap is that of a TPM outside the launch measurement.
func onlyGap(why string) bool {
	return strings.Contains(why, "outside the launch measurement") && !strings.Contains(why, ";")
}

func (a *account) tpm() Layer {
	const name = "vTPM"
	switch a.platform {
	case attestation.SNPSVSM:
		return a.rests(name, "SVSM in the launch measurement; the chip's report is over its key", "tpm.ak", a.genuine, "svsm.binding")
	case attestation.AzureSNP, attestation.AzureTDX:
		return a.rests(name, "paravisor in the launch measurement; the chip's report is over its key", "tpm.ak", a.genuine, "hcl.binding")
	case attestation.GoogleSNP, attestation.GoogleTDX:
		return a.rests(name, "Google's certificate of its key", "tpm.ak", "tpm.akcert").
			inPart("it is outside the launch measurement: it keeps keys and proves no software")
	case attestation.TPM:
		return a.rests(name, "certificates of the TPM's maker and of an enrolment", "tpm.ak", "tpm.ekcert", "tpm.akcert")
	case attestation.NitroTPM:
		return a.rests(name, "AWS's signed document over its key", "tpm.ak", a.genuine, "nitro.acceptable").
			inPart("it is run by AWS's hypervisor")
	case attestation.TDX:
		return a.rests(name, "the chip's report is over its key", "tpm.ak", a.genuine, "tdx.acceptable").whole().
			inPart("it keeps keys and proves no software; that there is a TPM behind the key is on the measured software's word")
	}
	return a.rests(name, "the chip's report is over its key", "tpm.ak", a.genuine, "snp.acceptable").whole().
		inPart("it keeps keys and proves no software; that there is a TPM behind the key is on the measured software's word")
}

// started is for layers that are measured while the machine boots.
func (a *account) started(name, pcr, rtmr string, steps ...string) Layer {
	switch proofOf[a.platform] {
	case byRTMR:
		return a.rests(name, rtmr, append([]string{a.genuine}, steps...)...)
	case byCloud:
		return a.rests(name, "", append([]string{a.genuine}, steps...)...).notCovered(outside)
	case byPCR:
		return a.rests(name, pcr, append([]string{"tpm.quote"}, steps...)...)
	}
	l := a.rests(name, "launch measurement, which holds kernel, initrd and command line", append([]string{a.genuine, "image.measurement"}, steps...)...)
	if s := a.step("image.measurement"); s != nil && s.Gap != "" {
		return l.notCovered(clean(s.Gap))
	}
	return l
}

func (a *account) loader() Layer {
	return a.started("Boot loader", "PCR 4 and 7 equal the release's", "RTMR 1 equals the release's", "boot.components", "boot.secureboot")
}

func (a *account) kernel() Layer {
	l := a.started("Kernel and modules", "PCR 4, 9 and 11 equal the release's", "RTMR 1 and 2 equal the release's", "boot.components")
	if s := a.step("runtime"); s != nil && s.Gap != "" {
		return l.inPart("modules loaded later: " + clean(s.Gap))
	}
	return l
}

func (a *account) commandLine() Layer {
	return a.started("Command line", "PCR 12, byte for byte", "RTMR 2, byte for byte", "boot.cmdline")
}

func (a *account) rootFS() Layer {
	l := a.started("Root file system", "dm-verity root hash on the measured command line", "dm-verity root hash on the measured command line", "boot.cmdline")
	l.By = strings.Replace(l.By, "launch measurement, which holds kernel, initrd and command line", "dm-verity root hash on the measured command line", 1)
	if s := a.step("boot.cmdline"); s != nil && s.Verdict != attestation.Failed && !strings.Contains(s.Got, "roothash=") {
		return l.notCovered("the command line names no root hash, so files outside the initrd are not measured")
	}
	return l
}

func (a *account) policies() Layer {
	l := a.started("Run-time policies (SELinux, IMA, EVM)", "IMA log, each entry judged", "IMA log, each entry judged", "runtime")
	l.By = strings.Replace(l.By, "launch measurement, which holds kernel, initrd and command line", "IMA log, each entry judged", 1)
	if s := a.step("runtime"); s != nil && s.Gap != "" {
		return l.notCovered(clean(s.Gap))
	}
	return l.inPart("whether SELinux and EVM enforce follows from command line and image; no step asks")
}

func (a *account) application() Layer {
	by := "its hash is in the statement that the chip's report is over"
	if proofOf[a.platform] == byPCR {
		by = "PCR 13 holds this configuration"
	}
	l := a.rests("Application and configuration", by+"; the programs are in the measured image", "config", "image.measurement")
	if k := a.started("", "", "", "boot.components"); k.State == NotCovered {
		return l.notCovered(k.Why)
	}
	return l
}

func (a *account) weights() Layer {
	l := a.rests("Model weights", "their SHA-256 is in the measured configuration and equals the listed one", "config").
		inPart("that the engine loaded these bytes is on the measured software's word")
	if k := a.started("", "", "", "boot.components"); k.State == NotCovered {
		return l.notCovered(k.Why)
	}
	return l
}
