// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"math/big"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// TestBounds has evidence made to cost: each is refused within what hostile
// input may take. The time is the best of a few, as a busy machine takes its own.
func TestBounds(t *testing.T) {
	t.Run("AT-62", func(t *testing.T) {
		good := newFixture(t)
		long := func(n int) []byte { return bytes.Repeat([]byte("A"), n) }
		lie := bytes.Clone(good.quote)
		binary.LittleEndian.PutUint32(lie[632:], 1<<32-1)
		list := bigList(t, good)
		forged := bytes.Clone(list)
		forged[len(forged)-1] ^= 1
		certs := relist(nil, func([][]byte) [][]byte {
			many := make([][]byte, 100000)
			for i := range many {
				many[i] = good.platform.Cert.Raw[:64]
			}
			return many
		})
		deep := []byte(`{"tcbInfo":` + strings.Repeat("[", tdx.MaxJSON-200) + `,"signature":"` + strings.Repeat("0", 127) + `1"}`)
		for _, v := range []variant{
			{"quote of 64 MiB", func(f *fixture) { f.quote = make([]byte, 64<<20) }, refuse.Size},
			{"quote at the cap, zeros", func(f *fixture) { f.quote = make([]byte, tdx.MaxQuote) }, refuse.Format},
			{"quote that says 4 GiB", func(f *fixture) { f.quote = lie }, refuse.Format},
			{"TCB info of 64 MiB", func(f *fixture) { f.c.TCBInfo = long(64 << 20) }, refuse.Size},
			{"TCB info at the cap", func(f *fixture) { f.c.TCBInfo = long(tdx.MaxJSON) }, refuse.TDXCollateral},
			{"QE identity beyond the cap", func(f *fixture) { f.c.QEIdentity = long(tdx.MaxJSON + 1) }, refuse.Size},
			{"nested, unsigned", func(f *fixture) { f.c.TCBInfo = deep }, refuse.TDXCollateral},
			{"nested, signed", mint(faketdx.CollateralSpec{EditTCBInfo: func([]byte) []byte {
				return []byte(strings.Repeat("[", 30000) + strings.Repeat("]", 30000))
			}}), refuse.TDXCollateral},
			{"100000 certificates", func(f *fixture) { f.c.TCBIssuers = certs }, refuse.Size},
			{"many certificates", func(f *fixture) { f.c.TCBIssuers = certs[:12<<10] }, refuse.TDXCollateral},
			{"PCK CRL beyond the cap", func(f *fixture) { f.c.PCKCRL = long(tdx.MaxCRL + 1) }, refuse.Size},
			{"root CRL beyond the cap", func(f *fixture) { f.c.RootCRL = long(tdx.MaxCRL + 1) }, refuse.Size},
			{"PCK CRL at the cap", func(f *fixture) { f.c.PCKCRL = list }, ""},
			{"PCK CRL at the cap, unsigned", func(f *fixture) { f.c.PCKCRL = forged }, refuse.CRL},
		} {
			t.Run(v.name, func(t *testing.T) {
				f := good.with(t, v.change)
				f.want(t, v.want)
				var before, after runtime.MemStats
				best := time.Hour
				for try := 0; try == 0 || try < 50 && best > 20*time.Millisecond; try++ {
					start := time.Now()
					runtime.ReadMemStats(&before)
					_ = f.judge()
					runtime.ReadMemStats(&after)
					best = min(best, time.Since(start))
				}
				if size := after.TotalAlloc - before.TotalAlloc; size > 32<<20 || best > 20*time.Millisecond {
					t.Errorf("%v and %d bytes", best, size)
				}
			})
		}
	})
}

// bigList returns a revocation list of the PCK authority just under the cap.
func bigList(t *testing.T, f *fixture) []byte {
	entries := make([]x509.RevocationListEntry, 4500)
	for i := range entries {
		entries[i] = x509.RevocationListEntry{SerialNumber: new(big.Int).Lsh(big.NewInt(int64(i+1)), 60), RevocationTime: f.now}
	}
	_, caKey, _ := f.root.Keys()
	list := must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: f.now.Add(-time.Hour),
		NextUpdate: f.now.Add(time.Hour), RevokedCertificateEntries: entries}, f.root.CA(), caKey))
	if len(list) > tdx.MaxCRL || len(list) < tdx.MaxCRL*9/10 {
		t.Fatalf("list of %d bytes", len(list))
	}
	return list
}

func FuzzParseQuote(f *testing.F) {
	good := newFixture(f)
	cos, err := os.ReadFile("testdata/cos-113-tdx-quote.dat")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{nil, testdata.RawQuote[:len(testdata.RawQuote)-39], cos, good.quote,
		good.newQuote(faketdx.QuoteSpec{Version: 5}), good.newQuote(faketdx.QuoteSpec{Version: 5, TDX15: true})} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := tdx.ParseQuote(b)
		if err != nil {
			if q != nil || code(err) == "untyped" {
				t.Fatalf("%v with an error of no class: %v", q, err)
			}
			return
		}
		if !bytes.Equal(q.Print(), b) {
			t.Fatal("printed otherwise than read")
		}
	})
}

// FuzzCollateral feeds what is signed in the two documents: no panic, and what is
// read is read the same again.
func FuzzCollateral(f *testing.F) {
	good := newFixture(f)
	for member, doc := range map[string][]byte{"tcbInfo": good.c.TCBInfo, "enclaveIdentity": good.c.QEIdentity} {
		inner, _, err := tdx.OpenSigned(doc, member)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(inner)
	}
	for member, doc := range map[string][]byte{"tcbInfo": testdata.TcbInfoBody, "enclaveIdentity": testdata.QeIdentityBody} {
		inner, _, err := tdx.OpenSigned(doc, member)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(inner)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if tdx.DecodeTCBInfo(b) == nil && tdx.DecodeQEIdentity(b) == nil {
			t.Fatal("both documents at once")
		}
	})
}

// FuzzOpenSigned holds that a document that opens is the only one that opens so,
// but for a newline.
func FuzzOpenSigned(f *testing.F) {
	f.Add(testdata.TcbInfoBody)
	f.Add(newFixture(f).c.TCBInfo)
	f.Fuzz(func(t *testing.T, b []byte) {
		inner, sig, err := tdx.OpenSigned(b, "tcbInfo")
		if err != nil {
			return
		}
		again := append(append([]byte(`{"tcbInfo":`), inner...), `,"signature":"`...)
		again = append(appendHex(again, sig[:]), `"}`...)
		if !bytes.Equal(again, bytes.TrimSuffix(b, []byte("\n"))) {
			t.Fatalf("%q opens as %q", b, again)
		}
	})
}

func appendHex(dst, b []byte) []byte {
	const digits = "0123456789abcdef"
	for _, v := range b {
		dst = append(dst, digits[v>>4], digits[v&15])
	}
	return dst
}

// FuzzParseChain holds that only the printed forms of certificates are read.
func FuzzParseChain(f *testing.F) {
	good := newFixture(f)
	f.Add(good.c.TCBIssuers)
	f.Add(bytes.TrimSpace(good.c.TCBIssuers))
	f.Add(append(bytes.Clone(good.c.TCBIssuers), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, err := tdx.ParseChain(b, 2)
		if err != nil {
			return
		}
		again := relist(nil, func([][]byte) [][]byte { return [][]byte{chain[0].Raw, chain[1].Raw} })
		if !bytes.Equal(bytes.TrimSuffix(again, []byte("\n")), bytes.TrimRight(b, "\n\x00")) {
			t.Fatalf("%q was read", b)
		}
	})
}

func FuzzSGXExtension(f *testing.F) {
	for _, e := range newFixture(f).platform.Cert.Extensions {
		f.Add(e.Value)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := tdx.DecodeSGXExtension(b); (p == nil) != (err != nil) {
			t.Fatalf("%v with %v", p, err)
		}
	})
}
