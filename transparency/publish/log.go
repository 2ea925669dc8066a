// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// keepPacks is how many epochs' packs stay on disk. Statements stay for ever.
const keepPacks = 32

// A Log is a directory that holds keys, leaves and what was signed:
//
//	log.key, clock.key    Ed25519, PKCS #8, 0600
//	leaf/<epoch>          a statement's bytes; existing means committed
//	pack/<epoch>          a statement.Pack; the newest ones
//	signed/<epoch>        a statement.Signed, as served
//	checkpoint            the newest checkpoint that may have left this machine
//
// One process at a time may have it open. Nothing is signed before its leaf is
// durable, and a leaf is never replaced, so a crash at any step cannot make
// this log sign two trees: what is missing after the leaf is made again by
// [OpenLog], what is missing before it never happened.
type Log struct {
	dir  string
	keys *Keys
	disk disk

	mu     sync.Mutex // guards what follows
	tree   transparency.Tree
	last   *statement.Statement
	leaf   []byte // bytes of last
	broken bool   // a write failed: the disk is the truth, memory may not be
}

func realDisk() disk { return disk{durable.CreateFile, durable.WriteFile} }

// CreateLog makes a new log in dir, which must not exist or be empty, with an
// empty statement as leaf 0. It appears as a whole or not at all.
func CreateLog(dir, origin string, now time.Time) error {
	return createLog(dir, origin, now, realDisk())
}

func createLog(dir, origin string, now time.Time, d disk) (err error) {
	if _, err := GenerateKeys(origin); err != nil { // the origin is usable
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("create log: %s is not empty: %w", dir, fs.ErrExist)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".log-*")
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	for _, sub := range []string{"leaf", "pack", "signed"} {
		if err := os.Mkdir(filepath.Join(tmp, sub), 0o700); err != nil {
			return fmt.Errorf("create log: %w", err)
		}
	}
	start := now.UTC().Truncate(time.Second)
	genesis := &statement.Statement{Empty: true, NotBefore: start, NotAfter: start, NextPublic: start}
	leaf, err := genesis.Append(nil)
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	if err := d.createKey(filepath.Join(tmp, logKeyFile)); err != nil {
		return err
	}
	if err := d.createKey(filepath.Join(tmp, clockKeyFile)); err != nil {
		return err
	}
	if err := d.create(filepath.Join(tmp, "leaf", name(0)), leaf, 0o644); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	return syncDir(parent)
}

// OpenLog opens what [CreateLog] made, checks that every leaf follows the one
// before it and that the tree still contains what was signed, and finishes a
// commit that a crash cut short. An error that is [fs.ErrNotExist] means that
// no log is there.
func OpenLog(dir, origin string, now time.Time) (*Log, error) {
	return openLog(dir, origin, now, realDisk())
}

func openLog(dir, origin string, now time.Time, d disk) (*Log, error) {
	keys, err := OpenKeys(dir, origin)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, keys: keys, disk: d}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l, l.load(now)
}

// load reads everything from the disk. Callers hold mu.
func (l *Log) load(now time.Time) error {
	l.tree, l.last, l.leaf, l.broken = transparency.Tree{}, nil, nil, true
	entries, err := os.ReadDir(filepath.Join(l.dir, "leaf"))
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // a temporary file that a crash left
		}
		if want := name(l.tree.Size()); e.Name() != want {
			return fmt.Errorf("open log: found leaf %s where %s should be", e.Name(), want)
		}
		if err := l.loadLeaf(filepath.Join(l.dir, "leaf", e.Name())); err != nil {
			return err
		}
	}
	if l.last == nil {
		return fmt.Errorf("open log: %s holds no leaf", l.dir)
	}
	if err := l.compareSigned(); err != nil {
		return err
	}
	if err := l.finish(now); err != nil {
		return err
	}
	l.broken = false
	return nil
}

func (l *Log) loadLeaf(path string) error {
	leaf, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	st, err := statement.Parse(leaf)
	if err != nil {
		return fmt.Errorf("open log: %s: %w", path, err)
	}
	if l.last != nil {
		err = st.Follows(l.leaf)
	} else if st.Epoch != 0 {
		err = errors.New("the first leaf is not epoch 0")
	}
	if err != nil {
		return fmt.Errorf("open log: %s: %w", path, err)
	}
	l.last, l.leaf = st, leaf
	return l.tree.Append(leaf)
}

// compareSigned refuses a directory whose leaves are not those that were
// signed: a backup of leaves restored beside a newer checkpoint, say. Going on
// would be a fork. A wholly restored directory looks fine from inside; only
// those who saw the newer log can tell.
func (l *Log) compareSigned() error {
	note, err := os.ReadFile(filepath.Join(l.dir, "checkpoint"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	c, err := l.keys.Trust().ParseCheckpoint(note)
	if err != nil {
		return fmt.Errorf("open log: checkpoint: %w", err)
	}
	root, err := l.tree.Root(min(c.Size, l.tree.Size()))
	if err != nil || c.Size > l.tree.Size() || root != c.Root {
		return fmt.Errorf("open log: %w", transparency.Refuse(transparency.CodeRollback,
			"the log was signed at %d leaves and these %d are not them; restore the leaves, or start a log of another origin", c.Size, l.tree.Size()))
	}
	return nil
}

// finish makes what follows from the last leaf and is not on disk yet.
func (l *Log) finish(now time.Time) error {
	for _, e := range []uint64{l.last.Epoch - 1, l.last.Epoch} {
		if e > l.last.Epoch { // epoch 0 has none before it
			continue
		}
		if _, err := os.Stat(l.path("signed", e)); err == nil {
			continue
		}
		if err := l.sign(e, now); err != nil {
			return err
		}
	}
	return nil
}

// sign writes signed/<epoch> over the whole tree.
func (l *Log) sign(epoch uint64, now time.Time) error {
	note, err := l.checkpoint(now)
	if err != nil {
		return err
	}
	leaf, err := os.ReadFile(l.path("leaf", epoch))
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	proof, err := l.tree.Prove(epoch, l.tree.Size())
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	signed, err := (&statement.Signed{Leaf: leaf, Index: epoch, Proof: proof, Checkpoint: note}).Append(nil)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return l.disk.write(l.path("signed", epoch), signed, 0o644)
}

// checkpoint signs and cosigns the whole tree and records that it did before
// the note can leave.
func (l *Log) checkpoint(now time.Time) ([]byte, error) {
	root, err := l.tree.Root(l.tree.Size())
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	note, err := l.keys.Clock.Cosign(l.keys.Log.Sign(l.tree.Size(), root), now)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return note, l.disk.write(filepath.Join(l.dir, "checkpoint"), note, 0o644)
}

var errBroken = errors.New("log: an earlier write failed; Reload first")

// Checkpoint signs the log as it is, cosigned at now.
func (l *Log) Checkpoint(now time.Time) ([]byte, *transparency.Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return nil, nil, errBroken
	}
	note, err := l.checkpoint(now)
	if err != nil {
		return nil, nil, err
	}
	c, err := l.keys.Trust().ParseCheckpoint(note)
	return note, c, err
}

// Commit appends a statement, with its pack unless it is empty. When it returns
// nil the statement is durable and signed. When it does not, the statement may
// be committed or not, and the Log refuses everything until [Log.Reload] has
// found out which.
func (l *Log) Commit(s *statement.Statement, pack *statement.Pack, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errBroken
	}
	leaf, err := s.Append(nil)
	if err != nil {
		return err
	}
	if err := s.Follows(l.leaf); err != nil {
		return err
	}
	var packed []byte
	if !s.Empty {
		if packed, err = pack.Append(nil); err != nil {
			return err
		}
	}
	l.broken = true
	if packed != nil {
		// Not committed yet, so what an earlier attempt left may be replaced.
		if err := l.disk.write(l.path("pack", s.Epoch), packed, 0o644); err != nil {
			return err
		}
	}
	if err := l.disk.create(l.path("leaf", s.Epoch), leaf, 0o644); err != nil {
		return err
	}
	if err := l.tree.Append(leaf); err != nil {
		return err
	}
	l.last, l.leaf = s, leaf
	if err := l.sign(s.Epoch, now); err != nil {
		return err
	}
	if s.Epoch >= keepPacks {
		os.Remove(l.path("pack", s.Epoch-keepPacks)) // tidiness only: a pack left behind harms nobody
	}
	l.broken = false
	return nil
}

// Reload reads everything from the disk again.
func (l *Log) Reload(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.load(now)
}

// Broken reports whether a write failed since the last [Log.Reload].
func (l *Log) Broken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Last is the newest statement. It is not to be changed.
func (l *Log) Last() *statement.Statement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Beacon is what the next statement's Beacon must be.
func (l *Log) Beacon() [32]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return statement.LeafHash(l.leaf)
}

// Keys are the log's own.
func (l *Log) Keys() *Keys { return l.keys }

// Statement reads the leaf of an epoch.
func (l *Log) Statement(epoch uint64) (*statement.Statement, error) {
	leaf, err := os.ReadFile(l.path("leaf", epoch))
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return statement.Parse(leaf)
}

// Signed reads the bytes of an epoch's statement.Signed.
func (l *Log) Signed(epoch uint64) ([]byte, error) { return os.ReadFile(l.path("signed", epoch)) }

// Pack reads the bytes of an epoch's statement.Pack.
func (l *Log) Pack(epoch uint64) ([]byte, error) { return os.ReadFile(l.path("pack", epoch)) }

func (l *Log) path(kind string, epoch uint64) string { return filepath.Join(l.dir, kind, name(epoch)) }

// name sorts like the number it prints.
func name(epoch uint64) string { return fmt.Sprintf("%016d", epoch) }

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}
