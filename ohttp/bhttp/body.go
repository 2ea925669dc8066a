// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp

import (
	"bytes"
	"io"
)

// Body returns the content as a stream. It returns io.EOF only after the
// trailers and the padding were read to the end of the stream and checked, and
// content as soon as it is there: it never waits for more while it has some.
// The body also has a WriteTo, which writes straight from the reader's buffer.
func (r *Reader) Body() io.Reader { return (*body)(r) }

type body Reader

func (b *body) Read(p []byte) (int, error) {
	r := (*Reader)(b)
	n := 0
	for n < len(p) {
		if err := r.more(n > 0); err != nil {
			if n > 0 {
				return n, nil // the error stays for the next call
			}
			return 0, err
		}
		if r.left == 0 || n > 0 && r.br.Buffered() == 0 {
			return n, nil // what comes next may have to be waited for
		}
		m, err := r.br.Read(p[n : n+int(min(int64(len(p)-n), r.left))])
		n += m
		r.left -= int64(m)
		if err != nil {
			err = r.fail(cut(err))
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if m == 0 {
			return n, nil // a stream without progress is the caller's to give up on
		}
	}
	return n, nil
}

// WriteTo implements [io.WriterTo]. A write error fails the Reader.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	r := (*Reader)(b)
	total := int64(0)
	for {
		if err := r.more(false); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		if _, err := r.br.Peek(1); err != nil {
			return total, r.fail(cut(err))
		}
		p, _ := r.br.Peek(int(min(int64(r.br.Buffered()), r.left)))
		n, err := w.Write(p)
		total += int64(n)
		if err == nil && n != len(p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, r.fail(err)
		}
		_, _ = r.br.Discard(n)
		r.left -= int64(n)
	}
}

// more makes content available: on return left is positive or there is an error,
// io.EOF after the last of the message. With eager set it does nothing that
// might wait, and may leave left at zero.
func (r *Reader) more(eager bool) error {
	if r.err != nil {
		return r.err
	}
	if r.state == atHead {
		return r.fail(errMisuse)
	}
	if r.left > 0 {
		return nil
	}
	if r.state == inContent {
		if eager && !r.varintBuffered() {
			return nil
		}
		if err := r.nextChunk(); err != nil {
			return r.fail(err)
		}
		if r.left > 0 {
			return nil
		}
	}
	if eager {
		return nil
	}
	return r.fail(r.finish())
}

// beginContent reads a known-length message's content length, or finds that the
// content was left out (RFC 9292, Section 3.8).
func (r *Reader) beginContent() error {
	r.state = inContent
	if !r.framing.IsKnown() {
		return nil
	}
	r.state = atTrailers
	end, err := r.atEnd()
	if err != nil {
		return err
	}
	n := uint64(0)
	if !end {
		if n, err = r.varint(&window{left: 8}); err != nil {
			return err
		}
	}
	if err := r.announce(n); err != nil {
		return err
	}
	return r.checkLength()
}

// nextChunk reads the length of a chunk of indeterminate-length content. Content
// may be left out whole; once a chunk was there its terminator must be, too.
func (r *Reader) nextChunk() error {
	if r.got == 0 {
		if end, err := r.atEnd(); err != nil {
			return err
		} else if end {
			r.state = atTrailers
			return r.checkLength()
		}
	}
	n, err := r.varint(&window{left: 8})
	if err != nil {
		return err
	}
	if n == 0 {
		r.state = atTrailers
		return r.checkLength()
	}
	return r.announce(n)
}

// announce accounts for n bytes of content about to come.
func (r *Reader) announce(n uint64) error {
	if n > uint64(r.limits.MaxContent-r.got) {
		return errContentLimit
	}
	r.got += int64(n)
	r.left = int64(n)
	if r.declared >= 0 && r.got > r.declared {
		return errContentLength
	}
	return nil
}

// checkLength holds the content, complete, against its content-length field. A
// response without content may declare any: to HEAD, or with status 304.
func (r *Reader) checkLength() error {
	if r.declared < 0 || r.got == r.declared || r.got == 0 && !r.framing.IsRequest() {
		return nil
	}
	return errContentLength
}

// varintBuffered reports whether the next variable-length integer can be read
// without waiting.
func (r *Reader) varintBuffered() bool {
	if r.br.Buffered() == 0 {
		return false
	}
	p, _ := r.br.Peek(1)
	return r.br.Buffered() >= 1<<(p[0]>>6)
}

// finish reads trailers and padding. It returns io.EOF if all is well.
func (r *Reader) finish() error {
	end, err := r.atEnd()
	if err != nil {
		return err
	}
	if end {
		return io.EOF
	}
	r.nfields = 0
	w := &window{left: int64(r.limits.MaxTrailers), over: errTrailerLimit}
	c := newFieldChecker(trailerFields)
	if r.trailers, err = r.section(w, &c); err != nil {
		return err
	}
	for padding := int64(0); ; {
		if end, err := r.atEnd(); err != nil {
			return err
		} else if end {
			return io.EOF
		}
		p, _ := r.br.Peek(min(r.br.Buffered(), len(zeros)))
		if !bytes.Equal(p, zeros[:len(p)]) {
			return errPadding
		}
		_, _ = r.br.Discard(len(p))
		if padding += int64(len(p)); padding > r.limits.MaxContent {
			return errPadLimit
		}
	}
}

// zeros is what padding is made of and compared with; it is never written to.
var zeros [4 << 10]byte
