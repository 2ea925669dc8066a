// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp

import "io"

// A Code classes a refusal. The list is closed and part of the interface: codes
// may be shown to peers.
type Code string

const (
	// CodeField: a field name, a field value or a control datum that HTTP does
	// not allow, or that this profile of RFC 9292 does not.
	CodeField Code = "bhttp.field"
	// CodeFormat: a framing indicator, length or padding that does not make a
	// message, or content that its content-length field belies.
	CodeFormat Code = "bhttp.format"
	// CodeTruncated: the bytes ended where RFC 9292, Section 3.8 does not let a
	// message end.
	CodeTruncated Code = "bhttp.truncated"
	// CodeLimit: well-formed so far, but larger than [Limits] or
	// [MaxInformational] allow.
	CodeLimit Code = "bhttp.limit"
)

// An Error is a message refused, by a reader or before it was written. It never
// quotes the message.
type Error struct {
	Code   Code
	Detail string // fixed text
}

func (e *Error) Error() string { return "bhttp: " + e.Detail }

// Unwrap lets errors.Is find [io.ErrUnexpectedEOF] in a truncated message.
func (e *Error) Unwrap() error {
	if e.Code == CodeTruncated {
		return io.ErrUnexpectedEOF
	}
	return nil
}

var (
	errTruncated = &Error{CodeTruncated, "message cut off"}

	errFraming       = &Error{CodeFormat, "unknown framing indicator"}
	errNotRequest    = &Error{CodeFormat, "response where a request was expected"}
	errNotResponse   = &Error{CodeFormat, "request where a response was expected"}
	errSection       = &Error{CodeFormat, "field line exceeds its section"}
	errPadding       = &Error{CodeFormat, "padding is not zero"}
	errContentLength = &Error{CodeFormat, "content differs from its content-length"}

	errHeadLimit    = &Error{CodeLimit, "head too large"}
	errTrailerLimit = &Error{CodeLimit, "trailers too large"}
	errFieldLimit   = &Error{CodeLimit, "too many field lines"}
	errContentLimit = &Error{CodeLimit, "content too large"}
	errPadLimit     = &Error{CodeLimit, "padding too large"}
	errInfoLimit    = &Error{CodeLimit, "too many interim responses"}

	errEmptyName  = &Error{CodeField, "empty field name"}
	errName       = &Error{CodeField, "field name not in lower-case token characters"}
	errPseudo     = &Error{CodeField, "pseudo-field among the fields"}
	errValue      = &Error{CodeField, "field value with a forbidden character or surrounding space"}
	errConnection = &Error{CodeField, "connection-specific field"}
	errHost       = &Error{CodeField, "more than one of host and authority"}
	errLength     = &Error{CodeField, "content-length repeated, misplaced or not a number"}
	errTrailer    = &Error{CodeField, "field not allowed in trailers"}
	errMethod     = &Error{CodeField, "method not a token"}
	errScheme     = &Error{CodeField, "scheme malformed"}
	errAuthority  = &Error{CodeField, "authority malformed"}
	errPath       = &Error{CodeField, "path malformed"}
	errStatus     = &Error{CodeField, "status code out of range"}
)
