// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// tpmTopics are the steps about the TPM and the keys in it.
var tpmTopics = []Topic{
	{
		Name: "tpm.ak", Title: "The signing key is confined to a TPM", Step: true,
		Short: "The attestation key may sign only what the TPM itself says, and its name gives the node its id.",
		Text: `
A TPM is a small computer that keeps keys and registers apart from the machine it sits in: a chip, part of the
processor's firmware, or a program in a protected place. The attestation key (AK) is the key with which it speaks.

What makes it trustworthy are attributes fixed when it was made. fixedTPM and fixedParent: it does not leave.
Restricted and sign: it signs only structures that the TPM made itself, each opening with a magic number that no
data from outside may open with. So software that has the use of the key still does not get it to sign a made-up
quote.

The public area lists these attributes, and the hash of the public area is the key's name. The node's id is a hash
of that name: whoever knows the id knows the attributes.

A public area can be typed in by anybody, though. That this key is in a TPM, and in this machine's, is another step:
report data of the chip, snp.acceptable or tdx.acceptable; on clouds hcl.binding, svsm.binding, nitro.acceptable or
tpm.akcert.`,
		Expect: `"received": a restricted key (ECDSA P-256; RSA-2048 on Azure) and the name, 000b and 64 hex digits. By hand: fixedtpm, fixedparent, sensitivedataorigin, restricted and sign are among the attributes.`,
		ByHand: `
tpm2_print -t TPMT_PUBLIC 04-attestation-key.bin
# the key's name, and from it the node id
{ printf '\000\013'; openssl dgst -sha256 -binary 04-attestation-key.bin; } > ak.name
{ printf 'sotto node v1\000'; cat ak.name; } | sha256sum
xxd -p -c 32 -s 9 -l 32 01-key-statement.bin`,
		Standard: "TPM 2.0 Library, Part 2, Section 8.3 (TPMA_OBJECT); Part 1, Section 16 (names)",
		See:      []string{"tpm.quote", "vtpm", "tpm.akcert", "chain"},
	},
	{
		Name: "tpm.quote", Title: "The quote covers exactly the required registers", Step: true,
		Short: "A quote is the TPM's signed statement of what is in its registers, over a nonce.",
		Text: `
The registers (PCRs) hold what was measured while the machine started. A quote is a structure that the TPM fills in
and signs with its attestation key: which registers, the hash of their values, its clock and counters, and 32 bytes
from outside (extraData). The values themselves travel beside it, and must hash to what was signed.

Four things go wrong in verifiers, and are checked here. The signature may be skipped for want of a key that one
believes: the key comes from the step before. The nonce may be taken from the quote: here it is computed. The quote
may cover only registers that look good: here the set is fixed and must be covered exactly. And values may be passed
off as those of other registers: the labels must equal the signed selection, of the SHA-256 bank alone.`,
		Expect: `"expected" names the registers and the start of the qualifier; "received" is equal. att.nonce is a replay, att.pcr.set a hidden register, att.pcr.value a changed one.`,
		ByHand: `
tpm2_print -t TPMT_PUBLIC -f pem 04-attestation-key.bin > ak.pem
# the qualifier: label, one zero byte, key statement, GPU digest
{ printf 'sotto epoch evidence v1\000'; cat 01-key-statement.bin
  tail -c 32 01-key-statement.bin; } | sha256sum | cut -c1-64 > qualifier
tpm2_checkquote -u ak.pem -m 05-quote.bin -s 06-quote-signature.bin \
  -g sha256 -q "$(cat qualifier)"
# pcrSelect 953e00 is PCRs 0 2 4 7 9 10 11 12 13; pcrDigest equals the last line
tpm2_print -t TPMS_ATTEST 05-quote.bin
xxd -p -c 33 07-pcr-values.bin | cut -c3- | xxd -r -p | sha256sum`,
		Standard: "TPM 2.0 Library, Part 3, Section 18.4 (TPM2_Quote); Part 2, Section 10.12 (TPMS_ATTEST)",
		See:      []string{"nonce", "pcr", "tpm.ak", "boot.log"},
	},
	{
		Name: "rek", Title: "The request key: half in the TPM", Step: true,
		Short: "The key that opens requests is half in the TPM, which lends it only to software in the measured state and loses it at a reset.",
		Text: `
Requests are sealed to a key of two halves, both of which are needed to open one. The P-256 half is made inside the
TPM; the ML-KEM half, for the day when quantum computers break the first, is in the memory of the confidential VM.
Neither whoever runs the TPM nor a reader of memory has both.

The TPM certifies at creation how its half was made, and that certificate is checked field by field. The key is
fixed to this TPM. It takes no password: the only way to use it is a policy that compares the seal PCRs with their
values now, so other software does not open it. Its parent is in the NULL hierarchy, whose seed is drawn anew at
every reset: after a reset the key is gone, and what was recorded stays shut. And the public point is the one in the
key statement.`,
		Expect: `"expected": PolicyPCR over the seal PCRs, NULL hierarchy; "received": equal. By hand: fixedtpm, stclear, fixedparent, sensitivedataorigin, adminwithpolicy, decrypt, and no userwithauth.`,
		ByHand: `
tpm2_print -t TPMT_PUBLIC 08-rek-public-area.bin
# its policy: PolicyPCR over the seal PCRs with their quoted values
xxd -p -c 32 -s 10 -l 32 08-rek-public-area.bin
{ head -c 32 /dev/zero; printf '0000017f00000001000b03953a00' | xxd -r -p
  xxd -p -c 33 07-pcr-values.bin | grep -v '^0a' | cut -c3- | xxd -r -p |
    openssl dgst -sha256 -binary; } | sha256sum
# the certificate names this key and these creation data ...
xxd -p -c 34 -s 103 -l 34 11-creation-certificate.bin
{ printf '\000\013'; openssl dgst -sha256 -binary 08-rek-public-area.bin; } | xxd -p -c 34
xxd -p -c 32 -s 139 -l 32 11-creation-certificate.bin
sha256sum 10-creation-data.bin
# ... and is signed by the attestation key
tpm2_print -t TPMT_PUBLIC -f pem 04-attestation-key.bin > ak.pem
f=12-creation-signature.bin
if [ "$(xxd -p -l 2 $f)" = 0018 ]; then               # ECDSA: r and s, each with its length
  r=$((0x$(xxd -p -s 4 -l 2 $f))); s=$((0x$(xxd -p -s $((6 + r)) -l 2 $f)))
  printf 'asn1=SEQUENCE:p\n[p]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' \
    "$(xxd -p -c 99 -s 6 -l $r $f)" "$(xxd -p -c 99 -s $((8 + r)) -l $s $f)" > sig.cnf
  openssl asn1parse -genconf sig.cnf -noout -out sig.der
else                                                  # RSASSA, on Azure: as it is
  tail -c +7 $f > sig.der
fi
openssl dgst -sha256 -verify ak.pem -signature sig.der 11-creation-certificate.bin`,
		Standard: "TPM 2.0 Library, Part 3, Section 18.3 (TPM2_CertifyCreation); docs/spec/key-custody.md",
		See:      []string{"keys.statement", "pcr", "tpm.ak"},
	},
	{
		Name: "vtpm", Title: "Which TPM is it?",
		Short: "A TPM's word is worth as much as the place it runs in: a chip, the cloud's host, or the confidential VM itself.",
		Text: `
  a chip on the board  its maker certifies it (tpm.ekcert). Whoever holds the
                       machine can listen on its bus, or reset it alone.
  the cloud's host     Google, AWS. The cloud certifies its keys. The host
                       could have it say anything; against the host it is no
                       witness.
  the paravisor        Azure. A layer inside the confidential VM, measured at
                       launch, more privileged than the operating system.
                       Published as OpenHCL; which build runs is for its
                       measurement to say.
  the SVSM             a service module at VMPL0 of an SEV-SNP VM, measured at
                       launch. The operating system runs at VMPL 1 to 3, with
                       fewer rights.

Only in the last two is the TPM inside the launch measurement, so only there do registers prove software to somebody
who does not believe the host. In the others the TPM keeps keys, and the launch measurement or the TDX registers
have to say which software runs. The report calls this a gap where it matters: vTPM outside the launch measurement.

An SVSM's vTPM starts with a new endorsement key at every start of the VM, so there is no certificate of a maker.
What vouches for it is the chip's report, asked for at VMPL0 over a manifest with the key in it.`,
		Expect:   `The platform in the head of the report, and the second of the nine layers.`,
		Standard: "AMD 58019 (SVSM), Section 8; TCG EK Credential Profile 2.5; docs/platforms.md",
		See:      []string{"platform", "svsm.binding", "hcl.binding", "tpm.ekcert"},
	},
	{
		Name: "tpm.akcert", Title: "Somebody vouches that the key is in a TPM", Step: true,
		Short: "A certificate by the cloud, or by your own enrolment, says that this attestation key is held by a TPM.",
		Text: `
A public area can be typed in by hand; nothing in it shows that a TPM has the private half. Where the chip's report
binds the key there is no need to ask. Where it does not, somebody has to have looked: Google certifies the keys of
its vTPMs, and a self-hoster can enrol a machine with TPM2_ActivateCredential, which proves that one TPM holds both
this key and the endorsement key of the maker.

That makes the line "stated": the certificate is a statement by whoever issued it. The chain, its dates, and its
purpose (the extended key usage 2.23.133.8.3, attestation identity key) are checked, and its public key must be this
key. The clouds publish no revocation lists for these keys with the evidence; a policy that accepts that says so,
and it is a gap.`,
		Expect: `"received" names the issuer: your cloud or your own enrolment authority, and nobody else.`,
		ByHand: `
openssl x509 -inform der -in 21-attestation-key-certificate-0.bin -out ak-cert.pem
openssl x509 -in ak-cert.pem -noout -issuer -dates -ext extendedKeyUsage
# with the issuer's root, and the intermediates among 21-attestation-key-certificate-*.bin:
#   openssl verify -CAfile issuer-roots.pem -untrusted intermediates.pem ak-cert.pem
# its public key is that of 04-attestation-key.bin
openssl x509 -in ak-cert.pem -noout -pubkey
tpm2_print -t TPMT_PUBLIC -f pem 04-attestation-key.bin`,
		Standard: "TCG EK Credential Profile 2.5; TCG TPM 2.0 Keys for Device Identity and Attestation, Section 5",
		See:      []string{"tpm.ak", "tpm.ekcert", "vtpm"},
	},
	{
		Name: "tpm.ekcert", Title: "The TPM is of a known maker", Step: true,
		Short: "The endorsement key certificate is the maker's word that this TPM left its factory.",
		Text: `
Each TPM has an endorsement key (EK), and its maker a certificate for it. The certificate's chain is held against
the roots that the policy names, with the purpose 2.23.133.8.1 (endorsement key certificate) and dates.

What it proves is less than it looks. The EK does not sign quotes, for privacy's sake it only decrypts. So the
certificate alone does not tie the attestation key to this TPM: that takes an enrolment, the step tpm.akcert. And a
genuine TPM says nothing about who can read the machine's memory. Machines with a TPM and no confidential VM stay at
tier 1.`,
		Expect: `"received" names the maker and model that you expect in your own machine.`,
		ByHand: `
openssl x509 -inform der -in 22-endorsement-key-certificate-0.bin -out ek-cert.pem
openssl x509 -in ek-cert.pem -noout -issuer -dates -ext extendedKeyUsage,subjectAltName
# with the roots that the maker publishes:
#   openssl verify -CAfile maker-roots.pem -untrusted intermediates.pem ek-cert.pem
# tpm2_getekcertificate fetches the same certificate on the machine itself`,
		Standard: "TCG EK Credential Profile 2.5, Section 3; RFC 5280, Section 6",
		See:      []string{"tpm.akcert", "vtpm", "tier"},
	},
}
