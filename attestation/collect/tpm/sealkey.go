// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// A SealKey is a P-256 key agreement key that only this TPM can use, only in
// this life of it, and only while the seal PCRs keep the values they had at
// creation. It implements [crypto/ecdh.KeyExchanger].
type SealKey struct {
	t       *TPM
	public  *ecdh.PublicKey
	created created

	// Owned by the slot's holder.
	handle tpm2.TPMHandle
	life   uint64
	dead   error // why the key is of no further use
}

// created is what TPM2_Create said of the key; none of it is secret.
type created struct {
	name    []byte
	set     []int  // sorted seal PCRs
	digest  []byte // of their values at creation
	public  []byte // TPMT_PUBLIC
	parent  []byte // TPMT_PUBLIC
	data    []byte // TPMS_CREATION_DATA
	ticket  tpm2.TPMTTKCreation
	hashing []byte // creation hash
}

// A Creation proves where a seal key was made (TPM2_CertifyCreation).
type Creation struct {
	Public       []byte // TPMT_PUBLIC of the seal key
	ParentPublic []byte // TPMT_PUBLIC of its NULL-hierarchy parent
	CreationData []byte // TPMS_CREATION_DATA
	Attest       []byte // TPMS_ATTEST of type TPM_ST_ATTEST_CREATION, as signed
	Signature    []byte // TPMT_SIGNATURE by the attestation key
}

// CreateSealKey makes a key under a fresh parent in the NULL hierarchy, sealed
// to the present values of pcrs. It fails with [ErrFull] where the TPM has no
// slot left, and with [ErrUnstable] where the seal PCRs would not hold still.
func (t *TPM) CreateSealKey(ctx context.Context, pcrs []int) (*SealKey, error) {
	set, err := sealSet(pcrs)
	if err != nil {
		return nil, err
	}
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	if err := t.checkLife(); err != nil {
		return nil, err
	}
	if t.ak != nil {
		t.ak.flush() // parent and child need the slots; TPMs have as few as three
	}
	for range maxTries {
		k, err := t.createOnce(set)
		if err != nil {
			return nil, err
		}
		if k != nil {
			t.seals[k] = struct{}{}
			return k, nil
		}
	}
	return nil, ErrUnstable
}

// createOnce returns neither key nor error when the seal PCRs moved between
// being read and the creation.
func (t *TPM) createOnce(set []int) (*SealKey, error) {
	values, err := t.readPCRs(set)
	if err != nil {
		return nil, err
	}
	c := created{set: set, digest: pcrDigest(set, values)}
	parent, err := t.createParent()
	if err != nil {
		return nil, err
	}
	// Flushed on every way out. Nobody can make this parent again: its
	// template held a random value that is forgotten.
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: parent.ObjectHandle}.Execute(t.wire) }()
	auth := tpm2.AuthHandle{Handle: parent.ObjectHandle, Name: parent.Name, Auth: tpm2.PasswordAuth(nil)}

	rsp, err := tpm2.Create{
		ParentHandle: auth,
		InPublic:     tpm2.New2B(sealTemplate(c.set, c.digest)),
		CreationPCR:  selection(c.set),
	}.Execute(t.wire)
	if err != nil {
		return nil, t.classify("create seal key", err)
	}
	t.wire.wipe()
	defer clear(rsp.OutPrivate.Buffer)
	if err := c.record(parent, rsp); err != nil {
		return nil, err
	}
	if now, err := rsp.CreationData.Contents(); err != nil {
		return nil, errors.New("tpm: create seal key: malformed creation data")
	} else if !bytes.Equal(now.PCRDigest.Buffer, c.digest) {
		return nil, nil
	}
	loaded, err := tpm2.Load{ParentHandle: auth, InPrivate: rsp.OutPrivate, InPublic: rsp.OutPublic}.Execute(t.wire)
	if err != nil {
		return nil, t.classify("load seal key", err)
	}
	t.wire.wipe()
	k := &SealKey{t: t, created: c, handle: loaded.ObjectHandle, life: t.life}
	k.created.name = loaded.Name.Buffer
	if k.public, err = point(rsp.OutPublic); err != nil {
		k.flush()
		return nil, err
	}
	return k, nil
}

// record keeps what [SealKey.Certify] needs.
func (c *created) record(parent *tpm2.CreatePrimaryResponse, rsp *tpm2.CreateResponse) error {
	c.public = slices.Clone(rsp.OutPublic.Bytes())
	c.parent = slices.Clone(parent.OutPublic.Bytes())
	c.data = slices.Clone(rsp.CreationData.Bytes())
	c.ticket = rsp.CreationTicket
	c.hashing = rsp.CreationHash.Buffer
	if sum := sha256.Sum256(c.data); !bytes.Equal(c.hashing, sum[:]) {
		return errors.New("tpm: create seal key: creation hash differs")
	}
	return nil
}

// createParent makes the NULL-hierarchy storage key. A NULL primary is derived
// from its template until the TPM is reset, so the random unique field, wiped
// here, is what keeps a kept private blob from being loaded again.
func (t *TPM) createParent() (*tpm2.CreatePrimaryResponse, error) {
	unique := make([]byte, 64)
	rand.Read(unique) // never fails: crypto/rand
	defer clear(unique)
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHNull, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(parentTemplate(unique[:32], unique[32:])),
	}.Execute(t.wire)
	if err != nil {
		return nil, t.classify("create parent", err)
	}
	t.wire.wipe()
	return rsp, nil
}

// PublicKey returns the P-256 point.
func (k *SealKey) PublicKey() *ecdh.PublicKey { return k.public }

// Curve returns P-256.
func (k *SealKey) Curve() ecdh.Curve { return ecdh.P256() }

// Name returns the TPM name of the key.
func (k *SealKey) Name() []byte { return bytes.Clone(k.created.name) }

// PCRDigest returns the digest of the seal PCRs' values at creation.
func (k *SealKey) PCRDigest() [32]byte { return [32]byte(k.created.digest) }

// Certify has ak sign that this TPM created the key with the returned creation
// data; qualifying is at most 64 bytes.
func (k *SealKey) Certify(ctx context.Context, ak *AK, qualifying []byte) (*Creation, error) {
	if err := k.t.acquire(ctx); err != nil {
		return nil, err
	}
	defer k.t.release()
	if err := k.t.readyAK(ak, qualifying); err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	rsp, err := tpm2.CertifyCreation{
		SignHandle:     ak.auth(),
		ObjectHandle:   tpm2.NamedHandle{Handle: k.handle, Name: tpm2.TPM2BName{Buffer: k.created.name}},
		QualifyingData: tpm2.TPM2BData{Buffer: qualifying},
		CreationHash:   tpm2.TPM2BDigest{Buffer: k.created.hashing},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		CreationTicket: k.created.ticket,
	}.Execute(k.t.wire)
	if err != nil {
		return nil, k.t.classify("certify creation", err)
	}
	return &Creation{
		Public:       bytes.Clone(k.created.public),
		ParentPublic: bytes.Clone(k.created.parent),
		CreationData: bytes.Clone(k.created.data),
		Attest:       slices.Clone(rsp.CertifyInfo.Bytes()),
		Signature:    tpm2.Marshal(rsp.Signature),
	}, nil
}

// Erase removes the key from the TPM. The key refuses from then on, also where
// the TPM could not be reached.
func (k *SealKey) Erase(ctx context.Context) error {
	if err := k.t.acquire(ctx); err != nil {
		return err
	}
	defer k.t.release()
	if errors.Is(k.dead, ErrErased) {
		return nil
	}
	err := k.flush()
	k.dead = ErrErased
	return err
}

// alive says why the key cannot be used, if so.
func (k *SealKey) alive() error {
	if k.dead == nil && k.life != k.t.life {
		k.dead = ErrReset
	}
	return k.dead
}

// flush frees the key's slot, unless a reset did: then the handle may name
// another object by now, which is why the clock is asked.
func (k *SealKey) flush() error {
	delete(k.t.seals, k)
	if err := k.t.checkLife(); err != nil {
		return err
	}
	if k.life != k.t.life {
		return nil
	}
	_, err := tpm2.FlushContext{FlushHandle: k.handle}.Execute(k.t.wire)
	if err != nil && !gone(err) {
		return k.t.classify("flush seal key", err)
	}
	return nil
}

// point reads the P-256 point of a public area; ecdh checks it is on the curve.
func point(pub tpm2.TPM2BPublic) (*ecdh.PublicKey, error) {
	area, err := pub.Contents()
	if err != nil {
		return nil, errors.New("tpm: seal key: malformed public area")
	}
	ecc, err := area.Unique.ECC()
	if err != nil || len(ecc.X.Buffer) > 32 || len(ecc.Y.Buffer) > 32 {
		return nil, errors.New("tpm: seal key: malformed point")
	}
	raw := make([]byte, 65)
	raw[0] = 4
	copy(raw[33-len(ecc.X.Buffer):], ecc.X.Buffer)
	copy(raw[65-len(ecc.Y.Buffer):], ecc.Y.Buffer)
	key, err := ecdh.P256().NewPublicKey(raw)
	if err != nil {
		return nil, fmt.Errorf("tpm: seal key: %v", err)
	}
	return key, nil
}

// sealTemplate: the attributes of design rule 1. userWithAuth is clear, so that
// the policy is the only way to use the key; adminWithPolicy is set, so that it
// is also the only way to certify or duplicate it.
func sealTemplate(set []int, digest []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, STClear: true, FixedParent: true, SensitiveDataOrigin: true,
			AdminWithPolicy: true, Decrypt: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policyDigest(set, digest)},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDH,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: eccUnique(nil, nil),
	}
}

// policyDigest is the policy of one PolicyPCR (TPM 2.0 Part 3, 23.7):
// SHA-256(0^32 || TPM_CC_PolicyPCR || TPML_PCR_SELECTION || pcr digest).
func policyDigest(set []int, digest []byte) []byte {
	b := make([]byte, 32, 128)
	b = binary.BigEndian.AppendUint32(b, uint32(tpm2.TPMCCPolicyPCR))
	b = append(b, tpm2.Marshal(selection(set))...)
	b = append(b, digest...)
	sum := sha256.Sum256(b)
	return sum[:]
}

// parentTemplate is the usual P-256 storage key, and stClear: a context saved
// behind our back does not load after a restart either.
func parentTemplate(x, y []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, STClear: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, Decrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{
				Algorithm: tpm2.TPMAlgAES,
				KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
				Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: eccUnique(x, y),
	}
}
