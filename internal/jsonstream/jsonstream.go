// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package jsonstream reads one JSON text (RFC 8259) of any size in constant
// memory, and can pass its bytes on as it reads.
//
// It is strict: a text that two parsers could read differently is refused
// (invalid UTF-8, half of a surrogate pair, a member name twice in one object,
// a number that is no binary64). It is not a JSON library: it keeps no values,
// and it does not choose a spelling. What a value means is its caller's
// business: the node's filter checks it, the client's canon respells it.
//
// It has no network, clock, log or randomness (but for a hash seed) of its own,
// and its errors hold nothing of what was read.
package jsonstream

import (
	"errors"
	"io"
	"unicode/utf8"
)

// The bounds of every text. They are wide of what honest requests use, and the
// same at both ends: what a node would refuse for them, a client refuses
// before it sends.
const (
	MaxDepth   = 64    // nesting, the outermost object included
	MaxName    = 1024  // bytes of one decoded member name
	MaxMembers = 16384 // members of all objects open at once
	MaxNumber  = 64    // bytes of one number
)

// A Code says why a text was refused. The list is closed.
type Code string

// The codes of an [Error].
const (
	Syntax    Code = "json.syntax"    // not one JSON object, cut short, NaN, a BOM, text after the end
	UTF8      Code = "json.utf8"      // invalid UTF-8, or half of a surrogate pair
	Duplicate Code = "json.duplicate" // a name twice in one object
	Depth     Code = "json.depth"     // nested deeper than MaxDepth
	Size      Code = "json.size"      // text, name, or number of members too large
	Number    Code = "json.number"    // a number too long, or beyond a binary64
)

// An Error refuses the text.
type Error struct{ Code Code }

func (e *Error) Error() string { return "json refused: " + string(e.Code) }

// A SinkError is the error of the writer that a [Reader] passes its bytes to,
// so that a caller can tell who failed.
type SinkError struct{ Err error }

func (e *SinkError) Error() string { return "json sink: " + e.Err.Error() }

// Unwrap gives the writer's own error.
func (e *SinkError) Unwrap() error { return e.Err }

const (
	// bufferSize is what a Reader holds of its source and, again, of its sink.
	bufferSize = 32 << 10
	// firstBuffer is what it begins with: most texts are short.
	firstBuffer = 2 << 10
)

// A Reader walks through one text. [Reader.Document] comes first; within it
// every value has to be read by the method for its first byte. The bytes of
// each token, white space included, are passed on as they came, unless muted.
//
// Errors are *[Error], *[SinkError] or the source's own, and final: the Reader
// is not used after one.
type Reader struct {
	src    io.Reader
	buf    []byte
	r, w   int   // buf[r:w] is read and not yet consumed
	n, max int64 // bytes read, and how many may be
	srcErr error // terminal error of src, io.EOF included

	out  *Sink // nil if nothing is passed on
	mute bool

	depth int
	names names
	name  []byte            // the member name being read
	char  [utf8.UTFMax]byte // the escaped character being read
}

// NewReader reads a text of at most max bytes from src. Tokens are passed on to
// dst, buffered; a nil dst takes none, and is as muted.
func NewReader(src io.Reader, dst io.Writer, max int64) *Reader {
	r := &Reader{src: src, buf: make([]byte, firstBuffer), max: max, names: newNames()}
	if dst != nil {
		r.out = NewSink(dst, bufferSize)
	}
	return r
}

// Mute stops, or resumes, the passing on of tokens.
func (r *Reader) Mute(on bool) { r.mute = on }

// WriteString writes text of the caller's own between the tokens, muted or not.
func (r *Reader) WriteString(s string) error {
	if r.out == nil {
		return nil
	}
	if _, err := r.out.WriteString(s); err != nil {
		return &SinkError{err}
	}
	return nil
}

// Flush writes out what is buffered for the sink.
func (r *Reader) Flush() error {
	if r.out == nil {
		return nil
	}
	if err := r.out.Flush(); err != nil {
		return &SinkError{err}
	}
	return nil
}

// SourceError is the error, other than io.EOF, that ended the source. It says
// more about a text that stopped than where it stopped.
func (r *Reader) SourceError() error {
	if errors.Is(r.srcErr, io.EOF) {
		return nil
	}
	return r.srcErr
}

// fill reads more, keeping buf[r:w]. It is an error only if nothing came.
func (r *Reader) fill() error {
	if r.srcErr != nil {
		return r.ended()
	}
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if size := len(r.buf); size < bufferSize && r.n >= int64(size) {
		r.buf = append(make([]byte, 0, 4*size), r.buf[:r.w]...)[:4*size]
	}
	for range 100 { // as bufio: a reader that returns nothing for ever is broken
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		r.n += int64(n)
		if err != nil {
			r.srcErr = err
		}
		if r.n > r.max {
			return &Error{Size}
		}
		if n > 0 {
			return nil
		}
		if err != nil {
			return r.ended()
		}
	}
	r.srcErr = io.ErrNoProgress
	return r.srcErr
}

// ended is the error for bytes wanted after the end.
func (r *Reader) ended() error {
	if errors.Is(r.srcErr, io.EOF) {
		return &Error{Syntax}
	}
	return r.srcErr
}

// peek returns the next byte without consuming it.
func (r *Reader) peek() (byte, error) {
	if r.r == r.w {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	return r.buf[r.r], nil
}

// pass consumes n buffered bytes and writes them on.
func (r *Reader) pass(n int) error {
	b := r.buf[r.r : r.r+n]
	r.r += n
	if r.mute || r.out == nil {
		return nil
	}
	if _, err := r.out.Write(b); err != nil {
		return &SinkError{err}
	}
	return nil
}
