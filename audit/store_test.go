// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency/statement"
)

var errDisk = errors.New("disk")

// files reads a whole folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFailureTable lets each write of an audit fail, before it took effect or
// after, and the process die; whoever opens the folder then ends with the very
// bytes of an audit without failure.
func TestFailureTable(t *testing.T) {
	k := newKeys(t)
	leaves := chain(t, 1100, func(e uint64, s *statement.Statement) {
		if e > 0 && e%250 == 0 {
			s.GatewayKeys = [][]byte{{byte(e), byte(e >> 8)}}
		}
	})
	fork := grow(t, leaves[:1099], edited) // so that evidence is written, too
	make := func() *rig {
		m := k.mirror("one.invalid", leaves...)
		m2 := k.mirror("two.invalid", fork...)
		m2.onStatement = func(epoch uint64, b []byte) []byte {
			if epoch == 1099 {
				return b
			}
			return m.signed(epoch)
		}
		r := newRig(t, k, m, m2)
		r.cfg.Compare = 3
		return r
	}
	clean := make()
	clean.mustStep()
	want := files(t, clean.cfg.Dir)
	alarms := len(clean.told)
	for after := range 2 {
		for n := 0; ; n++ {
			r := make()
			r.open()
			calls := 0
			r.a.store.write = func(path string, data []byte, perm fs.FileMode) error {
				if calls++; calls != n+1 {
					return durable.WriteFile(path, data, perm)
				}
				if after == 1 {
					if err := durable.WriteFile(path, data, perm); err != nil {
						t.Fatal(err)
					}
				}
				return errDisk
			}
			err := r.a.Step(context.Background())
			if calls <= n {
				if n < 4 {
					t.Fatalf("only %d writes", calls)
				}
				break
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("write %d: %v", n, err)
			}
			first := len(r.told)
			r.open().mustStep()
			if got := files(t, r.cfg.Dir); !maps.Equal(got, want) {
				t.Errorf("write %d, after %d: the folder differs", n, after)
			}
			if len(r.told) > alarms {
				t.Errorf("write %d, after %d: told %d and %d alarms, want %d", n, after, first, len(r.told)-first, alarms)
			}
		}
	}
}

func TestStatesOfOthersAreRefused(t *testing.T) {
	k := newKeys(t)
	m1, m2 := pair(k, chain(t, 3, nil))
	r := newRig(t, k, m1, m2)
	r.mustStep()
	path := filepath.Join(r.cfg.Dir, "state.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(){
		"another origin":     func() { r.cfg.Trust.Origin = "x.invalid" },
		"a cut state":        func() { os.WriteFile(path, b[:len(b)-2], 0o644) },
		"an empty state":     func() { os.WriteFile(path, nil, 0o644) },
		"no records":         func() { os.RemoveAll(filepath.Join(r.cfg.Dir, "epochs")) },
		"a quorum of others": func() { r.cfg.Trust.Witnesses = r.cfg.Trust.Witnesses[:1]; r.cfg.Trust.Quorum = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := r.cfg
			change()
			if _, err := Open(r.cfg); err == nil {
				t.Error("opened")
			}
			r.cfg = cfg
			os.WriteFile(path, b, 0o644)
		})
	}
}

func FuzzParseState(f *testing.F) {
	s := newState("log.invalid")
	b, _ := s.Append(nil)
	f.Add(b)
	s.Next, s.Totals.Leaves, s.Leaf, s.Last, s.Checkpoint = 3, 3, []byte("leaf"), []byte("statement"), []byte("note")
	s.Known.add(knownKeyset, [32]byte{1}, sight{2, [32]byte{3}})
	s.Known.add(knownChip, [32]byte{1}, sight{epoch: 2})
	s.Pending = []uint64{1, 2}
	s.Refused["00"] = "att.image"
	s.Incidents = []Incident{{Code: LogStale, Since: begin, Told: true}}
	s.Totals.Alarms["log.fork"] = 1
	b, _ = s.Append(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := ParseState(in)
		if err != nil {
			return
		}
		out, err := s.Append(nil)
		if err != nil || string(out) != string(in) {
			t.Errorf("accepted %q, printed %q, %v", in, out, err)
		}
		newReader(s)
	})
}

// TestOneProcessForEachFolder: a second auditor would count what the first one found
// and write over it. Whoever reads may do so meanwhile.
func TestOneProcessForEachFolder(t *testing.T) {
	k := newKeys(t)
	m1, m2 := pair(k, chain(t, 3, nil))
	r := newRig(t, k, m1, m2)
	r.mustStep()
	if a, err := Open(r.cfg); err == nil {
		t.Error("opened twice")
		a.Close()
	}
	a, err := Read(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Recorded(func(Alarm) {}); err != nil {
		t.Error(err)
	}
	if err := a.Step(t.Context()); err == nil {
		t.Error("a reader looked")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := r.a.Close(); err != nil {
		t.Error(err)
	}
	other := r.cfg
	other.Trust.Origin = "other.invalid"
	for range 2 { // what is refused holds nothing
		if _, err := Open(other); err == nil {
			t.Error("opened")
		}
	}
	if a, err = Open(r.cfg); err != nil {
		t.Fatal(err)
	}
	a.Close()
}
