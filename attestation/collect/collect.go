// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package collect makes a node's evidence: it asks the TPM and the confidential
// VM's firmware for their signatures and packs the answers. It runs in the node
// and judges nothing; package attestation does that, elsewhere.
package collect

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// An Endorsement is what the platform's firmware answers: a signed report and
// the collateral a verifier needs with it.
type Endorsement struct {
	Report []byte // SEV-SNP ATTESTATION_REPORT
	Cert   []byte // VCEK or VLEK certificate, DER
	CRL    []byte // CRL of the product line, DER
}

// A Reporter gets a hardware report over 64 bytes of the caller's choice.
type Reporter interface {
	Report(ctx context.Context, data [64]byte) (*Endorsement, error)
}

// A Certifier is a TPM key that can have its creation certified by an
// attestation key: *tpm.SealKey.
type Certifier interface {
	Certify(ctx context.Context, ak *tpm.AK, qualifying []byte) (*tpm.Creation, error)
}

// KeyMaterial is what a node wants vouched for in one epoch.
type KeyMaterial struct {
	Epoch   uint64
	REK     []byte            // MLKEM768-P256 public key, [evidence.REKSize] bytes
	Seal    Certifier         // the TPM half of it
	NodeKey ed25519.PublicKey // signs busy receipts and usage
}

// A Collector makes evidence with one TPM and one attestation key. Config must
// have been measured before (see [MeasureConfig]), and nothing may change it.
type Collector struct {
	TPM      *tpm.TPM
	AK       *tpm.AK
	Reporter Reporter
	EventLog []byte // TCG event log of this boot
	Config   []byte // measured configuration, as [evidence.Config] prints it
}

// MeasureConfig extends the configuration into its PCR. A node calls it once
// after boot, before it reads anything else from the configuration and before
// it makes a key.
func MeasureConfig(ctx context.Context, t *tpm.TPM, config []byte) error {
	if _, err := evidence.ParseConfig(config); err != nil {
		return fmt.Errorf("measure: %v", err)
	}
	return t.Extend(ctx, evidence.ConfigPCR, sha256.Sum256(config))
}

// NodeID returns the identifier of the node whose attestation key this is.
func (c *Collector) NodeID() [32]byte { return evidence.NodeID(c.AK.Name()) }

// Epoch makes epoch evidence for keys over a checkpoint note of an earlier
// epoch. The bundle's digest belongs into the node record.
func (c *Collector) Epoch(ctx context.Context, keys KeyMaterial, checkpoint []byte) (*evidence.Bundle, error) {
	if len(keys.REK) != evidence.REKSize || len(keys.NodeKey) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("collect: keys of %d and %d bytes", len(keys.REK), len(keys.NodeKey))
	}
	s := evidence.KeyStatement{
		Epoch: keys.Epoch, NodeID: c.NodeID(), REK: [evidence.REKSize]byte(keys.REK), NodeKey: [32]byte(keys.NodeKey),
		ConfigHash: sha256.Sum256(c.Config), LogHash: sha256.Sum256(c.EventLog), Checkpoint: sha256.Sum256(checkpoint),
	}
	statement := s.Append(nil)
	outside := evidence.CreationQualifier(statement)
	creation, err := keys.Seal.Certify(ctx, c.AK, outside[:])
	if err != nil {
		return nil, fmt.Errorf("collect: creation: %v", err)
	}
	qualifier := evidence.EpochQualifier(statement, s.GPUDigest)
	quote, err := c.TPM.Quote(ctx, c.AK, qualifier[:], evidence.QuotePCRs())
	if err != nil {
		return nil, fmt.Errorf("collect: quote: %v", err)
	}
	report, err := c.Reporter.Report(ctx, evidence.ReportData(c.AK.Public(), qualifier))
	if err != nil {
		return nil, fmt.Errorf("collect: report: %v", err)
	}
	b := &evidence.Bundle{Pieces: []evidence.Piece{
		{Kind: evidence.KindKeyStatement, Data: statement},
		{Kind: evidence.KindConfig, Data: c.Config},
		{Kind: evidence.KindEventLog, Data: c.EventLog},
		{Kind: evidence.KindAKPublic, Data: c.AK.Public()},
		{Kind: evidence.KindQuote, Data: quote.Attest},
		{Kind: evidence.KindQuoteSig, Data: quote.Signature},
		{Kind: evidence.KindPCRs, Data: evidence.PCRs(quote.PCRs).Append(nil)},
		{Kind: evidence.KindREKPublic, Data: creation.Public},
		{Kind: evidence.KindREKParent, Data: creation.ParentPublic},
		{Kind: evidence.KindCreationData, Data: creation.CreationData},
		{Kind: evidence.KindCreation, Data: creation.Attest},
		{Kind: evidence.KindCreationSig, Data: creation.Signature},
		{Kind: evidence.KindSNPReport, Data: report.Report},
		{Kind: evidence.KindSNPCert, Data: report.Cert},
		{Kind: evidence.KindSNPCRL, Data: report.CRL},
	}}
	return checked(b)
}

// Freshness makes freshness evidence over epoch evidence, named by digest, and
// a checkpoint note as cosigned.
func (c *Collector) Freshness(ctx context.Context, epochDigest [32]byte, checkpoint []byte) (*evidence.Bundle, error) {
	qualifier := evidence.FreshQualifier(epochDigest, sha256.Sum256(checkpoint))
	quote, err := c.TPM.Quote(ctx, c.AK, qualifier[:], evidence.QuotePCRs())
	if err != nil {
		return nil, fmt.Errorf("collect: quote: %v", err)
	}
	b := &evidence.Bundle{Pieces: []evidence.Piece{
		{Kind: evidence.KindFreshQuote, Data: quote.Attest},
		{Kind: evidence.KindFreshQuoteSig, Data: quote.Signature},
		{Kind: evidence.KindFreshPCRs, Data: evidence.PCRs(quote.PCRs).Append(nil)},
	}}
	return checked(b)
}

func checked(b *evidence.Bundle) (*evidence.Bundle, error) {
	if err := b.Check(); err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	return b, nil
}
