// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

var products = []string{"Genoa", turin}

func TestGenuineAndAcceptable(t *testing.T) {
	for _, product := range products {
		x := newMachine(t, product).finish()
		g, err := Verify(x.report, x.c, x.trusted, x.now, 0)
		if err != nil {
			t.Fatalf("%s: %v", product, err)
		}
		if err := g.Check(&x.limits); err != nil {
			t.Errorf("%s: %v", product, err)
		}
		if g.Product != product || g.Reported != x.tcb || g.CertTCB != x.tcb || g.LaunchMitigations != 7 || g.CurrentMitigations != 15 ||
			!bytes.HasPrefix(g.HostData[:], []byte("HOST_DATA")) || !bytes.HasPrefix(g.IDKey[:], []byte("ID key")) || !bytes.HasPrefix(g.AuthorKey[:], []byte("author key")) {
			t.Errorf("%s: %+v", product, g.Report)
		}
		if err := g.Check(&Limits{}); code(err) != refuse.Product {
			t.Errorf("zero limits: %v", err)
		}
		v := newMachine(t, product)
		v.csp, v.hwid, v.issuer = "cloud", nil, v.m.line.ASVK
		v.report[0x48] = 1 << 2
		v.limits.VLEKs, v.limits.AllowAnyChip = []string{"cloud"}, true
		if err := v.finish().verify(); err != nil {
			t.Errorf("%s, VLEK: %v", product, err)
		}
	}
	dense := newMachine(t, turin)
	dense.report[0x189] = 0x11
	if err := dense.finish().verify(); err != nil {
		t.Errorf("Turin, model 11h: %v", err)
	}
}

func TestAttacks(t *testing.T) {
	bit := func(off int, n uint) func(*machine) {
		return func(x *machine) { x.report[off+int(n/8)] ^= 1 << (n % 8) }
	}
	tcb := func(off int, change func(*kds.TCBParts)) func(*machine) {
		return func(x *machine) {
			p := x.tcb
			change(&p)
			x.putTCB(off, p)
		}
	}
	low := func(p *kds.TCBParts) { p.SnpSpl-- }
	vlek := func(x *machine) {
		x.csp, x.hwid, x.issuer = "cloud", nil, x.m.line.ASVK
		x.report[0x48] = 1 << 2
		x.limits.AllowAnyChip = true
	}
	list := func(this, next time.Duration, serials ...*big.Int) func(*machine) {
		return func(x *machine) { x.c.CRL = x.m.crl(x.now.Add(this), x.now.Add(next), serials...) }
	}
	for _, c := range []struct {
		id, name string
		want     refuse.Code
		change   func(*machine)
	}{
		{"AT-07", "debug", refuse.Debug, bit(0x08, 19)},
		{"AT-08", "migration agent allowed", refuse.Migrate, bit(0x08, 18)},
		{"AT-08", "migration agent attached", refuse.Migrate, bit(0x160, 0)},
		{"AT-10", "reported", refuse.TCB, tcb(0x180, low)},
		{"AT-10", "current", refuse.TCB, tcb(0x38, low)},
		{"AT-10", "committed", refuse.TCB, tcb(0x1e0, low)},
		{"AT-10", "launch", refuse.TCB, tcb(0x1f0, low)},
		{"AT-10", "bootloader", refuse.TCB, tcb(0x1f0, func(p *kds.TCBParts) { p.BlSpl-- })},
		{"AT-10", "microcode", refuse.TCB, tcb(0x1f0, func(p *kds.TCBParts) { p.UcodeSpl-- })},
		{"AT-10", "no floor", refuse.TCB, func(x *machine) { x.limits.Floors = nil }},
		{"AT-10", "can be rolled back", refuse.TCB, tcb(0x38, func(p *kds.TCBParts) { p.SnpSpl++ })},
		{"AT-11", "certificate for an older level", refuse.TCBCert, func(x *machine) { x.tcb.SnpSpl-- }},
		{"AT-11", "certificate for a newer level", refuse.TCBCert, func(x *machine) { x.tcb.UcodeSpl++ }},
		{"AT-13", "VCEK", refuse.Revoked, list(-time.Hour, time.Hour, big.NewInt(4711))},
		{"AT-13", "ASK", refuse.Revoked, list(-time.Hour, time.Hour, big.NewInt(2))},
		{"AT-14", "missing", refuse.CRL, func(x *machine) { x.c.CRL = nil }},
		{"AT-14", "stale", refuse.CRL, list(-2*time.Hour, -2*time.Second)},
		{"AT-14", "from the future", refuse.CRL, list(time.Hour, 2*time.Hour)},
		{"AT-14", "of another root of the same name", refuse.CRL, func(x *machine) { x.c.CRL = newMaker(x.m.product).crl(x.now.Add(-time.Hour), x.now.Add(time.Hour)) }},
		{"AT-14", "of another product", refuse.CRL, func(x *machine) {
			x.c.CRL = makers[map[string]string{"Genoa": turin, turin: "Genoa"}[x.m.product]]().crl(x.now.Add(-time.Hour), x.now.Add(time.Hour))
		}},
		{"AT-14", "of changes only", refuse.CRL, func(x *machine) {
			list := &x509.RevocationList{SignatureAlgorithm: x509.SHA384WithRSAPSS, Number: big.NewInt(2), ThisUpdate: x.now.Add(-time.Hour), NextUpdate: x.now.Add(time.Hour),
				ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}}
			var err error
			if x.c.CRL, err = x509.CreateRevocationList(rand.Reader, list, x.m.line.ARK, x.m.arkKey); err != nil {
				x.t.Fatal(err)
			}
		}},
		{"AT-15", "self-made root", refuse.Chain, func(x *machine) {
			other := newMaker(x.m.product)
			x.issuer, x.m = other.line.ASK, &maker{product: x.m.product, line: x.m.line, arkKey: x.m.arkKey, askKey: other.askKey}
		}},
		{"AT-15", "ASVK chain for a VCEK", refuse.Chain, func(x *machine) { x.issuer = x.m.line.ASVK }},
		{"AT-15", "ASK chain for a VLEK", refuse.Chain, func(x *machine) { vlek(x); x.issuer = x.m.line.ASK; x.limits.VLEKs = []string{"cloud"} }},
		{"AT-15", "no root of the line", refuse.Chain, func(x *machine) { x.trusted = roots.New(true) }},
		{"AT-15", "Milan report", refuse.Chain, func(x *machine) { copy(x.report[0x188:], []byte{0x19, 0x01, 1}) }},
		{"AT-15", "expired", refuse.Chain, func(x *machine) { x.change = func(c *x509.Certificate) { c.NotAfter = x.now.Add(-time.Minute) } }},
		{"AT-15", "of another name", refuse.Chain, func(x *machine) { x.change = func(c *x509.Certificate) { c.Subject = amdName("SEV-VLEK") } }},
		{"AT-16", "not allowed", refuse.Product, func(x *machine) { x.limits.Products = []string{"Venice"} }},
		{"AT-16", "no known product", refuse.Product, func(x *machine) { x.report[0x189] = 0x7f }},
		{"AT-17", "certificate of another chip", refuse.Chip, func(x *machine) { x.hwid = bytes.Clone(x.hwid); x.hwid[0] ^= 1 }},
		{"AT-17", "chip hidden", refuse.Chip, bit(0x48, 1)},
		{"AT-17", "chip zero", refuse.Chip, func(x *machine) { clear(x.report[0x1a0:][:64]) }},
		{"AT-17", "certificate names no chip", refuse.Chip, func(x *machine) { x.hwid = nil }},
		{"AT-18", "VLEK where none may sign", refuse.SigningKey, vlek},
		{"AT-18", "VLEK of another provider", refuse.SigningKey, func(x *machine) { vlek(x); x.limits.VLEKs = []string{"other"} }},
		{"AT-18", "VLEK that says it is a VCEK", refuse.Chain, func(x *machine) {
			x.csp = "cloud"
			x.change = func(c *x509.Certificate) { c.Subject = amdName("SEV-VCEK") }
		}},
		{"AT-18", "VCEK that says it is a VLEK", refuse.Chain, func(x *machine) { x.report[0x48] = 1 << 2; x.limits.VLEKs = []string{""} }},
		{"AT-18", "not signed", refuse.SigningKey, func(x *machine) { x.report[0x48] = 7 << 2 }},
		{"AT-19", "SMT allowed", refuse.Platform, bit(0x08, 16)},
		{"AT-19", "SMT on", refuse.Platform, bit(0x40, 0)},
		{"AT-19", "ciphertext hiding not required", refuse.Platform, bit(0x08, 24)},
		{"AT-19", "ciphertext hiding off", refuse.Platform, bit(0x40, 4)},
		{"AT-19", "page swap allowed", refuse.Platform, bit(0x08, 25)},
		{"AT-19", "alias check not done", refuse.Platform, bit(0x40, 5)},
		{"AT-19", "several sockets", refuse.Platform, bit(0x08, 20)},
		{"AT-19", "CXL", refuse.Platform, bit(0x08, 21)},
		{"AT-19", "AES-128", refuse.Platform, bit(0x08, 22)},
		{"AT-19", "RAPL allowed", refuse.Platform, bit(0x08, 23)},
		{"AT-19", "RAPL on", refuse.Platform, bit(0x40, 3)},
		{"AT-19", "no ECC", refuse.Platform, bit(0x40, 2)},
		{"AT-19", "launch mitigation missing", refuse.Platform, func(x *machine) { x.limits.LaunchMitigations = 0b1001 }},
		{"AT-19", "current mitigation missing", refuse.Platform, func(x *machine) { x.limits.CurrentMitigations = 1 << 63 }},
		{"AT-22", "first bit", refuse.Binding, bit(0x50, 0)},
		{"AT-22", "last bit", refuse.Binding, bit(0x50, 511)},
		{"AT-23", "HOST_DATA", refuse.Image, func(x *machine) { x.limits.HostData = &[32]byte{1} }},
		{"AT-23", "ID key", refuse.Image, func(x *machine) { x.limits.IDKeys = [][48]byte{{1}, {2}} }},
		{"AT-23", "author key", refuse.Image, func(x *machine) { x.limits.AuthorKeys = [][48]byte{{}} }},
		{"AT-21", "mitigations before their version", refuse.Format, func(x *machine) { x.report[0] = 4 }},
		{"AT-63", "not enrolled", refuse.Inventory, func(x *machine) { x.limits.Chips = [][64]byte{{1}} }},
		{"AT-63", "VLEK under an inventory", refuse.Inventory, func(x *machine) { vlek(x); x.limits.VLEKs, x.limits.AllowAnyChip = []string{"cloud"}, false }},
		{"VMPL", "lower", refuse.VMPL, bit(0x30, 0)},
		{"simulated", "real roots", refuse.Simulated, func(x *machine) { x.trusted = AMD() }},
	} {
		for _, product := range products {
			t.Run(c.id+"/"+c.name+"/"+product, func(t *testing.T) {
				x := newMachine(t, product)
				c.change(x)
				if err := x.finish().verify(); code(err) != c.want {
					t.Errorf("%v, want %s", err, c.want)
				}
			})
		}
	}
	t.Run("signature/another chip of the line", func(t *testing.T) {
		for _, product := range products {
			x := newMachine(t, product).finish()
			x.key, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			x.sign()
			if err := x.verify(); code(err) != refuse.Signature {
				t.Errorf("%s: %v", product, err)
			}
		}
	})
	t.Run("simulated/simulated roots, real certificate", func(t *testing.T) {
		x := newMachine(t, "Genoa").finish()
		x.c.Cert = testdata.VcekBytes
		if err := x.verify(); code(err) != refuse.Simulated {
			t.Error(err)
		}
	})
}

// TestTurin is about what only this line has.
func TestTurin(t *testing.T) {
	for _, c := range []struct {
		id, name string
		want     refuse.Code
		change   func(*machine)
	}{
		{"AT-10", "FMC", refuse.TCB, func(x *machine) { x.report[0x1f0] = 0 }},
		{"AT-11", "FMC", refuse.TCBCert, func(x *machine) { x.tcb.Spl4++ }},
		{"AT-17", "bytes after the chip's identifier", refuse.Chip, func(x *machine) { x.report[0x1a0+8] = 1; x.limits.AllowAnyChip = true }},
		{"AT-17", "identifier of 64 bytes", refuse.Chip, func(x *machine) { x.hwid = x.report[0x1a0:][:64] }},
		{"AT-15", "struct version 0", refuse.Chain, drop(kds.OidStructVersion.String(), []byte{2, 1, 0})},
		{"AT-15", "no FMC level", refuse.Chain, drop(oidFMCSpl.String(), nil)},
		{"AT-15", "level over 255", refuse.Chain, drop(kds.OidSnpSpl.String(), []byte{2, 2, 1, 0})},
		{"AT-15", "level with bytes after it", refuse.Chain, drop(kds.OidSnpSpl.String(), []byte{2, 1, 25, 0})},
		{"AT-15", "VCEK that names a provider", refuse.Chain, func(x *machine) {
			x.csp = "cloud"
			x.change = func(c *x509.Certificate) { c.Subject = amdName("SEV-VCEK") }
		}},
		{"AT-15", "an authority", refuse.Chain, func(x *machine) {
			x.change = func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
		}},
		{"AT-15", "version 2, product by certificate", refuse.Format, func(x *machine) {
			x.report[0] = 2
			clear(x.report[0x188:0x18b])
			clear(x.report[0x1f8:0x208])
			x.m = &maker{product: "Genoa", line: x.m.line, arkKey: x.m.arkKey, askKey: x.m.askKey}
			x.hwid = x.report[0x1a0:][:64]
			x.change = func(c *x509.Certificate) {
				for i := range c.ExtraExtensions {
					if c.ExtraExtensions[i].Id.Equal(kds.OidProductName1) {
						c.ExtraExtensions[i].Value = append([]byte{0x16, 8}, "Turin-B1"...)
					}
				}
			}
		}},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			x := newMachine(t, turin)
			c.change(x)
			if err := x.finish().verify(); code(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// drop replaces the value of an extension, or leaves it out.
func drop(id string, value []byte) func(*machine) {
	return func(x *machine) {
		x.change = func(c *x509.Certificate) {
			i := slices.IndexFunc(c.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.String() == id })
			if value == nil {
				c.ExtraExtensions = slices.Delete(c.ExtraExtensions, i, i+1)
			} else {
				c.ExtraExtensions[i].Value = value
			}
		}
	}
}

func TestNarrowLimits(t *testing.T) {
	x := newMachine(t, "Genoa").finish()
	g, err := Verify(x.report, x.c, x.trusted, x.now, 0)
	if err != nil {
		t.Fatal(err)
	}
	x.limits.HostData, x.limits.IDKeys, x.limits.AuthorKeys = &g.HostData, [][48]byte{{1}, g.IDKey}, [][48]byte{g.AuthorKey}
	x.limits.LaunchMitigations, x.limits.CurrentMitigations = 0b0101, 0b1111
	if err := g.Check(&x.limits); err != nil {
		t.Error(err)
	}
}

// TestMangled is AT-21 for both lines: every length and every version, signed by
// a chip that says so.
func TestMangled(t *testing.T) {
	t.Run("AT-21", func(t *testing.T) {
		for _, product := range products {
			x := newMachine(t, product).finish()
			good := bytes.Clone(x.report)
			for n := range len(good) {
				x.report = good[:n]
				if err := x.verify(); code(err) != refuse.Format {
					t.Errorf("%s, %d bytes: %v", product, n, err)
				}
			}
			for v := range 256 {
				x.report = bytes.Clone(good)
				binary.LittleEndian.PutUint32(x.report, uint32(v))
				x.sign()
				if err := x.verify(); (err == nil) != (v == 5) || err != nil && code(err) != refuse.Format {
					t.Errorf("%s, version %d: %v", product, v, err)
				}
			}
			for _, off := range []int{0x4c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f} {
				x.report = bytes.Clone(good)
				x.report[off] = 1
				x.sign()
				if err := x.verify(); code(err) != refuse.Format {
					t.Errorf("%s, reserved byte %#x: %v", product, off, err)
				}
			}
		}
	})
}

// TestTotality is AT-66: every bit of report, certificate and list. No range is
// meaningless.
func TestTotality(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 11
	}
	for _, product := range products {
		for piece, name := range []string{"report", "certificate", "CRL"} {
			t.Run(fmt.Sprintf("AT-66/%s/%s", product, name), func(t *testing.T) {
				t.Parallel()
				x := newMachine(t, product).finish()
				b, step := [][]byte{x.report, x.c.Cert, x.c.CRL}[piece], step
				if product == turin && piece == 0 {
					step *= 7 // reports are read and signed alike; Genoa's has every bit flipped
				}
				for bit := 0; bit < 8*len(b); bit += step {
					b[bit/8] ^= 1 << (bit % 8)
					if x.verify() == nil {
						t.Errorf("accepted with bit %d of byte %#x flipped", bit%8, bit/8)
					}
					b[bit/8] ^= 1 << (bit % 8)
				}
				if err := x.verify(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestGoSEVGuestEvidence verifies the report and VCEK that go-sev-guest carries,
// of a real EPYC Milan, under AMD's roots.
func TestGoSEVGuestEvidence(t *testing.T) {
	now := time.Date(2023, 6, 1, 0, 0, 0, 0, time.UTC)
	g := genuine(t, testdata.AttestationBytes, testdata.VcekBytes, now)
	if g.Product != "Milan" || g.Version != 2 || g.Reported != g.CertTCB {
		t.Errorf("%s, version %d, reported %+v, certificate %+v", g.Product, g.Version, g.Reported, g.CertTCB)
	}
	t.Run("AT-16", func(t *testing.T) {
		if err := g.Check(&Limits{Products: []string{"Genoa", turin}}); code(err) != refuse.Product {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-15/under another line's roots", func(t *testing.T) {
		line, _ := AMD().Line("Genoa")
		c, err := parseCert(testdata.VcekBytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.checkSignatures(testdata.VcekBytes, c, line, now); code(err) != refuse.Chain {
			t.Errorf("%v", err)
		}
	})
}

// TestConcurrent: verifications share the roots and nothing else.
func TestConcurrent(t *testing.T) {
	x := newMachine(t, "Genoa").finish()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := x.verify(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkVerify(b *testing.B) {
	for _, product := range products {
		b.Run(product, func(b *testing.B) {
			x := newMachine(b, product).finish()
			for b.Loop() {
				if err := x.verify(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestEveryWaiverHasAName: what a policy does without is named in its report.
func TestEveryWaiverHasAName(t *testing.T) {
	seen := map[string]bool{}
	for i := range reflect.TypeFor[Waivers]().NumField() {
		var w Waivers
		reflect.ValueOf(&w).Elem().Field(i).SetBool(true)
		names := w.Names()
		if len(names) != 1 || names[0] == "" || seen[names[0]] {
			t.Errorf("%s is called %q", reflect.TypeFor[Waivers]().Field(i).Name, names)
			continue
		}
		seen[names[0]] = true
	}
	if n := (Waivers{}).Names(); len(n) != 0 {
		t.Errorf("nothing is waived, and named %q", n)
	}
}
