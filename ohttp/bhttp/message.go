// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp

import (
	"bytes"
	"io"
)

// AppendRequest appends r as a message of known length in canonical form:
// shortest integers, nothing left out, no padding. Zero bytes may be appended to
// the result to pad it. Errors are [*Error].
func AppendRequest(dst []byte, r *Request) ([]byte, error) {
	c, err := r.check()
	if err != nil {
		return nil, err
	}
	if err := checkTail(&c, r.Content, r.Trailers, false); err != nil {
		return nil, err
	}
	dst = appendVarint(dst, uint64(KnownRequest))
	dst = r.appendControl(dst)
	dst = appendKnown(dst, r.Fields)
	return appendTail(dst, r.Content, r.Trailers), nil
}

// AppendResponse appends r as [AppendRequest] does a request.
func AppendResponse(dst []byte, r *Response) ([]byte, error) {
	c, err := checkResponse(&r.ResponseHead, r.Informational)
	if err != nil {
		return nil, err
	}
	if err := checkTail(&c, r.Content, r.Trailers, true); err != nil {
		return nil, err
	}
	dst = appendVarint(dst, uint64(KnownResponse))
	for _, i := range r.Informational {
		dst = appendVarint(dst, uint64(i.Status))
		dst = appendKnown(dst, i.Fields)
	}
	dst = appendVarint(dst, uint64(r.Status))
	dst = appendKnown(dst, r.Fields)
	return appendTail(dst, r.Content, r.Trailers), nil
}

// ParseRequest parses a whole request of either framing, within the default
// limits. It keeps nothing of b. Errors are [*Error].
func ParseRequest(b []byte) (*Request, error) {
	rd := NewReader(bytes.NewReader(b), Limits{})
	defer rd.Close()
	h, err := rd.ReadRequest()
	if err != nil {
		return nil, err
	}
	content, err := readContent(rd, len(b))
	if err != nil {
		return nil, err
	}
	return &Request{RequestHead: *h, Content: content, Trailers: rd.Trailers()}, nil
}

// ParseResponse parses a whole response as [ParseRequest] does a request.
func ParseResponse(b []byte) (*Response, error) {
	rd := NewReader(bytes.NewReader(b), Limits{})
	defer rd.Close()
	h, info, err := rd.ReadResponse()
	if err != nil {
		return nil, err
	}
	content, err := readContent(rd, len(b))
	if err != nil {
		return nil, err
	}
	return &Response{Informational: info, ResponseHead: *h, Content: content, Trailers: rd.Trailers()}, nil
}

// readContent reads the content of a message of size bytes, nil if empty.
func readContent(rd *Reader, size int) ([]byte, error) {
	if n := rd.ContentLength(); n >= 0 && n < int64(size) {
		size = int(n)
	}
	buf := bytes.NewBuffer(make([]byte, 0, size))
	if _, err := rd.Body().(io.WriterTo).WriteTo(buf); err != nil {
		return nil, err
	}
	if buf.Len() == 0 {
		return nil, nil
	}
	return buf.Bytes(), nil
}

// appendKnown appends a known-length field section.
func appendKnown(b []byte, fields []Field) []byte {
	n := 0
	for _, f := range fields {
		n += varintSize(uint64(len(f.Name))) + len(f.Name)
		n += varintSize(uint64(len(f.Value))) + len(f.Value)
	}
	return appendLines(appendVarint(b, uint64(n)), fields)
}

func appendTail(b, content []byte, trailers []Field) []byte {
	b = appendVarint(b, uint64(len(content)))
	b = append(b, content...)
	return appendKnown(b, trailers)
}

// What is written is held to the same rules as what is read: a message that our
// own readers refuse never leaves.

func (h *RequestHead) check() (fieldChecker, error) {
	c := newFieldChecker(requestFields)
	c.host = h.Authority != ""
	if err := h.checkControl(); err != nil {
		return c, err
	}
	return c, c.checkAll(h.Fields)
}

func checkResponse(h *ResponseHead, info []Informational) (fieldChecker, error) {
	c := newFieldChecker(responseFields)
	if h.Status < 0 || !validFinal(uint64(h.Status)) {
		return c, errStatus
	}
	if len(info) > MaxInformational {
		return c, errInfoLimit
	}
	for _, i := range info {
		if i.Status < 0 || !validInformational(uint64(i.Status)) {
			return c, errStatus
		}
		if _, err := checkFields(informationalFields, i.Fields); err != nil {
			return c, err
		}
	}
	return c, c.checkAll(h.Fields)
}

func checkTail(c *fieldChecker, content []byte, trailers []Field, response bool) error {
	if c.length >= 0 && c.length != int64(len(content)) && !(response && len(content) == 0) {
		return errContentLength
	}
	_, err := checkFields(trailerFields, trailers)
	return err
}

func checkFields(s section, fields []Field) (fieldChecker, error) {
	c := newFieldChecker(s)
	return c, c.checkAll(fields)
}

func (c *fieldChecker) checkAll(fields []Field) error {
	for _, f := range fields {
		if err := c.check(f.Name, f.Value); err != nil {
			return err
		}
	}
	return nil
}
