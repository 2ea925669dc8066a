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
package snp

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"
	"github.com/google/go-configfs-tsm/report"
	"github.com/google/go-sev-guest/abi"

	"github.com/sotto-project/sotto/attestation/collect"
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
}

// A Reporter implements [collect.Reporter].
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
func (r *Reporter) Report(_ context.Context, data [64]byte) (*collect.Endorsement, error) {
	resp, err := report.Get(r.tsm, &report.Request{InBlob: data[:], GetAuxBlob: r.cfg.Cert == ""})
	if err != nil {
		return nil, fmt.Errorf("snp: %v", err)
	}
	if p := strings.TrimSpace(resp.Provider); p != "sev_guest" {
		return nil, fmt.Errorf("snp: the report comes from %q, want sev_guest", p)
	}
	if len(resp.OutBlob) < abi.ReportSize {
		return nil, fmt.Errorf("snp: a report of %d bytes, want %d", len(resp.OutBlob), abi.ReportSize)
	}
	e := &collect.Endorsement{Report: resp.OutBlob[:abi.ReportSize]}
	if e.Cert, err = r.cert(resp.AuxBlob); err != nil {
		return nil, err
	}
	e.CRL, err = readDER(r.cfg.CRL, "X509 CRL")
	return e, err
}

func (r *Reporter) cert(table []byte) ([]byte, error) {
	if r.cfg.Cert != "" {
		return readDER(r.cfg.Cert, "CERTIFICATE")
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

// maxCollateral bounds a collateral file, in bytes.
const maxCollateral = 1 << 20

func readDER(path, kind string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("snp: %v", err)
	}
	if len(b) == 0 || len(b) > maxCollateral {
		return nil, fmt.Errorf("snp: %s: %d bytes", path, len(b))
	}
	if block, _ := pem.Decode(b); block != nil {
		if block.Type != kind {
			return nil, fmt.Errorf("snp: %s holds a %s, want a %s", path, block.Type, kind)
		}
		return block.Bytes, nil
	}
	return b, nil
}
