// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// A variant changes one thing about good evidence.
type variant struct {
	name   string
	change func(f *fixture)
	want   refuse.Code
}

func run(t *testing.T, good *fixture, variants []variant) {
	t.Helper()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) { good.with(t, v.change).want(t, v.want) })
	}
}

// tampered returns a change of what the hardware says.
func tampered(s faketdx.QuoteSpec, change func(q *tdx.Quote)) func(*fixture) {
	return func(f *fixture) {
		s.Tamper = change
		f.quote = f.newQuote(s)
	}
}

func attributes(bits uint64) func(*fixture) {
	return tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { q.Attributes = bits })
}

const septVE = 1 << 28

func TestAttributes(t *testing.T) {
	good := newFixture(t)
	t.Run("AT-07", func(t *testing.T) {
		run(t, good, []variant{{"DEBUG", attributes(septVE | 1), refuse.Debug}})
		for bit := 1; bit < 8; bit++ {
			run(t, good, []variant{{fmt.Sprintf("bit %d", bit), attributes(septVE | 1<<bit), refuse.Debug}})
		}
		run(t, good, []variant{{"quoting enclave", func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{TamperQE: func(e *tdx.EnclaveReport) { e.Attributes[0] |= 2 }})
		}, refuse.TDXQE}})
	})
	service := func(q *tdx.Quote) { q.MRServiceTD[47] = 1 }
	t.Run("AT-08", func(t *testing.T) {
		run(t, good, []variant{
			{"MIGRATABLE", attributes(septVE | 1<<29), refuse.Migrate},
			{"service TD", tampered(faketdx.QuoteSpec{Version: 5, TDX15: true}, service), refuse.Migrate},
			{"service TD that is expected", func(f *fixture) {
				tampered(faketdx.QuoteSpec{Version: 5, TDX15: true}, service)(f)
				f.limits.MRServiceTD[47] = 1
			}, ""},
			{"no service TD where one is expected", func(f *fixture) { f.limits.MRServiceTD[47] = 1 }, refuse.Migrate},
		})
	})
	t.Run("other bits", func(t *testing.T) {
		for bit := 8; bit < 64; bit++ {
			want := refuse.Platform
			switch bit {
			case 27, 28, 30:
				want = ""
			case 29:
				want = refuse.Migrate
			}
			run(t, good, []variant{{fmt.Sprintf("bit %d", bit), attributes(septVE | 1<<bit), want}})
		}
		run(t, good, []variant{
			{"no SEPT_VE_DISABLE", attributes(0), refuse.Platform},
			{"waived", func(f *fixture) { attributes(0)(f); f.limits.Waive.SeptVE = true }, ""},
			{"key locker waived", func(f *fixture) { attributes(septVE | 1<<31)(f); f.limits.Waive.KeyLocker = true }, ""},
			{"counters waived", func(f *fixture) { attributes(septVE | 1<<63)(f); f.limits.Waive.Perfmon = true }, ""},
			{"all waived", func(f *fixture) {
				attributes(septVE | 1<<62)(f)
				f.limits.Waive = tdx.Waivers{SeptVE: true, KeyLocker: true, Perfmon: true}
			}, refuse.Platform},
		})
	})
}

func TestGuestValues(t *testing.T) {
	good := newFixture(t)
	t.Run("XFAM", func(t *testing.T) {
		for bit := range 64 {
			want := refuse.Platform
			if uint64(0x6dbe7)>>bit&1 == 1 && bit > 1 {
				want = ""
			}
			run(t, good, []variant{{fmt.Sprintf("bit %d", bit), tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { q.XFAM = 3 ^ 1<<bit }), want}})
		}
	})
	t.Run("host values", func(t *testing.T) {
		for name, field := range map[string]func(q *tdx.Quote, l *tdx.Limits) (*[48]byte, *[48]byte){
			"MRCONFIGID":    func(q *tdx.Quote, l *tdx.Limits) (*[48]byte, *[48]byte) { return &q.MRConfigID, &l.MRConfigID },
			"MROWNER":       func(q *tdx.Quote, l *tdx.Limits) (*[48]byte, *[48]byte) { return &q.MROwner, &l.MROwner },
			"MROWNERCONFIG": func(q *tdx.Quote, l *tdx.Limits) (*[48]byte, *[48]byte) { return &q.MROwnerConfig, &l.MROwnerConfig },
		} {
			set := tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { v, _ := field(q, &tdx.Limits{}); v[3] = 7 })
			expect := func(f *fixture) { _, l := field(&tdx.Quote{}, &f.limits); l[3] = 7 }
			run(t, good, []variant{
				{name + " set", set, refuse.Platform},
				{name + " expected", func(f *fixture) { set(f); expect(f) }, ""},
				{name + " missing", expect, refuse.Platform},
			})
		}
	})
}

func TestQuoteMangled(t *testing.T) {
	t.Run("AT-21", func(t *testing.T) {
		good := newFixture(t)
		v5 := good.newQuote(faketdx.QuoteSpec{Version: 5, TDX15: true})
		refused := func(name string, b []byte, want refuse.Code) {
			t.Helper()
			if _, err := tdx.ParseQuote(b); code(err) != want {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
		for _, q := range [][]byte{good.quote, v5} {
			for n := range len(q) {
				refused(fmt.Sprintf("%d bytes", n), q[:n], refuse.Format)
			}
			refused("a byte after it", append(bytes.Clone(q), 1), refuse.Format)
			refused("a byte after padding", append(append(bytes.Clone(q), make([]byte, 100)...), 1), refuse.Format)
			refused("padding beyond the cap", append(bytes.Clone(q), make([]byte, tdx.MaxQuote)...), refuse.Size)
			for version := range 1 << 16 {
				if int(binary.LittleEndian.Uint16(q)) != version {
					m := bytes.Clone(q[:64]) // the rest is not read by then
					if version == 4 || version == 5 {
						m = bytes.Clone(q)
					}
					binary.LittleEndian.PutUint16(m, uint16(version))
					refused(fmt.Sprintf("version %d", version), m, refuse.Format)
				}
			}
			for bit := 16; bit < 8*28; bit++ { // key type, TEE type, reserved, vendor
				m := bytes.Clone(q)
				m[bit/8] ^= 1 << (bit % 8)
				refused(fmt.Sprintf("header bit %d", bit), m, refuse.Format)
			}
		}
		order, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
		for _, off := range []int{48 + 584 + 4, 48 + 584 + 4 + 32, 48 + 584 + 4 + 134 + 384, 48 + 584 + 4 + 134 + 384 + 32} {
			for name, scalar := range map[string]*big.Int{"0": new(big.Int), "n": order, "n+1": new(big.Int).Add(order, big.NewInt(1)),
				"2^256-1": new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))} {
				m := bytes.Clone(good.quote)
				scalar.FillBytes(m[off : off+32])
				refused(fmt.Sprintf("scalar %s at %d", name, off), m, refuse.Format)
			}
		}
		off := bytes.Clone(good.quote)
		clear(off[48+584+4+64 : 48+584+4+128])
		refused("attestation key of zeros", off, refuse.Format)
		mangledChains(t, good)
	})
}

func mangledChains(t *testing.T, good *fixture) {
	run(t, good, []variant{
		{"SEAMATTRIBUTES", tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { q.SEAMAttributes = 1 }), refuse.TDXModule},
		{"chain without root", chainOf(good, func(c [][]byte) [][]byte { return c[:2] }), refuse.Format},
		{"chain with a certificate twice", chainOf(good, func(c [][]byte) [][]byte { return append(c, c[2]) }), refuse.Format},
		{"chain in another order", chainOf(good, func(c [][]byte) [][]byte { return [][]byte{c[0], c[2], c[1]} }), refuse.Chain},
		{"empty chain", chainOf(good, func(c [][]byte) [][]byte { return nil }), refuse.Format},
		{"chain with a zero byte", func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.Chain = append(q.Chain, 0) }})
		}, ""},
		{"chain with two", func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.Chain = append(q.Chain, 0, 0) }})
		}, refuse.Format},
		{"chain with text before", func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.Chain = append([]byte("\n"), q.Chain...) }})
		}, refuse.Format},
		{"chain with CR LF", func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.Chain = bytes.ReplaceAll(q.Chain, []byte("\n"), []byte("\r\n")) }})
		}, refuse.Format},
	})
}

// chainOf returns a change of the certificates in the quote, which nothing signs
// as a list.
func chainOf(good *fixture, change func([][]byte) [][]byte) func(*fixture) {
	return func(f *fixture) {
		f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.Chain = relist(q.Chain, change) }})
	}
}

// relist changes a list of PEM certificates.
func relist(b []byte, change func([][]byte) [][]byte) []byte {
	var certs [][]byte
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		certs = append(certs, block.Bytes)
	}
	var out []byte
	for _, c := range change(certs) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return out
}

func TestBinding(t *testing.T) {
	good := newFixture(t)
	t.Run("AT-22", func(t *testing.T) {
		g, err := good.verify()
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 512 {
			l := good.limits
			l.Data[bit/8] ^= 1 << (bit % 8)
			if err := g.Check(&l); code(err) != refuse.Binding {
				t.Fatalf("bit %d: %v", bit, err)
			}
		}
		run(t, good, []variant{{"quote over other data", func(f *fixture) { f.quote = f.newQuote(faketdx.QuoteSpec{Data: [64]byte{1}}) }, refuse.Binding}})
	})
	t.Run("signatures", func(t *testing.T) {
		run(t, good, []variant{
			{"another attestation key", func(f *fixture) {
				other, err := tdx.ParseQuote(must(f.newPlatform(faketdx.PlatformSpec{Name: "b"}).Quote(faketdx.QuoteSpec{Data: data})))
				if err != nil {
					f.t.Fatal(err)
				}
				f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.AttKey, q.Signature = other.AttKey, other.Signature }})
			}, refuse.TDXQE},
			{"another quoting enclave's report", func(f *fixture) {
				other, err := tdx.ParseQuote(must(f.newPlatform(faketdx.PlatformSpec{Name: "b"}).Quote(faketdx.QuoteSpec{Data: data})))
				if err != nil {
					f.t.Fatal(err)
				}
				f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.QE, q.QESignature, q.QEAuth = other.QE, other.QESignature, other.QEAuth }})
			}, refuse.TDXQE},
			{"another platform's chain", func(f *fixture) {
				other := f.newPlatform(faketdx.PlatformSpec{Name: "b"})
				chainOf(good, func(c [][]byte) [][]byte { return [][]byte{other.Cert.Raw, c[1], c[2]} })(f)
			}, refuse.TDXQE},
			{"report of the enclave over more", func(f *fixture) {
				f.quote = f.newQuote(faketdx.QuoteSpec{TamperQE: func(e *tdx.EnclaveReport) { e.Data[63] = 1 }})
			}, refuse.TDXQE},
			{"authentication data changed", func(f *fixture) {
				f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.QEAuth[0] ^= 1 }})
			}, refuse.TDXQE},
			{"no authentication data", tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { q.QEAuth = nil }), ""},
			{"body changed", func(f *fixture) {
				f.quote = f.newQuote(faketdx.QuoteSpec{After: func(q *tdx.Quote) { q.RTMR[3][0] ^= 1 }})
			}, refuse.Signature},
		})
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err) // of a test's own making
	}
	return b
}

func TestInventory(t *testing.T) {
	t.Run("AT-63", func(t *testing.T) {
		good := newFixture(t)
		other := func(s faketdx.PlatformSpec) func(*fixture) {
			return func(f *fixture) {
				f.platform = f.newPlatform(s)
				f.quote, f.c = f.newQuote(faketdx.QuoteSpec{}), f.collateral(faketdx.CollateralSpec{})
			}
		}
		run(t, good, []variant{
			{"same platform, new certificate", other(faketdx.PlatformSpec{Name: "a"}), ""},
			{"another platform", other(faketdx.PlatformSpec{Name: "b"}), refuse.Inventory},
			{"another FMSPC", other(faketdx.PlatformSpec{Name: "a", FMSPC: [6]byte{1}}), refuse.Inventory},
			{"any will do", func(f *fixture) {
				other(faketdx.PlatformSpec{Name: "b"})(f)
				f.limits.AllowAnyChip = true
			}, ""},
			{"a platform that is nobody", func(f *fixture) {
				other(faketdx.PlatformSpec{NoIdentity: true})(f)
				f.limits.Chips = append(f.limits.Chips, (&tdx.PCK{FMSPC: faketdx.LabFMSPC}).ID())
			}, refuse.Inventory},
			{"another module", tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { q.MRSEAM[0] ^= 1 }), refuse.TDXModule},
			{"any module", func(f *fixture) {
				tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { q.MRSEAM[0] ^= 1 })(f)
				f.limits.AllowAnyModule = true
			}, ""},
		})
	})
}

// TestPCKCertificate has platforms whose certificate is not what it has to be.
func TestPCKCertificate(t *testing.T) {
	good := newFixture(t)
	other, err := faketdx.Generate()
	if err != nil {
		t.Fatal(err)
	}
	on := func(s faketdx.PlatformSpec) func(*fixture) {
		return func(f *fixture) {
			f.platform = f.newPlatform(s)
			f.quote = f.newQuote(faketdx.QuoteSpec{})
		}
	}
	replace := func(old, new []byte) func(*fixture) {
		return on(faketdx.PlatformSpec{Name: "a", Extension: func(der []byte) []byte { return bytes.Replace(der, old, new, 1) }})
	}
	oid := func(last ...int) []byte {
		b, err := asn1.Marshal(append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, last...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	run(t, good, []variant{
		{"expired", on(faketdx.PlatformSpec{NotAfter: good.now.Add(-time.Second)}), refuse.Chain},
		{"last second", on(faketdx.PlatformSpec{Name: "a", NotAfter: good.now}), ""},
		{"not yet valid", on(faketdx.PlatformSpec{NotBefore: good.now.Add(time.Second)}), refuse.Chain},
		{"another subject", on(faketdx.PlatformSpec{Subject: "Intel SGX TCB Signing"}), refuse.Chain},
		{"another issuer's name", on(faketdx.PlatformSpec{Issuer: good.root.Signer()}), refuse.Chain},
		{"nothing about a platform", on(faketdx.PlatformSpec{NoPlatform: true}), refuse.Chain},
		{"no identity", on(faketdx.PlatformSpec{NoIdentity: true}), refuse.Inventory},
		{"bytes after the extension", on(faketdx.PlatformSpec{Extension: func(der []byte) []byte { return append(der, 0) }}), refuse.Chain},
		{"field twice", replace(oid(3), oid(4)), refuse.Chain},
		{"field missing", replace(oid(4), oid(9)), refuse.Chain},
		{"component twice", replace(oid(2, 3), oid(2, 2)), refuse.Chain},
		{"component missing", replace(oid(2, 3), oid(2, 19)), refuse.Chain},
		{"root of another", func(f *fixture) { f.trusted = roots.New(true).With(roots.Intel, other.Certs()...) }, refuse.Chain},
		{"no root", func(f *fixture) { f.trusted = roots.New(true) }, refuse.Chain},
		{"one of two roots", func(f *fixture) {
			f.trusted = roots.New(true).With(roots.Intel, other.Certs()...).With(roots.Intel, f.root.Certs()...)
		}, ""},
		{"root of another vendor", func(f *fixture) { f.trusted = roots.New(true).With(roots.NVIDIA, f.root.Certs()...) }, refuse.Chain},
		{"simulated under real roots", func(f *fixture) { f.trusted = intel() }, refuse.Simulated},
		{"simulated root that does not say so", func(f *fixture) { f.trusted = roots.New(false).With(roots.Intel, f.root.Certs()...) }, refuse.Simulated},
	})
}

// signDocument signs a document with any key, in the service's form.
func signDocument(t testing.TB, key *ecdsa.PrivateKey, member string, inner []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(inner)
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return fmt.Appendf(nil, `{%q:%s,"signature":"%x"}`, member, inner, sig)
}
