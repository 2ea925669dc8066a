// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/sotto-project/sotto/internal/httpx"
)

// upload is the body of the request to candidate i: its forwarded header, the
// peeked part, and the rest from the client. No other upload of the job may be
// running, because they share the job's buffer.
func (j *job) upload(i int, body io.Reader) io.ReadCloser {
	n := j.forwardedSize()
	j.out.Index, j.out.Entry = uint8(i), j.header.Entries[i]
	j.out.Append(j.buf[:0])
	head := j.buf[:n+j.peeked]
	if j.ended {
		return httpx.InMemory(bytes.Clone(head))
	}
	j.up = &upload{head: head, rest: body}
	return j.up
}

// whole stops the upload, if one is under way, and reports whether the body can
// be given to another candidate.
func (j *job) whole() bool { return j.up == nil || j.up.stop() }

// An upload is a body that goes on behind the job's buffer. The transport reads
// it in a goroutine of its own and may still hold it when the node has
// answered, hence the lock.
type upload struct {
	rest io.Reader

	mu      sync.Mutex
	head    []byte // what is left of the buffer's part
	stopped bool
	touched bool // the rest was read from
}

var errStopped = errors.New("router: upload stopped")

// Read implements [io.Reader] for the transport.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	if u.stopped {
		u.mu.Unlock()
		return 0, errStopped
	}
	if len(u.head) > 0 {
		n := copy(p, u.head)
		u.head = u.head[n:]
		u.mu.Unlock()
		return n, nil
	}
	u.touched = true
	u.mu.Unlock() // the client may be slow: stop must not wait for it
	return u.rest.Read(p)
}

// Close is called by the transport when it needs no more. The client's body is
// the server's to close.
func (u *upload) Close() error {
	u.stop()
	return nil
}

// spent reports whether the transport has taken all that was in the buffer.
func (u *upload) spent() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.head) == 0
}

// stop makes every later Read fail and reports whether the client's part is
// still whole, so that another node can get it. The job's buffer is free then.
func (u *upload) stop() (untouched bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped, u.head = true, nil
	return !u.touched
}

// unsent reports whether err says that no connection to the right node was
// made, so that no byte of the request can have reached one.
func unsent(err error) bool {
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &cert)
}

var errTooLong = errors.New("router: answer is too long")

// capped fails, rather than ends, at its limit: an answer that is cut must not
// look complete.
type capped struct {
	src  io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLong
	}
	return n, err
}
