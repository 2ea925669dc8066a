// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package durable writes small files so that a crash leaves the old contents
// or the new, and so that a returned nil means the bytes are on disk.
//
// The sequence is: create a temporary file in the target's folder, write,
// fsync, close, rename (or link), fsync the folder. Writing does not lock: two
// writers of one path are the caller's mistake, and [Lock] is how callers keep a
// second process out of a folder.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// BUG: on Windows folders cannot be fsynced, so there a power cut can undo a
// rename that was reported as done.

// WriteFile replaces the contents of path with data, atomically. The file's
// permissions become perm exactly: the umask is not consulted.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	tmp, err := temporary(path, data, perm)
	if err != nil {
		return fmt.Errorf("durable: write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("durable: write %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// CreateFile creates path with data, atomically, and refuses with an error
// that is [fs.ErrExist] when path is there already, whatever it is.
func CreateFile(path string, data []byte, perm fs.FileMode) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("durable: create %s: %w", path, fs.ErrExist)
	}
	tmp, err := temporary(path, data, perm)
	if err != nil {
		return fmt.Errorf("durable: create %s: %w", path, err)
	}
	// Link, not rename: it fails when another process was first.
	err = os.Link(tmp, path)
	if rm := os.Remove(tmp); err == nil {
		err = rm
	}
	if err != nil {
		return fmt.Errorf("durable: create %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// temporary leaves data, synced, in a new file beside path.
func temporary(path string, data []byte, perm fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(perm); err != nil && runtime.GOOS != "windows" {
		return "", err
	}
	if _, err := f.Write(data); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// MkdirAll makes a folder and those above it that are missing, as [os.MkdirAll]
// does, so that they survive a crash: a synced file goes with a folder whose own
// name did not reach the disk.
func MkdirAll(path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	parent := filepath.Dir(path)
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	} else if errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil {
		if st, again := os.Stat(path); again != nil || !st.IsDir() { // or somebody else was quicker
			return fmt.Errorf("durable: %w", err)
		}
	}
	return SyncDir(parent)
}

// SyncDir makes what was created, renamed or removed in dir survive a crash.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("durable: sync %s: %w", dir, err)
	}
	return nil
}
