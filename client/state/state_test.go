// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
)

const origin = "state.invalid/SIMULATED"

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// A signer signs checkpoints of a tree that is not there: only sizes matter.
type signer struct {
	trust transparency.Trust
	log   *transparency.Signer
	clock *transparency.Cosigner
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	key := func(name string) ed25519.PrivateKey {
		seed := sha256.Sum256([]byte("state test key " + name))
		return ed25519.NewKeyFromSeed(seed[:])
	}
	log, err := transparency.NewSigner(origin, key("log"))
	if err != nil {
		t.Fatal(err)
	}
	clock, err := transparency.NewCosigner(origin+"/clock", key("clock"))
	if err != nil {
		t.Fatal(err)
	}
	return &signer{transparency.Trust{Origin: origin, LogKey: log.VKey(), Witnesses: []string{clock.VKey()}, Quorum: 1}, log, clock}
}

func (s *signer) point(t testing.TB, size uint64, root byte) *transparency.Checkpoint {
	t.Helper()
	note, err := s.clock.Cosign(s.log.Sign(size, [32]byte{root, byte(size)}), noon)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.trust.ParseCheckpoint(note)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func epoch(n uint64) *Epoch { return &Epoch{n, sha256.Sum256(fmt.Append(nil, n))} }

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestMemory(t *testing.T) {
	s, dir := newSigner(t), t.TempDir()
	d := New(filepath.Join(dir, "deep", "state"), s.trust)
	m, err := d.Load()
	if m != nil || err != nil {
		t.Fatal(m, err)
	}
	for n := uint64(1); n <= 12; n++ {
		if m, err = d.Store(m, s.point(t, n+1, 0), epoch(n), noon.Add(time.Duration(n)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	again, err := New(filepath.Join(dir, "deep", "state"), s.trust).Load()
	if err != nil || again.Point.Size != 13 || len(again.Epochs) != keepEpochs || !again.Since.Equal(noon.Add(time.Hour)) || !again.Seen.Equal(noon.Add(12*time.Hour)) {
		t.Fatalf("%+v %v", again, err)
	}
	if h, ok := again.Highest(); !ok || h != *epoch(12) {
		t.Errorf("%+v", h)
	}
	if leaf, ok := again.Leaf(5); !ok || leaf != epoch(5).Leaf {
		t.Error("epoch 5 is forgotten")
	}
	if files, _ := os.ReadDir(d.memoryDir()); len(files) != 2 {
		t.Errorf("%d files", len(files))
	}
	t.Run("AT-47/never back", func(t *testing.T) {
		for _, c := range []struct {
			size uint64
			e    *Epoch
		}{{2, nil}, {13, epoch(3)}, {1, epoch(1)}} {
			if got, err := d.Store(m, s.point(t, c.size, 0), c.e, noon); err != nil || got.Point.Size != 13 || got.Epochs[0] != *epoch(12) {
				t.Errorf("%v: %+v %v", c, got, err)
			}
		}
	})
	t.Run("another trust", func(t *testing.T) {
		other := s.trust
		other.Quorum, other.Witnesses = 2, append(other.Witnesses, newSigner(t).clock.VKey())
		if _, err := New(filepath.Join(dir, "deep", "state"), other).Load(); code(err) != CodeUnreadable {
			t.Errorf("other keys: %v", err)
		}
		other = s.trust
		other.Origin = "elsewhere.invalid"
		e := New(filepath.Join(dir, "deep", "state"), other)
		if m, err := e.Load(); m != nil || err != nil {
			t.Errorf("another log has a memory: %v %v", m, err)
		}
		if err := os.Rename(d.path, e.path); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Load(); code(err) != CodeUnreadable {
			t.Errorf("a memory under another log's name: %v", err)
		}
		if err := os.Rename(e.path, d.path); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("forget", func(t *testing.T) {
		aside, err := d.Forget(noon)
		if err != nil || !strings.Contains(aside, ".forgotten-20261129T120000Z") {
			t.Fatal(aside, err)
		}
		if m, err := d.Load(); m != nil || err != nil {
			t.Error(m, err)
		}
		if _, err := os.Stat(filepath.Join(aside, "memory")); err != nil {
			t.Error(err)
		}
		if aside, err := d.Forget(noon); aside != "" || err != nil {
			t.Error(aside, err)
		}
	})
}

// TestUnreadable: what cannot be read refuses, and never begins anew.
func TestUnreadable(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, d *Dir, newest string){
		"a byte flipped": func(t *testing.T, _ *Dir, f string) { edit(t, f, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) },
		"cut":            func(t *testing.T, _ *Dir, f string) { edit(t, f, func(b []byte) []byte { return b[:len(b)-5] }) },
		"empty":          func(t *testing.T, _ *Dir, f string) { edit(t, f, func([]byte) []byte { return nil }) },
		"longer":         func(t *testing.T, _ *Dir, f string) { edit(t, f, func(b []byte) []byte { return append(b, '\n') }) },
		"too long": func(t *testing.T, _ *Dir, f string) {
			edit(t, f, func([]byte) []byte { return make([]byte, maxMemory+1) })
		},
		"of another spelling": func(t *testing.T, _ *Dir, f string) {
			edit(t, f, func(b []byte) []byte { return bytes.Replace(b, []byte("since "), []byte("since 0"), 1) })
		},
		"a folder": func(t *testing.T, _ *Dir, f string) {
			if err := errors.Join(os.Remove(f), os.Mkdir(f, 0o700)); err != nil {
				t.Fatal(err)
			}
		},
		"something else beside it": func(t *testing.T, d *Dir, _ string) {
			if err := os.WriteFile(filepath.Join(d.memoryDir(), "notes"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a file for the folder": func(t *testing.T, d *Dir, _ string) {
			if err := errors.Join(os.RemoveAll(d.memoryDir()), os.WriteFile(d.memoryDir(), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigner(t)
			d := New(t.TempDir(), s.trust)
			m, err := d.Store(nil, s.point(t, 5, 0), epoch(4), noon)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, d, filepath.Join(d.memoryDir(), name0(t, d)))
			if got, err := d.Load(); code(err) != CodeUnreadable || got != nil {
				t.Errorf("%v %v", got, err)
			}
			if _, err := d.Store(m, s.point(t, 6, 0), nil, noon); code(err) != CodeUnreadable {
				t.Errorf("stored: %v", err)
			}
		})
	}
}

func name0(t *testing.T, d *Dir) string {
	t.Helper()
	n, err := d.numbers()
	if err != nil || len(n) == 0 {
		t.Fatal(n, err)
	}
	return name(n[len(n)-1])
}

func edit(t *testing.T, file string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

var errDisk = errors.New("the disk is full")

// TestFailures: each write fails once, before or after it did its work (which is
// what a kill between two steps leaves). The old memory or the new is there
// afterwards, a failure is said, and the next attempt succeeds.
func TestFailures(t *testing.T) {
	s := newSigner(t)
	e := fork.New(fork.Roots, s.point(t, 5, 0).Note, s.point(t, 5, 1).Note)
	for _, after := range []bool{false, true} {
		for step := range 3 {
			t.Run(fmt.Sprint("step ", step, " after ", after), func(t *testing.T) {
				d := New(t.TempDir(), s.trust)
				old, err := d.Store(nil, s.point(t, 5, 0), epoch(4), noon)
				if err != nil {
					t.Fatal(err)
				}
				real, armed := d.disk, true
				fails := func(at int, do func() error) error {
					if !armed || at != step {
						return do()
					}
					armed = false
					if after {
						return errors.Join(do(), errDisk)
					}
					return errDisk
				}
				d.disk = disk{
					func(p string, m fs.FileMode) error { return fails(0, func() error { return real.mkdir(p, m) }) },
					func(p string, b []byte, m fs.FileMode) error {
						return fails(1, func() error { return real.create(p, b, m) })
					},
					func(p string) error { return fails(2, func() error { return real.remove(p) }) },
				}
				m, err := d.Store(old, s.point(t, 6, 0), epoch(5), noon)
				if step < 2 && (code(err) != CodeUnwritable || !strings.Contains(err.Error(), errDisk.Error())) {
					t.Errorf("%v %v", m, err)
				}
				kept, err := New(filepath.Dir(d.path), s.trust).Load() // another process
				if err != nil || kept.Point.Size < 5 || kept.Point.Size > 6 {
					t.Fatalf("%+v %v", kept, err)
				}
				if m, err = d.Store(kept, s.point(t, 6, 0), epoch(5), noon); err != nil || m.Point.Size != 6 {
					t.Errorf("the next attempt: %+v %v", m, err)
				}
				if step == 2 {
					return
				}
				armed = true
				if _, err := d.Keep(e, noon); code(err) != CodeUnwritable {
					t.Errorf("evidence: %v", err)
				}
				file, err := d.Keep(e, noon)
				if b, rerr := os.ReadFile(file); err != nil || rerr != nil || !bytes.Equal(b, e.Append(nil)) {
					t.Errorf("evidence: %v %v", err, rerr)
				}
			})
		}
	}
	t.Run("what a crash leaves is ignored", func(t *testing.T) {
		d := New(t.TempDir(), s.trust)
		if _, err := d.Store(nil, s.point(t, 5, 0), nil, noon); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{d.memoryDir(), d.evidenceDir()} {
			if err := errors.Join(os.MkdirAll(f, 0o700), os.WriteFile(filepath.Join(f, ".x.txt.tmp1.txt"), []byte("half"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := d.Load(); err != nil || m.Point.Size != 5 {
			t.Error(m, err)
		}
		if files, err := d.Evidence(); err != nil || len(files) > 0 {
			t.Error(files, err)
		}
	})
}

// TestTwoProcesses: many writers of one memory. Each compares with what is
// there and stores what is larger; it never goes back, and nothing is lost.
func TestTwoProcesses(t *testing.T) {
	s, dir := newSigner(t), t.TempDir()
	const writers, rounds = 4, 25
	stop := make(chan struct{})
	var watcher, wg sync.WaitGroup
	watcher.Go(func() {
		d, last := New(dir, s.trust), uint64(0)
		for {
			m, err := d.Load()
			if err != nil {
				t.Errorf("a reader: %v", err)
			}
			if m != nil && m.Point.Size < last {
				t.Errorf("went back from %d to %d", last, m.Point.Size)
			}
			if m != nil {
				last = m.Point.Size
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range writers {
		wg.Go(func() {
			d := New(dir, s.trust)
			for n := range rounds {
				size := uint64(n*writers + i + 1)
				for {
					old, err := d.Load()
					if err != nil {
						t.Errorf("load: %v", err)
						return
					}
					m, err := d.Store(old, s.point(t, size, 0), epoch(size), noon)
					if errors.Is(err, ErrChanged) {
						continue
					}
					if err != nil || m.Point.Size < size || m.Epochs[0].Number < size {
						t.Errorf("%+v %v", m, err)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	watcher.Wait()
	m, err := New(dir, s.trust).Load()
	if err != nil || m.Point.Size != writers*rounds {
		t.Errorf("%+v %v", m, err)
	}
	// A writer that compared with what is no longer there.
	old := (*Memory)(nil).With(s.point(t, 1, 0), nil, noon)
	if _, err := New(dir, s.trust).Store(old, s.point(t, 1000, 0), nil, noon); !errors.Is(err, ErrChanged) {
		t.Errorf("%v", err)
	}
}

// TestEvidence: kept once, never overwritten, a bounded number.
// TestWriterThatStoodStill: AT-47: one that stopped between looking and writing may
// find its number free again, because others have used it and gone on, and must not
// believe that what it wrote there is the memory.
func TestWriterThatStoodStill(t *testing.T) {
	s, dir := newSigner(t), t.TempDir()
	d, other := New(dir, s.trust), New(dir, s.trust)
	old, err := d.Store(nil, s.point(t, 5, 0), epoch(4), noon)
	if err != nil {
		t.Fatal(err)
	}
	create := d.disk.create
	d.disk.create = func(path string, data []byte, perm fs.FileMode) error {
		d.disk.create = create
		at := old
		for size := uint64(6); size < 9; size++ { // the last two stay, above our number
			if at, err = other.Store(at, s.point(t, size, 0), epoch(size-1), noon); err != nil {
				t.Fatal(err)
			}
		}
		return create(path, data, perm)
	}
	if m, err := d.Store(old, s.point(t, 7, 0), epoch(6), noon); !errors.Is(err, ErrChanged) {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := other.Load(); err != nil || m.Point.Size != 8 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestEvidence(t *testing.T) {
	s := newSigner(t)
	d := New(t.TempDir(), s.trust)
	var first string
	for i := range maxEvidence + 3 {
		e := fork.New(fork.Roots, s.point(t, 5, byte(i)).Note, s.point(t, 5, byte(i+1)).Note)
		file, err := d.Keep(e, noon.Add(time.Duration(i)*time.Second))
		if err != nil || !strings.HasPrefix(filepath.Base(file), "log.fork-20261129T1200") {
			t.Fatal(file, err)
		}
		if again, err := d.Keep(e, noon.Add(time.Hour)); err != nil || again != file && i < maxEvidence {
			t.Errorf("kept twice: %s %s %v", file, again, err)
		}
		if first == "" {
			first = file
		}
	}
	files, err := d.Evidence()
	if err != nil || len(files) != maxEvidence || files[0] != first {
		t.Errorf("%d %v", len(files), err)
	}
}

// FuzzMemory: one spelling.
func FuzzMemory(f *testing.F) {
	s := newSigner(f)
	m := (*Memory)(nil).With(s.point(f, 5, 0), epoch(4), noon).With(s.point(f, 7, 0), epoch(6), noon)
	f.Add(m.print(origin, keysOf(s.trust)))
	f.Add([]byte(header))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, origin, keys, ok := parse(b)
		if ok && !bytes.Equal(m.print(origin, keys), b) {
			t.Errorf("accepted %q, printed another", b)
		}
	})
}
