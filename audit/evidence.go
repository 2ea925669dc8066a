// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// judged is what came of one epoch's evidence.
type judged struct {
	missing  bool     // nobody serves the pack
	tampered []string // by mirrors whose pack is not what the statement names
	view     *roster.View
	codes    []string // by the statement's rows; empty: accepted
	details  []string
}

// judge fetches the pack of an epoch and judges every node in it as of the moment
// the epoch began: what holds then is what clients went by. A pack that is not
// what the statement names is the mirror's; the next one is asked.
func (a *Auditor) judge(ctx context.Context, st *statement.Statement) *judged {
	j := &judged{}
	at := st.NotBefore
	if now := a.cfg.Now(); now.Before(at) {
		at = now
	}
	for i, m := range a.cfg.Mirrors {
		if a.mirrors[i].point == nil {
			continue
		}
		view, err := a.openPack(ctx, m, st)
		if err != nil {
			if !absent(err) && roster.CodeOf(err) != "" {
				j.tampered = append(j.tampered, m.Name()+": "+err.Error())
			}
			continue
		}
		j.view = view
		break
	}
	if j.view == nil {
		j.missing = len(j.tampered) == 0
		return j
	}
	j.view.Released = a.allowed(ctx, st, at)
	j.codes, j.details = make([]string, len(st.Nodes)), make([]string, len(st.Nodes))
	roster.Each(len(st.Nodes), func(i int) {
		c, err := j.view.EpochCase(st.Nodes[i])
		if err == nil {
			_, err = a.epochs.Verify(c, at)
		}
		if err != nil {
			j.codes[i], j.details[i] = refusalCode(err), err.Error()
		}
	})
	return j
}

// openPack fetches a pack and checks that it has everything the statement names.
func (a *Auditor) openPack(ctx context.Context, m Mirror, st *statement.Statement) (*roster.View, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	b, err := m.Pack(ctx, st.Epoch)
	if err != nil {
		return nil, err
	}
	pack, point, err := roster.OpenPack(&a.cfg.Trust, st, b)
	if err != nil {
		return nil, err
	}
	for _, n := range st.Nodes {
		if _, _, err := pack.Node(n); err != nil {
			return nil, err
		}
	}
	return &roster.View{Statement: st, Pack: pack, EpochPoint: point}, nil
}

func refusalCode(err error) string {
	if c := roster.CodeOf(err); c != "" {
		return c
	}
	return "other"
}

// takeEvidence counts verdicts and says which nodes are refused for the first
// time, or for another reason than before.
func (a *Auditor) takeEvidence(rec *EpochRecord, j *judged, st *statement.Statement, size uint64) []Alarm {
	found := alarms{epoch: &rec.Epoch, now: a.cfg.Now().UTC()}
	for _, t := range j.tampered {
		found.add(PackTampered, "", "%s", t)
	}
	if j.view == nil {
		if j.missing && size-rec.Epoch <= maxPending/2 {
			rec.Evidence = evidencePending
			a.wait(rec.Epoch)
			return found.list
		}
		rec.Evidence = evidenceGone
		a.state.Totals.PacksGone++
		return found.list
	}
	rec.Evidence, rec.Judged = evidenceJudged, len(j.codes)
	a.state.Totals.Packs++
	a.state.Totals.NodesJudged += uint64(len(j.codes))
	for i, code := range j.codes {
		id := fmt.Sprintf("%x", st.Nodes[i].ID)
		if code == "" {
			delete(a.state.Refused, id)
			continue
		}
		rec.Refused++
		a.state.Totals.NodesRefused++
		if a.state.Refused[id] == code {
			continue
		}
		if len(a.state.Refused) < maxKnown {
			a.state.Refused[id] = code
		}
		found.add(NodeRefused, id[:16]+" "+code, "%s", j.details[i])
	}
	if rec.Epoch+2 >= size {
		a.views[rec.Epoch] = j.view
		maps.DeleteFunc(a.views, func(e uint64, _ *roster.View) bool { return e+2 <= rec.Epoch })
	}
	return found.list
}

// wait notes that a pack is to be asked for again.
func (a *Auditor) wait(epoch uint64) {
	if slices.Contains(a.state.Pending, epoch) {
		return
	}
	a.state.Pending = append(a.state.Pending, epoch)
	slices.Sort(a.state.Pending)
	if n := len(a.state.Pending) - maxPending; n > 0 {
		a.state.Pending = a.state.Pending[n:]
		a.state.Totals.PacksGone += uint64(n)
	}
}

// fresh judges the nodes of the epoch in force as a client would now, freshness
// evidence included.
func (a *Auditor) fresh(ctx context.Context) {
	now := a.cfg.Now()
	var view *roster.View
	for _, v := range a.views {
		if v.Statement.Current(now, nil) == nil && (view == nil || v.Statement.Epoch > view.Statement.Epoch) {
			view = v
		}
	}
	if view == nil || a.cfg.Policy.WithoutFreshness {
		a.condition(NodeStale, "", false, "", 0)
		return
	}
	list, point := a.freshList(ctx)
	if list == nil {
		a.condition(NodeStale, "", true, "no mirror serves a freshness list that verifies", a.cfg.Grace)
		return
	}
	v := *view
	v.Freshness, v.FreshPoint, v.Released = list, point, a.allowed(ctx, v.Statement, now)
	rows := v.Statement.Nodes
	bad := make([]string, len(rows))
	roster.Each(len(rows), func(i int) {
		c, err := v.Case(rows[i])
		if err == nil {
			_, err = a.full.Judge(c, now)
		}
		if err != nil {
			bad[i] = refusalCode(err)
		}
	})
	n, first := 0, ""
	for i, code := range bad {
		if code == "" || a.state.Refused[fmt.Sprintf("%x", rows[i].ID)] != "" {
			continue // refused whatever its freshness: told already
		}
		if n++; first == "" {
			first = fmt.Sprintf("%x %s", rows[i].ID[:8], code)
		}
	}
	a.condition(NodeStale, "", n > 0, fmt.Sprintf("%d of %d nodes would be refused by a client now, the first: %s", n, len(rows), first), a.cfg.Grace)
}

// freshList takes the youngest list that a mirror serves.
func (a *Auditor) freshList(ctx context.Context) (best *statement.Freshness, point *transparency.Checkpoint) {
	for i, m := range a.cfg.Mirrors {
		if a.mirrors[i].point == nil {
			continue
		}
		b, err := func() ([]byte, error) {
			ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
			defer cancel()
			return m.Freshness(ctx)
		}()
		if err != nil {
			continue
		}
		list, p, err := roster.OpenFreshness(&a.cfg.Trust, b)
		if err == nil && (point == nil || p.Time.After(point.Time)) {
			best, point = list, p
		}
	}
	return best, point
}
