// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpmcert

import (
	"crypto/x509"
	"embed"
	"encoding/pem"
)

//go:embed certs
var files embed.FS

// The embedded roots: file, SHA-256 of the certificate, end of validity, and
// where it is from. A test holds each against its line.
//
//	google-ek-ak-root-2022            594759594b9b61..  2122-07-08  go-tpm-tools v0.4.11, server/ca-certs/gcp_ek_ak_ca_root.crt
//	google-tpm-ek-root-2018           9bd5285f8fb185..  2118-04-06  go-tpm-tools v0.4.11, server/ca-certs/tpm_ek_root_1.cer
//	microsoft-azure-vtpm-root-2023    e6c596b17f8ffe..  2048-06-01  Microsoft Learn, "Trusted Launch FAQ", Certificates

// Google returns the roots of Compute Engine's vTPMs: "EK/AK CA Root", and the
// older "tpm_ek_v1_cloud_host_root".
func Google() []*x509.Certificate {
	return load("google-ek-ak-root-2022", "google-tpm-ek-root-2018")
}

// Microsoft returns the root of Azure's vTPMs, "Azure Virtual TPM Root Certificate
// Authority 2023".
func Microsoft() []*x509.Certificate { return load("microsoft-azure-vtpm-root-2023") }

// TPM returns the roots of makers of discrete and firmware TPMs. There are none:
// no list of theirs came in a form that could be checked, so policy has to name
// them.
func TPM() []*x509.Certificate { return nil }

// load reads embedded certificates. One that cannot be read is one that is not
// trusted; a test reads them all.
func load(names ...string) []*x509.Certificate {
	var out []*x509.Certificate
	for _, name := range names {
		b, err := files.ReadFile("certs/" + name + ".pem")
		if err != nil {
			continue
		}
		block, _ := pem.Decode(b)
		if block == nil {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, cert)
		}
	}
	return out
}
