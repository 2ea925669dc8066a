// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// cloudTopics are the steps that tie a vTPM to what it runs in.
var cloudTopics = []Topic{
	{
		Name: "hcl.binding", Title: "Azure: the paravisor vouches for the key", Step: true,
		Short: "On Azure the chip's report is made once at boot, by the paravisor, over a list of keys; the attestation key must be on that list.",
		Text: `
Azure runs a layer between the host and your operating system, inside the confidential VM: the paravisor (HCL,
published as OpenHCL). It holds the vTPM, and it is part of the launch measurement. When the VM starts it asks the
chip for a report over the SHA-256 of a JSON document, the runtime data, in which stands the vTPM's attestation key
as HCLAkPub.

Two comparisons are made here. The hash of the runtime data is the first half of REPORT_DATA, the rest zero. And the
RSA key HCLAkPub in it is, number for number, the key that signed the quote.

Since the report is made at boot, it is not fresh. The quote is: it carries the nonce and is signed by the key that
the report vouches for. The counters of resets in it say that both are of one boot.`,
		Expect: `"received": the attestation key is HCLAkPub. att.binding: another key, or runtime data that the report is not over.`,
		ByHand: `
# length of the runtime data, 4 bytes little-endian at 1232; then the data
n=$((0x$(xxd -p -s 1232 -l 4 17-hcl-report.bin | fold -w2 | tac | tr -d '\n')))
tail -c +1237 17-hcl-report.bin | head -c $n > runtime.json
sha256sum runtime.json
# REPORT_DATA of the SEV-SNP report that starts at byte 32 (for TDX see tdx.genuine)
xxd -p -c 64 -s 112 -l 64 17-hcl-report.bin
# the modulus n of HCLAkPub, in hex; the last 256 bytes of the public area are the same
jq -r '.keys[] | select(.kid == "HCLAkPub") | .n' runtime.json | tr '_-' '/+' |
  sed 's/$/==/' | base64 -d 2>/dev/null | xxd -p -c 64 || true
tail -c 256 04-attestation-key.bin | xxd -p -c 64`,
		Standard: "Microsoft, Azure confidential VM guest attestation design (HCL report)",
		See:      []string{"vtpm", "tpm.ak", "snp.genuine", "tdx.genuine"},
	},
	{
		Name: "svsm.binding", Title: "SVSM: the chip vouches for the vTPM's key", Step: true,
		Short: "The chip's report, asked for at the most privileged level of the VM, is over a manifest that consists of the vTPM's key.",
		Text: `
SEV-SNP gives a VM four privilege levels, VMPL0 to VMPL3. An SVSM runs at VMPL0, out of reach of the operating
system below it, and offers a vTPM. When asked for attestation of that service it returns a report and a services
manifest; REPORT_DATA is SHA-512 over the caller's 64-byte nonce and the manifest.

The nonce is computed here from the keys and the checkpoint, so the report is fresh; the manifest must be the attestation key of the quote (or the endorsement key
of the vTPM, if an enrolment authority of yours certified that both are in one TPM); and the report must say VMPL0. A report from a lower level could have been asked for
by the operating system over a manifest of its own making.`,
		Expect: `"received": the manifest is the attestation key, VMPL 0.`,
		ByHand: `
# the nonce of 64 bytes: SHA-512(label 00, SHA-256(attestation key), qualifier)
{ printf 'sotto epoch evidence v1\000'; cat 01-key-statement.bin
  tail -c 32 01-key-statement.bin; } | openssl dgst -sha256 -binary > qualifier.bin
{ printf 'sotto report data v1\000'; openssl dgst -sha256 -binary 04-attestation-key.bin
  cat qualifier.bin; } | openssl dgst -sha512 -binary > nonce.bin
cat nonce.bin 16-svsm-services-manifest.bin | sha512sum
xxd -p -c 64 -s 80 -l 64 13-sev-snp-report.bin
xxd -p -s 48 -l 4 13-sev-snp-report.bin       # VMPL, little-endian
sha256sum 16-svsm-services-manifest.bin 04-attestation-key.bin`,
		Standard: "AMD 58019 (Secure VM Service Module), Section 7, attestation protocol",
		See:      []string{"vtpm", "tpm.ak", "snp.genuine"},
	},
	{
		Name: "nitro.genuine", Title: "AWS: the Nitro system signed the document", Step: true,
		Short: "NitroTPM's attestation document is a signed CBOR structure whose certificates lead to a root that AWS publishes.",
		Text: `
On EC2 the hypervisor (Nitro) runs the TPM and signs a document about it: module id, time, PCR values as SHA-384, a
nonce and data from the caller, a certificate, and the chain to AWS's root. The signature is ECDSA on P-384 over a
COSE_Sign1 structure.

The certificate of the signer lives for a few hours and there is no revocation list. The short life takes its place,
so the policy has a limit for the document's age, and the chain must hold at the time that the document gives itself
as well as now, within that limit.

AWS is the vendor of the hardware, the operator of the host and the issuer of the certificate in one. What this
keeps out is everybody but AWS.`,
		Expect: `"received": the module id and the document's age.`,
		ByHand: `
# any CBOR decoder shows the four parts: protected header, unprotected header,
# payload, signature; the payload has pcrs, certificate, cabundle, nonce, user_data
xxd -l 64 23-nitro-attestation-document.bin
# openssl verify -CAfile aws-nitro-root.pem -untrusted cabundle.pem certificate.pem
# SHA-256 fingerprint of the root, as AWS publishes it:
# 641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b`,
		Standard: "RFC 9052, Section 4.2 (COSE_Sign1); AWS, Nitro attestation process",
		See:      []string{"nitro.acceptable", "platform"},
	},
	{
		Name: "nitro.acceptable", Title: "AWS: the document is over these keys", Step: true,
		Short: "The document's user data are the hash of this attestation key and this evidence, and its registers are the release's.",
		Text: `
A genuine document could be of any EC2 instance. Three comparisons make it of this one. Its user_data are the 64
bytes that on other platforms go into the chip's report: SHA-512 over the attestation key and the qualifier. Its
registers, in SHA-384, are those of the image, 4 and 7 at least. And it is younger than the policy allows.`,
		Expect: `"received": user data equal; registers 4 and 7 as the image lists them.`,
		ByHand: `
# what user_data must be
{ printf 'sotto epoch evidence v1\000'; cat 01-key-statement.bin
  tail -c 32 01-key-statement.bin; } | openssl dgst -sha256 -binary > qualifier.bin
{ printf 'sotto report data v1\000'; openssl dgst -sha256 -binary 04-attestation-key.bin
  cat qualifier.bin; } | sha512sum
# the document is CBOR: any decoder shows user_data; or look for the bytes
xxd -p -c 64 23-nitro-attestation-document.bin`,
		Standard: "AWS EC2 User Guide, NitroTPM attestation document; docs/spec/attestation.md, Section 3",
		See:      []string{"nitro.genuine", "tpm.ak", "pcr"},
	},
}
