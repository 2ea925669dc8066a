// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
)

func statePath(dir string) string { return filepath.Join(dir, "state", fileName(origin)) }

// Whatever happens to the one write: no signature without a memory of it, and
// what was acknowledged is remembered after a restart.
func TestFailureTable(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for _, c := range []struct {
		name  string
		write func(path string, data []byte, perm fs.FileMode) error
		size  uint64 // remembered after the restart
	}{
		{"disk full", func(string, []byte, fs.FileMode) error { return full }, 5},
		{"disk full in the middle of the temporary file", func(path string, data []byte, perm fs.FileMode) error {
			os.WriteFile(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp1"), data[:len(data)/2], perm)
			return full
		}, 5},
		{"renamed, then the folder's sync fails", func(path string, data []byte, perm fs.FileMode) error {
			return errors.Join(durable.WriteFile(path, data, perm), errors.New("sync: input/output error"))
		}, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := newDir(t)
			store := fileStore(t, dir)
			w := newWorld(t, store)
			must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
			store.write = c.write
			for _, r := range []*Request{w.request(tree(1, 0, 9), 5)} {
				lines, err := w.AddCheckpoint(r)
				wantCode(t, err, CodeStore)
				if lines != nil {
					t.Error("signed without a memory of it")
				}
			}
			if status, _, answer := w.post(t, w.request(tree(1, 0, 9), c.size).Append(nil)); status != 500 || strings.Contains(answer, dir) || strings.Contains(answer, "—") {
				t.Errorf("%d %s", status, answer)
			}
			store.Close()
			w.store = fileStore(t, dir)
			w.open(t)
			// The log tries again, with what it knows, then with what it is told.
			_, err := w.AddCheckpoint(w.request(tree(1, 0, 9), 0))
			wantCode(t, err, CodeStale)
			if e := err.(*Error); e.Size != c.size {
				t.Errorf("remembers %d, want %d", e.Size, c.size)
			}
			if _, err := w.AddCheckpoint(w.request(tree(1, 0, 9), c.size)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Killed between keeping and answering: the log asks again and gets its line;
// the other branch gets none.
func TestCrashBeforeTheAnswer(t *testing.T) {
	dir := newDir(t)
	store := fileStore(t, dir)
	w := newWorld(t, store)
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	type crash struct{}
	store.write = func(path string, data []byte, perm fs.FileMode) error {
		if err := durable.WriteFile(path, data, perm); err != nil {
			t.Error(err)
		}
		panic(crash{})
	}
	func() {
		defer func() {
			if _, ok := recover().(crash); !ok {
				t.Error("no crash")
			}
		}()
		w.AddCheckpoint(w.request(tree(1, 5, 8), 5))
	}()
	store.Close()
	w.store = fileStore(t, dir)
	w.open(t)
	_, err := w.AddCheckpoint(w.request(tree(2, 5, 8), 5))
	wantCode(t, err, CodeFork)
	_, err = w.AddCheckpoint(w.request(tree(2, 5, 9), 5))
	wantCode(t, err, CodeStale)
	r := w.request(tree(1, 5, 8), 8)
	lines, err := w.AddCheckpoint(r)
	if err != nil {
		t.Fatal(err)
	}
	w.verify(t, r.Note, lines, noon)
}

// A restart keeps what was acknowledged, byte for byte.
func TestRestart(t *testing.T) {
	dir := newDir(t)
	store := fileStore(t, dir)
	w := newWorld(t, store)
	lines := must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	kept := must(os.ReadFile(statePath(dir)))
	if !bytes.HasSuffix(kept, lines) {
		t.Errorf("kept %q", kept)
	}
	if runtime.GOOS != "windows" {
		if _, err := OpenFileStore(dir); err == nil {
			t.Error("two processes could have one witness open")
		}
	}
	store.Close()
	w.store = fileStore(t, dir)
	w.open(t)
	w.at(noon.Add(time.Minute))
	if _, err := w.AddCheckpoint(w.request(tree(1, 0, 5), 5)); err != nil {
		t.Error(err)
	}
}

// A memory that is damaged, or another log's, is no empty memory.
func TestDamagedState(t *testing.T) {
	dir := newDir(t)
	w := newWorld(t, fileStore(t, dir))
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	good := string(must(os.ReadFile(statePath(dir))))
	other := must(transparency.NewSigner("other.example", key("o"))).Sign(5, [32]byte{1})
	for name, bad := range map[string]string{
		"empty":                  "",
		"another's empty memory": "sotto witness state 1\nempty other.example\n",
		"cut empty memory":       "sotto witness state 1\nempty " + origin,
		"cut":                    good[:len(good)/2],
		"one byte less":          good[:len(good)-1],
		"a byte more":            good + "\n",
		"other version":          strings.Replace(good, "state 1", "state 2", 1),
		"no time":                strings.Replace(good, "time ", "time x", 1),
		"time 0":                 strings.Replace(good, "time 1782907200", "time 0", 1),
		"zeros":                  strings.Replace(good, "time ", "time 0", 1),
		"other log":              "sotto witness state 1\ntime 1782907200\n\n" + string(other),
	} {
		t.Run(name, func(t *testing.T) {
			if bad == good {
				t.Fatal("not damaged")
			}
			if err := os.WriteFile(statePath(dir), []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, r := range []*Request{w.request(tree(1, 0, 5), 5), w.request(tree(2, 0, 5), 0), w.request(tree(1, 0, 9), 5)} {
				lines, err := w.AddCheckpoint(r)
				wantCode(t, err, CodeStore)
				if lines != nil {
					t.Error("signed")
				}
			}
		})
	}
	if err := os.WriteFile(statePath(dir), []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddCheckpoint(w.request(tree(1, 0, 5), 5)); err != nil {
		t.Error(err)
	}
}

// A memory that was lost is no empty memory: the witness signs no second history,
// says what to do, and does not start.
func TestLostState(t *testing.T) {
	dir := newDir(t)
	store := fileStore(t, dir)
	w := newWorld(t, store)
	var loud bytes.Buffer
	w.slog = slog.New(slog.NewTextHandler(&loud, nil))
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	if err := os.Remove(statePath(dir)); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Request{w.request(tree(2, 0, 5), 0), w.request(tree(1, 0, 5), 0), w.request(tree(1, 0, 9), 5), w.request(tree(1, 0, 0), 0)} {
		lines, err := w.AddCheckpoint(r)
		wantCode(t, err, CodeStore)
		if lines != nil {
			t.Error("signed")
		}
	}
	if !strings.Contains(loud.String(), "sotto-witness add-log") || !strings.Contains(loud.String(), "another name") {
		t.Errorf("does not say what to do: %s", &loud)
	}
	store.Close()
	cfg := Config{Listen: "127.0.0.1:0", Dir: dir, Name: myName, Logs: []Log{{Origin: origin, LogKey: w.signer.VKey()}}}
	if _, err := Open(cfg, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrNoMemory) || !strings.Contains(err.Error(), origin) {
		t.Errorf("started: %v", err)
	}
}

// A log is added once: adding it again does not make its memory empty.
func TestAddLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "w")
	if err := Create(dir, myName); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "two words", "a\nb"} {
		if err := AddLog(dir, bad); err == nil {
			t.Errorf("added %q", bad)
		}
	}
	if err := AddLog(dir, origin); err != nil {
		t.Fatal(err)
	}
	if got := must(os.ReadFile(statePath(dir))); string(got) != "sotto witness state 1\nempty "+origin+"\n" {
		t.Errorf("%q", got)
	}
	w := newWorld(t, fileStore(t, dir))
	if runtime.GOOS != "windows" {
		if err := AddLog(dir, "other.example"); err == nil {
			t.Error("added while the witness runs")
		}
	}
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	if err := w.store.(*FileStore).Add(origin); !errors.Is(err, fs.ErrExist) {
		t.Errorf("added again: %v", err)
	}
	_, err := w.AddCheckpoint(w.request(tree(2, 0, 5), 0))
	wantCode(t, err, CodeFork)
	if err := Create(filepath.Join(t.TempDir(), "w"), myName, "two words"); err == nil {
		t.Error("made for a log without a name")
	}
}

// Evidence that cannot be kept changes no answer.
func TestEvidenceUnwritable(t *testing.T) {
	store := fileStore(t, newDir(t))
	store.keep = func(string, []byte, fs.FileMode) error { return syscall.ENOSPC }
	w := newWorld(t, store)
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	_, err := w.AddCheckpoint(w.request(tree(2, 0, 5), 5))
	wantCode(t, err, CodeFork)
}

// A witness is made once, whole, and nothing makes an empty one by accident.
func TestCreate(t *testing.T) {
	dir := newDir(t)
	if err := Create(dir, myName); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made again: %v", err)
	}
	if err := Create(filepath.Join(t.TempDir(), "x"), "two words"); err == nil {
		t.Error("a name that cannot name a key")
	}
	both := must(OpenCosigners(dir, myName, true))
	one := must(OpenCosigners(dir, myName, false))
	if len(both) != 2 || len(one) != 1 || both[0].VKey() != one[0].VKey() {
		t.Errorf("%d and %d keys", len(both), len(one))
	}
	for _, file := range []string{keyFile, pqKeyFile} {
		path := filepath.Join(dir, file)
		raw := must(os.ReadFile(path))
		if runtime.GOOS != "windows" {
			if st := must(os.Stat(path)); st.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v", file, st.Mode())
			}
			if err := os.Chmod(path, 0o604); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenCosigners(dir, myName, true); err == nil {
				t.Errorf("%s: open to everybody, and read", file)
			}
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string][]byte{"empty": nil, "cut": raw[:len(raw)/2], "twice": append(bytes.Clone(raw), raw...)} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenCosigners(dir, myName, true); err == nil || strings.Contains(err.Error(), "MC4C") {
				t.Errorf("%s, %s: %v", file, name, err)
			}
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One key in the place of the other.
	ed, pq := must(os.ReadFile(filepath.Join(dir, keyFile))), must(os.ReadFile(filepath.Join(dir, pqKeyFile)))
	os.WriteFile(filepath.Join(dir, keyFile), pq, 0o600)
	if _, err := OpenCosigners(dir, myName, false); err == nil {
		t.Error("an ML-DSA-44 key read as Ed25519")
	}
	os.WriteFile(filepath.Join(dir, keyFile), ed, 0o600)
	os.WriteFile(filepath.Join(dir, pqKeyFile), ed, 0o600)
	if _, err := OpenCosigners(dir, myName, true); err == nil {
		t.Error("an Ed25519 key read as ML-DSA-44")
	}
	if _, err := OpenFileStore(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory is no witness: %v", err)
	}
}
