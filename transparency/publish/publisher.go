// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/witness/feed"
)

// Pauses between attempts to make a statement.
const (
	firstRetry = 200 * time.Millisecond
	maxRetry   = 5 * time.Second
)

// A Publisher is the honest loop around a [Log]. Run owns all of it but the
// board, which anybody may read at any time.
type Publisher struct {
	cfg    Config
	policy *attestation.Policy
	log    *Log
	dialer *Dialer
	feeder *feed.Feeder // nil where somebody else asks, or nobody
	slog   *slog.Logger
	reg    *prometheus.Registry
	meters meters
	board  Board

	// Replaced by tests of this package only.
	verify func(attestation.Evidence, *attestation.Policy, attestation.References, time.Time) (*attestation.Result, error)
	now    func() time.Time

	// Owned by the goroutine of Run.
	live      map[uint64]*roster // epochs whose nodes are still asked for freshness
	pending   *attempt
	pointed   uint64
	refreshed time.Time // when the last refresh began
	retryAt   time.Time
	failures  int               // attempts since the last statement
	fresh     map[uint64]int    // epoch to nodes that proved themselves at the last refresh
	unlisted  map[string]string // node name to the code it was last refused with
	wait      wait
}

// Open opens the log of cfg, which [CreateLog] has made, and reads the files
// cfg names, with the witnesses that it names to be asked over HTTP. A nil policy
// is read from cfg.Policy and trusts the vendors' roots. It dials nobody.
func Open(cfg Config, policy *attestation.Policy, log *slog.Logger) (*Publisher, error) {
	if len(cfg.Witnesses) == 0 {
		return OpenWitnessed(cfg, policy, nil, log)
	}
	f, err := cfg.NewFeeder()
	if err != nil {
		return nil, err
	}
	p, err := OpenWitnessed(cfg, policy, AskWitnesses(f, log), log)
	if err == nil {
		p.feeder = f
	}
	return p, err
}

// OpenWitnessed is [Open] with somebody to ask the witnesses that cfg names. A
// configuration that names some needs one, and one that names none must not
// have it: who cosigns is never a matter of what a program happens to contain.
func OpenWitnessed(cfg Config, policy *attestation.Policy, cosign Cosign, log *slog.Logger) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if (len(cfg.Witnesses) > 0) != (cosign != nil) {
		return nil, errors.New("publish: witnesses in the configuration and somebody to ask them go together")
	}
	cfg = cfg.withDefaults()
	if _, _, err := cfg.releases(); err != nil { // now, not an epoch later
		return nil, err
	}
	if policy == nil {
		b, err := os.ReadFile(cfg.Policy)
		if err != nil {
			return nil, fmt.Errorf("publish: policy: %w", err)
		}
		if policy, err = attestation.ParsePolicy(b); err != nil {
			return nil, fmt.Errorf("publish: %s: %w", cfg.Policy, err)
		}
		policy.Roots = attestation.VendorRoots()
	}
	d, err := NewDialer(cfg)
	if err != nil {
		return nil, err
	}
	l, err := cfg.openLog(cosign)
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg: cfg, policy: policy, log: l, dialer: d, slog: log, reg: prometheus.NewRegistry(),
		verify: attestation.Verify, now: time.Now, live: map[uint64]*roster{}, unlisted: map[string]string{},
	}
	p.meters = newMeters(p.reg)
	l.asked = p.countRound
	if err := p.restore(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return p, nil
}

func (c *Config) openLog(cosign Cosign) (*Log, error) {
	if cosign == nil {
		return OpenLog(c.Dir, c.Origin, time.Now())
	}
	w := Witnesses{Quorum: c.Quorum, Cosign: cosign}
	for _, x := range c.Witnesses {
		w.Keys = append(w.Keys, x.Keys...)
	}
	return OpenWitnessedLog(context.Background(), c.Dir, c.Origin, w) // local disk only; nobody is asked here
}

// Trust is what verifies this publisher's log. Readers get it by another way
// than from this process.
func (p *Publisher) Trust() *transparency.Trust { return p.log.Trust() }

// Board is what the publisher serves.
func (p *Publisher) Board() *Board { return &p.board }

// Handler serves the public port: the board, and the tile log below /v1/log/ for
// whoever mirrors or walks it.
func (p *Publisher) Handler() http.Handler { return Public(p.board.Handler(), p.log) }

// Public joins a board and a log to what the public port serves.
func Public(board http.Handler, l *Log) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", board)
	mux.Handle("/v1/log/", http.StripPrefix("/v1/log", l.Tiles()))
	return mux
}

// Serve listens on the configured ports and runs until ctx ends.
func (p *Publisher) Serve(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", p.cfg.Listen)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return p.ServeOn(ctx, ln)
}

// ServeOn is [Publisher.Serve] on a listener that is there already. It closes it.
func (p *Publisher) ServeOn(ctx context.Context, ln net.Listener) (err error) {
	srv := httpx.NewServer(p.Handler())
	if p.cfg.TLS != (httpx.TLS{}) {
		if srv.TLSConfig, err = p.cfg.TLS.Server(false); err != nil {
			return errors.Join(err, ln.Close())
		}
	}
	return metrics.Beside(ctx, p.cfg.Metrics, p.reg, func(ctx context.Context) error { return httpx.Serve(ctx, ln, srv) }, p.Run)
}

// Run makes statements and refreshes evidence until ctx ends, and then closes
// the log. It must run once.
func (p *Publisher) Run(ctx context.Context) (err error) {
	defer p.dialer.Close()
	if p.feeder != nil {
		defer p.feeder.Close()
	}
	defer func() { err = p.log.Close() }()
	for ctx.Err() == nil {
		p.step(ctx)
		t := time.NewTimer(p.pause(p.now()))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

// step does whatever is due.
func (p *Publisher) step(ctx context.Context) {
	now := p.now()
	if p.due(now) && !now.Before(p.retryAt) {
		before := p.wait.rounds
		p.try(ctx, now, false)
		if p.wait.rounds > before {
			p.askLater(p.retryAt) // who did not sign just now is not asked again at once
		}
	}
	p.point(p.now())
	if now = p.now(); now.Sub(p.refreshed) < p.cfg.Freshness {
		return
	}
	p.refresh(ctx, now)
	p.point(p.now())
	if p.meters.listed.Load() == 0 || p.fresh[p.pointed] > 0 || ctx.Err() != nil {
		return
	}
	// None of the nodes in force proves itself any more: all restarted and lost
	// their keys, say. Users are not left without until the end of the epoch.
	if p.failures == 0 {
		p.slog.Warn("no listed node proves itself; trying an early epoch", "epoch", p.pointed)
	}
	if p.try(ctx, p.now(), true); p.failures > 0 {
		p.refreshed = p.retryAt.Add(-p.cfg.Freshness)
	}
	p.point(p.now())
}

// due reports whether the next statement is to be made, or the last one to be
// signed by those who could not be reached.
func (p *Publisher) due(now time.Time) bool {
	last := p.log.Last()
	return last.Epoch == 0 || !now.Before(last.NextPublic) || p.log.Pending()
}

// try makes the next statement and plans the next attempt if that fails.
func (p *Publisher) try(ctx context.Context, now time.Time, early bool) {
	err := p.rotate(ctx, now, early)
	if err == nil {
		p.retryAt, p.failures = time.Time{}, 0
		return
	}
	p.meters.failed.Inc()
	p.retryAt = p.now().Add(p.retry())
	p.failures++
	switch {
	case errors.Is(err, errWaiting) || ctx.Err() != nil:
	case errors.Is(err, errNotCosigned):
		p.tellWaiting(err)
	default:
		p.slog.Error("no statement made", "error", err)
	}
}

// retry is the pause after an attempt that failed: short at first, for a system
// that is just starting.
func (p *Publisher) retry() time.Duration {
	return min(maxRetry, p.cfg.Freshness, firstRetry<<min(p.failures, 5))
}

// pause is how long until something is due.
func (p *Publisher) pause(now time.Time) time.Duration {
	next := p.refreshed.Add(p.cfg.Freshness)
	last := p.log.Last()
	for _, t := range []time.Time{last.NextPublic, last.NotBefore, p.retryAt} {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	if p.due(now) {
		next = p.retryAt
	}
	return max(next.Sub(now), 10*time.Millisecond)
}

// rotate makes the statement after the last one. A scheduled one starts when
// that ends; an early one now; one after an outage now, with an empty leaf for
// the time between.
func (p *Publisher) rotate(ctx context.Context, now time.Time, early bool) error {
	start := now.UTC().Truncate(time.Second)
	if err := p.reload(now); err != nil {
		return err
	}
	if err := p.finish(ctx, now); err != nil {
		return err
	}
	if !early && !p.due(now) {
		return nil // the last one was made in time, and is public now
	}
	if _, _, err := p.cfg.releases(); err != nil { // before anything is appended
		return err
	}
	last := p.log.Last()
	number, begin := last.Epoch+1, start
	outage := last.Epoch > 0 && start.After(last.NotAfter)
	switch {
	case outage:
		number++
	case last.Epoch > 0 && !early && !last.Empty:
		begin = last.NotAfter
	}
	a, err := p.ask(ctx, number, now)
	if err != nil {
		return err
	}
	if len(a.members) == 0 {
		return errNobody
	}
	patience := p.cfg.Patience
	if begin.After(now) {
		patience = min(patience, p.cfg.Lead/2)
	}
	if a.unreachable > 0 && now.Sub(a.since) < patience {
		return errWaiting
	}
	if err := p.confirm(ctx, a); err != nil {
		return err
	}
	if len(a.members) == 0 {
		return errNobody
	}
	if outage {
		gap := Epoch{Number: number - 1, NotBefore: last.NotAfter, NotAfter: start, Beacon: p.log.Beacon()}
		if err := p.commit(ctx, Empty(gap), nil, now); err != nil {
			return err
		}
	}
	return p.publish(ctx, a, begin)
}

var errNobody = errors.New("no node could be listed")

// errWaiting says that some nodes do not answer yet and there is time to wait.
var errWaiting = errors.New("waiting for nodes that do not answer yet")

// publish composes, commits and posts the statement of an attempt.
func (p *Publisher) publish(ctx context.Context, a *attempt, begin time.Time) error {
	frame := Epoch{Number: a.epoch, NotBefore: begin, NotAfter: begin.Add(p.cfg.Epoch), Beacon: p.log.Beacon(), Checkpoint: a.checkpoint.Note}
	r := &roster{epoch: a.epoch, checkpoint: a.checkpoint, members: a.sorted()}
	st, pack, err := p.cfg.Compose(frame, r.listings(), p.policy)
	if err != nil {
		return err
	}
	if err := p.saveRoster(r); err != nil {
		return err
	}
	if err := p.log.CommitContext(ctx, st, pack, p.now()); err != nil {
		return err
	}
	p.pending = nil
	p.live[a.epoch] = r
	p.refresh(ctx, p.now()) // before anybody sees it: its readers want freshness, too
	if err := p.post(a.epoch); err != nil {
		return err
	}
	p.meters.rotations.Inc()
	p.slog.Info("statement public", "epoch", a.epoch, "nodes", len(st.Nodes), "not_before", st.NotBefore, "not_after", st.NotAfter)
	return nil
}

// commit appends a statement and puts it on the board.
func (p *Publisher) commit(ctx context.Context, st *statement.Statement, pack *statement.Pack, now time.Time) error {
	if err := p.log.CommitContext(ctx, st, pack, now); err != nil {
		return err
	}
	return p.post(st.Epoch)
}

// finish gets the signatures that a statement in the log still lacks, and makes
// it public.
func (p *Publisher) finish(ctx context.Context, now time.Time) error {
	if !p.log.Pending() {
		return nil
	}
	if err := p.log.Finish(ctx, now); err != nil {
		return err
	}
	last := p.log.Last()
	p.pending = nil // its nodes were asked for the epoch that is public now
	p.slog.Info("statement public, late", "epoch", last.Epoch, "nodes", len(last.Nodes))
	if err := p.restore(); err != nil {
		return err
	}
	p.refresh(ctx, p.now())
	return nil
}

// reload recovers from a write that failed: the disk says what happened.
func (p *Publisher) reload(now time.Time) error {
	if !p.log.Broken() {
		return nil
	}
	p.pending = nil
	if err := p.log.Reload(now); err != nil {
		return err
	}
	return p.restore()
}

func (p *Publisher) post(epoch uint64) error {
	signed, err := p.log.Signed(epoch)
	if err != nil {
		return err
	}
	pack, err := p.log.Pack(epoch)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p.board.Post(epoch, signed, pack)
	return nil
}

// restore puts on the board what the log holds and remembers which node is which.
func (p *Publisher) restore() error {
	p.board.Archive(p.log.Signed)
	last := p.log.Last().Epoch
	for e := last - min(last, 2); e <= last; e++ {
		if p.log.waits(e) {
			continue // nobody may see it yet
		}
		if err := p.post(e); err != nil {
			return err
		}
		if p.live[e] != nil {
			continue
		}
		r, err := p.loadRoster(e)
		if err != nil {
			// Its nodes are not asked again; the next epoch lists them anew.
			p.slog.Warn("roster not restored", "epoch", e, "error", err)
			r = &roster{epoch: e}
		}
		p.live[e] = r
	}
	p.point(p.now())
	return nil
}

// point makes the statement in force the latest: the highest that has begun.
func (p *Publisher) point(now time.Time) {
	in := p.log.Last()
	for in.Epoch > 0 && (now.Before(in.NotBefore) || !p.board.Has(in.Epoch)) {
		prev, err := p.log.Statement(in.Epoch - 1)
		if err != nil {
			p.slog.Error("log unreadable", "error", err)
			return
		}
		in = prev
	}
	maxAge := min(p.cfg.Epoch/60, p.cfg.Freshness)
	p.board.Point(in.Epoch, maxAge)
	p.pointed = in.Epoch
	p.meters.epoch.Store(in.Epoch)
	p.meters.listed.Store(int64(len(in.Nodes)))
	p.meters.fresh.Store(int64(p.fresh[in.Epoch]))
	maps.DeleteFunc(p.live, func(e uint64, _ *roster) bool { return e < in.Epoch })
}

// refresh cosigns the checkpoint anew and collects freshness evidence over it
// from all nodes of public epochs.
func (p *Publisher) refresh(ctx context.Context, now time.Time) {
	p.refreshed = now
	note, cp, err := p.log.CheckpointContext(ctx, now)
	if errors.Is(err, errNotCosigned) && ctx.Err() == nil {
		p.tellWaiting(err)
		p.askLater(p.now().Add(min(maxRetry, p.cfg.Freshness, firstRetry<<min(p.wait.rounds, 5))))
		return
	}
	if err != nil {
		p.slog.Error("no checkpoint made", "error", err)
		if err := p.reload(now); err != nil {
			p.slog.Error("log unreadable", "error", err)
		}
		return
	}
	p.meters.refreshed.Store(cp.Time.Unix())
	items := p.collect(ctx, cp)
	if ctx.Err() != nil {
		return
	}
	slices.SortFunc(items, func(a, b statement.Fresh) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), slices.Compare(a.NodeID[:], b.NodeID[:]))
	})
	p.fresh = map[uint64]int{}
	for _, x := range items {
		p.fresh[x.Epoch]++
	}
	list, err := (&statement.Freshness{Checkpoint: note, Items: items}).Append(nil)
	if err != nil {
		p.slog.Error("no freshness list made", "error", err)
		list = nil
	}
	p.board.Refresh(note, list, p.cfg.Freshness/4)
}
