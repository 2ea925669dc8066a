// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// The two content types that an engine may answer with.
const (
	JSON   = "application/json"
	Events = "text/event-stream"
)

// An Answer is what came back. Read it to io.EOF, then Close it.
type Answer struct {
	Status      int    // 200 to 299, or 400 to 599
	ContentType string // JSON or Events, without parameters
	Length      int64  // of the body in bytes, -1 if not known before the end

	up      *Upload
	resp    *http.Response
	idle    *time.Timer
	timeout atomic.Bool
	left    int64 // bytes the answer may still have

	// Events are passed in whole lines: an engine that dies inside one must not
	// leave half a line for an error event to be glued to.
	events bool
	bare   bool // no framing says where the answer ends
	line   []byte
	held   []byte // read, complete, not yet handed out
	tail   []byte // the last complete line
	err    error  // terminal
}

func newAnswer(u *Upload, resp *http.Response) (*Answer, error) {
	mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	ok := resp.StatusCode >= 200 && resp.StatusCode < 300
	switch {
	case !ok && (resp.StatusCode < 400 || resp.StatusCode > 599):
		return nil, ErrProtocol // a redirect leads nowhere
	case mt != JSON && mt != Events, resp.Header.Get("Content-Encoding") != "":
		return nil, ErrProtocol
	}
	a := &Answer{
		Status: resp.StatusCode, ContentType: mt, Length: resp.ContentLength,
		up: u, resp: resp, left: u.c.opt.MaxAnswer, events: mt == Events,
	}
	if a.events {
		a.Length = -1 // what is held back may never be handed out
	}
	a.bare = resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
	if a.bare && !a.events {
		return nil, ErrProtocol // its end could not be told from a crash
	}
	a.idle = time.AfterFunc(u.c.opt.IdleTimeout, func() {
		a.timeout.Store(true)
		u.cancel()
	})
	return a, nil
}

// Read returns io.EOF only where the engine said that the answer is complete.
// Other errors are *[Error], or the context's; they are final.
func (a *Answer) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !a.events {
		if a.err != nil {
			return 0, a.err
		}
		n, err := a.read(p)
		if err != nil {
			a.err = a.ended(err)
			if n == 0 || a.err == ErrLarge {
				return 0, a.err
			}
		}
		return n, nil
	}
	for len(a.held) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		a.nextLines()
	}
	n := copy(p, a.held)
	a.held = a.held[n:]
	return n, nil
}

// maxLine is the longest line that is held back for its end, in bytes.
const maxLine = 256 << 10

// nextLines reads once, and makes the complete lines available.
func (a *Answer) nextLines() {
	const step = 16 << 10
	if cap(a.line)-len(a.line) < step {
		a.line = append(make([]byte, 0, 2*len(a.line)+2*step), a.line...)
	}
	n, err := a.read(a.line[len(a.line) : len(a.line)+step])
	a.line = a.line[:len(a.line)+n]
	whole := bytes.LastIndexByte(a.line, '\n') + 1
	if err != nil {
		if err == io.EOF {
			whole = len(a.line)
		}
		a.note(a.line[:whole])
		a.err = a.ended(err)
	} else {
		if whole == 0 && len(a.line) > maxLine {
			whole = len(a.line)
		}
		a.note(a.line[:whole])
	}
	a.held = append([]byte(nil), a.line[:whole]...)
	a.line = a.line[:copy(a.line, a.line[whole:])]
}

// note remembers the last line with anything in it, of an answer whose end
// nothing else marks.
func (a *Answer) note(lines []byte) {
	if !a.bare {
		return
	}
	if t := bytes.TrimSpace(lines); len(t) > 0 {
		a.tail = append(a.tail[:0], t[bytes.LastIndexByte(t, '\n')+1:]...)
	}
}

func (a *Answer) read(p []byte) (int, error) {
	a.idle.Reset(a.up.c.opt.IdleTimeout)
	n, err := a.resp.Body.Read(p)
	a.idle.Stop()
	if a.left -= int64(n); a.left < 0 {
		return 0, ErrLarge
	}
	return n, err
}

// ended says what the end of the body means.
func (a *Answer) ended(err error) error {
	switch {
	case err == io.EOF && a.bare && strings.Join(strings.Fields(string(a.tail)), "") != "data:[DONE]":
		return ErrDied
	case err == io.EOF:
		return io.EOF
	case err == ErrLarge:
		return ErrLarge
	case a.timeout.Load():
		return ErrSilent
	case a.up.ctx.Err() != nil, errors.Is(err, context.Canceled):
		return context.Canceled
	}
	return ErrDied
}

// Close ends the answer; if it has not been read to its end the engine sees the
// connection go, which is how engines are told to stop computing.
func (a *Answer) Close() {
	a.idle.Stop()
	if a.err != io.EOF {
		a.up.cancel()
	}
	a.resp.Body.Close()
	a.up.cancel()
}
