// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/sotto-project/sotto/ohttp"
)

// A SealFunc seals the next chunk. buf holds the plaintext and has room for
// the tag behind it; the result may overwrite it. It counts the chunks itself.
type SealFunc func(aad, buf []byte) ([]byte, error)

var errClosed = errors.New("ohttp: write after the final chunk")

// A Writer seals what is written to it into chunks of up to [ohttp.MaxChunk]
// bytes. Nothing reaches the destination before the buffer is full,
// [Writer.Flush] or [Writer.Close]. A Writer that failed stays failed.
type Writer struct {
	dst    io.Writer
	seal   SealFunc
	p      pooled
	done   int // p.b[:done] is ready to be written out
	n      int // plaintext of the open chunk, at p.b[done+prefix:]
	first  bool
	chunks uint64
	err    error
}

// NewWriter returns a Writer whose output begins with preface. With split, a
// message of one chunk is sent as that chunk and an empty final one, so that
// the receiver can tell a message that was cut from one that is not its own.
func NewWriter(dst io.Writer, preface []byte, split bool, seal SealFunc) *Writer {
	w := &Writer{dst: dst, seal: seal, first: split}
	w.p.get()
	w.done = copy(w.p.b, preface)
	return w
}

// Write implements io.Writer. A full chunk is held back until more follows,
// because it may turn out to be the last.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	total := len(p)
	for len(p) > 0 {
		if w.n == maxChunk {
			if err := w.chunk(nil); err != nil {
				return total - len(p), err
			}
		}
		if err := w.fit(len(p)); err != nil {
			return total - len(p), err
		}
		at := w.done + prefix + w.n
		room := min(maxChunk-w.n, len(w.p.b)-tagSize-at)
		m := copy(w.p.b[at:at+room], p)
		w.n += m
		p = p[m:]
	}
	return total, nil
}

// fit makes room for more plaintext in the open chunk: it grows the buffer,
// or writes out what is ready and moves the open chunk to the front.
func (w *Writer) fit(more int) error {
	want := min(maxChunk, w.n+more)
	if w.done+prefix+want+tagSize <= len(w.p.b) {
		return nil
	}
	end := w.done
	if w.n > 0 {
		end += prefix + w.n
	}
	if w.p.grow(w.p.b[:end]) && w.done+prefix+want+tagSize <= len(w.p.b) {
		return nil
	}
	open := w.p.b[w.done:end]
	if err := w.out(); err != nil {
		return err
	}
	copy(w.p.b, open)
	return nil
}

// Flush seals what was written since the last chunk and writes it out.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if w.n > 0 {
		if err := w.chunk(nil); err != nil {
			return err
		}
	}
	return w.out()
}

// Buffered reports whether Flush would write anything.
func (w *Writer) Buffered() bool { return w.err == nil && w.done+w.n > 0 }

// Close writes the final chunk: without it the receiver knows that the
// message is incomplete. It does not close the destination.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if w.first && w.n > 0 {
		if err := w.chunk(nil); err != nil {
			return err
		}
	}
	if err := w.chunk(finalAAD); err != nil {
		return err
	}
	if err := w.out(); err != nil {
		return err
	}
	w.Abort(errClosed)
	return nil
}

// Abort gives the buffers back without a final chunk; later calls return err.
func (w *Writer) Abort(err error) {
	if w.err == nil {
		w.err = err
	}
	w.p.put()
	w.done, w.n = 0, 0
}

func (w *Writer) fail(err error) error {
	w.Abort(err)
	return w.err
}

// chunk seals the open chunk in place and prints its length before it.
func (w *Writer) chunk(aad []byte) error {
	if w.chunks++; w.chunks > maxCount {
		return w.fail(ohttp.ErrLimit)
	}
	if err := w.fit(0); err != nil { // a final chunk may be empty and the buffer full
		return err
	}
	w.first = false
	start := w.done + prefix
	ct, err := w.seal(aad, w.p.b[start:start+w.n])
	if err != nil {
		return w.fail(err)
	}
	length := uint64(len(ct))
	if aad != nil {
		length = 0
	}
	at := putVarint(w.p.b[w.done:], length)
	// The ciphertext lies where it was sealed, or one to three bytes too far
	// to the right when its length prints short.
	if to := w.p.b[w.done+at:]; &to[0] != &ct[0] {
		copy(to, ct)
	}
	w.done += at + len(ct)
	w.n = 0
	return nil
}

func (w *Writer) out() error {
	if w.done == 0 {
		return nil
	}
	n, err := w.dst.Write(w.p.b[:w.done])
	if err == nil && n < w.done {
		err = io.ErrShortWrite
	}
	if err != nil {
		return w.fail(err)
	}
	w.done = 0
	return nil
}

// putVarint prints v in its shortest form and returns the size of that.
func putVarint(b []byte, v uint64) int {
	switch {
	case v < 1<<6:
		b[0] = byte(v)
		return 1
	case v < 1<<14:
		binary.BigEndian.PutUint16(b, uint16(v)|1<<14)
		return 2
	default:
		binary.BigEndian.PutUint32(b, uint32(v)|2<<30)
		return 4
	}
}

// Size returns how many bytes n bytes of plaintext become, preface excluded,
// when they are written without a Flush and without split.
func Size(n int64) int64 {
	full := max(n-1, 0) / maxChunk
	return full*(prefix+maxSeal) + 1 + (n - full*maxChunk) + tagSize
}
