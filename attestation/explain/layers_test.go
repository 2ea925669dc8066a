// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
)

// stepsOf lists the steps on which the layers of a platform could rest.
func stepsOf(p attestation.Platform) []string {
	out := []string{"policy", "platform", "tpm.ak", "tpm.quote", "config", genuineOf[p]}
	switch p {
	case attestation.SNP, attestation.SNPSVSM, attestation.AzureSNP, attestation.GoogleSNP:
		out = append(out, "snp.acceptable")
	case attestation.TDX, attestation.GoogleTDX, attestation.AzureTDX:
		out = append(out, "tdx.acceptable")
	case attestation.NitroTPM:
		out = append(out, "nitro.acceptable")
	}
	return append(out, "hcl.binding", "svsm.binding", "tpm.akcert", "image.measurement", "boot.secureboot", "boot.components", "boot.cmdline", "runtime")
}

func made(p attestation.Platform, change func(*attestation.Step)) *attestation.Report {
	r := &attestation.Report{Platform: p, Verdict: attestation.Verified}
	for _, id := range stepsOf(p) {
		s := attestation.Step{ID: id, Vouches: attestation.Attested, Verdict: attestation.Verified}
		if id == "boot.cmdline" {
			s.Got = `"ro roothash=00"`
		}
		if change != nil {
			change(&s)
		}
		r.Steps = append(r.Steps, s)
		if s.Verdict == attestation.Failed {
			r.Verdict = attestation.Failed
			break
		}
	}
	return r
}

// TestNoLayerIsBlank: nine lines, each with a state and a reason, on every
// platform and wherever verification stopped (G-03).
func TestNoLayerIsBlank(t *testing.T) {
	check := func(name string, r *attestation.Report) {
		t.Helper()
		layers := Layers(r)
		if len(layers) != 9 {
			t.Fatalf("%s: %d layers", name, len(layers))
		}
		for _, l := range layers {
			vouched := l.State == Covered || l.State == InPart
			if l.Name == "" || l.Says() == "" || l.State == "" || (l.Vouches != "") != vouched || (l.By != "") != vouched || (l.Why == "") != (l.State == Covered) {
				t.Errorf("%s: %+v", name, l)
			}
			if strings.Contains(l.Says(), "; ;") || strings.HasPrefix(l.Says(), ";") {
				t.Errorf("%s: %q", name, l.Says())
			}
		}
	}
	for _, p := range append(attestation.Platforms(), "", "unheard-of") {
		check(string(p), made(p, nil))
		for _, id := range stepsOf(p) {
			check(string(p)+" failed at "+id, made(p, func(s *attestation.Step) {
				if s.ID == id {
					s.Verdict, s.Code = attestation.Failed, "att.test"
				}
			}))
			check(string(p)+" with a gap at "+id, made(p, func(s *attestation.Step) {
				if s.ID == id {
					s.Verdict, s.Gap = attestation.VerifiedWithGaps, "a gap"
				}
			}))
		}
	}
	check("nothing", &attestation.Report{})
}

// TestLayersByPlatform: what a platform does not prove is not shown as covered.
func TestLayersByPlatform(t *testing.T) {
	const firmware, tpm, loader, kernel, line, root, runtime, app, weights = 0, 1, 2, 3, 4, 5, 6, 7, 8
	state := func(r *attestation.Report, i int) State { return Layers(r)[i].State }
	gap := func(id, text string) func(*attestation.Step) {
		return func(s *attestation.Step) {
			if s.ID == id {
				s.Verdict, s.Gap = attestation.VerifiedWithGaps, text
			}
		}
	}
	for _, p := range attestation.Platforms() {
		r := made(p, nil)
		want := Covered
		if p == attestation.GoogleSNP {
			want = NotCovered // the launch measurement ends with the firmware, and the registers are the host's
		}
		for _, i := range []int{loader, kernel, line, root} {
			if got := state(r, i); got != want {
				t.Errorf("%s: layer %d is %s, want %s", p, i+1, got, want)
			}
		}
		if got := state(r, runtime); got == Covered {
			t.Errorf("%s: run-time policies are %s, though no step asks whether SELinux enforces", p, got)
		}
		if got := state(r, weights); got == Covered {
			t.Errorf("%s: weights are %s, though only software says what was loaded", p, got)
		}
		if got := state(made(p, gap("runtime", "run time: not compared")), runtime); got != NotCovered {
			t.Errorf("%s: run-time policies are %s with an IMA log that is not compared", p, got)
		}
	}
	outside := made(attestation.SNP, gap("image.measurement", "vTPM outside the launch measurement: its registers hold keys"))
	for i, want := range map[int]State{firmware: Covered, tpm: InPart, loader: NotCovered, kernel: NotCovered, line: NotCovered, root: NotCovered, app: NotCovered, weights: NotCovered} {
		if got := state(outside, i); got != want {
			t.Errorf("vTPM outside: layer %d is %s, want %s", i+1, got, want)
		}
	}
	bare := made(attestation.SNP, func(s *attestation.Step) { s.Got = strings.ReplaceAll(s.Got, "roothash", "root") })
	if got := state(bare, root); got != NotCovered {
		t.Errorf("root file system is %s without a root hash", got)
	}
	stopped := made(attestation.SNP, func(s *attestation.Step) {
		if s.ID == "boot.cmdline" {
			s.Verdict, s.Code = attestation.Failed, "att.image.cmdline"
		}
	})
	for i, want := range map[int]State{kernel: Covered, line: Failed, root: Failed, runtime: NotReached} {
		if got := state(stopped, i); got != want {
			t.Errorf("stopped at the command line: layer %d is %s, want %s", i+1, got, want)
		}
	}
}
