// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"bytes"
	"math"
	"slices"
)

// PoolRate is the probability, corrected for the number of tests, under which
// pooled receipts count as showing steering.
const PoolRate = 1e-6

// A Share is what pooled requests say about one node.
type Share struct {
	Node     [32]byte
	Drawn    int // times among the candidates
	First    int // times first in the draw
	Missed   int // of these, not answered by it
	Failed   int // of these, not answered by anybody
	Answers  int
	Expected float64 // answers, from the draw and everybody's own rate of misses
	// Favoured and Avoided are the probabilities that a world without steering
	// has as many answers of this node, or as few.
	Favoured, Avoided float64
	// Behind is the number of missed requests that had this node drawn but not
	// first, BehindExpected what chance makes of it, and BehindP the
	// probability of so many or more.
	Behind         int
	BehindExpected float64
	BehindP        float64
}

// A Pooled is the analysis of many requests, of one client or of many.
type Pooled struct {
	Requests, Answered, Failed, Skipped int
	// ChiSquare compares answers with what is expected, over all nodes, with
	// Freedom degrees of it; P is its probability.
	ChiSquare float64
	Freedom   int
	P         float64
	// Spread is the probability of so many failures outside the third of the
	// nodes that fail most, if these fail [FailureRate] of what they are first in.
	Spread float64
	Shares []Share // by node id
	// Steered reports whether any probability is under [PoolRate], corrected,
	// or answers came against the draw. Of whom it speaks: the shares.
	Steered bool
}

// Pool analyses observations. Impossible ones are left out, and counted by the
// caller who verified them.
//
// Nodes differ: one is down, one is slow. Each node's own rate of misses, taken
// from all requests that asked it first, goes into what is expected, so that
// only what depends on the request shows.
func Pool(all []Observation) *Pooled {
	p := &Pooled{P: 1, Spread: 1}
	at := map[[32]byte]*Share{}
	share := func(id [32]byte) *Share {
		s := at[id]
		if s == nil {
			s = &Share{Node: id, Favoured: 1, Avoided: 1, BehindP: 1}
			at[id] = s
		}
		return s
	}
	for i := range all {
		o := &all[i]
		if o.check() != nil {
			continue
		}
		p.Requests++
		switch o.Outcome {
		case Skipped:
			p.Skipped++
			continue
		case Failed:
			p.Failed++
		case Answered:
			p.Answered++
			share(o.Order[o.Position]).Answers++
		}
		for j, id := range o.Order {
			s := share(id)
			s.Drawn++
			if j == 0 {
				s.First++
				if o.missed() {
					s.Missed++
				}
				if o.Outcome == Failed {
					s.Failed++
				}
			}
		}
	}
	trials := map[[32]byte]int{}   // answered requests that had a node drawn
	variance := map[[32]byte]int{} // missed requests that could have had a node behind
	for i := range all {
		o := &all[i]
		if o.check() != nil || o.Outcome == Skipped {
			continue
		}
		if o.missed() && len(o.Pool) > len(o.Order) {
			chance := float64(len(o.Order)-1) / float64(len(o.Pool)-1)
			for _, id := range o.Pool {
				if id == o.Order[0] {
					continue
				}
				s := share(id)
				s.BehindExpected += chance
				variance[id]++
				if slices.Contains(o.Order, id) {
					s.Behind++
				}
			}
		}
		if o.Outcome != Answered {
			continue
		}
		miss := make([]float64, len(o.Order))
		for j, id := range o.Order {
			s := at[id]
			miss[j] = (float64(s.Missed) + 0.5) / (float64(s.First) + 1)
		}
		for j, e := range answering(miss) {
			at[o.Order[j]].Expected += e
			trials[o.Order[j]]++
		}
	}
	for _, s := range at {
		if n := trials[s.Node]; n > 0 && s.Expected > 0 {
			s.Favoured = atLeast(s.Answers, n, s.Expected/float64(n))
			s.Avoided = atMost(s.Answers, n, s.Expected/float64(n))
		}
		if n := variance[s.Node]; n > 0 {
			s.BehindP = atLeast(s.Behind, n, s.BehindExpected/float64(n))
		}
		p.Shares = append(p.Shares, *s)
	}
	slices.SortFunc(p.Shares, func(a, b Share) int { return bytes.Compare(a.Node[:], b.Node[:]) })
	p.judge()
	return p
}

// Limit is what a single probability must be under to show something: PoolRate
// shared among all tests of the analysis.
func (p *Pooled) Limit() float64 { return PoolRate / float64(3*len(p.Shares)+2) }

func (p *Pooled) judge() {
	for _, s := range p.Shares {
		if s.Expected < 5 { // below, chi-square is no approximation
			continue
		}
		d := float64(s.Answers) - s.Expected
		p.ChiSquare += d * d / s.Expected
		p.Freedom++
	}
	if p.Freedom--; p.Freedom > 0 {
		p.P = chiSquareTail(p.ChiSquare, p.Freedom)
	} else {
		p.Freedom, p.ChiSquare = 0, 0
	}
	p.Spread = p.spread()
	limit := p.Limit()
	p.Steered = p.Skipped > 0 || min(p.P, p.Spread) < limit
	for _, s := range p.Shares {
		p.Steered = p.Steered || min(s.Favoured, s.Avoided, s.BehindP) < limit
	}
}

func (p *Pooled) spread() float64 {
	rest := slices.Clone(p.Shares)
	slices.SortStableFunc(rest, func(a, b Share) int {
		return compare(float64(b.Failed)-FailureRate*float64(b.First), float64(a.Failed)-FailureRate*float64(a.First))
	})
	failed, first := 0, 0
	for _, s := range rest[len(rest)/3:] {
		failed, first = failed+s.Failed, first+s.First
	}
	return atLeast(failed, first, FailureRate)
}

// answering returns, for candidates in a random order that miss with the given
// probabilities, how likely each is to be the one that answers, given that one
// does.
func answering(miss []float64) []float64 {
	k := len(miss)
	out := make([]float64, k)
	var total float64
	for m := range miss {
		// e[j] is the sum over all sets of j others of the product of their misses.
		e := make([]float64, k)
		e[0] = 1
		for i, q := range miss {
			if i == m {
				continue
			}
			for j := k - 1; j > 0; j-- {
				e[j] += e[j-1] * q
			}
		}
		// j others come before it, and no more: j!(k-1-j)!/k! of the orders each.
		weight := 1 / float64(k)
		for j := range k {
			out[m] += e[j] * weight
			if j < k-1 {
				weight *= float64(j+1) / float64(k-1-j)
			}
		}
		out[m] *= 1 - miss[m]
		total += out[m]
	}
	for m := range out {
		if total > 0 {
			out[m] /= total
		} else {
			out[m] = 1 / float64(k)
		}
	}
	return out
}

// atLeast is the probability of x or more of n with mean chance p. The chances
// may differ: above the mean the binomial bounds their sum (Hoeffding 1956).
func atLeast(x, n int, p float64) float64 {
	if float64(x) <= float64(n)*p {
		return 1
	}
	return binomialTail(x, n, p)
}

func atMost(x, n int, p float64) float64 {
	if float64(x) >= float64(n)*p {
		return 1
	}
	return binomialTail(n-x, n, 1-p)
}

// binomialTail is P(X >= x) for a binomial X and x above its mean.
func binomialTail(x, n int, p float64) float64 {
	if p <= 0 {
		return 0
	}
	if p >= 1 {
		return 1
	}
	ln := func(v int) float64 { g, _ := math.Lgamma(float64(v) + 1); return g }
	term := math.Exp(ln(n) - ln(x) - ln(n-x) + float64(x)*math.Log(p) + float64(n-x)*math.Log1p(-p))
	sum := 0.0
	for i := x; i <= n && term > sum*1e-17; i++ { // terms fall from here on
		sum += term
		term *= float64(n-i) / float64(i+1) * p / (1 - p)
	}
	return min(1, sum)
}

// chiSquareTail is P(X >= x) for a chi-square X with k degrees of freedom: the
// upper incomplete gamma function of k/2 at x/2, by a series below the mean and
// a continued fraction above (Abramowitz and Stegun, 6.5.29 and 6.5.31).
func chiSquareTail(x float64, k int) float64 {
	if x <= 0 {
		return 1
	}
	a, y := float64(k)/2, x/2
	g, _ := math.Lgamma(a)
	scale := math.Exp(a*math.Log(y) - y - g)
	if y < a+1 {
		term, sum := 1/a, 1/a
		for i := 1; i < 10000 && term > sum*1e-16; i++ {
			term *= y / (a + float64(i))
			sum += term
		}
		return max(0, 1-scale*sum)
	}
	const tiny = 1e-300
	b := y + 1 - a
	c, d := 1/tiny, 1/b
	h := d
	for i := 1; i < 10000; i++ {
		an := -float64(i) * (float64(i) - a)
		b += 2
		d = 1 / orTiny(an*d+b)
		c = orTiny(b + an/c)
		h *= d * c
		if math.Abs(d*c-1) < 1e-15 {
			break
		}
	}
	return min(1, scale*h)
}

func orTiny(v float64) float64 {
	if math.Abs(v) < 1e-300 {
		return 1e-300
	}
	return v
}
