// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/internal/nitro"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

func critical(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
}

// fields returns a change to one field of a document.
func fields(change func(f []fakenitro.Field) []fakenitro.Field) fakenitro.Spec {
	return fakenitro.Spec{Fields: change}
}

func set(key string, value any) fakenitro.Spec {
	return fields(func(f []fakenitro.Field) []fakenitro.Field {
		for i := range f {
			if f[i].Key == key {
				f[i].Value = value
			}
		}
		return f
	})
}

// TestMangled is AT-21: content that is signed but not as it has to be.
func TestMangled(t *testing.T) {
	a := authority(t, nil)
	cases := map[string]fakenitro.Spec{
		"digest SHA256":           set("digest", "SHA256"),
		"digest as bytes":         set("digest", []byte("SHA384")),
		"digest of another case":  set("digest", "sha384"),
		"no module":               set("module_id", ""),
		"module too long":         set("module_id", strings.Repeat("m", 257)),
		"module not UTF-8":        set("module_id", "\xff"),
		"module a number":         set("module_id", 7),
		"timestamp a text":        set("timestamp", "now"),
		"timestamp negative":      set("timestamp", -1),
		"timestamp zero":          set("timestamp", 0),
		"timestamp in the far":    set("timestamp", uint64(1)<<48+1),
		"timestamp a float":       set("timestamp", 1.5),
		"timestamp null":          set("timestamp", nil),
		"registers empty":         set("nitrotpm_pcrs", map[int][]byte{}),
		"registers a list":        set("nitrotpm_pcrs", [][]byte{make([]byte, 48)}),
		"register of 32 bytes":    set("nitrotpm_pcrs", map[int][]byte{4: make([]byte, 32)}),
		"register of 49 bytes":    set("nitrotpm_pcrs", map[int][]byte{4: make([]byte, 49)}),
		"register 32":             set("nitrotpm_pcrs", map[int][]byte{32: make([]byte, 48)}),
		"register -1":             set("nitrotpm_pcrs", map[int][]byte{-1: make([]byte, 48)}),
		"register by name":        set("nitrotpm_pcrs", map[string][]byte{"4": make([]byte, 48)}),
		"register as numbers":     set("nitrotpm_pcrs", map[int][]int{4: make([]int, 48)}),
		"certificate cut":         set("certificate", []byte{0x30, 0x82}),
		"certificate too long":    set("certificate", make([]byte, 1025)),
		"certificate null":        set("certificate", nil),
		"bundle empty":            set("cabundle", [][]byte{}),
		"bundle of nine":          set("cabundle", make([][]byte, 9)),
		"bundle of texts":         set("cabundle", []string{"x"}),
		"user_data a text":        set("user_data", "text"),
		"user_data as numbers":    set("user_data", []int{1, 2}),
		"user_data of 1025 bytes": set("user_data", make([]byte, 1025)),
		"nonce a number":          set("nonce", 1),
		"public_key a map":        set("public_key", map[int]int{}),
		"unknown field":           fields(func(f []fakenitro.Field) []fakenitro.Field { return append(f, fakenitro.Field{Key: "x", Value: 1}) }),
		"key of another case":     fields(func(f []fakenitro.Field) []fakenitro.Field { f[0].Key = "Module_ID"; return f }),
		"both kinds of register": fields(func(f []fakenitro.Field) []fakenitro.Field {
			return append(f, fakenitro.Field{Key: "pcrs", Value: map[int][]byte{0: make([]byte, 48)}})
		}),
		"another algorithm":   {Protected: []byte{0xa1, 0x01, 0x26}},
		"no algorithm":        {Protected: []byte{0xa0}},
		"a header more":       {Protected: []byte{0xa2, 0x01, 0x38, 0x22, 0x04, 0x41, 0x31}},
		"signature too short": {Signature: func(s []byte) []byte { return s[:95] }},
		"signature too long":  {Signature: func(s []byte) []byte { return append(s, 0) }},
	}
	for i := range 9 {
		cases["twice: field "+string(rune('0'+i))] = fields(func(f []fakenitro.Field) []fakenitro.Field { return append(f, f[i]) })
		if i < 6 { // the last three are optional
			cases["absent: field "+string(rune('0'+i))] = fields(func(f []fakenitro.Field) []fakenitro.Field { return append(f[:i:i], f[i+1:]...) })
		}
	}
	for name, spec := range cases {
		t.Run("AT-21 "+name, func(t *testing.T) {
			want(t, judge(document(t, a, spec), a.Roots(), at, limits()), refuse.Format)
		})
	}
	t.Run("AT-21 signature out of range", func(t *testing.T) {
		n := order().FillBytes(make([]byte, 48))
		for name, half := range map[string][]byte{"zero": make([]byte, 48), "n": n} {
			for _, i := range []int{0, 48} {
				doc := document(t, a, fakenitro.Spec{Signature: func(s []byte) []byte { copy(s[i:], half); return s }})
				t.Run(name, func(t *testing.T) { want(t, judge(doc, a.Roots(), at, limits()), refuse.Signature) })
			}
		}
	})
}

// TestEncoding is AT-21 below the content: the same values spelled otherwise.
func TestEncoding(t *testing.T) {
	a := authority(t, nil)
	good := document(t, a, fakenitro.Spec{})
	at0 := bytes.Index(good, []byte("fSHA384")) // text(6)
	long := append(append(bytes.Clone(good[:at0]), 0x78, 6), good[at0+1:]...)
	for name, doc := range map[string][]byte{
		"nothing":                nil,
		"a byte more":            append(bytes.Clone(good), 0),
		"twice":                  append(bytes.Clone(good), good...),
		"tagged twice":           append([]byte{0xd2, 0xd2}, good...),
		"another tag":            append([]byte{0xd1}, good...),
		"long form of the tag":   append([]byte{0xd8, 18}, good...),
		"indefinite":             append(append([]byte{0x9f}, good[1:]...), 0xff),
		"array of five":          append(append([]byte{0x85}, good[1:]...), 0xf6),
		"long head":              append([]byte{0x98, 4}, good[1:]...),
		"protected as long head": append([]byte{0x84, 0x58, 4}, good[2:]...),
		"an unprotected header":  bytes.Replace(good, []byte{0x38, 0x22, 0xa0}, []byte{0x38, 0x22, 0xa1, 4, 0x41, 0x31}, 1),
		"long text in payload":   long,
		"deep":                   append(bytes.Repeat([]byte{0x81}, 20000), 0),
		"wide":                   append([]byte{0x99, 0x40, 0}, make([]byte, 1<<14)...),
		"4 GiB length":           {0x84, 0x5a, 0xff, 0xff, 0xff, 0xff},
		"8 EiB length":           {0x84, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"8 EiB items":            {0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		t.Run("AT-21 "+name, func(t *testing.T) {
			want(t, judge(doc, a.Roots(), at, limits()), refuse.Format)
		})
	}
	for n := range good {
		if judge(good[:n], a.Roots(), at, limits()) == nil {
			t.Errorf("accepted the first %d bytes", n)
		}
	}
}

// TestBomb is AT-62: what is refused by its size, and what it costs to refuse
// the worst that is not.
func TestBomb(t *testing.T) {
	a := authority(t, nil)
	t.Run("AT-62 size", func(t *testing.T) {
		want(t, judge(make([]byte, nitro.MaxSize+1), a.Roots(), at, limits()), refuse.Size)
		want(t, judge(make([]byte, nitro.MaxSize), a.Roots(), at, limits()), refuse.Format)
	})
	t.Run("AT-62 chain of one name", func(t *testing.T) {
		// Eight certificates of one name and key would be tried in every order.
		same := authority(t, func(_ int, c *x509.Certificate) { c.Subject.CommonName = "SIMULATED" })
		doc := document(t, same, fakenitro.Spec{Bundle: func(b [][]byte) [][]byte { return append(b, b[1], b[2], b[3], b[1]) }})
		begin := time.Now()
		want(t, judge(doc, same.Roots(), at, limits()), refuse.Chain)
		if d := time.Since(begin); d > time.Second { // 20 ms, on a machine that does nothing else
			t.Errorf("took %v", d)
		}
	})
}

// meaningless are bits of a document that may flip, as half-open ranges. Empty:
// everything is signed, or has one spelling.
var meaningless [][2]int

// TestTotality is AT-66 for this component: every bit, or every 31st with
// -short. It runs on all cores: the signature checks are what takes time.
func TestTotality(t *testing.T) {
	a := authority(t, nil)
	good := document(t, a, fakenitro.Spec{PCRs: map[int]fakenitro.PCR{4: fakenitro.PCRs()[4]}})
	l := limits()
	l.Images = []map[int]nitro.PCR{{4: fakenitro.PCRs()[4]}}
	trusted := a.Roots()
	if err := judge(good, trusted, at, l); err != nil {
		t.Fatal(err)
	}
	stride := 1
	if testing.Short() {
		stride = 31
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			b := bytes.Clone(good)
			for bit := w * stride; bit < 8*len(b); bit += workers * stride {
				b[bit/8] ^= 1 << (bit % 8)
				if judge(b, trusted, at, l) == nil && !listed(bit) {
					t.Errorf("AT-66: accepted with bit %d of byte %d flipped", bit%8, bit/8)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

func listed(bit int) bool {
	for _, r := range meaningless {
		if r[0] <= bit && bit < r[1] {
			return true
		}
	}
	return false
}

// TestTwin: ECDSA has two signatures for one (s and n-s). Both are by the same
// key over the same bytes, and so both stand; whoever names documents by a
// digest names one of them.
func TestTwin(t *testing.T) {
	a := authority(t, nil)
	doc := document(t, a, fakenitro.Spec{Signature: func(s []byte) []byte {
		v := new(big.Int).Sub(order(), new(big.Int).SetBytes(s[48:]))
		v.FillBytes(s[48:])
		return s
	}})
	if err := judge(doc, a.Roots(), at, limits()); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	a := authority(f, nil)
	f.Add(document(f, a, fakenitro.Spec{}))
	f.Add(document(f, a, fakenitro.Spec{Enclave: true, Tagged: true, Nonce: []byte{1}, PublicKey: []byte{2}}))
	f.Add([]byte{0x84, 0x44, 0xa1, 1, 0x38, 0x22, 0xa0, 0x41, 0xa0, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := nitro.Parse(b)
		if err == nil {
			if d.Module == "" || len(d.PCRs) == 0 || d.Flavor == "" {
				t.Errorf("parsed %+v", d)
			}
			return
		}
		var e *refuse.Error
		if !errors.As(err, &e) {
			t.Errorf("untyped: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	a := authority(b, nil)
	doc, trusted, l := document(b, a, fakenitro.Spec{}), a.Roots(), limits()
	b.ReportAllocs()
	for b.Loop() {
		if err := judge(doc, trusted, at, l); err != nil {
			b.Fatal(err)
		}
	}
}
