// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// replay is a complete replay of a crypto-agile event log, for those who want
// to see that there is no more to it.
const replay = `
python3 - <<'END'
import hashlib, struct
b = open('03-event-log.bin', 'rb').read()
size, pcr = {4: 20, 11: 32, 12: 48, 13: 64}, {}
at = 32 + struct.unpack_from('<I', b, 28)[0]          # after the header event
while at < len(b):
    index, kind, count = struct.unpack_from('<III', b, at)
    at += 12
    for _ in range(count):
        alg = struct.unpack_from('<H', b, at)[0]
        digest = b[at + 2:at + 2 + size[alg]]
        at += 2 + size[alg]
        if alg == 11 and kind != 3:                   # SHA-256; EV_NO_ACTION extends nothing
            pcr[index] = hashlib.sha256(pcr.get(index, bytes(32)) + digest).digest()
    at += 4 + struct.unpack_from('<I', b, at)[0]
for i in sorted(pcr):
    print('%02x%s' % (i, pcr[i].hex()))
END
# the quoted values, in the same form: PCR in hex, then 32 bytes
xxd -p -c 33 07-pcr-values.bin`

// replayCC is the same for the log of a trust domain.
const replayCC = `
python3 - <<'END'
import hashlib, struct
b = open('20-confidential-computing-event-log.bin', 'rb').read()
size, rtmr = {4: 20, 11: 32, 12: 48, 13: 64}, [bytes(48)] * 4
at = 32 + struct.unpack_from('<I', b, 28)[0]          # after the header event
while at + 12 <= len(b):
    index, kind, count = struct.unpack_from('<III', b, at)
    if index == 0xffffffff:                           # the unused end of the table
        break
    at += 12
    for _ in range(count):
        alg = struct.unpack_from('<H', b, at)[0]
        digest = b[at + 2:at + 2 + size[alg]]
        at += 2 + size[alg]
        if alg == 12 and kind != 3:                   # SHA-384
            rtmr[index - 1] = hashlib.sha384(rtmr[index - 1] + digest).digest()
    at += 4 + struct.unpack_from('<I', b, at)[0]
for value in rtmr:
    print(value.hex())
END
# the quoted values, in a quote of version 4
xxd -p -c 48 -s 376 -l 192 18-tdx-quote.bin`

// replayIMA is the same for the log of the running system.
const replayIMA = `
python3 - <<'END'
import hashlib, struct
b, pcr, at = open('24-ima-log.bin', 'rb').read(), bytes(32), 0
while at < len(b):
    index, digest, n = struct.unpack_from('<I32sI', b, at)
    name, at = b[at + 40:at + 40 + n], at + 40 + n
    m = struct.unpack_from('<I', b, at)[0]
    data, at = b[at + 4:at + 4 + m], at + 4 + m
    if digest == bytes(32):                # a violation extends ones
        digest = b'\xff' * 32
    elif hashlib.sha256(data).digest() != digest:
        print('template hash differs', data)
    pcr = hashlib.sha256(pcr + digest).digest()
print(pcr.hex())
END
# or: evmctl ima_measurement (package ima-evm-utils)
xxd -p -c 33 07-pcr-values.bin | grep '^0a' | cut -c3-`

// bootTopics are the steps about which software started, and what ran since.
var bootTopics = []Topic{
	{
		Name: "boot.log", Title: "The event log replays to the quoted registers", Step: true,
		Short: "The log tells step by step what was measured; hashing its entries again must give the registers that the TPM signed.",
		Text: `
A register is one number, the result of many hashes in a row. It proves, but it does not tell. The event log tells:
an entry for each thing that was measured, with its digest. The log itself is not signed. It does not have to be:
start each register at zero, extend every digest of the log in order, and compare with what the TPM signed. If one
entry were missing, added or out of order, the result would be another number.

One thing this does not prove is the text beside a digest, since only digests are extended. So wherever a decision
rests on what an event says, its data are hashed and compared with its digest; events that no decision rests on are
not read.

On TDX there is a second log (CCEL) for the four RTMRs, checked in the same way with SHA-384.`,
		Expect:   `"received" counts the events. att.log.replay: the log is of another boot, or edited.`,
		ByHand:   "# tpm2_eventlog 03-event-log.bin prints the events of a real machine, and the\n# registers at its end. The rule in full:" + replay,
		Standard: "TCG PC Client Platform Firmware Profile 1.06, Section 10 (event log); UEFI 2.10, Section 38.4 (CCEL)",
		See:      []string{"pcr", "tpm.quote", "boot.secureboot"},
	},
	{
		Name: "boot.ccel", Title: "The trust domain's event log replays to the RTMRs", Step: true,
		Short: "On TDX a second log tells what was extended into the registers of the TDX module; hashing it again must give the registers of the quote.",
		Text: `
The idea is that of the first log: entries with digests, nothing signed, and registers that come out right only if
every entry is there, unchanged and in order. Here the digests are SHA-384, and the registers are the RTMRs 0, 1 and
2 of the quote.

One trap is in the numbering. Firmware calls RTMR 0 measurement register 1, RTMR 1 is 2, and so on; number 0 is
MRTD, which is not extended. Which PCR of a TPM would hold the same event is known as well: PCRs 1 and 7 go to RTMR
0, PCRs 2 to 6 to RTMR 1, PCRs 8 to 15 to RTMR 2.`,
		Expect:   `"received": equal, and the number of events. att.log.replay: the log is of another boot, or edited.`,
		ByHand:   replayCC,
		Standard: "UEFI 2.10, Section 38.4 (confidential computing measurements); Intel TDX Virtual Firmware Design Guide",
		See:      []string{"tdx", "boot.log", "boot.components"},
	},
	{
		Name: "boot.secureboot", Title: "Secure Boot was on", Step: true,
		Short: "The firmware's own event in PCR 7 says that it checked signatures on what it started.",
		Text: `
Secure Boot refuses what is not signed; measured boot records what ran. They are different, and the second does not
need the first: a machine with Secure Boot off still has its loader in PCR 4. With it on, an attacker has to get
something signed first.

A line in a configuration that says "Secure Boot: on" is worth nothing, since the machine writes it. What counts is
the event that the firmware measured into PCR 7 before it started anything: the variable SecureBoot with the value
1, hashed to a digest that leads to the quoted register. There must be exactly one.`,
		Expect: `"received": on, from the firmware's own event. "Not said" or "off" passes only with allow_secure_boot_off, and as a gap.`,
		ByHand: `
# the event named SecureBoot in PCR 7 and its digest; its data are a GUID, two
# lengths, the name in UTF-16, and 01
tpm2_eventlog 03-event-log.bin 2>/dev/null | grep -B 12 -A 4 'UnicodeName: SecureBoot' || true
{ printf '61dfe48bca93d211aa0d00e098032b8c0a000000000000000100000000000000' | xxd -r -p
  printf SecureBoot | iconv -t UTF-16LE; printf '\001'; } | sha256sum`,
		Standard: "TCG PC Client Platform Firmware Profile 1.06, Section 3.3.4.8 (PCR 7); UEFI 2.10, Section 32",
		See:      []string{"pcr-7", "boot.log"},
	},
	{
		Name: "image.measurement", Title: "The software is a known release", Step: true,
		Short: "The chip hashed what the VM started from; that launch measurement must be in your policy's list of releases.",
		Text: `
When a confidential VM is created, the chip itself (not the host) hashes the memory that it starts from. SEV-SNP
calls the result MEASUREMENT, TDX calls it MRTD. Whatever the host changes in it gives another number.

What is in that memory depends on the platform. In the direct profile of SEV-SNP it is firmware with the hashes of
kernel, initrd and command line, so the one number covers them all. Elsewhere it is firmware alone, or firmware and
paravisor; what starts afterwards is measured into registers. On machines without launch measurement (plain TPM,
NitroTPM) the registers are compared alone.

The list of good values comes from your policy. It should come from a build that you, or somebody you believe, has
repeated: a measurement says which software this is, and not what that software does.`,
		Expect: `"received" is the name of a release that you know, and 96 hex digits. att.image.revoked: known, and withdrawn.`,
		ByHand: `
# SEV-SNP: 48 bytes at 144; in TDX quotes of version 4 MRTD is at 184
xxd -p -c 48 -s 144 -l 48 13-sev-snp-report.bin`,
		Standard: "AMD 56860, Section 7.3 (MEASUREMENT); Intel TDX Module 1.5 Base Specification (MRTD)",
		See:      []string{"boot.components", "layers", "policy"},
	},
	{
		Name: "boot.components", Title: "Loader, kernel and initrd are the release's", Step: true,
		Short: "The registers of the boot loader, the kernel and the first file system must equal the values published with the release.",
		Text: `
Final values are compared, not lists of events: PCR 4 (what the firmware started), PCR 9 (what was handed to the
kernel, the initrd above all) and PCR 11 (the parts of a unified kernel image). PCRs 0 and 2 (firmware) too, where
the release gives them. On TDX it is RTMRs 1 and 2.

Values can be computed from the image without running it, so publisher and verifier need not take each other's word
for them.`,
		Expect: `"expected": PCRs 4, 9 and 11 of the release; "received": equal. att.image.kernel names the register that differs.`,
		ByHand: `
# PCR 4, 9 and 11 as quoted; compare with the pcrs of the image in your policy
xxd -p -c 33 07-pcr-values.bin | grep -E '^(04|09|0b)'`,
		Standard: "TCG PC Client Platform Firmware Profile 1.06, Section 3.3.4; systemd-stub(7); Intel TDX Virtual Firmware Design Guide",
		See:      []string{"pcr-4", "pcr-9", "pcr-11", "boot.cmdline", "image.measurement"},
	},
	{
		Name: "boot.cmdline", Title: "The kernel command line is the release's", Step: true,
		Short: "The options given to the kernel are compared byte for byte, because one option can undo everything else.",
		Text: `
init=/bin/sh opens a shell. systemd.verity=0 accepts any root file system. ima=off stops measuring. A kernel that is
correct with a command line that is not is another machine.

So there is no parser here that could disagree with the kernel's: the line, as the boot measured it, must be one of
the lines of the release, byte for byte. It also carries the root hash of dm-verity, from which the kernel checks
every block of the root file system as it is read. That makes this line the proof of the file system, too.`,
		Expect: `"received" is the line itself. A differing root hash is named (att.image.verity), any other difference is att.image.cmdline.`,
		ByHand: `
# the events of PCR 12: one, whose text in UTF-16 is the command line
tpm2_eventlog 03-event-log.bin 2>/dev/null | grep -A 11 'PCRIndex: 12' || true
# the register after that one event, from the line that the report shows:
#   d=$(printf '%s\0' "$line" | iconv -t UTF-16LE | sha256sum | cut -c1-64)
#   { head -c 32 /dev/zero; echo $d | xxd -r -p; } | sha256sum
xxd -p -c 33 07-pcr-values.bin | grep '^0c'`,
		Standard: "systemd-stub(7), PCR 12; Linux, Documentation/admin-guide/kernel-parameters; dm-verity",
		See:      []string{"pcr-12", "boot.components", "layers"},
	},
	{
		Name: "image.released", Title: "Image and model are in a public release", Step: true,
		Short: "What was measured must be in a release that its publisher signed and a public log holds, the same for everybody.",
		Text: `
Your policy says what you let in. That does not tell you whether others are shown the same: an operator could have a
build of its own accepted by a few. So the epoch statement names the releases, each of them is in a public log with a
proof, signed by exactly the identity that you pinned, old enough and seen by the reviewers that you named, and what
this machine measured must be in one of them. The same holds for the weights, with the name they are served under.

This check can only take machines away: the policy has to allow the machine as well. Where nobody gave releases to
compare with, the step is not in the report.`,
		Expect: `"received" names image and release. log.absent: what runs is in no release. att.image.revoked: it is, and was withdrawn.`,
		ByHand: `
# the registers as quoted, to compare with the images in the release
xxd -p -c 33 07-pcr-values.bin | grep -E '^(04|09|0b)'
# the release itself, with the trust that you pinned:
#   sotto-release verify FILE --trust TRUST`,
		Standard: "Sigstore bundle 0.3; in-toto Statement v1; docs/spec/release.md",
		See:      []string{"image.measurement", "boot.components", "boot.cmdline", "config"},
	},
	{
		Name: "boot.acpi", Title: "Tables made by the host are the release's", Step: true,
		Short: "ACPI tables come from the host and contain programs that the kernel runs; they must be measured and known.",
		Text: `
A virtual machine learns what hardware it has from ACPI tables, and in a VM the host writes them. They hold bytecode
(AML) that the kernel runs with its own rights, and they can describe devices whose drivers then read memory. So
tables are a way into a confidential VM that no measurement of kernel and initrd shows.

Where the firmware measures them (on TDX into RTMR 0), their digests are compared with those of the image; where the
image lists none, none may be measured, or the whole register must have a listed value. On platforms that do not
measure them, this is said, and images for these should make the kernel ignore tables from the host.`,
		Expect:   `"received": the tables measured, all listed. att.acpi: one that is not.`,
		ByHand:   "# on a real machine: the events of type EV_PLATFORM_CONFIG_FLAGS\ntpm2_eventlog 03-event-log.bin 2>/dev/null | grep -A 12 EV_PLATFORM_CONFIG_FLAGS || true",
		Standard: "TCG PC Client Platform Firmware Profile 1.06, Section 10.4.1 (event types); UEFI 2.10, Section 38.4",
		See:      []string{"boot.log", "pcr-1", "tdx"},
	},
	{
		Name: "runtime", Title: "What ran since boot is the release's", Step: true,
		Short: "The kernel's IMA log lists what was executed since boot; with rules in the policy each entry gets a verdict, without them this is a gap.",
		Text: `
Everything before this step is about how the machine started. IMA, a part of Linux, goes on from there: it hashes
files before they are executed, mapped or loaded as kernel modules (which files, is the IMA policy's decision),
appends an entry to a list, and extends PCR 10.

If the evidence has the list, three things are checked. It replays to the quoted PCR 10. Its first entry,
boot_aggregate, ties it to this boot. And every entry, each by itself, is on the image's list of files, or is
refused as unknown: a log in which some entries are shown without a verdict proves nothing about those. Violations
(a file that was written while being measured) extend ones and count as unknown.

What IMA does not see: what a program does after it was started, code that an interpreter reads as data unless the
IMA policy covers it, and anything that its policy leaves out. Nor does a list say that SELinux or EVM is enforcing.

If there is no list, or the image has no rules for it, PCR 10 is quoted and shown, and compared with nothing. That
is the gap "run time".`,
		Expect:   `"received" counts entries, all allowed. att.ima.entry names the first unknown one.`,
		ByHand:   replayIMA,
		Standard: "Linux, Documentation/security/IMA-templates and ABI/testing/ima_policy; PCR 10",
		See:      []string{"ima", "boot_aggregate", "pcr-10"},
	},
	{
		Name: "ima", Title: "IMA: Linux's integrity measurement architecture",
		Short: "IMA is the part of Linux that hashes files before they are used and extends PCR 10 with what it finds.",
		Text: `
An entry of the log has five parts: the register (10), the hash of the template data, the template's name, and the
data, which for ima-ng are the file's digest and its path, and for ima-sig a signature besides. The template hash is
what is extended. A verifier computes it again from the data: otherwise a friendly path could stand beside the
digest of something else.

The log has one list per bank of the TPM. SHA-256 is required here: the older list, in which template hashes are
SHA-1, says less than it seems to, even where file digests in it are SHA-256.

IMA can also enforce (appraisal): refuse files without a valid signature. EVM protects the attributes that such
signatures are stored in. Whether they enforce is decided by the kernel's command line and by policies loaded early;
that is visible in the command line and, for a loaded policy file, in the log, and it is worth looking for.`,
		Expect: `The step runtime. In the log: boot_aggregate first, then each executed file.`,
		ByHand: `
# on a Linux machine with IMA, as root; the first lines are boot_aggregate and init
# head -3 /sys/kernel/security/ima/ascii_runtime_measurements_sha256
xxd -p -c 33 07-pcr-values.bin | grep '^0a'`,
		Standard: "Linux, Documentation/security/IMA-templates",
		See:      []string{"runtime", "boot_aggregate", "pcr-10"},
	},
	{
		Name: "boot_aggregate", Title: "boot_aggregate: the first entry of the IMA log",
		Short: "boot_aggregate is a hash over the boot registers, which ties the IMA log to this boot; over PCRs 0 to 9 with SHA-256, and 0 to 7 with SHA-1.",
		Text: `
When IMA starts it reads the registers that the boot has filled and hashes their values, one after the other, into
its first entry. A log that was taken from another boot has another boot_aggregate.

Which registers go in is often told wrong, because it changed. In the SHA-1 bank they are PCRs 0 to 7. In every
other bank, since Linux 5.8, they are PCRs 0 to 9: 8 and 9, where a boot loader measures command line and kernel,
were added, and SHA-1 was left as it was so that old logs keep one reading. In neither case is PCR 10 part of it.

  SHA-256 bank  SHA-256(PCR 0, PCR 1, ... PCR 9), 320 bytes in
  SHA-1 bank    SHA-1(PCR 0, PCR 1, ... PCR 7), 160 bytes in; refused here

The quote covers 0, 2, 4, 7 and 9 of them. Those that it does not cover (1, 3, 5, 6 and 8) come from replaying the
event log, and boot_aggregate confirms them in turn: it is in PCR 10, which the quote does cover.`,
		Expect: `att.ima.aggregate: the log is of another boot.`,
		ByHand: `
# where all ten registers are at hand, on the machine itself:
# tpm2_pcrread -o pcrs.bin sha256:0,1,2,3,4,5,6,7,8,9
# sha256sum pcrs.bin
# head -1 /sys/kernel/security/ima/ascii_runtime_measurements_sha256`,
		Standard: "Linux, security/integrity/ima/ima_crypto.c (ima_calc_boot_aggregate)",
		See:      []string{"runtime", "ima", "pcr"},
	},
}
