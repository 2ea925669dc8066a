// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A world is a publisher with fake nodes and a clock that tests turn.
type world struct {
	t     *testing.T
	cfg   Config
	nodes []*fakeNode
	p     *Publisher
	log   *bytes.Buffer
	clock time.Time

	cosign Cosign // nil: the clock
}

func newWorld(t *testing.T, n int) *world { return newWitnessedWorld(t, n, nil) }

// newWitnessedWorld has witnesses, if there is somebody to ask them.
func newWitnessedWorld(t *testing.T, n int, ws *fakeWitnesses) *world {
	dir := t.TempDir()
	w := &world{t: t, clock: noon, log: &bytes.Buffer{}}
	keys := filepath.Join(dir, "gateway.ohttp-keys")
	if err := os.WriteFile(keys, []byte{0, 3, 'k', 'e', 'y', 0, 1, 'x'}, 0o644); err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{
		Listen: "127.0.0.1:0", Dir: filepath.Join(dir, "log"), Origin: testOrigin,
		GatewayKeys: []string{keys}, Payment: "none", Policy: "unused",
		Models: []ModelConfig{{Name: "m", Weights: hex.EncodeToString(bytes.Repeat([]byte{5}, 32)), Context: 10, APIs: []string{"chat"}}},
	}
	for i := range n {
		node := startNode(t, "node-"+string(rune('1'+i)))
		w.nodes = append(w.nodes, node)
		w.cfg.Nodes = append(w.cfg.Nodes, NodeConfig{Name: node.name, URL: node.URL, Model: "m"})
	}
	if err := CreateLog(w.cfg.Dir, testOrigin, w.clock); err != nil {
		t.Fatal(err)
	}
	if ws != nil {
		ws.now = func() time.Time { return w.clock }
		w.cosign, w.cfg.Witnesses, w.cfg.Quorum = ws.cosign, ws.configs(), ws.quorum
	}
	w.open()
	return w
}

// open starts the publisher, again after a crash.
func (w *world) open() {
	w.t.Helper()
	if w.p != nil {
		if err := w.p.log.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	policy := &attestation.Policy{MaxEpochAge: attestation.Duration(3 * time.Hour)}
	p, err := OpenWitnessed(w.cfg, policy, w.cosign, slog.New(slog.NewTextHandler(w.log, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	p.verify, p.now = fakeVerify, func() time.Time { return w.clock }
	p.point(w.clock)
	w.p = p
	w.t.Cleanup(p.dialer.Close)
	w.t.Cleanup(func() { p.log.Close() })
}

// step turns the clock by d and lets the publisher do what is due.
func (w *world) step(d time.Duration) {
	w.clock = w.clock.Add(d)
	w.p.step(context.Background())
}

func (w *world) get(path string) (int, []byte, http.Header) {
	rec := httptest.NewRecorder()
	w.p.Handler().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	return rec.Code, rec.Body.Bytes(), rec.Result().Header
}

// latest fetches and verifies the statement in force.
func (w *world) latest() *statement.Statement {
	w.t.Helper()
	code, b, _ := w.get("/v1/statement/latest")
	s, err := statement.ParseSigned(b)
	if err != nil {
		w.t.Fatalf("%d: %v", code, err)
	}
	st, _, err := s.Verify(w.p.Trust())
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

// whole fetches what a client fetches and checks that it fits together.
func (w *world) whole(epoch uint64, nodes int) *statement.Statement {
	w.t.Helper()
	st := w.latest()
	if st.Epoch != epoch || len(st.Nodes) != nodes || st.Current(w.clock, nil) != nil {
		w.t.Fatalf("epoch %d with %d nodes, %v to %v at %v; want epoch %d with %d\n%s", st.Epoch, len(st.Nodes), st.NotBefore, st.NotAfter, w.clock, epoch, nodes, w.log)
	}
	_, b, _ := w.get("/v1/pack/" + name2(epoch))
	pack, err := statement.ParsePack(b)
	if err != nil {
		w.t.Fatal(err)
	}
	then, err := w.p.Trust().ParseCheckpoint(pack.Checkpoint)
	if err != nil || then.Size > epoch {
		w.t.Fatalf("the pack's checkpoint: %+v, %v", then, err)
	}
	_, b, _ = w.get("/v1/freshness")
	fresh, err := statement.ParseFreshness(b)
	if err != nil {
		w.t.Fatal(err)
	}
	now, err := w.p.Trust().ParseCheckpoint(fresh.Checkpoint)
	if err != nil || now.CheckAge(w.clock, 2*time.Minute) != nil {
		w.t.Fatalf("the freshness list's checkpoint: %+v, %v", now, err)
	}
	for _, n := range st.Nodes {
		if r, _, err := pack.Node(n); err != nil || r.Epoch != epoch {
			w.t.Errorf("pack: %v", err)
		}
		if _, ok := fresh.Find(epoch, n.ID); !ok {
			w.t.Errorf("no freshness of %x", n.ID[:4])
		}
	}
	return st
}

func name2(epoch uint64) string { return string(rune('0' + epoch)) }

func TestADay(t *testing.T) {
	w := newWorld(t, 3)
	if st := w.latest(); st.Epoch != 0 || !st.Empty {
		t.Errorf("before the first step: %+v", st)
	}
	if code, _, _ := w.get("/v1/freshness"); code != 404 {
		t.Errorf("freshness before there is any: %d", code)
	}
	w.step(0)
	first := w.whole(1, 3)
	if len(first.GatewayKeys) != 2 || string(first.GatewayKeys[0]) != "key" || first.Models[0].APIs != statement.APIChatCompletions {
		t.Errorf("%+v", first)
	}
	w.step(50*time.Minute - time.Second)
	if code, _, _ := w.get("/v1/statement/2"); code != 404 {
		t.Error("the next statement is public before its time")
	}
	w.step(time.Second)
	w.whole(1, 3) // still in force
	if code, _, _ := w.get("/v1/statement/2"); code != 200 {
		t.Error("the next statement is not public in the lead")
	}
	w.step(10*time.Minute - time.Nanosecond)
	w.whole(1, 3)
	w.step(time.Nanosecond)
	if st := w.whole(2, 3); !st.NotBefore.Equal(first.NotAfter) {
		t.Errorf("a gap: %v, %v", first.NotAfter, st.NotBefore)
	}
	for range 180 {
		w.step(time.Minute)
	}
	w.whole(5, 3)
	check(t, w.p.log)
}

// A bad node is left out by name and code; the others go on.
func TestBadNodesAreLeftOut(t *testing.T) {
	for evil, code := range map[string]string{
		"other id": "att.epoch", "other epoch": "node.record", "other evidence": "node.record",
		"garbage": "node.answer", "huge": "node.answer", "twin": "node.duplicate",
	} {
		t.Run(evil, func(t *testing.T) {
			w := newWorld(t, 3)
			w.nodes[1].set(false, evil)
			w.step(0)
			w.whole(1, 2)
			if !strings.Contains(w.log.String(), `node=node-2 code=`+code) {
				t.Errorf("not named: %s", w.log)
			}
		})
	}
	t.Run("stale evidence", func(t *testing.T) {
		w := newWorld(t, 3)
		w.step(0)
		w.whole(1, 3)
		w.nodes[1].set(false, "stale")
		w.step(time.Minute)
		_, b, _ := w.get("/v1/freshness")
		if f, err := statement.ParseFreshness(b); err != nil || len(f.Items) != 2 {
			t.Errorf("%d items, %v", len(f.Items), err)
		}
		if !strings.Contains(w.log.String(), "node=node-2 code=att.stale") {
			t.Errorf("not named: %s", w.log)
		}
		w.nodes[1].set(false, "")
		w.step(time.Minute)
		w.whole(1, 3)
	})
}

// A node that erases its key while clients still seal to it refuses whatever they
// send, for a while in each epoch. The next one is asked for ten minutes before an
// epoch of an hour ends.
func TestNodesThatEraseTooEarlyAreLeftOut(t *testing.T) {
	says := func(epoch, lead, grace string) map[string]string {
		return map[string]string{"epoch": epoch, "lead": lead, "grace": grace}
	}
	for _, row := range []struct {
		says map[string]string
		ok   bool
	}{
		{nil, true}, // another implementation's settings are not ours to judge
		{map[string]string{"running": "64"}, true},
		{says("1h", "10m", "15m"), true},
		{says("1h", "0s", "10m"), true},
		{says("1h", "10m", "0s"), true},
		{says("1h", "0s", "9m59.999999999s"), false},
		{says("1h", "9m59.999999999s", "0s"), false},
		{says("1h", "5m", "4m"), false},
		{says("45m", "10m", "15m"), true},
		{says("44m59.999999999s", "10m", "15m"), false},
		{says("1h", "10m", ""), false},
		{says("an hour", "10m", "15m"), false},
		{map[string]string{"epoch": "1h"}, false},
	} {
		t.Run(fmt.Sprint(row.says), func(t *testing.T) {
			w := newWorld(t, 3)
			w.nodes[1].says = row.says
			w.step(0)
			listed := 3
			if !row.ok {
				listed = 2
			}
			w.whole(1, listed)
			if named := strings.Contains(w.log.String(), "node=node-2 code=node.times"); named == row.ok {
				t.Errorf("named: %t: %s", named, w.log)
			}
		})
	}
}

func TestTheFirstEpochWaitsForNodesThatAreStarting(t *testing.T) {
	w := newWorld(t, 3)
	w.nodes[2].set(true, "")
	w.step(0)
	w.step(9 * time.Second)
	if st := w.latest(); st.Epoch != 0 {
		t.Fatalf("did not wait: epoch %d", st.Epoch)
	}
	if w.nodes[0].asked != 1 {
		t.Errorf("asked a node %d times for one epoch", w.nodes[0].asked)
	}
	w.nodes[2].set(false, "")
	w.step(time.Second / 2)
	w.whole(1, 3)

	w = newWorld(t, 3)
	w.nodes[2].set(true, "")
	w.step(0)
	w.step(10 * time.Second)
	w.whole(1, 2)
}

// An outage has a leaf of its own, and one only.
func TestOutage(t *testing.T) {
	w := newWorld(t, 2)
	w.step(0)
	for _, n := range w.nodes {
		n.set(true, "")
	}
	for range 200 { // more than three epochs without nodes
		w.step(time.Minute)
	}
	if st := w.latest(); st.Epoch != 1 || st.Current(w.clock, nil) == nil {
		t.Errorf("epoch %d", st.Epoch)
	}
	for _, n := range w.nodes {
		n.set(false, "")
	}
	w.step(time.Minute)
	st := w.whole(3, 2)
	gap, err := w.p.log.Statement(2)
	if err != nil || !gap.Empty || !gap.NotAfter.Equal(st.NotBefore) {
		t.Errorf("%+v, %v", gap, err)
	}
}

// All nodes restarted and lost their keys: a new epoch at once.
func TestEarlyEpoch(t *testing.T) {
	w := newWorld(t, 2)
	w.step(0)
	w.nodes[0].restart()
	w.step(10 * time.Minute)
	if st := w.latest(); st.Epoch != 1 {
		t.Errorf("one node's loss ended everybody's epoch: %d", st.Epoch)
	}
	w.nodes[1].restart()
	w.step(time.Minute)
	st := w.whole(2, 2)
	if !st.NotBefore.Equal(w.clock) || !st.NotAfter.Equal(w.clock.Add(time.Hour)) {
		t.Errorf("%v to %v at %v", st.NotBefore, st.NotAfter, w.clock)
	}
	// The same while the next epoch waits to begin.
	w.step(55 * time.Minute)
	if code, _, _ := w.get("/v1/statement/3"); code != 200 {
		t.Fatal("no statement in the lead")
	}
	for _, n := range w.nodes {
		n.restart()
	}
	w.step(time.Minute)
	w.whole(4, 2)
	w.step(4 * time.Minute) // epoch 3 would begin now; 4 stays in force
	w.whole(4, 2)
}

// key is the first byte of a node's request key in an epoch: the number of its boot.
func (w *world) key(epoch uint64, node int) (boot byte, listed bool) {
	w.t.Helper()
	_, b, _ := w.get("/v1/statement/" + name2(epoch))
	s, err := statement.ParseSigned(b)
	if err != nil {
		w.t.Fatal(err)
	}
	st, _, err := s.Verify(w.p.Trust())
	if err != nil {
		w.t.Fatal(err)
	}
	_, b, _ = w.get("/v1/pack/" + name2(epoch))
	pack, err := statement.ParsePack(b)
	if err != nil {
		w.t.Fatal(err)
	}
	row, listed := st.Node(w.nodes[node].id())
	if !listed {
		return 0, false
	}
	r, _, err := pack.Node(row)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.REK[0], true
}

// TestNodesJoinAtTheNextEpoch: a node that comes while an epoch runs changes
// nothing about it, and is listed in the next statement.
func TestNodesJoinAtTheNextEpoch(t *testing.T) {
	w := newWorld(t, 3)
	w.nodes[2].set(true, "")
	w.step(0)
	w.step(10 * time.Second)
	first := w.whole(1, 2)
	w.nodes[2].set(false, "")
	for range 49 {
		w.step(time.Minute)
		w.whole(1, 2)
	}
	w.step(first.NotAfter.Sub(w.clock))
	w.whole(2, 3)
}

// TestADeathIsNotANewEpoch: one node of three dies. The epoch stays, without its
// freshness evidence, so that clients draw the others; the next statement does not list it.
func TestADeathIsNotANewEpoch(t *testing.T) {
	t.Run("DS-07/one node of many", func(t *testing.T) {
		w := newWorld(t, 3)
		w.step(0)
		first := w.whole(1, 3)
		w.nodes[1].set(true, "")
		for range 10 {
			w.step(time.Minute)
			_, b, _ := w.get("/v1/freshness")
			f, err := statement.ParseFreshness(b)
			if err != nil || len(f.Items) != 2 || w.latest().Epoch != 1 {
				t.Fatalf("%d items in epoch %d, %v", len(f.Items), w.latest().Epoch, err)
			}
		}
		w.step(first.NextPublic.Sub(w.clock)) // waits for it a while
		w.step(10 * time.Second)
		w.step(first.NotAfter.Sub(w.clock))
		w.whole(2, 2)
	})
}

// TestRebootIsListedAtTheNextStatement: what stands in for a standby key. The keys
// of a boot end with it, so none can be listed ahead; a node that is back before the
// next statement is made is in it with the key of its new boot.
func TestRebootIsListedAtTheNextStatement(t *testing.T) {
	t.Run("back before the statement", func(t *testing.T) {
		w := newWorld(t, 3)
		w.step(0)
		first := w.whole(1, 3)
		w.step(40 * time.Minute)
		w.nodes[1].restart()
		w.step(first.NextPublic.Sub(w.clock))
		if boot, ok := w.key(1, 1); !ok || boot != 0 {
			t.Error("the statement in force changed")
		}
		if boot, ok := w.key(2, 1); !ok || boot != 1 {
			t.Errorf("listed with the key of boot %d, %v", boot, ok)
		}
		w.step(first.NotAfter.Sub(w.clock))
		w.whole(2, 3)
	})
	t.Run("while the statement waits for others", func(t *testing.T) {
		w := newWorld(t, 3)
		w.nodes[2].set(true, "")
		w.step(0) // two have answered
		w.nodes[0].restart()
		w.step(5 * time.Second)
		w.nodes[2].set(false, "")
		w.step(time.Second)
		w.whole(1, 3)
		if boot, ok := w.key(1, 0); !ok || boot != 1 {
			t.Errorf("listed with the key of boot %d, %v, which is lost", boot, ok)
		}
	})
	t.Run("after the statement", func(t *testing.T) {
		w := newWorld(t, 3)
		w.step(0)
		first := w.whole(1, 3)
		w.step(first.NextPublic.Sub(w.clock))
		w.nodes[1].restart() // its key of epoch 2 is lost, and listed
		w.step(first.NotAfter.Sub(w.clock))
		_, b, _ := w.get("/v1/freshness")
		if f, err := statement.ParseFreshness(b); err != nil || w.latest().Epoch != 2 || len(f.Items) != 2 {
			t.Errorf("epoch %d, %v: it must not prove itself", w.latest().Epoch, err)
		}
		w.step(50 * time.Minute)
		w.step(10 * time.Minute)
		w.whole(3, 3)
	})
}

// A crash between any two steps: what was public stays so, and it goes on.
func TestRestart(t *testing.T) {
	w := newWorld(t, 3)
	w.step(0)
	w.whole(1, 3)
	w.open()
	if st := w.latest(); st.Epoch != 1 {
		t.Errorf("epoch %d before anything was due", st.Epoch)
	}
	w.step(time.Second)
	w.whole(1, 3)
	w.step(51 * time.Minute)
	w.open()
	w.step(9 * time.Minute)
	w.whole(2, 3)

	t.Run("between asking and the leaf", func(t *testing.T) {
		w := newWorld(t, 2)
		w.p.log.disk = faulty(2, false) // the checkpoint asked over, then the pack
		w.step(0)
		if st := w.latest(); st.Epoch != 0 {
			t.Fatalf("epoch %d", st.Epoch)
		}
		w.open()
		w.step(10 * time.Second)
		w.whole(1, 2)
	})
	t.Run("after the leaf, same process", func(t *testing.T) {
		for n := 1; n <= 6; n++ {
			for _, took := range []bool{false, true} {
				w := newWorld(t, 2)
				w.p.log.disk = faulty(n, took)
				w.step(0)
				w.step(10 * time.Second)
				w.step(time.Minute)
				w.whole(w.latest().Epoch, 2)
				check(t, w.p.log)
			}
		}
	})
	t.Run("roster lost", func(t *testing.T) {
		w := newWorld(t, 2)
		w.step(0)
		if err := os.Remove(w.p.rosterPath(1)); err != nil {
			t.Fatal(err)
		}
		w.open()
		w.step(time.Second)
		w.whole(2, 2)
	})
}

func TestClaimsAndPricesOfTheOperator(t *testing.T) {
	w := newWorld(t, 1)
	w.p.cfg.Nodes[0].Claims = map[string]string{"b": "2", "a": "1"}
	w.p.cfg.Nodes[0].Prices = map[uint8]uint32{1: 20, 0: 10}
	w.step(0)
	w.whole(1, 1)
	m := w.p.live[1].members[0].record
	if len(m.Claims) != 2 || m.Claims[0].Name != "a" || len(m.Prices) != 2 || m.Prices[0].Units != 10 {
		t.Errorf("%+v", m)
	}
}

func TestServeEnds(t *testing.T) {
	w := newWorld(t, 1)
	w.p.now = time.Now
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.p.ServeOn(ctx, ln) }()
	deadline := time.Now().Add(10 * time.Second)
	for {
		resp, err := http.Get("http://" + ln.Addr().String() + "/v1/freshness")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing public after 10 s")
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w.p.cfg.Listen = taken.Addr().String()
	if err := w.p.Serve(context.Background()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("port taken: %v", err)
	}
}
