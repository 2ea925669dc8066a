// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// Create makes an empty log in cfg.Dir, which must not exist or be empty. It
// appears as a whole or not at all.
func Create(cfg Config) (err error) {
	if cfg.Signer == nil {
		return errors.New("create log: no signer")
	}
	if entries, err := os.ReadDir(cfg.Dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("create log: %s is not empty: %w", cfg.Dir, fs.ErrExist)
	}
	parent := filepath.Dir(filepath.Clean(cfg.Dir))
	if err := durable.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".log-*")
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	defer os.RemoveAll(tmp)
	dir := cfg.Dir
	cfg.Dir = tmp
	l, err := start(cfg)
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	return durable.SyncDir(parent)
}

// Open opens what [Create] made. It refuses, as [transparency.CodeRollback], a
// directory that holds fewer leaves than were signed, or others: going on would
// be a fork. A whole directory restored from a backup looks fine from inside;
// only witnesses and readers who saw the newer log can tell. An error that is
// [fs.ErrNotExist] means that no log is there.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if cfg.Signer == nil {
		return nil, errors.New("open log: no signer")
	}
	if _, err := os.Stat(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if cfg.Driver == nil {
		// Tessera would begin an empty log here.
		if _, err := os.Stat(filepath.Join(cfg.Dir, tilesDir, ".state", "treeState")); err != nil {
			return nil, fmt.Errorf("open log: no tiles: %w", err)
		}
	}
	l, err := start(cfg)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := l.Check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), l.Close())
	}
	return l, nil
}

// start locks the directory and starts Tessera. The context of its work is the
// Log's, ended by Close.
func start(cfg Config) (*Log, error) {
	quiet()
	l := &Log{dir: cfg.Dir, signer: cfg.Signer, write: cfg.Write}
	if l.write == nil {
		l.write = durable.WriteFile
	}
	var err error
	if l.lock, err = durable.Lock(filepath.Join(cfg.Dir, lockFile)); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	driver := cfg.Driver
	if driver == nil {
		if driver, err = posix.New(ctx, posix.Config{Path: filepath.Join(cfg.Dir, tilesDir)}); err != nil {
			stop()
			return nil, errors.Join(err, l.lock.Close())
		}
	}
	internal, err := internalSigner(cfg.Signer.Origin())
	if err != nil {
		stop()
		return nil, errors.Join(err, l.lock.Close())
	}
	batch := cfg.Batch
	if batch == 0 {
		batch = 5 * time.Millisecond
	}
	opts := tessera.NewAppendOptions().WithCheckpointSigner(internal).WithBatching(tessera.DefaultBatchMaxSize, batch)
	var appender *tessera.Appender
	l.work.start(ctx, func(ctx context.Context) { appender, _, l.reader, err = tessera.NewAppender(ctx, driver, opts) })
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.add = appender.Add
	return l, nil
}

// internalSigner signs the checkpoints by which Tessera remembers what it has
// integrated. Nobody verifies them, so its key is made anew and kept nowhere;
// the log's own keys sign only in [Log.Checkpoint].
func internalSigner(origin string) (note.Signer, error) {
	skey, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	return note.NewSigner(skey)
}

// Check compares what is there with what was signed, and the leaves that have
// not been signed yet with their tiles. [Open] has done it; it is for whoever
// distrusts the disk since.
func (l *Log) Check(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, err := l.Size(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{signedFile, publishedFile} {
		b, err := os.ReadFile(filepath.Join(l.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		c, err := l.signer.Verify(b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if c.Size > size {
			return rollback(c.Size, size)
		}
		if root, err := l.Root(ctx, c.Size); err != nil {
			return errors.Join(rollback(c.Size, size), err)
		} else if root != c.Root {
			return rollback(c.Size, size)
		}
		if l.signed == nil || c.Size > l.signed.Size {
			l.signed = c
		}
		if name == publishedFile {
			l.published.Store(c)
		}
	}
	root, err := l.Root(ctx, size)
	if err != nil {
		return err
	}
	from := uint64(0)
	if l.signed != nil {
		from = l.signed.Size - min(l.signed.Size, 1) // the last signed one, too
	}
	for _, err := range tiles.New(size, root, l.fetch).Leaves(ctx, from, size) {
		if err != nil {
			return err
		}
	}
	return nil
}

func rollback(signed, size uint64) error {
	return transparency.Refuse(transparency.CodeRollback,
		"the log was signed at %d leaves and these %d are not them; restore the leaves, or start a log of another origin", signed, size)
}
