// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tpmcert verifies X.509 certificates of keys that live in TPMs: of
// attestation keys, which an authority issues to a TPM that it knows, and of
// endorsement keys, by which a maker says that the TPM is one of its own.
//
// An attestation key certificate says "this key is in a TPM of the kind I vouch
// for". A cloud knows, having made both; for other machines somebody has to run
// TPM2_ActivateCredential against the endorsement key, and is named in policy as
// an enrolment authority. An endorsement key signs nothing, so its certificate
// alone says nothing about who quoted: [AK.CheckEK] ties the two together.
//
// Roots come from the caller, each under its owner; those that this package
// embeds are returned by [Google], [Microsoft] and [TPM]. Nothing is fetched:
// intermediates and revocation lists travel with the evidence.
package tpmcert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// Enrolment is the owner of authorities that a policy names. It has no roots in
// a roots.Set.
const Enrolment roots.Vendor = "enrolment"

// simulated is what every name under a simulated root contains.
const simulated = "SIMULATED"

// Caps on what travels along, in certificates and bytes.
const (
	maxCerts   = 4
	maxCert    = 8 << 10
	maxRSABits = 4096
)

// Purposes (TCG OID Registry, Section 5.4).
var (
	oidEK = asn1.ObjectIdentifier{2, 23, 133, 8, 1} // tcg-kp-EKCertificate
	oidAK = asn1.ObjectIdentifier{2, 23, 133, 8, 3} // tcg-kp-AIKCertificate
)

// An Authority is whoever issued a certificate: the roots of one owner. The zero
// Authority vouches for nothing. What its certificates look like follows from the
// owner.
type Authority struct {
	Owner     roots.Vendor
	Roots     []*x509.Certificate
	Simulated bool // the roots stand for no hardware; certificates must say so
}

// Of returns the authority of an owner in a set of roots.
func Of(s roots.Set, owner roots.Vendor) Authority {
	return Authority{Owner: owner, Roots: s.Of(owner), Simulated: s.Simulated()}
}

// Limits say what of the collateral may be missing. The zero value asks for a
// current revocation list of every issuer.
type Limits struct {
	// CRLGrace is how long past its nextUpdate a revocation list still counts.
	CRLGrace time.Duration
	// AllowNoCRL accepts issuers whose list did not come along. It is a gap that
	// the caller has to name: Google's and Microsoft's authorities for vTPM keys
	// publish lists only of intermediates, makers of TPMs as they please. A list
	// that did come along must be good all the same.
	AllowNoCRL bool
}

// Collateral is what travels with the evidence.
type Collateral struct {
	Certs [][]byte // DER: the key's, then intermediates, each issued by the next; no root
	CRLs  [][]byte // DER, in any order, of issuers in the chain
}

// A Chain is a certificate that chains to a trusted root, with what was found on
// the way.
type Chain struct {
	Leaf   *x509.Certificate
	Root   *x509.Certificate
	NoCRL  bool          // an issuer had no revocation list, and the limits waive it
	CRLAge time.Duration // of the oldest list; zero without one
	TPM    Maker         // what the certificate calls the TPM; may be empty for an attestation key
}

// An AK is a verified certificate of an attestation key.
type AK struct {
	Chain
	Owner    roots.Vendor
	Instance *Instance // Google's machine; nil from others
	// EKDigest is the SHA-256 of the SubjectPublicKeyInfo of the endorsement key
	// that the enrolment authority sent the credential to; zeros from others.
	EKDigest [32]byte
}

// An EK is a verified certificate of an endorsement key.
type EK struct {
	Chain
	Key crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
}

// VerifyAK decides whether an authority vouches at now for exactly this
// attestation key. What is asked of a certificate depends on the owner:
//
//   - Microsoft: extended key usage tcg-kp-AIKCertificate.
//   - Google: its instance extension, of a production machine. The extended key
//     usage is absent, or one of the two of the TCG: Google's older authority
//     issues both keys' certificates with that of an endorsement key, and the key
//     usage tells them apart.
//   - An enrolment authority: tcg-kp-AIKCertificate, and the serialNumber of the
//     subject is the SHA-256, in lower-case hex, of the SubjectPublicKeyInfo of
//     the endorsement key that decrypted the credential.
//
// Always: digitalSignature alone as key usage, and no CA. Refusals have the codes
// att.ak.cert, att.crl, att.revoked and att.simulated.
func VerifyAK(c Collateral, key crypto.PublicKey, a Authority, l Limits, now time.Time) (*AK, error) {
	chain, err := verify(c, a, l, now, refuse.AKCert)
	if err != nil {
		return nil, err
	}
	leaf := chain.Leaf
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		return nil, refuse.As(refuse.AKCert, "certificate is not of a signing key")
	}
	if !equal(leaf.PublicKey, key) {
		return nil, refuse.As(refuse.AKCert, "certificate is of another key than the attestation key")
	}
	ak := &AK{Chain: *chain, Owner: a.Owner}
	switch a.Owner {
	case roots.Google:
		err = ak.checkGoogle()
	case roots.Microsoft:
		err = ak.checkPurpose()
	case Enrolment:
		err = ak.checkEnrolment()
	default:
		err = refuse.As(refuse.AKCert, "%q issues no certificates of attestation keys", a.Owner)
	}
	if err != nil {
		return nil, err
	}
	return ak, nil
}

func (ak *AK) checkPurpose() error {
	if len(ak.Leaf.ExtKeyUsage) != 0 || !slices.ContainsFunc(ak.Leaf.UnknownExtKeyUsage, oidAK.Equal) {
		return refuse.As(refuse.AKCert, "certificate is not for attestation: no tcg-kp-AIKCertificate")
	}
	return nil
}

func (ak *AK) checkGoogle() error {
	for _, purpose := range ak.Leaf.UnknownExtKeyUsage {
		if !purpose.Equal(oidEK) && !purpose.Equal(oidAK) {
			return refuse.As(refuse.AKCert, "certificate is for %v", purpose)
		}
	}
	if len(ak.Leaf.ExtKeyUsage) != 0 {
		return refuse.As(refuse.AKCert, "certificate is for something else than a TPM")
	}
	var err error
	if ak.Instance, err = parseInstance(ak.Leaf); err != nil {
		return refuse.As(refuse.AKCert, "instance: %v", err)
	}
	if !ak.Instance.Production {
		return refuse.As(refuse.AKCert, "certificate of a machine that is not in production")
	}
	return nil
}

func (ak *AK) checkEnrolment() error {
	if err := ak.checkPurpose(); err != nil {
		return err
	}
	digest, err := hex.DecodeString(ak.Leaf.Subject.SerialNumber)
	if err != nil || len(digest) != len(ak.EKDigest) || hex.EncodeToString(digest) != ak.Leaf.Subject.SerialNumber {
		return refuse.As(refuse.AKCert, "certificate names no endorsement key")
	}
	ak.EKDigest = [32]byte(digest)
	return nil
}

// CheckEK decides whether the enrolment authority activated its credential with
// this endorsement key, so that the two keys are in one TPM. The code of a
// refusal is att.ek; certificates of others than enrolment authorities name no
// endorsement key and are refused.
func (ak *AK) CheckEK(key crypto.PublicKey) error {
	digest, err := KeyDigest(key)
	if err != nil {
		return refuse.As(refuse.EK, "endorsement key: %v", err)
	}
	if ak.Owner != Enrolment || ak.EKDigest != digest {
		return refuse.As(refuse.EK, "attestation key was enrolled with endorsement key %x.., not %x..", ak.EKDigest[:8], digest[:8])
	}
	return nil
}

// KeyDigest identifies an endorsement key in the certificates of enrolment
// authorities: SHA-256 of its SubjectPublicKeyInfo, DER.
func KeyDigest(key crypto.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(der), nil
}

// VerifyEK decides whether a maker vouches at now for an endorsement key (TCG EK
// Credential Profile 2.6, Section 3.2): extended key usage tcg-kp-EKCertificate,
// a subject alternative name with maker, model and version of the TPM, the key
// usage of an encryption key alone, and no CA. Refusals have the codes att.ek,
// att.crl, att.revoked and att.simulated.
func VerifyEK(c Collateral, a Authority, l Limits, now time.Time) (*EK, error) {
	chain, err := verify(c, a, l, now, refuse.EK)
	if err != nil {
		return nil, err
	}
	leaf, usage := chain.Leaf, x509.KeyUsage(0)
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 {
			usage = x509.KeyUsageKeyEncipherment
		}
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits == 256 || bits == 384 {
			usage = x509.KeyUsageKeyAgreement
		}
	}
	switch {
	case usage == 0:
		return nil, refuse.As(refuse.EK, "endorsement key is neither RSA of 2048 bits or more nor on P-256 or P-384")
	case leaf.KeyUsage != usage:
		return nil, refuse.As(refuse.EK, "certificate is not of an encryption key")
	case len(leaf.ExtKeyUsage) != 0 || !slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidEK.Equal):
		return nil, refuse.As(refuse.EK, "certificate is not of an endorsement key: no tcg-kp-EKCertificate")
	case chain.TPM.ID == "", chain.TPM.Model == "", chain.TPM.Version == "":
		return nil, refuse.As(refuse.EK, "certificate does not name maker, model and version of the TPM")
	}
	return &EK{Chain: *chain, Key: leaf.PublicKey}, nil
}

// verify parses the certificates, chains them to a root in the order in which
// they came, and looks at the revocation lists. Each certificate has its place: a
// superfluous one is refused, so that no byte goes unread.
func verify(c Collateral, a Authority, l Limits, now time.Time, code refuse.Code) (*Chain, error) {
	if len(c.Certs) == 0 || len(c.Certs) > maxCerts {
		return nil, refuse.As(code, "%d certificates, want 1 to %d", len(c.Certs), maxCerts)
	}
	var certs []*x509.Certificate
	for i, der := range c.Certs {
		cert, err := parse(der)
		if err != nil {
			return nil, refuse.As(code, "certificate %d: %v", i, err)
		}
		if said := strings.Contains(cert.Issuer.String()+cert.Subject.String(), simulated); said != a.Simulated {
			return nil, refuse.As(refuse.Simulated, "certificate under %q, simulated roots: %t", cert.Issuer.String(), a.Simulated)
		}
		certs = append(certs, cert)
	}
	chain := &Chain{Leaf: certs[0]}
	var err error
	if chain.TPM, err = parseMaker(chain.Leaf); err != nil {
		return nil, refuse.As(code, "name of the TPM: %v", err)
	}
	if chain.Leaf.IsCA {
		return nil, refuse.As(code, "certificate is of an authority")
	}
	if chain.Root = findRoot(certs, a.Roots, now); chain.Root == nil {
		at := now.UTC().Format(time.RFC3339)
		return nil, &refuse.Error{Code: code,
			Detail: fmt.Sprintf("issued by %q: no chain to a trusted root of %q that is valid at %v", chain.Leaf.Issuer.String(), a.Owner, at),
			Want:   fmt.Sprintf("a chain to a trusted root of %q, valid at %s", a.Owner, at),
			Got:    fmt.Sprintf("%q, which no such chain leads to; it says it was issued by %q", chain.Leaf.Subject.String(), chain.Leaf.Issuer.String())}
	}
	return chain, chain.checkCRLs(append(certs, chain.Root), c.CRLs, l, now)
}

func parse(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCert {
		return nil, errSize
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
		return nil, errSize
	}
	return cert, nil
}

// findRoot returns the trusted root that certs chain to, each issued by the next.
// Signatures, dates, constraints and critical extensions are crypto/x509's to
// judge. Purposes are not left to it, since it knows none of the TCG's.
func findRoot(certs, trusted []*x509.Certificate, now time.Time) *x509.Certificate {
	for _, ca := range certs[1:] {
		for _, purpose := range ca.UnknownExtKeyUsage {
			if !purpose.Equal(oidEK) && !purpose.Equal(oidAK) {
				return nil
			}
		}
		if len(ca.ExtKeyUsage) != 0 {
			return nil
		}
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, root := range trusted {
		opts.Roots.AddCert(root)
	}
	for _, ca := range certs[1:] {
		opts.Intermediates.AddCert(ca)
	}
	chains, err := certs[0].Verify(opts)
	if err != nil {
		return nil
	}
	for _, chain := range chains {
		same := func(a, b *x509.Certificate) bool { return bytes.Equal(a.Raw, b.Raw) }
		if last := len(chain) - 1; slices.EqualFunc(chain[:last], certs, same) {
			return chain[last]
		}
	}
	return nil
}

func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
