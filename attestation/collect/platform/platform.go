// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package platform opens what a node collects evidence with, by the name of its
// platform: which TPM key, which report, which logs. It knows the sources of
// every platform and nothing of what a verifier makes of them.
package platform

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"

	"github.com/sotto-project/sotto/attestation/collect"
	"github.com/sotto-project/sotto/attestation/collect/azure"
	"github.com/sotto-project/sotto/attestation/collect/certs"
	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/collect/gpu"
	"github.com/sotto-project/sotto/attestation/collect/nitro"
	"github.com/sotto-project/sotto/attestation/collect/snp"
	"github.com/sotto-project/sotto/attestation/collect/tdx"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

// The platforms, as policies and reports name them.
const (
	SNP       = "snp"        // SEV-SNP guest, TPM beside it
	SNPSVSM   = "snp-svsm"   // SEV-SNP guest, vTPM in a Secure VM Service Module
	AzureSNP  = "azure-snp"  // Azure confidential VM on SEV-SNP
	AzureTDX  = "azure-tdx"  // Azure confidential VM on TDX
	GoogleSNP = "google-snp" // Compute Engine confidential VM on SEV-SNP
	GoogleTDX = "google-tdx" // Compute Engine confidential VM on TDX
	TDX       = "tdx"        // TDX guest
	TPM       = "tpm"        // a TPM and no confidential VM
	NitroTPM  = "nitro-tpm"  // EC2 instance with a NitroTPM
)

// Config names a platform's sources. Paths are not trusted: what comes out of
// them is verified by every client.
type Config struct {
	// Platform is the name of the platform; snp if absent.
	Platform string `yaml:"platform"`
	// TPM is the device of the TPM; /dev/tpmrm0 if absent.
	TPM string `yaml:"tpm"`
	// EventLog is the firmware's log of this boot; the kernel's file if absent.
	EventLog string `yaml:"event_log"`
	// IMA puts the kernel's IMA log into the evidence, from IMALog or, if that is
	// absent, from where the kernel shows it.
	IMA bool `yaml:"ima"`
	// IMALog is the file of the IMA log.
	IMALog string `yaml:"ima_log"`
	// SNP is for snp, snp-svsm and google-snp.
	SNP snp.Config `yaml:"snp"`
	// TDX is for tdx and google-tdx.
	TDX tdx.Config `yaml:"tdx"`
	// Azure is for azure-snp and azure-tdx.
	Azure azure.Config `yaml:"azure"`
	// Certs is for tpm, and for google-snp and google-tdx, where it needs no more
	// than the issuers of the attestation key's certificate as ak.file.
	Certs certs.Config `yaml:"certs"`
	// Nitro is for nitro-tpm.
	Nitro nitro.Config `yaml:"nitro"`
	// GPU is for machines with GPUs in confidential mode, on any platform.
	GPU gpu.Config `yaml:"gpu"`
}

// A Machine is what a node collects with.
type Machine struct {
	TPM      *tpm.TPM // its attestation key is the platform's
	Reporter collect.Reporter
	EventLog []byte
	CCEL     []byte                                                    // of a TD; nil elsewhere
	IMALog   func() ([]byte, error)                                    // nil without
	GPU      func(ctx context.Context, nonce [32]byte) ([]byte, error) // nil without
}

// Open opens the sources of the platform and its attestation key. Whoever opens
// a machine closes its TPM.
func Open(ctx context.Context, cfg Config) (*Machine, error) {
	if cfg.TPM == "" {
		cfg.TPM = "/dev/tpmrm0"
	}
	t, err := tpm.Open(cfg.TPM)
	if err != nil {
		return nil, err
	}
	m, err := New(ctx, cfg, t, linuxtsm.MakeClient)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return m, nil
}

// New is [Open] on an open TPM, with another implementation of configfs-tsm.
func New(ctx context.Context, cfg Config, t *tpm.TPM, tsm func() (configfsi.Client, error)) (*Machine, error) {
	m := &Machine{TPM: t}
	var err error
	if m.EventLog, err = files.EventLog(cfg.EventLog); err != nil {
		return nil, fmt.Errorf("platform: event log: %w", err)
	}
	if cfg.Platform == TDX || cfg.Platform == GoogleTDX {
		if m.CCEL, err = files.CCEL(cfg.TDX.CCEL); err != nil {
			return nil, fmt.Errorf("platform: event log of the TD: %w", err)
		}
	}
	if cfg.IMA {
		m.IMALog = files.IMALog(cfg.IMALog)
	} else if cfg.IMALog != "" {
		return nil, errors.New("platform: ima_log is named, but ima is off")
	}
	if len(cfg.GPU.Command) > 0 {
		g, err := gpu.New(cfg.GPU)
		if err != nil {
			return nil, err
		}
		m.GPU = g.Evidence
	}
	key, err := cfg.attestationKey()
	if err != nil {
		return nil, err
	}
	if m.Reporter, err = cfg.reporter(t, tsm); err != nil {
		return nil, err
	}
	if _, err := t.OpenAK(ctx, key); err != nil {
		return nil, fmt.Errorf("platform: attestation key of %s: %w", cfg.Platform, err)
	}
	return m, nil
}

// attestationKey is the key that the platform's certificates or reports name.
func (c *Config) attestationKey() (tpm.AKSource, error) {
	switch c.Platform {
	case AzureSNP, AzureTDX:
		return tpm.AzureAK, nil
	case GoogleSNP, GoogleTDX:
		switch c.Certs.AK.Index {
		case 0, tpm.NVGoogleAKCertECC:
			return tpm.GoogleAKECC, nil
		case tpm.NVGoogleAKCertRSA:
			return tpm.GoogleAKRSA, nil
		}
		return tpm.AKSource{}, fmt.Errorf("platform: certs: ak: index %#x is none of Google's", c.Certs.AK.Index)
	}
	return tpm.AKSource{}, nil
}

// reporter puts the platform's sources together.
func (c *Config) reporter(t *tpm.TPM, tsm func() (configfsi.Client, error)) (collect.Reporter, error) {
	own := c.Certs
	if c.Platform == GoogleSNP || c.Platform == GoogleTDX {
		if own.EK = (certs.Source{}); own.AK.Index == 0 {
			own.AK.Index = tpm.NVGoogleAKCertECC
		}
	}
	switch c.Platform {
	case "", SNP, SNPSVSM, GoogleSNP, TDX, GoogleTDX:
		client, err := tsm()
		if err != nil {
			return nil, fmt.Errorf("platform: configfs-tsm: %v; confidential guests with Linux 6.7 or later have /sys/kernel/config/tsm/report", err)
		}
		return c.guest(t, client, own)
	case AzureSNP, AzureTDX:
		if (c.Azure.Cert != "") != (c.Platform == AzureSNP) {
			return nil, fmt.Errorf("platform: azure: cert belongs to %s and to no other", AzureSNP)
		}
		return azure.New(c.Azure, t)
	case TPM:
		return certs.New(own, t)
	case NitroTPM:
		return nitro.New(c.Nitro), nil
	}
	return nil, fmt.Errorf("platform: %q is not a platform", c.Platform)
}

// guest is the part of reporter for those who ask their kernel.
func (c *Config) guest(t *tpm.TPM, client configfsi.Client, own certs.Config) (collect.Reporter, error) {
	var report collect.Reporter
	var err error
	if c.Platform == TDX || c.Platform == GoogleTDX {
		report, err = tdx.New(c.TDX, client)
	} else {
		s := c.SNP
		s.SVSM = c.Platform == SNPSVSM
		report, err = snp.New(s, client)
	}
	if err != nil || c.Platform != GoogleSNP && c.Platform != GoogleTDX {
		return report, err
	}
	issued, err := certs.New(own, t)
	if err != nil {
		return nil, err
	}
	return collect.Reporters{report, issued}, nil
}
