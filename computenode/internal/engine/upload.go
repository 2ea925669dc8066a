// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
)

// smallBody is how much of a body is collected before anything is sent: a
// request below it goes out in one piece, with its length.
const smallBody = 64 << 10

// An Upload is a request on its way to the engine. It ends with Finish or Abort.
// One goroutine uses it.
type Upload struct {
	c      *Client
	ctx    context.Context // of this one request, which the Upload is
	cancel context.CancelFunc
	path   string
	ended  bool

	buf    []byte
	pipe   *io.PipeWriter // nil until the body outgrew buf
	result chan result
}

type result struct {
	resp *http.Response
	err  error
}

// Begin begins a request. ctx ends it, and the engine's work on it, at any
// time up to the end of the answer. It sends nothing yet.
func (c *Client) Begin(ctx context.Context, path string) (*Upload, error) {
	if !Allowed(path) {
		return nil, errPath
	}
	ctx, cancel := context.WithCancel(ctx)
	return &Upload{c: c, ctx: ctx, cancel: cancel, path: path}, nil
}

// Write takes the next bytes of the JSON body. It fails when the engine has
// answered without reading on, or is gone: Finish then says which.
func (u *Upload) Write(p []byte) (int, error) {
	if u.pipe != nil {
		return u.pipe.Write(p)
	}
	if len(u.buf)+len(p) <= smallBody {
		u.buf = append(u.buf, p...)
		return len(p), nil
	}
	r, w := io.Pipe()
	u.pipe, u.result = w, make(chan result, 1)
	body := io.MultiReader(bytes.NewReader(u.buf), r)
	go func() { // ends with the request; Finish or Abort waits for it
		resp, err := u.c.transport.RoundTrip(u.request(readCloser{body, r}, -1))
		r.CloseWithError(io.ErrClosedPipe)
		u.result <- result{resp, err}
	}()
	return u.pipe.Write(p)
}

type readCloser struct {
	io.Reader
	io.Closer
}

func (u *Upload) request(body io.ReadCloser, length int64) *http.Request {
	r := &http.Request{
		Method: http.MethodPost,
		URL:    &url.URL{Scheme: "http", Host: "engine", Path: u.path},
		Host:   "localhost",
		Header: http.Header{
			"Content-Type": {"application/json"},
			"Accept":       {"application/json, text/event-stream"},
			"User-Agent":   {""},
		},
		Body: body, ContentLength: length,
	}
	return r.WithContext(u.ctx)
}

// Abort gives the request up. The engine sees a body that never ended, which
// no engine runs. After Finish it does nothing.
func (u *Upload) Abort() {
	if u.ended {
		return
	}
	u.ended = true
	u.cancel()
	if u.pipe != nil {
		u.pipe.CloseWithError(context.Canceled)
		if r := <-u.result; r.resp != nil {
			r.resp.Body.Close()
		}
	}
}

// Finish ends the body and waits for the head of the answer. Errors are
// *[Error], or the context's if that ended.
func (u *Upload) Finish() (*Answer, error) {
	if u.ended {
		return nil, context.Canceled
	}
	u.ended = true
	var r result
	if u.pipe == nil {
		req := u.request(io.NopCloser(bytes.NewReader(u.buf)), int64(len(u.buf)))
		// Lets the transport use another connection if this one was closed
		// while idle; a request of which a byte was written is never repeated.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(u.buf)), nil }
		r.resp, r.err = u.c.transport.RoundTrip(req)
	} else {
		u.pipe.Close()
		r = <-u.result
	}
	if r.err != nil {
		defer u.cancel()
		return nil, u.reason(r.err)
	}
	a, err := newAnswer(u, r.resp)
	if err != nil {
		u.cancel()
		r.resp.Body.Close()
		return nil, err
	}
	return a, nil
}

// reason says what a transport's error means, without its text.
func (u *Upload) reason(err error) error {
	if u.ctx.Err() != nil {
		return u.ctx.Err()
	}
	var t interface{ Timeout() bool }
	if errors.As(err, &t) && t.Timeout() {
		return ErrSilent
	}
	return ErrUnreachable
}
