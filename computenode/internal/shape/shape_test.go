// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package shape

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A wireLog is a sink that notes what somebody on the wire sees.
type wireLog struct {
	mu      sync.Mutex
	data    []byte
	sizes   []int
	times   []time.Time
	ends    []int // bytes of data through each frame
	flushes int
	final   bool
	fail    error
}

func (l *wireLog) WriteFrame(data []byte, frame int, final bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	if l.final {
		panic("frame after the final one")
	}
	size := 4 + 4 + len(data) + 16
	if frame > 0 {
		if len(data) > frame-4 {
			panic("data does not fit its frame")
		}
		size = 4 + frame + 16
	}
	l.data = append(l.data, data...)
	l.sizes = append(l.sizes, size)
	l.times = append(l.times, time.Now())
	l.ends = append(l.ends, len(l.data))
	l.final = final
	return nil
}

func (l *wireLog) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushes++
	return l.fail
}

func start(t testing.TB, p Policy) (*Writer, *wireLog) {
	t.Helper()
	l := new(wireLog)
	w, err := NewWriter(p, l)
	if err != nil {
		t.Fatal(err)
	}
	w.Start()
	return w, l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, w *Writer, p []byte) {
	t.Helper()
	n, err := w.Write(p)
	if n != len(p) || err != nil {
		t.Fatalf("wrote %d of %d, %v", n, len(p), err)
	}
}

func TestUnknownPolicyIsRefused(t *testing.T) {
	if _, err := NewWriter(3, new(wireLog)); err == nil {
		t.Error("policy 3 accepted")
	}
}

// TestNothingIsLostOrReordered writes sizes around every boundary under every
// policy.
func TestNothingIsLostOrReordered(t *testing.T) {
	sizes := []int{0, 1, room - 1, room, room + 1, 2 * room, 8*room + 1, maxChunk - 1, maxChunk, maxChunk + 1, maxBacklog, maxBacklog + 1, 3*maxBacklog + 7}
	for _, p := range []Policy{Off, Frames, Constant} {
		for _, n := range sizes {
			t.Run(fmt.Sprintf("policy %d, %d bytes", p, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, l := start(t, p)
					want := make([]byte, n)
					for i := range want {
						want[i] = byte(i * 7)
					}
					write(t, w, want[:n/3])
					must(t, w.Flush())
					time.Sleep(40 * time.Millisecond)
					write(t, w, want[n/3:])
					must(t, w.Close())
					if !bytes.Equal(l.data, want) || !l.final {
						t.Errorf("%d bytes arrived, final %v", len(l.data), l.final)
					}
					if _, err := w.Write([]byte("x")); err == nil {
						t.Error("write after Close")
					}
					if w.Close() == nil {
						t.Error("second Close")
					}
				})
			})
		}
	}
}

func TestOffLeavesAtFlush(t *testing.T) {
	w, l := start(t, Off)
	write(t, w, []byte("a"))
	if len(l.sizes) != 0 {
		t.Error("left before Flush")
	}
	must(t, w.Flush())
	if string(l.data) != "a" || l.flushes != 1 {
		t.Errorf("%q after %d flushes", l.data, l.flushes)
	}
	write(t, w, make([]byte, 3*maxChunk))
	if len(l.sizes) != 4 {
		t.Errorf("%d frames: full ones must not wait", len(l.sizes))
	}
	must(t, w.Close())
	if len(l.sizes) != 5 || !l.final {
		t.Errorf("%v", l.sizes)
	}
}

func TestFramesKeepsTheTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := start(t, Frames)
		begin := time.Now()
		time.Sleep(3 * time.Second) // a long prefill: nothing is owed yet
		write(t, w, []byte("first"))
		synctest.Wait()
		l.mu.Lock()
		if len(l.sizes) != 1 || l.times[0].Sub(begin) != 3*time.Second {
			t.Fatalf("first token waited: %v", l.times)
		}
		l.mu.Unlock()
		time.Sleep(10 * Tick) // nothing to say: dummies
		write(t, w, bytes.Repeat([]byte("x"), 5*room))
		time.Sleep(3 * Tick)
		must(t, w.Close())
		for i, s := range l.sizes {
			if s != FrameSize {
				t.Fatalf("frame %d of %d bytes", i, s)
			}
		}
		at := map[time.Duration]int{}
		for _, x := range l.times {
			at[x.Sub(l.times[0])]++
		}
		for tick := range 10 {
			if at[time.Duration(tick)*Tick] != 1 {
				t.Errorf("tick %d carries %d frames", tick, at[time.Duration(tick)*Tick])
			}
		}
		if at[10*Tick]+at[11*Tick] < 8 {
			t.Errorf("a backlog of 5 frames left as %d and %d, want 8 in one tick", at[10*Tick], at[11*Tick])
		}
		for d := range at {
			if d%Tick != 0 {
				t.Errorf("a frame off the tick: %v", d)
			}
		}
	})
}

func TestFramesLagIsAtMostOneTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := start(t, Frames)
		var written []time.Time
		for range 200 {
			written = append(written, time.Now())
			write(t, w, []byte("t"))
			time.Sleep(7300 * time.Microsecond)
		}
		must(t, w.Close())
		at := 0 // one byte a token: byte i left with the first frame that ends behind it
		for i := range written {
			for at < len(l.ends) && l.ends[at] <= i {
				at++
			}
			if at == len(l.ends) {
				t.Fatalf("token %d never left", i)
			}
			if lag := l.times[at].Sub(written[i]); lag < 0 || lag > Tick {
				t.Errorf("token %d left after %v", i, lag)
			}
		}
	})
}

func TestConstantSendsOneFrameEachTick(t *testing.T) {
	for _, n := range []int{0, 1, 39, 40, 41, 50, 51, 300} {
		synctest.Test(t, func(t *testing.T) {
			w, l := start(t, Constant)
			begin := time.Now()
			for range n {
				write(t, w, make([]byte, room)) // a frame's worth each tick
				time.Sleep(Tick)
			}
			must(t, w.Close())
			for i := range l.sizes {
				if got := l.times[i].Sub(begin); got != time.Duration(i)*Tick || l.sizes[i] != FrameSize {
					t.Fatalf("n %d: frame %d of %d bytes at %v", n, i, l.sizes[i], got)
				}
			}
			if c := len(l.sizes); c != Ladder(c) || c < n {
				t.Errorf("n %d: %d frames is no step of the ladder", n, c)
			}
		})
	}
}

func TestLadder(t *testing.T) {
	for n, want := range map[int]int{0: 40, 1: 40, 40: 40, 41: 50, 50: 50, 51: 63, 63: 63, 64: 79, 80: 99} {
		if got := Ladder(n); got != want {
			t.Errorf("Ladder(%d) = %d, want %d", n, got, want)
		}
	}
	for n := 41; n < 100_000; n += 97 {
		if l := Ladder(n); l < n || float64(l) > 1.25*float64(n)+2 {
			t.Errorf("Ladder(%d) = %d", n, l)
		}
	}
}

func TestAbortLeavesNoFinalFrame(t *testing.T) {
	for _, p := range []Policy{Off, Frames, Constant} {
		synctest.Test(t, func(t *testing.T) {
			w, l := start(t, p)
			write(t, w, []byte("half an ans"))
			must(t, w.Flush())
			time.Sleep(3 * Tick)
			w.Abort()
			n := len(l.sizes)
			if l.final {
				t.Error("aborted answer has a final frame")
			}
			if _, err := w.Write([]byte("x")); err == nil {
				t.Error("write after Abort")
			}
			if w.Close() == nil {
				t.Error("Close after Abort")
			}
			time.Sleep(time.Second)
			if len(l.sizes) != n {
				t.Error("frames after Abort")
			}
		})
	}
}

func TestAbortBeforeAnythingWasSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []Policy{Frames, Constant} {
			w, _ := start(t, p)
			w.Abort()
		}
	})
}

func TestFailedSinkFailsTheWriter(t *testing.T) {
	gone := errors.New("gone")
	for _, p := range []Policy{Off, Frames, Constant} {
		synctest.Test(t, func(t *testing.T) {
			w, l := start(t, p)
			write(t, w, []byte("x"))
			l.mu.Lock()
			l.fail = gone
			l.mu.Unlock()
			time.Sleep(2 * Tick)
			var err error
			// A writer with far more to say than fits must not hang.
			for range 100 {
				if _, err = w.Write(make([]byte, maxBacklog)); err != nil {
					break
				}
			}
			if err != gone || w.Flush() != gone || w.Close() != gone {
				t.Errorf("policy %d: %v", p, err)
			}
		})
	}
}

func TestBacklogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := start(t, Constant)
		go func() {
			w.Write(make([]byte, 10*maxBacklog))
		}()
		time.Sleep(Tick / 2)
		synctest.Wait()
		w.mu.Lock()
		n := len(w.backlog)
		w.mu.Unlock()
		if n > maxBacklog {
			t.Errorf("backlog of %d bytes", n)
		}
		w.Abort()
		if len(l.sizes) != 1 {
			t.Errorf("%d frames in half a tick", len(l.sizes))
		}
	})
}
