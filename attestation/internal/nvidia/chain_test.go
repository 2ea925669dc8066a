// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// cert changes the certificates whose name contains role.
func cert(role string, change func(c *x509.Certificate)) fakegpu.Spec {
	return fakegpu.Spec{NoTokens: true, NoManifests: deviceRole(role), Cert: func(r string, c *x509.Certificate) {
		if strings.Contains(r, role) {
			change(c)
		}
	}}
}

// deviceRole reports whether a certificate is of a device, so that a test needs
// no manifests.
func deviceRole(name string) bool {
	return name != "" && !strings.Contains("signer RIM Signer Reference Value", name)
}

func pathLen(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }

// chainCases are chains with one certificate that is not what it should be.
func chainCases() map[string]bad {
	late := func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }
	over := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
	noCA := func(c *x509.Certificate) { c.IsCA = false }
	noSign := func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
	}
	cases := map[string]bad{
		"leaf is a CA":             {cert("leaf", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), refuse.GPUChain, "may not sign"},
		"leaf may not sign":        {cert("leaf", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), refuse.GPUChain, "may not sign"},
		"leaf of another chip":     {cert("leaf", func(c *x509.Certificate) { c.Subject.CommonName = "GB100 A01 SIMULATED" }), refuse.GPUChain, "vouches"},
		"leaf of no chip":          {cert("leaf", func(c *x509.Certificate) { c.Subject.CommonName = "GH1000 A01 SIMULATED" }), refuse.GPUChain, "unknown chip"},
		"identity of another chip": {cert("Identity", func(c *x509.Certificate) { c.Subject.CommonName = "SIMULATED GH100x Identity" }), refuse.GPUChain, "vouches"},
		"signer is a CA":           {cert("signer", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), refuse.GPURIM, "may not sign"},
	}
	for _, role := range []string{"leaf", "BROM", "Provisioner", "Identity", "signer", "Reference"} {
		want := refuse.GPUChain
		if role == "signer" || role == "Reference" {
			want = refuse.GPURIM
		}
		cases[role+" not yet valid"] = bad{cert(role, late), want, "valid from"}
		cases[role+" expired"] = bad{cert(role, over), want, "valid from"}
		cases[role+" with a critical extension"] = bad{cert(role, critical), want, "critical"}
		if role != "leaf" && role != "signer" {
			cases[role+" no CA"] = bad{cert(role, noCA), want, "not issued"}
			cases[role+" may not issue"] = bad{cert(role, noSign), want, "not issued"}
		}
	}
	cases["Provisioner issues too long a chain"] = bad{cert("Provisioner", pathLen), refuse.GPUChain, "too long"}
	cases["Identity issues too long a chain"] = bad{cert("Identity", pathLen), refuse.GPUChain, "too long"}
	return cases
}

func TestChain(t *testing.T) {
	t.Run("AT-15", func(t *testing.T) {
		runBad(t, chainCases())
		if _, err := nvidia.Verify(mint(t, cert("BROM", pathLen)), simulated(maker()), nonce, now, options(maker())); err != nil {
			t.Errorf("path length 0 above the leaf: %v", err)
		}
	})
	t.Run("AT-15 order", func(t *testing.T) {
		for name, change := range map[string]func(e *nvidia.Evidence){
			"root left out": func(e *nvidia.Evidence) {
				e.Certificates, e.Devices[0].Chain = e.Certificates[:4], e.Devices[0].Chain[:4]
			},
			"issuer left out": func(e *nvidia.Evidence) {
				e.Certificates, e.Devices[0].Chain = append(e.Certificates[:1], e.Certificates[2:]...), e.Devices[0].Chain[:4]
			},
			"issuers swapped":       func(e *nvidia.Evidence) { e.Certificates[1], e.Certificates[2] = e.Certificates[2], e.Certificates[1] },
			"leaf twice":            func(e *nvidia.Evidence) { e.Devices[0].Chain = []byte{0, 0, 1, 2, 3, 4} },
			"root twice":            func(e *nvidia.Evidence) { e.Devices[0].Chain = []byte{0, 1, 2, 3, 4, 4} },
			"certificate malformed": func(e *nvidia.Evidence) { e.Certificates[1].DER = e.Certificates[1].DER[1:] },
			"bytes after": func(e *nvidia.Evidence) {
				e.Certificates[0].DER = append(e.Certificates[0].DER[:len(e.Certificates[0].DER):len(e.Certificates[0].DER)], 0)
			},
		} {
			err := judge(mint(t, fakegpu.Spec{Final: change}), limits())
			if c := code(err); c != refuse.GPUChain && !(name == "root twice" && c == refuse.GPUOCSP) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("AT-15 P-256", func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "GH100 SIMULATED"}, NotBefore: fakegpu.Start, NotAfter: now.AddDate(1, 0, 0)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, judge(mint(t, fakegpu.Spec{Final: func(e *nvidia.Evidence) { e.Certificates[0].DER = der }}), limits()), refuse.GPUChain, "P-384")
	})
}

// answer changes the answers about certificates whose name contains cn.
func answer(cn string, change func(a *fakegpu.Answer)) fakegpu.Spec {
	return fakegpu.Spec{NoTokens: true, NoManifests: deviceRole(cn), OCSP: func(name string, a *fakegpu.Answer) {
		if strings.Contains(name, cn) {
			change(a)
		}
	}}
}

// answerCases are answers that are worth nothing.
func answerCases(other *ecdsa.PrivateKey) map[string]bad {
	cases := map[string]bad{}
	for _, cn := range []string{"BROM", "GH100 Identity", "RIM Signer", "Reference Value"} {
		add := func(what, names string, change func(a *fakegpu.Answer)) {
			cases[cn+" "+what] = bad{answer(cn, change), refuse.GPUOCSP, names}
		}
		add("missing", "answer", func(a *fakegpu.Answer) { a.Serial = nil })
		add("unknown", "not known", func(a *fakegpu.Answer) { a.Status = fakegpu.Unknown })
		add("another serial", "no response matching", func(a *fakegpu.Answer) { a.Serial = big.NewInt(7) })
		add("past the grace", "expired", func(a *fakegpu.Answer) { a.NextUpdate = now.Add(-time.Hour - time.Second) })
		add("from the future", "future", func(a *fakegpu.Answer) { a.ThisUpdate = now.Add(time.Second) })
		add("signed in the future", "future", func(a *fakegpu.Answer) { a.ProducedAt = now.Add(time.Second) })
		add("signed by another key", "signature", func(a *fakegpu.Answer) { a.Key = other })
		add("without the responder", "", func(a *fakegpu.Answer) { a.Responder = nil })
	}
	cases["responder without purpose"] = bad{cert("responder", func(c *x509.Certificate) { c.ExtKeyUsage = nil }), refuse.GPUOCSP, "may not answer"}
	cases["responder for another purpose"] = bad{cert("responder", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), refuse.GPUOCSP, "may not answer"}
	cases["responder is a CA"] = bad{cert("responder", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), refuse.GPUOCSP, "may not answer"}
	cases["responder expired"] = bad{cert("responder", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), refuse.GPUOCSP, "valid from"}
	cases["responder not yet valid"] = bad{cert("responder", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), refuse.GPUOCSP, "valid from"}
	return cases
}

func TestOCSP(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("AT-56 revoked", func(t *testing.T) {
		cases := map[string]bad{}
		for _, cn := range []string{"BROM", "Provisioner", "GH100 Identity", "RIM Signer", "Reference Value"} {
			cases[cn] = bad{answer(cn, func(a *fakegpu.Answer) { a.Status = fakegpu.Revoked }), refuse.Revoked, cn}
		}
		runBad(t, cases)
	})
	t.Run("AT-14", func(t *testing.T) { runBad(t, answerCases(other)) })
	t.Run("AT-14 within the grace", func(t *testing.T) {
		b := mint(t, answer("", func(a *fakegpu.Answer) { a.NextUpdate = now.Add(-time.Hour) }))
		if _, err := nvidia.Verify(b, simulated(maker()), nonce, now, options(maker())); err != nil {
			t.Error(err)
		}
		o := options(maker())
		o.Grace = 0
		_, err := nvidia.Verify(b, simulated(maker()), nonce, now, o)
		refused(t, err, refuse.GPUOCSP, "expired")
	})
	t.Run("AT-14 of another device", func(t *testing.T) {
		l := limits()
		l.GPUs, l.Token = 2, false
		b := mint(t, fakegpu.Spec{GPUs: 2, NoTokens: true, Final: func(e *nvidia.Evidence) {
			c := e.Certificates
			c[1].OCSP, c[6].OCSP = c[6].OCSP, c[1].OCSP // the two devices' own issuers
		}})
		refused(t, judge(b, l), refuse.GPUOCSP, "BROM")
	})
	t.Run("AT-14 where there is none", func(t *testing.T) {
		for _, i := range []int{0, 4} {
			b := mint(t, fakegpu.Spec{Final: func(e *nvidia.Evidence) { e.Certificates[i].OCSP = e.Certificates[1].OCSP }})
			refused(t, judge(b, limits()), refuse.GPU, "answer")
		}
	})
	t.Run("AT-14 manifest answers", func(t *testing.T) {
		for _, change := range []func(m *nvidia.Manifest){
			func(m *nvidia.Manifest) { m.OCSP = nil },
			func(m *nvidia.Manifest) { m.OCSP = m.OCSP[:1] },
			func(m *nvidia.Manifest) { m.OCSP = append(m.OCSP, m.OCSP[0]) },
			func(m *nvidia.Manifest) { m.OCSP[0], m.OCSP[1] = m.OCSP[1], m.OCSP[0] },
			func(m *nvidia.Manifest) { m.OCSP[0] = []byte{0x30, 0x03, 0x0a, 0x01, 0x06} }, // error "unauthorized"
			func(m *nvidia.Manifest) { m.OCSP[0] = append(m.OCSP[0][:len(m.OCSP[0]):len(m.OCSP[0])], 0) },
		} {
			b := mint(t, fakegpu.Spec{Final: func(e *nvidia.Evidence) { change(&e.Manifests[1]) }})
			refused(t, judge(b, limits()), refuse.GPUOCSP, "")
		}
	})
}
