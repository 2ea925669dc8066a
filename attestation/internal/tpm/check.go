// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Attributes every attestation key must have, may have, and so must not have.
const (
	akMust = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrRestricted | attrSign
	akMay  = attrUserWithAuth | attrNoDA | attrSTClear | attrAdminWithPolicy
)

// rekAttrs is the one set of attributes a REK may have: it cannot leave the
// TPM, dies with a reset, and no password opens it.
const rekAttrs = attrFixedTPM | attrSTClear | attrFixedParent | attrSensitiveDataOrigin | attrAdminWithPolicy | attrDecrypt

// Attributes of the REK's parent: an ordinary storage key.
const (
	parentMust = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrRestricted | attrDecrypt
	parentMay  = attrUserWithAuth | attrNoDA | attrSTClear
)

// A Kind is a kind of attestation key. Which kinds will do is the caller's to
// say: those that Sotto makes are ECDSA, those that clouds provision are RSA.
type Kind string

// The kinds of attestation key.
const (
	KindECDSA  Kind = "ECDSA P-256 with SHA-256"
	KindRSASSA Kind = "RSASSA-PKCS1-v1_5 with SHA-256"
)

// An AK is an attestation key that was judged fit to sign.
type AK struct {
	Public *Public
	kind   Kind
	key    crypto.PublicKey
}

// Kind says how the key signs.
func (ak *AK) Kind() Kind { return ak.kind }

// Key returns the public key: *ecdsa.PublicKey on P-256, or *rsa.PublicKey of
// 2048, 3072 or 4096 bits.
func (ak *AK) Key() crypto.PublicKey { return ak.key }

// CheckAK reads an attestation key, of either kind. Only a restricted key will
// do: it signs nothing that looks like an attestation but what the TPM itself
// made (TPM 2.0 Library, Part 1, Section 25.2).
//
// The attributes are what the public area says. That the key in the TPM has
// them is proven where the area's bytes are vouched for, as they are by a report
// over its digest; where a certificate or a report names only the key, it is as
// true as the issuer made sure.
func CheckAK(b []byte) (*AK, error) {
	p, err := ParsePublic(b)
	if err != nil {
		return nil, refuse.As(refuse.Format, "attestation key: %v", err)
	}
	ak := &AK{Public: p}
	switch {
	case p.NameAlg != algSHA256 || p.symAlg != algNull || p.schemeHash != algSHA256:
		return nil, refuse.As(refuse.AK, "attestation key is not a signing key with SHA-256")
	case p.Type == algECC && p.curve == curveP256 && p.scheme == algECDSA && p.kdf == algNull:
		ak.kind = KindECDSA
	case p.Type == algRSA && p.scheme == algRSASSA:
		ak.kind = KindRSASSA
	default:
		return nil, refuse.As(refuse.AK, "attestation key is neither ECDSA P-256 nor RSASSA")
	}
	if p.Attributes&akMust != akMust || p.Attributes&^(akMust|akMay) != 0 {
		return nil, refuse.As(refuse.AK, "attestation key attributes %#08x", p.Attributes)
	}
	if ak.key, err = p.Key(); err != nil {
		return nil, refuse.As(refuse.AK, "attestation key is no point of P-256, or no RSA key of 2048 bits or more with exponent %d", rsaExponent)
	}
	return ak, nil
}

// SignedAsPrimary reports whether the TPM that made a says that its signer is a
// primary key with exactly ak's public area. The TPM computes the qualified name
// from the attributes that it enforces, so where only the key itself is vouched
// for, this says that the area around it is the TPM's own. It holds for the keys
// that paravisors and clouds provision, not for those under a storage key.
func (ak *AK) SignedAsPrimary(a *Attest) bool {
	for _, hierarchy := range []uint32{rhEndorse, rhOwner, rhPlatform, rhNull} {
		if bytes.Equal(a.Signer, ak.Public.qualifiedName(hierarchy)) {
			return true
		}
	}
	return false
}

// Attributes every endorsement key must have, and may have beside them (TCG EK
// Credential Profile 2.6, Annex B): a storage key, opened by policy.
const (
	ekMust = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrRestricted | attrDecrypt
	ekMay  = attrUserWithAuth | attrAdminWithPolicy | attrNoDA
)

// CheckEK reads the public area of an endorsement key: a storage key of RSA or
// of P-256, named with SHA-256. It can sign nothing. Refusals have the code
// att.ek.
func CheckEK(b []byte) (*Public, error) {
	p, err := ParsePublic(b)
	if err != nil {
		return nil, refuse.As(refuse.EK, "endorsement key: %v", err)
	}
	switch {
	case p.NameAlg != algSHA256, p.symAlg != algAES, p.symBits != 128 && p.symBits != 256, p.symMode != algCFB, p.scheme != algNull:
		return nil, refuse.As(refuse.EK, "endorsement key is not a storage key")
	case p.Attributes&ekMust != ekMust, p.Attributes&^(ekMust|ekMay) != 0:
		return nil, refuse.As(refuse.EK, "endorsement key attributes %#08x", p.Attributes)
	}
	if _, err := p.Key(); err != nil {
		return nil, refuse.As(refuse.EK, "endorsement key is neither RSA of 2048 bits or more nor a point of P-256")
	}
	return p, nil
}

// CheckQuote verifies a quote by ak over want and exactly the PCRs of set, whose
// claimed values are values. The selection is compared byte for byte: a quote
// over PCR 23 with its value labelled 8 has another selection.
func (ak *AK) CheckQuote(attest, signature []byte, want [32]byte, set []int, values map[int][32]byte) (*Attest, error) {
	a, err := parseAttest(attest)
	if err != nil || a.Type != stQuote {
		return nil, refuse.As(refuse.Quote, "not a quote")
	}
	if !verifySignature(ak.key, attest, signature) {
		return nil, refuse.As(refuse.Quote, "quote is not signed by the attestation key")
	}
	if !bytes.Equal(a.ExtraData, want[:]) {
		return nil, refuse.Differ(refuse.Nonce, "qualifying data", hex.EncodeToString(want[:]), hex.EncodeToString(a.ExtraData))
	}
	if err := checkSelection(a.Selections, set); err != nil {
		return nil, err
	}
	if len(values) != len(set) {
		return nil, refuse.As(refuse.PCRSet, "values of %d PCRs, want %d", len(values), len(set))
	}
	sum, ok := digestPCRs(set, values)
	if !ok {
		return nil, refuse.As(refuse.PCRSelect, "values are labelled with other PCRs than quoted")
	}
	if !bytes.Equal(a.Digest, sum[:]) {
		return nil, refuse.Differ(refuse.PCRValue, "hash of the PCR values", hex.EncodeToString(a.Digest), hex.EncodeToString(sum[:]))
	}
	return a, nil
}

// checkSelection tells a wrong bank or encoding from a wrong set.
func checkSelection(got []Selection, set []int) error {
	if len(got) != 1 || got[0].Hash != algSHA256 || len(got[0].Bits) != pcrSelectLen {
		return refuse.As(refuse.PCRSelect, "selection is not one SHA-256 bank of 24 PCRs")
	}
	want := selection(set)
	if bits := want[len(want)-pcrSelectLen:]; !bytes.Equal(got[0].Bits, bits) {
		return refuse.As(refuse.PCRSet, "quoted PCRs %x, want %x", got[0].Bits, bits)
	}
	return nil
}

// DigestPCRs returns what a quote over the PCRs of set with these values says:
// the hash of the values in order of index. Values must be given for exactly the
// set.
func DigestPCRs(set []int, values map[int][32]byte) ([32]byte, error) {
	sum, ok := digestPCRs(set, values)
	if !ok || len(set) != len(values) {
		return sum, refuse.As(refuse.PCRSelect, "values are labelled with other PCRs than asked for")
	}
	return sum, nil
}

// digestPCRs hashes the values of set in order of index, as TPM2_Quote and
// TPM2_PolicyPCR do.
func digestPCRs(set []int, values map[int][32]byte) (sum [32]byte, ok bool) {
	h := sha256.New()
	for _, i := range slices.Sorted(slices.Values(set)) {
		v, ok := values[i]
		if !ok {
			return sum, false
		}
		h.Write(v[:])
	}
	return [32]byte(h.Sum(nil)), true
}

// policyPCR recomputes the digest of a policy that is one PolicyPCR (Part 3,
// Section 23.7): SHA-256(0^32 || TPM_CC_PolicyPCR || selection || digest).
func policyPCR(set []int, pcrDigest [32]byte) [32]byte {
	b := make([]byte, 32, 96)
	b = binary.BigEndian.AppendUint32(b, ccPolicyPCR)
	b = append(b, selection(set)...)
	return sha256.Sum256(append(b, pcrDigest[:]...))
}

// A Creation is the evidence that a TPM made a key: its public area, that of its
// parent, and TPM2_CertifyCreation.
type Creation struct {
	Public, Parent, Data, Attest, Signature []byte
	Qualifier                               [32]byte
	Point                                   []byte // what the key must be: an uncompressed point
	SealPCRs                                []int
	Values                                  map[int][32]byte // quoted values of the seal PCRs
}

// CheckREK verifies that ak's TPM made the P-256 half of a REK under a
// NULL-hierarchy parent, that the key is what it should be, and that nothing
// but the seal PCRs' quoted values opens it.
func (ak *AK) CheckREK(c *Creation) (*Attest, error) {
	p, err := ParsePublic(c.Public)
	if err != nil {
		return nil, refuse.As(refuse.Format, "REK: %v", err)
	}
	if err := checkREKPublic(p, c); err != nil {
		return nil, err
	}
	a, err := ak.checkCreation(p, c)
	if err != nil {
		return nil, err
	}
	return a, checkParent(c)
}

// checkREKPublic judges kind, attributes and policy, in this order.
func checkREKPublic(p *Public, c *Creation) error {
	switch {
	case p.Type != algECC, p.NameAlg != algSHA256, p.curve != curveP256, p.symAlg != algNull,
		p.scheme != algECDH || p.schemeHash != algSHA256, p.kdf != algNull,
		p.Attributes&(attrSign|attrRestricted) != 0, p.Attributes&attrDecrypt == 0:
		return refuse.As(refuse.REKKind, "not an unrestricted P-256 ECDH key named with SHA-256")
	case p.Attributes != rekAttrs:
		return refuse.As(refuse.REKAttrs, "attributes %#08x, want %#08x", p.Attributes, uint32(rekAttrs))
	}
	sum, ok := digestPCRs(c.SealPCRs, c.Values)
	if !ok {
		return refuse.As(refuse.PCRSet, "a seal PCR was not quoted")
	}
	if want := policyPCR(c.SealPCRs, sum); !bytes.Equal(p.AuthPolicy, want[:]) {
		return refuse.As(refuse.REKPolicy, "policy %x, want PolicyPCR over the quoted seal PCRs %x", p.AuthPolicy, want)
	}
	if point, ok := p.Point(); !ok || !bytes.Equal(point, c.Point) {
		return refuse.As(refuse.REKName, "the TPM's key is not the P-256 half of the REK")
	}
	return nil
}

// checkCreation verifies TPM2_CertifyCreation: signed by the attestation key,
// over our challenge, naming this key and these creation data.
func (ak *AK) checkCreation(p *Public, c *Creation) (*Attest, error) {
	a, err := parseAttest(c.Attest)
	if err != nil || a.Type != stCreation {
		return nil, refuse.As(refuse.REKCreate, "not a certified creation")
	}
	sum := sha256.Sum256(c.Data)
	switch {
	case !verifySignature(ak.key, c.Attest, c.Signature):
		return nil, refuse.As(refuse.REKCreate, "creation is not signed by the attestation key")
	case !bytes.Equal(a.ExtraData, c.Qualifier[:]):
		return nil, refuse.Differ(refuse.Nonce, "creation qualifying data", hex.EncodeToString(c.Qualifier[:]), hex.EncodeToString(a.ExtraData))
	case !bytes.Equal(a.Object, p.Name()):
		return nil, refuse.As(refuse.REKName, "creation certifies %x, REK is %x", a.Object, p.Name())
	case !bytes.Equal(a.Digest, sum[:]):
		return nil, refuse.As(refuse.REKCreate, "creation data do not hash to what was certified")
	}
	return a, nil
}

// checkParent judges the creation data: made at locality 0 while the seal PCRs
// had their quoted values, under a storage key of the NULL hierarchy. The
// qualified name is recomputed from the parent's public area, so a parent of
// another hierarchy, one that survives a reset, does not fit.
func checkParent(c *Creation) error {
	d, err := parseCreationData(c.Data)
	if err != nil {
		return refuse.As(refuse.REKCreate, "creation data: %v", err)
	}
	parent, err := ParsePublic(c.Parent)
	if err != nil {
		return refuse.As(refuse.REKParent, "parent: %v", err)
	}
	sum, _ := digestPCRs(c.SealPCRs, c.Values)
	switch {
	case checkSelection(d.selections, c.SealPCRs) != nil, !bytes.Equal(d.pcrDigest, sum[:]):
		return refuse.As(refuse.REKCreate, "made under other PCR values than quoted")
	case d.locality != 1: // TPMA_LOCALITY, bit 0: locality 0
		return refuse.As(refuse.REKCreate, "made at locality %#x", d.locality)
	case len(d.outside) != 0:
		return refuse.As(refuse.REKCreate, "outside info in the creation data")
	case parent.Type != algECC, parent.NameAlg != algSHA256, parent.curve != curveP256, parent.scheme != algNull,
		parent.symAlg != algAES, parent.symBits != 128 && parent.symBits != 256, parent.symMode != algCFB,
		parent.kdf != algNull, len(parent.AuthPolicy) != 0,
		parent.Attributes&parentMust != parentMust, parent.Attributes&^(parentMust|parentMay) != 0:
		return refuse.As(refuse.REKParent, "parent is not a storage key")
	case d.parentNameAlg != algSHA256, !bytes.Equal(d.parentName, parent.Name()):
		return refuse.As(refuse.REKParent, "parent's name differs from the creation data")
	case !bytes.Equal(d.parentQualified, parent.qualifiedName(rhNull)):
		return refuse.As(refuse.REKParent, "parent does not stand under the NULL hierarchy")
	}
	return nil
}
