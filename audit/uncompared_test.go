// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"testing"
)

// TestComparedWithNobody: AT-48: a mirror that is silent, or whose answer was not
// what was signed, is nobody to compare with, and one that is named twice is one.
func TestComparedWithNobody(t *testing.T) {
	one, two, three := &fakeMirror{name: "one.invalid"}, &fakeMirror{name: "two.invalid"}, &fakeMirror{name: "three.invalid"}
	good := func(m Mirror) look { return look{mirror: m} }
	silent := func(m Mirror) look { return look{mirror: m, err: errors.New("down")} }
	lies := func(m Mirror) look { return look{mirror: m, tampered: "noise"} }
	for name, c := range map[string]struct {
		looks    []look
		compared bool
	}{
		"one alone, which another condition tells": {[]look{good(one)}, true},
		"two":                       {[]look{good(one), good(two)}, true},
		"two of three":              {[]look{good(one), silent(two), good(three)}, true},
		"one of two is silent":      {[]look{good(one), silent(two)}, false},
		"one of two lies":           {[]look{good(one), lies(two)}, false},
		"one of three is left":      {[]look{silent(one), good(two), lies(three)}, false},
		"all are silent":            {[]look{silent(one), silent(two)}, false},
		"one twice, the other down": {[]look{good(one), good(one), silent(two)}, false},
	} {
		a := &Auditor{mirrors: c.looks}
		for _, l := range c.looks {
			a.cfg.Mirrors = append(a.cfg.Mirrors, l.mirror)
		}
		if why := a.uncompared(); (why == "") != c.compared {
			t.Errorf("%s: %q", name, why)
		}
	}
}
