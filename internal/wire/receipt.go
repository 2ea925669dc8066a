// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
)

// AskHeader names the HTTP header in which a router repeats, for every request
// to a node, what a busy receipt needs: see [Ask].
const AskHeader = "Sotto-Ask"

// An Ask is what a router tells a node outside the body, so that a busy node
// can sign its receipt without reading a byte of the body: with `Expect:
// 100-continue` a long body then stays at the router for the next candidate.
// The node takes nothing else from it: what it runs is what the body says.
//
//	struct {
//	    opaque header_hash[32];
//	    uint64 epoch;
//	    uint8  index;
//	    uint8  attempt;
//	} Ask;     /* in the header field: base64url without padding, 56 characters */
type Ask struct {
	HeaderHash [32]byte
	Epoch      uint64
	Index      uint8 // of the node among the candidates
	Attempt    uint8
}

const askSize = 32 + 8 + 1 + 1

// String returns the value of the header field [AskHeader].
func (a Ask) String() string {
	var b [askSize]byte
	copy(b[:], a.HeaderHash[:])
	binary.BigEndian.PutUint64(b[32:], a.Epoch)
	b[40], b[41] = a.Index, a.Attempt
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ParseAsk parses the value of the header field [AskHeader].
func ParseAsk(s string) (Ask, error) {
	var b [askSize]byte
	if err := decodeExact(b[:], s); err != nil {
		return Ask{}, err
	}
	a := Ask{Epoch: binary.BigEndian.Uint64(b[32:]), Index: b[40], Attempt: b[41]}
	copy(a.HeaderHash[:], b[:])
	if a.Index >= MaxCandidates || a.Attempt >= MaxAttempts {
		return Ask{}, ErrMalformed
	}
	return a, nil
}

// Receipt returns the unsigned receipt by which the node answers a.
func (a Ask) Receipt(node [32]byte) BusyReceipt {
	return BusyReceipt{HeaderHash: a.HeaderHash, NodeID: node, Epoch: a.Epoch, Index: a.Index, Attempt: a.Attempt}
}

// A BusyReceipt is a node's signed word that it was full when it was asked to
// run a request. The router may pass a request on only with one.
//
//	struct {
//	    opaque header_hash[32];
//	    opaque node_id[32];
//	    uint64 epoch;
//	    uint8  index;          /* of the node among the candidates */
//	    uint8  attempt;
//	    opaque signature[64];  /* Ed25519 over label || 0 || the fields above */
//	} BusyReceipt;             /* 138 bytes; label "sotto busy receipt v1" */
type BusyReceipt struct {
	HeaderHash [32]byte
	NodeID     [32]byte
	Epoch      uint64
	Index      uint8
	Attempt    uint8
	Signature  [64]byte
}

const receiptLabel = "sotto busy receipt v1\x00"

// Sign sets the signature, by the node's key of the receipt's epoch.
func (r *BusyReceipt) Sign(key ed25519.PrivateKey) {
	copy(r.Signature[:], ed25519.Sign(key, r.signed()))
}

// Verify reports whether the receipt is signed by key and in bounds. The
// caller compares the fields with what it asked: see [BusyReceipt.Answers].
func (r *BusyReceipt) Verify(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && r.Index < MaxCandidates && r.Attempt < MaxAttempts &&
		ed25519.Verify(key, r.signed(), r.Signature[:])
}

// Answers reports whether the receipt is the given node's answer to a.
func (r *BusyReceipt) Answers(a Ask, node [32]byte) bool {
	b := a.Receipt(node)
	b.Signature = r.Signature
	return *r == b
}

func (r *BusyReceipt) signed() []byte {
	b := make([]byte, 0, len(receiptLabel)+BusyReceiptSize)
	return r.fields(append(b, receiptLabel...))
}

func (r *BusyReceipt) fields(b []byte) []byte {
	b = append(b, r.HeaderHash[:]...)
	b = append(b, r.NodeID[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Epoch)
	return append(b, r.Index, r.Attempt)
}

// Append appends the receipt to b.
func (r *BusyReceipt) Append(b []byte) []byte {
	return append(r.fields(b), r.Signature[:]...)
}

// ParseBusyReceipt parses exactly one receipt. It does not verify it.
func ParseBusyReceipt(b []byte) (BusyReceipt, error) {
	var r BusyReceipt
	if len(b) != BusyReceiptSize || b[72] >= MaxCandidates || b[73] >= MaxAttempts {
		return r, ErrMalformed
	}
	copy(r.HeaderHash[:], b)
	copy(r.NodeID[:], b[32:])
	r.Epoch = binary.BigEndian.Uint64(b[64:])
	r.Index, r.Attempt = b[72], b[73]
	copy(r.Signature[:], b[74:])
	return r, nil
}
