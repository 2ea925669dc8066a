// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/release/measure"
)

type part struct {
	name string
	data []byte
}

// image writes a small PE32+ file. It boots nothing.
func image(parts ...part) []byte {
	le := binary.LittleEndian
	align := func(b []byte) []byte { return append(b, make([]byte, -len(b)&511)...) }
	head := make([]byte, 0x40)
	copy(head, "MZ")
	le.PutUint32(head[0x3c:], 0x40)
	head = append(head, "PE\x00\x00"...)
	head = le.AppendUint16(head, 0x8664)
	head = le.AppendUint16(head, uint16(len(parts)))
	head = append(head, make([]byte, 12)...)
	head = le.AppendUint16(head, 240)  // of the optional header
	head = le.AppendUint16(head, 0x22) // executable, large addresses
	opt := make([]byte, 240)
	le.PutUint16(opt, 0x20b)
	le.PutUint32(opt[32:], 4096) // section alignment
	le.PutUint32(opt[36:], 512)
	headers := (len(head) + len(opt) + 40*len(parts) + 511) &^ 511
	le.PutUint32(opt[60:], uint32(headers))
	le.PutUint32(opt[64:], 0x12345678) // a checksum, which no hash covers
	le.PutUint16(opt[68:], 10)         // EFI application
	le.PutUint32(opt[108:], 16)
	head = append(head, opt...)
	var body []byte
	address := uint32(0x1000)
	for _, p := range parts {
		s := make([]byte, 40)
		copy(s, p.name)
		le.PutUint32(s[8:], uint32(len(p.data)))
		le.PutUint32(s[12:], address)
		le.PutUint32(s[16:], uint32(len(align(p.data))))
		le.PutUint32(s[20:], uint32(headers+len(body)))
		le.PutUint32(s[36:], 0x40000040)
		head = append(head, s...)
		body = append(body, align(bytes.Clone(p.data))...)
		address += uint32(len(p.data)+4095) &^ 4095
	}
	le.PutUint32(head[0x58+56:], address) // size of the image
	return append(align(head), body...)
}

var (
	kernel  = image(part{".text", bytes.Repeat([]byte("k"), 700)})
	cmdline = []byte("console=ttyS0 ro roothash=" + strings.Repeat("7", 64))
	initrd  = bytes.Repeat([]byte("i"), 3000)
	osrel   = []byte("ID=sotto\n")
	sbat    = []byte("sbat,1,SBAT Version\n")
)

// uki has its sections in another order than they are measured in.
func uki(version string, more ...part) []byte {
	return image(append([]part{{".sdmagic", []byte("#### LoaderInfo: systemd-stub " + version + " ####\x00")}, {".sbat", sbat}, {".osrel", osrel},
		{".initrd", initrd}, {".cmdline", cmdline}, {".linux", kernel}}, more...)...)
}

// TestImage: values that pesign 0.112 (-h -d sha256) and systemd-measure 252
// (--bank=sha256 --phase=:) gave for the same bytes. TestOtherTools asks them
// again where they are installed.
func TestImage(t *testing.T) {
	u, err := measure.Image(uki("252.39-1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{
		"authenticode":    {hex.EncodeToString(u.Authenticode[:]), goldenImage},
		"kernel":          {hex.EncodeToString(u.Kernel[:]), goldenKernel},
		"PCR 11":          {hex.EncodeToString(u.PCR11[:]), goldenPCR11},
		"verity root":     {u.VerityRoot, strings.Repeat("7", 64)},
		"command line":    {u.CommandLine, string(cmdline)},
		"sections of 252": {strings.Join(u.Sections, " "), ".linux .osrel .cmdline .initrd"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %s, want %s", name, c[0], c[1])
		}
	}
	if len(u.Missing) == 0 || *u.PCR4WithKernel == u.PCR4 {
		t.Error("what is not computed is not said")
	}
	newer, err := measure.Image(uki("257.1"))
	if err != nil || strings.Join(newer.Sections, " ") != ".linux .osrel .cmdline .initrd .sbat" || newer.PCR11 == u.PCR11 {
		t.Errorf("%v %+v", err, newer)
	}
}

const (
	goldenImage  = "7bd7f32003d3febe513a8d022c98cdd25ad0b48a012368f83b5aba5df10d6f00"
	goldenKernel = "b0513cfc7a32a9ca1ae8bb197d94aae26578c651146fddf5e45045f7f7377d5e"
	goldenPCR11  = "613db55a6924fdbc6f84e3639fb8c8e4468a602e68ea84b6f8752d0765260d58"
)

// phases are what systemd-measure 252 gave for PCR 11 further up.
var phases = map[string]string{
	"enter-initrd":                            "a53fd9d1cb8456e9906e072d9892db6147c5a2dcf7290834e2e17420745941b6",
	"enter-initrd:leave-initrd":               "c720e150a9fa32e9e2f8a39886f82cca0dc60121181a595c35c9c0c895b29373",
	"enter-initrd:leave-initrd:sysinit:ready": "2710f38be2ac1048d1edaa7fce86059f1b8b3be2a71ce6f0b60267bd4c121ccf",
}

func TestPhases(t *testing.T) {
	u, err := measure.Image(uki("252.39-1"))
	if err != nil {
		t.Fatal(err)
	}
	if after, ok := u.Phase(u.PCR11); after != "" || !ok {
		t.Errorf("before any: %q %v", after, ok)
	}
	for want, pcr11 := range phases {
		var d attestation.Digest
		if err := d.UnmarshalText([]byte(pcr11)); err != nil {
			t.Fatal(err)
		}
		if after, ok := u.Phase(d); after != want || !ok {
			t.Errorf("%q %v, want %q", after, ok, want)
		}
		d[0] ^= 1
		if after, ok := u.Phase(d); ok {
			t.Errorf("another value is after %q", after)
		}
	}
}

func TestOtherTools(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, k := file("uki.efi", uki("252.39-1")), file("linux", kernel)
	u, err := measure.Image(uki("252.39-1"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(want, tool string, args ...string) {
		t.Run(filepath.Base(tool), func(t *testing.T) {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("%s is not installed", tool)
			}
			out, err := exec.Command(tool, args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%v, want %s:\n%s", err, want, out)
			}
		})
	}
	ask(hex.EncodeToString(u.Authenticode[:]), "pesign", "-h", "-d", "sha256", "-i", whole)
	ask(hex.EncodeToString(u.Kernel[:]), "pesign", "-h", "-d", "sha256", "-i", k)
	tool := "/usr/lib/systemd/systemd-measure"
	if out, err := exec.Command(tool, "--version").Output(); err != nil || !strings.HasPrefix(string(out), "systemd 252") {
		t.Logf("systemd-measure 252 is not installed")
		return
	}
	of := []string{"calculate", "--bank=sha256", "--linux=" + k, "--osrel=" + file("osrel", osrel), "--cmdline=" + file("cmdline", cmdline), "--initrd=" + file("initrd", initrd)}
	ask(hex.EncodeToString(u.PCR11[:]), tool, append(of, "--phase=:")...)
	for after, pcr11 := range phases {
		ask(pcr11, tool, append(of, "--phase="+after)...)
	}
}

// TestImagesOfDoubt: where loaders may see different things there is no value.
func TestImagesOfDoubt(t *testing.T) {
	good := uki("252")
	for name, c := range map[string]struct {
		b           []byte
		unsupported bool
	}{
		"nothing":           {nil, false},
		"not PE":            {[]byte("MZ"), false},
		"no kernel":         {image(part{".sdmagic", []byte("#### LoaderInfo: systemd-stub 252 ####")}, part{".cmdline", cmdline}), false},
		"section twice":     {uki("252", part{".cmdline", []byte("init=/bin/sh")}), false},
		"other loader":      {image(part{".linux", kernel}), true},
		"version between":   {uki("254.1"), true},
		"version of nobody": {uki("x"), true},
		"cut":               {good[:len(good)-600], false},
		"head alone":        {good[:600], false},
	} {
		_, err := measure.Image(c.b)
		if err == nil || errors.Is(err, measure.ErrUnsupported) != c.unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAuthenticodeLeavesOut: signing an image does not change its digest, and
// everything else does.
func TestAuthenticodeLeavesOut(t *testing.T) {
	b := uki("252")
	want, err := measure.Authenticode(b)
	if err != nil {
		t.Fatal(err)
	}
	const opt = 0x40 + 24
	signed := append(bytes.Clone(b), bytes.Repeat([]byte("s"), 64)...)
	binary.LittleEndian.PutUint32(signed[opt+112+32:], uint32(len(b)))
	binary.LittleEndian.PutUint32(signed[opt+112+36:], 64)
	binary.LittleEndian.PutUint32(signed[opt+64:], 0)
	if got, err := measure.Authenticode(signed); err != nil || got != want {
		t.Errorf("signing changes the digest: %v", err)
	}
	for i := range b {
		if i >= opt+64 && i < opt+68 || i >= opt+112+32 && i < opt+112+40 {
			continue
		}
		if i > 2048 && i%97 != 0 {
			continue
		}
		m := bytes.Clone(b)
		m[i] ^= 1
		if got, err := measure.Authenticode(m); err == nil && got == want {
			t.Errorf("byte %d can be changed", i)
		}
	}
	// Slack after the certificates would be measured by some and not by others.
	binary.LittleEndian.PutUint32(signed[opt+112+36:], 32)
	if _, err := measure.Authenticode(signed); err == nil {
		t.Error("accepted a certificate table in the middle")
	}
}

func FuzzImage(f *testing.F) {
	f.Add(uki("252"))
	f.Add(uki("257", part{".uname", []byte("6.1")}))
	f.Fuzz(func(t *testing.T, in []byte) {
		if u, err := measure.Image(in); err == nil && u.Kernel == nil && len(u.Sections) == 0 {
			t.Error("an image of nothing")
		}
	})
}
