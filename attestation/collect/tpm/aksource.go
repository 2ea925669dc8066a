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

// An AKSource says where the attestation key comes from. The zero value is our
// own template. At most one field is set.
type AKSource struct {
	// Handle is that of a persistent key, which the platform made.
	Handle uint32
	// Template is the NV index of the TPMT_PUBLIC of a primary key of the
	// endorsement hierarchy, which the platform certified.
	Template uint32
}

// Attestation keys of clouds. Not run on hardware.
var (
	// AzureAK is the key that an Azure confidential VM's HCL report names
	// (HCLAkPub): RSA-2048, made by the paravisor. An EvictControl by the VM's
	// owner could remove it; a reboot brings it back.
	AzureAK = AKSource{Handle: 0x81000003}
	// GoogleAKRSA and GoogleAKECC are the keys that Compute Engine certifies for a
	// VM's vTPM; the certificates are in [NVGoogleAKCertRSA] and
	// [NVGoogleAKCertECC].
	GoogleAKRSA = AKSource{Template: 0x01c10001}
	GoogleAKECC = AKSource{Template: 0x01c10003}
)

// OpenAK makes ready the attestation key of that source. There is one a TPM: a
// second call returns the same, or fails for another source. A key that is not
// a restricted signing key is refused: its quotes could be forged by software.
func (t *TPM) OpenAK(ctx context.Context, source AKSource) (*AK, error) {
	return t.openAK(ctx, &source)
}

// openAK takes whatever key is open, or our own, for a nil source.
func (t *TPM) openAK(ctx context.Context, source *AKSource) (*AK, error) {
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	switch {
	case t.ak != nil && (source == nil || *source == t.ak.source):
		return t.ak, nil
	case t.ak != nil:
		return nil, errors.New("tpm: another attestation key is open")
	case source == nil:
		source = new(AKSource)
	}
	if source.Handle != 0 && source.Template != 0 {
		return nil, errors.New("tpm: attestation key: handle or template, not both")
	}
	if err := t.checkLife(); err != nil {
		return nil, err
	}
	ak := &AK{t: t, source: *source}
	if err := ak.load(); err != nil {
		return nil, err
	}
	t.ak = ak
	return ak, nil
}

// open returns the key's handle, public area and name.
func (s AKSource) open(t *TPM) (tpm2.TPMHandle, []byte, []byte, error) {
	if s.Handle != 0 {
		return s.persistent(t)
	}
	template := tpm2.New2B(akTemplate())
	if s.Template != 0 {
		b, err := t.readNV(s.Template, maxTemplate)
		if err != nil {
			return 0, nil, nil, err
		}
		template = tpm2.BytesAs2B[tpm2.TPMTPublic](b)
	}
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      template,
	}.Execute(t.wire)
	if err != nil {
		return 0, nil, nil, t.classify("create attestation key", err)
	}
	public := slices.Clone(rsp.OutPublic.Bytes())
	if err := checkAK(public, rsp.Name.Buffer); err != nil {
		_, _ = tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}.Execute(t.wire)
		return 0, nil, nil, err
	}
	return rsp.ObjectHandle, public, rsp.Name.Buffer, nil
}

// maxTemplate bounds a template, in bytes: an RSA-2048 one has 314.
const maxTemplate = 1 << 10

func (s AKSource) persistent(t *TPM) (tpm2.TPMHandle, []byte, []byte, error) {
	rsp, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(s.Handle)}.Execute(t.wire)
	if err != nil {
		return 0, nil, nil, t.absent("read attestation key", err)
	}
	public := slices.Clone(rsp.OutPublic.Bytes())
	return tpm2.TPMHandle(s.Handle), public, rsp.Name.Buffer, checkAK(public, rsp.Name.Buffer)
}

// checkAK looks that the name is of the public area and that the TPM itself
// restricts the key to what it makes. Verifiers ask for more.
func checkAK(public, name []byte) error {
	sum := sha256.Sum256(public)
	if !bytes.Equal(name, append([]byte{0, 0x0b}, sum[:]...)) {
		return errors.New("tpm: attestation key: not named with sha-256")
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		return errors.New("tpm: attestation key: malformed public area")
	}
	if at := area.ObjectAttributes; !at.Restricted || !at.SignEncrypt || at.Decrypt || !at.FixedTPM {
		return errors.New("tpm: attestation key: not a restricted signing key of this tpm")
	}
	return nil
}
