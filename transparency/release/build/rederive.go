// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/measure"
)

// What [Files.Except] can name.
const (
	ExceptLaunch = "launch" // launch measurements
	ExceptPCRs   = "pcrs"   // PCR 4 and 11
)

// Files are what an image's expected values are computed from again.
type Files struct {
	Firmware, Kernel, Initrd string   // what a hypervisor starts
	UKI                      string   // the unified kernel image
	Except                   []string // what need not be compared
}

// A Derivation is the outcome of computing an image's values again.
type Derivation struct {
	Same, Different []string
	NotCompared     []Skipped // could be, and was not
	Excepted        []Skipped // the same, and the caller said that this is known
	NotComputed     []string  // by nothing here
}

// Equal says whether all that can be computed was, and is the same, but for what
// was excepted.
func (d *Derivation) Equal() bool {
	return len(d.Different) == 0 && len(d.NotCompared) == 0 && len(d.Same) > 0
}

func (d *Derivation) compare(name string, released, computed any) {
	r, c := fmt.Sprintf("%x", released), fmt.Sprintf("%x", computed)
	if r == c {
		d.Same = append(d.Same, name+" "+r)
		return
	}
	d.Different = append(d.Different, name+": "+r+" was released, "+c+" was computed")
}

func (d *Derivation) skip(f *Files, kind, name, why string) {
	if slices.Contains(f.Except, kind) {
		d.Excepted = append(d.Excepted, Skipped{name, why})
		return
	}
	d.NotCompared = append(d.NotCompared, Skipped{name, why})
}

// notComputed is what no file here says.
var notComputed = []string{
	"PCR 9 and RTMR 2 (the kernel's own events)", "PCR 0 and 2, MRTD and RTMR 0 (firmware)", "IMA",
}

// Rederive computes the expected values of an image of a verified release again,
// from the auditor's own files, and compares them with the manifest's.
func Rederive(i *release.Image, f *Files) (*Derivation, error) {
	for _, e := range f.Except {
		if e != ExceptLaunch && e != ExceptPCRs {
			return nil, fmt.Errorf("except: %q; known are %s and %s", e, ExceptLaunch, ExceptPCRs)
		}
	}
	if len(i.Measurements) == 0 {
		return nil, fmt.Errorf("image %s: nothing of it is measured", i.Name)
	}
	d := &Derivation{NotComputed: notComputed}
	var firmware *measure.Firmware
	var uki *measure.UKI
	var err error
	if f.Firmware != "" {
		if firmware, err = ReadFirmware(f.Firmware); err != nil {
			return nil, err
		}
	}
	if f.UKI != "" {
		if uki, err = readUKI(f.UKI); err != nil {
			return nil, err
		}
	}
	for n := range i.Measurements {
		m := &i.Measurements[n]
		if err := d.launch(i, m, f, firmware); err != nil {
			return nil, err
		}
		d.pcrs(i, m, f, uki)
	}
	return d, nil
}

// launch compares one launch measurement: the files with the recipe's, and what
// the files give with the manifest's.
func (d *Derivation) launch(i *release.Image, m *attestation.Image, f *Files, firmware *measure.Firmware) error {
	name := "launch measurement of " + m.Name
	if m.Measurement == (attestation.Measurement{}) {
		return nil // of a platform that has none
	}
	text, ok := i.Recipe.Inputs[release.LaunchInput(m.Name)]
	if !ok || m.Platform != attestation.SNP {
		d.skip(f, ExceptLaunch, name, "the release does not say how it came about")
		return nil
	}
	r, err := measure.ParseRecipe(text)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	switch {
	case firmware == nil:
		d.skip(f, ExceptLaunch, name, fmt.Sprintf("no firmware was given; its SHA-256 is %x", r.Firmware))
		return nil
	case r.Boot != nil && f.Kernel == "":
		d.skip(f, ExceptLaunch, name, fmt.Sprintf("no kernel was given; its SHA-256 is %x", r.Boot.Kernel))
		return nil
	case r.Boot == nil && f.Kernel+f.Initrd != "":
		return fmt.Errorf("%s: a kernel was given, and the machine is started without one", name)
	}
	d.compare("firmware of "+m.Name, r.Firmware, firmware.SHA256)
	again := r.Launch
	if r.Boot != nil {
		// The line is the manifest's, which a client compares with the machine's; that the
		// recipe's hash is of another would be a line that nobody was told.
		line, ok := lineOf(m, r.Boot)
		if !ok {
			d.Different = append(d.Different, "command line of "+m.Name+": the launch is of none that was released")
			return nil
		}
		if again.Boot, err = readBoot(f.Kernel, f.Initrd, line); err != nil {
			return err
		}
		d.compare("kernel of "+m.Name, r.Boot.Kernel, again.Boot.Kernel)
		d.compare("initrd of "+m.Name, r.Boot.Initrd, again.Boot.Initrd)
	}
	got, err := firmware.LaunchDigest(&again)
	if err != nil {
		return err
	}
	d.compare(name, m.Measurement, got)
	return nil
}

func lineOf(m *attestation.Image, b *measure.Boot) (string, bool) {
	i := slices.IndexFunc(m.CommandLines, func(l string) bool { return measure.HashCommandLine(l) == b.CommandLine })
	if i < 0 {
		return "", false
	}
	return m.CommandLines[i], true
}

// pcrs compares what a unified kernel image decides.
func (d *Derivation) pcrs(i *release.Image, m *attestation.Image, f *Files, u *measure.UKI) {
	if u == nil {
		d.skip(f, ExceptPCRs, "PCR 4 and 11 of "+m.Name, "no unified kernel image was given")
		return
	}
	pcr4 := u.PCR4
	if u.PCR4WithKernel != nil && m.PCRs[4] == *u.PCR4WithKernel {
		pcr4 = *u.PCR4WithKernel
	}
	d.compare("PCR 4 of "+m.Name, m.PCRs[4], pcr4)
	name, pcr11 := "PCR 11 of "+m.Name, u.PCR11
	if after, ok := u.Phase(m.PCRs[11]); ok {
		pcr11 = m.PCRs[11]
		if after != "" {
			name += " after " + after
		}
	}
	d.compare(name, m.PCRs[11], pcr11)
	if slices.Contains(m.CommandLines, u.CommandLine) {
		d.Same = append(d.Same, "command line of "+m.Name)
	} else {
		d.Different = append(d.Different, "command line of "+m.Name+": the image's is none that was released")
	}
	if i.VerityRoot != "" && i.VerityRoot != u.VerityRoot {
		d.Different = append(d.Different, "verity root of "+i.Name+": "+i.VerityRoot+" was released, the image has "+u.VerityRoot)
	}
}

// ErrMalformed is a file that is not what it was given as.
var ErrMalformed = errors.New("malformed")

func readUKI(path string) (*measure.UKI, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, measure.MaxImage+1))
	if err != nil {
		return nil, err
	}
	return MeasureUKI(b)
}

// MeasureUKI is [measure.Image] with errors that say whose fault they are.
func MeasureUKI(b []byte) (*measure.UKI, error) {
	u, err := measure.Image(b)
	if err != nil && !errors.Is(err, measure.ErrUnsupported) {
		err = fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return u, err
}
