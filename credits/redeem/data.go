// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"

	"github.com/sotto-project/sotto/internal/wire"
)

// A hold is what is kept of a payment while it is held. Neither the token's
// nonce nor its output is in it: who reads the database can spend nothing.
type hold struct {
	paid                   [32]byte // SHA-256 of the ids of the tokens it used up
	tokenType, class, tier uint8
	attempt                uint8
	keyset                 [32]byte // of the change; zero where none is given
	blanks                 [wire.Blanks][32]byte
	candidates             uint8
	turns                  []turn // who was given a ticket, in order: the last one has it
}

// A turn is a node that was given a ticket.
type turn struct {
	index uint8
	node  [32]byte
	key   [32]byte // it signs with this
}

const (
	holdVersion = 1
	holdFixed   = 1 + 32 + 4 + 32 + wire.Blanks*32 + 2
	turnSize    = 1 + 32 + 32
)

var errData = errors.New("redeem: damaged operation")

func (h *hold) append(b []byte) []byte {
	b = append(append(b, holdVersion), h.paid[:]...)
	b = append(b, h.tokenType, h.class, h.tier, h.attempt)
	b = append(b, h.keyset[:]...)
	for i := range h.blanks {
		b = append(b, h.blanks[i][:]...)
	}
	b = append(b, h.candidates, uint8(len(h.turns)))
	for _, t := range h.turns {
		b = append(append(append(b, t.index), t.node[:]...), t.key[:]...)
	}
	return b
}

func parseHold(b []byte) (*hold, error) {
	if len(b) < holdFixed || b[0] != holdVersion {
		return nil, errData
	}
	h := &hold{paid: [32]byte(b[1:]), tokenType: b[33], class: b[34], tier: b[35], attempt: b[36], keyset: [32]byte(b[37:])}
	b = b[69:]
	for i := range h.blanks {
		h.blanks[i] = [32]byte(b[i*32:])
	}
	b = b[wire.Blanks*32:]
	h.candidates = b[0]
	n := int(b[1])
	if b = b[2:]; n == 0 || n > wire.MaxCandidates || len(b) != n*turnSize {
		return nil, errData
	}
	for ; len(b) > 0; b = b[turnSize:] {
		h.turns = append(h.turns, turn{b[0], [32]byte(b[1:]), [32]byte(b[33:])})
	}
	if h.class < wire.MinClass || h.class > wire.MaxClass || h.candidates > wire.MaxCandidates || h.attempt >= wire.MaxAttempts {
		return nil, errData
	}
	return h, nil
}

// holder is the node that has the ticket.
func (h *hold) holder() *turn { return &h.turns[len(h.turns)-1] }

// tried reports whether a candidate had a ticket.
func (h *hold) tried(index uint8) bool {
	for _, t := range h.turns {
		if t.index == index {
			return true
		}
	}
	return false
}

// ticket is what the holder's ticket says, unsigned.
func (h *hold) ticket(op *Op, generation uint64) wire.Ticket {
	return wire.Ticket{
		HeaderHash: op.Key, Epoch: op.Epoch, Generation: generation, Class: h.class, Tier: h.tier,
		Index: h.holder().index, Attempt: h.attempt, Turn: uint8(len(h.turns) - 1),
	}
}

func (t *turn) verifies() ed25519.PublicKey { return t.key[:] }

// paidHash names the tokens of a hold.
func paidHash(coins []Coin) [32]byte {
	h := sha256.New()
	for _, c := range coins {
		h.Write(c.ID[:])
	}
	return [32]byte(h.Sum(nil))
}

// endData is a change block as it is kept: without the zeros at its end, and
// with no generation and signature, which are of the day it is asked for.
func endData(c *wire.Change) []byte {
	kept := *c
	kept.Generation, kept.Signature = 0, [64]byte{}
	return bytes.TrimRight(kept.Append(nil), "\x00")
}

func parseEnd(b []byte) (*wire.Change, error) {
	if len(b) > wire.ChangeSize {
		return nil, errData
	}
	full := make([]byte, wire.ChangeSize)
	copy(full, b)
	c, err := wire.ParseChange(full)
	if err != nil {
		return nil, errData
	}
	return c, nil
}
