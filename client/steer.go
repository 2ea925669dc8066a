// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/internal/wire"
)

// A SteeringStore keeps the steering statistic between runs of a program, in
// the client's own state. Load returns nil if nothing was saved yet.
type SteeringStore interface {
	Load() ([]byte, error)
	Save(state []byte) error
}

// What a client does about an alarm of its steering statistic.
const (
	// SteeringDefault, the default: warnings are reported, an alarm of the
	// higher level refuses.
	SteeringDefault = ""
	// SteeringWarn reports and never refuses.
	SteeringWarn = "warn"
	// SteeringRefuse refuses at a warning, too.
	SteeringRefuse = "refuse"
)

// saveEvery is how many requests may be lost to the statistic by a crash.
const saveEvery = 16

// steering is what a client counts of the choice of nodes.
type steering struct {
	policy string
	store  SteeringStore // nil: memory only
	now    func() time.Time

	mu      sync.Mutex
	loaded  bool // the store was read; nothing counts before
	meter   *steer.Meter
	level   steer.Level // of the last look
	unsaved int
	broken  error // the store failed: reported, and counting goes on
}

func newSteering(policy string, store SteeringStore, now func() time.Time) (*steering, error) {
	switch policy {
	case SteeringDefault, SteeringWarn, SteeringRefuse:
	default:
		return nil, fmt.Errorf("steering %q; warn, refuse or nothing", policy)
	}
	return &steering{policy: policy, store: store, now: now, loaded: store == nil, meter: &steer.Meter{}}, nil
}

// load reads what was counted before, once. It is called with the lock held. A
// statistic that cannot be read is not begun anew: starting from nothing is
// what somebody who steers would want.
func (s *steering) load() error {
	if s.loaded {
		return nil
	}
	b, err := s.store.Load()
	if err == nil && len(b) > 0 {
		var m *steer.Meter
		if m, err = steer.Parse(b); err == nil {
			s.meter, s.level = m, highest(m.Alarms())
		}
	}
	if err != nil {
		return refuse(state.CodeUnreadable, "the steering statistic: %v", err).
			hint("restore it, or begin a new one: sotto audit forget --steering puts it aside, and nothing else")
	}
	s.loaded = true
	return nil
}

func highest(alarms []steer.Alarm) steer.Level {
	level := steer.Quiet
	for _, a := range alarms {
		level = max(level, a.Level)
	}
	return level
}

// ready refuses what cannot count, before anybody is asked anything.
func (s *steering) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load()
}

// permits refuses before anything is sealed, if the policy says so. What was counted
// fades first: after a refusal nothing is observed, and nothing else would ever let
// it fade.
func (s *steering) permits() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	at := steer.Refuse
	switch s.policy {
	case SteeringWarn:
		return nil
	case SteeringRefuse:
		at = steer.Warn
	}
	if s.level < at {
		return nil
	}
	s.meter.Advance(steer.Hour(s.now()))
	alarms := s.meter.Alarms()
	if s.level = highest(alarms); s.level < at {
		return nil
	}
	return refuse(CodeSteering, "%s", alarms[0]).
		hint("somebody may be choosing the nodes that answer you, and docs/non-targetability.md says what this shows; it fades in some hours without requests, and sotto audit forget --steering begins a new count at once")
}

// observe counts a finished request.
func (s *steering) observe(o steer.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meter.Observe(steer.Hour(s.now()), o) != nil {
		return // unless this client drew what it should not have
	}
	before := s.level
	s.level = highest(s.meter.Alarms())
	if s.unsaved++; s.unsaved >= saveEvery || s.level != before {
		s.save()
	}
}

// save is called with the lock held.
func (s *steering) save() {
	if s.store == nil || s.unsaved == 0 {
		return
	}
	if s.broken = s.store.Save(s.meter.Append(nil)); s.broken == nil {
		s.unsaved = 0
	}
}

func (s *steering) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.save()
}

// A SteeringReport is what the statistic says, in a report.
type SteeringReport struct {
	Code     string          `json:"code,omitempty"` // route.steering if an alarm stands
	Requests uint64          `json:"requests"`
	Failed   uint64          `json:"failed"`
	Retries  uint64          `json:"retries"`
	Alarms   []SteeringAlarm `json:"alarms,omitempty"`
	Unsaved  string          `json:"unsaved,omitempty"` // why it could not be kept
}

// A SteeringAlarm is one alarm of it.
type SteeringAlarm struct {
	Kind   string  `json:"kind"`
	Level  string  `json:"level"`
	Node   string  `json:"node,omitempty"`
	Odds   float64 `json:"odds_log10"`
	Detail string  `json:"detail"`
}

// report is nil before the first request that counts.
func (s *steering) report() *SteeringReport {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.meter.Totals()
	if t.Requests == 0 {
		return nil
	}
	r := &SteeringReport{Requests: t.Requests, Failed: t.Failed, Retries: t.Retries}
	if s.broken != nil {
		r.Unsaved = s.broken.Error()
	}
	for _, a := range s.meter.Alarms() {
		r.Code = CodeSteering
		w := SteeringAlarm{Kind: string(a.Kind), Level: a.Level.String(), Odds: a.Odds, Detail: a.String()}
		if a.Node != [32]byte{} {
			w.Node = fmt.Sprintf("%x", a.Node)
		}
		r.Alarms = append(r.Alarms, w)
	}
	return r
}

func (r *SteeringReport) text() string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	for _, a := range r.Alarms {
		fmt.Fprintf(&b, "STEERING    %s: %s: %s\n", CodeSteering, a.Level, a.Detail)
	}
	if r.Unsaved != "" {
		fmt.Fprintf(&b, "STEERING    the statistic could not be kept: %s\n", r.Unsaved)
	}
	return b.String()
}

// A choice is one draw from its first sealing to its end: what the statistic
// and a receipt need of it.
type choice struct {
	client  *Client
	world   *world
	draw    *draw
	origin  [32]byte // header hash of the first attempt
	tried   int      // attempts with this draw
	sent    bool
	skipped []wire.BusyReceipt // of the answer
	index   int                // of the answering candidate
	once    sync.Once
}

func (c *Client) newChoice(w *world, d *draw) *choice {
	return &choice{client: c, world: w, draw: d, index: -1}
}

// attempted notes that the draw was sealed, and returns what attempt it is.
func (h *choice) attempted(headerHash [32]byte) (attempt uint8, origin [32]byte) {
	if h.tried == 0 {
		h.origin = headerHash
	} else {
		origin = h.origin
	}
	h.tried++
	return uint8(h.tried - 1), origin
}

// ended counts the draw, once. An application that cancels says nothing about
// anybody; a deadline that passed, and all that failed after something was
// sent, does.
func (h *choice) ended(err error) {
	if h.tried == 0 || !h.sent || errors.Is(err, context.Canceled) && h.index < 0 {
		return
	}
	h.once.Do(func() {
		order := wire.DrawOrder(h.origin, h.world.statement.Beacon, h.draw.ids)
		r := steer.Receipt{Epoch: h.world.statement.Epoch, Outcome: steer.Failed, Proof: &steer.Proof{Origin: h.origin}}
		for _, i := range order {
			r.IDs = append(r.IDs, h.draw.ids[i])
		}
		switch code := CodeOf(err); {
		case code == CodeSkip || code == CodeCandidate:
			r.Outcome = steer.Skipped
		case err == nil || errors.Is(err, context.Canceled):
			r.Outcome, r.Proof.Busy = steer.Answered, h.skipped
			r.Position = len(h.skipped)
		}
		h.client.steer.observe(steer.Observation{
			Pool: h.draw.pool, Order: r.IDs, Outcome: r.Outcome, Position: r.Position, Retries: h.tried - 1,
		})
		if keep := h.client.cfg.Receipt; keep != nil {
			keep(r)
		}
	})
}
