// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"

	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/internal/wire"
)

// A draw is the set of nodes that one request is sealed to. Its order in the
// header says nothing; who is asked first is drawn in public from the header
// hash and the epoch's beacon (design rule 6).
type draw struct {
	candidates []sender.Candidate
	ids        [][32]byte
	nodes      []*node
	pool       [][32]byte // what it was drawn from
	looked     []*listed  // every node looked at, refused ones too, for the report
}

// draw picks candidates uniformly from the verified nodes that serve model, so
// that the router learns no model from them and chooses none of them.
func (c *Client) draw(w *world, model string) (*draw, error) {
	serving := w.serving(model)
	if len(serving) == 0 {
		return nil, refuse(CodeModel, "no node of epoch %d serves the model asked for", w.statement.Epoch).
			hint("GET /v1/models lists those that are served")
	}
	k := c.cfg.Candidates
	if len(serving) < c.cfg.MinSet {
		return nil, c.smallSet(len(serving))
	}
	order, err := shuffle(len(serving))
	if err != nil {
		return nil, refuse("rng", "%v", err)
	}
	d := &draw{}
	defer func() { c.note(w, d.looked) }()
	var first error
	for _, i := range order {
		d.looked = append(d.looked, serving[i])
		n, err := w.verified(serving[i], c.cfg.Now())
		if err != nil {
			// Listed, but not to be trusted: it gets no ciphertext, and the
			// report shows it.
			if first == nil {
				first = err
			}
			continue
		}
		if d.add(n); len(d.nodes) == k {
			break
		}
	}
	if len(d.nodes) < k {
		return nil, first
	}
	for _, l := range serving {
		if !l.refused.Load() {
			d.pool = append(d.pool, l.id)
		}
	}
	if len(d.pool) < c.cfg.MinSet { // a long list of which few can be drawn is a short one
		return nil, c.smallSet(len(d.pool))
	}
	return d, nil
}

func (c *Client) smallSet(n int) error {
	return refuse(CodeSmallSet, "%d nodes serve this model, the draw needs %d", n, c.cfg.MinSet).
		hint("a smaller set says more about you; ask the operator, or lower candidates or min_set in your own configuration")
}

func (d *draw) add(n *node) {
	d.candidates = append(d.candidates, sender.Candidate{NodeID: n.id, Key: n.key})
	d.ids = append(d.ids, n.id)
	d.nodes = append(d.nodes, n)
}

// redraw is old in another world of the same epoch: the same candidates,
// verified anew.
func (c *Client) redraw(w *world, old *draw) (*draw, error) {
	d := &draw{pool: old.pool}
	defer func() { c.note(w, d.looked) }()
	for _, id := range old.ids {
		for _, l := range w.listed {
			if l.id != id {
				continue
			}
			d.looked = append(d.looked, l)
			n, err := w.verified(l, c.cfg.Now())
			if err != nil {
				return nil, err
			}
			d.add(n)
		}
	}
	return d, nil
}

// shuffle returns a uniform permutation of 0..n-1 (Fisher-Yates).
func shuffle(n int) ([]int, error) {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j, err := below(i + 1)
		if err != nil {
			return nil, err
		}
		p[i], p[j] = p[j], p[i]
	}
	return p, nil
}

// below returns a uniform number in [0, n), by rejection.
func below(n int) (int, error) {
	limit := ^uint32(0) - ^uint32(0)%uint32(n)
	for {
		var b [4]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, err
		}
		if v := binary.BigEndian.Uint32(b[:]); v < limit {
			return int(v % uint32(n)), nil
		}
	}
}

// checkRoute refuses an answer that the public draw does not explain: it must
// come from the first node of the draw, or from a later one with the signed
// busy receipt of each before it.
func (d *draw) checkRoute(w *world, headerHash, origin [32]byte, attempt uint8, r *wire.RouteRecord) error {
	rule := wire.Draw{HeaderHash: headerHash, Origin: origin, Beacon: w.statement.Beacon, Epoch: w.statement.Epoch, Attempt: attempt, IDs: d.ids}
	for _, n := range d.nodes {
		rule.Keys = append(rule.Keys, n.signing)
	}
	err := rule.Check(r)
	var bad *wire.RouteError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad) && bad.Code == CodeSkip:
		return &Error{Code: CodeSkip, Detail: "the public draw asks another node first, and no busy receipt signed by it came with the answer", Sent: true}
	}
	return &Error{Code: CodeCandidate, Detail: "answered by a node outside the draw", Sent: true}
}

func short(id [32]byte) string { return hex.EncodeToString(id[:4]) }
