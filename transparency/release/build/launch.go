// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/measure"
)

// into gives an image its launch measurement, and the recipe how it came about.
// One that is there already has to be the same: it was copied from a machine, or
// from an older firmware.
func (l *Launch) into(i *attestation.Image, r *release.Recipe) error {
	if i.Platform != attestation.SNP {
		return fmt.Errorf("launch: platform %s: launch measurements are computed for %s only", i.Platform, attestation.SNP)
	}
	line := ""
	if l.Kernel != "" {
		if len(i.CommandLines) != 1 {
			return fmt.Errorf("launch: %d command lines, and a kernel is started with one", len(i.CommandLines))
		}
		line = i.CommandLines[0]
	}
	d, recipe, err := l.Measure(line)
	if err != nil {
		return err
	}
	if i.Measurement != (attestation.Measurement{}) && i.Measurement != d {
		return fmt.Errorf("launch: measurement %x is given, %x was computed", i.Measurement, d)
	}
	i.Measurement = d
	if r.Inputs == nil {
		r.Inputs = map[string]string{}
	}
	r.Inputs[release.LaunchInput(i.Name)] = recipe.String()
	return nil
}

// Measure computes the launch measurement from the files, and says in a recipe of
// what. The command line is that of the kernel, if there is one.
func (l *Launch) Measure(line string) (attestation.Measurement, *measure.Recipe, error) {
	none := attestation.Measurement{}
	r := &measure.Recipe{Launch: measure.Launch{VMM: measure.VMM(l.VMM), VCPUs: l.VCPUs, Features: measure.Features(l.Features)}}
	if l.CPU != "" {
		var err error
		if r.CPU, err = measure.ParseCPU(l.CPU); err != nil {
			return none, nil, err
		}
	}
	f, err := ReadFirmware(l.Firmware)
	if err != nil {
		return none, nil, err
	}
	if r.Boot, err = readBoot(l.Kernel, l.Initrd, line); err != nil {
		return none, nil, err
	}
	r.Firmware = f.SHA256
	d, err := r.Derive(f)
	return d, r, err
}

// ReadFirmware reads the OVMF file at a path.
func ReadFirmware(path string) (*measure.Firmware, error) {
	if path == "" {
		return nil, errors.New("launch: no firmware")
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return nil, err
	}
	return measure.ReadFirmware(in, st.Size())
}

// readBoot hashes what is started directly; nil if that is nothing.
func readBoot(kernel, initrd, line string) (*measure.Boot, error) {
	if kernel == "" {
		if initrd != "" || line != "" {
			return nil, errors.New("launch: an initrd or command line without a kernel")
		}
		return nil, nil
	}
	k, err := os.Open(kernel)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	var i io.Reader
	if initrd != "" {
		f, err := os.Open(initrd)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		i = f
	}
	return measure.HashBoot(k, i, line)
}
