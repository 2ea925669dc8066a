// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package steer judges, from finished requests, whether somebody chose the
// nodes that answered. It is arithmetic: values in, values out; no network,
// clock, log or randomness. The specification is docs/spec/choice.md.
//
// A single answer is checked by internal/wire against the public draw. What is
// left to a router is to refuse, drop and delay; this package counts what that
// looks like over many requests. It names no culprit: whoever fails a request,
// relay, gateway, router or node, looks the same from here.
package steer

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sotto-project/sotto/internal/wire"
)

// MaxNodes bounds the nodes that a [Meter] keeps counts of. Others are left
// out of its tests until there is room.
const MaxNodes = 1024

// An Outcome says how a request ended.
type Outcome uint8

// The zero Outcome is refused.
const (
	Answered Outcome = 1 + iota // by a candidate, as the public draw allows
	Failed                      // no answer, or a broken one, in all attempts
	Skipped                     // answered against the public draw, and refused for it
)

// An Observation is one finished request, all its attempts together.
type Observation struct {
	// Pool holds the nodes that could have been drawn: those that serve the
	// model and were not refused.
	Pool [][32]byte
	// Order holds the candidates in the order of the public draw.
	Order   [][32]byte
	Outcome Outcome
	// Position is the place in Order of the node that answered; 0 unless
	// Outcome is Answered.
	Position int
	// Retries is how often the request was sealed again.
	Retries int
}

// ErrObservation is for an observation that no request leads to.
var ErrObservation = errors.New("steer: malformed observation")

func (o *Observation) check() error {
	k := len(o.Order)
	switch {
	case k < 1 || k > wire.MaxCandidates || len(o.Pool) < k,
		o.Outcome < Answered || o.Outcome > Skipped,
		o.Position < 0 || o.Position >= k || o.Position > 0 && o.Outcome != Answered,
		o.Retries < 0 || o.Retries >= wire.MaxAttempts:
		return ErrObservation
	}
	for i, id := range o.Order {
		if slices.Contains(o.Order[:i], id) || !slices.Contains(o.Pool, id) {
			return ErrObservation
		}
	}
	return nil
}

// missed reports whether the first of the draw gave no answer.
func (o *Observation) missed() bool { return o.Outcome == Failed || o.Position > 0 }

// A Kind names one test.
type Kind string

// The tests, with what must be so if nobody steers.
const (
	// KindSet: whether the first of the draw answers has nothing to do with
	// who else was drawn. The client drew the set itself, so this needs no
	// assumption about nodes: who is down or busy is so for everybody.
	KindSet Kind = "set"
	// KindAnswers: no node answers more often than the draw and at most
	// [BusyRate] of busy answers before it can explain.
	KindAnswers Kind = "answers"
	// KindFailures: outside the third of the nodes that fail most, at most
	// [FailureRate] of the requests fail.
	KindFailures Kind = "failures"
	// KindSkip: no answer breaks the public draw. One alone is proof, but for
	// a mistake in software; a few are no mistake.
	KindSkip Kind = "skip"
)

// What an operation without steering is taken to stay under. An overloaded or
// broken one exceeds them and raises alarms of their kinds: those say that
// requests do not go where the draw sends them, not why.
const (
	BusyRate    = 0.20
	FailureRate = 0.05
)

// Bounds on false alarms: an honest world raises an alarm of one kind at one
// of these levels within one hour with at most this probability, however
// often one looks (Ville's inequality; docs/spec/choice.md, section 4).
const (
	WarnRate   = 1e-5
	RefuseRate = 1e-8
)

// A Level says how sure an alarm is.
type Level uint8

// Levels, the surer the higher.
const (
	Quiet Level = iota
	Warn
	Refuse
)

func (l Level) String() string {
	switch l {
	case Warn:
		return "warn"
	case Refuse:
		return "refuse"
	}
	return "quiet"
}

// An Alarm is what an honest world is unlikely to have led to.
type Alarm struct {
	Kind  Kind
	Level Level
	Node  [32]byte // that the deviation favours; zero if it favours none
	// Odds is the base-10 logarithm of how much better steering explains what
	// was seen, corrected for the number of nodes: 5 means 100000 to 1.
	Odds float64
}

func (a Alarm) String() string {
	switch a.Kind {
	case KindSet:
		return fmt.Sprintf("requests fail or are called busy more often when node %x is drawn but is not first (odds 10^%.1f)", a.Node[:4], a.Odds)
	case KindAnswers:
		return fmt.Sprintf("node %x answers more often than the draw explains (odds 10^%.1f)", a.Node[:4], a.Odds)
	case KindFailures:
		return fmt.Sprintf("requests fail at more nodes than can be down (odds 10^%.1f)", a.Odds)
	}
	return "answers came against the public draw"
}

// Alternatives that the tests compare an honest world with, as factors on the
// odds of what is counted: a little, much, nearly always. Their mean costs a
// factor of three at most against knowing which one it is.
var (
	setFactors     = [3]float64{2, 8, 64}
	answerFactors  = [3]float64{1.5, 3, 12}
	failureFactors = [3]float64{3, 12, 60}
)

// A score is the logarithm of a likelihood ratio for each alternative, in
// millionths, so that its bytes are the same everywhere.
type score [3]int64

const (
	micro = 1e6
	limit = int64(1e12) // of a score either way: a million nats
)

func (s *score) add(factors *[3]float64, p float64, hit bool) {
	for i, f := range factors {
		d := -math.Log(1 - p + f*p)
		if hit {
			d += math.Log(f)
		}
		s[i] = max(-limit, min(limit, s[i]+int64(math.Round(d*micro))))
	}
}

// log is the logarithm of the mean of the three ratios, in nats.
func (s *score) log() float64 {
	top := max(s[0], s[1], s[2])
	var sum float64
	for _, v := range s {
		sum += math.Exp(float64(v-top) / micro)
	}
	return float64(top)/micro + math.Log(sum/3)
}

// Hour is what a [Meter] takes for the time: the hour of the client's own clock, which
// it has held against the witnesses' times. Evidence fades with hours and not with
// epochs, nor with the times in their statements, because who steers may run the
// log, too: he can begin a thousand epochs in a second, and say when each began.
func Hour(now time.Time) uint64 { return uint64(max(0, now.Unix()/3600)) }

// keep is the share of the evidence that is kept from one hour to the next: a
// half after a day. A power below one of a likelihood ratio has, in an
// honest world, still an expectation of at most one.
var keep = math.Exp2(-1.0 / 24)

func faded(hours uint64) float64 { return math.Pow(keep, float64(min(hours, 1<<16))) }

func (s *score) fade(hours uint64) {
	f := faded(hours)
	for i := range s {
		s[i] = int64(float64(s[i]) * f)
	}
}

// A count is what a meter keeps of one node.
type count struct {
	id                     [32]byte
	set, answers, failures score
}

// A Meter is one client's steering statistic. The zero Meter is empty and ready.
// It is not safe for concurrent use.
type Meter struct {
	hour     uint64 // see [Hour]
	requests uint64 // in all
	failed   uint64 // of these, each followed by a new draw or by nothing
	retries  uint64
	skips    uint64
	standing uint64  // skips that still count, in millionths of one
	nodes    []count // by id
}

// Observe counts one request that was finished in an hour.
func (m *Meter) Observe(hour uint64, o Observation) error {
	if err := o.check(); err != nil {
		return err
	}
	m.Advance(hour)
	m.requests++
	m.retries += uint64(o.Retries)
	m.track(o.Pool)
	if o.Outcome == Skipped {
		m.skips++
		m.standing = min(uint64(limit), m.standing+micro)
		return nil // whose answer it was cannot be believed
	}
	if o.Outcome == Failed {
		m.failed++
	}
	first := o.Order[0]
	if c := m.find(first); c != nil {
		c.failures.add(&failureFactors, FailureRate, o.Outcome == Failed)
	}
	if o.missed() && len(o.Pool) > 1 {
		p := float64(len(o.Order)-1) / float64(len(o.Pool)-1)
		if p < 1 { // a set that holds everybody says nothing
			for _, id := range o.Pool {
				if c := m.find(id); c != nil && id != first {
					c.set.add(&setFactors, p, slices.Contains(o.Order, id))
				}
			}
		}
	}
	if p := fair(len(o.Order)); p < 1 {
		for i, id := range o.Order {
			if c := m.find(id); c != nil {
				c.answers.add(&answerFactors, p, o.Outcome == Answered && o.Position == i)
			}
		}
	}
	return nil
}

// fair is the most that the draw and busy answers explain of one candidate's
// part of the answers: it is at each of the k places equally often, and is
// asked at place j if the j before it are busy.
func fair(k int) float64 {
	var sum float64
	for j := range k {
		sum += math.Pow(BusyRate, float64(j))
	}
	return min(1, sum/float64(k))
}

// Advance lets what was counted fade to an hour that has begun, as Observe does.
// Whoever looks without having observed calls it first: an alarm that stops all
// requests would else stand for ever, for there would be nothing to observe.
// An earlier hour, of a clock that was set back, changes nothing.
func (m *Meter) Advance(hour uint64) {
	if hour <= m.hour {
		return
	}
	for i := range m.nodes {
		c := &m.nodes[i]
		c.set.fade(hour - m.hour)
		c.answers.fade(hour - m.hour)
		c.failures.fade(hour - m.hour)
	}
	m.standing = uint64(float64(m.standing) * faded(hour-m.hour))
	m.hour = hour
}

func (m *Meter) search(id [32]byte) (int, bool) {
	return slices.BinarySearchFunc(m.nodes, id, func(c count, id [32]byte) int { return bytes.Compare(c.id[:], id[:]) })
}

func (m *Meter) find(id [32]byte) *count {
	if i, ok := m.search(id); ok {
		return &m.nodes[i]
	}
	return nil
}

// track makes room for the nodes of a pool. What is not in it gives way.
func (m *Meter) track(pool [][32]byte) {
	for _, id := range pool {
		i, ok := m.search(id)
		if ok {
			continue
		}
		if len(m.nodes) == MaxNodes {
			gone := slices.IndexFunc(m.nodes, func(c count) bool { return !slices.Contains(pool, c.id) })
			if gone < 0 {
				return
			}
			m.nodes = slices.Delete(m.nodes, gone, gone+1)
			i, _ = m.search(id)
		}
		m.nodes = slices.Insert(m.nodes, i, count{id: id})
	}
}

// Skips that are a warning, and that are no mistake any more, in millionths.
// They are half a skip below one and three, because skips fade: one warns for a
// day, three within half a day refuse, and go on to for six hours.
const (
	skipsWarn   = micro / 2
	skipsRefuse = 5 * micro / 2
)

// Alarms returns the alarms that stand, the surest first; nil if none does.
func (m *Meter) Alarms() []Alarm {
	var out []Alarm
	add := func(a Alarm) {
		switch odds := a.Odds; {
		case odds >= -math.Log10(RefuseRate):
			a.Level = Refuse
		case odds >= -math.Log10(WarnRate):
			a.Level = Warn
		default:
			return
		}
		out = append(out, a)
	}
	if m.standing >= skipsWarn {
		a := Alarm{Kind: KindSkip, Level: Warn}
		if m.standing >= skipsRefuse {
			a.Level = Refuse
		}
		out = append(out, a)
	}
	n := math.Log10(float64(len(m.nodes)))
	for i := range m.nodes {
		c := &m.nodes[i]
		add(Alarm{Kind: KindSet, Node: c.id, Odds: c.set.log()/math.Ln10 - n})
		add(Alarm{Kind: KindAnswers, Node: c.id, Odds: c.answers.log()/math.Ln10 - n})
	}
	add(Alarm{Kind: KindFailures, Odds: m.failures() / math.Ln10})
	slices.SortStableFunc(out, func(a, b Alarm) int {
		if a.Level != b.Level {
			return int(b.Level) - int(a.Level)
		}
		return -compare(a.Odds, b.Odds)
	})
	return out
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// failures leaves out, for each alternative, the third of the nodes that fail
// most: whichever these are, the rest is no more than the product over as many
// nodes that are not down.
func (m *Meter) failures() float64 {
	var sum score
	each := make([]int64, len(m.nodes))
	for f := range sum {
		for i := range m.nodes {
			each[i] = m.nodes[i].failures[f]
		}
		slices.Sort(each)
		for _, v := range each[:len(each)-len(each)/3] {
			sum[f] += v
		}
	}
	return sum.log()
}

// Totals are what a meter counted in its life, for a report.
type Totals struct {
	Hour                             uint64 // see [Hour]
	Requests, Failed, Retries, Skips uint64
}

// Totals returns them.
func (m *Meter) Totals() Totals { return Totals{m.hour, m.requests, m.failed, m.retries, m.skips} }
