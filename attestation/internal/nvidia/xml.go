// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"cmp"
	"slices"
	"strings"
)

// Caps on XML. A manifest has 70 elements, three deep, of ten attributes.
const (
	maxDepth      = 8
	maxElements   = 512
	maxAttributes = 24
)

// An element of the small part of XML that NVIDIA's manifests are written in:
// elements, attributes in double quotes and plain text. No declaration, entity,
// comment, CDATA section, processing instruction or document type exists here,
// so none can be expanded, hidden or left out of a digest: a document that has
// one is refused at its first byte. White space is what the grammar below says,
// no other:
//
//	document  = element [ LF ]
//	element   = "<" name *( SP attribute ) ( "/>" / ( ">" *( text / element ) "</" name ">" ) )
//	attribute = name "=" DQUOTE *( %x20-7E less DQUOTE "<" "&" ) DQUOTE
//	text      = 1*( %x20-7E less "<" ">" "&" / LF )
//	name      = [ word ":" ] word;  word = ALPHA *( ALPHA / DIGIT / "-" / "_" )
//
// What is left needs no escaping and no normalisation, so that canonical XML 1.1
// of it is: start and end tags spelled out, namespaces and attributes sorted.
type element struct {
	name       string // as written, with its prefix
	space      string // namespace
	local      string
	attributes []attribute
	declared   []namespace // on this element, as written
	content    []content
}

type attribute struct{ name, space, local, value string }

type namespace struct{ prefix, uri string }

// content is text or an element.
type content struct {
	text  string
	child *element
}

type xmlReader struct {
	in       string
	elements int
}

// parseXML reads one document; ok is false for anything outside the grammar or
// over a cap. The cost is linear in len(b).
func parseXML(b []byte) (root *element, ok bool) {
	if len(b) > maxManifest {
		return nil, false
	}
	r := &xmlReader{in: string(b)}
	if root, ok = r.element(nil, 1); !ok {
		return nil, false
	}
	r.skip("\n")
	return root, r.in == ""
}

func (r *xmlReader) skip(s string) bool {
	rest, ok := strings.CutPrefix(r.in, s)
	r.in = rest
	return ok
}

func (r *xmlReader) word() string {
	n := 0
	for n < len(r.in) && n < 64 {
		c := r.in[n]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (n == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '_')) {
			break
		}
		n++
	}
	w := r.in[:n]
	r.in = r.in[n:]
	return w
}

// qname reads a name and returns prefix and local part.
func (r *xmlReader) qname() (prefix, local string, ok bool) {
	local = r.word()
	if r.skip(":") {
		prefix, local = local, r.word()
		return prefix, local, prefix != "" && local != ""
	}
	return "", local, local != ""
}

func join(prefix, local string) string {
	if prefix == "" {
		return local
	}
	return prefix + ":" + local
}

// lookup resolves a prefix; scope is innermost last.
func lookup(scope []namespace, prefix string) (string, bool) {
	for _, n := range slices.Backward(scope) {
		if n.prefix == prefix {
			return n.uri, true
		}
	}
	return "", prefix == ""
}

func (r *xmlReader) element(scope []namespace, depth int) (*element, bool) {
	r.elements++
	if depth > maxDepth || r.elements > maxElements || !r.skip("<") {
		return nil, false
	}
	prefix, local, ok := r.qname()
	if !ok {
		return nil, false
	}
	e := &element{name: join(prefix, local), local: local}
	scope = slices.Clip(scope)
	if scope, ok = r.attributes(e, scope); !ok {
		return nil, false
	}
	if e.space, ok = lookup(scope, prefix); !ok {
		return nil, false
	}
	if r.skip("/>") {
		return e, true
	}
	if !r.skip(">") {
		return nil, false
	}
	for !r.skip("</" + e.name + ">") {
		if text, ok := r.text(); !ok {
			return nil, false
		} else if text != "" {
			e.content = append(e.content, content{text: text})
			continue
		}
		child, ok := r.element(scope, depth+1)
		if !ok {
			return nil, false
		}
		e.content = append(e.content, content{child: child})
	}
	return e, true
}

// attributes reads all attributes and returns the scope with what they declare.
// A prefix that is in scope may not be declared again: canonical XML would leave
// some of those out.
func (r *xmlReader) attributes(e *element, scope []namespace) ([]namespace, bool) {
	for count := 0; r.skip(" "); count++ {
		prefix, local, ok := r.qname()
		if !ok || count == maxAttributes || !r.skip(`="`) {
			return nil, false
		}
		end := strings.IndexByte(r.in, '"')
		if end < 0 || !plain(r.in[:end], false) {
			return nil, false
		}
		value := r.in[:end]
		r.in = r.in[end+1:]
		switch {
		case prefix == "" && local == "xmlns", prefix == "xmlns":
			declared := local
			if prefix == "" {
				declared = ""
			}
			if _, taken := lookup(scope, declared); taken && (declared != "" || hasDefault(scope)) || value == "" || strings.HasPrefix(local, "xml") && prefix != "" {
				return nil, false
			}
			n := namespace{declared, value}
			e.declared, scope = append(e.declared, n), append(scope, n)
		case prefix == "xml":
			return nil, false
		default:
			e.attributes = append(e.attributes, attribute{name: join(prefix, local), space: prefix, local: local, value: value})
		}
	}
	seen := map[[2]string]bool{}
	for i := range e.attributes {
		a := &e.attributes[i]
		if a.space != "" { // an attribute without prefix has no namespace
			uri, ok := lookup(scope, a.space)
			if !ok {
				return nil, false
			}
			a.space = uri
		}
		if seen[[2]string{a.space, a.local}] {
			return nil, false
		}
		seen[[2]string{a.space, a.local}] = true
	}
	return scope, true
}

func hasDefault(scope []namespace) bool {
	return slices.ContainsFunc(scope, func(n namespace) bool { return n.prefix == "" })
}

// text reads up to the next tag.
func (r *xmlReader) text() (string, bool) {
	end := strings.IndexByte(r.in, '<')
	if end < 0 || !plain(r.in[:end], true) {
		return "", false
	}
	t := r.in[:end]
	r.in = r.in[end:]
	return t, true
}

func plain(s string, text bool) bool {
	for _, c := range []byte(s) {
		switch {
		case text && c == '\n':
		case c < ' ', c > '~', c == '<', c == '&', text && c == '>':
			return false
		}
	}
	return true
}

// canonical appends canonical XML 1.1 of e (W3C REC xml-c14n11), without its
// child skip. inherited are the namespaces that stand in scope above e, for an
// element that is signed apart from its parents (Section 2.4).
func (e *element) canonical(dst []byte, skip *element, inherited []namespace) []byte {
	spaces := append(slices.Clone(inherited), e.declared...)
	slices.SortFunc(spaces, func(a, b namespace) int { return cmp.Compare(a.prefix, b.prefix) })
	attributes := slices.Clone(e.attributes)
	slices.SortFunc(attributes, func(a, b attribute) int {
		return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(a.local, b.local))
	})
	add := func(parts ...string) {
		for _, p := range parts {
			dst = append(dst, p...)
		}
	}
	add("<", e.name)
	for _, n := range spaces {
		if n.prefix == "" {
			add(` xmlns="`, n.uri, `"`)
		} else {
			add(" xmlns:", n.prefix, `="`, n.uri, `"`)
		}
	}
	for _, a := range attributes {
		add(" ", a.name, `="`, a.value, `"`)
	}
	add(">")
	for _, c := range e.content {
		switch {
		case c.child == nil:
			add(c.text)
		case c.child != skip:
			dst = c.child.canonical(dst, nil, nil)
		}
	}
	add("</", e.name, ">")
	return dst
}

// children returns the elements of e; ok is false if there is text between them
// that is more than white space.
func (e *element) children() (out []*element, ok bool) {
	for _, c := range e.content {
		if c.child != nil {
			out = append(out, c.child)
		} else if strings.Trim(c.text, " \n") != "" {
			return nil, false
		}
	}
	return out, true
}

// bare returns the elements of e, which has no text at all.
func (e *element) bare() (out []*element, ok bool) {
	for _, c := range e.content {
		if c.child == nil {
			return nil, false
		}
		out = append(out, c.child)
	}
	return out, true
}

// text returns the content of an element that has no elements in it.
func (e *element) text() (string, bool) {
	if len(e.content) != 1 || e.content[0].child != nil {
		return "", false
	}
	return e.content[0].text, true
}

// get returns the value of an attribute; empty if there is none.
func (e *element) get(space, local string) string {
	for _, a := range e.attributes {
		if a.space == space && a.local == local {
			return a.value
		}
	}
	return ""
}

func (e *element) is(space, local string) bool { return e.space == space && e.local == local }

// Canonical returns canonical XML 1.1 of a document of the kind that is read
// here, for those who sign one: tests and the lab.
func Canonical(doc []byte) ([]byte, bool) {
	root, ok := parseXML(doc)
	if !ok {
		return nil, false
	}
	return root.canonical(nil, nil, nil), true
}
