// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

func records(from, to int) (list [][]byte) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Appendf(nil, "record %d", i))
	}
	return list
}

// newJournal is a journal of one frame of two records and two frames of one.
func newJournal(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	if err := CreateJournal(path, records(0, 2)); err != nil {
		t.Fatal(err)
	}
	j, _ := open(t, path)
	for _, r := range records(2, 4) {
		if err := j.Add(r).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) (*Journal, [][]byte) {
	t.Helper()
	var got [][]byte
	j, err := OpenJournal(path, func(r []byte) error { got = append(got, bytes.Clone(r)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return j, got
}

func same(t *testing.T, got, want [][]byte) {
	t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// A write that was cut at any byte, or whose pages were lost, costs what was in
// it and nothing else; what is appended next is found again.
func TestTornTail(t *testing.T) {
	path := newJournal(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int // of the frames
	for n := 0; n < len(whole); {
		_, _, size := frameAt(whole[n:])
		n += size
		ends = append(ends, n)
	}
	have := map[int]int{0: 0, ends[0]: 2, ends[1]: 3, ends[2]: 4}
	last := 0
	for cut := range len(whole) + 1 {
		if _, ok := have[cut]; ok {
			last = cut
		}
		for name, tail := range map[string][]byte{"cut": nil, "zeros": make([]byte, 5), "garbage": []byte("sJ1\nsJ1\n\xff\xff\xff\xff\xff\xff\xff\xff")} {
			if err := os.WriteFile(path, append(bytes.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			j, got := open(t, path)
			same(t, got, records(0, have[last]))
			if err := j.Add([]byte("more")).Wait(); err != nil {
				t.Fatalf("%s at %d: %v", name, cut, err)
			}
			j.Close()
			j, got = open(t, path)
			same(t, got, append(records(0, have[last]), []byte("more")))
			j.Close()
		}
	}
}

func TestDamageInTheMiddle(t *testing.T) {
	path := newJournal(t)
	whole, _ := os.ReadFile(path)
	_, _, first := frameAt(whole)
	_, _, second := frameAt(whole[first:])
	for i := range first + second {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(path, func([]byte) error { return nil }); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, bad) {
			t.Fatal("a damaged journal was changed")
		}
	}
	// Frames that are good and not in order are damage as well.
	for name, b := range map[string][]byte{
		"one missing": whole[first:],
		"one twice":   append(bytes.Clone(whole), whole[first:]...),
	} {
		if _, _, _, err := ReadJournal(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// faulty fails at a step, from a time on.
type faulty struct {
	file
	write, sync func([]byte) (int, error)
	syncs       int
}

func (f *faulty) Write(b []byte) (int, error) {
	if f.write != nil {
		return f.write(b)
	}
	return f.file.Write(b)
}

func (f *faulty) Sync() error {
	f.syncs++
	if f.sync != nil {
		_, err := f.sync(nil)
		return err
	}
	return f.file.Sync()
}

func TestJournalFailureTable(t *testing.T) {
	full := func(b []byte) (int, error) { return 0, syscall.ENOSPC }
	for name, c := range map[string]struct {
		fault func(*faulty)
		have  int // records after it is opened again
	}{
		"disk full": {func(f *faulty) { f.write = full }, 4},
		"disk full in the middle": {func(f *faulty) {
			f.write = func(b []byte) (int, error) { n, _ := f.file.Write(b[:len(b)/2]); return n, syscall.ENOSPC }
		}, 4},
		"written, not synced": {func(f *faulty) { f.sync = func([]byte) (int, error) { return 0, syscall.EIO } }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			path := newJournal(t)
			j, _ := open(t, path)
			f := &faulty{file: j.file}
			j.file = f
			c.fault(f)
			if err := j.Add([]byte("record 4")).Wait(); err == nil {
				t.Fatal("a failed write was reported as done")
			}
			f.write, f.sync = nil, nil // the disk is well again; what is on it is not known
			if err := j.Add([]byte("record 5")).Wait(); !errors.Is(err, ErrBroken) {
				t.Errorf("went on: %v", err)
			}
			if err := j.Replace(nil); !errors.Is(err, ErrBroken) {
				t.Errorf("replaced: %v", err)
			}
			if err := j.Sync(); !errors.Is(err, ErrBroken) {
				t.Errorf("synced: %v", err)
			}
			j.Close()
			j, got := open(t, path)
			same(t, got, records(0, c.have))
			j.Close()
		})
	}
}

// Who comes while the disk is busy shares one write.
func TestGroupCommit(t *testing.T) {
	path := newJournal(t)
	j, _ := open(t, path)
	f := &faulty{file: j.file}
	j.file = f
	const n = 100
	begun, release := make(chan bool), make(chan bool)
	f.sync = func([]byte) (int, error) {
		if f.syncs == 1 {
			close(begun)
			<-release
		}
		return 0, f.file.Sync()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := j.Add([]byte("record 4")).Wait(); err != nil {
			t.Error(err)
		}
	})
	<-begun
	if j.Size() == 0 { // does not wait for the disk
		t.Error("no size")
	}
	var queued []*Commit
	for i := range n {
		queued = append(queued, j.Add(fmt.Appendf(nil, "record %d", 5+i)))
	}
	for _, c := range queued {
		wg.Go(func() {
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if f.syncs != 2 {
		t.Errorf("%d syncs for %d records", f.syncs, n+1)
	}
	j.Close()
	_, got := open(t, path)
	same(t, got, records(0, 5+n))
}

// Sync waits for what others have added, and for a write that is going on.
func TestSync(t *testing.T) {
	path := newJournal(t)
	j, _ := open(t, path)
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	j.Add([]byte("record 4"))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	_, got := open(t, path)
	same(t, got, records(0, 5))
}

func TestReplace(t *testing.T) {
	path := newJournal(t)
	j, _ := open(t, path)
	late := j.Add([]byte("queued"))
	if err := j.Replace(records(7, 9)); err != nil {
		t.Fatal(err)
	}
	if err := late.Wait(); err != nil {
		t.Errorf("what was queued: %v", err)
	}
	if err := j.Add([]byte("record 9")).Wait(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != j.Size() {
		t.Errorf("size %d, %v", j.Size(), err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Add([]byte("x")).Wait(); !errors.Is(err, ErrBroken) {
		t.Errorf("wrote into a closed journal: %v", err)
	}
	j, got := open(t, path)
	same(t, got, records(7, 10))
	// The folder is gone: the old contents stay, and nothing more is written.
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+"x"); err != nil {
		t.Fatal(err)
	}
	if err := j.Replace(nil); err == nil {
		t.Error("replaced nothing")
	}
	if err := j.Add([]byte("x")).Wait(); !errors.Is(err, ErrBroken) {
		t.Errorf("went on: %v", err)
	}
	_, got = open(t, filepath.Join(filepath.Dir(path)+"x", "journal"))
	same(t, got, records(7, 10))
}

func TestSnapshotOfManyFrames(t *testing.T) {
	big := [][]byte{bytes.Repeat([]byte{1}, 700<<10), bytes.Repeat([]byte{2}, 700<<10), {}, bytes.Repeat([]byte{3}, 2<<20)}
	got, good, frames, err := ReadJournal(Frames(big))
	if err != nil || frames < 2 || good != len(Frames(big)) {
		t.Fatalf("%d frames, %v", frames, err)
	}
	same(t, got, big)
}

func FuzzJournal(f *testing.F) {
	f.Add(Frames(records(0, 3)))
	f.Add(append(Frames(records(0, 3)), "sJ1\n"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, good, frames, err := ReadJournal(b)
		if err != nil {
			return
		}
		again, n, more, err := ReadJournal(b[:good])
		if err != nil || n != good || more != frames || !slices.EqualFunc(again, list, bytes.Equal) {
			t.Errorf("what is whole reads differently alone: %v", err)
		}
	})
}
