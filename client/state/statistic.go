// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

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

// Forget puts the statistic aside under another name, which it returns; it is
// empty if there is none. What is remembered of the log stays.
func (s *Statistic) Forget(now time.Time) (string, error) {
	return putAside(s.dir, s.path(), now)
}

// putAside renames a file or folder to what nothing has the name of yet.
func putAside(d *Dir, path string, now time.Time) (string, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	for i := range 100 {
		aside := path + ".forgotten-" + now.UTC().Format("20060102T150405Z")
		if i > 0 {
			aside += "-" + strconv.Itoa(i)
		}
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(path, aside); err != nil {
			return "", d.unwritable(err)
		}
		return aside, nil
	}
	return "", d.unwritable(errors.New("too many were put aside at this time"))
}
