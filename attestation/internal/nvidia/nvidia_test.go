// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

var (
	nonce = sha256.Sum256([]byte("a key statement"))
	now   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// maker is one SIMULATED NVIDIA for all tests: keys take time.
var maker = sync.OnceValue(func() *fakegpu.Maker {
	m, err := fakegpu.Generate()
	if err != nil {
		panic(err)
	}
	return m
})

func simulated(m *fakegpu.Maker) roots.Set {
	return roots.New(true).With(roots.NVIDIA, m.Certs()...)
}

func options(m *fakegpu.Maker) nvidia.Options {
	return nvidia.Options{Grace: time.Hour, Keys: m.Keys(), Issuer: fakegpu.Issuer, MaxAge: time.Hour}
}

// limits accept one good GPU.
func limits() *nvidia.Limits {
	return &nvidia.Limits{GPUs: 1, Chips: []string{"GH100", "LS10"}, Drivers: []string{fakegpu.Driver},
		VBIOS: []string{fakegpu.VBIOS}, SwitchBIOS: []string{fakegpu.SwitchBIOS}, Manifests: true, Token: true}
}

func mint(t testing.TB, s fakegpu.Spec) []byte {
	t.Helper()
	if s.Now.IsZero() {
		s.Now = now
	}
	b, err := maker().Evidence(nonce, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// judge verifies and checks.
func judge(evidence []byte, l *nvidia.Limits) error {
	g, err := nvidia.Verify(evidence, simulated(maker()), nonce, now, options(maker()))
	if err != nil {
		return err
	}
	return g.Check(l)
}

func code(err error) refuse.Code {
	var e *refuse.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// refused fails the test unless err has the code and its text contains names.
func refused(t *testing.T, err error, want refuse.Code, names string) {
	t.Helper()
	if code(err) != want || !strings.Contains(err.Error(), names) {
		t.Errorf("%v, want %s naming %q", err, want, names)
	}
}

func TestGood(t *testing.T) {
	for _, s := range []fakegpu.Spec{
		{},
		{GPUs: 8, Switches: 4, ProtectedPCIE: true},
		{NoTokens: true},
		{NoManifests: true},
	} {
		l := limits()
		l.GPUs, l.Switches, l.ProtectedPCIE = max(s.GPUs, 1), s.Switches, s.ProtectedPCIE
		l.Manifests, l.Token = !s.NoManifests, !s.NoTokens
		b := mint(t, s)
		g, err := nvidia.Verify(b, simulated(maker()), nonce, now, options(maker()))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Check(l); err != nil {
			t.Error(err)
		}
		d := g.Devices[0]
		if d.Chip != "GH100" || d.Driver() != fakegpu.Driver || d.VBIOS() != fakegpu.VBIOS || d.Project != "1010_0200" || g.OCSPAge != time.Hour {
			t.Errorf("%+v, driver %q, VBIOS %q, %v", d.Chip, d.Driver(), d.VBIOS(), g.OCSPAge)
		}
		if (d.Stated() != 0) == s.NoManifests || d.Vouched() == s.NoTokens {
			t.Errorf("%d measurements stated, vouched for: %t", d.Stated(), d.Vouched())
		}
		e, err := nvidia.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := e.Append(nil); err != nil || !bytes.Equal(again, b) {
			t.Errorf("prints differently: %v", err)
		}
		if len(e.Manifests) > 3 {
			t.Errorf("%d manifests: they are not shared", len(e.Manifests))
		}
		t.Logf("%d GPUs, %d switches: %d bytes", l.GPUs, l.Switches, len(b))
	}
}

func TestSimulated(t *testing.T) {
	b := mint(t, fakegpu.Spec{})
	t.Run("AT-15 real roots", func(t *testing.T) {
		_, err := nvidia.Verify(b, trusted(), nonce, now, options(maker()))
		refused(t, err, refuse.Simulated, "SIMULATED")
	})
	t.Run("token of a real service", func(t *testing.T) {
		o := options(maker())
		o.Issuer = "https://nras.attestation.nvidia.com"
		real := mint(t, fakegpu.Spec{Claims: func(_ nvidia.Kind, _ int, c map[string]any) { c["iss"] = o.Issuer }})
		_, err := nvidia.Verify(real, simulated(maker()), nonce, now, o)
		refused(t, err, refuse.Simulated, "token")
	})
	t.Run("another maker", func(t *testing.T) {
		other, err := fakegpu.Generate()
		if err != nil {
			t.Fatal(err)
		}
		_, err = nvidia.Verify(b, simulated(other), nonce, now, options(maker()))
		refused(t, err, refuse.GPUChain, "trusted")
		_, err = nvidia.Verify(b, roots.New(true).With(roots.NVIDIA, maker().Certs()[0], other.Certs()[1]), nonce, now, options(maker()))
		refused(t, err, refuse.GPURIM, "trusted")
	})
}

// TestMaker: what a lab writes down makes the same roots and keys again.
func TestMaker(t *testing.T) {
	b, err := maker().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := fakegpu.ParsePEM(b)
	if err != nil {
		t.Fatal(err)
	}
	e, err := again.Evidence(nonce, fakegpu.Spec{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := judge(e, limits()); err != nil {
		t.Error(err)
	}
	jwks, err := maker().JWKS()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := nvidia.ParseKeys(jwks)
	if err != nil || !keys[fakegpu.KeyID].Equal(maker().Keys()[fakegpu.KeyID]) || len(keys) != 1 {
		t.Errorf("%v, %v", keys, err)
	}
	for _, in := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"kty":"oct","kid":"a"}]}`,
		strings.Replace(string(jwks), "ES384", "HS384", 1), strings.Replace(string(jwks), "P-384", "P-256", 1), strings.Replace(string(jwks), fakegpu.KeyID, "", 1)} {
		if _, err := nvidia.ParseKeys([]byte(in)); code(err) != refuse.Policy {
			t.Errorf("%q: %v", in, err)
		}
	}
}
