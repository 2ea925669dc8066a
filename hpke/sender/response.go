// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/stream"
)

// A ResponseReader reads the answer of one node. What Read delivers was opened
// and checked, frame by frame; the end of the answer is io.EOF, which comes only
// after the final frame. Every other error is final too: [ErrTruncated],
// [ErrRefused], [ErrLimit], or one with a Code of its own from the layer below.
type ResponseReader struct {
	o       *stream.Opener
	index   int
	pending []byte
	final   bool
}

// OpenResponse reads the preface of the answer from rd, and nothing else yet.
// An answer that ends inside is [ErrShort]. One that names no candidate, or
// that arrives before the body was closed, is [ErrRefused]: no node answers
// what it has not seen to its end.
//
// The reader takes no byte behind the final frame from rd.
func (r *Request) OpenResponse(rd io.Reader) (*ResponseReader, error) {
	var preface [hpke.PrefaceSize]byte
	if _, err := io.ReadFull(rd, preface[:]); err != nil {
		return nil, hpke.ReadError(err, ErrShort)
	}
	requestHash := r.requestHash.Load()
	index := int(preface[1])
	if requestHash == nil || preface[0] != hpke.Version || index >= len(r.secrets) {
		return nil, ErrRefused
	}
	entry := &r.header.Entries[index]
	answer := stream.Answer{
		Secret: r.secrets[index], Enc: entry.Enc, Nonce: [32]byte(preface[2:]),
		HeaderHash: r.hash, RequestHash: *requestHash, NodeID: entry.NodeID, Index: preface[1],
	}
	key, err := answer.Key()
	if err != nil {
		return nil, err
	}
	return &ResponseReader{o: stream.NewOpener(rd, key, nil, responseBounds, r.limit), index: index}, nil
}

func responseBounds(n int, _, _ bool) bool { return n >= 4 }

// Index is the position of the node among the candidates, as the preface has
// it. It is true once Read has delivered a byte or io.EOF.
func (r *ResponseReader) Index() int { return r.index }

// Read delivers what the node has sent, at most one frame at a time.
func (r *ResponseReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.pending)
	r.pending = r.pending[n:]
	return n, nil
}

// WriteTo writes the rest of the answer to w, a frame at a time and uncopied.
func (r *ResponseReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := r.fill(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(r.pending)
		total += int64(n)
		r.pending = r.pending[n:]
		if err != nil {
			return total, err
		}
	}
}

// fill opens frames until one has data: dummies have none.
func (r *ResponseReader) fill() error {
	for len(r.pending) == 0 {
		if r.final {
			return r.o.Fail(io.EOF)
		}
		plaintext, final, err := r.o.Next()
		if err != nil {
			return err
		}
		n := uint64(binary.BigEndian.Uint32(plaintext))
		if n > uint64(len(plaintext)-4) || !zero(plaintext[4+n:]) {
			return r.o.Fail(ErrRefused)
		}
		r.pending, r.final = plaintext[4:4+n], final
	}
	return nil
}

// zero reports whether the padding is zeros, as the node must have written it:
// padding that may be anything is a channel.
func zero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

var zeros [hpke.MaxFrame]byte // never written

// ResponseFrameSize is the size in bytes on the wire of a response frame of
// `frame` bytes of plaintext, which carries at most frame-4 bytes of data.
func ResponseFrameSize(frame int) int { return hpke.FrameHeader + frame + hpke.TagSize }
