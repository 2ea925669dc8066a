// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// ErrDocument is the one error of [Decode].
var ErrDocument = errors.New("api: not a document as it must be")

// Decode reads one JSON document into v, strictly: member names are known, are
// spelled in lower case as they stand in the specification, and are there once;
// null is nothing; after the document there is nothing.
func Decode(b []byte, v any) error {
	if len(b) > MaxBody || !utf8.Valid(b) || !plain(b) {
		return ErrDocument
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil {
		return ErrDocument
	}
	if _, err := d.Token(); err != io.EOF {
		return ErrDocument
	}
	return nil
}

// plain walks the tokens. encoding/json matches names without regard to case
// and takes the last of two: two readers of one document would differ.
func plain(b []byte) bool {
	type level struct {
		seen  map[string]bool // nil: an array
		value bool            // a value comes next
	}
	var stack []level
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return len(stack) == 0
		}
		if err != nil || tok == nil {
			return false
		}
		top := len(stack) - 1
		if top >= 0 && stack[top].seen != nil && !stack[top].value && tok != json.Delim('}') {
			name, ok := tok.(string)
			if !ok || stack[top].seen[name] || !lower(name) {
				return false
			}
			stack[top].seen[name], stack[top].value = true, true
			continue
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if len(stack) == 4 {
				return false
			}
			l := level{}
			if tok == json.Delim('{') {
				l.seen = map[string]bool{}
			}
			stack = append(stack, l)
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
			top--
		}
		if top >= 0 {
			stack[top].value = false
		}
	}
}

func lower(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return name != ""
}
