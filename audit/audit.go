// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Config says what to audit, and by whose rules.
type Config struct {
	// Trust names the log, its witnesses and their quorum: the auditor's own file.
	Trust transparency.Trust
	// Policy judges evidence; nil leaves it unjudged, and every report says so.
	Policy *attestation.Policy
	// Mirrors serve the log, at least one; two are needed to compare.
	Mirrors []Mirror
	// Dir holds what is known, see [State].
	Dir string

	// Packs is of how many of the newest epochs evidence is asked for; 32 if zero.
	// Older packs are not served.
	Packs uint64
	// Compare is of how many of the newest epochs each mirror's statement is
	// compared with the log; 1024 if zero.
	Compare uint64

	// MaxAge is how old the newest checkpoint may be: 15 minutes if zero. Grace is
	// how long a condition must last to be told: 10 minutes if zero. WitnessGrace
	// is that for a silent witness: an hour if zero.
	MaxAge, Grace, WitnessGrace time.Duration
	// Every is how often [Auditor.Watch] looks; a minute if zero. Timeout bounds
	// what one mirror may take for one answer; a minute if zero.
	Every, Timeout time.Duration

	// Releases judges releases that statements name; nil leaves them unjudged.
	Releases Releases
	// ReleaseLog is where entries under our identity are looked for, Own the
	// digests that are ours, as the log has them; nil: not looked for.
	ReleaseLog ReleaseLog
	Own        [][32]byte

	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Progress, if given, hears how many leaves of how many were audited. Alarm
	// hears each alarm once, after it is durable. Looked hears of the end of each
	// step and why it failed, if it did. All are called from one goroutine.
	Progress func(done, total uint64)
	Alarm    func(Alarm)
	Looked   func(error)
	// Meters, if given, are kept up to date.
	Meters *Meters
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.MaxAge, 15*time.Minute)
	def(&c.Grace, 10*time.Minute)
	def(&c.WitnessGrace, time.Hour)
	def(&c.Every, time.Minute)
	def(&c.Timeout, time.Minute)
	if c.Packs == 0 {
		c.Packs = 32
	}
	if c.Compare == 0 {
		c.Compare = 1024
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Progress == nil {
		c.Progress = func(uint64, uint64) {}
	}
	if c.Alarm == nil {
		c.Alarm = func(Alarm) {}
	}
	if c.Looked == nil {
		c.Looked = func(error) {}
	}
	return c
}

// cacheSize is how many accepted cases of the newest epochs are remembered.
const cacheSize = 1 << 13

// An Auditor follows one log. It is for one goroutine.
type Auditor struct {
	cfg     Config
	store   *store
	state   *State
	reader  *reader
	epochs  *roster.Judge // of epoch evidence alone
	full    *roster.Judge // with freshness evidence
	old     *transparency.Checkpoint
	views   map[uint64]*roster.View // of the newest epochs, with packs
	mirrors []look                  // what the last step saw
	told    []Alarm                 // of this run
	queue   []Alarm                 // found, not durable yet
	failed  error                   // why the last step could not audit everything
	broken  error                   // evidence could not be kept

	newestTwo []*statement.Statement // that were read in this run
	refused   map[string]bool        // releases that records of this step tell of
}

// Open opens the state in a folder, or begins one. One process at a time may have it
// open, until [Auditor.Close].
func Open(cfg Config) (*Auditor, error) { return open(cfg, true) }

// Read opens a folder to read what is there, which another process may have open. It
// is not for [Auditor.Step].
func Read(cfg Config) (*Auditor, error) { return open(cfg, false) }

// Close lets another process open the folder.
func (a *Auditor) Close() error { return a.store.close() }

func open(cfg Config, writes bool) (_ *Auditor, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.Trust.Validate(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if len(cfg.Mirrors) == 0 || cfg.Dir == "" {
		return nil, errors.New("audit: no mirror or no folder for the state")
	}
	s, st, err := openStore(cfg.Dir, writes)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	a := &Auditor{cfg: cfg, store: s, state: st, views: map[uint64]*roster.View{}}
	if st == nil {
		a.state = newState(cfg.Trust.Origin)
	}
	if a.state.Origin != cfg.Trust.Origin {
		return nil, fmt.Errorf("audit: %s holds the state of log %q, the trust file names %q", cfg.Dir, clean(a.state.Origin), cfg.Trust.Origin)
	}
	if len(a.state.Checkpoint) > 0 {
		if a.old, err = cfg.Trust.ParseCheckpoint(a.state.Checkpoint); err != nil {
			return nil, fmt.Errorf("audit: the checkpoint in %s does not verify under this trust file: %w", cfg.Dir, err)
		}
	}
	a.reader = newReader(a.state)
	a.judges()
	return a, nil
}

// judges makes the two judges. Freshness evidence is not kept by anybody, so the
// evidence of past epochs is judged without it.
func (a *Auditor) judges() {
	if a.cfg.Policy == nil {
		return
	}
	alone := *a.cfg.Policy
	alone.WithoutFreshness = true
	a.epochs = roster.NewJudge(&alone, nil)
	a.full = roster.NewJudge(a.cfg.Policy, roster.NewCache(cacheSize))
}

// Step looks once: it asks every mirror, audits all leaves that are new, and
// tells what it found. An error says why it could not go as far as the log; what
// it did until then is kept, and conditions are told all the same.
func (a *Auditor) Step(ctx context.Context) error {
	if a.store.lock == nil {
		return &aheadError{errors.New("audit: the folder is open for reading")}
	}
	a.failed, a.refused = nil, map[string]bool{}
	a.settings()
	looks := a.poll(ctx)
	if ctx.Err() != nil {
		return ctx.Err() // and the last look stays the one that was made to its end
	}
	a.mirrors = looks
	best := a.choose(ctx)
	if a.broken != nil {
		return &aheadError{a.broken}
	}
	if best != nil {
		if err := a.walk(ctx, best); err != nil {
			if fatal := new(aheadError); errors.As(err, &fatal) || ctx.Err() != nil {
				return err
			}
			a.failed = err
		}
		a.late(ctx)
		a.fresh(ctx)
	}
	a.current(ctx)
	a.watchReleases(ctx)
	if a.broken != nil {
		return &aheadError{a.broken}
	}
	a.conditions(best)
	if err := a.commit(nil, nil); err != nil {
		return err
	}
	a.cfg.Meters.step(a)
	return a.failed
}

// Watch looks until ctx ends. What a step could not do the next one tries again;
// only a folder that cannot be written to ends it.
func (a *Auditor) Watch(ctx context.Context) error {
	tick := time.NewTicker(a.cfg.Every)
	defer tick.Stop()
	for {
		err := a.Step(ctx)
		if fatal := new(aheadError); errors.As(err, &fatal) && ctx.Err() == nil {
			return err
		}
		a.cfg.Looked(err)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// An aheadError leaves what was audited in memory ahead of the folder, which could
// not be written to: only opening it anew is safe.
type aheadError struct{ err error }

func (e *aheadError) Error() string { return e.err.Error() }
func (e *aheadError) Unwrap() error { return e.err }

// commit makes what was found durable, and then tells it.
func (a *Auditor) commit(fresh, changed []EpochRecord) error {
	a.state.count(a.queue)
	if err := a.store.commit(a.state, fresh, changed); err != nil {
		return &aheadError{err}
	}
	for _, alarm := range a.queue {
		if len(a.told) < maxTold {
			a.told = append(a.told, alarm)
		}
		a.cfg.Alarm(alarm)
		a.cfg.Meters.alarm(alarm.Code)
	}
	a.queue = nil
	return nil
}

// maxTold is how many alarms of one run a report lists. All of them are in the
// records of their epochs.
const maxTold = 1 << 12

// tell queues an alarm for the next commit.
func (a *Auditor) tell(list ...Alarm) { a.queue = append(a.queue, list...) }

// settings notes what of the auditor's own changed since the last run.
func (a *Auditor) settings() {
	s := a.state
	if s.LogKey != "" && s.LogKey != a.cfg.Trust.LogKey {
		a.tell(Alarm{Code: LogKey, Severity: SeverityOf(LogKey), Count: 1, Found: a.cfg.Now().UTC(), Detail: "the trust file names another log key than when this state was last written"})
	}
	s.LogKey = a.cfg.Trust.LogKey
	digest := ""
	if a.epochs != nil {
		d := a.full.PolicyDigest()
		digest = hex.EncodeToString(d[:])
	}
	if s.Policy != digest && s.Next > 0 {
		a.tell(Alarm{Code: PolicyChanged, Severity: SeverityOf(PolicyChanged), Count: 1, Found: a.cfg.Now().UTC(), Detail: fmt.Sprintf("from %s to %s; what was judged before is not judged again", orNone(s.Policy), orNone(digest))})
	}
	s.Policy = digest
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Statement is the newest that was not empty, and nil before there is one. It is
// not to be changed.
func (a *Auditor) Statement() *statement.Statement { return a.reader.full }
