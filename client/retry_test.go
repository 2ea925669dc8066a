// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/statement"
)

// TestRefusalsDrawNoOthers: who refuses cannot have other candidates drawn for
// the same request while the epoch is the same.
func TestRefusalsDrawNoOthers(t *testing.T) {
	w := clienttest.Start(t, 9)
	for _, code := range []string{"epoch", "node.rekeyed"} {
		t.Run("RT-03/"+code, func(t *testing.T) {
			var mu sync.Mutex
			var sealed []*hpke.Header
			atRouter("/v1/request", func(rw http.ResponseWriter, r *http.Request) {
				httpx.LimitBody(rw, r, 64<<20)
				b, _ := io.ReadAll(r.Body)
				h, err := hpke.ReadHeader(bytes.NewReader(b[wire.RoutingBlockSize:]))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				sealed = append(sealed, h)
				mu.Unlock()
				httpx.Problem(rw, http.StatusConflict, code)
			})(w)
			_, err := ask(t, w.Client())
			refused(t, err, code)
			if len(sealed) != 3 {
				t.Fatalf("%d attempts", len(sealed))
			}
			for i, h := range sealed[1:] {
				if !sameSet(h.CandidateIDs(), sealed[0].CandidateIDs()) {
					t.Errorf("attempt %d is sealed to other candidates", i+1)
				}
			}
		})
	}
}

// TestRelaysWordIsNoVerdict: what is said outside the encapsulation was said by
// anybody. It is no word of a router or node, which would have the request
// sealed again, and no verdict on a machine.
func TestRelaysWordIsNoVerdict(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	mustAsk(t, c)
	for _, code := range []string{"epoch", "node.rekeyed", "node.busy", "node.unreachable", "att.image", "log.fork"} {
		t.Run("CL-14/"+code, func(t *testing.T) {
			var times atomic.Int32
			paths("/ohttp", func(rw http.ResponseWriter, r *http.Request) {
				httpx.LimitBody(rw, r, 64<<20)
				if n, _ := io.Copy(io.Discard, r.Body); n >= 8<<10 {
					times.Add(1)
				}
				httpx.Problem(rw, http.StatusConflict, code)
			})(w)
			_, err := ask(t, c)
			refused(t, err, client.CodeRelay)
			if n := times.Load(); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

// TestSentStaysSent: a retry that could not even be dialled does not undo that
// an attempt before it was sent.
func TestSentStaysSent(t *testing.T) {
	w := clienttest.Start(t, 3)
	var down atomic.Bool
	c := w.Client(func(cfg *config) {
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if down.Load() {
				return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("refused")}
			}
			return dial(ctx, network, addr)
		}
	})
	mustAsk(t, c)
	for _, r := range w.Relays {
		onPath(r, "/ohttp", func(w http.ResponseWriter, r *http.Request) {
			httpx.LimitBody(w, r, 64<<20)
			io.Copy(io.Discard, r.Body)
			down.Store(true)
			w.Header().Set("Connection", "close")
			httpx.Problem(w, http.StatusServiceUnavailable, "busy")
			c.Close()
		})
	}
	_, err := ask(t, c)
	var own *client.Error
	if !errors.As(err, &own) || own.Code != client.CodeRelay || !own.Sent {
		t.Errorf("%v", err)
	}
}

// TestStrangersCertificate: nothing is sent to a relay that cannot prove its
// name, and the error says so.
func TestStrangersCertificate(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	mustAsk(t, c)
	c.Close()
	id, err := w.CA.Issue("stranger.example")
	if err != nil {
		t.Fatal(err)
	}
	tc, err := id.Server(false)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = tc
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	stranger := strings.TrimPrefix(s.URL, "https://")
	w.Meter.Route = func(string) string { return stranger }
	t.Run("CL-05", func(t *testing.T) {
		w.NoSend(t, func() {
			_, err := ask(t, c)
			var own *client.Error
			if !errors.As(err, &own) || own.Code != client.CodeRelay || own.Sent {
				t.Errorf("%v", err)
			}
		})
	})
}

// slow is a body that waits before it ends.
type slow struct {
	io.Reader
	wait func()
}

func (s *slow) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		s.wait()
	}
	return n, err
}

func (s *slow) Close() error { return nil }

// TestWorldEndsWhileABodyComes: what was current when a request began is
// looked at again when there is something to seal.
func TestWorldEndsWhileABodyComes(t *testing.T) {
	w := clienttest.Start(t, 3)
	var ahead atomic.Int64
	c := w.Client(func(cfg *config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	mustAsk(t, c)
	t.Run("AT-01", func(t *testing.T) {
		w.NoSend(t, func() {
			req := request(t, client.BaseURL+"/chat/completions", "")
			req.Body = &slow{strings.NewReader(body("hello")), func() { ahead.Store(int64(10 * time.Minute)) }}
			_, err := c.RoundTrip(req)
			refused(t, err, "att.stale")
		})
	})
}

// TestRelaysCopyIsOld: in the seconds in which mirrors still call the epoch
// before the latest, the statement in force is found under its number.
func TestRelaysCopyIsOld(t *testing.T) {
	w := clienttest.Start(t, 3)
	now := time.Now()
	old := w.Epoch(now.Add(-time.Hour), time.Hour+5*time.Second)
	next := w.Epoch(now.Add(5*time.Second), time.Hour)
	for _, b := range w.Boards {
		b.Point(old, time.Second)
	}
	c := w.Client(func(cfg *config) { cfg.Now = func() time.Time { return time.Now().Add(10 * time.Second) } })
	mustAsk(t, c)
	if r := c.Report(); r.Epoch != next {
		t.Errorf("epoch %d, want %d", r.Epoch, next)
	}
}

// TestPaymentUnknown: an epoch of a payment that this client does not know is
// refused before anything is sealed for it.
func TestPaymentUnknown(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Epoch(time.Now(), time.Hour, edit{
		Statement: func(s *statement.Statement, _ *statement.Pack) { s.Payment = statement.PaymentCoins },
	})
	w.NoSend(t, func() {
		_, err := ask(t, w.Client())
		refused(t, err, client.CodePayment)
	})
}

// TestNobodyListedIsNotVerified: a statement without nodes is no good news.
func TestNobodyListedIsNotVerified(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Epoch(time.Now(), time.Hour, edit{Nodes: []*clienttest.Node{}})
	r, err := w.Client().Verify(t.Context())
	refused(t, err, client.CodeSmallSet)
	if r == nil || r.Verdict != "not checked" {
		t.Errorf("%+v", r)
	}
}
