// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke

// An Error is one of the closed list of refusals below. It says what kind of
// refusal it is and nothing of the cause: everything that can go wrong while
// opening has one face, so that nobody learns from it how far he got.
type Error struct {
	code, text string
	is         *Error // a wider refusal that this one is a case of, or nil
}

// Error is the text, which is the same for every cause of the same code.
func (e *Error) Error() string { return e.text }

// Code is the stable name of the refusal, for reports and for other languages.
func (e *Error) Code() string { return e.code }

// Unwrap gives the wider refusal that this one is a case of, or nil.
func (e *Error) Unwrap() error {
	if e.is == nil {
		return nil // not a typed nil
	}
	return e.is
}

var (
	truncated = &Error{code: "stream.truncated", text: "hpke: message truncated"}

	// ErrRefused, code stream.auth: something did not authenticate, or was not
	// laid out as its sealer must lay it out. Nothing after it is delivered.
	ErrRefused error = &Error{code: "stream.auth", text: "hpke: message refused"}

	// ErrTruncated, code stream.truncated: the stream ended before its final
	// frame. What was delivered is genuine and incomplete.
	ErrTruncated error = truncated

	// ErrShort, code stream.short: an answer that ended before its preface was
	// complete, so that nothing of it is known to be from anybody. It is a case
	// of [ErrTruncated] (errors.Is reports both).
	ErrShort error = &Error{code: "stream.short", text: "hpke: answer too short", is: truncated}

	// ErrLimit, code stream.limit: the frame limit of one key is reached. The
	// stream stays without a final frame; nothing more is sealed or opened.
	ErrLimit error = &Error{code: "stream.limit", text: "hpke: frame limit reached"}

	// ErrRandomness, code rng: the random number generator failed, or repeated
	// itself. The process must not seal anything any more, and does not.
	ErrRandomness error = &Error{code: "rng", text: "hpke: randomness failed"}

	// ErrSuite, code suite: a version, suite or kind of key that is not spoken.
	// There is no fallback.
	ErrSuite error = &Error{code: "suite", text: "hpke: suite not supported"}

	// ErrHeader, code header: a header that is not the one encoding of any
	// header, or that says what no client of this version says.
	ErrHeader error = &Error{code: "header", text: "hpke: malformed header"}
)
