// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"hash"
	"io"
	"sync"

	"github.com/sotto-project/sotto/hpke"
)

// finalBit marks the last frame in the length that precedes it.
const finalBit = 1 << 31

// A Buffer holds one frame of any kind: four bytes of header, ciphertext, tag.
type Buffer [hpke.FrameHeader + hpke.MaxFrame + hpke.TagSize]byte

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// GetBuffer takes a Buffer of zeros from the pool.
func GetBuffer() *Buffer { return buffers.Get().(*Buffer) }

// PutBuffer erases b, of which the first `used` bytes were written to, and gives
// it back. It does nothing for nil.
func PutBuffer(b *Buffer, used int) {
	if b != nil {
		clear(b[:used])
		buffers.Put(b)
	}
}

// Plain is the room for plaintext in a frame that is being built.
func (b *Buffer) Plain() []byte {
	return b[hpke.FrameHeader : hpke.FrameHeader+hpke.MaxFrame]
}

// counter gives one nonce a frame, and stops before the limit.
type counter struct {
	key   *Key
	nonce [nonceSize]byte
	n     uint64
	limit uint64
}

// next sets nonce to base XOR n; it is the nonce of one frame only.
func (c *counter) next() error {
	if c.n >= c.limit {
		return hpke.ErrLimit
	}
	c.nonce = c.key.base
	for i := range 8 {
		c.nonce[nonceSize-1-i] ^= byte(c.n >> (8 * i))
	}
	c.n++
	return nil
}

// A Sealer writes frames. After its first error, and after the final frame, it
// refuses everything with the same error.
type Sealer struct {
	w   io.Writer
	c   counter
	h   hash.Hash // of all frames, or nil
	err error
}

// NewSealer returns a Sealer that writes to w, adding what it writes to h
// unless that is nil. A limit of 0 is hpke.MaxFrames; tests have smaller ones.
func NewSealer(w io.Writer, k *Key, h hash.Hash, limit uint64) *Sealer {
	if limit == 0 {
		limit = hpke.MaxFrames
	}
	return &Sealer{w: w, h: h, c: counter{key: k, limit: limit}}
}

// Err is the error that ended the stream, or nil.
func (s *Sealer) Err() error { return s.err }

// Fail ends the stream with err, if it has not ended.
func (s *Sealer) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Seal seals plaintext, which is a prefix of buf.Plain() or lies elsewhere, in
// buf. The frame is ready to be written by Write.
func (s *Sealer) Seal(buf *Buffer, plaintext []byte, final bool) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.err = s.c.next(); s.err != nil {
		return nil, s.err
	}
	n := uint32(len(plaintext) + hpke.TagSize)
	if final {
		n |= finalBit
	}
	head := buf[:hpke.FrameHeader]
	binary.BigEndian.PutUint32(head, n)
	frame := s.c.key.aead.Seal(head, s.c.nonce[:], plaintext, head)
	if s.h != nil {
		s.h.Write(frame)
	}
	return frame, nil
}

// Write writes a sealed frame in one call of the writer below.
func (s *Sealer) Write(frame []byte) error {
	if s.err == nil {
		_, s.err = s.w.Write(frame)
	}
	return s.err
}

// An Opener reads frames. After its first error it returns that error only.
type Opener struct {
	r      io.Reader
	c      counter
	h      hash.Hash // of all frames, or nil
	bounds func(n int, first, final bool) bool
	buf    *Buffer
	err    error
}

// NewOpener returns an Opener that reads from r and never past the final frame,
// adding what it reads to h unless that is nil. Bounds says whether a plaintext
// of n bytes may be in such a frame, and is asked before the frame is read.
func NewOpener(r io.Reader, k *Key, h hash.Hash, bounds func(n int, first, final bool) bool, limit uint64) *Opener {
	if limit == 0 {
		limit = hpke.MaxFrames
	}
	return &Opener{r: r, h: h, bounds: bounds, c: counter{key: k, limit: limit}}
}

// Fail ends the stream with err and returns it.
func (o *Opener) Fail(err error) error {
	o.err = err
	PutBuffer(o.buf, len(Buffer{}))
	o.buf = nil
	return err
}

// Next opens the next frame. The plaintext is valid until the next call. After
// the final frame the caller ends the stream with Fail(io.EOF).
func (o *Opener) Next() (plaintext []byte, final bool, err error) {
	if o.err != nil {
		return nil, false, o.err
	}
	if err := o.c.next(); err != nil {
		return nil, false, o.Fail(err)
	}
	if o.buf == nil {
		o.buf = GetBuffer()
	}
	head := o.buf[:hpke.FrameHeader]
	if _, err := io.ReadFull(o.r, head); err != nil {
		return nil, false, o.Fail(hpke.ReadError(err, hpke.ErrTruncated))
	}
	n := binary.BigEndian.Uint32(head)
	final = n&finalBit != 0
	size := int(n &^ finalBit)
	if size < hpke.TagSize || size-hpke.TagSize > hpke.MaxFrame || !o.bounds(size-hpke.TagSize, o.c.n == 1, final) {
		return nil, false, o.Fail(hpke.ErrRefused)
	}
	frame := o.buf[:hpke.FrameHeader+size]
	ciphertext := frame[hpke.FrameHeader:]
	if _, err := io.ReadFull(o.r, ciphertext); err != nil {
		return nil, false, o.Fail(hpke.ReadError(err, hpke.ErrTruncated))
	}
	if o.h != nil {
		o.h.Write(frame) // before it is opened in place
	}
	if final {
		plaintext, err = o.openFinal(head, ciphertext)
	} else {
		plaintext, err = o.c.key.aead.Open(ciphertext[:0], o.c.nonce[:], ciphertext, head)
	}
	if err != nil {
		return nil, false, o.Fail(refusal(err))
	}
	return plaintext, final, nil
}

// openFinal opens a frame that says it is the last one. If it is not genuine as
// such but is as an inner one, somebody cut the stream behind it and set the
// flag: that is a truncation, and is called one. For this the ciphertext must
// survive the first try, so it is opened into another buffer.
func (o *Opener) openFinal(head, ciphertext []byte) ([]byte, error) {
	out := GetBuffer()
	plaintext, err := o.c.key.aead.Open(out[:0], o.c.nonce[:], ciphertext, head)
	if err == nil {
		PutBuffer(o.buf, len(Buffer{}))
		o.buf = out
		return plaintext, nil
	}
	head[0] &^= finalBit >> 24
	if _, err = o.c.key.aead.Open(out[:0], o.c.nonce[:], ciphertext, head); err == nil {
		err = hpke.ErrTruncated
	}
	PutBuffer(out, len(Buffer{}))
	return nil, err
}

// refusal gives every failure but the known truncation one face.
func refusal(err error) error {
	if err == hpke.ErrTruncated {
		return err
	}
	return hpke.ErrRefused
}
