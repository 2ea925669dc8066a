// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/encap"
)

// A producer writes what one exchange encapsulates. It is called once.
type producer interface {
	produce(outer *encap.Request) error
	streams() bool // too large to be made in memory
}

// exchange encapsulates what p produces to the statement's gateway key, sends
// it through a relay drawn for this exchange, and returns the answer, unopened.
func (c *Client) exchange(ctx context.Context, w *world, p producer) (*answer, error) {
	relay, err := c.pickRelay()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, relay.JoinPath("/ohttp").String(), nil)
	if err != nil {
		return nil, refuse(CodeRelay, "%v", err)
	}
	req.Header = http.Header{
		"Content-Type":         {ohttp.TypeChunkedRequest},
		ohttp.IncrementalField: {ohttp.IncrementalValue},
		"User-Agent":           nil, // Go would add its own
	}
	fill := inMemory
	if p.streams() {
		fill = streaming
	}
	outer, err := fill(req, w, p)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		err = sendError(ctx, err)
		relay.note(err, c.cfg.Now())
		return nil, err
	}
	a := &answer{resp: resp, outer: outer}
	if err := a.check(); err != nil {
		relay.note(err, c.cfg.Now())
		a.Close()
		return nil, err
	}
	return a, nil
}

// inMemory makes the encapsulated request before anything is dialled, and
// sends it in one write with its length.
func inMemory(req *http.Request, w *world, p producer) (*encap.Request, error) {
	buf := bytes.NewBuffer(make([]byte, 0, firstStep))
	outer, err := encapsulate(buf, w, p)
	if err != nil {
		return nil, err
	}
	b := buf.Bytes()
	req.ContentLength = int64(len(b))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	req.Body, _ = req.GetBody()
	return outer, nil
}

func encapsulate(dst io.Writer, w *world, p producer) (*encap.Request, error) {
	outer, err := encap.NewRequest(dst, w.gateway, w.suite)
	if err != nil {
		return nil, refuse("suite", "%v", err)
	}
	if err := p.produce(outer); err != nil {
		outer.Abort()
		return nil, err
	}
	return outer, outer.Close()
}

// streaming produces while the request is being sent. The transport closes the
// body when it is done with it, which ends the producer.
func streaming(req *http.Request, w *world, p producer) (*encap.Request, error) {
	pr, pw := io.Pipe()
	outer, err := encap.NewRequest(pw, w.gateway, w.suite)
	if err != nil {
		return nil, refuse("suite", "%v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := p.produce(outer)
		if err == nil {
			err = outer.Close()
		} else {
			outer.Abort()
		}
		pw.CloseWithError(err)
	}()
	req.Body = &pipeBody{PipeReader: pr, done: done}
	return outer, nil
}

type pipeBody struct {
	*io.PipeReader
	done chan struct{}
}

// bodyPiece is how much of a streaming body is handed to the transport at a
// time, in bytes. The transport sends each piece as one chunk of HTTP; with its
// 8 bytes of framing this one fills two TLS records and spills into no third.
const bodyPiece = 32<<10 - 8

// Read fills p, up to bodyPiece, unless the body ends.
func (b *pipeBody) Read(p []byte) (n int, err error) {
	p = p[:min(len(p), bodyPiece)]
	for n < len(p) && err == nil {
		var m int
		m, err = b.PipeReader.Read(p[n:])
		n += m
	}
	return n, err
}

// Close ends the producer and waits for it, so that nothing reads the
// application's body after the request ended.
func (b *pipeBody) Close() error {
	err := b.PipeReader.CloseWithError(io.ErrClosedPipe)
	<-b.done
	return err
}

// sendError says why an exchange had no answer. Transport errors name
// addresses; only their last part is kept.
func sendError(ctx context.Context, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return afterSending(own) // the body failed while it was being sealed and sent
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	e := &Error{Code: CodeRelay, Detail: "the relay could not be reached: " + scrub(err), Sent: true}
	if errors.As(err, &op) && op.Op == "dial" || errors.As(err, &cert) {
		e.Sent = false
	}
	return e.hint("try again; another relay may be drawn")
}

// scrub cuts the parts of a transport error that name addresses.
func scrub(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		return s[i+2:]
	}
	return s
}

// problem is the static error body that gateway, router and node send outside
// the seal.
type problem struct {
	Code string `json:"code"`
}

// parseProblem returns the code of a problem body, or fallback. Whatever a
// server wrote is cut to the shape of a code before anybody sees it.
func parseProblem(r io.Reader, fallback string) string {
	var p problem
	b, err := io.ReadAll(io.LimitReader(r, 4<<10))
	if err != nil || json.Unmarshal(b, &p) != nil || !validCode(p.Code) {
		return fallback
	}
	return p.Code
}

func validCode(s string) bool {
	if s == "" || len(s) > 40 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && r != '.' {
			return false
		}
	}
	return true
}
