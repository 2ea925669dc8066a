// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGate: nobody waits for company who could not have it, and nobody for longer
// than is said.
func TestGate(t *testing.T) {
	in := func(t *testing.T, f func(*testing.T, *gate, *atomic.Int64)) {
		synctest.Test(t, func(t *testing.T) { f(t, new(gate), new(atomic.Int64)) })
	}
	enter := func(g *gate, through *atomic.Int64, n int) {
		for range n {
			go func() { g.pass(); through.Add(1) }()
		}
		synctest.Wait()
	}
	t.Run("alone", func(t *testing.T) {
		in(t, func(t *testing.T, g *gate, through *atomic.Int64) {
			start := time.Now()
			for range 3 {
				g.pass()
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("waited %v", d)
			}
		})
	})
	t.Run("the last whom a processor had to serve takes the others along", func(t *testing.T) {
		in(t, func(t *testing.T, g *gate, through *atomic.Int64) {
			g.wanted.Store(1)
			start := time.Now()
			enter(g, through, gateMost-1)
			if n := through.Load(); n != 0 {
				t.Errorf("%d went alone", n)
			}
			g.wanted.Store(0)
			enter(g, through, 1)
			if n := through.Load(); n != gateMost || time.Since(start) != 0 {
				t.Errorf("%d after %v", n, time.Since(start))
			}
		})
	})
	t.Run("enough", func(t *testing.T) {
		in(t, func(t *testing.T, g *gate, through *atomic.Int64) {
			g.wanted.Store(1)
			start := time.Now()
			enter(g, through, 2*gateMost+3)
			if n := through.Load(); n != 2*gateMost || time.Since(start) != 0 {
				t.Errorf("%d after %v", n, time.Since(start))
			}
			time.Sleep(gateWait)
			synctest.Wait()
			if n := through.Load(); n != 2*gateMost+3 {
				t.Errorf("%d after %v", n, gateWait)
			}
		})
	})
	t.Run("not for ever", func(t *testing.T) {
		in(t, func(t *testing.T, g *gate, through *atomic.Int64) {
			g.wanted.Store(1)
			enter(g, through, 1)
			time.Sleep(gateWait / 2)
			enter(g, through, 1)
			time.Sleep(gateWait/2 - time.Nanosecond)
			synctest.Wait()
			if n := through.Load(); n != 0 {
				t.Errorf("%d went too early", n)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if n := through.Load(); n != 2 { // the second goes with the first
				t.Errorf("%d of 2", n)
			}
			enter(g, through, 1) // its own wait, not what is left of theirs
			time.Sleep(gateWait - time.Nanosecond)
			synctest.Wait()
			if n := through.Load(); n != 2 {
				t.Error("went too early")
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if n := through.Load(); n != 3 {
				t.Error("waits for ever")
			}
		})
	})
}
