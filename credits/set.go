// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// A Listed is a keyset as a statement has it: bytes under an id that whoever
// lists it does not look into.
type Listed struct {
	ID   [32]byte
	Data []byte
}

// ErrList is the one error of [ParseList].
var ErrList = errors.New("credits: malformed list of keysets")

// AppendList appends keysets to b as the public file of a bank has them, from
// which a publisher lists them without looking into them:
//
//	struct {
//	    opaque id[32];
//	    opaque data<1..2^16-1>;
//	} Listed;   /* one after another, ascending by id */
func AppendList(b []byte, sets []*Keyset) []byte {
	sets = slices.Clone(sets)
	slices.SortFunc(sets, func(x, y *Keyset) int { return bytes.Compare(x.id[:], y.id[:]) })
	w := cryptobyte.NewBuilder(b)
	for _, k := range sets {
		w.AddBytes(k.id[:])
		w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(k.Append(nil)) })
	}
	return w.BytesOrPanic()
}

// ParseList parses a whole list. It looks into no keyset: [NewSet] does. The
// error is [ErrList].
func ParseList(b []byte) ([]Listed, error) {
	var list []Listed
	for r := cryptobyte.String(b); !r.Empty(); {
		var l Listed
		var data cryptobyte.String
		if !r.CopyBytes(l.ID[:]) || !r.ReadUint16LengthPrefixed(&data) || data.Empty() {
			return nil, ErrList
		}
		if n := len(list); n > 0 && bytes.Compare(l.ID[:], list[n-1].ID[:]) <= 0 {
			return nil, ErrList
		}
		l.Data = bytes.Clone(data)
		list = append(list, l)
	}
	return list, nil
}

// A Set is the keysets of one statement, checked against each other. The zero
// Set has none, so nothing is on sale and nothing can be spent.
type Set struct{ all []*Keyset }

// NewSet checks what a statement lists. Its errors are [Refusal]s with
// [CodeKey]: a keyset under another id, two on sale at once (the choice between
// them would be a mark), a key in two of them (what one sells cheaply would be
// dear in the other).
func NewSet(list []Listed) (*Set, error) {
	s := &Set{}
	keys, ids := map[[32]byte]bool{}, map[[32]byte]bool{}
	for _, l := range list {
		k, err := ParseKeyset(l.Data)
		if err != nil {
			return nil, &Refusal{CodeKey, "a keyset that is listed does not parse"}
		}
		if k.id != l.ID || ids[k.id] {
			return nil, &Refusal{CodeKey, "a keyset is listed under another id, or twice"}
		}
		ids[k.id] = true
		for _, x := range k.Keys {
			if keys[x.Element] {
				return nil, &Refusal{CodeKey, "two keysets have one key"}
			}
			keys[x.Element] = true
		}
		for _, o := range s.all {
			if o.Type == k.Type && o.Tier == k.Tier && o.First <= k.Last && k.First <= o.Last {
				return nil, &Refusal{CodeKey, fmt.Sprintf("two keysets of type %d are on sale in epoch %d", k.Type, max(o.First, k.First))}
			}
		}
		s.all = append(s.all, k)
	}
	slices.SortFunc(s.all, func(x, y *Keyset) int {
		return cmp.Or(cmp.Compare(x.First, y.First), bytes.Compare(x.id[:], y.id[:]))
	})
	return s, nil
}

// Selling returns the keyset of a type, and of a tier for entitlements, that is
// on sale in an epoch: there is one at most.
func (s *Set) Selling(tokenType, tier uint8, epoch uint64) (*Keyset, bool) {
	for _, k := range s.all {
		if k.Type == tokenType && k.Tier == tier && k.Sells(epoch) {
			return k, true
		}
	}
	return nil, false
}

// Spendable returns the keyset with an id if its tokens can be spent in an
// epoch, first and last included (CT-08).
func (s *Set) Spendable(id [32]byte, epoch uint64) (*Keyset, bool) {
	k, ok := s.Find(id)
	if !ok || !k.Spends(epoch) {
		return nil, false
	}
	return k, true
}

// Find returns the keyset with an id, in its time or not.
func (s *Set) Find(id [32]byte) (*Keyset, bool) {
	for _, k := range s.all {
		if k.id == id {
			return k, true
		}
	}
	return nil, false
}

// All returns the keysets, those that were on sale first first.
func (s *Set) All() []*Keyset { return slices.Clone(s.all) }
