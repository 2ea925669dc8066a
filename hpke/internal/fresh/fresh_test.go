// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fresh

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"

	"github.com/sotto-project/sotto/hpke"
)

// twoRuns gives the same numbers to two Sources, as the two halves of a cloned
// machine have them.
func twoRuns() (*Source, *Source) {
	numbers := make([]byte, 320)
	rand.Read(numbers)
	return New(bytes.NewReader(numbers)), New(bytes.NewReader(numbers))
}

type constantReader byte

func (c constantReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

func TestRandomnessFailure(t *testing.T) {
	t.Run("CR-34", func(t *testing.T) {
		once := make([]byte, 32)
		rand.Read(once)
		for name, c := range map[string]struct {
			r    io.Reader
			good int // draws before the failure
		}{
			"empty":           {bytes.NewReader(nil), 0},
			"short":           {bytes.NewReader(once[:31]), 0},
			"stuck at zero":   {constantReader(0), 0},
			"stuck at ff":     {constantReader(0xff), 0},
			"ends":            {bytes.NewReader(once), 1},
			"repeats":         {bytes.NewReader(append(bytes.Clone(once), once...)), 1},
			"zero, then good": {io.MultiReader(bytes.NewReader(make([]byte, 32)), rand.Reader), 0},
		} {
			s := New(c.r)
			for i := range c.good {
				if _, err := s.Draw("x", 1, nil); err != nil {
					t.Errorf("%s: draw %d: %v", name, i, err)
				}
			}
			for range 3 { // the failure is for good
				if v, err := s.Draw("x", 1, nil); err != hpke.ErrRandomness || v != [32]byte{} {
					t.Errorf("%s: %x, %v", name, v, err)
				}
			}
		}
	})
	draw := func(t *testing.T, s *Source, label string, epoch uint64, hedge string) [32]byte {
		t.Helper()
		v, err := s.Draw(label, epoch, []byte(hedge))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	t.Run("CR-34 mixing", func(t *testing.T) {
		a, b := twoRuns()
		if draw(t, a, "x", 1, "h") != draw(t, b, "x", 1, "h") {
			t.Error("the twins differ: the cases below show nothing")
		}
		if draw(t, a, "x", 1, "h") == draw(t, b, "x", 2, "h") {
			t.Error("epoch is not mixed in")
		}
		if draw(t, a, "x", 1, "h") == draw(t, b, "y", 1, "h") {
			t.Error("label is not mixed in")
		}
		if draw(t, a, "x", 1, "h") == draw(t, b, "x", 1, "g") {
			t.Error("hedge is not mixed in")
		}
		b.counter++
		if draw(t, a, "x", 1, "h") == draw(t, b, "x", 1, "h") {
			t.Error("counter is not mixed in")
		}
	})
}
