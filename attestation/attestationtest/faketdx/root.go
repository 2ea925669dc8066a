// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package faketdx makes SIMULATED Intel platforms: a root, the authorities under
// it, PCK certificates, quotes of versions 4 and 5, and the collateral that
// Intel's service would answer. Whoever has a [Root] can make platforms that a
// verifier with that root accepts, and no others; every certificate names itself
// SIMULATED. Only tests and the lab may import it.
package faketdx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// A Root is a SIMULATED Intel: the root authority, the authority of PCK
// certificates, and the key that signs TCB info and identities.
type Root struct {
	root, ca, signer    *x509.Certificate
	rootKey, caKey, key *ecdsa.PrivateKey // of root, ca and signer
}

// Generate makes a root in memory.
func Generate() (*Root, error) {
	r := new(Root)
	for _, k := range []**ecdsa.PrivateKey{&r.rootKey, &r.caKey, &r.key} {
		var err error
		if *k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	sign := x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	root := template("Intel SGX Root CA", true, sign)
	for _, c := range []struct {
		dst      **x509.Certificate
		template *x509.Certificate
		key      *ecdsa.PrivateKey
	}{
		{&r.root, root, r.rootKey},
		{&r.ca, template("Intel SGX PCK Platform CA", true, sign), r.caKey},
		{&r.signer, template("Intel SGX TCB Signing", false, x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment), r.key},
	} {
		parent := r.root
		if parent == nil {
			parent = root
		}
		var err error
		if *c.dst, err = certify(c.template, parent, &c.key.PublicKey, r.rootKey); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Certs returns what a verifier has to trust: the root alone.
func (r *Root) Certs() []*x509.Certificate { return []*x509.Certificate{r.root} }

// CA returns the authority that issues PCK certificates; Signer the certificate
// of the key that signs collateral.
func (r *Root) CA() *x509.Certificate { return r.ca }

// Signer returns the TCB signing certificate; see [Root.CA].
func (r *Root) Signer() *x509.Certificate { return r.signer }

// Keys returns the keys of root, CA and signer, for what this package does not
// make itself.
func (r *Root) Keys() (root, ca, signer *ecdsa.PrivateKey) { return r.rootKey, r.caKey, r.key }

// template returns a certificate with a subject as Intel's have it, and SIMULATED
// in the serial number, which Intel leaves out.
func template(cn string, isCA bool, usage x509.KeyUsage) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject: name(cn), KeyUsage: usage, SignatureAlgorithm: x509.ECDSAWithSHA256, IsCA: isCA, BasicConstraintsValid: true,
		NotBefore: now.Add(-10 * 24 * time.Hour), NotAfter: now.Add(20 * 365 * 24 * time.Hour),
		CRLDistributionPoints: []string{"https://intel.simulated.invalid/root.der"},
	}
}

func name(cn string) pkix.Name {
	return pkix.Name{
		CommonName: cn, Organization: []string{"Intel Corporation"}, Locality: []string{"Santa Clara"}, Province: []string{"CA"},
		Country: []string{"US"}, SerialNumber: tdx.Simulated,
	}
}

func certify(t, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if t.SerialNumber == nil {
		var err error
		if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
			return nil, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// types of the PEM blocks of Marshal, in order: each certificate, then its key.
var blockTypes = [...]string{"CERTIFICATE", "PRIVATE KEY", "CERTIFICATE", "PRIVATE KEY", "CERTIFICATE", "PRIVATE KEY"}

// Marshal prints the root with its private keys in PEM, for processes of one lab
// to share.
func (r *Root) Marshal() ([]byte, error) {
	var out []byte
	for _, p := range []struct {
		cert *x509.Certificate
		key  *ecdsa.PrivateKey
	}{{r.root, r.rootKey}, {r.ca, r.caKey}, {r.signer, r.key}} {
		der, err := x509.MarshalPKCS8PrivateKey(p.key)
		if err != nil {
			return nil, err
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockTypes[0], Bytes: p.cert.Raw})...)
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockTypes[1], Bytes: der})...)
	}
	return out, nil
}

// Unmarshal reads what [Root.Marshal] printed.
func Unmarshal(b []byte) (*Root, error) {
	r := new(Root)
	certs := []**x509.Certificate{&r.root, &r.ca, &r.signer}
	keys := []**ecdsa.PrivateKey{&r.rootKey, &r.caKey, &r.key}
	for i, want := range blockTypes {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != want {
			return nil, fmt.Errorf("simulated Intel root: block %d is no %s", i, want)
		}
		b = rest
		if i%2 == 0 {
			var err error
			if *certs[i/2], err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("simulated Intel root: %v", err)
			}
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("simulated Intel root: %v", err)
		}
		var ok bool
		if *keys[i/2], ok = key.(*ecdsa.PrivateKey); !ok || !(*keys[i/2]).PublicKey.Equal((*certs[i/2]).PublicKey) {
			return nil, errors.New("simulated Intel root: key of another certificate")
		}
	}
	if len(b) != 0 {
		return nil, errors.New("simulated Intel root: bytes after the last key")
	}
	return r, nil
}

// chainPEM prints certificates, each with a newline at its end.
func chainPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
