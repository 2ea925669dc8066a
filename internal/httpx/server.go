// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package httpx holds what every HTTP face of Sotto shares: the one server,
// the one client transport, TLS from files, bounded bodies, static errors and
// a streaming copy.
//
// It uses the standard library only and knows no protocol of ours. It writes
// no log: net/http's own error log, which names peers, is discarded.
package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// HeaderTimeout is how long a peer may take for the header of a request
	// and for the TLS handshake.
	HeaderTimeout = 10 * time.Second
	// IdleTimeout is how long a server keeps a connection without a request.
	// It is longer than [NewTransport] keeps one, so that a client never sends
	// on a connection that its server is just closing.
	IdleTimeout = 120 * time.Second
	// BodyIdle is the window in which a request body must bring at least
	// 1 KiB or end (see [LimitBody]).
	BodyIdle = 30 * time.Second
	// WriteIdle bounds one write to a peer that does not read.
	WriteIdle = 60 * time.Second
	// MaxHeader is the longest request header in bytes (net/http adds a slop
	// of 4 KiB to what it is told).
	MaxHeader = 8 << 10
	// stopTimeout is how long [Serve] lets running requests end.
	stopTimeout = 10 * time.Second
)

// NewServer returns the only kind of server in the project: HTTP/1.1 alone,
// deadlines for header, handshake and idle connections, a bounded header, and
// no error log. Bodies are bounded by [LimitBody], by [DefaultBody] where a
// handler does not call it; writes by [Serve]. A handler may answer before it
// has read the whole request, and read on while it answers.
func NewServer(h http.Handler) *http.Server {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return &http.Server{
		Handler:                      bounded{h},
		Protocols:                    p,
		ReadHeaderTimeout:            HeaderTimeout,
		IdleTimeout:                  IdleTimeout,
		MaxHeaderBytes:               MaxHeader - 4096,
		ErrorLog:                     log.New(io.Discard, "", 0),
		DisableGeneralOptionsHandler: true,
	}
}

// Serve serves s on ln, which listens for plain TCP; with s.TLSConfig set the
// connections speak TLS. When ctx ends, Serve lets running requests finish for
// up to 10 s, then cuts them, and returns nil. Any other end is an error.
//
// Every write to a peer must make progress within [WriteIdle].
func Serve(ctx context.Context, ln net.Listener, s *http.Server) error {
	return serve(ctx, ln, s, WriteIdle, stopTimeout)
}

func serve(ctx context.Context, ln net.Listener, s *http.Server, writeIdle, stop time.Duration) error {
	var l net.Listener = &listener{ln, writeIdle}
	if s.TLSConfig != nil {
		l = tls.NewListener(l, s.TLSConfig)
	}
	stopped := make(chan struct{})
	served := make(chan struct{})
	go func() { // ends with Serve, which waits for it
		defer close(stopped)
		select {
		case <-served:
			return
		case <-ctx.Done():
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stop)
		defer cancel()
		if s.Shutdown(grace) != nil {
			s.Close()
		}
	}()
	err := s.Serve(l)
	close(served)
	<-stopped
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return err
}

// listener gives each accepted connection its write deadlines.
type listener struct {
	net.Listener
	writeIdle time.Duration
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, writeIdle: l.writeIdle}, nil
}

// A conn moves its deadlines forward as bytes flow, so that no stream needs a
// timer of its own. A deadline is set anew only after an eighth of its window,
// so a connection ends after 7/8 to 8/8 of it without progress.
type conn struct {
	net.Conn
	readIdle, writeIdle time.Duration // zero: the deadline belongs to somebody else

	// When the deadlines were last set, in Unix nanoseconds; foreign while
	// somebody else's is in force.
	readSet, writeSet atomic.Int64
}

const foreign = math.MaxInt64

func (c *conn) Read(b []byte) (int, error) {
	if c.readIdle > 0 {
		if now, set := time.Now(), c.readSet.Load(); set != foreign && now.UnixNano()-set > int64(c.readIdle/8) {
			c.readSet.Store(now.UnixNano())
			if err := c.Conn.SetReadDeadline(now.Add(c.readIdle)); err != nil {
				return 0, err
			}
		}
	}
	return c.Conn.Read(b)
}

func (c *conn) Write(b []byte) (int, error) {
	if c.writeIdle > 0 {
		if now, set := time.Now(), c.writeSet.Load(); set != foreign && now.UnixNano()-set > int64(c.writeIdle/8) {
			c.writeSet.Store(now.UnixNano())
			if err := c.Conn.SetWriteDeadline(now.Add(c.writeIdle)); err != nil {
				return 0, err
			}
		}
	}
	return c.Conn.Write(b)
}

// The deadlines that net/http and crypto/tls set themselves win; when they
// clear one, ours comes back with the next read or write. A server clears the
// write deadline after every request.

func (c *conn) SetReadDeadline(t time.Time) error {
	c.readSet.Store(owner(t))
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writeSet.Store(owner(t))
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.readSet.Store(owner(t))
	c.writeSet.Store(owner(t))
	return c.Conn.SetDeadline(t)
}

func owner(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return foreign
}

// CloseWrite lets net/http end a connection so that the peer can still read
// the last answer (a plain close may destroy it in flight).
func (c *conn) CloseWrite() error {
	if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return nil
}
