// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package canon brings the JSON body of a request into the one spelling that
// every Sotto client sends, and drops the members that name a person
// (docs/spec/canonical-request.md; CL-08, CL-09).
//
// It is not RFC 8785: members stay in the order that the application wrote
// them, because engines show it to models, and integers keep every digit. It
// does not decide whether an engine may see the request; the node's filter
// does. It streams in constant memory and has no network, clock or log; no
// error of its own holds a byte of the body.
package canon

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/sotto-project/sotto/internal/jsonstream"
)

const (
	// MaxSize is the largest body read, in bytes. It bounds time, not memory,
	// and is above the largest size class whatever a body's spelling.
	MaxSize = 256 << 20
	// MaxModel is the longest name of a model, in bytes.
	MaxModel = 1024
	// BlockSize is how many bytes Copy writes at a time, but for the last: the
	// sizes of its writes say nothing about the application's spelling.
	BlockSize = 16<<10 - 4
)

// identity are the top-level members that name the user or ask a provider to
// keep or rank what is said. No engine needs them.
var identity = []string{"user", "metadata", "safety_identifier", "store", "prompt_cache_key", "service_tier"}

// A Result is what a client needs to know of a body.
type Result struct {
	Model   string   // the top-level member "model"; empty if there is none, or it is no string
	Removed []string // names of the members left out, in the body's order
}

// An Error refuses a body. Detail holds nothing of it.
type Error struct{ Detail string }

func (e *Error) Error() string { return "canonical body: " + e.Detail }

// details say why, by the reader's code.
var details = map[jsonstream.Code]string{
	jsonstream.Syntax:    "it is not one JSON object",
	jsonstream.UTF8:      "it is not valid UTF-8, or has half of a surrogate pair",
	jsonstream.Duplicate: "an object has a member twice",
	jsonstream.Depth:     "it is nested more than 64 levels deep",
	jsonstream.Size:      "it, the number of its members or the name of one is too large",
	jsonstream.Number:    "a number is longer than 64 bytes, or too large for a binary64",
}

// Copy reads one JSON object from r through io.EOF and writes its canonical
// spelling to w, in blocks of [BlockSize].
//
// The last brace is written only after r said io.EOF. On an error w holds a
// prefix that is no JSON, and the caller aborts what it began. The error is an
// *[Error], or that of r or w as it came.
func Copy(w io.Writer, r io.Reader) (*Result, error) {
	c := &copier{in: jsonstream.NewReader(r, nil, MaxSize), out: jsonstream.NewSink(w, BlockSize)}
	if err := c.document(); err != nil {
		var bad *jsonstream.Error
		switch said := c.in.SourceError(); {
		case said != nil:
			return nil, said
		case errors.As(err, &bad):
			return nil, &Error{details[bad.Code]}
		}
		return nil, err
	}
	return &c.result, nil
}

// FindModel returns what [Copy] would report as the model of a body that
// begins with prefix, or the empty string if prefix ends too early to tell or
// is refused before.
func FindModel(prefix []byte) string {
	c := &copier{in: jsonstream.NewReader(bytes.NewReader(prefix), nil, MaxSize), mute: true}
	if err := c.in.Document(c.find); err != errFound {
		return ""
	}
	return c.result.Model
}

var errFound = errors.New("canonical body: found")

// A copier walks through one body.
type copier struct {
	in     *jsonstream.Reader
	out    *jsonstream.Sink // nil if always mute
	mute   bool             // a member is read that is left out
	result Result
	text   []byte // scratch: the model
	num    [jsonstream.MaxNumber]byte
	canon  [jsonstream.MaxNumber]byte
}

func (c *copier) document() error {
	if err := c.byte('{'); err != nil {
		return err
	}
	empty := true
	err := c.in.Document(func(name []byte, first byte) error {
		if i := slices.Index(identity, string(name)); i >= 0 {
			c.result.Removed = append(c.result.Removed, identity[i])
			c.mute = true
			err := c.value(first)
			c.mute = false
			return err
		}
		model := string(name) == "model" && first == '"'
		if err := c.name(name, &empty); err != nil {
			return err
		}
		if model {
			return c.model()
		}
		return c.value(first)
	})
	if err != nil {
		return err
	}
	if err := c.byte('}'); err != nil {
		return err
	}
	return c.out.Flush()
}

// find stops at the model.
func (c *copier) find(name []byte, first byte) error {
	if string(name) != "model" {
		return c.value(first)
	}
	if first != '"' {
		return errFound
	}
	if err := c.model(); err != nil {
		return err
	}
	return errFound
}

func (c *copier) value(first byte) error {
	switch first {
	case '{':
		return c.object()
	case '[':
		return c.array()
	case '"':
		return c.string()
	case 't':
		return c.literal(first, "true")
	case 'f':
		return c.literal(first, "false")
	case 'n':
		return c.literal(first, "null")
	}
	return c.number()
}

func (c *copier) object() error {
	if err := c.byte('{'); err != nil {
		return err
	}
	empty := true
	err := c.in.Members(func(name []byte, first byte) error {
		if err := c.name(name, &empty); err != nil {
			return err
		}
		return c.value(first)
	})
	if err != nil {
		return err
	}
	return c.byte('}')
}

// name writes what goes before the value of a member. empty says that it is
// the first of its object, and is cleared.
func (c *copier) name(name []byte, empty *bool) error {
	if err := c.comma(empty); err != nil {
		return err
	}
	if err := c.quoted(name); err != nil {
		return err
	}
	return c.byte(':')
}

func (c *copier) comma(empty *bool) error {
	if *empty {
		*empty = false
		return nil
	}
	return c.byte(',')
}

func (c *copier) array() error {
	if err := c.byte('['); err != nil {
		return err
	}
	empty := true
	err := c.in.Elements(func(first byte) error {
		if err := c.comma(&empty); err != nil {
			return err
		}
		return c.value(first)
	})
	if err != nil {
		return err
	}
	return c.byte(']')
}

func (c *copier) literal(first byte, word string) error {
	if err := c.in.Literal(first); err != nil {
		return err
	}
	return c.write([]byte(word))
}

func (c *copier) number() error {
	lit, err := c.in.Number(c.num[:])
	if err != nil {
		return err
	}
	out, ok := appendNumber(c.canon[:0], lit)
	if !ok {
		return &Error{"a number is too small for a binary64 and is not zero"}
	}
	return c.write(out)
}

// string reads and writes a string of any length.
func (c *copier) string() error {
	if err := c.byte('"'); err != nil {
		return err
	}
	err := c.in.Spans(func(b []byte, escaped bool) error {
		if escaped {
			return c.escape(b)
		}
		return c.write(b)
	})
	if err != nil {
		return err
	}
	return c.byte('"')
}

// model reads and writes the model's name.
func (c *copier) model() error {
	text, n, err := c.in.Text(c.text[:0], MaxModel)
	if err != nil {
		return err
	}
	if n > MaxModel {
		return &Error{"the name of the model is longer than 1024 bytes"}
	}
	c.text = text
	c.result.Model = string(text)
	return c.quoted(text)
}

// quoted writes a short string.
func (c *copier) quoted(s []byte) error {
	if err := c.byte('"'); err != nil {
		return err
	}
	if err := c.escape(s); err != nil {
		return err
	}
	return c.byte('"')
}

// escape writes s with the escapes that JSON demands and no others: those of
// RFC 8785, Section 3.2.2.2.
func (c *copier) escape(s []byte) error {
	for len(s) > 0 {
		n := 0
		for n < len(s) && s[n] >= 0x20 && s[n] != '"' && s[n] != '\\' {
			n++
		}
		if err := c.write(s[:n]); err != nil {
			return err
		}
		if n == len(s) {
			break
		}
		if err := c.write(escapes[s[n]]); err != nil {
			return err
		}
		s = s[n+1:]
	}
	return nil
}

// escapes are the spellings of the characters that cannot stand for themselves.
var escapes = func() (t ['\\' + 1][]byte) {
	const hex = "0123456789abcdef"
	for c := range 0x20 {
		t[c] = []byte{'\\', 'u', '0', '0', hex[c>>4], hex[c&15]}
	}
	for c, letter := range map[byte]byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r', '"': '"', '\\': '\\'} {
		t[c] = []byte{'\\', letter}
	}
	return t
}()

func (c *copier) byte(b byte) error {
	if c.mute {
		return nil
	}
	return c.out.WriteByte(b)
}

// write fills blocks, so that sizes do not follow the application's spelling.
func (c *copier) write(b []byte) error {
	if c.mute {
		return nil
	}
	_, err := c.out.Write(b)
	return err
}
