// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package durable

import (
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := Lock(path); err == nil {
		g.Close()
		t.Error("locked twice")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = Lock(path) // the file stays, the lock does not
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Lock(filepath.Join(path, "no", "folder")); err == nil {
		t.Error("locked where there is no folder")
	}
}
