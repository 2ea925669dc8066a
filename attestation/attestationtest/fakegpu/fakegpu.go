// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package fakegpu is a SIMULATED NVIDIA: roots for devices and manifests, GPUs
// and switches that sign SPDM reports, an OCSP responder, a signer of manifests
// and a token service. It makes whatever evidence it is told to, good or bad.
//
// Only tests and the lab import it. Every certificate says SIMULATED, and so
// does the issuer of its tokens.
package fakegpu

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

// What the simulated devices say about themselves unless told otherwise, and who
// signs their tokens.
const (
	Driver     = "580.95.05"
	VBIOS      = "96.00.74.00.1A"
	SwitchBIOS = "96.10.68.00.02"
	Issuer     = "https://nras.SIMULATED.invalid"
	KeyID      = "SIMULATED-nras-1"
)

// Start is when every simulated certificate becomes valid.
var Start = time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)

// never is how NVIDIA writes that a certificate does not expire.
var never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// A Maker is a SIMULATED NVIDIA. Whoever has it can make GPUs that a lab's
// clients accept, and no others. It is safe for concurrent use.
type Maker struct {
	device, manifest issuer // roots
	tokens           *ecdsa.PrivateKey

	mu      sync.Mutex
	issuers map[string]issuer // by names of issuer and holder; made when first asked for
	leaves  map[string]leaf

	// For [Spec.Shared].
	sharing    sync.Mutex                 // guards manifests; taken before mu
	manifests  map[string]nvidia.Manifest // by what they are of
	answers    map[string][]byte          // by certificate; under mu
	responders map[string]issuer          // by issuer; under mu
}

func newMaker() *Maker {
	return &Maker{
		issuers: map[string]issuer{}, leaves: map[string]leaf{},
		manifests: map[string]nvidia.Manifest{}, answers: map[string][]byte{}, responders: map[string]issuer{},
	}
}

// An issuer is a certificate and its key.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A leaf is what a device signs with, and its chain with the root.
type leaf struct {
	key   *ecdsa.PrivateKey
	chain []issuer // issuers, root last; the key of the first is the device's own
	der   []byte
}

// Generate makes a maker in memory.
func Generate() (*Maker, error) {
	m := newMaker()
	var err error
	if m.device, err = newRoot("SIMULATED Device Identity CA"); err != nil {
		return nil, err
	}
	if m.manifest, err = newRoot("SIMULATED CoRIM signing Root CA"); err != nil {
		return nil, err
	}
	m.tokens, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	return m, err
}

// Certs returns the two roots, for roots.Set.With of NVIDIA.
func (m *Maker) Certs() []*x509.Certificate {
	return []*x509.Certificate{m.device.cert, m.manifest.cert}
}

// Keys returns the token service's key, for nvidia.Options.
func (m *Maker) Keys() map[string]*ecdsa.PublicKey {
	return map[string]*ecdsa.PublicKey{KeyID: &m.tokens.PublicKey}
}

// JWKS prints the token service's key as a policy pins it (RFC 7517).
func (m *Maker) JWKS() ([]byte, error) {
	point, err := m.tokens.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "EC", "crv": "P-384", "alg": "ES384", "kid": KeyID, "x": b64(point[1:49]), "y": b64(point[49:])}}})
}

// MarshalPEM prints both roots and all three keys, for a lab's folder. Devices
// and intermediates are made anew by whoever reads it.
func (m *Maker) MarshalPEM() ([]byte, error) {
	var out []byte
	for _, i := range []issuer{m.device, m.manifest, {key: m.tokens}} {
		if i.cert != nil {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})...)
		}
		der, err := x509.MarshalPKCS8PrivateKey(i.key)
		if err != nil {
			return nil, err
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	return out, nil
}

// ParsePEM reads what [Maker.MarshalPEM] printed.
func ParsePEM(b []byte) (*Maker, error) {
	m := newMaker()
	var certs []*x509.Certificate
	var keys []*ecdsa.PrivateKey
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			certs = append(certs, c)
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			key, ok := k.(*ecdsa.PrivateKey)
			if err != nil || !ok {
				return nil, errors.New("fakegpu: key of another kind")
			}
			keys = append(keys, key)
		}
	}
	if len(certs) != 2 || len(keys) != 3 {
		return nil, errors.New("fakegpu: want two roots and three keys")
	}
	m.device, m.manifest, m.tokens = issuer{certs[0], keys[0]}, issuer{certs[1], keys[1]}, keys[2]
	return m, nil
}

func newRoot(cn string) (issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return issuer{}, err
	}
	t := template(cn, nil)
	c, err := sign(t, t, &key.PublicKey, key)
	return issuer{c, key}, err
}

// template is a CA certificate of that name; change may make it another thing.
func template(cn string, change func(*x509.Certificate)) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // rand.Reader does not fail
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn, Organization: []string{"SIMULATED NVIDIA"}},
		NotBefore: Start, NotAfter: never, SignatureAlgorithm: x509.ECDSAWithSHA384,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(t)
	}
	return t
}

func sign(t, parent *x509.Certificate, key *ecdsa.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// ca returns the issuer of that name under parent, made when first asked for.
func (m *Maker) ca(cn string, parent issuer, change func(role string, t *x509.Certificate)) (issuer, error) {
	key := parent.cert.Subject.CommonName + "/" + cn
	if i, ok := m.issuers[key]; ok && change == nil {
		return i, nil
	}
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return issuer{}, err
	}
	c, err := sign(template(cn, apply(cn, change)), parent.cert, &k.PublicKey, parent.key)
	if err != nil {
		return issuer{}, err
	}
	if change == nil {
		m.issuers[key] = issuer{c, k}
	}
	return issuer{c, k}, nil
}

func apply(role string, change func(string, *x509.Certificate)) func(*x509.Certificate) {
	if change == nil {
		return nil
	}
	return func(t *x509.Certificate) { change(role, t) }
}

// chip names what a device of a kind is made of.
func chip(k nvidia.Kind) string {
	if k == nvidia.Switch {
		return "LS10"
	}
	return "GH100"
}

// mint returns the device of that kind and number, with its chain: leaf, the
// device's own issuer, provisioner, identity, root.
func (m *Maker) mint(k nvidia.Kind, n int, short bool, change func(string, *x509.Certificate)) (leaf, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := fmt.Sprintf("%s-%d-%t", chip(k), n, short)
	if l, ok := m.leaves[name]; ok && change == nil {
		return l, nil
	}
	issuers, err := m.above(k, short, change)
	if err != nil {
		return leaf{}, err
	}
	own, err := m.ca(fmt.Sprintf("%s A01 GSP BROM SIMULATED %d", chip(k), n), issuers[0], change)
	if err != nil {
		return leaf{}, err
	}
	l := leaf{chain: append([]issuer{own}, issuers...)}
	if l.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		return leaf{}, err
	}
	ext, err := fwidExtension(own.cert)
	if err != nil {
		return leaf{}, err
	}
	cn := fmt.Sprintf("%s A01 GSP FMC LF SIMULATED %d", chip(k), n)
	t := template(cn, func(t *x509.Certificate) {
		t.IsCA, t.BasicConstraintsValid, t.KeyUsage = false, false, x509.KeyUsageDigitalSignature
		t.ExtraExtensions = []pkix.Extension{ext}
		if change != nil {
			change("leaf", t)
		}
	})
	c, err := sign(t, own.cert, &l.key.PublicKey, own.key)
	if err != nil {
		return leaf{}, err
	}
	l.der = c.Raw
	if change == nil {
		m.leaves[name] = l
	}
	return l, nil
}

// above returns the issuers above a device's own, root last.
func (m *Maker) above(k nvidia.Kind, short bool, change func(string, *x509.Certificate)) ([]issuer, error) {
	if short {
		return []issuer{m.device}, nil
	}
	identity, err := m.ca("SIMULATED "+chip(k)+" Identity", m.device, change)
	if err != nil {
		return nil, err
	}
	provisioner, err := m.ca("SIMULATED "+chip(k)+" Provisioner ICA 1", identity, change)
	return []issuer{provisioner, identity, m.device}, err
}
