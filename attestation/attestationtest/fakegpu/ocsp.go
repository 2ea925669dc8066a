// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fakegpu

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// How an [Answer] says what it says (RFC 6960, Section 4.2.1).
const (
	Good = iota
	Revoked
	Unknown
)

// An Answer is what an OCSP response will say; Spec.OCSP may change it. The
// package that parses responses makes them too, but only of this very moment.
type Answer struct {
	Status                             int
	Serial                             *big.Int // nil: no answer at all
	ProducedAt, ThisUpdate, NextUpdate time.Time
	Responder                          *x509.Certificate // sent along; nil: none
	Key                                *ecdsa.PrivateKey
	Issuer                             *ecdsa.PrivateKey // of the certificate's issuer, to answer by itself
}

type (
	certID struct {
		Hash            pkix.AlgorithmIdentifier
		NameSum, KeySum []byte
		Serial          *big.Int
	}
	single struct {
		ID         certID
		Status     asn1.RawValue
		ThisUpdate time.Time `asn1:"generalized"`
		NextUpdate time.Time `asn1:"generalized,explicit,tag:0,optional"`
	}
	responseData struct {
		Responder  asn1.RawValue
		ProducedAt time.Time `asn1:"generalized"`
		Responses  []single
	}
	basicResponse struct {
		Data      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
		Certs     []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	responseBytes struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	response struct {
		Status asn1.Enumerated
		Bytes  responseBytes `asn1:"explicit,tag:0"`
	}
)

var (
	oidBasic     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidSHA384    = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidECDSA384  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	statusTagged = map[int]asn1.RawValue{
		Good:    {Class: asn1.ClassContextSpecific, Tag: 0},
		Unknown: {Class: asn1.ClassContextSpecific, Tag: 2},
	}
)

// marshal prints the response of an issuer, with SHA-384 as NVIDIA's verifier
// asks for.
func (a *Answer) marshal(by *x509.Certificate) ([]byte, error) {
	status, ok := statusTagged[a.Status]
	if !ok {
		at, err := asn1.MarshalWithParams(a.ThisUpdate.UTC(), "generalized")
		if err != nil {
			return nil, err
		}
		status = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: at}
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(by.RawSubjectPublicKeyInfo, &spki); err != nil {
		return nil, err
	}
	name, key := sha512.Sum384(by.RawSubject), sha512.Sum384(spki.Key.Bytes)
	responder := by
	if a.Responder != nil {
		responder = a.Responder
	}
	data, err := asn1.Marshal(responseData{
		Responder:  asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: responder.RawSubject},
		ProducedAt: a.ProducedAt.UTC(),
		Responses: []single{{ID: certID{pkix.AlgorithmIdentifier{Algorithm: oidSHA384}, name[:], key[:], a.Serial},
			Status: status, ThisUpdate: a.ThisUpdate.UTC(), NextUpdate: a.NextUpdate.UTC()}},
	})
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum384(data)
	sig, err := ecdsa.SignASN1(rand.Reader, a.Key, sum[:])
	if err != nil {
		return nil, err
	}
	basic := basicResponse{Data: asn1.RawValue{FullBytes: data}, Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSA384},
		Signature: asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}}
	if a.Responder != nil {
		basic.Certs = []asn1.RawValue{{FullBytes: a.Responder.Raw}}
	}
	body, err := asn1.Marshal(basic)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(response{Bytes: responseBytes{oidBasic, body}})
}
