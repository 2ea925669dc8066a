// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/statement"
)

type (
	world  = clienttest.World
	edit   = clienttest.Edit
	config = client.Config
)

// hour publishes an epoch that holds now, with e.
func hour(e edit) func(*world) {
	return func(w *world) { w.Epoch(time.Now(), time.Hour, e) }
}

// paths makes relays answer a request for a path that begins so with f.
func paths(prefix string, f http.HandlerFunc) func(*world) {
	return func(w *world) {
		for _, r := range w.Relays {
			onPath(r, prefix, f)
		}
	}
}

func onPath(hop *clienttest.Hop, prefix string, f http.HandlerFunc) {
	hop.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, prefix) {
				f(w, r)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func hangsUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// atRouter makes the router answer for a path with f: behind the gateway, so
// that what the client opens is genuine up to there.
func atRouter(prefix string, f http.HandlerFunc) func(*world) {
	return func(w *world) { onPath(w.Router, prefix, f) }
}

// ofThePast lets a statement lie in the past or the future.
func epochAt(from time.Duration, length time.Duration) func(*world) {
	return func(w *world) { w.Epoch(time.Now().Add(from), length) }
}

// swapKeys gives the first node the request key of the second.
func swapKeys(w *world) {
	var other []byte
	w.Epoch(time.Now(), time.Hour, edit{Record: func(r *statement.Record) {
		if other == nil {
			other = r.REK
			return
		}
		r.REK = other
	}})
}

// worlds are those in which nobody may be sent anything.
var worlds = []struct {
	name  string
	tune  func(*config)
	spoil func(*world)
	codes []string
}{
	{"both relays refuse connections", nil, func(w *world) {
		w.Meter.Route = func(string) string { return "127.0.0.1:1" }
	}, []string{"relay.unreachable"}},
	{"one relay refuses connections", nil, func(w *world) {
		dead := strings.TrimPrefix(w.Relays[0].URL, "https://")
		w.Meter.Route = func(addr string) string {
			if addr == dead {
				return "127.0.0.1:1"
			}
			return addr
		}
	}, []string{"epoch.withheld"}},
	{"relays hang up", nil, paths("/", hangsUp), []string{"relay.unreachable"}},
	{"relays serve no statement", nil, paths("/v1/statement", says(404, "")), []string{"relay.unreachable"}},
	{"relays redirect", nil, paths("/v1/statement", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://192.0.2.1/", http.StatusTemporaryRedirect)
	}), []string{"relay.unreachable"}},
	{"no statement but noise", nil, paths("/v1/statement", says(200, "noise")), []string{"statement.format", "log.format", "statement"}},
	{"a statement without end", nil, paths("/v1/statement", says(200, strings.Repeat("x", statement.MaxSignedSize+1))), []string{"att.size"}},
	{"another log", func(c *config) {
		keys, err := publish.GenerateKeys(c.Trust.Origin)
		if err != nil {
			panic(err)
		}
		c.Trust = *keys.Trust()
	}, nil, []string{"log.signature"}},
	{"another witness", func(c *config) {
		keys, err := publish.GenerateKeys(c.Trust.Origin)
		if err != nil {
			panic(err)
		}
		c.Trust.Witnesses = keys.Trust().Witnesses
	}, nil, []string{"log.witness"}},
	{"one witness short", func(c *config) {
		keys, err := publish.GenerateKeys("another.example/log") // keys with one name are one witness
		if err != nil {
			panic(err)
		}
		c.Trust.Witnesses = append(c.Trust.Witnesses, keys.Trust().Witnesses...)
		c.Trust.Quorum = 2
	}, nil, []string{"log.witness"}},
	{"no trust at all", func(c *config) { c.Trust = config{}.Trust }, nil, []string{"log.trust"}},
	{"the policy of other hardware", func(c *config) { c.Policy.Roots = attestation.VendorRoots() }, nil, []string{"att.simulated"}},
	{"the zero policy", func(c *config) { *c.Policy = attestation.Policy{} }, nil, []string{"att.policy"}},
	{"an epoch that is over", nil, epochAt(-2*time.Hour, time.Hour), []string{"epoch.withheld"}},
	{"an epoch to come, and none before it", nil, func(w *world) {
		for _, r := range w.Relays {
			onPath(r, "/v1/statement/1", says(404, ""))
		}
		w.Epoch(time.Now().Add(30*time.Minute), time.Hour)
	}, []string{"relay.unreachable"}},
	{"nothing on offer", nil, func(w *world) {
		last := w.Log.Last()
		gap := publish.Epoch{Number: last.Epoch + 1, NotBefore: time.Now().UTC().Truncate(time.Second), NotAfter: last.NotAfter, Beacon: w.Log.Beacon()}
		if err := w.Log.Commit(publish.Empty(gap), nil, time.Now()); err != nil {
			panic(err)
		}
		for _, b := range w.Boards {
			signed, _ := w.Log.Signed(gap.Number)
			b.Post(gap.Number, signed, nil)
			b.Point(gap.Number, time.Second)
		}
	}, []string{"epoch.empty"}},
	{"no gateway key that is known", nil, hour(edit{Statement: func(s *statement.Statement, _ *statement.Pack) {
		s.GatewayKeys = [][]byte{{9, 0xff, 0xff, 1, 0, 4, 0, 1, 0, 1}}
	}}), []string{"suite"}},
	{"no pack", nil, atRouter("/v1/pack", says(404, "")), []string{"router.status", "gateway.status"}},
	{"no pack but noise", nil, atRouter("/v1/pack", says(200, "noise")), []string{"statement.format", "statement"}},
	{"a pack of another epoch", nil, func(w *world) {
		old, err := w.Log.Pack(1)
		if err != nil {
			panic(err)
		}
		w.Epoch(time.Now(), time.Hour)
		atRouter("/v1/pack", says(200, string(old)))(w)
	}, []string{"pack.missing"}},
	{"no freshness", nil, atRouter("/v1/freshness", says(503, "")), []string{"router.status", "gateway.status"}},
	{"freshness of nobody", nil, hour(edit{Fresh: func(f *statement.Freshness) { f.Items = nil }}), []string{"att.stale"}},
	{"freshness of yesterday", nil, hour(edit{FreshTime: time.Now().Add(-24 * time.Hour)}), []string{"att.stale", "clock.skew"}},
	{"freshness swapped between nodes", nil, hour(edit{Fresh: func(f *statement.Freshness) {
		f.Items[0].Bundle, f.Items[1].Bundle = f.Items[1].Bundle, f.Items[0].Bundle
	}}), []string{"att.quote", "att.nonce"}},
	{"evidence changed after it was made", nil, hour(edit{Evidence: func(n *clienttest.Node, b *evidence.Bundle) {
		b.Pieces[4].Data[20] ^= 1
	}}), []string{"att.quote", "att.format", "att.nonce"}},
	{"one node's key in another's record", nil, swapKeys, []string{"att.rek.name"}},
	{"the gateway refuses", nil, func(w *world) {
		onPath(w.Gateway, "/ohttp", func(rw http.ResponseWriter, _ *http.Request) { httpx.Problem(rw, 503, "overload") })
	}, []string{"overload"}},
	{"a node fewer than the draw needs", func(c *config) { c.Candidates = 4 }, nil, []string{"route.smallset"}},
}

// TestNothingIsSent: whatever is wrong before sealing, not one sealed byte of
// the prompt leaves, in no form, to nobody. CL-01 and with it CL-06, CL-07.
func TestNothingIsSent(t *testing.T) {
	var all []error
	for i, c := range worlds {
		if testing.Short() && i%4 > 0 {
			continue // under the race detector: it is the same code that runs
		}
		t.Run("CL-01/"+c.name, func(t *testing.T) {
			w := clienttest.Start(t, 3)
			if c.spoil != nil {
				c.spoil(w)
			}
			cl := w.Client(func(cfg *config) {
				policy := *cfg.Policy
				cfg.Policy = &policy
				if c.tune != nil {
					c.tune(cfg)
				}
			})
			w.NoSend(t, func() {
				_, err := ask(t, cl)
				refused(t, err, c.codes...)
				if e := (*client.Error)(nil); errors.As(err, &e) && (e.Sent || !strings.Contains(err.Error(), "nothing was sent")) {
					t.Errorf("says that something was sent: %v", err)
				}
				all = append(all, err)
			})
			for _, f := range []string{"%v", "%+v", "%#v"} {
				if s := fmt.Sprintf(f, cl); strings.Contains(s, canary) {
					t.Error("CL-06: the client prints the prompt")
				}
			}
		})
	}
	t.Run("CL-07", func(t *testing.T) {
		var log strings.Builder
		l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, err := range all {
			l.Error("asked", "error", err, "wrapped", fmt.Errorf("app: %w", err))
		}
		if len(all) < len(worlds) && !testing.Short() || strings.Contains(log.String(), canary) {
			t.Errorf("%d errors of %d; in the log: %v", len(all), len(worlds), strings.Contains(log.String(), canary))
		}
	})
}

// TestWrongURLs: an application that was not pointed at Sotto fails, and
// nothing is looked up or dialled.
func TestWrongURLs(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	t.Run("CL-02", func(t *testing.T) {
		for _, u := range []string{
			"https://api.openai.com/v1/chat/completions",
			"http://sotto.invalid/v1/chat/completions",
			"https://sotto.invalid./v1/chat/completions",
			"https://SOTTO.invalid/v1/chat/completions",
			"https://sotto.invalid:443/v1/chat/completions",
			"https://sotto.invalid:8443/v1/chat/completions",
			"https://127.0.0.1/v1/chat/completions",
			"https://[::1]/v1/chat/completions",
			"https://me@sotto.invalid/v1/chat/completions",
			"https://sotto.invalid@evil.example/v1/chat/completions",
			"https://sotto.invalid.evil.example/v1/chat/completions",
			"https://sotto.invalid/v1/chat/completions?key=1",
			"https://sotto.invalid/v1/files",
			"https://sotto.invalid//v1/chat/completions",
			"https://sotto.invalid/v1/../v1/chat/completions",
			"https://sotto.invalid/v1%2fchat/completions",
			"https://sotto.invalid/",
		} {
			if n := w.NoSend(t, func() {
				_, err := c.RoundTrip(request(t, u, body(canary)))
				refused(t, err, client.CodeTarget)
			}); n != 0 {
				t.Errorf("%s: %d bytes left", u, n)
			}
		}
		req := request(t, chatURL, body(canary))
		req.Host = "api.openai.com"
		_, err := c.RoundTrip(req)
		refused(t, err, client.CodeTarget)
		req = request(t, chatURL, body(canary))
		req.Method = http.MethodGet
		_, err = c.RoundTrip(req)
		refused(t, err, client.CodeTarget)
		if d := w.Meter.Dials(); len(d) != 0 {
			t.Errorf("dialled %v", d)
		}
	})
}

// TestTLS: who watches the wire sees the relay's name and nothing else; who
// stands in it gets nothing.
func TestTLS(t *testing.T) {
	w := clienttest.Start(t, 3)
	other, err := httpxtest.CreateCA(t.TempDir(), "another root")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(id httpx.TLS, tune func(*tls.Config)) string {
		tc, err := id.Server(false)
		if err != nil {
			t.Fatal(err)
		}
		tune(tc)
		s := httptest.NewUnstartedServer(w.Relays[0])
		s.TLS = tc
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	issue := func(ca *httpxtest.CA, name string, addrs ...string) httpx.TLS {
		id, err := ca.Issue(name, addrs...)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	leave := func(*tls.Config) {}
	for name, url := range map[string]string{
		"another root":  serve(issue(other, "relay-1.example", "127.0.0.1", "localhost"), leave),
		"another name":  serve(issue(w.CA, "evil.example"), leave),
		"TLS 1.2":       serve(issue(w.CA, "old.example", "127.0.0.1", "localhost"), func(tc *tls.Config) { tc.MinVersion, tc.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }),
		"no TLS at all": "https://" + plain(t),
	} {
		t.Run("CL-05/"+name, func(t *testing.T) {
			c := w.Client(func(cfg *config) {
				cfg.Relays = []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1)}
				if name == "TLS 1.2" {
					cfg.TLS.MinVersion = tls.VersionTLS12
				}
				cfg.Dial = w.Meter.Dial
			})
			_, err := ask(t, c)
			refused(t, err, client.CodeRelay)
			if seen := w.Seen(); len(seen) > 0 {
				t.Error("a node has the request")
			}
		})
	}
	t.Run("CL-05/the hello", func(t *testing.T) { hello(t, w) })
}

// plain is a listener that speaks HTTP in the clear.
func plain(t *testing.T) string {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// hello looks at what a client says in the clear. CL-03 is in it: no name but
// the relays' is asked for.
func hello(t *testing.T, w *world) {
	var mu sync.Mutex
	var hellos []*tls.ClientHelloInfo
	named := map[string]string{}
	for i, r := range w.Relays {
		id, err := w.CA.Issue(fmt.Sprintf("seen-%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		tc, err := id.Server(false)
		if err != nil {
			t.Fatal(err)
		}
		tc.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			hellos = append(hellos, h)
			return nil, nil
		}
		s := httptest.NewUnstartedServer(r)
		s.TLS = tc
		s.StartTLS()
		t.Cleanup(s.Close)
		named[fmt.Sprintf("seen-%d.example:443", i)] = strings.TrimPrefix(s.URL, "https://")
	}
	var asked []string
	c := w.Client(func(cfg *config) {
		cfg.Relays = []string{"https://seen-0.example", "https://seen-1.example"}
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			asked = append(asked, addr)
			mu.Unlock()
			var d net.Dialer
			return d.DialContext(ctx, network, named[addr])
		}
	})
	for range 5 {
		mustAsk(t, c)
	}
	for _, a := range asked {
		if named[a] == "" {
			t.Errorf("%s was dialled", a)
		}
	}
	for _, h := range hellos {
		if !strings.HasPrefix(h.ServerName, "seen-") || !slices.Equal(h.SupportedProtos, []string{"http/1.1"}) || !slices.Equal(h.SupportedVersions, []uint16{tls.VersionTLS13}) {
			t.Errorf("server name %q, protocols %q, versions %x", h.ServerName, h.SupportedProtos, h.SupportedVersions)
		}
	}
	if len(hellos) < 2 {
		t.Errorf("%d hellos", len(hellos))
	}
}

// TestClock: a wrong clock is named, with the offset by the witnesses' times,
// and no window is widened for it.
func TestClock(t *testing.T) {
	w := clienttest.Start(t, 3)
	for name, c := range map[string]struct {
		now   time.Time
		codes []string
	}{
		"two hours behind": {time.Now().Add(-2 * time.Hour), []string{"clock.skew"}},
		"two hours ahead":  {time.Now().Add(2 * time.Hour), []string{"clock.skew"}},
		"1970":             {time.Unix(0, 0), []string{"clock.skew"}},
		"2100":             {time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), []string{"clock.skew"}},
	} {
		t.Run("AT-52/"+name, func(t *testing.T) {
			cl := w.Client(func(cfg *config) { cfg.Now = func() time.Time { return c.now } })
			w.NoSend(t, func() {
				_, err := ask(t, cl)
				refused(t, err, c.codes...)
				if err != nil && !strings.ContainsAny(err.Error(), "hms") {
					t.Errorf("names no offset: %v", err)
				}
			})
		})
	}
	t.Run("AT-52/jumps within a session", func(t *testing.T) {
		now := time.Now
		cl := w.Client(func(cfg *config) { cfg.Now = func() time.Time { return now() } })
		mustAsk(t, cl)
		for _, d := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
			now = func() time.Time { return time.Now().Add(d) }
			w.NoSend(t, func() {
				_, err := ask(t, cl)
				refused(t, err, "clock.skew")
			})
		}
		now = time.Now
		mustAsk(t, cl)
	})
}

// TestTwoWorlds: mirrors that differ, and a log that goes back.
func TestTwoWorlds(t *testing.T) {
	t.Run("RT-05", func(t *testing.T) {
		w := clienttest.Start(t, 4)
		// The same log signs another roster for the same epoch, shown at the
		// second relay only.
		other := w.Fork(edit{Nodes: w.Nodes[:3]})
		w.Boards[1].Post(1, other, nil)
		w.Boards[1].Point(1, time.Second)
		c := w.Client()
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, client.CodeConsistency)
		})
	})
	t.Run("CR-12", func(t *testing.T) { // another gateway key for some
		w := clienttest.Start(t, 3)
		other := w.Fork(edit{Statement: func(s *statement.Statement, _ *statement.Pack) {
			s.GatewayKeys[0][10] ^= 1
		}})
		w.Boards[1].Post(1, other, nil)
		w.Boards[1].Point(1, time.Second)
		c := w.Client()
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, client.CodeConsistency)
		})
	})
	t.Run("AT-47", func(t *testing.T) {
		w := clienttest.Start(t, 3)
		w.Epoch(time.Now().Add(-time.Second), time.Hour)
		c := w.Client()
		mustAsk(t, c)
		for _, b := range w.Boards {
			b.Point(1, time.Second) // which still lasts
		}
		w.NoSend(t, func() {
			_, err := c.Verify(t.Context())
			refused(t, err, client.CodeRollback)
		})
		w.Post(2)
		if _, err := c.Verify(t.Context()); err != nil {
			t.Errorf("the newest epoch again: %v", err)
		}
	})
}
