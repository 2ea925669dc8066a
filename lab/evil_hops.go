// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/relay"
	"github.com/sotto-project/sotto/router"
)

// Twins of relay and router: the honest part's own handler with one fault
// around it. They are SIMULATED and do harm to the lab's own prompts only.

// serveReplayingRelay is a relay that sends each prompt twice and hands back
// the second answer. It knows prompts by their size: what is smaller is a
// client fetching evidence.
func serveReplayingRelay(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[relay.Config](path)
	if err != nil {
		return err
	}
	r, err := relay.New(cfg)
	if err != nil {
		return err
	}
	tc, err := cfg.TLS.Server(false)
	if err != nil {
		return err
	}
	prompt := func(r *http.Request) bool {
		return r.Method == http.MethodPost && (r.ContentLength < 0 || r.ContentLength >= leastPrompt)
	}
	s := httpx.NewServer(twice(r.Handler(), prompt, func(size int) {
		deed(log, "sent the same %d sealed bytes to the gateway twice and handed back the second answer", size)
	}))
	s.TLSConfig = tc
	return httpx.Serve(ctx, lns[0], s)
}

// serveReplayingRouter is a router that has a request run twice.
func serveReplayingRouter(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return serveRouterTwin(ctx, path, lns[0], log, func(h http.Handler) http.Handler {
		return twice(h, isRequest, func(size int) {
			deed(log, "handed a node the same request of %d bytes twice and passed on the second answer", size)
		})
	})
}

func isRequest(r *http.Request) bool { return r.Method == http.MethodPost }

// maxTwice bounds what a twin keeps of a request to send it again, in bytes.
const maxTwice = 64 << 20

// twice serves what pick chooses two times, the first for nobody.
func twice(h http.Handler, pick func(*http.Request) bool, done func(size int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !pick(r) {
			h.ServeHTTP(w, r)
			return
		}
		httpx.LimitBody(w, r, maxTwice)
		b, err := io.ReadAll(r.Body)
		if err != nil {
			httpx.BodyProblem(w, err)
			return
		}
		again := func() *http.Request {
			q := r.Clone(r.Context())
			q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			return q
		}
		forNobody(h, again())
		h.ServeHTTP(w, again())
		done(len(b))
	})
}

// forNobody serves r and drops the answer, also one that breaks off.
func forNobody(h http.Handler, r *http.Request) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	h.ServeHTTP(nobody{}, r)
}

// nobody takes an answer and drops it.
type nobody struct{}

func (nobody) Header() http.Header         { return http.Header{} }
func (nobody) WriteHeader(int)             {}
func (nobody) Write(p []byte) (int, error) { return len(p), nil }
func (nobody) Flush()                      {}

// serveCuttingRouter is a router that leaves out the final frame of an answer
// and ends it properly. Every layer around the seal looks whole then; a cut
// connection would be much easier to notice.
func serveCuttingRouter(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return serveRouterTwin(ctx, path, lns[0], log, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := &cutter{ResponseWriter: w}
			h.ServeHTTP(c, r)
			if c.cut > 0 {
				deed(log, "left out the last %d bytes of an answer, its final frame, and ended it as if it were whole", c.cut)
			}
		})
	})
}

// serveSteeringRouter is a router that has a node of its own answer. That node
// holds none of the keys that the request is sealed to, so what it answers is
// bytes; the router has to name somebody, and names the place after the last
// candidate.
func serveSteeringRouter(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return serveRouterTwin(ctx, path, lns[0], log, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isRequest(r) || r.URL.Path != "/v1/request" {
				h.ServeHTTP(w, r)
				return
			}
			httpx.LimitBody(w, r, maxTwice)
			var block [wire.RoutingBlockSize]byte
			_, err := io.ReadFull(r.Body, block[:])
			var header *hpke.Header
			if err == nil {
				header, err = hpke.ReadHeader(r.Body)
			}
			var size int64
			if err == nil {
				size, err = io.Copy(io.Discard, r.Body)
			}
			if err != nil || len(header.Entries) >= wire.MaxCandidates {
				httpx.Problem(w, http.StatusBadRequest, "routing")
				return
			}
			record := wire.RouteRecord{Index: uint8(len(header.Entries))}
			w.Header().Set("Content-Type", "application/sotto-response")
			if _, err := w.Write(append(record.Append(nil), make([]byte, 4<<10)...)); err != nil {
				return // the gateway has gone
			}
			deed(log, "handed a request of %d sealed bytes to a node of its own, which the client had not drawn, and passed on its answer", size)
		})
	})
}

// serveRouterTwin runs a router whose handler is wrapped.
func serveRouterTwin(ctx context.Context, path string, ln net.Listener, log *slog.Logger, wrap func(http.Handler) http.Handler) error {
	cfg, err := config.Load[router.Config](path)
	if err != nil {
		return err
	}
	if cfg.Machines, err = machines(path); err != nil {
		return err
	}
	cfg.Log = log
	r, err := router.New(cfg)
	if err != nil {
		return err
	}
	tc, err := cfg.TLS.Server(true)
	if err != nil {
		return err
	}
	s := httpx.NewServer(wrap(r.Handler()))
	s.TLSConfig = tc
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	loops.Go(func() { repeat(ctx, cfg.Poll, func() { r.Poll(ctx) }) }) // its errors are in the log
	loops.Go(func() { repeat(ctx, cfg.Health, func() { r.Check(ctx) }) })
	return httpx.Serve(ctx, ln, s)
}

// repeat calls f now and after each pause until ctx ends.
func repeat(ctx context.Context, pause time.Duration, f func()) {
	for ctx.Err() == nil {
		f()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// A cutter passes on a sealed answer up to its final frame. The router sees
// where that begins: length and final flag of a frame are in the clear
// (docs/spec/sealed-request.md, Section 5).
type cutter struct {
	http.ResponseWriter
	sealed bool
	skip   int    // bytes before the first frame
	head   []byte // of the frame under way, held back until it is whole
	left   int    // bytes of that frame to come
	ended  bool   // its final frame has begun
	cut    int    // bytes that were left out
}

func (c *cutter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutter) WriteHeader(status int) {
	if c.sealed = status == http.StatusOK && c.Header().Get("Content-Type") == "application/sotto-response"; c.sealed {
		c.skip = wire.RouteRecordSize + hpke.PrefaceSize
		c.Header().Del("Content-Length")
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *cutter) Write(p []byte) (int, error) {
	if !c.sealed {
		return c.ResponseWriter.Write(p)
	}
	var pass []byte
	for rest := p; len(rest) > 0; {
		switch {
		case c.ended:
			c.cut += len(rest)
			rest = nil
		case c.skip > 0:
			n := min(c.skip, len(rest))
			pass, rest, c.skip = append(pass, rest[:n]...), rest[n:], c.skip-n
		case c.left > 0:
			n := min(c.left, len(rest))
			pass, rest, c.left = append(pass, rest[:n]...), rest[n:], c.left-n
		default:
			n := min(4-len(c.head), len(rest))
			c.head, rest = append(c.head, rest[:n]...), rest[n:]
			if len(c.head) < 4 {
				break
			}
			v := binary.BigEndian.Uint32(c.head)
			if c.ended = v>>31 == 1; c.ended {
				c.cut = len(c.head)
			} else {
				pass, c.left = append(pass, c.head...), int(v)
			}
			c.head = c.head[:0]
		}
	}
	if len(pass) > 0 {
		if _, err := c.ResponseWriter.Write(pass); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
