// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ohttp

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sotto-project/sotto/hpke"
)

// maxKeyConfigs caps a list in bytes before it is parsed. 256 entries of the
// largest KEM we know fit several times.
const maxKeyConfigs = 1 << 20

// Algorithms is one symmetric suite that a key may be used with.
type Algorithms struct {
	KDF, AEAD uint16
}

// A KeyConfig is one key of a gateway (RFC 9458, Section 3.1):
//
//	struct {
//	    uint16 kdf_id;
//	    uint16 aead_id;
//	} Algorithms;
//
//	struct {
//	    uint8      key_id;
//	    uint16     kem_id;
//	    opaque     public_key[Npk];
//	    Algorithms algorithms<4..2^16-4>;
//	} KeyConfig;
//
// Algorithms may hold identifiers this package does not know; they are kept,
// so that what was parsed prints back byte for byte.
type KeyConfig struct {
	ID         uint8
	Key        *hpke.PublicKey
	Algorithms []Algorithms
}

// offered lists the symmetric suites of Sotto's own clients and gateways,
// best first. AES-128 is absent on purpose: with X-Wing outside it would be
// the weakest part, and a second choice is a way to mark a user.
var offered = []Algorithms{
	{hpke.KDFHKDFSHA256, hpke.AEADAES256GCM},
	{hpke.KDFHKDFSHA256, hpke.AEADChaCha20Poly1305},
}

// offeredKEMs lists the key types of Sotto's own clients and gateways.
var offeredKEMs = []uint16{hpke.KEMXWing, hpke.KEMX25519}

// Offered reports whether Sotto's own clients and gateways use s. The codec
// and the engines can do more; the roles never do.
func Offered(s hpke.Suite) bool {
	return slices.Contains(offeredKEMs, s.KEM) && slices.Contains(offered, Algorithms{s.KDF, s.AEAD})
}

// OfferedAlgorithms returns the symmetric suites of a gateway's own keys.
func OfferedAlgorithms() []Algorithms { return slices.Clone(offered) }

// Suite returns the suite to seal with: the first of ours that the key
// permits, or [ErrSuite].
func (c *KeyConfig) Suite() (hpke.Suite, error) {
	for _, a := range offered {
		s := hpke.Suite{KEM: c.Key.KEM(), KDF: a.KDF, AEAD: a.AEAD}
		if Offered(s) && c.Permits(s) {
			return s, nil
		}
	}
	return hpke.Suite{}, ErrSuite
}

// Permits reports whether the configuration lists s.
func (c *KeyConfig) Permits(s hpke.Suite) bool {
	return s.KEM == c.Key.KEM() && slices.Contains(c.Algorithms, Algorithms{s.KDF, s.AEAD})
}

// Append appends the configuration's bytes to b. It fails only for a value
// that ParseKeyConfig would not have returned.
func (c *KeyConfig) Append(b []byte) ([]byte, error) {
	if c.Key == nil || len(c.Algorithms) == 0 || 4*len(c.Algorithms) > 0xfffc {
		return nil, ErrKeyFormat
	}
	w := cryptobyte.NewBuilder(b)
	w.AddUint8(c.ID)
	w.AddUint16(c.Key.KEM())
	w.AddBytes(c.Key.Bytes())
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, a := range c.Algorithms {
			w.AddUint16(a.KDF)
			w.AddUint16(a.AEAD)
		}
	})
	return w.Bytes()
}

// ParseKeyConfig parses exactly one configuration. Bytes after it, a public
// key that is none, or an empty or ragged algorithm list is [ErrKeyFormat];
// a KEM other than X25519 and X-Wing is [ErrUnknownKEM], which callers reading
// a list skip.
func ParseKeyConfig(b []byte) (*KeyConfig, error) {
	var (
		s    = cryptobyte.String(b)
		c    KeyConfig
		kem  uint16
		key  []byte
		algs cryptobyte.String
	)
	if !s.ReadUint8(&c.ID) || !s.ReadUint16(&kem) {
		return nil, ErrKeyFormat
	}
	if !slices.Contains(offeredKEMs, kem) {
		return nil, ErrUnknownKEM
	}
	npk := hpke.Suite{KEM: kem, KDF: hpke.KDFHKDFSHA256, AEAD: hpke.AEADAES256GCM}.PublicKeySize()
	if !s.ReadBytes(&key, npk) || !s.ReadUint16LengthPrefixed(&algs) || !s.Empty() ||
		algs.Empty() || len(algs)%4 != 0 {
		return nil, ErrKeyFormat
	}
	for !algs.Empty() {
		var a Algorithms
		if !algs.ReadUint16(&a.KDF) || !algs.ReadUint16(&a.AEAD) {
			return nil, ErrKeyFormat
		}
		c.Algorithms = append(c.Algorithms, a)
	}
	var err error
	if c.Key, err = hpke.ParsePublicKey(kem, key); err != nil {
		return nil, ErrKeyFormat
	}
	return &c, nil
}

// ParseKeyConfigs parses the body of an application/ohttp-keys message
// (RFC 9458, Section 3.2), in the gateway's order of preference:
//
//	struct { opaque config<3..2^16-1>; } Entry;   Entry list[...];
//
// Entries of an unknown KEM, or none of whose algorithms Sotto offers, are
// skipped. Anything malformed refuses the whole list with [ErrKeyFormat], as
// the RFC demands: clients that recover different parts of a broken list can
// be told apart. The same goes for two entries of one key id, for an empty
// list, and for a list over 1 MiB. A list of nothing usable is [ErrSuite].
func ParseKeyConfigs(b []byte) ([]*KeyConfig, error) {
	if len(b) == 0 || len(b) > maxKeyConfigs {
		return nil, ErrKeyFormat
	}
	var (
		s    = cryptobyte.String(b)
		seen [256]bool
		list []*KeyConfig
	)
	for !s.Empty() {
		var entry cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&entry) || entry.Empty() || seen[entry[0]] {
			return nil, ErrKeyFormat
		}
		seen[entry[0]] = true
		c, err := ParseKeyConfig(entry)
		if errors.Is(err, ErrUnknownKEM) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if _, err := c.Suite(); err == nil {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil, ErrSuite
	}
	return list, nil
}

// AppendKeyConfigs appends an application/ohttp-keys body to b.
func AppendKeyConfigs(b []byte, list []*KeyConfig) ([]byte, error) {
	var seen [256]bool
	for _, c := range list {
		if seen[c.ID] {
			return nil, fmt.Errorf("ohttp: key id %d is used twice", c.ID)
		}
		seen[c.ID] = true
		entry, err := c.Append(nil)
		if err != nil {
			return nil, err
		}
		b = append(b, byte(len(entry)>>8), byte(len(entry)))
		b = append(b, entry...)
	}
	return b, nil
}
