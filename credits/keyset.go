// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package credits holds what everybody must agree on about coins: keysets,
// what a spend's MAC covers, which coins change consists of, and the names of
// refusals.
//
// A coin is a VOPRF token (RFC 9497, ristretto255-SHA512). This package knows
// public keys only: credits/blind has the client's side of the arithmetic,
// credits/issue the bank's. It dials nothing, reads no clock and draws no
// randomness. The specification is docs/spec/coins.md.
package credits

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"
	"golang.org/x/crypto/cryptobyte"

	"github.com/sotto-project/sotto/internal/wire"
)

// Suite is the one ciphersuite of coins (RFC 9497, Section 4.1).
var Suite = oprf.SuiteRistretto255

// MaxExponent is the largest denomination: 2^40 units.
const MaxExponent = wire.MaxClass

const (
	version   = 1
	idLabel   = "sotto coin keyset v1\x00"
	maxName   = 64
	maxEpoch  = 1 << 40
	maxKeyset = 1 + 1 + 1 + 1 + maxName + 3*8 + 2 + (MaxExponent+1)*33
)

// generator is the encoding of the group's generator (RFC 9496, Section 4).
var generator = [32]byte{
	0xe2, 0xf2, 0xae, 0x0a, 0x6a, 0xbc, 0x4e, 0x71, 0xa8, 0x84, 0xa9, 0x61, 0xc5, 0x00, 0x51, 0x5f,
	0x58, 0xe3, 0x0b, 0x6a, 0xa5, 0x82, 0xdd, 0x8d, 0xb6, 0xa6, 0x59, 0x45, 0xe0, 0x8d, 0x2d, 0x76,
}

// ErrKeyset is the one error of [ParseKeyset].
var ErrKeyset = errors.New("credits: malformed keyset")

// A Keyset is the public keys of one type of token for one mint period, one
// for each denomination. Its times are epochs: whoever reads statements agrees
// on them, whatever their clocks say.
type Keyset struct {
	Type uint8  // wire.TokenCoin and the others
	Tier uint8  // of an entitlement; else 0
	Name string // of a pass or an entitlement, for people; else empty

	// Tokens are sold in the epochs [First, Last], and can be spent in
	// [First, SpendLast].
	First, Last, SpendLast uint64

	Keys []Key // ascending by Exponent

	id [32]byte // set by ParseKeyset and NewKeyset
}

// A Key is the public key of the tokens worth 2^Exponent units.
type Key struct {
	Exponent uint8
	Element  [32]byte
}

// NewKeyset checks k and gives it its id.
func NewKeyset(k Keyset) (*Keyset, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	k.id = sha256.Sum256(append([]byte(idLabel), k.Append(nil)...))
	return &k, nil
}

// ID is SHA-256("sotto coin keyset v1" || 0 || the keyset's bytes).
func (k *Keyset) ID() [32]byte { return k.id }

// Sells reports whether tokens are issued in an epoch.
func (k *Keyset) Sells(epoch uint64) bool { return k.First <= epoch && epoch <= k.Last }

// Spends reports whether tokens can be spent in an epoch.
func (k *Keyset) Spends(epoch uint64) bool { return k.First <= epoch && epoch <= k.SpendLast }

// Key returns the public key of a denomination.
func (k *Keyset) Key(exponent uint8) (*oprf.PublicKey, bool) {
	for i := range k.Keys {
		if k.Keys[i].Exponent == exponent {
			p := new(oprf.PublicKey)
			return p, p.UnmarshalBinary(Suite, k.Keys[i].Element[:]) == nil
		}
	}
	return nil, false
}

// Append appends the keyset's bytes to b:
//
//	struct {
//	    uint8  version = 1;
//	    uint8  type;
//	    uint8  tier;
//	    opaque name<0..64>;
//	    uint64 first, last, spend_last;  /* epochs */
//	    Key    keys<33..2^16-1>;         /* uint8 exponent; opaque element[32]; */
//	} Keyset;
func (k *Keyset) Append(b []byte) []byte {
	w := cryptobyte.NewBuilder(b)
	w.AddUint8(version)
	w.AddUint8(k.Type)
	w.AddUint8(k.Tier)
	w.AddUint8LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes([]byte(k.Name)) })
	w.AddUint64(k.First)
	w.AddUint64(k.Last)
	w.AddUint64(k.SpendLast)
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for i := range k.Keys {
			w.AddUint8(k.Keys[i].Exponent)
			w.AddBytes(k.Keys[i].Element[:])
		}
	})
	return w.BytesOrPanic()
}

// ParseKeyset parses exactly one keyset. The error is [ErrKeyset].
func ParseKeyset(b []byte) (*Keyset, error) {
	k, r := Keyset{}, cryptobyte.String(b)
	var v uint8
	var name, keys cryptobyte.String
	if len(b) > maxKeyset || !r.ReadUint8(&v) || v != version || !r.ReadUint8(&k.Type) || !r.ReadUint8(&k.Tier) ||
		!r.ReadUint8LengthPrefixed(&name) || !r.ReadUint64(&k.First) || !r.ReadUint64(&k.Last) || !r.ReadUint64(&k.SpendLast) ||
		!r.ReadUint16LengthPrefixed(&keys) || !r.Empty() || len(keys)%33 != 0 {
		return nil, ErrKeyset
	}
	k.Name = string(name)
	for !keys.Empty() {
		var x Key
		if !keys.ReadUint8(&x.Exponent) || !keys.CopyBytes(x.Element[:]) {
			return nil, ErrKeyset
		}
		k.Keys = append(k.Keys, x)
	}
	set, err := NewKeyset(k)
	if err != nil {
		return nil, ErrKeyset
	}
	return set, nil
}

func (k *Keyset) check() error {
	named := k.Type == wire.TokenPass || k.Type == wire.TokenEntitlement
	switch {
	case k.Type < wire.TokenCoin || k.Type > wire.TokenEntitlement:
		return fmt.Errorf("credits: keyset: no token type %d", k.Type)
	case (k.Type == wire.TokenEntitlement) != (k.Tier != 0):
		return errors.New("credits: keyset: an entitlement has a tier, and nothing else has")
	case named != (k.Name != "") || len(k.Name) > maxName || !utf8.ValidString(k.Name) || bytes.IndexFunc([]byte(k.Name), func(r rune) bool { return !unicode.IsPrint(r) }) >= 0:
		return errors.New("credits: keyset: a pass and an entitlement have a printable name, and nothing else has")
	case k.First == 0 || k.First > k.Last || k.Last > k.SpendLast || k.SpendLast > maxEpoch:
		return errors.New("credits: keyset: epochs must be 1 or later, in the order first, last, spend_last")
	case len(k.Keys) == 0:
		return errors.New("credits: keyset: no keys")
	case k.Type == wire.TokenEntitlement && (len(k.Keys) != 1 || k.Keys[0].Exponent != 0):
		return errors.New("credits: keyset: an entitlement has one key, of exponent 0")
	}
	seen := map[[32]byte]bool{}
	for i, x := range k.Keys {
		switch {
		case x.Exponent > MaxExponent, i > 0 && x.Exponent <= k.Keys[i-1].Exponent:
			return errors.New("credits: keyset: exponents must be ascending and at most 40")
		case seen[x.Element] || x.Element == generator || !Canonical(x.Element):
			// A key that two denominations share would make cheap coins dear ones; the
			// generator's private key is 1, with which everybody evaluates.
			return errors.New("credits: keyset: a key that is repeated, weak, or no canonical element")
		}
		seen[x.Element] = true
	}
	return nil
}

// Canonical reports whether e is the one encoding of an element that is not
// the identity (RFC 9497, Section 2.1, DeserializeElement).
func Canonical(e [32]byte) bool {
	_, err := ParseElement(e)
	return err == nil
}

var errElement = errors.New("credits: no element")

// ParseElement decodes the one encoding of an element that is not the identity.
//
// The group's decoding takes one encoding of an element and no other: it compares
// the bytes with those of the reduced field element, and refuses a negative one
// (RFC 9496, Section 4.3.1). Encoding what was decoded to compare it once more
// would double the price of each blank; tests and a fuzz target do that instead.
func ParseElement(e [32]byte) (group.Element, error) {
	x := group.Ristretto255.NewElement()
	if err := x.UnmarshalBinary(e[:]); err != nil || x.IsIdentity() {
		return nil, errElement
	}
	return x, nil
}

// ParseProof decodes the one encoding of a proof (RFC 9497, Section 2.2.2:
// two scalars) into p.
func ParseProof(p *dleq.Proof, b [64]byte) error {
	if err := p.UnmarshalBinary(group.Ristretto255, b[:]); err != nil {
		return errElement
	}
	if back, err := p.MarshalBinary(); err != nil || !bytes.Equal(back, b[:]) {
		return errElement // a scalar that was not reduced
	}
	return nil
}

// TypeName says a token type in words.
func TypeName(t uint8) string {
	switch t {
	case wire.TokenCoin:
		return "coin"
	case wire.TokenVoucher:
		return "voucher"
	case wire.TokenPass:
		return "pass"
	case wire.TokenEntitlement:
		return "entitlement"
	}
	return "unknown"
}
