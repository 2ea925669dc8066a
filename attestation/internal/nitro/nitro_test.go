// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro_test

import (
	"bytes"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/internal/nitro"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

var at = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

func authority(t testing.TB, alter func(int, *x509.Certificate)) *fakenitro.Authority {
	t.Helper()
	a, err := fakenitro.NewAuthority(at, alter)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func document(t testing.TB, a *fakenitro.Authority, s fakenitro.Spec) []byte {
	t.Helper()
	if s.UserData == nil {
		s.UserData = data()
	}
	b, err := a.Document(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func data() []byte { b := sha512.Sum512([]byte("keys of a node")); return b[:] }

func limits() *nitro.Limits {
	return &nitro.Limits{
		Flavor: nitro.NitroTPM, Data: data(), Images: []map[int]nitro.PCR{fakenitro.PCRs()},
		Modules: []string{fakenitro.Module}, MaxAge: 2 * time.Hour, MaxSkew: time.Minute,
	}
}

// judge is what a caller does: both questions.
func judge(doc []byte, trusted roots.Set, now time.Time, l *nitro.Limits) error {
	g, err := nitro.Verify(doc, trusted, now, 0)
	if err != nil {
		return err
	}
	return g.Check(l)
}

func want(t *testing.T, err error, code refuse.Code) {
	t.Helper()
	var e *refuse.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestGenuineAndAcceptable(t *testing.T) {
	a := authority(t, nil)
	for name, tagged := range map[string]bool{"untagged": false, "tag 18": true} {
		t.Run(name, func(t *testing.T) {
			doc := document(t, a, fakenitro.Spec{Tagged: tagged, PublicKey: []byte("key")})
			g, err := nitro.Verify(doc, a.Roots(), at.Add(time.Second), 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Check(limits()); err != nil {
				t.Error(err)
			}
			if g.Flavor != nitro.NitroTPM || g.Age != time.Second || g.Overdue != 0 || !g.Expires.Equal(at.Add(3*time.Hour)) ||
				string(g.PublicKey) != "key" || g.Nonce != nil || len(g.PCRs) != 4 {
				t.Errorf("%+v", g)
			}
		})
	}
}

// TestDocument has documents that a hypervisor does not make, or not for us.
func TestDocument(t *testing.T) {
	zero := map[int]fakenitro.PCR{0: {}, 1: {}, 2: {}, 3: {1}}
	enclave := func(l *nitro.Limits) {
		l.Flavor, l.Images = nitro.Enclave, []map[int]nitro.PCR{{3: {1}}}
	}
	a := authority(t, nil)
	for _, c := range []struct {
		id, name string
		spec     fakenitro.Spec
		limits   func(*nitro.Limits)
		want     refuse.Code
	}{
		{id: "AT-03", name: "nonce of another challenge", spec: fakenitro.Spec{Nonce: []byte("theirs")}, limits: func(l *nitro.Limits) { l.Nonce = []byte("ours") }, want: refuse.Nonce},
		{id: "AT-03", name: "no nonce", limits: func(l *nitro.Limits) { l.Nonce = []byte("ours") }, want: refuse.Nonce},
		{id: "AT-03", name: "a nonce where none was sent", spec: fakenitro.Spec{Nonce: []byte("theirs")}, want: refuse.Nonce},
		{id: "AT-01", name: "older than allowed", spec: fakenitro.Spec{Time: at.Add(-2 * time.Hour)}, want: refuse.Stale},
		{id: "AT-52", name: "from the future", spec: fakenitro.Spec{Time: at.Add(61 * time.Second), Signer: func(c *x509.Certificate) { c.NotBefore = at }}, want: refuse.Clock},
		{id: "AT-07", name: "enclave in debug mode", spec: fakenitro.Spec{Enclave: true, PCRs: zero}, limits: enclave, want: refuse.Debug},
		{id: "AT-22", name: "one bit off", spec: fakenitro.Spec{UserData: flip(data(), 511)}, want: refuse.Binding},
		{id: "AT-22", name: "one byte short", spec: fakenitro.Spec{UserData: data()[:63]}, want: refuse.Binding},
		{id: "AT-22", name: "empty", spec: fakenitro.Spec{UserData: []byte{}}, want: refuse.Binding},
		{id: "AT-23", name: "unknown PCR 4", spec: fakenitro.Spec{PCRs: other(4)}, want: refuse.Image},
		{id: "AT-23", name: "unknown PCR 12", spec: fakenitro.Spec{PCRs: other(12)}, want: refuse.Image},
		{id: "AT-23", name: "register left out", spec: fakenitro.Spec{PCRs: map[int]fakenitro.PCR{4: fakenitro.PCRs()[4]}}, want: refuse.Image},
		{id: "AT-23", name: "no image known", limits: func(l *nitro.Limits) { l.Images = nil }, want: refuse.Image},
		{id: "AT-23", name: "an image of nothing", limits: func(l *nitro.Limits) { l.Images = []map[int]nitro.PCR{{}} }, want: refuse.Image},
		{id: "AT-63", name: "unknown module", spec: fakenitro.Spec{Module: "i-other"}, want: refuse.Inventory},
		{name: "enclave for an instance", spec: fakenitro.Spec{Enclave: true}, want: refuse.TEE},
		{name: "instance for an enclave", limits: enclave, want: refuse.TEE},
		{name: "zero limits", limits: func(l *nitro.Limits) { *l = nitro.Limits{} }, want: refuse.TEE},
		{name: "no age allowed", limits: func(l *nitro.Limits) { l.MaxAge = 0 }, want: refuse.Stale},
	} {
		t.Run(title(c.id, c.name), func(t *testing.T) {
			l := limits()
			if c.limits != nil {
				c.limits(l)
			}
			err := judge(document(t, a, c.spec), a.Roots(), at, l)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want(t, err, c.want)
		})
	}
	t.Run("enclave", func(t *testing.T) {
		l := limits()
		enclave(l)
		if err := judge(document(t, a, fakenitro.Spec{Enclave: true, PCRs: map[int]fakenitro.PCR{0: {7}, 3: {1}}}), a.Roots(), at, l); err != nil {
			t.Error(err)
		}
		l.AllowDebug = true
		if err := judge(document(t, a, fakenitro.Spec{Enclave: true, PCRs: zero}), a.Roots(), at, l); err != nil {
			t.Error(err)
		}
	})
}

func TestBoundariesOfAge(t *testing.T) {
	a := authority(t, nil)
	for _, c := range []struct {
		age  time.Duration
		want refuse.Code
	}{{-time.Minute, ""}, {-time.Minute - time.Millisecond, refuse.Clock}, {2*time.Hour - time.Millisecond, ""}, {2 * time.Hour, refuse.Stale}} {
		doc := document(t, a, fakenitro.Spec{Time: at.Add(-c.age), Signer: func(t *x509.Certificate) { t.NotBefore = at.Add(-3 * time.Hour) }})
		err := judge(doc, a.Roots(), at, limits())
		if c.want != "" {
			want(t, err, c.want)
		} else if err != nil {
			t.Errorf("%v old: %v", c.age, err)
		}
	}
}

// TestChain is AT-15 with every way in which a chain can be wrong.
func TestChain(t *testing.T) {
	a, stranger := authority(t, nil), authority(t, nil)
	drop := func(i int) func([][]byte) [][]byte {
		return func(b [][]byte) [][]byte { return slices.Delete(slices.Clone(b), i, i+1) }
	}
	for _, c := range []struct {
		name    string
		alter   func(int, *x509.Certificate) // of the authority
		trusted roots.Set
		spec    fakenitro.Spec
		now     time.Time
		want    refuse.Code
	}{
		{name: "self-made root", trusted: stranger.Roots(), want: refuse.Chain},
		{name: "root of another vendor", trusted: roots.New(true).With(roots.Intel, a.Root()), want: refuse.Chain},
		{name: "no roots", trusted: roots.New(true), want: refuse.Chain},
		{name: "root left out", spec: fakenitro.Spec{Bundle: drop(0)}, want: refuse.Chain},
		{name: "zone left out", spec: fakenitro.Spec{Bundle: drop(2)}, want: refuse.Chain},
		{name: "instance left out", spec: fakenitro.Spec{Bundle: drop(3)}, want: refuse.Chain},
		{name: "swapped", spec: fakenitro.Spec{Bundle: func(b [][]byte) [][]byte { b[1], b[2] = b[2], b[1]; return b }}, want: refuse.Chain},
		{name: "duplicated", spec: fakenitro.Spec{Bundle: func(b [][]byte) [][]byte { return append(b[:2:2], b[1:]...) }}, want: refuse.Chain},
		{name: "only the root", spec: fakenitro.Spec{Bundle: func(b [][]byte) [][]byte { return b[:1] }}, want: refuse.Chain},
		{name: "a trusted name over another key", spec: fakenitro.Spec{Bundle: func(b [][]byte) [][]byte { b[0] = stranger.Root().Raw; return b }}, want: refuse.Chain},
		{name: "intermediate of a stranger", trusted: a.Roots(), spec: fakenitro.Spec{Bundle: func(b [][]byte) [][]byte { b[1] = strangers(t, stranger)[1]; return b }}, want: refuse.Chain},
		{name: "intermediate is no authority", alter: only(2, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false }), want: refuse.Chain},
		{name: "intermediate may not sign certificates", alter: only(2, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), want: refuse.Chain},
		{name: "path too long", alter: only(1, func(c *x509.Certificate) { c.MaxPathLen = 1 }), want: refuse.Chain},
		{name: "signer is an authority", spec: fakenitro.Spec{Signer: func(c *x509.Certificate) { c.IsCA = true }}, want: refuse.Chain},
		{name: "signer does not say what it is", spec: fakenitro.Spec{Signer: func(c *x509.Certificate) { c.BasicConstraintsValid = false }}, want: refuse.Chain},
		{name: "signer's key is not for signing", spec: fakenitro.Spec{Signer: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }}, want: refuse.Chain},
		{name: "signer's key also signs certificates", spec: fakenitro.Spec{Signer: func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }}, want: refuse.Chain},
		{name: "unknown critical extension", spec: fakenitro.Spec{Signer: critical}, want: refuse.Chain},
		{name: "signer of yesterday", now: at.Add(3*time.Hour + time.Second), want: refuse.Chain},
		{name: "signer of tomorrow", now: at.Add(-61 * time.Second), want: refuse.Chain},
		{name: "instance of yesterday", alter: only(3, func(c *x509.Certificate) { c.NotAfter = at.Add(-time.Second) }), want: refuse.Chain},
		{name: "region of tomorrow", alter: only(1, func(c *x509.Certificate) { c.NotBefore = at.Add(time.Second) }), want: refuse.Chain},
		{name: "document from before its signer", spec: fakenitro.Spec{Signer: func(c *x509.Certificate) { c.NotBefore = at.Add(time.Second) }}, now: at.Add(2 * time.Second), want: refuse.Chain},
		{name: "document from after its signer", spec: fakenitro.Spec{Time: at.Add(time.Second), Signer: func(c *x509.Certificate) { c.NotAfter = at }}, want: refuse.Chain},
		{name: "vendor's roots", trusted: roots.New(false).With(roots.AWS, nitro.Roots()...), want: refuse.Simulated},
		{name: "signature of another key", spec: fakenitro.Spec{Signature: func([]byte) []byte { return bytes.Repeat([]byte{1}, 96) }}, want: refuse.Signature},
	} {
		t.Run("AT-15 "+c.name, func(t *testing.T) {
			a := a
			if c.alter != nil {
				a = authority(t, c.alter)
			}
			if c.trusted.IsZero() && c.name != "no roots" {
				c.trusted = a.Roots()
			}
			if c.now.IsZero() {
				c.now = at
			}
			want(t, judge(document(t, a, c.spec), c.trusted, c.now, limits()), c.want)
		})
	}
}

// TestGrace: dates are the revocation, so what they forgive is what the caller
// says, and it is told.
func TestGrace(t *testing.T) {
	a := authority(t, nil)
	doc := document(t, a, fakenitro.Spec{})
	for _, c := range []struct {
		late, grace time.Duration
		ok          bool
	}{{0, 0, true}, {time.Second, 0, false}, {time.Minute, time.Minute, true}, {time.Minute + time.Second, time.Minute, false}} {
		g, err := nitro.Verify(doc, a.Roots(), at.Add(3*time.Hour+c.late), c.grace)
		switch {
		case (err == nil) != c.ok:
			t.Errorf("%v late, grace %v: %v", c.late, c.grace, err)
		case c.ok && g.Overdue != c.late:
			t.Errorf("%v late: overdue %v", c.late, g.Overdue)
		}
	}
}

func only(which int, alter func(*x509.Certificate)) func(int, *x509.Certificate) {
	return func(i int, c *x509.Certificate) {
		if i == which {
			alter(c)
		}
	}
}

// strangers returns the bundle of another authority.
func strangers(t *testing.T, a *fakenitro.Authority) (out [][]byte) {
	document(t, a, fakenitro.Spec{Bundle: func(b [][]byte) [][]byte { out = b; return b }})
	return out
}

func title(id, name string) string {
	if id == "" {
		return name
	}
	return id + " " + name
}

func flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

func other(pcr int) map[int]fakenitro.PCR {
	out := fakenitro.PCRs()
	out[pcr] = fakenitro.PCR{0xee}
	return out
}

// order is that of P-384.
func order() *big.Int {
	n, _ := new(big.Int).SetString("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)
	return n
}
