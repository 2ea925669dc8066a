// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sotto-project/sotto/ohttp"
)

// An OpenFunc opens the next chunk. It may return a slice of ct or a new one,
// and counts the chunks itself.
type OpenFunc func(aad, ct []byte) ([]byte, error)

// A Reader delivers the plaintext of a chunked stream. It returns io.EOF only
// after the final chunk was verified; a Reader that failed stays failed.
type Reader struct {
	src    io.Reader
	srcErr error // src is at its end, or broken
	open   OpenFunc
	p      pooled
	r, w   int    // p.b[r:w] was read and not yet consumed
	pt     []byte // rest of the current plaintext, in p.b or of its own
	chunks uint64
	err    error
}

// NewReader returns a Reader of src. [Reader.Preface] comes first, then
// [Reader.Start].
func NewReader(src io.Reader) *Reader {
	r := &Reader{src: src}
	r.p.get()
	return r
}

// Preface returns the next n bytes of the stream as they are: valid until the
// next call. An end before them is [ohttp.ErrShort].
func (r *Reader) Preface(n int) ([]byte, error) {
	if err := r.need(n); err != nil {
		if r.err == nil {
			r.fail(ohttp.ErrShort)
		}
		return nil, r.err
	}
	r.r += n
	return r.p.b[r.r-n : r.r], nil
}

// Start sets what opens the chunks that follow the preface.
func (r *Reader) Start(open OpenFunc) { r.open = open }

// Read implements io.Reader. It returns what one chunk holds rather than wait
// for another.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.pt) == 0 {
		if err := r.Next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.pt)
	r.pt = r.pt[n:]
	return n, nil
}

// Next opens the next chunk unless one is still being read. After the final
// one it is io.EOF.
func (r *Reader) Next() error {
	if len(r.pt) > 0 {
		return nil
	}
	if r.err != nil {
		r.release()
		return r.err
	}
	length, err := r.length()
	switch {
	case err != nil:
		return r.fail(err)
	case length == 0:
		return r.final()
	case length <= tagSize || length > maxSeal:
		// An empty non-final chunk says nothing and costs the receiver work;
		// one over the limit would cost it memory.
		return r.fail(ohttp.ErrRefused)
	}
	if err := r.need(int(length)); err != nil {
		return r.fail(err)
	}
	if r.chunks++; r.chunks > maxCount {
		return r.fail(ohttp.ErrLimit)
	}
	pt, err := r.open(nil, r.p.b[r.r:r.r+int(length)])
	if err != nil {
		return r.fail(ohttp.ErrRefused)
	}
	r.r += int(length)
	r.pt = pt
	return nil
}

// final reads to the end of the source, and no further than the largest chunk.
func (r *Reader) final() error {
	for r.srcErr == nil && r.w-r.r <= maxSeal {
		if err := r.need(r.w - r.r + 1); err != nil && r.srcErr != io.EOF {
			return r.fail(err)
		}
	}
	ct := r.p.b[r.r:r.w]
	if len(ct) > maxSeal {
		return r.fail(ohttp.ErrRefused)
	}
	if len(ct) < tagSize {
		return r.fail(ohttp.ErrTruncated)
	}
	pt, err := r.open(finalAAD, ct)
	if err != nil {
		// A final chunk that was cut, or a non-final one dressed as final,
		// does not open: the stream's end is what is missing. In the first
		// chunk of all it is the whole message that is foreign.
		if r.chunks > 0 {
			return r.fail(ohttp.ErrTruncated)
		}
		return r.fail(ohttp.ErrRefused)
	}
	r.r, r.pt = r.w, pt
	r.err = io.EOF
	if len(pt) == 0 {
		r.release()
		return io.EOF
	}
	return nil
}

// length reads one variable-length integer. Every form of a number is taken,
// the long ones too (RFC 9000, Section 16).
func (r *Reader) length() (uint64, error) {
	if err := r.need(1); err != nil {
		return 0, err
	}
	n := 1 << (r.p.b[r.r] >> 6)
	if err := r.need(n); err != nil {
		return 0, err
	}
	var v uint64
	switch b := r.p.b[r.r:]; n {
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(binary.BigEndian.Uint16(b)) & 0x3fff
	case 4:
		v = uint64(binary.BigEndian.Uint32(b)) & 0x3fffffff
	case 8:
		v = binary.BigEndian.Uint64(b) & 0x3fffffffffffffff
	}
	r.r += n
	return v, nil
}

// need makes n bytes available at r.r. It is called only while no plaintext
// is being read, so it may move what lies in the buffer.
func (r *Reader) need(n int) error {
	for idle := 0; r.w-r.r < n; {
		if r.srcErr != nil {
			return cut(r.srcErr)
		}
		if r.r == r.w {
			r.r, r.w = 0, 0
		}
		if r.w == len(r.p.b) || r.r+n > len(r.p.b) {
			r.room(n)
		}
		m, err := r.src.Read(r.p.b[r.w:])
		r.w += m
		r.srcErr = err
		if idle++; m > 0 {
			idle = 0
		} else if err == nil && idle == 100 {
			r.srcErr = io.ErrNoProgress
		}
	}
	return nil
}

// room makes space behind r.w, in a larger buffer if this one is too small.
func (r *Reader) room(n int) {
	rest := r.p.b[r.r:r.w]
	if n <= len(r.p.b) && r.r > 0 || !r.p.grow(rest) {
		copy(r.p.b, rest)
	}
	r.r, r.w = 0, len(rest)
}

func (r *Reader) fail(err error) error {
	if r.err == nil {
		r.err = err
		r.pt = nil
		r.release()
	}
	return r.err
}

func (r *Reader) release() { r.p.put(); r.r, r.w = 0, 0 }

// Release gives the buffers back; the stream reads as cut from here on. Only
// the goroutine that reads may call it.
func (r *Reader) Release() {
	if r.err == nil || len(r.pt) > 0 {
		r.err = ohttp.ErrTruncated
	}
	r.pt = nil
	r.release()
}

// Refuse fails the stream with [ohttp.ErrRefused].
func (r *Reader) Refuse() error { return r.fail(ohttp.ErrRefused) }

// cut names an end that came too early, and keeps its cause for errors.Is.
func cut(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return ohttp.ErrTruncated
	}
	return fmt.Errorf("%w: %w", ohttp.ErrTruncated, err)
}

// Whole reads one message of RFC 9458 to the end of the source and opens it,
// in place of Start. A message of more than max bytes, what Preface took not
// counted, is refused.
func (r *Reader) Whole(max int, open OpenFunc) error {
	ct := append([]byte(nil), r.p.b[r.r:r.w]...)
	if r.srcErr == nil {
		rest, err := io.ReadAll(io.LimitReader(r.src, int64(max)+1))
		if ct = append(ct, rest...); err != nil {
			return r.fail(cut(err))
		}
	} else if r.srcErr != io.EOF {
		return r.fail(cut(r.srcErr))
	}
	if len(ct) < tagSize {
		return r.fail(ohttp.ErrShort)
	}
	if len(ct) > max {
		return r.fail(ohttp.ErrRefused)
	}
	pt, err := open(nil, ct)
	if err != nil {
		return r.fail(ohttp.ErrRefused)
	}
	r.release()
	r.pt, r.err = pt, io.EOF
	return nil
}
