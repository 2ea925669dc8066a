// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"slices"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

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

// piecesOf lists what epoch evidence of each platform consists of beside
// [commonPieces], each once. A marker tells the platforms apart; see platformOf.
var piecesOf = map[Platform][]evidence.Kind{
	SNP:       {evidence.KindSNPReport, evidence.KindSNPCert, evidence.KindSNPCRL},
	SNPSVSM:   {evidence.KindSNPReport, evidence.KindSNPCert, evidence.KindSNPCRL, evidence.KindSVSMManifest},
	AzureSNP:  {evidence.KindHCLReport, evidence.KindSNPCert, evidence.KindSNPCRL},
	AzureTDX:  {evidence.KindHCLReport, evidence.KindTDXQuote, evidence.KindTDXCollateral},
	GoogleSNP: {evidence.KindSNPReport, evidence.KindSNPCert, evidence.KindSNPCRL, evidence.KindAKCerts},
	GoogleTDX: {evidence.KindTDXQuote, evidence.KindTDXCollateral, evidence.KindCCEL, evidence.KindAKCerts},
	TDX:       {evidence.KindTDXQuote, evidence.KindTDXCollateral, evidence.KindCCEL},
	TPM:       {evidence.KindAKCerts, evidence.KindEKCerts},
	NitroTPM:  {evidence.KindNitroDoc},
}

// commonPieces are part of every platform's epoch evidence; optionalPieces may
// be, and what requires them is the policy.
var (
	commonPieces = []evidence.Kind{evidence.KindKeyStatement, evidence.KindConfig, evidence.KindEventLog, evidence.KindAKPublic,
		evidence.KindQuote, evidence.KindQuoteSig, evidence.KindPCRs, evidence.KindREKPublic, evidence.KindREKParent,
		evidence.KindCreationData, evidence.KindCreation, evidence.KindCreationSig}
	optionalPieces = []evidence.Kind{evidence.KindIMALog, evidence.KindGPU}

	freshPieces         = []evidence.Kind{evidence.KindFreshQuote, evidence.KindFreshQuoteSig, evidence.KindFreshPCRs}
	optionalFreshPieces = []evidence.Kind{evidence.KindFreshIMALog}
)

// Pieces returns the kinds of piece that epoch evidence of a platform must and
// may have; none for a platform that does not exist.
func (p Platform) Pieces() (must, may []evidence.Kind) {
	own, ok := piecesOf[p]
	if !ok {
		return nil, nil
	}
	must, may = append(slices.Clone(commonPieces), own...), slices.Clone(optionalPieces)
	if p == SNPSVSM {
		may = append(may, evidence.KindAKCerts) // for an SVSM that names its endorsement key only
	}
	return must, may
}

// platformOf tells the platform by the pieces that mark it. Evidence that leaves
// a marker out is evidence of a lesser platform, with every check of that one.
func platformOf(b *evidence.Bundle) (Platform, error) {
	has := func(k evidence.Kind) bool { _, ok := b.Get(k); return ok }
	switch {
	case has(evidence.KindNitroDoc):
		return NitroTPM, nil
	case has(evidence.KindHCLReport) && has(evidence.KindTDXQuote):
		return AzureTDX, nil
	case has(evidence.KindHCLReport):
		return AzureSNP, nil
	case has(evidence.KindTDXQuote) && has(evidence.KindAKCerts):
		return GoogleTDX, nil
	case has(evidence.KindTDXQuote):
		return TDX, nil
	case has(evidence.KindSNPReport) && has(evidence.KindSVSMManifest):
		return SNPSVSM, nil
	case has(evidence.KindSNPReport) && has(evidence.KindAKCerts):
		return GoogleSNP, nil
	case has(evidence.KindSNPReport):
		return SNP, nil
	case has(evidence.KindEKCerts):
		return TPM, nil
	}
	return "", refuse.As(refuse.Absent, "epoch evidence has no hardware report and no endorsement certificate")
}

// registersProve says where the PCRs are proof of software: where the vTPM is
// itself inside the launch measurement, or the TPM is the machine's own. On the
// others they are custody of keys, and the launch measurement or the RTMRs speak
// for the software.
func (p Platform) registersProve() bool {
	return p == SNPSVSM || p == AzureSNP || p == AzureTDX || p == TPM || p == NitroTPM
}

// ownersTPM is why registers are no proof of software where registersProve says
// so, for gaps.
const ownersTPM = "on the word of a TPM that the machine's owner may hold"

// measuresLaunch says whether the platform has a launch measurement that
// [Image.Measurement] can be compared with.
func (p Platform) measuresLaunch() bool { return p != TPM && p != NitroTPM }

// measuresRTMRs says whether kernel, initrd and command line are in RTMRs.
func (p Platform) measuresRTMRs() bool { return p == TDX || p == GoogleTDX }
