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
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// A toll is a fixture whose node is paid, and the bank's ticket key.
type toll struct {
	*fixture
	bank ed25519.PrivateKey
}

func newToll(t *testing.T, change func(*Config)) *toll {
	t.Helper()
	bank := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	return &toll{bank: bank, fixture: newFixture(t, func(c *Config) {
		c.Payment = "coins"
		c.TicketKeys = []string{hex.EncodeToString(bank.Public().(ed25519.PublicKey))}
		c.Prices = map[uint8]uint32{meterRequest: 64, meterBody: 128, meterTokens: 1024_000}
		if change != nil {
			change(c)
		}
	})}
}

// ticket is a valid one for s; the tests' prices make 2^16 units 63 tokens.
func (f *toll) ticket(s *sealedRequest, change func(*wire.Ticket)) string {
	t := wire.Ticket{HeaderHash: s.ask.HeaderHash, Epoch: s.ask.Epoch, Generation: 1, Class: 16, Index: s.ask.Index}
	key := f.bank
	if change != nil {
		change(&t)
	}
	t.Sign(key)
	return t.String()
}

func (f *toll) pay(s *sealedRequest, ticket string) *http.Response {
	f.t.Helper()
	return f.post(defaultRouter, "/v1/request", bytes.NewReader(s.bytes), wire.AskHeader, s.ask.String(), wire.TicketHeader, ticket)
}

// usage reads the trailer of an answer that was read, and verifies it.
func (f *toll) usage(s *sealedRequest, v string) wire.Usage {
	f.t.Helper()
	u, err := wire.ParseUsageTrailer(v)
	if err != nil || !u.Verify(f.record.NodeKey) || u.HeaderHash != s.ask.HeaderHash || u.NodeID != f.record.NodeID || u.Index != 1 || u.Class != 16 {
		f.t.Fatalf("usage %q: %+v, %v", v, u, err)
	}
	return u
}

func (f *toll) ask(s *sealedRequest) (*http.Response, []byte) {
	f.t.Helper()
	resp := f.post(defaultRouter, "/v1/usage", bytes.NewReader(s.ask.HeaderHash[:]))
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp, b
}

func TestUsageIsWhatThePricesSay(t *testing.T) {
	f := newToll(t, nil)
	stream := func(n int, last ...string) http.HandlerFunc {
		all := make([]string, 0, n+2)
		for i := range n {
			all = append(all, fmt.Sprintf(`{"choices":[{"delta":{"content":"%d \"completion_tokens\": 60"}}]}`, i))
		}
		return events(append(append(all, last...), "[DONE]")...)
	}
	document := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, s)
		}
	}
	const short = `{"messages":[]}`
	// Fixed: 64 + 128 for one KiB. A token: 1024, which is one 64th of the class.
	tests := []struct {
		name, body string
		engine     http.HandlerFunc
		used       uint8
	}{
		{"events are tokens", short, stream(10), 11},
		{"the engine's own count", short, stream(10, `{"choices":[],"usage":{"completion_tokens": 4}}`), 5},
		{"a document's own count", short, document(`{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`), 4},
		{"a document without a count", short, document(`{"choices":[0123]}`), 6},
		{"never more than was asked for", `{"messages":[],"max_tokens":5}`, stream(30), 6},
		{"never more than is paid", short, stream(500), 64},
		{"a long body", `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 8<<10) + `"}],"max_tokens":1}`, stream(1), 3},
		{"an engine that refuses", short, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			io.WriteString(w, `{}`)
		}, 0},
		{"an engine that is no engine", short, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }, 0},
		{"refused inside the seal", `{"chat_template":"x"}`, stream(1), 0},
		{"asks for more than is paid", `{"max_tokens":64}`, stream(1), 0},
		{"a body that costs more than the class", `{"x":"` + strings.Repeat("x", 600<<10) + `"}`, stream(1), 0},
		{"several choices", `{"n":2}`, stream(1), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.answerWith(tt.engine)
			s := f.seal(tt.body, option{})
			resp := f.pay(s, f.ticket(s, nil))
			s.open(resp)
			io.Copy(io.Discard, resp.Body)
			if u := f.usage(s, resp.Trailer.Get(wire.UsageTrailer)); u.Used != tt.used {
				t.Errorf("used %d, want %d", u.Used, tt.used)
			}
			// A router that lost the trailer is told the same.
			again, b := f.ask(s)
			u, err := wire.ParseUsage(b)
			if err != nil || again.StatusCode != 200 || u.String() != resp.Trailer.Get(wire.UsageTrailer) {
				t.Errorf("asked again: %d, %v", again.StatusCode, err)
			}
		})
	}
}

func TestNoTicketNoRun(t *testing.T) {
	f := newToll(t, func(c *Config) { c.Tier = 3 })
	good := func(t *wire.Ticket) { t.Tier = 3 }
	tests := map[string]func(*wire.Ticket){
		"header hash":       func(t *wire.Ticket) { t.HeaderHash[0] ^= 1 },
		"epoch":             func(t *wire.Ticket) { t.Epoch++ },
		"another candidate": func(t *wire.Ticket) { t.Index = 0 },
		"attempt":           func(t *wire.Ticket) { t.Attempt = 1 },
		"tier":              func(t *wire.Ticket) { t.Tier = 2 },
		"no tier":           func(t *wire.Ticket) { t.Tier = 0 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			s := f.seal(`{}`, option{})
			before := f.tpm.Commands()
			if code := problemOf(t, f.pay(s, f.ticket(s, func(x *wire.Ticket) { good(x); change(x) }))); code != "ticket" {
				t.Errorf("code %s", code)
			}
			if n := f.tpm.Commands() - before; n != 0 {
				t.Errorf("%d TPM commands for a request without a ticket", n)
			}
		})
	}
	s := f.seal(`{}`, option{})
	for name, header := range map[string]string{"garbage": "AAAA", "another key": func() string {
		other := &toll{fixture: f.fixture, bank: ed25519.NewKeyFromSeed(make([]byte, 32))}
		return other.ticket(s, good)
	}()} {
		if code := problemOf(t, f.pay(s, header)); code != "ticket" {
			t.Errorf("%s: code %s", name, code)
		}
	}
	if code := problemOf(t, f.send(s)); code != "ticket" {
		t.Errorf("without one: code %s", code)
	}
	resp := f.pay(s, f.ticket(s, good))
	s.open(resp)
	if f.calls.Load() != 1 {
		t.Errorf("the engine was asked %d times", f.calls.Load())
	}
}

// A ticket is good for one run, whatever became of it (RT-02, CT-03).
func TestATicketIsUsedUp(t *testing.T) {
	f := newToll(t, nil)
	cut := f.seal(`{}`, option{})
	cut.bytes = cut.bytes[:len(cut.bytes)-1]
	resp := f.pay(cut, f.ticket(cut, nil))
	if code := problemOf(t, resp); code != "stream.truncated" {
		t.Fatalf("code %s", code)
	}
	if u := f.usage(cut, resp.Header.Get(wire.UsageTrailer)); u.Used != 0 {
		t.Errorf("a body that did not come whole used %d", u.Used)
	}
	// Nothing ran, and a usage of 0 is signed: so nothing may run any more.
	if code := problemOf(t, f.pay(cut, f.ticket(cut, nil))); code != "replay" {
		t.Errorf("second use: code %s", code)
	}
	damaged := f.seal(`{}`, option{})
	other := f.seal(`{}`, option{})
	copy(damaged.bytes[damaged.head-48:damaged.head], other.bytes[other.head-48:other.head]) // the sealed key
	if code := problemOf(t, f.pay(damaged, f.ticket(damaged, nil))); code != "header" {
		t.Errorf("an entry that is not the ticket's: code %s", code)
	}
}

// CT-05: hanging up costs what was produced, and no more.
func TestHangingUpIsChargedForWhatWasProduced(t *testing.T) {
	f := newToll(t, nil)
	sent, gone := make(chan struct{}), make(chan struct{})
	f.answerWith(func(w http.ResponseWriter, r *http.Request) {
		events(`{"choices":[]}`, `{"choices":[]}`, `{"choices":[]}`)(w, r)
		close(sent)
		<-gone
	})
	s := f.seal(`{"stream":true}`, option{})
	resp := f.pay(s, f.ticket(s, nil))
	<-sent
	if r, _ := f.ask(s); r.StatusCode != http.StatusConflict {
		t.Errorf("while it runs: status %d", r.StatusCode)
	}
	answer, err := s.req.OpenResponse(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := bhttp.NewReader(answer, bhttp.Limits{})
	if _, _, err := m.ReadResponse(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(m.Body(), make([]byte, 3*len("data: {\"choices\":[]}\n\n"))); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for {
		r, b := f.ask(s)
		if r.StatusCode == http.StatusConflict {
			time.Sleep(time.Millisecond)
			continue
		}
		close(gone)
		u, err := wire.ParseUsage(b)
		if err != nil || u.Used != 4 {
			t.Errorf("status %d, used %d, want 4", r.StatusCode, u.Used)
		}
		return
	}
}

func TestUsageOfNothing(t *testing.T) {
	f := newToll(t, nil)
	if r, _ := f.ask(f.seal(`{}`, option{})); r.StatusCode != http.StatusNotFound {
		t.Errorf("a request that never came: %d", r.StatusCode)
	}
	if r := f.post(defaultRouter, "/v1/usage", strings.NewReader("short")); r.StatusCode != http.StatusBadRequest {
		t.Errorf("no header hash: %d", r.StatusCode)
	}
	if r := f.post(defaultPublisher, "/v1/usage", bytes.NewReader(make([]byte, 32))); r.StatusCode != http.StatusForbidden {
		t.Errorf("another peer: %d", r.StatusCode)
	}
}

func TestUsageWhereNobodyPays(t *testing.T) {
	free := newFixture(t, nil)
	if r := free.post(defaultRouter, "/v1/usage", bytes.NewReader(make([]byte, 32))); r.StatusCode != http.StatusNotFound {
		t.Errorf("a node that nobody pays: %d", r.StatusCode)
	}
}

func TestBillAtItsBounds(t *testing.T) {
	b := func(class uint8, body int64, prices ...uint32) *bill {
		x := &bill{class: class, body: body, given: true, most: 1 << 40, prices: map[uint8]uint32{}}
		for i, p := range prices {
			x.prices[uint8(i)] = p
		}
		return x
	}
	for _, tt := range []struct {
		bill *bill
		cap  int64
	}{
		{b(6, 0, 64), 1 << 40}, {b(6, 0, 65), -1}, {b(6, 1, 0, 64), 1 << 40}, {b(6, 1025, 0, 64), -1},
		{b(6, 1024, 0, 64), 1 << 40}, {b(6, 0, 63, 0, 1000), 1}, {b(6, 0, 63, 0, 1001), -1}, {b(6, 0, 64, 0, 1000), -1},
		{b(40, 0, 0, 0, 1), 1000 << 40},
	} {
		if got := tt.bill.cap(true); got != tt.cap {
			t.Errorf("%+v: cap %d, want %d", tt.bill, got, tt.cap)
		}
	}
	if got := b(6, 0, 64, 0, 1000).cap(false); got != 0 {
		t.Errorf("embeddings: %d", got)
	}
	for _, tt := range []struct {
		bill   *bill
		tokens int64
		used   uint8
	}{
		{b(6, 0), 0, 0}, {b(6, 0, 1), 0, 1}, {b(7, 0, 1), 0, 1}, {b(7, 0, 2), 0, 1}, {b(7, 0, 3), 0, 2},
		{b(6, 0, 64), 0, 64}, {b(6, 0, 65), 0, 64}, {b(40, 1<<30, 1<<31, 1<<31, 1<<31), 1 << 20, 64},
		{b(6, 0, 0, 0, 1), 1, 1}, {b(6, 0, 0, 0, 1000), 64, 64},
	} {
		tt.bill.out.events = tt.tokens
		if got := tt.bill.used(); got != tt.used {
			t.Errorf("%+v: used %d, want %d", tt.bill, got, tt.used)
		}
	}
}

func TestMeterCountsHoweverBytesArrive(t *testing.T) {
	in := "data: {\"a\":1}\n\ndata:{\"b\":2}\n\n: ping\n\nevent: x\ndata:   {}\n\ndata: [DONE]\n\n"
	for step := 1; step <= len(in); step++ {
		var m meter
		for i := 0; i < len(in); i += step {
			m.write([]byte(in[i:min(len(in), i+step)]), true)
		}
		if m.tokens() != 3 {
			t.Fatalf("in steps of %d: %d tokens", step, m.tokens())
		}
	}
	for s, want := range map[string]int64{
		`{"usage":{"completion_tokens":17}}`:                            17,
		strings.Repeat(" ", 2*meterTail) + `{"completion_tokens": 18}`:  18,
		`{"completion_tokens":1}` + strings.Repeat(" ", meterTail):      (23 + meterTail + 3) / 4,
		`{"text":"\"completion_tokens\":999999"}`:                       10,
		`{"completion_tokens":x}`:                                       6,
		`{"completion_tokens":99999999999999999999}`:                    11,
		`{"completion_tokens":5,"text":"\"completion_tokens\":999999"}`: 5,
	} {
		var m meter
		for _, c := range []byte(s) {
			m.write([]byte{c}, false)
		}
		if m.tokens() != want || len(m.tail) > meterTail {
			t.Errorf("%.40q: %d tokens, want %d", s, m.tokens(), want)
		}
	}
}
