// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"fmt"
	"os"

	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/redact"
)

const exportLabel = "sotto-wallet-export-v1\n"

// Export moves the wallet into a new file, which is as good as the money in it.
// This copy does nothing more from then on, except being exported again: that is
// written first, so that a crash leaves no two wallets that would send the same
// blanks. Whoever imports a file twice makes two all the same.
func (w *Wallet) Export(path string) error {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return w.err
	}
	var c waiter
	if !w.state.moved {
		err := w.free(func(*preparedRecord) bool { return true })
		if err == nil {
			c, err = w.record(&movedRecord{})
		}
		if err != nil {
			w.mu.Unlock()
			return err
		}
	}
	list := w.state.snapshot()
	list = list[:len(list)-1] // the last says that it moved
	b := append([]byte(exportLabel), w.seed.Bytes()...)
	b = append(b, durable.Frames(printAll(list))...)
	w.mu.Unlock()
	if c != nil {
		if err := w.wait(c); err != nil {
			return err
		}
	}
	if err := durable.CreateFile(path, b, 0o600); err != nil {
		return fmt.Errorf("wallet: export: %w", err)
	}
	return nil
}

// Import makes a wallet of an exported file, in an empty or new folder. The file
// must not be imported again.
func Import(dir, path string) (*Wallet, error) {
	if err := private(path); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("wallet: import: %v", err)
	}
	seed, s, err := parseExport(b)
	if err != nil {
		return nil, fmt.Errorf("wallet: import: %s: %w", path, err)
	}
	return create(dir, seed, s)
}

func parseExport(b []byte) (redact.Secret, *state, error) {
	rest, ok := bytes.CutPrefix(b, []byte(exportLabel))
	if !ok || len(rest) < blind.SeedSize {
		return redact.Secret{}, nil, errRecord
	}
	seed, frames := rest[:blind.SeedSize], rest[blind.SeedSize:]
	records, good, _, err := durable.ReadJournal(frames)
	if err != nil {
		return redact.Secret{}, nil, err
	}
	if n := len(records); good != len(frames) || n == 0 || len(records[n-1]) == 0 || records[n-1][0] != kindLost {
		return redact.Secret{}, nil, errRecord // a file that was cut is no wallet
	}
	s := newState()
	for _, r := range records {
		if err := s.replay(r); err != nil {
			return redact.Secret{}, nil, err
		}
	}
	return redact.New(seed), s, nil
}
