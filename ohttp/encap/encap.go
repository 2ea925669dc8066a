// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package encap is the client's half of Oblivious HTTP: it seals requests to a
// gateway's key and opens the answers, in the chunked form of
// draft-ietf-ohai-chunked-ohttp-08 and in the whole form of RFC 9458.
//
// It is pure but for the randomness that sealing needs: it dials nothing, and
// it does not know what a request says. It holds no private key.
package encap

import (
	"io"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/internal/stream"
)

// The refusals of an answer; see package ohttp. ErrShort is a case of
// ErrTruncated.
var (
	ErrTruncated = ohttp.ErrTruncated // code stream.truncated
	ErrRefused   = ohttp.ErrRefused   // code stream.auth
	ErrShort     = ohttp.ErrShort     // code stream.short
	ErrSuite     = ohttp.ErrSuite     // code suite
)

// A seal is what both forms share: the context of one request, and what opens
// the answer to it and to nothing else.
type seal struct {
	suite  hpke.Suite
	ctx    *sender.Context
	header []byte // header || enc
	enc    []byte
	secret []byte
}

// setup refuses a suite that the key does not list. Which suites a client
// wants at all is [ohttp.KeyConfig.Suite]'s to say; there is no fallback here.
func setup(c *ohttp.KeyConfig, s hpke.Suite, f ohttp.Form) (*seal, error) {
	if c == nil || c.Key == nil || !c.Permits(s) {
		return nil, ohttp.ErrSuite
	}
	h := ohttp.Header{KeyID: c.ID, Suite: s}
	enc, ctx, err := sender.Setup(s, c.Key, h.Info(f))
	if err != nil {
		return nil, err
	}
	secret, err := ctx.Export([]byte(f.ResponseLabel()), stream.NonceSize(s))
	if err != nil {
		return nil, err
	}
	header := h.Append(make([]byte, 0, ohttp.HeaderSize+len(enc)))
	header = append(header, enc...)
	return &seal{suite: s, ctx: ctx, header: header, enc: header[ohttp.HeaderSize:], secret: secret}, nil
}

// A Request is one chunked request being sealed: an io.Writer of its plaintext
// (binary HTTP). It is not safe for concurrent use; its answer may be read by
// another goroutine.
type Request struct {
	s *seal
	w *stream.Writer
}

// NewRequest starts a chunked request for the gateway key c, written to w as
// it fills: header and encapsulated key, then chunks of [ohttp.MaxChunk] bytes
// but the last. A suite that c does not list is [ErrSuite].
func NewRequest(w io.Writer, c *ohttp.KeyConfig, suite hpke.Suite) (*Request, error) {
	s, err := setup(c, suite, ohttp.Chunked)
	if err != nil {
		return nil, err
	}
	return &Request{s: s, w: stream.NewWriter(w, s.header, false, s.ctx.Seal)}, nil
}

// Write seals p. Nothing is written out before a buffer of several chunks is
// full, Flush, or Close.
func (r *Request) Write(p []byte) (int, error) { return r.w.Write(p) }

// Flush ends the current chunk early and writes it out. Chunk borders show on
// the wire: a client that hides sizes does not flush.
func (r *Request) Flush() error { return r.w.Flush() }

// Close writes the final chunk, without which the gateway refuses the request
// as cut. It does not close the writer beneath.
func (r *Request) Close() error { return r.w.Close() }

// Abort gives the request up: the gateway will see it cut.
func (r *Request) Abort() { r.w.Abort(ohttp.ErrTruncated) }

// Response opens the answer to this request from rd, the body of a response of
// type [ohttp.TypeChunkedResponse]. It may be called once the request is
// under way, and reads nothing itself.
func (r *Request) Response(rd io.Reader) *ResponseReader {
	return newResponseReader(r.s, rd)
}

// Size returns the size in bytes of a chunked request of n bytes of plaintext
// that is written without Flush, header and encapsulated key included.
func Size(s hpke.Suite, n int64) int64 {
	return int64(ohttp.HeaderSize+s.EncSize()) + stream.Size(n)
}
