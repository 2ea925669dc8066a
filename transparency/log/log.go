// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package log is an append-only log on disk: leaves, tiles (C2SP tlog-tiles;
// RFC 6962 hashing) and the note over them. Tessera writes the tiles; what is
// added here is what a log whose index means something needs: an append that
// names its index and is found again after a crash, a signature only over what
// is durable, a refusal to open what is not what was signed, and a handler that
// shows only what was published.
//
// It does not know what a leaf means, asks no witness and reads no clock.
// Leaves are public; its one secret is the signer it is given, which never
// reaches Tessera. docs/spec/log.md says what readers rely on.
package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// Files of a log's directory.
const (
	tilesDir      = "tiles"      // Tessera's: tile/, .state/, and a checkpoint that is nobody's business
	signedFile    = "signed"     // the largest tree that the log's keys have signed
	publishedFile = "checkpoint" // the note that is served
	lockFile      = "lock"
)

// MaxLeaf is the largest leaf, in bytes.
const MaxLeaf = tiles.MaxEntry

var (
	// ErrTaken is the error of an [Log.AppendAt] whose index holds another leaf.
	ErrTaken = errors.New("log: the index holds another leaf")
	// ErrGap is the error of an [Log.AppendAt] beyond the end.
	ErrGap = errors.New("log: the index is beyond the end")
	// ErrUnknown is the error of an append that was handed over and not
	// acknowledged: the leaf may be in the log or not. Appending it again at the
	// same index finds out.
	ErrUnknown = errors.New("log: the append was not acknowledged")

	errClosed = errors.New("log: closed")
)

// A Config says what a log is.
type Config struct {
	// Dir holds everything, or everything but the tiles if Driver is set.
	Dir string
	// Signer has the log's origin and keys.
	Signer *transparency.Signer
	// Driver is where Tessera keeps the tiles. Nil: files in Dir. A larger operator
	// gives one of Tessera's others here, and sees to it that no second process
	// appends: the lock on Dir guards one machine only.
	Driver tessera.Driver
	// Batch is how long an append may wait for company. Default 5ms.
	Batch time.Duration

	// Write replaces a file durably. Nil: [durable.WriteFile]. Tests make it fail.
	Write func(path string, data []byte, perm fs.FileMode) error
}

// A Log is open in one process at a time. Its methods may run at the same time.
type Log struct {
	dir    string
	signer *transparency.Signer
	add    tessera.AddFn
	reader tessera.LogReader
	write  func(path string, data []byte, perm fs.FileMode) error
	stop   context.CancelFunc
	work   workers // Tessera's, until stop
	lock   *os.File

	// appends is held, shared by Append and alone by AppendAt, until the storage
	// has answered, even if the caller has gone: nobody judges the size while a
	// leaf is on its way.
	appends sync.RWMutex
	closed  bool // under appends

	mu     sync.Mutex // guards signed, and the files signed and published
	signed *transparency.Checkpoint

	published atomic.Pointer[transparency.Checkpoint]
}

// Close waits for appends under way, and for what Tessera does beside them, and lets
// go of the directory. An error means that something may still write there.
func (l *Log) Close() error {
	l.appends.Lock()
	defer l.appends.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.stop()
	if err := l.work.wait(); err != nil {
		return err // and keep the lock
	}
	return l.lock.Close()
}

// Origin is the log's name.
func (l *Log) Origin() string { return l.signer.Origin() }

// Append adds a leaf wherever it falls. When it returns nil, the leaf is durable
// and in the tree.
func (l *Log) Append(ctx context.Context, leaf []byte) (uint64, error) {
	l.appends.RLock()
	if l.closed {
		l.appends.RUnlock()
		return 0, errClosed
	}
	return l.hand(ctx, leaf, l.appends.RUnlock)
}

// AppendAt adds a leaf at index want, which must be the next one: nil means that
// the leaf is there, durable and in the tree, whether by this call or by an
// earlier one whose acknowledgement was lost. [ErrTaken]: another leaf is there.
// [ErrGap]: leaves before it are missing. Any other error leaves it open whether
// the leaf is there; ask again.
func (l *Log) AppendAt(ctx context.Context, want uint64, leaf []byte) error {
	l.appends.Lock()
	if l.closed {
		l.appends.Unlock()
		return errClosed
	}
	next, err := l.reader.NextIndex(ctx)
	switch {
	case err != nil:
		l.appends.Unlock()
		return fmt.Errorf("log: %w", err)
	case want > next:
		l.appends.Unlock()
		return fmt.Errorf("%w: %d of %d", ErrGap, want, next)
	case want < next:
		defer l.appends.Unlock()
		return l.find(ctx, want, leaf)
	}
	got, err := l.hand(ctx, leaf, l.appends.Unlock)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("log: leaf %d went to index %d: somebody else appends here", want, got)
	}
	return l.find(ctx, want, leaf) // read back: no storage's word is enough for what cannot be undone
}

// find compares a leaf with the one that is at its index already.
func (l *Log) find(ctx context.Context, index uint64, leaf []byte) error {
	if err := l.integrated(ctx, index); err != nil {
		return err
	}
	have, err := l.Leaf(ctx, index)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, leaf) {
		return fmt.Errorf("%w: %d", ErrTaken, index)
	}
	return nil
}

// hand gives a leaf to the storage and waits for its answer, for as long as ctx
// lets it. It calls release when the storage has answered.
func (l *Log) hand(ctx context.Context, leaf []byte, release func()) (uint64, error) {
	if len(leaf) > MaxLeaf {
		release()
		return 0, fmt.Errorf("log: leaf of %d bytes, at most %d", len(leaf), MaxLeaf)
	}
	type answer struct {
		index uint64
		err   error
	}
	done := make(chan answer, 1)
	work := context.WithoutCancel(ctx)
	future := l.add(work, tessera.NewEntry(bytes.Clone(leaf)))
	go func() { // Close waits for it: it holds the lock until release
		defer release()
		at, err := future()
		if err == nil {
			err = l.integrated(work, at.Index)
		}
		done <- answer{at.Index, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnknown, a.err)
		}
		return a.index, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

// integrated waits until the leaf at index is in the tree. On files it is when
// it has an index; Tessera's other drivers take a moment more.
func (l *Log) integrated(ctx context.Context, index uint64) error {
	for {
		size, err := l.Size(ctx)
		if err != nil || size > index {
			return err
		}
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Size is how many leaves are durable and in the tree.
func (l *Log) Size(ctx context.Context) (uint64, error) {
	n, err := l.reader.IntegratedSize(ctx)
	if err != nil {
		return 0, fmt.Errorf("log: size: %w", err)
	}
	return n, nil
}

// fetch reads a tile or bundle from the storage. It cuts it from the widest one
// there is: leaves that came in one batch left no narrower ones, and Tessera
// drops those that a full one has replaced.
func (l *Log) fetch(ctx context.Context, path string) ([]byte, error) {
	p, err := tiles.ParsePath(path)
	if err != nil {
		return nil, err
	}
	size, err := l.Size(ctx)
	if err != nil {
		return nil, err
	}
	wide, ok := p.Widest(size)
	if !ok || wide.Width < p.Width {
		return nil, fs.ErrNotExist
	}
	w := uint8(wide.Width % tiles.Width) // Tessera's way to say full is 0
	if p.Entries {
		b, err := l.reader.ReadEntryBundle(ctx, p.N, w)
		if err != nil {
			return nil, err
		}
		return tiles.CutBundle(b, p.Width)
	}
	b, err := l.reader.ReadTile(ctx, uint64(p.Level), p.N, w)
	if err != nil {
		return nil, err
	}
	if len(b) < p.Width*tiles.HashSize {
		return nil, fmt.Errorf("log: %s is too short", wide)
	}
	return b[:p.Width*tiles.HashSize], nil
}

// hashes reads the log's own hashes, which need no root to be believed: the
// root is computed from them.
func (l *Log) hashes(ctx context.Context, size uint64) (tlog.HashReader, error) {
	have, err := l.Size(ctx)
	if err != nil {
		return nil, err
	}
	if size > have {
		return nil, fmt.Errorf("log: %d leaves of %d", size, have)
	}
	return tiles.Own(ctx, have, l.fetch), nil
}

// Root is the hash of the first size leaves.
func (l *Log) Root(ctx context.Context, size uint64) ([32]byte, error) {
	r, err := l.hashes(ctx, size)
	if err != nil {
		return [32]byte{}, err
	}
	h, err := tlog.TreeHash(int64(size), r)
	if err != nil {
		return [32]byte{}, fmt.Errorf("log: root: %w", err)
	}
	return h, nil
}

// Leaf reads one leaf and checks it against its hash in the tree.
func (l *Log) Leaf(ctx context.Context, index uint64) ([]byte, error) {
	for leaf, err := range l.Leaves(ctx, index, index+1) {
		return leaf, err
	}
	return nil, fmt.Errorf("log: leaf %d", index)
}

// Tree is the first size leaves as a reader sees them, verified against the root
// that the log computes of them now.
func (l *Log) Tree(ctx context.Context, size uint64) (*tiles.Tree, error) {
	root, err := l.Root(ctx, size)
	if err != nil {
		return nil, err
	}
	return tiles.New(size, root, l.fetch), nil
}

// Prove makes the inclusion proof of the leaf at index in the first size leaves.
func (l *Log) Prove(ctx context.Context, index, size uint64) ([][32]byte, error) {
	t, err := l.Tree(ctx, size)
	if err != nil {
		return nil, err
	}
	return t.Prove(ctx, index)
}

// ProveConsistency makes the proof that the first size leaves extend the first
// old leaves. It is empty if old is 0 or size.
func (l *Log) ProveConsistency(ctx context.Context, old, size uint64) ([][32]byte, error) {
	t, err := l.Tree(ctx, size)
	if err != nil {
		return nil, err
	}
	return t.ProveConsistency(ctx, old)
}

// Checkpoint signs the whole tree as it is on disk and records that it did,
// before the note can leave. The note has the log's own signatures only; it is
// the same for the same tree.
func (l *Log) Checkpoint(ctx context.Context) ([]byte, *transparency.Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, err := l.Size(ctx)
	if err != nil {
		return nil, nil, err
	}
	if l.signed != nil {
		// Tiles that changed under a running process would make a second tree.
		if size < l.signed.Size {
			return nil, nil, rollback(l.signed.Size, size)
		}
		if root, err := l.Root(ctx, l.signed.Size); err != nil {
			return nil, nil, err
		} else if root != l.signed.Root {
			return nil, nil, rollback(l.signed.Size, size)
		}
	}
	root, err := l.Root(ctx, size)
	if err != nil {
		return nil, nil, err
	}
	b := l.signer.Sign(size, root)
	c, err := l.signer.Verify(b)
	if err != nil {
		return nil, nil, err
	}
	if l.signed == nil || l.signed.Size < size {
		if err := l.write(filepath.Join(l.dir, signedFile), b, 0o644); err != nil {
			return nil, nil, err
		}
		l.signed = c
	}
	return b, c, nil
}

// Publish makes a note the one that is served, and with it the leaves that it
// covers. It must be one of [Log.Checkpoint]'s, cosigned by whoever readers
// want to see, which the caller has checked, and not smaller than the one it
// replaces.
func (l *Log) Publish(ctx context.Context, b []byte) error {
	c, err := l.signer.Verify(b)
	if err != nil {
		return fmt.Errorf("log: publish: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if root, err := l.Root(ctx, c.Size); err != nil {
		return fmt.Errorf("log: publish: %w", err)
	} else if root != c.Root {
		return rollback(c.Size, c.Size)
	}
	if old := l.published.Load(); old != nil && c.Size < old.Size {
		return transparency.Refuse(transparency.CodeRollback, "publish: %d leaves after %d", c.Size, old.Size)
	}
	if err := l.write(filepath.Join(l.dir, publishedFile), c.Note, 0o644); err != nil {
		return err
	}
	l.published.Store(c)
	return nil
}

// Published is the note that is served, nil before the first.
func (l *Log) Published() *transparency.Checkpoint { return l.published.Load() }
