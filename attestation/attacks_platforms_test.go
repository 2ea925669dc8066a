// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

func platform(p attestation.Platform) func(*attestationtest.NodeSpec) {
	return func(s *attestationtest.NodeSpec) { s.Platform = p }
}

func TestAttacksOnPlatforms(t *testing.T) {
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign := func(f *fixture) { f.node.Machine.ForeignAK = &stranger.PublicKey }
	hcl := func(tamper func(*fakecloud.HCL)) func(*fixture) {
		return func(f *fixture) { f.node.Machine.TamperHCL = tamper }
	}
	runAttacks(t, []attack{
		{id: "platform", name: "one that the policy does not name", want: "att.tee", before: func(f *fixture) {
			f.policy.Platforms = []attestation.Platform{attestation.TDX}
		}},
		{id: "platform", name: "a marker left out to pass for a lesser one", want: "att.tee", spec: platform(attestation.SNPSVSM), after: func(f *fixture) {
			f.drop(evidence.KindSVSMManifest)
		}},
		{id: "platform", name: "the same, of a lesser one that is allowed", want: "att.binding", spec: platform(attestation.SNPSVSM), before: func(f *fixture) {
			f.policy.Platforms = append(f.policy.Platforms, attestation.SNP)
		}, after: func(f *fixture) { f.drop(evidence.KindSVSMManifest) }},
		{id: "platform", name: "TDX evidence without its collateral", want: "att.absent", spec: platform(attestation.TDX), after: func(f *fixture) {
			f.drop(evidence.KindTDXCollateral)
		}},
		{id: "platform", name: "image of another platform", want: "att.image", spec: platform(attestation.AzureSNP), before: func(f *fixture) {
			f.policy.Images = []attestation.Image{attestationtest.Image()}
		}},

		{id: "AT-06", name: "SVSM that names another key", want: "att.binding", spec: platform(attestation.SNPSVSM), before: func(f *fixture) {
			other, err := attestationtest.NewSoftTPM(nil)
			if err != nil {
				f.t.Fatal(err)
			}
			f.node.Machine.Manifest = other.Public()
		}},
		{id: "AT-06", name: "SVSM that names its endorsement key, and nobody the attestation key", want: "att.binding", spec: platform(attestation.SNPSVSM),
			before: func(f *fixture) { f.node.Machine.Manifest = f.node.Machine.EK() }},
		{id: "AT-06", name: "paravisor that names another key", want: "att.binding", spec: platform(attestation.AzureSNP), before: hcl(func(h *fakecloud.HCL) {
			other, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			h.AK = &other.PublicKey
		})},
		{id: "AT-06", name: "runtime data that the hardware did not sign", want: "att.binding", spec: platform(attestation.AzureSNP), after: func(f *fixture) {
			b := *f.piece(evidence.KindHCLReport)
			b[strings.Index(string(b), "vmUniqueId")+len(`vmUniqueId":"`)] ^= 1
			f.refresh()
		}},
		{id: "AT-06", name: "certificate of another key", want: "att.ak.cert", spec: platform(attestation.GoogleTDX), before: foreign},
		{id: "AT-06", name: "enrolment of another key", want: "att.ak.cert", spec: platform(attestation.TPM), before: foreign},
		{id: "AT-06", name: "document over other keys", want: "att.binding", spec: platform(attestation.NitroTPM), before: func(f *fixture) {
			f.node.Machine.TamperDoc = func(s *fakenitro.Spec) { s.UserData[0] ^= 1 }
		}},
		{id: "AT-06", name: "a certificate beside an SVSM that names the key itself", want: "att.format", spec: platform(attestation.SNPSVSM), after: func(f *fixture) {
			f.ev.Epoch.Pieces = append(f.ev.Epoch.Pieces, evidence.Piece{Kind: evidence.KindAKCerts, Data: []byte("unread")})
			f.refresh()
		}},
		{id: "AT-63", name: "a statement that enrols chips, and a machine that names none", want: "att.inventory", spec: platform(attestation.TPM), after: func(f *fixture) {
			f.refs.Chips = [][32]byte{{1}}
		}},
		{id: "AT-63", name: "the same on NitroTPM", want: "att.inventory", spec: platform(attestation.NitroTPM), after: func(f *fixture) {
			f.refs.Chips = [][32]byte{{1}}
		}},
		{id: "azure", name: "serial console", want: "att.platform", spec: platform(attestation.AzureSNP), before: hcl(func(h *fakecloud.HCL) { h.Console = true })},
		{id: "azure", name: "Secure Boot off", want: "att.secureboot", spec: platform(attestation.AzureSNP), before: hcl(func(h *fakecloud.HCL) { h.NoSecureBoot = true })},

		{id: "AT-01", name: "old document", want: "att.stale", spec: platform(attestation.NitroTPM), before: func(f *fixture) {
			f.node.Machine.TamperDoc = func(s *fakenitro.Spec) { s.Time = f.now.Add(-90 * time.Minute) }
		}},
		{id: "AT-23", name: "unknown registers of a NitroTPM", want: "att.image", spec: platform(attestation.NitroTPM), before: func(f *fixture) {
			f.policy.Images[0].NitroPCRs[4] = attestation.Measurement{1}
		}},
		{id: "EK", name: "maker that nobody knows", want: "att.ek", spec: platform(attestation.TPM), before: func(f *fixture) {
			f.policy.Roots = otherRoot(f.t)
		}},
		{id: "EK", name: "no revocation list", want: "att.crl", spec: platform(attestation.TPM), before: func(f *fixture) { f.policy.TPM.AllowNoCRL = false }},
	})
}

func TestAttacksOnTDX(t *testing.T) {
	quote := func(tamper func(*faketdx.QuoteSpec)) func(*fixture) {
		return func(f *fixture) { f.node.Machine.TamperQuote = tamper }
	}
	collateral := func(c faketdx.CollateralSpec) func(*fixture) {
		return func(f *fixture) { f.node.Machine.Collateral = c }
	}
	on := platform(attestation.TDX)
	runAttacks(t, []attack{
		{id: "AT-07", name: "debug attribute", want: "att.debug", spec: on, before: quote(func(s *faketdx.QuoteSpec) {
			s.Tamper = func(q *tdx.Quote) { q.Attributes |= 1 }
		})},
		{id: "AT-08", name: "migratable", want: "att.migrate", spec: on, before: quote(func(s *faketdx.QuoteSpec) {
			s.Tamper = func(q *tdx.Quote) { q.Attributes |= 1 << 29 }
		})},
		{id: "AT-22", name: "one bit of REPORTDATA", want: "att.binding", spec: on, before: quote(func(s *faketdx.QuoteSpec) { s.Data[63] ^= 1 })},
		{id: "AT-23", name: "unknown MRTD", want: "att.image", spec: on, before: quote(func(s *faketdx.QuoteSpec) { s.MRTD[0] ^= 1 })},
		{id: "AT-23", name: "log of another boot", want: "att.log.replay", spec: on, before: quote(func(s *faketdx.QuoteSpec) { s.RTMR[1][0] ^= 1 })},
		{id: "AT-36", name: "other kernel", want: "att.image.kernel", spec: on, before: func(f *fixture) {
			f.policy.Images[0].RTMRs[2] = attestation.Measurement{1}
		}},
		{id: "AT-38", name: "command line that is not listed", want: "att.image.cmdline", spec: on, before: func(f *fixture) {
			f.policy.Images[0].CommandLines = []string{attestationtest.CommandLine + " init=/bin/sh"}
		}},
		{id: "AT-40", name: "other tables", want: "att.acpi", spec: on, before: func(f *fixture) { f.policy.Images[0].ACPI[0][0] ^= 1 }},
		{id: "AT-40", name: "one table more", want: "att.acpi", spec: on, before: func(f *fixture) {
			f.policy.Images[0].ACPI = f.policy.Images[0].ACPI[:2]
		}},
		{id: "AT-59", name: "out of date", want: "att.tdx.status", spec: on, before: collateral(faketdx.CollateralSpec{Status: "OutOfDate"})},
		{id: "AT-59", name: "grace that is over", want: "att.tdx.status", spec: on, before: func(f *fixture) {
			f.node.Machine.Collateral.Status = "OutOfDate"
			f.policy.TDX.StatusGrace = []attestation.StatusGrace{{Status: "OutOfDate", Until: attestation.Date(f.now.AddDate(0, 0, -2))}}
		}},
		{id: "AT-60", name: "low number", want: "att.tdx.collateral", spec: on, before: func(f *fixture) { f.policy.TDX.MinEvaluationNumber++ }},
		{id: "AT-60", name: "not a list of seven", want: "att.tdx.collateral", spec: on, after: func(f *fixture) {
			*f.piece(evidence.KindTDXCollateral) = evidence.List{[]byte("x")}.Append(nil)
			f.refresh()
		}},
		{id: "AT-60", name: "bytes after the quote", want: "att.format", spec: on, before: quote(func(s *faketdx.QuoteSpec) { s.Padding = 1 })},
		{id: "AT-60", name: "quoting enclave that is not Intel's", want: "att.tdx.qe", spec: on, before: quote(func(s *faketdx.QuoteSpec) {
			s.TamperQE = func(e *tdx.EnclaveReport) { e.MRSigner[0] ^= 1 }
		})},
		{id: "AT-60", name: "another TDX module", want: "att.tdx.module", spec: on, before: func(f *fixture) {
			f.policy.TDX.Modules = []attestation.Measurement{{1}}
		}},
		{id: "AT-63", name: "platform that is not enrolled", want: "att.inventory", spec: on, before: func(f *fixture) { f.policy.TDX.AllowAnyChip = false }},
		{id: "AT-63", name: "not enrolled in the statement", want: "att.inventory", spec: on, after: func(f *fixture) { f.refs.Chips = [][32]byte{{1}} }},
	})
	t.Run("grace is a named gap and costs a tier", func(t *testing.T) {
		f := newFixture(t, on)
		f.node.Machine.Collateral.Status = "OutOfDate"
		f.policy.TDX.StatusGrace = []attestation.StatusGrace{{Status: "OutOfDate", Until: attestation.Date(f.now), Reason: "hosts lag"}}
		r, err := f.make().verify()
		if err != nil {
			t.Fatal(err)
		}
		if gaps := strings.Join(r.Report.Gaps(), "\n"); !strings.Contains(gaps, "OutOfDate") || !strings.Contains(gaps, "hosts lag") || r.Tier != 1 {
			t.Errorf("tier %d, gaps %s", r.Tier, gaps)
		}
	})
}

func TestAttacksOnGPU(t *testing.T) {
	with := func(s *fakegpu.Spec) func(*attestationtest.NodeSpec) {
		return func(n *attestationtest.NodeSpec) { n.GPU = s }
	}
	plain := func() *fakegpu.Spec { return &fakegpu.Spec{NoTokens: true} }
	runAttacks(t, []attack{
		{id: "AT-54", name: "another piece than the statement names", want: "att.gpu.binding", spec: with(plain()), after: func(f *fixture) {
			b := *f.piece(evidence.KindGPU)
			b[len(b)/2] ^= 1
			f.refresh()
		}},
		{id: "AT-54", name: "piece that the statement does not name", want: "att.gpu.binding", spec: with(plain()), before: func(f *fixture) {
			f.node.Forget = true
		}},
		{id: "AT-55", name: "token of another service", want: "att.gpu.token", spec: with(&fakegpu.Spec{}), before: func(f *fixture) {}},
		{id: "AT-56", name: "measurement that differs", want: "att.gpu.claims", spec: with(&fakegpu.Spec{NoTokens: true, Report: func(_ int, r *nvidia.Report) {
			fakegpu.SetMeasurement(r, 3, make([]byte, 48))
		}})},
		{id: "AT-56", name: "driver that is not listed", want: "att.gpu.claims", spec: with(plain()), before: func(f *fixture) { f.policy.GPU.Drivers = []string{"1.2.3"} }},
		{id: "AT-56", name: "manifest edited", want: "att.gpu.rim", spec: with(&fakegpu.Spec{NoTokens: true, Signed: func(_, xml string) string {
			return strings.Replace(xml, "SIMULATED", "simulated", 1)
		}})},
		{id: "AT-56", name: "no revocation status", want: "att.gpu.ocsp", spec: with(&fakegpu.Spec{NoTokens: true, OCSP: func(_ string, a *fakegpu.Answer) { a.Serial = nil }})},
		{id: "AT-57", name: "report over another nonce", want: "att.gpu.binding", spec: with(&fakegpu.Spec{NoTokens: true, Report: func(_ int, r *nvidia.Report) { r.Nonce[0] ^= 1 }})},
		{id: "AT-57", name: "report not signed by its device", want: "att.gpu.report", spec: with(&fakegpu.Spec{NoTokens: true, Sealed: func(_ int, b []byte) []byte {
			b[len(b)-1] ^= 1
			return b
		}})},
		{id: "AT-15", name: "root of nobody", want: "att.gpu.chain", spec: with(&fakegpu.Spec{NoTokens: true, Final: func(e *nvidia.Evidence) {
			der := bytes.Clone(e.Certificates[0].DER)
			der[len(der)-1] ^= 1
			e.Certificates[0].DER = der
		}})},
		{id: "AT-58", name: "one of eight", want: "att.gpu.count", spec: with(plain()), before: func(f *fixture) { f.policy.GPU.Count = 8 }},
		{id: "AT-62", name: "not GPU evidence", want: "att.gpu", spec: with(plain()), before: func(f *fixture) {
			f.node.TamperGPU = func(b []byte) []byte { return b[:len(b)-1] }
		}},
	})
}

func TestAttacksOnIMA(t *testing.T) {
	on := func(n *attestationtest.NodeSpec) { n.IMA = true }
	attacks := []attack{
		{id: "AT-64", name: "unknown module", want: "att.ima.entry", spec: on, before: func(f *fixture) {
			if err := f.node.Run(fakeima.Module()); err != nil {
				f.t.Fatal(err)
			}
		}},
		{id: "AT-64", name: "unknown module since the epoch began", want: "att.ima.entry", spec: on, after: func(f *fixture) {
			if err := f.node.Run(fakeima.Module()); err != nil {
				f.t.Fatal(err)
			}
			f.refresh()
		}},
		{id: "AT-64", name: "growth left out", want: "att.ima.replay", spec: on, after: func(f *fixture) {
			if err := f.node.Run(fakeima.Module()); err != nil {
				f.t.Fatal(err)
			}
			f.refresh()
			f.ev.Freshness.Pieces = f.ev.Freshness.Pieces[:3]
		}},
		{id: "log", name: "absent", want: "att.ima.absent", before: func(f *fixture) { f.policy.AllowNoIMA = false }},
		{id: "log", name: "without rules", want: "att.ima.entry", spec: on, before: func(f *fixture) { f.policy.Images[0].IMA = nil }},
		{id: "log", name: "of another boot", want: "att.ima.aggregate", before: func(f *fixture) {
			if err := f.node.Run(fakeima.Node([10][32]byte{})...); err != nil {
				f.t.Fatal(err)
			}
			f.policy.Images[0].IMA = attestationtest.IMARules(f.node.IMA)
		}},
	}
	for _, lie := range fakeima.Tamperings() {
		want := attestation.Code(lie.Code)
		if lie.Name == "nothing" {
			want = "att.format" // an empty piece is not a log
		}
		attacks = append(attacks, attack{id: "AT-32", name: lie.Name, want: want, spec: on, after: func(f *fixture) {
			*f.piece(evidence.KindIMALog) = lie.Forge(f.node.IMA)
			f.policy.WithoutFreshness = true
			f.refs.EvidenceDigest = f.ev.Epoch.Digest()
		}})
	}
	runAttacks(t, attacks)
}

// drop removes a piece of the epoch evidence, and lists what is left.
func (f *fixture) drop(k evidence.Kind) {
	var kept []evidence.Piece
	for _, p := range f.ev.Epoch.Pieces {
		if p.Kind != k {
			kept = append(kept, p)
		}
	}
	f.ev.Epoch = &evidence.Bundle{Pieces: kept}
	f.refresh()
}

func otherRoot(t testing.TB) attestation.Roots {
	r, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	return r.Roots()
}
