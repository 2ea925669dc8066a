// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tdx asks an Intel TDX guest's kernel for quotes through configfs-tsm.
// It runs in the node and judges nothing.
//
// The quote comes from a quoting enclave on the host, which the kernel reaches;
// the collateral comes from files, so that nobody is asked about a machine. Not
// run on hardware.
package tdx

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"
	"github.com/google/go-configfs-tsm/report"

	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// Config says where a quote's companions are. They are not trusted.
type Config struct {
	// Collateral is the directory of Intel's answers for this platform; see
	// files.TDX for the names. Replace the files before they expire. Required.
	Collateral string `yaml:"collateral"`
	// CCEL is the confidential computing event log; the kernel's file if empty.
	CCEL string `yaml:"ccel"`
}

// A Reporter implements collect.Reporter.
type Reporter struct {
	cfg Config
	tsm configfsi.Client
}

// Open opens the kernel's interface.
func Open(cfg Config) (*Reporter, error) {
	c, err := linuxtsm.MakeClient()
	if err != nil {
		return nil, fmt.Errorf("tdx: configfs-tsm: %v; a TDX guest with Linux 6.7 or later has /sys/kernel/config/tsm/report", err)
	}
	return New(cfg, c)
}

// New is [Open] with another implementation of the interface.
func New(cfg Config, c configfsi.Client) (*Reporter, error) {
	if cfg.Collateral == "" {
		return nil, errors.New("tdx: collateral is required: evidence without it is refused")
	}
	return &Reporter{cfg: cfg, tsm: c}, nil
}

// Report gets a quote over data, with collateral. The TD's event log is the
// collector's: the key statement names it before there is a quote.
func (r *Reporter) Report(_ context.Context, data [64]byte) ([]evidence.Piece, error) {
	resp, err := report.Get(r.tsm, &report.Request{InBlob: data[:]})
	if err != nil {
		return nil, fmt.Errorf("tdx: %v", err)
	}
	if p := strings.TrimSpace(resp.Provider); p != "tdx_guest" {
		return nil, fmt.Errorf("tdx: the quote comes from %q, want tdx_guest", p)
	}
	if len(resp.OutBlob) == 0 {
		return nil, errors.New("tdx: an empty quote: the host's quoting service did not answer")
	}
	collateral, err := files.TDX(r.cfg.Collateral)
	if err != nil {
		return nil, fmt.Errorf("tdx: %w", err)
	}
	return []evidence.Piece{
		{Kind: evidence.KindTDXQuote, Data: Cut(resp.OutBlob)},
		{Kind: evidence.KindTDXCollateral, Data: collateral},
	}, nil
}

// Cut returns a quote without the zero bytes behind it: the kernel hands out its
// whole buffer, and evidence has no bytes that mean nothing. What is no quote
// comes back as it is; to judge it is the verifier's business.
func Cut(quote []byte) []byte {
	q, err := tdx.ParseQuote(quote)
	if err != nil {
		return quote
	}
	return quote[:len(quote)-q.Padding]
}
