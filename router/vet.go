// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/internal/metrics"
	verifier "github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A judge decides which nodes get requests.
type judge struct {
	*verifier.Judge
	policy  *attestation.Policy
	refused atomic.Pointer[metrics.Codes] // nil until Register
}

func openJudge(c Config) (*judge, error) {
	p := c.Machines
	if p == nil {
		b, err := os.ReadFile(c.Policy)
		if err != nil {
			return nil, fmt.Errorf("router: policy: %w", err)
		}
		if p, err = attestation.ParsePolicy(b); err != nil {
			return nil, fmt.Errorf("router: %s: %w", c.Policy, err)
		}
		p.Roots = attestation.VendorRoots()
	}
	// What it accepted stands in the roster: it needs no cache of its own.
	return &judge{Judge: verifier.NewJudge(p, nil), policy: p}, nil
}

// A standing is what the router thinks of one node in one epoch.
type standing struct {
	fresh [32]byte  // SHA-256 of the freshness evidence judged
	code  string    // why it is refused; empty: it is not
	until time.Time // when what it showed is too old
}

type standingKey struct {
	epoch uint64
	id    [32]byte
}

// vetted reports whether a node may be given requests of an epoch now.
func (r *Router) vetted(epoch uint64, id [32]byte) bool {
	s, ok := r.roster.Load().standings[standingKey{epoch, id}]
	return ok && s.good(time.Now())
}

func (s standing) good(now time.Time) bool { return s.code == "" && now.Before(s.until) }

// vetted counts the nodes of the newest epoch that may be given requests.
func (ro *roster) vetted(now time.Time) (n int) {
	for k, s := range ro.standings {
		if k.epoch == ro.newest && s.good(now) {
			n++
		}
	}
	return n
}

// vet judges every node of every epoch in next whose evidence is new, all at
// the same time. A node that the newest list lacks keeps its standing until
// what it showed before is too old: the publisher may have missed it once. One
// whose evidence is there and does not hold is refused at once.
func (r *Router) vet(next, old *roster, now time.Time) {
	type job struct {
		epoch *epoch
		row   statement.Node
		view  *verifier.View
		was   standing
		known bool
	}
	list, point, err := verifier.OpenFreshness(&r.config.Trust, next.freshness)
	if err != nil {
		list = nil // before the first, or one whose checkpoint no witness signed
	}
	var jobs []job
	for n, e := range next.epochs {
		if e.opened == nil {
			continue
		}
		view := &verifier.View{Statement: e.statement, Pack: e.opened, EpochPoint: e.point, Freshness: list, FreshPoint: point}
		for _, row := range e.statement.Nodes {
			was, known := old.standings[standingKey{n, row.ID}]
			jobs = append(jobs, job{e, row, view, was, known})
		}
	}
	out := make([]standing, len(jobs))
	verifier.Each(len(jobs), func(i int) {
		j := &jobs[i]
		out[i] = r.standing(j.view, j.row, j.was, j.known, now)
	})
	next.standings = make(map[standingKey]standing, len(jobs))
	for i, j := range jobs {
		next.standings[standingKey{j.epoch.statement.Epoch, j.row.ID}] = out[i]
		r.noteStanding(j.epoch.statement.Epoch, j.row.ID, j.was, out[i])
	}
}

func (r *Router) standing(view *verifier.View, row statement.Node, was standing, known bool, now time.Time) standing {
	var raw []byte
	here := false
	if view.Freshness != nil {
		raw, here = view.Freshness.Find(view.Statement.Epoch, row.ID)
	}
	switch {
	case !here && known && was.good(now):
		return was
	case !here:
		return standing{code: "att.stale"}
	}
	fresh := statement.Digest(raw)
	if known && was.fresh == fresh && was.good(now) {
		return was
	}
	c, err := view.Case(row)
	if err == nil {
		var result *attestation.Result
		if result, err = r.judge.Judge.Judge(c, now); err == nil {
			return standing{fresh: fresh, until: r.judge.until(result)}
		}
	}
	s := standing{fresh: fresh, code: verifier.CodeOf(err)}
	if s.code == "" {
		s.code = "other"
	}
	return s
}

// until is when a result is too old for the policy.
func (j *judge) until(r *attestation.Result) time.Time {
	epoch := r.NotBefore.Add(time.Duration(j.policy.MaxEpochAge))
	if j.policy.WithoutFreshness {
		return epoch
	}
	if fresh := r.FreshSince.Add(time.Duration(j.policy.MaxFreshAge)); fresh.Before(epoch) {
		return fresh
	}
	return epoch
}

// noteStanding counts and logs what is news.
func (r *Router) noteStanding(epoch uint64, id [32]byte, was, is standing) {
	if is.code == was.code && is.fresh == was.fresh {
		return
	}
	if is.code != "" {
		if m := r.judge.refused.Load(); m != nil {
			m.Inc(is.code)
		}
	}
	if is.code != was.code {
		r.config.Log.Info("node judged", "epoch", epoch, "node", fmt.Sprintf("%x", id[:4]), "refused", is.code)
	}
}
