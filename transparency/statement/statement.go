// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package statement is the codec of what everybody is told alike: the epoch
// statement, which is a leaf of the log at index = epoch; the node records it
// names by hash; the content-addressed pack that carries records and evidence;
// and the list of freshness evidence. docs/spec/epoch.md has the bytes.
//
// It is pure. It accepts one spelling of each value: print(parse(x)) == x. Keys
// in a statement are bytes with ids in them that only their users parse, and
// evidence is opaque here: judging it is attestation's work.
package statement

import (
	"bytes"
	"time"

	"github.com/sotto-project/sotto/transparency"
)

// Payment modes of a statement. Nodes attest theirs; a mismatch is refused.
const (
	PaymentNone  uint8 = 0 // no tickets: single use per node and a rate limit stand
	PaymentCoins uint8 = 1
)

// Bits of [Model.APIs]. Bits not listed are for later and mean nothing yet.
const (
	APIChatCompletions uint16 = 1 << iota
	APICompletions
	APIEmbeddings
)

// A Statement says what holds in one epoch. Everybody sees the same one: it is
// the only leaf at index Epoch.
type Statement struct {
	Epoch uint64

	// The epoch is [NotBefore, NotAfter). Whole seconds, UTC.
	NotBefore, NotAfter time.Time

	// NextPublic is when, at the latest, the next epoch's statement should be
	// public: NotAfter less the lead.
	NextPublic time.Time

	// Beacon is SHA-256 of the leaf of epoch-1, zeros in epoch 0. It seeds the
	// public draw. Whoever has that leaf checks it with [Statement.Follows].
	Beacon [32]byte

	// Empty marks the leaf of an outage, and the first leaf. All that follows
	// is absent then.
	Empty bool

	GatewayKeys    [][]byte // one KeyConfig each (RFC 9458, Section 3), preferred first
	Payment        uint8
	MintGeneration uint64
	TicketKey      []byte    // empty where nothing is paid
	CoinKeysets    []Keyset  // ascending by ID
	Models         []Model   // ascending by Name
	Nodes          []Node    // ascending by ID
	Releases       []Release // ascending by Digest
	TCBFloors      []TCBFloor
	Chips          [][32]byte // SHA-256 of the identifiers of enrolled chips, ascending
}

// A Keyset is a coin keyset, opaque here.
type Keyset struct {
	ID   [32]byte
	Data []byte
}

// A Model is what clients ask for by name.
type Model struct {
	Name    string   // printable UTF-8, 1 to 255 bytes
	Weights [32]byte // digest of the weights, as nodes attest it
	Context uint32   // tokens
	APIs    uint16   // see APIChatCompletions and the others
}

// A Node is one row of the roster.
type Node struct {
	ID     [32]byte
	Model  uint16   // index into Models
	Record [32]byte // SHA-256 of the node record's bytes
}

// A Release is a software release that nodes may run, named by the digest under
// which the release log holds it.
type Release struct {
	Digest [32]byte
	Name   string // for people
}

// A TCBFloor is the lowest firmware level accepted on a platform; only the
// platform's verifier reads Floor.
type TCBFloor struct {
	Platform string
	Floor    []byte
}

// Node finds a node by id.
func (s *Statement) Node(id [32]byte) (Node, bool) {
	lo, hi := 0, len(s.Nodes)
	for lo < hi {
		mid := (lo + hi) / 2
		if bytes.Compare(s.Nodes[mid].ID[:], id[:]) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(s.Nodes) && s.Nodes[lo].ID == id {
		return s.Nodes[lo], true
	}
	return Node{}, false
}

// Serving lists the nodes that serve the model of this name, in the statement's order.
func (s *Statement) Serving(model string) []Node {
	var out []Node
	for _, n := range s.Nodes {
		if s.Models[n.Model].Name == model {
			out = append(out, n)
		}
	}
	return out
}

// Follows checks s against the leaf before it: its epoch is one higher, its
// beacon is that leaf's hash, and it starts no later than that one ends, for an
// outage has a leaf of its own. It may start earlier, which ends that one's
// time early: nodes that lost their keys need a new epoch, not an hour of
// silence. In force is the highest epoch that has begun. The first leaf lasts
// no time; the second may start at any time after it.
//
// Refusals: [transparency.CodeStatement], [transparency.CodeIndex].
func (s *Statement) Follows(leaf []byte) error {
	prev, err := Parse(leaf)
	if err != nil {
		return err
	}
	switch {
	case s.Epoch != prev.Epoch+1:
		return transparency.Refuse(transparency.CodeIndex, "statement %d after %d", s.Epoch, prev.Epoch)
	case s.Beacon != LeafHash(leaf):
		return transparency.Refuse(transparency.CodeStatement, "statement %d: beacon is not the hash of leaf %d", s.Epoch, prev.Epoch)
	case s.NotBefore.After(prev.NotAfter) && prev.Epoch > 0:
		return transparency.Refuse(transparency.CodeStatement, "statement %d: starts at %v, after the one before it ended at %v", s.Epoch, s.NotBefore, prev.NotAfter)
	}
	return nil
}

// Current checks that now lies in s's epoch. Refusals:
// [transparency.CodeEpochExpired], [transparency.CodeEpochEarly],
// [transparency.CodeEpochEmpty] for an epoch in which nothing is offered, and
// [transparency.CodeClockSkew].
//
// newest is a verified checkpoint that the caller fetched just now, from another
// party than s if it can, or nil. It tells a wrong clock from a stale statement:
// if the witnesses' time in it contradicts now, the refusal is clock.skew and
// names the offset. No window is widened for a wrong clock either way.
func (s *Statement) Current(now time.Time, newest *transparency.Checkpoint) error {
	if newest != nil {
		if _, err := newest.Age(now); err != nil {
			return err
		}
	}
	switch {
	case now.Before(s.NotBefore):
		return transparency.Refuse(transparency.CodeEpochEarly, "epoch %d starts in %v", s.Epoch, s.NotBefore.Sub(now).Round(time.Second))
	case now.Before(s.NotAfter) && s.Empty:
		return transparency.Refuse(transparency.CodeEpochEmpty, "epoch %d is an empty leaf: nothing was offered", s.Epoch)
	case now.Before(s.NotAfter):
		return nil
	}
	// Over, by the local clock. By the witnesses' newest word, too?
	if newest != nil && newest.Time.Before(s.NotAfter) && now.Sub(newest.Time) > transparency.MaxClockSkew {
		return transparency.Refuse(transparency.CodeClockSkew,
			"the local clock is ahead of the witnesses' newest time by %v; set it, or, if it is right, everything fetched is that old: try another mirror",
			now.Sub(newest.Time).Round(time.Second))
	}
	return transparency.Refuse(transparency.CodeEpochExpired, "epoch %d ended %v ago", s.Epoch, now.Sub(s.NotAfter).Round(time.Second))
}
