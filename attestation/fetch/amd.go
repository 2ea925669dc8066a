// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/google/go-sev-guest/abi"

	"github.com/sotto-project/sotto/attestation/internal/snp"
)

const amd = "https://kdsintf.amd.com"

// AMD gets the collateral for a SEV-SNP report (AMD 57230, Section 4): the VCEK
// of its chip at its reported TCB (vcek.der), the product line's revocation list
// (amd.crl), and, for auditors, ASK and ARK (amd-chain.pem). It must be asked
// again after each firmware update. A VLEK is the provider's to give.
func (f *Fetcher) AMD(ctx context.Context, report []byte) ([]File, error) {
	r, err := snp.ParseReport(report)
	if err != nil {
		return nil, argument("%v", err)
	}
	switch {
	case r.Product == "":
		return nil, argument("the report names no processor that is known")
	case r.Signer.SigningKey != abi.VcekReportSigner:
		return nil, argument("the report is not signed by a VCEK")
	case r.Signer.MaskChipKey, r.ChipID == [64]byte{}:
		return nil, argument("the report hides its chip")
	}
	base := amd + "/vcek/v1/" + r.Product
	id, levels := r.ChipID[:], ""
	if r.Product == "Turin" { // FMC comes first; a chip has eight bytes
		id, levels = id[:8], fmt.Sprintf("fmcSPL=%d&", r.Reported.Spl4)
	}
	address := fmt.Sprintf("%s/%s?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", base, hex.EncodeToString(id), levels,
		r.Reported.BlSpl, r.Reported.TeeSpl, r.Reported.SnpSpl, r.Reported.UcodeSpl)
	vcek, _, err := f.get(ctx, address, maxSmall)
	if err != nil {
		return nil, err
	}
	if _, err := x509.ParseCertificate(vcek); err != nil {
		return nil, &ShapeError{address, err}
	}
	list, _, err := f.crl(ctx, base+"/crl")
	if err != nil {
		return nil, err
	}
	above, _, err := f.get(ctx, base+"/cert_chain", maxSmall)
	if err != nil {
		return nil, err
	}
	if err := chain(above, 2); err != nil {
		return nil, &ShapeError{base + "/cert_chain", err}
	}
	return []File{{"vcek.der", vcek}, {"amd.crl", list}, {"amd-chain.pem", above}}, nil
}
