// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/transparency"
)

func TestStatisticIsKept(t *testing.T) {
	dir := t.TempDir()
	trust := transparency.Trust{Origin: "log.example/sotto"}
	s := state.New(dir, trust).Statistic()
	if b, err := s.Load(); b != nil || err != nil {
		t.Fatalf("before the first save: %q, %v", b, err)
	}
	for _, want := range [][]byte{[]byte("one"), []byte("another, longer")} {
		if err := s.Save(want); err != nil {
			t.Fatal(err)
		}
		if b, err := state.New(dir, trust).Statistic().Load(); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
	if b, err := state.New(dir, transparency.Trust{Origin: "other.example/log"}).Statistic().Load(); b != nil || err != nil {
		t.Errorf("the statistic of another log: %q, %v", b, err)
	}
	path := filepath.Join(state.New(dir, trust).Path(), "steering")
	now := time.Now()
	for i := range 2 { // twice in one second
		aside, err := s.Forget(now)
		if err != nil || filepath.Dir(aside) != filepath.Dir(path) {
			t.Fatalf("%q %v", aside, err)
		}
		if b, err := os.ReadFile(aside); err != nil || string(b) != "another, longer" {
			t.Errorf("%d: %q, %v: it was to be put aside, not deleted", i, b, err)
		}
		if b, err := s.Load(); b != nil || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if aside, err := s.Forget(now); aside != "" || err != nil {
			t.Errorf("nothing to forget: %q, %v", aside, err)
		}
		if err := s.Save([]byte("another, longer")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err == nil {
		t.Error("a statistic of any size is read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err == nil {
		t.Error("a folder is read")
	}
	if err := s.Save([]byte("x")); err == nil {
		t.Error("a folder is overwritten")
	}
}
