// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp

import (
	"bufio"
	"errors"
	"io"
	"sync"
)

// bufferSize holds the plaintext of one full OHTTP chunk, which is what the
// layer below hands over at a time.
const bufferSize = 16 << 10

var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

type state uint8

const (
	atHead state = iota
	inContent
	atTrailers
)

// A Reader reads one message from a stream: its head with ReadRequest or
// ReadResponse, its content with Body, its trailers after Body's io.EOF.
//
// A Reader that failed stays failed. Errors are [*Error], or those of the stream
// below, unchanged. A Reader is not safe for concurrent use.
type Reader struct {
	src    io.Reader
	br     *bufio.Reader // from buffers; nil before the first read and after the last
	limits Limits
	err    error // sticky; io.EOF once the whole message was read and checked

	ended    bool // the stream below said io.EOF and is not asked again
	state    state
	framing  Framing
	nfields  int   // field lines read in the header sections, then in the trailers
	left     int64 // bytes left in the current content chunk
	got      int64 // bytes of content announced so far, left included
	declared int64 // content-length field, or -1
	trailers []Field
}

// NewReader returns a Reader of the one message in src, which is read to its
// end: what follows the message can only be padding. It reads nothing yet.
func NewReader(src io.Reader, l Limits) *Reader {
	return &Reader{src: src, limits: l.withDefaults(), declared: -1}
}

// ReadRequest reads the head of a request.
func (r *Reader) ReadRequest() (*RequestHead, error) {
	h := new(RequestHead)
	if err := r.readHead(func(w *window) error { return r.requestHead(h, w) }); err != nil {
		return nil, err
	}
	return h, nil
}

// ReadResponse reads the head of a response and the interim responses before it,
// of which there are at most [MaxInformational].
func (r *Reader) ReadResponse() (*ResponseHead, []Informational, error) {
	h := new(ResponseHead)
	var info []Informational
	err := r.readHead(func(w *window) (err error) {
		info, err = r.responseHead(h, w)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return h, info, nil
}

// Framing is the message's framing indicator, known once the head was read.
func (r *Reader) Framing() Framing { return r.framing }

// ContentLength is the length of the content where the framing or a
// content-length field tells it, and -1 otherwise or before the head was read.
// (A response that answers HEAD may declare a length and have no content.)
func (r *Reader) ContentLength() int64 {
	switch {
	case r.state == atHead:
		return -1
	case r.framing.IsKnown():
		return r.got
	}
	return r.declared
}

// Trailers is the trailer section, complete once the body returned io.EOF and
// nil before.
func (r *Reader) Trailers() []Field {
	if r.err != io.EOF {
		return nil
	}
	return r.trailers
}

// Close gives the buffer back. It is useful only for a Reader that is abandoned
// before an error or io.EOF, and leaves the stream below alone. It must not be
// called while a read is under way: the buffer could then be another message's.
// To interrupt a read, close the stream below.
func (r *Reader) Close() { _ = r.fail(errClosed) }

var (
	errClosed = errors.New("bhttp: reader closed")
	errMisuse = errors.New("bhttp: head and body read out of turn")
)

// fail makes err the Reader's last word unless it already has one.
func (r *Reader) fail(err error) error {
	if r.err == nil {
		r.err = err
	}
	if r.br != nil {
		r.br.Reset(nil) // the pool must not keep the stream or the content alive
		buffers.Put(r.br)
		r.br = nil
	}
	return r.err
}

func (r *Reader) readHead(section func(*window) error) error {
	if r.err != nil {
		return r.err
	}
	if r.state != atHead {
		return r.fail(errMisuse)
	}
	r.br = buffers.Get().(*bufio.Reader)
	r.br.Reset(r.src)
	w := &window{left: int64(r.limits.MaxHead), over: errHeadLimit}
	f, err := r.varint(w)
	switch {
	case err != nil:
		return r.fail(err)
	case f > uint64(IndeterminateResponse):
		return r.fail(errFraming)
	}
	r.framing = Framing(f)
	if err := section(w); err != nil {
		return r.fail(err)
	}
	if err := r.beginContent(); err != nil {
		return r.fail(err)
	}
	return nil
}

func (r *Reader) requestHead(h *RequestHead, w *window) error {
	if !r.framing.IsRequest() {
		return errNotRequest
	}
	for _, s := range []*string{&h.Method, &h.Scheme, &h.Authority, &h.Path} {
		v, err := r.prefixed(w)
		if err != nil {
			return err
		}
		*s = v
	}
	if err := h.checkControl(); err != nil {
		return err
	}
	c := newFieldChecker(requestFields)
	c.host = h.Authority != ""
	fields, err := r.lastHeader(w, &c)
	h.Fields, r.declared = fields, c.length
	return err
}

func (r *Reader) responseHead(h *ResponseHead, w *window) ([]Informational, error) {
	if r.framing.IsRequest() {
		return nil, errNotResponse
	}
	var info []Informational
	for {
		status, err := r.varint(w)
		if err != nil {
			return nil, err
		}
		if validFinal(status) {
			h.Status = int(status)
			break
		}
		if !validInformational(status) {
			return nil, errStatus
		}
		if len(info) == MaxInformational {
			return nil, errInfoLimit
		}
		c := newFieldChecker(informationalFields)
		fields, err := r.section(w, &c)
		if err != nil {
			return nil, err
		}
		info = append(info, Informational{Status: int(status), Fields: fields})
	}
	c := newFieldChecker(responseFields)
	fields, err := r.lastHeader(w, &c)
	h.Fields, r.declared = fields, c.length
	return info, err
}

// lastHeader reads the header section that content may follow. Here is the first
// place where a message may end early (RFC 9292, Section 3.8): the section is
// then empty. RFC 9458, Appendix A has such a message.
func (r *Reader) lastHeader(w *window, c *fieldChecker) ([]Field, error) {
	if end, err := r.atEnd(); end || err != nil {
		return nil, err
	}
	return r.section(w, c)
}

// section reads one field section in the message's framing.
func (r *Reader) section(w *window, c *fieldChecker) ([]Field, error) {
	var fields []Field
	if r.framing.IsKnown() {
		n, err := r.varint(w)
		if err != nil {
			return nil, err
		}
		if err := w.take(n); err != nil {
			return nil, err
		}
		in := &window{left: int64(n), over: errSection}
		for in.left > 0 {
			n, err := r.varint(in)
			if err != nil {
				return nil, err
			}
			if fields, err = r.fieldLine(fields, n, in, c); err != nil {
				return nil, err
			}
		}
		return fields, nil
	}
	for {
		n, err := r.varint(w)
		if err != nil || n == 0 {
			return fields, err
		}
		if fields, err = r.fieldLine(fields, n, w, c); err != nil {
			return nil, err
		}
	}
}

// fieldLine reads the rest of a field line whose name is n bytes long.
func (r *Reader) fieldLine(fields []Field, n uint64, w *window, c *fieldChecker) ([]Field, error) {
	if r.nfields == r.limits.MaxFields {
		return nil, errFieldLimit
	}
	r.nfields++
	name, err := r.text(n, w)
	if err != nil {
		return nil, err
	}
	value, err := r.prefixed(w)
	if err != nil {
		return nil, err
	}
	if err := c.check(name, value); err != nil {
		return nil, err
	}
	return append(fields, Field{name, value}), nil
}

// A window is how many bytes of the structure being read are left, and what it
// means to want more.
type window struct {
	left int64
	over *Error
}

func (w *window) take(n uint64) error {
	if n > uint64(w.left) {
		return w.over
	}
	w.left -= int64(n)
	return nil
}

// varint reads a variable-length integer of any width.
func (r *Reader) varint(w *window) (uint64, error) {
	if err := w.take(1); err != nil {
		return 0, err
	}
	b, err := r.br.ReadByte()
	if err != nil {
		return 0, cut(err)
	}
	v, more := uint64(b&0x3f), 1<<(b>>6)-1
	if more == 0 {
		return v, nil
	}
	if err := w.take(uint64(more)); err != nil {
		return 0, err
	}
	p, err := r.br.Peek(more)
	if err != nil {
		return 0, cut(err)
	}
	for _, b := range p {
		v = v<<8 | uint64(b)
	}
	_, _ = r.br.Discard(more) // it was just peeked at
	return v, nil
}

// prefixed reads a length and that many bytes.
func (r *Reader) prefixed(w *window) (string, error) {
	n, err := r.varint(w)
	if err != nil {
		return "", err
	}
	return r.text(n, w)
}

// text reads n bytes. What it allocates is bounded by the window, which is
// bounded by the limits.
func (r *Reader) text(n uint64, w *window) (string, error) {
	if err := w.take(n); err != nil {
		return "", err
	}
	if n <= bufferSize {
		p, err := r.br.Peek(int(n))
		if err != nil {
			return "", cut(err)
		}
		s := intern(p)
		_, _ = r.br.Discard(int(n))
		return s, nil
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(r.br, p); err != nil {
		return "", cut(err)
	}
	return string(p), nil
}

// atEnd reports whether the stream ended cleanly right here.
func (r *Reader) atEnd() (bool, error) {
	if r.ended {
		return true, nil
	}
	_, err := r.br.Peek(1)
	switch err {
	case nil:
		return false, nil
	case io.EOF:
		r.ended = true
		return true, nil
	}
	return false, cut(err)
}

// cut names the end of the stream in the midst of a message. Other errors of the
// stream below are passed on as they are.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errTruncated
	}
	return err
}

// intern saves the allocation of the strings that nearly every message has.
func intern(p []byte) string {
	switch string(p) {
	case "":
		return ""
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "https":
		return "https"
	case "accept":
		return "accept"
	case "cache-control":
		return "cache-control"
	case "content-length":
		return "content-length"
	case "content-type":
		return "content-type"
	case "date":
		return "date"
	case "application/json":
		return "application/json"
	case "text/event-stream":
		return "text/event-stream"
	}
	return string(p)
}
