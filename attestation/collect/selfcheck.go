// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A Reason says what a self check found.
type Reason string

// The reasons. After each of them a node drains and erases its keys: evidence
// that it shows from then on would be refused, or should be.
const (
	ReasonPCR    Reason = "pcr"    // a seal PCR moved since the first check
	ReasonReset  Reason = "reset"  // the TPM was reset, restarted or resumed
	ReasonTPM    Reason = "tpm"    // the TPM fails
	ReasonIMA    Reason = "ima"    // the IMA log was changed, does not lead to PCR 10, or grew by what may not run
	ReasonReport Reason = "report" // the platform gives no report any more
	ReasonGPU    Reason = "gpu"    // a GPU gives no report any more; of [Collector.Again]
)

// A SelfCheckError says that the node is no longer what its evidence says.
type SelfCheckError struct {
	Reason Reason
	Err    error
}

func (e *SelfCheckError) Error() string {
	return fmt.Sprintf("collect: self check: %s: %v", e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *SelfCheckError) Unwrap() error { return e.Err }

// baseline is what the first check saw.
type baseline struct {
	counters tpm.Counters
	seal     map[int][32]byte
	ima      int      // bytes of the log
	imaHash  [32]byte // of these
}

// SelfCheck looks whether the node still is what its evidence says: seal PCRs
// and the TPM's reset and restart counters are those of the first call, the IMA
// log leads to PCR 10 and grew only by what [Collector.IMAGrowth] allows, and
// the platform still reports. The first call only takes these values, checks
// the log and gets a report: call it before serving.
//
// A [*SelfCheckError] is a verdict. Any other error means that nothing was
// decided (the TPM is busy, its registers kept changing, ctx ended): check
// again soon.
//
// It costs three TPM commands or so, and one report, which on SEV-SNP the host
// may slow down to one every few seconds. It says nothing about GPUs: those are
// asked in [Collector.Epoch] and [Collector.Again].
func (c *Collector) SelfCheck(ctx context.Context) error {
	now, err := c.look(ctx)
	if err != nil {
		return verdict(ctx, ReasonTPM, err)
	}
	if err := c.compareTPM(now); err != nil {
		return err
	}
	log, err := c.checkIMA(ctx, now)
	if err != nil {
		return verdict(ctx, ReasonIMA, err)
	}
	if err := c.compareIMA(now, log); err != nil {
		return err
	}
	pieces, err := c.Reporter.Report(ctx, evidence.ReportData(c.AK.Public(), sha256.Sum256([]byte("sotto self check v1"))))
	if err == nil && len(pieces) == 0 {
		err = errors.New("nothing reported")
	}
	if err == nil {
		_, err = bundle(pieces)
	}
	return verdict(ctx, ReasonReport, err)
}

// verdict wraps err unless it decides nothing.
func verdict(ctx context.Context, r Reason, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.Is(err, tpm.ErrBusy), errors.Is(err, tpm.ErrUnstable), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("collect: self check: %w", err)
	case errors.Is(err, tpm.ErrReset):
		r = ReasonReset
	case errors.Is(err, tpm.ErrTransport), errors.Is(err, tpm.ErrClosed):
		r = ReasonTPM
	}
	return &SelfCheckError{Reason: r, Err: err}
}

// look reads counters and seal PCRs.
func (c *Collector) look(ctx context.Context) (*baseline, error) {
	counters, err := c.TPM.Counters(ctx)
	if err != nil {
		return nil, err
	}
	seal, err := c.TPM.ReadPCRs(ctx, evidence.SealPCRs())
	if err != nil {
		return nil, err
	}
	return &baseline{counters: counters, seal: seal}, nil
}

// checkIMA adds the state of the log to now and returns the log.
func (c *Collector) checkIMA(ctx context.Context, now *baseline) ([]byte, error) {
	if c.IMALog == nil {
		return nil, nil
	}
	values, err := c.TPM.ReadPCRs(ctx, []int{imaPCR})
	if err != nil {
		return nil, err
	}
	log, err := c.imaLog(values[imaPCR])
	if err != nil {
		return nil, err
	}
	now.ima, now.imaHash = len(log), sha256.Sum256(log)
	return log, nil
}

// compareTPM holds now against the first check, if there was one. It comes
// before the log is looked at: after a reset that does not fit either.
func (c *Collector) compareTPM(now *baseline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.base == nil:
		return nil
	case now.counters != c.base.counters:
		return &SelfCheckError{ReasonReset, fmt.Errorf("counters %+v, at first %+v", now.counters, c.base.counters)}
	case !maps.Equal(now.seal, c.base.seal):
		return &SelfCheckError{ReasonPCR, tpm.ErrPCRMoved}
	}
	return nil
}

// compareIMA is compareTPM for the log. It makes now the first check if there
// was none.
func (c *Collector) compareIMA(now *baseline, log []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base == nil {
		c.base = now
		return nil
	}
	b := c.base
	switch {
	case c.IMALog == nil:
		return nil
	case len(log) < b.ima || sha256.Sum256(log[:b.ima]) != b.imaHash:
		return &SelfCheckError{ReasonIMA, errors.New("what was in the log at first has changed")}
	case c.IMAGrowth == nil || len(log) == b.ima:
		return nil
	}
	if err := c.IMAGrowth(log[b.ima:]); err != nil {
		return &SelfCheckError{ReasonIMA, err}
	}
	return nil
}

// Again makes complete evidence about keys once more, over 32 bytes that the
// caller draws in a checkpoint's place: what the machine, its GPUs included, says
// of itself now. It is for the caller's own eyes and covers nothing, so freshness
// evidence over it is not to be had.
//
// A [*SelfCheckError] says that a GPU gives no evidence. Any other error decides
// nothing: [Collector.SelfCheck] is what looks at TPM and platform.
func (c *Collector) Again(ctx context.Context, keys KeyMaterial, drawn [32]byte) (*evidence.Bundle, error) {
	b, _, err := c.make(ctx, keys, drawn[:])
	var gpu *gpuError
	if errors.As(err, &gpu) {
		return nil, verdict(ctx, ReasonGPU, err)
	}
	return b, err
}
