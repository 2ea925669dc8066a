// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/wire"
)

const policyFile = "policy.yaml"

// A Policy says when a wallet buys and what, and how much it may spend. It is a
// file in the wallet's folder; a folder without one has [DefaultPolicy].
type Policy struct {
	// Stock is how many coins of a class are kept ready. Under half of it, the
	// next plan fills it up.
	Stock map[uint8]int `yaml:"stock"`
	// Delay is for how many epochs at most a coin that was bought waits before it
	// is spent; each coin waits its own, drawn number (CT-20).
	Delay uint64 `yaml:"delay"`
	// Renew is how many epochs before its end a token is swapped for a new one.
	Renew uint64 `yaml:"renew"`
	// PerEpoch and PerWindow are the most units that may be spent in an epoch, and
	// in Window epochs; 0 is no limit.
	PerEpoch  uint64 `yaml:"per_epoch"`
	PerWindow uint64 `yaml:"per_window"`
	Window    uint64 `yaml:"window"`
}

// DefaultPolicy keeps no stock and has no limit; what is bought waits up to two
// epochs, and tokens are renewed in the last 168 epochs of their time.
func DefaultPolicy() Policy { return Policy{Delay: 2, Renew: 168, Window: 24} }

const (
	maxStock = 256
	maxDelay = 168
	maxUnits = 1 << 62
)

func (p *Policy) check() error {
	for class, n := range p.Stock {
		if class < wire.MinClass || class > wire.MaxClass || n < 1 || n > maxStock {
			return fmt.Errorf("wallet: policy: stock of class %d: classes are %d to %d, and 1 to %d coins", class, wire.MinClass, wire.MaxClass, maxStock)
		}
	}
	if p.Delay > maxDelay || p.Renew > 1<<20 || p.Window < 1 || p.Window > keepSpent || p.PerEpoch > maxUnits || p.PerWindow > maxUnits {
		return fmt.Errorf("wallet: policy: delay is at most %d, window 1 to %d epochs", maxDelay, keepSpent)
	}
	return nil
}

func readPolicy(dir string) (Policy, error) {
	p, err := config.Load[Policy](filepath.Join(dir, policyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return DefaultPolicy(), nil
	case err != nil:
		return Policy{}, fmt.Errorf("wallet: %w", err)
	}
	return p, p.check()
}

// Policy is the wallet's policy.
func (w *Wallet) Policy() Policy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policy
}

// SetPolicy checks a policy and writes it to the wallet's folder.
func (w *Wallet) SetPolicy(p Policy) error {
	if err := p.check(); err != nil {
		return err
	}
	b := fmt.Appendf(nil, "delay: %d\nrenew: %d\nper_epoch: %d\nper_window: %d\nwindow: %d\n", p.Delay, p.Renew, p.PerEpoch, p.PerWindow, p.Window)
	if len(p.Stock) > 0 {
		b = append(b, "stock:\n"...)
	}
	for _, class := range slices.Sorted(maps.Keys(p.Stock)) {
		b = fmt.Appendf(b, "  %d: %d\n", class, p.Stock[class])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := durable.WriteFile(filepath.Join(w.dir, policyFile), b, 0o600); err != nil {
		return fmt.Errorf("wallet: policy: %v", err)
	}
	w.policy = p
	return nil
}
