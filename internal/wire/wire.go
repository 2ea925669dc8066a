// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire holds the routing protocol's own bytes: the routing block, busy
// receipts, the route record, what a router asks a node, the public draw, and
// what a payment adds to them: spend, ticket, usage and change.
//
// It parses, prints, signs and verifies; it does not dial, log, read a clock
// or draw randomness. The specifications are docs/spec/routing.md and
// docs/spec/payment.md. Every Parse accepts one spelling of a value and refuses
// all others.
package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// The two names a client can address inside the outer encapsulation. They are
// not in any DNS; the gateway maps each to one configured address.
const (
	RouterAuthority = "router.sotto"
	BankAuthority   = "bank.sotto"
)

// Sizes and bounds of the protocol.
const (
	// RoutingBlockSize is the size of every routing block, in bytes, whatever
	// is paid.
	RoutingBlockSize = 1024
	// BusyReceiptSize is the size of a busy receipt, in bytes.
	BusyReceiptSize = 32 + 32 + 8 + 1 + 1 + 64
	// MaxCandidates is the most candidates that a request can name.
	MaxCandidates = 8
	// MaxAttempts is how often one draw of candidates may be tried.
	MaxAttempts = 3
	// RouteRecordSize is the size of every route record, in bytes.
	RouteRecordSize = 3 + MaxCandidates*BusyReceiptSize

	version = 1
)

// Payment modes, as numbered in statements.
const (
	PaymentNone  uint8 = 0 // neither tickets nor coins
	PaymentCoins uint8 = 1
)

// ErrMalformed is the one error of every Parse in this package.
var ErrMalformed = errors.New("wire: malformed message")

// A RoutingBlock precedes the sealed-request header in what a client sends to
// the router:
//
//	struct {
//	    uint8  version = 1;
//	    uint8  payment;        /* 0: none, 1: coins */
//	    uint64 epoch;
//	    uint8  attempt;        /* 0..2 */
//	    opaque origin[32];     /* header hash of attempt 0; zero in attempt 0 */
//	    Spend  spend;          /* zero in mode none */
//	    opaque zero[530];
//	} RoutingBlock;            /* 1024 bytes */
type RoutingBlock struct {
	Payment uint8    // [PaymentNone] or [PaymentCoins]
	Epoch   uint64   // the epoch whose keys the request is sealed to
	Attempt uint8    // how often this draw was tried before
	Origin  [32]byte // header hash of the first attempt; zero in the first
	Spend   Spend    // what pays; zero in mode none
}

func (r *RoutingBlock) valid() bool {
	switch {
	case r.Attempt >= MaxAttempts, (r.Attempt == 0) != (r.Origin == [32]byte{}):
		return false
	case r.Payment == PaymentNone:
		return r.Spend == Spend{}
	}
	return r.Payment == PaymentCoins && r.Spend.valid()
}

// DrawnOver is the header hash that the order of candidates is drawn over: the
// first attempt's. A retry is sealed afresh and has another header hash; were
// the order drawn anew with it, failing would be a way to have it drawn until
// it suits.
func (r *RoutingBlock) DrawnOver(headerHash [32]byte) [32]byte {
	if r.Attempt == 0 {
		return headerHash
	}
	return r.Origin
}

// Append appends the block to b. It panics on a block that
// [ParseRoutingBlock] would refuse: such a block is a mistake of the caller.
func (r RoutingBlock) Append(b []byte) []byte {
	if !r.valid() {
		panic("wire: internal error: invalid routing block")
	}
	n := len(b)
	b = append(b, version, r.Payment)
	b = binary.BigEndian.AppendUint64(b, r.Epoch)
	b = append(append(b, r.Attempt), r.Origin[:]...)
	b = r.Spend.append(b)
	return append(b, zeros[:RoutingBlockSize-(len(b)-n)]...)
}

// ParseRoutingBlock parses exactly one block.
func ParseRoutingBlock(b []byte) (RoutingBlock, error) {
	if len(b) != RoutingBlockSize || b[0] != version || !isZero(b[43+spendSize:]) {
		return RoutingBlock{}, ErrMalformed
	}
	r := RoutingBlock{Payment: b[1], Epoch: binary.BigEndian.Uint64(b[2:]), Attempt: b[10], Origin: [32]byte(b[11:])}
	r.Spend.parse(b[43:])
	if !r.valid() {
		return RoutingBlock{}, ErrMalformed
	}
	return r, nil
}

var zeros [RouteRecordSize]byte

func isZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

const drawLabel = "sotto draw v1"

// DrawOrder returns the order in which the candidates ids may be tried: their
// indexes by ascending
//
//	rank_i = SHA-256("sotto draw v1" || header hash || beacon || id_i)
//
// with the header hash of the first attempt ([RoutingBlock.DrawnOver]).
// Everybody who knows the request's header and the epoch's beacon computes the
// same order; nobody chooses it, because the header hash covers fresh
// randomness of the client and the beacon is fixed before.
func DrawOrder(headerHash, beacon [32]byte, ids [][32]byte) []int {
	type ranked struct {
		rank  [32]byte
		index int
	}
	var few [MaxCandidates]ranked
	rs := few[:0]
	var in [len(drawLabel) + 96]byte
	copy(in[:], drawLabel)
	copy(in[len(drawLabel):], headerHash[:])
	copy(in[len(drawLabel)+32:], beacon[:])
	for i, id := range ids {
		copy(in[len(drawLabel)+64:], id[:])
		rs = append(rs, ranked{sha256.Sum256(in[:]), i})
	}
	slices.SortStableFunc(rs, func(a, b ranked) int { return slices.Compare(a.rank[:], b.rank[:]) })
	order := make([]int, len(rs))
	for i, r := range rs {
		order[i] = r.index
	}
	return order
}
