// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"strings"
)

// An Error says why a request was refused or lost, in the closed list of
// codes of docs/spec/client.md and the pages it names. Programs branch on Code; people read
// the rest. It never carries a byte of a prompt, an answer or a key.
type Error struct {
	Code   string // such as "att.stale", "stream.truncated"
	Detail string // what was checked, expected and got
	Hint   string // what to do next
	// Sent reports whether any sealed byte of the prompt had left this
	// process. It is false for every refusal that precedes sealing.
	Sent bool
}

func (e *Error) Error() string {
	s := "sotto: " + e.Code
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if !e.Sent {
		s += " (nothing was sent)"
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// CodeOf returns the code of err, or "" if err is no [Error]. The client gives
// the typed errors of the packages beneath it their codes, so a caller asks in
// one place.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Type returns the stable family of a code, for error bodies that OpenAI
// clients and agents branch on.
func Type(code string) string {
	family, _, _ := strings.Cut(code, ".")
	switch family {
	case "att":
		return "attestation_failed"
	case "log", "statement", "epoch", "key", "clock", "state":
		return "transparency_failed"
	case "route":
		return "routing_refused"
	case "stream", "suite", "replay", "header", "rng":
		return "stream_refused"
	case "credit":
		return "no_credit"
	case "request", "target", "bhttp":
		return "invalid_request_error"
	}
	if code == CodeBusy {
		return "node_busy"
	}
	return "service_unavailable"
}

// Codes that the client itself assigns; the others come from the packages
// that detect them.
const (
	CodeBusy          = "node.busy"         // the router says that candidates are busy
	CodeRelay         = "relay.unreachable" // no relay could be reached or it answered outside the protocol
	CodeTarget        = "target"            // the URL is not one Sotto serves
	CodeRequest       = "request.invalid"   // the body is not what the API takes
	CodeModel         = "request.model"     // no node serves the model
	CodeNode          = "request.node"      // no listed node, or more than one, has an id that begins so
	CodeTooLarge      = "request.size"      // the body is over the largest size class
	CodeSlow          = "request.slow"      // the body stood still
	CodeConsistency   = "key.consistency"   // two sources show two different worlds
	CodeCandidate     = "route.candidate"   // answered by a node that was not drawn
	CodeSkip          = "route.skip"        // a candidate was skipped without its signed busy receipt
	CodeSteering      = "route.steering"    // what happened to many requests is unlikely unless somebody chooses nodes
	CodeSmallSet      = "route.smallset"    // fewer nodes serve the model than the draw needs
	CodeTruncated     = "stream.truncated"  // an answer ended before its verified end
	CodeStreamAuth    = "stream.auth"       // an answer failed to open
	CodeStreamShort   = "stream.short"      // an answer is shorter than its own preface
	CodeRollback      = "log.rollback"      // the log, or an epoch, is older than one seen before
	CodeFork          = "log.fork"          // two worlds, both signed
	CodeUnproven      = "log.unproven"      // no mirror proved that the log grew without being rewritten
	CodeEpochWithheld = "epoch.withheld"    // no current statement could be had
	CodeSkew          = "clock.skew"        // this machine's clock disagrees with signed times
	CodePayment       = "payment"           // the epoch asks for coins, and there is no wallet
	CodeBank          = "bank.answer"       // the bank could not be reached, or answered outside the protocol
	CodeConfig        = "cfg"               // the configuration refuses itself
)

func refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

func (e *Error) hint(s string) *Error { e.Hint = s; return e }
