// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure_test

import (
	"strings"
	"testing"

	"github.com/sotto-project/sotto/transparency/release/measure"
)

func recipe(t testing.TB, f *measure.Firmware) *measure.Recipe {
	return &measure.Recipe{Launch: measure.Launch{VMM: measure.QEMU, VCPUs: 4, CPU: cpu(t, "EPYC-Genoa"), Features: 1, Boot: nothing(t, "ro")}, Firmware: f.SHA256}
}

func TestRecipe(t *testing.T) {
	f, err := read(file(8192, amdSev))
	if err != nil {
		t.Fatal(err)
	}
	r := recipe(t, f)
	want, err := f.LaunchDigest(&r.Launch)
	if err != nil {
		t.Fatal(err)
	}
	for _, boot := range []*measure.Boot{r.Boot, nil} {
		r.Boot = boot
		again, err := measure.ParseRecipe(r.String())
		if err != nil || again.String() != r.String() || (again.Boot == nil) != (boot == nil) {
			t.Fatalf("%v: %v", r, err)
		}
		got, err := again.Derive(f)
		if err != nil || (got == want) != (boot != nil) {
			t.Errorf("%x %v", got, err)
		}
	}
	other, err := read(file(4096, amdSev))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Derive(other); err == nil {
		t.Errorf("derived %x from another firmware", got)
	}
}

func TestHostileRecipes(t *testing.T) {
	f, err := read(file(8192, amdSev))
	if err != nil {
		t.Fatal(err)
	}
	good := recipe(t, f).String()
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in %q", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, s := range map[string]string{
		"nothing": "", "a field more": good + " x=1", "a field less": good[:strings.LastIndex(good, " ")], "two spaces": replace(" cpu", "  cpu"),
		"order": replace("vcpus=4 cpu=0xa10f10", "cpu=0xa10f10 vcpus=4"), "sign": replace("vcpus=4", "vcpus=+4"), "zeros": replace("cpu=0x", "cpu=0x0"),
		"upper case": replace("0xa10f10", "0xA10F10"), "decimal": replace("features=0x1", "features=1"), "no processors": replace("vcpus=4", "vcpus=0"),
		"hypervisor": replace("qemu", "xen"), "features": replace("features=0x1", "features=0x3"), "short digest": replace("firmware="+good[strings.Index(good, "firmware=")+9:][:2], "firmware="),
		"line feed": good + "\n", "digest of other letters": replace("kernel=e3", "kernel=E3"), "no hex": replace("kernel=e3", "kernel=g3"), "too wide": replace("0xa10f10", "0x1a0000000"),
	} {
		if r, err := measure.ParseRecipe(s); err == nil {
			t.Errorf("%s: read as %v", name, r)
		}
	}
}

func FuzzParseRecipe(f *testing.F) {
	fw, err := read(file(8192, amdSev))
	if err != nil {
		f.Fatal(err)
	}
	r := recipe(f, fw)
	f.Add(r.String())
	r.Boot = nil
	f.Add(r.String())
	r.VMM, r.CPU = measure.EC2, 0
	f.Add(r.String())
	f.Fuzz(func(t *testing.T, in string) {
		if r, err := measure.ParseRecipe(in); err == nil && r.String() != in {
			t.Errorf("%q is printed %q", in, r)
		}
	})
}
