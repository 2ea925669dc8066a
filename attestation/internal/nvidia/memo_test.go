// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

// knowing is options with a cache.
func knowing(c *sigcache.Cache) nvidia.Options {
	o := options(maker())
	o.Signatures = c
	return o
}

// TestGoodEvidenceVouchesForNoBad: a cache that good evidence filled changes no
// verdict: whatever one changes afterwards is refused with the code that a
// verifier without a cache gives.
func TestGoodEvidenceVouchesForNoBad(t *testing.T) {
	good := mint(t, fakegpu.Spec{Shared: true})
	fill := func(t *testing.T) *sigcache.Cache {
		c := sigcache.New(1 << 10)
		if _, err := nvidia.Verify(good, simulated(maker()), nonce, now, knowing(c)); err != nil {
			t.Fatal(err)
		}
		if c.Len() == 0 {
			t.Fatal("nothing remembered")
		}
		return c
	}
	t.Run("bits", func(t *testing.T) {
		c := fill(t)
		held := c.Len()
		for i := 0; i < len(good); i += 241 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			_, cold := nvidia.Verify(bad, simulated(maker()), nonce, now, options(maker()))
			_, warm := nvidia.Verify(bad, simulated(maker()), nonce, now, knowing(c))
			if cold == nil || warm == nil || code(cold) != code(warm) {
				t.Errorf("byte %d: %v with a cache, %v without", i, warm, cold)
			}
		}
		if c.Len() != held {
			t.Error("refused evidence left signatures behind")
		}
	})
	for name, tc := range map[string]struct {
		verify func(*sigcache.Cache) error
		want   refuse.Code
	}{
		"AT-45 another nonce": {func(c *sigcache.Cache) error {
			_, err := nvidia.Verify(good, simulated(maker()), sha256.Sum256([]byte("other keys")), now, knowing(c))
			return err
		}, refuse.GPUBinding},
		"answers that have expired": {func(c *sigcache.Cache) error {
			_, err := nvidia.Verify(good, simulated(maker()), nonce, now.Add(48*time.Hour), knowing(c))
			return err
		}, refuse.GPUOCSP},
		"before the certificates": {func(c *sigcache.Cache) error {
			_, err := nvidia.Verify(good, simulated(maker()), nonce, fakegpu.Start.Add(-time.Second), knowing(c))
			return err
		}, refuse.GPUChain},
		"other roots": {func(c *sigcache.Cache) error {
			other, err := fakegpu.Generate()
			if err != nil {
				return err
			}
			_, err = nvidia.Verify(good, simulated(other), nonce, now, knowing(c))
			return err
		}, refuse.GPUChain},
		"a token key that is pinned no more": {func(c *sigcache.Cache) error {
			o := knowing(c)
			o.Keys = nil
			_, err := nvidia.Verify(good, simulated(maker()), nonce, now, o)
			return err
		}, refuse.GPUToken},
		"a token that is too old": {func(c *sigcache.Cache) error {
			o := knowing(c)
			o.MaxAge = time.Second
			_, err := nvidia.Verify(good, simulated(maker()), nonce, now, o)
			return err
		}, refuse.GPUToken},
		"a limit": {func(c *sigcache.Cache) error {
			g, err := nvidia.Verify(good, simulated(maker()), nonce, now, knowing(c))
			if err != nil {
				return err
			}
			l := limits()
			l.GPUs = 2
			return g.Check(l)
		}, refuse.GPUCount},
		"revoked since": {func(c *sigcache.Cache) error {
			_, err := nvidia.Verify(mint(t, fakegpu.Spec{OCSP: func(_ string, a *fakegpu.Answer) { a.Status = fakegpu.Revoked }}), simulated(maker()), nonce, now, knowing(c))
			return err
		}, refuse.Revoked},
		"an issuer that may issue no more": {func(c *sigcache.Cache) error {
			_, err := nvidia.Verify(mint(t, fakegpu.Spec{Cert: func(role string, x *x509.Certificate) {
				if role == "SIMULATED GH100 Identity" {
					x.KeyUsage = x509.KeyUsageDigitalSignature
				}
			}}), simulated(maker()), nonce, now, knowing(c))
			return err
		}, refuse.GPUChain},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.verify(fill(t)); code(err) != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}

// TestForgedRevocationIsNoRevocation: an answer that says "revoked" and is signed
// by nobody is a bad answer, not a word of the vendor's.
func TestForgedRevocationIsNoRevocation(t *testing.T) {
	b := mint(t, fakegpu.Spec{OCSP: func(_ string, a *fakegpu.Answer) {
		a.Status, a.Responder, a.Key = fakegpu.Revoked, nil, a.Issuer
	}, Final: func(e *nvidia.Evidence) {
		for i := range e.Certificates {
			if n := len(e.Certificates[i].OCSP); n > 0 {
				e.Certificates[i].OCSP[n-1] ^= 1
			}
		}
	}})
	_, err := nvidia.Verify(b, simulated(maker()), nonce, now, options(maker()))
	refused(t, err, refuse.GPUOCSP, "signature")
}

// TestJudgedTogether is for the race detector.
func TestJudgedTogether(t *testing.T) {
	c := sigcache.New(64)
	var all [][]byte
	for i := range 4 {
		all = append(all, mint(t, fakegpu.Spec{First: i, Shared: true, NoTokens: true}))
	}
	var wg sync.WaitGroup
	for range 2 {
		for _, b := range all {
			wg.Go(func() {
				if _, err := nvidia.Verify(b, simulated(maker()), nonce, now, knowing(c)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}

// BenchmarkHostile is evidence of seven genuine GPUs and an eighth, with switches
// and tokens, of which one signature does not hold (AT-62: 20 ms), for a verifier
// that has met these devices and one that has not.
func BenchmarkHostile(b *testing.B) {
	all := fakegpu.Spec{GPUs: 8, Switches: 4, Shared: true}
	spoil := func(device int, report []byte) []byte {
		if device == 7 {
			report[len(report)-1] ^= 1
		}
		return report
	}
	chain, report, token := all, all, all
	report.Sealed = spoil
	chain.Final = func(e *nvidia.Evidence) { // the last device's own certificate
		k := e.Devices[7].Chain[1]
		e.Certificates[k].DER[len(e.Certificates[k].DER)-1] ^= 1
	}
	token.Final = func(e *nvidia.Evidence) {
		t := e.Tokens[1].Overall
		e.Tokens[1].Overall = append(bytes.Clone(t[:len(t)-4]), "AAAA"...)
	}
	good := mint(b, all)
	for _, tc := range []struct {
		name string
		s    fakegpu.Spec
	}{{"certificate", chain}, {"report", report}, {"token", token}} {
		bad := mint(b, tc.s)
		for _, known := range []bool{false, true} {
			var c *sigcache.Cache
			name := tc.name
			if known {
				name, c = name+", devices known", sigcache.New(1<<10)
				if _, err := nvidia.Verify(good, simulated(maker()), nonce, now, knowing(c)); err != nil {
					b.Fatal(err)
				}
			}
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := nvidia.Verify(bad, simulated(maker()), nonce, now, knowing(c)); err == nil {
						b.Fatal("accepted")
					}
				}
			})
		}
	}
}
