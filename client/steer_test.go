// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// shelf is a steering store in memory, and a pile of receipts.
type shelf struct {
	mu       sync.Mutex
	state    []byte
	saves    int
	fail     error
	receipts []steer.Receipt
}

func (s *shelf) Load() ([]byte, error) { return s.state, nil }

func (s *shelf) Save(b []byte) error {
	if s.fail != nil {
		return s.fail
	}
	s.state, s.saves = b, s.saves+1
	return nil
}

func (s *shelf) keep(r steer.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receipts = append(s.receipts, r)
}

func (s *shelf) config(cfg *client.Config) {
	cfg.Steering, cfg.SteeringStore, cfg.Receipt = client.SteeringDefault, s, s.keep
}

// TestRetryIsAskedInTheSameOrder: attempts at the router have one order, over
// the first attempt's header hash, so a refusal wins nobody another place.
func TestRetryIsAskedInTheSameOrder(t *testing.T) {
	w := clienttest.Start(t, 5)
	var s shelf
	var mu sync.Mutex
	var blocks []wire.RoutingBlock
	var hashes [][32]byte
	atRouter("/v1/request", func(rw http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(rw, r, 64<<20)
		b, _ := io.ReadAll(r.Body)
		block, err := wire.ParseRoutingBlock(b[:wire.RoutingBlockSize])
		h, herr := hpke.ReadHeader(bytes.NewReader(b[wire.RoutingBlockSize:]))
		if err != nil || herr != nil {
			t.Error(err, herr)
		}
		mu.Lock()
		blocks, hashes = append(blocks, block), append(hashes, h.Hash())
		mu.Unlock()
		httpx.Problem(rw, http.StatusServiceUnavailable, "node.busy")
	})(w)
	c := w.Client(s.config)
	for _, row := range []string{"RT-03", "CL-14"} {
		t.Run(row, func(t *testing.T) {
			blocks, hashes, s.receipts = nil, nil, nil
			_, err := ask(t, c)
			refused(t, err, client.CodeBusy)
			if len(blocks) != 3 {
				t.Fatalf("%d attempts", len(blocks))
			}
			for i, b := range blocks {
				if int(b.Attempt) != i || b.DrawnOver(hashes[i]) != hashes[0] || i > 0 && hashes[i] == hashes[0] {
					t.Errorf("attempt %d is drawn over another hash, or sealed as before", i)
				}
			}
			if len(s.receipts) != 1 || s.receipts[0].Outcome != steer.Failed || s.receipts[0].Proof.Origin != hashes[0] {
				t.Errorf("receipts %+v", s.receipts)
			}
		})
	}
	if r := c.Report().Steering; r.Requests != 2 || r.Failed != 2 || r.Retries != 4 {
		t.Errorf("%+v", r)
	}
}

// TestSteeringAlarm: a router that fails what its own node is not first for is
// reported and then refused, before a byte is sent; the count outlives the client.
func TestSteeringAlarm(t *testing.T) {
	w := clienttest.Start(t, 6)
	var s shelf
	c := w.Client(s.config)
	mustAsk(t, c)
	atRouter("/v1/request", func(rw http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(rw, r, 64<<20)
		io.Copy(io.Discard, r.Body)
		httpx.Problem(rw, http.StatusBadGateway, "node.failed")
	})(w)
	t.Run("RT-03", func(t *testing.T) {
		warned := 0
		for n := 1; ; n++ {
			_, err := ask(t, c)
			if client.CodeOf(err) == client.CodeSteering {
				break
			}
			refused(t, err, "node.failed")
			if r := c.Report(); r.Steering.Code != "" && warned == 0 {
				warned = n
				if !strings.Contains(r.Text(), "STEERING    route.steering: warn") || !strings.HasPrefix(r.Summary(), "SIMULATED HARDWARE. STEERING") {
					t.Errorf("not loud: %q, %q", r.Text(), r.Summary())
				}
			}
			if n > 200 {
				t.Fatal("200 failures in a row and no alarm")
			}
		}
		if warned == 0 {
			t.Error("refused without a warning before")
		}
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, client.CodeSteering)
		})
		w.NoSend(t, func() { // another client with the same state
			_, err := ask(t, w.Client(s.config))
			refused(t, err, client.CodeSteering)
		})
		_, err := ask(t, w.Client(s.config, func(cfg *client.Config) { cfg.Steering = client.SteeringWarn }))
		refused(t, err, "node.failed")
	})
	if s.saves == 0 {
		t.Error("nothing was saved")
	}
	// Whoever steers may run the log, too, and can begin as many epochs as he likes in
	// an hour, and say that they began when he likes.
	t.Run("RT-03/epochs are not hours", func(t *testing.T) {
		w.Router.Intercept(nil)
		for i := range 12 {
			w.Epoch(time.Now().Add(time.Duration(i-11)*time.Hour), 12*time.Hour)
		}
		w.NoSend(t, func() {
			_, err := ask(t, w.Client(s.config))
			refused(t, err, client.CodeSteering)
		})
	})
	// The alarm stood a little over odds of 10^8 to 1 when sending stopped, for a
	// failure multiplies them by 15 at most, and one more came since. Odds lose half
	// of their logarithm in 24 hours: from 10^10.4 they are below after 10.
	t.Run("RT-03/it fades without a request", func(t *testing.T) {
		again := w.Client(s.config)
		w.NoSend(t, func() {
			_, err := ask(t, again)
			refused(t, err, client.CodeSteering)
			if err == nil || !strings.Contains(err.Error(), "sotto audit forget --steering") {
				t.Errorf("does not say what to do: %v", err)
			}
		})
		again.Close()
		age(t, &s, 11)
		mustAsk(t, w.Client(s.config))
	})
}

// age makes a statistic some hours older: its hour is behind a label of 15 bytes.
func age(t *testing.T, s *shelf, hours uint64) {
	t.Helper()
	b := bytes.Clone(s.state)
	at := b[15:23]
	binary.BigEndian.PutUint64(at, binary.BigEndian.Uint64(at)-hours)
	m, err := steer.Parse(b)
	if err != nil || m.Totals().Hour+hours > steer.Hour(time.Now()) {
		t.Fatalf("no hour there: %v", err)
	}
	s.state = b
}

func TestSteeringConfig(t *testing.T) {
	w := clienttest.Start(t, 3)
	for name, tune := range map[string]func(*client.Config){
		"an unknown policy":  func(cfg *client.Config) { cfg.Steering = "ignore" },
		"a smallest set < k": func(cfg *client.Config) { cfg.MinSet = 2 },
	} {
		cfg := w.Config()
		tune(&cfg)
		if _, err := client.New(cfg); client.CodeOf(err) != client.CodeConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.NoSend(t, func() {
		_, err := ask(t, w.Client(func(cfg *client.Config) { cfg.SteeringStore = &shelf{state: []byte("no meter")} }))
		refused(t, err, state.CodeUnreadable)
	})
	s := &shelf{fail: errors.New("disk full")}
	c := w.Client(s.config)
	mustAsk(t, c)
	c.Close()
	if r := c.Report(); !strings.Contains(r.Text(), "could not be kept: disk full") {
		t.Errorf("a statistic that is lost is not said: %q", r.Text())
	}
	s.fail = nil
	c.Close()
	if m, err := steer.Parse(s.state); err != nil || m.Totals().Requests != 1 {
		t.Errorf("%v", err)
	}
}

// TestSmallestSet: a roster below what the user's own file names is refused,
// also where it is long but few of it can be drawn.
func TestSmallestSet(t *testing.T) {
	w := clienttest.Start(t, 5)
	want := func(n int) func(*client.Config) { return func(cfg *client.Config) { cfg.MinSet = n } }
	t.Run("RT-04", func(t *testing.T) {
		w.NoSend(t, func() {
			_, err := ask(t, w.Client(want(6)))
			refused(t, err, client.CodeSmallSet)
		})
		mustAsk(t, w.Client(want(5)))
	})
}

// TestWhatCounts: how a request ended, as the statistic and receipts have it.
func TestWhatCounts(t *testing.T) {
	w := clienttest.Start(t, 3)
	var s shelf
	c := w.Client(s.config)
	last := func() steer.Receipt {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.receipts) != 1 {
			t.Fatalf("%d receipts", len(s.receipts))
		}
		r := s.receipts[0]
		s.receipts = nil
		if b, err := r.Append(nil); err != nil {
			t.Error(err)
		} else if _, err := steer.ParseReceipt(b); err != nil {
			t.Error(err)
		}
		return r
	}
	mustAsk(t, c)
	if r := last(); r.Outcome != steer.Answered || r.Position != 0 {
		t.Errorf("%+v", r)
	}
	for range 30 { // until the busy one is first
		w.Nodes[0].Busy(1)
		mustAsk(t, c)
		r := last()
		w.Nodes[0].Busy(0)
		if r.Position == 1 {
			if r.IDs[0] != w.Nodes[0].ID() || len(r.Proof.Busy) != 1 {
				t.Errorf("%+v", r)
			}
			break
		}
	}
	w.Answer(func(x *clienttest.Exchange) {
		x.Begin(200, bhttp.Field{Name: "content-type", Value: "text/plain"}).Say("half")
		panic(http.ErrAbortHandler)
	})
	if _, err := ask(t, c); err == nil {
		t.Error("half an answer")
	}
	if r := last(); r.Outcome != steer.Failed {
		t.Errorf("a cut answer: %+v", r)
	}
	// An application that stops reading says nothing about the router.
	w.Answer(func(x *clienttest.Exchange) { x.Reply(200, "text/plain", strings.Repeat("much ", 1<<10)) })
	resp, err := c.RoundTrip(request(t, client.BaseURL+"/chat/completions", body("hello")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if r := last(); r.Outcome != steer.Answered {
		t.Errorf("an answer that was not wanted to its end: %+v", r)
	}
	t.Run("RT-01", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) { x.Reply(200, "text/plain", "x") })
		w.Router.Intercept(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/request" {
					h.ServeHTTP(rw, r)
					return
				}
				io.Copy(io.Discard, r.Body)
				rec := wire.RouteRecord{Index: 7}
				rw.Header().Set("Content-Type", "application/sotto-response")
				rw.Write(append(rec.Append(nil), make([]byte, 100)...))
			})
		})
		_, err := ask(t, c)
		refused(t, err, client.CodeCandidate)
		if r := last(); r.Outcome != steer.Skipped {
			t.Errorf("%+v", r)
		}
		if a := c.Report().Steering.Alarms; !slices.ContainsFunc(a, func(a client.SteeringAlarm) bool { return a.Kind == "skip" && a.Level == "warn" }) {
			t.Errorf("alarms %+v", a)
		}
	})
}

// TestCollusion: router and a node together see candidate sets, times and one
// prompt each. What links two requests of one user by their sets is what links
// two of different users: chance.
func TestCollusion(t *testing.T) {
	w := clienttest.Start(t, 6)
	headers := sealedTo(t, w)
	users := []*client.Client{w.Client(), w.Client()}
	var sets []string
	var whose []int
	for n := range 120 {
		u := n * 7 % 13 % 2
		mustAsk(t, users[u])
		ids := headers()[0].CandidateIDs()
		slices.SortFunc(ids, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
		var b strings.Builder
		for _, id := range ids {
			b.Write(id[:])
		}
		sets, whose = append(sets, b.String()), append(whose, u)
	}
	t.Run("RT-08", func(t *testing.T) {
		var same, other, equalSame, equalOther float64
		for i := range sets {
			for j := range i {
				hit := 0.0
				if sets[i] == sets[j] {
					hit = 1
				}
				if whose[i] == whose[j] {
					same, equalSame = same+1, equalSame+hit
				} else {
					other, equalOther = other+1, equalOther+hit
				}
			}
		}
		// 20 sets: 1 in 20 of the pairs, some 3500 of either kind, deviation 13.
		p, q := equalSame/same, equalOther/other
		t.Logf("pairs of one user with equal sets %.3f, of two users %.3f", p, q)
		if p-q > 0.025 || p > 0.08 {
			t.Errorf("sets link: %.3f of a user's own pairs, %.3f of others'", p, q)
		}
	})
}

// TestPublicVocabulary: what a request can ask for is what the log says that
// many serve; a name of one's own is refused before anything is sealed.
func TestPublicVocabulary(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	mustAsk(t, c)
	t.Run("RT-07", func(t *testing.T) {
		w.NoSend(t, func() {
			for _, model := range []string{"toy-for-alice", "toy ", "TOY", ""} {
				req := request(t, client.BaseURL+"/chat/completions", `{"model":"`+model+`","messages":[]}`)
				_, err := c.RoundTrip(req)
				refused(t, err, client.CodeModel, client.CodeRequest)
			}
		})
		for _, k := range []int{-1, 9} {
			cfg := w.Config()
			cfg.Candidates = k
			if _, err := client.New(cfg); client.CodeOf(err) != client.CodeConfig {
				t.Errorf("%d candidates: %v", k, err)
			}
		}
	})
}

// TestHeldRequest: a router that holds a request to mark it is left at the
// application's deadline, and that is counted as a failure.
func TestHeldRequest(t *testing.T) {
	w := clienttest.Start(t, 3)
	var s shelf
	c := w.Client(s.config)
	mustAsk(t, c)
	s.receipts = nil
	atRouter("/v1/request", func(rw http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(rw, r, 64<<20)
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})(w)
	t.Run("RT-12", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := c.RoundTrip(request(t, client.BaseURL+"/chat/completions", body("hello")).WithContext(ctx))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if held := time.Since(start); held > 10*time.Second {
			t.Errorf("held for %v", held)
		}
		if len(s.receipts) != 1 || s.receipts[0].Outcome != steer.Failed {
			t.Errorf("not counted: %+v", s.receipts)
		}
	})
}
