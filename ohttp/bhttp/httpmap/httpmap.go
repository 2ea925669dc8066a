// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package httpmap translates between binary HTTP heads (package bhttp) and
// net/http values.
//
// It uses net/http for its types only: it dials nothing, serves nothing and
// reads no body. Both directions are canonical, so that two programs that mean
// the same message write the same bytes: names in lower case and sorted, values
// of one name in their order, connection-specific fields gone, the host in the
// authority and the length in the ContentLength field rather than in the header.
package httpmap

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// Fields turns a header or trailer into field lines: sorted by name, without the
// connection-specific fields of RFC 9110, Section 7.6.1 (those that a connection
// field names included), and without host and content-length, which
// [RequestFromHTTP] and [ResponseFromHTTP] take from where net/http keeps them.
// Blanks around values are cut off, as net/http does when it writes. What HTTP
// forbids otherwise is left in for the bhttp writers to refuse.
func Fields(h http.Header) []bhttp.Field {
	if len(h) == 0 {
		return nil
	}
	named := nominated(h)
	var fields []bhttp.Field
	for _, key := range slices.Sorted(maps.Keys(h)) {
		name := strings.ToLower(key)
		if dropped(name) || slices.Contains(named, name) {
			continue
		}
		for _, v := range h[key] {
			fields = append(fields, bhttp.Field{Name: name, Value: trim(v)})
		}
	}
	// Keys that were not in Go's canonical form sort differently in lower case.
	slices.SortStableFunc(fields, func(a, b bhttp.Field) int { return strings.Compare(a.Name, b.Name) })
	return fields
}

// Header turns field lines into a header with Go's canonical keys, leaving out
// what [Fields] leaves out. It never returns nil.
func Header(fields []bhttp.Field) http.Header {
	h := make(http.Header, len(fields))
	for _, f := range fields {
		if !dropped(f.Name) {
			h.Add(f.Name, f.Value)
		}
	}
	return h
}

// nominated lists the fields that connection fields declare to be hop-by-hop.
func nominated(h http.Header) []string {
	var names []string
	for key, values := range h {
		if !strings.EqualFold(key, "Connection") {
			continue
		}
		for _, v := range values {
			for name := range strings.SplitSeq(v, ",") {
				names = append(names, strings.ToLower(trim(name)))
			}
		}
	}
	return names
}

func trim(s string) string { return strings.Trim(s, " \t") }

func dropped(name string) bool {
	switch name {
	case "connection", "keep-alive", "te", "transfer-encoding", "upgrade", "host", "content-length":
		return true
	}
	return strings.HasPrefix(name, "proxy-")
}

// RequestFromHTTP is the head of an outgoing request, one that http.Client would
// send: scheme from r.URL, authority from r.Host or else r.URL. A positive
// r.ContentLength becomes a content-length field; there is none where the length
// is unknown or zero. It reads nothing of r.Body.
func RequestFromHTTP(r *http.Request) (*bhttp.RequestHead, error) {
	if r.URL == nil {
		return nil, errTarget
	}
	h := &bhttp.RequestHead{
		Method: r.Method, Scheme: r.URL.Scheme, Authority: r.Host, Path: r.URL.RequestURI(),
		Fields: Fields(r.Header),
	}
	if h.Method == "" {
		h.Method = http.MethodGet
	}
	if h.Authority == "" {
		h.Authority = r.URL.Host
	}
	if h.Scheme == "" || h.Authority == "" || r.URL.Opaque != "" || r.URL.User != nil || h.Method == http.MethodConnect {
		return nil, errTarget
	}
	if n := r.ContentLength; n > 0 && r.Body != nil {
		h.Fields = withLength(h.Fields, n)
	}
	return h, nil
}

// RequestToHTTP is the http.Request that h and the body that follows it mean:
// absolute URL, Host, Header, and ContentLength, -1 if h declares none. A nil
// body means no content. A target that net/url would print differently from how
// it was written is refused, so that whoever checks the URL checks what is sent.
// Trailers are the caller's to add once the body was read: see [Header].
func RequestToHTTP(h *bhttp.RequestHead, body io.Reader) (*http.Request, error) {
	host := h.Authority
	if host == "" {
		host = value(h.Fields, "host")
	}
	u, err := url.ParseRequestURI(h.Path)
	if err != nil || h.Method == http.MethodConnect || h.Scheme == "" || host == "" {
		return nil, errTarget
	}
	if u.Scheme != "" || u.Host != "" || u.RequestURI() != h.Path {
		return nil, errTarget
	}
	u.Scheme, u.Host = h.Scheme, host
	rc, n, err := bodyOf(h.Fields, body)
	if err != nil {
		return nil, err
	}
	return &http.Request{
		Method: h.Method, URL: u, Host: host, Header: Header(h.Fields),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: rc, ContentLength: n,
	}, nil
}

// ResponseFromHTTP is the head of r. A known length, r.ContentLength of zero or
// more, becomes a content-length field, except where HTTP forbids one (1xx and
// 204). It reads nothing of r.Body.
func ResponseFromHTTP(r *http.Response) *bhttp.ResponseHead {
	h := &bhttp.ResponseHead{Status: r.StatusCode, Fields: Fields(r.Header)}
	if r.ContentLength >= 0 && r.StatusCode != http.StatusNoContent {
		h.Fields = withLength(h.Fields, r.ContentLength)
	}
	return h
}

// ResponseToHTTP is the http.Response that h and the body that follows it mean,
// ContentLength -1 if h declares none. A nil body means no content. The caller
// sets Request, and Trailer once the body was read.
func ResponseToHTTP(h *bhttp.ResponseHead, body io.Reader) (*http.Response, error) {
	rc, n, err := bodyOf(h.Fields, body)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status:     strings.TrimSpace(strconv.Itoa(h.Status) + " " + http.StatusText(h.Status)),
		StatusCode: h.Status, Header: Header(h.Fields),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: rc, ContentLength: n,
	}, nil
}

var (
	errTarget = &bhttp.Error{Code: bhttp.CodeField, Detail: "request target has no canonical URL"}
	errLength = &bhttp.Error{Code: bhttp.CodeField, Detail: "content-length not a number"}
)

// bodyOf makes a body and its length. A body that is an io.ReadCloser is closed
// with the message; another is the caller's to close.
func bodyOf(fields []bhttp.Field, body io.Reader) (io.ReadCloser, int64, error) {
	n := int64(-1)
	if v := value(fields, "content-length"); v != "" {
		u, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			return nil, 0, errLength
		}
		n = int64(u)
	}
	switch b := body.(type) {
	case nil:
		return http.NoBody, max(n, 0), nil
	case io.ReadCloser:
		return b, n, nil
	}
	if wt, ok := body.(io.WriterTo); ok {
		return writerToCloser{body, wt}, n, nil
	}
	return io.NopCloser(body), n, nil
}

// writerToCloser keeps the copying path that http.Request's body would lose in
// another wrapper.
type writerToCloser struct {
	io.Reader
	io.WriterTo
}

func (writerToCloser) Close() error { return nil }

func value(fields []bhttp.Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// withLength inserts a content-length field where sorting puts it.
func withLength(fields []bhttp.Field, n int64) []bhttp.Field {
	f := bhttp.Field{Name: "content-length", Value: strconv.FormatInt(n, 10)}
	i, _ := slices.BinarySearchFunc(fields, f, func(a, b bhttp.Field) int { return strings.Compare(a.Name, b.Name) })
	return slices.Insert(fields, i, f)
}
