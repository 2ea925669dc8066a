// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// maxAsking is how many nodes are asked at once.
const maxAsking = 32

// A member is a node that was verified for an epoch.
type member struct {
	node   NodeConfig
	record *statement.Record
	raw    []byte           // epoch evidence
	bundle *evidence.Bundle // the same, parsed
}

// A roster is who is listed in an epoch, and which configured node each is.
type roster struct {
	epoch      uint64
	checkpoint *transparency.Checkpoint // what the epoch evidence quotes
	members    []*member
}

func (r *roster) listings() []Listing {
	var out []Listing
	for _, m := range r.members {
		out = append(out, Listing{m.record, m.node.Model, m.raw})
	}
	return out
}

// An attempt gathers the nodes of the next epoch, over one checkpoint, while
// some may not answer yet. Those that did are asked once more before they are
// listed, if that was in an earlier round: one that was started anew since has
// other keys now.
type attempt struct {
	epoch       uint64
	since       time.Time // first answer
	checkpoint  *transparency.Checkpoint
	members     map[string]*member // by node name
	unreachable int
	rounds      int
}

func (a *attempt) sorted() []*member {
	return slices.SortedFunc(maps.Values(a.members), func(x, y *member) int { return cmp.Compare(x.node.Name, y.node.Name) })
}

// begin continues the attempt at an epoch, after a crash too, or begins one. A
// node that has answered for an epoch answers the same again, bound to the
// checkpoint it was first asked with; so that checkpoint is kept on disk.
func (p *Publisher) begin(ctx context.Context, epoch uint64, now time.Time) (*attempt, error) {
	maxAge := time.Duration(p.policy.MaxEpochAge) / 2
	usable := func(c *transparency.Checkpoint) bool { return c.Size <= epoch && now.Sub(c.Time) <= maxAge }
	if a := p.pending; a != nil && a.epoch == epoch && usable(a.checkpoint) {
		return a, nil
	}
	path := filepath.Join(p.cfg.Dir, "attempt")
	var cp *transparency.Checkpoint
	if b, err := os.ReadFile(path); err == nil && len(b) > 8 && binary.BigEndian.Uint64(b) == epoch {
		if old, err := p.Trust().ParseCheckpoint(b[8:]); err == nil && usable(old) {
			cp = old
		}
	}
	if cp == nil {
		note, made, err := p.log.CheckpointContext(ctx, now)
		if err != nil {
			return nil, err
		}
		if err := durable.WriteFile(path, append(binary.BigEndian.AppendUint64(nil, epoch), note...), 0o600); err != nil {
			return nil, err
		}
		cp = made
	}
	p.pending = &attempt{epoch: epoch, checkpoint: cp, members: map[string]*member{}}
	return p.pending, nil
}

// ask puts the question of an attempt to the nodes that have not answered it.
func (p *Publisher) ask(ctx context.Context, epoch uint64, now time.Time) (*attempt, error) {
	a, err := p.begin(ctx, epoch, now)
	if err != nil {
		return nil, err
	}
	var missing []NodeConfig
	for _, n := range p.cfg.Nodes {
		if a.members[n.Name] == nil {
			missing = append(missing, n)
		}
	}
	got := make([]*member, len(missing))
	errs := make([]error, len(missing))
	each(len(missing), func(i int) { got[i], errs[i] = p.admit(ctx, missing[i], a) })
	if ctx.Err() != nil {
		return nil, ctx.Err() // stopping is no node's fault
	}
	a.unreachable = 0
	for i, n := range missing {
		if errs[i] == nil {
			if clash := a.holds(got[i].record.NodeID); clash != "" {
				errs[i] = refuse("node.duplicate", "the same machine as %s", clash)
			}
		}
		if p.note(n.Name, errs[i]); errs[i] != nil {
			if code := codeOf(errs[i]); code == "node.unreachable" || code == "node.unavailable" {
				a.unreachable++
			}
			continue
		}
		a.members[n.Name] = got[i]
	}
	a.rounds++
	if a.since.IsZero() && len(a.members) > 0 {
		a.since = now
	}
	return a, nil
}

// confirm asks those that answered in an earlier round again. A node that still
// has its keys says the same; one that lost them, and is back, is listed with those
// of its new boot. One that does not answer now may have them still, and stays.
func (p *Publisher) confirm(ctx context.Context, a *attempt) error {
	if a.rounds < 2 {
		return nil
	}
	had := a.sorted()
	got, errs := make([]*member, len(had)), make([]error, len(had))
	each(len(had), func(i int) { got[i], errs[i] = p.admit(ctx, had[i].node, a) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, m := range had {
		switch code := codeOf(errs[i]); {
		case errs[i] == nil && got[i].record.NodeID == m.record.NodeID:
			a.members[m.node.Name] = got[i]
		case errs[i] != nil && (code == "node.unreachable" || code == "node.unavailable"):
		default: // refused now, or another machine: the next statement may list it
			p.note(m.node.Name, errs[i])
			delete(a.members, m.node.Name)
		}
	}
	return nil
}

func (a *attempt) holds(id [32]byte) (name string) {
	for _, m := range a.members {
		if m.record.NodeID == id {
			return m.node.Name
		}
	}
	return ""
}

// admit asks one node for its keys and verifies what proves them.
func (p *Publisher) admit(ctx context.Context, n NodeConfig, a *attempt) (*member, error) {
	rec, raw, err := p.dialer.Epoch(ctx, n, a.epoch, a.checkpoint.Note)
	if err != nil {
		return nil, err
	}
	record, err := statement.ParseRecord(rec)
	if err != nil {
		return nil, refuse("node.record", "%v", err)
	}
	bundle, err := evidence.Parse(raw)
	if err != nil {
		return nil, refuse("node.record", "%v", err)
	}
	switch {
	case record.Epoch != a.epoch:
		return nil, refuse("node.record", "a record of epoch %d, asked for %d", record.Epoch, a.epoch)
	case record.EvidenceDigest != statement.Digest(raw):
		return nil, refuse("node.record", "the record names other evidence than it came with")
	}
	m := &member{node: n, record: n.edit(record), raw: raw, bundle: bundle}
	// About to be listed: freshness follows right after.
	policy := *p.policy
	policy.WithoutFreshness = true
	if _, err = p.verify(attestation.Evidence{Epoch: bundle}, &policy, p.references(m, a.epoch, a.checkpoint, nil), p.now()); err != nil {
		return m, err
	}
	return m, p.cfg.outlived(bundle)
}

// outlived refuses a node whose measured settings have it erase an epoch's key
// before the epoch ends (docs/spec/node.md, Section 1): whatever clients seal to
// it from then on, three times each, it has to refuse. One without these settings
// is another implementation's, and not ours to judge.
func (c *Config) outlived(b *evidence.Bundle) error {
	data, _ := b.Get(evidence.KindConfig)
	measured, err := evidence.ParseConfig(data)
	if err != nil {
		return refuse("node.record", "%v", err)
	}
	var kept [3]time.Duration
	has := false
	for i, name := range []string{"epoch", "lead", "grace"} {
		value, ok := measured.Settings[name]
		if has = has || ok; ok {
			if kept[i], err = time.ParseDuration(value); err != nil {
				return refuse("node.times", "setting %s cannot be read", name)
			}
		}
	}
	epoch, lead, grace := kept[0], kept[1], kept[2]
	if has && (lead+grace < c.Lead || lead+epoch+grace < c.Lead+c.Epoch) {
		return refuse("node.times", "epoch %v, lead %v, grace %v: it would erase a key while clients seal to it; here an epoch is %v and the lead %v", epoch, lead, grace, c.Epoch, c.Lead)
	}
	return nil
}

// edit puts the operator's claims and prices in place of the node's.
func (n NodeConfig) edit(r *statement.Record) *statement.Record {
	if len(n.Claims) > 0 { // an empty list in a file is none that was given
		r.Claims = nil
		for _, name := range slices.Sorted(maps.Keys(n.Claims)) {
			r.Claims = append(r.Claims, statement.Claim{Name: name, Value: n.Claims[name]})
		}
	}
	if len(n.Prices) > 0 {
		r.Prices = nil
		for _, class := range slices.Sorted(maps.Keys(n.Prices)) {
			r.Prices = append(r.Prices, statement.Price{Class: class, Units: n.Prices[class]})
		}
	}
	return r
}

func (p *Publisher) references(m *member, epoch uint64, then, fresh *transparency.Checkpoint) attestation.References {
	refs := attestation.References{
		Epoch: epoch, EvidenceDigest: m.record.EvidenceDigest, NodeID: m.record.NodeID, REK: m.record.REK, NodeKey: m.record.NodeKey,
		EpochCheckpoint: attestation.Checkpoint{Hash: then.Hash(), Time: then.Time}, Model: m.node.Model,
	}
	if fresh != nil {
		refs.FreshCheckpoint = attestation.Checkpoint{Hash: fresh.Hash(), Time: fresh.Time}
	}
	refs.Payment, _ = paymentMode(p.cfg.Payment) // Validate has been through it
	refs.TicketKey, _ = p.cfg.ticketKey()        // without it a paid node is refused
	for _, model := range p.cfg.Models {
		if model.Name == m.node.Model {
			refs.WeightsDigest, _ = hash(model.Weights) // likewise
		}
	}
	return refs
}

// collect asks every member of every live epoch for freshness evidence over cp
// and keeps what verifies.
func (p *Publisher) collect(parent context.Context, cp *transparency.Checkpoint) []statement.Fresh {
	// One slow node may not hold up everybody's freshness for longer than it lasts.
	ctx, cancel := context.WithTimeout(parent, min(p.cfg.NodeTimeout, max(p.cfg.Freshness, time.Second)))
	defer cancel()
	type job struct {
		r *roster
		m *member
	}
	var jobs []job
	for _, r := range p.live {
		for _, m := range r.members {
			jobs = append(jobs, job{r, m})
		}
	}
	out := make([][]byte, len(jobs))
	errs := make([]error, len(jobs))
	each(len(jobs), func(i int) { out[i], errs[i] = p.freshen(ctx, jobs[i].r, jobs[i].m, cp) })
	if parent.Err() != nil {
		return nil
	}
	var items []statement.Fresh
	for i, j := range jobs {
		if p.note(j.m.node.Name, errs[i]); errs[i] == nil {
			items = append(items, statement.Fresh{Epoch: j.r.epoch, NodeID: j.m.record.NodeID, Bundle: out[i]})
		}
	}
	return items
}

func (p *Publisher) freshen(ctx context.Context, r *roster, m *member, cp *transparency.Checkpoint) ([]byte, error) {
	raw, err := p.dialer.Freshness(ctx, m.node, r.epoch, cp.Note)
	if err != nil {
		return nil, err
	}
	bundle, err := evidence.Parse(raw)
	if err != nil {
		return nil, refuse("node.record", "%v", err)
	}
	_, err = p.verify(attestation.Evidence{Epoch: m.bundle, Freshness: bundle}, p.policy, p.references(m, r.epoch, r.checkpoint, cp), p.now())
	return raw, err
}

// note counts a refusal, and logs it when it is news.
func (p *Publisher) note(node string, err error) {
	if err == nil {
		if old, was := p.unlisted[node]; was {
			p.slog.Info("node accepted again", "node", node, "before", old)
			delete(p.unlisted, node)
		}
		return
	}
	code := codeOf(err)
	p.meters.refused.Inc(code)
	if p.unlisted[node] != code {
		p.slog.Warn("node left out", "node", node, "code", code, "detail", err.Error())
		p.unlisted[node] = code
	}
}

func codeOf(err error) string {
	var refusal *attestation.RefusalError
	var node *NodeError
	var log *transparency.Error
	switch {
	case errors.As(err, &refusal):
		return string(refusal.Code)
	case errors.As(err, &node):
		return node.Code
	case errors.As(err, &log):
		return string(log.Code)
	}
	return "other"
}

// each runs f for 0..n-1, some at once, and waits for all.
func each(n int, f func(i int)) {
	slots := make(chan struct{}, maxAsking)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// saveRoster writes which configured node has which id in an epoch. It is
// written before the leaf and means nothing without it.
func (p *Publisher) saveRoster(r *roster) error {
	ids := map[string]string{}
	for _, m := range r.members {
		ids[m.node.Name] = hex.EncodeToString(m.record.NodeID[:])
	}
	b, err := json.MarshalIndent(ids, "", "\t")
	if err != nil {
		return fmt.Errorf("publish: roster: %v", err)
	}
	if r.epoch >= keepPacks {
		os.Remove(p.rosterPath(r.epoch - keepPacks)) // tidiness only
	}
	return durable.WriteFile(p.rosterPath(r.epoch), b, 0o600)
}

// loadRoster finds out, after a restart, whom to ask for an epoch's freshness.
func (p *Publisher) loadRoster(epoch uint64) (*roster, error) {
	st, err := p.log.Statement(epoch)
	if err != nil {
		return nil, err
	}
	r := &roster{epoch: epoch}
	if st.Empty {
		return r, nil
	}
	raw, err := p.log.Pack(epoch)
	if err != nil {
		return nil, err
	}
	pack, err := statement.ParsePack(raw)
	if err != nil {
		return nil, err
	}
	if r.checkpoint, err = p.Trust().ParseCheckpoint(pack.Checkpoint); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(p.rosterPath(epoch))
	if err != nil {
		return nil, err
	}
	var ids map[string]string
	if err := json.Unmarshal(b, &ids); err != nil {
		return nil, err
	}
	for _, n := range p.cfg.Nodes {
		id, err := hash(ids[n.Name])
		row, listed := st.Node(id)
		if err != nil || !listed {
			continue
		}
		record, raw, err := pack.Node(row)
		if err != nil {
			return nil, err
		}
		bundle, err := evidence.Parse(raw)
		if err != nil {
			return nil, err
		}
		r.members = append(r.members, &member{n, record, raw, bundle})
	}
	return r, nil
}

func (p *Publisher) rosterPath(epoch uint64) string {
	return filepath.Join(p.cfg.Dir, "pack", name(epoch)+".roster")
}
