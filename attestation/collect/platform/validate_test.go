// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/collect/azure"
	"github.com/sotto-project/sotto/attestation/collect/certs"
	"github.com/sotto-project/sotto/attestation/collect/gpu"
	"github.com/sotto-project/sotto/attestation/collect/nitro"
	"github.com/sotto-project/sotto/attestation/collect/snp"
	"github.com/sotto-project/sotto/attestation/collect/tdx"
)

// whole has what each platform needs.
func whole() map[string]Config {
	issuers := certs.Config{AK: certs.Source{File: "ak.pem"}}
	crl, intel := snp.Config{CRL: "amd.crl"}, tdx.Config{Collateral: "intel"}
	return map[string]Config{
		"":        {SNP: crl},
		SNP:       {SNP: crl, IMA: true, IMALog: "log", GPU: gpu.Config{Command: []string{"tool"}, Collateral: "nvidia"}},
		SNPSVSM:   {SNP: crl},
		AzureSNP:  {Azure: azure.Config{Cert: "vcek.pem", CRL: "amd.crl"}},
		AzureTDX:  {Azure: azure.Config{Collateral: "intel", Quote: []string{"tool"}}},
		GoogleSNP: {SNP: crl, Certs: issuers},
		GoogleTDX: {TDX: intel, Certs: issuers},
		TDX:       {TDX: intel},
		TPM:       {Certs: issuers},
		NitroTPM:  {},
	}
}

func TestValidate(t *testing.T) {
	for name, c := range whole() {
		c.Platform = name
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name != NitroTPM {
			if err := (Config{Platform: name}).Validate(); err == nil || !strings.Contains(err.Error(), "needs") {
				t.Errorf("%s with nothing: %v", name, err)
			}
		}
	}
	for name, c := range map[string]struct {
		platform string
		change   func(c *Config)
		says     string
	}{
		"no platform":             {SNP, func(c *Config) { c.Platform = "sev" }, "not a platform"},
		"tdx on snp":              {SNP, func(c *Config) { c.TDX.CCEL = "x" }, "tdx is for tdx, google-tdx"},
		"snp on tdx":              {TDX, func(c *Config) { c.SNP.CRL = "x" }, "snp is for"},
		"azure on nitro":          {NitroTPM, func(c *Config) { c.Azure.Quote = []string{"x"} }, "azure is for"},
		"certs on azure":          {AzureSNP, func(c *Config) { c.Certs.EK.Index = 1 }, "certs is for"},
		"nitro on tpm":            {TPM, func(c *Config) { c.Nitro = nitro.Config{Command: []string{"x"}} }, "nitro is for"},
		"a log without ima":       {SNP, func(c *Config) { c.IMA = false }, "ima is off"},
		"collateral without tool": {SNP, func(c *Config) { c.GPU.Command = nil }, "no command"},
		"half of azure":           {AzureSNP, func(c *Config) { c.Azure.CRL = "" }, "azure: crl"},
		"no issuers":              {GoogleSNP, func(c *Config) { c.Certs = certs.Config{} }, "certs: ak: file"},
		"an index of nobody":      {GoogleTDX, func(c *Config) { c.Certs.AK.Index = 7 }, "none of Google's"},
	} {
		bad := whole()[c.platform]
		bad.Platform = c.platform
		c.change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
