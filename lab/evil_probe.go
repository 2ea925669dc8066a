// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/lab/engine/model"
)

// leastPrompt is the smallest encapsulated prompt, in bytes: the first step of
// the ladder of sizes.
const leastPrompt = 8 << 10

// An outcome is how one prompt fared.
type outcome struct {
	answer string
	err    error
	taken  bool  // the client read from the prompt
	sent   int64 // bytes of application data that left the client since then
}

// leaves says in words what left of the prompt.
func (o *outcome) leaves() string {
	switch {
	case !o.taken:
		return "nothing left: the client refused before it had read the first byte of it"
	case o.sent == 0:
		return "nothing left: 0 bytes went to any relay after the client had read its first byte"
	}
	return fmt.Sprintf("left sealed: %d bytes went to the relays after the client had read its first byte", o.sent)
}

// afterthought is how long a probe watches for bytes that leave late.
const afterthought = 100 * time.Millisecond

// probe sends one prompt with a fresh client and counts what leaves. The count
// begins when the client first reads from the prompt: before that it cannot
// have sent any of it, and a client that refuses sends nothing after it.
func (l *Lab) probe(ctx context.Context, prompt string) (*outcome, error) {
	return l.probeWith(ctx, prompt, l.purse())
}

// probeWith is probe with a client that pays as p says. What its change proves
// of whoever dealt with the money counts as a refusal.
func (l *Lab) probeWith(ctx context.Context, prompt string, p *client.Payments) (*outcome, error) {
	cfg, err := LoadTrust(l.TrustFile())
	if err != nil {
		return nil, err
	}
	var t tap
	cfg.Dial, cfg.Payments = t.dial, p
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close() // after the count: closing says goodbye to the relays
	b, err := json.Marshal(map[string]any{
		"model": model.Name, "messages": []map[string]string{{"role": "user", "content": prompt}}, "stream": true,
	})
	if err != nil {
		return nil, err
	}
	body := &watched{Reader: bytes.NewReader(b), tap: &t}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, client.BaseURL+"/chat/completions", io.NopCloser(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	got := new(outcome)
	var resp *http.Response
	if resp, got.err = c.RoundTrip(req); got.err == nil {
		got.answer, got.err = readAnswer(resp)
		resp.Body.Close()
	}
	if got.err == nil {
		got.err = caught(ctx, c)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	time.Sleep(afterthought)
	if got.taken = body.taken.Load(); got.taken {
		got.sent = t.said.Load() - body.before.Load()
	}
	return got, nil
}

// readAnswer reads a streamed answer to its verified end and returns its text.
func readAnswer(resp *http.Response) (string, error) {
	var text strings.Builder
	done := false
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if done = done || ok && data == "[DONE]"; !ok || done {
			continue
		}
		var e struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			// An answer that was cut ends in half an event; the cut is the news.
			if !lines.Scan() && lines.Err() != nil {
				return "", lines.Err()
			}
			return "", fmt.Errorf("the engine sent an event that is no JSON")
		}
		for _, c := range e.Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	switch {
	case lines.Err() != nil:
		return "", lines.Err()
	case resp.StatusCode != http.StatusOK || !done:
		return "", fmt.Errorf("status %d, complete: %t", resp.StatusCode, done)
	}
	return text.String(), nil
}

// A watched body notes when it is first read from.
type watched struct {
	*bytes.Reader
	tap    *tap
	taken  atomic.Bool
	before atomic.Int64 // what had been said until then
}

func (w *watched) Read(p []byte) (int, error) {
	if w.taken.CompareAndSwap(false, true) {
		w.before.Store(w.tap.said.Load())
	}
	return w.Reader.Read(p)
}

// A tap counts the bytes of application data that a client writes to its
// connections. TLS records show their type and length in the clear, so it sees
// what anybody on the wire would, and need not open anything.
type tap struct{ said atomic.Int64 }

func (t *tap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tapped{Conn: c, tap: t}, nil
}

type tapped struct {
	net.Conn
	tap *tap

	mu       sync.Mutex
	head     []byte // of the record under way
	left     int    // bytes of it to come
	finished bool   // the handshake's last record was seen
}

func (c *tapped) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.count(p[:n])
	return n, err
}

// recordHead is the length of a TLS record's header (RFC 8446, Section 5.1).
const recordHead = 5

// count follows the records (RFC 8446, Section 5.2: protected ones have type
// application_data, 23). A client without a certificate sends one such record
// in the handshake, Finished, so the first of a connection does not count. It
// makes no difference whether a spare connection is being opened meanwhile.
func (c *tapped) count(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if c.left > 0 {
			n := min(c.left, len(p))
			c.left -= n
			p = p[n:]
			continue
		}
		n := min(recordHead-len(c.head), len(p))
		c.head = append(c.head, p[:n]...)
		p = p[n:]
		if len(c.head) < recordHead {
			return
		}
		c.left = int(binary.BigEndian.Uint16(c.head[3:]))
		if c.head[0] == 23 {
			if c.finished {
				c.tap.said.Add(int64(c.left))
			}
			c.finished = true
		}
		c.head = c.head[:0]
	}
}
