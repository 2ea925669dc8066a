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
	MaxObjects       = 1 << 18
)

// MaxAssembled is the most bytes that all ropes of a pack may be, joined, and the
// most that the nodes of a statement may have there, records and evidence. Without
// it a hostile publisher has a client join and hash gigabytes for kilobytes (AT-62).
//
// Ten thousand honest nodes fit: of SEV-SNP a node's record and evidence are
// 10.6 kB, with a GPU 61 kB, which is 613 MB for all. Of nodes with eight GPUs, 104 kB
// each, a pack has room for 4,600 in its own bytes: 479 MB (transparency/roster,
// TestTenThousandNodesFit).
const MaxAssembled = 1 << 30

// A Pack carries what a statement names by hash: node records, the epoch
// evidence those name, and release files. It is the same for all and fetched
// whole, or through OHTTP, so that fetching says nothing about the nodes one is
// about to use. It is not signed: every object is found by its hash, and
// Checkpoint verifies under the reader's own Trust.
//
// What many nodes have in common, or one node has in every epoch (certificate
// chains, revocation lists, event logs), is in it once: a large object can be a
// rope, a list of other objects whose bytes in that order are its own.
type Pack struct {
	Epoch      uint64
	Checkpoint []byte // the note, of an earlier epoch, over which all epoch evidence was quoted
	objects    map[[32]byte]object
}

// An object has bytes of its own, or is made of others that have.
type object struct {
	data  []byte
	parts [][32]byte
}

// Kinds of objects as they are written.
const (
	objectData = 0
	objectRope = 1
	objectKept = 2 // in a delta: what the pack of the epoch before has
)

// maxParts is the most objects that a rope is made of.
const maxParts = 255

// Add puts an object in and returns its hash.
func (p *Pack) Add(b []byte) [32]byte {
	if p.objects == nil {
		p.objects = map[[32]byte]object{}
	}
	d := Digest(b)
	p.objects[d] = object{data: b}
	return d
}

// AddCut puts an object in, cut at these offsets, which must ascend, and returns
// its hash. It is found as if it were there in one piece.
func (p *Pack) AddCut(b []byte, cuts []int) [32]byte {
	if len(cuts) == 0 || len(cuts) >= maxParts {
		return p.Add(b)
	}
	var o object
	from := 0
	for _, to := range append(slices.Clone(cuts), len(b)) {
		if to <= from || to > len(b) {
			return p.Add(b) // not what was asked for, and right all the same
		}
		o.parts = append(o.parts, p.Add(b[from:to]))
		from = to
	}
	d := Digest(b)
	if _, whole := p.objects[d]; !whole {
		p.objects[d] = o
	}
	return d
}

// size is how long an object is, joined; of a rope's parts it counts those that
// are there. It fits: MaxObjects times maxParts times MaxObjectSize is 2^51.
func (p *Pack) size(o object) int64 {
	n := int64(len(o.data))
	for _, h := range o.parts {
		n += int64(len(p.objects[h].data))
	}
	return n
}

// bounded refuses ropes beyond [MaxAssembled].
func (p *Pack) bounded() error {
	var sum int64
	for _, o := range p.objects {
		if o.parts != nil {
			sum += p.size(o)
		}
	}
	if sum > MaxAssembled {
		return malformed("pack: its ropes are %d bytes, want at most %d", sum, int64(MaxAssembled))
	}
	return nil
}

// Bounded refuses a statement whose nodes have more than [MaxAssembled] bytes in
// the pack: many may name one large object, so that the pack's own bounds do not
// bound what its readers do. Nodes whose record is absent or wrong count nothing;
// [Pack.Node] refuses them one by one.
func (p *Pack) Bounded(s *Statement) error {
	var sum int64
	for _, n := range s.Nodes {
		r, raw, err := p.record(n)
		if err != nil {
			continue
		}
		if sum += int64(len(raw)) + p.size(p.objects[r.EvidenceDigest]); sum > MaxAssembled {
			return malformed("pack: its nodes have more than %d bytes", int64(MaxAssembled))
		}
	}
	return nil
}

// Object returns the object with this hash. The bytes are not to be changed.
func (p *Pack) Object(hash [32]byte) ([]byte, bool) {
	o, ok := p.objects[hash]
	if !ok || o.parts == nil {
		return o.data, ok
	}
	size := p.size(o)
	if size > MaxObjectSize {
		return nil, false
	}
	for _, h := range o.parts {
		if p.objects[h].data == nil {
			return nil, false // missing, or a rope of ropes
		}
	}
	b := make([]byte, 0, size)
	for _, h := range o.parts {
		b = append(b, p.objects[h].data...)
	}
	if Digest(b) != hash { // a rope's name is a claim until here
		return nil, false
	}
	return b, true
}

// Len is the number of objects, parts of others included.
func (p *Pack) Len() int { return len(p.objects) }

// Node returns the record that n names and the epoch evidence which that names.
// The record is of node n.ID and of the pack's epoch; whether the evidence
// proves it is for attestation to say. Refusals: [transparency.CodePackMissing],
// [transparency.CodeStatement].
func (p *Pack) Node(n Node) (r *Record, evidence []byte, err error) {
	if r, _, err = p.record(n); err != nil {
		return nil, nil, err
	}
	evidence, ok := p.Object(r.EvidenceDigest)
	if !ok {
		return nil, nil, transparency.Refuse(transparency.CodePackMissing, "the pack of epoch %d has no evidence of node %x", p.Epoch, n.ID[:8])
	}
	return r, evidence, nil
}

func (p *Pack) record(n Node) (r *Record, raw []byte, err error) {
	if size := p.size(p.objects[n.Record]); size > MaxRecordSize {
		return nil, nil, malformed("record: %d bytes, want at most %d", size, MaxRecordSize) // before it is joined
	}
	raw, ok := p.Object(n.Record)
	if !ok {
		return nil, nil, transparency.Refuse(transparency.CodePackMissing, "the pack of epoch %d has no record of node %x", p.Epoch, n.ID[:8])
	}
	if r, err = ParseRecord(raw); err != nil {
		return nil, nil, err
	}
	if r.NodeID != n.ID || r.Epoch != p.Epoch {
		return nil, nil, malformed("the record of node %x, epoch %d, is of %x, %d", n.ID[:8], p.Epoch, r.NodeID[:8], r.Epoch)
	}
	return r, raw, nil
}

// Append prints p after b:
//
//	struct {
//	    uint8  version = 1;
//	    uint64 epoch;
//	    opaque checkpoint<0..2^16-1>;
//	    Object objects[rest];
//	} Pack;
//
//	struct {
//	    uint8 kind;
//	    select (kind) {
//	        case 0: opaque data<1..2^25>;        /* prefixed by uint32 */
//	        case 1: opaque hash[32];             /* a rope: of all its parts' bytes */
//	                Hash   parts<1..255>;        /* opaque[32] each, prefixed by their number, uint8 */
//	        case 2: opaque hash[32];             /* in deltas only: data of the pack before */
//	    };
//	} Object;
//
// Objects ascend by their hashes; that of data is not written, for it follows.
func (p *Pack) Append(b []byte) ([]byte, error) { return p.append(b, nil) }

// AppendDelta prints what p has and old, the pack of the epoch before, has not:
// where the bytes of an object are in both it says so by their hash.
// [ParseDelta] makes p of it again.
func (p *Pack) AppendDelta(b []byte, old *Pack) ([]byte, error) {
	if old == nil || old.Epoch+1 != p.Epoch {
		return nil, malformed("pack: no delta to a pack that is not of the epoch before %d", p.Epoch)
	}
	return p.append(b, old)
}

func (p *Pack) append(b []byte, old *Pack) ([]byte, error) {
	size := 16 + len(p.Checkpoint)
	for _, o := range p.objects {
		size += 38 + len(o.data) + 32*len(o.parts)
		if o.parts == nil && (len(o.data) == 0 || len(o.data) > MaxObjectSize) {
			return nil, malformed("pack: object of %d bytes", len(o.data))
		}
	}
	if size > MaxPackSize || len(p.objects) > MaxObjects {
		return nil, malformed("pack: %d objects, %d bytes", len(p.objects), size)
	}
	if err := p.bounded(); err != nil {
		return nil, err
	}
	w := cryptobyte.NewBuilder(nil)
	w.AddUint8(version)
	w.AddUint64(p.Epoch)
	addOpaque16(w, p.Checkpoint)
	for _, h := range slices.SortedFunc(maps.Keys(p.objects), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		o := p.objects[h]
		switch {
		case o.parts != nil:
			w.AddUint8(objectRope)
			w.AddBytes(h[:])
			w.AddUint8(uint8(len(o.parts)))
			for _, part := range o.parts {
				w.AddBytes(part[:])
			}
		case old != nil && old.objects[h].data != nil:
			w.AddUint8(objectKept)
			w.AddBytes(h[:])
		default:
			w.AddUint8(objectData)
			addOpaque32(w, o.data)
		}
	}
	out, err := w.Bytes()
	if err != nil {
		return nil, malformed("pack: checkpoint of %d bytes", len(p.Checkpoint))
	}
	return append(b, out...), nil
}

// ParsePack reads exactly one pack. Objects share b's memory. Refusal:
// [transparency.CodeStatement].
func ParsePack(b []byte) (*Pack, error) { return parsePack(b, nil) }

// ParseDelta reads exactly one delta and fills in what it says old has: the
// result is the whole pack. Refusals: [transparency.CodeStatement], and
// [transparency.CodePackMissing] where old lacks something.
func ParseDelta(b []byte, old *Pack) (*Pack, error) {
	if old == nil {
		return nil, malformed("pack: a delta to nothing")
	}
	p, err := parsePack(b, old)
	if err == nil && p.Epoch != old.Epoch+1 {
		err = malformed("pack: a delta for epoch %d to the pack of epoch %d", p.Epoch, old.Epoch)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func parsePack(b []byte, old *Pack) (*Pack, error) {
	p, r := &Pack{objects: map[[32]byte]object{}}, cryptobyte.String(b)
	var ver uint8
	if len(b) > MaxPackSize || !r.ReadUint8(&ver) || ver != version || !r.ReadUint64(&p.Epoch) || !readOpaque16(&r, &p.Checkpoint) {
		return nil, malformed("pack: version, size or head")
	}
	var last [32]byte
	for !r.Empty() {
		var kind uint8
		var o object
		var h [32]byte
		ok := len(p.objects) < MaxObjects && r.ReadUint8(&kind)
		switch {
		case ok && kind == objectData:
			if ok = readOpaque32(&r, &o.data) && len(o.data) > 0 && len(o.data) <= MaxObjectSize; ok {
				h = Digest(o.data)
			}
		case ok && kind == objectRope:
			o.parts, ok = readRope(&r, &h)
		case ok && kind == objectKept && old != nil:
			if ok = r.CopyBytes(h[:]); ok {
				if o.data = old.objects[h].data; o.data == nil {
					return nil, transparency.Refuse(transparency.CodePackMissing, "the pack of epoch %d has no object %x, which a delta says it has", old.Epoch, h[:8])
				}
			}
		default:
			ok = false
		}
		if !ok {
			return nil, malformed("pack: object %d", len(p.objects))
		}
		if len(p.objects) > 0 && bytes.Compare(last[:], h[:]) >= 0 {
			return nil, malformed("pack: order of objects")
		}
		p.objects[h], last = o, h
	}
	if err := p.bounded(); err != nil {
		return nil, err
	}
	return p, nil
}

func readRope(r *cryptobyte.String, h *[32]byte) ([][32]byte, bool) {
	var n uint8
	if !r.CopyBytes(h[:]) || !r.ReadUint8(&n) || n == 0 {
		return nil, false
	}
	parts := make([][32]byte, n)
	for i := range parts {
		if !r.CopyBytes(parts[i][:]) {
			return nil, false
		}
	}
	return parts, true
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
