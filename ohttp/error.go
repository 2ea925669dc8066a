// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ohttp

// An Error is a refusal with a stable code of docs/spec/refusal-codes.md. Its
// text holds no byte of any message, so it may cross a log.
type Error struct {
	code, text string
	is         *Error // a wider refusal that this one is a case of, or nil
}

func (e *Error) Error() string { return "ohttp: " + e.text }

// Code returns the stable code, such as "stream.truncated".
func (e *Error) Code() string { return e.code }

// Unwrap gives the wider refusal that this one is a case of, or nil.
func (e *Error) Unwrap() error {
	if e.is == nil {
		return nil // not a typed nil
	}
	return e.is
}

// The refusals of this protocol. Opening a message has few faces on purpose:
// whoever can tell causes apart has an oracle.
var (
	truncated = &Error{code: "stream.truncated", text: "stream ended before its verified end"}

	// ErrKeyFormat: a key configuration, or a list of them, is malformed.
	ErrKeyFormat error = &Error{code: "key.format", text: "key configuration is malformed"}
	// ErrUnknownKEM: a well-formed entry for a KEM this package cannot use.
	// Whoever reads a list skips it (RFC 9458, Section 3.2).
	ErrUnknownKEM error = &Error{code: "suite", text: "key configuration is for an unknown KEM"}
	// ErrSuite: no algorithm that Sotto offers is in the configuration or the
	// request header. There is no weaker suite to fall back to.
	ErrSuite error = &Error{code: "suite", text: "no acceptable suite"}
	// ErrKey: the request names a key that the gateway does not hold.
	ErrKey error = &Error{code: "key", text: "key is not held"}
	// ErrShort: the message ends before its own preface does. It is a case of
	// [ErrTruncated] (errors.Is reports both).
	ErrShort error = &Error{code: "stream.short", text: "message is shorter than its preface", is: truncated}
	// ErrTruncated: the stream ended before its final chunk was verified.
	// What was read until then is authentic but incomplete.
	ErrTruncated error = truncated
	// ErrRefused: a chunk or message did not open.
	ErrRefused error = &Error{code: "stream.auth", text: "message refused"}
	// ErrLimit: the stream reached the number of chunks one key may protect.
	ErrLimit error = &Error{code: "stream.limit", text: "stream reached its chunk limit"}
)
