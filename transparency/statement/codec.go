// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sotto-project/sotto/transparency"
	"golang.org/x/crypto/cryptobyte"
)

// MaxSize bounds a statement's bytes. One with 1,000 nodes and their chips has
// about 100 kB.
const MaxSize = 1 << 20

const (
	version   = 1
	kindEmpty = 0
	kindFull  = 1
	maxTime   = 1 << 40 // seconds
)

func malformed(format string, args ...any) error {
	return transparency.Refuse(transparency.CodeStatement, format, args...)
}

// Append prints s after b (RFC 8446 notation):
//
//	struct {
//	    uint8  version = 1;
//	    uint8  kind;              /* 0 empty, 1 full */
//	    uint64 epoch;
//	    uint64 not_before, not_after, next_public;   /* seconds since 1970 */
//	    opaque beacon[32];
//	    select (kind) { case full: Body; };
//	} Statement;
//
//	struct {
//	    KeyConfig gateway_keys<0..2^16-1>;   /* opaque<1..2^16-1> each */
//	    uint8     payment;
//	    uint64    mint_generation;
//	    opaque    ticket_key<0..2^8-1>;
//	    Keyset    coin_keysets<0..2^24-1>;
//	    Model     models<0..2^24-1>;
//	    Node      nodes<0..2^24-1>;
//	    Release   releases<0..2^24-1>;
//	    TCBFloor  tcb_floors<0..2^16-1>;
//	    opaque    chips<0..2^24-1>;          /* 32 bytes each */
//	} Body;
//
// It refuses what [Parse] would refuse.
func (s *Statement) Append(b []byte) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	w := cryptobyte.NewBuilder(nil)
	w.AddUint8(version)
	if s.Empty {
		w.AddUint8(kindEmpty)
	} else {
		w.AddUint8(kindFull)
	}
	w.AddUint64(s.Epoch)
	for _, t := range []time.Time{s.NotBefore, s.NotAfter, s.NextPublic} {
		w.AddUint64(uint64(t.Unix()))
	}
	w.AddBytes(s.Beacon[:])
	if !s.Empty {
		s.addBody(w)
	}
	out, err := w.Bytes()
	if err != nil || len(out) > MaxSize {
		return nil, malformed("statement: larger than %d bytes or a field beyond its bound", MaxSize)
	}
	return append(b, out...), nil
}

func (s *Statement) addBody(w *cryptobyte.Builder) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, k := range s.GatewayKeys {
			addOpaque16(w, k)
		}
	})
	w.AddUint8(s.Payment)
	w.AddUint64(s.MintGeneration)
	addOpaque8(w, s.TicketKey)
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, k := range s.CoinKeysets {
			w.AddBytes(k.ID[:])
			addOpaque16(w, k.Data)
		}
	})
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, m := range s.Models {
			addOpaque8(w, []byte(m.Name))
			w.AddBytes(m.Weights[:])
			w.AddUint32(m.Context)
			w.AddUint16(m.APIs)
		}
	})
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, n := range s.Nodes {
			w.AddBytes(n.ID[:])
			w.AddUint16(n.Model)
			w.AddBytes(n.Record[:])
		}
	})
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, r := range s.Releases {
			w.AddBytes(r.Digest[:])
			addOpaque8(w, []byte(r.Name))
		}
	})
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, f := range s.TCBFloors {
			addOpaque8(w, []byte(f.Platform))
			addOpaque8(w, f.Floor)
		}
	})
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, c := range s.Chips {
			w.AddBytes(c[:])
		}
	})
}

// Parse reads exactly one statement. Refusal: [transparency.CodeStatement].
func Parse(b []byte) (*Statement, error) {
	if len(b) > MaxSize {
		return nil, malformed("statement: %d bytes, want at most %d", len(b), MaxSize)
	}
	s, r := &Statement{}, cryptobyte.String(b)
	var ver, kind uint8
	if !r.ReadUint8(&ver) || ver != version || !r.ReadUint8(&kind) || kind > kindFull {
		return nil, malformed("statement: version or kind")
	}
	s.Empty = kind == kindEmpty
	if !r.ReadUint64(&s.Epoch) || !readTime(&r, &s.NotBefore) || !readTime(&r, &s.NotAfter) ||
		!readTime(&r, &s.NextPublic) || !r.CopyBytes(s.Beacon[:]) {
		return nil, malformed("statement: truncated head or a time out of bounds")
	}
	if !s.Empty && !s.readBody(&r) {
		return nil, malformed("statement %d: body", s.Epoch)
	}
	if !r.Empty() {
		return nil, malformed("statement %d: %d bytes left over", s.Epoch, len(r))
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Statement) readBody(r *cryptobyte.String) bool {
	var keys, sets, models, nodes, releases, floors, chips cryptobyte.String
	if !r.ReadUint16LengthPrefixed(&keys) || !r.ReadUint8(&s.Payment) || !r.ReadUint64(&s.MintGeneration) ||
		!readOpaque8(r, &s.TicketKey) || !r.ReadUint24LengthPrefixed(&sets) || !r.ReadUint24LengthPrefixed(&models) ||
		!r.ReadUint24LengthPrefixed(&nodes) || !r.ReadUint24LengthPrefixed(&releases) ||
		!r.ReadUint16LengthPrefixed(&floors) || !r.ReadUint24LengthPrefixed(&chips) {
		return false
	}
	return readAll(&keys, &s.GatewayKeys, func(r *cryptobyte.String, k *[]byte) bool { return readOpaque16(r, k) }) &&
		readAll(&sets, &s.CoinKeysets, func(r *cryptobyte.String, k *Keyset) bool {
			return r.CopyBytes(k.ID[:]) && readOpaque16(r, &k.Data)
		}) &&
		readAll(&models, &s.Models, func(r *cryptobyte.String, m *Model) bool {
			return readString8(r, &m.Name) && r.CopyBytes(m.Weights[:]) && r.ReadUint32(&m.Context) && r.ReadUint16(&m.APIs)
		}) &&
		readAll(&nodes, &s.Nodes, func(r *cryptobyte.String, n *Node) bool {
			return r.CopyBytes(n.ID[:]) && r.ReadUint16(&n.Model) && r.CopyBytes(n.Record[:])
		}) &&
		readAll(&releases, &s.Releases, func(r *cryptobyte.String, x *Release) bool {
			return r.CopyBytes(x.Digest[:]) && readString8(r, &x.Name)
		}) &&
		readAll(&floors, &s.TCBFloors, func(r *cryptobyte.String, f *TCBFloor) bool {
			return readString8(r, &f.Platform) && readOpaque8(r, &f.Floor)
		}) &&
		readAll(&chips, &s.Chips, func(r *cryptobyte.String, c *[32]byte) bool { return r.CopyBytes(c[:]) })
}

// check holds the rules that the layout alone does not.
func (s *Statement) check() error {
	if !wholeTime(s.NotBefore) || !wholeTime(s.NotAfter) || !wholeTime(s.NextPublic) ||
		s.NotAfter.Before(s.NotBefore) || s.NextPublic.Before(s.NotBefore) || s.NextPublic.After(s.NotAfter) {
		return malformed("statement %d: times must be whole seconds, in the order not_before, next_public, not_after", s.Epoch)
	}
	if s.Epoch == 0 && (!s.Empty || s.Beacon != [32]byte{}) {
		return malformed("statement 0: must be empty")
	}
	if s.Empty {
		if len(s.GatewayKeys)+len(s.TicketKey)+len(s.CoinKeysets)+len(s.Models)+len(s.Nodes)+len(s.Releases)+len(s.TCBFloors)+len(s.Chips) > 0 ||
			s.Payment != 0 || s.MintGeneration != 0 {
			return malformed("statement %d: empty, yet it holds something", s.Epoch)
		}
		return nil
	}
	switch {
	case !s.NotBefore.Before(s.NotAfter):
		return malformed("statement %d: lasts no time", s.Epoch)
	case !validKeys(s.GatewayKeys):
		return malformed("statement %d: gateway keys: empty or repeated", s.Epoch)
	case s.Payment > PaymentCoins:
		return malformed("statement %d: payment mode %d", s.Epoch, s.Payment)
	case !ascending(s.CoinKeysets, func(a, b Keyset) int { return bytes.Compare(a.ID[:], b.ID[:]) }):
		return malformed("statement %d: coin keysets: order", s.Epoch)
	case !ascending(s.Models, func(a, b Model) int { return strings.Compare(a.Name, b.Name) }) || len(s.Models) > 1<<16 ||
		slices.ContainsFunc(s.Models, func(m Model) bool { return !validText(m.Name) }):
		return malformed("statement %d: models: order, number or name", s.Epoch)
	case !ascending(s.Nodes, func(a, b Node) int { return bytes.Compare(a.ID[:], b.ID[:]) }) ||
		slices.ContainsFunc(s.Nodes, func(n Node) bool { return int(n.Model) >= len(s.Models) }):
		return malformed("statement %d: nodes: order, or a model that is not listed", s.Epoch)
	case !ascending(s.Releases, func(a, b Release) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }) ||
		slices.ContainsFunc(s.Releases, func(r Release) bool { return !validText(r.Name) }):
		return malformed("statement %d: releases: order or name", s.Epoch)
	case !ascending(s.TCBFloors, func(a, b TCBFloor) int { return strings.Compare(a.Platform, b.Platform) }) ||
		slices.ContainsFunc(s.TCBFloors, func(f TCBFloor) bool { return !validText(f.Platform) }):
		return malformed("statement %d: TCB floors: order or platform", s.Epoch)
	case !ascending(s.Chips, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }):
		return malformed("statement %d: chips: order", s.Epoch)
	}
	return nil
}

// validKeys refuses empty keys and doubles. Order is meaning here (preference),
// so sorting is not the rule.
func validKeys(keys [][]byte) bool {
	seen := map[string]bool{}
	for _, k := range keys {
		if len(k) == 0 || seen[string(k)] {
			return false
		}
		seen[string(k)] = true
	}
	return true
}

// ascending reports whether each element is greater than the one before it, so
// that a set has one spelling and no element twice.
func ascending[T any](list []T, compare func(a, b T) int) bool {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}

// validText is a name: 1 to 255 bytes of printable UTF-8.
func validText(s string) bool {
	return s != "" && len(s) <= 255 && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func wholeTime(t time.Time) bool {
	return t.Nanosecond() == 0 && t.Unix() >= 0 && t.Unix() < maxTime
}

func readTime(r *cryptobyte.String, t *time.Time) bool {
	var sec uint64
	if !r.ReadUint64(&sec) || sec >= maxTime {
		return false
	}
	*t = time.Unix(int64(sec), 0).UTC()
	return true
}

// readAll reads elements until r is used up.
func readAll[T any](r *cryptobyte.String, list *[]T, read func(*cryptobyte.String, *T) bool) bool {
	for !r.Empty() {
		var x T
		if !read(r, &x) {
			return false
		}
		*list = append(*list, x)
	}
	return true
}

func addOpaque8(w *cryptobyte.Builder, b []byte) {
	w.AddUint8LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(b) })
}

func addOpaque16(w *cryptobyte.Builder, b []byte) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(b) })
}

func addOpaque32(w *cryptobyte.Builder, b []byte) {
	w.AddUint32LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(b) })
}

// The readers leave nil, not an empty slice, for a field of length 0, so that
// a value read compares equal to the one written.

func readOpaque8(r *cryptobyte.String, b *[]byte) bool {
	var s cryptobyte.String
	ok := r.ReadUint8LengthPrefixed(&s)
	*b = append([]byte(nil), s...)
	return ok
}

func readOpaque16(r *cryptobyte.String, b *[]byte) bool {
	var s cryptobyte.String
	ok := r.ReadUint16LengthPrefixed(&s)
	*b = append([]byte(nil), s...)
	return ok
}

func readString8(r *cryptobyte.String, out *string) bool {
	var s cryptobyte.String
	ok := r.ReadUint8LengthPrefixed(&s)
	*out = string(s)
	return ok
}

// readOpaque32 does not copy: packs are large and read once.
func readOpaque32(r *cryptobyte.String, b *[]byte) bool {
	var n uint32
	return r.ReadUint32(&n) && uint64(n) <= uint64(len(*r)) && r.ReadBytes(b, int(n))
}
