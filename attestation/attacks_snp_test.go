// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
)

func code(err error) attestation.Code {
	var e *attestation.RefusalError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// report has the chip sign something else.
func report(change func([]byte)) func(*fixture) {
	return func(f *fixture) { f.node.Chip.Tamper = change }
}

func setBit(off int, bit uint) func(*fixture) {
	return report(func(b []byte) { b[off+int(bit/8)] |= 1 << (bit % 8) })
}

func clearBit(off int, bit uint) func(*fixture) {
	return report(func(b []byte) { b[off+int(bit/8)] &^= 1 << (bit % 8) })
}

// chip puts a chip to order under the node. Its identifier stays that of its
// name.
func chip(s attestationtest.ChipSpec) func(*fixture) {
	return func(f *fixture) {
		c, err := f.root.MintChip(s)
		if err != nil {
			f.t.Fatal(err)
		}
		f.node.Chip = c
	}
}

func crl(this, next time.Duration, serials func(*fixture) []*big.Int) func(*fixture) {
	return func(f *fixture) {
		var list []*big.Int
		if serials != nil {
			list = serials(f)
		}
		var err error
		if f.node.Chip.CRL, err = f.root.CRL(f.now.Add(this), f.now.Add(next), list...); err != nil {
			f.t.Fatal(err)
		}
	}
}

func tcb(off int, change func(*attestation.TCB)) func(*fixture) {
	return report(func(b []byte) {
		v := attestationtest.LabTCB
		change(&v)
		raw := attestationtest.TCBBytes(v)
		copy(b[off:], raw[:])
	})
}

func TestAttacksOnHardware(t *testing.T) {
	low := func(v *attestation.TCB) { v.SNP = attestationtest.Floor.SNP - 1 }
	otherRoot := func(f *fixture) *attestationtest.Root {
		r, err := attestationtest.GenerateRoot()
		if err != nil {
			f.t.Fatal(err)
		}
		return r
	}
	runAttacks(t, []attack{
		{id: "AT-06", name: "foreign TPM behind a hash of its quote", want: "att.binding", before: report(func(b []byte) {
			sum := sha512.Sum512([]byte("a quote of an ordinary machine's TPM"))
			copy(b[attestationtest.OffData:], sum[:])
		})},
		{id: "AT-06", name: "foreign TPM, bound by the attacker's own VM", want: "att.image", before: report(func(b []byte) { b[attestationtest.OffMeasurement] ^= 1 })},
		{id: "AT-06", name: "report of the same VM for another AK", want: "att.binding", after: func(f *fixture) {
			other := newFixture(f.t, nil)
			q := evidence.EpochQualifier(*f.piece(evidence.KindKeyStatement), [32]byte{})
			e, err := f.node.Chip.Endorse(evidence.ReportData(other.node.TPM.Public(), q))
			if err != nil {
				f.t.Fatal(err)
			}
			*f.piece(evidence.KindSNPReport) = e.Report
			f.refresh()
		}},
		{id: "AT-07", name: "debug", want: "att.debug", before: setBit(attestationtest.OffPolicy, 19)},
		{id: "AT-08", name: "migration agent allowed", want: "att.migrate", before: setBit(attestationtest.OffPolicy, 18)},
		{id: "AT-08", name: "migration agent attached", want: "att.migrate", before: report(func(b []byte) { b[attestationtest.OffMigration] = 0 })},
		{id: "AT-10", name: "reported", want: "att.tcb", before: tcb(attestationtest.OffReportedTCB, low)},
		{id: "AT-10", name: "current", want: "att.tcb", before: tcb(attestationtest.OffCurrentTCB, low)},
		{id: "AT-10", name: "committed", want: "att.tcb", before: tcb(attestationtest.OffCommitted, low)},
		{id: "AT-10", name: "launch", want: "att.tcb", before: tcb(attestationtest.OffLaunchTCB, low)},
		{id: "AT-10", name: "bootloader", want: "att.tcb", before: tcb(attestationtest.OffCurrentTCB, func(v *attestation.TCB) { v.Bootloader = 8 })},
		{id: "AT-10", name: "microcode", want: "att.tcb", before: tcb(attestationtest.OffCurrentTCB, func(v *attestation.TCB) { v.Microcode = 71 })},
		{id: "AT-10", name: "can be rolled back", want: "att.tcb", before: tcb(attestationtest.OffCurrentTCB, func(v *attestation.TCB) { v.SNP++ })},
		{id: "AT-11", name: "certificate for an older level", want: "att.tcb.cert", before: chip(attestationtest.ChipSpec{Name: "node", TCB: attestation.TCB{Bootloader: 10, SNP: 24, Microcode: 84}})},
		{id: "AT-13", name: "VCEK", want: "att.revoked", before: crl(-time.Hour, time.Hour, func(f *fixture) []*big.Int { return []*big.Int{f.node.Chip.Serial} })},
		{id: "AT-13", name: "ASK", want: "att.revoked", before: crl(-time.Hour, time.Hour, func(f *fixture) []*big.Int { return []*big.Int{f.root.Issuer().SerialNumber} })},
		{id: "AT-14", name: "missing", want: "att.absent", before: func(f *fixture) { f.node.Chip.CRL = nil }},
		{id: "AT-14", name: "not a CRL", want: "att.crl", before: func(f *fixture) { f.node.Chip.CRL = []byte{0x30, 0} }},
		{id: "AT-14", name: "stale", want: "att.crl", before: crl(-2*time.Hour, -time.Second, nil)},
		{id: "AT-14", name: "from the future", want: "att.crl", before: crl(time.Hour, 2*time.Hour, nil)},
		{id: "AT-14", name: "past its grace", want: "att.crl", before: func(f *fixture) {
			f.policy.SNP.CRLGrace = attestation.Duration(time.Minute)
			crl(-2*time.Hour, -time.Minute-2*time.Second, nil)(f)
		}},
		{id: "AT-14", name: "of another root of the same name", want: "att.crl", before: func(f *fixture) {
			f.node.Chip.CRL, _ = otherRoot(f).CRL(f.now.Add(-time.Hour), f.now.Add(time.Hour))
		}},
		{id: "AT-15", name: "self-made root", want: "att.chain", before: func(f *fixture) {
			c, err := otherRoot(f).NewChip("node")
			if err != nil {
				f.t.Fatal(err)
			}
			c.CRL = f.node.Chip.CRL
			f.node.Chip = c
		}},
		{id: "AT-15", name: "ASVK chain for a VCEK", want: "att.chain", before: func(f *fixture) {
			chip(attestationtest.ChipSpec{Name: "node", Issuer: f.root.VLEKIssuer()})(f)
		}},
		{id: "AT-15", name: "Genoa root, Milan report", want: "att.chain", before: report(func(b []byte) { b[attestationtest.OffModel] = 1 })},
		{id: "AT-15", name: "expired certificate", want: "att.chain", before: func(f *fixture) {
			chip(attestationtest.ChipSpec{Name: "node", NotAfter: f.now.Add(-time.Hour)})(f)
		}},
		{id: "AT-15", name: "VLEK certificate for a VCEK report", want: "att.chain", before: chip(attestationtest.ChipSpec{Name: "node", CSP: "cloud"})},
		{id: "AT-16", name: "genuine, but not allowed", want: "att.product", before: func(f *fixture) {
			f.policy.SNP.Products = []string{"Turin"}
			f.policy.SNP.Floors["Turin"] = attestation.TCB{}
		}},
		{id: "AT-16", name: "no known product", want: "att.product", before: report(func(b []byte) { b[attestationtest.OffModel] = 0x7f })},
		{id: "AT-17", name: "certificate of another chip", want: "att.chip", before: chip(attestationtest.ChipSpec{Name: "node", CertChip: attestation.ChipID{1}})},
		{id: "AT-17", name: "chip hidden", want: "att.chip", before: setBit(attestationtest.OffSigner, 1)},
		{id: "AT-17", name: "chip zero", want: "att.chip", before: report(func(b []byte) { clear(b[attestationtest.OffChipID:][:64]) })},
		{id: "AT-17", name: "certificate names no chip", want: "att.chip", before: chip(attestationtest.ChipSpec{Name: "node", NoChip: true})},
		{id: "AT-18", name: "VLEK where none may sign", want: "att.signingkey", before: func(f *fixture) { vlek("cloud")(f) }},
		{id: "AT-18", name: "VLEK of another provider", want: "att.signingkey", before: func(f *fixture) { vlek("cloud")(f); f.policy.SNP.VLEKs = []string{"other"} }},
		{id: "AT-18", name: "not signed", want: "att.signingkey", before: report(func(b []byte) { b[attestationtest.OffSigner] = 7 << 2 })},
		{id: "AT-19", name: "SMT allowed", want: "att.platform", before: setBit(attestationtest.OffPolicy, 16)},
		{id: "AT-19", name: "SMT on", want: "att.platform", before: setBit(attestationtest.OffPlatform, 0)},
		{id: "AT-19", name: "several sockets", want: "att.platform", before: clearBit(attestationtest.OffPolicy, 20)},
		{id: "AT-19", name: "CXL", want: "att.platform", before: setBit(attestationtest.OffPolicy, 21)},
		{id: "AT-19", name: "AES-128", want: "att.platform", before: clearBit(attestationtest.OffPolicy, 22)},
		{id: "AT-19", name: "RAPL allowed", want: "att.platform", before: clearBit(attestationtest.OffPolicy, 23)},
		{id: "AT-19", name: "RAPL on", want: "att.platform", before: clearBit(attestationtest.OffPlatform, 3)},
		{id: "AT-19", name: "ciphertext hiding not required", want: "att.platform", before: clearBit(attestationtest.OffPolicy, 24)},
		{id: "AT-19", name: "ciphertext hiding off", want: "att.platform", before: clearBit(attestationtest.OffPlatform, 4)},
		{id: "AT-19", name: "page swap allowed", want: "att.platform", before: clearBit(attestationtest.OffPolicy, 25)},
		{id: "AT-19", name: "no ECC", want: "att.platform", before: clearBit(attestationtest.OffPlatform, 2)},
		{id: "AT-19", name: "alias check not done", want: "att.platform", before: clearBit(attestationtest.OffPlatform, 5)},
		{id: "AT-22", name: "one bit off, signed", want: "att.binding", before: report(func(b []byte) { b[attestationtest.OffData+63] ^= 1 })},
		{id: "AT-23", name: "unknown measurement", want: "att.image", before: report(func(b []byte) { b[attestationtest.OffMeasurement+47] ^= 1 })},
		{id: "AT-51", name: "withdrawn", want: "att.image.revoked", before: func(f *fixture) {
			f.policy.RevokedImages = []attestation.Measurement{attestationtest.Image().Measurement}
		}},
		{id: "AT-63", name: "no inventory", want: "att.inventory", before: func(f *fixture) { f.policy.SNP.AllowAnyChip = false }},
		{id: "AT-63", name: "not in the inventory", want: "att.inventory", before: func(f *fixture) {
			f.policy.SNP.AllowAnyChip = false
			f.policy.SNP.Chips = []attestation.ChipID{{1}, {2}}
		}},
		{id: "AT-63", name: "VLEK under an inventory", want: "att.inventory", before: func(f *fixture) {
			vlek("cloud")(f)
			f.policy.SNP.VLEKs, f.policy.SNP.AllowAnyChip = []string{"cloud"}, false
			f.policy.SNP.Chips = []attestation.ChipID{f.node.Chip.ID}
		}},
		{id: "VMPL", name: "from a lower level", want: "att.vmpl", before: report(func(b []byte) { b[attestationtest.OffVMPL] = 1 })},
		{id: "signature", name: "by another chip of the line", want: "att.signature", before: func(f *fixture) {
			c, err := f.root.NewChip("node")
			if err != nil {
				f.t.Fatal(err)
			}
			c.Cert = f.node.Chip.Cert
			f.node.Chip = c
		}},
	})
}

// vlek makes the node's chip sign with a VLEK.
func vlek(csp string) func(*fixture) {
	return func(f *fixture) {
		chip(attestationtest.ChipSpec{Name: "node", CSP: csp})(f)
		f.node.Chip.Tamper = func(b []byte) { b[attestationtest.OffSigner] = 1 << 2 }
	}
}

// TestWaiversAreNamed: what a policy does without is accepted, and shows.
func TestWaiversAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*fixture)
		gap    string
	}{
		"enrolled chip": {func(f *fixture) {
			f.policy.SNP.AllowAnyChip, f.policy.SNP.Chips = false, []attestation.ChipID{f.node.Chip.ID}
		}, ""},
		"VLEK": {func(f *fixture) { vlek("cloud")(f); f.policy.SNP.VLEKs = []string{"cloud"} }, "chip unknown"},
		"SMT": {func(f *fixture) {
			f.policy.SNP.AllowSMT = true
			report(func(b []byte) { b[attestationtest.OffPolicy+2] |= 1; b[attestationtest.OffPlatform] |= 1 })(f)
		}, "waived by policy: SMT"},
		"grace": {func(f *fixture) {
			f.policy.SNP.CRLGrace = attestation.Duration(time.Hour)
			crl(-2*time.Hour, -time.Minute, nil)(f)
		}, ""},
		"Secure Boot":      {func(f *fixture) { f.policy.AllowSecureBootOff = true }, ""},
		"TPM outside":      {func(f *fixture) { f.policy.Images[0].TPMOutside = true }, "vTPM outside"},
		"IMA has grown":    {func(f *fixture) {}, "run time"},
		"another stepping": {report(func(b []byte) { b[attestationtest.OffModel+1] = 2 }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			c.before(f)
			f.make()
			if err := f.node.TPM.Extend(t.Context(), 10, [32]byte{9}); err != nil {
				t.Fatal(err)
			}
			f.refresh()
			r, err := f.verify()
			if err != nil {
				t.Fatal(err)
			}
			found := c.gap == ""
			for _, g := range r.Report.Gaps() {
				found = found || len(c.gap) > 0 && strings.Contains(g, c.gap)
			}
			if !found {
				t.Errorf("gap %q not in %q", c.gap, r.Report.Gaps())
			}
		})
	}
}

// TestMangledReports is AT-21: whatever the bytes, a refusal and no panic.
func TestMangledReports(t *testing.T) {
	t.Run("AT-21", func(t *testing.T) {
		f := newFixture(t, nil).make()
		f.policy.WithoutFreshness = true // its quote would refuse every mutant first
		good := append([]byte(nil), *f.piece(evidence.KindSNPReport)...)
		try := func(name string, b []byte, want attestation.Code) {
			t.Helper()
			*f.piece(evidence.KindSNPReport) = b
			if d := f.ev.Epoch.Digest(); d != [32]byte{} {
				f.refs.EvidenceDigest = d
			}
			_, err := f.verify()
			if code(err) != want {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
			covered.Store(code(err), true)
		}
		for n := 1; n < len(good); n++ {
			try("length", good[:n], "att.format")
		}
		try("length", append(append([]byte(nil), good...), 0), "att.size")
		// A chip that signs the mangled report, so that only the format speaks.
		signed := func(change func([]byte)) []byte {
			b := append([]byte(nil), good...)
			change(b)
			if err := f.node.Chip.Sign(b); err != nil {
				t.Fatal(err)
			}
			return b
		}
		for v := range 256 {
			if v < 3 || v > 5 {
				try("version", signed(func(b []byte) { binary.LittleEndian.PutUint32(b, uint32(v)) }), "att.format")
			}
		}
		for _, alg := range []byte{0, 2, 255} {
			try("algorithm", signed(func(b []byte) { b[attestationtest.OffSigAlgo] = alg }), "att.format")
		}
		for _, off := range []int{0x4c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f} {
			try("reserved", signed(func(b []byte) { b[off] = 1 }), "att.format")
		}
		try("policy bit 17", signed(func(b []byte) { b[attestationtest.OffPolicy+2] &^= 2 }), "att.format")
		try("policy bit 26", signed(func(b []byte) { b[attestationtest.OffPolicy+3] |= 4 }), "att.format")
		try("platform bit 6", signed(func(b []byte) { b[attestationtest.OffPlatform] |= 0x40 }), "att.format")
		try("signer bit 5", signed(func(b []byte) { b[attestationtest.OffSigner] |= 0x20 }), "att.format")
		order, _ := new(big.Int).SetString("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)
		for _, v := range []*big.Int{new(big.Int), order, new(big.Int).Add(order, big.NewInt(1)), new(big.Int).Lsh(order, 100)} {
			for _, off := range []int{0, 72} {
				b := append([]byte(nil), good...)
				var be [72]byte
				v.FillBytes(be[:])
				for i := range be {
					b[attestationtest.OffSignature+off+i] = be[71-i]
				}
				try("scalar", b, "att.format")
			}
		}
		b := append([]byte(nil), good...)
		b[len(b)-1] = 1
		try("after the signature", b, "att.format")
	})
}
