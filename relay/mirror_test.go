// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/relay"
)

// A log is a publisher under the test's control.
type log struct {
	calls  atomic.Int32
	status atomic.Int32
	gate   chan struct{} // when set, answers wait for it
	size   atomic.Int64  // when set, the log's checkpoint has it, and is neither counted nor gated
}

func (l *log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n := l.size.Load(); n > 0 && r.URL.Path == "/v1/log/checkpoint" {
		fmt.Fprintf(w, "log.example\n%d\nroot\n\nsignatures\n", n)
		return
	}
	n := l.calls.Add(1)
	if l.gate != nil {
		<-l.gate
	}
	if s := l.status.Load(); s != 200 {
		http.Error(w, "x", int(s))
		return
	}
	w.Header().Set("Set-Cookie", "id=1")
	fmt.Fprintf(w, "%s %d", r.URL.Path, n)
}

func mirrored(t *testing.T, l *log, age time.Duration) *world {
	ca := newCA(t)
	l.status.CompareAndSwap(0, 200)
	base := upstream(t, ca, l)
	return start(t, ca, upstream(t, ca, echo), func(c *relay.Config) {
		c.Mirror, c.MirrorCA, c.MirrorAge = base, ca.File(), age
	})
}

func (w *world) get(path string) (int, string, http.Header) {
	w.t.Helper()
	resp, err := w.http.Get(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestMirrorServesFromMemory(t *testing.T) {
	l := &log{}
	w := mirrored(t, l, 50*time.Millisecond)
	for range 3 {
		if code, b, h := w.get("/v1/statement/7"); code != 200 || b != "/v1/statement/7 1" || h.Get("Set-Cookie") != "" {
			t.Fatalf("got %d %q %v", code, b, h)
		}
	}
	if _, b, h := w.get("/v1/checkpoint"); b != "/v1/checkpoint 2" || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
		t.Errorf("got %q %v", b, h)
	}
	time.Sleep(100 * time.Millisecond)
	if _, b, _ := w.get("/v1/checkpoint"); b != "/v1/checkpoint 3" {
		t.Errorf("an old checkpoint: %q", b)
	}
	if _, b, _ := w.get("/v1/statement/7"); b != "/v1/statement/7 1" {
		t.Errorf("a statement was fetched twice: %q", b)
	}
	if s := w.relay.Stats(); s.MirrorHits != 3 || s.MirrorLoads != 3 || s.MirrorFails != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestMirrorOutage is DS-07 for the publisher: an old copy is better than none.
func TestMirrorOutage(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		l := &log{}
		w := mirrored(t, l, time.Nanosecond)
		w.get("/v1/statement/latest")
		l.status.Store(500)
		if code, b, _ := w.get("/v1/statement/latest"); code != 200 || b != "/v1/statement/latest 1" {
			t.Errorf("got %d %q", code, b)
		}
		if code, b, _ := w.get("/v1/statement/8"); code != 502 || !strings.Contains(b, "mirror.unreachable") {
			t.Errorf("got %d %q", code, b)
		}
		l.status.Store(200)
		if code, b, _ := w.get("/v1/statement/8"); code != 200 {
			t.Errorf("after the outage: %d %q", code, b)
		}
	})
}

// TestMirrorAbsentIsRememberedShortly: no longer than what changes is kept, and not
// beyond the moment at which the log grows.
func TestMirrorAbsentIsRememberedShortly(t *testing.T) {
	l := &log{}
	l.status.Store(404)
	w := mirrored(t, l, time.Hour)
	for range 3 {
		if code, b, _ := w.get("/v1/statement/9"); code != 404 || !strings.Contains(b, "mirror.absent") {
			t.Errorf("got %d %q", code, b)
		}
	}
	if n := l.calls.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	l.status.Store(200)
	l.size.Store(10)
	w.get("/v1/log/checkpoint")
	if code, _, _ := w.get("/v1/statement/9"); code != 200 {
		t.Errorf("the log has grown: %d", code)
	}
	l.status.Store(404)
	w = mirrored(t, l, time.Nanosecond)
	w.get("/v1/statement/9")
	l.status.Store(200)
	if code, _, _ := w.get("/v1/statement/9"); code != 200 {
		t.Errorf("long after: %d", code)
	}
}

// TestMirrorOfWhatIsNotThere: who asks for tiles and statements that the log has not
// reached keeps nobody from those that are there.
func TestMirrorOfWhatIsNotThere(t *testing.T) {
	t.Run("DS-02", func(t *testing.T) {
		l := &log{gate: make(chan struct{})}
		defer close(l.gate)
		l.size.Store(300)
		w := mirrored(t, l, time.Hour)
		w.get("/v1/log/checkpoint")
		for n := range 100 {
			for _, p := range []string{"/v1/log/tile/0/%03d", "/v1/log/tile/entries/%03d", "/v1/log/tile/1/%03d", "/v1/log/tile/5/x999/%03d.p/1", "/v1/log/tile/0/x001/%03d.p/7", "/v1/statement/%d"} {
				if code, b, _ := w.get(fmt.Sprintf(p, 300+n)); code != 404 || !strings.Contains(b, "mirror.absent") {
					t.Fatalf(p+": %d %q", 300+n, code, b)
				}
			}
		}
		for _, p := range []string{"/v1/log/tile/0/001", "/v1/log/tile/0/001.p/45", "/v1/log/tile/1/000", "/v1/log/tile/1/000.p/2", "/v1/log/tile/2/000.p/1", "/v1/log/tile/entries/001.p/45", "/v1/statement/18446744073709551615"} {
			if code, _, _ := w.get(p); code != 404 {
				t.Errorf("%s: %d", p, code)
			}
		}
		if n := l.calls.Load(); n != 0 {
			t.Errorf("%d fetches", n)
		}
	})
	t.Run("DS-02 nobody has asked for the checkpoint", func(t *testing.T) {
		l := &log{gate: make(chan struct{})}
		l.size.Store(300)
		w := mirrored(t, l, time.Hour)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(l.gate)
		wg.Go(func() { w.get("/v1/log/tile/0/900") }) // the first of them the publisher has to say itself
		for l.calls.Load() < 1 {
			time.Sleep(time.Millisecond)
		}
		for n := range 20 {
			if code, _, _ := w.get(fmt.Sprintf("/v1/log/tile/0/9%02d", 10+n)); code != 404 {
				t.Errorf("%d", code)
			}
		}
	})
	t.Run("what is there passes", func(t *testing.T) {
		l := &log{}
		l.size.Store(300)
		w := mirrored(t, l, time.Hour)
		w.get("/v1/log/checkpoint")
		for _, p := range []string{"tile/0/000", "tile/0/001.p/44", "tile/0/001.p/1", "tile/entries/001.p/44", "tile/1/000.p/1"} {
			if code, _, _ := w.get("/v1/log/" + p); code != 200 {
				t.Errorf("%s: %d", p, code)
			}
		}
		if code, _, _ := w.get("/v1/statement/299"); code != 200 {
			t.Errorf("the newest by its number: %d", code)
		}
		l.size.Store(600) // and a client has heard of it elsewhere
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if code, _, _ := w.get("/v1/log/tile/0/001"); code == 200 {
				break
			} else if time.Now().After(end) {
				t.Fatalf("a grown log: %d", code)
			}
		}
	})
}

// TestMirrorKindsDoNotStarveEachOther: statements and tiles have turns of their own,
// and who comes a moment too early waits.
func TestMirrorKindsDoNotStarveEachOther(t *testing.T) {
	t.Run("DS-02", func(t *testing.T) {
		var held atomic.Int32
		gate := make(chan struct{})
		ca := newCA(t)
		base := upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v1/log/tile/0/9") {
				held.Add(1)
				<-gate
			}
			fmt.Fprint(w, "x")
		}))
		w := start(t, ca, upstream(t, ca, echo), func(c *relay.Config) { c.Mirror, c.MirrorCA, c.MirrorAge = base, ca.File(), time.Hour })
		w.get("/v1/log/checkpoint")
		var wg sync.WaitGroup
		defer wg.Wait()
		for n := range 8 {
			wg.Go(func() { w.get(fmt.Sprintf("/v1/log/tile/0/9%02d", n)) })
		}
		for held.Load() < 8 {
			time.Sleep(time.Millisecond)
		}
		if code, _, _ := w.get("/v1/statement/1"); code != 200 {
			t.Errorf("a statement: %d", code)
		}
		wg.Go(func() {
			if code, _, _ := w.get("/v1/log/tile/0/001"); code != 200 {
				t.Errorf("a tile that waits: %d", code)
			}
		})
		time.AfterFunc(100*time.Millisecond, func() { close(gate) })
	})
}

func TestMirrorAsksOnceForMany(t *testing.T) {
	l := &log{gate: make(chan struct{})}
	w := mirrored(t, l, time.Hour)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if code, b, _ := w.get("/v1/statement/latest"); code != 200 || b != "/v1/statement/latest 1" {
				t.Errorf("got %d %q", code, b)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	close(l.gate)
	wg.Wait()
	if n := l.calls.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestMirrorRefusesOddPaths(t *testing.T) {
	l := &log{}
	w := mirrored(t, l, time.Hour)
	for _, p := range []string{"/v1/statement/", "/v1/statement/-1", "/v1/statement/01", "/v1/statement/+1", "/v1/statement/18446744073709551616",
		"/v1/statement/1x", "/v1/statement/..%2fpack%2f1", "/v1/statement/latest/x", "/v1/pack/1", "/v1/freshness", "/v1/statement/LATEST", "/v1/statement/%6catest%00"} {
		if code, b, _ := w.get(p); code != 404 {
			t.Errorf("%s: %d %q", p, code, b)
		}
	}
	if n := l.calls.Load(); n != 0 {
		t.Errorf("%d fetches", n)
	}
}

// TestMirrorMemoryIsBounded: somebody asks for epochs until something gives.
func TestMirrorMemoryIsBounded(t *testing.T) {
	l := &log{}
	w := mirrored(t, l, time.Hour)
	for i := range 200 {
		if code, _, _ := w.get(fmt.Sprint("/v1/statement/", i)); code != 200 {
			t.Fatalf("%d: %d", i, code)
		}
	}
	w.get("/v1/statement/199") // in memory
	before := l.calls.Load()
	w.get("/v1/statement/0") // long gone
	if l.calls.Load() != before+1 || before != 200 {
		t.Errorf("%d fetches, then %d", before, l.calls.Load())
	}
}

func TestMirrorRefusesHugeObjects(t *testing.T) {
	ca := newCA(t)
	base := upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for b := make([]byte, 1<<16); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	w := start(t, ca, upstream(t, ca, echo), func(c *relay.Config) { c.Mirror, c.MirrorCA = base, ca.File() })
	if code, b, _ := w.get("/v1/checkpoint"); code != 502 {
		t.Errorf("got %d %.40q", code, b)
	}
}

// TestMirrorNumbersDoNotStarveTheLatest: who keeps all fetches busy with
// numbers that nobody publishes does not keep others from the newest statement.
func TestMirrorNumbersDoNotStarveTheLatest(t *testing.T) {
	t.Run("DS-02", func(t *testing.T) {
		l := &log{gate: make(chan struct{})}
		l.size.Store(1 << 20)
		w := mirrored(t, l, time.Nanosecond)
		w.get("/v1/log/checkpoint")
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() { w.get(fmt.Sprint("/v1/statement/", 1000+n)) })
		}
		for l.calls.Load() < 8 {
			time.Sleep(time.Millisecond)
		}
		if code, _, _ := w.get("/v1/statement/2000"); code != 503 {
			t.Errorf("a ninth number: %d", code)
		}
		for _, path := range []string{"/v1/statement/latest", "/v1/checkpoint"} {
			wg.Go(func() {
				if code, b, _ := w.get(path); code != 200 {
					t.Errorf("%s: %d %q", path, code, b)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		close(l.gate)
		wg.Wait()
	})
}

// TestMirrorOfTiles: hashes and leaves of the log pass by the one spelling of
// their path; nothing else reaches the publisher.
func TestMirrorOfTiles(t *testing.T) {
	l := &log{}
	w := mirrored(t, l, time.Hour)
	pass := []string{"checkpoint", "tile/0/000", "tile/5/999", "tile/0/000.p/1", "tile/0/000.p/255", "tile/0/x001/000", "tile/1/x123/x004/567.p/42", "tile/entries/000", "tile/entries/x001/234.p/17"}
	for i, p := range pass {
		want := fmt.Sprintf("/v1/log/%s %d", p, i+1)
		for range 2 {
			if code, b, _ := w.get("/v1/log/" + p); code != 200 || b != want {
				t.Errorf("%s: %d %q, want %q", p, code, b, want)
			}
		}
	}
	for _, p := range badTiles {
		if code, b, _ := w.get("/v1/log/" + p); code != 404 {
			t.Errorf("%s: %d %q", p, code, b)
		}
	}
	if n := l.calls.Load(); int(n) != len(pass) {
		t.Errorf("%d fetches, want %d", n, len(pass))
	}
}

// TestMirrorBoundsEachKind: what is longer than its kind can be is not kept, and
// not passed on.
func TestMirrorBoundsEachKind(t *testing.T) {
	var size atomic.Int64
	ca := newCA(t)
	base := upstream(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, size.Load())) }))
	w := start(t, ca, upstream(t, ca, echo), func(c *relay.Config) { c.Mirror, c.MirrorCA, c.MirrorAge = base, ca.File(), time.Nanosecond })
	for i, x := range []struct {
		path string
		max  int64
	}{{"/v1/checkpoint", 1 << 16}, {"/v1/log/checkpoint", 1 << 16}, {"/v1/log/tile/0/%03d", 256 * 32}, {"/v1/log/tile/entries/%03d", 256 * (2 + 1024)}, {"/v1/statement/%d", 2 << 20}} {
		at := func(n int) string {
			if strings.Contains(x.path, "%") {
				return fmt.Sprintf(x.path, 100+2*i+n) // each is fetched once
			}
			return x.path
		}
		size.Store(x.max + 1)
		if code, b, _ := w.get(at(0)); code != 502 {
			t.Errorf("%s of %d bytes: %d %.40q", x.path, size.Load(), code, b)
		}
		size.Store(x.max)
		if code, b, _ := w.get(at(1)); code != 200 || int64(len(b)) != x.max {
			t.Errorf("%s of %d bytes: %d, %d", x.path, x.max, code, len(b))
		}
	}
}

// badTiles are spellings of which each log has another one, or none.
var badTiles = []string{
	"", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/0000", "tile/00/000", "tile/6/000", "tile/-1/000", "tile/data/000", "tile/entries", "tile/entries/", "tile/entries/0/000", "tile/entries/x000/001", "tile/entries/000.p/256", "tile/Entries/000",
	"tile/0/x000/001", "tile/0/001/000", "tile/0/x001", "tile/0/x001/x002", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p/1/2",
	"tile/0/000.p", "tile/0/+00", "tile/0/000%2f", "tile/0/00a", "tile/0/x001/x001/x001/x001/x001/001", "checkpoint/", "Checkpoint", "entries/000",
}
