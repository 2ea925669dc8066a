// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// NV indices that platforms fill. The EK indices are of the TCG EK Credential
// Profile 2.5, Section 2.2.1.4; the others are the clouds' own.
const (
	NVEKCertRSA       = 0x01c00002 // certificate of the RSA-2048 EK, DER
	NVEKCertECC       = 0x01c0000a // certificate of the P-256 EK, DER
	NVGoogleAKCertRSA = 0x01c10000 // Compute Engine: certificate of [GoogleAKRSA], DER
	NVGoogleAKCertECC = 0x01c10002 // Compute Engine: certificate of [GoogleAKECC], DER
	NVAzureHCLReport  = 0x01400001 // Azure: HCL report
)

// nvChunk is what one TPM2_NV_Read carries: the PC Client
// profile's TPMs take at least as much.
const nvChunk = 512

// ReadNV returns what an NV index holds, at most limit bytes: more is an error.
// It authorises as owner where the index allows it, as the index itself
// otherwise, both with empty passwords. [ErrAbsent] where there is no index, or
// nothing was written into it.
func (t *TPM) ReadNV(ctx context.Context, index uint32, limit int) ([]byte, error) {
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	return t.readNV(index, limit)
}

func (t *TPM) readNV(index uint32, limit int) ([]byte, error) {
	area, err := t.nvArea(index)
	if err != nil {
		return nil, err
	}
	at := area.public.Attributes
	switch {
	case !at.Written:
		return nil, fmt.Errorf("tpm: nv index %#x: %w", index, ErrAbsent)
	case int(area.public.DataSize) > limit:
		return nil, fmt.Errorf("tpm: nv index %#x: %d bytes, at most %d expected", index, area.public.DataSize, limit)
	}
	auth, err := area.auth(at.OwnerRead, at.AuthRead)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, area.public.DataSize)
	for len(out) < cap(out) {
		rsp, err := tpm2.NVRead{
			AuthHandle: auth, NVIndex: area.handle(),
			Size: uint16(min(nvChunk, cap(out)-len(out))), Offset: uint16(len(out)),
		}.Execute(t.wire)
		if err != nil {
			return nil, t.classify("read nv index", err)
		}
		if n := len(rsp.Data.Buffer); n == 0 || n > cap(out)-len(out) {
			return nil, errors.New("tpm: read nv index: odd answer")
		}
		out = append(out, rsp.Data.Buffer...)
	}
	return out, nil
}

// An nvArea is an index with its name, which authorisations are bound to.
type nvArea struct {
	public *tpm2.TPMSNVPublic
	name   tpm2.TPM2BName
}

func (t *TPM) nvArea(index uint32) (*nvArea, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(t.wire)
	if err != nil {
		return nil, t.absent(fmt.Sprintf("nv index %#x", index), err)
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil || public.NVIndex != tpm2.TPMHandle(index) {
		return nil, fmt.Errorf("tpm: nv index %#x: malformed public area", index)
	}
	return &nvArea{public, rsp.NVName}, nil
}

func (a *nvArea) handle() tpm2.NamedHandle {
	return tpm2.NamedHandle{Handle: a.public.NVIndex, Name: a.name}
}

// auth authorises with an empty password, as the owner or as the index.
func (a *nvArea) auth(owner, self bool) (tpm2.AuthHandle, error) {
	switch {
	case owner:
		return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, nil
	case self:
		return tpm2.AuthHandle{Handle: a.public.NVIndex, Name: a.name, Auth: tpm2.PasswordAuth(nil)}, nil
	}
	return tpm2.AuthHandle{}, fmt.Errorf("tpm: nv index %#x asks for a policy", uint32(a.public.NVIndex))
}

// absent is classify for commands that name what may never have existed: there
// an unknown handle is no sign of a reset.
func (t *TPM) absent(op string, err error) error {
	if errors.Is(err, tpm2.TPMRCHandle) {
		return fmt.Errorf("tpm: %s: %w", op, ErrAbsent)
	}
	return t.classify(op, err)
}
