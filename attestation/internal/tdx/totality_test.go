// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"runtime"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// meaningless is the short written list of bytes whose bits may flip without a
// refusal, by piece. It is empty: keep it so, or write here and in
// docs/spec/attestation.md, Section 8, why a byte proves nothing.
var meaningless = map[string][][2]int{}

// TestTotality is AT-66 for this verifier: every bit of the quote, in each of
// its forms, and of each piece of collateral. Each bit is tried on the step of
// Verify that reads the piece, and one in a few on Verify itself: a step that
// refuses is a Verify that does.
func TestTotality(t *testing.T) {
	t.Run("AT-66", func(t *testing.T) {
		good := newFixture(t)
		for name, s := range map[string]faketdx.QuoteSpec{
			"quote version 4":          {Padding: 16},
			"quote version 5, TDX 1.0": {Version: 5},
			"quote version 5, TDX 1.5": {Version: 5, TDX15: true},
		} {
			t.Run(name, func(t *testing.T) { flipQuote(t, good, name, s) })
		}
		for name, step := range collateralSteps(good) {
			t.Run(name, func(t *testing.T) {
				piece := *parts(&good.c)[name]
				flip(t, name, piece, 1, step)
				flip(t, name, piece, 97, func(b []byte) error {
					f := *good
					*parts(&f.c)[name] = b
					return f.judge()
				})
			})
		}
	})
}

// flipQuote tries the quote on its own steps. Its chain is most of it, and is
// judged before what it signs; nothing signs it, hence quotes of version 5 are
// tried without it, so as not to try the same bits again.
func flipQuote(t *testing.T, good *fixture, name string, s faketdx.QuoteSpec) {
	f := *good
	f.quote = f.newQuote(s)
	flip(t, name, f.quote, 97, func(b []byte) error {
		m := f
		m.quote = b
		return m.judge()
	})
	q, err := tdx.ParseQuote(f.quote)
	if err != nil {
		t.Fatal(err)
	}
	if q.Version == 5 {
		q.Chain = nil
	}
	flip(t, name, q.Print(), 1, func(b []byte) error {
		m, err := tdx.ParseQuote(b)
		if err != nil {
			return err
		}
		if !bytes.Equal(m.Chain, q.Chain) {
			return tdx.CheckChain(m.Chain, 3, f.root.Certs(), f.now)
		}
		return tdx.CheckSignatures(m, f.platform.Cert)
	})
}

func collateralSteps(f *fixture) map[string]func([]byte) error {
	return map[string]func([]byte) error{
		"TCBInfo":       func(b []byte) error { return tdx.CheckSigned(b, "tcbInfo", f.root.Signer()) },
		"QEIdentity":    func(b []byte) error { return tdx.CheckSigned(b, "enclaveIdentity", f.root.Signer()) },
		"TCBIssuers":    func(b []byte) error { return tdx.CheckChain(b, 2, f.root.Certs(), f.now) },
		"QEIssuers":     func(b []byte) error { return tdx.CheckChain(b, 2, f.root.Certs(), f.now) },
		"PCKCRLIssuers": func(b []byte) error { return tdx.CheckChain(b, 2, f.root.Certs(), f.now) },
		"PCKCRL":        func(b []byte) error { return tdx.CheckCRL(b, f.root.CA(), f.now) },
		"RootCRL":       func(b []byte) error { return tdx.CheckCRL(b, f.root.Certs()[0], f.now) },
	}
}

// flip flips one bit in stride, or 61 times fewer with -short, and expects
// refusals. It runs on all cores: the signature checks are what takes time.
func flip(t *testing.T, name string, good []byte, stride int, verify func([]byte) error) {
	t.Helper()
	if err := verify(good); err != nil {
		t.Fatalf("%s as minted: %v", name, err)
	}
	if testing.Short() {
		stride *= 61
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			b := bytes.Clone(good)
			for bit := w * stride; bit < 8*len(b); bit += workers * stride {
				b[bit/8] ^= 1 << (bit % 8)
				if verify(b) == nil && !listed(name, bit/8) {
					t.Errorf("accepted with bit %d of byte %d of the %s flipped", bit%8, bit/8, name)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

func listed(name string, i int) bool {
	for _, r := range meaningless[name] {
		if r[0] <= i && i < r[1] {
			return true
		}
	}
	return false
}
