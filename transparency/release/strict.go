// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"
)

const maxDepth = 32

// strict reads JSON that has one meaning into v: no member twice at any depth,
// and nothing that printing v would not say again. So unknown members, members
// in another case, null, and another spelling of a number, hash or time are
// refused; only white space, escapes and the order of members are free.
func strict(b []byte, v any) error {
	if err := unambiguous(b); err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	back, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(generic(b), generic(back)) {
		return errors.New("an unknown member, or a value in another spelling than its own")
	}
	return nil
}

func generic(b []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

// unambiguous checks that b is one JSON value in UTF-8 in which no object has a
// member twice: readers differ in which of the two they take.
func unambiguous(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := walk(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the value")
	}
	return nil
}

func walk(d *json.Decoder, depth int) error {
	t, err := d.Token()
	switch {
	case err != nil:
		return err
	case depth > maxDepth:
		return errors.New("nested too deep")
	case t == json.Delim('['):
		for d.More() {
			if err := walk(d, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	case t != json.Delim('{'):
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if t, err = d.Token(); err != nil {
			return err
		}
		name, _ := t.(string)
		if seen[name] {
			return fmt.Errorf("member %q twice", name)
		}
		seen[name] = true
		if err := walk(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
