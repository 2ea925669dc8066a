// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// problem is the body of an error: static but for its status and code.
func problem(kind string, status int, code string) []byte {
	b := make([]byte, 0, 128)
	b = append(append(append(b, `{"type":"`...), kind...), `","status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	return append(append(append(b, `,"code":"`...), code...), `"}`...)
}

// refuse answers with an error inside the encapsulation, where the relay
// cannot read it, and ends the request.
func (x *exchange) refuse(why *refusal) {
	if x.up == nil { // else its reader is the transport's
		x.rd.Close()
		settle(x.w, x.r)
	}
	kind := why.kind
	if kind == "" {
		kind = "about:blank"
	}
	head := &bhttp.ResponseHead{Status: why.status, Fields: []bhttp.Field{{Name: "content-type", Value: "application/problem+json"}}}
	if kind == ohttp.ProblemDate {
		// What a client corrects its clock by (RFC 9458, Section 6.5.2).
		head.Fields = append(head.Fields, bhttp.Field{Name: "date", Value: time.Now().UTC().Format(http.TimeFormat)})
	}
	if err := x.send(head, problem(kind, why.status, why.code)); err != nil {
		x.count(codeGone)
		return
	}
	x.count(why.code)
}

func (x *exchange) count(code string) { x.g.m.requests.Inc(code) }

// begin writes the outer header.
func (x *exchange) begin() {
	h := x.w.Header()
	h.Set("Content-Type", x.q.Form().ResponseType())
	h.Set("Cache-Control", "no-store")
	if x.q.Form() == ohttp.Chunked {
		h.Set(ohttp.IncrementalField, ohttp.IncrementalValue)
	}
	if x.overtaken() {
		// The rest of the request is still on its way: this connection has no
		// next one.
		h.Set("Connection", "close")
	}
}

// send writes a complete answer that is in memory. It goes out with its length:
// its end need not wait for that of a request which it has overtaken.
func (x *exchange) send(head *bhttp.ResponseHead, content []byte) error {
	x.begin()
	var out bytes.Buffer
	if x.q.Form() == ohttp.Chunked {
		out.Grow(512 + len(content))
		sealed, err := x.q.Respond(&out)
		if err != nil {
			return err
		}
		defer sealed.Abort() // nothing, after Close
		if err := write(sealed, head, content); err != nil {
			return err
		}
		if err := sealed.Close(); err != nil {
			return err
		}
	} else {
		var plain bytes.Buffer
		if err := write(&plain, head, content); err != nil {
			return err
		}
		sealed, err := x.q.SealWhole(plain.Bytes())
		if err != nil {
			return err
		}
		out.Write(sealed)
	}
	x.w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
	_, err := x.w.Write(out.Bytes())
	return err
}

func write(w io.Writer, head *bhttp.ResponseHead, content []byte) error {
	bw, err := bhttp.NewResponseWriter(w, head)
	if err != nil {
		return err
	}
	if _, err := bw.Write(content); err != nil {
		return err
	}
	return bw.Close(nil, 0)
}

// answer passes an origin's answer to the client.
func (x *exchange) answer(cancel context.CancelFunc, resp *http.Response) {
	head := &bhttp.ResponseHead{Status: resp.StatusCode, Fields: answerFields(resp.Header)}
	if n := resp.ContentLength; x.q.Form() == ohttp.Whole || n >= 0 && n <= pieceSize {
		x.answerAtOnce(head, resp.Body)
		return
	}
	x.begin()
	sealed, err := x.q.Respond(x.w)
	if err != nil {
		x.refuse(&refusal{status: http.StatusInternalServerError, code: codeOrigin})
		return
	}
	// An answer that is not closed has no final chunk: the client sees that it
	// is cut. Abort after Close does nothing.
	defer sealed.Abort()
	bw, err := bhttp.NewResponseWriter(sealed, head)
	if err != nil { // the origin answered outside HTTP
		sealed.Abort()
		x.refuse(&refusal{status: http.StatusBadGateway, code: codeOrigin})
		return
	}
	rc := http.NewResponseController(x.w)
	flush := func() error {
		if err := sealed.Flush(); err != nil {
			return err
		}
		return rc.Flush()
	}
	code := x.pump(cancel, resp.Body, bw, flush)
	if code == codeOK {
		if bw.Close(nil, 0) != nil || sealed.Close() != nil {
			code = codeGone
		}
	}
	x.count(code)
	if code == codeCut {
		flush()
	}
	if code != codeOK {
		httpx.Abort()
	}
}

// answerAtOnce is answer for what is short, or must be one message.
func (x *exchange) answerAtOnce(head *bhttp.ResponseHead, body io.Reader) {
	content, err := io.ReadAll(io.LimitReader(body, int64(x.g.cfg.MaxWhole)+1))
	switch {
	case err != nil:
		x.refuse(&refusal{status: http.StatusBadGateway, code: codeCut})
	case len(content) > x.g.cfg.MaxWhole:
		x.refuse(&refusal{status: http.StatusBadGateway, code: codeSize})
	case x.send(head, content) != nil:
		x.count(codeGone)
	default:
		x.g.m.out.Add(float64(len(content)))
		x.count(codeOK)
	}
}

// A piece is one read of an origin's answer.
type piece struct {
	buf *[pieceSize]byte
	n   int
	err error
}

const (
	// pieceSize and its length as binary HTTP prints it fit one chunk.
	pieceSize = ohttp.MaxChunk - 4
	// ahead is how many pieces are read ahead. It makes writes large where the
	// origin is faster than the client's side.
	ahead = 4
)

var pieceBuffers = sync.Pool{New: func() any { return new([pieceSize]byte) }}

func read(body io.Reader) piece {
	p := piece{buf: pieceBuffers.Get().(*[pieceSize]byte)}
	p.n, p.err = body.Read(p.buf[:])
	return p
}

// pump copies the origin's content to the client, and returns how that ended.
// Whenever nothing more is at hand, what was sealed is flushed: each token
// leaves at once, while a fast origin's content gathers into full chunks and
// large writes.
func (x *exchange) pump(cancel context.CancelFunc, body io.Reader, w io.Writer, flush func() error) string {
	p := read(body)
	full, stop := make(chan piece, ahead), make(chan struct{})
	go readAhead(body, full, stop)
	defer func() {
		// The reader owns body until it ends; pump waits for that.
		close(stop)
		cancel()
		for p := range full {
			pieceBuffers.Put(p.buf)
		}
	}()
	for {
		if code := x.piece(p, w); code != "" {
			return code
		}
		select {
		case p = <-full:
		default:
			if flush() != nil {
				return codeGone
			}
			p = <-full
		}
	}
}

// piece writes one piece, and returns how the answer ended if it did.
func (x *exchange) piece(p piece, w io.Writer) string {
	_, err := w.Write(p.buf[:p.n])
	x.g.m.out.Add(float64(p.n))
	pieceBuffers.Put(p.buf)
	switch {
	case err != nil:
		return codeGone
	case p.err == io.EOF:
		return codeOK
	case p.err != nil && x.r.Context().Err() != nil:
		return codeGone
	case p.err != nil:
		return codeCut
	}
	return ""
}

// readAhead reads body to its end, unless it is stopped.
func readAhead(body io.Reader, full chan<- piece, stop <-chan struct{}) {
	defer close(full)
	for {
		p := read(body)
		select {
		case full <- p:
		case <-stop:
			pieceBuffers.Put(p.buf)
			return
		}
		if p.err != nil {
			return
		}
	}
}
