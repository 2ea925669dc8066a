// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"bytes"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/piece"
)

// TestTotality is AT-66 for what a request carries: with a bit of it flipped,
// nothing is accepted, with all collateral and with what can be waived waived. The
// component verifiers have every bit tried; here it is one of every so many
// bytes, since each try is a whole judgement.
//
// Meaningless is what no decision reads, and the answer says so: texts and types
// of events without a binding in an event log, of which only digests and
// registers are tried; and zero bytes behind a TDX quote, which stay zero.
func TestTotality(t *testing.T) {
	m := minted()
	snp := m.snp(nil).with("crl", nil).with("waive", []string{"crl"})
	tdx := m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{}).with("collateral", nil).with("waive", []string{"collateral"})
	gpu := m.report(fakegpu.Spec{NoTokens: true})
	bare := gpu.with("ocsp", nil).with("rims", nil).with("waive", []string{"ocsp", "rim"})
	for _, c := range []struct {
		name, kind string
		d          doc
		member     string
		stride     int
	}{
		{"report", "sev-snp", m.snp(nil), "report", 7},
		{"certificate", "sev-snp", m.snp(nil), "certificate", 7},
		{"list", "sev-snp", m.snp(nil), "crl", 3},
		{"report, no list", "sev-snp", snp, "report", 5},
		{"certificate, no list", "sev-snp", snp, "certificate", 7},
		{"quote", "tdx", m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{}), "quote", 41},
		{"quote, no collateral", "tdx", tdx, "quote", 13},
		{"GPU evidence", "nvidia-gpu", m.gpus(fakegpu.Spec{NoTokens: true}), "evidence", 1999},
		{"GPU report", "nvidia-gpu", gpu, "report", 97},
		{"GPU report, bare", "nvidia-gpu", bare, "report", 61},
		{"Nitro document", "nitro", m.nitro(fakenitro.Spec{}), "document", 17},
		{"IMA log", "ima-log", m.ima(fakeima.Module()).with("rules.digests", fakeima.Files([]fakeima.Entry{fakeima.Module()})[fakeima.Module().Name]), "log", 3},
	} {
		t.Run("AT-66/"+c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, c.kind, c.d, "accepted")
			b := must(base64decode(c.d[c.member].(string)))
			stride := c.stride
			if testing.Short() {
				stride *= 7
			}
			for i := 0; i < len(b); i += stride {
				flipped := bytes.Clone(b)
				flipped[i] ^= 1 << (i % 8)
				_, exit := piece.Run(c.kind, c.d.with(c.member, b64(flipped)).json(t), attestation.VendorRoots())
				if exit == piece.ExitAccepted || exit == piece.ExitInternal {
					t.Errorf("exit code %d with bit %d of byte %#x flipped", exit, i%8, i)
				}
			}
		})
	}
}
