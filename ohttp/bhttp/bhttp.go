// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package bhttp reads and writes binary HTTP messages (RFC 9292), known and
// indeterminate length, as streams and whole.
//
// It is a codec: bytes in, values out. It opens no connection, keeps no clock,
// draws no randomness, logs nothing, and knows nothing of net/http (package
// httpmap translates). It is stricter than RFC 9292 where HTTP/2 (RFC 9113,
// Section 8.2) is stricter than it, and refuses the connection-specific fields
// that RFC 9292 merely asks to remove: docs/spec/binary-http.md has the list.
//
// A [Reader] holds at most one buffer of 16 KiB and the head; content passes
// through it. A [Writer] holds at most the head.
package bhttp

import "math"

// A Framing is a message's framing indicator (RFC 9292, Section 3.3).
type Framing uint8

// The four framings there are.
const (
	KnownRequest          Framing = 0
	KnownResponse         Framing = 1
	IndeterminateRequest  Framing = 2
	IndeterminateResponse Framing = 3
)

// IsRequest reports whether f frames a request.
func (f Framing) IsRequest() bool { return f == KnownRequest || f == IndeterminateRequest }

// IsKnown reports whether f frames a message whose lengths precede its parts.
func (f Framing) IsKnown() bool { return f == KnownRequest || f == KnownResponse }

// A Field is one field line. Name is lower case and not a pseudo-field name;
// Value has no surrounding white space and no control character but tab.
type Field struct{ Name, Value string }

// A RequestHead is a request's control data and header section (RFC 9292,
// Section 3.4). Authority is empty where the message names the host in a host
// field instead; a message with both is refused. Scheme and Path are empty for
// CONNECT only.
type RequestHead struct {
	Method, Scheme, Authority, Path string
	Fields                          []Field
}

// A ResponseHead is a final response's status, 200 to 599, and header section.
type ResponseHead struct {
	Status int
	Fields []Field
}

// An Informational is an interim response: status 100 or 102 to 199, and its
// header section (RFC 9292, Section 3.5.1).
type Informational struct {
	Status int
	Fields []Field
}

// A Request is a whole request.
type Request struct {
	RequestHead
	Content  []byte  // nil if empty
	Trailers []Field // nil if none
}

// A Response is a whole response, interim responses first.
type Response struct {
	Informational []Informational
	ResponseHead
	Content  []byte  // nil if empty
	Trailers []Field // nil if none
}

// MaxInformational is how many interim responses one message may carry. RFC
// 9292 sets no limit; without one a peer could keep a reader busy in a head that
// never ends.
const MaxInformational = 8

// Limits bound what a [Reader] accepts. A zero MaxHead, MaxTrailers or MaxFields
// means its default, so that a forgotten limit is never no limit for anything
// that is held in memory.
type Limits struct {
	MaxHead     int   // bytes of control data and header sections, interim ones included; default 64 KiB
	MaxTrailers int   // bytes of the trailer section; default 16 KiB
	MaxFields   int   // field lines in all header sections together, and again in the trailers; default 256
	MaxContent  int64 // bytes of content, and separately of padding; 0 for no limit, as neither is held
}

// Defaults of [Limits].
const (
	DefaultMaxHead     = 64 << 10
	DefaultMaxTrailers = 16 << 10
	DefaultMaxFields   = 256
)

func (l Limits) withDefaults() Limits {
	if l.MaxHead <= 0 {
		l.MaxHead = DefaultMaxHead
	}
	if l.MaxTrailers <= 0 {
		l.MaxTrailers = DefaultMaxTrailers
	}
	if l.MaxFields <= 0 {
		l.MaxFields = DefaultMaxFields
	}
	if l.MaxContent <= 0 {
		l.MaxContent = math.MaxInt64
	}
	return l
}
