// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// TestHugeKeyInChain has an issuer that anybody can make: an RSA key as large as
// the cap on a chain lets it be, with the largest exponent, under the trusted
// root's name. It is refused before it is used.
func TestHugeKeyInChain(t *testing.T) {
	t.Run("AT-62", func(t *testing.T) {
		f := newFixture(t)
		q, err := tdx.ParseQuote(f.quote)
		if err != nil {
			t.Fatal(err)
		}
		q.Chain = hugeChain(t, f.root.Certs()[0], 28000)
		quote, best := q.Print(), time.Hour
		for range 5 {
			start := time.Now()
			_, err = tdx.Verify(quote, f.c, f.trusted, f.now, 0)
			best = min(best, time.Since(start))
		}
		if code(err) != refuse.Format || best > 20*time.Millisecond {
			t.Errorf("after %v: %v", best, err)
		}
	})
}

// hugeChain makes a PCK chain whose issuer has a key of that many bits. No
// signature in it holds; all have the length that makes a verifier try.
func hugeChain(t *testing.T, root *x509.Certificate, bits int) (chain []byte) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), uint(bits-1)), 0, 1)
	named := func(cn string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(5), Subject: pkix.Name{CommonName: cn, SerialNumber: tdx.Simulated}, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	}
	asRoot, authority := *root, named("Intel SGX PCK Platform CA")
	asRoot.PublicKey, authority.IsCA, authority.KeyUsage = own.Public(), true, x509.KeyUsageCertSign
	ca, err := x509.CreateCertificate(rand.Reader, authority, &asRoot, &rsa.PublicKey{N: n, E: 1<<31 - 1}, own)
	if err != nil {
		t.Fatal(err)
	}
	authority.PublicKey = small.Public()
	leaf, err := x509.CreateCertificate(rand.Reader, named("Intel SGX PCK Certificate"), authority, own.Public(), small)
	if err != nil {
		t.Fatal(err)
	}
	var outer struct {
		TBS asn1.RawValue
		Alg pkix.AlgorithmIdentifier
		Sig asn1.BitString
	}
	if _, err := asn1.Unmarshal(leaf, &outer); err != nil {
		t.Fatal(err)
	}
	outer.Sig = asn1.BitString{Bytes: make([]byte, bits/8), BitLength: bits}
	outer.Sig.Bytes[1] = 1
	if leaf, err = asn1.Marshal(outer); err != nil {
		t.Fatal(err)
	}
	for _, der := range [][]byte{leaf, ca, root.Raw} {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return chain
}
