// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package encap

import (
	"bytes"
	"io"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/internal/stream"
)

// A ResponseReader delivers the plaintext of one chunked answer as it comes.
// It returns io.EOF only after the final chunk was verified; before that every
// byte is authentic and the message is incomplete. Its errors:
//
//   - [ErrShort]: the answer ended before its nonce did;
//   - [ErrTruncated]: it ended, or its connection broke (the cause can be
//     found with errors.Is), before its final chunk was verified;
//   - [ErrRefused]: a chunk did not open, was empty, or was too large.
//
// A reader that failed stays failed, and delivers nothing after the fault.
type ResponseReader struct {
	s  *seal
	r  *stream.Reader
	up bool
}

func newResponseReader(s *seal, rd io.Reader) *ResponseReader {
	return &ResponseReader{s: s, r: stream.NewReader(rd)}
}

// Read implements io.Reader.
func (r *ResponseReader) Read(p []byte) (int, error) {
	if !r.up {
		if err := r.start(); err != nil {
			return 0, err
		}
	}
	return r.r.Read(p)
}

// Close gives the buffers back. A reader that has not reached its end reads as
// cut from here on. It does not close the source.
func (r *ResponseReader) Close() error {
	r.r.Release()
	return nil
}

func (r *ResponseReader) start() error {
	nonce, err := r.r.Preface(stream.NonceSize(r.s.suite))
	if err != nil {
		return err
	}
	if bytes.HasPrefix(r.s.header, nonce) {
		// Our own request, sent back. It would not open either, but what it
		// has where a length belongs could make it look merely cut.
		return r.r.Refuse()
	}
	keys, err := stream.NewResponseKeys(r.s.suite, r.s.secret, r.s.enc, nonce)
	if err != nil {
		return err
	}
	r.r.Start(keys.Open)
	r.up = true
	return nil
}

// A Sealed is a whole request (RFC 9458) that was sealed: what opens its
// answer.
type Sealed struct{ s *seal }

// Seal seals one whole message for the gateway key c. The result is the body
// of a request of type [ohttp.TypeRequest].
func Seal(c *ohttp.KeyConfig, suite hpke.Suite, message []byte) ([]byte, *Sealed, error) {
	s, err := setup(c, suite, ohttp.Whole)
	if err != nil {
		return nil, nil, err
	}
	ct, err := s.ctx.Seal(nil, message)
	if err != nil {
		return nil, nil, err
	}
	return append(s.header, ct...), &Sealed{s}, nil
}

// Open opens the body of an answer of type [ohttp.TypeResponse]. One that is
// shorter than nonce and tag is [ErrShort]; one that does not open is
// [ErrRefused].
func (s *Sealed) Open(answer []byte) ([]byte, error) {
	n := stream.NonceSize(s.s.suite)
	if len(answer) < n+s.s.suite.TagSize() {
		return nil, ohttp.ErrShort
	}
	keys, err := stream.NewResponseKeys(s.s.suite, s.s.secret, s.s.enc, answer[:n])
	if err != nil {
		return nil, err
	}
	return keys.Open(nil, bytes.Clone(answer[n:]))
}
