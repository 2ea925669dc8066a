// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package jsonstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Literal reads true, false or null, whichever begins with first.
func (r *Reader) Literal(first byte) error {
	word := "null"
	switch first {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	}
	for i := range len(word) {
		if err := r.expect(word[i], Syntax); err != nil {
			return err
		}
	}
	return nil
}

// expect reads c; anything else is refused with code.
func (r *Reader) expect(c byte, code Code) error {
	got, err := r.peek()
	if err != nil {
		return err
	}
	if got != c {
		return &Error{code}
	}
	return r.pass(1)
}

// Number reads one number and returns its spelling, in the space of into if
// that has MaxNumber bytes. RFC 8259, Section 6.
func (r *Reader) Number(into []byte) ([]byte, error) {
	lit := into[:0]
	for {
		c, err := r.peek()
		if err != nil {
			return nil, err // a number is never the last thing: an object must close
		}
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
		if len(lit) == MaxNumber {
			return nil, &Error{Number}
		}
		lit = append(lit, c)
		if err := r.pass(1); err != nil {
			return nil, err
		}
	}
	if !validNumber(lit) {
		return nil, &Error{Syntax}
	}
	if bytes.ContainsAny(lit, "eE") { // no other is too large in so few bytes
		if _, err := strconv.ParseFloat(string(lit), 64); err != nil {
			return nil, &Error{Number} // 1e999 is infinity to an engine (TN-08)
		}
	}
	return lit, nil
}

func validNumber(b []byte) bool {
	i := 0
	digits := func() bool {
		start := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(b)
}

// Text reads one string. It appends the decoded bytes to into until that holds
// limit of them, and returns it with the decoded length.
func (r *Reader) Text(into []byte, limit int) (head []byte, n int64, err error) {
	err = r.Spans(func(b []byte, _ bool) error {
		n += int64(len(b))
		if room := limit - len(into); room > 0 {
			into = append(into, b[:min(room, len(b))]...)
		}
		return nil
	})
	return into, n, err
}

// Spans reads one string and calls part with its decoded bytes, in pieces that
// end with a character. Pieces with escaped set are one character that was
// written as an escape; the others need none, and stand for themselves in JSON.
func (r *Reader) Spans(part func(b []byte, escaped bool) error) error {
	if err := r.expect('"', Syntax); err != nil {
		return err
	}
	for {
		if _, err := r.peek(); err != nil {
			return err
		}
		if n := plain(r.buf[r.r:r.w]); n > 0 {
			if err := part(r.buf[r.r:r.r+n], false); err != nil {
				return err
			}
			if err := r.pass(n); err != nil {
				return err
			}
			continue
		}
		switch c := r.buf[r.r]; {
		case c == '"':
			return r.pass(1)
		case c == '\\':
			u, err := r.escape()
			if err != nil {
				return err
			}
			if err := part(utf8.AppendRune(r.char[:0], u), true); err != nil {
				return err
			}
		case c < 0x20:
			return &Error{Syntax}
		default:
			if err := r.character(); err != nil {
				return err
			}
		}
	}
}

// plain returns how many bytes of b stand for themselves in a string: whole
// characters without quote, backslash or control characters.
func plain(b []byte) int {
	for i := 0; i < len(b); {
		for len(b)-i >= 8 && ordinary(binary.LittleEndian.Uint64(b[i:])) {
			i += 8
		}
		if i == len(b) {
			break
		}
		c := b[i]
		if c < 0x20 || c == '"' || c == '\\' {
			return i
		}
		if c < utf8.RuneSelf {
			i++
			continue
		}
		u, size := utf8.DecodeRune(b[i:])
		if u == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(b)
}

// ordinary reports whether the eight bytes of x are ASCII without quote,
// backslash and control characters. Subtracting from each byte sets the high
// bit of the lowest one that is too small, and of none if there is none.
func ordinary(x uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote := x ^ ones*'"'
	slash := x ^ ones*'\\'
	return (x|(x-ones*0x20)|(quote-ones)|(slash-ones))&highs == 0
}

// character makes sure that the character at buf[r], of two bytes or more, is
// buffered whole. [plain] stopped there because it is cut, or none.
func (r *Reader) character() error {
	for !utf8.FullRune(r.buf[r.r:r.w]) {
		if err := r.fill(); err != nil {
			if errors.Is(r.srcErr, io.EOF) {
				return &Error{UTF8}
			}
			return err
		}
	}
	if u, size := utf8.DecodeRune(r.buf[r.r:r.w]); u == utf8.RuneError && size == 1 {
		return &Error{UTF8}
	}
	return nil
}

// escape reads one escape and returns what it stands for. Half of a surrogate
// pair is refused: parsers disagree about it.
func (r *Reader) escape() (rune, error) {
	if err := r.pass(1); err != nil {
		return 0, err
	}
	c, err := r.peek()
	if err != nil {
		return 0, err
	}
	if c != 'u' {
		u, ok := short[c]
		if !ok {
			return 0, &Error{Syntax}
		}
		return u, r.pass(1)
	}
	high, err := r.hex(Syntax)
	if err != nil || !utf16.IsSurrogate(high) {
		return high, err
	}
	if err := r.expect('\\', UTF8); err != nil {
		return 0, err
	}
	low, err := r.hex(UTF8)
	if err != nil {
		return 0, err
	}
	u := utf16.DecodeRune(high, low)
	if u == utf8.RuneError {
		return 0, &Error{UTF8}
	}
	return u, nil
}

var short = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// hex reads uXXXX. If there is no u it refuses with code.
func (r *Reader) hex(code Code) (rune, error) {
	if err := r.expect('u', code); err != nil {
		return 0, err
	}
	var u rune
	for range 4 {
		c, err := r.peek()
		if err != nil {
			return 0, err
		}
		switch {
		case c >= '0' && c <= '9':
			u = u<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			u = u<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			u = u<<4 | rune(c-'A'+10)
		default:
			return 0, &Error{Syntax}
		}
		if err := r.pass(1); err != nil {
			return 0, err
		}
	}
	return u, nil
}
