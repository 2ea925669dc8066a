// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
)

// A Store is a witness's memory. Losing it is losing the witness: one that
// starts again from nothing under the same key can be shown a second history.
type Store interface {
	// Update reads what is kept for a log, gives it to f and keeps what f returns,
	// or leaves it as it is when that is nil. A log that was never added, or
	// whose memory is gone, is [ErrNoMemory], and f is not asked. No other Update of that log runs between reading
	// and keeping. When Update returns nil the new bytes survive a crash; with
	// an error, f's own included, either the old bytes or the new ones are kept.
	Update(origin string, f func(old []byte) ([]byte, error)) error

	// Keep puts evidence against a log aside, so that it survives a crash.
	// Keeping the same evidence again does nothing. It may refuse, with
	// [ErrEnough], when much is kept already.
	Keep(origin string, evidence []byte) error
}

// ErrNoMemory says that a [Store] holds nothing of a log: it was not added, or what
// was signed is lost. A witness that took the one for the other would sign a
// second history.
var ErrNoMemory = errors.New("no memory of the log: if this witness has never signed for it, add it (sotto-witness add-log); if it has, its memory is lost: make a witness of another name, with new keys")

// ErrEnough says that a [Store] holds as much evidence against a log as it will.
var ErrEnough = errors.New("witness: enough evidence is kept")

// maxEvidence bounds the pieces of evidence that are kept for each log: a log
// that has lost its mind can sign a thousand roots a second, and two convict it.
const maxEvidence = 16

// A FileStore is a directory:
//
//	lock                        held while the store is open
//	state/<SHA-256 of origin>   what was signed last, from when the log was added
//	evidence/<that>.<hash>      two notes, both signed by the log
type FileStore struct {
	dir   string
	lock  *os.File
	write func(path string, data []byte, perm fs.FileMode) error // tests make single writes fail
	keep  func(path string, data []byte, perm fs.FileMode) error

	mu   sync.Mutex
	logs map[string]*sync.Mutex
}

// CreateFileStore makes the folders of a store in dir, which exists. It is for
// the moment at which a witness is made, and no other.
func CreateFileStore(dir string) error {
	for _, sub := range []string{"state", "evidence"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("witness store: %w", err)
		}
	}
	return nil
}

// OpenFileStore opens what [CreateFileStore] made. It never makes one: an
// empty memory must not spring into being because a path was wrong. One
// process at a time may have it open.
func OpenFileStore(dir string) (*FileStore, error) {
	for _, sub := range []string{"state", "evidence"} {
		if st, err := os.Stat(filepath.Join(dir, sub)); err != nil {
			return nil, fmt.Errorf("witness store: %w", err)
		} else if !st.IsDir() {
			return nil, fmt.Errorf("witness store: %s is no directory", filepath.Join(dir, sub))
		}
	}
	f, err := durable.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("witness store: %w", err)
	}
	return &FileStore{dir: dir, lock: f, write: durable.WriteFile, keep: durable.CreateFile, logs: map[string]*sync.Mutex{}}, nil
}

// Close lets another process open the store.
func (s *FileStore) Close() error { return s.lock.Close() }

// Update implements [Store]. The file is read anew each time: after a write
// that failed the disk is the truth, and memory would only be an opinion.
func (s *FileStore) Update(origin string, f func(old []byte) ([]byte, error)) error {
	mu := s.of(origin)
	mu.Lock()
	defer mu.Unlock()
	path := filepath.Join(s.dir, "state", fileName(origin))
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("witness store: %q: %w", origin, ErrNoMemory)
	}
	if err != nil {
		return fmt.Errorf("witness store: %w", err)
	}
	next, err := f(old)
	if err != nil || next == nil {
		return err
	}
	return s.write(path, next, 0o600)
}

// Add writes down that nothing was signed yet of a log, and refuses one that there
// is a memory of ([fs.ErrExist]). It is for the moment at which a witness is told of a
// log, and no other.
func (s *FileStore) Add(origin string) error {
	mu := s.of(origin)
	mu.Lock()
	defer mu.Unlock()
	return addLog(s.dir, origin)
}

func addLog(dir, origin string) error {
	if !transparency.ValidOrigin(origin) {
		return fmt.Errorf("witness store: %q cannot name a log", origin)
	}
	return durable.CreateFile(filepath.Join(dir, "state", fileName(origin)), emptyState(origin).append(nil), 0o600)
}

// check refuses, as [ErrNoMemory], a log that there is no memory of.
func (s *FileStore) check(origin string) error {
	if _, err := os.Stat(filepath.Join(s.dir, "state", fileName(origin))); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("witness store: %q: %w", origin, ErrNoMemory)
	} else if err != nil {
		return fmt.Errorf("witness store: %w", err)
	}
	return nil
}

// AddLog adds a log to the witness in dir, which is not running: see [FileStore.Add].
func AddLog(dir, origin string) error {
	s, err := OpenFileStore(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.Add(origin), s.Close())
}

// Keep implements [Store].
func (s *FileStore) Keep(origin string, evidence []byte) error {
	mu := s.of(origin)
	mu.Lock()
	defer mu.Unlock()
	dir, sum := filepath.Join(s.dir, "evidence"), sha256.Sum256(evidence)
	name := fileName(origin) + "." + hex.EncodeToString(sum[:8])
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("witness store: %w", err)
	}
	n := 0
	for _, e := range entries {
		switch {
		case e.Name() == name:
			return nil
		case strings.HasPrefix(e.Name(), fileName(origin)+"."):
			n++
		}
	}
	if n >= maxEvidence {
		return ErrEnough
	}
	return s.keep(filepath.Join(dir, name), evidence, 0o600)
}

func (s *FileStore) of(origin string) *sync.Mutex {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[origin] == nil {
		s.logs[origin] = new(sync.Mutex)
	}
	return s.logs[origin]
}

// fileName is short and safe whatever the origin.
func fileName(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

// A MemoryStore forgets everything when its process ends, so it is for tests.
// The zero MemoryStore is empty; a log that it is asked for is added.
type MemoryStore struct {
	mu       sync.Mutex
	states   map[string][]byte
	evidence map[string][][]byte
}

// Update implements [Store], but for the crash.
func (s *MemoryStore) Update(origin string, f func(old []byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.states[origin]
	if old == nil {
		old = emptyState(origin).append(nil)
	}
	next, err := f(slices.Clone(old))
	if err != nil || next == nil {
		return err
	}
	if s.states == nil {
		s.states = map[string][]byte{}
	}
	s.states[origin] = slices.Clone(next)
	return nil
}

// Keep implements [Store], but for the crash.
func (s *MemoryStore) Keep(origin string, evidence []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.evidence == nil {
		s.evidence = map[string][][]byte{}
	}
	for _, e := range s.evidence[origin] {
		if slices.Equal(e, evidence) {
			return nil
		}
	}
	if len(s.evidence[origin]) >= maxEvidence {
		return ErrEnough
	}
	s.evidence[origin] = append(s.evidence[origin], slices.Clone(evidence))
	return nil
}

// Evidence is what was kept against a log.
func (s *MemoryStore) Evidence(origin string) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.evidence[origin])
}
