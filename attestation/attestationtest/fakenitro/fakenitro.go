// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package fakenitro makes SIMULATED attestation documents of AWS's Nitro
// hypervisor: a certificate authority shaped like AWS's, instances under it, and
// documents that say whatever a test wants said.
package fakenitro

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// PCR is a SHA-384 register value.
type PCR = [sha512.Size384]byte

// An Authority is a SIMULATED Nitro PKI: root, region, zone and instance, as in
// AWS's bundles. The signer's certificate is made for each document.
type Authority struct {
	links []link
	now   time.Time
}

type link struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Links are the names of the authorities below the root, and the signer's, in
// the order of issuing.
var Links = []string{"root", "region", "zone", "instance", "signer"}

// NewAuthority makes an authority whose certificates are valid around now, for
// as long as AWS's are. alter, if not nil, may change the template of the i-th
// of [Links] but the last before it is signed.
func NewAuthority(now time.Time, alter func(i int, t *x509.Certificate)) (*Authority, error) {
	a := &Authority{now: now}
	lives := []time.Duration{30 * 365 * 24 * time.Hour, 20 * 24 * time.Hour, 6 * 24 * time.Hour, 24 * time.Hour}
	for i, life := range lives {
		t := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: subject(Links[i]), SignatureAlgorithm: x509.ECDSAWithSHA384,
			NotBefore: now.Add(-life / 2), NotAfter: now.Add(life / 2), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, MaxPathLen: len(lives) - 1 - i, MaxPathLenZero: true,
		}
		if i == 0 {
			t.MaxPathLen, t.MaxPathLenZero = -1, false
		}
		if alter != nil {
			alter(i, t)
		}
		l, err := a.issue(t)
		if err != nil {
			return nil, err
		}
		a.links = append(a.links, *l)
	}
	return a, nil
}

func subject(cn string) pkix.Name {
	return pkix.Name{
		Country: []string{"US"}, Organization: []string{"Amazon"}, OrganizationalUnit: []string{"AWS"},
		CommonName: cn + ".SIMULATED.aws.nitro-enclaves",
	}
}

// issue signs a template with the last link's key, or its own.
func (a *Authority) issue(t *x509.Certificate) (*link, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	parent, signer := t, key
	if len(a.links) > 0 {
		last := a.links[len(a.links)-1]
		parent, signer = last.cert, last.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &link{cert, key}, err
}

// Root returns the root's certificate.
func (a *Authority) Root() *x509.Certificate { return a.links[0].cert }

// Roots returns the trust a verifier needs to accept this authority.
func (a *Authority) Roots() roots.Set { return roots.New(true).With(roots.AWS, a.Root()) }

// A Field is one entry of a document, in its place.
type Field struct {
	Key   string
	Value any // as the CBOR library takes it
}

// A Spec says what a document contains. Its zero value is an ordinary NitroTPM
// document made at the authority's time.
type Spec struct {
	Enclave   bool   // registers of an enclave
	Module    string // empty: [Module]
	Time      time.Time
	PCRs      map[int]PCR // nil: [PCRs]
	PublicKey []byte
	UserData  []byte
	Nonce     []byte

	// What follows makes documents that no hypervisor makes.

	Tagged    bool                          // put COSE's tag before it
	Fields    func([]Field) []Field         // change the content before it is signed
	Bundle    func([][]byte) [][]byte       // change the chain sent along, root first
	Signer    func(t *x509.Certificate)     // change the signer's certificate before it is signed
	Protected []byte                        // headers to sign and send; nil: ES384
	Tamper    func(payload []byte)          // change the content after it was signed
	Signature func(signature []byte) []byte // change the signature
}

// Module is the name of the SIMULATED instance.
const Module = "i-0123456789abcdef0-tpm0000000000000000"

// PCRs are the registers of the SIMULATED instance: those that AWS's guide asks
// to compare.
func PCRs() map[int]PCR {
	out := map[int]PCR{}
	for _, i := range []int{4, 7, 11, 12} {
		out[i] = sha512.Sum384([]byte{'P', 'C', 'R', byte(i)})
	}
	return out
}

// Document makes a document.
func (a *Authority) Document(s Spec) ([]byte, error) {
	if s.Time.IsZero() {
		s.Time = a.now
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(99), Subject: subject("signer"), SignatureAlgorithm: x509.ECDSAWithSHA384,
		NotBefore: s.Time.Add(-time.Minute), NotAfter: s.Time.Add(3 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if s.Signer != nil {
		s.Signer(t)
	}
	signer, err := a.issue(t)
	if err != nil {
		return nil, err
	}
	content, err := a.content(&s, signer.cert.Raw)
	if err != nil {
		return nil, err
	}
	return seal(&s, signer.key, content)
}

func (a *Authority) content(s *Spec, signer []byte) ([]byte, error) {
	if s.Module == "" {
		s.Module = Module
	}
	if s.PCRs == nil {
		s.PCRs = PCRs()
	}
	registers := "nitrotpm_pcrs"
	if s.Enclave {
		registers = "pcrs"
	}
	values := map[int][]byte{}
	for i, v := range s.PCRs {
		values[i] = v[:]
	}
	var bundle [][]byte
	for _, l := range a.links {
		bundle = append(bundle, l.cert.Raw)
	}
	if s.Bundle != nil {
		bundle = s.Bundle(bundle)
	}
	fields := []Field{
		{"module_id", s.Module}, {"digest", "SHA384"}, {"timestamp", uint64(s.Time.UnixMilli())}, {registers, values},
		{"certificate", signer}, {"cabundle", bundle}, {"public_key", s.PublicKey}, {"user_data", s.UserData}, {"nonce", s.Nonce},
	}
	if s.Fields != nil {
		fields = s.Fields(fields)
	}
	if len(fields) > 23 {
		panic("fakenitro: more fields than a short map holds")
	}
	out := []byte{0xa0 | byte(len(fields))}
	for _, f := range fields {
		for _, v := range []any{f.Key, f.Value} {
			b, err := encoding.Marshal(v)
			if err != nil {
				return nil, err
			}
			out = append(out, b...)
		}
	}
	return out, nil
}

// encoding sorts registers, as the hypervisor does.
var encoding = func() cbor.EncMode {
	m, err := cbor.EncOptions{Sort: cbor.SortCoreDeterministic}.EncMode()
	if err != nil {
		panic(err) // constant options
	}
	return m
}()

// seal signs content as COSE_Sign1.
func seal(s *Spec, key *ecdsa.PrivateKey, content []byte) ([]byte, error) {
	if s.Protected == nil {
		s.Protected = []byte{0xa1, 0x01, 0x38, 0x22}
	}
	signed, err := cbor.Marshal([]any{"Signature1", s.Protected, []byte{}, content})
	if err != nil {
		return nil, err
	}
	digest := sha512.Sum384(signed)
	r, v, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 96)
	r.FillBytes(signature[:48])
	v.FillBytes(signature[48:])
	if s.Signature != nil {
		signature = s.Signature(signature)
	}
	if s.Tamper != nil {
		s.Tamper(content)
	}
	out, err := cbor.Marshal([]any{s.Protected, map[int]int{}, content, signature})
	if s.Tagged {
		out = append([]byte{0xd2}, out...)
	}
	return out, err
}

// An Instance is a SIMULATED EC2 instance. It implements collect.Reporter.
type Instance struct {
	Authority *Authority
	Spec      Spec             // what its documents say, but for user data and time
	Now       func() time.Time // of the hypervisor; nil: time.Now
}

// Report implements collect.Reporter with a document over data.
func (i *Instance) Report(_ context.Context, data [64]byte) ([]evidence.Piece, error) {
	s := i.Spec
	s.UserData, s.Time = data[:], time.Now()
	if i.Now != nil {
		s.Time = i.Now()
	}
	doc, err := i.Authority.Document(s)
	if err != nil {
		return nil, err
	}
	return []evidence.Piece{{Kind: evidence.KindNitroDoc, Data: doc}}, nil
}
