// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package snp asks the firmware of a SEV-SNP guest for its attestation report
// through the kernel's configfs-tsm interface. It runs in the node and judges
// nothing.
//
// Certificate and revocation list are collateral that the operator provides as
// files: a node dials nobody, and asking AMD about a chip would say which
// machine is in use. A certificate that the host hands over with the report is
// taken when no file is named.
//
// Where a Secure VM Service Module (SVSM) runs the virtual TPM, the report is
// its: over the services manifest, and over the data as nonce. Not run on
// hardware.
package snp

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"
	"github.com/google/go-configfs-tsm/report"
	"github.com/google/go-sev-guest/abi"

	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// Config names the collateral files. They are not trusted: verifiers check both
// against AMD's root.
type Config struct {
	// Cert is the chip's VCEK, or the provider's VLEK, in DER or PEM. Empty:
	// the host's certificate table, which AMD's extended report carries.
	Cert string `yaml:"cert"`
	// CRL is AMD's revocation list for the product line, in DER or PEM. It is
	// read anew for each report: replace the file before it expires. Required.
	CRL string `yaml:"crl"`
	// SVSM asks the SVSM under the guest for its report and its vTPM's manifest
	// (AMD 58019) in place of the guest's own report. Linux 6.11 and later. It
	// follows from the platform's name, not from a setting.
	SVSM bool `yaml:"-"`
}

// vtpm names the vTPM among the SVSM's services (AMD 58019, Section 8.3.1).
const vtpm = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3"

// A Reporter implements collect.Reporter.
type Reporter struct {
	cfg Config
	tsm configfsi.Client
}

// Open opens the kernel's interface. It refuses a machine that is no SEV-SNP
// guest.
func Open(cfg Config) (*Reporter, error) {
	c, err := linuxtsm.MakeClient()
	if err != nil {
		return nil, fmt.Errorf("snp: configfs-tsm: %v; a SEV-SNP guest with Linux 6.7 or later has /sys/kernel/config/tsm/report", err)
	}
	return New(cfg, c)
}

// New is [Open] with another implementation of the interface.
func New(cfg Config, c configfsi.Client) (*Reporter, error) {
	if cfg.CRL == "" {
		return nil, errors.New("snp: crl is required: evidence without a revocation list is refused")
	}
	return &Reporter{cfg: cfg, tsm: c}, nil
}

// Report gets a report over data, with its collateral.
func (r *Reporter) Report(_ context.Context, data [64]byte) ([]evidence.Piece, error) {
	req := &report.Request{InBlob: data[:], GetAuxBlob: r.cfg.Cert == ""}
	if r.cfg.SVSM {
		req.ServiceProvider, req.ServiceGuid, req.ServiceManifestVersion = "svsm", vtpm, "0"
	}
	resp, err := report.Get(r.tsm, req)
	if err != nil {
		return nil, fmt.Errorf("snp: %v", err)
	}
	if p := strings.TrimSpace(resp.Provider); p != "sev_guest" {
		return nil, fmt.Errorf("snp: the report comes from %q, want sev_guest", p)
	}
	if len(resp.OutBlob) < abi.ReportSize {
		return nil, fmt.Errorf("snp: a report of %d bytes, want %d", len(resp.OutBlob), abi.ReportSize)
	}
	cert, err := r.cert(resp.AuxBlob)
	if err != nil {
		return nil, err
	}
	crl, err := files.DER(r.cfg.CRL, "X509 CRL")
	if err != nil {
		return nil, err
	}
	out := []evidence.Piece{
		{Kind: evidence.KindSNPReport, Data: resp.OutBlob[:abi.ReportSize]},
		{Kind: evidence.KindSNPCert, Data: cert},
		{Kind: evidence.KindSNPCRL, Data: crl},
	}
	if r.cfg.SVSM {
		out = append(out, evidence.Piece{Kind: evidence.KindSVSMManifest, Data: resp.ManifestBlob})
	}
	return out, nil
}

func (r *Reporter) cert(table []byte) ([]byte, error) {
	if r.cfg.Cert != "" {
		return files.DER(r.cfg.Cert, "CERTIFICATE")
	}
	t := new(abi.CertTable)
	if err := t.Unmarshal(table); err != nil {
		return nil, errors.New("snp: the host hands over no certificate table; name the chip's certificate in cert")
	}
	for _, guid := range []string{abi.VcekGUID, abi.VlekGUID} {
		if der, err := t.GetByGUIDString(guid); err == nil {
			if _, err := x509.ParseCertificate(der); err != nil {
				return nil, errors.New("snp: the host's certificate table holds no certificate for the chip")
			}
			return der, nil
		}
	}
	return nil, errors.New("snp: the host's certificate table has neither VCEK nor VLEK; name the chip's certificate in cert")
}
