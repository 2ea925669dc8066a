// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp

import "strings"

// A section says where field lines stand, which decides what they may be.
type section uint8

const (
	requestFields section = iota
	responseFields
	informationalFields
	trailerFields
)

// A fieldChecker judges the field lines of one section in order.
type fieldChecker struct {
	section section
	host    bool  // an authority or a host field was seen
	length  int64 // of the content-length field, -1 while none was seen
}

func newFieldChecker(s section) fieldChecker { return fieldChecker{section: s, length: -1} }

// check refuses what RFC 9292, Section 3.6 and RFC 9113, Sections 8.2.1 and
// 8.2.2 call malformed, and a few things more that only an attacker sends.
func (c *fieldChecker) check(name, value string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if !validValue(value) {
		return errValue
	}
	switch name {
	case "connection", "keep-alive", "te", "transfer-encoding", "upgrade":
		return errConnection
	case "host":
		return c.checkHost(value)
	case "content-length":
		return c.checkLength(value)
	default:
		if strings.HasPrefix(name, "proxy-") {
			return errConnection
		}
	}
	return nil
}

// checkHost lets a request name its host once, in authority or here: two names
// are how a front and a back are made to disagree about the target.
func (c *fieldChecker) checkHost(value string) error {
	switch {
	case c.section == trailerFields:
		return errTrailer
	case c.section != requestFields:
		return nil
	case c.host:
		return errHost
	case !validAuthority(value):
		return errAuthority
	}
	c.host = true
	return nil
}

func (c *fieldChecker) checkLength(value string) error {
	if c.section == trailerFields {
		return errTrailer
	}
	// RFC 9110, Section 8.6: never in a 1xx response.
	if c.section == informationalFields || c.length >= 0 || value == "" || len(value) > 18 {
		return errLength
	}
	n := int64(0)
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return errLength
		}
		n = n*10 + int64(value[i]-'0')
	}
	c.length = n
	return nil
}

func checkName(name string) error {
	if name == "" {
		return errEmptyName
	}
	if name[0] == ':' {
		// RFC 9292 leaves room for pseudo-fields of extensions. We speak none,
		// and RFC 9113, Section 8.3 has undefined ones refused.
		return errPseudo
	}
	for i := range len(name) {
		if class[name[i]]&isLowerToken == 0 {
			return errName
		}
	}
	return nil
}

func validValue(v string) bool {
	if v == "" {
		return true
	}
	if isBlank(v[0]) || isBlank(v[len(v)-1]) {
		return false
	}
	for i := range len(v) {
		if class[v[i]]&isValue == 0 {
			return false
		}
	}
	return true
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// checkControl judges the control data as RFC 9113, Section 8.3.1 judges the
// pseudo-fields of the same names. Whether the target is one that anybody may
// ask for is the caller's question.
func (h *RequestHead) checkControl() error {
	if h.Method == "" {
		return errMethod
	}
	for i := range len(h.Method) {
		if class[h.Method[i]]&isToken == 0 {
			return errMethod
		}
	}
	if h.Authority != "" && !validAuthority(h.Authority) {
		return errAuthority
	}
	if h.Method == "CONNECT" { // RFC 9113, Section 8.5
		switch {
		case h.Scheme != "":
			return errScheme
		case h.Path != "":
			return errPath
		case h.Authority == "":
			return errAuthority
		}
		return nil
	}
	if !validScheme(h.Scheme) {
		return errScheme
	}
	if !h.validPath() {
		return errPath
	}
	return nil
}

func validScheme(s string) bool {
	if s == "" || !isAlpha(s[0]) {
		return false
	}
	for i := range len(s) {
		if class[s[i]]&isScheme == 0 {
			return false
		}
	}
	return true
}

func isAlpha(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

// validAuthority takes the characters of a host and port (RFC 3986, Section
// 3.2) without user information, which RFC 9113 forbids here.
func validAuthority(s string) bool {
	for i := range len(s) {
		if class[s[i]]&isAuthority == 0 {
			return false
		}
	}
	return true
}

func (h *RequestHead) validPath() bool {
	for i := range len(h.Path) {
		if class[h.Path[i]]&isPath == 0 {
			return false
		}
	}
	if !strings.EqualFold(h.Scheme, "http") && !strings.EqualFold(h.Scheme, "https") {
		return true
	}
	return strings.HasPrefix(h.Path, "/") || h.Path == "*" && h.Method == "OPTIONS"
}

// validInformational leaves out 101: switching protocols is an act on a
// connection, and there is none here (RFC 9113, Section 8.6).
func validInformational(status uint64) bool {
	return status >= 100 && status <= 199 && status != 101
}

func validFinal(status uint64) bool { return status >= 200 && status <= 599 }

// Character classes, as bits in class.
const (
	isToken      = 1 << iota // tchar, RFC 9110, Section 5.6.2
	isLowerToken             // tchar without upper-case letters
	isValue                  // field-value, RFC 9110, Section 5.5
	isScheme
	isAuthority
	isPath
)

var class = makeClasses()

func makeClasses() (t [256]uint8) {
	for i := range t {
		b := byte(i)
		upper := 'A' <= b && b <= 'Z'
		alnum := isAlpha(b) || '0' <= b && b <= '9'
		if alnum || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0 {
			t[i] |= isToken
			if !upper {
				t[i] |= isLowerToken
			}
		}
		if b == '\t' || b >= ' ' && b != 0x7f {
			t[i] |= isValue
		}
		if alnum || strings.IndexByte("+-.", b) >= 0 {
			t[i] |= isScheme
		}
		if alnum || strings.IndexByte("-._~!$&'()*+,;=%:[]", b) >= 0 {
			t[i] |= isAuthority
		}
		if b > ' ' && b < 0x7f && b != '#' {
			t[i] |= isPath
		}
	}
	return t
}
