// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fakecloud

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// Object identifiers of the TCG and of Google.
var (
	OIDEK       = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	OIDAK       = asn1.ObjectIdentifier{2, 23, 133, 8, 3}
	oidSAN      = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidMaker    = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidInstance = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}
)

// An Owner says whose authority a CA pretends to be. What certificates look like
// follows from it.
type Owner = roots.Vendor

// Enrolment is the owner of authorities that a policy names: those that certify
// an attestation key after TPM2_ActivateCredential.
const Enrolment Owner = "enrolment"

// A CA is a SIMULATED authority for keys of TPMs: a root and an intermediate.
type CA struct {
	Owner Owner
	// TamperCRL, if set, changes a revocation list before it is signed.
	TamperCRL func(*x509.RevocationList)

	root, sub  *x509.Certificate
	rootKey    *ecdsa.PrivateKey
	subKey     *ecdsa.PrivateKey
	lastSerial int64
}

// NewCA makes an authority of an owner.
func NewCA(owner Owner) (*CA, error) {
	ca := &CA{Owner: owner, lastSerial: 1 << 20}
	var err error
	for _, key := range []**ecdsa.PrivateKey{&ca.rootKey, &ca.subKey} {
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	root := caTemplate(string(owner)+" TPM root SIMULATED", 1)
	if ca.root, err = certify(root, root, &ca.rootKey.PublicKey, ca.rootKey); err != nil {
		return nil, err
	}
	ca.sub, err = certify(caTemplate(string(owner)+" TPM intermediate SIMULATED", 2), ca.root, &ca.subKey.PublicKey, ca.rootKey)
	return ca, err
}

func caTemplate(cn string, serial int64) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"SIMULATED"}, CommonName: cn},
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(20 * 365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{OIDEK, OIDAK},
	}
}

func certify(t, parent *x509.Certificate, public any, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Roots returns the trust that a verifier needs; see roots.Set.With.
func (ca *CA) Roots() []*x509.Certificate { return []*x509.Certificate{ca.root} }

// Intermediate returns the certificate that issues, for tampering.
func (ca *CA) Intermediate() *x509.Certificate { return ca.sub }

// AKCerts certifies an attestation key: DER, leaf and intermediate. ek is the
// endorsement key that the credential was sent to and is named by enrolment
// authorities only. tamper, if not nil, changes the certificate.
func (ca *CA) AKCerts(ak, ek crypto.PublicKey, tamper func(*x509.Certificate)) ([][]byte, error) {
	t := ca.leaf()
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{OIDAK}
	switch ca.Owner {
	case roots.Google:
		t.UnknownExtKeyUsage = nil
		t.Subject = pkix.Name{Locality: []string{"nowhere1-a"}, Organization: []string{"SIMULATED"}, CommonName: "1234567890"}
		t.ExtraExtensions = []pkix.Extension{{Id: oidInstance, Value: Instance(true)}}
	case Enrolment:
		der, err := x509.MarshalPKIXPublicKey(ek)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(der)
		t.Subject.SerialNumber = hex.EncodeToString(sum[:])
	}
	return ca.issue(t, ak, tamper)
}

// EKCerts certifies an endorsement key, as the maker of its TPM does: DER, leaf
// and intermediate. tamper, if not nil, changes the certificate.
func (ca *CA) EKCerts(ek crypto.PublicKey, tamper func(*x509.Certificate)) ([][]byte, error) {
	t := ca.leaf()
	t.Subject = pkix.Name{} // the name of an endorsement key is its alternative one
	t.KeyUsage = x509.KeyUsageKeyAgreement
	if _, ok := ek.(*rsa.PublicKey); ok {
		t.KeyUsage = x509.KeyUsageKeyEncipherment
	}
	t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{OIDEK}
	t.ExtraExtensions = []pkix.Extension{{Id: oidSAN, Critical: true, Value: TPMName("id:53494D55", "SIMULATED vTPM", "id:00010002")}}
	return ca.issue(t, ek, tamper)
}

func (ca *CA) leaf() *x509.Certificate {
	ca.lastSerial++
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(ca.lastSerial), Subject: pkix.Name{Organization: []string{"SIMULATED"}, CommonName: "machine"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(7 * 365 * 24 * time.Hour), BasicConstraintsValid: true,
	}
}

func (ca *CA) issue(t *x509.Certificate, key crypto.PublicKey, tamper func(*x509.Certificate)) ([][]byte, error) {
	if tamper != nil {
		tamper(t)
	}
	cert, err := certify(t, ca.sub, key, ca.subKey)
	if err != nil {
		return nil, err
	}
	return [][]byte{cert.Raw, ca.sub.Raw}, nil
}

// CRLs makes revocation lists of intermediate and root for a period, both listing
// serials.
func (ca *CA) CRLs(thisUpdate, nextUpdate time.Time, serials ...*big.Int) ([][]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(thisUpdate.Unix()), ThisUpdate: thisUpdate, NextUpdate: nextUpdate}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: s, RevocationTime: thisUpdate})
	}
	if ca.TamperCRL != nil {
		ca.TamperCRL(list)
	}
	sub, err := x509.CreateRevocationList(rand.Reader, list, ca.sub, ca.subKey)
	if err != nil {
		return nil, err
	}
	root, err := x509.CreateRevocationList(rand.Reader, list, ca.root, ca.rootKey)
	return [][]byte{sub, root}, err
}

// TPMName prints a subject alternative name with the TCG's three attributes in
// one set, as vTPMs of clouds have them. An empty text leaves its attribute out.
func TPMName(maker, model, version string) []byte {
	type attribute struct {
		ID   asn1.ObjectIdentifier
		Text string `asn1:"utf8"`
	}
	var set []attribute
	for i, text := range []string{maker, model, version} {
		if text != "" {
			id := append(asn1.ObjectIdentifier{}, oidMaker...)
			id[len(id)-1] += i
			set = append(set, attribute{id, text})
		}
	}
	inner := mustMarshal(set, "set")
	name := mustMarshal([]asn1.RawValue{{FullBytes: inner}}, "")
	directory := mustMarshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}, "")
	return mustMarshal([]asn1.RawValue{{FullBytes: directory}}, "")
}

// Instance prints Google's extension about a machine.
func Instance(production bool) []byte {
	type properties struct {
		Version    int64 `asn1:"explicit,tag:0"`
		Production bool  `asn1:"explicit,tag:1"`
	}
	return mustMarshal(struct {
		Zone          string `asn1:"utf8"`
		ProjectNumber int64
		Project       string `asn1:"utf8"`
		ID            int64
		Name          string     `asn1:"utf8"`
		Properties    properties `asn1:"explicit,tag:0"`
	}{"nowhere1-a", 1, "simulated-project", 1234567890, "SIMULATED", properties{0, production}}, "")
}

// mustMarshal prints values of types that always print.
func mustMarshal(v any, params string) []byte {
	b, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		panic("fakecloud: " + err.Error())
	}
	return b
}

// stored is a CA in a file.
type stored struct {
	Owner           Owner
	Root, Sub       []byte
	RootKey, SubKey []byte
	LastSerial      int64
	Simulated       bool
}

// Marshal prints the authority with its keys.
func (ca *CA) Marshal() ([]byte, error) {
	s := stored{Owner: ca.Owner, Root: ca.root.Raw, Sub: ca.sub.Raw, LastSerial: ca.lastSerial, Simulated: true}
	var err error
	if s.RootKey, err = x509.MarshalECPrivateKey(ca.rootKey); err != nil {
		return nil, err
	}
	if s.SubKey, err = x509.MarshalECPrivateKey(ca.subKey); err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// ParseCA reads what [CA.Marshal] printed. Serial numbers of certificates go on
// from when it was printed.
func ParseCA(b []byte) (*CA, error) {
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	ca := &CA{Owner: s.Owner, lastSerial: s.LastSerial}
	var err error
	if ca.root, err = x509.ParseCertificate(s.Root); err != nil {
		return nil, err
	}
	if ca.sub, err = x509.ParseCertificate(s.Sub); err != nil {
		return nil, err
	}
	if ca.rootKey, err = x509.ParseECPrivateKey(s.RootKey); err != nil {
		return nil, err
	}
	ca.subKey, err = x509.ParseECPrivateKey(s.SubKey)
	return ca, err
}
