// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// kept makes clients that share a state directory.
func kept(dir string) func(*config) { return func(c *config) { c.State = dir } }

// note is a checkpoint of a tree, signed by the log's own keys.
func note(t *testing.T, w *world, tree *transparency.Tree, size uint64, at time.Time) string {
	t.Helper()
	root, err := tree.Root(size)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.Log.Keys().Clock.Cosign(w.Log.Keys().Log.Sign(size, root), at)
	if err != nil {
		t.Fatal(err)
	}
	return string(n)
}

// onPaths answers several prefixes at all relays.
func onPaths(w *world, answers map[string]http.HandlerFunc) {
	for _, r := range w.Relays {
		r.Intercept(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
				for prefix, f := range answers {
					if strings.HasPrefix(q.URL.Path, prefix) {
						f(rw, q)
						return
					}
				}
				h.ServeHTTP(rw, q)
			})
		})
	}
}

func honestAgain(w *world) {
	for _, r := range w.Relays {
		r.Intercept(nil)
	}
}

func tilesOf(tree *transparency.Tree) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := tiles.ParsePath(strings.TrimPrefix(r.URL.Path, "/v1/log/"))
		if err != nil {
			w.WriteHeader(404)
			return
		}
		b, err := tree.Tile(p.Level, p.N, p.Width)
		if err != nil {
			w.WriteHeader(404)
			return
		}
		w.Write(b)
	}
}

// proofIn returns the only file of evidence, judged.
func proofIn(t *testing.T, w *world, dir string) (file string, f *fork.Finding) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "evidence", "*.txt"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	e, err := fork.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if f, err = e.Verify(&w.Trust); err != nil {
		t.Fatal(err)
	}
	return files[0], f
}

// TestLogGoesBackOrForks: whatever a log shows that contradicts what was seen
// before: nothing is sent, the proof is on disk, and the log stays refused, in
// this process and the next, when all looks well again.
func TestLogGoesBackOrForks(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: nothing here happens at the same time; the race detector learns nothing new")
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, w *world)
		code  string
	}{
		"AT-47/smaller than before": {func(t *testing.T, w *world) {
			onPaths(w, map[string]http.HandlerFunc{"/v1/checkpoint": says(200, note(t, w, w.Tree(-1, 0), 1, time.Now().Add(100*time.Second)))})
		}, client.CodeRollback},
		"AT-48/another root for one size": {func(t *testing.T, w *world) {
			onPaths(w, map[string]http.HandlerFunc{"/v1/checkpoint": says(200, note(t, w, w.Tree(1, 0), 2, time.Now()))})
		}, client.CodeFork},
		"AT-48/a log that was rewritten and grew": {func(t *testing.T, w *world) {
			other := w.Tree(1, 3)
			onPaths(w, map[string]http.HandlerFunc{"/v1/checkpoint": says(200, note(t, w, other, 5, time.Now())), "/v1/log/": tilesOf(other)})
		}, client.CodeFork},
		"AT-48/the router shows another log than the mirrors": {func(t *testing.T, w *world) {
			b := []byte{1}
			n := note(t, w, w.Tree(1, 0), 2, time.Now())
			b = binary.BigEndian.AppendUint16(b, uint16(len(n)))
			atRouter("/v1/freshness", says(200, string(b)+n))(w)
		}, client.CodeFork},
		"CR-12/another statement for the epoch, to everybody": {func(t *testing.T, w *world) {
			other := w.Fork(edit{Statement: func(s *statement.Statement, _ *statement.Pack) { s.GatewayKeys[0][10] ^= 1 }})
			for _, b := range w.Boards {
				b.Post(1, other, nil)
				b.Point(1, time.Second)
			}
		}, client.CodeFork},
		"RT-05/another roster at one mirror": {func(t *testing.T, w *world) {
			other := w.Fork(edit{Nodes: w.Nodes[:2]})
			w.Boards[1].Post(1, other, nil)
			w.Boards[1].Point(1, time.Second)
		}, client.CodeConsistency},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := clienttest.Start(t, 3), t.TempDir()
			cl := w.Client(kept(dir))
			mustAsk(t, cl)
			c.spoil(t, w)
			w.NoSend(t, func() {
				_, err := cl.Verify(t.Context())
				refused(t, err, c.code)
				file, f := proofIn(t, w, dir)
				if !f.Proves || err == nil || !strings.Contains(err.Error(), file) {
					t.Errorf("%v: %+v", err, f)
				}
			})
			honestAgain(w)
			w.Router.Intercept(nil)
			w.Post(1)
			for _, again := range []*client.Client{cl, w.Client(kept(dir))} {
				w.NoSend(t, func() {
					_, err := ask(t, again)
					refused(t, err, client.CodeFork)
					if file, _ := proofIn(t, w, dir); err == nil || !strings.Contains(err.Error(), file) {
						t.Errorf("does not name the proof: %v", err)
					}
				})
			}
			mustAsk(t, w.Client(kept(t.TempDir()))) // whose memory is another
		})
	}
	t.Run("AT-48/without a state", func(t *testing.T) {
		w := clienttest.Start(t, 3)
		cl := w.Client()
		mustAsk(t, cl)
		onPaths(w, map[string]http.HandlerFunc{"/v1/checkpoint": says(200, note(t, w, w.Tree(1, 0), 2, time.Now()))})
		for range 2 {
			w.NoSend(t, func() {
				_, err := cl.Verify(t.Context())
				refused(t, err, client.CodeFork)
			})
			honestAgain(w)
		}
	})
}

// TestLogIsRemembered: what one run has seen, the next one holds the log to.
func TestLogIsRemembered(t *testing.T) {
	t.Run("AT-47/an epoch of before", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		w.Epoch(time.Now().Add(-time.Second), time.Hour)
		mustAsk(t, w.Client(kept(dir)))
		for _, b := range w.Boards {
			b.Point(1, time.Second)
		}
		w.NoSend(t, func() {
			_, err := ask(t, w.Client(kept(dir)))
			refused(t, err, client.CodeRollback)
		})
		w.Post(2)
		mustAsk(t, w.Client(kept(dir)))
	})
	t.Run("AT-47/an older copy is none", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		old := note(t, w, w.Tree(-1, 0), 2, time.Now().Add(-time.Minute))
		w.Epoch(time.Now().Add(-time.Second), time.Hour)
		onPath(w.Relays[1], "/v1/checkpoint", says(200, old))
		cl := w.Client(kept(dir))
		mustAsk(t, cl)
		r, err := cl.Verify(t.Context())
		if err != nil || len(r.Log.Mirrors) != 2 || !r.Log.Remembered || !r.Log.Kept || len(r.Log.Witnesses) != 1 || r.Log.Size != 3 {
			t.Errorf("%+v %v", r.Log, err)
		}
		if text := r.Text(); !strings.Contains(text, "remembered  yes ") || !strings.Contains(text, "mirrors show 3, 2 ") || !strings.Contains(text, "split needs 1 (") {
			t.Errorf("%s", text)
		}
	})
	t.Run("AT-48/no proof yet", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		mustAsk(t, w.Client(kept(dir)))
		w.Epoch(time.Now().Add(-time.Second), time.Hour)
		for name, f := range map[string]http.HandlerFunc{
			"none": says(404, ""), "hangs up": hangsUp, "noise": says(200, "noise"), "too long": says(200, strings.Repeat("x", tiles.MaxTile+1)),
			"AT-46/of another log": tilesOf(w.Tree(1, 0)),
		} {
			t.Run(name, func(t *testing.T) {
				onPaths(w, map[string]http.HandlerFunc{"/v1/log/": f})
				w.NoSend(t, func() {
					_, err := ask(t, w.Client(kept(dir)))
					refused(t, err, client.CodeUnproven)
				})
			})
		}
		honestAgain(w)
		onPath(w.Relays[0], "/v1/log/", says(200, "noise")) // one honest mirror is enough
		for range 3 {
			mustAsk(t, w.Client(kept(dir)))
		}
		if files, _ := filepath.Glob(filepath.Join(dir, "*", "evidence", "*")); len(files) > 0 {
			t.Errorf("somebody was accused: %v", files)
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		mustAsk(t, w.Client(kept(dir)))
		files, _ := filepath.Glob(filepath.Join(dir, "*", "memory", "*"))
		for _, f := range files {
			if err := os.WriteFile(f, []byte("noise"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.NoSend(t, func() {
			_, err := ask(t, w.Client(kept(dir)))
			refused(t, err, "state.unreadable")
			if err == nil || !strings.Contains(err.Error(), "sotto audit forget") {
				t.Errorf("does not say what to do: %v", err)
			}
		})
	})
	t.Run("unwritable", func(t *testing.T) {
		w := clienttest.Start(t, 3)
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w.NoSend(t, func() {
			_, err := ask(t, w.Client(kept(file)))
			refused(t, err, "state.unwritable", "state.unreadable")
		})
	})
	t.Run("two clients at once", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		for round := range 3 {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if _, err := w.Client(kept(dir)).Verify(t.Context()); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				})
			}
			wg.Wait()
			w.Epoch(time.Now().Add(-time.Second), time.Hour)
		}
	})
}

// TestReportsTellNothingOfTheirOwner: reports are shown to others: no folder, and no
// hour at which somebody looked.
func TestReportsTellNothingOfTheirOwner(t *testing.T) {
	w, dir := clienttest.Start(t, 3), filepath.Join(t.TempDir(), "alice")
	then := time.Now().Add(-30 * time.Second).Truncate(time.Second)
	mustAsk(t, w.Client(kept(dir), func(c *config) { c.Now = func() time.Time { return then } }))
	w.Epoch(time.Now().Add(-time.Second), time.Hour)
	cl := w.Client(kept(dir))
	v, err := cl.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := cl.Verify(t.Context())
	if err != nil || !r.Log.Remembered || !r.Log.Kept {
		t.Fatalf("%+v %v", r.Log, err)
	}
	texts := map[string]string{"report": r.Text(), "view": v.Text()}
	for name, x := range map[string]any{"report as JSON": r, "view as JSON": v} {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(b)
	}
	for name, text := range texts {
		for _, own := range []string{dir, "alice", then.UTC().Format("15:04:05"), then.Local().Format("15:04:05"), fmt.Sprint(then.Unix())} {
			if strings.Contains(text, own) {
				t.Errorf("the %s tells %q: %s", name, own, text)
			}
		}
	}
}

// TestCheckpointsOfMirrors: what a mirror shows as the newest must be signed
// and cosigned like everything else.
func TestCheckpointsOfMirrors(t *testing.T) {
	w := clienttest.Start(t, 3)
	tree := w.Tree(-1, 0)
	honest := note(t, w, tree, 2, time.Now())
	lines := strings.SplitAfter(honest, "\n")
	cosignature := lines[len(lines)-2]
	for name, c := range map[string]struct {
		note string
		code string
	}{
		"AT-49/one short":      {strings.TrimSuffix(honest, cosignature), "log.witness"},
		"AT-49/the same twice": {honest + cosignature, "log.witness"},
		"AT-49/of the future":  {note(t, w, tree, 2, time.Now().Add(time.Hour)), "clock.skew"},
		"AT-49/another origin": {strings.Replace(honest, "clienttest", "elsewhere", 1), "log.origin"},
		"AT-46/a promise":      {strings.Replace(honest, "\n2\n", "\n3\n", 1), "log.signature"},
		"noise":                {"noise", "log.format"},
	} {
		t.Run(name, func(t *testing.T) {
			onPath(w.Relays[1], "/v1/checkpoint", says(200, c.note))
			w.NoSend(t, func() {
				_, err := ask(t, w.Client())
				refused(t, err, c.code)
			})
		})
	}
}

// TestKeysOfTheStatementOnly: CR-11: a relay that puts a key of its own into
// the statement changes what was logged.
func TestKeysOfTheStatementOnly(t *testing.T) {
	t.Run("CR-11", func(t *testing.T) {
		w := clienttest.Start(t, 3)
		raw, err := w.Log.Signed(1)
		if err != nil {
			t.Fatal(err)
		}
		st, err := w.Log.Statement(1)
		if err != nil {
			t.Fatal(err)
		}
		i := bytes.Index(raw, st.GatewayKeys[0])
		if i < 0 {
			t.Fatal("no key in it")
		}
		raw[i+10] ^= 1
		paths("/v1/statement", says(200, string(raw)))(w)
		w.NoSend(t, func() {
			_, err := ask(t, w.Client())
			refused(t, err, "log.inclusion")
		})
	})
}

// TestWithheld: mirrors that answer with a statement that is behind their own
// log.
func TestWithheld(t *testing.T) {
	next := func(w *world, n int) {
		for range n {
			w.Epoch(time.Now().Add(-time.Second), time.Hour)
		}
	}
	t.Run("two epochs behind the log", func(t *testing.T) {
		w := clienttest.Start(t, 3)
		next(w, 2)
		for _, b := range w.Boards {
			b.Point(1, time.Second)
		}
		w.NoSend(t, func() {
			_, err := ask(t, w.Client())
			refused(t, err, client.CodeEpochWithheld)
		})
	})
	t.Run("the next one was to be public", func(t *testing.T) {
		w := clienttest.Start(t, 3)
		w.Epoch(time.Now().Add(-4*time.Minute), time.Hour, edit{Statement: func(s *statement.Statement, _ *statement.Pack) {
			s.NextPublic = s.NotBefore.Add(time.Minute)
		}})
		cl := w.Client()
		mustAsk(t, cl) // nothing is in the log yet
		w.Epoch(time.Now().Add(30*time.Minute), time.Hour)
		w.Refresh(2)
		for _, b := range w.Boards {
			b.Point(2, time.Second)
		}
		if _, err := w.Client().View(t.Context()); err != nil {
			t.Errorf("public in time: %v", err)
		}
		onPaths(w, map[string]http.HandlerFunc{"/v1/statement/3": says(404, "")})
		w.NoSend(t, func() {
			_, err := ask(t, w.Client())
			refused(t, err, client.CodeEpochWithheld)
		})
	})
}

// TestOutage: DS-07: the log is down for ten minutes. What is at hand is used as
// long as it is fresh by the client's own limit, then refused, and all is well
// without a restart when the log is back.
func TestOutage(t *testing.T) {
	for name, c := range map[string]struct {
		down  func(w *world)
		codes []string
	}{
		"the log and all mirrors of it": {func(w *world) { onPaths(w, map[string]http.HandlerFunc{"/v1/": says(502, "")}) }, []string{client.CodeRelay}},
		"the router's freshness":        {func(w *world) { atRouter("/v1/freshness", says(503, ""))(w) }, []string{"router.status", "gateway.status"}},
		"the publisher, copies remain":  {func(*world) {}, []string{"att.stale"}},
	} {
		t.Run("DS-07/"+name, func(t *testing.T) {
			w := clienttest.Start(t, 3)
			start := time.Now()
			var mu sync.Mutex
			now := start
			clock := func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				now = start.Add(d)
			}
			cl := w.Client(kept(t.TempDir()), func(cfg *config) {
				cfg.Now = func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return now
				}
			})
			mustAsk(t, cl)
			c.down(w)
			for _, d := range []time.Duration{time.Minute, 4 * time.Minute, 5*time.Minute - 2*time.Second} {
				clock(d)
				mustAsk(t, cl)
			}
			for _, d := range []time.Duration{5*time.Minute + 2*time.Second, 10 * time.Minute} {
				clock(d)
				w.NoSend(t, func() {
					_, err := ask(t, cl)
					refused(t, err, c.codes...)
				})
			}
			// Back. The router's own clock did not move: it is given what it would
			// have by then.
			honestAgain(w)
			w.Router.Intercept(nil)
			atRouter("/v1/freshness", says(200, string(w.FreshAt(1, start.Add(10*time.Minute)))))(w)
			mustAsk(t, cl)
		})
	}
}

// TestOneRelayDown: DS-07: one relay of two is down for ten minutes and longer.
// Requests go through the other, and the statement that both had served stays
// good until its epoch ends, for clients that have seen it or share a state with
// one that has. A statement that nobody has compared is not used: `epoch.withheld`.
func TestOneRelayDown(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		start := time.Now()
		var past atomic.Int64
		var down atomic.Bool
		tune := func(cfg *config) {
			cfg.Now = func() time.Time { return start.Add(time.Duration(past.Load())) }
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if down.Load() && strings.HasSuffix(w.Relays[1].URL, addr) {
					return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("refused")}
				}
				return dial(ctx, network, addr)
			}
		}
		cl := w.Client(kept(dir), tune)
		mustAsk(t, cl)
		down.Store(true)
		cl.Close() // of its connections; the relay's end does that elsewhere
		for _, d := range []time.Duration{time.Second, 5*time.Minute + 2*time.Second, 10 * time.Minute, 58 * time.Minute} {
			past.Store(int64(d))
			atRouter("/v1/freshness", says(200, string(w.FreshAt(1, start.Add(d)))))(w)
			for i, c := range []*client.Client{cl, w.Client(kept(dir), tune)} {
				for range 4 { // a relay is drawn for each
					if _, err := ask(t, c); err != nil {
						t.Errorf("after %v, client %d: %v", d, i, err)
					}
				}
			}
			if r, err := cl.Verify(t.Context()); err != nil || r.Mirrors != 1 || !strings.Contains(r.Text(), "from 1 mirror now") {
				t.Errorf("after %v: %+v %v", d, r, err)
			}
			w.NoSend(t, func() {
				_, err := ask(t, w.Client(kept(t.TempDir()), tune)) // has compared nothing
				refused(t, err, client.CodeEpochWithheld)
			})
		}
		end := w.Log.Last().NotAfter
		past.Store(int64(end.Sub(start) + time.Second))
		w.Epoch(end, time.Hour)
		atRouter("/v1/freshness", says(200, string(w.FreshAt(2, end))))(w)
		for _, c := range []*client.Client{cl, w.Client(kept(dir), tune)} {
			w.NoSend(t, func() {
				_, err := ask(t, c)
				refused(t, err, client.CodeEpochWithheld)
			})
		}
		down.Store(false)
		if r, err := cl.Verify(t.Context()); err != nil || r.Epoch != 2 || r.Mirrors != 2 {
			t.Errorf("the relay is back: %+v %v", r, err)
		}
	})
	impatient := func(cfg *client.Config) { cfg.Patience = time.Second }
	t.Run("DS-07/it takes connections and stands still", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		mustAsk(t, w.Client(kept(dir)))
		onPath(w.Relays[1], "/", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		for range 4 {
			mustAsk(t, w.Client(kept(dir), impatient))
		}
		cl := w.Client(kept(t.TempDir()), impatient)
		w.NoSend(t, func() {
			_, err := ask(t, cl)
			refused(t, err, client.CodeEpochWithheld)
		})
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("took %v", d)
		}
	})
	t.Run("DS-07/another statement at the one that is left", func(t *testing.T) {
		w, dir := clienttest.Start(t, 3), t.TempDir()
		cl := w.Client(kept(dir))
		mustAsk(t, cl)
		onPath(w.Relays[1], "/", hangsUp)
		other := w.Fork(edit{Nodes: w.Nodes[:2]})
		w.Boards[0].Post(1, other, nil)
		w.Boards[0].Point(1, time.Second)
		for _, c := range []*client.Client{cl, w.Client(kept(dir))} {
			w.NoSend(t, func() {
				_, err := c.Verify(t.Context())
				refused(t, err, client.CodeFork, client.CodeConsistency)
			})
		}
	})
}

// TestOneNodeOfMany: DS-07: a node that died has no freshness evidence any more.
// Within the epoch nothing is sealed to it, and the others answer.
func TestOneNodeOfMany(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		w := clienttest.Start(t, 4)
		dead := w.Nodes[0]
		w.Refresh(1, edit{Fresh: func(f *statement.Freshness) {
			id := dead.ID()
			f.Items = slices.DeleteFunc(f.Items, func(x statement.Fresh) bool { return x.NodeID == id })
		}})
		w.Look()
		cl := w.Client()
		for range 8 {
			mustAsk(t, cl)
		}
		if n := len(dead.Seen()); n != 0 {
			t.Errorf("the dead node was sent %d requests", n)
		}
		r, err := cl.Verify(t.Context())
		refused(t, err, "att.stale")
		if good := len(slices.DeleteFunc(r.Nodes, func(n client.NodeReport) bool { return n.Code != "" })); good != 3 {
			t.Errorf("%d of 4 nodes verified", good)
		}
	})
}

// TestWhatWasNotRememberedIsNotBelieved: AT-48: a look that fails after a proof has
// proven nothing for the next one: two trees that both go on from what is
// remembered, shown one after the other, would both pass for one log.
func TestWhatWasNotRememberedIsNotBelieved(t *testing.T) {
	for name, dir := range map[string]string{"AT-48/with a state": t.TempDir(), "AT-48/without": ""} {
		t.Run(name, func(t *testing.T) {
			w := clienttest.Start(t, 3)
			cl := w.Client(kept(dir))
			mustAsk(t, cl)
			now, trees := time.Now(), [2]*transparency.Tree{}
			for i := range trees {
				trees[i] = w.Tree(-1, 0)
				for range 3 {
					if err := trees[i].Append(fmt.Appendf(nil, "SIMULATED: a leaf of log %d", i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			shows := func(tree *transparency.Tree, points ...string) {
				for i, r := range w.Relays {
					r.Intercept(func(h http.Handler) http.Handler {
						return http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
							switch {
							case q.URL.Path == "/v1/checkpoint":
								says(200, points[i])(rw, q)
							case strings.HasPrefix(q.URL.Path, "/v1/log/"):
								tilesOf(tree)(rw, q)
							default:
								h.ServeHTTP(rw, q)
							}
						})
					})
				}
			}
			// The first tree is proven; then a copy of it that went back ends the look.
			a := note(t, w, trees[0], 4, now.Add(-time.Minute))
			shows(trees[0], a, note(t, w, trees[0], 3, now))
			w.NoSend(t, func() {
				_, err := cl.Verify(t.Context())
				refused(t, err, client.CodeRollback)
			})
			shows(trees[1], note(t, w, trees[1], 5, now), a)
			w.NoSend(t, func() {
				_, err := cl.Verify(t.Context())
				refused(t, err, client.CodeFork)
			})
		})
	}
}
