// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// checkChain decides whether the chain that came along leads from a trusted root
// to the signer: one line, each certificate naming the one before, no name
// twice. With that the standard library has one path to try, so that a bundle
// made to be expensive costs no more than an honest one.
func (g *Genuine) checkChain(trusted roots.Set, now time.Time, grace time.Duration) error {
	root := g.chain[0]
	if !isTrusted(root, trusted.Of(roots.AWS)) {
		return refuse.As(refuse.Chain, "the chain begins at %q, which is no trusted root", root.Subject.String())
	}
	g.Root = root.Subject.String()
	pool, intermediates := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(root)
	line := append(g.chain[1:len(g.chain):len(g.chain)], g.leaf)
	seen := map[string]bool{string(root.RawSubject): true}
	g.Expires = root.NotAfter
	for i, c := range line {
		if !bytes.Equal(c.RawIssuer, g.chain[i].RawSubject) || seen[string(c.RawSubject)] {
			return refuse.As(refuse.Chain, "%q is not issued by %q", c.Subject.String(), g.chain[i].Subject.String())
		}
		seen[string(c.RawSubject)] = true
		if c.NotAfter.Before(g.Expires) {
			g.Expires = c.NotAfter
		}
		if c != g.leaf {
			intermediates.AddCert(c)
		}
	}
	if err := checkLeaf(g.leaf); err != nil {
		return err
	}
	if g.Time.Before(g.leaf.NotBefore) || g.Time.After(g.leaf.NotAfter) {
		return refuse.As(refuse.Chain, "document of %v, its signer's certificate is for another time", g.Time)
	}
	at := now
	if overdue := now.Sub(g.Expires); overdue > 0 && overdue <= grace {
		g.Overdue, at = overdue, g.Expires
	}
	path, err := g.leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	switch {
	case err != nil:
		return refuse.As(refuse.Chain, "%v", err)
	case len(path) != 1 || len(path[0]) != len(line)+1:
		return refuse.As(refuse.Chain, "a chain with certificates that are not part of it")
	}
	return nil
}

// checkLeaf: the signer signs documents and no certificates.
func checkLeaf(c *x509.Certificate) error {
	switch {
	case !c.BasicConstraintsValid, c.IsCA:
		return refuse.As(refuse.Chain, "the signer's certificate is one of an authority, or does not say")
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0, c.KeyUsage&x509.KeyUsageCertSign != 0:
		return refuse.As(refuse.Chain, "the signer's key is not for signing documents")
	}
	return nil
}

func isTrusted(root *x509.Certificate, trusted []*x509.Certificate) bool {
	for _, t := range trusted {
		if t.Equal(root) {
			return true
		}
	}
	return false
}

// rootG1 is AWS_NitroEnclaves_Root-G1, the root of both flavours' chains. Owner:
// Amazon Web Services. SHA-256 of the DER, as AWS publishes it:
// 64:1A:03:21:A3:E2:44:EF:E4:56:46:31:95:D6:06:31:7E:D7:CD:CC:3C:17:56:E0:98:93:F3:C6:8F:79:BB:5B.
// Valid from 2019-10-28 to 2049-10-28.
const rootG1 = `-----BEGIN CERTIFICATE-----
MIICETCCAZagAwIBAgIRAPkxdWgbkK/hHUbMtOTn+FYwCgYIKoZIzj0EAwMwSTEL
MAkGA1UEBhMCVVMxDzANBgNVBAoMBkFtYXpvbjEMMAoGA1UECwwDQVdTMRswGQYD
VQQDDBJhd3Mubml0cm8tZW5jbGF2ZXMwHhcNMTkxMDI4MTMyODA1WhcNNDkxMDI4
MTQyODA1WjBJMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGQW1hem9uMQwwCgYDVQQL
DANBV1MxGzAZBgNVBAMMEmF3cy5uaXRyby1lbmNsYXZlczB2MBAGByqGSM49AgEG
BSuBBAAiA2IABPwCVOumCMHzaHDimtqQvkY4MpJzbolL//Zy2YlES1BR5TSksfbb
48C8WBoyt7F2Bw7eEtaaP+ohG2bnUs990d0JX28TcPQXCEPZ3BABIeTPYwEoCWZE
h8l5YoQwTcU/9KNCMEAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUkCW1DdkF
R+eWw5b6cp3PmanfS5YwDgYDVR0PAQH/BAQDAgGGMAoGCCqGSM49BAMDA2kAMGYC
MQCjfy+Rocm9Xue4YnwWmNJVA44fA0P5W2OpYow9OYCVRaEevL8uO1XYru5xtMPW
rfMCMQCi85sWBbJwKKXdS6BptQFuZbT73o/gBh1qUxl/nNr12UO8Yfwr6wPLb+6N
IwLz3/Y=
-----END CERTIFICATE-----
`

// Roots returns AWS's root for attestation documents. A root that cannot be read
// is a root that is not trusted.
func Roots() []*x509.Certificate {
	block, _ := pem.Decode([]byte(rootG1))
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return []*x509.Certificate{c}
}
