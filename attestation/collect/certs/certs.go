// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package certs collects the certificates of a TPM's keys: of the attestation
// key, which a cloud or an enrolment authority issued, and of the endorsement
// key, which the TPM's maker did. They are a platform's whole word on a plain
// TPM, and go beside a hardware report on Google's. It runs in the node and
// judges nothing. Not run on hardware; tests use software TPMs.
package certs

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// Config says where the certificates are.
type Config struct {
	// AK and EK each say where one key's certificate is.
	AK Source `yaml:"ak"`
	EK Source `yaml:"ek"`
}

// A Source is one key's certificate and those of its issuers. All empty: the
// evidence does not have it.
type Source struct {
	// Index is the NV index of the certificate. 0x01c10000 and 0x01c10002 are
	// Google's attestation keys (RSA and ECC), 0x01c00002 and 0x01c0000a the
	// endorsement keys.
	Index uint32 `yaml:"index"`
	// File holds the certificate and its issuers, leaf first, in PEM; or, where
	// index is set, only the issuers: clouds publish them, some makers of TPMs
	// do.
	File string `yaml:"file"`
}

func (s Source) empty() bool { return s == Source{} }

// maxCert bounds a certificate in NV memory, in bytes.
const maxCert = 8 << 10

// A Reporter implements collect.Reporter.
type Reporter struct {
	cfg Config
	tpm *tpm.TPM
}

// New checks the configuration. It asks nothing yet.
func New(cfg Config, t *tpm.TPM) (*Reporter, error) {
	switch {
	case t == nil:
		return nil, errors.New("certs: no tpm")
	case cfg.AK.empty() && cfg.EK.empty():
		return nil, errors.New("certs: ak or ek is required")
	}
	return &Reporter{cfg: cfg, tpm: t}, nil
}

// Report returns the certificates. It has no use for the data: what ties them to
// the node is the key that they name.
func (r *Reporter) Report(ctx context.Context, _ [64]byte) ([]evidence.Piece, error) {
	var out []evidence.Piece
	for _, s := range []struct {
		kind   evidence.Kind
		source Source
	}{{evidence.KindAKCerts, r.cfg.AK}, {evidence.KindEKCerts, r.cfg.EK}} {
		if s.source.empty() {
			continue
		}
		list, err := r.read(ctx, s.source)
		if err != nil {
			return nil, fmt.Errorf("certs: %v: %w", s.kind, err)
		}
		out = append(out, evidence.Piece{Kind: s.kind, Data: list.Append(nil)})
	}
	return out, nil
}

func (r *Reporter) read(ctx context.Context, s Source) (evidence.List, error) {
	var list evidence.List
	if s.Index != 0 {
		raw, err := r.tpm.ReadNV(ctx, s.Index, maxCert)
		if err != nil {
			return nil, err
		}
		der, err := trim(raw)
		if err != nil {
			return nil, err
		}
		list = append(list, der)
	}
	if s.File != "" {
		more, err := files.Certificates(s.File)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// trim cuts what some makers fill the rest of an index with.
func trim(raw []byte) ([]byte, error) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(raw, &v)
	if err != nil {
		return nil, errors.New("the index holds no certificate")
	}
	if len(bytes.Trim(rest, "\x00")) != 0 && len(bytes.Trim(rest, "\xff")) != 0 {
		return nil, errors.New("the index holds more than a certificate")
	}
	return raw[:len(raw)-len(rest)], nil
}
