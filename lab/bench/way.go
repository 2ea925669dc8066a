// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/lab"
)

// A way is one road to the engine.
type way struct {
	name      string
	bases     []string // one is drawn for each request
	transport http.RoundTripper
	close     func()
	received  *atomic.Int64 // bytes read from connections; nil where nobody counts
}

// open makes the ways.
func (s *session) open() error {
	d := httpx.NewTransport(nil)
	s.direct = &way{name: "direct", bases: []string{s.lab.Ready().Engine}, transport: d, close: d.CloseIdleConnections}
	bases, tc, err := s.lab.Plain()
	if err != nil {
		return err
	}
	p := httpx.NewTransport(tc)
	s.plain = &way{name: "plain", bases: bases, transport: p, close: p.CloseIdleConnections}
	for name, w := range map[string]**way{"off": &s.sotto, "frames": &s.frames, "constant": &s.constant} {
		if *w, err = s.newClient(name); err != nil {
			return err
		}
	}
	s.sotto.name = "sotto"
	return nil
}

func (s *session) close() {
	for _, w := range []*way{s.direct, s.plain, s.sotto, s.frames, s.constant} {
		if w != nil {
			w.close()
		}
	}
}

// newClient is a client of its own: it has verified nothing yet, and has no
// connection.
func (s *session) newClient(shaping string) (*way, error) {
	cfg, err := lab.LoadTrust(s.lab.TrustFile())
	if err != nil {
		return nil, err
	}
	cfg.Shaping = shaping
	w := &way{name: shaping, bases: []string{"https://" + client.Host}, received: new(atomic.Int64)}
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &counted{c, w.received}, err
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	w.transport, w.close = c, c.Close
	return w, nil
}

// counted counts what is read.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// post sends body and returns the answer, which must be a 200.
func (w *way) post(ctx context.Context, body io.Reader, length int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.bases[rand.N(len(w.bases))]+"/v1/chat/completions", body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, fmt.Errorf("%s: status %d: %s", w.name, resp.StatusCode, b)
	}
	return resp, nil
}

// request is a short chat request; fixed, when not empty, is what the engine is
// asked to answer (see lab/engine).
func request(fixed string) string {
	if fixed != "" {
		fixed = `,"fixed":` + fixed
	}
	return `{"model":"sotto-tiny","messages":[{"role":"user","content":"Why is the sky blue?"}],"max_tokens":16` + fixed + `}`
}

var shortRequest = []byte(request(""))

// once sends a short request and returns how long it took to the end of its
// answer.
func (w *way) once(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	resp, err := w.post(ctx, bytes.NewReader(shortRequest), int64(len(shortRequest)))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	if err == nil && !bytes.Contains(b, []byte(`"content":"ok"`)) {
		err = errors.New("another answer than the engine gives")
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	return took, nil
}

// A flow is a stream of tokens as it arrived.
type flow struct {
	first time.Duration   // from sending to the first token
	lags  []time.Duration // of each token, from the engine's write to our read
	took  time.Duration   // to the end
}

// tokens asks for a stream of n tokens. Each carries the time of its writing;
// the clock is the same machine's.
func (w *way) tokens(ctx context.Context, n, everyMS int) (*flow, error) {
	body := request(fmt.Sprintf(`{"tokens":%d,"every_ms":%d}`, n, everyMS))
	began := time.Now()
	resp, err := w.post(ctx, strings.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	f := &flow{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		now := time.Now()
		stamp, ok := stamped(lines.Text())
		if !ok {
			continue
		}
		if f.lags == nil {
			f.first = now.Sub(began)
		}
		f.lags = append(f.lags, now.Sub(stamp))
	}
	f.took = time.Since(began)
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	if len(f.lags) != n {
		return nil, fmt.Errorf("%s: %d tokens of %d", w.name, len(f.lags), n)
	}
	return f, nil
}

// stamped reads the time that the engine writes into a token.
func stamped(line string) (time.Time, bool) {
	_, rest, ok := strings.Cut(line, `"content":"`)
	if !ok {
		return time.Time{}, false
	}
	digits, _, _ := strings.Cut(rest, `"`)
	ns, err := strconv.ParseInt(digits, 10, 64)
	return time.Unix(0, ns), err == nil
}
