// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package jsonstream

import (
	"errors"
	"io"
)

// Document reads the whole text, through io.EOF, which must be one object with
// nothing but white space around it. It calls member for each member as
// [Reader.Members] does.
//
// The last brace is consumed and not passed on, nor is white space behind it:
// a caller that writes the brace itself once Document returned never writes a
// whole text whose source did not end where it should.
func (r *Reader) Document(member func(name []byte, first byte) error) error {
	c, err := r.space()
	if err != nil {
		return err
	}
	if c != '{' {
		return &Error{Syntax}
	}
	if err := r.members(member); err != nil {
		return err
	}
	r.r++ // the last brace
	return r.finish()
}

// Members reads an object. It calls member for each, with its decoded name,
// found new in its object and valid until the value is read, and the first
// byte of its value, which comes next. member must read the value by the
// method for that byte: Members for '{', Elements for '[', Text or Spans for
// '"', Literal for 't', 'f' and 'n', Number for '-' and digits. Nothing else
// begins a value, so it is none else.
func (r *Reader) Members(member func(name []byte, first byte) error) error {
	if err := r.members(member); err != nil {
		return err
	}
	return r.pass(1)
}

// members is Members but for the closing brace, which it leaves.
func (r *Reader) members(member func(name []byte, first byte) error) error {
	c, err := r.begin()
	if err != nil {
		return err
	}
	r.names.open()
	for more := c != '}'; more; {
		if err := r.colon(); err != nil {
			return err
		}
		first, err := r.first()
		if err != nil {
			return err
		}
		if err := member(r.name, first); err != nil {
			return err
		}
		if more, err = r.next('}'); err != nil {
			return err
		}
	}
	r.names.close()
	r.depth--
	return nil
}

// colon reads a name, the colon, and the space up to the value.
func (r *Reader) colon() error {
	name, n, err := r.Text(r.name[:0], MaxName)
	if err != nil {
		return err
	}
	r.name = name
	if n > MaxName {
		return &Error{Size}
	}
	if err := r.names.add(name); err != nil {
		return err
	}
	if _, err := r.space(); err != nil {
		return err
	}
	if err := r.expect(':', Syntax); err != nil {
		return err
	}
	_, err = r.space()
	return err
}

// Elements reads an array. It calls element for each, with the first byte of
// its value, which comes next; element must read it as [Reader.Members] says.
func (r *Reader) Elements(element func(first byte) error) error {
	c, err := r.begin()
	if err != nil {
		return err
	}
	for more := c != ']'; more; {
		if c, err = r.first(); err != nil {
			return err
		}
		if err := element(c); err != nil {
			return err
		}
		if more, err = r.next(']'); err != nil {
			return err
		}
	}
	r.depth--
	return r.pass(1)
}

// begin reads an opening bracket and returns the byte next, unconsumed.
func (r *Reader) begin() (byte, error) {
	if r.depth++; r.depth > MaxDepth {
		return 0, &Error{Depth}
	}
	if err := r.pass(1); err != nil {
		return 0, err
	}
	return r.space()
}

// next reads a comma and the space behind it, or stops before the closing
// bracket. That something follows a comma is checked by whoever reads it.
func (r *Reader) next(closing byte) (more bool, err error) {
	c, err := r.space()
	if err != nil || c == closing {
		return false, err
	}
	if c != ',' {
		return false, &Error{Syntax}
	}
	if err := r.pass(1); err != nil {
		return false, err
	}
	_, err = r.space()
	return true, err
}

// first returns the first byte of the value that is next, without reading it.
func (r *Reader) first() (byte, error) {
	c, err := r.peek()
	if err != nil {
		return 0, err
	}
	switch c {
	case '{', '[', '"', 't', 'f', 'n', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return c, nil
	}
	return 0, &Error{Syntax}
}

// space passes white space on and returns the byte after it, unconsumed.
func (r *Reader) space() (byte, error) {
	for {
		c, err := r.peek()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, nil
		}
		if err := r.pass(1); err != nil {
			return 0, err
		}
	}
}

// finish reads white space through io.EOF; anything else is refused.
func (r *Reader) finish() error {
	for {
		if r.r < r.w {
			switch r.buf[r.r] {
			case ' ', '\n', '\r', '\t':
				r.r++ // dropped: the last brace has not been written yet
				continue
			}
			return &Error{Syntax}
		}
		if errors.Is(r.srcErr, io.EOF) {
			return nil
		}
		if err := r.fill(); err != nil && !errors.Is(r.srcErr, io.EOF) {
			return err
		}
		if r.n > r.max {
			return &Error{Size}
		}
	}
}
