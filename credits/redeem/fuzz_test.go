// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"bytes"
	"testing"

	"github.com/sotto-project/sotto/internal/wire"
)

// FuzzHoldData: what is kept of a hold has one spelling.
func FuzzHoldData(f *testing.F) {
	for n := range 9 {
		h := &hold{tokenType: wire.TokenCoin, class: 10, candidates: 8, turns: make([]turn, n)}
		f.Add(h.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHold(b)
		if err != nil {
			return
		}
		if !bytes.Equal(h.append(nil), b) {
			t.Errorf("%x is printed as %x", b, h.append(nil))
		}
		h.holder()
		wire.Due(h.class, wire.Parts)
	})
}

// FuzzEndData: what is kept of an end has one spelling.
func FuzzEndData(f *testing.F) {
	for _, c := range []*wire.Change{{}, {State: wire.ChangeReturned}, {State: wire.ChangeReturned, Keyset: [32]byte{1}, Coins: []wire.Minted{{Exponent: 10}}}} {
		f.Add(endData(c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseEnd(b)
		if err != nil || c.Generation != 0 || len(b) > 0 && b[len(b)-1] == 0 {
			return
		}
		if !bytes.Equal(endData(c), b) {
			t.Errorf("%x is printed as %x", b, endData(c))
		}
	})
}

// FuzzBodies: whatever a router sends is a candidate that belongs together, a
// settlement, or a refusal.
func FuzzBodies(f *testing.F) {
	f.Add([]byte{0, 1, 0})
	f.Add(append([]byte{SettleBusy}, make([]byte, wire.BusyReceiptSize)...))
	f.Add(append([]byte{SettleUsage}, make([]byte, wire.UsageSize)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCandidate(b); err == nil {
			out := append([]byte{byte(len(c.record) >> 8), byte(len(c.record))}, c.record...)
			if out = c.forward.Append(out); !bytes.Equal(out, b) {
				t.Errorf("%x is printed as %x", b, out)
			}
		}
		parseSettle(b)
	})
}
