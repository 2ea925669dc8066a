// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
	"github.com/sotto-project/sotto/transparency/witness/feed"
)

// fakeWitnesses are independent witnesses in one place: each remembers the tree
// that it has seen and refuses what does not extend it.
type fakeWitnesses struct {
	t      *testing.T
	all    []*fakeWitness
	quorum int
	now    func() time.Time
	change func([]byte) []byte // what a feeder gone wrong returns
	upTo   uint64              // size from which on nobody is there; 0: none
	asked  int
	why    func(up int) error // what is said below the quorum
}

type fakeWitness struct {
	cosigner *transparency.Cosigner
	size     uint64
	root     [32]byte
	down     bool
}

func newWitnesses(t *testing.T, n, quorum int) *fakeWitnesses {
	ws := &fakeWitnesses{t: t, quorum: quorum}
	for i := range n {
		name := fmt.Sprintf("w%d.example", i)
		seed := sha256.Sum256([]byte(name))
		c, err := transparency.NewCosigner(name, ed25519.NewKeyFromSeed(seed[:]))
		if err != nil {
			t.Fatal(err)
		}
		ws.all = append(ws.all, &fakeWitness{cosigner: c})
	}
	return ws
}

func (ws *fakeWitnesses) configs() (out []WitnessConfig) {
	for i, w := range ws.all {
		out = append(out, WitnessConfig{URL: fmt.Sprintf("https://w%d.example", i), Keys: []string{w.cosigner.VKey()}})
	}
	return out
}

func (ws *fakeWitnesses) down(n int) {
	for i, w := range ws.all {
		w.down = i < n
	}
}

func (ws *fakeWitnesses) cosign(ctx context.Context, note []byte, size uint64, prove func(uint64) ([][32]byte, error)) ([]byte, error) {
	ws.asked++
	lines := strings.Split(string(note), "\n")
	h, err := tlog.ParseHash(lines[2])
	if err != nil || lines[1] != fmt.Sprint(size) {
		ws.t.Fatalf("asked about %q", note)
	}
	up := 0
	if ws.upTo > 0 && size > ws.upTo {
		return nil, errors.New("witness: no quorum")
	}
	for _, w := range ws.all {
		if w.down {
			continue
		}
		if w.size > size || w.size == size && w.root != h {
			return nil, errors.New("witness: a fork")
		}
		if w.size > 0 && w.size < size {
			p, err := prove(w.size)
			if err != nil {
				ws.t.Fatal(err)
			}
			var proof tlog.TreeProof
			for _, x := range p {
				proof = append(proof, x)
			}
			if err := tlog.CheckTree(proof, int64(size), h, int64(w.size), w.root); err != nil {
				return nil, err
			}
		}
		w.size, w.root = size, h
		if note, err = w.cosigner.Cosign(note, ws.now()); err != nil {
			return nil, err
		}
		up++
	}
	if up < ws.quorum {
		if ws.why != nil {
			return nil, ws.why(up)
		}
		return nil, errors.New("witness: no quorum")
	}
	if ws.change != nil {
		note = ws.change(note)
	}
	return note, nil
}

func TestWitnessesCosignEverything(t *testing.T) {
	ws := newWitnesses(t, 3, 2)
	ws.down(1)
	w := newWitnessedWorld(t, 2, ws)
	w.step(time.Second)
	st := w.whole(1, 2)
	if tr := w.p.Trust(); tr.Quorum != 2 || len(tr.Witnesses) != 3 || !tr.PostQuantum() {
		t.Errorf("trust %+v", tr)
	}
	w.step(st.NotAfter.Sub(w.clock) - 5*time.Minute)
	w.step(5 * time.Minute)
	w.whole(2, 2)
	w.open()
	w.step(time.Second)
	w.whole(2, 2)
}

// While the quorum is missing nothing new leaves, what is there stays, and when
// it is back the log goes on where it was.
func TestWitnessesAway(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			ws := newWitnesses(t, 3, 2)
			w := newWitnessedWorld(t, 2, ws)
			w.step(time.Second)
			st := w.whole(1, 2)
			_, checkpoint, _ := w.get("/v1/checkpoint")
			_, served, _ := w.get("/v1/log/checkpoint")
			ws.upTo = 2 // they leave between the question to the nodes and the statement
			w.step(st.NextPublic.Sub(w.clock))
			if w.p.log.Last().Epoch != 2 || !w.p.log.Pending() {
				t.Fatal("the statement should be in the log, waiting")
			}
			ws.down(2)
			asked := ws.asked
			for range 20 {
				w.step(time.Second)
				if p := w.p.pause(w.clock); p > maxRetry {
					t.Errorf("pause of %v", p)
				}
			}
			if ws.asked == asked || ws.asked > asked+20 {
				t.Errorf("asked %d times in 20 s", ws.asked-asked)
			}
			if restart {
				w.open()
				w.step(time.Second)
			}
			for _, path := range []string{"/v1/statement/2", "/v1/pack/2", "/v1/log/tile/0/000.p/3", "/v1/log/tile/entries/000.p/3"} {
				if code, _, _ := w.get(path); code != http.StatusNotFound {
					t.Errorf("%s left without the quorum: %d", path, code)
				}
			}
			for path, before := range map[string][]byte{"/v1/log/checkpoint": served, "/v1/checkpoint": checkpoint} {
				code, b, _ := w.get(path)
				if restart && path == "/v1/checkpoint" && code == http.StatusNotFound {
					continue // made with the freshness list, which is gone
				}
				if c, err := w.p.Trust().ParseCheckpoint(b); err != nil || c.Size != 2 {
					t.Errorf("%s: a checkpoint left without the quorum: %v", path, err)
				}
				if path == "/v1/checkpoint" && !bytes.Equal(b, before) {
					t.Errorf("%s changed without the quorum", path)
				}
			}
			if got := w.latest(); got.Epoch != 1 {
				t.Errorf("serves %d", got.Epoch)
			}
			ws.upTo = 0
			ws.down(1)
			w.step(10 * time.Second)
			if code, _, _ := w.get("/v1/statement/2"); code != http.StatusOK || w.p.log.Pending() {
				t.Errorf("the quorum is back and epoch 2 is not public: %d\n%s", code, w.log)
			}
			w.step(st.NotAfter.Sub(w.clock) + time.Second)
			w.whole(2, 2)
		})
	}
}

// Away for longer than an epoch: an empty leaf stands for the time.
func TestWitnessesAwayForLong(t *testing.T) {
	ws := newWitnesses(t, 3, 2)
	w := newWitnessedWorld(t, 2, ws)
	w.step(time.Second)
	st := w.whole(1, 2)
	ws.upTo = 2
	w.step(st.NextPublic.Sub(w.clock))
	ws.down(3)
	for range 30 {
		w.step(5 * time.Minute)
	}
	ws.down(0)
	ws.upTo = 0
	w.step(10 * time.Second)
	// 2 was in the log when the witnesses left, 3 is the outage after it.
	now := w.whole(4, 2)
	if gap, err := w.p.log.Statement(3); err != nil || !gap.Empty || !gap.NotAfter.Equal(now.NotBefore) {
		t.Errorf("%+v, %v", gap, err)
	}
	for e := range uint64(5) {
		b, err := w.p.log.Signed(e)
		if err != nil {
			t.Fatal(err)
		}
		s, err := statement.ParseSigned(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Verify(w.p.Trust()); err != nil {
			t.Errorf("epoch %d: %v", e, err)
		}
	}
}

// A note that the feeder returns is not believed: only what satisfies the
// readers' trust leaves.
func TestFeederIsNotBelieved(t *testing.T) {
	var first []byte
	for name, change := range map[string]func([]byte) []byte{
		"AT-49 one short": func(b []byte) []byte {
			lines := bytes.SplitAfter(b, []byte("\n"))
			return bytes.Join(lines[:len(lines)-3], nil)
		},
		"AT-49 damaged": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-10] ^= 2; return b },
		"an old note":   func(b []byte) []byte { return first },
		"nothing":       func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			ws := newWitnesses(t, 3, 2)
			ws.change = func(b []byte) []byte { first = b; return b }
			w := newWitnessedWorld(t, 2, ws)
			w.step(time.Second)
			st := w.whole(1, 2)
			ws.change = nil
			_, first, _ = w.get("/v1/log/checkpoint")
			ws.change = change
			w.step(st.NextPublic.Sub(w.clock))
			if code, _, _ := w.get("/v1/statement/2"); code == http.StatusOK {
				t.Errorf("published: %d", code)
			}
			ws.change = nil
			w.step(10 * time.Second)
			if code, _, _ := w.get("/v1/statement/2"); code != http.StatusOK {
				t.Errorf("not recovered: %d\n%s", code, w.log)
			}
		})
	}
}

func TestWitnessConfig(t *testing.T) {
	w := newWorld(t, 1)
	good := newWitnesses(t, 3, 2)
	for name, edit := range map[string]func(*Config){
		"no quorum":      func(c *Config) { c.Quorum = 0 },
		"quorum too big": func(c *Config) { c.Quorum = 4 },
		"negative":       func(c *Config) { c.Quorum = -1 },
		"no witness":     func(c *Config) { c.Witnesses = nil },
		"no key":         func(c *Config) { c.Witnesses[0].Keys = nil },
		"one url twice":  func(c *Config) { c.Witnesses[0].URL = c.Witnesses[1].URL },
		"cleartext":      func(c *Config) { c.Witnesses[0].URL = "http://w.example" },
	} {
		cfg := w.cfg
		cfg.Witnesses, cfg.Quorum = good.configs(), 2
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		if edit(&cfg); cfg.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	cfg := w.cfg
	cfg.Witnesses, cfg.Quorum = good.configs(), 2
	if _, err := Open(cfg, nil, nil); err == nil {
		t.Error("opened with witnesses that nobody asks")
	}
	if _, err := OpenWitnessed(w.cfg, nil, good.cosign, nil); err == nil {
		t.Error("asks witnesses that the configuration does not name")
	}
	if _, err := OpenWitnessedLog(t.Context(), w.cfg.Dir, testOrigin, Witnesses{}); err == nil {
		t.Error("opened a witnessed log without witnesses")
	}
}

// Anybody can walk the public log from its tiles and finds every statement.
func TestMirrorsFollowTheLog(t *testing.T) {
	w := newWorld(t, 2)
	w.step(time.Second)
	w.step(50 * time.Minute)
	_, note, h := w.get("/v1/log/checkpoint")
	if h.Get("Cache-Control") == "" {
		t.Error("no caching rule")
	}
	c, err := w.p.Trust().ParseCheckpoint(note)
	if err != nil || c.Size != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	tr := tiles.New(c.Size, c.Root, func(_ context.Context, path string) ([]byte, error) {
		rec := httptest.NewRecorder()
		w.p.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/log/"+path, nil))
		if rec.Code != http.StatusOK {
			return nil, errors.New(path)
		}
		return rec.Body.Bytes(), nil
	})
	e := uint64(0)
	for raw, err := range tr.Leaves(t.Context(), 0, c.Size) {
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := statement.ParseLeaf(raw)
		if err != nil || leaf.Epoch != e {
			t.Fatalf("%+v, %v", leaf, err)
		}
		_, b, _ := w.get(fmt.Sprintf("/v1/statement/%d", e))
		s, err := statement.ParseSigned(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Of(s.Leaf); err != nil {
			t.Errorf("epoch %d: %v", e, err)
		}
		e++
	}
	if e != 3 {
		t.Errorf("%d leaves", e)
	}
}

// A log that gains witnesses shows nothing that only its clock has cosigned:
// the newest statements are signed anew.
func TestLogGainsWitnesses(t *testing.T) {
	w := newWorld(t, 2)
	w.step(time.Second)
	w.whole(1, 2)
	ws := newWitnesses(t, 3, 2)
	ws.now = func() time.Time { return w.clock }
	ws.down(3)
	w.cosign, w.cfg.Witnesses, w.cfg.Quorum = ws.cosign, ws.configs(), ws.quorum
	w.open()
	w.step(time.Second)
	for _, path := range []string{"/v1/statement/latest", "/v1/checkpoint", "/v1/freshness"} {
		if code, _, _ := w.get(path); code != http.StatusNotFound {
			t.Errorf("%s left with the clock's word alone: %d", path, code)
		}
	}
	ws.down(0)
	w.step(10 * time.Second)
	st := w.latest()
	if st.Epoch != 1 {
		t.Errorf("epoch %d", st.Epoch)
	}
	w.step(st.NextPublic.Sub(w.clock))
	w.step(st.NotAfter.Sub(w.clock))
	w.whole(2, 2)
}

// A statement that waits for its witnesses is neither followed nor replaced.
func TestNothingFollowsWhatIsNotSigned(t *testing.T) {
	dir := newLog(t)
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	ws := newWitnesses(t, 3, 2)
	ws.now = func() time.Time { return noon }
	var keys []string
	for _, c := range ws.configs() {
		keys = append(keys, c.Keys...)
	}
	l, err := OpenWitnessedLog(t.Context(), dir.dir, testOrigin, Witnesses{Keys: keys, Quorum: 2, Cosign: ws.cosign})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Finish(t.Context(), noon); err != nil { // leaf 0 has the clock's word only
		t.Fatal(err)
	}
	ws.down(3)
	s, p := next(l)
	if err := l.Commit(s, p, noon); err == nil || !l.Pending() || l.Broken() {
		t.Fatalf("committed without witnesses: %v", err)
	}
	if s, p := next(l); !errors.Is(l.Commit(s, p, noon), errPending) || l.Last().Epoch != 1 {
		t.Error("a statement followed one that nobody has signed")
	}
	if err := l.Finish(t.Context(), noon); err == nil {
		t.Error("finished without witnesses")
	}
	ws.down(0)
	if err := l.Finish(t.Context(), noon); err != nil || l.Pending() {
		t.Error(err)
	}
	commit(t, l, 1)
	check2(t, l)
}

// check2 is [check] for a log with witnesses.
func check2(t *testing.T, l *Log) {
	t.Helper()
	for e := uint64(1); e <= l.Last().Epoch; e++ {
		b, err := l.Signed(e)
		if err != nil {
			t.Fatal(err)
		}
		s, err := statement.ParseSigned(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Verify(l.Trust()); err != nil {
			t.Errorf("epoch %d: %v", e, err)
		}
	}
}

// TestWaitingIsTold: DS-07: who is waited for is said once, again each minute, and
// when it is over; the rounds are counted.
func TestWaitingIsTold(t *testing.T) {
	t.Run("DS-07", func(t *testing.T) {
		ws := newWitnesses(t, 3, 2)
		ws.why = func(up int) error {
			return &feed.QuorumError{Signed: up, Quorum: 2, Failed: []*feed.WitnessError{{Name: "w0.example", Err: feed.ErrUnreachable}, {Name: "w1.example", Err: feed.ErrRefused}}}
		}
		w := newWitnessedWorld(t, 2, ws)
		w.step(time.Second)
		w.whole(1, 2)
		if got := w.metric("witnesses_signed"); got != "3" {
			t.Errorf("%s witnesses", got)
		}
		at := w.metric("checkpoint_timestamp_seconds")
		ws.down(1)
		w.step(time.Minute)
		w.whole(1, 2) // one of three: nothing happens
		if got := w.metric("witnesses_signed"); got != "2" || w.metric("cosignings_failed_total") != "0" || w.metric("checkpoint_timestamp_seconds") == at {
			t.Errorf("%s witnesses", got)
		}
		ws.down(2)
		w.log.Reset()
		at = w.metric("checkpoint_timestamp_seconds")
		_, note, _ := w.get("/v1/checkpoint")
		begun := w.clock
		for w.clock.Sub(begun) < 10*time.Minute {
			w.step(w.p.pause(w.clock))
			if p := w.p.pause(w.clock); p > maxRetry {
				t.Errorf("pause of %v", p)
			}
		}
		told := strings.Count(w.log.String(), `msg="waiting for witnesses" signed="1 of 2: w0.example: unreachable; w1.example: refused"`)
		if told < 9 || told > 11 || strings.Contains(w.log.String(), "no checkpoint made") || strings.Contains(w.log.String(), "no statement made") {
			t.Errorf("told %d times in ten minutes: %s", told, w.log)
		}
		if w.metric("witnesses_signed") != "1" || w.metric("cosignings_failed_total") == "0" || w.metric("checkpoint_timestamp_seconds") != at {
			t.Error("the rounds are not counted")
		}
		if _, now, _ := w.get("/v1/checkpoint"); !bytes.Equal(now, note) || w.latest().Epoch != 1 {
			t.Error("what was served is served no more, or something new is")
		}
		ws.down(0)
		w.step(maxRetry)
		w.whole(1, 2)
		if !strings.Contains(w.log.String(), `msg="the quorum signs again" after=9m`) {
			t.Errorf("%s", w.log)
		}
	})
}

// metric reads one instrument as a scraper does.
func (w *world) metric(name string) string {
	rec := httptest.NewRecorder()
	metrics.Handler(w.p.reg).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "sotto_publisher_"+name+" "); ok {
			return v
		}
	}
	return "absent"
}
