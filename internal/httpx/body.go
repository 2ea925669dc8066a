// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Problem answers with a static problem document (RFC 9457) of type
// about:blank that carries a code from the specification and nothing else:
//
//	{"type":"about:blank","status":400,"code":"replay"}
//
// code must be a string literal of lower-case letters, digits and dots.
func Problem(w http.ResponseWriter, status int, code string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	b := make([]byte, 0, 96)
	b = append(b, `{"type":"about:blank","status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"code":"`...)
	b = append(b, code...)
	b = append(b, `"}`...)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b)
}

// Abort ends a handler whose answer is already under way and cannot be
// completed: the connection is cut, so that the peer sees a truncated message
// and not a complete one. It does not return.
func Abort() { panic(http.ErrAbortHandler) }

// DefaultBody is the longest body, in bytes, of a request whose handler did
// not call [LimitBody].
const DefaultBody = 64 << 10

// LimitBody sets the bounds of r.Body before a handler reads it: at most n
// bytes (then [TooLarge] errors), and at least 1 KiB, or the end, in every
// [BodyIdle] (then [TooSlow] errors). A body announced as longer than n fails
// on its first read.
func LimitBody(w http.ResponseWriter, r *http.Request, n int64) {
	LimitBodyIdle(w, r, n, BodyIdle)
}

// LimitBodyIdle is [LimitBody] with a window of the caller's choice.
func LimitBodyIdle(w http.ResponseWriter, r *http.Request, n int64, idle time.Duration) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b, ok := r.Body.(*body)
	if !ok {
		b = &body{raw: r.Body, w: w, known: r.ContentLength >= 0, left: r.ContentLength}
		r.Body = b
	}
	b.idle, b.src = idle, http.MaxBytesReader(w, b.raw, n)
	if r.ContentLength > n {
		b.src = refused{&http.MaxBytesError{Limit: n}}
		// Nobody will read it all, so nothing can follow it.
		w.Header().Set("Connection", "close")
	}
	// Armed before the first read: net/http drains a body that its handler
	// left alone, and a slow one would hold it there.
	b.arm()
}

// bounded gives every request the bounds of [LimitBody] before its handler
// runs, so that a handler that forgets, or answers without reading, is safe.
type bounded struct{ h http.Handler }

func (s bounded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 {
		// net/http hands HTTP/2's preface on as a request of its own (CR-33).
		w.Header().Set("Connection", "close")
		Problem(w, http.StatusHTTPVersionNotSupported, "version")
		return
	}
	if r.Body == nil || r.Body == http.NoBody {
		s.h.ServeHTTP(w, r)
		return
	}
	// An answer need not wait for the rest of the request: neither a refusal
	// nor one that streams. (HTTP/1 connections all can.)
	http.NewResponseController(w).EnableFullDuplex()
	// A copy, because net/http looks at the type of its own request's body to
	// decide whether the connection may carry another request. Behind a body
	// of ours it would take the unread rest of this one for the next.
	q := new(http.Request)
	*q = *r
	LimitBody(w, q, DefaultBody)
	b := q.Body.(*body)
	defer b.detach()
	s.h.ServeHTTP(w, q)
	b.detach()
	b.finish(r)
}

// detach makes b leave the connection's deadlines alone from now on. They are
// net/http's when a handler returns, which uses one to wake its own reader: a
// transport's goroutine that is still in Read must not clear that one.
func (b *body) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.detached = true
}

// deadline sets the connection's read deadline unless b is detached.
func (b *body) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.detached {
		// An error means that the writer has no connection beneath it (a
		// test's recorder): there is nobody to wait for then.
		http.NewResponseController(b.w).SetReadDeadline(t)
	}
}

// finish leaves the connection in a state that its next request can begin in.
// Were the body left to net/http, it would read on after it stopped watching
// the connection, and take what a slow peer sends later for a request.
func (b *body) finish(r *http.Request) {
	if b.ended.Load() {
		return
	}
	rc := http.NewResponseController(b.w)
	rc.Flush() // the peer has its answer while we wait for its rest
	if !b.begun.Load() && r.Header.Get("Expect") != "" {
		// It waits for our word to send, and gets the answer instead, with
		// which net/http closes the connection.
		rc.SetReadDeadline(time.Now())
		return
	}
	// Close reads a bounded rest. One that is longer ends the connection
	// gently; one that does not come ends it here.
	if err := b.raw.Close(); err != nil || b.broken.Load() {
		Abort()
	}
}

// BufferBody reads a body whose announced length is at most max bytes into
// memory, so that a transport sends it in one write with its header. Any other
// body stays a stream. Call [LimitBody] first.
func BufferBody(r *http.Request, max int64) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength < 0 || r.ContentLength > max {
		return nil
	}
	b := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	// Not pooled: a transport may read it for longer than it says.
	r.Body = InMemory(b)
	return nil
}

// InMemory returns b as a request body that a transport knows to be at hand: it
// does not send the header alone first.
func InMemory(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

// BodyErr returns the error by which reading r.Body failed, nil while it did
// not. It is for handlers that gave the body to a transport, whose own error
// may not say.
func BodyErr(r *http.Request) error {
	if b, ok := r.Body.(*body); ok {
		if err := b.failed.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// BodyProblem answers for a body that failed with err: 413 `size`, 408 `slow`,
// or 400 `truncated`. A peer that is gone does not hear it.
func BodyProblem(w http.ResponseWriter, err error) {
	switch {
	case TooLarge(err):
		Problem(w, http.StatusRequestEntityTooLarge, "size")
	case TooSlow(err):
		Problem(w, http.StatusRequestTimeout, "slow")
	default:
		Problem(w, http.StatusBadRequest, "truncated")
	}
}

// TooLarge reports whether err says that a body exceeded its limit.
func TooLarge(err error) bool {
	var e *http.MaxBytesError
	return errors.As(err, &e)
}

// TooSlow reports whether err says that a peer missed a deadline.
func TooSlow(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// minProgress is what a body must bring in every idle window, in bytes. One
// byte now and then is not progress: that is how slowloris holds a server.
const minProgress = 1 << 10

// body enforces the deadlines of [LimitBody]. Its one reader may be another
// goroutine than the handler's (a transport's), and may outlive it.
type body struct {
	raw   io.ReadCloser // as net/http gave it
	src   io.ReadCloser // raw, bounded
	w     http.ResponseWriter
	known bool  // the length was announced
	left  int64 // bytes to come, when known
	idle  time.Duration
	set   time.Time // when the deadline was last set
	got   int       // bytes since then
	done  bool

	begun  atomic.Bool           // somebody read
	ended  atomic.Bool           // to its end
	broken atomic.Bool           // closed before its end, which did not come
	failed atomic.Pointer[error] // the first error, for the handler

	mu       sync.Mutex // held while a deadline is set
	detached bool
}

func (b *body) Read(p []byte) (int, error) {
	if !b.begun.Load() {
		b.begun.Store(true)
	}
	n, err := b.src.Read(p)
	if err == io.EOF {
		b.ended.Store(true)
	}
	b.got += n
	b.left -= int64(n)
	switch {
	case b.done:
	case err != nil, b.known && b.left <= 0:
		// The deadline must not outlive the body: net/http goes on reading
		// the connection to learn that the peer went away. A body that
		// failed may be drained yet, so its deadline stays.
		if b.done = true; err == nil || err == io.EOF {
			b.deadline(time.Time{})
		} else {
			b.failed.Store(&err)
		}
	case b.got >= minProgress && time.Since(b.set) > b.idle/8:
		b.arm()
	}
	return n, err
}

func (b *body) arm() {
	b.got, b.set = 0, time.Now()
	b.deadline(b.set.Add(b.idle))
}

// Close reads a bounded rest, as net/http does. A transport calls it, too, and
// may do so long before the handler returns.
func (b *body) Close() error {
	err := b.raw.Close()
	if err == nil {
		b.deadline(time.Time{})
	} else {
		b.broken.Store(true)
	}
	return err
}

// refused is a body that was too long before its first byte.
type refused struct{ err error }

func (r refused) Read([]byte) (int, error) { return 0, r.err }
func (r refused) Close() error             { return nil }

// BufferSize is the size of the pooled copy buffers, in bytes: four TLS
// records' worth would copy little faster and hold twice the memory while a
// stream is silent.
const BufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([BufferSize]byte) }}

// Stream copies src into w until src ends, through one pooled buffer. It
// flushes whenever src has nothing more at hand (a read that did not fill the
// buffer), so each piece leaves at once while a fast stream is coalesced; what
// comes together with the end is left to net/http, which sends it in one write
// with the end of the message.
//
// Stream starts no goroutine. An error means that the answer is incomplete:
// call [Abort], or the peer takes it for complete.
func Stream(w http.ResponseWriter, src io.Reader) error {
	buf := buffers.Get().(*[BufferSize]byte)
	defer buffers.Put(buf)
	rc := http.NewResponseController(w)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n > 0 && n < len(buf):
			if err := rc.Flush(); err != nil {
				return err
			}
		}
	}
}
