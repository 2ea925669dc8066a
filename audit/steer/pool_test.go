// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"math"
	"testing"
)

// TestTails against published values: binomial by exact sums, chi-square from
// the tables (Abramowitz and Stegun, 26.8).
func TestTails(t *testing.T) {
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-4*want {
			t.Errorf("%s: %g, want %g", what, got, want)
		}
	}
	near("9 of 10 heads", binomialTail(9, 10, 0.5), 11.0/1024)
	near("all of 20", binomialTail(20, 20, 0.1), 1e-20)
	near("1 or more of 3", binomialTail(1, 3, 0.2), 1-0.512)
	near("chi-square 3.841, 1", chiSquareTail(3.841459, 1), 0.05)
	near("chi-square 18.307, 10", chiSquareTail(18.30704, 10), 0.05)
	near("chi-square 29.588, 10", chiSquareTail(29.58830, 10), 0.001)
	near("chi-square 2.558, 10", chiSquareTail(2.558212, 10), 0.99)
	near("chi-square 149.449, 100", chiSquareTail(149.44925, 100), 0.001)
	if chiSquareTail(0, 5) != 1 || binomialTail(1, 3, 0) != 0 || binomialTail(1, 3, 1) != 1 {
		t.Error("at the ends")
	}
	if atLeast(2, 10, 0.2) != 1 || atMost(2, 10, 0.2) != 1 {
		t.Error("at the mean")
	}
}

// TestAnswering: with equal nodes everybody answers equally often, a node that
// never answers does not, and its part is shared.
func TestAnswering(t *testing.T) {
	for _, v := range answering([]float64{0.3, 0.3, 0.3, 0.3}) {
		if math.Abs(v-0.25) > 1e-12 {
			t.Errorf("equal nodes: %v", v)
		}
	}
	got := answering([]float64{1, 0, 0})
	if got[0] != 0 || math.Abs(got[1]-0.5) > 1e-12 {
		t.Errorf("one never answers: %v", got)
	}
	// By hand, two nodes: the first answers if it is first and not busy, or
	// second behind a busy one.
	got = answering([]float64{0.2, 0.6})
	a, b := 0.5*0.8+0.5*0.6*0.8, 0.5*0.4+0.5*0.2*0.4
	if math.Abs(got[0]-a/(a+b)) > 1e-12 {
		t.Errorf("two nodes: %v, want %v", got, a/(a+b))
	}
}

// TestScoresAreFair: each step of a likelihood ratio has the expectation one in
// an honest world, which is what the bound on false alarms rests on.
func TestScoresAreFair(t *testing.T) {
	for _, f := range [][3]float64{setFactors, answerFactors, failureFactors} {
		for _, p := range []float64{0.01, 0.105, 0.5, 0.97} {
			var hit, miss score
			hit.add(&f, p, true)
			miss.add(&f, p, false)
			for i := range f {
				e := p*math.Exp(float64(hit[i])/micro) + (1-p)*math.Exp(float64(miss[i])/micro)
				if math.Abs(e-1) > 1e-5 {
					t.Errorf("factor %v, chance %v: expectation %v", f[i], p, e)
				}
			}
		}
	}
}
