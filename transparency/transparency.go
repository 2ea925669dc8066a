// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package transparency verifies what keeps everybody in the same world: signed
// checkpoints of the statement log (C2SP tlog-checkpoint), the times witnesses
// put on them (C2SP tlog-cosignature) and proofs that a leaf is in the tree
// (RFC 6962, Section 2.1; C2SP tlog-proof).
//
// It is pure: bytes, keys and times in, values out. It does not dial, read a
// clock, keep state or know what a leaf means; statements live in
// transparency/statement, the role that makes them in transparency/publish.
// The signers here take the time to sign as an argument.
package transparency

import "fmt"

// A Code names why something was refused. The list is closed and documented in
// docs/spec/epoch.md.
type Code string

const (
	CodeTrust        Code = "log.trust"        // our own Trust is unusable: no key, no quorum, one key twice
	CodeFormat       Code = "log.format"       // a note or proof that is not in the one canonical spelling
	CodeOrigin       Code = "log.origin"       // a checkpoint of another log
	CodeSignature    Code = "log.signature"    // the log's own signature is missing, doubled or wrong
	CodeWitness      Code = "log.witness"      // too few distinct witnesses, or a wrong, doubled or timeless cosignature
	CodeInclusion    Code = "log.inclusion"    // the proof does not lead from the leaf to the root
	CodeIndex        Code = "log.index"        // a statement that sits at another index than its epoch
	CodeRollback     Code = "log.rollback"     // the log shrank
	CodeFork         Code = "log.fork"         // two different worlds, both signed: publish the evidence
	CodeStatement    Code = "statement.format" // a statement, record, pack or freshness list that is not canonical
	CodePackMissing  Code = "pack.missing"     // the pack lacks an object that the statement names
	CodeEpochExpired Code = "epoch.expired"    // the statement's time is over
	CodeEpochEarly   Code = "epoch.early"      // the statement's time has not come
	CodeEpochEmpty   Code = "epoch.empty"      // the leaf of an outage, or the first one: it lists nobody
	CodeClockSkew    Code = "clock.skew"       // the local clock contradicts the witnesses'
)

// An Error is every refusal of this package and of transparency/statement.
type Error struct {
	Code   Code
	Detail string // for people; holds no secret, for nothing here is one

	// Evidence holds the signed notes that prove an accusation, for
	// [CodeFork] and [CodeRollback] only: keep them, publish them.
	Evidence [][]byte
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Detail) }

// Refuse makes an [Error] without evidence.
func Refuse(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}
