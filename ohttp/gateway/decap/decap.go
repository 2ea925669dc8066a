// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package decap is the gateway's half of Oblivious HTTP: it opens encapsulated
// requests and seals their answers, in the chunked form of
// draft-ietf-ohai-chunked-ohttp-08 and in the whole form of RFC 9458.
//
// It holds no policy: which suites are acceptable, what was seen before and
// where a request may go are the role's questions (ohttp/gateway). It dials
// nothing, logs nothing and reads no clock.
package decap

import (
	"crypto/rand"
	"errors"
	"io"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/internal/stream"
)

// A Finder gives the private key that a header names, or the refusal: usually
// [ohttp.ErrKey] or [ohttp.ErrSuite].
type Finder func(ohttp.Header) (*recipient.PrivateKey, error)

// A Request is one encapsulated request being opened: an io.Reader of its
// plaintext (binary HTTP). It is not safe for concurrent use; its answer may
// be written by another goroutine.
type Request struct {
	header ohttp.Header
	form   ohttp.Form
	enc    []byte
	secret []byte
	r      *stream.Reader
}

// Open reads header and encapsulated key of a request in form f from src and
// opens its first chunk, so that a Request exists only for a message that was
// sealed to one of the gateway's keys. maxWhole bounds a message in the whole
// form, in bytes; a chunked one is bounded by whoever reads it.
//
// The errors of find are returned as they are. Everything else that is wrong
// with the message is [ohttp.ErrRefused], or wraps [ohttp.ErrTruncated] when
// it ended early: to the sender both must look the same.
func Open(src io.Reader, f ohttp.Form, maxWhole int, find Finder) (*Request, error) {
	q := &Request{form: f, r: stream.NewReader(src)}
	err := q.open(maxWhole, find)
	if err != nil {
		q.r.Release()
		return nil, err
	}
	return q, nil
}

func (q *Request) open(maxWhole int, find Finder) error {
	b, err := q.r.Preface(ohttp.HeaderSize)
	if err != nil {
		return err
	}
	if q.header, err = ohttp.ParseHeader(b); err != nil {
		return err
	}
	key, err := find(q.header)
	if err != nil {
		return err
	}
	b, err = q.r.Preface(q.header.Suite.EncSize())
	if err != nil {
		return err
	}
	q.enc = append(make([]byte, 0, len(b)), b...)
	ctx, err := recipient.Setup(q.header.Suite, key, q.enc, q.header.Info(q.form))
	if errors.Is(err, hpke.ErrSuite) {
		return ohttp.ErrSuite
	}
	if err != nil {
		return ohttp.ErrRefused
	}
	q.secret, err = ctx.Export([]byte(q.form.ResponseLabel()), stream.NonceSize(q.header.Suite))
	if err != nil {
		return ohttp.ErrRefused
	}
	if q.form == ohttp.Whole {
		return q.r.Whole(maxWhole, ctx.Open)
	}
	q.r.Start(ctx.Open)
	if err := q.r.Next(); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// Header returns the request's header.
func (q *Request) Header() ohttp.Header { return q.header }

// Enc returns the encapsulated key, which identifies the request: a second
// message with the same one is a replay. It must not be written to.
func (q *Request) Enc() []byte { return q.enc }

// Form returns the form of the request, and so of its answer.
func (q *Request) Form() ohttp.Form { return q.form }

// Read implements io.Reader. It returns io.EOF only after the final chunk was
// verified, and [ohttp.ErrTruncated] or [ohttp.ErrRefused] otherwise.
func (q *Request) Read(p []byte) (int, error) { return q.r.Read(p) }

// Release gives the buffers back; only the goroutine that reads may call it.
// The answer can still be written.
func (q *Request) Release() { q.r.Release() }

// keys draws the nonce of a response and derives its keys. The nonce is fresh
// for each call, so that answering a request twice repeats no key stream.
func (q *Request) keys() (nonce []byte, k *stream.ResponseKeys, err error) {
	nonce = make([]byte, stream.NonceSize(q.header.Suite))
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, err
	}
	k, err = stream.NewResponseKeys(q.header.Suite, q.secret, q.enc, nonce)
	return nonce, k, err
}

// SealWhole seals a whole answer (RFC 9458, Section 4.4).
func (q *Request) SealWhole(message []byte) ([]byte, error) {
	nonce, k, err := q.keys()
	if err != nil {
		return nil, err
	}
	at := len(nonce)
	out := make([]byte, at+len(message), at+len(message)+q.header.Suite.TagSize())
	copy(out, nonce)
	copy(out[at:], message)
	sealed, err := k.Seal(nil, out[at:])
	if err != nil {
		return nil, err
	}
	return out[:at+len(sealed)], nil
}

// A ResponseWriter seals one chunked answer: an io.Writer of its plaintext.
type ResponseWriter struct{ w *stream.Writer }

// Respond starts the chunked answer, written to w: the nonce, then chunks. An
// answer of one chunk is sent as that chunk and an empty final one.
func (q *Request) Respond(w io.Writer) (*ResponseWriter, error) {
	nonce, k, err := q.keys()
	if err != nil {
		return nil, err
	}
	return &ResponseWriter{stream.NewWriter(w, nonce, true, k.Seal)}, nil
}

// Write seals p. Nothing is written out before a buffer of several chunks is
// full, Flush, or Close.
func (w *ResponseWriter) Write(p []byte) (int, error) { return w.w.Write(p) }

// Flush ends the current chunk and writes it out.
func (w *ResponseWriter) Flush() error { return w.w.Flush() }

// Buffered reports whether Flush would write anything.
func (w *ResponseWriter) Buffered() bool { return w.w.Buffered() }

// Close writes the final chunk. It does not close the writer beneath.
func (w *ResponseWriter) Close() error { return w.w.Close() }

// Abort ends the answer without a final chunk: the client sees it cut.
func (w *ResponseWriter) Abort() { w.w.Abort(ohttp.ErrTruncated) }
