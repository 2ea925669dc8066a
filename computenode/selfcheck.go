// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"context"
	"errors"
	"time"

	"github.com/sotto-project/sotto/attestation/collect"
)

// selfCheckTick is how often what has expired is dropped, and an undecided self
// check tried again.
const selfCheckTick = time.Second

// watch checks the platform and drops what has expired, until ctx ends or a
// check fails. After a failure nothing brings the node back but a new process
// with new keys and new evidence.
func (n *Node) watch(ctx context.Context) { n.repeat(ctx, *n.cfg.SelfCheckInterval, n.check) }

// watchGPUs is watch for the GPUs, which may take long to answer.
func (n *Node) watchGPUs(ctx context.Context) {
	if n.own != nil && n.hw.GPU != nil {
		n.repeat(ctx, n.cfg.GPUCheckInterval, n.judgeAgain)
	}
}

// repeat makes a check at an interval, which is also how long it may take.
func (n *Node) repeat(ctx context.Context, interval time.Duration, check func(context.Context) error) {
	t := time.NewTicker(min(interval, selfCheckTick))
	defer t.Stop()
	begun, decided := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			n.prune()
			if n.isDrained() {
				return
			}
			if now.Sub(begun) < interval && n.keys.Err() == nil {
				continue
			}
			err := within(ctx, interval, check)
			var undecided *undecidedError
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				n.meters.checks.Inc()
				begun, decided = now, now
			case errors.As(err, &undecided) && now.Sub(decided) < 2*interval:
				// The TPM is busy, say: asked again at the next tick, but not for
				// ever. Who can keep it busy must not be able to keep it unchecked.
			default:
				n.log.Error("self check failed: draining, keys erased", "error", err)
				n.meters.unfit.Inc()
				n.Drain()
				return
			}
		}
	}
}

// undecidedError wraps an error of a check that is no verdict.
type undecidedError struct{ error }

func (e *undecidedError) Unwrap() error { return e.error }

// within is check, and undecided if it does not end in time.
func within(ctx context.Context, d time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return check(ctx)
}

// check is one self check.
func (n *Node) check(ctx context.Context) error {
	if err := n.keys.Err(); err != nil {
		return err
	}
	var verdict *collect.SelfCheckError
	if err := n.collector.SelfCheck(ctx); errors.As(err, &verdict) {
		return err
	} else if err != nil {
		return &undecidedError{err}
	}
	if n.hw.Check != nil {
		if err := n.hw.Check(ctx); err != nil {
			return err
		}
	}
	return n.judgeNow(ctx)
}
