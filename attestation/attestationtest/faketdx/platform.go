// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package faketdx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// What an ordinary platform has. A TCB level of the same numbers is what its
// collateral calls up to date.
var (
	LabFMSPC  = [6]byte{0x51, 0x10, 0x90} // digits only: a library compares text
	LabSVN    = [16]byte{5, 5, 2, 2, 3, 1, 0, 3}
	LabTEESVN = [16]byte{4, 1, 7}
	LabMRSEAM = [48]byte(sha384("SIMULATED TDX module"))
)

const (
	labPCESVN = 11
	labQESVN  = 8
	labProdID = 2
)

var (
	labMRSigner   = [32]byte(sha256Of("SIMULATED quoting enclave signer"))
	labAttributes = [16]byte{0: 0x15, 8: 0xe7}
)

func sha256Of(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
func sha384(s string) []byte   { h := sha512.Sum384([]byte(s)); return h[:] }

// A Platform is a SIMULATED machine with TDX: a PCK, a quoting enclave and its
// attestation key.
type Platform struct {
	Cert *x509.Certificate // of the PCK

	root *Root
	spec PlatformSpec
	pck  *ecdsa.PrivateKey
	att  *ecdsa.PrivateKey
}

// PlatformSpec says how a platform's certificate comes out. The zero value of
// every field but Name is the ordinary thing.
type PlatformSpec struct {
	Name   string  // PPID and platform instance are derived from it
	FMSPC  [6]byte // zero: [LabFMSPC]
	PCEID  [2]byte
	SVN    [16]byte // of the SGX components; zero: [LabSVN]
	PCESVN uint16

	Subject             string            // common name
	Issuer              *x509.Certificate // whose name stands as issuer; the key stays
	NotBefore, NotAfter time.Time
	NoPlatform          bool                    // leave Intel's extension out
	NoIdentity          bool                    // zero PPID, no platform instance
	Extension           func(der []byte) []byte // changes that extension
}

// NewPlatform makes a platform to order.
func (r *Root) NewPlatform(s PlatformSpec) (*Platform, error) {
	if s.FMSPC == [6]byte{} {
		s.FMSPC = LabFMSPC
	}
	if s.SVN == [16]byte{} {
		s.SVN = LabSVN
	}
	if s.PCESVN == 0 {
		s.PCESVN = labPCESVN
	}
	if s.Subject == "" {
		s.Subject = "Intel SGX PCK Certificate"
	}
	if s.Issuer == nil {
		s.Issuer = r.ca
	}
	p := &Platform{root: r, spec: s}
	for _, k := range []**ecdsa.PrivateKey{&p.pck, &p.att} {
		var err error
		if *k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	t := template(s.Subject, false, x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment)
	if !s.NotBefore.IsZero() {
		t.NotBefore = s.NotBefore
	}
	if !s.NotAfter.IsZero() {
		t.NotAfter = s.NotAfter
	}
	if !s.NoPlatform {
		value, err := extension(s)
		if err != nil {
			return nil, err
		}
		if s.Extension != nil {
			value = s.Extension(value)
		}
		t.ExtraExtensions = []pkix.Extension{{Id: sgx(), Value: value}}
	}
	point, err := p.pck.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	t.SubjectKeyId = sha256Of(string(point))[:20]
	issuer := *s.Issuer
	issuer.PublicKey = &r.caKey.PublicKey
	p.Cert, err = certify(t, &issuer, &p.pck.PublicKey, r.caKey)
	return p, err
}

// Key returns the provisioning certification key.
func (p *Platform) Key() *ecdsa.PrivateKey { return p.pck }

// sgx returns an identifier under Intel's extension of PCK certificates.
func sgx(under ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, under...)
}

type field struct {
	ID    asn1.ObjectIdentifier
	Value any
}

// extension prints what a PCK certificate says of its platform (Intel SGX PCK
// certificate and CRL profile, Section 1.3.5).
func extension(s PlatformSpec) ([]byte, error) {
	ppid := sha256Of("SIMULATED PPID " + s.Name)[:16]
	if s.NoIdentity {
		clear(ppid)
	}
	tcb := []field{}
	for i, v := range s.SVN {
		tcb = append(tcb, field{sgx(2, i+1), int(v)})
	}
	tcb = append(tcb, field{sgx(2, 17), int(s.PCESVN)}, field{sgx(2, 18), s.SVN[:]})
	fields := []field{
		{sgx(1), ppid}, {sgx(2), tcb}, {sgx(3), s.PCEID[:]}, {sgx(4), s.FMSPC[:]}, {sgx(5), asn1.Enumerated(1)},
	}
	if !s.NoIdentity {
		fields = append(fields, field{sgx(6), sha256Of("SIMULATED platform instance " + s.Name)[:16]})
	}
	fields = append(fields, field{sgx(7), []field{{sgx(7, 1), true}, {sgx(7, 2), false}, {sgx(7, 3), true}}})
	return asn1.Marshal(fields)
}

// QuoteSpec says what a quote holds. Zero is the ordinary thing: version 4, an
// up-to-date module, attribute SEPT_VE_DISABLE.
type QuoteSpec struct {
	Version uint16 // 4 or 5
	TDX15   bool   // a body of TDX 1.5, which only version 5 has
	Data    [64]byte
	MRTD    [48]byte
	RTMR    [4][48]byte
	TEESVN  [16]byte // zero: [LabTEESVN]
	TEESVN2 [16]byte // of TDX 1.5; zero: that of TEESVN
	Padding int

	// Tamper changes the quote before it is signed: hardware that says something
	// else. TamperQE does so with the quoting enclave's report. After changes what
	// was signed.
	Tamper   func(q *tdx.Quote)
	TamperQE func(e *tdx.EnclaveReport)
	After    func(q *tdx.Quote)
}

// Quote signs a quote.
func (p *Platform) Quote(s QuoteSpec) ([]byte, error) {
	q := &tdx.Quote{Version: 4, QEAuth: sha256Of("SIMULATED authentication data"), Padding: s.Padding,
		Chain: chainPEM(p.Cert, p.root.ca, p.root.root)}
	if s.Version != 0 {
		q.Version = s.Version
	}
	q.Type = tdx.TDX10
	q.TEETCBSVN = LabTEESVN
	if s.TEESVN != [16]byte{} {
		q.TEETCBSVN = s.TEESVN
	}
	if s.TDX15 {
		q.Type, q.TEETCBSVN2 = tdx.TDX15, q.TEETCBSVN
		if s.TEESVN2 != [16]byte{} {
			q.TEETCBSVN2 = s.TEESVN2
		}
	}
	q.MRSEAM, q.MRTD, q.RTMR, q.Data = LabMRSEAM, s.MRTD, s.RTMR, s.Data
	q.Attributes, q.XFAM = 1<<28, 0x600e7
	point, err := p.att.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	q.AttKey = [64]byte(point[1:])
	if s.Tamper != nil {
		s.Tamper(q)
	}
	bound := sha256.Sum256(slices.Concat(q.AttKey[:], q.QEAuth))
	q.QE = tdx.EnclaveReport{CPUSVN: p.spec.SVN, Attributes: labAttributes, MRSigner: labMRSigner, ProdID: labProdID, SVN: labQESVN}
	copy(q.QE.Data[:], bound[:])
	if s.TamperQE != nil {
		s.TamperQE(&q.QE)
	}
	if q.QESignature, err = sign(p.pck, q.QE.Print()); err != nil {
		return nil, err
	}
	if q.Signature, err = sign(p.att, q.Signed()); err != nil {
		return nil, err
	}
	if s.After != nil {
		s.After(q)
	}
	return q.Print(), nil
}

// sign returns r and s of a signature over SHA-256.
func sign(key *ecdsa.PrivateKey, message []byte) (out [64]byte, err error) {
	sum := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return out, err
	}
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}
