// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package simulate plays requests through routers that choose nodes, honestly
// and otherwise, and counts how soon package audit/steer notices. It has no
// network, no keys and no clock: the same seed gives the same table.
package simulate

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"text/tabwriter"

	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/internal/wire"
)

// Steering is a simulation. A zero count means its default; a zero rate, and
// nobody down, mean that.
type Steering struct {
	Requests   int     // per kind of router, over all clients; 100000
	Clients    int     // 100
	Nodes      int     // 20
	Owned      int     // nodes that the router works for; 1
	Candidates int     // 3
	Busy       float64 // how often an honest node is busy when asked
	Fail       float64 // how often an honest node fails a request
	Down       int     // nodes that are down for everybody
	Seeds      int     // honest worlds of one client, for false alarms; 200
	Seed       uint64
	Progress   func(done, total int)
}

func (s *Steering) defaults() error {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&s.Requests, 100_000)
	set(&s.Clients, 100)
	set(&s.Nodes, 20)
	set(&s.Owned, 1)
	set(&s.Candidates, 3)
	set(&s.Seeds, 200)
	switch {
	case s.Candidates < 1 || s.Candidates > wire.MaxCandidates:
		return fmt.Errorf("simulate: %d candidates; between 1 and %d", s.Candidates, wire.MaxCandidates)
	case s.Nodes < s.Candidates || s.Nodes > steer.MaxNodes || s.Owned < 1 || s.Down < 0 || s.Owned+s.Down > s.Nodes:
		return fmt.Errorf("simulate: %d nodes, of which %d are owned and %d down, for %d candidates", s.Nodes, s.Owned, s.Down, s.Candidates)
	case s.Clients < 1 || s.Seeds < 1 || s.Requests < s.Clients:
		return fmt.Errorf("simulate: %d requests of %d clients, %d seeds", s.Requests, s.Clients, s.Seeds)
	case !(s.Busy >= 0 && s.Busy < 1 && s.Fail >= 0 && s.Fail < 1):
		return fmt.Errorf("simulate: rates %v and %v are not below 1", s.Busy, s.Fail)
	}
	return nil
}

// A cheat is one way in which a router or its nodes choose.
type cheat struct {
	name string
	// drops reports whether the router loses a request; first is whether the
	// first of the draw is its own, inSet whether any candidate is.
	drops func(r *rand.Rand, first, inSet bool, attempt int) bool
	// busy is how likely an honest-looking colluder calls itself busy so that a
	// node behind it gets the request.
	busy float64
}

var cheats = []cheat{
	{name: "fails unless own node is first, when it is drawn", drops: func(_ *rand.Rand, first, inSet bool, _ int) bool { return inSet && !first }},
	{name: "drops all unless own node is first", drops: func(_ *rand.Rand, first, _ bool, _ int) bool { return !first }},
	{name: "first attempts fail, retries are withheld, half the time", drops: func(r *rand.Rand, first, inSet bool, attempt int) bool {
		return inSet && !first && (attempt > 0 || r.Float64() < 0.5)
	}},
	{name: "colluding nodes are busy in front of own node", busy: 1},
	{name: "bias 20 %", drops: bias(0.20)},
	{name: "bias 5 %", drops: bias(0.05)},
	{name: "bias 1 %", drops: bias(0.01)},
}

// bias fails a part of the requests that have an own node, but not first.
func bias(part float64) func(*rand.Rand, bool, bool, int) bool {
	return func(r *rand.Rand, first, inSet bool, attempt int) bool {
		return inSet && !first && (attempt > 0 || r.Float64() < part)
	}
}

// Steps are the numbers of requests after which a table looks.
var Steps = []int{30, 100, 300, 1000}

// A Row is one kind of router.
type Row struct {
	Router string  `json:"router"`
	Own    float64 `json:"own_share"`  // of the answers, by the router's own nodes
	Failed float64 `json:"fail_share"` // of the draws
	// Alone is the share of clients that have an alarm by each of Steps.
	Alone []float64 `json:"alone"`
	// Pooled reports, for each of Steps requests per client, whether the
	// receipts of all clients together show steering.
	Pooled []bool `json:"pooled"`
}

// A Result is what a simulation found.
type Result struct {
	Steps  []int   `json:"steps"`
	Fair   float64 `json:"fair_share"` // of the answers, if nobody steers and nobody is down or busy
	Reads  float64 `json:"readable"`   // 1-(1-c/N)^k
	Rows   []Row   `json:"rows"`
	Honest struct {
		Seeds    int `json:"seeds"`
		Requests int `json:"requests_each"`
		Warned   int `json:"warned"`
		Refused  int `json:"refused"`
		Pooled   int `json:"pooled"` // analyses of a seed's requests that show steering
	} `json:"honest"`
}

// world is one set of nodes under one router.
type world struct {
	s   *Steering
	ids [][32]byte
	r   *rand.Rand
	run uint64
}

func (s *Steering) world(stream uint64) *world {
	w := &world{s: s, r: rand.New(rand.NewPCG(s.Seed, stream)), run: stream}
	for i := range s.Nodes {
		w.ids = append(w.ids, sha256.Sum256(fmt.Appendf(nil, "simulated node %d", i)))
	}
	return w
}

// own: the first nodes are the router's; colluders that only call themselves
// busy, and nodes that are down, come after.
func (w *world) own(i int) bool  { return i < w.s.Owned }
func (w *world) down(i int) bool { return i >= w.s.Nodes-w.s.Down }

// request plays one draw to its end.
func (w *world) request(c *cheat) steer.Observation {
	set := make([]int, w.s.Nodes)
	for i := range set {
		set[i] = i
	}
	ids := make([][32]byte, w.s.Candidates)
	for i := range w.s.Candidates { // the client's own uniform draw
		j := i + w.r.IntN(len(set)-i)
		set[i], set[j] = set[j], set[i]
		ids[i] = w.ids[set[i]]
	}
	var header [32]byte
	for i := range 4 {
		binary.BigEndian.PutUint64(header[8*i:], w.r.Uint64())
	}
	o := steer.Observation{Pool: w.ids, Outcome: steer.Failed}
	var order []int
	inSet := false
	for _, i := range wire.DrawOrder(header, [32]byte{}, ids) {
		order = append(order, set[i])
		o.Order = append(o.Order, ids[i])
		inSet = inSet || w.own(set[i])
	}
	for attempt := range wire.MaxAttempts {
		o.Retries = attempt
		if c != nil && c.drops != nil && c.drops(w.r, w.own(order[0]), inSet, attempt) {
			continue
		}
		if place, ok := w.serve(c, order); ok {
			o.Outcome, o.Position = steer.Answered, place
			break
		}
	}
	return o
}

// serve asks the nodes in turn.
func (w *world) serve(c *cheat, order []int) (place int, ok bool) {
	for place, i := range order {
		busy := w.s.Busy
		if c != nil && c.busy > 0 && i%4 == 1 { // a quarter of the nodes collude
			for _, behind := range order[place+1:] {
				if w.own(behind) {
					busy = c.busy
				}
			}
		}
		switch {
		case w.down(i), w.r.Float64() < w.s.Fail:
			return 0, false // nobody else is asked
		case w.r.Float64() >= busy:
			return place, true
		}
	}
	return 0, false
}

// Run plays all of it.
func (s Steering) Run() (*Result, error) {
	if err := s.defaults(); err != nil {
		return nil, err
	}
	share := float64(s.Owned) / float64(s.Nodes)
	res := &Result{Steps: Steps, Fair: share, Reads: 1 - math.Pow(1-share, float64(s.Candidates))}
	total := len(cheats)*s.Clients + s.Seeds
	done := 0
	tick := func() {
		if done++; s.Progress != nil {
			s.Progress(done, total)
		}
	}
	for i := range cheats {
		row, err := s.play(&cheats[i], uint64(i), tick)
		if err != nil {
			return nil, err
		}
		res.Rows = append(res.Rows, row)
	}
	h := &res.Honest
	h.Seeds, h.Requests = s.Seeds, s.Requests/s.Clients
	for seed := range s.Seeds {
		w := s.world(1<<32 + uint64(seed))
		var m steer.Meter
		var all []steer.Observation
		level := steer.Quiet
		for n := range h.Requests {
			o := w.request(nil)
			if err := m.Observe(1, o); err != nil {
				return nil, err
			}
			all = append(all, o)
			if n%10 == 9 {
				level = max(level, worst(&m))
			}
		}
		if level >= steer.Warn {
			h.Warned++
		}
		if level >= steer.Refuse {
			h.Refused++
		}
		if steer.Pool(all).Steered {
			h.Pooled++
		}
		tick()
	}
	return res, nil
}

func worst(m *steer.Meter) steer.Level {
	if a := m.Alarms(); len(a) > 0 {
		return a[0].Level
	}
	return steer.Quiet
}

func (s *Steering) play(c *cheat, stream uint64, tick func()) (Row, error) {
	row := Row{Router: c.name, Alone: make([]float64, len(Steps)), Pooled: make([]bool, len(Steps))}
	each := s.Requests / s.Clients
	pools := make([][]steer.Observation, len(Steps))
	own, answers, failed := 0, 0, 0
	for client := range s.Clients {
		w := s.world(stream<<16 + uint64(client))
		var m steer.Meter
		alarmed := false
		for n := range each {
			o := w.request(c)
			if err := m.Observe(1, o); err != nil {
				return row, err
			}
			if o.Outcome == steer.Answered {
				answers++
				for i := range s.Owned {
					if w.ids[i] == o.Order[o.Position] {
						own++
					}
				}
			} else {
				failed++
			}
			if n%10 == 9 && !alarmed {
				alarmed = worst(&m) >= steer.Warn
			}
			for i, step := range Steps {
				if n < step {
					pools[i] = append(pools[i], o)
				}
				if n == step-1 && alarmed {
					row.Alone[i]++
				}
			}
		}
		tick()
	}
	for i := range Steps {
		row.Alone[i] /= float64(s.Clients)
		row.Pooled[i] = steer.Pool(pools[i]).Steered
	}
	row.Own, row.Failed = float64(own)/float64(max(1, answers)), float64(failed)/float64(each*s.Clients)
	return row, nil
}

// WriteTable prints a result for people.
func (r *Result) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "router\town answers\tfailed")
	for _, n := range r.Steps {
		fmt.Fprintf(t, "\talone %d\tpooled %d", n, n)
	}
	fmt.Fprintln(t)
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%.1f %%\t%.1f %%", row.Router, 100*row.Own, 100*row.Failed)
		for i := range r.Steps {
			seen := "no"
			if row.Pooled[i] {
				seen = "yes"
			}
			fmt.Fprintf(t, "\t%.0f %%\t%s", 100*row.Alone[i], seen)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	h := r.Honest
	_, err := fmt.Fprintf(w, `
alone N: clients with an alarm after N requests of their own
pooled N: whether the receipts of all clients, N each, show steering
a fair share of answers is %.1f %%; a request is readable by a node of the router's with probability %.1f %%
honest routers: %d worlds of %d requests: %d warned, %d refused, %d shown by pooling
`, 100*r.Fair, 100*r.Reads, h.Seeds, h.Requests, h.Warned, h.Refused, h.Pooled)
	return err
}
