// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/witness"
)

// Twins of the publisher: log, dialer, board and composition are the honest
// publisher's, the loop around them is this one, with one fault. Whatever they
// publish is validly signed, which is the point. They are SIMULATED: the log
// is the lab's own, and what they append to it stays there as their record.

// A publisherFault is what a twin does besides publishing.
type publisherFault struct {
	// release is listed in place of the lab's own.
	release string
	did     string
	// list changes what is about to be listed.
	list func([]publish.Listing) (did string)
	// behind is how far the clock that cosigns freshness lags.
	behind time.Duration
	// shown is a fault of the log itself; see evil_log.go.
	shown func(p *publisherTwin, st *statement.Statement) error
	// turned is such a fault, too, committed once the lab says so: when clients
	// have seen the honest log.
	turned func(ctx context.Context, p *publisherTwin, now time.Time) error
	// collude makes the witnesses accomplices: the twin signs with their keys.
	// Without it they are the honest ones, and are asked.
	collude bool
}

// serveSwappingPublisher lists each node with the request key of the next.
func serveSwappingPublisher(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{list: func(nodes []publish.Listing) string {
		keys := make([][]byte, len(nodes))
		for i, n := range nodes {
			keys[i] = n.Record.REK
		}
		for i := range nodes {
			nodes[i].Record.REK = keys[(i+1)%len(nodes)]
		}
		if len(nodes) < 2 {
			return ""
		}
		return fmt.Sprintf("listed node %x with the request key of node %x, and so on, each with its own genuine evidence",
			nodes[0].Record.NodeID[:4], nodes[1].Record.NodeID[:4])
	}})
}

// staleness is more than any client of the lab accepts.
const staleness = 30 * time.Minute

// serveStalePublisher serves freshness that was cosigned long ago.
func serveStalePublisher(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{behind: staleness, collude: true})
}

// serveUnloggedImage lists a release that was signed and never logged.
func serveUnloggedImage(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{release: unlogged, did: "listed nodes whose image is in no logged release"})
}

// serveWithdrawnImage lists a release whose image a reviewer has withdrawn.
func serveWithdrawnImage(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{release: withdrawn, did: "listed nodes whose image was withdrawn"})
}

// serveBlindPublisher has no fault but that no twin looks at what it lists.
func serveBlindPublisher(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{})
}

func servePublisherTwin(ctx context.Context, path string, lns []net.Listener, log *slog.Logger, f publisherFault) error {
	cfg, err := config.Load[publish.Config](path)
	if err != nil {
		return err
	}
	if f.release != "" {
		cfg.Releases[0].File = releaseFile(filepath.Dir(path), f.release)
	}
	p := &publisherTwin{cfg: cfg, fault: f, slog: log, boards: make([]publish.Board, len(lns))}
	if p.root, err = attestationtest.OpenRoot(hardwareDir(path)); err != nil {
		return err
	}
	p.turn = filepath.Join(filepath.Dir(path), turnFile)
	w := publish.Witnesses{Quorum: cfg.Quorum}
	for i, x := range cfg.Witnesses {
		w.Keys = append(w.Keys, x.Keys...)
		keys, err := witness.OpenCosigners(witnessDir(filepath.Dir(path), i), witnessKeyName(i), true)
		if err != nil {
			return err
		}
		p.accomplices = append(p.accomplices, keys...)
	}
	feeder, err := cfg.NewFeeder()
	if err != nil {
		return err
	}
	defer feeder.Close()
	p.honest = publish.AskWitnesses(feeder, log)
	w.Cosign = p.cosign
	if p.log, err = publish.OpenWitnessedLog(ctx, cfg.Dir, cfg.Origin, w); err != nil {
		return err
	}
	defer p.log.Close()
	if p.dialer, err = publish.NewDialer(cfg); err != nil {
		return err
	}
	defer p.dialer.Close()
	tc, err := cfg.TLS.Server(false)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, ln := range lns {
		s := httpx.NewServer(p.public(i))
		s.TLSConfig = tc
		g.Go(func() error { return httpx.Serve(ctx, ln, s) })
	}
	g.Go(func() error { p.run(ctx); return nil })
	return g.Wait()
}

// A publisherTwin publishes statement after statement. Run owns all of it but
// the boards.
type publisherTwin struct {
	cfg    publish.Config
	fault  publisherFault
	root   *attestationtest.Root
	log    *publish.Log
	dialer *publish.Dialer
	slog   *slog.Logger
	boards []publish.Board // one for each port; the same but for a fork

	accomplices []*transparency.Cosigner // the witnesses' own keys
	honest      publish.Cosign           // asks the honest witnesses
	lag         time.Duration            // of the accomplices' clocks, just now
	turn        string                   // the file that says when to turn
	turned      bool
	world       atomic.Pointer[world] // the second log, if there is one

	asking    *asking
	rosters   []*publishedRoster // of the newest two epochs
	refreshed time.Time
}

// An asking is the nodes' answers for the next epoch, all over one checkpoint.
type asking struct {
	epoch uint64
	note  []byte
	nodes map[string]publish.Listing
}

type publishedRoster struct {
	epoch uint64
	nodes []publish.NodeConfig
	ids   [][32]byte
}

// twinBeat is how often a twin looks whether something is due.
const twinBeat = 50 * time.Millisecond

func (p *publisherTwin) run(ctx context.Context) {
	repeat(ctx, twinBeat, func() {
		if err := p.step(ctx); err != nil && ctx.Err() == nil {
			p.slog.Info("twin: not yet", "error", err)
		}
	})
}

// step does what is due. Nothing of an earlier run is served: the nodes that
// those statements list have lost their keys since.
func (p *publisherTwin) step(ctx context.Context) error {
	now := time.Now()
	if len(p.rosters) == 0 || !now.Before(p.log.Last().NextPublic) {
		if err := p.publish(ctx, now); err != nil {
			return err
		}
	}
	if len(p.rosters) > 0 && now.Sub(p.refreshed) >= p.cfg.Freshness && !p.turned {
		if err := p.refresh(ctx, now); err != nil {
			return err
		}
	}
	if err := p.maybeTurn(ctx, now); err != nil {
		return err
	}
	for _, r := range p.rosters {
		st, err := p.log.Statement(r.epoch)
		if err != nil {
			return err
		}
		if !now.Before(st.NotBefore) {
			for i := range p.boards {
				p.boards[i].Point(r.epoch, time.Second)
			}
		}
	}
	return nil
}

// publish makes the next statement, posts it, and refreshes.
func (p *publisherTwin) publish(ctx context.Context, now time.Time) error {
	if p.log.Pending() { // an earlier run was stopped before its leaf was signed
		if err := p.log.Finish(ctx, now); err != nil {
			return err
		}
	}
	begin := now.UTC().Truncate(time.Second)
	last := p.log.Last()
	switch {
	case last.Epoch > 0 && begin.After(last.NotAfter):
		gap := publish.Epoch{Number: last.Epoch + 1, NotBefore: last.NotAfter, NotAfter: begin, Beacon: p.log.Beacon()}
		if err := p.log.Commit(publish.Empty(gap), nil, now); err != nil {
			return err
		}
		last = p.log.Last()
	case len(p.rosters) > 0:
		begin = last.NotAfter
	}
	a, err := p.ask(ctx, last.Epoch+1, now)
	if err != nil {
		return err
	}
	listings := make([]publish.Listing, len(p.cfg.Nodes))
	r := &publishedRoster{epoch: a.epoch, nodes: p.cfg.Nodes}
	for i, n := range p.cfg.Nodes {
		listings[i] = a.nodes[n.Name]
		r.ids = append(r.ids, listings[i].Record.NodeID)
	}
	if p.fault.list != nil {
		if did := p.fault.list(listings); did != "" {
			deed(p.slog, "%s", did)
		}
	}
	frame := publish.Epoch{Number: a.epoch, NotBefore: begin, NotAfter: begin.Add(p.cfg.Epoch), Beacon: p.log.Beacon(), Checkpoint: a.note}
	st, pack, err := p.cfg.Compose(frame, listings, attestationtest.LabPolicy(p.root))
	if err != nil {
		return err
	}
	if err := p.log.Commit(st, pack, time.Now()); err != nil {
		return err
	}
	if p.fault.did != "" {
		deed(p.slog, "%s", p.fault.did)
	}
	p.rosters = append(p.rosters, r)
	p.rosters = p.rosters[max(0, len(p.rosters)-2):]
	p.refreshed = time.Time{}
	return p.post(st)
}

// ask asks every node for its keys, again until all have answered. The answers
// are kept: a node answers for an epoch only once.
func (p *publisherTwin) ask(ctx context.Context, epoch uint64, now time.Time) (*asking, error) {
	if p.asking == nil || p.asking.epoch != epoch {
		note, _, err := p.log.Checkpoint(now)
		if err != nil {
			return nil, err
		}
		p.asking = &asking{epoch, note, map[string]publish.Listing{}}
	}
	a := p.asking
	for _, n := range p.cfg.Nodes {
		if a.nodes[n.Name].Record != nil {
			continue
		}
		rec, evidence, err := p.dialer.Epoch(ctx, n, epoch, a.note)
		if err != nil {
			return nil, err
		}
		record, err := statement.ParseRecord(rec)
		if err != nil {
			return nil, err
		}
		a.nodes[n.Name] = publish.Listing{Record: record, Model: n.Model, Evidence: evidence}
	}
	return a, nil
}

// post puts a statement of the log on the boards, or what the fault shows.
func (p *publisherTwin) post(st *statement.Statement) error {
	signed, err := p.log.Signed(st.Epoch)
	if err != nil {
		return err
	}
	pack, err := p.log.Pack(st.Epoch)
	if err != nil {
		return err
	}
	for i := range p.boards {
		p.boards[i].Post(st.Epoch, signed, pack)
	}
	if p.fault.shown != nil {
		return p.fault.shown(p, st)
	}
	return nil
}

// refresh cosigns the checkpoint and collects freshness evidence over it, by a
// clock that may lag: the evidence is genuine, and as old as its checkpoint.
func (p *publisherTwin) refresh(ctx context.Context, now time.Time) error {
	if w := p.world.Load(); w != nil {
		return p.refreshSplit(ctx, now, w)
	}
	p.lag = p.fault.behind
	note, cp, err := p.log.Checkpoint(now)
	p.lag = 0
	if err != nil {
		return err
	}
	return p.freshen(ctx, now, note, cp)
}

// freshen collects freshness evidence over a checkpoint and serves both; if notes
// are given, those are the ports' newest checkpoints.
func (p *publisherTwin) freshen(ctx context.Context, now time.Time, note []byte, cp *transparency.Checkpoint, notes ...[]byte) error {
	list := &statement.Freshness{Checkpoint: note}
	for _, r := range p.rosters {
		for i, n := range r.nodes {
			b, err := p.dialer.Freshness(ctx, n, r.epoch, note)
			if err != nil {
				return err
			}
			list.Items = append(list.Items, statement.Fresh{Epoch: r.epoch, NodeID: r.ids[i], Bundle: b})
		}
	}
	slices.SortFunc(list.Items, func(a, b statement.Fresh) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), bytes.Compare(a.NodeID[:], b.NodeID[:]))
	})
	b, err := list.Append(nil)
	if err != nil {
		return err
	}
	for i := range p.boards {
		shown := note
		if i < len(notes) {
			shown = notes[i]
		}
		p.boards[i].Refresh(shown, b, time.Second)
	}
	if p.fault.behind > 0 {
		deed(p.slog, "served freshness evidence over a checkpoint that was cosigned %v ago", now.Sub(cp.Time).Round(time.Minute))
	}
	p.refreshed = now
	return nil
}
