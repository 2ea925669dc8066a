// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package feed_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/witness"
	"github.com/sotto-project/sotto/transparency/witness/feed"
)

const origin = "log.example/sotto"

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func signer() *transparency.Signer { return must(transparency.NewSigner(origin, key(origin))) }

func cosigners(name string, pq bool) []*transparency.Cosigner {
	out := []*transparency.Cosigner{must(transparency.NewCosigner(name, key(name)))}
	if pq {
		seed := sha256.Sum256([]byte("test seed " + name))
		out = append(out, must(transparency.NewMLDSACosigner(name, seed[:])))
	}
	return out
}

// A node is one witness on loopback, whose answers a test can replace.
type node struct {
	cfg   feed.WitnessConfig
	asked atomic.Int64
	twist func(w http.ResponseWriter, r *http.Request, honest http.Handler) // set before the first request

	mu  sync.Mutex
	now time.Time
}

func newNode(t *testing.T, name string, pq bool) *node {
	n := &node{now: noon}
	w := must(witness.New(witness.Setup{
		Cosigners: cosigners(name, pq), Logs: []witness.Log{{Origin: origin, LogKey: signer().VKey()}}, Store: new(witness.MemoryStore),
		Now: func() time.Time { n.mu.Lock(); defer n.mu.Unlock(); return n.now },
	}))
	honest := w.Handler()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		if n.twist != nil {
			n.twist(rw, r, honest)
			return
		}
		honest.ServeHTTP(rw, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	n.cfg = feed.WitnessConfig{URL: s.URL, Keys: w.VKeys()}
	return n
}

// A world is a log and its witnesses, quorum 2.
type world struct {
	*feed.Feeder
	tree  transparency.Tree
	nodes []*node
	cfg   feed.Config
}

func newWorld(t *testing.T) *world {
	w := &world{nodes: []*node{newNode(t, "w1.example", true), newNode(t, "w2.example", false), newNode(t, "w3.example", true)}}
	w.cfg = feed.Config{Quorum: 2, Timeout: 5 * time.Second, Grace: 5 * time.Second}
	for _, n := range w.nodes {
		w.cfg.Witnesses = append(w.cfg.Witnesses, n.cfg)
	}
	w.open(t)
	return w
}

func (w *world) open(t *testing.T) {
	w.Feeder = must(feed.New(w.cfg, func() time.Time { return noon }))
	t.Cleanup(w.Feeder.Close)
}

func (w *world) grow(n int) {
	for range n {
		w.tree.Append([]byte{byte(w.tree.Size())})
	}
}

func (w *world) note() []byte {
	return signer().Sign(w.tree.Size(), must(w.tree.Root(w.tree.Size())))
}

func (w *world) cosign(t *testing.T) (*feed.Result, error) {
	t.Helper()
	return w.Cosign(t.Context(), w.note(), w.tree.Size(), w.tree.ProveConsistency)
}

func (w *world) trust() *transparency.Trust {
	return &transparency.Trust{Origin: origin, LogKey: signer().VKey(), Witnesses: w.VKeys(), Quorum: w.Quorum()}
}

// want demands a note that clients accept, signed by these.
func (w *world) want(t *testing.T, r *feed.Result, err error, names ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.trust().ParseCheckpoint(r.Note)
	if err != nil || !slices.Equal(r.Signed, names) {
		t.Fatalf("signed %q, %v; want %q; failed %v", r.Signed, err, names, r.Failed)
	}
	for i, cs := range c.Cosignatures {
		if cs.Name != names[i] {
			t.Errorf("order %v", c.Cosignatures)
		}
	}
}

func (w *world) asked() (out []int64) {
	for _, n := range w.nodes {
		out = append(out, n.asked.Load())
	}
	return out
}

// A log from its first leaf on: each step is one request to each witness; a
// restart costs one more, to learn the size.
func TestFollowsTheLog(t *testing.T) {
	w := newWorld(t)
	all := []string{"w1.example", "w2.example", "w3.example"}
	for i := range 9 {
		r, err := w.cosign(t)
		w.want(t, r, err, all...)
		if got := w.asked(); !slices.Equal(got, []int64{int64(i + 1), int64(i + 1), int64(i + 1)}) {
			t.Fatalf("step %d: asked %v times", i, got)
		}
		if i%3 < 2 { // sometimes only a new time
			w.grow(1 + i)
		}
	}
	w.open(t)
	before := w.asked()
	r, err := w.cosign(t)
	w.want(t, r, err, all...)
	for i, n := range w.asked() {
		if n != before[i]+2 {
			t.Errorf("after a restart asked %d times", n-before[i])
		}
	}
	r, err = w.cosign(t)
	w.want(t, r, err, all...)
}

// What one of three witnesses does that it should not, and what it is called.
func TestHostileWitness(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(code) }
	}
	size := func(s string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			io.WriteString(w, s)
		}
	}
	says := func(s string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { io.WriteString(w, s) }
	}
	// edit changes what the honest witness says.
	edit := func(f func(lines []string) []string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
			rec := httptest.NewRecorder()
			honest.ServeHTTP(rec, r)
			io.WriteString(w, strings.Join(f(strings.SplitAfter(strings.TrimSuffix(rec.Body.String(), "\n"), "\n")), ""))
		}
	}
	stranger := func(at time.Time) string {
		return string(must(cosigners("stranger.example", false)[0].Line(signer().Sign(0, sha256.Sum256(nil)), at)))
	}
	for name, c := range map[string]struct {
		twist func(http.ResponseWriter, *http.Request, http.Handler)
		want  error
		size  int
	}{
		"AT-47 claims a larger size":    {size("8\n"), feed.ErrAhead, 7},
		"AT-47 claims a huge size":      {size("18446744073709551615\n"), feed.ErrAhead, 7},
		"AT-48 same size, other root":   {status(409), feed.ErrConflict, 7},
		"AT-48 no proof is good enough": {status(422), feed.ErrConflict, 7},
		"names the size that we named":  {size("0\n"), feed.ErrConflict, 7},
		"size without line feed":        {size("3"), feed.ErrAnswer, 7},
		"size with zeros":               {size("03\n"), feed.ErrAnswer, 7},
		"size that is none":             {size("x\n"), feed.ErrAnswer, 7},
		"AT-49 nothing":                 {says(""), feed.ErrAnswer, 7},
		"AT-49 unknown witness":         {says(stranger(noon)), feed.ErrAnswer, 7},
		"no signature line":             {says("hello\n"), feed.ErrAnswer, 7},
		"endless":                       {says(strings.Repeat("x", transparency.MaxNoteSize+2)), feed.ErrAnswer, 7},
		"AT-49 one of its two keys":     {edit(func(l []string) []string { return l[:1] }), feed.ErrAnswer, 7},
		"AT-49 doubled":                 {edit(func(l []string) []string { return append(l[:1], l[0], l[0]) }), feed.ErrAnswer, 7},
		"does not know the log":         {status(404), feed.ErrRefused, 7},
		"does not know the key":         {status(403), feed.ErrRefused, 7},
		"cannot read us":                {status(400), feed.ErrRefused, 7},
		"cannot now":                    {status(503), feed.ErrRefused, 7},
		"redirects": {func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, "/x", http.StatusTemporaryRedirect)
		}, feed.ErrRefused, 7},
		"hangs up": {func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }, feed.ErrUnreachable, 7},
		"another size whenever it is asked": {func() func(http.ResponseWriter, *http.Request, http.Handler) {
			var n atomic.Int64
			return func(w http.ResponseWriter, r *http.Request, h http.Handler) {
				size(string('1'+byte(n.Add(1)))+"\n")(w, r, h)
			}
		}(), feed.ErrAnswer, 7},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.nodes[0].twist = c.twist
			w.grow(c.size)
			r, err := w.cosign(t)
			w.want(t, r, err, "w2.example", "w3.example")
			if len(r.Failed) != 1 || r.Failed[0].Name != "w1.example" || !errors.Is(r.Failed[0], c.want) {
				t.Errorf("failed %v, want %v", r.Failed, c.want)
			}
			if n := w.nodes[0].asked.Load(); n > 3 {
				t.Errorf("asked %d times", n)
			}
		})
	}
	for name, off := range map[string]time.Duration{"AT-49 future": time.Hour, "AT-49 too old": -time.Hour, "just too far": transparency.MaxClockSkew + time.Second} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.nodes[0].now = noon.Add(off)
			r, err := w.cosign(t)
			w.want(t, r, err, "w2.example", "w3.example")
			if !errors.Is(r.Failed[0], feed.ErrTime) {
				t.Errorf("failed %v", r.Failed)
			}
		})
	}
}

// AT-47 from the log's own side: restored from an old backup, it hears from
// every witness that it had more leaves, gets no quorum, and says so.
func TestOwnRollback(t *testing.T) {
	w := newWorld(t)
	w.grow(9)
	must(w.cosign(t))
	w.tree = transparency.Tree{}
	w.grow(5)
	w.open(t)
	r, err := w.cosign(t)
	var q *feed.QuorumError
	if !errors.As(err, &q) || !errors.Is(err, feed.ErrAhead) || q.Signed != 0 || len(q.Failed) != 3 || len(r.Signed) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	// Grown again over the gap with other leaves: AT-48.
	for range 7 {
		w.tree.Append([]byte("another world"))
	}
	_, err = w.cosign(t)
	if !errors.As(err, &q) || !errors.Is(err, feed.ErrConflict) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"w1.example", "w2.example", "w3.example"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}

// AT-49: one short.
func TestBelowQuorum(t *testing.T) {
	w := newWorld(t)
	for _, n := range w.nodes[1:] {
		n.twist = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(500) }
	}
	w.grow(3)
	r, err := w.cosign(t)
	var q *feed.QuorumError
	if !errors.As(err, &q) || q.Signed != 1 || q.Quorum != 2 || len(q.Failed) != 2 || !errors.Is(err, feed.ErrRefused) || !slices.Equal(r.Signed, []string{"w1.example"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// With the quorum there, one that does not answer is waited for as long as the
// grace and no longer.
func TestGrace(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	defer close(release)
	w.nodes[1].twist = func(http.ResponseWriter, *http.Request, http.Handler) { <-release }
	w.cfg.Grace = time.Millisecond
	w.cfg.Timeout = time.Hour
	w.open(t)
	r, err := w.cosign(t)
	w.want(t, r, err, "w1.example", "w3.example")
	if !errors.Is(r.Failed[0], feed.ErrSlow) {
		t.Errorf("failed %v", r.Failed)
	}
}

// The caller's own end ends everything.
func TestCancelled(t *testing.T) {
	w := newWorld(t)
	release, begun := make(chan struct{}), make(chan struct{}, 3)
	defer close(release)
	for _, n := range w.nodes {
		n.twist = func(http.ResponseWriter, *http.Request, http.Handler) { begun <- struct{}{}; <-release }
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	_, err := w.Cosign(ctx, w.note(), 0, w.tree.ProveConsistency)
	var q *feed.QuorumError
	if !errors.As(err, &q) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A prover that fails, or a note that is not of the size, costs no request.
func TestOwnMistakes(t *testing.T) {
	w := newWorld(t)
	w.grow(3)
	if _, err := w.Cosign(t.Context(), w.note(), 4, w.tree.ProveConsistency); err == nil {
		t.Error("a note of another size")
	}
	if _, err := w.Cosign(t.Context(), []byte("x"), 3, w.tree.ProveConsistency); err == nil {
		t.Error("no note")
	}
	if got := w.asked(); !slices.Equal(got, []int64{0, 0, 0}) {
		t.Errorf("asked %v", got)
	}
	must(w.cosign(t))
	w.grow(3)
	broken := errors.New("disk on fire")
	_, err := w.Cosign(t.Context(), w.note(), 6, func(uint64, uint64) ([][32]byte, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if got := w.asked(); !slices.Equal(got, []int64{1, 1, 1}) {
		t.Errorf("asked %v", got)
	}
}

func TestConfigRefuses(t *testing.T) {
	v := func(name string, pq bool) (out []string) {
		for _, c := range cosigners(name, pq) {
			out = append(out, c.VKey())
		}
		return out
	}
	ok := func() feed.Config {
		return feed.Config{Quorum: 1, Witnesses: []feed.WitnessConfig{{URL: "https://w1.example", Keys: v("w1.example", true)}, {URL: "https://w2.example/x/", Keys: v("w2.example", false)}}}
	}
	if err := ok().Validate(); err != nil {
		t.Error(err)
	}
	alias := must(transparency.NewCosigner("w2.example", key("w1.example"))).VKey()
	for name, edit := range map[string]func(*feed.Config){
		"zero":         func(c *feed.Config) { *c = feed.Config{} },
		"no quorum":    func(c *feed.Config) { c.Quorum = 0 },
		"unreachable":  func(c *feed.Config) { c.Quorum = 3 },
		"no url":       func(c *feed.Config) { c.Witnesses[0].URL = "" },
		"other scheme": func(c *feed.Config) { c.Witnesses[0].URL = "ftp://w1.example" },
		"password":     func(c *feed.Config) { c.Witnesses[0].URL = "https://a:b@w1.example" },
		"query":        func(c *feed.Config) { c.Witnesses[0].URL = "https://w1.example?x=1" },
		"no key":       func(c *feed.Config) { c.Witnesses[0].Keys = nil },
		"log's key":    func(c *feed.Config) { c.Witnesses[0].Keys = []string{signer().VKey()} },
		"two names":    func(c *feed.Config) { c.Witnesses[0].Keys = append(v("w1.example", false), v("w3.example", false)...) },
		"AT-49 witness twice": func(c *feed.Config) {
			c.Witnesses[1].Keys = v("w1.example", true)[1:]
			c.Witnesses[0].Keys = v("w1.example", false)
		},
		"AT-49 key, two names": func(c *feed.Config) { c.Witnesses[1].Keys = []string{alias} },
		"key twice":            func(c *feed.Config) { c.Witnesses[0].Keys = append(v("w1.example", false), v("w1.example", false)...) },
		"ca beside cleartext":  func(c *feed.Config) { c.Witnesses[0].URL, c.Witnesses[0].CA = "http://127.0.0.1:1", "x.pem" },
		"negative timeout":     func(c *feed.Config) { c.Timeout = -1 },
		"negative grace":       func(c *feed.Config) { c.Grace = -1 },
		"nonsense for a key":   func(c *feed.Config) { c.Witnesses[0].Keys = []string{"w1.example+00000000+AAAA"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := ok()
			edit(&c)
			if c.Validate() == nil {
				t.Error("accepted")
			}
			if _, err := feed.New(c, nil); err == nil {
				t.Error("made")
			}
		})
	}
}

// Over TLS: the witness must prove its name by the roots that are configured.
func TestTLS(t *testing.T) {
	ca := must(httpxtest.CreateCA(t.TempDir(), "test"))
	other := must(httpxtest.CreateCA(t.TempDir(), "other"))
	id := must(ca.Issue("w.test", "127.0.0.1"))
	w := must(witness.New(witness.Setup{
		Cosigners: cosigners("w.test", true), Store: new(witness.MemoryStore), Logs: []witness.Log{{Origin: origin, LogKey: signer().VKey()}},
	}))
	srv := httpx.NewServer(w.Handler())
	srv.TLSConfig = must(id.Server(false))
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- httpx.Serve(ctx, ln, srv) }()
	defer func() { cancel(); <-done }()
	for file, good := range map[string]bool{ca.File(): true, other.File(): false} {
		f := must(feed.New(feed.Config{Quorum: 1, Witnesses: []feed.WitnessConfig{{URL: "https://" + ln.Addr().String() + "/", Keys: w.VKeys(), CA: file}}}, nil))
		_, err := f.Cosign(t.Context(), signer().Sign(0, sha256.Sum256(nil)), 0, nil)
		if good && err != nil || !good && !errors.Is(err, feed.ErrUnreachable) {
			t.Errorf("%s: %v", file, err)
		}
		f.Close()
	}
	if _, err := feed.New(feed.Config{Quorum: 1, Witnesses: []feed.WitnessConfig{{URL: "https://w.test", Keys: w.VKeys(), CA: "absent.pem"}}}, nil); err == nil {
		t.Error("a file of roots that is not there")
	}
}
