// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package azure collects what an Azure confidential VM vouches with: the HCL
// report, which the paravisor keeps in an NV index of the virtual TPM, with the
// collateral of the hardware report inside. It runs in the node and judges
// nothing. Not run on hardware; the formats are those of recorded evidence.
//
// The paravisor asks the hardware at boot for a report over its runtime data,
// which name the TPM's attestation key (tpm.AzureAK: open that one, no other).
// So the report does not carry the 64 bytes of an epoch; the quote by that key
// does.
package azure

import (
	"context"
	"errors"
	"fmt"

	"github.com/sotto-project/sotto/attestation/collect/command"
	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/collect/tdx"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// Config says where the companions of the HCL report are. They are not trusted.
// Either Cert and CRL are set, on SEV-SNP, or Collateral and Quote, on TDX.
type Config struct {
	// Cert is the chip's VCEK, in DER or PEM. Azure's metadata service
	// (/metadata/THIM/amd/certification) has it; the operator puts it here.
	Cert string `yaml:"cert"`
	// CRL is AMD's revocation list for the product line, in DER or PEM.
	CRL string `yaml:"crl"`
	// Collateral is the directory of Intel's answers; see files.TDX.
	Collateral string `yaml:"collateral"`
	// Quote is a command that prints the TD quote over the TDREPORT in the HCL
	// report, which it gets on standard input. Azure makes quotes at a metadata
	// service, and a node dials nothing: something else in the image, measured as
	// everything, has to do it, or to keep the quote of this boot in a file.
	Quote []string `yaml:"quote"`
}

// maxHCL is the size of Azure's NV index and more; maxQuote is the cap of the
// evidence on a TD quote.
const (
	maxHCL   = 16 << 10
	maxQuote = 16 << 10
)

// A Reporter implements collect.Reporter.
type Reporter struct {
	cfg Config
	tpm *tpm.TPM
}

// New checks the configuration. It asks nothing yet.
func New(cfg Config, t *tpm.TPM) (*Reporter, error) {
	snp, tdx := cfg.Cert != "" || cfg.CRL != "", cfg.Collateral != "" || len(cfg.Quote) > 0
	switch {
	case t == nil:
		return nil, errors.New("azure: no tpm")
	case snp == tdx:
		return nil, errors.New("azure: cert and crl are required on SEV-SNP, collateral and quote on TDX")
	case snp && (cfg.Cert == "" || cfg.CRL == ""):
		return nil, errors.New("azure: cert and crl are both required")
	case tdx && (cfg.Collateral == "" || len(cfg.Quote) == 0):
		return nil, errors.New("azure: collateral and quote are both required")
	}
	return &Reporter{cfg: cfg, tpm: t}, nil
}

// Report returns the HCL report of this boot with its companions. It has no use
// for the data; see the package comment.
func (r *Reporter) Report(ctx context.Context, _ [64]byte) ([]evidence.Piece, error) {
	hcl, err := r.tpm.ReadNV(ctx, tpm.NVAzureHCLReport, maxHCL)
	if err != nil {
		return nil, fmt.Errorf("azure: hcl report: %w", err)
	}
	out := []evidence.Piece{{Kind: evidence.KindHCLReport, Data: hcl}}
	var more []evidence.Piece
	if r.cfg.Cert != "" {
		more, err = r.snp()
	} else {
		more, err = r.tdx(ctx, hcl)
	}
	if err != nil {
		return nil, fmt.Errorf("azure: %w", err)
	}
	return append(out, more...), nil
}

func (r *Reporter) snp() ([]evidence.Piece, error) {
	cert, err := files.DER(r.cfg.Cert, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	crl, err := files.DER(r.cfg.CRL, "X509 CRL")
	if err != nil {
		return nil, err
	}
	return []evidence.Piece{{Kind: evidence.KindSNPCert, Data: cert}, {Kind: evidence.KindSNPCRL, Data: crl}}, nil
}

// Where the TDREPORT stands in an HCL report.
const (
	hardwareOffset = 32
	tdReportSize   = 1024
)

func (r *Reporter) tdx(ctx context.Context, hcl []byte) ([]evidence.Piece, error) {
	if len(hcl) < hardwareOffset+tdReportSize {
		return nil, fmt.Errorf("hcl report of %d bytes", len(hcl))
	}
	quote, err := command.Run(ctx, r.cfg.Quote, hcl[hardwareOffset:hardwareOffset+tdReportSize], maxQuote)
	if err != nil {
		return nil, err
	}
	collateral, err := files.TDX(r.cfg.Collateral)
	if err != nil {
		return nil, err
	}
	return []evidence.Piece{{Kind: evidence.KindTDXQuote, Data: tdx.Cut(quote)}, {Kind: evidence.KindTDXCollateral, Data: collateral}}, nil
}
