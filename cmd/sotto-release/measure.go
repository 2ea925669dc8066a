// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
	"github.com/sotto-project/sotto/transparency/release/measure"
)

func measureCommand() *cobra.Command {
	return &cobra.Command{Use: "image-measure FILE", Args: cobra.ExactArgs(1), Short: "Compute what a machine measures of an image",
		Long: `Computes from a unified kernel image (UKI with systemd-stub) what a machine that
boots it attests: the Authenticode digest and PCR 4, PCR 11, the kernel command line
and the dm-verity root in it. Prints JSON.

What depends on more than the image is not computed, and the output says so: firmware
(PCR 0 and 2, TDX's MRTD; for SEV-SNP's launch measurement see launch-measure) and the
kernel's own events (PCR 9, RTMR 2).`,
		Example: `  sotto-release image-measure node.efi`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readFile(args[0], measure.MaxImage)
			if err != nil {
				return err
			}
			u, err := build.MeasureUKI(b)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), u)
		}}
}

func launchCommand() *cobra.Command {
	var l build.Launch
	var line string
	c := &cobra.Command{Use: "launch-measure", Args: cobra.NoArgs, Short: "Compute SEV-SNP's launch measurement",
		Long: `Computes the MEASUREMENT of a SEV-SNP machine that QEMU with KVM starts, from the OVMF
file (-bios), the number and model of its processors and, where they are started
directly, kernel, initrd and command line. Prints JSON: the measurement, and a recipe
from which somebody else computes it again.

It holds for QEMU 9.1 and KVM of Linux 6.11, or later, without an SVSM or IGVM file and
without flash files beside -bios; --vmm ec2 for Amazon's, as published tools model it.
It equals values that others publish; it has not been compared with a boot of yours:
start the machine once and look.`,
		Example: `  sotto-release launch-measure --firmware OVMF.amdsev.fd --vcpus 4 --cpu EPYC-Genoa
  sotto-release launch-measure --firmware OVMF.amdsev.fd --vcpus 4 --cpu EPYC-Genoa \
    --kernel vmlinuz --initrd initrd.img --cmdline "ro roothash=..."`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if l.Firmware == "" || l.VCPUs == 0 {
				return usageError{errors.New("--firmware and --vcpus are required")}
			}
			if l.Kernel == "" && l.Initrd+line != "" {
				return usageError{errors.New("--initrd and --cmdline are of a --kernel: without one they are not measured")}
			}
			d, recipe, err := l.Measure(line)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), struct {
				Measurement attestation.Measurement `json:"measurement"`
				Recipe      string                  `json:"recipe"`
			}{d, recipe.String()})
		}}
	c.Flags().StringVar(&l.Firmware, "firmware", "", "the whole OVMF file")
	c.Flags().StringVar(&l.VMM, "vmm", string(measure.QEMU), "qemu, or ec2")
	c.Flags().IntVar(&l.VCPUs, "vcpus", 0, "number of virtual processors")
	c.Flags().StringVar(&l.CPU, "cpu", "", "model as in QEMU's -cpu, such as EPYC-Genoa; or a signature (CPUID 1, EAX) such as 0xa10f10")
	c.Flags().Uint64Var(&l.Features, "features", uint64(measure.FeatureSNP), "SEV_FEATURES: 1, or 33 with debug_swap")
	c.Flags().StringVar(&l.Kernel, "kernel", "", "what is started directly")
	c.Flags().StringVar(&l.Initrd, "initrd", "", "with the kernel")
	c.Flags().StringVar(&line, "cmdline", "", "with the kernel, byte for byte")
	return c
}

func rederiveCommand() *cobra.Command {
	var trust, at, image string
	var f build.Files
	c := &cobra.Command{Use: "re-derive FILE", Args: cobra.ExactArgs(1), Short: "Compute a release's expected values again, and compare",
		Long: `Judges the release, computes the expected values of an image in it from your own
files, and compares them with what the release says: the launch measurement of
SEV-SNP from firmware, kernel and initrd, where the release has a recipe; PCR 4 and 11
and the command line from the unified kernel image. A value that differs is DIFFERENT
(exit 10). What could be compared and was not makes the outcome PARTIAL (exit 20),
unless you say --except launch or --except pcrs. What nothing here computes (PCR 9,
MRTD) is said, too.`,
		Example: `  sotto-release re-derive release.jsonl --trust trust.json --firmware OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img --except pcrs
  sotto-release re-derive release.jsonl --trust trust.json --image node.raw --firmware OVMF.fd --uki node.efi`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, e := range f.Except {
				if e != build.ExceptLaunch && e != build.ExceptPCRs {
					return usageError{fmt.Errorf("--except %q: want %s or %s", e, build.ExceptLaunch, build.ExceptPCRs)}
				}
			}
			_, _, r, err := load(args[0], trust, at)
			if err != nil {
				return err
			}
			i, err := measured(r, image)
			if err != nil {
				return err
			}
			d, err := build.Rederive(i, &f)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, s := range d.Same {
				fmt.Fprintln(out, "same        ", s)
			}
			for _, s := range d.Different {
				fmt.Fprintln(out, "DIFFERENT   ", s)
			}
			fmt.Fprintln(out, "not computed", strings.Join(d.NotComputed, "; "))
			skipped := listed("; not compared: ", d.NotCompared) + listed("; not compared, as you asked: ", d.Excepted)
			switch {
			case len(d.Different) > 0:
				fmt.Fprintf(out, "%s: DIFFERENT: %d%s\n", i.Name, len(d.Different), skipped)
				return errNotDerived
			case !d.Equal():
				fmt.Fprintf(out, "%s: PARTIAL: %d are the same%s\n", i.Name, len(d.Same), skipped)
				return errPartlyDerived
			}
			fmt.Fprintf(out, "%s: all %d are the same%s\n", i.Name, len(d.Same), skipped)
			return nil
		}}
	c.Flags().StringVar(&trust, "trust", "", "your trust file")
	c.Flags().StringVar(&at, "at", "", "judge as of this time (RFC 3339) instead of now")
	c.Flags().StringVar(&image, "image", "", "name of the image, if several are measured")
	c.Flags().StringVar(&f.Firmware, "firmware", "", "the whole OVMF file")
	c.Flags().StringVar(&f.Kernel, "kernel", "", "what the hypervisor starts directly")
	c.Flags().StringVar(&f.Initrd, "initrd", "", "with the kernel")
	c.Flags().StringVar(&f.UKI, "uki", "", "the unified kernel image")
	c.Flags().StringArrayVar(&f.Except, "except", nil, "launch or pcrs: need not be compared; may be given again")
	return c
}

// measured is the image of a release that has expected values: the one of a name,
// or the only one.
func measured(r *release.Release, name string) (*release.Image, error) {
	var found []*release.Image
	for i := range r.Images {
		if len(r.Images[i].Measurements) > 0 && (name == "" || r.Images[i].Name == name) {
			found = append(found, &r.Images[i])
		}
	}
	if len(found) == 1 {
		if found[0].Revoked != "" {
			return nil, fmt.Errorf("image %s: %w", found[0].Name, transparency.Refuse(release.CodeRevoked, "withdrawn: %s", found[0].Revoked))
		}
		return found[0], nil
	}
	var names []string
	for _, i := range r.Images {
		if len(i.Measurements) > 0 {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return nil, usageError{fmt.Errorf("--image: %d images with expected values are called %q; there are: %s", len(found), name, strings.Join(names, ", "))}
}
