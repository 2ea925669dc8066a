// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"encoding/binary"
	"testing"
)

// TestWhatIsRememberedIsBounded: the newest holds are there, the oldest are not,
// and there are never more than two halves.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	var f fresh
	v := &view{newest: 5, generation: 7}
	key := func(n int) (k [32]byte) { binary.BigEndian.PutUint64(k[:], uint64(n)); return k }
	const n = 5*maxFresh/2 + 1
	for i := range n {
		f.put(7, &Op{Key: key(i), Epoch: 5, Version: uint32(i)})
		if len(f.young)+len(f.old) > 2*maxFresh {
			t.Fatalf("%d are remembered", len(f.young)+len(f.old))
		}
	}
	for _, i := range []int{n - 1, n - maxFresh} {
		if op, ok := f.take(v, key(i)); !ok || op.Version != uint32(i) {
			t.Errorf("%d is not remembered", i)
		}
		if _, ok := f.take(v, key(i)); ok {
			t.Errorf("%d was taken twice", i)
		}
	}
	if _, ok := f.take(v, key(0)); ok {
		t.Error("the first is remembered")
	}
	f.put(7, &Op{Key: key(n - maxFresh - 1), Epoch: 5}) // it was in the older half
	if op, ok := f.take(v, key(n-maxFresh-1)); !ok || op.Version != 0 {
		t.Error("what was written last is not what is remembered")
	}
	if _, ok := f.take(v, key(n-maxFresh-1)); ok {
		t.Error("what was written over is remembered")
	}
}
