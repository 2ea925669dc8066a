// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// MaxRecordSize bounds a node record's bytes.
const MaxRecordSize = 1 << 16

// A Record is what a statement names by hash for each node. Evidence proves
// NodeID, Epoch, REK and NodeKey; prices and claims are the operator's word.
type Record struct {
	NodeID         [32]byte
	Epoch          uint64
	REK            []byte            // the request encryption key, as package hpke encodes it
	NodeKey        ed25519.PublicKey // signs busy receipts
	EvidenceDigest [32]byte          // of the epoch evidence bundle's bytes
	Prices         []Price           // ascending by Class
	Claims         []Claim           // ascending by Name; merely stated
}

// A Price is what a request of a class costs, in the smallest coin.
type Price struct {
	Class uint8
	Units uint32
}

// A Claim is something the operator says about a node that nothing proves.
type Claim struct{ Name, Value string }

// Cuts is where [Pack.AddCut] should cut the printed record: its key is in the
// evidence, too.
func (r *Record) Cuts() []int {
	const before = 1 + 32 + 8 + 2
	return []int{before, before + len(r.REK)}
}

// Append prints r after b:
//
//	struct {
//	    uint8  version = 1;
//	    opaque node_id[32];
//	    uint64 epoch;
//	    opaque rek<1..2^16-1>;
//	    opaque node_key[32];             /* Ed25519 */
//	    opaque evidence_digest[32];
//	    Price  prices<0..2^16-1>;        /* uint8 class; uint32 units; */
//	    Claim  claims<0..2^16-1>;        /* opaque name<1..255>, value<1..255>; */
//	} Record;
func (r *Record) Append(b []byte) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	w := cryptobyte.NewBuilder(nil)
	w.AddUint8(version)
	w.AddBytes(r.NodeID[:])
	w.AddUint64(r.Epoch)
	addOpaque16(w, r.REK)
	w.AddBytes(r.NodeKey)
	w.AddBytes(r.EvidenceDigest[:])
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, p := range r.Prices {
			w.AddUint8(p.Class)
			w.AddUint32(p.Units)
		}
	})
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, c := range r.Claims {
			addOpaque8(w, []byte(c.Name))
			addOpaque8(w, []byte(c.Value))
		}
	})
	out, err := w.Bytes()
	if err != nil || len(out) > MaxRecordSize {
		return nil, malformed("record: larger than %d bytes or a field beyond its bound", MaxRecordSize)
	}
	return append(b, out...), nil
}

// ParseRecord reads exactly one record. Refusal: [transparency.CodeStatement].
func ParseRecord(b []byte) (*Record, error) {
	if len(b) > MaxRecordSize {
		return nil, malformed("record: %d bytes, want at most %d", len(b), MaxRecordSize)
	}
	r, s := &Record{NodeKey: make([]byte, ed25519.PublicKeySize)}, cryptobyte.String(b)
	var ver uint8
	var prices, claims cryptobyte.String
	if !s.ReadUint8(&ver) || ver != version || !s.CopyBytes(r.NodeID[:]) || !s.ReadUint64(&r.Epoch) ||
		!readOpaque16(&s, &r.REK) || !s.CopyBytes(r.NodeKey) || !s.CopyBytes(r.EvidenceDigest[:]) ||
		!s.ReadUint16LengthPrefixed(&prices) || !s.ReadUint16LengthPrefixed(&claims) || !s.Empty() ||
		!readAll(&prices, &r.Prices, func(r *cryptobyte.String, p *Price) bool {
			return r.ReadUint8(&p.Class) && r.ReadUint32(&p.Units)
		}) ||
		!readAll(&claims, &r.Claims, func(r *cryptobyte.String, c *Claim) bool {
			return readString8(r, &c.Name) && readString8(r, &c.Value)
		}) {
		return nil, malformed("record: layout")
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Record) check() error {
	switch {
	case len(r.REK) == 0 || len(r.NodeKey) != ed25519.PublicKeySize:
		return malformed("record of %x: keys", r.NodeID[:4])
	case !ascending(r.Prices, func(a, b Price) int { return int(a.Class) - int(b.Class) }):
		return malformed("record of %x: prices: order", r.NodeID[:4])
	case !ascending(r.Claims, func(a, b Claim) int { return strings.Compare(a.Name, b.Name) }) ||
		slices.ContainsFunc(r.Claims, func(c Claim) bool { return !validText(c.Name) || !validText(c.Value) }):
		return malformed("record of %x: claims: order or text", r.NodeID[:4])
	}
	return nil
}

// Digest is SHA-256 of an object's bytes: how statements and packs name things.
func Digest(object []byte) [32]byte { return sha256.Sum256(object) }
