// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package fakecloud makes what clouds and self-hosters add to hardware and TPM:
// reports of Azure's paravisor, manifests of SVSMs, keys of RSA, and the
// authorities that certify a TPM's keys. Every certificate says SIMULATED, and is
// refused by whoever was not given its roots.
//
// Only package attestationtest, the lab and tests may import it. Its keys protect
// nothing.
package fakecloud

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// An RSAKey is an attestation key of RSA-2048 with RSASSA and SHA-256, as Azure's
// paravisor and Google's vTPM have one, and a pen that signs what it is told.
type RSAKey struct {
	key    *rsa.PrivateKey
	public []byte
}

// NewRSAKey makes a key; tamper, if not nil, changes its public area.
func NewRSAKey(tamper func(*tpm2.TPMTPublic)) (*RSAKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return rsaKey(key, tamper), nil
}

// ParseRSAKey reads what [RSAKey.Marshal] printed. The public area is the
// ordinary one.
func ParseRSAKey(b []byte) (*RSAKey, error) {
	key, err := x509.ParsePKCS1PrivateKey(b)
	if err != nil {
		return nil, err
	}
	return rsaKey(key, nil), nil
}

// Marshal prints the private key, in PKCS #1.
func (k *RSAKey) Marshal() []byte { return x509.MarshalPKCS1PrivateKey(k.key) }

func rsaKey(key *rsa.PrivateKey, tamper func(*tpm2.TPMTPublic)) *RSAKey {
	area := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})},
			KeyBits: tpm2.TPMKeyBits(key.N.BitLen()),
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()}),
	}
	if tamper != nil {
		tamper(&area)
	}
	return &RSAKey{key: key, public: tpm2.Marshal(area)}
}

// Public returns the key's TPMT_PUBLIC.
func (k *RSAKey) Public() []byte { return slices.Clone(k.public) }

// Name returns its TPM name.
func (k *RSAKey) Name() []byte {
	sum := sha256.Sum256(k.public)
	return append([]byte{0, 0x0b}, sum[:]...)
}

// Key returns the public key.
func (k *RSAKey) Key() *rsa.PublicKey { return &k.key.PublicKey }

// Sign signs a TPMS_ATTEST, whatever it says, and returns a TPMT_SIGNATURE.
func (k *RSAKey) Sign(attest []byte) ([]byte, error) {
	sum := sha256.Sum256(attest)
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, err
	}
	return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{Hash: tpm2.TPMAlgSHA256,
			Sig: tpm2.TPM2BPublicKeyRSA{Buffer: sig}})}), nil
}

// An EK is an endorsement key: a public area of the TCG's template, RSA-2048 or
// P-256. Nothing is ever decrypted with it.
type EK struct {
	key    crypto.Signer
	public []byte
}

// NewEK makes an endorsement key of RSA-2048, as COCONUT-SVSM names one in its
// manifest; NewECCEK one on P-256.
func NewEK() (*EK, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return newEK(key)
}

// NewECCEK makes an endorsement key on P-256; see [NewEK].
func NewECCEK() (*EK, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newEK(key)
}

func newEK(signer crypto.Signer) (*EK, error) {
	switch key := signer.(type) {
	case *rsa.PrivateKey:
		area := tpm2.RSAEKTemplate
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()})
		return &EK{key: key, public: tpm2.Marshal(area)}, nil
	case *ecdsa.PrivateKey:
		point, err := key.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		area := tpm2.ECCEKTemplate
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})
		return &EK{key: key, public: tpm2.Marshal(area)}, nil
	}
	return nil, errors.New("fakecloud: unknown kind of endorsement key")
}

// ParseEK reads what [EK.Marshal] printed.
func ParseEK(b []byte) (*EK, error) {
	key, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("fakecloud: unknown kind of endorsement key")
	}
	return newEK(signer)
}

// Marshal prints the private key, in PKCS #8.
func (k *EK) Marshal() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(k.key) }

// Public returns the key's TPMT_PUBLIC.
func (k *EK) Public() []byte { return slices.Clone(k.public) }

// Key returns the public key.
func (k *EK) Key() crypto.PublicKey { return k.key.Public() }
