// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sotto-project/sotto/internal/durable"
)

// alone fails when anything but the named file is left in its folder.
func alone(t *testing.T, path string) {
	t.Helper()
	es, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if e.Name() != filepath.Base(path) {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"one", "", "three"} {
		if err := durable.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Fatalf("got %q, %v", got, err)
		}
		alone(t, path)
	}
	if st, err := os.Stat(path); err != nil || (runtime.GOOS != "windows" && st.Mode().Perm() != 0o600) {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestWriteFileIntoAFolderThatIsNotThere(t *testing.T) {
	if err := durable.WriteFile(filepath.Join(t.TempDir(), "no", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestWriteFileOverAFolderLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Error("replaced a folder")
	}
	alone(t, path)
}

func TestCreateFileRefusesToOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := durable.CreateFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.CreateFile(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "one" {
		t.Errorf("got %q", got)
	}
	alone(t, path)
}

func TestCreateFileHasOneWinner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if durable.CreateFile(path, []byte("x"), 0o600) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d winners", won.Load())
	}
	alone(t, path)
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		ok   bool
	}{
		{filepath.Join(dir, "a"), true}, {filepath.Join(dir, "a"), true}, {filepath.Join(dir, "b", "c", "d") + "/", true}, {dir, true}, {"/", true}, {".", true},
		{file, false}, {filepath.Join(file, "a"), false}, {filepath.Join(file, "a", "b"), false}, {"", true},
	} {
		if err := durable.MkdirAll(c.path, 0o700); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.path, err)
		}
		if st, err := os.Stat(filepath.Clean(c.path)); c.ok && (err != nil || !st.IsDir()) {
			t.Errorf("%q: %v", c.path, err)
		}
	}
	deep := filepath.Join(dir, "x", "y", "z")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := durable.MkdirAll(deep, 0o700); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
