// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"unicode/utf8"
)

// The JSON of records is canonical as in RFC 8785: members in the order of their
// names, no space, the shortest spelling of every string and number. There is
// one spelling of a record, so reader and writer walk through the same members
// in the same order, and nothing has to be sorted or remembered.

// A printer appends canonical JSON.
type printer struct {
	b     []byte
	first bool // no comma before the next member or element
}

func (p *printer) open(c byte) { p.b, p.first = append(p.b, c), true }

func (p *printer) close(c byte) { p.b, p.first = append(p.b, c), false }

func (p *printer) comma() {
	if !p.first {
		p.b = append(p.b, ',')
	}
	p.first = false
}

func (p *printer) member(name string) {
	p.comma()
	p.string(name)
	p.b = append(p.b, ':')
}

// string escapes what must be: records hold printable text only.
func (p *printer) string(s string) {
	p.b = append(p.b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			p.b = append(p.b, '\\')
		}
		p.b = append(p.b, s[i])
	}
	p.b = append(p.b, '"')
}

func (p *printer) int(n int64) { p.b = strconv.AppendInt(p.b, n, 10) }

func (p *printer) text(name, value string) {
	p.member(name)
	p.string(value)
}

// optional prints a member only if there is something to say.
func (p *printer) optional(name, value string) {
	if value != "" {
		p.text(name, value)
	}
}

func (p *printer) number(name string, n int64) {
	p.member(name)
	p.int(n)
}

func (p *printer) digest(name string, d [32]byte) {
	if d != [32]byte{} {
		p.text(name, hex.EncodeToString(d[:]))
	}
}

// A reader reads what a printer prints. It fails once and stays failed; every
// value it then returns is zero.
type reader struct {
	b      []byte
	at     int
	first  bool
	failed *Error
}

func (r *reader) fail(what string) {
	if r.failed == nil {
		r.failed = refuse(CodeFormat, "byte %d: %s", r.at, what)
	}
}

// has consumes s if it comes next.
func (r *reader) has(s string) bool {
	if r.failed != nil || len(r.b)-r.at < len(s) || string(r.b[r.at:r.at+len(s)]) != s {
		return false
	}
	r.at += len(s)
	return true
}

func (r *reader) want(s string) {
	if !r.has(s) {
		r.fail("want " + strconv.Quote(s))
	}
}

func (r *reader) open(c string) {
	r.want(c)
	r.first = true
}

func (r *reader) close(c string) {
	r.want(c)
	r.first = false
}

// isMember consumes a member's name and colon, if that member comes next.
func (r *reader) isMember(name string) bool {
	back := r.at
	if (r.first || r.has(",")) && r.has(`"`) && r.has(name) && r.has(`":`) {
		r.first = false
		return true
	}
	r.at = back
	return false
}

func (r *reader) member(name string) {
	if !r.isMember(name) {
		r.fail("want member " + name)
	}
}

// element says whether another element or member follows before the end mark c,
// and consumes the comma.
func (r *reader) element(c byte) bool {
	if r.failed != nil || r.at >= len(r.b) || r.b[r.at] == c {
		return false
	}
	if !r.first {
		r.want(",")
	}
	r.first = false
	return r.failed == nil
}

func (r *reader) string() string {
	r.want(`"`)
	var out []byte
	if plain := bytes.IndexByte(r.b[r.at:], '"'); plain > 0 && plain <= maxText && bytes.IndexByte(r.b[r.at:r.at+plain], '\\') < 0 {
		out, r.at = r.b[r.at:r.at+plain:r.at+plain], r.at+plain // the usual case, without a copy
	}
	for start := r.at; r.failed == nil; r.at++ {
		switch {
		case r.at >= len(r.b):
			r.fail("string without end")
			return ""
		case r.at-start > 2*maxText:
			r.fail("string too long")
			return ""
		case r.b[r.at] == '"':
			r.at++
			if !utf8.Valid(out) {
				r.fail("string is not UTF-8")
				return ""
			}
			return string(out)
		case r.b[r.at] == '\\':
			r.at++
			if r.at >= len(r.b) || r.b[r.at] != '"' && r.b[r.at] != '\\' {
				r.fail("escape that is not needed")
				return ""
			}
			out = append(out, r.b[r.at])
		default:
			out = append(out, r.b[r.at])
		}
	}
	return ""
}

// int reads an integer within the given bounds.
func (r *reader) int(low, high int64) int64 {
	if r.failed != nil {
		return 0
	}
	start := r.at
	for r.at < len(r.b) && r.at-start < 20 && (r.b[r.at] == '-' || r.b[r.at] >= '0' && r.b[r.at] <= '9') {
		r.at++
	}
	s := string(r.b[start:r.at])
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s || n < low || n > high {
		r.at = start
		r.fail("number malformed or out of range")
		return 0
	}
	return n
}

func (r *reader) text(name string) string {
	r.member(name)
	return r.string()
}

func (r *reader) optional(name string) string {
	if !r.isMember(name) {
		return ""
	}
	s := r.string()
	if s == "" {
		r.fail("empty " + name)
	}
	return s
}

func (r *reader) number(name string, low, high int64) int64 {
	r.member(name)
	return r.int(low, high)
}

// hex reads 32 bytes other than zero.
func (r *reader) hex() [32]byte {
	d, ok := digest(r.string())
	if !ok || d == [32]byte{} {
		r.fail("want 64 lower-case hex digits")
	}
	return d
}

func (r *reader) digest(name string) (d [32]byte) {
	if r.isMember(name) {
		d = r.hex()
	}
	return d
}
