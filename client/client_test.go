// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// canary stands for a prompt: no error, report or dump may hold it.
const canary = "KANARIENVOGEL-4711"

func body(prompt string) string {
	b, _ := json.Marshal(map[string]any{"model": clienttest.Model, "messages": []any{map[string]string{"role": "user", "content": prompt}}})
	return string(b)
}

func request(t testing.TB, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return req
}

const chatURL = client.BaseURL + "/chat/completions"

// ask sends one request and reads the answer to its end.
func ask(t testing.TB, c *client.Client) (string, error) {
	t.Helper()
	resp, err := c.RoundTrip(request(t, chatURL, body(canary)))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func mustAsk(t testing.TB, c *client.Client) {
	t.Helper()
	if got, err := ask(t, c); err != nil || got != `{"answer":"hello"}` {
		t.Fatalf("an honest world: %q, %v", got, err)
	}
}

// refused checks the code of an error, and that it says nothing of the prompt.
func refused(t testing.TB, err error, codes ...string) {
	t.Helper()
	if code := client.CodeOf(err); !slices.Contains(codes, code) || code == "" {
		t.Errorf("got %v, want %v", err, codes)
	}
	for _, f := range []string{"%v", "%+v", "%#v", "%q"} {
		if s := fmt.Sprintf(f, err); strings.Contains(s, canary) {
			t.Errorf("the error holds the prompt: %s", s)
		}
	}
}

func TestAnswer(t *testing.T) {
	w := clienttest.Start(t, 4)
	c := w.Client()
	mustAsk(t, c)
	seen := w.Seen()
	if len(seen) != 1 || string(seen[0].Content) != body(canary) || seen[0].Head.Path != "/v1/chat/completions" || seen[0].Attempt != 0 {
		t.Fatalf("nodes saw %+v", seen)
	}
	for _, addr := range w.Meter.Dials() {
		if addr != strings.TrimPrefix(w.Relays[0].URL, "https://") && addr != strings.TrimPrefix(w.Relays[1].URL, "https://") {
			t.Errorf("%s was dialled, which is no relay", addr)
		}
	}
	r := c.Report()
	if r == nil || len(r.Nodes) != 3 || !r.Simulated || r.Verdict != "verified with named gaps" || r.Mirrors != 2 {
		t.Errorf("%+v", r)
	}
	if models, err := c.Models(t.Context()); err != nil || len(models) != 1 || models[0].Name != clienttest.Model || models[0].Nodes != 4 {
		t.Errorf("%v %v", models, err)
	}
}

func TestErrorsOfTheNodePassThrough(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Answer(func(x *clienttest.Exchange) { x.Reply(429, "application/json", `{"error":{"message":"slow down"}}`) })
	resp, err := w.Client().RoundTrip(request(t, chatURL, body(canary)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != 429 || err != nil || !strings.Contains(string(b), "slow down") {
		t.Errorf("%d %q %v", resp.StatusCode, b, err)
	}
}

// TestNothingOfTheApplicationLeaves: header fields and members that name a
// person or a program end in the client.
func TestNothingOfTheApplicationLeaves(t *testing.T) {
	w := clienttest.Start(t, 3)
	var mu sync.Mutex
	outer := map[string]http.Header{}
	watch := func(name string, hop *clienttest.Hop) {
		hop.Intercept(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				mu.Lock()
				outer[name+" "+r.URL.Path] = r.Header.Clone()
				mu.Unlock()
				h.ServeHTTP(rw, r)
			})
		})
	}
	for i, r := range w.Relays {
		watch(fmt.Sprintf("relay %d", i), r)
	}
	watch("gateway", w.Gateway)
	watch("router", w.Router)
	for _, n := range w.Nodes {
		watch("node", n.Hop())
	}
	const me = "EVERYTHING-ABOUT-ME"
	c := w.Client()
	send := func(conversation string) []bhttp.Field {
		req := request(t, chatURL, `{ "user":"`+me+`","metadata":{"a":"`+me+`"}, "safety_identifier":"`+me+`","store":true,
			"model":"toy", "temperature":1.50,"messages":[]}`)
		for _, name := range []string{"Authorization", "User-Agent", "Cookie", "OpenAI-Organization", "OpenAI-Project", "X-Stainless-Os", "X-Stainless-Runtime",
			"Accept-Language", "Traceparent", "Tracestate", "Baggage", "B3", "X-B3-Traceid", "X-Request-Id", "X-Forwarded-For", "Via", "Date", "Referer", "Idempotency-Key"} {
			req.Header.Set(name, me)
		}
		if conversation != "" {
			req.Header.Set(client.ConversationHeader, conversation)
		}
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		seen := w.Seen()
		if len(seen) != 1 || string(seen[0].Content) != `{"model":"toy","temperature":1.5,"messages":[]}` {
			t.Fatalf("the node saw %q", seen[0].Content)
		}
		return seen[0].Head.Fields
	}
	t.Run("CL-08", func(t *testing.T) {
		if fields := send(""); !slices.Equal(fields, []bhttp.Field{{Name: "content-type", Value: "application/json"}}) {
			t.Errorf("inner fields %v", fields)
		}
	})
	t.Run("RT-13", func(t *testing.T) {
		mu.Lock()
		defer mu.Unlock()
		for where, h := range outer {
			names := slices.Sorted(maps.Keys(h))
			var dump bytes.Buffer
			h.Write(&dump)
			if strings.Contains(dump.String(), me) {
				t.Errorf("%s: %s", where, &dump)
			}
			if strings.HasPrefix(where, "relay") && strings.HasSuffix(where, "/ohttp") {
				if !slices.Equal(names, []string{"Content-Length", "Content-Type", "Incremental"}) {
					t.Errorf("%s: header fields %v", where, names)
				}
			} else if strings.HasPrefix(where, "relay") && len(names) != 0 {
				t.Errorf("%s: header fields %v", where, names)
			}
		}
		if len(outer) < 6 {
			t.Errorf("watched %v only", slices.Sorted(maps.Keys(outer)))
		}
	})
	t.Run("TN-01", func(t *testing.T) {
		secret := "a-secret-of-32-characters-in-all"
		fields := send(secret)
		if len(fields) != 2 || fields[1] != (bhttp.Field{Name: "sotto-conversation", Value: secret}) {
			t.Errorf("inner fields %v", fields)
		}
		mu.Lock()
		defer mu.Unlock()
		for where, h := range outer {
			if h.Get(client.ConversationHeader) != "" {
				t.Errorf("%s saw the conversation's secret", where)
			}
		}
	})
}

// sealedTo returns the headers of sealed requests as the router sees them.
func sealedTo(t *testing.T, w *clienttest.World) func() []*hpke.Header {
	t.Helper()
	var mu sync.Mutex
	var headers []*hpke.Header
	w.Router.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/request" {
				b, _ := io.ReadAll(r.Body)
				if header, err := hpke.ReadHeader(bytes.NewReader(b[wire.RoutingBlockSize:])); err == nil {
					mu.Lock()
					headers = append(headers, header)
					mu.Unlock()
				}
				r.Body = io.NopCloser(bytes.NewReader(b))
			}
			h.ServeHTTP(rw, r)
		})
	})
	return func() []*hpke.Header {
		mu.Lock()
		defer mu.Unlock()
		out := headers
		headers = nil
		return out
	}
}

// TestDraw: a client is not known again by the nodes it draws.
func TestDraw(t *testing.T) {
	w := clienttest.Start(t, 6)
	headers := sealedTo(t, w)
	c := w.Client()
	t.Run("RT-08", func(t *testing.T) {
		const n = 120
		for range n {
			mustAsk(t, c)
		}
		per, sets, repeats := map[[32]byte]int{}, map[string]int{}, 0
		last := ""
		for _, h := range headers() {
			ids := h.CandidateIDs()
			if len(ids) != 3 || hpke.Duplicates(ids) {
				t.Fatalf("%d candidates", len(ids))
			}
			for _, id := range ids {
				per[id]++
			}
			slices.SortFunc(ids, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
			set := fmt.Sprint(ids)
			if sets[set]++; set == last {
				repeats++
			}
			last = set
		}
		// Each node is in half of the draws: 60, with a deviation of 5.5. There
		// are 20 sets, so 6 draws repeat the one before.
		for id, k := range per {
			if k < 60-33 || k > 60+33 {
				t.Errorf("node %x is in %d of %d draws", id[:4], k, n)
			}
		}
		if len(per) != 6 || len(sets) < 15 || repeats > 24 {
			t.Errorf("%d nodes, %d sets, %d repeats", len(per), len(sets), repeats)
		}
	})
	t.Run("RT-04", func(t *testing.T) {
		w.Epoch(time.Now(), time.Hour, clienttest.Edit{Nodes: w.Nodes[:1]})
		c := w.Client()
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, client.CodeSmallSet)
		})
		one := w.Client(func(cfg *client.Config) { cfg.Candidates = 1 })
		mustAsk(t, one) // the user's own choice
	})
}

// TestRetries: a retry is sealed afresh, waits for a while that is not always
// the same, and there are two at most.
func TestRetries(t *testing.T) {
	w := clienttest.Start(t, 3)
	headers := sealedTo(t, w)
	c := w.Client()
	mustAsk(t, c)
	headers()
	w.Seen()
	var mu sync.Mutex
	var times []time.Time
	var bodies [][]byte
	for _, r := range w.Relays {
		r.Intercept(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(b))
				mu.Lock()
				times, bodies = append(times, time.Now()), append(bodies, b)
				mu.Unlock()
				h.ServeHTTP(rw, r)
			})
		})
	}
	t.Run("CL-14", func(t *testing.T) {
		for _, n := range w.Nodes {
			n.Busy(2) // the whole of two attempts
		}
		mustAsk(t, c)
		seen := w.Seen()
		if len(seen) != 1 || seen[0].Attempt != 2 {
			t.Fatalf("nodes saw %d requests, the first of attempt %d", len(seen), seen[0].Attempt)
		}
		sealed := headers()
		if len(bodies) != 3 || len(sealed) != 3 {
			t.Fatalf("%d requests at the relays, %d at the router", len(bodies), len(sealed))
		}
		for i := range 3 {
			for j := range i {
				if sealed[i].Common.BodyNonce == sealed[j].Common.BodyNonce || sealed[i].Hash() == sealed[j].Hash() || common(bodies[i], bodies[j]) > 16 {
					t.Errorf("attempts %d and %d share ciphertext", j, i)
				}
				if !sameSet(sealed[i].CandidateIDs(), sealed[j].CandidateIDs()) {
					t.Errorf("attempts %d and %d have other candidates", j, i)
				}
			}
		}
		if a, b := times[1].Sub(times[0]), times[2].Sub(times[1]); a < 25*time.Millisecond || b < 50*time.Millisecond {
			t.Errorf("pauses of %v and %v", a, b)
		}
		for _, n := range w.Nodes {
			n.Busy(100)
		}
		bodies = nil
		_, err := ask(t, c)
		refused(t, err, client.CodeBusy, "busy")
		if len(bodies) != 3 {
			t.Errorf("%d attempts", len(bodies))
		}
	})
}

// common is the length of the longest run of bytes that a and b share at one
// offset behind the outer header, in bytes.
func common(a, b []byte) (longest int) {
	run := 0
	for i := 64; i < min(len(a), len(b)); i++ {
		if a[i] != b[i] {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

func sameSet(a, b [][32]byte) bool {
	order := func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }
	a, b = slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order)
	return slices.Equal(a, b)
}
