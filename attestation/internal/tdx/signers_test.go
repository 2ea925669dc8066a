// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// signers has documents that are not Intel's word, or not as it was given.
func signers(t *testing.T, good *fixture) {
	_, caKey, _ := good.root.Keys()
	inner, _, err := tdx.OpenSigned(good.c.TCBInfo, "tcbInfo")
	if err != nil {
		t.Fatal(err)
	}
	chain := func(leaf *x509.Certificate) []byte {
		return relist(nil, func([][]byte) [][]byte { return [][]byte{leaf.Raw, good.root.Certs()[0].Raw} })
	}
	form := func(change func([]byte) []byte) func(*fixture) {
		return func(f *fixture) { f.c.TCBInfo = change(bytes.Clone(f.c.TCBInfo)) }
	}
	replace := func(old, new string) func(*fixture) {
		return form(func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) })
	}
	c := refuse.TDXCollateral
	run(t, good, []variant{
		{"by the authority of PCKs", func(f *fixture) {
			f.c.TCBInfo, f.c.TCBIssuers = signDocument(t, caKey, "tcbInfo", inner), chain(f.root.CA())
		}, c},
		{"by a PCK", func(f *fixture) {
			f.c.TCBInfo, f.c.TCBIssuers = signDocument(t, f.platform.Key(), "tcbInfo", inner), chain(f.platform.Cert)
		}, c},
		{"by a PCK, with its chain", func(f *fixture) {
			f.c.TCBInfo = signDocument(t, f.platform.Key(), "tcbInfo", inner)
			f.c.TCBIssuers = relist(nil, func([][]byte) [][]byte {
				return [][]byte{f.platform.Cert.Raw, f.root.CA().Raw, f.root.Certs()[0].Raw}
			})
		}, c},
		{"by a PCK that calls itself TCB signing", func(f *fixture) {
			p := f.newPlatform(faketdx.PlatformSpec{Subject: "Intel SGX TCB Signing"})
			f.c.TCBInfo, f.c.TCBIssuers = signDocument(t, p.Key(), "tcbInfo", inner), chain(p.Cert)
		}, c},
		{"of the TCB info over the QE identity", func(f *fixture) { f.c.QEIdentity = must(f.root.SignDocument("enclaveIdentity", inner)) }, c},
		{"under the other name", func(f *fixture) { f.c.TCBInfo = must(f.root.SignDocument("enclaveIdentity", inner)) }, c},
		{"upper-case signature", form(func(b []byte) []byte {
			copy(b[len(b)-130:], bytes.ToUpper(b[len(b)-130:len(b)-2]))
			return b
		}), c},
		{"signature of zeros", form(func(b []byte) []byte {
			copy(b[len(b)-130:], strings.Repeat("0", 128))
			return b
		}), c},
		{"signature cut", form(func(b []byte) []byte { return append(b[:len(b)-4], `"}`...) }), c},
		{"another member", replace(`,"signature"`, `,"other":1,"signature"`), c},
		{"space inside", replace(`,"signature":`, `, "signature":`), c},
		{"space before", replace(`{`, ` {`), c},
		{"byte order mark", replace(`{`, "\xef\xbb\xbf{"), c},
		{"inner object edited", replace(`"version":3`, `"version": 3`), c},
	})
}

// versions takes a quote of one version for one of the other.
func versions(t *testing.T, good *fixture) {
	for name, s := range map[string]faketdx.QuoteSpec{
		"v4 body as v5":         {},
		"v5 TDX 1.0 body as v4": {Version: 5},
		"v5 TDX 1.5 body as v4": {Version: 5, TDX15: true},
	} {
		b := good.newQuote(s)
		binary.LittleEndian.PutUint16(b, 9-binary.LittleEndian.Uint16(b))
		run(t, good, []variant{{name, func(f *fixture) { f.quote = b }, refuse.Format}})
	}
	for _, s := range []faketdx.QuoteSpec{
		{After: func(q *tdx.Quote) { q.Version = 5 }},
		{Version: 5, After: func(q *tdx.Quote) { q.Version = 4 }},
		{Version: 5, After: func(q *tdx.Quote) { q.Type = tdx.TDX15 }},
		{Version: 5, TDX15: true, After: func(q *tdx.Quote) { q.Type = tdx.TDX10 }},
	} {
		run(t, good, []variant{{"well-formed, as signed for the other", func(f *fixture) { f.quote = f.newQuote(s) }, refuse.Signature}})
	}
}
