// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp

import (
	"errors"
	"io"
	"sync"
)

// smallWrite is the size of content up to which copying it behind its chunk
// header is cheaper than a second Write below.
const smallWrite = 2 << 10

// A Writer writes one message of indeterminate length. Each Write is one content
// chunk; nothing but the head is ever held back. Every message is ended by
// Close: one that is not is truncated to its reader.
//
// A Writer that failed stays failed. It is not safe for concurrent use.
type Writer struct {
	w        io.Writer
	buf      []byte // the head while it is unwritten, then scratch space
	err      error  // sticky
	content  int64  // bytes of content so far
	declared int64  // content-length field, or -1
	response bool
	written  int64 // bytes handed to w
}

// NewRequestWriter checks h and returns a Writer of a request. It writes
// nothing yet. Errors are [*Error], code [CodeField].
func NewRequestWriter(w io.Writer, h *RequestHead) (*Writer, error) {
	c, err := h.check()
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 512)
	b = appendVarint(b, uint64(IndeterminateRequest))
	b = h.appendControl(b)
	b = appendIndeterminate(b, h.Fields)
	return &Writer{w: w, buf: b, declared: c.length}, nil
}

// NewResponseWriter checks h and the interim responses, which are written before
// it, and returns a Writer of a response. It writes nothing yet.
func NewResponseWriter(w io.Writer, h *ResponseHead, info ...Informational) (*Writer, error) {
	c, err := checkResponse(h, info)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 512)
	b = appendVarint(b, uint64(IndeterminateResponse))
	for _, i := range info {
		b = appendVarint(b, uint64(i.Status))
		b = appendIndeterminate(b, i.Fields)
	}
	b = appendVarint(b, uint64(h.Status))
	b = appendIndeterminate(b, h.Fields)
	return &Writer{w: w, buf: b, declared: c.length, response: true}, nil
}

// Write writes p as one chunk of content, the head before it if it is the first.
// Large content is not copied: it follows its header in a Write of its own, so w
// is best something that gathers, as an encrypting writer does.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if len(p) == 0 {
		return 0, nil // an empty chunk would be the terminator
	}
	if err := w.account(len(p)); err != nil {
		return 0, err
	}
	w.buf = appendVarint(w.buf, uint64(len(p)))
	if len(p) <= smallWrite {
		w.buf = append(w.buf, p...)
		if err := w.flush(); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	if err := w.put(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// copySize makes a chunk of a full read fit one OHTTP chunk of 16 KiB with its
// own header of at most headerRoom bytes.
const (
	headerRoom = 4
	copySize   = 16<<10 - headerRoom
)

var copyBuffers = sync.Pool{New: func() any { return new([headerRoom + copySize]byte) }}

// ReadFrom implements [io.ReaderFrom]: each read of src becomes a chunk, written
// at once, in one Write and without another copy.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	b := copyBuffers.Get().(*[headerRoom + copySize]byte)
	defer copyBuffers.Put(b)
	total := int64(0)
	for w.err == nil {
		n, rerr := src.Read(b[headerRoom:])
		if n > 0 {
			if err := w.account(n); err != nil {
				return total, err
			}
			if err := w.flush(); err != nil {
				return total, err
			}
			start := headerRoom - varintSize(uint64(n))
			appendVarint(b[start:start], uint64(n))
			if err := w.put(b[start : headerRoom+n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			return total, rerr
		}
	}
	return total, w.err
}

// Flush writes the head if it is not written yet. Content needs no flushing.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	return w.flush()
}

// Written is how many bytes were handed to the stream below so far: with Flush
// before, and the two bytes that Close adds where there are no trailers, enough
// to choose the padding that makes the message a certain size.
func (w *Writer) Written() int64 { return w.written }

// Close ends the message with trailers, possibly nil, and padding zero bytes. It
// refuses, leaving the message truncated, where the content does not have the
// length that the head declared. It does not close the stream below.
func (w *Writer) Close(trailers []Field, padding int) error {
	if w.err != nil {
		return w.err
	}
	if w.declared >= 0 && w.content != w.declared && !(w.response && w.content == 0) {
		return w.fail(errContentLength)
	}
	if _, err := checkFields(trailerFields, trailers); err != nil {
		return w.fail(err)
	}
	if padding < 0 {
		return w.fail(errors.New("bhttp: negative padding"))
	}
	w.buf = append(w.buf, 0)
	w.buf = appendIndeterminate(w.buf, trailers)
	n := min(padding, smallWrite)
	w.buf = append(w.buf, zeros[:n]...)
	if err := w.flush(); err != nil {
		return err
	}
	for padding -= n; padding > 0; padding -= n {
		n = min(padding, len(zeros))
		if err := w.put(zeros[:n]); err != nil {
			return err
		}
	}
	w.err = errWriterClosed
	return nil
}

var errWriterClosed = errors.New("bhttp: writer closed")

// account refuses content beyond what the head declared, before any of it is
// written.
func (w *Writer) account(n int) error {
	w.content += int64(n)
	if w.declared >= 0 && w.content > w.declared {
		return w.fail(errContentLength)
	}
	return nil
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.put(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *Writer) put(p []byte) error {
	n, err := w.w.Write(p)
	w.written += int64(n)
	if err == nil && n != len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return w.fail(err)
	}
	return nil
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

// appendIndeterminate appends an indeterminate-length field section.
func appendIndeterminate(b []byte, fields []Field) []byte {
	b = appendLines(b, fields)
	return append(b, 0)
}

func appendLines(b []byte, fields []Field) []byte {
	for _, f := range fields {
		b = appendString(b, f.Name)
		b = appendString(b, f.Value)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(appendVarint(b, uint64(len(s))), s...)
}

func (h *RequestHead) appendControl(b []byte) []byte {
	for _, s := range [...]string{h.Method, h.Scheme, h.Authority, h.Path} {
		b = appendString(b, s)
	}
	return b
}
