// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package attestation answers one question: may this machine see a prompt? Its
// one door is [Verify]: evidence, a policy, what the caller already holds to be
// true, and the time go in; a result with a report comes out, or a refusal with
// one code of a closed list.
//
// Two questions are kept apart. Genuine: did the hardware named sign this, over
// this challenge? Acceptable: does the policy allow what it says? The policy
// lists what must be present; evidence only answers. The zero policy refuses.
//
// The package computes and does nothing else: no network, no files, no clock,
// no log. Collateral (certificates, revocation lists) travels with the
// evidence. Collecting evidence is the business of attestation/collect; the
// bytes are specified in docs/spec/attestation.md.
package attestation

import (
	"crypto/ed25519"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Evidence is what a node offers: epoch evidence, named by digest in its node
// record, and the latest freshness evidence over it.
type Evidence struct {
	Epoch     *evidence.Bundle
	Freshness *evidence.Bundle
}

// A Checkpoint is one cosigned checkpoint of the log: the SHA-256 of the note as
// published, cosignatures included, and the time its witnesses gave it. The
// caller has verified both.
type Checkpoint struct {
	Hash [32]byte
	Time time.Time
}

// References are what the caller holds from elsewhere: the verified statement of
// the epoch, the node's record in it, the checkpoints. Everything the evidence
// attests is compared with them; nothing is taken from the evidence.
type References struct {
	Epoch          uint64
	EvidenceDigest [32]byte          // of the epoch evidence, from the node record
	NodeID         [32]byte          // from the statement
	REK            []byte            // request encryption key, from the node record
	NodeKey        ed25519.PublicKey // from the node record

	// EpochCheckpoint is the checkpoint of an epoch before this one that the
	// epoch evidence was made over: the evidence is younger than its time.
	EpochCheckpoint Checkpoint
	// FreshCheckpoint is the checkpoint that the freshness evidence was made
	// over. Not looked at under [Policy.WithoutFreshness].
	FreshCheckpoint Checkpoint
	// Challenge, if not zero, is the caller's own: the freshness evidence must
	// then be a quote over it in place of a checkpoint, and FreshCheckpoint.Time is
	// when the caller drew it. A challenge must never come from the evidence.
	Challenge [32]byte

	Model         string // name of the model the node is listed for
	WeightsDigest [32]byte
	Payment       uint8 // payment mode of the statement, see [evidence.PaymentNone]
	// TicketKey is the statement's. In mode coins the node's measured configuration
	// must list it: a node that took tickets of another key would run what nobody
	// paid, on as many candidates as that key's owner likes.
	TicketKey []byte

	// What follows, where the statement has any, restricts beside the policy, never
	// in its place: firmware floors by SEV-SNP product, the lowest
	// tcbEvaluationDataNumber of TDX collateral, and the SHA-256 of the identifiers
	// of enrolled chips.
	Floors        map[string]TCB
	MinEvaluation int
	Chips         [][32]byte
	// Released is what verified releases allow; nil: nobody asked.
	Released *Released
}

// A Result says what was proven. It exists only for evidence that was accepted.
type Result struct {
	NodeID  [32]byte
	Epoch   uint64
	REK     []byte
	NodeKey ed25519.PublicKey

	Model         string
	WeightsDigest [32]byte
	Payment       uint8

	Platform    Platform
	Tier        int         // 1 to 3, see Report.TierWhy
	Image       string      // name of the matching [Image]
	Measurement Measurement // of the launch; zero where the platform has none
	Product     string      // "Genoa", "TDX"; empty without a confidential VM
	Chip        ChipID      // zero where it is not known, as under a VLEK
	Simulated   bool        // no hardware stands behind any of this
	NotBefore   time.Time
	FreshSince  time.Time // zero under [Policy.WithoutFreshness]

	Report *Report
}

// A Code names one reason for refusal; see docs/spec/refusal-codes.md.
type Code = refuse.Code

// Codes returns the closed list of codes.
func Codes() []Code { return refuse.All() }

// A RefusalError says why evidence was refused. It is the only type of error
// that [Verify] returns.
type RefusalError struct {
	Code   Code
	Detail string   // what was expected and what was found; public values only
	Node   [32]byte // the node in question, from the references
	Hint   string   // what to do next
	Report *Report  // the steps up to and including the one that failed
}
