// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/transparency-dev/tessera"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/tiles"
)

const origin = "log.example/tiles"

func testSigner(t testing.TB) *transparency.Signer {
	t.Helper()
	seed := sha256.Sum256([]byte("test key " + origin))
	s, err := transparency.NewHybridSigner(origin, ed25519.NewKeyFromSeed(seed[:]), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func config(t testing.TB) Config {
	return Config{Dir: filepath.Join(t.TempDir(), "log"), Signer: testSigner(t)}
}

// open opens a log until the test ends.
func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// crash drops a log as the end of its process would.
func crash(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func newLog(t testing.TB) (*Log, Config) {
	t.Helper()
	cfg := config(t)
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	return open(t, cfg), cfg
}

func leaf(i uint64) []byte { return fmt.Appendf(nil, "leaf %d", i) }

// grow appends leaves up to size.
func grow(t testing.TB, l *Log, size uint64) {
	t.Helper()
	have, err := l.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var futures []future
	for i := have; i < size; i++ { // in order: a leaf is queued before the next one is
		futures = append(futures, l.add(t.Context(), tessera.NewEntry(leaf(i))))
	}
	for _, f := range futures {
		if _, err := f(); err != nil {
			t.Fatal(err)
		}
	}
}

// reference is the same tree, by other code.
func reference(t testing.TB, size uint64) *transparency.Tree {
	t.Helper()
	var tr transparency.Tree
	for i := range size {
		if err := tr.Append(leaf(i)); err != nil {
			t.Fatal(err)
		}
	}
	return &tr
}

// check compares everything that a log says with the reference.
func check(t testing.TB, l *Log, size uint64) {
	t.Helper()
	ctx := t.Context()
	if n, err := l.Size(ctx); err != nil || n != size {
		t.Fatalf("size %d, %v; want %d", n, err, size)
	}
	ref := reference(t, size)
	i := uint64(0)
	for b, err := range l.Leaves(ctx, 0, size) {
		if err != nil || !bytes.Equal(b, leaf(i)) {
			t.Fatalf("leaf %d: %q, %v", i, b, err)
		}
		i++
	}
	for n := uint64(0); n <= size; n += 1 + size/7 {
		want, err := ref.Root(n)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.Root(ctx, n); err != nil || got != want {
			t.Errorf("root of %d: %x, %v", n, got, err)
		}
		for i := uint64(0); i < n; i += 1 + n/5 {
			want, _ := ref.Prove(i, n)
			if got, err := l.Prove(ctx, i, n); err != nil || !equal(got, want) {
				t.Errorf("proof of %d in %d: %v", i, n, err)
			}
			if i > 0 {
				want, _ := ref.ProveConsistency(i, n)
				if got, err := l.ProveConsistency(ctx, i, n); err != nil || !equal(got, want) {
					t.Errorf("consistency of %d in %d: %v", i, n, err)
				}
			}
		}
	}
}

func equal(a, b [][32]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestLogGrows(t *testing.T) {
	l, cfg := newLog(t)
	check(t, l, 0)
	for _, size := range []uint64{1, 2, 255, 256, 257, 513} {
		grow(t, l, size)
		check(t, l, size)
	}
	crash(t, l)
	if err := l.AppendAt(t.Context(), 513, leaf(513)); err == nil {
		t.Error("appended to a closed log")
	}
	if _, err := l.Append(t.Context(), leaf(513)); err == nil || l.Close() != nil {
		t.Error("appended to a closed log")
	}
	l = open(t, cfg)
	check(t, l, 513)
	grow(t, l, 514)
	check(t, l, 514)
}

func TestAppendAtIsFoundAgain(t *testing.T) {
	l, cfg := newLog(t)
	grow(t, l, 3)
	for name, again := range map[string]func(){"same process": func() {}, "after a crash": func() { crash(t, l); l = open(t, cfg) }} {
		again()
		if err := l.AppendAt(t.Context(), 2, leaf(2)); err != nil {
			t.Errorf("%s: the lost acknowledgement: %v", name, err)
		}
		if err := l.AppendAt(t.Context(), 2, leaf(7)); !errors.Is(err, ErrTaken) {
			t.Errorf("%s: replaced a leaf: %v", name, err)
		}
		if err := l.AppendAt(t.Context(), 4, leaf(4)); !errors.Is(err, ErrGap) {
			t.Errorf("%s: left a gap: %v", name, err)
		}
		check(t, l, 3)
	}
	if err := l.AppendAt(t.Context(), 3, make([]byte, MaxLeaf+1)); err == nil {
		t.Error("took a leaf that no bundle holds")
	}
	if err := l.AppendAt(t.Context(), 3, leaf(3)); err != nil {
		t.Error(err)
	}
	check(t, l, 4)
}

// A caller that gives up learns that it does not know, and the next one learns
// what happened.
func TestAppendGivenUp(t *testing.T) {
	l, _ := newLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	real := l.add
	hold := make(chan struct{})
	l.add = func(ctx context.Context, e *entry) future {
		f := real(ctx, e)
		return func() (index, error) { <-hold; return f() }
	}
	cancel()
	if err := l.AppendAt(ctx, 0, leaf(0)); !errors.Is(err, ErrUnknown) {
		t.Fatalf("got %v", err)
	}
	close(hold)
	if err := l.AppendAt(t.Context(), 0, leaf(9)); !errors.Is(err, ErrTaken) {
		t.Errorf("another leaf: %v", err)
	}
	if err := l.AppendAt(t.Context(), 0, leaf(0)); err != nil {
		t.Errorf("the same leaf: %v", err)
	}
	check(t, l, 1)
}

func TestAppendsAtOnce(t *testing.T) {
	l, _ := newLog(t)
	const n = 600
	var wg sync.WaitGroup
	var mu sync.Mutex
	at := map[uint64][]byte{}
	for i := range uint64(n) {
		wg.Go(func() {
			x, err := l.Append(t.Context(), leaf(i))
			mu.Lock()
			defer mu.Unlock()
			if err != nil || at[x] != nil {
				t.Errorf("leaf %d: index %d, %v", i, x, err)
			}
			at[x] = leaf(i)
		})
	}
	wg.Wait()
	i := uint64(0)
	for b, err := range l.Leaves(t.Context(), 0, n) {
		if err != nil || !bytes.Equal(b, at[i]) {
			t.Fatalf("index %d holds %q, %v; want %q", i, b, err, at[i])
		}
		i++
	}
}

func TestOneProcessAtATime(t *testing.T) {
	_, cfg := newLog(t)
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("opened twice")
	}
}

// TestCloseWaits: whoever opens or removes the directory next meets nobody who still
// writes there.
func TestCloseWaits(t *testing.T) {
	cfg := config(t)
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		l := open(t, cfg)
		if !l.work.running() {
			t.Fatal("nobody is seen to work: Close would wait for nothing")
		}
		if err := l.AppendAt(t.Context(), i, []byte("a leaf")); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l.work.running() {
			t.Fatal("closed, and somebody still works")
		}
	}
}

func TestCreateRefusesToOverwrite(t *testing.T) {
	_, cfg := newLog(t)
	if err := Create(cfg); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created over a log: %v", err)
	}
	if _, err := Open(t.Context(), config(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened nothing: %v", err)
	}
	if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Signer: testSigner(t)}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened an empty directory as a log: %v", err)
	}
	if Create(Config{Dir: t.TempDir()}) == nil {
		t.Error("created without a signer")
	}
}

func TestCheckpointIsSignedOnceDurable(t *testing.T) {
	l, cfg := newLog(t)
	grow(t, l, 5)
	note, c, err := l.Checkpoint(t.Context())
	if err != nil || c.Size != 5 {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(cfg.Dir, signedFile)); err != nil || !bytes.Equal(b, note) {
		t.Errorf("not recorded: %v", err)
	}
	again, _, err := l.Checkpoint(t.Context())
	if err != nil || !bytes.Equal(again, note) {
		t.Error("the same tree got another note")
	}
	grow(t, l, 6)
	boom := errors.New("disk: no space")
	l.write = func(string, []byte, fs.FileMode) error { return boom }
	if b, _, err := l.Checkpoint(t.Context()); !errors.Is(err, boom) || b != nil {
		t.Errorf("gave out a note that is not recorded: %v", err)
	}
	if err := l.Publish(t.Context(), note); !errors.Is(err, boom) || l.Published() != nil {
		t.Errorf("served a note that is not recorded: %v", err)
	}
	crash(t, l)
	l = open(t, cfg)
	if _, c, err := l.Checkpoint(t.Context()); err != nil || c.Size != 6 {
		t.Error(err)
	}
}

func TestPublishRefuses(t *testing.T) {
	l, cfg := newLog(t)
	grow(t, l, 2)
	small, _, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	grow(t, l, 3)
	note, _, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"AT-47 a smaller tree": small,
		"AT-48 another tree":   cfg.Signer.Sign(3, [32]byte{1}),
		"leaves to come":       cfg.Signer.Sign(4, [32]byte{1}),
		"not a note":           []byte("x"),
		"one signature short":  bytes.Join(bytes.SplitAfter(note, []byte("\n"))[:5], nil),
	} {
		if err := l.Publish(t.Context(), bad); err == nil {
			t.Errorf("%s: published", name)
		}
	}
	crash(t, l)
	l = open(t, cfg)
	if c := l.Published(); c == nil || !bytes.Equal(c.Note, note) {
		t.Error("the published note is gone")
	}
}

// Going on from leaves that are not those that were signed would be a fork.
func TestOpenRefusesARestoredLog(t *testing.T) {
	tile := func(cfg Config, name string) string { return filepath.Join(cfg.Dir, tilesDir, name) }
	write := func(path, s string) error { return os.WriteFile(path, []byte(s), 0o644) }
	for name, harm := range map[string]func(cfg Config, before string) error{
		"AT-47 tiles of yesterday": func(cfg Config, before string) error {
			if err := os.RemoveAll(tile(cfg, "")); err != nil {
				return err
			}
			return os.CopyFS(tile(cfg, ""), os.DirFS(filepath.Join(before, tilesDir)))
		},
		"AT-48 tiles of another log": func(cfg Config, _ string) error {
			other, cfg2 := newLog(t)
			for i := range uint64(4) {
				if err := other.AppendAt(t.Context(), i, leaf(i+7)); err != nil {
					return err
				}
			}
			if err := errors.Join(other.Close(), os.RemoveAll(tile(cfg, ""))); err != nil {
				return err
			}
			return os.CopyFS(tile(cfg, ""), os.DirFS(tile(cfg2, "")))
		},
		"tiles gone":      func(cfg Config, _ string) error { return os.RemoveAll(tile(cfg, "tile")) },
		"everything gone": func(cfg Config, _ string) error { return os.RemoveAll(tile(cfg, "")) },
		"state gone":      func(cfg Config, _ string) error { return os.Remove(tile(cfg, ".state/treeState")) },
		"last leaf other": func(cfg Config, _ string) error {
			return write(tile(cfg, "tile/entries/000.p/4"), "\x00\x06leaf 0\x00\x06leaf 1\x00\x06leaf 2\x00\x06leaf 9")
		},
		"signed damaged":     func(cfg Config, _ string) error { return write(filepath.Join(cfg.Dir, signedFile), "x") },
		"checkpoint damaged": func(cfg Config, _ string) error { return write(filepath.Join(cfg.Dir, publishedFile), "x") },
		"another key":        func(cfg Config, _ string) error { return nil }, // see below
	} {
		t.Run(name, func(t *testing.T) {
			l, cfg := newLog(t)
			grow(t, l, 3)
			before := t.TempDir()
			if err := os.CopyFS(before, os.DirFS(cfg.Dir)); err != nil {
				t.Fatal(err)
			}
			grow(t, l, 4)
			note, _, err := l.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Publish(t.Context(), note); err != nil {
				t.Fatal(err)
			}
			crash(t, l)
			if err := harm(cfg, before); err != nil {
				t.Fatal(err)
			}
			if name == "another key" {
				if cfg.Signer, err = transparency.NewSigner(origin, ed25519.NewKeyFromSeed(make([]byte, 32))); err != nil {
					t.Fatal(err)
				}
			}
			l, err = Open(t.Context(), cfg)
			if err == nil {
				crash(t, l)
				t.Fatal("opened")
			}
			var e *transparency.Error
			if name[:2] == "AT" && (!errors.As(err, &e) || e.Code != transparency.CodeRollback) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What a crash between the storage's writes leaves: bundle, tiles, tree state,
// in this order. The leaf is in the log only with the last of them.
func TestAppendCrashTable(t *testing.T) {
	for _, size := range []uint64{0, 3, 255, 256} {
		for _, row := range []struct {
			step  string
			files []string // of the state afterwards that made it to the disk
			in    bool
		}{
			{"nothing", nil, false},
			{"bundle", []string{"tile/entries"}, false},
			{"bundle and tiles", []string{"tile"}, false},
			{"tree state", []string{"tile", ".state"}, true},
		} {
			t.Run(fmt.Sprintf("%s, %d leaves", row.step, size), func(t *testing.T) {
				l, cfg := newLog(t)
				grow(t, l, size)
				if _, _, err := l.Checkpoint(t.Context()); err != nil {
					t.Fatal(err)
				}
				before := t.TempDir()
				if err := os.CopyFS(before, os.DirFS(cfg.Dir)); err != nil {
					t.Fatal(err)
				}
				if err := l.AppendAt(t.Context(), size, []byte("the leaf of the crash")); err != nil {
					t.Fatal(err)
				}
				crash(t, l)
				torn := filepath.Join(t.TempDir(), "log")
				if err := os.CopyFS(torn, os.DirFS(before)); err != nil {
					t.Fatal(err)
				}
				for _, f := range row.files {
					from, to := filepath.Join(cfg.Dir, tilesDir, f), filepath.Join(torn, tilesDir, f)
					if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
						t.Fatal(err)
					}
				}
				cfg.Dir = torn
				l = open(t, cfg)
				err := l.AppendAt(t.Context(), size, leaf(size))
				if row.in != errors.Is(err, ErrTaken) || !row.in && err != nil {
					t.Fatalf("in the log: %v; the next append: %v", row.in, err)
				}
				if row.in {
					if err := l.AppendAt(t.Context(), size, []byte("the leaf of the crash")); err != nil {
						t.Errorf("not found again: %v", err)
					}
					return
				}
				check(t, l, size+1)
				crash(t, l)
				check(t, open(t, cfg), size+1)
			})
		}
	}
}

// Each write of an append fails: the leaf is not acknowledged, and appending it
// again puts it where it belongs, once.
func TestAppendFailureTable(t *testing.T) {
	for _, step := range []string{"tile/entries/001.p", "tile/0/001.p"} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", step, restart), func(t *testing.T) {
				l, cfg := newLog(t)
				grow(t, l, 256)
				block := filepath.Join(cfg.Dir, tilesDir, step)
				if err := os.WriteFile(block, nil, 0o644); err != nil { // where the storage wants a folder
					t.Fatal(err)
				}
				if err := l.AppendAt(t.Context(), 256, leaf(256)); !errors.Is(err, ErrUnknown) {
					t.Fatalf("acknowledged: %v", err)
				}
				if n, err := l.Size(t.Context()); err != nil || n != 256 {
					t.Errorf("size %d, %v", n, err)
				}
				if err := os.Remove(block); err != nil {
					t.Fatal(err)
				}
				if restart {
					crash(t, l)
					l = open(t, cfg)
				}
				if err := l.AppendAt(t.Context(), 256, leaf(256)); err != nil {
					t.Fatal(err)
				}
				check(t, l, 257)
				grow(t, l, 259)
				check(t, l, 259)
			})
		}
	}
}

// A reader with the published note gets by with what the handler serves.
func TestReadersFollow(t *testing.T) {
	l, _ := newLog(t)
	grow(t, l, 255)
	grow(t, l, 300)
	note, c, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	grow(t, l, 301)
	tr := tiles.New(c.Size, c.Root, get(l.Handler()))
	i := uint64(0)
	for b, err := range tr.Leaves(t.Context(), 0, c.Size) {
		if err != nil || !bytes.Equal(b, leaf(i)) {
			t.Fatalf("leaf %d: %v", i, err)
		}
		i++
	}
	p, err := tr.Prove(t.Context(), 299)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckInclusion(leaf(299), 299, p); err != nil {
		t.Error(err)
	}
}

// A storage that acknowledges what it has not written is not believed.
func TestAppendAtReadsBack(t *testing.T) {
	l, cfg := newLog(t)
	grow(t, l, 3)
	block := filepath.Join(cfg.Dir, tilesDir, "tile/entries/000.p/4")
	if err := os.Mkdir(block, 0o755); err != nil { // this error Tessera takes for a bundle that is there
		t.Fatal(err)
	}
	if err := l.AppendAt(t.Context(), 3, leaf(3)); err == nil {
		t.Error("acknowledged a leaf that cannot be read")
	}
	crash(t, l)
	if l, err := Open(t.Context(), cfg); err == nil {
		crash(t, l)
		t.Error("opened a log whose last leaf cannot be read")
	}
}

// Tessera's own words do not get into a role's standard error.
func TestNothingIsWrittenToStandardError(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = f
	l, _ := newLog(t)
	grow(t, l, 3)
	crash(t, l)
	os.Stderr = old
	if b, err := os.ReadFile(f.Name()); err != nil || len(b) > 0 {
		t.Errorf("%q %v", b, err)
	}
}
