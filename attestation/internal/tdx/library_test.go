// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-tdx-guest/pcs"
	libverify "github.com/google/go-tdx-guest/verify"

	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// answers stands for Intel's service: url -> header and body.
type answers map[string]struct {
	header, issuers string
	body            []byte
}

func (a answers) Get(u string) (map[string][]string, []byte, error) {
	v, ok := a[u]
	if !ok {
		return nil, nil, errors.New("no answer for " + u)
	}
	return map[string][]string{v.header: {v.issuers}}, v.body, nil
}

// library asks go-tdx-guest about the same evidence.
func (f *fixture) library() error {
	chain := func(b []byte) string { return url.QueryEscape(string(b)) }
	a := answers{}
	set := func(u, header string, issuers, body []byte) {
		v := a[u]
		v.header, v.issuers, v.body = header, chain(issuers), body
		a[u] = v
	}
	set(pcs.TcbInfoURL(fmt.Sprintf("%x", faketdx.LabFMSPC)), "Tcb-Info-Issuer-Chain", f.c.TCBIssuers, f.c.TCBInfo)
	set(pcs.QeIdentityURL(), "Sgx-Enclave-Identity-Issuer-Chain", f.c.QEIssuers, f.c.QEIdentity)
	set(pcs.PckCrlURL("platform"), "Sgx-Pck-Crl-Issuer-Chain", f.c.PCKCRLIssuers, f.c.PCKCRL)
	set("https://intel.simulated.invalid/root.der", "", nil, f.c.RootCRL)
	pool := x509.NewCertPool()
	pool.AddCert(f.root.Certs()[0])
	return libverify.RawTdxQuote(f.quote, &libverify.Options{CheckRevocations: true, GetCollateral: true, Getter: a, Now: f.now, TrustedRoots: pool})
}

// TestLibraryAgrees holds this verifier against go-tdx-guest, which knows quotes
// of version 4 only: the same evidence, the same verdict. The library accepts no
// status but UpToDate.
func TestLibraryAgrees(t *testing.T) {
	good := newFixture(t)
	for name, v := range map[string]struct {
		change func(f *fixture)
		ok     bool
	}{
		"as minted":            {func(*fixture) {}, true},
		"module of version 0":  {func(f *fixture) { f.quote = f.newQuote(faketdx.QuoteSpec{TEESVN: [16]byte{4, 0, 7}}) }, true},
		"platform out of date": {func(f *fixture) { f.c = f.collateral(faketdx.CollateralSpec{Status: tdx.OutOfDate}) }, false},
		"module out of date":   {func(f *fixture) { f.c = f.collateral(faketdx.CollateralSpec{ModuleStatus: tdx.OutOfDate}) }, false},
		"QE revoked":           {func(f *fixture) { f.c = f.collateral(faketdx.CollateralSpec{QEStatus: tdx.Revoked}) }, false},
		"PCK revoked":          {func(f *fixture) { f.c = f.collateral(faketdx.CollateralSpec{RevokePCK: true}) }, false},
		"CA revoked":           {func(f *fixture) { f.c = f.collateral(faketdx.CollateralSpec{RevokeCA: true}) }, false},
		"old module SVN":       {func(f *fixture) { f.quote = f.newQuote(faketdx.QuoteSpec{TEESVN: [16]byte{3, 1, 7}}) }, false},
		"old microcode":        {func(f *fixture) { f.quote = f.newQuote(faketdx.QuoteSpec{TEESVN: [16]byte{4, 1, 6}}) }, false},
		"unknown module":       {func(f *fixture) { f.quote = f.newQuote(faketdx.QuoteSpec{TEESVN: [16]byte{4, 2, 7}}) }, false},
		"expired":              {func(f *fixture) { f.now = f.now.AddDate(0, 0, 31) }, false},
		"body changed": {func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.MRTD[0] ^= 1 }})
		}, false},
		"QE of another signer": {func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{TamperQE: func(e *tdx.EnclaveReport) { e.MRSigner[0] ^= 1 }})
		}, false},
		"module of another signer": {func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{Tamper: func(q *tdx.Quote) { q.MRSignerSEAM[0] ^= 1 }})
		}, false},
		"TCB info edited": {func(f *fixture) { f.c.TCBInfo = bytes.Replace(f.c.TCBInfo, []byte(`"svn":5`), []byte(`"svn":4`), 1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := good.with(t, v.change)
			g, err := f.verify()
			if ours := err == nil && g.Status == tdx.UpToDate; ours != v.ok {
				t.Errorf("ours: %t (%v), want %t", ours, err, v.ok)
			}
			if err := f.library(); (err == nil) != v.ok {
				t.Errorf("the library: %v, want %t", err, v.ok)
			}
		})
	}
	if !strings.Contains(good.root.CA().Subject.String(), tdx.Simulated) {
		t.Error("simulated authority does not say so")
	}
}
