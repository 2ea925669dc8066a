// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package recipient

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/fresh"
	"github.com/sotto-project/sotto/hpke/internal/stream"
)

var (
	errUnread   = errors.New("respond: the request was not read to its end")
	errAnswered = errors.New("respond: a request has one response")
	errFinal    = errors.New("respond: the final frame was written")
	errFrame    = errors.New("respond: data does not fit the frame")
)

// Respond begins the answer: it draws the response nonce and prepares the
// preface, which leaves with the first frame. It is an error before the body's
// reader has seen the final frame, and a second time. A failing random number
// generator is [ErrRandomness].
func (r *Request) Respond(w io.Writer) (*ResponseWriter, error) {
	return r.respond(w, fresh.System)
}

func (r *Request) respond(w io.Writer, source *fresh.Source) (*ResponseWriter, error) {
	if r.body == nil || !r.body.done {
		return nil, errUnread
	}
	if r.answered {
		return nil, errAnswered
	}
	// The request hash is the hedge: two requests get two nonces, whatever the
	// generator does.
	nonce, err := source.Draw("sotto sr v1 draw response", r.forwarded.Common.Epoch, r.body.sum[:])
	if err != nil {
		return nil, err
	}
	r.answered = true
	return r.respondWith(w, nonce)
}

// respondWith makes the response of a given nonce.
func (r *Request) respondWith(w io.Writer, nonce [32]byte) (*ResponseWriter, error) {
	f := r.forwarded
	answer := stream.Answer{
		Secret: r.secret, Enc: f.Entry.Enc, Nonce: nonce,
		HeaderHash: r.hash, RequestHash: r.body.sum, NodeID: f.Entry.NodeID, Index: f.Index,
	}
	key, err := answer.Key()
	if err != nil {
		return nil, err
	}
	preface := make([]byte, 0, hpke.PrefaceSize)
	preface = append(append(preface, hpke.Version, f.Index), nonce[:]...)
	return &ResponseWriter{s: stream.NewSealer(&prefaced{w: w, preface: preface}, key, nil, r.limit)}, nil
}

// prefaced writes the preface in the same call as the first frame, so that a
// short answer is one packet; a large frame is not worth the copy.
type prefaced struct {
	w       io.Writer
	preface []byte
}

func (p *prefaced) Write(b []byte) (int, error) {
	if p.preface == nil {
		return p.w.Write(b)
	}
	preface := p.preface
	p.preface = nil
	if len(b) > 4096 {
		if _, err := p.w.Write(preface); err != nil {
			return 0, err
		}
		return p.w.Write(b)
	}
	n, err := p.w.Write(append(preface, b...))
	return max(0, n-hpke.PrefaceSize), err
}

// A ResponseWriter seals the answer in frames. Its errors are final, but for
// data that does not fit its frame.
type ResponseWriter struct {
	s *stream.Sealer
}

// WriteFrame writes one frame, in one call of the writer below:
//
//	struct {
//	    uint32 length;
//	    opaque data[length];
//	    uint8  zeros[frame - 4 - length];
//	} plaintext
//
// frame is the size of that plaintext in bytes, at most hpke.MaxFrame; 0 is a
// frame without zeros. Empty data makes a dummy, which the client skips. Data
// that does not fit (more than frame-4 or hpke.ChunkSize bytes) is an error and
// nothing is written. After the final frame every call is an error.
func (w *ResponseWriter) WriteFrame(data []byte, frame int, final bool) error {
	if err := w.s.Err(); err != nil {
		return err
	}
	if frame == 0 {
		frame = 4 + len(data)
	}
	if len(data) > hpke.ChunkSize || frame > hpke.MaxFrame || 4+len(data) > frame {
		return errFrame
	}
	buf := stream.GetBuffer()
	defer stream.PutBuffer(buf, FrameSize(frame))
	plaintext := buf.Plain()[:frame] // zero: buffers are erased when given back
	binary.BigEndian.PutUint32(plaintext, uint32(len(data)))
	copy(plaintext[4:], data)
	sealed, err := w.s.Seal(buf, plaintext, final)
	if err != nil {
		return err
	}
	if err := w.s.Write(sealed); err != nil {
		return err
	}
	if final {
		w.s.Fail(errFinal)
	}
	return nil
}

// FrameSize is the size in bytes on the wire of a frame of `frame` bytes of
// plaintext, which carries at most frame-4 bytes of data.
func FrameSize(frame int) int { return hpke.FrameHeader + frame + hpke.TagSize }
