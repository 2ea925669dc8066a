// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/router"
	"github.com/sotto-project/sotto/transparency/statement"
)

const (
	generation = 7
	class      = 16
)

var ticketKey = key("ticket")

// An asked is what the bank was asked.
type asked struct {
	path string
	body []byte
}

// A bank is a fake: it signs whatever is asked well formed, and checks that it
// is; the rules of money are credits/redeem's.
type bank struct {
	t testing.TB

	mu    sync.Mutex
	asked []asked
	evil  map[string]http.HandlerFunc // by path, in place of the honest answer
	asks  chan string                 // the path of each question, when it was answered
}

func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	b.asked = append(b.asked, asked{r.URL.Path, body})
	evil := b.evil[r.URL.Path]
	b.mu.Unlock()
	defer func() { b.asks <- r.URL.Path }()
	if evil != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		evil(w, r)
		return
	}
	b.honest(w, r.URL.Path, body)
}

func (b *bank) honest(w http.ResponseWriter, path string, body []byte) {
	switch path {
	case "/v1/hold", "/v1/turn":
		t := b.ticket(path, body)
		t.Sign(ticketKey)
		w.Write(t.Append(nil))
	case "/v1/settle":
		w.Write(b.settled(body).Append(nil))
	default:
		b.t.Errorf("the bank was asked for %s", path)
	}
}

// ticket is the one that is asked for.
func (b *bank) ticket(path string, body []byte) *wire.Ticket {
	t := &wire.Ticket{Generation: generation, Class: class}
	if path == "/v1/hold" {
		block := must(wire.ParseRoutingBlock(body[:wire.RoutingBlockSize]))
		t.Attempt, t.Class, body = block.Attempt, block.Spend.Class, body[wire.RoutingBlockSize:]
	} else {
		receipt := must(wire.ParseBusyReceipt(body[:wire.BusyReceiptSize]))
		t.Attempt, t.Turn, body = receipt.Attempt, 1, body[wire.BusyReceiptSize:]
	}
	f := candidateOf(body)
	t.HeaderHash, t.Epoch, t.Index = must(f.Hash()), f.Common.Epoch, f.Index
	return t
}

// candidateOf reads what follows block or receipt, to its end.
func candidateOf(b []byte) *hpke.Forwarded {
	n := int(binary.BigEndian.Uint16(b))
	record := must(statement.ParseRecord(b[2 : 2+n]))
	r := bytes.NewReader(b[2+n:])
	f := must(hpke.ReadForwarded(r))
	if r.Len() != 0 || f.Entry.NodeID != record.NodeID {
		panic("a record of another node, or bytes behind the header")
	}
	return f
}

func (b *bank) settled(body []byte) *wire.Change {
	c := &wire.Change{State: wire.ChangeReturned, Generation: generation, Keyset: [32]byte{1}}
	used := uint8(0)
	if body[0] == 1 {
		c.State, c.Usage = wire.ChangeUsed, must(wire.ParseUsage(body[1:]))
		used = c.Usage.Used
	}
	for _, e := range wire.Due(class, used) {
		c.Coins = append(c.Coins, wire.Minted{Exponent: e, Element: [32]byte{e}})
	}
	if len(c.Coins) == 0 {
		c.Keyset = [32]byte{}
	}
	return c
}

// set replaces the answer to a path; nil restores it.
func (b *bank) set(path string, f http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.evil[path] = f
}

// questions returns what was asked since the last call.
func (b *bank) questions() []asked {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.asked
	b.asked = nil
	for len(b.asks) > 0 {
		<-b.asks
	}
	return out
}

func paths(qs []asked) string {
	var s []string
	for _, q := range qs {
		s = append(s, strings.TrimPrefix(q.path, "/v1/"))
	}
	return strings.Join(s, " ")
}

// await waits until the bank has answered a question at path.
func (b *bank) await(path string) {
	b.t.Helper()
	for {
		select {
		case p := <-b.asks:
			if p == path {
				return
			}
		case <-time.After(20 * time.Second):
			b.t.Fatalf("the bank was not asked for %s", path)
		}
	}
}

// A paid world has a bank and nodes that run nothing without its ticket.
type paid struct {
	*world
	bank *bank
	reg  *prometheus.Registry
	log  *lines

	mu      sync.Mutex
	used    uint8
	trailer func(u *wire.Usage, n *node) string // nil: as it is
	usages  map[[32]byte]*wire.Usage
	tickets map[*node][]wire.Ticket
}

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func coins(s *statement.Statement) {
	s.Payment, s.MintGeneration, s.TicketKey = statement.PaymentCoins, generation, ticketKey.Public().(ed25519.PublicKey)
}

func newPaid(t testing.TB, n int, tune func(*world, *router.Config)) *paid {
	t.Helper()
	p := &paid{
		bank: &bank{t: t, evil: map[string]http.HandlerFunc{}, asks: make(chan string, 1000)}, reg: prometheus.NewRegistry(), log: &lines{},
		used: 9, usages: map[[32]byte]*wire.Usage{}, tickets: map[*node][]wire.Ticket{},
	}
	p.world = startWorld(t, n, coins, func(w *world, c *router.Config) {
		addr, _ := serveTLS(t, must(w.ca.Issue("bank.sotto", "127.0.0.1")), true, httpx.RequirePeer([]string{"router.sotto"}, p.bank))
		c.Timeout = 30 * time.Second
		c.Bank, c.Log = "https://"+addr, slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if tune != nil {
			tune(w, c)
		}
	})
	p.router.Register(p.reg)
	for _, n := range p.nodes {
		n.setAnswer(func(w http.ResponseWriter, r *http.Request, ask wire.Ask) { p.run(n, w, r, ask) })
		p.setUsage(n, nil)
	}
	return p
}

// setUsage replaces the node's answer to POST /v1/usage; nil restores it.
func (p *paid) setUsage(n *node, f http.HandlerFunc) {
	if f == nil {
		f = func(w http.ResponseWriter, r *http.Request) {
			hash := must(io.ReadAll(r.Body))
			p.mu.Lock()
			u, known := p.usages[[32]byte(hash)]
			p.mu.Unlock()
			if u == nil {
				status, code := http.StatusNotFound, "usage"
				if known {
					status, code = http.StatusConflict, "running"
				}
				httpx.Problem(w, status, code)
				return
			}
			w.Write(u.Append(nil))
		}
	}
	n.usage.Store(&f)
}

// admit checks the ticket and signs what was used.
func (p *paid) admit(n *node, r *http.Request, ask wire.Ask) *wire.Usage {
	t, err := wire.ParseTicketHeader(r.Header.Get(wire.TicketHeader))
	if err != nil || !t.Verify(ticketKey.Public().(ed25519.PublicKey)) || t.Ask() != ask {
		p.t.Errorf("a node was asked with the ticket %q: %v", r.Header.Get(wire.TicketHeader), err)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tickets[n] = append(p.tickets[n], t)
	return p.sign(n, t, p.used)
}

func (p *paid) sign(n *node, t wire.Ticket, used uint8) *wire.Usage {
	u := &wire.Usage{HeaderHash: t.HeaderHash, NodeID: n.id, Epoch: t.Epoch, Class: t.Class, Index: t.Index, Attempt: t.Attempt, Used: used}
	u.Sign(n.key)
	return u
}

// run is an honest node, but for what the test has set.
func (p *paid) run(n *node, w http.ResponseWriter, r *http.Request, ask wire.Ask) {
	u := p.admit(n, r, ask)
	if u == nil {
		httpx.Problem(w, http.StatusPaymentRequired, "ticket")
		return
	}
	if n.busy.Load() {
		n.sign(w, ask)
		return
	}
	f, err := hpke.ReadForwarded(r.Body)
	if err != nil || must(f.Hash()) != ask.HeaderHash || f.Entry.NodeID != n.id {
		httpx.Problem(w, http.StatusBadRequest, "header")
		return
	}
	body := must(io.ReadAll(r.Body))
	n.ran.Add(1)
	p.mu.Lock()
	p.usages[u.HeaderHash] = u
	said := u.String()
	if p.trailer != nil {
		said = p.trailer(u, n)
	}
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/sotto-response")
	if said != "" {
		w.Header().Set("Trailer", wire.UsageTrailer)
		defer w.Header().Set(wire.UsageTrailer, said)
	}
	fmt.Fprintf(w, "%x", sha256.Sum256(body))
}

func spend(h *hpke.Header) wire.RoutingBlock {
	b := wire.RoutingBlock{Payment: wire.PaymentCoins, Epoch: h.Common.Epoch, Spend: wire.Spend{Type: wire.TokenCoin, Keyset: [32]byte{1}, Class: class}}
	rand.Read(b.Spend.Nonce[:])
	rand.Read(b.Spend.MAC[:])
	for i := range b.Spend.Blanks {
		rand.Read(b.Spend.Blanks[i][:])
	}
	return b
}

func paying(h *hpke.Header, body string) io.Reader {
	b := spend(h)
	return io.MultiReader(bytes.NewReader(h.Append(b.Append(nil))), strings.NewReader(body))
}

// answerSize is that of the fake nodes' sealed answers.
const answerSize = 64

// changed sends a request and returns the change block behind its answer.
func (p *paid) changed(h *hpke.Header) *wire.Change {
	p.t.Helper()
	status, b, err := p.post(paying(h, "body"))
	if err != nil || status != http.StatusOK || len(b) != wire.RouteRecordSize+answerSize+wire.ChangeSize {
		p.t.Fatalf("got %d, %d bytes, %.200q, %v", status, len(b), b, err)
	}
	if got, want := string(b[wire.RouteRecordSize:][:answerSize]), fmt.Sprintf("%x", sha256.Sum256([]byte("body"))); got != want {
		p.t.Errorf("another answer: %q", got)
	}
	return must(wire.ParseChange(b[wire.RouteRecordSize+answerSize:]))
}

func (p *paid) all() *hpke.Header { return p.header(p.epoch, p.ids()...) }

// counted is a counter of the router's.
func (p *paid) counted(name string) (n float64) {
	p.t.Helper()
	for _, f := range must(p.reg.Gather()) {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
			return n
		}
	}
	p.t.Fatalf("no metric %s", name)
	return 0
}

// TestTickets: the ticket goes to the node and nowhere else, and what pays for
// it goes to the bank and nowhere else.
func TestTickets(t *testing.T) {
	p := newPaid(t, 3, nil)
	h := p.all()
	first := p.order(h)[0]
	block := spend(h)
	var seen []byte
	first.setAnswer(func(w http.ResponseWriter, r *http.Request, ask wire.Ask) {
		b := must(io.ReadAll(r.Body))
		var head bytes.Buffer
		r.Header.Write(&head)
		seen = append(head.Bytes(), b...)
		r.Body = io.NopCloser(bytes.NewReader(b))
		p.run(first, w, r, ask)
	})
	req := must(http.NewRequest("POST", p.url+"/v1/request", io.MultiReader(bytes.NewReader(h.Append(block.Append(nil))), strings.NewReader("body"))))
	req.Header.Set(wire.TicketHeader, "forged")
	resp := must(p.http.Do(req))
	defer resp.Body.Close()
	b := must(io.ReadAll(resp.Body))
	if resp.StatusCode != 200 || len(resp.Trailer) != 0 {
		t.Fatalf("%d %v", resp.StatusCode, resp.Trailer)
	}
	tickets := p.tickets[first]
	if len(tickets) != 1 || tickets[0].Turn != 0 || tickets[0].Class != class || tickets[0].HeaderHash != h.Hash() {
		t.Fatalf("the node got %+v", tickets)
	}
	var back bytes.Buffer
	resp.Header.Write(&back)
	back.Write(b)
	ticket := tickets[0].Append(nil)
	for _, c := range [][]byte{ticket, []byte(tickets[0].String()), ticket[len(ticket)-64:]} {
		if bytes.Contains(back.Bytes(), c) {
			t.Error("the ticket came back to the gateway")
		}
	}
	for name, c := range map[string][]byte{"nonce": block.Spend.Nonce[:], "MAC": block.Spend.MAC[:], "blank": block.Spend.Blanks[0][:]} {
		if bytes.Contains(seen, c) {
			t.Errorf("the node saw the %s", name)
		}
	}
	qs := p.bank.questions()
	if paths(qs) != "hold settle" || !bytes.HasPrefix(qs[0].body, block.Append(nil)) || candidateOf(qs[0].body[wire.RoutingBlockSize:]).Entry.NodeID != first.id {
		t.Errorf("the bank was asked %s", paths(qs))
	}
	if bytes.Contains(qs[0].body, []byte("body")) {
		t.Error("the bank got the body")
	}
	if c := must(wire.ParseChange(b[len(b)-wire.ChangeSize:])); c.State != wire.ChangeUsed || c.Usage.Used != 9 || !c.Usage.Verify(first.key.Public().(ed25519.PublicKey)) {
		t.Errorf("%+v", c)
	}
}

// TestTurns: the second candidate is asked only with a ticket that the bank
// gave against the receipt of the first; when all are busy all comes back.
func TestTurns(t *testing.T) {
	p := newPaid(t, 3, nil)
	for busy := range 4 {
		h := p.all()
		order := p.order(h)
		for i, n := range order {
			n.busy.Store(i < busy)
		}
		p.bank.questions()
		clear(p.tickets)
		before := p.ran()
		want := "hold" + strings.Repeat(" turn", min(busy, 2)) + " settle"
		if busy < 3 {
			if c := p.changed(h); c.State != wire.ChangeUsed || p.ran() != before+1 {
				t.Errorf("%d busy: state %d, ran %d times", busy, c.State, p.ran()-before)
			}
		} else {
			p.refused(paying(h, "body"), 503, "node.busy")
			p.bank.await("/v1/settle")
			if p.ran() != before {
				t.Error("a busy node ran it")
			}
		}
		qs := p.bank.questions()
		if paths(qs) != want {
			t.Fatalf("%d busy: the bank was asked %q, want %q", busy, paths(qs), want)
		}
		for i := range min(busy, 2) {
			body := qs[1+i].body
			receipt := must(wire.ParseBusyReceipt(body[:wire.BusyReceiptSize]))
			if receipt.NodeID != order[i].id || !receipt.Verify(order[i].key.Public().(ed25519.PublicKey)) || candidateOf(body[wire.BusyReceiptSize:]).Entry.NodeID != order[i+1].id {
				t.Errorf("turn %d is not from the busy node to the next", i)
			}
			if got := p.tickets[order[i+1]]; len(got) != 1 || got[0].Turn == 0 {
				t.Errorf("candidate %d got the tickets %+v", i+1, got)
			}
		}
		if end := qs[len(qs)-1].body; busy == 3 {
			receipt, err := wire.ParseBusyReceipt(end[1:])
			if end[0] != 2 || err != nil || receipt.NodeID != order[2].id {
				t.Errorf("settled by %x", end)
			}
		}
	}
	t.Run("the bank gives no turn", func(t *testing.T) {
		h := p.all()
		order := p.order(h)
		for i, n := range order {
			n.busy.Store(i == 0)
		}
		p.bank.set("/v1/turn", func(w http.ResponseWriter, _ *http.Request) { httpx.Problem(w, 409, "credit.turn") })
		defer p.bank.set("/v1/turn", nil)
		before := p.ran()
		p.refused(paying(h, "body"), 409, "credit.turn")
		p.bank.await("/v1/settle")
		if p.ran() != before {
			t.Error("a candidate ran it without a ticket")
		}
	})
}

// TestChangeDelaysNoAnswer: the node's last byte leaves before the bank is asked.
func TestChangeDelaysNoAnswer(t *testing.T) {
	p := newPaid(t, 1, nil)
	in, release := make(chan struct{}), make(chan struct{})
	p.bank.set("/v1/settle", func(w http.ResponseWriter, r *http.Request) {
		close(in)
		<-release
		p.bank.honest(w, r.URL.Path, must(io.ReadAll(r.Body)))
	})
	resp := must(p.http.Post(p.url+"/v1/request", "application/sotto-request", paying(p.all(), "body")))
	defer resp.Body.Close()
	b := make([]byte, wire.RouteRecordSize+answerSize)
	if _, err := io.ReadFull(resp.Body, b); err != nil {
		t.Fatal(err)
	}
	if string(b[wire.RouteRecordSize:]) != fmt.Sprintf("%x", sha256.Sum256([]byte("body"))) {
		t.Error("another answer")
	}
	<-in // it is the answer that was there first, or both at once: the bank has not answered
	close(release)
	rest := must(io.ReadAll(resp.Body))
	if len(rest) != wire.ChangeSize || must(wire.ParseChange(rest)).State != wire.ChangeUsed {
		t.Errorf("%d bytes follow the answer", len(rest))
	}
}

// hangUp closes the connection.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// TestPending: what the bank does not settle with the answer, it settles later
// by what the node says when it is asked.
func TestPending(t *testing.T) {
	p := newPaid(t, 1, nil)
	n := p.nodes[0]
	pending := func(t *testing.T) {
		t.Helper()
		if c := p.changed(p.all()); c.State != wire.ChangePending || c.Generation != generation || len(c.Coins) != 0 {
			t.Errorf("%+v", c)
		}
	}
	settled := func(t *testing.T) {
		t.Helper()
		p.bank.await("/v1/settle")
		qs := p.bank.questions()
		last := qs[len(qs)-1]
		if u, err := wire.ParseUsage(last.body[1:]); last.path != "/v1/settle" || last.body[0] != 1 || err != nil || !u.Verify(n.key.Public().(ed25519.PublicKey)) {
			t.Errorf("asked %s, %v", paths(qs), err)
		}
	}
	t.Run("bank down", func(t *testing.T) {
		p.bank.questions()
		// The bank's answers are idempotent: a connection that broke is asked over.
		var mu sync.Mutex
		times := 0
		p.bank.set("/v1/settle", func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			times++
			n := times
			mu.Unlock()
			if n <= 1 {
				httpx.Problem(w, 503, "bank.store")
				return
			}
			p.bank.honest(w, r.URL.Path, must(io.ReadAll(r.Body)))
		})
		defer p.bank.set("/v1/settle", nil)
		pending(t)
		p.bank.await("/v1/settle") // the one that failed
		settled(t)
	})
	t.Run("bank slow", func(t *testing.T) {
		var once sync.Once
		p.bank.set("/v1/settle", func(w http.ResponseWriter, r *http.Request) {
			body := must(io.ReadAll(r.Body))
			once.Do(func() { <-r.Context().Done() }) // as long as anybody waits
			p.bank.honest(w, r.URL.Path, body)
		})
		defer p.bank.set("/v1/settle", nil)
		start := time.Now()
		pending(t)
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("the block came after %v", d)
		}
		p.bank.await("/v1/settle")
		settled(t)
	})
	for _, c := range []struct {
		name    string
		running int
		ends    bool
	}{{"no trailer", 0, true}, {"no trailer, and it runs still", 2, true}, {"it never stops", 3, false}} {
		t.Run(c.name, func(t *testing.T) {
			p.bank.questions()
			p.trailer = func(*wire.Usage, *node) string { return "" }
			defer func() { p.trailer = nil }()
			var mu sync.Mutex
			asked := 0
			done := make(chan struct{}, 10)
			p.setUsage(n, func(w http.ResponseWriter, r *http.Request) {
				hash := must(io.ReadAll(r.Body))
				mu.Lock()
				defer mu.Unlock()
				defer func() { done <- struct{}{} }()
				if asked++; asked <= c.running {
					httpx.Problem(w, http.StatusConflict, "running")
					return
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				w.Write(p.usages[[32]byte(hash)].Append(nil))
			})
			defer p.setUsage(n, nil)
			pending(t)
			if c.ends {
				settled(t)
				return
			}
			for range 3 {
				<-done
			}
			if got := paths(p.bank.questions()); got != "hold" {
				t.Errorf("asked %s", got)
			}
		})
	}
	t.Run("the node knows nothing", func(t *testing.T) {
		p.bank.questions()
		p.trailer = func(*wire.Usage, *node) string { return "" }
		defer func() { p.trailer = nil }()
		asked := make(chan struct{}, 10)
		p.setUsage(n, func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			httpx.Problem(w, http.StatusNotFound, "usage")
		})
		defer p.setUsage(n, nil)
		pending(t)
		<-asked
		if got := paths(p.bank.questions()); got != "hold" || len(asked) != 0 {
			t.Errorf("asked %s, and the node %d times more", got, len(asked))
		}
	})
}

// raw is a usage's trailer after f has changed its bytes and the node has signed
// what came of it.
func raw(n *node, u *wire.Usage, f func(b []byte)) string {
	b := u.Append(nil)
	f(b)
	signed := append([]byte("sotto usage v1\x00"), b[:len(b)-64]...)
	copy(b[len(b)-64:], ed25519.Sign(n.key, signed))
	return base64.RawURLEncoding.EncodeToString(b)
}

// TestFalseUsage: a usage that is not this node's about this request is not
// believed: the bank is not asked, the client is told, and it is counted.
func TestFalseUsage(t *testing.T) {
	p := newPaid(t, 2, nil)
	other := func(n *node) *node {
		for _, o := range p.nodes {
			if o != n {
				return o
			}
		}
		panic("one node")
	}
	const at = 32 + 32 + 8 // of the class
	var earlier *wire.Usage
	p.trailer = func(u *wire.Usage, _ *node) string { earlier = u; return u.String() }
	if c := p.changed(p.all()); c.State != wire.ChangeUsed {
		t.Fatalf("state %d", c.State)
	}
	for _, c := range []struct {
		id, name string
		say      func(u *wire.Usage, n *node) string
	}{
		{"CT-10", "more than was held", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[at+3] = wire.Parts + 1 }) }},
		{"CT-10", "far more", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[at+3] = 255 }) }},
		{"CT-10", "of a larger class", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[at]++ }) }},
		{"CT-10", "of a smaller class", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[at]-- }) }},
		{"CT-10", "altered", func(u *wire.Usage, n *node) string { v := *u; v.Used--; return v.String() }},
		{"CT-10", "noise", func(u *wire.Usage, n *node) string { return "noise" }},
		{"CT-10", "a byte more", func(u *wire.Usage, n *node) string { return u.String() + "A" }},
		{"CT-11", "of another request", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[0]++ }) }},
		{"CT-11", "of an earlier request", func(u *wire.Usage, n *node) string { return earlier.String() }},
		{"CT-11", "of another epoch", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[71]++ }) }},
		{"CT-11", "of another attempt", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[at+2]++ }) }},
		{"CT-11", "of another index", func(u *wire.Usage, n *node) string { return raw(n, u, func(b []byte) { b[at+1] ^= 1 }) }},
		{"CT-11", "another node's", func(u *wire.Usage, n *node) string {
			o := other(n)
			return raw(o, u, func(b []byte) { copy(b[32:], o.id[:]) })
		}},
		{"CT-11", "signed by another node", func(u *wire.Usage, n *node) string { return raw(other(n), u, func([]byte) {}) }},
	} {
		t.Run(c.id+" "+c.name, func(t *testing.T) {
			p.bank.questions()
			before := p.counted("sotto_router_usages_refused_total")
			p.trailer = c.say
			if b := p.changed(p.all()); b.State != wire.ChangeRefused || len(b.Coins) != 0 {
				t.Errorf("state %d", b.State)
			}
			if got := paths(p.bank.questions()); got != "hold" {
				t.Errorf("the bank was asked %s", got)
			}
			if got := p.counted("sotto_router_usages_refused_total"); got != before+1 {
				t.Errorf("counted %v", got-before)
			}
		})
	}
	t.Run("CT-11 asked for later", func(t *testing.T) {
		p.trailer = func(*wire.Usage, *node) string { return "" }
		asked := make(chan struct{}, 10)
		for _, n := range p.nodes {
			p.setUsage(n, func(w http.ResponseWriter, r *http.Request) {
				w.Write(earlier.Append(nil))
				asked <- struct{}{}
			})
		}
		p.bank.questions()
		before := p.counted("sotto_router_usages_refused_total")
		if b := p.changed(p.all()); b.State != wire.ChangePending {
			t.Errorf("state %d", b.State)
		}
		<-asked
		for deadline := time.Now().Add(10 * time.Second); p.counted("sotto_router_usages_refused_total") != before+1; {
			if time.Now().After(deadline) {
				t.Fatal("not counted")
			}
		}
		if got := paths(p.bank.questions()); got != "hold" {
			t.Errorf("the bank was asked %s", got)
		}
	})
	t.Run("the bank refuses it", func(t *testing.T) {
		p.trailer = nil
		p.bank.set("/v1/settle", func(w http.ResponseWriter, _ *http.Request) { httpx.Problem(w, 400, "credit.refund") })
		defer p.bank.set("/v1/settle", nil)
		p.bank.questions()
		if b := p.changed(p.all()); b.State != wire.ChangeRefused {
			t.Errorf("state %d", b.State)
		}
		if got := paths(p.bank.questions()); got != "hold settle" {
			t.Errorf("the bank was asked %s", got)
		}
	})
}

// TestHangUpIsCharged: who reads an answer half-way and goes pays for what was
// produced.
func TestHangUpIsCharged(t *testing.T) {
	t.Run("CT-05", func(t *testing.T) {
		p := newPaid(t, 1, nil)
		n := p.nodes[0]
		n.setAnswer(func(w http.ResponseWriter, r *http.Request, ask wire.Ask) {
			u := p.admit(n, r, ask)
			p.mu.Lock()
			p.usages[u.HeaderHash] = nil // it runs
			p.mu.Unlock()
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/sotto-response")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					break
				}
				http.NewResponseController(w).Flush()
			}
			p.mu.Lock()
			p.usages[u.HeaderHash] = p.sign(n, p.tickets[n][0], 33)
			p.mu.Unlock()
		})
		resp := must(p.http.Post(p.url+"/v1/request", "application/sotto-request", paying(p.all(), "body")))
		io.ReadFull(resp.Body, make([]byte, 8<<10))
		resp.Body.Close()
		p.bank.await("/v1/settle")
		qs := p.bank.questions()
		if u := must(wire.ParseUsage(qs[len(qs)-1].body[1:])); paths(qs) != "hold settle" || u.Used != 33 {
			t.Errorf("asked %s, used %d", paths(qs), u.Used)
		}
	})
}

// TestNodesThatDoNotAnswer: a node that was not reached is asked nothing, one
// that may have run it is; and nobody waits for that.
func TestNodesThatDoNotAnswer(t *testing.T) {
	t.Run("not reached", func(t *testing.T) {
		p := newPaid(t, 2, nil)
		h := p.all()
		p.order(h)[0].stop()
		for _, n := range p.nodes {
			p.setUsage(n, func(http.ResponseWriter, *http.Request) { t.Error("a node was asked what it used") })
		}
		p.refused(paying(h, "body"), 502, "node.unreachable")
		if got := paths(p.bank.questions()); got != "hold" || p.ran() != 0 {
			t.Errorf("the bank was asked %s, %d ran", got, p.ran())
		}
	})
	t.Run("died", func(t *testing.T) {
		p := newPaid(t, 1, nil)
		n := p.nodes[0]
		n.setAnswer(func(w http.ResponseWriter, r *http.Request, ask wire.Ask) {
			u := p.admit(n, r, ask)
			p.mu.Lock()
			p.usages[u.HeaderHash] = u
			p.mu.Unlock()
			panic(http.ErrAbortHandler)
		})
		in, release := make(chan struct{}), make(chan struct{})
		f := *n.usage.Load()
		p.setUsage(n, func(w http.ResponseWriter, r *http.Request) {
			close(in)
			<-release
			f(w, r)
		})
		p.refused(paying(p.all(), "body"), 502, "node.failed") // is told before the node was
		<-in
		close(release)
		p.bank.await("/v1/settle")
		if got := paths(p.bank.questions()); got != "hold settle" {
			t.Errorf("the bank was asked %s", got)
		}
	})
}

// TestProblemsOfPaidNodes: a node that refuses what it accepted the ticket of
// says that it used nothing; that is settled, and no block follows a problem.
func TestProblemsOfPaidNodes(t *testing.T) {
	p := newPaid(t, 1, nil)
	n := p.nodes[0]
	n.setAnswer(func(w http.ResponseWriter, r *http.Request, ask wire.Ask) {
		u := p.admit(n, r, ask)
		u.Used = 0
		u.Sign(n.key)
		w.Header().Set(wire.UsageTrailer, u.String())
		httpx.Problem(w, http.StatusConflict, "node.rekeyed")
	})
	p.setUsage(n, func(http.ResponseWriter, *http.Request) { t.Error("the node was asked for what it had said") })
	in, release := make(chan struct{}), make(chan struct{})
	p.bank.set("/v1/settle", func(w http.ResponseWriter, r *http.Request) {
		close(in)
		<-release
		p.bank.honest(w, r.URL.Path, must(io.ReadAll(r.Body)))
	})
	status, b, err := p.post(paying(p.all(), "body")) // whole before the bank answers
	if err != nil || status != http.StatusConflict || !strings.HasSuffix(string(b), `"code":"node.rekeyed"}`) || len(b) > 200 {
		t.Errorf("%d %q %v", status, b, err)
	}
	<-in
	close(release)
	p.bank.await("/v1/settle")
	qs := p.bank.questions()
	if u := must(wire.ParseUsage(qs[len(qs)-1].body[1:])); paths(qs) != "hold settle" || u.Used != 0 {
		t.Errorf("asked %s, used %d", paths(qs), u.Used)
	}
}

// TestBankCodes: the bank's own codes pass, as a closed list; no node is
// reached after any of them.
func TestBankCodes(t *testing.T) {
	p := newPaid(t, 2, nil)
	said := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { httpx.Problem(w, status, code) }
	}
	says := func(status int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); w.Write(body) }
	}
	ticket := func(f func(*wire.Ticket)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			tk := p.bank.ticket(r.URL.Path, must(io.ReadAll(r.Body)))
			f(tk)
			tk.Sign(ticketKey)
			w.Write(tk.Append(nil))
		}
	}
	cases := []struct {
		name   string
		hold   http.HandlerFunc
		status int
		code   string
	}{
		{"a code that nobody knows", said(402, "credit.alice"), 502, "bank.answer"},
		{"a node's code", said(503, "node.busy"), 502, "bank.answer"},
		{"no code", said(402, ""), 502, "bank.answer"},
		{"a verdict", said(400, "att.stale"), 502, "bank.answer"},
		{"a code without a refusal", said(200, "credit.spent"), 502, "bank.answer"},
		{"a redirect", says(302, []byte(`{"code":"credit.spent"}`)), 502, "bank.answer"},
		{"noise", says(400, []byte("noise")), 502, "bank.answer"},
		{"nothing", says(200, nil), 502, "bank.answer"},
		{"a byte short", says(200, make([]byte, wire.TicketSize-1)), 502, "bank.answer"},
		{"a byte more", says(200, make([]byte, wire.TicketSize+1)), 502, "bank.answer"},
		{"zeros", says(200, make([]byte, wire.TicketSize)), 502, "bank.answer"},
		{"without end", says(200, make([]byte, 1<<20)), 502, "bank.answer"},
		{"hangs up", hangUp, 503, "bank.unreachable"},
		{"says nothing", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 503, "bank.unreachable"},
		{"another generation", ticket(func(t *wire.Ticket) { t.Generation++ }), 502, "bank.generation"},
		{"an older generation", ticket(func(t *wire.Ticket) { t.Generation-- }), 502, "bank.generation"},
		{"another request", ticket(func(t *wire.Ticket) { t.HeaderHash[0]++ }), 502, "bank.answer"},
		{"another epoch", ticket(func(t *wire.Ticket) { t.Epoch++ }), 502, "bank.answer"},
		{"another candidate", ticket(func(t *wire.Ticket) { t.Index ^= 1 }), 502, "bank.answer"},
		{"another attempt", ticket(func(t *wire.Ticket) { t.Attempt++ }), 502, "bank.answer"},
		{"another class", ticket(func(t *wire.Ticket) { t.Class++ }), 502, "bank.answer"},
		{"another key", func(w http.ResponseWriter, r *http.Request) {
			tk := p.bank.ticket(r.URL.Path, must(io.ReadAll(r.Body)))
			tk.Sign(key("somebody"))
			w.Write(tk.Append(nil))
		}, 502, "bank.answer"},
	}
	for code, status := range map[string]int{
		"routing": 400, "header": 400, "epoch": 409, "bank.generation": 503, "starting": 503, "bank.store": 503, "credit.epoch": 402, "credit.class": 402,
		"credit.sig": 402, "credit.rate": 429, "credit.spent": 409, "credit.turn": 409, "credit.refund": 400, "credit.absent": 404,
	} {
		cases = append(cases, struct {
			name   string
			hold   http.HandlerFunc
			status int
			code   string
		}{code, said(status, code), status, code})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p.bank.set("/v1/hold", c.hold)
			p.refused(paying(p.all(), "body"), c.status, c.code)
		})
	}
	for _, n := range p.nodes {
		if len(n.heads) > 0 {
			t.Error("a node was reached")
		}
	}
	if strings.Contains(paths(p.bank.questions()), "settle") {
		t.Error("what never began was settled")
	}
}

// TestBankReplicas: one that dies within its answer, as often as it is asked, is
// felt by nobody as long as another one stands.
func TestBankReplicas(t *testing.T) {
	var died atomic.Int64
	p := newPaid(t, 1, func(w *world, c *router.Config) {
		dying, _ := serveTLS(t, must(w.ca.Issue("bank.sotto", "127.0.0.1")), true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			died.Add(1)
			hangUp(w, r)
		}))
		c.Bank, c.BankReplicas = "https://"+dying, []string{strings.TrimPrefix(c.Bank, "https://")}
	})
	for range 6 {
		if c := p.changed(p.all()); c.State != wire.ChangeUsed {
			t.Errorf("%+v", c)
		}
	}
	if died.Load() == 0 {
		t.Error("the dying replica was never asked: nothing was tried")
	}
}

// TestBankReplicaStandsStill: one that accepts and says nothing leaves the others time.
func TestBankReplicaStandsStill(t *testing.T) {
	p := newPaid(t, 1, func(w *world, c *router.Config) {
		still, _ := serveTLS(t, must(w.ca.Issue("bank.sotto", "127.0.0.1")), true, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		c.Bank, c.BankReplicas = "https://"+still, []string{strings.TrimPrefix(c.Bank, "https://")}
	})
	if c := p.changed(p.all()); c.State != wire.ChangeUsed {
		t.Errorf("%+v", c)
	}
}

// TestPaymentModes: a spend where nobody pays, and none where everybody does,
// are refused before anybody is asked.
func TestPaymentModes(t *testing.T) {
	p := newPaid(t, 1, nil)
	p.refused(message(p.all(), strings.NewReader("body")), 402, "payment")
	free := newWorld(t, 1, nil)
	free.refused(paying(free.header(free.epoch, free.ids()...), "body"), 402, "payment")
	away := newPaid(t, 1, func(_ *world, c *router.Config) { c.Bank = "" })
	away.refused(paying(away.all(), "body"), 503, "bank.absent")
	if len(p.bank.questions())+len(away.bank.questions()) != 0 || len(p.nodes[0].heads)+len(free.nodes[0].heads)+len(away.nodes[0].heads) != 0 {
		t.Error("somebody was asked")
	}
}

// TestNothingOfMoneyIsKept: logs and metrics hold nothing of coin, ticket or
// request, whatever happens.
func TestNothingOfMoneyIsKept(t *testing.T) {
	p := newPaid(t, 2, nil)
	var secrets [][]byte
	send := func() {
		h := p.all()
		b := spend(h)
		hash := h.Hash()
		secrets = append(secrets, hash[:], b.Spend.Nonce[:], b.Spend.MAC[:], b.Spend.Blanks[0][:])
		p.post(io.MultiReader(bytes.NewReader(h.Append(b.Append(nil))), strings.NewReader("body")))
	}
	send()
	p.nodes[0].busy.Store(true)
	send()
	p.nodes[1].busy.Store(true)
	send()
	p.bank.set("/v1/hold", hangUp)
	send()
	p.bank.set("/v1/hold", nil)
	p.bank.set("/v1/settle", func(w http.ResponseWriter, _ *http.Request) { httpx.Problem(w, 400, "credit.refund") })
	p.nodes[0].busy.Store(false)
	p.nodes[1].busy.Store(false)
	send()
	p.router.Check(context.Background())
	for _, list := range p.tickets {
		for _, tk := range list {
			secrets = append(secrets, tk.Append(nil), tk.Signature[:])
		}
	}
	rec := httptest.NewRecorder()
	metrics.Handler(p.reg).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	kept := p.log.String() + rec.Body.String()
	if !strings.Contains(kept, "usages_refused_total") || !strings.Contains(kept, "level=INFO") {
		t.Error("no metrics or no log")
	}
	for _, s := range secrets {
		for _, spelled := range []string{string(s), hex.EncodeToString(s[:8]), base64.StdEncoding.EncodeToString(s[:9]), base64.RawURLEncoding.EncodeToString(s[:9])} {
			if strings.Contains(kept, spelled) {
				t.Errorf("%x is kept", s[:8])
			}
		}
	}
}
