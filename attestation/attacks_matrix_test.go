// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// A matrixAttack is tried on each platform that its codes have a line for. What
// one platform refuses and another does not look at would be a hole that the
// tests of a single platform do not show.
type matrixAttack struct {
	id, name string
	want     map[attestation.Platform]attestation.Code
	before   func(*fixture)
	after    func(*fixture)
}

// Which platforms have what.
var (
	snpPlatforms = []attestation.Platform{attestation.SNP, attestation.SNPSVSM, attestation.AzureSNP, attestation.GoogleSNP}
	tdxPlatforms = []attestation.Platform{attestation.TDX, attestation.GoogleTDX, attestation.AzureTDX}
)

// on gives platforms one code; without any, all of them.
func on(c attestation.Code, ps ...attestation.Platform) map[attestation.Platform]attestation.Code {
	if len(ps) == 0 {
		ps = attestation.Platforms()
	}
	m := map[attestation.Platform]attestation.Code{}
	for _, p := range ps {
		m[p] = c
	}
	return m
}

// but replaces the code of some platforms.
func but(m map[attestation.Platform]attestation.Code, c attestation.Code, ps ...attestation.Platform) map[attestation.Platform]attestation.Code {
	for _, p := range ps {
		m[p] = c
	}
	return m
}

func TestEveryPlatformRefuses(t *testing.T) {
	quote := func(change func(*tdx.Quote)) func(*fixture) {
		return func(f *fixture) {
			f.node.Machine.TamperQuote = func(s *faketdx.QuoteSpec) { s.Tamper = change }
		}
	}
	collateral := func(c faketdx.CollateralSpec) func(*fixture) {
		return func(f *fixture) { f.node.Machine.Collateral = c }
	}
	low := func(v *attestation.TCB) { v.SNP = attestationtest.Floor.SNP - 1 }
	attacks := []matrixAttack{
		{id: "AT-01", name: "epoch evidence of yesterday", want: on("att.stale"), after: func(f *fixture) { f.refs.EpochCheckpoint.Time = f.now.Add(-24 * time.Hour) }},
		{id: "AT-01", name: "freshness of yesterday", want: on("att.stale"), after: func(f *fixture) { f.refs.FreshCheckpoint.Time = f.now.Add(-24 * time.Hour) }},
		{id: "AT-02", name: "freshness after a reset", want: on("att.epoch"), after: func(f *fixture) { f.node.TPM.Clock.ResetCount++; f.refresh() }},
		{id: "AT-03", name: "freshness over another checkpoint", want: on("att.nonce"), after: func(f *fixture) { f.refs.FreshCheckpoint.Hash[0] ^= 1 }},
		{id: "AT-06", name: "another key in the TPM's place", want: matrixForeign(), before: foreignKey},
		{id: "AT-22", name: "hardware's word over something else", want: on("att.binding", attestation.SNP, attestation.SNPSVSM, attestation.GoogleSNP, attestation.AzureSNP, attestation.TDX, attestation.GoogleTDX, attestation.AzureTDX, attestation.NitroTPM), before: otherData},
		{id: "AT-07", name: "debug guest", want: on("att.debug", snpPlatforms...), before: setBit(attestationtest.OffPolicy, 19)},
		{id: "AT-07", name: "debug TD", want: on("att.debug", tdxPlatforms...), before: quote(func(q *tdx.Quote) { q.Attributes |= 1 })},
		{id: "AT-08", name: "migration agent", want: on("att.migrate", snpPlatforms...), before: setBit(attestationtest.OffPolicy, 18)},
		{id: "AT-08", name: "migratable TD", want: on("att.migrate", tdxPlatforms...), before: quote(func(q *tdx.Quote) { q.Attributes |= 1 << 29 })},
		{id: "AT-10", name: "old firmware", want: on("att.tcb", snpPlatforms...), before: tcb(attestationtest.OffReportedTCB, low)},
		{id: "AT-11", name: "certificate for an older level", want: on("att.tcb.cert", snpPlatforms...), before: chip(attestationtest.ChipSpec{Name: "node", TCB: attestation.TCB{Bootloader: 10, SNP: 24, Microcode: 84}})},
		{id: "AT-13", name: "chip's certificate withdrawn", want: on("att.revoked", snpPlatforms...),
			before: crl(-time.Hour, time.Hour, func(f *fixture) []*big.Int { return []*big.Int{f.node.Chip.Serial} })},
		{id: "AT-13", name: "platform's certificate withdrawn", want: on("att.revoked", tdxPlatforms...), before: collateral(faketdx.CollateralSpec{RevokePCK: true})},
		{id: "AT-14", name: "list that ended long ago", want: on("att.crl", snpPlatforms...), before: crl(-90*24*time.Hour, -60*24*time.Hour, nil)},
		{id: "AT-14", name: "collateral that ended long ago", want: on("att.crl", tdxPlatforms...), before: func(f *fixture) {
			f.node.Machine.Collateral = faketdx.CollateralSpec{Issued: f.now.AddDate(0, -3, 0), Next: f.now.AddDate(0, -2, 0)}
		}},
		{id: "AT-14", name: "no list for a TPM's certificates", want: on("att.crl", attestation.GoogleSNP, attestation.GoogleTDX, attestation.TPM), before: func(f *fixture) { f.policy.TPM.AllowNoCRL = false }},
		{id: "AT-15", name: "roots of another maker", want: but(but(on("att.chain"), "att.ek", attestation.TPM), "att.crl", snpPlatforms...), before: func(f *fixture) { f.policy.Roots = otherRoot(f.t) }},
		{id: "AT-23", name: "unknown launch measurement", want: on("att.image", append(slices.Clone(snpPlatforms), tdxPlatforms...)...), before: func(f *fixture) { f.policy.Images[0].Measurement[0] ^= 1 }},
		{id: "AT-24", name: "key of another node", want: on("att.rek.name"), after: func(f *fixture) { f.refs.REK[0] ^= 1 }},
		{id: "AT-32", name: "text of an event changed", want: on("att.log.replay"), after: func(f *fixture) {
			b := *f.piece(evidence.KindEventLog)
			b[len(b)-1] ^= 1
			f.refresh()
		}},
		{id: "AT-36", name: "other kernel", want: on("att.image.kernel"), before: func(f *fixture) { f.policy.Images[0].PCRs[9] = [32]byte{1} }},
		{id: "AT-38", name: "command line that is not listed", want: on("att.image.cmdline"), before: func(f *fixture) {
			f.policy.Images[0].CommandLines = []string{attestationtest.CommandLine + " init=/bin/sh"}
		}},
		{id: "AT-39", name: "configuration of another boot", want: on("att.config"), after: func(f *fixture) {
			b := *f.piece(evidence.KindConfig)
			b[len(b)-1] ^= 1
			f.refresh()
		}},
		{id: "AT-41", name: "another model than listed", want: on("att.model"), after: func(f *fixture) { f.refs.WeightsDigest[0] ^= 1 }},
		{id: "AT-51", name: "image withdrawn", want: on("att.image.revoked", append(slices.Clone(snpPlatforms), tdxPlatforms...)...), before: func(f *fixture) {
			f.policy.RevokedImages = []attestation.Measurement{f.policy.Images[0].Measurement}
		}},
		{id: "AT-52", name: "checkpoint from the future", want: on("att.clock"), after: func(f *fixture) { f.refs.FreshCheckpoint.Time = f.now.Add(time.Hour) }},
		{id: "AT-54", name: "no GPU where one is promised", want: on("att.gpu.absent"), before: func(f *fixture) { f.policy.AllowNoGPU, f.policy.GPU = false, attestationtest.GPUPolicy(1) }},
		{id: "AT-59", name: "firmware out of date", want: on("att.tdx.status", tdxPlatforms...), before: collateral(faketdx.CollateralSpec{Status: "OutOfDate"})},
		{id: "AT-60", name: "collateral older than the floor", want: on("att.tdx.collateral", tdxPlatforms...), before: func(f *fixture) { f.policy.TDX.MinEvaluationNumber++ }},
		{id: "AT-62", name: "piece over its cap", want: on("att.size"), after: func(f *fixture) { *f.piece(evidence.KindQuote) = make([]byte, 2049) }},
		{id: "AT-63", name: "not enrolled in the statement", want: on("att.inventory"), after: func(f *fixture) { f.refs.Chips = [][32]byte{{1}} }},
		{id: "AT-64", name: "register extended since", want: on("att.pcr.value"), after: func(f *fixture) {
			if err := f.node.TPM.Extend(context.Background(), 4, [32]byte{1}); err != nil {
				f.t.Fatal(err)
			}
			f.refresh()
		}},
		{id: "simulated", name: "under the vendors' roots", want: on("att.simulated"), before: func(f *fixture) { f.policy.Roots = attestation.VendorRoots() }},
	}
	for _, p := range attestation.Platforms() {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			tried := 0
			for _, a := range attacks {
				want, ok := a.want[p]
				if !ok {
					continue
				}
				tried++
				t.Run(a.id+" "+a.name, func(t *testing.T) {
					f := onPlatform(t, p, nil)
					if a.before != nil {
						a.before(f)
					}
					if f.make(); a.after != nil {
						a.after(f)
					}
					_, err := f.verify()
					refused(t, err, want)
				})
			}
			if tried < 19 {
				t.Errorf("%d attacks", tried)
			}
			must, _ := p.Pieces()
			for _, kind := range must {
				t.Run("piece left out, "+kind.String(), func(t *testing.T) {
					f := onPlatform(t, p, nil).make()
					f.drop(kind)
					if _, err := f.verify(); code(err) != "att.absent" && code(err) != "att.tee" {
						t.Errorf("%v, want att.absent, or att.tee where this was the platform's mark", err)
					}
				})
			}
		})
	}
}

// foreignKey has hardware, or the authority of the platform, vouch for a key that
// is not in the node's TPM: two machines' evidence put together.
func foreignKey(f *fixture) {
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	switch m := f.node.Machine; m.Platform {
	case attestation.SNP, attestation.TDX, attestation.NitroTPM:
		otherData(f) // report data hold the hash of the key
	case attestation.SNPSVSM:
		other, err := attestationtest.NewSoftTPM(nil)
		if err != nil {
			f.t.Fatal(err)
		}
		m.Manifest = other.Public()
	case attestation.AzureSNP, attestation.AzureTDX:
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			f.t.Fatal(err)
		}
		m.TamperHCL = func(h *fakecloud.HCL) { h.AK = &other.PublicKey }
	default:
		m.ForeignAK = &stranger.PublicKey
	}
}

func matrixForeign() map[attestation.Platform]attestation.Code {
	return but(on("att.binding"), "att.ak.cert", attestation.GoogleSNP, attestation.GoogleTDX, attestation.TPM)
}

// otherData has the hardware sign other data than those of this node.
func otherData(f *fixture) {
	m := f.node.Machine
	f.node.Chip = m.Chip
	switch m.Platform {
	case attestation.NitroTPM:
		m.TamperDoc = func(s *fakenitro.Spec) { s.UserData = slices.Clone(s.UserData); s.UserData[0] ^= 1 }
	case attestation.TDX, attestation.GoogleTDX, attestation.AzureTDX:
		m.TamperQuote = func(s *faketdx.QuoteSpec) { s.Data[0] ^= 1 }
	default:
		report(func(b []byte) { b[attestationtest.OffData] ^= 1 })(f)
	}
}
