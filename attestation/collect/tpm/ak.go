// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// akLabel sets our attestation key apart from other users of the endorsement
// hierarchy: its hash is the template's unique field.
const akLabel = "sotto attestation key v1"

// An AK is the node's attestation key. Ours is a restricted ECDSA P-256
// (SHA-256) signing primary of the endorsement hierarchy: derived from the TPM's
// endorsement seed, so that it is the same key after every boot, and in the only
// hierarchy in which quotes show the reset counters unobscured (TPM 2.0 Part 1,
// 36.7). A cloud that certifies a key of its own has that one: see [AKSource].
type AK struct {
	t      *TPM
	source AKSource
	public []byte
	name   []byte

	// Owned by the slot's holder. An AK can be derived again at any time, so
	// its slot is lent to seal keys under construction.
	handle tpm2.TPMHandle
	loaded bool
	life   uint64
}

// A Quote is a TPM2_Quote with the values it speaks of.
type Quote struct {
	Attest    []byte // TPMS_ATTEST, as signed
	Signature []byte // TPMT_SIGNATURE
	// PCRs are the SHA-256 values whose digest Attest carries. They are
	// convenient, not signed: a verifier hashes them.
	PCRs map[int][32]byte
}

// CreateAK is [TPM.OpenAK] for our own key, unless another was opened before:
// there is one attestation key a TPM, and later calls return the same.
func (t *TPM) CreateAK(ctx context.Context) (*AK, error) { return t.openAK(ctx, nil) }

// Public returns the TPMT_PUBLIC.
func (a *AK) Public() []byte { return bytes.Clone(a.public) }

// Name returns the TPM name: the algorithm id of SHA-256 and the digest of the
// public area.
func (a *AK) Name() []byte { return bytes.Clone(a.name) }

// load makes the key's handle valid. A key that comes out different from the
// first time means another TPM, or a cleared one.
func (a *AK) load() error {
	if a.loaded && a.life == a.t.life {
		return nil
	}
	handle, public, name, err := a.source.open(a.t)
	if err != nil {
		return err
	}
	a.handle, a.loaded, a.life = handle, true, a.t.life
	if a.name != nil && !bytes.Equal(a.name, name) {
		a.flush()
		return errors.New("tpm: attestation key changed")
	}
	a.public, a.name = public, name
	return nil
}

// flush frees the key's slot. A persistent key has none.
func (a *AK) flush() {
	if a.loaded && a.life == a.t.life && a.source.Handle == 0 {
		_, _ = tpm2.FlushContext{FlushHandle: a.handle}.Execute(a.t.wire)
	}
	a.loaded = false
}

func (a *AK) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: a.handle, Name: tpm2.TPM2BName{Buffer: a.name}, Auth: tpm2.PasswordAuth(nil)}
}

// Quote signs the SHA-256 values of pcrs and qualifying (at most 64 bytes) with
// ak. The values returned are those that were signed: when a PCR moved between
// reading and signing both are done again, and [ErrUnstable] is the end of
// that.
func (t *TPM) Quote(ctx context.Context, ak *AK, qualifying []byte, pcrs []int) (*Quote, error) {
	set, err := pcrSet(pcrs)
	if err != nil {
		return nil, err
	}
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	if err := t.readyAK(ak, qualifying); err != nil {
		return nil, err
	}
	for range maxTries {
		q, err := t.quoteOnce(ak, qualifying, set)
		if q != nil || err != nil {
			return q, err
		}
	}
	return nil, ErrUnstable
}

// readyAK checks the arguments of a signing operation and loads the key.
func (t *TPM) readyAK(ak *AK, qualifying []byte) error {
	if ak == nil || ak.t != t {
		return errors.New("tpm: attestation key of another tpm")
	}
	if len(qualifying) > 64 {
		return errors.New("tpm: qualifying data over 64 bytes")
	}
	if err := t.checkLife(); err != nil {
		return err
	}
	return ak.load()
}

// quoteOnce returns neither quote nor error when the PCRs moved meanwhile.
func (t *TPM) quoteOnce(ak *AK, qualifying []byte, set []int) (*Quote, error) {
	values, err := t.readPCRs(set)
	if err != nil {
		return nil, err
	}
	rsp, err := tpm2.Quote{
		SignHandle:     ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: qualifying},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      selection(set),
	}.Execute(t.wire)
	if err != nil {
		return nil, t.classify("quote", err)
	}
	attest, err := rsp.Quoted.Contents()
	if err != nil {
		return nil, errors.New("tpm: quote: malformed")
	}
	info, err := attest.Attested.Quote()
	if err != nil {
		return nil, errors.New("tpm: quote: malformed")
	}
	if !bytes.Equal(info.PCRDigest.Buffer, pcrDigest(set, values)) {
		return nil, nil
	}
	return &Quote{
		Attest:    slices.Clone(rsp.Quoted.Bytes()),
		Signature: tpm2.Marshal(rsp.Signature),
		PCRs:      values,
	}, nil
}

// akTemplate: noDA because an empty password leaves nothing to guess, and
// somebody else's lockout should not silence the node.
func akTemplate() tpm2.TPMTPublic {
	unique := sha256.Sum256([]byte(akLabel))
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: eccUnique(unique[:], make([]byte, 32)),
	}
}

func eccUnique(x, y []byte) tpm2.TPMUPublicID {
	return tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: x},
		Y: tpm2.TPM2BECCParameter{Buffer: y},
	})
}
