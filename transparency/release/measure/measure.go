// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package measure computes from files what a machine that boots them will attest,
// so that expected values need not be copied from a machine: PCR 4 and 11 from a
// unified kernel image, and SEV-SNP's MEASUREMENT from an OVMF file and what
// QEMU starts with it.
//
// It is pure: files in, values out; it has been compared with what others
// publish, and boots nothing. What it cannot know it leaves out and says so: PCR 0
// and 2, TDX's MRTD, an SVSM, the kernel's own events (PCR 9, RTMR 2), and
// everything after the kernel starts.
//
// Sources: systemd-stub(7); systemd, src/boot/uki.c and src/fundamental/uki.c,
// v252 and v257; Windows Authenticode Portable Executable Signature Format; TCG
// PC Client Platform Firmware Profile 1.06, Sections 2.3.4.5 and 3.3.4.5; AMD
// 56860 (SEV-SNP ABI), SNP_LAUNCH_UPDATE; AMD APM volume 2, Appendix B; edk2,
// OvmfPkg/ResetVector; QEMU, target/i386/sev.c; Linux, arch/x86/kvm/svm/sev.c.
package measure

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/attestation"
)

// MaxImage is the largest image that is read.
const MaxImage = 1 << 30

// sections in the order in which systemd-stub measures them into PCR 11,
// whatever their order in the file. .pcrsig is not: it holds signatures of this
// very value. Which there are grew with the stub's version.
var (
	sections252 = []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"}
	sections255 = []string{".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile", ".dtbauto", ".hwids", ".efifw"}
)

// ErrUnsupported is an image whose loader is not known here.
var ErrUnsupported = unsupported("image: unsupported loader")

type unsupported string

func (e unsupported) Error() string { return string(e) }

// measured says which sections the stub in an image measures: it carries its
// version in its own text.
func measured(b []byte) (stub string, list []string, err error) {
	const mark = "#### LoaderInfo: systemd-stub "
	i := bytes.Index(b, []byte(mark))
	if i < 0 {
		return "", nil, fmt.Errorf("%w: not systemd-stub, or without its version", ErrUnsupported)
	}
	text, _, _ := strings.Cut(string(b[i+len(mark):min(len(b), i+len(mark)+64)]), " ")
	number, _, _ := strings.Cut(text, ".")
	version, err := strconv.Atoi(strings.TrimRight(number, "~abcdefghijklmnopqrstuvwxyz-"))
	switch {
	case err == nil && version == 252:
		return text, sections252, nil
	case err == nil && version >= 255 && version < 300:
		return text, sections255, nil
	}
	return "", nil, fmt.Errorf("%w: systemd-stub %q; which sections it measures is known of 252 and from 255 on", ErrUnsupported, text)
}

// A UKI is what can be computed from a unified kernel image.
type UKI struct {
	Stub     string   `json:"systemd_stub"` // its version
	Sections []string `json:"sections"`     // that are measured, in order
	// Authenticode is the SHA-256 by which firmware measures the image, and
	// Kernel that of the kernel in it, which is an image of its own.
	Authenticode attestation.Digest  `json:"authenticode_sha256"`
	Kernel       *attestation.Digest `json:"kernel_authenticode_sha256,omitempty"`
	// PCR4 is what firmware leaves that starts the image from a boot option and
	// nothing else before it; with the kernel's digest too where the stub has the
	// firmware load the kernel.
	PCR4           attestation.Digest  `json:"pcr_4"`
	PCR4WithKernel *attestation.Digest `json:"pcr_4_with_kernel,omitempty"`
	PCR11          attestation.Digest  `json:"pcr_11"` // when the kernel starts, before any phase of systemd
	CommandLine    string              `json:"command_line,omitempty"`
	VerityRoot     string              `json:"verity_root,omitempty"`
	Missing        []string            `json:"not_computed"`
}

// missing is what an image alone does not say.
var missing = []string{
	"SEV-SNP MEASUREMENT: of the firmware and the machine's shape too; launch-measure computes it",
	"PCR 0 and 2, TDX MRTD and RTMR 0: of the firmware",
	"PCR 9 and RTMR 2: the kernel's own events, which differ between kernel versions; take them from one boot of this image",
}

// Image measures a unified kernel image.
func Image(b []byte) (*UKI, error) {
	if len(b) > MaxImage {
		return nil, fmt.Errorf("image of %d bytes", len(b))
	}
	digest, err := Authenticode(b)
	if err != nil {
		return nil, err
	}
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("image: %v", err)
	}
	stub, list, err := measured(b)
	if err != nil {
		return nil, err
	}
	u := &UKI{Stub: stub, Authenticode: digest, Missing: missing}
	var pcr11 register
	for _, name := range list {
		data, err := section(f, name)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		u.Sections = append(u.Sections, name)
		pcr11.extend(append([]byte(name), 0))
		pcr11.extend(data)
		switch name {
		case ".linux":
			if k, err := Authenticode(data); err == nil {
				u.Kernel = (*attestation.Digest)(&k)
			}
		case ".cmdline":
			u.CommandLine = strings.TrimRight(string(data), "\x00\n")
		}
	}
	if !slices.Contains(u.Sections, ".linux") {
		return nil, errors.New("image: no kernel in it: not a unified kernel image")
	}
	u.PCR11 = attestation.Digest(pcr11)
	u.VerityRoot, _ = attestation.VerityRoot(u.CommandLine)
	u.boot()
	return u, nil
}

// phases are what systemd extends PCR 11 with on its way up (systemd-pcrphase), in
// order.
var phases = []string{"enter-initrd", "leave-initrd", "sysinit", "ready"}

// Phase says after which phases of systemd PCR 11 has a value: "" before any,
// "enter-initrd:leave-initrd" after two. ok is false if after none of them.
func (u *UKI) Phase(pcr11 attestation.Digest) (after string, ok bool) {
	r := register(u.PCR11)
	for i := 0; ; i++ {
		if attestation.Digest(r) == pcr11 {
			return strings.Join(phases[:i], ":"), true
		}
		if i == len(phases) {
			return "", false
		}
		r.extend([]byte(phases[i]))
	}
}

// boot computes what firmware and stub measure of an image that is known.
func (u *UKI) boot() {
	var pcr4 register
	pcr4.extend([]byte("Calling EFI Application from Boot Option"))
	pcr4.extend([]byte{0, 0, 0, 0}) // separator
	pcr4.digest(u.Authenticode)
	u.PCR4 = attestation.Digest(pcr4)
	if u.Kernel != nil {
		pcr4.digest(*u.Kernel)
		d := attestation.Digest(pcr4)
		u.PCR4WithKernel = &d
	}
}

// section returns what of a section is in memory: its virtual size, which may be
// shorter than what is in the file.
func section(f *pe.File, name string) ([]byte, error) {
	var out []byte
	for _, s := range f.Sections {
		if s.Name != name {
			continue
		}
		if out != nil {
			return nil, fmt.Errorf("image: section %s twice: loaders differ in which they take", name)
		}
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("image: section %s: %v", name, err)
		}
		if int64(s.VirtualSize) > int64(len(data)) {
			return nil, fmt.Errorf("image: section %s is longer in memory than in the file", name)
		}
		if out = data[:s.VirtualSize]; len(out) == 0 {
			return nil, fmt.Errorf("image: section %s is empty", name)
		}
	}
	return out, nil
}

// A register is a PCR.
type register [32]byte

func (r *register) extend(data []byte) { r.digest(sha256.Sum256(data)) }

func (r *register) digest(d [32]byte) { *r = sha256.Sum256(append(r[:], d[:]...)) }
