// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
)

// The meters of a node's prices, in units (docs/spec/payment.md, section 4).
const (
	meterRequest = 0 // per request
	meterBody    = 1 // per KiB of the request's body, begun
	meterTokens  = 2 // per 1,000 tokens of the answer, pro rata
)

var (
	errTicket  = &problem{http.StatusPaymentRequired, "ticket"}
	errUsage   = &problem{http.StatusNotFound, "usage"}
	errRunning = &problem{http.StatusConflict, "running"}
)

// ticket returns the ticket that lets this node run what own describes; nil in
// mode none. It is judged before the TPM is asked anything.
func (n *Node) ticket(r *http.Request, own wire.Ask) (*wire.Ticket, error) {
	if n.tickets == nil {
		return nil, nil
	}
	values := r.Header.Values(wire.TicketHeader)
	if len(values) != 1 {
		return nil, errTicket
	}
	t, err := wire.ParseTicketHeader(values[0])
	if err != nil || t.Ask() != own || n.cfg.Tier != 0 && t.Tier != n.cfg.Tier {
		return nil, errTicket
	}
	for _, key := range n.tickets {
		if t.Verify(key) {
			return &t, nil
		}
	}
	return nil, errTicket
}

// ticketKeys parses the configuration's keys.
func (c *Config) ticketKeys() ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, s := range c.TicketKeys {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != ed25519.PublicKeySize || hex.EncodeToString(b) != s {
			return nil, fmt.Errorf("node: ticket_keys: %q is not an Ed25519 public key in lower-case hex", s)
		}
		keys = append(keys, b)
	}
	return keys, nil
}

// A bill adds up what one paid request uses. It belongs to the request's
// handler. The nil bill is mode none: nothing is counted.
type bill struct {
	class  uint8
	prices map[uint8]uint32
	body   int64 // bytes of the request's body so far
	most   int64 // tokens that the answer may have
	given  bool  // the engine was given the request
	out    meter
}

func (n *Node) bill(t *wire.Ticket) *bill {
	if t == nil {
		return nil
	}
	return &bill{class: t.Class, prices: n.cfg.Prices}
}

// count counts the body that src brings.
func (b *bill) count(src io.Reader) io.Reader {
	if b == nil {
		return src
	}
	return &counted{src, b}
}

type counted struct {
	io.Reader
	bill *bill
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bill.body += int64(n)
	return n, err
}

// fixed is what the request costs before a token was answered, in units.
func (b *bill) fixed() uint64 {
	return uint64(b.prices[meterRequest]) + uint64(b.prices[meterBody])*uint64((b.body+1023)/1024)
}

// cap returns how many tokens an answer may have, once the whole body was
// read; negative if not even the body is paid, or no token of an answer to it.
func (b *bill) cap(answers bool) int64 {
	held, fixed := uint64(1)<<b.class, b.fixed()
	switch perThousand := uint64(b.prices[meterTokens]); {
	case fixed > held:
		return -1
	case !answers:
		return 0
	case perThousand == 0:
		return 1 << 40 // the node's own bound holds
	case (held-fixed)*1000/perThousand == 0:
		return -1
	default:
		return int64((held - fixed) * 1000 / perThousand)
	}
}

// used is what was used, in 64ths of the class, rounded up. What the engine was
// not given costs nothing.
func (b *bill) used() uint8 {
	if !b.given {
		return 0
	}
	tokens := uint64(min(b.out.tokens(), b.most))
	units := b.fixed() + (tokens*uint64(b.prices[meterTokens])+999)/1000
	return uint8(min(wire.Parts, (wire.Parts*units+1<<b.class-1)>>b.class))
}

// start, refused and write are told by the exchange what happens at the engine.
func (b *bill) start(tokens int64) {
	if b != nil {
		b.given, b.most = true, tokens
	}
}

func (b *bill) refused() {
	if b != nil {
		b.given = false
	}
}

func (b *bill) write(p []byte, events bool) {
	if b != nil {
		b.out.write(p, events)
	}
}

// A meter counts the tokens of an answer as it passes. The engine's own count
// is taken where it gives one (`usage.completion_tokens`); otherwise each event
// of a stream is one token, and four bytes of a document are.
type meter struct {
	events  int64
	bytes   int64
	head    []byte // beginning of the current line
	counted bool   // the current line was
	tail    []byte // end of what passed
}

// lineHead is how much of a line is looked at, in bytes.
const lineHead = 16

// meterTail is how far from its end an answer's own count can be, in bytes.
const meterTail = 4 << 10

func (m *meter) write(p []byte, events bool) {
	m.bytes += int64(len(p))
	if events {
		m.lines(p)
	}
	if len(p) >= meterTail {
		m.tail, p = m.tail[:0], p[len(p)-meterTail:]
	}
	m.tail = append(m.tail, p...)
	if cut := len(m.tail) - meterTail; cut > 0 {
		m.tail = m.tail[:copy(m.tail, m.tail[cut:])]
	}
}

// lines counts the events that carry an object: `data: {`.
func (m *meter) lines(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		line := p
		if end >= 0 {
			line = p[:end]
		}
		if room := lineHead - len(m.head); room > 0 {
			m.head = append(m.head, line[:min(room, len(line))]...)
		}
		if rest, ok := bytes.CutPrefix(m.head, []byte("data:")); ok && !m.counted && bytes.HasPrefix(bytes.TrimLeft(rest, " "), []byte("{")) {
			m.counted = true
			m.events++
		}
		if end < 0 {
			return
		}
		m.head, m.counted, p = m.head[:0], false, p[end+1:]
	}
}

// completionTokens is how engines spell their count. Within the text of an
// answer its quotes are escaped, so a model cannot write it.
var completionTokens = []byte(`"completion_tokens":`)

func (m *meter) tokens() int64 {
	for rest := m.tail; ; {
		i := bytes.LastIndex(rest, completionTokens)
		if i < 0 {
			break
		}
		if i == 0 || rest[i-1] != '\\' {
			digits := bytes.TrimLeft(m.tail[i+len(completionTokens):], " ")
			end := 0
			for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
				end++
			}
			if n, err := strconv.ParseInt(string(digits[:end]), 10, 64); err == nil {
				return n
			}
		}
		rest = rest[:i]
	}
	if m.events > 0 {
		return m.events
	}
	return (m.bytes + 3) / 4
}

// account signs what the bill came to and keeps it as long as the epoch's keys,
// for a router that lost the trailer. It returns nil if there is no key any more: then the
// hold ends by itself and nothing is charged.
func (n *Node) account(e *epoch, t *wire.Ticket, b *bill) *wire.Usage {
	if b == nil {
		return nil
	}
	u := wire.Usage{HeaderHash: t.HeaderHash, NodeID: n.id, Epoch: t.Epoch, Class: t.Class, Index: t.Index, Attempt: t.Attempt, Used: b.used()}
	n.mu.RLock()
	held := n.epochs[t.Epoch] == e
	if held {
		u.Sign(e.sign)
	}
	n.mu.RUnlock()
	if !held {
		return nil
	}
	e.seen.bill(t.HeaderHash, &u)
	return &u
}

// serveUsage is POST /v1/usage: a router asks again for what it lost.
func (n *Node) serveUsage(w http.ResponseWriter, r *http.Request) {
	httpx.LimitBody(w, r, 33)
	b, err := io.ReadAll(r.Body)
	if err != nil || len(b) != 32 {
		httpx.Problem(w, http.StatusBadRequest, "usage.format")
		return
	}
	u, p := n.usage([32]byte(b))
	if p != nil {
		httpx.Problem(w, p.status, p.code)
		return
	}
	w.Header().Set("Content-Type", typeUsage)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(wire.UsageSize))
	w.Write(u.Append(nil))
}

func (n *Node) usage(headerHash [32]byte) (*wire.Usage, *problem) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, e := range n.epochs {
		if u, running := e.seen.billed(headerHash); u != nil {
			return u, nil
		} else if running {
			return nil, errRunning
		}
	}
	return nil, errUsage
}
