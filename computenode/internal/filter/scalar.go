// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"regexp/syntax"
	"strconv"
	"strings"
)

// text reads a string value.
func (w *walker) text(p place) error {
	limit := 0
	switch p.rule.check {
	case anything, batch, list:
	case data, localRef:
		limit = 8
	case modelName:
		limit = maxName
	case regex:
		limit = maxRegex
	case grammar:
	default: // numbers, booleans, structures: a string is none
		return p.refuse(Range)
	}
	head, n, err := w.in.Text(w.scratch[:0], limit)
	if err != nil {
		return err
	}
	w.scratch = head
	switch p.rule.check {
	case modelName:
		if n > maxName || string(head) != w.opt.Model {
			return p.refuse(Model)
		}
	case data:
		if len(head) < 5 || !strings.EqualFold(string(head[:5]), "data:") {
			return p.refuse(URL)
		}
	case localRef:
		if n > 0 && head[0] != '#' {
			return p.refuse(Schema)
		}
	case regex:
		if n > maxRegex || !cheapRegex(head) {
			return p.refuse(Schema)
		}
	case grammar:
		if n > maxGrammar {
			return p.refuse(Schema)
		}
	case list:
		if n > maxName {
			return p.refuse(Range) // compared with the answer at every token
		}
	}
	return nil
}

// cheapRegex says whether an expression is one that package regexp would take:
// no look-around, no back-references, and repetition bounded as a product, which
// is what makes expressions into bombs.
func cheapRegex(b []byte) bool {
	if len(b) > maxRegex {
		return false
	}
	_, err := syntax.Parse(string(b), syntax.Perl)
	return err == nil
}

// numeral reads a number value.
func (w *walker) numeral(p place) error {
	lit, err := w.in.Number(w.num[:])
	if err != nil {
		return err
	}
	switch p.rule.check {
	case anything, structured, batch, list:
		return nil
	case integer, count:
		if bytes.ContainsAny(lit, ".eE") {
			return p.refuse(Range)
		}
	case number:
	default:
		if p.rule.check == data {
			return nil // a number in a media object: detail, width
		}
		return p.refuse(Range)
	}
	f, err := strconv.ParseFloat(string(lit), 64)
	if err != nil || f < p.rule.min || f > p.rule.max {
		return p.refuse(Range)
	}
	if lengths[p.member] {
		if w.asked = max(w.asked, int64(f)); f == 0 && w.opt.Cap != nil {
			return p.refuse(Range) // to some engines this is no limit
		}
	}
	return nil
}
