// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
)

// AT-47: a log that shrank. The witness signs nothing, and says what it has.
func TestAT47(t *testing.T) {
	w := newWorld(t, new(MemoryStore))
	must(w.AddCheckpoint(w.request(tree(1, 0, 9), 0)))
	for n := range 9 {
		for old := range n + 1 {
			_, err := w.AddCheckpoint(w.request(tree(1, 0, n), uint64(old)))
			wantCode(t, err, CodeStale)
			if e := err.(*Error); e.Size != 9 {
				t.Errorf("size %d named", e.Size)
			}
		}
	}
}

// AT-48: two roots of one size. The second is refused, both notes are kept, and
// it is loud.
func TestAT48(t *testing.T) {
	dir := newDir(t)
	w := newWorld(t, fileStore(t, dir))
	var loud bytes.Buffer
	w.slog = slog.New(slog.NewTextHandler(&loud, nil))
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	for old := range 6 { // whatever the old size says
		_, err := w.AddCheckpoint(w.request(tree(2, 3, 5), uint64(old)))
		wantCode(t, err, CodeFork)
	}
	if n := w.counter(t, "sotto_witness_forks_total"); n != "6" {
		t.Errorf("counted %v", n)
	}
	if !strings.Contains(loud.String(), "FORK") || !strings.Contains(loud.String(), origin) {
		t.Errorf("not loud: %s", &loud)
	}
	files := must(filepath.Glob(filepath.Join(dir, "evidence", "*")))
	if len(files) != 1 {
		t.Fatalf("kept %v", files)
	}
	a, b := w.accusation(t, must(os.ReadFile(files[0])))
	if roots := [][32]byte{a.Root, b.Root}; a.Size != 5 || b.Size != 5 || !slices.Contains(roots, must(tree(1, 0, 5).Root(5))) || !slices.Contains(roots, must(tree(2, 3, 5).Root(5))) {
		t.Errorf("%+v, %+v", a, b)
	}
	// The same fork shown later is the same evidence.
	w.at(noon.Add(time.Hour))
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 5)))
	_, err := w.AddCheckpoint(w.request(tree(2, 3, 5), 5))
	wantCode(t, err, CodeFork)
	if again := must(filepath.Glob(filepath.Join(dir, "evidence", "*"))); len(again) != 1 {
		t.Errorf("kept %v", again)
	}
	// The log goes on with what was signed first.
	if _, err := w.AddCheckpoint(w.request(tree(1, 0, 6), 5)); err != nil {
		t.Error(err)
	}
	t.Run("AT-48 other branch, larger", func(t *testing.T) {
		for fork := range 6 {
			_, err := w.AddCheckpoint(w.request(tree(2, fork, 9), 6))
			wantCode(t, err, CodeProof)
		}
	})
}

// A log that signs roots without end fills no disk.
func TestEvidenceIsBounded(t *testing.T) {
	dir := newDir(t)
	for _, store := range []Store{fileStore(t, dir), new(MemoryStore)} {
		w := newWorld(t, store)
		must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
		for i := range 2 * maxEvidence {
			_, err := w.AddCheckpoint(w.request(tree(byte(i+2), 0, 5), 5))
			wantCode(t, err, CodeFork)
		}
		if n := w.counter(t, "sotto_witness_forks_total"); n != strconv.Itoa(2*maxEvidence) {
			t.Errorf("counted %v", n)
		}
		if m, ok := store.(*MemoryStore); ok && len(m.Evidence(origin)) != maxEvidence {
			t.Errorf("kept %d", len(m.Evidence(origin)))
		}
	}
	if n := len(must(os.ReadDir(filepath.Join(dir, "evidence")))); n != maxEvidence {
		t.Errorf("kept %d", n)
	}
}

// What a witness keeps is the file that everybody's tool reads, whichever note came
// first.
func TestEvidenceIsForkEvidence(t *testing.T) {
	w := newWorld(t, new(MemoryStore))
	a, b := w.note(tree(1, 0, 5)), w.note(tree(2, 0, 5))
	one, two := appendEvidence(nil, a, b), appendEvidence(nil, b, a)
	if !bytes.Equal(one, two) {
		t.Errorf("two files of one contradiction:\n%s\n%s", one, two)
	}
	if want := fork.New(fork.Roots, a, b).Append(nil); !bytes.Equal(one, want) {
		t.Errorf("got %s, want %s", one, want)
	}
	if len(appendEvidence(nil, make([]byte, transparency.MaxNoteSize), make([]byte, transparency.MaxNoteSize))) > fork.MaxSize {
		t.Error("longer than what is read")
	}
}

// accusation reads evidence as its readers do: two notes by the log's keys.
func (w *world) accusation(t *testing.T, file []byte) (a, b *transparency.Checkpoint) {
	t.Helper()
	e, err := fork.Parse(file)
	if err != nil || e.Kind != fork.Roots {
		t.Fatalf("%+v, %v", e, err)
	}
	key := must(transparency.NewLogKey(origin, w.signer.VKey(), ""))
	return must(key.ParseCheckpoint(e.First)), must(key.ParseCheckpoint(e.Second))
}

// AT-49 as a witness sees it: it signs once, under one name, with the time of
// its clock, and only for logs and keys that it knows.
func TestAT49(t *testing.T) {
	two := []*transparency.Cosigner{must(transparency.NewCosigner("a.example", key("a"))), must(transparency.NewCosigner("b.example", key("b")))}
	logs := []Log{{Origin: origin, LogKey: must(transparency.NewSigner(origin, key(origin))).VKey()}}
	t.Run("AT-49 two names", func(t *testing.T) {
		if _, err := New(Setup{Cosigners: two, Logs: logs, Store: new(MemoryStore)}); err == nil {
			t.Error("a witness with two names would be two witnesses")
		}
	})
	t.Run("AT-49 timestamp 0", func(t *testing.T) {
		for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(-5, 0), time.Unix(1<<40, 0)} {
			w := newWorld(t, new(MemoryStore))
			w.at(at)
			_, err := w.AddCheckpoint(w.request(tree(1, 0, 1), 0))
			wantCode(t, err, CodeClock)
		}
	})
	t.Run("AT-49 valid signature over other origin", func(t *testing.T) {
		w := newWorld(t, new(MemoryStore))
		other := must(transparency.NewSigner("other.example", key(origin))) // the same key
		_, err := w.AddCheckpoint(&Request{Note: other.Sign(1, must(tree(1, 0, 1).Root(1)))})
		wantCode(t, err, CodeOrigin)
	})
	for name, s := range map[string]Setup{
		"zero":       {},
		"no logs":    {Cosigners: two[:1], Store: new(MemoryStore)},
		"no store":   {Cosigners: two[:1], Logs: logs},
		"no keys":    {Logs: logs, Store: new(MemoryStore)},
		"log twice":  {Cosigners: two[:1], Logs: slices.Concat(logs, logs), Store: new(MemoryStore)},
		"log no key": {Cosigners: two[:1], Logs: []Log{{Origin: origin}}, Store: new(MemoryStore)},
	} {
		if _, err := New(s); err == nil {
			t.Error(name)
		}
	}
}

// A clock that jumps back: nothing is signed until it has caught up, across a
// restart too, and the message says why. AT-52.
func TestClockNeverGoesBack(t *testing.T) {
	w := newWorld(t, fileStore(t, newDir(t)))
	t5, t6 := tree(1, 0, 5), tree(1, 0, 6)
	must(w.AddCheckpoint(w.request(t5, 0)))
	for range 2 {
		for _, back := range []time.Duration{time.Second, 2 * time.Hour, 50 * 365 * 24 * time.Hour} {
			w.at(noon.Add(-back))
			for _, r := range []*Request{w.request(t5, 5), w.request(t6, 5)} {
				_, err := w.AddCheckpoint(r)
				wantCode(t, err, CodeClock)
				if err == nil || !strings.Contains(err.Error(), back.String()) || !strings.Contains(err.Error(), "2026-07-01T12:00:00Z") {
					t.Errorf("offset %v not named: %v", back, err)
				}
			}
		}
		w.open(t)
	}
	for _, at := range []time.Time{noon, noon.Add(999 * time.Millisecond), noon.Add(time.Second)} { // the same second is not back
		w.at(at)
		r := w.request(t5, 5)
		lines, err := w.AddCheckpoint(r)
		if err != nil {
			t.Fatal(err)
		}
		w.verify(t, r.Note, lines, at.Truncate(time.Second))
	}
	w.at(noon)
	_, err := w.AddCheckpoint(w.request(t6, 5))
	wantCode(t, err, CodeClock)
	if status, _, answer := w.post(t, w.request(t6, 5).Append(nil)); status != 503 || !strings.Contains(answer, `"witness.clock"`) {
		t.Errorf("%d %s", status, answer)
	}
}

// A hundred requests at once for one size and two roots: one root wins, and
// only that one is ever signed.
func TestForkRace(t *testing.T) {
	for name, store := range map[string]Store{"file": fileStore(t, newDir(t)), "memory": new(MemoryStore)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store)
			must(w.AddCheckpoint(w.request(tree(1, 0, 3), 0)))
			worlds := [2]*transparency.Tree{tree(1, 3, 8), tree(2, 3, 8)}
			var wg sync.WaitGroup
			var mu sync.Mutex
			signed := [2]int{}
			start := make(chan struct{})
			for i := range 100 {
				r := w.request(worlds[i%2], 3)
				wg.Add(1)
				go func() {
					defer wg.Done()
					<-start
					if _, err := w.AddCheckpoint(r); err == nil {
						mu.Lock()
						signed[i%2]++
						mu.Unlock()
					}
				}()
			}
			close(start)
			wg.Wait()
			if signed[0]+signed[1] != 1 {
				t.Errorf("signed %v, want one", signed)
			}
			won := 0
			if signed[1] > 0 {
				won = 1
			}
			if _, err := w.AddCheckpoint(w.request(worlds[won], 8)); err != nil {
				t.Error(err)
			}
			_, err := w.AddCheckpoint(w.request(worlds[1-won], 8))
			wantCode(t, err, CodeFork)
		})
	}
}

// The race of the specification's last section: N and N+K at once never leave
// N remembered after N+K was signed.
func TestNoRollbackRace(t *testing.T) {
	w := newWorld(t, fileStore(t, newDir(t)))
	must(w.AddCheckpoint(w.request(tree(1, 0, 1), 0)))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var top uint64
	for i := range 60 {
		r := w.request(tree(1, 0, 2+i%9), 1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := w.AddCheckpoint(r); err == nil {
				mu.Lock()
				defer mu.Unlock()
				top = max(top, uint64(2+i%9))
			}
		}()
	}
	wg.Wait()
	_, err := w.AddCheckpoint(w.request(tree(1, 0, 20), 0))
	wantCode(t, err, CodeStale)
	if e := err.(*Error); e.Size != top {
		t.Errorf("remembers %d, signed %d", e.Size, top)
	}
}
