// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/internal/jsonstream"
)

// forced is a member the node sets, and whether it has been written.
type forced struct {
	Member
	done bool
}

// A walker descends through one document.
type walker struct {
	in     *jsonstream.Reader
	opt    Options
	set    []forced
	stream bool
	asked  int64 // most tokens that a member asked for, 0 if none did
	tokens int64 // most that the answer can have, under a cap

	scratch []byte
	num     [maxNumber]byte
}

// A place is where a value stands.
type place struct {
	schema int // levels since a schema began
	pos    position
	rule   rule
	member string // name of the rule, of our own tables, for the refusal
}

func (p place) refuse(c Code) error { return &Refusal{Code: c, Member: p.member} }

// document reads the whole text.
func (w *walker) document() error {
	empty := true
	err := w.in.Document(func(name []byte, first byte) error {
		empty = false
		return w.member(place{pos: top}, name, first)
	})
	if err != nil {
		return err
	}
	if err := w.cap(); err != nil {
		return err
	}
	if err := w.append(empty); err != nil {
		return err
	}
	if err := w.in.WriteString("}"); err != nil {
		return err
	}
	return w.in.Flush()
}

// value reads any value at p that begins with c.
func (w *walker) value(p place, c byte) error {
	if c == '{' || c == '[' {
		if p.pos == schema || p.pos == schemaMap || p.pos == literals {
			p.schema++
		}
		if p.schema > maxSchemaDepth {
			return p.refuse(Schema)
		}
	}
	switch c {
	case '{':
		if !p.rule.check.holds('{') {
			return p.refuse(Range)
		}
		return w.object(p)
	case '[':
		if !p.rule.check.holds('[') || p.pos == bias {
			return p.refuse(Range)
		}
		return w.array(p)
	case '"':
		return w.text(p)
	case 't', 'f':
		if !p.rule.check.holds('t') || p.pos == bias {
			return p.refuse(Range)
		}
		if p.member == "stream" && p.pos == plain {
			w.stream = c == 't'
		}
		return w.in.Literal(c)
	case 'n':
		if p.rule.check == modelName {
			return p.refuse(Model)
		}
		if w.opt.Cap != nil && lengths[p.member] {
			return p.refuse(Range) // no length, under a name that a length would be appended to
		}
		return w.in.Literal(c)
	}
	return w.numeral(p)
}

// holds says whether a value that begins with first may stand under a check.
// Strings and numbers are looked at more closely by their own readers.
func (c check) holds(first byte) bool {
	switch c {
	case anything, structured, data, batch:
		return true
	case list:
		return first == '['
	case count, boolean:
		return first == 't'
	}
	return false
}

// array reads an array whose elements stand under the same rule.
func (w *walker) array(p place) error {
	inner := p
	switch p.rule.check {
	case list:
		inner.rule = rule{check: list} // max 0: elements are not lists themselves
	case structured:
		inner.rule.check = anything
		if p.pos == messages || p.pos == schema {
			inner.rule.check = structured
		}
	}
	if p.pos == content {
		inner.pos = part
	}
	n := float64(0)
	return w.in.Elements(func(c byte) error {
		if c != '-' && (c < '0' || c > '9') || p.rule.check == list {
			n++
		}
		if (p.rule.check == list || p.rule.check == batch) && n > p.rule.max {
			return p.refuse(Range)
		}
		return w.value(inner, c)
	})
}

// object reads an object that is not the request itself.
func (w *walker) object(p place) error {
	n := 0
	return w.in.Members(func(name []byte, c byte) error {
		if n++; p.pos == bias && n > maxBias {
			return p.refuse(Range)
		}
		return w.member(p, name, c)
	})
}

// lengths are the names under which engines take the length of an answer.
var lengths = map[string]bool{
	"max_tokens": true, "max_completion_tokens": true, "max_new_tokens": true, "n_predict": true, "num_predict": true,
}

// cap holds the answer to what is paid.
func (w *walker) cap() error {
	if w.opt.Cap == nil {
		return nil
	}
	most := min(w.opt.Cap(), w.opt.MaxTokens)
	if most < 0 || w.asked > most {
		return &Refusal{Code: Class}
	}
	w.tokens = w.asked
	if w.asked == 0 && most > 0 {
		w.tokens = most
		w.set = append(w.set, forced{Member: Member{"max_tokens", strconv.FormatInt(most, 10)}})
	}
	return nil
}

// append writes the members that the node sets and the request did not have.
func (w *walker) append(empty bool) error {
	for i := range w.set {
		if w.set[i].done {
			continue
		}
		s := quote(w.set[i].Name) + ":" + w.set[i].JSON
		if !empty {
			s = "," + s
		}
		empty = false
		if err := w.in.WriteString(s); err != nil {
			return err
		}
	}
	return nil
}

// member reads the value of a member of p.
func (w *walker) member(p place, name []byte, first byte) error {
	inner, set, err := w.descend(p, name)
	if err != nil {
		return err
	}
	if set == nil {
		return w.value(inner, first)
	}
	w.in.Mute(true)
	err = w.value(inner, first)
	w.in.Mute(false)
	if err != nil {
		return err
	}
	set.done = true
	return w.in.WriteString(set.JSON)
}

// descend finds the place of the value under name, and the node's own member
// if it replaces it.
func (w *walker) descend(p place, name []byte) (place, *forced, error) {
	in := place{schema: p.schema, member: p.member}
	switch p.pos {
	case top:
		return w.descendTop(in, name)
	case schema:
		in.pos = schema
		if r, ok := keywords[string(name)]; ok {
			in.rule, in.member, in.pos = r, string(name), r.pos
			if r.check == refuse {
				return in, nil, in.refuse(Refused)
			}
			if r.pos == schemaMap {
				// The names below are the user's; those of patternProperties are read as expressions.
				in.rule = rule{}
			}
		}
		return in, nil, nil
	case schemaMap:
		in.pos = schema
		if p.member == "patternProperties" {
			if !cheapRegex(name) {
				return in, nil, p.refuse(Schema)
			}
		}
		return in, nil, nil
	case literals:
		in.pos = literals
		return in, nil, nil
	case bias:
		if len(name) == 0 || len(name) > 10 || bytes.ContainsFunc(name, func(r rune) bool { return r < '0' || r > '9' }) {
			return in, nil, p.refuse(Range)
		}
		in.pos, in.rule = bias, rule{check: number, min: -100, max: 100}
		return in, nil, nil
	case template:
		if templateNames[fold(name)] {
			return in, nil, p.refuse(Refused)
		}
		return in, nil, nil
	}
	return w.descendPlain(in, p, name)
}

// descendTop is descend for the members of the request.
func (w *walker) descendTop(in place, name []byte) (place, *forced, error) {
	var set *forced
	for i := range w.set {
		if w.set[i].Name == string(name) {
			set = &w.set[i]
		}
	}
	r, ok := known[string(name)]
	if !ok {
		folded := fold(name)
		if _, ok := known[folded]; ok && folded != string(name) {
			return in, nil, &Refusal{Code: Refused, Member: folded}
		}
		for i := range w.set {
			if folded == w.set[i].Name && folded != string(name) {
				return in, nil, &Refusal{Code: Refused, Member: folded}
			}
		}
		if mediaNames[folded] {
			in.rule, in.pos, in.member = rule{check: data}, media, folded
		}
		return in, set, nil
	}
	in.rule, in.pos, in.member = r, r.pos, string(name)
	if r.check == refuse {
		if set == nil {
			return in, nil, in.refuse(Refused)
		}
		in.rule = rule{} // whatever it was, it is replaced
	}
	if r.max == 0 && (r.check == integer || r.check == number) {
		in.rule.max = float64(w.opt.MaxTokens)
		if in.member == "n" || in.member == "best_of" {
			in.rule.max = float64(w.opt.MaxChoices)
		}
	}
	if w.opt.Cap != nil && in.member == "prompt" {
		in.rule.max = 1
	}
	return in, set, nil
}

// descendPlain is descend where names mean nothing but media.
func (w *walker) descendPlain(in, p place, name []byte) (place, *forced, error) {
	folded := fold(name)
	switch {
	case p.pos == media && (folded == "url" || mediaNames[folded]), mediaNames[folded]:
		in.rule, in.pos, in.member = rule{check: data}, media, folded
	case p.pos == media:
		in.pos = media
	case p.pos == messages && folded == "content":
		in.pos = content
	case (p.pos == part || p.pos == content) && partNames[folded]:
		return in, nil, &Refusal{Code: Refused, Member: folded}
	case p.pos == messages, p.pos == part:
		in.pos = plain
		if p.pos == part {
			in.pos = part
		}
	}
	return in, nil, nil
}

// fold lowers a name as the laxest engine would compare it. encoding/json
// folds by simple Unicode folding, under which U+017F is s and U+212A is k.
func fold(name []byte) string {
	for _, c := range name {
		if c >= 0x80 || c >= 'A' && c <= 'Z' {
			s := strings.ToLower(string(name))
			return strings.ReplaceAll(s, "\u017f", "s") // ToLower maps U+212A to k itself
		}
	}
	return string(name)
}
