// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package shape

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A reply is a model of a streamed answer: tokens of some length at some time.
// The two topics differ in both, as real ones do (Whisper Leak, 2025).
type reply struct {
	tokens []int
	gaps   []time.Duration
}

func newReply(r *rand.Rand, topic int) reply {
	var x reply
	for range 40 + r.IntN(160) {
		n := 230 + r.IntN(6) // an SSE event around a token
		if topic == 1 && r.IntN(3) == 0 {
			n += r.IntN(8)
		}
		x.tokens = append(x.tokens, n)
		gap := 8*time.Millisecond + time.Duration(r.ExpFloat64()*float64(6*time.Millisecond))
		if topic == 1 {
			gap += time.Duration(r.IntN(3)) * time.Millisecond
		}
		x.gaps = append(x.gaps, gap)
	}
	return x
}

// observe plays a reply and returns what the wire shows: sizes of what leaves
// together, and the times between.
func observe(t *testing.T, p Policy, x reply) (sizes, gaps []float64, frames int) {
	synctest.Test(t, func(t *testing.T) {
		w, l := start(t, p)
		time.Sleep(30 * time.Millisecond)
		for i, n := range x.tokens {
			write(t, w, make([]byte, n))
			must(t, w.Flush())
			time.Sleep(x.gaps[i])
		}
		must(t, w.Close())
		frames = len(l.sizes)
		for i, s := range l.sizes {
			sizes = append(sizes, float64(s))
			if i > 0 {
				gaps = append(gaps, float64(l.times[i].Sub(l.times[i-1])))
			}
		}
	})
	return sizes, gaps, frames
}

// features describe a trace in a few numbers that do not depend on its length.
func features(v []float64) []float64 {
	if len(v) == 0 {
		return make([]float64, 8)
	}
	s := slices.Clone(v)
	slices.Sort(s)
	mean, sq := 0.0, 0.0
	for _, x := range v {
		mean += x
	}
	mean /= float64(len(v))
	for _, x := range v {
		sq += (x - mean) * (x - mean)
	}
	q := func(f float64) float64 { return s[int(f*float64(len(s)-1))] }
	head := 0.0
	for _, x := range v[:min(10, len(v))] {
		head += x
	}
	return []float64{mean, math.Sqrt(sq / float64(len(v))), q(0), q(0.25), q(0.5), q(0.75), q(1), head / 10}
}

// auc is the area under the ROC curve of one feature.
func auc(a, b []float64) float64 {
	wins := 0.0
	for _, x := range a {
		for _, y := range b {
			switch {
			case y > x:
				wins++
			case y == x:
				wins += 0.5
			}
		}
	}
	return wins / float64(len(a)*len(b))
}

// classify picks the best single feature on one half of the replies and
// returns its AUC on the other half.
func classify(traces [2][][]float64) float64 {
	best, sign, at := 0.5, 1.0, 0
	column := func(topic, f, half int) (out []float64) {
		n := len(traces[topic]) / 2
		for _, x := range traces[topic][half*n : (half+1)*n] {
			out = append(out, x[f])
		}
		return out
	}
	for f := range traces[0][0] {
		a := auc(column(0, f, 0), column(1, f, 0))
		if s := math.Abs(a-0.5) + 0.5; s > best {
			best, at, sign = s, f, math.Copysign(1, a-0.5)
		}
	}
	return 0.5 + sign*(auc(column(0, at, 1), column(1, at, 1))-0.5)
}

func measure(t *testing.T, p Policy, replies int) (bySize, byTime float64, counts []int) {
	r := rand.New(rand.NewPCG(1, uint64(p)))
	var sizes, times [2][][]float64
	for topic := range 2 {
		for range replies {
			s, g, n := observe(t, p, newReply(r, topic))
			sizes[topic] = append(sizes[topic], features(s))
			times[topic] = append(times[topic], features(g))
			counts = append(counts, n)
		}
	}
	return classify(sizes), classify(times), counts
}

func entropy(counts []int) float64 {
	by := map[int]int{}
	for _, c := range counts {
		by[c]++
	}
	h := 0.0
	for _, n := range by {
		p := float64(n) / float64(len(counts))
		h -= p * math.Log2(p)
	}
	return h
}

// TestClassifier is TA-01 and TA-02: an eavesdropper who knows both topics and
// has 500 replies of each tells them apart by sizes and times without a policy,
// and not with one.
func TestClassifier(t *testing.T) {
	const replies = 500
	offSize, offTime, offCounts := measure(t, Off, replies)
	t.Logf("off: AUC by size %.3f, by time %.3f", offSize, offTime)
	if offSize < 0.8 || offTime < 0.6 {
		t.Errorf("the classifier is blind: it must see something without a policy")
	}
	framesSize, framesTime, _ := measure(t, Frames, replies)
	t.Logf("frames: AUC by size %.3f, by time %.3f", framesSize, framesTime)
	constSize, constTime, constCounts := measure(t, Constant, replies)
	t.Logf("constant: AUC by size %.3f, by time %.3f", constSize, constTime)

	t.Run("TA-01", func(t *testing.T) {
		for name, a := range map[string]float64{"frames": framesSize, "constant": constSize} {
			if math.Abs(a-0.5) > 0.03 {
				t.Errorf("%s: AUC %.3f by size, want 0.5 +- 0.03", name, a)
			}
		}
	})
	t.Run("TA-02", func(t *testing.T) {
		if constTime > 0.55 {
			t.Errorf("constant: AUC %.3f by time, want at most 0.55", constTime)
		}
	})
	t.Run("TA-03", func(t *testing.T) {
		before, after := entropy(offCounts), entropy(constCounts)
		t.Logf("frame count: %s without, %s with the ladder", fmt.Sprintf("%.1f bits", before), fmt.Sprintf("%.1f bits", after))
		if after > 4 || after > before-2 {
			t.Errorf("frame counts still hold %.1f bits", after)
		}
	})
}
