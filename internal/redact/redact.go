// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package redact holds the one type for bytes that must not be written down.
//
// It keeps secrets out of logs, errors, metrics and encoders by construction.
// It does not encrypt, lock or erase memory.
package redact

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const printed = "[redacted]"

var errMarshal = errors.New("redact: refusing to marshal a secret")

// A Secret prints as [redacted] under every verb, logger and encoder. The
// bytes are behind a function because fmt cannot call methods on unexported
// fields: it would print a plain slice inside a Secret that sits in another
// struct's unexported field, and, for a verb that does not fit such as %s,
// follow a pointer to one. The zero Secret is empty. Secrets do not compare.
type Secret struct{ bytes func() []byte }

// New wraps b. The Secret keeps b itself, not a copy: the caller gives it up.
func New(b []byte) Secret { return Secret{func() []byte { return b }} }

// Bytes returns the secret itself, nil for the zero Secret. Every call of it
// is a place where a secret leaves its wrapping: keep them few.
func (s Secret) Bytes() []byte {
	if s.bytes == nil {
		return nil
	}
	return s.bytes()
}

// Format implements [fmt.Formatter] for every verb and flag.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, printed) }

// String is for callers that do not go through fmt.
func (Secret) String() string { return printed }

// GoString is for callers that do not go through fmt.
func (Secret) GoString() string { return printed }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(printed) }

// MarshalText refuses: an encoder that reached a secret is a mistake.
func (Secret) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary refuses, for encoding/gob.
func (Secret) MarshalBinary() ([]byte, error) { return nil, errMarshal }
