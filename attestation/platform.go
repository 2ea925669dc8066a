// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

// A Platform is one way in which a machine can prove itself. Which it is follows
// from the pieces of the evidence; whether it will do is the policy's to say.
type Platform string

// The platforms; docs/platforms.md says what each proves and what not.
const (
	SNP       Platform = "snp"        // AMD SEV-SNP, direct profile: kernel, initrd and command line in MEASUREMENT
	SNPSVSM   Platform = "snp-svsm"   // AMD SEV-SNP with a vTPM in an SVSM
	AzureSNP  Platform = "azure-snp"  // Azure confidential VM on SEV-SNP: vTPM in the paravisor
	AzureTDX  Platform = "azure-tdx"  // Azure confidential VM on TDX: vTPM in the paravisor
	GoogleSNP Platform = "google-snp" // Google confidential VM on SEV-SNP: vTPM of the host
	GoogleTDX Platform = "google-tdx" // Google confidential VM on TDX: vTPM of the host, RTMRs
	TDX       Platform = "tdx"        // Intel TDX: kernel, initrd and command line in RTMRs
	TPM       Platform = "tpm"        // a TPM 2.0 and no confidential VM
	NitroTPM  Platform = "nitro-tpm"  // AWS EC2 instance with NitroTPM
)

// Platforms lists all of them.
func Platforms() []Platform {
	return []Platform{SNP, SNPSVSM, AzureSNP, AzureTDX, GoogleSNP, GoogleTDX, TDX, TPM, NitroTPM}
}
