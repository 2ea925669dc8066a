// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
)

// worldOf is an epoch as a world that was just fetched.
func worldOf(t testing.TB, w *rostertest.World, e *rostertest.Epoch, cache *roster.Cache) *world {
	t.Helper()
	v := w.View(e)
	out := &world{
		statement: v.Statement, pack: v.Pack, epochPoint: v.EpochPoint, freshness: v.Freshness, fresh: v.FreshPoint,
		judge: roster.NewJudge(w.Policy, cache),
	}
	for _, n := range v.Statement.Nodes {
		out.listed = append(out.listed, &listed{id: n.ID, row: n})
	}
	return out
}

// BenchmarkStart1000 is what a client does at its start with a thousand nodes
// listed, after fetching: parse pack and freshness list, verify every node
// completely. "again" is a second start in the same process with the same
// evidence.
func BenchmarkStart1000(b *testing.B) {
	benchmarkStart(b, rostertest.New(b, 1000))
}

// BenchmarkStart1000GPU is BenchmarkStart1000 with a GPU in each node.
func BenchmarkStart1000GPU(b *testing.B) { benchmarkStart(b, rostertest.NewGPU(b, 1000, 1)) }

func benchmarkStart(b *testing.B, w *rostertest.World) {
	e := w.Epoch(time.Now().Add(-time.Minute), nil)
	w.Refresh(e, time.Now())
	c := &Client{cfg: Config{Now: time.Now}}
	run := func(cache func() *roster.Cache) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				if err := c.verifyAll(worldOf(b, w, e, cache())); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(w.Nodes))*float64(b.N)/b.Elapsed().Seconds(), "nodes/s")
		}
	}
	b.Run("first", run(func() *roster.Cache { return roster.NewCache(1 << 13) }))
	// The next hour: new keys and quotes of the same machines.
	next := w.Epoch(time.Now().Add(-time.Minute), nil)
	w.Refresh(next, time.Now())
	b.Run("next epoch", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			cache := roster.NewCache(1 << 13)
			if err := c.verifyAll(worldOf(b, w, e, cache)); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := c.verifyAll(worldOf(b, w, next, cache)); err != nil {
				b.Fatal(err)
			}
		}
	})
	kept := roster.NewCache(1 << 13)
	if err := c.verifyAll(worldOf(b, w, e, kept)); err != nil {
		b.Fatal(err)
	}
	b.Run("again", run(func() *roster.Cache { return kept }))
}
