// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// A journal is a file of frames, one after another:
//
//	struct {
//	    opaque magic[4] = "sJ1\n";
//	    uint64 number;              /* 1, 2, ... */
//	    opaque records<0..2^32-1>;  /* each opaque<0..2^32-1> */
//	    opaque check[16];           /* of SHA-256 over the fields before it */
//	} Frame;
//
// A frame is one write and one fsync, and the next is not begun before. So only
// the last can be torn; a bad frame with a good one behind it is damage.
const (
	frameMagic = "sJ1\n"
	frameHead  = 4 + 8 + 4
	frameCheck = 16
	maxJournal = 1 << 30
	frameFull  = 1 << 20 // a snapshot is in frames of about this size
)

var (
	// ErrDamaged: a journal that has good frames behind bad ones. What was in the
	// bad ones is not known, so nothing is done with it.
	ErrDamaged = errors.New("durable: journal is damaged in the middle")
	// ErrBroken: a write failed earlier. What is on disk is not known until the
	// journal is opened again.
	ErrBroken = errors.New("durable: journal: a write failed; open it again")
)

func appendFrame(b []byte, number uint64, records []byte) []byte {
	n := len(b)
	b = binary.BigEndian.AppendUint64(append(b, frameMagic...), number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(records)))
	b = append(b, records...)
	sum := sha256.Sum256(b[n:])
	return append(b, sum[:frameCheck]...)
}

func appendRecord(b, record []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(record))), record...)
}

// frameAt returns the frame at the start of b and its length; 0 if there is none.
func frameAt(b []byte) (number uint64, records []byte, size int) {
	if len(b) < frameHead+frameCheck || string(b[:4]) != frameMagic {
		return 0, nil, 0
	}
	n := uint64(binary.BigEndian.Uint32(b[12:]))
	if n > uint64(len(b)-frameHead-frameCheck) {
		return 0, nil, 0
	}
	end := frameHead + int(n)
	sum := sha256.Sum256(b[:end])
	if !bytes.Equal(sum[:frameCheck], b[end:end+frameCheck]) {
		return 0, nil, 0
	}
	return binary.BigEndian.Uint64(b[4:]), b[frameHead:end], end + frameCheck
}

// ReadJournal returns the records of a journal's bytes and how many of the
// bytes are whole frames: what is behind them is the torn end of a write that
// nobody was told of. The error is [ErrDamaged].
func ReadJournal(b []byte) (records [][]byte, good int, frames uint64, err error) {
	for good < len(b) {
		number, body, size := frameAt(b[good:])
		if size == 0 {
			return records, good, frames, noFrameIn(b[good:])
		}
		if frames++; number != frames {
			return nil, 0, 0, ErrDamaged
		}
		for len(body) > 0 {
			if len(body) < 4 || uint64(binary.BigEndian.Uint32(body)) > uint64(len(body)-4) {
				return nil, 0, 0, ErrDamaged
			}
			n := 4 + int(binary.BigEndian.Uint32(body))
			records, body = append(records, body[4:n]), body[n:]
		}
		good += size
	}
	return records, good, frames, nil
}

// noFrameIn is [ErrDamaged] if a good frame begins anywhere in b.
func noFrameIn(b []byte) error {
	for len(b) > 0 {
		b = b[1:]
		n := bytes.Index(b, []byte(frameMagic))
		if n < 0 {
			return nil
		}
		b = b[n:]
		if _, _, size := frameAt(b); size > 0 {
			return ErrDamaged
		}
	}
	return nil
}

// A Journal is open for appending. Its folder is the caller's, by [Lock].
type Journal struct {
	path string

	mu     sync.Mutex // guards next, broken and size
	next   *Commit
	broken error
	size   int64

	disk   sync.Mutex // held while writing; taken before mu
	file   file
	number uint64
}

// file is what a journal does with its file, for tests to have it fail.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

// A Commit is records that are written together.
type Commit struct {
	journal *Journal
	records []byte
	done    bool // guarded by journal.disk
	err     error
}

// CreateJournal makes a new journal with these records in it.
func CreateJournal(path string, records [][]byte) error {
	b, _ := snapshot(records)
	return CreateFile(path, b, 0o600)
}

// Frames is records as a new journal has them, for other files than journals.
func Frames(records [][]byte) []byte {
	b, _ := snapshot(records)
	return b
}

func snapshot(records [][]byte) (b []byte, frames uint64) {
	var body []byte
	for i, r := range records {
		body = appendRecord(body, r)
		if len(body) >= frameFull || i == len(records)-1 {
			frames++
			b, body = appendFrame(b, frames, body), nil
		}
	}
	return b, frames
}

// OpenJournal gives every record to replay, in order, cuts off the torn end of
// a write if there is one, and opens the journal for appending.
func OpenJournal(path string, replay func(record []byte) error) (*Journal, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("durable: journal: %w", err)
	}
	if st.Size() > maxJournal {
		return nil, fmt.Errorf("durable: journal: %s has more than %d bytes", path, maxJournal)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("durable: journal: %w", err)
	}
	records, good, frames, err := ReadJournal(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	for _, r := range records {
		if err := replay(r); err != nil {
			return nil, err
		}
	}
	j := &Journal{path: path, number: frames, size: int64(good)}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("durable: journal: %w", err)
	}
	if good < len(b) {
		if err := errors.Join(f.Truncate(int64(good)), f.Sync()); err != nil {
			return nil, fmt.Errorf("durable: journal: %w", errors.Join(err, f.Close()))
		}
	}
	j.file = f
	return j, nil
}

// Add puts a record behind all that were added before, for the next write.
// Nothing is written until somebody waits.
func (j *Journal) Add(record []byte) *Commit {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.next == nil {
		j.next = &Commit{journal: j}
	}
	j.next.records = appendRecord(j.next.records, record)
	return j.next
}

// Wait returns when the record is on disk, or why it is not. Whoever comes first
// writes for all who came in the meantime: many records, one fsync. After an
// error the journal is broken, and every later Wait says so.
func (c *Commit) Wait() error {
	j := c.journal
	j.disk.Lock()
	defer j.disk.Unlock()
	if !c.done {
		j.flush()
	}
	return c.err
}

// flush writes what was added. The caller holds disk.
func (j *Journal) flush() {
	j.mu.Lock()
	c := j.next
	j.next = nil
	broken := j.broken
	j.mu.Unlock()
	if c == nil {
		return
	}
	c.done = true
	if broken != nil {
		c.err = broken
		return
	}
	frame := appendFrame(nil, j.number+1, c.records)
	_, err := j.file.Write(frame)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		c.err = fmt.Errorf("durable: journal: %w", err)
		j.fail()
		return
	}
	j.number++
	j.mu.Lock()
	j.size += int64(len(frame))
	j.mu.Unlock()
}

func (j *Journal) fail() {
	j.mu.Lock()
	j.broken = ErrBroken
	j.mu.Unlock()
}

// Replace makes records the whole journal, atomically: a snapshot in the place of
// the history. What was added before is written first; the caller lets nobody
// add meanwhile. After an error the journal is broken.
func (j *Journal) Replace(records [][]byte) error {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.flush()
	j.mu.Lock()
	broken := j.broken
	j.mu.Unlock()
	if broken != nil {
		return broken
	}
	b, frames := snapshot(records)
	if err := WriteFile(j.path, b, 0o600); err != nil {
		j.fail()
		return err
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		j.fail()
		return fmt.Errorf("durable: journal: %w", err)
	}
	old := j.file
	j.file, j.number = f, frames
	j.mu.Lock()
	j.size = int64(len(b))
	j.mu.Unlock()
	old.Close() // nobody reads or writes it any more
	return nil
}

// Sync returns when everything that was added is on disk, or why it is not.
func (j *Journal) Sync() error {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.flush()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

// Size is how many bytes the journal has on disk. It does not wait for a write.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// Close writes what was added and closes the file. Later Waits say that the
// journal is broken.
func (j *Journal) Close() error {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.mu.Lock()
	c := j.next
	j.mu.Unlock()
	j.flush()
	j.fail()
	if c != nil && c.err != nil {
		return errors.Join(c.err, j.file.Close())
	}
	return j.file.Close()
}
