// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"testing"
)

type says struct {
	n   uint64
	err error
}

func (s says) Named(context.Context) (uint64, error) { return s.n, s.err }

// TestGenerationOfAnEmptyDatabase: CT-21, a database that has forgotten what was
// spent gets no generation that somebody may take for one that knows it.
func TestGenerationOfAnEmptyDatabase(t *testing.T) {
	away := says{err: errors.New("away")}
	for _, tt := range []struct {
		what       string
		publisher  says
		generation uint64
		first, ok  bool
	}{
		{"the one that is named", says{n: 5}, 5, false, false},
		{"the one that is named, as the first", says{n: 5}, 5, true, false},
		{"one of before", says{n: 5}, 4, false, false},
		{"the next", says{n: 5}, 6, false, true},
		{"any, where none is named", says{}, 1, false, true},
		{"nobody can be asked", away, 1, false, false},
		{"nobody can be asked, before anything is published", away, 1, true, true},
	} {
		if err := fresh(t.Context(), tt.publisher, tt.generation, tt.first); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

// TestGenerationOfABackup: what is said by hand never counts for less than what
// statements name.
func TestGenerationOfABackup(t *testing.T) {
	e := &env{}
	for _, tt := range []struct {
		publisher says
		args      []string
		want      uint64
		ok        bool
	}{
		{says{n: 5}, nil, 5, true},
		{says{n: 5}, []string{"-named", "3"}, 5, true},
		{says{n: 5}, []string{"-named", "9"}, 9, true},
		{says{err: errors.New("away")}, nil, 0, false},
		{says{err: errors.New("away")}, []string{"-named", "3"}, 3, true},
		{says{err: errors.New("away")}, []string{"-named", "0"}, 0, true},
	} {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		byHand := fs.Uint64("named", 0, "")
		if err := fs.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		if n, err := e.named(t.Context(), fs, tt.publisher, *byHand); n != tt.want || (err == nil) != tt.ok {
			t.Errorf("%+v: %d, %v", tt, n, err)
		}
	}
}
