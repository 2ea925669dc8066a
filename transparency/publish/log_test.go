// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/log"
	"github.com/sotto-project/sotto/transparency/statement"
)

const testOrigin = "log.example/sotto"

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// newLog creates and opens a log.
func newLog(t *testing.T) *Log {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	if err := CreateLog(dir, testOrigin, noon); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := OpenLog(dir, testOrigin, noon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// reopen is a crash and the start after it.
func reopen(t *testing.T, l *Log) *Log {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, l.dir)
}

// next is a small statement that follows l's last, with its pack.
func next(l *Log) (*statement.Statement, *statement.Pack) {
	e := l.Last().Epoch + 1
	start := noon.Add(time.Duration(e) * time.Hour)
	p := &statement.Pack{Epoch: e, Checkpoint: []byte("note")}
	p.Add([]byte("object"))
	return &statement.Statement{Epoch: e, NotBefore: start, NotAfter: start.Add(time.Hour), NextPublic: start.Add(50 * time.Minute), Beacon: l.Beacon()}, p
}

func commit(t *testing.T, l *Log, n int) {
	t.Helper()
	for range n {
		s, p := next(l)
		if err := l.Commit(s, p, noon); err != nil {
			t.Fatal(err)
		}
	}
}

// check verifies everything a log has said it holds.
func check(t *testing.T, l *Log) {
	t.Helper()
	for e := uint64(0); e <= l.Last().Epoch; e++ {
		b, err := l.Signed(e)
		if err != nil {
			t.Fatal(err)
		}
		s, err := statement.ParseSigned(b)
		if err != nil {
			t.Fatal(err)
		}
		st, _, err := s.Verify(l.Keys().Trust())
		if err != nil || st.Epoch != e {
			t.Errorf("epoch %d: %v", e, err)
		}
		if e > 0 {
			if prev, err := l.statement(t.Context(), e-1); err != nil || st.Follows(prev) != nil {
				t.Errorf("epoch %d does not follow", e)
			}
			if _, err := l.Pack(e); err != nil {
				t.Errorf("epoch %d has no pack: %v", e, err)
			}
		}
	}
}

func TestLogGrows(t *testing.T) {
	l := newLog(t)
	commit(t, l, 5)
	check(t, l)
	_, before, err := l.Checkpoint(noon)
	if err != nil {
		t.Fatal(err)
	}
	l = reopen(t, l)
	check(t, l)
	_, after, err := l.Checkpoint(noon.Add(time.Minute))
	if err != nil || after.Root != before.Root || after.Size != 6 || !after.Time.Equal(noon.Add(time.Minute)) {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestCreateRefusesToOverwrite(t *testing.T) {
	l := newLog(t)
	if err := CreateLog(l.dir, testOrigin, noon); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created over a log: %v", err)
	}
	if _, err := OpenLog(filepath.Join(t.TempDir(), "none"), testOrigin, noon); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened nothing: %v", err)
	}
	if err := CreateLog(filepath.Join(t.TempDir(), "x"), "two words", noon); err == nil {
		t.Error("accepted an unusable origin")
	}
	if _, err := OpenLog(l.dir, "other.example", noon); err == nil {
		t.Error("opened under another origin")
	}
	if err := os.Chmod(filepath.Join(l.dir, logKeyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(l.dir, testOrigin, noon); err == nil {
		t.Error("opened with a key that everybody can read")
	}
}

func TestCommitRefuses(t *testing.T) {
	l := newLog(t)
	commit(t, l, 1)
	for name, edit := range map[string]func(*statement.Statement){
		"an epoch again":   func(s *statement.Statement) { s.Epoch-- },
		"an epoch skipped": func(s *statement.Statement) { s.Epoch++ },
		"another beacon":   func(s *statement.Statement) { s.Beacon[0]++ },
		"a gap in time":    func(s *statement.Statement) { s.NotBefore = s.NotBefore.Add(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			s, p := next(l)
			edit(s)
			if err := l.Commit(s, p, noon); err == nil {
				t.Error("committed")
			}
			if l.Broken() || l.Last().Epoch != 1 {
				t.Error("a refusal changed the log")
			}
		})
	}
}

var errDisk = errors.New("disk: no space")

// faulty makes the nth write fail, after taking effect or instead.
func faulty(n int, took bool) disk {
	real, count := realDisk(), 0
	step := func(do func() error) error {
		count++
		if count != n {
			return do()
		}
		if took {
			if err := do(); err != nil {
				return err
			}
		}
		return errDisk
	}
	wrap := func(f func(string, []byte, fs.FileMode) error) func(string, []byte, fs.FileMode) error {
		return func(path string, b []byte, perm fs.FileMode) error {
			return step(func() error { return f(path, b, perm) })
		}
	}
	return disk{wrap(real.create), wrap(real.write), func(l *log.Log, ctx context.Context, index uint64, leaf []byte) error {
		return step(func() error { return real.appendAt(l, ctx, index, leaf) })
	}}
}

// For each write of a commit, failing with and without effect: what is the log
// afterwards, seen by the same process and by one that starts after a crash?
func TestCommitFailureTable(t *testing.T) {
	for _, row := range []struct {
		step      string
		n         int
		took      bool
		committed bool
	}{
		{"pack", 1, false, false},
		{"pack", 1, true, false},
		{"statement", 2, false, false},
		{"statement", 2, true, false},
		{"leaf", 3, false, false},
		{"leaf", 3, true, true},
		{"tree signed", 4, false, true},
		{"tree signed", 4, true, true},
		{"checkpoint", 5, false, true},
		{"checkpoint", 5, true, true},
		{"signed", 6, false, true},
		{"signed", 6, true, true},
	} {
		for _, crash := range []bool{false, true} {
			name := row.step + map[bool]string{true: " took effect", false: " did not"}[row.took] + map[bool]string{true: ", crash", false: ""}[crash]
			t.Run(name, func(t *testing.T) {
				l := newLog(t)
				commit(t, l, 2)
				l.disk = faulty(row.n, row.took)
				s, p := next(l)
				if err := l.Commit(s, p, noon); !errors.Is(err, errDisk) {
					t.Fatalf("got %v", err)
				}
				if _, _, err := l.Checkpoint(noon); err == nil {
					t.Error("signed while not knowing what the disk holds")
				}
				if err := l.Commit(s, p, noon); err == nil {
					t.Error("committed while not knowing what the disk holds")
				}
				l.disk = realDisk()
				if crash {
					l = reopen(t, l)
				} else if err := l.Reload(noon); err != nil {
					t.Fatal(err)
				}
				if got := l.Last().Epoch == 3; got != row.committed {
					t.Errorf("committed: %v, want %v", got, row.committed)
				}
				check(t, l)
				commit(t, l, 2)
				check(t, l)
				check(t, reopen(t, l))
			})
		}
	}
}

func TestCreateFailureTable(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for _, took := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "log")
			if err := createLog(dir, testOrigin, noon, faulty(n, took)); !errors.Is(err, errDisk) {
				t.Fatalf("write %d: %v", n, err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("write %d: half a log is there", n)
			}
			if err := CreateLog(dir, testOrigin, noon); err != nil {
				t.Errorf("write %d: the next try: %v", n, err)
			}
		}
	}
}

// Opening must not go on from leaves that are not those that were signed: the
// next signature would be a fork.
func TestOpenRefusesARestoredLog(t *testing.T) {
	leafOf := func(l *Log, e uint64) string {
		raw, err := l.tiles.Leaf(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := statement.ParseLeaf(raw)
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(l.dir, "statement", hex.EncodeToString(leaf.Statement[:]))
	}
	flip := func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[20] ^= 1
		return os.WriteFile(path, b, 0o644)
	}
	for name, harm := range map[string]func(*Log) error{
		"last statement gone":     func(l *Log) error { return os.Remove(leafOf(l, 3)) },
		"statement in the middle": func(l *Log) error { return os.Remove(leafOf(l, 1)) },
		"last statement replaced": func(l *Log) error {
			s, err := l.Statement(3)
			if err != nil {
				return err
			}
			s.MintGeneration++
			b, err := s.Append(nil)
			if err != nil {
				return err
			}
			return os.WriteFile(leafOf(l, 3), b, 0o644)
		},
		"statement damaged":   func(l *Log) error { return flip(leafOf(l, 2)) },
		"leaves damaged":      func(l *Log) error { return flip(filepath.Join(l.dir, "log/tiles/tile/entries/000.p/4")) },
		"tiles damaged":       func(l *Log) error { return flip(filepath.Join(l.dir, "log/tiles/tile/0/000.p/4")) },
		"checkpoint damaged":  func(l *Log) error { return os.WriteFile(filepath.Join(l.dir, "log/checkpoint"), []byte("x"), 0o644) },
		"signed tree damaged": func(l *Log) error { return os.WriteFile(filepath.Join(l.dir, "log/signed"), []byte("x"), 0o644) },
		"ML-DSA-44 key gone":  func(l *Log) error { return os.WriteFile(filepath.Join(l.dir, pqKeyFile), []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			commit(t, l, 3)
			if err := harm(l); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err := OpenLog(l.dir, testOrigin, noon); err == nil {
				l.Close()
				t.Error("opened")
			}
		})
	}
}

func TestRollbackIsNamed(t *testing.T) {
	l := newLog(t)
	commit(t, l, 2)
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(filepath.Join(l.dir, "log/tiles"))); err != nil {
		t.Fatal(err)
	}
	commit(t, l, 1)
	tiles := filepath.Join(l.dir, "log/tiles")
	if err := errors.Join(l.Close(), os.RemoveAll(tiles), os.CopyFS(tiles, os.DirFS(before))); err != nil {
		t.Fatal(err)
	}
	_, err := OpenLog(l.dir, testOrigin, noon)
	var e *transparency.Error
	if !errors.As(err, &e) || e.Code != transparency.CodeRollback {
		t.Errorf("AT-47: got %v", err)
	}
}

// A log made before there was an ML-DSA-44 key goes on with the one it has.
func TestClassicalLogGoesOn(t *testing.T) {
	l := newLog(t)
	dir := filepath.Join(t.TempDir(), "old")
	if err := errors.Join(l.Close(), os.MkdirAll(filepath.Join(dir, "statement"), 0o700), os.Mkdir(filepath.Join(dir, "pack"), 0o700), os.Mkdir(filepath.Join(dir, "signed"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{logKeyFile, clockKeyFile} {
		b, err := os.ReadFile(filepath.Join(l.dir, k))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, k), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin(dir, testOrigin, noon, realDisk()); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	if l.Trust().PostQuantum() || l.Trust().LogKeyPQ != "" {
		t.Error("a trust names a key that the log has not")
	}
	commit(t, l, 2)
	check(t, l)
}

func TestOldPacksGo(t *testing.T) {
	l := newLog(t)
	commit(t, l, keepPacks+2)
	if _, err := l.Pack(1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pack 1: %v", err)
	}
	if _, err := l.Pack(keepPacks + 2); err != nil {
		t.Error(err)
	}
}

// The keys never show in an error.
func TestKeyErrorsHoldNoKey(t *testing.T) {
	l := newLog(t)
	path := filepath.Join(l.dir, logKeyFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte("PRIVATE KEY"), []byte("SECRET STUFF"), 2), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = OpenLog(l.dir, testOrigin, noon)
	if secret := bytes.Split(b, []byte("\n"))[1]; err == nil || bytes.Contains([]byte(err.Error()), secret[:12]) {
		t.Errorf("got %v", err)
	}
}
