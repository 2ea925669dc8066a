// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
)

// segment is how many epochs' records are in one file.
const segment = 1024

// An EpochRecord is what was found about one leaf.
type EpochRecord struct {
	Epoch     uint64     `json:"epoch"`
	Leaf      string     `json:"leaf_sha256"`
	Empty     bool       `json:"empty,omitempty"`
	Malformed bool       `json:"malformed,omitempty"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	Nodes     int        `json:"nodes"`
	Compared  int        `json:"compared"` // mirrors whose statement is this leaf
	// Evidence is none (an empty epoch), unchecked (no policy), gone (too old to be
	// served), pending, or judged.
	Evidence string  `json:"evidence"`
	Judged   int     `json:"judged"`
	Refused  int     `json:"refused"`
	Alarms   []Alarm `json:"alarms,omitempty"`
	// Later are the alarms of a pack that came after its leaf was audited.
	Later []Alarm `json:"later,omitempty"`
}

// What an [EpochRecord] says of evidence.
const (
	evidenceNone      = "none"
	evidenceUnchecked = "unchecked"
	evidenceGone      = "gone"
	evidencePending   = "pending"
	evidenceJudged    = "judged"
)

// A store is a folder:
//
//	state.json      a [State]
//	epochs/<n>      records of epochs n*1024 to n*1024+1023, one line each
//	lock            held by the one process that writes
//	evidence/<id>   what proves a fork, written before the alarm about it
//
// Records are durable before the state that counts them. What is in a segment at
// or after [State.Next] was never counted, and the next write replaces it; so a
// crash at any step leaves no gap and counts nothing twice.
type store struct {
	dir   string
	write func(path string, data []byte, perm fs.FileMode) error // replaced in failure tests

	lock *os.File // nil of one that only reads

	tail    uint64 // segment held in memory
	records []EpochRecord
}

// openStore opens or makes a folder. The state is nil where there is none yet.
// Whoever writes has it for himself: two would each count what the other found.
func openStore(dir string, writes bool) (_ *store, _ *State, err error) {
	s := &store{dir: dir, write: durable.WriteFile}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for _, d := range []string{dir, s.path("epochs"), s.path("evidence")} {
		if err := durable.MkdirAll(d, 0o755); err != nil {
			return nil, nil, fmt.Errorf("audit state: %w", err)
		}
	}
	if writes {
		if s.lock, err = durable.Lock(s.path("lock")); err != nil {
			return nil, nil, fmt.Errorf("audit state: %w", err)
		}
	}
	b, err := os.ReadFile(s.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("audit state: %w", err)
	}
	st, err := ParseState(b)
	if err != nil {
		return nil, nil, fmt.Errorf("audit state: %s: %w; move the folder away to audit anew", s.path("state.json"), err)
	}
	s.tail = st.Next / segment
	if s.records, err = s.read(s.tail, st.Next); err != nil {
		return nil, nil, err
	}
	if want := st.Next % segment; uint64(len(s.records)) != want {
		return nil, nil, fmt.Errorf("audit state: %s has %d records, the state counts %d; move the folder away to audit anew", s.segmentPath(s.tail), len(s.records), want)
	}
	return s, st, nil
}

func (s *store) close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

func (s *store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *store) segmentPath(n uint64) string {
	return filepath.Join(s.dir, "epochs", fmt.Sprintf("%010d", n))
}

// read returns the records of a segment below next; none if there is no file.
func (s *store) read(n, next uint64) ([]EpochRecord, error) {
	b, err := os.ReadFile(s.segmentPath(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit state: %w", err)
	}
	var out []EpochRecord
	for line := range bytes.Lines(b) {
		epoch := n*segment + uint64(len(out))
		if epoch >= next {
			break // never counted: a crash came before its state
		}
		var r EpochRecord
		if err := json.Unmarshal(line, &r); err != nil || r.Epoch != epoch {
			return nil, fmt.Errorf("audit state: %s: line %d is not the record of epoch %d", s.segmentPath(n), len(out)+1, epoch)
		}
		out = append(out, r)
	}
	return out, nil
}

// commit makes records durable, then the state that counts them. changed are
// records of epochs that were counted before.
func (s *store) commit(st *State, fresh, changed []EpochRecord) error {
	dirty := map[uint64][]EpochRecord{}
	for _, r := range changed {
		n := r.Epoch / segment
		if dirty[n] == nil {
			all, err := s.counted(n, st.Next)
			if err != nil {
				return err
			}
			dirty[n] = all
		}
		if i := r.Epoch % segment; i < uint64(len(dirty[n])) {
			dirty[n][i] = r
		}
	}
	for _, r := range fresh {
		n := r.Epoch / segment
		if dirty[n] == nil && n == s.tail {
			dirty[n] = append([]EpochRecord(nil), s.records...)
		}
		dirty[n] = append(dirty[n], r)
	}
	for n, list := range dirty {
		var b []byte
		for i := range list {
			line, err := json.Marshal(&list[i])
			if err != nil {
				return fmt.Errorf("audit state: %v", err)
			}
			b = append(append(b, line...), '\n')
		}
		if err := s.write(s.segmentPath(n), b, 0o644); err != nil {
			return fmt.Errorf("audit state: %w", err)
		}
	}
	b, err := st.Append(nil)
	if err != nil {
		return err
	}
	if err := s.write(s.path("state.json"), b, 0o644); err != nil {
		return fmt.Errorf("audit state: %w", err)
	}
	last := st.Next / segment
	if list, ok := dirty[last]; ok {
		s.records = list
	} else if last != s.tail {
		s.records = nil
	}
	s.tail = last
	return nil
}

// counted returns the records of a segment that are in the state, or are about
// to be changed.
func (s *store) counted(n, next uint64) ([]EpochRecord, error) {
	if n == s.tail {
		return append([]EpochRecord(nil), s.records...), nil
	}
	return s.read(n, next)
}

// record returns what was written about an epoch.
func (s *store) record(epoch, next uint64) (EpochRecord, error) {
	all, err := s.counted(epoch/segment, next)
	if err != nil {
		return EpochRecord{}, err
	}
	if i := epoch % segment; i < uint64(len(all)) {
		return all[i], nil
	}
	return EpochRecord{}, fmt.Errorf("audit state: no record of epoch %d", epoch)
}

// each calls f with every record counted, in order, one segment in memory at a time.
func (s *store) each(next uint64, f func(*EpochRecord) error) error {
	for n := uint64(0); n*segment < next; n++ {
		list, err := s.read(n, next)
		if err != nil {
			return err
		}
		for i := range list {
			if err := f(&list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxKept is how many proofs of one kind are kept: a log that forks anew each
// minute is convicted by the first, and must not fill the disk.
const maxKept = 16

// evidenceName names a proof by its kind and by what it shows.
func evidenceName(kind string, what [2][]byte) string {
	h := sha256.New()
	for _, b := range what {
		fmt.Fprintf(h, "%d\n%s", len(b), b)
	}
	return fmt.Sprintf("evidence/%s-%x", kind, h.Sum(nil)[:8])
}

// keep writes evidence under an [evidenceName]. What is there already shows the
// same and stays. It is false where there is no room.
func (s *store) keep(name string, b []byte) (bool, error) {
	if _, err := os.Stat(s.path(name)); err == nil {
		return true, nil
	}
	kind := name[:strings.LastIndex(name, "-")+1]
	entries, err := os.ReadDir(s.path("evidence"))
	if err != nil {
		return false, fmt.Errorf("audit evidence: %w", err)
	}
	n := 0
	for _, e := range entries {
		if strings.HasPrefix("evidence/"+e.Name(), kind) {
			n++
		}
	}
	if n >= maxKept {
		return false, nil
	}
	if err := s.write(s.path(name), b, 0o644); err != nil {
		return false, fmt.Errorf("audit evidence: %w", err)
	}
	return true, nil
}
