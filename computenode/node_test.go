// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/wire"
)

func TestAnswersUnderEveryPolicy(t *testing.T) {
	f := newFixture(t, nil)
	for policy := range uint8(3) {
		o := f.chat(hello, option{policy: policy, padding: 3000})
		if o.status != 200 || o.ctype != "application/json" || !strings.Contains(o.body, "blue") || o.err != nil || len(o.trailers) != 0 {
			t.Errorf("policy %d: %+v", policy, o)
		}
		got := string(<-f.bodies)
		if !strings.Contains(got, "Why is the sky blue?") || !strings.Contains(got, `"model":"toy-gguf"`) || !strings.Contains(got, `"cache_salt":"`) {
			t.Errorf("engine got %s", got)
		}
	}
	f.answerWith(events("1", "2", "[DONE]"))
	for policy := range uint8(3) {
		o := f.chat(`{"stream":true}`, option{policy: policy})
		if o.body != "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n" || o.ctype != "text/event-stream" || o.err != nil {
			t.Errorf("policy %d: %+v", policy, o)
		}
	}
}

func TestARequestTakesTwoTPMCommands(t *testing.T) {
	f := newFixture(t, nil)
	f.chat(hello, option{})
	before := f.tpm.Commands()
	for range 5 {
		f.chat(hello, option{})
	}
	if n := f.tpm.Commands() - before; n != 10 {
		t.Errorf("%d commands for 5 requests", n)
	}
}

func TestLargeRequestAndAnswer(t *testing.T) {
	f := newFixture(t, nil)
	answer := strings.Repeat("0123456789abcdef", 10<<16)
	f.answerWith(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		io.WriteString(w, answer)
	})
	in := `{"messages":[{"content":"` + strings.Repeat("x", 10<<20) + `"}]}`
	o := f.chat(in, option{})
	if o.status != 200 || o.body != answer || o.err != nil {
		t.Errorf("%d, %d bytes, %v", o.status, len(o.body), o.err)
	}
	if got := <-f.bodies; len(got) < 10<<20 || !json.Valid(got) {
		t.Errorf("engine got %d bytes", len(got))
	}
}

func TestReplay(t *testing.T) {
	f := newFixture(t, nil)
	t.Run("CR-16", func(t *testing.T) {
		f.answerWith(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(20 * time.Millisecond)
			events("1")(w, r)
		})
		s := f.seal(hello, option{})
		commands := f.tpm.Commands()
		var ran, replayed atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				resp := f.send(s)
				if resp.StatusCode == 200 {
					ran.Add(1)
					io.Copy(io.Discard, resp.Body)
					return
				}
				if code := problemOf(t, resp); code == "replay" {
					replayed.Add(1)
				} else {
					t.Errorf("code %q", code)
				}
			})
		}
		wg.Wait()
		if ran.Load() != 1 || replayed.Load() != 99 || f.calls.Load() != 1 {
			t.Errorf("%d ran, %d replayed, engine called %d times", ran.Load(), replayed.Load(), f.calls.Load())
		}
		// DS-01: 99 refusals cost the TPM nothing (the first request opens a session).
		if n := f.tpm.Commands() - commands; n > 6 {
			t.Errorf("%d TPM commands", n)
		}
	})
	t.Run("the same key stream under another header", func(t *testing.T) {
		a, b := f.seal(hello, option{}), f.seal(hello, option{})
		a.open(f.send(a))
		// b's header with a's enc: another header hash, an enc that was used.
		b.f.Entry.Enc = a.f.Entry.Enc
		b.f.Hashes[1] = b.f.Entry.Hash()
		b.ask.HeaderHash, _ = b.f.Hash()
		b.bytes = append(b.f.Append(nil), b.bytes[b.head:]...)
		if code := problemOf(t, f.send(b)); code != "replay" {
			t.Errorf("code %q", code)
		}
	})
	t.Run("a request that does not open does not use up another's enc", func(t *testing.T) {
		s := f.seal(hello, option{})
		forged := *s.f
		forged.Entry.SealedDEK = bytes.Clone(forged.Entry.SealedDEK)
		forged.Entry.SealedDEK[0] ^= 1
		forged.Hashes = append([][32]byte(nil), forged.Hashes...)
		forged.Hashes[1] = forged.Entry.Hash()
		resp := f.post(defaultRouter, "/v1/request", bytes.NewReader(append(forged.Append(nil), s.bytes[s.head:]...)))
		if code := problemOf(t, resp); code != "node.rekeyed" {
			t.Errorf("code %q", code)
		}
		if o := s.open(f.send(s)); o.status != 200 {
			t.Errorf("%+v", o)
		}
	})
}

// TestRefusedBeforeTheTPM are headers that are refused for what they say.
func TestRefusedBeforeTheTPM(t *testing.T) {
	f := newFixture(t, nil)
	tests := []struct {
		name, code string
		alter      func(s *sealedRequest)
	}{
		{"another node's id", "header", func(s *sealedRequest) { s.f.Entry.NodeID[0] ^= 1; s.f.Hashes[1] = s.f.Entry.Hash() }},
		{"entry not the hashed one", "header", func(s *sealedRequest) { s.f.Entry.Enc[0] ^= 1 }},
		{"epoch of the future", "epoch", func(s *sealedRequest) { s.f.Common.Epoch = 8 }},
		{"epoch of the past", "node.rekeyed", func(s *sealedRequest) { s.f.Common.Epoch = 6 }},
		{"CR-09", "suite", func(s *sealedRequest) { s.f.Common.Suite.AEAD = hpke.AEADAES128GCM }},
	}
	before := f.tpm.Commands()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := f.seal(hello, option{})
			tt.alter(s)
			resp := f.post(defaultRouter, "/v1/request", bytes.NewReader(append(s.f.Append(nil), s.bytes[s.head:]...)))
			if code := problemOf(t, resp); code != tt.code {
				t.Errorf("code %q", code)
			}
		})
	}
	s := f.seal(hello, option{})
	other := f.seal(hello, option{})
	for name, ask := range map[string]string{"of another request": other.ask.String(), "malformed": "x"} {
		if code := problemOf(t, f.post(defaultRouter, "/v1/request", bytes.NewReader(s.bytes), wire.AskHeader, ask)); code != "header" {
			t.Errorf("ask %s: %q", name, code)
		}
	}
	for _, peer := range []string{"", defaultPublisher, "gateway.sotto"} {
		if code := problemOf(t, f.post(peer, "/v1/request", bytes.NewReader(s.bytes))); code != "peer" {
			t.Errorf("peer %q: %q", peer, code)
		}
	}
	if n := f.tpm.Commands() - before; n != 0 || f.calls.Load() != 0 {
		t.Errorf("%d TPM commands, %d engine calls", n, f.calls.Load())
	}
	if o := s.open(f.send(s)); o.status != 200 {
		t.Errorf("the request itself: %+v", o)
	}
}

// TestCutAndAlteredBodies is CR-01, CR-02 and CR-03 at the node: nothing is
// answered, and no engine gets a whole request.
func TestCutAndAlteredBodies(t *testing.T) {
	f := newFixture(t, nil)
	long := `{"messages":[{"content":"` + strings.Repeat("y", 40<<10) + `"}]}`
	refused := func(t *testing.T, body []byte, codes ...string) {
		t.Helper()
		code := problemOf(t, f.post(defaultRouter, "/v1/request", bytes.NewReader(body)))
		for _, c := range codes {
			if code == c {
				return
			}
		}
		t.Errorf("code %q, want one of %v", code, codes)
	}
	t.Run("CR-01", func(t *testing.T) {
		s := f.seal(hello, option{})
		step := 1 + len(s.bytes)/40
		for i := 0; i < len(s.bytes); i += step {
			refused(t, f.seal(hello, option{}).bytes[:i], "stream.truncated")
		}
		for i := s.head - 1; i <= s.head+5; i++ {
			refused(t, f.seal(hello, option{}).bytes[:i], "stream.truncated")
		}
		refused(t, f.seal(hello, option{}).bytes[:len(s.bytes)-1], "stream.truncated")
	})
	const frame = 4 + 16384 + 16
	t.Run("CR-02", func(t *testing.T) {
		s := f.seal(long, option{})
		refused(t, s.bytes[:s.head+2*frame], "stream.truncated")
		s = f.seal(long, option{})
		s.bytes[s.head+frame] |= 0x80 // the second frame says it is the last
		refused(t, s.bytes[:s.head+2*frame], "stream.truncated")
	})
	t.Run("CR-03", func(t *testing.T) {
		s := f.seal(long, option{})
		one, two := s.bytes[s.head:s.head+frame], s.bytes[s.head+frame:s.head+2*frame]
		refused(t, bytes.Join([][]byte{s.bytes[:s.head], two, one, s.bytes[s.head+2*frame:]}, nil), "stream.auth")
		s = f.seal(long, option{})
		one = s.bytes[s.head : s.head+frame]
		refused(t, bytes.Join([][]byte{s.bytes[:s.head], one, one, s.bytes[s.head+frame:]}, nil), "stream.auth")
		s = f.seal(long, option{})
		refused(t, append(s.bytes, 0), "stream.auth")
		s = f.seal(long, option{})
		s.bytes[s.head+100] ^= 1
		refused(t, s.bytes, "stream.auth")
	})
	t.Run("body of another request", func(t *testing.T) {
		a, b := f.seal(hello, option{}), f.seal(hello, option{})
		refused(t, append(bytes.Clone(a.bytes[:a.head]), b.bytes[b.head:]...), "stream.auth")
	})
	if n := f.calls.Load(); n != 0 {
		t.Errorf("engine got %d whole requests", n)
	}
	if o := f.chat(hello, option{}); o.status != 200 {
		t.Errorf("the next request: %+v", o)
	}
}

func TestBusyIsSignedAndKept(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Running, c.Queued = 1, 1 })
	release := make(chan struct{})
	f.answerWith(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		events("1")(w, r)
	})
	done := make(chan opened, 2)
	var running *sealedRequest
	for range 2 {
		s := f.seal(hello, option{})
		running = s
		go func() { done <- s.open(f.send(s)) }()
	}
	waitFor(t, func() bool { return f.node.gate.full() })
	waitFor(t, func() bool { // both are marked
		m := f.node.epoch(f.record.Epoch).seen
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.seen) == 4
	})
	if state := f.health(); state != "busy" {
		t.Errorf("health %q", state)
	}
	s := f.seal(hello, option{})
	s.ask.Attempt = 2
	t.Run("RT-02", func(t *testing.T) {
		// A request that is running is none that the node was too busy for.
		if code := problemOf(t, f.send(running)); code != "replay" {
			t.Errorf("a receipt for a request that runs: code %q", code)
		}
	})
	commands := f.tpm.Commands()
	for _, resp := range []*http.Response{
		f.send(s),
		f.post(defaultRouter, "/v1/request", bytes.NewReader(s.bytes)), // a router that does not ask
	} {
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 503 || resp.Header.Get("Content-Type") != typeBusy {
			t.Fatalf("%d %q %v", resp.StatusCode, b, err)
		}
		receipt, err := wire.ParseBusyReceipt(b)
		if err != nil || !receipt.Verify(f.record.NodeKey) {
			t.Fatalf("receipt: %v", err)
		}
		want := s.ask
		if resp.Request.Header.Get(wire.AskHeader) == "" {
			want.Attempt = 0
		}
		if !receipt.Answers(want, f.record.NodeID) {
			t.Errorf("receipt %+v", receipt)
		}
	}
	if f.tpm.Commands() != commands {
		t.Error("a receipt cost TPM commands")
	}
	close(release)
	for range 2 {
		if o := <-done; o.status != 200 {
			t.Errorf("%+v", o)
		}
	}
	waitFor(t, func() bool { return f.node.gate.count() == 0 })
	t.Run("RT-02", func(t *testing.T) {
		// Another candidate may have it by now, with the receipt as its reason.
		s.ask.Attempt = 0
		if code := problemOf(t, f.send(s)); code != "replay" {
			t.Errorf("a request with a receipt: code %q", code)
		}
	})
	if o := f.chat(hello, option{}); o.status != 200 {
		t.Errorf("the prompt sealed again: %+v", o)
	}
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("waited in vain")
}

func TestRateIsPerNodeAndSparesTheTPM(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Rate, c.Burst = 0.001, 3 })
	t.Run("DS-01", func(t *testing.T) {
		for range 3 {
			if o := f.chat(hello, option{}); o.status != 200 {
				t.Fatalf("%+v", o)
			}
		}
		before := f.tpm.Commands()
		s := f.seal(hello, option{})
		for range 20 {
			if code := problemOf(t, f.send(s)); code != "rate" {
				t.Fatalf("code %q", code) // and not replay: nothing was used up
			}
		}
		if n := f.tpm.Commands() - before; n != 0 {
			t.Errorf("%d TPM commands beyond the rate", n)
		}
	})
}

func TestMemoryOfRequestsIsBounded(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Remembered = 2 })
	for range 2 {
		f.chat(hello, option{})
	}
	resp := f.send(f.seal(hello, option{}))
	if resp.StatusCode != 503 || resp.Header.Get("Content-Type") != typeBusy {
		t.Errorf("a node that cannot remember answered %d", resp.StatusCode)
	}
}

func (f *fixture) health() string {
	f.t.Helper()
	req, _ := http.NewRequestWithContext(f.t.Context(), "GET", f.url+"/v1/health", nil)
	req.Header.Set("Peer", defaultRouter)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	var h struct {
		State, Node string
		Epoch       uint64
	}
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		f.t.Fatal(err)
	}
	return h.State
}
