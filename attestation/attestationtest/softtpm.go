// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

// A SoftTPM is no TPM: an attestation key in memory, registers, and a pen that
// signs what it is told. It exists so that tests can have what a real TPM would
// never sign, and so that those without a C compiler have evidence at all.
type SoftTPM struct {
	Clock tpm2.TPMSClockInfo // of what is signed next; counts on by itself

	// The following, if set, change what is about to be made: structures that no
	// TPM would give this key.
	TamperQuote    func(*QuoteSpec)
	TamperREK      func(*tpm2.TPMTPublic)
	TamperParent   func(*tpm2.TPMTPublic)
	TamperData     func(*tpm2.TPMSCreationData)
	TamperCreation func(*tpm2.TPMSAttest)

	key    *ecdsa.PrivateKey // or
	rsa    *fakecloud.RSAKey
	ak     tpm2.TPMTPublic
	public []byte
	pcrs   [24][32]byte
}

// A QuoteSpec is a quote about to be signed.
type QuoteSpec struct {
	Hash      tpm2.TPMAlgID
	Selected  []int            // bits of the selection
	Values    [][32]byte       // hashed, in this order
	Labels    map[int][32]byte // claimed values
	ExtraData []byte
	Magic     tpm2.TPMGenerated
}

// NewSoftTPM makes a software TPM with an attestation key; tamper, if not nil,
// changes the key's public area.
func NewSoftTPM(tamper func(*tpm2.TPMTPublic)) (*SoftTPM, error) {
	t := &SoftTPM{Clock: tpm2.TPMSClockInfo{Clock: 1000, ResetCount: 7, RestartCount: 1, Safe: true}}
	var err error
	if t.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	point, err := t.key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	t.ak = tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
		}),
		Unique: unique(point),
	}
	if tamper != nil {
		tamper(&t.ak)
	}
	t.public = tpm2.Marshal(t.ak)
	return t, nil
}

// newRSATPM makes a software TPM whose attestation key is of RSA, as clouds
// provision it.
func newRSATPM() (*SoftTPM, error) {
	t, err := NewSoftTPM(nil)
	if err != nil {
		return nil, err
	}
	if t.rsa, err = fakecloud.NewRSAKey(nil); err != nil {
		return nil, err
	}
	t.public = t.rsa.Public()
	return t, nil
}

// Key returns the public key of the attestation key.
func (t *SoftTPM) Key() crypto.PublicKey {
	if t.rsa != nil {
		return t.rsa.Key()
	}
	return &t.key.PublicKey
}

// Public returns the TPMT_PUBLIC of the attestation key.
func (t *SoftTPM) Public() []byte { return slices.Clone(t.public) }

// Name returns its TPM name.
func (t *SoftTPM) Name() []byte { return keyName(t.public) }

// Extend extends a register.
func (t *SoftTPM) Extend(_ context.Context, pcr int, digest [32]byte) error {
	if pcr < 0 || pcr >= len(t.pcrs) {
		return errors.New("soft tpm: no such pcr")
	}
	t.pcrs[pcr] = extend(t.pcrs[pcr], digest)
	return nil
}

// Reset clears the registers and counts the reset, as power-on does.
func (t *SoftTPM) Reset() {
	t.pcrs = [24][32]byte{}
	t.Clock.ResetCount++
}

// Quote signs the registers of pcrs over qualifying data.
func (t *SoftTPM) Quote(qualifying []byte, pcrs []int) (*tpm.Quote, error) {
	spec := &QuoteSpec{Hash: tpm2.TPMAlgSHA256, Selected: slices.Clone(pcrs), Labels: map[int][32]byte{},
		ExtraData: qualifying, Magic: tpm2.TPMGeneratedValue}
	for _, i := range pcrs {
		spec.Values = append(spec.Values, t.pcrs[i])
		spec.Labels[i] = t.pcrs[i]
	}
	if t.TamperQuote != nil {
		t.TamperQuote(spec)
	}
	var all []byte
	for _, v := range spec.Values {
		all = append(all, v[:]...)
	}
	digest := sha256.Sum256(all)
	attest, signature, err := t.attest(spec.Magic, spec.ExtraData, tpm2.TPMSTAttestQuote,
		tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
			PCRSelect: selection(spec.Hash, spec.Selected), PCRDigest: tpm2.TPM2BDigest{Buffer: digest[:]}}), nil)
	if err != nil {
		return nil, err
	}
	return &tpm.Quote{Attest: attest, Signature: signature, PCRs: spec.Labels}, nil
}

// CertifyREK makes the TPM half of a REK around a point, and certifies its
// creation over qualifying data: what TPM2_Create and TPM2_CertifyCreation give.
func (t *SoftTPM) CertifyREK(point *ecdh.PublicKey, pcrs []int, qualifying []byte) (*tpm.Creation, error) {
	var all []byte
	for _, i := range pcrs {
		all = append(all, t.pcrs[i][:]...)
	}
	digest := sha256.Sum256(all)
	parent, rek := parentArea(), rekArea(point, pcrs, digest)
	if t.TamperParent != nil {
		t.TamperParent(&parent)
	}
	if t.TamperREK != nil {
		t.TamperREK(&rek)
	}
	public, parentPublic := tpm2.Marshal(rek), tpm2.Marshal(parent)
	data := tpm2.TPMSCreationData{
		PCRSelect: selection(tpm2.TPMAlgSHA256, pcrs), PCRDigest: tpm2.TPM2BDigest{Buffer: digest[:]},
		Locality: tpm2.TPMALocality{TPMLocZero: true}, ParentNameAlg: tpm2.TPMAlgSHA256,
		ParentName:          tpm2.TPM2BName{Buffer: keyName(parentPublic)},
		ParentQualifiedName: tpm2.TPM2BName{Buffer: QualifiedName(tpm2.TPMRHNull, keyName(parentPublic))},
	}
	if t.TamperData != nil {
		t.TamperData(&data)
	}
	creationData := tpm2.Marshal(data)
	hash := sha256.Sum256(creationData)
	attest, signature, err := t.attest(tpm2.TPMGeneratedValue, qualifying, tpm2.TPMSTAttestCreation,
		tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &tpm2.TPMSCreationInfo{
			ObjectName: tpm2.TPM2BName{Buffer: keyName(public)}, CreationHash: tpm2.TPM2BDigest{Buffer: hash[:]}}), t.TamperCreation)
	if err != nil {
		return nil, err
	}
	return &tpm.Creation{Public: public, ParentPublic: parentPublic, CreationData: creationData, Attest: attest, Signature: signature}, nil
}

func (t *SoftTPM) attest(magic tpm2.TPMGenerated, extra []byte, typ tpm2.TPMST, body tpm2.TPMUAttest, tamper func(*tpm2.TPMSAttest)) ([]byte, []byte, error) {
	t.Clock.Clock++
	a := tpm2.TPMSAttest{
		Magic: magic, Type: typ, QualifiedSigner: tpm2.TPM2BName{Buffer: QualifiedName(tpm2.TPMRHEndorsement, t.Name())},
		ExtraData: tpm2.TPM2BData{Buffer: extra}, ClockInfo: t.Clock, FirmwareVersion: 0x20260001, Attested: body,
	}
	if tamper != nil {
		tamper(&a)
	}
	b := tpm2.Marshal(a)
	if t.rsa != nil {
		signature, err := t.rsa.Sign(b)
		return b, signature, err
	}
	sum := sha256.Sum256(b)
	r, s, err := ecdsa.Sign(rand.Reader, t.key, sum[:])
	if err != nil {
		return nil, nil, err
	}
	return b, tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{Hash: tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: s.Bytes()}})}), nil
}

// parentArea is a storage key with a random unique field.
func parentArea() tpm2.TPMTPublic {
	fresh, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, STClear: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, Decrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgAES,
				KeyBits: tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
				Mode:    tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB)},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: unique(fresh.PublicKey().Bytes()),
	}
}

// rekArea is the public area of a REK's TPM half.
func rekArea(point *ecdh.PublicKey, pcrs []int, digest [32]byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, STClear: true, FixedParent: true, SensitiveDataOrigin: true,
			AdminWithPolicy: true, Decrypt: true},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: PolicyPCR(pcrs, digest)},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDH,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256})},
		}),
		Unique: unique(point.Bytes()),
	}
}

// PolicyPCR is the digest of a policy of one PolicyPCR.
func PolicyPCR(pcrs []int, digest [32]byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 32), uint32(tpm2.TPMCCPolicyPCR))
	b = append(b, tpm2.Marshal(selection(tpm2.TPMAlgSHA256, pcrs))...)
	sum := sha256.Sum256(append(b, digest[:]...))
	return sum[:]
}

// QualifiedName is the qualified name of a primary key of a hierarchy.
func QualifiedName(hierarchy tpm2.TPMHandle, name []byte) []byte {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(hierarchy)), name...))
	return append([]byte{0, 0x0b}, sum[:]...)
}

func keyName(public []byte) []byte {
	sum := sha256.Sum256(public)
	return append([]byte{0, 0x0b}, sum[:]...)
}

func selection(hash tpm2.TPMAlgID, pcrs []int) tpm2.TPMLPCRSelection {
	var bits [3]byte
	for _, i := range pcrs {
		bits[i/8] |= 1 << (i % 8)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: hash, PCRSelect: bits[:]}}}
}

func unique(point []byte) tpm2.TPMUPublicID {
	return tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: slices.Clone(point[1:33])}, Y: tpm2.TPM2BECCParameter{Buffer: slices.Clone(point[33:])}})
}
