// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// defaultPatience is long for an answer of some KiB over any network, and short
// enough that there is time left for another relay.
const defaultPatience = 10 * time.Second

// A silentError says that a relay took a request and did not answer in time. It
// accuses nobody, and unwraps to what the client says of it.
type silentError struct{ err *Error }

func (e *silentError) Error() string { return e.err.Error() }
func (e *silentError) Unwrap() error { return e.err }

// get fetches something short from a relay, whole and within the patience that
// one request has: a relay that accepts and then stands still must not keep the
// next one from being asked. One that does not answer is left out of the next
// draws.
func (c *Client) get(ctx context.Context, relay *relay, path string, limit int64) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, c.cfg.Patience)
	defer cancel()
	b, said, err := c.getUntil(limited, relay, path, limit)
	switch {
	case err == nil:
		return b, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		err = &silentError{refuse(CodeRelay, "a relay did not answer within %v", c.cfg.Patience)}
	}
	if !said {
		relay.note(err, c.cfg.Now())
	}
	return nil, err
}

// A watch ends an exchange whose answer stands still: until its first byte, and
// then between any two reads. How long the whole takes it does not limit, for
// what is read may be long and the network slow.
type watch struct {
	cancel context.CancelFunc
	timer  *time.Timer
	idle   time.Duration
	still  atomic.Bool // it ended the exchange
}

func (c *Client) watch(ctx context.Context) (context.Context, *watch) {
	w := &watch{idle: c.cfg.Patience}
	ctx, w.cancel = context.WithCancel(ctx)
	w.timer = time.AfterFunc(w.idle, func() {
		w.still.Store(true)
		w.cancel()
	})
	return ctx, w
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel()
}

// explain says so of an error that the watch brought about.
func (w *watch) explain(err error) error {
	if err != nil && w.still.Load() {
		return refuse(CodeRelay, "an answer stood still for %v", w.idle).hint("try again; another relay may be drawn")
	}
	return err
}

// A watched reader tells its watch of progress.
type watched struct {
	r io.Reader
	w *watch
}

func (r watched) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.w.timer.Reset(r.w.idle)
	}
	return n, err
}
