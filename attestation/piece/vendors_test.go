// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"bytes"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// A variant is one row of a table: a request, what becomes of it, and the names
// of its gaps (nil: not looked at).
type variant struct {
	name string
	d    doc
	want string
	gaps []string
}

func judgeAll(t *testing.T, kind string, rows []variant) {
	t.Helper()
	for _, c := range rows {
		t.Run(c.name, func(t *testing.T) {
			a := expect(t, kind, c.d, c.want)
			if c.gaps != nil && !slices.Equal(a.gaps(), c.gaps) {
				t.Errorf("gaps %q, want %q", a.gaps(), c.gaps)
			}
		})
	}
}

func TestTDX(t *testing.T) {
	m := minted()
	base := m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{})
	attributes := func(v uint64) faketdx.QuoteSpec {
		return faketdx.QuoteSpec{Tamper: func(q *tdx.Quote) { q.Attributes |= v }}
	}
	status := func(s tdx.Status) doc { return m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{Status: s}) }
	id := must(tdx.VerifySignatures(must(m.platform.Quote(faketdx.QuoteSpec{})), m.amd.Roots().With("intel", m.intel.Certs()...), m.now)).PCK.ID()
	old := m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{Issued: m.now.Add(-48 * time.Hour), Next: m.now.Add(-time.Hour)})
	other := must(faketdx.Generate())
	none := base.with("collateral", nil)
	bare := none.with("waive", []string{"collateral"})
	enrolled := base.with("profile", "strict").with("expect.platform", hx(id[:]))
	service := m.tdx(faketdx.QuoteSpec{Version: 5, TDX15: true, Tamper: func(q *tdx.Quote) { q.MRServiceTD[0] = 9 }}, faketdx.CollateralSpec{})
	judgeAll(t, "tdx", []variant{
		{"everything", enrolled, "accepted", []string{}},
		{"nothing expected", base.with("expect", nil), "accepted", []string{"evaluation", "report_data", "mrtd", "profile"}},
		{"version 5", m.tdx(faketdx.QuoteSpec{Version: 5, TDX15: true}, faketdx.CollateralSpec{}), "accepted", nil},
		{"padding", m.tdx(faketdx.QuoteSpec{Padding: 40}, faketdx.CollateralSpec{}), "accepted", nil},
		{"no collateral", none, "att.crl", nil},
		{"collateral waived", bare, "accepted", []string{"collateral", "profile"}},
		{"collateral waived, business", bare.with("profile", "business"), "accepted", []string{"collateral"}},
		{"collateral waived, but there", base.with("waive", []string{"collateral"}), "accepted", []string{"evaluation", "profile"}},
		{"collateral waived, but there and old", old.with("waive", []string{"collateral"}), "att.crl", nil},
		{"AT-14 old", old, "att.crl", nil},
		{"AT-14 in a grace", old.with("grace", "2h"), "accepted", []string{"grace", "evaluation", "profile"}},
		{"AT-14 past a grace", old.with("grace", "1m"), "att.crl", nil},
		{"AT-14 in a profile's grace", old.with("profile", "business"), "accepted", []string{"grace"}},
		{"AT-13", m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{RevokePCK: true}), "att.revoked", nil},
		{"AT-15", base.with("roots", pems(other.Certs()...)), "att.chain", nil},
		{"AT-15 without collateral", bare.with("roots", pems(other.Certs()...)), "att.chain", nil},
		{"AT-59 out of date", status(tdx.OutOfDate), "att.tdx.status", nil},
		{"AT-59 out of date, allowed", status(tdx.OutOfDate).with("allow_status", []string{"OutOfDate"}), "accepted", []string{"status", "evaluation", "profile"}},
		{"AT-59 out of date, another allowed", status(tdx.OutOfDate).with("allow_status", []string{"SWHardeningNeeded"}), "att.tdx.status", nil},
		{"AT-59 out of date, strict", status(tdx.OutOfDate).with("profile", "strict").with("allow_status", []string{"OutOfDate"}), "att.tdx.status", nil},
		{"AT-59 out of date, business", status(tdx.OutOfDate).with("profile", "business"), "accepted", []string{"status"}},
		{"AT-59 out of date, business, after its grace", m.tdxAt(time.Time(must(attestation.Profile("business")).TDX.StatusGrace[0].Until).AddDate(0, 0, 1), tdx.OutOfDate).with("profile", "business"), "att.tdx.status", nil},
		{"AT-59 revoked firmware", status(tdx.Revoked), "att.tdx.status", nil},
		{"AT-59 revoked firmware, business", status(tdx.Revoked).with("profile", "business"), "att.tdx.status", nil},
		{"AT-59 revoked firmware, allowed", status(tdx.Revoked).with("allow_status", []string{"Revoked"}), "piece.request", nil},
		{"evaluation number", base.with("min_evaluation_number", evaluation()), "accepted", []string{"profile"}},
		{"AT-60 evaluation number too low", base.with("min_evaluation_number", evaluation()+1), "att.tdx.collateral", nil},
		{"AT-63", base.with("profile", "strict"), "att.inventory", nil},
		{"AT-63 another platform", base.with("expect.platform", strings.Repeat("00", 64)), "att.inventory", nil},
		{"AT-07", m.tdx(attributes(1), faketdx.CollateralSpec{}), "att.debug", nil},
		{"AT-07 profiling", m.tdx(attributes(1<<4), faketdx.CollateralSpec{}), "att.debug", nil},
		{"AT-07 waived", m.tdx(attributes(1), faketdx.CollateralSpec{}).with("waive", []string{"debug"}), "accepted", []string{"evaluation", "debug", "profile"}},
		{"AT-07 waived, business", m.tdx(attributes(1), faketdx.CollateralSpec{}).with("waive", []string{"debug"}).with("profile", "business"), "accepted", []string{"debug"}},
		{"AT-08", m.tdx(attributes(1<<29), faketdx.CollateralSpec{}), "att.migrate", nil},
		{"AT-08 waived", m.tdx(attributes(1<<29), faketdx.CollateralSpec{}).with("waive", []string{"migration"}).with("profile", "business"), "accepted", []string{"migration"}},
		{"AT-08 a service TD", service, "att.migrate", nil},
		{"AT-08 the expected service TD", service.with("expect.mrservicetd", "09"+strings.Repeat("00", 47)), "accepted", nil},
		{"AT-08 expected, and migratable", m.tdx(attributes(1<<29), faketdx.CollateralSpec{}).with("expect.mrservicetd", strings.Repeat("00", 48)), "att.migrate", nil},
		{"AT-19 without a profile", m.tdx(attributes(1<<31), faketdx.CollateralSpec{}), "accepted", nil},
		{"AT-19", m.tdx(attributes(1<<31), faketdx.CollateralSpec{}).with("profile", "business"), "att.platform", nil},
		{"AT-22", base.with("expect.report_data", strings.Repeat("00", 64)), "att.binding", nil},
		{"AT-23 MRTD", base.with("expect.mrtd", strings.Repeat("00", 48)), "att.image", nil},
		{"AT-23 RTMR 3", base.with("expect.rtmr3", strings.Repeat("01", 48)), "att.image", nil},
		{"RTMRs as they are", base.with("expect.rtmr0", strings.Repeat("00", 48)).with("expect.rtmr3", strings.Repeat("00", 48)), "accepted", nil},
		{"module", base.with("expect.mrseam", strings.Repeat("00", 48)), "att.tdx.module", nil},
		{"MROWNER", base.with("expect.mrowner", strings.Repeat("01", 48)), "att.platform", nil},
		{"MROWNER that the host set", m.tdx(faketdx.QuoteSpec{Tamper: func(q *tdx.Quote) { q.MROwner[0] = 1 }}, faketdx.CollateralSpec{}).with("profile", "business"), "att.platform", nil},
		{"MROWNER as expected", m.tdx(faketdx.QuoteSpec{Tamper: func(q *tdx.Quote) { q.MROwner[0] = 1 }}, faketdx.CollateralSpec{}).
			with("profile", "business").with("expect.mrowner", "01"+strings.Repeat("00", 47)), "accepted", []string{}},
		{"signature", m.tdx(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.RTMR[0][0] = 1 }}, faketdx.CollateralSpec{}), "att.signature", nil},
		{"collateral without a piece", base.with("collateral.root_crl", nil), "piece.request", nil},
		{"collateral with another piece", base.with("collateral.more", "x"), "piece.request", nil},
	})
}

// tdxAt is good evidence for another time, with a status.
func (m *mint) tdxAt(at time.Time, s tdx.Status) doc {
	d := m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{Status: s, Issued: at.Add(-time.Hour), Next: at.Add(time.Hour)})
	return d.with("time", at.Format(time.RFC3339))
}

func TestNitro(t *testing.T) {
	m := minted()
	base := m.nitro(fakenitro.Spec{})
	debug := m.nitro(fakenitro.Spec{Enclave: true, PCRs: map[int]fakenitro.PCR{0: {}, 1: {}, 2: {}, 3: {1}}})
	other := must(fakenitro.NewAuthority(m.now, nil))
	later := func(d time.Duration) string { return m.now.Add(d).Format(time.RFC3339) }
	judgeAll(t, "nitro", []variant{
		{"everything", base.with("expect.flavour", "nitro-tpm").with("expect.module_id", fakenitro.Module), "accepted", []string{"revocation"}},
		{"nothing expected", base.with("expect", nil).with("max_age", nil), "accepted", []string{"revocation", "max_age", "binding", "pcrs"}},
		{"tagged", m.nitro(fakenitro.Spec{Tagged: true}), "accepted", nil},
		{"enclave", m.nitro(fakenitro.Spec{Enclave: true, PCRs: map[int]fakenitro.PCR{0: {1}}}).with("expect.pcrs", doc{"0": "01" + strings.Repeat("00", 47)}), "accepted", []string{"revocation"}},
		{"other flavour", base.with("expect.flavour", "enclave"), "att.tee", nil},
		{"other module", base.with("expect.module_id", "i-0"), "att.inventory", nil},
		{"AT-07", debug, "att.debug", nil},
		{"AT-07 waived", debug.with("waive", []string{"debug"}), "accepted", []string{"revocation", "debug", "pcrs"}},
		{"AT-15", base.with("roots", pems(other.Root())), "att.chain", nil},
		{"AT-01 too old", base.with("time", later(6*time.Minute)), "att.stale", nil},
		{"as old as it may be", base.with("time", later(5*time.Minute)), "accepted", nil},
		{"from the future", base.with("time", later(-time.Second)), "att.clock", nil},
		{"certificates expired", base.with("time", later(4*time.Hour)).with("max_age", "5h"), "att.chain", nil},
		{"certificates expired, in a grace", base.with("time", later(4*time.Hour)).with("max_age", "5h").with("grace", "2h"), "accepted", []string{"grace", "revocation"}},
		{"AT-22", base.with("expect.user_data", "00"), "att.binding", nil},
		{"AT-22 none expected", base.with("expect.user_data", ""), "att.binding", nil},
		{"AT-22 public key", base.with("expect.public_key", "00"), "att.binding", nil},
		{"nonce", m.nitro(fakenitro.Spec{Nonce: []byte{1}}).with("expect.nonce", "01"), "accepted", nil},
		{"other nonce", m.nitro(fakenitro.Spec{Nonce: []byte{1}}).with("expect.nonce", "02"), "att.nonce", nil},
		{"no nonce", base.with("expect.nonce", ""), "accepted", nil},
		{"AT-23", base.with("expect.pcrs", doc{"4": strings.Repeat("00", 48)}), "att.image", nil},
		{"AT-23 no such register", base.with("expect.pcrs", doc{"31": strings.Repeat("00", 48)}), "att.image", nil},
		{"a register over 31", base.with("expect.pcrs", doc{"32": strings.Repeat("00", 48)}), "piece.request", nil},
		{"a register spelled otherwise", base.with("expect.pcrs", doc{"04": strings.Repeat("00", 48)}), "piece.request", nil},
		{"signature", m.nitro(fakenitro.Spec{Signature: func(s []byte) []byte { s[0] ^= 1; return s }}), "att.signature", nil},
	})
}

// report takes GPU evidence apart into what NVIDIA's tools hand out.
func (m *mint) report(s fakegpu.Spec) doc {
	s.Now = m.now
	e := must(nvidia.Parse(must(m.gpu.Evidence(gpuNonce, s))))
	d, certs, answers := e.Devices[0], []string{}, []string{}
	for i, k := range e.Devices[0].Chain {
		certs = append(certs, b64(e.Certificates[k].DER))
		if i > 0 && i < len(d.Chain)-1 {
			answers = append(answers, b64(e.Certificates[k].OCSP))
		}
	}
	out := doc{"time": m.at(), "report": b64(d.Report), "certificates": certs, "ocsp": answers, "nonce": hx(gpuNonce[:]), "roots": pems(m.gpu.Certs()...),
		"expect": doc{"count": 1, "driver": fakegpu.Driver, "vbios": fakegpu.VBIOS}}
	rim := func(i uint8) doc {
		swid, list := e.Manifests[i], []string{}
		for _, a := range swid.OCSP {
			list = append(list, b64(a))
		}
		return doc{"swid": b64(swid.SWID), "ocsp": list}
	}
	if d.Driver != 0xff {
		out["rims"] = doc{"driver": rim(d.Driver), "vbios": rim(d.VBIOS)}
	}
	if len(e.Tokens) > 0 {
		out["token"], out["keys"], out["token_issuer"] = tokenOf(e), m.keys(), fakegpu.Issuer
	}
	return out
}

func tokenOf(e *nvidia.Evidence) doc {
	devices := []string{}
	for _, b := range e.Tokens[0].Devices {
		devices = append(devices, string(b))
	}
	return doc{"overall": string(e.Tokens[0].Overall), "devices": devices}
}

func (m *mint) keys() any {
	var keys any
	if err := json.Unmarshal(must(m.gpu.JWKS()), &keys); err != nil {
		panic(err)
	}
	return keys
}

// token is a request about a token alone.
func (m *mint) token() doc { return m.tokenWith(fakegpu.Spec{}) }

func (m *mint) tokenWith(s fakegpu.Spec) doc {
	s.Now = m.now
	e := must(nvidia.Parse(must(m.gpu.Evidence(gpuNonce, s))))
	return doc{"time": m.at(), "token": tokenOf(e), "keys": m.keys(), "token_issuer": fakegpu.Issuer, "nonce": hx(gpuNonce[:]),
		"roots": pems(m.gpu.Certs()...), "expect": doc{"count": 1, "driver": fakegpu.Driver, "vbios": fakegpu.VBIOS}}
}

// versioned puts the magic of a newer driver in the place of the opaque data.
func versioned(_ int, report []byte) []byte {
	at := 37 + 8 + int(report[42]) + int(report[43])<<8 + int(report[44])<<16 + 32 + 2
	out := bytes.Clone(report)
	copy(out[at:], "NVDAOD")
	return out
}

func TestGPU(t *testing.T) {
	m := minted()
	base := m.gpus(fakegpu.Spec{NoTokens: true})
	report := m.report(fakegpu.Spec{NoTokens: true})
	rims := report["rims"].(doc)
	both := m.report(fakegpu.Spec{})
	noOCSP := fakegpu.Spec{NoTokens: true, OCSP: func(_ string, a *fakegpu.Answer) { a.Serial = nil }}
	old := fakegpu.Spec{NoTokens: true, OCSP: func(_ string, a *fakegpu.Answer) {
		a.ProducedAt, a.ThisUpdate, a.NextUpdate = m.now.Add(-3*time.Hour), m.now.Add(-3*time.Hour), m.now.Add(-time.Hour)
	}}
	revoked := fakegpu.Spec{NoTokens: true, OCSP: func(_ string, a *fakegpu.Answer) { a.Status = fakegpu.Revoked }}
	developer := func(s fakegpu.Spec) fakegpu.Spec {
		s.Report = func(_ int, r *nvidia.Report) { fakegpu.SetMeasurement(r, 5, make([]byte, 48)) }
		return s
	}
	other := must(fakegpu.Generate())
	noRIM := m.gpus(fakegpu.Spec{NoTokens: true, NoManifests: true})
	four := m.gpus(fakegpu.Spec{NoTokens: true, GPUs: 4, Switches: 2})
	trailing := slices.Concat(must(base64decode(report["report"].(string))), []byte{0})
	judgeAll(t, "nvidia-gpu", []variant{
		{"evidence", base.with("expect.chip", "GH100").with("expect.protected_pcie", false).with("expect.switches", 0), "accepted", []string{}},
		{"report", report, "accepted", []string{}},
		{"report and a zero byte", report.with("report", b64(trailing)), "accepted", []string{}},
		{"report and token", both, "accepted", []string{}},
		{"nothing expected", base.with("expect", nil).with("nonce", nil), "accepted", []string{"nonce", "versions"}},
		{"least versions", base.with("expect", doc{"min_driver": "570.1", "min_vbios": "96.00.01.00.00"}), "accepted", []string{}},
		{"four GPUs, two switches", four.with("expect.count", 4).with("expect.switches", 2).with("expect.chip", nil), "accepted", []string{}},
		{"AT-58 count", base.with("expect.count", 2), "att.gpu.count", nil},
		{"AT-58 switches", base.with("expect.switches", 1), "att.gpu.count", nil},
		{"driver", base.with("expect.driver", "580.95.06"), "att.gpu.claims", nil},
		{"driver too old", base.with("expect", doc{"min_driver": "580.95.06"}), "att.gpu.claims", nil},
		{"VBIOS", base.with("expect.vbios", "96.00.74.00.1B"), "att.gpu.claims", nil},
		{"chip", base.with("expect.chip", "GB100"), "att.gpu.claims", nil},
		{"protected PCIe", base.with("expect.protected_pcie", true), "att.gpu.count", nil},
		{"protected PCIe as it is", m.gpus(fakegpu.Spec{NoTokens: true, ProtectedPCIE: true}), "accepted", nil},
		{"AT-57", base.with("nonce", strings.Repeat("00", 32)), "att.gpu.binding", nil},
		{"AT-15", base.with("roots", pems(other.Certs()...)), "att.gpu.chain", nil},
		{"AT-14 no answers", m.report(noOCSP).with("ocsp", nil), "att.gpu.ocsp", nil},
		{"AT-14 no answers, waived", report.with("ocsp", nil).with("waive", []string{"ocsp"}), "accepted", []string{"ocsp"}},
		{"AT-14 no answers at all, waived", report.with("ocsp", nil).with("rims.driver.ocsp", nil).with("rims.vbios.ocsp", nil).with("waive", []string{"ocsp"}), "accepted", []string{"ocsp"}},
		{"AT-14 one answer is empty, waived", report.with("ocsp", []string{""}).with("waive", []string{"ocsp"}), "accepted", []string{"ocsp"}},
		{"AT-14 waived, but there", base.with("waive", []string{"ocsp"}), "accepted", []string{}},
		{"AT-14 waived, but there and old", m.gpus(old).with("waive", []string{"ocsp"}), "att.gpu.ocsp", nil},
		{"AT-14 old", m.gpus(old), "att.gpu.ocsp", nil},
		{"AT-14 in a grace", m.gpus(old).with("grace", "2h"), "accepted", []string{"grace"}},
		{"AT-14 past a grace", m.gpus(old).with("grace", "1m"), "att.gpu.ocsp", nil},
		{"AT-13", m.gpus(revoked), "att.revoked", nil},
		{"AT-13 waived, but there", m.gpus(revoked).with("waive", []string{"ocsp"}), "att.revoked", nil},
		{"no manifests", noRIM, "att.gpu.rim", nil},
		{"waived", noRIM.with("waive", []string{"rim"}), "accepted", []string{"rim"}},
		{"waived, other driver", noRIM.with("waive", []string{"rim"}).with("expect.driver", "1.2"), "att.gpu.claims", nil},
		{"waived, but there", base.with("waive", []string{"rim"}), "accepted", []string{}},
		{"one manifest", report.with("rims.driver", nil), "att.gpu.rim", nil},
		{"one manifest, waived", report.with("rims.driver", nil).with("waive", []string{"rim"}), "accepted", []string{"rim"}},
		{"waived, on a token", both.with("rims", nil).with("waive", []string{"rim"}), "accepted", []string{"rim"}},
		{"on a token, not waived", both.with("rims", nil), "att.gpu.rim", nil},
		{"AT-56 developer mode", m.gpus(developer(fakegpu.Spec{NoTokens: true})), "att.gpu.claims", nil},
		{"AT-56 developer mode, waived, but there", m.gpus(developer(fakegpu.Spec{NoTokens: true})).with("waive", []string{"rim"}), "att.gpu.claims", nil},
		{"manifests swapped", report.with("rims", doc{"driver": rims["vbios"], "vbios": rims["driver"]}), "att.gpu.rim", nil},
		{"token", m.token(), "accepted", []string{"report"}},
		{"token, nothing expected", m.token().with("expect", nil), "accepted", []string{"report", "versions"}},
		{"token of other devices", m.token().with("expect.count", 2), "att.gpu.count", nil},
		{"token, other driver", m.token().with("expect.driver", "1"), "att.gpu.claims", nil},
		{"token, other VBIOS", m.token().with("expect.vbios", "1"), "att.gpu.claims", nil},
		{"token, more expected", m.token().with("expect.chip", "GH100"), "piece.unsupported", nil},
		{"AT-55 token over another nonce", m.token().with("nonce", strings.Repeat("00", 32)), "att.gpu.token", nil},
		{"AT-55 token of another issuer", m.token().with("token_issuer", nil), "att.gpu.token", nil},
		{"AT-55 token too old", m.token().with("token_max_age", "1s").with("time", m.now.Add(time.Minute).Format(time.RFC3339)), "att.gpu.token", nil},
		{"AT-56 token that denies", m.tokenWith(fakegpu.Spec{Claims: func(_ nvidia.Kind, i int, c map[string]any) {
			if i == -1 {
				c["x-nvidia-overall-att-result"] = false
			}
		}}), "att.gpu.claims", nil},
		{"AT-56 token about a debugged device", m.tokenWith(fakegpu.Spec{Claims: func(_ nvidia.Kind, i int, c map[string]any) { c["dbgstat"] = "enabled" }}), "att.gpu.claims", nil},
		{"token without a nonce", m.token().with("nonce", nil), "piece.request", nil},
		{"token without keys", m.token().with("keys", nil), "piece.request", nil},
		{"keys of another kind", m.token().with("keys", doc{"keys": []doc{{"kty": "RSA"}}}), "piece.request", nil},
		{"token without roots", m.token().with("roots", nil), "att.simulated", nil},
		{"evidence and report", report.with("evidence", base["evidence"]), "piece.request", nil},
		{"nothing", base.with("evidence", nil), "piece.request", nil},
		{"too few certificates", report.with("certificates", report["certificates"].([]string)[:2]), "piece.request", nil},
		{"certificates in PEM", report.with("certificates", strings.Join(pemsOf(report["certificates"].([]string)), "")), "accepted", nil},
		{"PEM of something else", report.with("certificates", "-----BEGIN X-----\n-----END X-----\n"), "piece.request", nil},
		{"a certificate that is none", report.with("ocsp", nil).with("certificates", []string{"AAAA", "AAAA", "AAAA"}), "att.gpu.chain", nil},
	})
}

func pemsOf(ders []string) []string {
	var out []string
	for _, s := range ders {
		out = append(out, pemText("CERTIFICATE", must(base64decode(s))))
	}
	return out
}

// TestGPUClaims: a device is named by its serial number, and every measurement
// comes out.
func TestGPUClaims(t *testing.T) {
	a := expect(t, "nvidia-gpu", minted().gpus(fakegpu.Spec{NoTokens: true}), "accepted")
	device := a.Claims["devices"].([]any)[0].(map[string]any)
	if _, ok := new(big.Int).SetString(device["ueid"].(string), 10); !ok || device["chip"] != "GH100" || len(device["measurements"].([]any)) != 64 {
		t.Errorf("%v", device)
	}
}
