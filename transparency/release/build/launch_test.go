// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
	"github.com/sotto-project/sotto/transparency/release/measure"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

// aMachine is a shop that releases a machine of which nobody knows the launch
// measurement yet, and the image of which PCR 4 and 11 are.
func aMachine(t *testing.T) (*shop, *attestation.Image) {
	s := newShop(t)
	i := attestationtest.ImageOn(attestation.SNP)
	i.Measurement = attestation.Measurement{}
	uki := rt.UKI(i.CommandLines[0])
	u := must(measure.Image(uki))
	i.PCRs[4], i.PCRs[11] = u.PCR4, u.PCR11
	for name, text := range map[string]string{"uki": string(uki), "firmware": string(rt.Firmware(2)), "other-firmware": string(rt.Firmware(3)), "plain": string(make([]byte, 8192)),
		"kernel": "k", "initrd": "i", "other": "o", "node.raw": "raw"} {
		s.write(name, text)
	}
	s.measurements(&i)
	s.config.Machines = []build.Machine{{Name: "node.raw", File: s.path("node.raw"), Role: "node", Measurements: s.path("m.json"),
		Launches: []build.Launch{{Image: i.Name, VMM: "qemu", VCPUs: 2, CPU: "EPYC-Genoa", Features: 1, Firmware: s.path("firmware"), Kernel: s.path("kernel"), Initrd: s.path("initrd")}}}}
	return s, &i
}

func (s *shop) path(name string) string { return filepath.Join(s.dir, name) }

func (s *shop) measurements(i ...*attestation.Image) {
	s.write("m.json", string(must(json.Marshal(i))))
}

// TestLaunchInManifest: what make puts into a manifest is computed from files, and
// somebody with the same files computes it again.
func TestLaunchInManifest(t *testing.T) {
	s, _ := aMachine(t)
	if _, err := s.job("out").Make(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, r := s.read("out")
	n := slices.IndexFunc(r.Images, func(i release.Image) bool { return i.Name == "node.raw" })
	image := &r.Images[n]
	m := image.Measurements[0]
	text := image.Recipe.Inputs[release.LaunchInput(m.Name)]
	recipe, err := measure.ParseRecipe(text)
	if err != nil || m.Measurement == (attestation.Measurement{}) {
		t.Fatalf("%q %v %x", text, err, m.Measurement)
	}
	if d, err := recipe.Derive(must(build.ReadFirmware(s.path("firmware")))); err != nil || d != m.Measurement {
		t.Errorf("%x %v, want %x", d, err, m.Measurement)
	}

	all := build.Files{Firmware: s.path("firmware"), Kernel: s.path("kernel"), Initrd: s.path("initrd"), UKI: s.path("uki")}
	derive := func(image *release.Image, change func(f *build.Files)) (*build.Derivation, error) {
		f := all
		change(&f)
		return build.Rederive(image, &f)
	}
	d, err := derive(image, func(*build.Files) {})
	if err != nil || !d.Equal() || len(d.Same) != 7 || len(d.NotComputed) == 0 {
		t.Fatalf("%+v %v", d, err)
	}
	for name, c := range map[string]struct {
		change    func(f *build.Files)
		different string // begins what differs
	}{
		"firmware":  {func(f *build.Files) { f.Firmware = s.path("other-firmware") }, "firmware of"},
		"kernel":    {func(f *build.Files) { f.Kernel = s.path("other") }, "kernel of"},
		"initrd":    {func(f *build.Files) { f.Initrd = s.path("other") }, "initrd of"},
		"no initrd": {func(f *build.Files) { f.Initrd = "" }, "initrd of"},
	} {
		d, err := derive(image, c.change)
		if err != nil || d.Equal() || len(d.Different) != 2 || !strings.HasPrefix(d.Different[0], c.different) || !strings.HasPrefix(d.Different[1], "launch measurement of") {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
	t.Run("AT-36 another image", func(t *testing.T) {
		s.write("uki", string(rt.UKI("init=/bin/sh")))
		d, err := derive(image, func(*build.Files) {})
		if err != nil || d.Equal() || len(d.Different) != 3 {
			t.Errorf("%+v %v", d, err)
		}
		s.write("uki", string(rt.UKI(m.CommandLines[0])))
	})
	t.Run("AT-23 a measurement of nobody", func(t *testing.T) {
		other := *image
		other.Measurements = slices.Clone(image.Measurements)
		other.Measurements[0].Measurement[0] ^= 1
		d, err := derive(&other, func(*build.Files) {})
		if err != nil || len(d.Different) != 1 || !strings.HasPrefix(d.Different[0], "launch measurement of") {
			t.Errorf("%+v %v", d, err)
		}
	})
	t.Run("AT-36 a line that nobody was told", func(t *testing.T) {
		other := *image
		other.Measurements = slices.Clone(image.Measurements)
		other.Measurements[0].CommandLines = []string{"init=/bin/sh"}
		d, err := derive(&other, func(f *build.Files) { f.UKI = ""; f.Except = []string{build.ExceptPCRs} })
		if err != nil || d.Equal() || len(d.Different) != 1 || !strings.HasPrefix(d.Different[0], "command line of") {
			t.Errorf("%+v %v", d, err)
		}
	})
	for name, change := range map[string]func(f *build.Files){
		"no firmware": func(f *build.Files) { f.Firmware = "" },
		"no kernel":   func(f *build.Files) { f.Kernel, f.Initrd = "", "" },
		"no image":    func(f *build.Files) { f.UKI = "" },
	} {
		d, err := derive(image, change)
		if err != nil || d.Equal() || len(d.NotCompared) != 1 || len(d.Different) != 0 {
			t.Errorf("%s: %+v %v", name, d, err)
		}
		kind := build.ExceptLaunch
		if name == "no image" {
			kind = build.ExceptPCRs
		}
		if d, err = derive(image, func(f *build.Files) { change(f); f.Except = []string{kind} }); err != nil || !d.Equal() || len(d.Excepted) != 1 {
			t.Errorf("%s, excepted: %+v %v", name, d, err)
		}
	}
	if d, err := derive(image, func(f *build.Files) { *f = build.Files{Except: []string{build.ExceptLaunch, build.ExceptPCRs}} }); err != nil || d.Equal() {
		t.Errorf("nothing was compared, and all is equal: %+v %v", d, err)
	}
	rooted := *image
	rooted.VerityRoot = strings.Repeat("0", 64)
	if d, err := derive(&rooted, func(*build.Files) {}); err != nil || d.Equal() || len(d.Different) != 1 || !strings.HasPrefix(d.Different[0], "verity root of") {
		t.Errorf("%+v %v", d, err)
	}
	recipe.Boot = nil
	undirected := *image
	undirected.Recipe.Inputs = map[string]string{release.LaunchInput(m.Name): recipe.String()}
	if d, err := derive(&undirected, func(*build.Files) {}); err == nil {
		t.Errorf("a kernel that nothing starts: %+v", d)
	}
	if d, err := derive(&undirected, func(f *build.Files) { f.Kernel, f.Initrd = "", "" }); err != nil || len(d.Different) != 1 || !strings.HasPrefix(d.Different[0], "launch measurement of") {
		t.Errorf("%+v %v", d, err)
	}
	undirected.Recipe.Inputs = map[string]string{release.LaunchInput(m.Name): "vmm=qemu"}
	if d, err := derive(&undirected, func(*build.Files) {}); err == nil {
		t.Errorf("a recipe that is none: %+v", d)
	}
	if d, err := derive(image, func(f *build.Files) { f.Except = []string{"all"} }); err == nil {
		t.Errorf("%+v", d)
	}
	untold := *image
	untold.Recipe.Inputs = nil
	if d, err := derive(&untold, func(*build.Files) {}); err != nil || d.Equal() || len(d.NotCompared) != 1 {
		t.Errorf("without a recipe: %+v %v", d, err)
	}
}

// TestLaunchRefusals: a release is not made with a value that its own files do not
// give.
func TestLaunchRefusals(t *testing.T) {
	s, i := aMachine(t)
	check := func() error { return s.job("out").Check(context.Background()) }
	if err := check(); err != nil {
		t.Fatal(err)
	}
	l := &s.config.Machines[0].Launches[0]
	good := *l
	for name, c := range map[string]struct {
		change func()
		want   string
	}{
		"firmware of nothing":     {func() { l.Firmware = "" }, "no firmware"},
		"firmware that is none":   {func() { l.Firmware = s.path("plain") }, "footer table"},
		"no such kernel":          {func() { l.Kernel = s.path("absent") }, "absent"},
		"no such initrd":          {func() { l.Initrd = s.path("absent") }, "absent"},
		"initrd without a kernel": {func() { l.Kernel = "" }, "without a kernel"},
		"unknown model":           {func() { l.CPU = "EPYC-Naples" }, "EPYC-Naples"},
		"unknown hypervisor":      {func() { l.VMM = "xen" }, "xen"},
		"no processors":           {func() { l.VCPUs = 0 }, "processors"},
		"no features":             {func() { l.Features = 0 }, "features"},
		"image of nobody": {func() {
			other := *i
			other.Measurement[5] = 1
			s.measurements(&other)
			l.Image = "other"
		}, "no measurements are called"},
		"twice": {func() { s.config.Machines[0].Launches = append(s.config.Machines[0].Launches, good) }, "two for"},
		"two command lines": {func() {
			other := *i
			other.CommandLines = append([]string{"x"}, i.CommandLines...)
			s.measurements(&other)
		}, "2 command lines"},
		"another measurement": {func() {
			other := *i
			other.Measurement[5] = 1
			s.measurements(&other)
		}, "was computed"},
		"another platform": {func() {
			other := attestationtest.ImageOn(attestation.TDX)
			other.Name = i.Name
			s.measurements(&other)
		}, "platform tdx"},
		"no measurement and no launch": {func() { s.config.Machines[0].Launches = nil }, "measurement"},
	} {
		c.change()
		if err := check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		s.measurements(i)
		s.config.Machines[0].Launches = []build.Launch{good}
		l = &s.config.Machines[0].Launches[0]
	}
	if err := check(); err != nil {
		t.Fatal(err)
	}
}
