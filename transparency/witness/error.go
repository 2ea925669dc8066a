// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import "fmt"

// A Code names why nothing was signed. The list is closed and documented in
// docs/spec/witness.md.
type Code string

const (
	CodeRequest   Code = "witness.request"   // not in the one spelling of a request
	CodeOrigin    Code = "witness.origin"    // a log this witness does not know
	CodeSignature Code = "witness.signature" // the log's signature is missing, doubled or wrong
	CodeOld       Code = "witness.old"       // the old size is above the checkpoint's own
	CodeStale     Code = "witness.stale"     // the old size is not what was signed last
	CodeProof     Code = "witness.proof"     // the proof does not lead from the one to the other
	CodeFork      Code = "witness.fork"      // two roots of one size, both signed by the log
	CodeClock     Code = "witness.clock"     // our clock stands before the last time signed
	CodeStore     Code = "witness.store"     // what was signed could not be read or kept
)

// Codes is the closed list.
func Codes() []Code {
	return []Code{CodeRequest, CodeOrigin, CodeSignature, CodeOld, CodeStale, CodeProof, CodeFork, CodeClock, CodeStore}
}

// An Error is every refusal of this package.
type Error struct {
	Code   Code
	Detail string // for people; holds no secret

	// Size is, for [CodeStale], the size signed last.
	Size uint64
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Detail) }

func refuse(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}
