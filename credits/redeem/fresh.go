// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import "sync"

// maxFresh is how many holds each half of a [fresh] has at most: of 600 bytes
// each, some ten megabytes a half.
const maxFresh = 1 << 14

// A fresh remembers holds as this process has just written them, so that whoever
// settles one need not read it from the database first. It decides nothing: the
// end of a hold is written only over the version that it was judged by, whoever
// wrote since, in the generation that the writer knows; where that fails, or the
// end would be refused, the database is asked. The zero fresh is empty.
type fresh struct {
	mu         sync.Mutex // guards what follows
	young, old map[[32]byte]held
}

// A held is an operation in [StateHeld] and the generation it was written in: a
// database that was restored may have other data under the same version.
type held struct {
	op         Op
	generation uint64
}

// put remembers op. The oldest are forgotten, half of all at a time.
func (f *fresh) put(generation uint64, op *Op) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.young) >= maxFresh {
		f.old, f.young = f.young, nil
	}
	if f.young == nil {
		f.young = map[[32]byte]held{}
	}
	delete(f.old, op.Key)
	f.young[op.Key] = held{*op, generation}
}

// take returns the hold of a key and forgets it. One whose time is over by v is
// for the database to tell: its part may be gone.
func (f *fresh) take(v *view, key [32]byte) (Op, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range []map[[32]byte]held{f.young, f.old} {
		if h, ok := m[key]; ok {
			delete(m, key)
			return h.op, h.generation == v.generation && h.op.Epoch+2 > v.newest
		}
	}
	return Op{}, false
}
