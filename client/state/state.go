// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package state keeps a client's memory of a log on disk: the largest
// checkpoint, the highest epochs, and proofs that the log showed two worlds.
//
// It compares nothing: whether a checkpoint may be remembered is the client's
// to find out before. It sees to it that what was remembered is not lost, goes
// never back, and that two processes may share it.
package state

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
)

// Codes of an [Error].
const (
	CodeUnreadable = "state.unreadable" // what is there cannot be read, or is of another log
	CodeUnwritable = "state.unwritable" // the memory could not be made durable
)

// An Error says why there is no memory to rely on. Nothing silently starts anew.
type Error struct {
	Code, Detail, Hint string
}

func (e *Error) Error() string { return e.Code + ": " + e.Detail }

// maxEvidence is how many files of evidence are kept: one is enough to refuse.
const maxEvidence = 16

// A Dir is the memory of one log, in a folder of its own below a client's state
// directory:
//
//	log-<16 hex digits of SHA-256 of the origin>/
//	    memory/<number>        a Memory; the highest number holds
//	    evidence/<code>-<time>-<hash>.txt
//	    releases                 accepted so far, see [Known]
//
// A new memory is a new file whose name is the next number, made by a link,
// which fails when another process was first. So two writers never overwrite
// each other, and a crash leaves the old highest number or the new.
type Dir struct {
	path  string
	trust transparency.Trust
	keys  [32]byte
	disk  disk
}

// disk is what a Dir does to files, for tests that make it fail.
type disk struct {
	mkdir  func(path string, perm fs.FileMode) error
	create func(path string, data []byte, perm fs.FileMode) error
	remove func(path string) error
}

// New names the memory of t's log below dir. It does no I/O.
func New(dir string, t transparency.Trust) *Dir {
	id := sha256.Sum256([]byte(t.Origin))
	return &Dir{filepath.Join(dir, fmt.Sprintf("log-%x", id[:8])), t, keysOf(t), disk{durable.MkdirAll, durable.CreateFile, os.Remove}}
}

// Path is the folder.
func (d *Dir) Path() string { return d.path }

func (d *Dir) memoryDir() string   { return filepath.Join(d.path, "memory") }
func (d *Dir) evidenceDir() string { return filepath.Join(d.path, "evidence") }

// Load returns what is remembered, nil if nothing is.
func (d *Dir) Load() (*Memory, error) {
	m, _, err := d.load()
	return m, err
}

func (d *Dir) load() (*Memory, uint64, error) {
	for range 16 { // another process may replace what was just listed
		numbers, err := d.numbers()
		if err != nil {
			return nil, 0, d.unreadable(err.Error())
		}
		if len(numbers) == 0 {
			return nil, 0, nil
		}
		last := numbers[len(numbers)-1]
		b, err := readFile(filepath.Join(d.memoryDir(), name(last)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, d.unreadable(err.Error())
		}
		m, err := d.open(b)
		return m, last, err
	}
	return nil, 0, d.unreadable("its files change faster than they can be read")
}

func readFile(path string) ([]byte, error) {
	st, err := os.Lstat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxMemory) {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, maxMemory)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func (d *Dir) open(b []byte) (*Memory, error) {
	m, origin, keys, ok := parse(b)
	switch {
	case !ok:
		return nil, d.unreadable("the newest file in it is damaged")
	case origin != d.trust.Origin:
		return nil, d.unreadable(fmt.Sprintf("it is the memory of the log %q, not of %q", origin, d.trust.Origin))
	case keys != d.keys:
		return nil, d.unreadable("it was made under other keys, witnesses or another quorum than the trust file names now")
	}
	var err error
	if m.Point, err = d.trust.ParseCheckpoint(m.Note); err != nil {
		return nil, d.unreadable("its checkpoint does not verify: " + err.Error())
	}
	return m, nil
}

func (d *Dir) unreadable(why string) error {
	return &Error{CodeUnreadable, d.path + ": " + why,
		"without it a log that went back cannot be noticed; restore it, or, if you know why it is so, begin a new memory with sotto audit forget --yes"}
}

func (d *Dir) unwritable(err error) error {
	return &Error{CodeUnwritable, d.path + ": " + err.Error(), "make room or another directory for it (state in the trust file, or --state), or do without (--state none)"}
}

// numbers lists the memories, ascending.
func (d *Dir) numbers() ([]uint64, error) {
	entries, err := os.ReadDir(d.memoryDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // a temporary file that a crash left
		}
		n, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil || name(n) != e.Name() {
			return nil, fmt.Errorf("%s does not belong there", e.Name())
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

func name(n uint64) string { return fmt.Sprintf("%020d", n) }

// ErrChanged says that another process has remembered more than was compared
// with: compare again.
var ErrChanged = errors.New("state: another process remembered more meanwhile")

// Store makes point and e, if it is not nil, part of the memory. old is what
// they were compared with, as Load returned it; if that is not what is there
// any more, nothing is written and the error is [ErrChanged]. A nil error means
// that they are on disk.
func (d *Dir) Store(old *Memory, point *transparency.Checkpoint, e *Epoch, now time.Time) (*Memory, error) {
	for range 64 {
		cur, number, err := d.load()
		if err != nil {
			return nil, err
		}
		if !same(cur, old) {
			return nil, ErrChanged
		}
		if cur.Covers(point, e) {
			return cur, nil
		}
		next := cur.With(point, e, now)
		if err := d.write(number+1, next); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, d.unwritable(err)
		} else if err == nil {
			// Read back: a writer that stood still for long may have used a
			// number that had been removed, below the one that holds.
			old = next
		}
	}
	return nil, ErrChanged
}

// same compares two memories as far as comparisons with them go.
func same(a, b *Memory) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Point.Size == b.Point.Size && a.Point.Root == b.Point.Root && slices.Equal(a.Epochs, b.Epochs)
}

func (d *Dir) write(number uint64, m *Memory) error {
	if err := d.disk.mkdir(d.memoryDir(), 0o700); err != nil {
		return err
	}
	if err := d.disk.create(filepath.Join(d.memoryDir(), name(number)), m.print(d.trust.Origin, d.keys), 0o600); err != nil {
		return err
	}
	// One is kept before the newest, for a reader that has just listed it.
	// Tidiness only: an older one that stays harms nobody.
	if numbers, err := d.numbers(); err == nil {
		for _, n := range numbers {
			if n+1 < number {
				_ = d.disk.remove(filepath.Join(d.memoryDir(), name(n)))
			}
		}
	}
	return nil
}

// Evidence lists the files of evidence that are kept, oldest first. While there
// is one, the log is not to be used.
func (d *Dir) Evidence() ([]string, error) {
	entries, err := os.ReadDir(d.evidenceDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, d.unreadable(err.Error())
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".txt") && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, filepath.Join(d.evidenceDir(), e.Name()))
		}
	}
	return out, nil
}

// Keep writes a file of evidence, once, and returns its name. Beyond a bound it
// keeps what is there and returns the first: one is enough.
func (d *Dir) Keep(e *fork.Evidence, now time.Time) (string, error) {
	kept, err := d.Evidence()
	if err != nil {
		return "", err
	}
	b := e.Append(nil)
	sum := sha256.Sum256(b)
	hash := fmt.Sprintf("%x", sum[:8])
	for _, k := range kept {
		if strings.HasSuffix(k, "-"+hash+".txt") {
			return k, nil
		}
	}
	if len(kept) >= maxEvidence {
		return kept[0], nil
	}
	if err := d.disk.mkdir(d.evidenceDir(), 0o700); err != nil {
		return "", d.unwritable(err)
	}
	path := filepath.Join(d.evidenceDir(), fmt.Sprintf("%s-%s-%s.txt", e.Code(), now.UTC().Format("20060102T150405Z"), hash))
	if err := d.disk.create(path, b, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", d.unwritable(err)
	}
	return path, nil
}

// Forget puts the memory aside, evidence and all, under another name, which it
// returns; it is empty if there is nothing to forget. Only a user may ask for
// it: from then on a log that goes back to before that moment is not noticed.
func (d *Dir) Forget(now time.Time) (string, error) { return putAside(d, d.path, now) }
