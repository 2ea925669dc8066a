// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/sotto-project/sotto/internal/wire"
)

// A Receipt is what a client can keep of one request so that others can judge
// the choice of nodes:
//
//	struct {
//	    opaque label[20] = "sotto choice receipt";
//	    uint8  form;                 /* 1 bare, 2 with proof */
//	    uint64 epoch;
//	    uint8  k;                    /* 1..8 */
//	    uint8  outcome;              /* 1 answered, 2 failed, 3 against the draw */
//	    uint8  position;             /* of the answering candidate; 0 if none */
//	    opaque ids[k][32];           /* candidates in the order of the draw */
//	    /* with proof: */
//	    opaque origin[32];           /* header hash that the order was drawn over */
//	    BusyReceipt busy[position];  /* of the candidates before, in order */
//	} ChoiceReceipt;
//
// Only the form with proof can be checked; it says which request it is about
// to anybody who saw that request's header: router and nodes, the one that
// read the prompt among them. The bare form does not, and has to be believed.
type Receipt struct {
	Epoch    uint64
	IDs      [][32]byte
	Outcome  Outcome
	Position int
	Proof    *Proof // nil: bare
}

// A Proof shows that the order is the public draw's, and why it was left.
type Proof struct {
	Origin [32]byte
	Busy   []wire.BusyReceipt
}

// ErrReceipt is for bytes that are no receipt.
var ErrReceipt = errors.New("steer: malformed receipt")

const (
	receiptLabel = "sotto choice receipt"
	receiptHead  = len(receiptLabel) + 1 + 8 + 3

	formBare  = 1
	formProof = 2
)

// MaxReceipt is the size of the largest receipt, in bytes.
const MaxReceipt = receiptHead + 32*wire.MaxCandidates + 32 + (wire.MaxCandidates-1)*wire.BusyReceiptSize

// Bare returns the receipt without what names the request.
func (r Receipt) Bare() Receipt { r.Proof = nil; return r }

// Append appends the receipt to b. It fails on one that [ParseReceipt] would
// refuse.
func (r *Receipt) Append(b []byte) ([]byte, error) {
	if !r.valid() {
		return nil, ErrReceipt
	}
	form := byte(formBare)
	if r.Proof != nil {
		form = formProof
	}
	b = append(append(b, receiptLabel...), form)
	b = binary.BigEndian.AppendUint64(b, r.Epoch)
	b = append(b, byte(len(r.IDs)), byte(r.Outcome), byte(r.Position))
	for _, id := range r.IDs {
		b = append(b, id[:]...)
	}
	if r.Proof != nil {
		b = append(b, r.Proof.Origin[:]...)
		for i := range r.Proof.Busy {
			b = r.Proof.Busy[i].Append(b)
		}
	}
	return b, nil
}

func (r *Receipt) valid() bool {
	o := Observation{Pool: r.IDs, Order: r.IDs, Outcome: r.Outcome, Position: r.Position}
	if o.check() != nil {
		return false
	}
	if r.Proof == nil {
		return true
	}
	if len(r.Proof.Busy) != r.Position {
		return false
	}
	for i, b := range r.Proof.Busy {
		if b.NodeID != r.IDs[i] || b.Epoch != r.Epoch || b.Attempt != r.Proof.Busy[0].Attempt || b.HeaderHash != r.Proof.Busy[0].HeaderHash ||
			b.Index >= wire.MaxCandidates || b.Attempt >= wire.MaxAttempts || b.Attempt == 0 && b.HeaderHash != r.Proof.Origin {
			return false
		}
	}
	return true
}

// ParseReceipt parses exactly one receipt. It verifies no signature.
func ParseReceipt(b []byte) (*Receipt, error) {
	if len(b) < receiptHead || string(b[:len(receiptLabel)]) != receiptLabel {
		return nil, ErrReceipt
	}
	b = b[len(receiptLabel):]
	form, k := b[0], int(b[9])
	r := &Receipt{Epoch: binary.BigEndian.Uint64(b[1:]), Outcome: Outcome(b[10]), Position: int(b[11])}
	b = b[12:]
	want := 32 * k
	switch {
	case form == formProof:
		want += 32 + r.Position*wire.BusyReceiptSize
	case form != formBare:
		return nil, ErrReceipt
	}
	if k > wire.MaxCandidates || len(b) != want {
		return nil, ErrReceipt
	}
	for range k {
		r.IDs, b = append(r.IDs, [32]byte(b)), b[32:]
	}
	if form == formProof {
		r.Proof = &Proof{Origin: [32]byte(b)}
		for b = b[32:]; len(b) > 0; b = b[wire.BusyReceiptSize:] {
			busy, err := wire.ParseBusyReceipt(b[:wire.BusyReceiptSize])
			if err != nil {
				return nil, ErrReceipt
			}
			r.Proof.Busy = append(r.Proof.Busy, busy)
		}
	}
	if !r.valid() {
		return nil, ErrReceipt
	}
	return r, nil
}

// An Epoch is what a receipt is judged by: of a statement and pack that the
// caller verified.
type Epoch struct {
	Beacon [32]byte
	Nodes  []Node
}

// A Node is one row of an epoch.
type Node struct {
	ID    [32]byte
	Key   ed25519.PublicKey // for busy receipts
	Model int               // a node is drawn with others of its model
}

// Reasons why a receipt does not count.
var (
	ErrUnlisted  = errors.New("steer: a candidate that the epoch does not list, or of another model")
	ErrOrder     = errors.New("steer: the order is not that of the public draw")
	ErrSignature = errors.New("steer: a busy receipt that its node did not sign")
)

// Observe verifies a receipt as far as its form allows and returns what it
// says. The pool is every node of the candidates' model: the receipt does not
// tell which of them its client had refused.
func (e *Epoch) Observe(r *Receipt) (Observation, error) {
	find := func(id [32]byte) int {
		return slices.IndexFunc(e.Nodes, func(n Node) bool { return n.ID == id })
	}
	o := Observation{Order: r.IDs, Outcome: r.Outcome, Position: r.Position}
	if !r.valid() {
		return o, ErrReceipt
	}
	first := find(r.IDs[0])
	if first < 0 {
		return o, ErrUnlisted
	}
	for _, n := range e.Nodes {
		if n.Model == e.Nodes[first].Model {
			o.Pool = append(o.Pool, n.ID)
		}
	}
	for _, id := range r.IDs {
		if !slices.Contains(o.Pool, id) {
			return o, ErrUnlisted
		}
	}
	if r.Proof == nil {
		return o, nil
	}
	for place, i := range wire.DrawOrder(r.Proof.Origin, e.Beacon, r.IDs) {
		if place != i {
			return o, ErrOrder
		}
	}
	for i := range r.Proof.Busy {
		if !r.Proof.Busy[i].Verify(e.Nodes[find(r.IDs[i])].Key) {
			return o, ErrSignature
		}
	}
	return o, nil
}
