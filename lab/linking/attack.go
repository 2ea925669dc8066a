// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package linking

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Part is one that keeps a log. What is public (statements, keysets, tables)
// every coalition has.
type Part uint8

const (
	Relay      Part = 1 << iota
	Gateway         // and router: they see the same of a payment
	Anonymous       // the bank's anonymous port
	Identified      // the bank's identified port
	Node
	allParts = Relay | Gateway | Anonymous | Identified | Node
)

var partNames = []string{"relay", "gateway", "anonymous port", "identified port", "node"}

func (p Part) String() string {
	var list []string
	for i, name := range partNames {
		if p&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ", ")
}

// joins reports whether a coalition has a relay and what a relay's bytes go to:
// who asks and what is paid meet there without any linking.
func (p Part) joins() bool { return p&Relay != 0 && p&(Gateway|Anonymous) != 0 }

// A Question is what a coalition wants to know.
type Question uint8

const (
	Who     Question = iota // which account, or address, paid for a request
	Parent                  // of which request's change, or of which swap, a coin is
	Sibling                 // which other request is the same client's
	questions
)

var questionNames = [...]string{"request to account", "change to its request", "request to request"}

func (q Question) String() string { return questionNames[q] }

// asked reports whether a coalition has both sides of a question in its logs.
func (q Question) asked(p Part) bool {
	sees := p&(Gateway|Anonymous|Node) != 0
	if q == Who {
		return sees && p&(Identified|Relay) != 0
	}
	return sees
}

// A feature is something that two records have in common or not, told as one of
// a few values. An attacker weighs each by how often it is so of pairs that he
// knows: half of the clients are his own.
type feature uint8

const (
	fShared  feature = iota // a value of 32 bytes is in both
	fSharedB                // the same, between the two ports of the bank or gateway and identified port
	fHash                   // the node's header hash is the gateway's
	fKeyset
	fClass  // denominations fit: bought, or given as change
	fCount  // how many were bought
	fGap    // epochs
	fOrder  // how far apart in one part's log
	fOrderN // the same, in a node's
	fBytes  // distance of the first bytes of blank and nonce
	fNode   // the same node ran it
	fDrawn  // how many candidates they share
	fUsed
	fPrompt
	fActive // the address was seen by the relay in that epoch with that size
	fTime   // how far from the nearest purchase, by a clock that all parts have
	features
)

// sides says which parts must be in a coalition for a feature: one of each set.
var sides = [features][]Part{
	fShared:  {Gateway | Anonymous},
	fSharedB: {Gateway | Anonymous, Identified},
	fHash:    {Gateway | Anonymous | Node},
	fKeyset:  {Gateway | Anonymous},
	fClass:   {Gateway | Anonymous | Node},
	fCount:   {Identified},
	fGap:     {allParts},
	fOrder:   {Gateway | Anonymous},
	fOrderN:  {Node},
	fBytes:   {Gateway | Anonymous},
	fNode:    {Gateway | Anonymous | Node},
	fDrawn:   {Gateway},
	fUsed:    {Gateway | Anonymous | Node},
	fPrompt:  {Node},
	fActive:  {Relay, Node},
	fTime:    {Identified, Gateway | Anonymous | Node},
}

// coarse are the features that everybody who pays at about the same time with the same
// coins has in common: what they tell is the size of the crowd.
var coarse = []feature{fClass, fCount, fGap, fTime, fActive}

// has returns the features of a coalition; live: its parts also have a common
// clock finer than the epoch.
func (p Part) has(live bool) (list []feature) {
	for f := range features {
		ok := f != fTime || live
		for _, one := range sides[f] {
			ok = ok && p&one != 0
		}
		if ok {
			list = append(list, f)
		}
	}
	return list
}

// A pair is what all parts together could tell of a candidate.
type pair struct {
	value [features]uint8
	right bool
}

const values = 12 // of a feature, at most

func bucket(n int) uint8 { return uint8(min(bits.Len(uint(max(n, 0))), values-1)) }

func clamp(n, most int) uint8 { return uint8(max(0, min(n, most))) }

func abs(n int) int { return max(n, -n) }

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// An index is a log with what is looked up often.
type index struct {
	*log
	shared map[[32]byte][]int // value to requests (n), swaps (-1-n)
	bought map[[32]byte]int   // value to client
	of     [][]int            // purchases of a client
	active map[[3]int]int     // client, epoch, rung: how often
}

func newIndex(l *log) *index {
	x := &index{log: l, shared: map[[32]byte][]int{}, bought: map[[32]byte]int{}, of: make([][]int, l.clients), active: map[[3]int]int{}}
	for i := range l.requests {
		r := &l.requests[i]
		for _, id := range r.ids {
			x.shared[id] = append(x.shared[id], i)
		}
		x.active[[3]int{r.client, r.epoch, r.padded}]++
	}
	for i := range l.swaps {
		for _, id := range l.swaps[i].ids {
			x.shared[id] = append(x.shared[id], -1-i)
		}
	}
	for i := range l.purchases {
		p := &l.purchases[i]
		x.of[p.client] = append(x.of[p.client], i)
		for _, id := range p.ids {
			x.bought[id] = p.client
		}
	}
	return x
}

// question returns the candidates of one request, or none if it is not a
// question there.
func (x *index) question(q Question, i int) []pair {
	r := &x.requests[i]
	switch q {
	case Who:
		return x.who(r)
	case Parent:
		if r.parent < 0 {
			return nil
		}
		return x.others(i, true)
	default:
		return x.others(i, false)
	}
}

func (x *index) who(r *request) []pair {
	out := make([]pair, x.clients)
	for _, id := range r.ids {
		if c, ok := x.bought[id]; ok {
			out[c].value[fSharedB] = 1
		}
	}
	for c := range out {
		v := &out[c].value
		out[c].right = c == r.client
		last, count, near := -1, 0, math.MaxInt
		for _, n := range x.of[c] {
			p := &x.purchases[n]
			// After it is as near as before it: a wallet fills up what was spent.
			near = min(near, abs(p.at-r.at), abs(p.at-r.end))
			if p.at > r.at {
				continue
			}
			last = p.epoch
			for _, e := range p.exponents {
				count += int(bit(e == r.class))
			}
			v[fKeyset] |= bit(p.keyset == r.keyset)
		}
		v[fClass], v[fCount] = bit(count > 0), bucket(count)
		v[fGap] = values - 1
		if last >= 0 {
			v[fGap] = clamp(r.epoch-last, values-2)
		}
		v[fTime] = bucket(near)
		v[fActive] = clamp(x.active[[3]int{c, r.epoch, r.padded}], 3)
	}
	return out
}

// others compares a request with all that came before (and swaps), or with all.
func (x *index) others(i int, parents bool) []pair {
	r := &x.requests[i]
	shared := map[int]bool{}
	for _, id := range r.ids {
		for _, n := range x.shared[id] {
			shared[n] = true
		}
	}
	var out []pair
	for j := range x.requests {
		o := &x.requests[j]
		if j == i || parents && o.end > r.at {
			continue
		}
		p := pair{right: o.client == r.client}
		if parents {
			p.right = !r.swap && r.parent == j
		}
		v := &p.value
		v[fShared], v[fHash] = bit(shared[j]), bit(o.hash == r.hash)
		v[fKeyset] = bit(o.keyset == r.keyset)
		v[fClass] = bit(slices.Contains(o.minted, r.class)) | bit(o.class == r.class)<<1
		v[fGap] = clamp(abs(r.epoch-o.epoch), values-1)
		v[fOrder] = bucket(min(abs(r.at-o.end), abs(o.at-r.end)))
		v[fOrderN] = v[fOrder]
		v[fBytes] = uint8(bits.OnesCount8(r.nonce[0] ^ o.blank[0]))
		v[fNode], v[fDrawn] = bit(o.node == r.node), uint8(bits.OnesCount8(o.candidates&r.candidates))
		v[fUsed], v[fPrompt] = bucket(abs(int(o.used)-int(r.used))), bucket(abs(o.prompt-r.prompt))
		out = append(out, p)
	}
	if !parents {
		return out
	}
	for j := range x.swaps {
		s := &x.swaps[j]
		if s.at > r.at {
			continue
		}
		p := pair{right: r.swap && r.parent == j}
		v := &p.value
		v[fShared] = bit(shared[-1-j])
		v[fClass] = 4 | bit(slices.Contains(s.minted, r.class))
		v[fGap], v[fOrder] = clamp(r.epoch-s.epoch, values-1), bucket(r.at-s.at)
		out = append(out, p)
	}
	return out
}

// A scale says how much each value of each feature speaks for a pair: the
// logarithm of how much more often it is so of right pairs than of wrong ones.
type scale [features][values]float64

// identity is what a shared value weighs, whether it was ever seen before or not.
const identity = 50

// learn weighs by the clients that are the attacker's own.
func (x *index) learn(q Question) (s *scale) {
	var right, wrong [features][values]float64
	var n, m float64
	for i := range x.requests {
		if !own(x.requests[i].client) {
			continue
		}
		for _, p := range x.question(q, i) {
			count, total := &wrong, &m
			if p.right {
				count, total = &right, &n
			}
			*total++
			for f, v := range p.value {
				count[f][v]++
			}
		}
	}
	s = new(scale)
	const prior = 20 // wrong pairs that a right one is taken for until it is known better
	for f := range features {
		for v := range values {
			all := (wrong[f][v] + 0.5) / (m + 0.5*values)
			s[f][v] = math.Log((right[f][v]+prior*all)/(n+prior)) - math.Log(all)
		}
	}
	for _, f := range []feature{fShared, fSharedB, fHash} {
		s[f] = [values]float64{1: identity}
	}
	return s
}

func own(client int) bool { return client%2 == 0 }

// A Row is how one coalition did with one question.
type Row struct {
	Question  Question `json:"-"`
	Name      string   `json:"question"`
	Coalition Part     `json:"-"`
	Parts     string   `json:"coalition"`
	Asked     int      `json:"asked"`
	Hits      float64  `json:"right"`  // share of first guesses that are right
	Chance    float64  `json:"chance"` // the same, of guesses without any log
	Upper     float64  `json:"upper"`  // 97.5 % limit of Hits
	// Inside is how often, of a right candidate and a wrong one that are alike in
	// time, amount and crowd, the right one is ranked higher; 0.5 is chance.
	Inside  float64 `json:"inside"`
	Matched int     `json:"matched"` // questions that had such a pair
}

// Advantage is how much more often a guess is right than without any log, at
// most: of the limit, not of what was measured.
func (r *Row) Advantage() float64 { return r.Upper - r.Chance }

// InsideUpper is the 97.5 % limit of Inside.
func (r *Row) InsideUpper() float64 {
	if r.Matched == 0 {
		return 0
	}
	return r.Inside + 1.96*0.5/math.Sqrt(float64(r.Matched))
}

// ask has every coalition answer a question about the clients that are not the
// attacker's.
func (x *index) ask(q Question, live bool, most int, r *rand.Rand) []Row {
	weights := x.learn(q)
	var rows []Row
	var sets [][]feature
	for p := Part(1); p <= allParts; p++ {
		if !p.joins() && q.asked(p) && (!live || p&Identified != 0) {
			rows = append(rows, Row{Question: q, Name: q.String(), Coalition: p, Parts: p.String()})
			sets = append(sets, p.has(live))
		}
	}
	var asked []int
	for i := range x.requests {
		if !own(x.requests[i].client) {
			asked = append(asked, i)
		}
	}
	r.Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
	left := most
	for _, i := range asked {
		pairs := x.question(q, i)
		right := 0
		for k := range pairs {
			right += int(bit(pairs[k].right))
		}
		if right == 0 {
			continue
		}
		if left--; left < 0 {
			break
		}
		for k := range rows {
			rows[k].judge(pairs, right, sets[k], weights)
		}
	}
	for k := range rows {
		rows[k].finish()
	}
	return rows
}

func (row *Row) judge(pairs []pair, right int, set []feature, weights *scale) {
	row.Asked++
	row.Chance += float64(right) / float64(len(pairs))
	score := func(p *pair) (sum float64) {
		for _, f := range set {
			sum += weights[f][p.value[f]]
		}
		return sum
	}
	best, ties, hits := math.Inf(-1), 0.0, 0.0
	scores := make([]float64, len(pairs))
	for i := range pairs {
		s := score(&pairs[i])
		scores[i] = s
		if s > best+1e-9 {
			best, ties, hits = s, 0, 0
		}
		if s > best-1e-9 {
			ties++
			hits += float64(bit(pairs[i].right))
		}
	}
	row.Hits += hits / ties
	// One right candidate of each question: several would not be independent.
	for i := range pairs {
		if !pairs[i].right {
			continue
		}
		var n, sum float64
		for j := range pairs {
			if pairs[j].right || !alike(&pairs[i], &pairs[j]) {
				continue
			}
			n++
			switch d := scores[i] - scores[j]; {
			case d > 1e-9:
				sum++
			case d > -1e-9:
				sum += 0.5
			}
		}
		if n > 0 {
			row.Matched++
			row.Inside += sum / n
		}
		break
	}
}

func alike(a, b *pair) bool {
	for _, f := range coarse {
		if a.value[f] != b.value[f] {
			return false
		}
	}
	return true
}

func (row *Row) finish() {
	if row.Asked == 0 {
		return
	}
	n := float64(row.Asked)
	row.Hits, row.Chance = row.Hits/n, row.Chance/n
	row.Upper = wilson(row.Hits, n)
	if row.Matched > 0 {
		row.Inside /= float64(row.Matched)
	}
}

// wilson is the upper limit of a share (E. B. Wilson, 1927).
func wilson(p, n float64) float64 {
	const z = 1.96
	return (p + z*z/(2*n) + z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))) / (1 + z*z/n)
}
