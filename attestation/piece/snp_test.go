// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"crypto/x509"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
)

func vendorCA(t testing.TB) *x509.Certificate {
	t.Helper()
	line, ok := attestation.VendorRoots().Line("Genoa")
	if !ok {
		t.Fatal("no root for Genoa")
	}
	return line.ARK
}

func TestSNP(t *testing.T) {
	m := minted()
	base := m.snp(nil)
	policyBit := func(n int) func([]byte) {
		return func(b []byte) { b[attestationtest.OffPolicy+n/8] ^= 1 << (n % 8) }
	}
	vlek := must(m.amd.MintChip(attestationtest.ChipSpec{Name: "vlek", CSP: "AWS", TCB: floorTCB()}))
	ofVLEK := func() doc { return m.snpOn(vlek, func(b []byte) { b[attestationtest.OffSigner] = 1 << 2 }) }
	list := func(this, next time.Duration, serials ...*big.Int) string {
		return b64(must(m.amd.CRL(m.now.Add(this), m.now.Add(next), serials...)))
	}
	other := must(attestationtest.GenerateRoot())
	line, _ := m.amd.Roots().Line("Genoa")
	foreign, _ := other.Roots().Line("Genoa")
	tcb := floorTCB()
	floor := doc{"bootloader": tcb.Bootloader, "snp": tcb.SNP, "microcode": tcb.Microcode}
	strictChip := base.with("profile", "strict").with("expect.chip_id", hx(m.chip.ID[:]))
	for _, c := range []struct {
		name string
		d    doc
		want string
		gaps []string // nil: not looked at
	}{
		{"everything", strictChip, "accepted", []string{}},
		{"nothing expected", base.with("expect", nil), "accepted", []string{"floor", "report_data", "measurement", "profile"}},
		{"floor", base.with("floor", floor), "accepted", []string{"profile"}},
		{"AT-10 floor", base.with("floor", floor).with("floor.microcode", tcb.Microcode+1), "att.tcb", nil},
		{"AT-10 floor of the boot loader", base.with("floor", doc{"bootloader": tcb.Bootloader + 1}), "att.tcb", nil},
		{"AT-10 launched under older firmware", m.snp(func(b []byte) { b[attestationtest.OffLaunchTCB+6]-- }).with("floor", floor), "att.tcb", nil},
		{"AT-10 it may be rolled back", m.snp(func(b []byte) { b[attestationtest.OffCurrentTCB+6]++ }).with("profile", "strict"), "att.tcb", nil},
		{"AT-11", m.snp(func(b []byte) { b[attestationtest.OffReportedTCB+6]++ }), "att.tcb.cert", nil},
		{"AT-14 no list", base.with("crl", nil), "att.crl", nil},
		{"AT-14 waived", base.with("crl", nil).with("waive", []string{"crl"}), "accepted", []string{"crl", "floor", "profile"}},
		{"AT-14 waived, but there and old", base.with("crl", list(-2*time.Hour, -time.Hour)).with("waive", []string{"crl"}), "att.crl", nil},
		{"AT-14 waived, but there", base.with("waive", []string{"crl"}), "accepted", []string{"floor", "profile"}},
		{"AT-14 old", base.with("crl", list(-2*time.Hour, -time.Hour)), "att.crl", nil},
		{"AT-14 in a grace", base.with("crl", list(-2*time.Hour, -time.Hour)).with("grace", "2h"), "accepted", []string{"grace", "floor", "profile"}},
		{"AT-14 past a grace", base.with("crl", list(-2*time.Hour, -time.Hour)).with("grace", "1m"), "att.crl", nil},
		{"AT-14 in a profile's grace", strictChip.with("crl", list(-2*time.Hour, -time.Hour)), "accepted", []string{"grace"}},
		{"AT-14 in less than a profile's grace", strictChip.with("crl", list(-2*time.Hour, -time.Hour)).with("grace", "1m"), "att.crl", nil},
		{"AT-13", base.with("crl", list(-time.Hour, time.Hour, m.chip.Serial)), "att.revoked", nil},
		{"AT-13 waived, but there", base.with("crl", list(-time.Hour, time.Hour, m.chip.Serial)).with("waive", []string{"crl"}), "att.revoked", nil},
		{"AT-15 another root, whose list it is not", base.with("roots", pems(foreign.ARK)).with("chain", pems(foreign.ASK)), "att.crl", nil},
		{"AT-15 another root, no list", base.with("roots", pems(foreign.ARK)).with("chain", pems(foreign.ASK)).with("crl", nil).with("waive", []string{"crl"}), "att.chain", nil},
		{"AT-15 chain of another root", base.with("chain", pems(foreign.ASK)), "att.chain", nil},
		{"AT-15 chain of real issuers", base.with("chain", pems(vendorCA(t))), "att.chain", nil},
		{"AT-15 no issuer", base.with("chain", nil), "att.chain", nil},
		{"all roots, one text", base.with("chain", nil).with("roots", strings.Join(pems(line.ARK, line.ASK, line.ASVK), "")), "accepted", nil},
		{"the root is in the chain", base.with("chain", pems(line.ASK, line.ARK)), "accepted", nil},
		{"PEM with its chain", base.with("chain", nil).with("certificate", strings.Join(pems(must(x509.ParseCertificate(m.chip.Cert)), line.ASK, line.ARK), "")), "accepted", nil},
		{"AT-16", base.with("products", []string{"Milan", "Turin"}), "att.product", nil},
		{"AT-16 none", base.with("products", []string{}), "att.product", nil},
		{"AT-18", ofVLEK(), "att.signingkey", nil},
		{"AT-18 of another provider", ofVLEK().with("vleks", []string{"Azure"}), "att.signingkey", nil},
		{"VLEK", ofVLEK().with("vleks", []string{"AWS"}), "accepted", nil},
		{"VLEK without its issuer", ofVLEK().with("vleks", []string{"AWS"}).with("chain", pems(line.ASK)).with("crl", nil).with("waive", []string{"crl"}), "att.chain", nil},
		{"AT-63 VLEK, strict", ofVLEK().with("vleks", []string{"AWS"}).with("profile", "strict"), "att.signingkey", nil},
		{"AT-63", base.with("profile", "strict"), "att.inventory", nil},
		{"AT-63 another chip", base.with("expect.chip_id", strings.Repeat("00", 64)), "att.inventory", nil},
		{"AT-07", m.snp(policyBit(19)), "att.debug", nil},
		{"AT-07 waived", m.snp(policyBit(19)).with("waive", []string{"debug"}), "accepted", []string{"debug", "floor", "profile"}},
		{"AT-07 waived, business", m.snp(policyBit(19)).with("waive", []string{"debug"}).with("profile", "business"), "accepted", []string{"debug"}},
		{"AT-07 waived and not so", base.with("waive", []string{"debug"}), "accepted", []string{"floor", "profile"}},
		{"AT-08", m.snp(policyBit(18)), "att.migrate", nil},
		{"AT-08 attached", m.snp(func(b []byte) { b[attestationtest.OffMigration] = 0 }), "att.migrate", nil},
		{"AT-08 waived", m.snp(policyBit(18)).with("waive", []string{"migration"}).with("profile", "business"), "accepted", []string{"migration"}},
		{"AT-19 without a profile", m.snp(policyBit(16)), "accepted", nil},
		{"AT-19", m.snp(policyBit(16)).with("profile", "strict").with("expect.chip_id", hx(m.chip.ID[:])), "att.platform", nil},
		{"AT-22", base.with("expect.report_data", strings.Repeat("00", 64)), "att.binding", nil},
		{"AT-23", base.with("expect.measurement", strings.Repeat("00", 48)), "att.image", nil},
		{"AT-23 HOST_DATA", base.with("expect.host_data", strings.Repeat("01", 32)), "att.image", nil},
		{"AT-23 ID key", base.with("expect.id_key_digest", strings.Repeat("01", 48)), "att.image", nil},
		{"AT-23 author key", base.with("expect.author_key_digest", strings.Repeat("01", 48)), "att.image", nil},
		{"AT-23 family", base.with("expect.family_id", strings.Repeat("01", 16)), "att.image", nil},
		{"AT-23 image", base.with("expect.image_id", strings.Repeat("01", 16)), "att.image", nil},
		{"AT-23 guest SVN", base.with("expect.guest_svn", 1), "att.image", nil},
		{"VMPL", base.with("expect.vmpl", 1), "att.vmpl", nil},
		{"VMPL as it is", base.with("expect.vmpl", 0).with("expect.guest_svn", 0), "accepted", nil},
		{"signature", base.with("report", m.snp(nil)["report"]).with("certificate", b64(must(m.amd.NewChip("piece")).Cert)), "att.signature", nil},
		{"malformed root", base.with("roots", []string{"AAAA"}), "piece.request", nil},
		{"roots of both kinds", base.with("roots", pems(line.ARK, vendorCA(t))), "piece.request", nil},
		{"a leaf as root", base.with("roots", pems(must(x509.ParseCertificate(m.chip.Cert)))), "piece.request", nil},
		{"no roots in the list", base.with("roots", []string{}), "piece.request", nil},
		{"hex in upper case", base.with("expect.report_data", strings.Repeat("AA", 64)), "piece.request", nil},
		{"hex too short", base.with("expect.report_data", strings.Repeat("00", 63)), "piece.request", nil},
		{"base64 in two lines", base.with("report", base["report"].(string)[:76]+"\n"+base["report"].(string)[76:]), "piece.request", nil},
		{"base64 for URLs", base.with("report", "-_-_"), "piece.request", nil},
		{"waived twice", base.with("waive", []string{"crl", "crl"}), "piece.request", nil},
		{"a floor over 255", base.with("floor", doc{"snp": 256}), "piece.request", nil},
		{"a floor under 0", base.with("floor", doc{"snp": -1}), "piece.request", nil},
		{"a floor with a fraction", base.with("floor", doc{"snp": 1.5}), "piece.request", nil},
		{"grace under 0", base.with("grace", "-1h"), "piece.request", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := expect(t, "sev-snp", c.d, c.want)
			if c.gaps != nil && !slices.Equal(a.gaps(), c.gaps) {
				t.Errorf("gaps %q, want %q", a.gaps(), c.gaps)
			}
			if c.want == "att.crl" && a.Hint == "" || strings.HasPrefix(c.want, "att.") && c.want != "att.chain" && a.Claims["measurement"] == nil {
				t.Errorf("%+v", a)
			}
		})
	}
}
