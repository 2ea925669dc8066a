// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/ed25519"
)

// A RouteRecord precedes the sealed answer in what the router returns. It says
// which candidate answered and proves why the earlier ones did not.
//
//	struct {
//	    uint8       version = 1;
//	    uint8       index;       /* of the answering node among the candidates */
//	    uint8       skipped;     /* number of receipts, 0..8 */
//	    BusyReceipt receipts[8]; /* in the order of the draw; unused ones zero */
//	} RouteRecord;               /* 1107 bytes */
type RouteRecord struct {
	Index   uint8
	Skipped []BusyReceipt // nil when the first of the draw answered
}

// Append appends the record to b. It panics on a record that
// [ParseRouteRecord] would refuse: such a record is a mistake of the caller.
func (r *RouteRecord) Append(b []byte) []byte {
	if r.Index >= MaxCandidates || len(r.Skipped) >= MaxCandidates {
		panic("wire: internal error: invalid route record")
	}
	b = append(b, version, r.Index, uint8(len(r.Skipped)))
	for i := range r.Skipped {
		b = r.Skipped[i].Append(b)
	}
	return append(b, zeros[:(MaxCandidates-len(r.Skipped))*BusyReceiptSize]...)
}

// ParseRouteRecord parses exactly one record. It does not verify it.
func ParseRouteRecord(b []byte) (*RouteRecord, error) {
	// One candidate answered, so at most seven were skipped.
	if len(b) != RouteRecordSize || b[0] != version || b[1] >= MaxCandidates || b[2] >= MaxCandidates {
		return nil, ErrMalformed
	}
	r := &RouteRecord{Index: b[1]}
	n := int(b[2])
	b = b[3:]
	for range n {
		p, err := ParseBusyReceipt(b[:BusyReceiptSize])
		if err != nil {
			return nil, err
		}
		r.Skipped = append(r.Skipped, p)
		b = b[BusyReceiptSize:]
	}
	if !isZero(b) {
		return nil, ErrMalformed
	}
	return r, nil
}

// A Draw is what a client knows of its own request when it judges a route.
type Draw struct {
	HeaderHash [32]byte // of this attempt, which busy receipts are about
	Origin     [32]byte // of the first attempt, which the order is drawn over; zero in the first
	Beacon     [32]byte
	Epoch      uint64
	Attempt    uint8
	IDs        [][32]byte          // candidates in the header's order
	Keys       []ed25519.PublicKey // their signing keys, from the node records
}

// A RouteError says by which rule a route was refused.
type RouteError struct{ Code string } // "route.candidate" or "route.skip"

func (e *RouteError) Error() string { return "wire: route refused: " + e.Code }

// Check judges whether the router kept to the public draw. The answering node
// must be a candidate (otherwise `route.candidate`), and each candidate before
// it in the order of [DrawOrder] must have signed a busy receipt for exactly
// this request and attempt, in that order and with none left over (otherwise
// `route.skip`). Every error is a [*RouteError].
func (d *Draw) Check(r *RouteRecord) error {
	if int(r.Index) >= len(d.IDs) || len(d.Keys) != len(d.IDs) {
		return &RouteError{"route.candidate"}
	}
	block := RoutingBlock{Attempt: d.Attempt, Origin: d.Origin}
	if !block.valid() {
		return &RouteError{"route.candidate"}
	}
	order := DrawOrder(block.DrawnOver(d.HeaderHash), d.Beacon, d.IDs)
	for n, i := range order {
		if i == int(r.Index) {
			if n != len(r.Skipped) {
				return &RouteError{"route.skip"}
			}
			return nil
		}
		ask := Ask{d.HeaderHash, d.Epoch, uint8(i), d.Attempt}
		if n >= len(r.Skipped) || !r.Skipped[n].Answers(ask, d.IDs[i]) || !r.Skipped[n].Verify(d.Keys[i]) {
			return &RouteError{"route.skip"}
		}
	}
	return &RouteError{"route.candidate"}
}
