// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"bytes"
	"maps"
	"slices"

	"github.com/sotto-project/sotto/transparency"
	"golang.org/x/crypto/cryptobyte"
)

// Bounds of packs and freshness lists, and of one object in them.
const (
	MaxPackSize      = 256 << 20
	MaxFreshnessSize = 64 << 20
	MaxObjectSize    = 32 << 20
	maxObjects       = 1 << 17
)

// A Pack carries what a statement names by hash: node records, and the epoch
// evidence those name. It is the same for all and fetched whole, or through
// OHTTP, so that fetching says nothing about the nodes one is about to use. It
// is not signed: every object is found by its hash, and Checkpoint verifies
// under the reader's own Trust.
type Pack struct {
	Epoch      uint64
	Checkpoint []byte // the note, of an earlier epoch, over which all epoch evidence was quoted
	objects    map[[32]byte][]byte
}

// Add puts an object in and returns its hash.
func (p *Pack) Add(object []byte) [32]byte {
	if p.objects == nil {
		p.objects = map[[32]byte][]byte{}
	}
	d := Digest(object)
	p.objects[d] = object
	return d
}

// Object returns the object with this hash. The bytes are not to be changed.
func (p *Pack) Object(hash [32]byte) ([]byte, bool) {
	o, ok := p.objects[hash]
	return o, ok
}

// Len is the number of objects.
func (p *Pack) Len() int { return len(p.objects) }

// Node returns the record that n names and the epoch evidence which that names.
// The record is of node n.ID and of the pack's epoch; whether the evidence
// proves it is for attestation to say. Refusals: [transparency.CodePackMissing],
// [transparency.CodeStatement].
func (p *Pack) Node(n Node) (r *Record, evidence []byte, err error) {
	raw, ok := p.objects[n.Record]
	if !ok {
		return nil, nil, transparency.Refuse(transparency.CodePackMissing, "the pack of epoch %d has no record of node %x", p.Epoch, n.ID[:8])
	}
	if r, err = ParseRecord(raw); err != nil {
		return nil, nil, err
	}
	if r.NodeID != n.ID || r.Epoch != p.Epoch {
		return nil, nil, malformed("the record of node %x, epoch %d, is of %x, %d", n.ID[:8], p.Epoch, r.NodeID[:8], r.Epoch)
	}
	if evidence, ok = p.objects[r.EvidenceDigest]; !ok {
		return nil, nil, transparency.Refuse(transparency.CodePackMissing, "the pack of epoch %d has no evidence of node %x", p.Epoch, n.ID[:8])
	}
	return r, evidence, nil
}

// Append prints p after b:
//
//	struct {
//	    uint8  version = 1;
//	    uint64 epoch;
//	    opaque checkpoint<0..2^16-1>;
//	    Object objects[rest];          /* opaque<1..2^25> each, prefixed by uint32 */
//	} Pack;
//
// Objects ascend by their SHA-256, which is not written: it follows.
func (p *Pack) Append(b []byte) ([]byte, error) {
	size := 16 + len(p.Checkpoint)
	for _, o := range p.objects {
		size += 4 + len(o)
		if len(o) == 0 || len(o) > MaxObjectSize {
			return nil, malformed("pack: object of %d bytes", len(o))
		}
	}
	if size > MaxPackSize || len(p.objects) > maxObjects {
		return nil, malformed("pack: %d objects, %d bytes", len(p.objects), size)
	}
	w := cryptobyte.NewBuilder(make([]byte, 0, size))
	w.AddUint8(version)
	w.AddUint64(p.Epoch)
	addOpaque16(w, p.Checkpoint)
	for _, h := range slices.SortedFunc(maps.Keys(p.objects), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		addOpaque32(w, p.objects[h])
	}
	out, err := w.Bytes()
	if err != nil {
		return nil, malformed("pack: checkpoint of %d bytes", len(p.Checkpoint))
	}
	return append(b, out...), nil
}

// ParsePack reads exactly one pack. Objects share b's memory. Refusal:
// [transparency.CodeStatement].
func ParsePack(b []byte) (*Pack, error) {
	p, r := &Pack{objects: map[[32]byte][]byte{}}, cryptobyte.String(b)
	var ver uint8
	if len(b) > MaxPackSize || !r.ReadUint8(&ver) || ver != version || !r.ReadUint64(&p.Epoch) || !readOpaque16(&r, &p.Checkpoint) {
		return nil, malformed("pack: version, size or head")
	}
	var last [32]byte
	for !r.Empty() {
		var o []byte
		if !readOpaque32(&r, &o) || len(o) == 0 || len(o) > MaxObjectSize || len(p.objects) == maxObjects {
			return nil, malformed("pack: object %d", len(p.objects))
		}
		h := Digest(o)
		if len(p.objects) > 0 && bytes.Compare(last[:], h[:]) >= 0 {
			return nil, malformed("pack: order of objects")
		}
		p.objects[h], last = o, h
	}
	return p, nil
}

// A Freshness is the newest freshness evidence of all nodes, quoted over one
// checkpoint. While two epochs' statements are public it holds both epochs'.
type Freshness struct {
	Checkpoint []byte // cosigned note
	Items      []Fresh
}

// A Fresh is one node's freshness evidence for one epoch.
type Fresh struct {
	Epoch  uint64
	NodeID [32]byte
	Bundle []byte
}

// Find returns the evidence of a node for an epoch.
func (f *Freshness) Find(epoch uint64, id [32]byte) ([]byte, bool) {
	i, ok := slices.BinarySearchFunc(f.Items, Fresh{Epoch: epoch, NodeID: id}, compareFresh)
	if !ok {
		return nil, false
	}
	return f.Items[i].Bundle, true
}

func compareFresh(a, b Fresh) int {
	if a.Epoch != b.Epoch {
		if a.Epoch < b.Epoch {
			return -1
		}
		return 1
	}
	return bytes.Compare(a.NodeID[:], b.NodeID[:])
}

// Append prints f after b:
//
//	struct {
//	    uint8  version = 1;
//	    opaque checkpoint<0..2^16-1>;
//	    Fresh  items[rest];   /* uint64 epoch; opaque node_id[32]; opaque bundle<1..2^25>, prefixed by uint32; */
//	} Freshness;
//
// Items ascend by epoch, then node id; there is one for each.
func (f *Freshness) Append(b []byte) ([]byte, error) {
	w := cryptobyte.NewBuilder(nil)
	w.AddUint8(version)
	addOpaque16(w, f.Checkpoint)
	if !ascending(f.Items, compareFresh) {
		return nil, malformed("freshness: order of items")
	}
	for _, x := range f.Items {
		if len(x.Bundle) == 0 || len(x.Bundle) > MaxObjectSize {
			return nil, malformed("freshness: bundle of %d bytes", len(x.Bundle))
		}
		w.AddUint64(x.Epoch)
		w.AddBytes(x.NodeID[:])
		addOpaque32(w, x.Bundle)
	}
	out, err := w.Bytes()
	if err != nil || len(out) > MaxFreshnessSize {
		return nil, malformed("freshness: %d items beyond the bounds", len(f.Items))
	}
	return append(b, out...), nil
}

// ParseFreshness reads exactly one list. Bundles share b's memory. Refusal:
// [transparency.CodeStatement].
func ParseFreshness(b []byte) (*Freshness, error) {
	f, r := &Freshness{}, cryptobyte.String(b)
	var ver uint8
	if len(b) > MaxFreshnessSize || !r.ReadUint8(&ver) || ver != version || !readOpaque16(&r, &f.Checkpoint) ||
		!readAll(&r, &f.Items, func(r *cryptobyte.String, x *Fresh) bool {
			return r.ReadUint64(&x.Epoch) && r.CopyBytes(x.NodeID[:]) && readOpaque32(r, &x.Bundle) &&
				len(x.Bundle) > 0 && len(x.Bundle) <= MaxObjectSize
		}) || !ascending(f.Items, compareFresh) {
		return nil, malformed("freshness: layout or order")
	}
	return f, nil
}
