// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// A notary is a log with three witnesses, of which two are to be believed. It is
// what comparing checkpoints needs and no more: no network, no nodes.
type notary struct {
	t         *testing.T
	log       *transparency.Signer
	witnesses []*transparency.Cosigner
	trust     transparency.Trust
	tree      transparency.Tree

	hangs string // a relay that takes requests and does not answer

	mu    sync.Mutex
	asked []string // paths of tiles
}

func newNotary(t *testing.T, leaves uint64) *notary {
	t.Helper()
	key := func(name string) ed25519.PrivateKey {
		seed := sha256.Sum256([]byte("history test key " + name))
		return ed25519.NewKeyFromSeed(seed[:])
	}
	n := &notary{t: t}
	var err error
	if n.log, err = transparency.NewSigner("history.invalid/SIMULATED", key("log")); err != nil {
		t.Fatal(err)
	}
	n.trust = transparency.Trust{Origin: "history.invalid/SIMULATED", LogKey: n.log.VKey(), Quorum: 2}
	for _, name := range []string{"w0.invalid", "w1.invalid", "w2.invalid"} {
		w, err := transparency.NewCosigner(name, key(name))
		if err != nil {
			t.Fatal(err)
		}
		n.witnesses, n.trust.Witnesses = append(n.witnesses, w), append(n.trust.Witnesses, w.VKey())
	}
	for i := range leaves {
		if err := n.tree.Append(fmt.Append(nil, "leaf ", i)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// point is a checkpoint cosigned by all at a time, but by the liars at another.
func (n *notary) point(size uint64, at time.Time, liars int, lie time.Time) *transparency.Checkpoint {
	n.t.Helper()
	root, err := n.tree.Root(size)
	if err != nil {
		n.t.Fatal(err)
	}
	note := n.log.Sign(size, root)
	for i, w := range n.witnesses {
		when := at
		if i < liars {
			when = lie
		}
		if note, err = w.Cosign(note, when); err != nil {
			n.t.Fatal(err)
		}
	}
	p, err := n.trust.ParseCheckpoint(note)
	if err != nil {
		n.t.Fatal(err)
	}
	return p
}

// RoundTrip is a relay that serves the log's tiles and remembers which.
func (n *notary) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == n.hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	name := strings.TrimPrefix(r.URL.Path, "/v1/log/")
	n.mu.Lock()
	n.asked = append(n.asked, name)
	n.mu.Unlock()
	answer := &http.Response{StatusCode: 404, Body: io.NopCloser(strings.NewReader(""))}
	p, err := tiles.ParsePath(name)
	if err != nil {
		return answer, nil
	}
	if b, err := n.tree.Tile(p.Level, p.N, p.Width); err == nil {
		answer.StatusCode, answer.Body = 200, io.NopCloser(bytes.NewReader(b))
	}
	return answer, nil
}

// client is one with this state and no network.
func (n *notary) client(dir string) *Client {
	n.t.Helper()
	c, err := New(Config{Relays: []string{"https://one.invalid", "https://two.invalid"}, Trust: n.trust, Policy: &attestation.Policy{}, State: dir})
	if err != nil {
		n.t.Fatal(err)
	}
	c.http = &http.Client{Transport: n}
	if err := c.log.open(); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// TestOldNoteWithANewLine: AT-47: a witness that lies takes an old note that all
// have cosigned and puts a new time to it; a relay serves that as the newest. It is
// refused each time and convicts nobody, unless more witnesses do so than the trust
// tolerates as liars.
func TestOldNoteWithANewLine(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for liars, convicts := range []bool{false, false, true, true} {
		if liars == 0 {
			continue
		}
		t.Run(fmt.Sprintf("AT-47/%d of 3, quorum 2", liars), func(t *testing.T) {
			n, dir := newNotary(t, 8), t.TempDir()
			c := n.client(dir)
			if err := c.observe(t.Context(), []sight{{n.point(8, now.Add(-time.Hour), 0, now), true, "one"}}, true); err != nil {
				t.Fatal(err)
			}
			old := n.point(5, now.Add(-4*time.Hour), liars, now)
			err := c.observe(t.Context(), []sight{{old, true, "two"}}, true)
			if CodeOf(err) != CodeRollback || !strings.Contains(err.Error(), "w0.invalid") {
				t.Errorf("%v", err)
			}
			files, _ := filepath.Glob(filepath.Join(dir, "*", "evidence", "*"))
			if (len(files) > 0) != convicts || (c.log.convicted() != nil) != convicts {
				t.Errorf("convicted: %v, %q", c.log.convicted(), files)
			}
			if convicts {
				return
			}
			// All is well when the relay is: in this process and in the next.
			for _, c := range []*Client{c, n.client(dir)} {
				if err := c.observe(t.Context(), []sight{{n.point(8, now, 0, now), true, "one"}}, true); err != nil {
					t.Errorf("after it: %v", err)
				}
			}
		})
	}
}

// TestTilesTellNoHour: what a relay is asked for follows from what it and others
// show now, and not from when this client looked last.
func TestTilesTellNoHour(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	const newest = 1700
	n := newNotary(t, newest)
	asked := func(remembered uint64, shown ...uint64) ([]string, error) {
		c := n.client(t.TempDir())
		if remembered > 0 {
			if err := c.observe(t.Context(), []sight{{n.point(remembered, now.Add(-time.Hour), 0, now), true, "before"}}, true); err != nil {
				t.Fatal(err)
			}
		}
		n.asked = nil
		var seen []sight
		for _, size := range shown {
			seen = append(seen, sight{n.point(size, now, 0, now), false, "a relay"})
		}
		err := c.observe(t.Context(), seen, true)
		if treeOf(c.log.mem.Point) != treeOf(n.point(max(remembered, slices.Max(shown)), now, 0, now)) {
			t.Errorf("%d is remembered", c.log.mem.Point.Size)
		}
		out := slices.Clone(n.asked)
		slices.Sort(out)
		return out, err
	}
	everybody, err := asked(0, newest, newest-1)
	if err != nil || len(everybody) == 0 {
		t.Fatal(err)
	}
	for _, remembered := range []uint64{newest - 1, newest - 2, newest - 400, newest - 500, 1024 + 1, 1024 + 256} {
		for _, shown := range [][]uint64{{newest, newest - 1}, {newest - 1, newest}} {
			got, err := asked(remembered, shown...)
			if err != nil || !slices.Equal(got, everybody) {
				t.Errorf("%d remembered, %d shown: %v\nasks %q\nall  %q", remembered, shown, err, got, everybody)
			}
		}
	}
	if got, err := asked(newest, newest, newest-1); err != nil || !slices.Equal(got, everybody) {
		t.Errorf("the newest remembered: %v %q", err, got)
	}
	// Someone who was away for longer asks for the tile of that time, too, and
	// for no part of one that only he would.
	got, err := asked(300, newest, newest-1)
	got = slices.DeleteFunc(got, func(p string) bool { return slices.Contains(everybody, p) })
	if err != nil || !slices.Equal(got, []string{"tile/0/001"}) {
		t.Errorf("after long: %v %q", err, got)
	}
	// Nobody shows as much as is remembered: nothing is asked.
	got, err = asked(newest, newest-3, newest-90)
	if CodeOf(err) != CodeRollback || len(got) > 0 {
		t.Errorf("all behind: %v %q", err, got)
	}
	// Not to the last, the router may still show more.
	c := n.client(t.TempDir())
	old := []sight{{n.point(newest-3, now.Add(-time.Hour), 0, now), true, "a relay"}}
	if err := c.observe(t.Context(), []sight{{n.point(newest-1, now, 0, now), true, "before"}}, true); err != nil {
		t.Fatal(err)
	}
	n.asked = nil
	if err := c.observe(t.Context(), old, false); err != nil || len(n.asked) > 0 {
		t.Errorf("%v %q", err, n.asked)
	}
	if err := c.observe(t.Context(), append(old, sight{n.point(newest, now, 0, now), true, "the router"}), true); err != nil {
		t.Errorf("%v", err)
	}
	for _, p := range n.asked {
		if strings.Contains(p, ".p/") && !strings.HasSuffix(p, fmt.Sprintf(".p/%d", newest%256)) && !strings.HasSuffix(p, fmt.Sprintf(".p/%d", newest/256)) {
			t.Errorf("asks for %s", p)
		}
	}
}

// TestTwoRootsShown: AT-48: what is shown contradicts itself, whatever is remembered,
// be it more than is shown.
func TestTwoRootsShown(t *testing.T) {
	for name, remembered := range map[string]uint64{"nothing remembered": 0, "less": 3, "as much": 6, "more": 8} {
		t.Run("AT-48/"+name, func(t *testing.T) {
			n, now := newNotary(t, 8), time.Now()
			c := n.client(t.TempDir())
			if remembered > 0 {
				if err := c.observe(t.Context(), []sight{{n.point(remembered, now.Add(-time.Hour), 0, now), true, "before"}}, true); err != nil {
					t.Fatal(err)
				}
			}
			honest := n.point(6, now.Add(-time.Hour), 0, now)
			other := &transparency.Tree{}
			for i := range 6 {
				if err := other.Append(fmt.Append(nil, "another leaf ", i)); err != nil {
					t.Fatal(err)
				}
			}
			n.tree = *other
			forked := n.point(6, now.Add(-time.Hour), 0, now)
			err := c.observe(t.Context(), []sight{{honest, false, "one"}, {forked, false, "two"}}, false)
			if CodeOf(err) != CodeFork || c.log.convicted() == nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestStall: DS-07: a relay that takes requests and never answers costs its
// patience once; then the next one is asked.
func TestStall(t *testing.T) {
	t.Run("DS-07/tiles", func(t *testing.T) {
		for range 6 { // the order of relays is drawn
			synctest.Test(t, func(t *testing.T) {
				n := newNotary(t, 700)
				n.hangs = "one.invalid"
				c, now := n.client(""), time.Now()
				var seen []sight
				for _, size := range []uint64{700, 600, 500, 20} {
					seen = append(seen, sight{n.point(size, now, 0, now), true, "a relay"})
				}
				if err := c.observe(t.Context(), seen, true); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(now); took > c.cfg.Patience {
					t.Errorf("%v", took)
				}
				// Once nobody answers it is said so, and soon.
				n.hangs = "two.invalid"
				c = n.client("")
				c.relays = c.relays[1:]
				now = time.Now()
				if err := c.observe(t.Context(), seen, true); CodeOf(err) != CodeUnproven || time.Since(now) != c.cfg.Patience {
					t.Errorf("%v after %v", err, time.Since(now))
				}
			})
		}
	})
	t.Run("DS-07/a checkpoint", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNotary(t, 8)
			n.hangs = "one.invalid"
			c, now := n.client(""), time.Now()
			_, err := c.newest(t.Context(), c.relays[0])
			if CodeOf(worldError(err)) != CodeRelay || time.Since(now) != c.cfg.Patience || refusesTrust(err) {
				t.Errorf("%v after %v", err, time.Since(now))
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err = c.newest(ctx, c.relays[0]); !errors.Is(err, context.Canceled) {
				t.Errorf("given up: %v", err)
			}
		})
	})
	t.Run("DS-07/a long answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newNotary(t, 8).client("")
			ctx, w := c.watch(t.Context())
			defer w.stop()
			pr, pw := io.Pipe()
			go func() {
				for range 10 { // slow, and not still
					time.Sleep(c.cfg.Patience - time.Second)
					pw.Write([]byte("x"))
				}
				<-ctx.Done()
				pw.CloseWithError(ctx.Err())
			}()
			now := time.Now()
			b, err := io.ReadAll(watched{pr, w})
			if err = w.explain(err); len(b) != 10 || CodeOf(err) != CodeRelay || time.Since(now) != 11*c.cfg.Patience-10*time.Second {
				t.Errorf("%d bytes, %v after %v", len(b), err, time.Since(now))
			}
		})
	})
}
