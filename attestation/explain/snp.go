// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// snpTopics are the steps about AMD SEV-SNP.
var snpTopics = []Topic{
	{
		Name: "snp.genuine", Title: "AMD hardware signed the report", Step: true,
		Short: "The report's signature leads through the chip's key to a root of AMD's that this program holds.",
		Text: `
Software in a confidential VM can ask the chip's security processor for a report: 1184 bytes that say what was
started, how the VM is configured, which firmware runs, on which chip, and 64 bytes from the one who asked. The
security processor signs it with a key that only it has.

To believe the signature one needs the key's certificate, and for that one the next, up to a root. What is checked
beside the signatures: names and extensions are those that AMD gives; the chip's id and all firmware levels in the
certificate equal those in the report; neither certificate is on AMD's revocation list; and that list is there,
signed and in date. Certificates and list came with the evidence. Fetching them would tell AMD which machine you are
about to use.

Genuine is not acceptable. A genuine report may say that debugging is allowed. That is the next question.`,
		Expect: `"received": product line, VCEK or VLEK, and the age of the revocation list.`,
		ByHand: `
# AMD's ASK and ARK are published, one file for each product line:
#   curl https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain > ask-ark.pem
openssl x509 -inform der -in 14-sev-snp-certificate.bin -out vcek.pem
openssl verify -CAfile ask-ark.pem vcek.pem
# the signature is over the first 672 bytes; r and s follow, little-endian, 72 bytes each
head -c 672 13-sev-snp-report.bin > signed
le() { xxd -p -c 1 -s "$1" -l 72 13-sev-snp-report.bin | tac | tr -d '\n'; }
printf 'asn1=SEQUENCE:p\n[p]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' \
  "$(le 672)" "$(le 744)" > sig.cnf
openssl asn1parse -genconf sig.cnf -noout -out sig.der
openssl x509 -in vcek.pem -noout -pubkey > vcek.pub
openssl dgst -sha384 -verify vcek.pub -signature sig.der signed
# the revocation list
openssl crl -inform der -in 15-sev-snp-crl.bin -noout -issuer -lastupdate -nextupdate`,
		Standard: "AMD 56860 (SEV-SNP firmware ABI), Section 7.3; AMD 57230 (VCEK certificate and KDS)",
		See:      []string{"vcek", "snp.acceptable", "chain"},
	},
	{
		Name: "snp.acceptable", Title: "The confidential VM is configured as required", Step: true,
		Short: "A genuine report may still describe a VM that its host can open; these bits and numbers say whether it can.",
		Text: `
  product line          named by the policy. EPYC Milan has to be named: it has
                        neither ciphertext hiding nor, on much of what is
                        installed, a check against memory aliasing (BadRAM)
  firmware levels       four sets, none below the floor; see tcb
  DEBUG                 off. With it the host reads the VM's memory
  MIGRATE_MA            off, and no migration agent attached
  SMT                   off unless waived: sibling threads leak through caches
  CIPHERTEXT_HIDING     on unless waived: otherwise the host sees when the same
                        ciphertext comes back
  alias check           done at boot, unless waived
  VMPL                  exactly the level that the policy names
  chip                  on the list of enrolled machines, unless any will do
  REPORT_DATA           the hash that ties this report to the TPM's key

REPORT_DATA is what makes one machine of two halves. It is SHA-512 over the attestation key and the qualifier of the
quote: without it, somebody could put the report of a good VM next to the quote of a bad one.

What is waived by name is a gap in the report. What is not waived and not met is refused, and the text names the
bit.`,
		Expect: `"expected": the floor; "received": levels of at least that. The 64 bytes of REPORT_DATA must equal those computed by hand.`,
		ByHand: `
f=13-sev-snp-report.bin
xxd -p -s 0 -l 4 $f             # version, little-endian
xxd -p -s 8 -l 8 $f             # guest policy: bit 16 SMT, 18 migration, 19 debug
xxd -p -s 48 -l 4 $f            # VMPL
xxd -p -s 64 -l 8 $f            # PLATFORM_INFO: bit 0 SMT, 4 ciphertext hiding, 5 alias check
xxd -p -s 56 -l 8 $f            # TCB, current: boot loader, TEE, then SNP, microcode last
xxd -p -s 384 -l 8 $f           # TCB, reported
xxd -p -s 480 -l 8 $f           # TCB, committed
xxd -p -s 496 -l 8 $f           # TCB, at launch
xxd -p -c 64 -s 416 -l 64 $f    # chip id
# REPORT_DATA and what it must be (not with an SVSM or on Azure, see there)
xxd -p -c 64 -s 80 -l 64 $f
{ printf 'sotto epoch evidence v1\000'; cat 01-key-statement.bin
  tail -c 32 01-key-statement.bin; } | openssl dgst -sha256 -binary > qualifier.bin
{ printf 'sotto report data v1\000'; openssl dgst -sha256 -binary 04-attestation-key.bin
  cat qualifier.bin; } | sha512sum`,
		Standard: "AMD 56860, Sections 4.3 (guest policy) and 7.3 (report)",
		See:      []string{"tcb", "snp.genuine", "vcek", "svsm.binding"},
	},
	{
		Name: "vcek", Title: "VCEK: the chip's own key",
		Short: "The VCEK signs the report, the ASK signs the VCEK's certificate, the ARK signs the ASK's; nothing is compared for equality with a copy.",
		Text: `
A natural idea is to fetch the VM's VCEK from AMD and see whether it is equal to the one that the VM sent. Equality
is not the question. A certificate is good because of who signed it, from wherever it came; and an equal copy from
elsewhere would add nothing. The question is asked in steps:

  report   signed by the   VCEK   key of one chip at one firmware level
  VCEK     signed by the   ASK    AMD SEV signing key of the product line
  ASK      signed by the   ARK    AMD root key, which signs itself
  ARK      is in this program, with its fingerprint

And then: does this VCEK belong to this report? Its certificate has extensions that AMD wrote. They hold the chip's
id and the level of each firmware part. All must equal what the report says. That is where equality comes in:
certificate against report, not certificate against certificate.

VCEK stands for versioned chip endorsement key. It is derived from a secret of the chip and the firmware levels, so
other firmware has another VCEK: a machine with old firmware does not have the key for the new level. Clouds may use
a VLEK in its place (versioned loaded endorsement key), issued by AMD to the provider and not bound to one chip. Its
chain goes through the ASVK, and the report then does not say which chip it was. A policy has to name the provider.

What the chain leaves open: AMD could sign for a chip that is not one, and whoever extracts a VCEK from a chip can
sign for that chip, until it is revoked.`,
		Expect: `In snp.genuine: verified. In the certificate: the extension 1.3.6.1.4.1.3704.1.4 is the chip id of the report; 1.3.6.1.4.1.3704.1.3.1, .2, .3 and .8 are its boot loader, TEE, SNP and microcode level.`,
		ByHand: `
openssl x509 -inform der -in 14-sev-snp-certificate.bin -noout -subject -issuer
openssl x509 -inform der -in 14-sev-snp-certificate.bin -noout -text |
  grep -A 1 1.3.6.1.4.1.3704
# the chip id and the reported levels in the report
xxd -p -c 64 -s 416 -l 64 13-sev-snp-report.bin
xxd -p -s 384 -l 8 13-sev-snp-report.bin
# asking AMD for the same certificate tells AMD which chip you are interested in`,
		Standard: "AMD 57230 (VCEK certificate and KDS interface specification), Sections 3 and 4",
		See:      []string{"snp.genuine", "tcb", "chain"},
	},
}
