// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
)

func TestAttestProvesANodeNow(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	n := w.Nodes[1]
	id := n.ID()
	if got, err := c.FindNode(t.Context(), strings.ToUpper(hex.EncodeToString(id[:5]))); err != nil || got != id {
		t.Errorf("%x, %v", got, err)
	}
	before := time.Now()
	a, err := c.Attest(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if a.Drawn.Before(before) || a.Took <= 0 || a.Verdict != "verified with named gaps" || !a.Simulated || a.Node.Report == nil || a.Node.ID != hex.EncodeToString(id[:]) {
		t.Errorf("%+v", a)
	}
	// G-09: the challenge, who drew it, and where it came back.
	text := a.Text()
	for _, want := range []string{a.Challenge, "crypto/rand", a.Qualifier, "extraData", "TPMS_ATTEST", "SIMULATED HARDWARE", "node " + a.Node.ID[:16]} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	again, err := c.Attest(t.Context(), id)
	if err != nil || again.Challenge == a.Challenge || len(a.Challenge) != 64 {
		t.Errorf("the same challenge twice: %v", err)
	}
	if b, err := json.Marshal(a); err != nil || !bytes.Contains(b, []byte(`"challenge_origin"`)) {
		t.Errorf("%s, %v", b, err)
	}
}

// hostile puts f before the honest answer of a node to challenges.
func hostile(n *clienttest.Node, f func(q clienttest.AttestQuestion, w http.ResponseWriter) (honest clienttest.AttestQuestion, answered bool)) {
	n.Hop().Intercept(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/attest" {
				honest.ServeHTTP(w, r)
				return
			}
			var q clienttest.AttestQuestion
			if json.NewDecoder(r.Body).Decode(&q) != nil {
				panic(http.ErrAbortHandler)
			}
			q, done := f(q, w)
			if done {
				return
			}
			b, _ := json.Marshal(q)
			r2 := r.Clone(r.Context())
			r2.Body, r2.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			honest.ServeHTTP(w, r2)
		})
	})
}

// TestAttestRefuses: whatever a node or a router answers, only a quote by this
// node over this challenge will do.
func TestAttestRefuses(t *testing.T) {
	w := clienttest.Start(t, 3)
	n, other := w.Nodes[0], w.Nodes[1]
	old := n.Digest()
	w.Epoch(time.Now().Add(-time.Second), time.Hour)
	answer := func(edit func(*clienttest.AttestAnswer, [32]byte)) func(clienttest.AttestQuestion, http.ResponseWriter) (clienttest.AttestQuestion, bool) {
		return func(q clienttest.AttestQuestion, rw http.ResponseWriter) (clienttest.AttestQuestion, bool) {
			digest, challenge := n.Digest(), [32]byte(q.Challenge)
			a := clienttest.AttestAnswer{Epoch: q.Epoch, Evidence: digest[:], Freshness: n.Quote(challenge, digest)}
			edit(&a, challenge)
			clienttest.Answer(rw, a)
			return q, true
		}
	}
	var recorded []byte
	hostile(n, answer(func(a *clienttest.AttestAnswer, _ [32]byte) { recorded = a.Freshness }))
	c := w.Client()
	if _, err := c.Attest(t.Context(), n.ID()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		id, name, code string
		edit           func(a *clienttest.AttestAnswer, challenge [32]byte)
	}{
		{"AT-03", "the answer to an earlier challenge", "att.nonce", func(a *clienttest.AttestAnswer, _ [32]byte) { a.Freshness = recorded }},
		{"AT-03", "the answer to another's challenge", "att.nonce", func(a *clienttest.AttestAnswer, _ [32]byte) { a.Freshness = n.Quote([32]byte{7}, n.Digest()) }},
		{"AT-05", "a challenge that is said to be ours", "att.nonce", func(a *clienttest.AttestAnswer, c [32]byte) {
			c[0] ^= 1
			a.Freshness = n.Quote(c, n.Digest())
		}},
		{"AT-02", "over the evidence of another epoch", "att.nonce", func(a *clienttest.AttestAnswer, c [32]byte) { a.Freshness = n.Quote(c, old) }},
		{"AT-02", "and it says so", "att.digest", func(a *clienttest.AttestAnswer, c [32]byte) { a.Freshness, a.Evidence = n.Quote(c, old), old[:] }},
		{"AT-02", "of another epoch", "att.epoch", func(a *clienttest.AttestAnswer, _ [32]byte) { a.Epoch-- }},
		{"AT-24", "by another node", "att.quote", func(a *clienttest.AttestAnswer, c [32]byte) { a.Freshness = other.Quote(c, n.Digest()) }},
		{"AT-24", "about another node", "att.digest", func(a *clienttest.AttestAnswer, c [32]byte) {
			d := other.Digest()
			a.Freshness, a.Evidence = other.Quote(c, d), d[:]
		}},
		{"forged", "a flipped bit", "att.quote", func(a *clienttest.AttestAnswer, _ [32]byte) { a.Freshness[40] ^= 1 }},
		{"absent", "nothing", "att.format", func(a *clienttest.AttestAnswer, _ [32]byte) { a.Freshness = nil }},
	} {
		t.Run(tc.id+"/"+tc.name, func(t *testing.T) {
			hostile(n, answer(tc.edit))
			a, err := c.Attest(t.Context(), n.ID())
			if got := client.CodeOf(err); got != tc.code {
				t.Errorf("%q (%v), want %q", got, err, tc.code)
			}
			if a == nil || a.Verdict != "failed" || a.Node.Code != tc.code || !strings.Contains(a.Text(), "REFUSED") {
				t.Errorf("%+v", a)
			}
		})
	}
	t.Run("AT-02/the machine changed", func(t *testing.T) {
		n.Hop().Intercept(nil)
		n.Harm()
		if _, err := c.Attest(t.Context(), n.ID()); client.CodeOf(err) != "att.pcr.value" {
			t.Errorf("%v", err)
		}
	})
}

// TestAttestWithoutAnAnswer: what is no answer is an error with a code, and no
// verdict that somebody on the way could have given.
func TestAttestWithoutAnAnswer(t *testing.T) {
	w := clienttest.Start(t, 3)
	c, n := w.Client(), w.Nodes[0]
	problem := func(status int, body string) {
		w.Router.Intercept(func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/attest" {
					honest.ServeHTTP(rw, r)
					return
				}
				rw.Header().Set("Content-Type", "application/problem+json")
				rw.WriteHeader(status)
				io.WriteString(rw, body)
			})
		})
	}
	for _, tc := range []struct {
		status     int
		body, code string
	}{
		{429, `{"code":"busy"}`, "busy"}, {502, `{"code":"node.unreachable"}`, "node.unreachable"},
		{403, `{"code":"att.quote"}`, "router.status"}, // verdicts are the client's own
		{200, `no JSON`, "att.format"}, {200, `{} {}`, "att.format"}, {200, `{"verdict":"verified"}`, "att.format"},
	} {
		problem(tc.status, tc.body)
		a, err := c.Attest(t.Context(), n.ID())
		if got := client.CodeOf(err); got != tc.code || a != nil {
			t.Errorf("%d %s: %q (%v)", tc.status, tc.body, got, err)
		}
		var own *client.Error
		if errors.As(err, &own) && own.Sent {
			t.Error("it says that a prompt was sent")
		}
	}
	w.Router.Intercept(nil)
	if _, err := c.Attest(t.Context(), [32]byte{1}); client.CodeOf(err) != client.CodeNode {
		t.Errorf("a node of no statement: %v", err)
	}
	for _, prefix := range []string{"", "zz", "\x1b[2J", strings.Repeat("a", 65)} {
		if _, err := c.FindNode(t.Context(), prefix); client.CodeOf(err) != client.CodeNode || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	blind := w.Client(func(cfg *client.Config) {
		p := *cfg.Policy
		p.WithoutFreshness = true
		cfg.Policy = &p
	})
	if _, err := blind.Attest(t.Context(), n.ID()); client.CodeOf(err) != "att.policy" {
		t.Errorf("a policy that looks at no freshness: %v", err)
	}
}

// TestAttestSaysNothingOfTheUser: the question is the same bytes but for the
// challenge, in one size, through a relay as everything else.
func TestAttestSaysNothingOfTheUser(t *testing.T) {
	w := clienttest.Start(t, 3)
	var mu sync.Mutex // guards both
	var sizes []int64
	var bodies []string
	for _, hop := range w.Relays {
		hop.Intercept(func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/ohttp" {
					mu.Lock()
					sizes = append(sizes, r.ContentLength)
					mu.Unlock()
				}
				honest.ServeHTTP(rw, r)
			})
		})
	}
	w.Router.Intercept(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/attest" {
				b, _ := io.ReadAll(r.Body)
				mu.Lock()
				bodies = append(bodies, string(b))
				mu.Unlock()
				r.Body = io.NopCloser(bytes.NewReader(b))
			}
			honest.ServeHTTP(rw, r)
		})
	})
	a, b := w.Client(), w.Client(func(c *client.Config) { c.Candidates = 1 })
	for _, c := range []*client.Client{a, b} {
		if _, err := c.Models(t.Context()); err != nil { // the world, first
			t.Fatal(err)
		}
	}
	mu.Lock()
	sizes = nil
	mu.Unlock()
	for _, c := range []*client.Client{a, b} {
		for _, n := range w.Nodes {
			if _, err := c.Attest(t.Context(), n.ID()); err != nil {
				t.Fatal(err)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, n := range sizes {
		if n != 8192 {
			t.Errorf("a relay saw %d bytes", n)
		}
	}
	for i, s := range bodies {
		if len(s) != len(bodies[0]) {
			t.Errorf("question %d has %d bytes, the first %d", i, len(s), len(bodies[0]))
		}
		var q map[string]any
		if err := json.Unmarshal([]byte(s), &q); err != nil || len(q) != 3 {
			t.Errorf("%s", s)
		}
	}
	if len(sizes) != 6 || len(bodies) != 6 {
		t.Errorf("%d and %d questions", len(sizes), len(bodies))
	}
}
