// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/attestation/evidence"
)

// A register is one PCR of a PC client platform. What it holds is assigned by
// the TCG for 0 to 7 and 16 to 23; 8 to 15 are left to the operating system, and
// the Linux userspace API group keeps a list of who uses which.
type register struct{ role, text, here string }

const (
	notQuoted = "Not quoted: nothing in a decision rests on it."
	firmware  = "TCG PC Client Platform Firmware Profile 1.06, Section 3.3.4"
	linux     = "UAPI Group, Linux TPM PCR Registry"
	dynamic   = "TCG PC Client Platform TPM Profile, PCR attributes"
)

var registers = [24]register{
	0: {"firmware code",
		"The static root of trust for measurement and the platform's firmware: its version, its volumes, drivers that came with it. In a virtual machine, the virtual firmware (OVMF).",
		"Sealed to and quoted. Compared where the image gives a value; in the direct profile the launch measurement covers the same code."},
	1: {"firmware configuration",
		"Data about the platform: settings, SMBIOS tables, CPU microcode, the boot order and the boot entries. It differs from machine to machine, and tables that the host made may be among it.",
		notQuoted + " Where IMA's boot_aggregate is checked its value comes from the event log."},
	2: {"code from elsewhere: option ROMs, UEFI drivers",
		"Code that runs in the firmware's time and was not delivered with it: option ROMs of adapters, drivers loaded from disk. In a virtual machine usually none, so that only a separator is in it.",
		"Sealed to and quoted. Compared where the image gives a value."},
	3: {"configuration and data of what is in PCR 2",
		"Settings of option ROMs and UEFI drivers. Not the boot loader, as is sometimes written: that is PCR 4.",
		notQuoted},
	4: {"boot manager code and boot attempts",
		"Each program that the firmware started, as hash of its PE image: shim, GRUB, systemd-boot, or a unified kernel image, and the kernel inside it where the stub starts that through the firmware.",
		"Sealed to, quoted and compared with the release. Another loader or kernel shows here."},
	5: {"boot manager configuration, and the partition table",
		"Data that boot manager code uses, and the GPT. It also gets an event when the firmware hands over (ExitBootServices).",
		notQuoted},
	6: {"the platform manufacturer's own",
		"Whatever the manufacturer of the host platform decides; often only a separator. Not the initrd, as is sometimes written: on Linux that is PCR 9.",
		notQuoted},
	7: {"Secure Boot policy",
		"Whether Secure Boot is on, the keys and lists it uses (PK, KEK, db, dbx), and which of them vouched for each program that was started. Shim adds its own lists.",
		"Sealed to and quoted. The event SecureBoot is read from it; see the step boot.secureboot."},
	8: {"GRUB: commands and command lines",
		"GRUB measures each command that it runs, and the kernel command line, as text. Without GRUB it stays zero.",
		notQuoted + " Images here start a unified kernel image without GRUB."},
	9: {"files that the loader read; what is handed to the kernel",
		"GRUB measures every file that it reads. Linux's EFI stub measures each initrd here, and since Linux 5.18 the load options as well.",
		"Sealed to, quoted and compared with the release. Another initrd shows here."},
	10: {"IMA",
		"Linux's integrity measurement architecture extends it for every file that its policy names, as long as the machine runs. The first entry is boot_aggregate.",
		"Quoted, and not sealed to, because it grows. With an IMA log it is replayed and each entry judged; without one it is a named gap."},
	11: {"unified kernel image: its sections, and boot phases",
		"systemd-stub measures each section of the image (kernel, command line, initrd, release file), by name and by content. systemd-pcrphase then extends a word for each phase that the boot reaches.",
		"Sealed to, quoted and compared with the release."},
	12: {"kernel command line and other late configuration",
		"systemd-stub measures a command line given from outside the image, credentials, and device tree additions.",
		"Sealed to and quoted. Exactly one event is allowed, the command line, compared byte for byte."},
	13: {"system extensions; here: the node's configuration",
		"systemd-stub measures system extension images that it hands to the initrd. Images here have none, so the register is free for the node's configuration.",
		"Sealed to and quoted. The node extends the hash of its configuration exactly once; the step config computes the value."},
	14: {"shim: machine owner keys",
		"Shim measures the list of keys that the machine's owner enrolled (MOK).",
		notQuoted + " Images here do not use shim."},
	15: {"system identity, file systems and volume keys",
		"systemd measures the root volume's key, the machine id and properties of file systems.",
		notQuoted},
	16: {"debug", "For tests. It can be reset by any software at any time, so its value proves nothing.",
		"Not quoted. A quote over it in place of another is refused (att.pcr.set, att.pcr.select)."},
	17: {"dynamic launch: code that started it", "Reset only by a dynamic launch (Intel TXT, AMD SKINIT), which measures the launched code from a known state in the middle of running. Until then it reads all ones.", notQuoted},
	18: {"dynamic launch: the launched environment", "Continues PCR 17 with the environment that was launched and its policy.", notQuoted},
	19: {"dynamic launch: trusted operating system", "For the operating system that a dynamic launch started.", notQuoted},
	20: {"dynamic launch: trusted operating system", "A second register for the operating system that a dynamic launch started.", notQuoted},
	21: {"dynamic launch: trusted operating system", "A third one; its use is defined by that operating system.", notQuoted},
	22: {"dynamic launch: trusted operating system", "A fourth one; its use is defined by that operating system.", notQuoted},
	23: {"application support", "For applications. It can be reset by software, so what it holds is whatever was extended last since.",
		"Not quoted. Values of it passed off as another register's are refused (att.pcr.select)."},
}

// pcrTopics makes the overview and a topic for each register.
func pcrTopics() []Topic {
	var table strings.Builder
	for i, r := range registers {
		use := "-"
		switch {
		case slices.Contains(evidence.SealPCRs(), i):
			use = "seal, quote"
		case slices.Contains(evidence.QuotePCRs(), i):
			use = "quote"
		}
		fmt.Fprintf(&table, "  %2d  %-11s  %s\n", i, use, r.role)
	}
	out := []Topic{{
		Name: "pcr", Title: "PCRs: registers that can only be extended",
		Short: "A PCR starts at a known value and changes only by new = SHA-256(old, digest), so its value stands for everything that was ever put in, in order.",
		Text: `
Nobody writes a value into a PCR; one extends it. Software that is about to start something hashes it and extends the hash,
before control passes on. What was started later cannot take the entry back, because the way to a smaller history would be to
invert SHA-256. Only a reset of the machine starts over.

Which register gets what is a convention: the TCG assigns 0 to 7 and 16 to 23 for PC clients; 8 to 15 belong to the
operating system. Even numbers below 8 are mostly code, odd ones its configuration. The seal PCRs of this table do not change
after boot, and the request key is bound to them; the quote PCRs are those and 10, and every quote must cover exactly
these.

` + strings.TrimRight(table.String(), "\n") + `

Registers come in banks, one for each hash. Only the SHA-256 bank is accepted here.`,
		Expect: `Two values are telling by themselves. All zeros: nothing was ever measured into it. All ones (17 to 22): no dynamic launch took place.`,
		ByHand: `
# index in hex, then the value, as quoted
xxd -p -c 33 07-pcr-values.bin
# one extend: SHA-256 of the old value followed by the digest; here of the digest
# that every separator has, from zero. PCRs 2 and 6 often hold exactly this
{ head -c 32 /dev/zero; head -c 4 /dev/zero | openssl dgst -sha256 -binary; } | sha256sum`,
		Standard: "TPM 2.0 Library, Part 1, Section 17; " + firmware + "; " + linux,
		See:      []string{"tpm.quote", "boot.log", "pcr-0", "pcr-4", "pcr-7", "pcr-9", "pcr-10", "pcr-11", "pcr-12", "pcr-13"},
	}}
	for i, r := range registers {
		t := Topic{Name: fmt.Sprintf("pcr-%d", i), Title: fmt.Sprintf("PCR %d: %s", i, r.role),
			Short: fmt.Sprintf("PCR %d is for %s.", i, r.role), Text: r.text + "\n\nHere: " + lower(r.here), See: []string{"pcr", "tpm.quote"}}
		switch {
		case i < 8:
			t.Standard = firmware
		case i < 16:
			t.Standard = linux
		default:
			t.Standard = dynamic
		}
		if slices.Contains(evidence.QuotePCRs(), i) {
			t.Expect = fmt.Sprintf("The line of 07-pcr-values.bin that begins with %02x.", i)
			t.ByHand = fmt.Sprintf("xxd -p -c 33 07-pcr-values.bin | grep '^%02x'", i)
		}
		out = append(out, t)
	}
	return out
}

func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }
