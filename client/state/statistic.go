// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sotto-project/sotto/internal/durable"
)

// maxStatistic bounds what is read back, in bytes.
const maxStatistic = 1 << 20

// A Statistic is one file beside the memory: what a client counts of how nodes
// were chosen for it. Its bytes mean nothing here.
type Statistic struct{ dir *Dir }

// Statistic names it. It does no I/O.
func (d *Dir) Statistic() *Statistic { return &Statistic{d} }

func (s *Statistic) path() string { return filepath.Join(s.dir.path, "steering") }

// Load returns what was saved last, nil if nothing was.
func (s *Statistic) Load() ([]byte, error) {
	f, err := os.Stat(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.dir.unreadable(err.Error())
	}
	if f.Size() > maxStatistic {
		return nil, s.dir.unreadable("the steering statistic is larger than one can be")
	}
	b, err := os.ReadFile(s.path())
	if err != nil {
		return nil, s.dir.unreadable(err.Error())
	}
	return b, nil
}

// Save replaces it as a whole. Of two clients at once the last one counts: a
// statistic may lose a few requests, and no decision about the log rests on it.
func (s *Statistic) Save(b []byte) error {
	if err := s.dir.disk.mkdir(s.dir.path, 0o700); err != nil {
		return s.dir.unwritable(err)
	}
	if err := durable.WriteFile(s.path(), b, 0o600); err != nil {
		return s.dir.unwritable(err)
	}
	return nil
}
