// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a request beside its length.
const (
	maxDepth  = 8
	maxValues = 1 << 20 // values and member names in all; rules for IMA are long
)

// An object is a JSON object of a request. Its accessors read a member each and
// keep the first fault; finish refuses members that none asked for. A missing
// member reads as nothing; null is no value of any kind.
type object struct {
	doc     *document
	path    string // "" at the top, "expect." below
	members map[string]any
	read    map[string]bool
}

// A document is what the objects of one request share.
type document struct {
	first   error
	objects []*object
	values  int
}

// parse reads one JSON object and nothing after it. Members must be distinct,
// text UTF-8 and without NUL. encoding/json would take the last of two members,
// and those that differ in case for one.
func parse(b []byte) (*object, error) {
	switch {
	case len(b) > MaxRequest:
		return nil, &requestError{fmt.Sprintf("request of more than %d bytes", MaxRequest)}
	case !utf8.Valid(b):
		return nil, &requestError{"request is not UTF-8"}
	case !json.Valid(b):
		return nil, &requestError{"request is not JSON"}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	doc := &document{}
	v, err := doc.value(d, "", 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &requestError{"bytes after the request"}
	}
	o, ok := v.(*object)
	if !ok {
		return nil, &requestError{"request is no JSON object"}
	}
	return o, nil
}

func (doc *document) value(d *json.Decoder, path string, depth int) (any, error) {
	t, err := doc.token(d)
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, &requestError{"request is nested too deep"}
	}
	if open == '[' {
		list := []any{}
		for d.More() {
			v, err := doc.value(d, path, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = doc.token(d)
		return list, err
	}
	o := &object{doc: doc, path: path, members: map[string]any{}, read: map[string]bool{}}
	doc.objects = append(doc.objects, o)
	for d.More() {
		t, err := doc.token(d)
		if err != nil {
			return nil, err
		}
		name, _ := t.(string) // the decoder hands out nothing else here
		if _, twice := o.members[name]; twice {
			return nil, &requestError{fmt.Sprintf("member %.60q twice", path+name)}
		}
		if o.members[name], err = doc.value(d, path+name+".", depth+1); err != nil {
			return nil, err
		}
	}
	_, err = doc.token(d)
	return o, err
}

func (doc *document) token(d *json.Decoder) (json.Token, error) {
	t, err := d.Token()
	if err != nil {
		return nil, &requestError{"request is not JSON"}
	}
	if s, ok := t.(string); ok && strings.Contains(s, "\x00") {
		return nil, &requestError{"NUL in a text"}
	}
	if doc.values++; doc.values > maxValues {
		return nil, &requestError{"request has too many values"}
	}
	return t, nil
}

// failf keeps the first fault of a request and returns it.
func (o *object) failf(format string, args ...any) error {
	if o.doc.first == nil {
		o.doc.first = &requestError{fmt.Sprintf(format, args...)}
	}
	return o.doc.first
}

// fault returns the first fault so far.
func (o *object) fault() error { return o.doc.first }

// finish returns the first fault, or refuses the members of the whole request
// that nothing asked for.
func (o *object) finish() error {
	for _, p := range o.doc.objects {
		for _, name := range slices.Sorted(maps.Keys(p.members)) {
			if !p.read[name] {
				return o.failf("unknown member %.80q", p.path+name)
			}
		}
	}
	return o.fault()
}

func (o *object) has(name string) bool { _, ok := o.members[name]; return ok }

// get returns a member of a type; ok is false where it is missing or, with a
// fault, of another type.
func get[T any](o *object, name, want string) (v T, ok bool) {
	o.read[name] = true
	m, there := o.members[name]
	if !there {
		return v, false
	}
	if v, ok = m.(T); !ok {
		o.failf("%s is not %s", o.path+name, want)
	}
	return v, ok
}

func (o *object) text(name string) string {
	s, _ := get[string](o, name, "a text")
	return s
}

func (o *object) boolean(name string) (value, ok bool) { return get[bool](o, name, "true or false") }

// number returns a whole number from 0 to max.
func (o *object) number(name string, max uint64) (uint64, bool) {
	n, ok := get[json.Number](o, name, "a number")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(n.String(), 10, 64)
	if err != nil || v > max {
		o.failf("%s is not a whole number from 0 to %d", o.path+name, max)
		return 0, false
	}
	return v, true
}

// object returns the object that a member is; an empty one if it is missing.
func (o *object) object(name string) *object {
	v, ok := get[*object](o, name, "an object")
	if !ok {
		return &object{doc: o.doc, path: o.path + name + ".", members: map[string]any{}, read: map[string]bool{}}
	}
	return v
}

// texts returns a list of texts.
func (o *object) texts(name string) []string {
	list, _ := get[[]any](o, name, "a list")
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			o.failf("%s is not a list of texts", o.path+name)
			return nil
		}
		out = append(out, s)
	}
	return out
}

// blob returns the bytes of a member in base64; nil if it is missing.
func (o *object) blob(name string) []byte {
	s, ok := get[string](o, name, "a text")
	if !ok {
		return nil
	}
	return o.decode(o.path+name, s)
}

// needBlob is blob of a member that has to be there and not be empty.
func (o *object) needBlob(name string) []byte {
	b := o.blob(name)
	if len(b) == 0 {
		o.failf("%s is missing or empty", o.path+name)
	}
	return b
}

// decode takes standard base64, padded, in its one spelling.
func (o *object) decode(name, s string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		o.failf("%s is not base64", name)
		return nil
	}
	return b
}

// blobs returns a list of byte strings in base64.
func (o *object) blobs(name string) [][]byte {
	var out [][]byte
	for i, s := range o.texts(name) {
		out = append(out, o.decode(fmt.Sprintf("%s[%d]", o.path+name, i), s))
	}
	return out
}

// ders returns the certificates of a text: those of a PEM bundle, or the one
// that is in base64 of DER.
func (o *object) ders(name, s string) [][]byte {
	if !strings.HasPrefix(strings.TrimSpace(s), "-----BEGIN") {
		return [][]byte{o.decode(name, s)}
	}
	var out [][]byte
	for rest := []byte(s); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			o.failf("%s is not PEM of certificates", name)
			return nil
		}
		out = append(out, block.Bytes)
	}
	return out
}

// certificates returns the certificates of a list, or of one PEM bundle.
func (o *object) certificates(name string) [][]byte {
	list := []string{}
	if s, ok := o.members[name].(string); ok {
		o.read[name] = true
		list = append(list, s)
	} else {
		list = o.texts(name)
	}
	var out [][]byte
	for i, s := range list {
		out = append(out, o.ders(fmt.Sprintf("%s[%d]", o.path+name, i), s)...)
	}
	return out
}

// hex fills dst from lower-case hex of exactly its length; false if the member
// is missing.
func (o *object) hex(name string, dst []byte) bool {
	s, ok := get[string](o, name, "a text")
	return ok && o.unhex(o.path+name, s, dst)
}

func (o *object) unhex(name, s string, dst []byte) bool {
	if len(s) == hex.EncodedLen(len(dst)) && s == strings.ToLower(s) {
		if _, err := hex.Decode(dst, []byte(s)); err == nil {
			return true
		}
	}
	o.failf("%s is not %d bytes in lower-case hex", name, len(dst))
	return false
}

// anyHex returns up to max bytes in lower-case hex; ok is false if the member is
// missing.
func (o *object) anyHex(name string, max int) (b []byte, ok bool) {
	s, ok := get[string](o, name, "a text")
	if !ok {
		return nil, false
	}
	if len(s) > hex.EncodedLen(max) || len(s)%2 != 0 {
		o.failf("%s is not up to %d bytes in lower-case hex", o.path+name, max)
		return nil, false
	}
	b = make([]byte, len(s)/2)
	return b, o.unhex(o.path+name, s, b)
}

// registers returns an object of registers: decimal index below count, value of
// size bytes in hex; nil if it is missing.
func (o *object) registers(name string, count, size int) map[int][]byte {
	if !o.has(name) {
		return nil
	}
	r := o.object(name)
	out := map[int][]byte{}
	for key := range r.members {
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= count || strconv.Itoa(i) != key {
			o.failf("%s: no register %.20q", o.path+name, key)
			return nil
		}
		out[i] = make([]byte, size)
		r.hex(key, out[i])
	}
	return out
}

// needTime returns the time that a member names (RFC 3339).
func (o *object) needTime(name string) time.Time {
	t, err := time.Parse(time.RFC3339, o.text(name))
	if err != nil {
		o.failf("%s is missing or not RFC 3339", o.path+name)
	}
	return t
}

// duration returns a duration ("24h"); ok is false if it is missing.
func (o *object) duration(name string) (time.Duration, bool) {
	s, ok := get[string](o, name, "a text")
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		o.failf("%s is no duration such as 24h", o.path+name)
		return 0, false
	}
	return d, true
}
