// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package collect makes a node's evidence: it asks the TPM, the platform and
// the GPUs for their signatures and packs the answers. It runs in the node and
// judges nothing; package attestation does that, elsewhere.
//
// A platform is a [Reporter]: packages collect/snp, collect/tdx, collect/azure,
// collect/nitro and collect/certs have those of this version, and [Reporters]
// puts several together. None of them dials: collateral comes from files that
// the operator fills.
package collect

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A Reporter gets what a platform vouches with, over 64 bytes of the caller's
// choice: signed reports and the collateral that a verifier needs with them.
// Pieces may come in any order, each kind once.
//
// data is [evidence.ReportData]. A platform whose report cannot carry it (an
// AK certificate, an HCL report made at boot) answers all the same: what ties
// its pieces to the node is the attestation key they name.
type Reporter interface {
	Report(ctx context.Context, data [64]byte) ([]evidence.Piece, error)
}

// Reporters are several sources that make up one platform, asked in order.
type Reporters []Reporter

// Report implements [Reporter]; it fails where one of them does.
func (rs Reporters) Report(ctx context.Context, data [64]byte) ([]evidence.Piece, error) {
	var out []evidence.Piece
	for _, r := range rs {
		pieces, err := r.Report(ctx, data)
		if err != nil {
			return nil, err
		}
		out = append(out, pieces...)
	}
	return out, nil
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
// have been measured before (see [MeasureConfig]), and nothing may change the
// exported fields after the first call. Its methods may be called from any
// goroutine.
type Collector struct {
	TPM      *tpm.TPM
	AK       *tpm.AK
	Reporter Reporter
	EventLog []byte // TCG event log of this boot
	CCEL     []byte // a TD's own event log; nil on other platforms
	Config   []byte // measured configuration, as [evidence.Config] prints it

	// IMALog reads the kernel's IMA log as it stands (see files.IMALog). Nil: the
	// evidence has none, which policies that ask for one refuse.
	IMALog func() ([]byte, error)
	// IMAGrowth, if set, judges in [Collector.SelfCheck] the entries that the IMA
	// log grew by since the first check, in the format of evidence. An error means
	// that something ran that should not have.
	IMAGrowth func(entries []byte) error
	// GPU gets the evidence of all GPUs and switches over a nonce (collect/gpu).
	// Nil: a machine without.
	GPU func(ctx context.Context, nonce [32]byte) ([]byte, error)

	mu     sync.Mutex // guards what follows
	base   *baseline  // of SelfCheck
	epochs []covered
}

// covered remembers how much of the IMA log epoch evidence holds.
type covered struct {
	digest [32]byte // of the epoch evidence
	size   int
}

// maxCovered is the number of epochs whose freshness can be asked: the present
// one, the next, those whose answers still run, and room for repetitions.
const maxCovered = 16

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
//
// The order is that of the binding: GPU evidence over the hash of the keys, its
// digest into the statement, and over the whole statement creation, quote and
// report.
func (c *Collector) Epoch(ctx context.Context, keys KeyMaterial, checkpoint []byte) (*evidence.Bundle, error) {
	b, size, err := c.make(ctx, keys, checkpoint)
	if err == nil {
		c.cover(b, size)
	}
	return b, err
}

// make makes epoch evidence. It also returns how much of the IMA log its quote
// covers.
func (c *Collector) make(ctx context.Context, keys KeyMaterial, checkpoint []byte) (*evidence.Bundle, int, error) {
	if len(keys.REK) != evidence.REKSize || len(keys.NodeKey) != ed25519.PublicKeySize {
		return nil, 0, fmt.Errorf("collect: keys of %d and %d bytes", len(keys.REK), len(keys.NodeKey))
	}
	s := evidence.KeyStatement{
		Epoch: keys.Epoch, NodeID: c.NodeID(), REK: [evidence.REKSize]byte(keys.REK), NodeKey: [32]byte(keys.NodeKey),
		ConfigHash: sha256.Sum256(c.Config), LogHash: evidence.LogHash(c.EventLog, c.CCEL), Checkpoint: sha256.Sum256(checkpoint),
	}
	var pieces []evidence.Piece
	if c.GPU != nil {
		gpu, err := c.gpu(ctx, &s)
		if err != nil {
			return nil, 0, err
		}
		pieces = append(pieces, evidence.Piece{Kind: evidence.KindGPU, Data: gpu})
	}
	signed, size, err := c.sign(ctx, keys.Seal, &s)
	if err != nil {
		return nil, 0, err
	}
	pieces = append(pieces, signed...)
	reported, err := c.Reporter.Report(ctx, evidence.ReportData(c.AK.Public(), evidence.EpochQualifier(s.Append(nil), s.GPUDigest)))
	if err != nil {
		return nil, 0, fmt.Errorf("collect: report: %w", err)
	}
	b, err := bundle(append(pieces, reported...))
	return b, size, err
}

// A gpuError is one of whoever gets GPU evidence.
type gpuError struct{ error }

func (e *gpuError) Unwrap() error { return e.error }

// gpu gets the GPU evidence and puts its digest into the statement.
func (c *Collector) gpu(ctx context.Context, s *evidence.KeyStatement) ([]byte, error) {
	b, err := c.GPU(ctx, evidence.GPUNonce(s.Append(nil)))
	switch {
	case err != nil:
		return nil, &gpuError{fmt.Errorf("collect: gpu: %w", err)}
	case len(b) == 0:
		return nil, &gpuError{errors.New("collect: gpu: no evidence")}
	}
	s.GPUDigest = sha256.Sum256(b)
	return b, nil
}

// sign has the TPM vouch for the statement. It also returns how much of the IMA
// log the quote covers.
func (c *Collector) sign(ctx context.Context, seal Certifier, s *evidence.KeyStatement) ([]evidence.Piece, int, error) {
	statement := s.Append(nil)
	outside := evidence.CreationQualifier(statement)
	creation, err := seal.Certify(ctx, c.AK, outside[:])
	if err != nil {
		return nil, 0, fmt.Errorf("collect: creation: %w", err)
	}
	qualifier := evidence.EpochQualifier(statement, s.GPUDigest)
	quote, err := c.TPM.Quote(ctx, c.AK, qualifier[:], evidence.QuotePCRs())
	if err != nil {
		return nil, 0, fmt.Errorf("collect: quote: %w", err)
	}
	pieces := []evidence.Piece{
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
	}
	if c.CCEL != nil {
		pieces = append(pieces, evidence.Piece{Kind: evidence.KindCCEL, Data: c.CCEL})
	}
	if c.IMALog == nil {
		return pieces, 0, nil
	}
	// Read after the quote: the kernel lists an entry before it extends the PCR,
	// so the log then holds all that the quote covers, and perhaps more.
	log, err := c.imaLog(quote.PCRs[imaPCR])
	if err != nil {
		return nil, 0, err
	}
	return append(pieces, evidence.Piece{Kind: evidence.KindIMALog, Data: log}), len(log), nil
}

// Freshness makes freshness evidence over epoch evidence, named by digest, and
// a checkpoint note as cosigned.
func (c *Collector) Freshness(ctx context.Context, epochDigest [32]byte, checkpoint []byte) (*evidence.Bundle, error) {
	return c.fresh(ctx, epochDigest, evidence.FreshQualifier(epochDigest, sha256.Sum256(checkpoint)))
}

// Challenge is [Collector.Freshness] over a caller's challenge in place of a
// checkpoint, for whoever wants proof now.
func (c *Collector) Challenge(ctx context.Context, epochDigest, challenge [32]byte) (*evidence.Bundle, error) {
	return c.fresh(ctx, epochDigest, evidence.ChallengeQualifier(epochDigest, challenge))
}

func (c *Collector) fresh(ctx context.Context, epochDigest, qualifier [32]byte) (*evidence.Bundle, error) {
	quote, err := c.TPM.Quote(ctx, c.AK, qualifier[:], evidence.QuotePCRs())
	if err != nil {
		return nil, fmt.Errorf("collect: quote: %w", err)
	}
	pieces := []evidence.Piece{
		{Kind: evidence.KindFreshQuote, Data: quote.Attest},
		{Kind: evidence.KindFreshQuoteSig, Data: quote.Signature},
		{Kind: evidence.KindFreshPCRs, Data: evidence.PCRs(quote.PCRs).Append(nil)},
	}
	if c.IMALog != nil {
		size, ok := c.covers(epochDigest)
		if !ok {
			return nil, fmt.Errorf("collect: epoch evidence %x.. is not this process's", epochDigest[:8])
		}
		log, err := c.imaLog(quote.PCRs[imaPCR])
		if err != nil {
			return nil, err
		}
		if len(log) < size {
			return nil, fmt.Errorf("collect: ima log: shorter than in epoch evidence")
		}
		if len(log) > size {
			pieces = append(pieces, evidence.Piece{Kind: evidence.KindFreshIMALog, Data: log[size:]})
		}
	}
	return bundle(pieces)
}

// cover remembers what epoch evidence holds of the IMA log.
func (c *Collector) cover(b *evidence.Bundle, size int) {
	if c.IMALog == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs = append(c.epochs, covered{b.Digest(), size})
	if over := len(c.epochs) - maxCovered; over > 0 {
		c.epochs = slices.Delete(c.epochs, 0, over)
	}
}

func (c *Collector) covers(digest [32]byte) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.epochs {
		if e.digest == digest {
			return e.size, true
		}
	}
	return 0, false
}

// bundle sorts the pieces and checks that they print.
func bundle(pieces []evidence.Piece) (*evidence.Bundle, error) {
	slices.SortStableFunc(pieces, func(a, b evidence.Piece) int { return cmp.Compare(a.Kind, b.Kind) })
	for i, p := range pieces {
		if i > 0 && pieces[i-1].Kind == p.Kind {
			return nil, fmt.Errorf("collect: %v comes twice", p.Kind)
		}
	}
	b := &evidence.Bundle{Pieces: pieces}
	if err := b.Check(); err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	return b, nil
}
