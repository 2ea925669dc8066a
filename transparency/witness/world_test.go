// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/transparency"
)

const (
	origin = "log.example/sotto"
	myName = "witness.example/w1"
)

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

func seed(name string) []byte {
	s := sha256.Sum256([]byte("test seed " + name))
	return s[:]
}

// A world is one log, one witness of it and a clock.
type world struct {
	*Witness
	signer *transparency.Signer
	store  Store
	reg    *prometheus.Registry

	mu  sync.Mutex
	now time.Time
}

func newWorld(t testing.TB, store Store) *world {
	t.Helper()
	w := &world{signer: must(transparency.NewSigner(origin, key(origin))), store: store, now: noon, reg: prometheus.NewRegistry()}
	w.open(t)
	return w
}

// open makes the witness anew over the same store, as a restart does.
func (w *world) open(t testing.TB) {
	t.Helper()
	w.reg = prometheus.NewRegistry()
	wit, err := New(Setup{
		Cosigners: []*transparency.Cosigner{must(transparency.NewCosigner(myName, key(myName))), must(transparency.NewMLDSACosigner(myName, seed(myName)))},
		Logs:      []Log{{Origin: origin, LogKey: w.signer.VKey()}},
		Store:     w.store, Registry: w.reg,
		Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Witness = wit
}

func (w *world) at(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// tree has n leaves. World 1 is the trunk; another world parts from it after
// the first fork leaves.
func tree(world byte, fork, n int) *transparency.Tree {
	var tr transparency.Tree
	for i := range n {
		leaf := []byte{byte(i), 1}
		if i >= fork {
			leaf[1] = world
		}
		if err := tr.Append(leaf); err != nil {
			panic(err)
		}
	}
	return &tr
}

func (w *world) note(tr *transparency.Tree) []byte {
	return w.signer.Sign(tr.Size(), must(tr.Root(tr.Size())))
}

// request asks for the newest checkpoint of tr with a right proof from old.
func (w *world) request(tr *transparency.Tree, old uint64) *Request {
	r := &Request{Old: old, Note: w.note(tr)}
	if 0 < old && old < tr.Size() {
		r.Proof = must(tr.ProveConsistency(old, tr.Size()))
	}
	return r
}

// counter reads one instrument as a scraper does.
func (w *world) counter(t *testing.T, name string) string {
	t.Helper()
	rec := httptest.NewRecorder()
	metrics.Handler(w.reg).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return v
		}
	}
	return "absent"
}

func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// verify demands both lines, over note, with this time.
func (w *world) verify(t *testing.T, note, lines []byte, at time.Time) {
	t.Helper()
	for _, vkey := range w.VKeys() {
		_, got, err := must(transparency.ParseCosignerKey(vkey)).Pick(note, lines)
		if err != nil || !got.Equal(at) {
			t.Errorf("time %v, %v; want %v", got, err, at)
		}
	}
}

func fileStore(t testing.TB, dir string) *FileStore {
	t.Helper()
	s, err := OpenFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newDir(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "w")
	if err := Create(dir, myName, origin); err != nil {
		t.Fatal(err)
	}
	return dir
}
