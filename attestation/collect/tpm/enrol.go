// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// An EKKind names one of the two endorsement keys that the TCG EK Credential
// Profile has templates for.
type EKKind string

// The two endorsement keys.
const (
	EKRSA EKKind = "rsa" // RSA-2048, template L-1
	EKECC EKKind = "ecc" // P-256, template L-2
)

// CertIndex returns the NV index of the key's certificate, zero for an unknown
// kind.
func (k EKKind) CertIndex() uint32 {
	switch k {
	case EKRSA:
		return NVEKCertRSA
	case EKECC:
		return NVEKCertECC
	}
	return 0
}

// An Enrolment is what a node shows to an enrolment CA, which then knows an
// endorsement key by its certificate and is asked to certify an attestation key.
type Enrolment struct {
	EK []byte // TPMT_PUBLIC of the endorsement key
	AK []byte // TPMT_PUBLIC of the attestation key
}

// A Challenge is an enrolment CA's question: the secret comes out only in the
// TPM that has both keys (TPM 2.0 Part 1, 24).
type Challenge struct {
	ID     []byte // TPMS_ID_OBJECT
	Secret []byte // encrypted seed
}

// MakeChallenge asks for a secret of at most 32 bytes. It needs no TPM: the
// enrolment CA runs it, after it has checked the endorsement key against its
// certificate and its maker's root. An answer with the secret proves that the
// attestation key is a restricted signing key in the endorsement key's TPM;
// nothing is proven before.
func MakeChallenge(e Enrolment, secret []byte) (*Challenge, error) {
	if len(secret) < 16 || len(secret) > 32 {
		return nil, errors.New("tpm: challenge: secret of 16 to 32 bytes expected")
	}
	sum := sha256.Sum256(e.AK)
	name := append([]byte{0, 0x0b}, sum[:]...)
	if err := checkAK(e.AK, name); err != nil {
		return nil, err
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](e.EK)
	if err != nil {
		return nil, errors.New("tpm: challenge: malformed endorsement key")
	}
	if at := area.ObjectAttributes; !at.Restricted || !at.Decrypt || at.SignEncrypt || !at.FixedTPM || !at.FixedParent {
		return nil, errors.New("tpm: challenge: not an endorsement key")
	}
	key, err := tpm2.ImportEncapsulationKey(area)
	if err != nil {
		return nil, fmt.Errorf("tpm: challenge: %v", err)
	}
	id, encrypted, err := tpm2.CreateCredential(rand.Reader, key, name, secret)
	if err != nil {
		return nil, fmt.Errorf("tpm: challenge: %v", err)
	}
	return &Challenge{ID: id, Secret: encrypted}, nil
}

// Enrol returns what ak's TPM shows to an enrolment CA.
func (t *TPM) Enrol(ctx context.Context, ak *AK, kind EKKind) (Enrolment, error) {
	if err := t.acquire(ctx); err != nil {
		return Enrolment{}, err
	}
	defer t.release()
	if err := t.readyAK(ak, nil); err != nil {
		return Enrolment{}, err
	}
	ek, err := t.createEK(kind)
	if err != nil {
		return Enrolment{}, err
	}
	defer t.flushEK(ek)
	return Enrolment{EK: slices.Clone(ek.OutPublic.Bytes()), AK: ak.Public()}, nil
}

// Answer returns the secret of a challenge for ak. It fails where the challenge
// is for other keys.
func (t *TPM) Answer(ctx context.Context, ak *AK, kind EKKind, c *Challenge) ([]byte, error) {
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	if err := t.readyAK(ak, nil); err != nil {
		return nil, err
	}
	ek, err := t.createEK(kind)
	if err != nil {
		return nil, err
	}
	defer t.flushEK(ek)
	rsp, err := tpm2.ActivateCredential{
		ActivateHandle: ak.auth(),
		KeyHandle: tpm2.AuthHandle{
			Handle: ek.ObjectHandle, Name: ek.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, endorsementPolicy),
		},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.ID},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: c.Secret},
	}.Execute(t.wire)
	if err != nil {
		return nil, t.classify("activate credential", err)
	}
	return slices.Clone(rsp.CertInfo.Buffer), nil
}

// createEK derives the endorsement key, which takes a slot until it is flushed.
func (t *TPM) createEK(kind EKKind) (*tpm2.CreatePrimaryResponse, error) {
	var template tpm2.TPMTPublic
	switch kind {
	case EKRSA:
		template = tpm2.RSAEKTemplate
	case EKECC:
		template = tpm2.ECCEKTemplate
	default:
		return nil, fmt.Errorf("tpm: endorsement key of kind %q", kind)
	}
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}.Execute(t.wire)
	if err != nil {
		return nil, t.classify("create endorsement key", err)
	}
	return rsp, nil
}

func (t *TPM) flushEK(ek *tpm2.CreatePrimaryResponse) {
	_, _ = tpm2.FlushContext{FlushHandle: ek.ObjectHandle}.Execute(t.wire)
}

// endorsementPolicy is the policy of the EK templates:
// PolicySecret(TPM_RH_ENDORSEMENT), with the empty password.
func endorsementPolicy(t transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
	_, err := tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		PolicySession: session,
		NonceTPM:      nonce,
	}.Execute(t)
	return err
}
