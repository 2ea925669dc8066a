// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// wordTopics are the words that every report uses.
var wordTopics = []Topic{
	{
		Name: "verdicts", Title: "The four verdicts",
		Short: "A step, and a whole report, is verified, verified with named gaps, failed, or not checked.",
		Text: `
Two states would not do. "Secure" and "insecure" hide the two cases that matter most in practice: what was looked at
and found wanting, and what was not looked at. So there are four.

  verified                  the evidence says what was expected
  verified with named gaps  as above, and the report names what is left open
  failed                    something differs; nothing was sent to this machine
  not checked               the program did not get that far, or was not asked

The verdict on the whole is never better than that on its weakest step. A step after a failed one is missing from
the report, because later steps rely on earlier ones: what a forged quote says about the kernel is not worth
printing.`,
		Expect:   `The first line. "Verified with named gaps" is the usual answer today; read the list of gaps before you decide whether it is good enough for what you are about to send.`,
		Standard: "docs/spec/attestation.md, Section 7; docs/spec/refusal-codes.md",
		See:      []string{"gaps", "vouchers", "tier"},
	},
	{
		Name: "vouchers", Title: "Attested, logged, stated",
		Short: "Each line of a report names on whose word it rests.",
		Text: `
  attested  hardware signed it, and the signature leads to a vendor's root
  logged    it stands in the public log, where everybody is shown the same
  stated    your own policy, or the operator, merely says so

These are different strengths and different people. An attested line asks you to believe the chip's vendor. A logged
line asks you to believe that the log's signers and witnesses do not all work together. A stated line asks you to
believe whoever said it; if that is your own policy, you believe yourself.`,
		Expect:   `The word beside "vouched" in each step. A line that matters to you should not be "stated" by somebody whose interests differ from yours.`,
		Standard: "RFC 9334 (RATS), Section 7",
		See:      []string{"verdicts", "chain"},
	},
	{
		Name: "gaps", Title: "Named gaps",
		Short: "A gap is something a report leaves open and says so.",
		Text: `
A gap is not a failure: nothing was found wrong. It is a question that was not asked, or that the hardware has no
answer to. Gaps come from three sides. The policy waived something by name, such as a machine without a GPU report.
The platform does not say it: the TPM of a cloud's host says nothing about software that the launch measurement does
not. Or no version of this program checks it yet.

A report with gaps lists them at the top, and again at the step where they arise. A gap that you did not expect is a
reason to stop and read that step.`,
		Expect:   `The list under the verdict. To have a gap refused rather than named, remove its waiver (each begins with allow_) from your policy file.`,
		Standard: "docs/spec/attestation.md, Section 7",
		See:      []string{"verdicts", "tier", "policy"},
	},
	{
		Name: "tier", Title: "The tier reached",
		Short: "Tiers count the attackers that the checks of this report keep out: 1, 2 or 3.",
		Text: `
  tier 1  somebody remote who owns the operator's servers, keys and accounts,
          but not the inside of the machine: keys are held by hardware
  tier 2  that, and some insiders of the operator: a confidential VM runs
          software that is measured and known, on firmware that is current
          and not revoked, and the host of the machine is shut out
  tier 3  that, and somebody with hands on the machine, or with the chip
          vendor's signing key

Tier 3 is in the list so that it is not forgotten. No platform of this version reaches it: interposers on the memory
bus (Battering RAM, WireTap, TEE.fail) are published and cheap, and vendors declare physical attack on memory out of
scope. Against them Sotto has arithmetic in place of a check. A request is sealed to a few machines that your own
client draws by chance, so a broken machine reads what it happens to be given, without a name.

The tier is computed from the steps. Four things keep a machine at tier 1: no confidential VM of its own hardware, a
kernel that nothing signed by hardware covers, no attested GPU (unless the release has no driver for one), and firmware
that is behind on updates and accepted until a date only. The report says which.`,
		Expect:   `The number and the reason after it, which says what keeps the machine from the next tier.`,
		Standard: "docs/threat-model.md, Three tiers of attacker",
		See:      []string{"gaps", "platform", "tcb"},
	},
	{
		Name: "simulated", Title: "SIMULATED",
		Short: "No hardware stands behind a report that says SIMULATED: it shows how things work and proves nothing about a machine.",
		Text: `
The laboratory has no confidential hardware. It makes its own vendor, whose certificates say SIMULATED in their
names, and runs the same verifier with that vendor as its root. Everything else is as it would be: the same formats,
the same steps, the same refusals.

Two things keep the lab and the world apart. A verifier with real roots refuses evidence that says SIMULATED, and
one with simulated roots refuses evidence that does not (att.simulated, both ways). And the program that users
install holds no simulated roots.`,
		Expect:   `A banner at the top of each page and the word in the first line of each text. If you see it outside a lab, somebody showed you a demonstration.`,
		Standard: "docs/spec/attestation.md, Section 5",
		See:      []string{"chain", "policy"},
	},
	{
		Name: "nonce", Title: "Nonce: what makes evidence fresh",
		Short: "A nonce is a number that did not exist before the question was asked, so an answer that contains it cannot be older than the question.",
		Text: `
Think of a photograph with today's newspaper in it. The paper proves that the picture is not from last year. A nonce
is that newspaper: the machine has to sign it together with its state, so a signature made earlier does not fit.

Where it comes from. Your program never takes it from the machine it is about to judge: whoever sends the question
along with the answer could have written both. There are two kinds here. In the ordinary case it is the SHA-256 of a
signed, timed checkpoint of the public log. It could not be known before that checkpoint was signed, it serves
everybody, and it tells the machine nothing about who is asking. If you want proof now, sotto verify node ID draws
32 random bytes from your own computer's generator and sends those.

Where it reappears. It is hashed together with what it is to protect, and the hash is in the field extraData of the
TPM's quote (and in the chip's report data, through the keys; and in the GPU's report):

  epoch      SHA-256("sotto epoch evidence v1" 00, key statement, GPU digest)
  freshness  SHA-256("sotto freshness v1" 00, evidence digest, checkpoint)
  your own   SHA-256("sotto challenge v1" 00, evidence digest, your 32 bytes)

A correct nonce is simply one where your program computes the same 32 bytes from what it already holds. There is no
list of good ones, and two correct nonces have nothing in common.

What a replay looks like. The signature is good and the machine is real, but extraData is the hash of another
checkpoint:

  expected  quote over 7d0c41f29b3ae856..
  got       att.nonce: quote is over 1f93b7720c55aa08..

If the old evidence is presented openly, with its own old checkpoint, the code is att.stale; if it is from before a
restart, att.epoch. Try it: sotto verify --evidence FILE --tamper nonce.`,
		Expect: `In the steps tpm.quote and freshness: "expected" begins with what your program computed. If the two differ, both are printed side by side, and not one byte was sent.`,
		ByHand: `
# what the quote was made over: the line extraData
tpm2_print -t TPMS_ATTEST 05-quote.bin
# the same, computed from the key statement, whose bytes 1386 to 1417 are the
# checkpoint's hash and whose last 32 are the GPU digest
{ printf 'sotto epoch evidence v1\000'; cat 01-key-statement.bin
  tail -c 32 01-key-statement.bin; } | sha256sum
xxd -p -c 32 -s 1386 -l 32 01-key-statement.bin`,
		Standard: "RFC 9334 (RATS), Section 10; TPM 2.0 Library, Part 2, Section 10.12 (TPMS_ATTEST, extraData)",
		See:      []string{"tpm.quote", "freshness", "evidence.age"},
	},
	{
		Name: "chain", Title: "The chain, from root to answer",
		Short: "Each link signs or hashes the next, so that one public key you already hold vouches for the key you are about to encrypt to.",
		Text: `
Read it downwards. On the left who speaks, on the right what for.

  vendor's root certificate      in this program, with its fingerprint
    signs an intermediate        AMD: ASK. Intel: PCK CA
      signs the chip's key       AMD: VCEK. Intel: PCK, then the quoting enclave
        signs the report         launch measurement + 64 bytes of report data
          = SHA-512 over         the TPM's attestation key and the qualifier
            which signs          quote: registers (PCRs) + the same qualifier
              = SHA-256 over     the key statement
                which lists      request key, node key, configuration, log

Two directions meet here. Signatures lead from the vendor down to the report. Hashes lead from the key that you
encrypt to up into the report. The verifier computes every hash itself; it reads none from the evidence.

The order also says what a theft is worth. Somebody who steals the attestation key can sign quotes, and still has no
chip report over another key statement. Somebody with the chip's key can sign anything for that one chip: that is
tier 3.`,
		Expect:   `The steps named genuine (signatures downwards) and those named binding or statement (hashes upwards). If any one is missing, the rest describes some machine, perhaps not the one you talk to.`,
		Standard: "docs/spec/attestation.md, Section 3",
		See:      []string{"vcek", "nonce", "tpm.ak", "keys.statement"},
	},
	{
		Name: "tcb", Title: "TCB: what has to be trusted, and its version",
		Short: "The trusted computing base is everything that could break the promise; its version says how many known holes are closed.",
		Text: `
A chip that is genuine may still run firmware with a hole that was published and fixed. So a report carries version
numbers, and a policy has a floor for each.

AMD calls them security patch levels, one byte each for the boot loader of the security processor, the trusted
execution environment on it, the SNP firmware and the microcode. There are four sets in a report: current (running),
reported (what the chip's key is derived for), committed (what the firmware refuses to go below) and launch (when
this VM started). This verifier asks of all four that they reach the floor, and that the first three are equal: a
gap between committed and current is firmware that can be made old again.

Intel publishes a signed table, TCB info, from version numbers to a status: UpToDate, SWHardeningNeeded,
ConfigurationNeeded, OutOfDate, Revoked and combinations. The table has an age as well (tcbEvaluationDataNumber), so
an old table does not make old firmware look current.

Clouds lag behind vendors. A policy can therefore grant a grace: a lower floor or a named status, until a date. The
report shows each grace as a gap.`,
		Expect:   `In snp.acceptable or tdx.acceptable: "received" at least "expected" in every number, or the status UpToDate.`,
		Standard: "AMD 56860, Section 2.2 (TCB_VERSION); Intel PCS API v4, TCB info",
		See:      []string{"snp.acceptable", "tdx.acceptable", "vcek"},
	},
	{
		Name: "layers", Title: "The nine layers",
		Short: "A report has one line for each layer of the machine, from firmware to model weights, and none of them is blank.",
		Text: `
Steps follow the evidence; layers follow the machine. The same steps are therefore shown a second time, in the order
in which a machine is built up: VM firmware, vTPM, boot loader, kernel and modules, command line, root file system,
run-time policies (SELinux, IMA, EVM), application and configuration, model weights.

  covered      hardware vouches for it, or for a hash that pins it
  in part      covered, with a gap that is named
  not covered  nothing in this evidence speaks for it; the reason is beside it
  failed       the evidence speaks against it
  not reached  verification had stopped before

"Covered" means that it is what the release lists. It does not mean that the release is good: whether software does
what it should is decided by whoever reads, builds and publishes it.`,
		Expect:   `The table after the verdict. Look for the lines that are not covered, and ask what somebody could do who controls exactly those.`,
		Standard: "docs/platforms.md",
		See:      []string{"gaps", "image.measurement", "runtime"},
	},
}
