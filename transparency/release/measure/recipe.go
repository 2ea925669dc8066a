// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/attestation"
)

// A Recipe is a launch and the firmware that it is of, in one line: what whoever
// computes a measurement again needs to know besides the files. An image manifest
// carries it beside the measurement.
type Recipe struct {
	Launch
	Firmware attestation.Digest // SHA-256 of the file
}

// String prints a recipe as [ParseRecipe] reads it:
//
//	vmm=qemu vcpus=4 cpu=0xa10f10 features=0x1 firmware=HEX
//	vmm=qemu vcpus=4 cpu=0xa10f10 features=0x1 firmware=HEX kernel=HEX initrd=HEX cmdline=HEX
func (r *Recipe) String() string {
	s := fmt.Sprintf("vmm=%s vcpus=%d cpu=%v features=%#x firmware=%x", r.VMM, r.VCPUs, r.CPU, uint64(r.Features), r.Firmware)
	if b := r.Boot; b != nil {
		s += fmt.Sprintf(" kernel=%x initrd=%x cmdline=%x", b.Kernel, b.Initrd, b.CommandLine)
	}
	return s
}

// ParseRecipe reads one spelling only, of a launch that has a value.
func ParseRecipe(s string) (*Recipe, error) {
	fields := strings.Split(s, " ")
	names := []string{"vmm", "vcpus", "cpu", "features", "firmware", "kernel", "initrd", "cmdline"}
	if len(fields) != 5 && len(fields) != len(names) {
		return nil, fmt.Errorf("launch: %d fields, want 5 or %d", len(fields), len(names))
	}
	r := new(Recipe)
	if len(fields) == len(names) {
		r.Boot = new(Boot)
	}
	for i, field := range fields {
		value, ok := strings.CutPrefix(field, names[i]+"=")
		if !ok {
			return nil, fmt.Errorf("launch: field %d is not %s", i+1, names[i])
		}
		if err := r.set(names[i], value); err != nil {
			return nil, fmt.Errorf("launch: %s: %v", names[i], err)
		}
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.String() != s {
		return nil, errors.New("launch: not as it would be printed")
	}
	return r, nil
}

func (r *Recipe) set(name, value string) error {
	number := func(bits int) (uint64, error) {
		text, ok := strings.CutPrefix(value, "0x")
		if !ok {
			return 0, errors.New("want 0x and digits")
		}
		return strconv.ParseUint(text, 16, bits)
	}
	digest := func(d *attestation.Digest) error {
		if len(value) != hex.EncodedLen(len(d)) {
			return errors.New("want 64 hex digits")
		}
		_, err := hex.Decode(d[:], []byte(value))
		return err
	}
	switch name {
	case "vmm":
		r.VMM = VMM(value)
	case "vcpus":
		n, err := strconv.Atoi(value)
		r.VCPUs = n
		return err
	case "cpu":
		n, err := number(32)
		r.CPU = CPU(n)
		return err
	case "features":
		n, err := number(64)
		r.Features = Features(n)
		return err
	case "firmware":
		return digest(&r.Firmware)
	case "kernel":
		return digest(&r.Boot.Kernel)
	case "initrd":
		return digest(&r.Boot.Initrd)
	case "cmdline":
		return digest(&r.Boot.CommandLine)
	}
	return nil
}

// Derive is the MEASUREMENT of the recipe with a firmware, which has to be the
// one that it names.
func (r *Recipe) Derive(f *Firmware) (attestation.Measurement, error) {
	if f.SHA256 != r.Firmware {
		return attestation.Measurement{}, fmt.Errorf("launch: the firmware's SHA-256 is %x, the recipe's %x", f.SHA256, r.Firmware)
	}
	return f.LaunchDigest(&r.Launch)
}
