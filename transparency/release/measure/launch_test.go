// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sotto-project/sotto/transparency/release/measure"
)

// amdSev is the metadata of the last 4 KiB of OVMF's AmdSevX64 build of
// edk2-stable202405, whose values sev-snp-measure publishes. SHA-256 of that file:
// 8f765dfabc127fc0a938a0744a3103ec15864d7d794eb4c398aa976b6d6ab16c.
var amdSev = []measure.Section{
	{Address: 0x800000, Size: 0x9000, Kind: measure.SectionMemory},
	{Address: 0x80a000, Size: 0x3000, Kind: measure.SectionMemory},
	{Address: 0x80d000, Size: 0x1000, Kind: measure.SectionSecrets},
	{Address: 0x80e000, Size: 0x1000, Kind: measure.SectionCPUID},
	{Address: 0x80f000, Size: 0x1000, Kind: measure.SectionSVSM},
	{Address: 0x810000, Size: 0x1000, Kind: measure.SectionHashes},
	{Address: 0x811000, Size: 0xf000, Kind: measure.SectionMemory},
}

// ovmf is the metadata that sev-snp-measure-go publishes, in
// guest/testdata/ovmf_img_1.json and ovmf_img_2.json.
var ovmf = []measure.Section{
	{Address: 0x800000, Size: 0x9000, Kind: measure.SectionMemory},
	{Address: 0x80a000, Size: 0x3000, Kind: measure.SectionMemory},
	{Address: 0x80d000, Size: 0x1000, Kind: measure.SectionSecrets},
	{Address: 0x80e000, Size: 0x1000, Kind: measure.SectionCPUID},
	{Address: 0x80f000, Size: 0x11000, Kind: measure.SectionMemory},
}

const (
	reset = 0x80b004
	table = 0x810c00

	// Digests over the pages of the three files.
	codeAmdSev = "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74"
	codeOVMF1  = "a58211791a556a630a4319dc9e2ea96cc0e9784dd9f20a4fadf81b26c98d163fcdcb6703884bbbb80d7b1de45b3d84d0"
	codeOVMF2  = "2027a27bb9f7acfd280e4c7bd68a73973b94bf0756e5b282e004b9395f597b8d0eb4defa7d8f6549375aa4d2b146f0f3"
)

func published(t *testing.T, code string, hashes uint32, sections []measure.Section) *measure.Firmware {
	t.Helper()
	b, err := hex.DecodeString(code)
	if err != nil {
		t.Fatal(err)
	}
	f, err := measure.FirmwareOf([48]byte(b), reset, hashes, sections)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func cpu(t testing.TB, name string) measure.CPU {
	t.Helper()
	c, err := measure.ParseCPU(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// nothing is /dev/null as kernel and initrd.
func nothing(t testing.TB, line string) *measure.Boot {
	t.Helper()
	b, err := measure.HashBoot(strings.NewReader(""), strings.NewReader(""), line)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPublishedLaunches: values that others publish. Of QEMU and of EC2 with 4 KiB
// of OVMF: github.com/virtee/sev-snp-measure, tests/test_guest.py (after its change
// for Linux 6.9). Of EC2 with two whole images:
// github.com/virtee/sev-snp-measure-go, guest/guest_test.go.
func TestPublishedLaunches(t *testing.T) {
	for _, c := range publishedLaunches {
		if got, err := published(t, codeAmdSev, table, amdSev).LaunchDigest(c.launch(t)); err != nil || hex.EncodeToString(got[:]) != c.want {
			t.Errorf("%s: %x (%v), want %s", c.name, got, err, c.want)
		}
	}
	for code, want := range map[string]string{
		codeOVMF1: "4c6e33087d08fa770259484dddbef367086a15c3e2cf10038dc97229d39c942671c2e22b300178f8de594a3f2fa59303",
		codeOVMF2: "c2c84b9364fc9f0f54b04534768c860c6e0e386ad98b96e8b98eca46ac8971d05c531ba48373f054c880cfd1f4a0a84e",
	} {
		l := &measure.Launch{VMM: measure.EC2, VCPUs: 2, Features: 1}
		if got, err := published(t, code, 0, ovmf).LaunchDigest(l); err != nil || hex.EncodeToString(got[:]) != want {
			t.Errorf("%s: %x (%v), want %s", code[:8], got, err, want)
		}
	}
}

// TestPublishedFile: the same from the firmware file itself (tests/fixtures/ovmf_AmdSev_suffix.bin
// of sev-snp-measure), tables and pages read, where SOTTO_OVMF names it.
func TestPublishedFile(t *testing.T) {
	path := os.Getenv("SOTTO_OVMF")
	if path == "" {
		t.Skip("SOTTO_OVMF names no file")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	code := f.Code()
	if hex.EncodeToString(f.SHA256[:]) != "8f765dfabc127fc0a938a0744a3103ec15864d7d794eb4c398aa976b6d6ab16c" || hex.EncodeToString(code[:]) != codeAmdSev ||
		!reflect.DeepEqual(f.Sections, amdSev) || f.Hashes != table || f.Reset != reset {
		t.Errorf("%+v", f)
	}
	for _, c := range publishedLaunches {
		if got, err := f.LaunchDigest(c.launch(t)); err != nil || hex.EncodeToString(got[:]) != c.want {
			t.Errorf("%s: %x (%v), want %s", c.name, got, err, c.want)
		}
	}
}

const line = "console=ttyS0 loglevel=7"

type aLaunch struct {
	name     string
	vmm      measure.VMM
	vcpus    int
	features measure.Features
	line     *string
	want     string
}

func (c *aLaunch) launch(t testing.TB) *measure.Launch {
	l := &measure.Launch{VMM: c.vmm, VCPUs: c.vcpus, Features: c.features}
	if c.vmm == measure.QEMU {
		l.CPU = cpu(t, "EPYC-v4")
	}
	if c.line != nil {
		l.Boot = nothing(t, *c.line)
	}
	return l
}

// publishedLaunches are named as in sev-snp-measure's tests/test_guest.py.
var publishedLaunches = []aLaunch{
	{"hash_gen_default", measure.QEMU, 1, 0x21, new(string), "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198"},
	{"hash_gen_feature_snp_only", measure.QEMU, 1, 1, new(string), "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5"},
	{"default", measure.QEMU, 1, 0x21, new(line), "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977"},
	{"guest_feature_snp_only", measure.QEMU, 1, 1, new(line), "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa"},
	{"without_kernel_default", measure.QEMU, 1, 0x21, nil, "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b"},
	{"without_kernel_feature_snp_only", measure.QEMU, 1, 1, nil, "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d"},
	{"multiple_vcpus_default", measure.QEMU, 4, 0x21, new(string), "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942"},
	{"multiple_vcpus_feature_snp_only", measure.QEMU, 4, 1, new(string), "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5"},
	{"ec2_default", measure.EC2, 1, 0x21, new(string), "6ae80856486b1396af8c82a40351d6ed76a20c785e9c7fa4ffa27c22d5d6313b4b3b458cd3c9968e6f89fb5d8450d7a6"},
	{"ec2_feature_snp_only", measure.EC2, 1, 1, new(string), "7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be"},
}

// TestPublishedPages: what github.com/google/gce-tcb-verifier, sev/sev_test.go, has
// for three pages with something in them and for three without.
func TestPublishedPages(t *testing.T) {
	b := make([]byte, 3*4096)
	copy(b, "LGTMLGTMLGTMLGTM")
	copy(b[len(b)-16:], "LGTMLGTMLGTMLGTM")
	if got := measure.Normal(0, b); hex.EncodeToString(got[:]) != "cba1cd767c33b30f96271837dbbae4081a945464a5af397b9b0336b5d8759ee88cc6b62c05d915c4424a9ac5747437d4" {
		t.Errorf("normal: %x", got)
	}
	if got := measure.Zero(0x9000, 3*4096); hex.EncodeToString(got[:]) != "4bfe18477ba370a50329da74b9621e721c4f29663176e08fbcf088a17c1bc45f133898b86d5082acbe202a6e9419808a" {
		t.Errorf("zero: %x", got)
	}
}

// TestPublishedState: the bytes that are not zero of a first processor's state as
// github.com/google/gce-tcb-verifier, sev/sev_test.go, has it. PAT and RDX are
// Google's there; the floating-point state is that of KVM from Linux 6.9
// (github.com/virtee/sev-snp-measure, pull request 48: bytes 1032 and 1040).
func TestPublishedState(t *testing.T) {
	want := make([]byte, 4096)
	for at, s := range map[int]string{
		0x00: "00009300ffff0000", 0x10: "00f09b00ffff00000000ffff", 0x20: "00009300ffff0000", 0x30: "00009300ffff0000",
		0x40: "00009300ffff0000", 0x50: "00009300ffff0000", 0x60: "00000000ffff0000", 0x70: "00008200ffff0000",
		0x80: "00000000ffff0000", 0x90: "00008b00ffff0000", 0xd0: "0010", 0x148: "40", 0x158: "10", 0x160: "0004",
		0x168: "f00fffff", 0x170: "02", 0x178: "f0ff", 0x3b0: "01", 0x3e8: "01",
		0x310: "110fa000", 0x268: "0604070006040700", // EPYC-Milan; PAT after reset
		1032: "801f", 1040: "7f03",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		copy(want[at:], b)
	}
	l := &measure.Launch{VMM: measure.QEMU, VCPUs: 1, CPU: cpu(t, "EPYC-Milan"), Features: measure.FeatureSNP}
	got := l.State(0xfffffff0)
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("byte %#x is %#x, want %#x", i, got[i], want[i])
		}
	}
	other := l.State(reset)
	if other[0x1a] != 0x80 || other[0x178] != 0x04 || other[0x179] != 0xb0 {
		t.Errorf("another processor begins at %x %x", other[0x18:0x20], other[0x178:0x180])
	}
}

// TestPublishedTable: the layout that github.com/virtee/sev-snp-measure,
// sevsnpmeasure/sev_hashes.py, describes, from bytes.
func TestPublishedTable(t *testing.T) {
	b, err := measure.HashBoot(strings.NewReader("kernel"), nil, "line")
	if err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]) }
	want := "06d63894224fc94cb479a793d411fd21" + "a800" +
		"d82dd09720bd944caa78e7714d36ab2a" + "3200" + sum("line\x00") +
		"31f7ba442f3ad74b9af141e29169781d" + "3200" + sum("") +
		"3794e74dd2ab7f42b835d5b172d2045b" + "3200" + sum("kernel") + "0000000000000000"
	if got := hex.EncodeToString(b.Table()); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if len(b.Table()) != 176 {
		t.Errorf("%d bytes", len(b.Table()))
	}
}

// TestCPUNames: signatures of github.com/virtee/sev-snp-measure,
// sevsnpmeasure/vcpu_types.py and its tests.
func TestCPUNames(t *testing.T) {
	for name, want := range map[string]measure.CPU{
		"EPYC": 0x800f12, "EPYC-v4": 0x800f12, "EPYC-Rome": 0x830f10, "EPYC-Rome-v3": 0x830f10, "EPYC-Milan": 0xa00f11, "EPYC-Milan-v2": 0xa00f11,
		"EPYC-Genoa": 0xa10f10, "EPYC-Genoa-v1": 0xa10f10, "EPYC-Turin": 0xb00f00, "0xa10f11": 0xa10f11,
	} {
		if got, err := measure.ParseCPU(name); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "epyc", "EPYC-v", "EPYC-v0", "EPYC-v04", "EPYC-v+4", "EPYC-v4-v4", "EPYC-Naples", "host", "0x0", "0x", "a10f11", "0xA10F11", "0x0a10f11", "0x1000a10f11"} {
		if got, err := measure.ParseCPU(bad); !errors.Is(err, measure.ErrUnsupported) || got != 0 {
			t.Errorf("%q: %v %v", bad, got, err)
		}
	}
}

// TestLaunchesOfDoubt: what has not been compared, or would leave the kernel
// unmeasured, has no value.
func TestLaunchesOfDoubt(t *testing.T) {
	good := measure.Launch{VMM: measure.QEMU, VCPUs: 2, CPU: cpu(t, "EPYC-Genoa"), Features: 1, Boot: nothing(t, "")}
	f := published(t, codeAmdSev, table, amdSev)
	if _, err := f.LaunchDigest(&good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(l *measure.Launch){
		"zero":              func(l *measure.Launch) { *l = measure.Launch{} },
		"hypervisor":        func(l *measure.Launch) { l.VMM = "gce" },
		"no processors":     func(l *measure.Launch) { l.VCPUs = 0 },
		"fewer than none":   func(l *measure.Launch) { l.VCPUs = -1 },
		"too many":          func(l *measure.Launch) { l.VCPUs = measure.MaxVCPUs + 1 },
		"no model":          func(l *measure.Launch) { l.CPU = 0 },
		"EC2 with a model":  func(l *measure.Launch) { l.VMM = measure.EC2 },
		"no features":       func(l *measure.Launch) { l.Features = 0 },
		"features without":  func(l *measure.Launch) { l.Features = measure.FeatureDebugSwap },
		"features not seen": func(l *measure.Launch) { l.Features = 0x201 },
	} {
		l := good
		change(&l)
		if got, err := f.LaunchDigest(&l); err == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
	most := good
	most.VCPUs = measure.MaxVCPUs
	if _, err := f.LaunchDigest(&most); err != nil {
		t.Error(err)
	}
	t.Run("AT-36 a kernel that the measurement does not cover", func(t *testing.T) {
		elsewhere := append([]measure.Section{}, amdSev...)
		elsewhere[5].Kind = measure.SectionMemory
		for name, f := range map[string]*measure.Firmware{
			"no section":         published(t, codeAmdSev, table, elsewhere),
			"no place":           published(t, codeAmdSev, 0, amdSev),
			"before the section": published(t, codeAmdSev, 0x80ffff, amdSev),
			"over its end":       published(t, codeAmdSev, 0x811000-175, amdSev),
			"behind the section": published(t, codeAmdSev, 0x811000, amdSev),
		} {
			var e *measure.FirmwareError
			if got, err := f.LaunchDigest(&good); !errors.As(err, &e) || e.Part != measure.PartHashes {
				t.Errorf("%s: %x %v", name, got, err)
			}
		}
		if _, err := published(t, codeAmdSev, 0x811000-176, amdSev).LaunchDigest(&good); err != nil {
			t.Errorf("at its end: %v", err)
		}
	})
	one, err := measure.FirmwareOf([48]byte{}, 0, 0, ovmf)
	if err != nil {
		t.Fatal(err)
	}
	l := measure.Launch{VMM: measure.QEMU, VCPUs: 1, CPU: 1, Features: 1}
	if _, err := one.LaunchDigest(&l); err != nil {
		t.Error(err)
	}
	var e *measure.FirmwareError
	l.VCPUs = 2
	if _, err := one.LaunchDigest(&l); !errors.As(err, &e) || e.Part != measure.PartReset {
		t.Errorf("second processor without a place to begin: %v", err)
	}
}

// TestEverythingCounts: one bit of anything that decides what runs, and the value
// is another.
func TestEverythingCounts(t *testing.T) {
	boot := func(kernel, initrd, line string) *measure.Boot {
		b, err := measure.HashBoot(strings.NewReader(kernel), strings.NewReader(initrd), line)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	base := measure.Launch{VMM: measure.QEMU, VCPUs: 2, CPU: cpu(t, "EPYC-Genoa"), Features: 1, Boot: boot("k", "i", "l")}
	image := file(8192, amdSev)
	seen := map[string]string{}
	try := func(name string, b []byte, change func(l *measure.Launch)) {
		f, err := read(b)
		if err != nil {
			t.Fatal(name, err)
		}
		l := base
		change(&l)
		d, err := f.LaunchDigest(&l)
		if err != nil {
			t.Fatal(name, err)
		}
		key := hex.EncodeToString(d[:])
		if other, twice := seen[key]; twice {
			t.Errorf("%s has the value of %s", name, other)
		}
		seen[key] = name
	}
	same := func(*measure.Launch) {}
	try("base", image, same)
	for _, at := range []int{2000, 4096, 8191} {
		b := bytes.Clone(image)
		b[at] ^= 1
		try("firmware", b, same)
	}
	moved := append([]measure.Section{}, amdSev...)
	moved[2], moved[3] = moved[3], moved[2]
	try("sections in another order", file(8192, moved), same)
	try("kernel", image, func(l *measure.Launch) { l.Boot = boot("K", "i", "l") })
	try("initrd", image, func(l *measure.Launch) { l.Boot = boot("k", "I", "l") })
	try("kernel and initrd exchanged", image, func(l *measure.Launch) { l.Boot = boot("i", "k", "l") })
	try("command line", image, func(l *measure.Launch) { l.Boot = boot("k", "i", "l ") })
	try("no kernel", image, func(l *measure.Launch) { l.Boot = nil })
	try("processors", image, func(l *measure.Launch) { l.VCPUs = 3 })
	try("one processor", image, func(l *measure.Launch) { l.VCPUs = 1 })
	try("model", image, func(l *measure.Launch) { l.CPU++ })
	try("features", image, func(l *measure.Launch) { l.Features |= measure.FeatureDebugSwap })
	try("hypervisor", image, func(l *measure.Launch) { l.VMM, l.CPU = measure.EC2, 0 })
}

func TestHashBootReadsAll(t *testing.T) {
	if _, err := measure.HashBoot(nil, nil, ""); err == nil {
		t.Error("a boot without a kernel")
	}
	broken := iotest.ErrReader(io.ErrUnexpectedEOF)
	if _, err := measure.HashBoot(broken, nil, ""); err == nil {
		t.Error("a kernel that cannot be read has a hash")
	}
	if _, err := measure.HashBoot(strings.NewReader(""), broken, ""); err == nil {
		t.Error("an initrd that cannot be read has a hash")
	}
}
