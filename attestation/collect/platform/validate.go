// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/attestation/collect/azure"
	"github.com/sotto-project/sotto/attestation/collect/certs"
	"github.com/sotto-project/sotto/attestation/collect/nitro"
	"github.com/sotto-project/sotto/attestation/collect/snp"
	"github.com/sotto-project/sotto/attestation/collect/tdx"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

// users says which platforms each part of a configuration is for.
var users = map[string][]string{
	"snp":   {SNP, SNPSVSM, GoogleSNP},
	"tdx":   {TDX, GoogleTDX},
	"azure": {AzureSNP, AzureTDX},
	"certs": {TPM, GoogleSNP, GoogleTDX},
	"nitro": {NitroTPM},
}

// Validate checks what can be checked without touching a device or a file: that
// the platform is one, that what it needs is named, and that nothing is named
// which it would not read.
func (c Config) Validate() error {
	p := c.Platform
	if p == "" {
		p = SNP
	}
	switch p {
	case SNP, SNPSVSM, AzureSNP, AzureTDX, GoogleSNP, GoogleTDX, TDX, TPM, NitroTPM:
	default:
		return fmt.Errorf("platform: %q is not a platform", p)
	}
	for _, part := range []struct {
		name  string
		given bool
	}{
		{"snp", c.SNP != snp.Config{}}, {"tdx", c.TDX != tdx.Config{}}, {"azure", !reflect.DeepEqual(c.Azure, azure.Config{})},
		{"certs", c.Certs != certs.Config{}}, {"nitro", !reflect.DeepEqual(c.Nitro, nitro.Config{})},
	} {
		if part.given && !slices.Contains(users[part.name], p) {
			return fmt.Errorf("platform: %s is for %s, and the platform is %s", part.name, strings.Join(users[part.name], ", "), p)
		}
	}
	if c.IMALog != "" && !c.IMA {
		return errors.New("platform: ima_log is named, but ima is off")
	}
	if c.GPU.Collateral != "" && len(c.GPU.Command) == 0 {
		return errors.New("platform: gpu: collateral is named, but no command")
	}
	return c.complete(p)
}

// complete reports what a platform needs and does not have.
func (c *Config) complete(p string) error {
	var missing []string
	need := func(ok bool, field string) {
		if !ok {
			missing = append(missing, field)
		}
	}
	switch p {
	case SNP, SNPSVSM, GoogleSNP:
		need(c.SNP.CRL != "", "snp: crl")
	case TDX, GoogleTDX:
		need(c.TDX.Collateral != "", "tdx: collateral")
	case AzureSNP:
		need(c.Azure.Cert != "", "azure: cert")
		need(c.Azure.CRL != "", "azure: crl")
	case AzureTDX:
		need(c.Azure.Collateral != "", "azure: collateral")
		need(len(c.Azure.Quote) > 0, "azure: quote")
	case TPM:
		need(c.Certs.AK != certs.Source{} || c.Certs.EK != certs.Source{}, "certs: ak or ek")
	}
	if p == GoogleSNP || p == GoogleTDX {
		need(c.Certs.AK.File != "", "certs: ak: file")
		switch c.Certs.AK.Index {
		case 0, tpm.NVGoogleAKCertECC, tpm.NVGoogleAKCertRSA:
		default:
			return fmt.Errorf("platform: certs: ak: index %#x is none of Google's", c.Certs.AK.Index)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("platform: %s needs %s: evidence without is refused", p, strings.Join(missing, " and "))
	}
	return nil
}
