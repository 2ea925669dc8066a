// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/sotto-project/sotto/internal/wire"
)

// Sizes of swaps and tables (docs/spec/payment.md, section 7).
const (
	// MaxSwap is how many tokens a swap may have on either side.
	MaxSwap = 64

	wantedSize = 1 + 32 + 1 + 32
	paidSize   = 32 + 1 + 32 + 32
	entrySize  = 32 + wire.MintedSize
)

var (
	// ErrSwap is the one error of [ParseSwap], [ParseWanted] and [ParseMintedList].
	ErrSwap = errors.New("credits: malformed swap")
	// ErrTable is the one error of [ParseTable].
	ErrTable = errors.New("credits: malformed table")
)

// A Wanted is a blank that is to become a token of one denomination.
//
//	struct {
//	    uint8  type;         /* 1 coin, 2 voucher */
//	    opaque keyset[32];
//	    uint8  exponent;
//	    opaque blinded[32];
//	} Wanted;                /* 66 bytes */
type Wanted struct {
	Type     uint8
	Keyset   [32]byte
	Exponent uint8
	Blinded  [32]byte
}

// A Paid is a coin that pays for what is wanted; its MAC is a [SwapMAC].
//
//	struct {
//	    opaque keyset[32];
//	    uint8  exponent;
//	    opaque nonce[32];
//	    opaque mac[32];
//	} Paid;                  /* 97 bytes */
type Paid struct {
	Keyset   [32]byte
	Exponent uint8
	Nonce    [32]byte
	MAC      [32]byte
}

// ID is what the coin is remembered by once it is spent.
func (p *Paid) ID() [32]byte { return CoinID(p.Keyset, p.Exponent, p.Nonce) }

// A Swap makes new tokens of coins, without anybody's name, all or nothing.
//
//	struct {
//	    uint64 epoch;
//	    Wanted wanted<66..4224>;
//	    Paid   paid<97..6208>;
//	} Swap;
//
// No blank and no coin is there twice. That both sides are worth the same is
// for the bank to check: see [Swap.Worth].
type Swap struct {
	Epoch  uint64
	Wanted []Wanted
	Paid   []Paid
}

// WantedDigest is what the MACs of a swap cover: SHA-256 of the wanted tokens'
// bytes, one after another, without their length.
func WantedDigest(wanted []Wanted) [32]byte { return sha256.Sum256(AppendWanted(nil, wanted)) }

// AppendWanted appends the tokens' bytes to b, one after another.
func AppendWanted(b []byte, wanted []Wanted) []byte {
	for i := range wanted {
		w := &wanted[i]
		b = append(append(append(append(b, w.Type), w.Keyset[:]...), w.Exponent), w.Blinded[:]...)
	}
	return b
}

// ParseWanted parses 1 to 64 wanted tokens of coins and vouchers, and nothing
// behind them.
func ParseWanted(b []byte) ([]Wanted, error) {
	if len(b) == 0 || len(b)%wantedSize != 0 || len(b)/wantedSize > MaxSwap {
		return nil, ErrSwap
	}
	var list []Wanted
	for ; len(b) > 0; b = b[wantedSize:] {
		list = append(list, Wanted{Type: b[0], Keyset: [32]byte(b[1:33]), Exponent: b[33], Blinded: [32]byte(b[34:66])})
	}
	if !wantedValid(list) {
		return nil, ErrSwap
	}
	return list, nil
}

func wantedValid(list []Wanted) bool {
	seen := map[[32]byte]bool{}
	for _, w := range list {
		if w.Type != wire.TokenCoin && w.Type != wire.TokenVoucher || w.Exponent > MaxExponent || seen[w.Blinded] {
			return false
		}
		seen[w.Blinded] = true
	}
	return len(list) >= 1 && len(list) <= MaxSwap
}

func (s *Swap) valid() bool {
	seen := map[[32]byte]bool{}
	for i := range s.Paid {
		id := s.Paid[i].ID()
		if s.Paid[i].Exponent > MaxExponent || seen[id] {
			return false
		}
		seen[id] = true
	}
	return len(s.Paid) >= 1 && len(s.Paid) <= MaxSwap && wantedValid(s.Wanted)
}

// Digest is what the MACs of the swap cover: [WantedDigest].
func (s *Swap) Digest() [32]byte { return WantedDigest(s.Wanted) }

// Worth returns what each side is worth, in units. 64 tokens of the largest
// denomination do not overflow.
func (s *Swap) Worth() (wanted, paid uint64) {
	for i := range s.Wanted {
		wanted += 1 << s.Wanted[i].Exponent
	}
	for i := range s.Paid {
		paid += 1 << s.Paid[i].Exponent
	}
	return wanted, paid
}

// Append appends the swap to b. It panics on a swap that [ParseSwap] would
// refuse: such a swap is a mistake of the caller.
func (s *Swap) Append(b []byte) []byte {
	if !s.valid() {
		panic("credits: internal error: invalid swap")
	}
	b = binary.BigEndian.AppendUint64(b, s.Epoch)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Wanted)*wantedSize))
	b = AppendWanted(b, s.Wanted)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Paid)*paidSize))
	for i := range s.Paid {
		p := &s.Paid[i]
		b = append(append(append(append(b, p.Keyset[:]...), p.Exponent), p.Nonce[:]...), p.MAC[:]...)
	}
	return b
}

// ParseSwap parses exactly one swap. The error is [ErrSwap].
func ParseSwap(b []byte) (*Swap, error) {
	if len(b) < 10 {
		return nil, ErrSwap
	}
	s, n := &Swap{Epoch: binary.BigEndian.Uint64(b)}, int(binary.BigEndian.Uint16(b[8:]))
	if b = b[10:]; len(b) < n+2 {
		return nil, ErrSwap
	}
	var err error
	if s.Wanted, err = ParseWanted(b[:n]); err != nil {
		return nil, err
	}
	m := int(binary.BigEndian.Uint16(b[n:]))
	if b = b[n+2:]; len(b) != m || m%paidSize != 0 {
		return nil, ErrSwap
	}
	for ; len(b) > 0; b = b[paidSize:] {
		s.Paid = append(s.Paid, Paid{Keyset: [32]byte(b[:32]), Exponent: b[32], Nonce: [32]byte(b[33:65]), MAC: [32]byte(b[65:97])})
	}
	if !s.valid() {
		return nil, ErrSwap
	}
	return s, nil
}

// AppendMintedList appends the answer to a swap: what was minted of each blank,
// in order.
func AppendMintedList(b []byte, list []wire.Minted) []byte {
	for i := range list {
		b = list[i].Append(b)
	}
	return b
}

// ParseMintedList parses what was minted of n blanks, and nothing behind it.
func ParseMintedList(b []byte, n int) ([]wire.Minted, error) {
	if n < 1 || len(b) != n*wire.MintedSize {
		return nil, ErrSwap
	}
	var list []wire.Minted
	for ; len(b) > 0; b = b[wire.MintedSize:] {
		m, err := wire.ParseMinted(b[:wire.MintedSize])
		if err != nil {
			return nil, ErrSwap
		}
		list = append(list, m)
	}
	return list, nil
}

// A TableEntry is one evaluation in the table from which a wallet that was lost
// finds its coins: under the name of the blinded element, so that a table says
// nothing about who looks.
//
//	struct {
//	    opaque name[32];     /* [TableName] */
//	    Minted minted;
//	} TableEntry;            /* 129 bytes */
type TableEntry struct {
	Name   [32]byte
	Minted wire.Minted
}

// AppendTable appends the entries of a bucket to b; they are ascending by name.
func AppendTable(b []byte, entries []TableEntry) []byte {
	for i := range entries {
		b = entries[i].Minted.Append(append(b, entries[i].Name[:]...))
	}
	return b
}

// ParseTable parses a whole bucket, which may be empty. The error is [ErrTable].
func ParseTable(b []byte) ([]TableEntry, error) {
	if len(b)%entrySize != 0 {
		return nil, ErrTable
	}
	list := make([]TableEntry, 0, len(b)/entrySize)
	for ; len(b) > 0; b = b[entrySize:] {
		m, err := wire.ParseMinted(b[32:entrySize])
		if err != nil {
			return nil, ErrTable
		}
		e := TableEntry{Name: [32]byte(b[:32]), Minted: m}
		if n := len(list); n > 0 && bytes.Compare(e.Name[:], list[n-1].Name[:]) <= 0 {
			return nil, ErrTable
		}
		list = append(list, e)
	}
	return list, nil
}
