// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

// byHand says of each step, in one line, how to check it without this program.
// The files named are the pieces of the evidence as `sotto verify --extract DIR`
// writes them; docs/verify-by-hand.md has the commands in full, and package
// explain holds the two lists to the same steps.
var byHand = map[string]string{
	"policy":            "read your own policy file, line by line: what it lists is what was asked for; policy_sha256 in the report tells which policy that was",
	"platform":          "ls the extracted pieces: which hardware evidence is there tells the platform; compare with the policy's platforms",
	"evidence.pieces":   "ls -l the extracted pieces and compare with the table in docs/spec/attestation.md, Section 2",
	"evidence.age":      "compare the time in the cosigned checkpoint with date -u",
	"keys.statement":    "xxd 01-key-statement.bin; the node id is at byte 9, the REK at 41, the node key at 1290, as in the node record",
	"evidence.digest":   "sha256sum 00-epoch-evidence.bin equals the evidence digest in the node record",
	"tpm.ak":            "tpm2_print -t TPMT_PUBLIC 04-attestation-key.bin shows fixedtpm, fixedparent, restricted and sign; its hash gives the node id",
	"tpm.quote":         "tpm2_checkquote with 04-attestation-key (as PEM), 05-quote.bin, 06-quote-signature.bin and the qualifier computed from 01-key-statement.bin",
	"rek":               "tpm2_print 08-rek-public-area.bin and 11-creation-certificate.bin; the name in the certificate is the hash of the public area",
	"freshness":         "tpm2_checkquote with 32-freshness-quote.bin, 33-freshness-quote-signature.bin and the qualifier computed from the new checkpoint",
	"boot.log":          "tpm2_eventlog 03-event-log.bin computes the registers from the events; compare with 07-pcr-values.bin",
	"boot.ccel":         "replay 20-confidential-computing-event-log.bin (SHA-384, one chain for each register) and compare with the RTMRs in the quote",
	"boot.secureboot":   "tpm2_eventlog 03-event-log.bin: the event of PCR 7 named SecureBoot has the value 1 and hashes to its digest",
	"config":            "cat 02-measured-configuration.bin; SHA-256 of 32 zero bytes and of its SHA-256 is PCR 13",
	"hcl.binding":       "the SHA-256 of the runtime data in 17-hcl-report.bin is the start of REPORT_DATA; the key HCLAkPub in it is 04-attestation-key.bin",
	"snp.genuine":       "openssl verify 14-sev-snp-certificate.bin against AMD's ASK and ARK; then openssl dgst -sha384 over the first 672 bytes of the report",
	"svsm.binding":      "SHA-512 of the 64-byte nonce and 16-svsm-services-manifest.bin is REPORT_DATA; the manifest is 04-attestation-key.bin",
	"snp.acceptable":    "xxd 13-sev-snp-report.bin: guest policy at byte 8, PLATFORM_INFO at 64, REPORT_DATA at 80, reported TCB at 384",
	"tdx.genuine":       "openssl: PCK chain in 18-tdx-quote.bin to Intel's root, PCK over the QE report, QE report over the key, the key over the quote",
	"tdx.acceptable":    "xxd 18-tdx-quote.bin: attributes, MRTD, RTMRs and REPORTDATA; compare its TCB with the levels in the TCB info",
	"nitro.genuine":     "decode 23-nitro-attestation-document.bin (CBOR); openssl verify its certificate through cabundle to the AWS Nitro root",
	"nitro.acceptable":  "decode 23-nitro-attestation-document.bin (CBOR); user_data is the 64 bytes computed from 04-attestation-key.bin and the qualifier",
	"tpm.ekcert":        "openssl verify 22-endorsement-key-certificate-0.bin against the root that the TPM's maker publishes",
	"tpm.akcert":        "openssl verify 21-attestation-key-certificate-0.bin against the issuer's root; its public key is that of 04-attestation-key.bin",
	"image.measurement": "rebuild the release and compute its launch measurement; SEV-SNP has it at byte 144 of the report, TDX as MRTD",
	"boot.components":   "compare PCRs 4, 9 and 11 in 07-pcr-values.bin, or RTMRs 1 and 2, with the values published with the release",
	"boot.cmdline":      "tpm2_eventlog 03-event-log.bin: the one event of PCR 12 is the command line in UTF-16; its SHA-256 is the digest beside it",
	"image.released":    "sotto-release verify the release files that the statement names; compare their images with 07-pcr-values.bin and the launch measurement",
	"boot.acpi":         "list the tables in the event log (EV_PLATFORM_CONFIG_FLAGS) and compare their digests with those of the image",
	"runtime":           "replay 24-ima-log.bin into PCR 10 (evmctl ima_measurement) and look each file's digest up in the release",
	"gpu":               "ls the extracted pieces: 25-gpu-evidence.bin is not there, and bytes 1418 to 1449 of 01-key-statement.bin are zero",
	"gpu.genuine":       "openssl verify the device's certificate chain to NVIDIA's root; the report's nonce is the one computed from 01-key-statement.bin",
	"gpu.acceptable":    "compare each measurement in the report with NVIDIA's signed manifests for that driver and VBIOS version",
	"payment":           "cat 02-measured-configuration.bin; its payment equals the payment mode of the epoch statement",
}
