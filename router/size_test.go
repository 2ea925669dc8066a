// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/wire"
)

func TestBufferHoldsTheLongestForwardedHeader(t *testing.T) {
	if n := hpke.ForwardedSize(hpke.NodeSuite, wire.MaxCandidates); n > maxForwarded {
		t.Errorf("%d bytes, the buffer has %d", n, maxForwarded)
	}
	if hpke.MaxCandidates != wire.MaxCandidates {
		t.Error("two opinions of the most candidates")
	}
}
