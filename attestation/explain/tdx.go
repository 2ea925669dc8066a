// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// tdxTopics are the steps about Intel TDX.
var tdxTopics = []Topic{
	{
		Name: "tdx", Title: "Intel TDX in short",
		Short: "TDX is Intel's kind of confidential VM; its evidence is a quote, signed by a small Intel enclave on the same machine.",
		Text: `
A trust domain (TD) is a VM whose memory the processor encrypts against its host. A module of Intel's software (the
TDX module) stands between the two. It keeps, for each TD:

  MRTD        hash of what the TD started from: its virtual firmware
  RTMR 0      firmware configuration, tables from the host
  RTMR 1      what the firmware started: loader, kernel
  RTMR 2      what was handed to the kernel: initrd, command line
  RTMR 3      free for the running system
  REPORTDATA  64 bytes from the one who asked

RTMRs are extended like PCRs, with SHA-384, and only by the TD itself through the module. They need no TPM, and no
host can write them. A second event log (CCEL) tells what is in them.

The local processor vouches for a report only with a code that other machines do not verify. So an enclave of
Intel's on the same machine, the quoting enclave, checks the report and signs it with a key that a certificate of
Intel's vouches for. The result is the quote.`,
		Expect:   `The steps tdx.genuine and tdx.acceptable.`,
		Standard: "Intel TDX Module 1.5 Base Specification; Intel DCAP, Quote Generation Library, Appendix A",
		See:      []string{"tdx.genuine", "tdx.acceptable", "tcb"},
	},
	{
		Name: "tdx.genuine", Title: "Intel hardware signed the quote", Step: true,
		Short: "From Intel's root down: the platform's certificate, the quoting enclave, the key it made, the quote.",
		Text: `
Four signatures in a row, each checked:

  Intel's root       signs the PCK CA, that one this machine's PCK certificate
  PCK key            signs the report of the quoting enclave (QE)
  QE's report        holds the SHA-256 of the attestation key (and QE auth data)
  attestation key    signs header and body of the quote

Then, whether the QE is Intel's and which versions are current. Intel publishes signed documents for that: the
identity of the QE, TCB info for the machine's type (FMSPC), and revocation lists for PCK certificates and for their
CA. They travel with the evidence, so Intel is not told who asks about which machine, and each must be signed, in
date, and of this machine's type.

A quote has version 4 or 5. They differ in where the body starts. A verifier that reads one as the other would look
for numbers in the wrong place; here the version decides and must fit the length.`,
		Expect: `"received": the TCB status and the date and number of the collateral.`,
		ByHand: `
# a quote of version 4: header 48 bytes, body 584, length 4, signature, key, ...
at() { xxd -p -c 999 -s "$1" -l "$2" 18-tdx-quote.bin; }
key() { printf '3059301306072a8648ce3d020106082a8648ce3d03010703420004%s' "$1" |
  xxd -r -p | openssl pkey -pubin -inform der; }
der() { printf 'asn1=SEQUENCE:p\n[p]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' "$1" "$2" > sig.cnf
  openssl asn1parse -genconf sig.cnf -noout -out sig.der; }
# the attestation key over header and body
head -c 632 18-tdx-quote.bin > quoted
key "$(at 700 64)" > ak.pem; der "$(at 636 32)" "$(at 668 32)"
openssl dgst -sha256 -verify ak.pem -signature sig.der quoted
# the QE's report over that key and the auth data (their length is at 1218)
n=$((0x$(at 1219 1)$(at 1218 1)))
{ at 700 64; at 1220 $n; } | xxd -r -p | sha256sum; at 1090 32
# the PCK key over the QE's report, and its chain
tail -c +$((1220 + n + 7)) 18-tdx-quote.bin | tr -d '\000' > pck.pem
openssl x509 -in pck.pem -noout -pubkey > pck.pub; der "$(at 1154 32)" "$(at 1186 32)"
tail -c +771 18-tdx-quote.bin | head -c 384 > qe
openssl dgst -sha256 -verify pck.pub -signature sig.der qe
awk '/BEGIN/ { i++ } { print > ("pck-" i ".pem") }' pck.pem
openssl verify -CAfile pck-3.pem -untrusted pck-2.pem pck-1.pem
# Intel's root, SHA-256 of its DER:
# 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3
openssl x509 -in pck-3.pem -noout -fingerprint -sha256`,
		Standard: "Intel DCAP, Quote Generation Library, Appendix A (quote format); Intel PCS API v4",
		See:      []string{"tdx", "tdx.acceptable", "chain"},
	},
	{
		Name: "tdx.acceptable", Title: "The trust domain is configured as required", Step: true,
		Short: "A genuine quote may still be of a debuggable or outdated TD; status, attributes and report data say whether it is.",
		Text: `
  TCB status       UpToDate, or one that the policy grants a grace until a date.
                   The table that it comes from may not be older than the
                   policy's lowest evaluation number
  DEBUG            off. With it the host reads the TD's memory
  MIGRATABLE       off
  SEPT_VE_DISABLE  on unless waived: otherwise the host can provoke exceptions
                   in the kernel by taking pages away
  TDX module       signed by Intel (MRSIGNERSEAM zero), of a known version
  XFAM             only features that the module allows
  platform         on the list of enrolled machines, unless any will do
  REPORTDATA       the hash that ties this quote to the TPM's key

Statuses are words of Intel's. OutOfDate: there is a fixed hole, and this machine has not got the fix.
ConfigurationNeeded: a setting of the firmware leaves one open. SWHardeningNeeded: software has to defend itself.
Revoked is refused whatever a policy says.`,
		Expect: `"expected": UpToDate; "received" the same, or a named grace with its date, which is then a gap.`,
		ByHand: `
# offsets in a quote of version 4
# attributes: bit 0 debug, 28 SEPT_VE_DISABLE, 29 migratable
xxd -p -s 168 -l 8 18-tdx-quote.bin
xxd -p -c 48 -s 64 -l 48 18-tdx-quote.bin   # MRSEAM, the TDX module
xxd -p -c 48 -s 112 -l 48 18-tdx-quote.bin  # MRSIGNERSEAM, zero
xxd -p -c 48 -s 184 -l 48 18-tdx-quote.bin  # MRTD
xxd -p -c 48 -s 376 -l 192 18-tdx-quote.bin # RTMR 0 to 3
xxd -p -c 64 -s 568 -l 64 18-tdx-quote.bin  # REPORTDATA
jq '.tcbInfo | {tcbEvaluationDataNumber, nextUpdate}' 19-tdx-collateral-0.bin`,
		Standard: "Intel TDX Module 1.5 ABI (TD attributes, XFAM, TDREPORT); Intel PCS API v4, TCB info",
		See:      []string{"tdx", "tcb", "hcl.binding"},
	},
}
