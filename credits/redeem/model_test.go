// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem_test

import (
	"fmt"
	"strings"
	"testing"
)

// This is the life of one payment as a model, small enough to look at every
// state that it can be in: one client, one router, a bank of two replicas over
// one database, two nodes. Any of them can crash between any two steps. Messages
// are what the router knows: it can send each again at any time, or never, so
// that losing, repeating and reordering are all in it.

const parts = 3 // of the class; a node uses 0, 1 or all of them

const (
	opNone = iota
	opHeld
	opUsed
	opReturned
)

// A payment is a state of the model.
type payment struct {
	time uint8 // statements e, e+1, e+2 are public

	// Durable, at the bank.
	op      int
	version uint8
	turns   [2]int8 // candidates that had a ticket, in order
	n       int8
	charged int8

	// One replica has read the operation and is about to write.
	pending uint8 // 0: not; else what, see commit
	read    uint8 // the version it read
	arg     int8

	// What the router knows. A crash takes it all.
	request                bool
	ticket, receipt, usage [2]bool
	sent                   [2]bool // to this node, by a router that has not crashed since

	nodes  [2]node
	client uint8 // 0: has its coin; 1: has sent it; 2: has what is its own
	got    int8
}

type node struct {
	ran  int8 // 0: nothing; else 1 + the parts used
	busy bool // it signed a receipt
	dead bool // it has crashed, and with it its keys and what it remembered
}

const (
	pendTurn = iota + 1
	pendUsed
	pendBusy
	pendOver
)

// rules are what the parts keep to.
type rules struct {
	// remembers: a node that signed a busy receipt does not run that request later.
	remembers bool
	// honest: a router gives a node its ticket once, and never after its receipt.
	honest bool
}

func (s *payment) holder() int8 { return s.turns[s.n-1] }

// next lists what can come next.
func (r rules) next(s payment) (out []payment) {
	add := func(f func(p *payment)) {
		p := s
		f(&p)
		out = append(out, p)
	}
	if s.time < 2 {
		add(func(p *payment) { p.time++ })
	}
	// The client sends its request; it may crash or hang up at any time, which
	// changes nothing that the others do.
	if s.client == 0 {
		add(func(p *payment) { p.client, p.request = 1, true })
	}
	if s.client == 1 && (s.op == opUsed || s.op == opReturned) {
		add(func(p *payment) { p.client, p.got = 2, parts-p.charged })
	}
	// The router crashes and comes back, knowing nothing.
	add(func(p *payment) {
		p.request, p.ticket, p.receipt, p.usage, p.sent = false, [2]bool{}, [2]bool{}, [2]bool{}, [2]bool{}
	})
	out = append(out, r.bank(s)...)
	for i := range int8(2) {
		out = append(out, r.node(s, i)...)
	}
	return out
}

// bank is what a replica can do: each answer may be lost.
func (r rules) bank(s payment) (out []payment) {
	answer := func(p payment, f func(p *payment)) {
		out = append(out, p) // lost
		f(&p)
		out = append(out, p)
	}
	if s.request && s.time < 2 {
		for i := range int8(2) {
			switch {
			case s.op == opNone:
				p := s
				p.op, p.turns[0], p.n = opHeld, i, 1
				answer(p, func(p *payment) { p.ticket[i] = true })
			case s.op == opHeld && s.n == 1 && s.turns[0] == i: // the same again
				answer(s, func(p *payment) { p.ticket[i] = true })
			}
		}
	}
	// A replica reads, and may be overtaken or die before it writes.
	read := func(what uint8, arg int8) {
		p := s
		p.pending, p.read, p.arg = what, s.version, arg
		out = append(out, p)
	}
	if s.op == opHeld && s.pending == 0 {
		for i := range int8(2) {
			switch {
			case s.holder() != i:
			case s.time == 2:
				read(pendOver, 0)
			default:
				if s.receipt[i] && s.n == 1 {
					read(pendTurn, 1-i)
				}
				if s.receipt[i] {
					read(pendBusy, 0)
				}
				if s.usage[i] {
					read(pendUsed, s.nodes[i].ran-1)
				}
			}
		}
	}
	// The ticket of the last turn again, by the receipt that it was signed for.
	if s.op == opHeld && s.n == 2 && s.receipt[s.turns[0]] && s.time < 2 {
		answer(s, func(p *payment) { p.ticket[p.turns[1]] = true })
	}
	if s.pending == 0 {
		return out
	}
	crashed := s
	crashed.pending, crashed.read, crashed.arg = 0, 0, 0
	out = append(out, crashed)
	if p := crashed; s.read == s.version { // compare and set
		p.version++
		switch s.pending {
		case pendTurn:
			p.turns[1], p.n = s.arg, 2
			answer(p, func(p *payment) { p.ticket[s.arg] = true })
			return out
		case pendUsed:
			p.op, p.charged = opUsed, s.arg
		case pendBusy, pendOver:
			p.op = opReturned
		}
		out = append(out, p)
	}
	return out
}

// node is what candidate i can do.
func (r rules) node(s payment, i int8) (out []payment) {
	add := func(f func(p *payment)) {
		p := s
		f(&p)
		out = append(out, p)
	}
	if s.nodes[i].dead {
		return nil
	}
	add(func(p *payment) { p.nodes[i].dead = true })
	may := s.ticket[i] && s.time < 2 // its keys of the epoch are gone by then
	if r.honest && s.sent[i] {
		may = false
	}
	if may && s.nodes[i].ran == 0 {
		add(func(p *payment) { p.nodes[i].busy, p.receipt[i], p.sent[i] = true, true, true })
		add(func(p *payment) { p.nodes[i].busy, p.sent[i] = true, true }) // the receipt is lost
		if !s.nodes[i].busy || !r.remembers {
			for _, used := range []int8{0, 1, parts} {
				add(func(p *payment) { p.nodes[i].ran, p.sent[i] = 1+used, true })
			}
		}
	}
	if s.nodes[i].ran > 0 {
		add(func(p *payment) { p.usage[i] = true }) // in the trailer, or when it is asked
	}
	return out
}

// wrong says which rule a state breaks.
func (s *payment) wrong() string {
	runs := 0
	for _, n := range s.nodes {
		if n.ran > 0 {
			runs++
		}
	}
	switch {
	case runs > 1:
		return "it ran twice"
	case runs > 0 && s.op == opNone:
		return "it ran unpaid"
	case s.op == opUsed && (s.charged < 0 || s.charged > parts):
		return "charged out of bounds"
	case s.op == opUsed && s.nodes[s.holder()].ran != 1+s.charged:
		return "charged for what did not run"
	case s.op != opUsed && s.charged != 0:
		return "charged without usage"
	case s.op == opReturned && s.time < 2 && runs > 0:
		return "all came back of what ran, before its time was over"
	case s.client == 2 && s.got+s.charged != parts:
		return "value made or lost"
	case s.client == 0 && s.op != opNone:
		return "spent by somebody else"
	}
	return ""
}

// explore visits every state and returns how many there are, and the first that
// is wrong, with the way to it.
func (r rules) explore() (visited int, wrong string) {
	first := payment{}
	from := map[payment]payment{first: first}
	queue := []payment{first}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if w := s.wrong(); w != "" {
			return len(from), w + r.trail(from, s)
		}
		if w := r.recovers(s); w != "" {
			return len(from), w + r.trail(from, s)
		}
		for _, n := range r.next(s) {
			// What ended never changes again.
			if s.op >= opUsed && (n.op != s.op || n.charged != s.charged || n.n != s.n) {
				return len(from), "an end that changed" + r.trail(from, s)
			}
			if _, ok := from[n]; !ok {
				from[n] = s
				queue = append(queue, n)
			}
		}
	}
	return len(from), ""
}

// recovers checks that, whatever has happened and whoever is dead, time alone and
// one question bring the client its own.
func (r rules) recovers(s payment) string {
	s.time, s.pending = 2, 0
	if s.op == opHeld {
		s.op = opReturned // who asks ends it: Bank.Change
	}
	switch {
	case s.op == opNone: // the coin is unspent: another request can be paid with it
	case parts-s.charged < 0:
		return "a client that cannot recover its own"
	}
	s.client, s.got = 2, parts-s.charged
	if s.op != opNone && s.got+s.charged != parts {
		return "recovered another sum"
	}
	return ""
}

func (r rules) trail(from map[payment]payment, s payment) string {
	var steps []string
	for {
		steps = append(steps, fmt.Sprintf("%+v", s))
		if s == from[s] {
			break
		}
		s = from[s]
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		b.WriteString("\n  " + steps[i])
	}
	return b.String()
}

// TestModel looks at every state.
func TestModel(t *testing.T) {
	for name, c := range map[string]struct {
		rules
		fails bool
	}{
		"CT-03 a router that may do anything, nodes that remember their receipts": {rules{remembers: true}, false},
		"CT-03 an honest router that may crash at any time":                       {rules{honest: true}, false},
		// The model can fail: this is why the rule is there.
		"nodes that forget their receipts": {rules{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n, wrong := c.explore()
			if (wrong != "") != c.fails {
				t.Errorf("%d states: %q", n, wrong)
			}
			first, _, _ := strings.Cut(wrong, "\n")
			t.Logf("%d states %s", n, first)
			if !c.fails && n < 1000 {
				t.Errorf("only %d states: the model does not move", n)
			}
		})
	}
}
