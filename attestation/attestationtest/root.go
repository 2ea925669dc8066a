// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/snp"
)

// rsaBits is half of what AMD uses: a lab starts in a second, and the keys
// protect nothing.
const rsaBits = 2048

// A Root is a SIMULATED vendor: the keys and certificates of one product line.
// Whoever has it can make machines that a lab's clients accept, and no others.
type Root struct {
	ark, ask, asvk *x509.Certificate
	arkKey, askKey *rsa.PrivateKey // the ASVK shares the ASK's key
	crl            []byte
	vendors
}

// GenerateRoot makes a root in memory.
func GenerateRoot() (*Root, error) {
	r := new(Root)
	var err error
	if r.arkKey, err = rsa.GenerateKey(rand.Reader, rsaBits); err != nil {
		return nil, err
	}
	if r.askKey, err = rsa.GenerateKey(rand.Reader, rsaBits); err != nil {
		return nil, err
	}
	ark := caTemplate("ARK-SIMULATED", 1, x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
	if r.ark, err = r.certify(ark, ark, &r.arkKey.PublicKey, r.arkKey); err != nil {
		return nil, err
	}
	if r.ask, err = r.certify(caTemplate("SEV-"+Product, 2, x509.KeyUsageCertSign), r.ark, &r.askKey.PublicKey, r.arkKey); err != nil {
		return nil, err
	}
	if r.asvk, err = r.certify(caTemplate("SEV-VLEK-"+Product, 3, x509.KeyUsageCertSign), r.ark, &r.askKey.PublicKey, r.arkKey); err != nil {
		return nil, err
	}
	now := time.Now()
	if r.crl, err = r.CRL(now.Add(-time.Hour), now.Add(365*24*time.Hour)); err != nil {
		return nil, err
	}
	r.vendors, err = newVendors()
	return r, err
}

// name returns a subject as AMD's certificates have them, and SIMULATED where
// AMD has a serial number: go-sev-guest compares the other fields.
func name(cn string) pkix.Name {
	return pkix.Name{
		Organization: []string{"Advanced Micro Devices"}, OrganizationalUnit: []string{"Engineering"}, Country: []string{"US"},
		Locality: []string{"Santa Clara"}, Province: []string{"CA"}, CommonName: cn, SerialNumber: snp.Simulated,
	}
}

func caTemplate(cn string, serial int64, usage x509.KeyUsage) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: name(cn), SignatureAlgorithm: x509.SHA384WithRSAPSS, KeyUsage: usage,
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(20 * 365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
}

func (r *Root) certify(t, parent *x509.Certificate, public any, key *rsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// CRL makes a revocation list of the root for a period, listing serials.
func (r *Root) CRL(thisUpdate, nextUpdate time.Time, serials ...*big.Int) ([]byte, error) {
	list := &x509.RevocationList{
		SignatureAlgorithm: x509.SHA384WithRSAPSS, Number: big.NewInt(thisUpdate.Unix()), ThisUpdate: thisUpdate, NextUpdate: nextUpdate,
	}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: s, RevocationTime: thisUpdate})
	}
	return x509.CreateRevocationList(rand.Reader, list, r.ark, r.arkKey)
}

// Roots returns the trust a verifier needs to accept this root's chips.
func (r *Root) Roots() attestation.Roots {
	return r.vendors.with(roots.New(true, roots.Line{Product: Product, ARK: r.ark, ASK: r.ask, ASVK: r.asvk}))
}

// Issuer returns the certificate that signs VCEKs; VLEKIssuer the one that signs
// VLEKs.
func (r *Root) Issuer() *x509.Certificate { return r.ask }

// VLEKIssuer returns the ASVK; see [Root.Issuer].
func (r *Root) VLEKIssuer() *x509.Certificate { return r.asvk }

// files lists what CreateRoot writes, in the order in which it is read back.
var files = []string{"SIMULATED-ark.der", "SIMULATED-ask.der", "SIMULATED-asvk.der", "SIMULATED-crl.der", "SIMULATED-ark.key", "SIMULATED-ask.key", "SIMULATED-gpu.pem"}

// CreateRoot makes a root and writes it into dir, which it creates if need be
// and which must not hold one already. The keys are readable by the owner only.
func CreateRoot(dir string) (*Root, error) {
	r, err := GenerateRoot()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	gpu, err := r.gpu.MarshalPEM()
	if err != nil {
		return nil, err
	}
	content := [][]byte{r.ark.Raw, r.ask.Raw, r.asvk.Raw, r.crl, x509.MarshalPKCS1PrivateKey(r.arkKey), x509.MarshalPKCS1PrivateKey(r.askKey), gpu}
	for i, name := range files {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, fmt.Errorf("simulated root: %w", err)
		}
		_, err = f.Write(content[i])
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return nil, fmt.Errorf("simulated root: %w", err)
		}
	}
	return r, nil
}

// OpenRoot loads the root that [CreateRoot] wrote into dir, so that the
// processes of a lab share one: AMD's and NVIDIA's part of it, which is what lab
// nodes are made of.
func OpenRoot(dir string) (*Root, error) {
	content := make([][]byte, len(files))
	for i, name := range files {
		var err error
		if content[i], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("simulated root: %w", err)
		}
	}
	r := &Root{crl: content[3]}
	for i, cert := range []**x509.Certificate{&r.ark, &r.ask, &r.asvk} {
		var err error
		if *cert, err = x509.ParseCertificate(content[i]); err != nil {
			return nil, fmt.Errorf("simulated root: %s: %v", files[i], err)
		}
	}
	for i, key := range []**rsa.PrivateKey{&r.arkKey, &r.askKey} {
		var err error
		if *key, err = x509.ParsePKCS1PrivateKey(content[4+i]); err != nil {
			return nil, fmt.Errorf("simulated root: %s: %v", files[4+i], err)
		}
	}
	var err error
	if r.gpu, err = fakegpu.ParsePEM(content[6]); err != nil {
		return nil, fmt.Errorf("simulated root: %s: %v", files[6], err)
	}
	return r, nil
}
