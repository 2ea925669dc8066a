// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/sotto-project/sotto/internal/wire"
)

// The names of refusals about money, as they travel. docs/spec/payment.md says
// who gives which, and what to do then.
const (
	CodeSpent      = "credit.spent"    // the token was used for something else
	CodeSig        = "credit.sig"      // the MAC or the token is not what it says
	CodeEpoch      = "credit.epoch"    // no keyset of this epoch takes or sells it
	CodeClass      = "credit.class"    // no such denomination, or sums that differ
	CodeRefund     = "credit.refund"   // a usage that is not the node's, or out of bounds
	CodeChange     = "credit.change"   // change that is not the canonical split
	CodeRate       = "credit.rate"     // more tokens of this type than an epoch has room for
	CodePending    = "credit.pending"  // not settled yet
	CodeAbsent     = "credit.absent"   // nothing is known by that name
	CodeTurn       = "credit.turn"     // no ticket without the busy receipt before it
	CodeFunds      = "credit.funds"    // the account has less
	CodeGeneration = "bank.generation" // a database that is not the one that the statement names
	CodeKey        = "key.consistency" // evaluated with another key than the logged one
)

const (
	inputLabel = "sotto coin v1\x00"
	macLabel   = "sotto coin spend v1\x00"
	swapLabel  = "sotto coin swap v1\x00"
	coinLabel  = "sotto coin id v1\x00"
	tableLabel = "sotto coin table v1\x00"
)

// Input is what the VOPRF of a coin is computed over: label, keyset and nonce.
// The denomination is not in it, because change is written on blanks before
// anybody knows what it will be worth: the key says that.
func Input(keyset, nonce [32]byte) []byte {
	b := append(make([]byte, 0, len(inputLabel)+64), inputLabel...)
	return append(append(b, keyset[:]...), nonce[:]...)
}

// CoinID is what a spent coin is remembered by.
func CoinID(keyset [32]byte, exponent uint8, nonce [32]byte) [32]byte {
	b := append(append([]byte(coinLabel), keyset[:]...), exponent)
	return sha256.Sum256(append(b, nonce[:]...))
}

// TableName is what the recovery table has in the place of a blinded element.
func TableName(element [32]byte) [32]byte {
	return sha256.Sum256(append([]byte(tableLabel), element[:]...))
}

// SpendMAC is the MAC by which a token pays for a request: HMAC-SHA-256, keyed
// with the token's 64-byte output, over
//
//	"sotto coin spend v1" || 0 || header hash || class || epoch || tier || SHA-256(blanks)
//
// The token of an entitlement is shown by a MAC over the same.
func SpendMAC(output []byte, headerHash [32]byte, epoch uint64, s *wire.Spend) [32]byte {
	blanks := sha256.New()
	for i := range s.Blanks {
		blanks.Write(s.Blanks[i][:])
	}
	m := hmac.New(sha256.New, output)
	m.Write([]byte(macLabel))
	m.Write(headerHash[:])
	m.Write([]byte{s.Class})
	m.Write(binary.BigEndian.AppendUint64(nil, epoch))
	m.Write([]byte{s.Tier})
	m.Write(blanks.Sum(nil))
	return [32]byte(m.Sum(nil))
}

// SwapMAC is the MAC by which a token pays for other tokens: HMAC-SHA-256 over
// "sotto coin swap v1" || 0 || SHA-256 of the wanted tokens' bytes.
func SwapMAC(output []byte, wanted [32]byte) [32]byte {
	m := hmac.New(sha256.New, output)
	m.Write([]byte(swapLabel))
	m.Write(wanted[:])
	return [32]byte(m.Sum(nil))
}

// Split returns the fewest coins that are worth units, as exponents, largest
// first: canonical binary.
func Split(units uint64) []uint8 {
	var coins []uint8
	for e := 63; e >= 0; e-- {
		if units>>e&1 == 1 {
			coins = append(coins, uint8(e))
		}
	}
	return coins
}

// Units is what coins of the given exponents are worth together.
func Units(exponents []uint8) (sum uint64) {
	for _, e := range exponents {
		sum += 1 << e
	}
	return sum
}
