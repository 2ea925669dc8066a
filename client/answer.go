// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
)

// An answer is the relay's response while its layers are opened: encapsulation,
// outer message, route record, seal, inner message.
type answer struct {
	resp   *http.Response
	outer  *encap.Request
	chunks *encap.ResponseReader // opened encapsulation
	msg    *bhttp.Reader         // outer message
}

func (a *answer) Close() error { return a.resp.Body.Close() }

// outside are the codes with which a relay (docs/spec/relay.md) or a gateway
// (docs/spec/oblivious-http.md) may refuse outside the encapsulation. Anybody
// on the way can write there, so a router's or a node's word is not among
// them, and no verdict.
var outside = []string{
	"path", "media", "size", "slow", "truncated", "busy", "overload", "key", "suite", "refused",
	"gateway.unreachable", "gateway.answer", "gateway.timeout",
}

// check refuses what is no encapsulated answer. A relay and a gateway can say
// why only in a static code.
func (a *answer) check() error {
	media, _, _ := mime.ParseMediaType(a.resp.Header.Get("Content-Type"))
	if a.resp.StatusCode == http.StatusOK && media == ohttp.TypeChunkedResponse {
		return nil
	}
	if a.resp.StatusCode == http.StatusOK {
		return &Error{Code: "suite", Detail: "the answer is of media type " + strconv.Quote(media) + ", not " + ohttp.TypeChunkedResponse, Sent: true}
	}
	code := parseProblem(a.resp.Body, CodeRelay)
	if !slices.Contains(outside, code) {
		code = CodeRelay
	}
	return &Error{Code: code, Detail: "refused before the gateway opened it, status " + strconv.Itoa(a.resp.StatusCode), Sent: true}
}

// head opens the encapsulation and reads the outer message's head. A refusal
// by gateway or router becomes an [Error] with their code.
func (a *answer) head() error {
	a.chunks = a.outer.Response(a.resp.Body)
	a.msg = bhttp.NewReader(a.chunks, bhttp.Limits{})
	h, _, err := a.msg.ReadResponse()
	if err != nil {
		return streamError(err)
	}
	if h.Status != http.StatusOK {
		code := parseProblem(a.msg.Body(), "router.status")
		switch family, _, _ := strings.Cut(code, "."); family {
		case "att", "log", "key", "clock", "statement", "state": // verdicts are the client's own
			code = "router.status"
		}
		return &Error{Code: code, Detail: "refused by gateway, router or node, status " + strconv.Itoa(h.Status), Sent: true}
	}
	return nil
}

// open checks who answered and why, and returns the node's response.
func (a *answer) open(h *choice, p *parcel) (*http.Response, error) {
	sealed := p.sealed
	if err := a.head(); err != nil {
		return nil, err
	}
	b := make([]byte, wire.RouteRecordSize)
	if _, err := io.ReadFull(a.msg.Body(), b); err != nil {
		return nil, streamError(err)
	}
	record, err := wire.ParseRouteRecord(b)
	if err != nil {
		return nil, &Error{Code: CodeStreamAuth, Detail: "route record: " + err.Error(), Sent: true}
	}
	if err := h.draw.checkRoute(h.world, sealed.HeaderHash(), p.origin, p.attempt, record); err != nil {
		return nil, err
	}
	opened, err := sealed.OpenResponse(a.msg.Body())
	if err != nil {
		return nil, streamError(err)
	}
	if opened.Index() != int(record.Index) {
		return nil, &Error{Code: CodeCandidate, Detail: "the answer comes from another candidate than the route record says", Sent: true}
	}
	inner := bhttp.NewReader(opened, bhttp.Limits{})
	head, _, err := inner.ReadResponse()
	if err != nil {
		return nil, streamError(err)
	}
	h.index, h.skipped = int(record.Index), record.Skipped
	return &http.Response{
		Status:        strconv.Itoa(head.Status) + " " + http.StatusText(head.Status),
		StatusCode:    head.Status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        responseHeader(head.Fields),
		Body:          &body{answer: a, choice: h, parcel: p, inner: inner, layers: []io.Reader{inner.Body(), opened, a.msg.Body(), a.chunks}},
		ContentLength: -1,
	}, nil
}

// responseHeader keeps what an application needs of the node's answer.
func responseHeader(fields []bhttp.Field) http.Header {
	h := http.Header{}
	for _, f := range fields {
		switch f.Name {
		case "content-type", "retry-after", "x-request-id":
			h.Set(f.Name, f.Value)
		}
	}
	return h
}

// incompleteTrailer is how a node says, inside the seal, that its engine died
// under the answer (docs/spec/node.md, section 7).
const incompleteTrailer = "sotto-incomplete"

// A body streams an answer. It reports io.EOF only when every layer has ended
// with its own verified end, and once failed it stays failed.
type body struct {
	answer *answer
	choice *choice
	parcel *parcel
	cash   *cash // nil where nobody pays
	inner  *bhttp.Reader
	layers []io.Reader // innermost first
	err    error       // owned by the reader
	closed atomic.Bool // Close may come from another goroutine
	landed sync.Once   // cash was told that the exchange is over, or has taken it over
}

func (b *body) Read(p []byte) (int, error) {
	if b.err == nil && b.closed.Load() {
		b.err = &Error{Code: CodeTruncated, Detail: "read after close", Sent: true}
	}
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.layers[0].Read(p)
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		b.err = streamError(err)
	default:
		b.err = b.drain()
	}
	b.count(err)
	if n > 0 && b.err != io.EOF {
		return n, nil
	}
	return n, b.err
}

// drain reads the outer layers to their ends: nothing but padding may follow,
// and each end is authenticated.
func (b *body) drain() error {
	for _, t := range b.inner.Trailers() {
		if t.Name == incompleteTrailer {
			e := &Error{Code: "node.engine", Detail: "the node's engine stopped in the middle of the answer, which is not complete", Sent: true}
			return e.hint("send the request again")
		}
	}
	if b.cash != nil {
		return b.hand()
	}
	for _, l := range b.layers[1:] {
		if err := atEnd(l); err != nil {
			return err
		}
	}
	return io.EOF
}

// hand ends a paid answer at the node's final frame, which is where it ends for
// the application: the change behind it must not delay that (and nobody but the
// node could have sealed it). The rest is read beside the application.
func (b *body) hand() error {
	if err := atEnd(b.layers[1]); err != nil {
		return err
	}
	b.landed.Do(func() {
		b.parcel.detach()
		b.cash.collect(b)
	})
	return io.EOF
}

// release ends a paid exchange. It may be called more than once.
func (b *body) release() {
	b.parcel.release()
	b.answer.Close()
}

// atEnd reads r to its verified end and refuses bytes before it.
func atEnd(r io.Reader) error {
	var scratch [512]byte
	for {
		n, err := r.Read(scratch[:])
		switch {
		case n > 0:
			return &Error{Code: CodeStreamAuth, Detail: "bytes after the end of the answer", Sent: true}
		case err == io.EOF:
			return nil
		case err != nil:
			return streamError(err)
		}
	}
}

// count tells the steering statistic how the answer ended: cut is failed, by
// whomever. The application's own end of it, by Close or its context, is none.
func (b *body) count(err error) {
	switch {
	case b.err == io.EOF, b.closed.Load(), errors.Is(err, context.Canceled):
		b.choice.ended(nil)
	default:
		b.choice.ended(b.err)
	}
}

func (b *body) Close() error {
	b.closed.Store(true)
	defer b.choice.ended(nil) // if it has not ended before
	if b.cash == nil {
		return b.answer.Close()
	}
	// An answer that was not read to its end brings no change: it is asked for.
	b.landed.Do(func() {
		b.release()
		b.cash.landed(b.parcel.sealed.HeaderHash())
	})
	return nil
}

// streamError gives the errors of the layers beneath their codes. What a
// broken connection looks like to the application is one thing: the answer is
// not complete.
func streamError(err error) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, sender.ErrShort), errors.Is(err, encap.ErrShort):
		return &Error{Code: CodeStreamShort, Detail: "the answer ended inside its preface", Sent: true}
	case errors.Is(err, sender.ErrRefused), errors.Is(err, encap.ErrRefused):
		return &Error{Code: CodeStreamAuth, Detail: "the answer does not open: altered, reordered, or made for another request", Sent: true}
	}
	var f *bhttp.Error
	if errors.As(err, &f) && f.Code != "bhttp.truncated" {
		return &Error{Code: string(f.Code), Detail: "the answer is no binary HTTP message", Sent: true}
	}
	return (&Error{Code: CodeTruncated, Detail: "the answer ended before its verified end and is not complete", Sent: true}).hint("send the request again")
}
