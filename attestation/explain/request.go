// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// requestTopics are the steps that compare what was asked for with what came,
// before any signature is looked at, and those about keys and terms.
var requestTopics = []Topic{
	{
		Name: "policy", Title: "The policy says what to require", Step: true,
		Short: "Your policy lists what a machine must show; a field that was left out refuses, it does not skip.",
		Text: `
The list of what to check has to come from you. If the evidence chose, a machine would simply leave out what speaks
against it. So the policy names products, firmware floors, software images, command lines and ages, and evidence
only answers.

An empty policy accepts no machine. A forgotten field makes it stricter, never looser; whatever is waived is spelled
out in a field that begins with allow_. Four profiles are built in (strict, business, self-hosted, lab). A file of
yours may tighten one; nothing that a server sends loosens it.`,
		Expect:   `"received" counts images and platforms: as many as you wrote. policy_sha256 in the JSON report tells which policy it was.`,
		ByHand:   "# your own file: what is listed here is what was asked for\n# jq . policy.json",
		Standard: "docs/spec/attestation.md, Section 5, step 1; docs/trust-file.md",
		See:      []string{"gaps", "verdicts", "platform"},
	},
	{
		Name: "platform", Title: "What kind of machine this is", Step: true,
		Short: "The pieces of evidence tell the platform, the policy says whether that kind of machine will do.",
		Text: `
Platforms differ in what they can prove. What tells them apart is which TPM they have, and whether the chip's launch
measurement covers it.

  snp         AMD SEV-SNP. Kernel, initrd and command line are in the launch
              measurement. The TPM only holds keys.
  snp-svsm    AMD SEV-SNP. The vTPM runs inside the VM, at a privilege level
              above the operating system (SVSM), and is measured at launch.
  azure-snp   Azure on SEV-SNP, and
  azure-tdx   on TDX: the vTPM is in the paravisor, which is measured at launch.
  google-snp  Google Cloud on SEV-SNP, and
  google-tdx  on TDX: the vTPM is Google's, outside the VM. It holds keys and
              says nothing that Google's host could not make it say.
  tdx         Intel TDX. Kernel, initrd and command line are in the registers
              of the TDX module (RTMRs).
  tpm         a TPM 2.0 and no confidential VM: whoever runs the machine can
              read its memory. For people who run their own.
  nitro-tpm   AWS EC2 with NitroTPM: AWS's hypervisor vouches.

Leaving a piece out does not help a machine. Evidence without its SVSM manifest is evidence of plain snp, and is
held to every check of that platform.`,
		Expect:   `"received" is a platform that your policy lists. The table of layers in the report says what this one covers.`,
		ByHand:   "ls [0-9][0-9]-*.bin",
		Standard: "docs/platforms.md; docs/spec/attestation.md, Section 2",
		See:      []string{"tier", "layers", "hcl.binding", "svsm.binding", "nitro.genuine"},
	},
	{
		Name: "evidence.pieces", Title: "Every required piece is there", Step: true,
		Short: "Evidence must consist of exactly the pieces that the platform needs, none missing and none strange.",
		Text: `
Missing is different from wrong, and both are different from fine. A verifier that treats a missing revocation list
as "no revocations" is told so by an attacker who simply leaves it out. Here a missing piece is refused by its own
code, att.absent, and nothing further is judged.

Sizes are checked before anything is hashed or parsed, so that a bundle of a gigabyte costs its sender more than
you.`,
		Expect:   `"received" counts the pieces. The table of kinds is in the specification.`,
		ByHand:   "ls -l [0-9][0-9]-*.bin\n# the container itself: magic, version 1, count, then kind and length of each\nxxd -l 32 00-epoch-evidence.bin",
		Standard: "docs/spec/attestation.md, Section 2",
		See:      []string{"platform", "evidence.digest"},
	},
	{
		Name: "evidence.age", Title: "The evidence is recent", Step: true,
		Short: "Evidence is made over a checkpoint of the log with a time that others signed, and that time must lie within the policy's limits.",
		Text: `
A machine's own clock proves nothing about age, because whoever runs the machine sets it. What does is a value that
could not be known earlier: the checkpoint that the evidence was made over. If that was signed at noon, the evidence
is younger than noon. How much younger is unknown, so ages in a report are upper bounds.

There are two limits. Epoch evidence, which vouches for the keys, may be hours old. Freshness evidence, a small
quote over a new checkpoint, is minutes old. A checkpoint from the future means that your own clock is wrong, and is
refused as such.`,
		Expect:   `"received" gives both ages; each is below the limit in "expected".`,
		ByHand:   "date -u\n# the TPM's own clock, in milliseconds since it was made, and its counters of\n# resets and restarts (no wall time: compare two quotes with each other)\ntpm2_print -t TPMS_ATTEST 05-quote.bin",
		Standard: "docs/spec/attestation.md, Section 6; RFC 9334, Section 10",
		See:      []string{"nonce", "freshness"},
	},
	{
		Name: "keys.statement", Title: "The keys are those of the node record", Step: true,
		Short: "The key that you will encrypt to is the one in the public record, and the one that the hardware vouches for.",
		Text: `
The key statement is 1450 bytes that the machine's software writes: epoch, node id, request key, node key, and
hashes of the configuration, the event log, the checkpoint and the GPU evidence. Everything after this step is about
tying these bytes to hardware. This step ties them to the other side: to the record in the public log that told your
program about this machine.

Comparing both ends matters. If only the log named the key, an operator could list a key that no hardware holds. If
only the hardware did, you might be shown a genuine machine that is not the one everybody else sees.`,
		Expect: `"received" repeats the epoch and says that the keys are equal. A difference is refused by a code that names which: att.rek.name, att.key, att.node, att.epoch, att.nonce.`,
		ByHand: `
xxd -p -s 1 -l 8 01-key-statement.bin                # epoch
xxd -p -c 32 -s 9 -l 32 01-key-statement.bin         # node id
tail -c +42 01-key-statement.bin | head -c 1249 | sha256sum   # request key
xxd -p -c 32 -s 1290 -l 32 01-key-statement.bin      # node key (Ed25519)
xxd -p -c 32 -s 1322 -l 32 01-key-statement.bin      # configuration, equals
sha256sum 02-measured-configuration.bin
xxd -p -c 32 -s 1354 -l 32 01-key-statement.bin      # event log, equals
sha256sum 03-event-log.bin        # with a CCEL: the SHA-256 of both logs' SHA-256
xxd -p -c 32 -s 1386 -l 32 01-key-statement.bin      # checkpoint
xxd -p -c 32 -s 1418 -l 32 01-key-statement.bin      # GPU digest, or zeros`,
		Standard: "docs/spec/attestation.md, Section 3",
		See:      []string{"chain", "rek", "evidence.digest"},
	},
	{
		Name: "evidence.digest", Title: "This is the evidence that the log names", Step: true,
		Short: "The SHA-256 of the evidence stands in the node's public record, so everybody judges the same bytes.",
		Text: `
Without this a machine could keep one set of evidence for auditors and another for you. Both might be genuine, and
only one might be of the machine that you talk to. The digest in the log makes them one.

It also makes old reports checkable. Keep the file, and anybody with a copy of the log can later confirm that these
were the bytes.`,
		Expect:   `"received" is the digest; the same 64 digits stand in the node record.`,
		ByHand:   "sha256sum 00-epoch-evidence.bin",
		Standard: "docs/spec/attestation.md, Section 2",
		See:      []string{"keys.statement", "evidence.pieces"},
	},
	{
		Name: "freshness", Title: "The machine is still in that state", Step: true,
		Short: "A second, minutes-old quote by the same key shows that the machine has neither restarted nor changed since its epoch evidence.",
		Text: `
Epoch evidence is made once an hour, because making it involves the slow parts: the chip's report, the certification
of keys. The machine could have been restarted since. So every few minutes the TPM signs its registers once more,
over the latest checkpoint of the log (or over a challenge of yours, if you asked for proof now).

Three things are compared with the first quote: the counters of resets and restarts, which must be equal; the TPM's
clock, which must not have gone back; and the seal PCRs, which must be the same values. PCR 10 may have grown,
because it collects what was started since.`,
		Expect: `"expected" is the start of the qualifier computed from the new checkpoint; "received" says equal, same boot, same seal PCRs. Its age is the smallest in the report.`,
		ByHand: `
# what it must be over, from the checkpoint note that the log publishes:
#   { printf 'sotto freshness v1\000'; openssl dgst -sha256 -binary 00-epoch-evidence.bin
#     openssl dgst -sha256 -binary checkpoint.txt; } | sha256sum
# and what it is over: extraData
q=$(tpm2_print -t TPMS_ATTEST 32-freshness-quote.bin | sed -n 's/^extraData: //p')
echo "$q"
tpm2_print -t TPMT_PUBLIC -f pem 04-attestation-key.bin > ak.pem
tpm2_checkquote -u ak.pem -m 32-freshness-quote.bin \
  -s 33-freshness-quote-signature.bin -g sha256 -q "$q"
# resetCount and restartCount are the same in both
tpm2_print -t TPMS_ATTEST 05-quote.bin
tpm2_print -t TPMS_ATTEST 32-freshness-quote.bin
# lines that differ: PCR 10 (0a) alone, if any
xxd -p -c 33 07-pcr-values.bin > before
xxd -p -c 33 34-freshness-pcr-values.bin > after
diff before after || true`,
		Standard: "docs/spec/attestation.md, Section 6; TPM 2.0 Library, Part 2, Section 10.11 (TPMS_CLOCK_INFO)",
		See:      []string{"nonce", "evidence.age", "tpm.quote"},
	},
	{
		Name: "config", Title: "The measured configuration is as listed", Step: true,
		Short: "The node's settings were hashed into PCR 13 before it read them, so the settings it shows are those it runs with.",
		Text: `
Good software with bad settings is bad software. A node therefore extends the hash of its configuration into PCR 13
exactly once, before it acts on a single line of it and before it makes a key. The keys are sealed to PCR 13 as
well: the same software with other settings does not get to use them.

The configuration is public JSON in one fixed spelling. It names the model and the SHA-256 of its weights, and
whether requests are paid for; these are compared with what the log lists for this node. Other settings are shown
and not judged.

What this does not show: that the engine loaded weights with that hash. The measured software is the one that says
so, and how far that software can be believed is the step image.measurement.`,
		Expect: `"expected" is the model you asked for; "received" the model that the node was told to serve.`,
		ByHand: `
jq . 02-measured-configuration.bin
# PCR 13 after one extend: SHA-256 of 32 zero bytes and the configuration's hash
{ head -c 32 /dev/zero; openssl dgst -sha256 -binary 02-measured-configuration.bin; } |
  sha256sum
xxd -p -c 33 07-pcr-values.bin | grep '^0d' | cut -c3-`,
		Standard: "docs/spec/attestation.md, Section 4",
		See:      []string{"pcr-13", "keys.statement", "image.measurement"},
	},
	{
		Name: "payment", Title: "One request runs on one node", Step: true,
		Short: "With tickets a request runs once, on one node; without them nothing in cryptography stops a router from running it on several.",
		Text: `
A request is sealed to a few candidate nodes, so that the operator does not choose whom you are served by. Each of
them could open it. A ticket, signed by the bank for one node and one attempt, is what keeps the others from running
it.

Where the configuration says payment none there are no tickets. Each node still refuses to run the same request
twice, but several nodes might run it once each. That is a named gap, not a failure.`,
		Expect:   `"received": payment by coins. With payment none the gap "fan-out" is listed.`,
		ByHand:   "jq -r .payment 02-measured-configuration.bin",
		Standard: "docs/spec/attestation.md, Section 4",
		See:      []string{"gaps", "config"},
	},
}
