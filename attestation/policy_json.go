// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxPolicyDepth is more than twice what a policy has.
const maxPolicyDepth = 16

// checkPolicyText refuses JSON that two readers could take for two policies:
// encoding/json keeps the last of two members of a name, takes a name in any
// case, takes "01" for register 1, and leaves what null stands for as it was.
func checkPolicyText(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := checkValue(d, reflect.TypeFor[Policy](), 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the policy")
	}
	return nil
}

// checkValue reads one value that is to become a t, nil where it may be anything.
// Whether kinds fit is left to encoding/json.
func checkValue(d *json.Decoder, t reflect.Type, depth int) error {
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := d.Token()
	switch {
	case err != nil:
		return err
	case token == nil:
		return errors.New("null: what is absent is left out")
	case depth == maxPolicyDepth:
		return errors.New("nested too deep")
	}
	switch token {
	case json.Delim('{'):
		return checkObject(d, t, depth)
	case json.Delim('['):
		var element reflect.Type
		if t != nil && t.Kind() == reflect.Slice && t != reflect.TypeFor[json.RawMessage]() {
			element = t.Elem()
		}
		for d.More() {
			if err := checkValue(d, element, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}

func checkObject(d *json.Decoder, t reflect.Type, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		key, member, err := memberOf(t, name)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("member %q twice", name)
		}
		seen[key] = true
		if err := checkValue(d, member, depth+1); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// memberOf returns by what a member of an object counts as the same as another,
// and the type of its value.
func memberOf(t reflect.Type, name string) (key string, member reflect.Type, err error) {
	switch {
	case t != nil && t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name && tag != "-" {
				return name, t.Field(i).Type, nil
			}
		}
		return "", nil, fmt.Errorf("unknown member %q", name)
	case t != nil && t.Kind() == reflect.Map && t.Key().Kind() == reflect.Int:
		if n, err := strconv.Atoi(name); err != nil || strconv.Itoa(n) != name {
			return "", nil, fmt.Errorf("%q is no register", name)
		}
		return name, t.Elem(), nil
	case t != nil && t.Kind() == reflect.Map:
		return name, t.Elem(), nil
	}
	return strings.ToLower(name), nil, nil // read by others, who may not look at case
}

// UnmarshalJSON reads a grace. Without it encoding/json would fill what is absent
// from the profile's grace in the same place of the list.
func (g *StatusGrace) UnmarshalJSON(b []byte) error {
	type plain StatusGrace
	var p plain
	err := json.Unmarshal(b, &p)
	*g = StatusGrace(p)
	return err
}
