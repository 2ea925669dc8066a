// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package roots

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestWords: the two values are about what is wrong, and differ.
func TestWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 6, 30, 0, 0, time.UTC)
	issue := func(cn string, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
		t.Helper()
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var keys [3]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	root := issue("root", nil, keys[0], keys[0])
	other := issue("other\x1b", nil, keys[1], keys[1])
	twin := issue("root", nil, keys[1], keys[1])
	leaf := issue("leaf", root, keys[2], keys[0])
	for _, c := range []struct {
		name      string
		issuer    *x509.Certificate
		at        time.Time
		want, got string
	}{
		{"another issuer", other, now, `issued by "CN=other\x1b"`, `issued by "CN=root"`},
		{"another key", twin, now, `signed by the key of "CN=root"`, "a signature that this key did not make"},
		{"too late", root, now.Add(2 * time.Hour), "valid at 2026-11-22T08:30:00Z", "valid from 2026-11-22T05:30:00Z to 2026-11-22T07:30:00Z"},
		{"too early", root, now.Add(-2 * time.Hour), "valid at 2026-11-22T04:30:00Z", "valid from 2026-11-22T05:30:00Z to 2026-11-22T07:30:00Z"},
		{"something else", root, now, `a chain through "CN=root" to a trusted root, valid at 2026-11-22T06:30:00Z`, "why"},
	} {
		want, got := Words(leaf, c.issuer, c.at, errors.New("why"))
		if want != c.want || !strings.HasPrefix(got, c.got) || want == got {
			t.Errorf("%s: %q, %q", c.name, want, got)
		}
	}
}
