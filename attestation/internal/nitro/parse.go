// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Bounds of a document's fields; the first four are AWS's own.
const (
	maxPCRs   = 32
	maxCert   = 1024
	maxExtra  = 1024 // public_key, user_data, nonce
	maxModule = 256
	maxChain  = 8 // AWS's has four, and the signer's
)

// es384 is the one protected header: {1: -35}, the algorithm (RFC 9053).
var es384 = []byte{0xa1, 0x01, 0x38, 0x22}

// decoding refuses what the walk of canonical refuses as well, and duplicate
// keys, unknown fields and texts that are not UTF-8 besides.
var decoding = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: maxPCRs, UTF8: cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return m
}()

// sign1 is COSE_Sign1.
type sign1 struct {
	_           struct{} `cbor:",toarray"`
	Protected   cbor.RawMessage
	Unprotected cbor.RawMessage
	Payload     cbor.RawMessage
	Signature   cbor.RawMessage
}

// payload is AWS's AttestationDocument. Fields stay raw so that each is read as
// its one type: the library would take an array of numbers for bytes.
type payload struct {
	Module      cbor.RawMessage `cbor:"module_id"`
	Digest      cbor.RawMessage `cbor:"digest"`
	Timestamp   cbor.RawMessage `cbor:"timestamp"`
	TPM         cbor.RawMessage `cbor:"nitrotpm_pcrs"`
	Enclave     cbor.RawMessage `cbor:"pcrs"`
	Certificate cbor.RawMessage `cbor:"certificate"`
	Bundle      cbor.RawMessage `cbor:"cabundle"`
	PublicKey   cbor.RawMessage `cbor:"public_key"`
	UserData    cbor.RawMessage `cbor:"user_data"`
	Nonce       cbor.RawMessage `cbor:"nonce"`
}

// Parse reads one document and nothing after it. Tag 18 may stand before it or
// not (AWS leaves it out). Otherwise the encoding is the shortest one, of
// definite length; the order of fields is free, since AWS's is that of its
// source code.
func Parse(b []byte) (*Document, error) {
	if len(b) > MaxSize {
		return nil, refuse.As(refuse.Size, "document of %d bytes", len(b))
	}
	b = bytes.TrimPrefix(b, []byte{0xd2})
	if !canonical(b) {
		return nil, malformed("encoding")
	}
	var s sign1
	if decoding.Unmarshal(b, &s) != nil {
		return nil, malformed("COSE_Sign1")
	}
	d := new(Document)
	protected, ok1 := octets(s.Protected, len(es384))
	content, ok2 := octets(s.Payload, MaxSize)
	signature, ok3 := octets(s.Signature, 2*sha512.Size384)
	switch {
	case !ok1 || !ok2 || !ok3 || len(signature) != 2*sha512.Size384:
		return nil, malformed("COSE_Sign1")
	case !bytes.Equal(protected, es384) || !bytes.Equal(s.Unprotected, []byte{0xa0}):
		return nil, malformed("headers: ES384 alone is expected")
	case !canonical(content):
		return nil, malformed("encoding of the payload")
	}
	var p payload
	if decoding.Unmarshal(content, &p) != nil {
		return nil, malformed("payload")
	}
	d.payload, d.signature = content, signature
	return d, d.read(&p)
}

func (d *Document) read(p *payload) error {
	if err := d.readHead(p); err != nil {
		return err
	}
	if err := d.readPCRs(p); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		raw  cbor.RawMessage
		to   *[]byte
	}{{"public_key", p.PublicKey, &d.PublicKey}, {"user_data", p.UserData, &d.UserData}, {"nonce", p.Nonce, &d.Nonce}} {
		if len(f.raw) == 0 || bytes.Equal(f.raw, []byte{null}) {
			continue
		}
		b, ok := octets(f.raw, maxExtra)
		if !ok {
			return malformed(f.name)
		}
		*f.to = b
	}
	return d.readCerts(p)
}

func (d *Document) readHead(p *payload) error {
	var digest string
	if major(p.Module) != text || decoding.Unmarshal(p.Module, &d.Module) != nil || d.Module == "" || len(d.Module) > maxModule {
		return malformed("module_id")
	}
	if major(p.Digest) != text || decoding.Unmarshal(p.Digest, &digest) != nil || digest != "SHA384" {
		return malformed("digest: SHA384 is expected")
	}
	var ms uint64
	if major(p.Timestamp) != unsigned || decoding.Unmarshal(p.Timestamp, &ms) != nil || ms == 0 || ms > 1<<48 {
		return malformed("timestamp")
	}
	d.Time = time.UnixMilli(int64(ms)).UTC()
	return nil
}

func (d *Document) readPCRs(p *payload) error {
	raw := p.TPM
	switch {
	case len(p.TPM) > 0 && len(p.Enclave) > 0:
		return malformed("registers of two kinds")
	case len(p.TPM) > 0:
		d.Flavor = NitroTPM
	default:
		d.Flavor, raw = Enclave, p.Enclave
	}
	var values map[uint64]cbor.RawMessage
	if major(raw) != object || decoding.Unmarshal(raw, &values) != nil || len(values) == 0 {
		return malformed("registers")
	}
	d.PCRs = make(map[int]PCR, len(values))
	for i, v := range values {
		b, ok := octets(v, sha512.Size384)
		if !ok || len(b) != sha512.Size384 || i >= maxPCRs {
			return malformed("registers")
		}
		d.PCRs[int(i)] = PCR(b)
	}
	return nil
}

func (d *Document) readCerts(p *payload) error {
	var bundle []cbor.RawMessage
	if major(p.Bundle) != array || decoding.Unmarshal(p.Bundle, &bundle) != nil || len(bundle) == 0 || len(bundle) > maxChain {
		return malformed("cabundle")
	}
	for _, raw := range append(bundle, p.Certificate) {
		der, ok := octets(raw, maxCert)
		if !ok {
			return malformed("certificate")
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return malformed("certificate: " + err.Error())
		}
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P384() || c.SignatureAlgorithm != x509.ECDSAWithSHA384 {
			return malformed("certificate: not of P-384 and SHA-384")
		}
		d.chain = append(d.chain, c)
	}
	d.leaf = d.chain[len(d.chain)-1]
	d.chain = d.chain[:len(d.chain)-1]
	return nil
}

// octets returns the content of a byte string of at most limit bytes.
func octets(raw cbor.RawMessage, limit int) ([]byte, bool) {
	var b []byte
	if major(raw) != bstr || decoding.Unmarshal(raw, &b) != nil || len(b) > limit {
		return nil, false
	}
	return b, true
}

// sigStructure is what is signed (RFC 9052, Section 4.4): ["Signature1",
// protected, external data (none), payload].
func sigStructure(content []byte) []byte {
	b, err := cbor.Marshal([]any{"Signature1", es384, []byte{}, content})
	if err != nil {
		panic(err) // these types always marshal
	}
	return b
}

func (d *Document) simulated() bool {
	return strings.Contains(d.leaf.Issuer.String()+d.leaf.Subject.String(), Simulated)
}

func malformed(what string) error {
	return refuse.As(refuse.Format, "attestation document: %s", what)
}

func hexed(b []byte) string {
	if len(b) == 0 {
		return "absent"
	}
	return hex.EncodeToString(b)
}

func itoa(i int) string { return strconv.Itoa(i) }

func contains(list []string, s string) bool { return slices.Contains(list, s) }
