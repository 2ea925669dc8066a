// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
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
	return reopen(t, dir)
}

func reopen(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := OpenLog(dir, testOrigin, noon)
	if err != nil {
		t.Fatal(err)
	}
	return l
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
			if prev, err := os.ReadFile(l.path("leaf", e-1)); err != nil || st.Follows(prev) != nil {
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
	l = reopen(t, l.dir)
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
	wrap := func(f func(string, []byte, fs.FileMode) error) func(string, []byte, fs.FileMode) error {
		return func(path string, b []byte, perm fs.FileMode) error {
			count++
			if count != n {
				return f(path, b, perm)
			}
			if took {
				if err := f(path, b, perm); err != nil {
					return err
				}
			}
			return errDisk
		}
	}
	return disk{wrap(real.create), wrap(real.write)}
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
		{"leaf", 2, false, false},
		{"leaf", 2, true, true},
		{"checkpoint", 3, false, true},
		{"checkpoint", 3, true, true},
		{"signed", 4, false, true},
		{"signed", 4, true, true},
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
					l = reopen(t, l.dir)
				} else if err := l.Reload(noon); err != nil {
					t.Fatal(err)
				}
				if got := l.Last().Epoch == 3; got != row.committed {
					t.Errorf("committed: %v, want %v", got, row.committed)
				}
				check(t, l)
				commit(t, l, 2)
				check(t, l)
				check(t, reopen(t, l.dir))
			})
		}
	}
}

func TestCreateFailureTable(t *testing.T) {
	for n := 1; n <= 3; n++ {
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
	for name, harm := range map[string]func(*Log) error{
		"last leaf gone": func(l *Log) error { return os.Remove(l.path("leaf", 3)) },
		"leaf in the middle gone": func(l *Log) error {
			return os.Remove(l.path("leaf", 1))
		},
		"last leaf replaced": func(l *Log) error {
			s, err := l.Statement(3)
			if err != nil {
				return err
			}
			s.MintGeneration++
			b, err := s.Append(nil)
			if err != nil {
				return err
			}
			return os.WriteFile(l.path("leaf", 3), b, 0o644)
		},
		"leaf damaged": func(l *Log) error {
			b, err := os.ReadFile(l.path("leaf", 2))
			if err != nil {
				return err
			}
			b[20] ^= 1
			return os.WriteFile(l.path("leaf", 2), b, 0o644)
		},
		"checkpoint damaged": func(l *Log) error { return os.WriteFile(filepath.Join(l.dir, "checkpoint"), []byte("x"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			commit(t, l, 3)
			if err := harm(l); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenLog(l.dir, testOrigin, noon); err == nil {
				t.Error("opened")
			}
		})
	}
}

func TestRollbackIsNamed(t *testing.T) {
	l := newLog(t)
	commit(t, l, 3)
	if err := os.Remove(l.path("leaf", 3)); err != nil {
		t.Fatal(err)
	}
	_, err := OpenLog(l.dir, testOrigin, noon)
	var e *transparency.Error
	if !errors.As(err, &e) || e.Code != transparency.CodeRollback {
		t.Errorf("got %v", err)
	}
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
