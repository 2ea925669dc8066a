// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"testing"

	"github.com/sotto-project/sotto/lab/engine/model"
)

// TestStateIsErased: what the next request is given holds nothing of this one.
func TestStateIsErased(t *testing.T) {
	t.Run("TN-06", func(t *testing.T) {
		m, err := Load(model.GGUF)
		if err != nil {
			t.Fatal(err)
		}
		s := newState(m)
		for _, id := range m.tok.encode([]int{m.tok.bos}, "a secret between two people") {
			s.step(id)
		}
		buffers := append(append([][]float32{s.x, s.h, s.q, s.att, s.out, s.gate, s.up, s.logits}, s.k...), s.v...)
		dirty := 0
		for _, b := range buffers {
			dirty += nonzero(b)
		}
		if dirty == 0 {
			t.Fatal("a prompt left nothing to erase: the test sees nothing")
		}
		s.erase()
		for i, b := range buffers {
			if n := nonzero(b); n > 0 {
				t.Errorf("buffer %d: %d values of the prompt are left", i, n)
			}
		}
	})
}

func nonzero(b []float32) (n int) {
	for _, v := range b[:cap(b)] {
		if v != 0 {
			n++
		}
	}
	return n
}
