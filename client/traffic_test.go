// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/transparency/statement"
)

// TestSizesSayNothingElse: what a request weighs depends on the length of its
// body and on nothing that it says, and an attempt weighs what the first did.
func TestSizesSayNothingElse(t *testing.T) {
	o := newOperator(t, hpke.KEMXWing)
	size := func(attempt uint8, body []byte) int {
		t.Helper()
		sealed, err := sender.Seal(sender.Params{Epoch: 5, MediaType: hpke.MediaBinaryHTTP, Candidates: o.to[:3]})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{statement: &statement.Statement{Epoch: 5}, gateway: o.config, suite: o.suite, shape: newShape(o.suite, 3)}
		var out bytes.Buffer
		c := &call{head: canonicalHead("/v1/chat/completions", ""), model: "m", whole: body}
		p := &parcel{world: w, call: c, sealed: sealed, attempt: attempt}
		if attempt > 0 {
			p.origin = [32]byte{1}
		}
		if _, err := encapsulate(&out, w, p); err != nil {
			t.Fatal(err)
		}
		return out.Len()
	}
	random := make([]byte, 20_000)
	rand.Read(random)
	noise := []byte(`{"model":"m","prompt":"` + hex.EncodeToString(random) + `"}`)
	same := []byte(`{"model":"m","prompt":"` + strings.Repeat("a", 2*len(random)) + `"}`)
	t.Run("TA-09", func(t *testing.T) {
		for attempt := uint8(1); attempt < attempts; attempt++ {
			if first, again := size(0, noise), size(attempt, noise); first != again {
				t.Errorf("attempt %d weighs %d bytes, the first %d", attempt, again, first)
			}
		}
	})
	t.Run("TA-12", func(t *testing.T) {
		// Nothing is compressed beneath the seal: a repetitive body of the same
		// length weighs the same, and no less than itself.
		if a, b := size(0, noise), size(0, same); a != b || a < len(noise) {
			t.Errorf("noise weighs %d bytes, repetition %d, of %d", a, b, len(noise))
		}
	})
}
