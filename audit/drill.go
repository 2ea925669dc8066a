// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Subject is what a drill withdraws.
type Subject struct {
	Kind string // "node", "chip" or "release"
	ID   [32]byte
}

// Subject kinds.
var subjectKinds = []string{"node", "chip", "release"}

// Listed reports whether a statement lists the subject.
func (s Subject) Listed(st *statement.Statement) bool {
	switch s.Kind {
	case "node":
		_, ok := st.Node(s.ID)
		return ok
	case "chip":
		return slices.Contains(st.Chips, s.ID)
	case "release":
		return slices.ContainsFunc(st.Releases, func(r statement.Release) bool { return r.Digest == s.ID })
	}
	return false
}

// A DrillConfig says what to measure.
type DrillConfig struct {
	Trust   transparency.Trust
	Mirror  Mirror
	Subject Subject
	Every   time.Duration // between looks; 5 s if zero
	Timeout time.Duration // of one answer; a minute if zero
	Now     func() time.Time
	// Looked, if given, hears of each look: the epoch in force, and whether it lists the subject.
	Looked func(epoch uint64, listed bool)
}

// A DrillResult says how long a revocation took to reach a client.
type DrillResult struct {
	Kind       string    `json:"kind"`
	ID         string    `json:"id"`
	Begun      time.Time `json:"begun"`       // when the drill first saw it listed, in force
	BegunEpoch uint64    `json:"begun_epoch"` // the epoch in force then
	// Public is when a statement without it was first served, InForce when that
	// one's epoch had begun and a client could no longer choose it.
	Public       time.Time `json:"public"`
	InForce      time.Time `json:"in_force"`
	InForceEpoch uint64    `json:"in_force_epoch"`
	Epochs       uint64    `json:"epochs"`
	Seconds      int64     `json:"seconds"`
}

// Drill watches one mirror, as a client does, until the epoch in force no longer
// lists the subject. It changes nothing: whoever runs the log withdraws the
// subject when the drill says that it has begun.
func Drill(ctx context.Context, c DrillConfig) (*DrillResult, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Every <= 0 {
		c.Every = 5 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Minute
	}
	if err := c.Trust.Validate(); err != nil {
		return nil, err
	}
	if !slices.Contains(subjectKinds, c.Subject.Kind) || c.Mirror == nil {
		return nil, errors.New("drill: want a mirror, and a node, a chip or a release")
	}
	d := &drill{cfg: c, out: &DrillResult{Kind: c.Subject.Kind, ID: fmt.Sprintf("%x", c.Subject.ID)}}
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for {
		if done, err := d.look(ctx); done || err != nil {
			return d.out, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

type drill struct {
	cfg DrillConfig
	out *DrillResult
}

// look reports whether the subject was seen listed and is no longer. What a mirror
// does not answer, or answers wrongly, the next look asks again: an outage counts as time.
func (d *drill) look(ctx context.Context) (done bool, err error) {
	newest, err := d.statement(ctx, "latest")
	if err != nil {
		return false, ctx.Err()
	}
	now := d.cfg.Now()
	force, err := d.inForce(ctx, newest, now)
	if err != nil {
		return false, ctx.Err()
	}
	begun := !d.out.Begun.IsZero()
	// The one after may be public, long before it begins.
	if next, err := d.statement(ctx, strconv.FormatUint(force.Epoch+1, 10)); begun && d.out.Public.IsZero() && err == nil && next.Epoch == force.Epoch+1 && !d.cfg.Subject.Listed(next) {
		d.out.Public = now
	}
	listed := d.cfg.Subject.Listed(force)
	if d.cfg.Looked != nil {
		d.cfg.Looked(force.Epoch, listed)
	}
	switch {
	case !begun && !listed:
		return false, fmt.Errorf("drill: epoch %d, which is in force, does not list %s %s: there is nothing to withdraw", force.Epoch, d.out.Kind, d.out.ID)
	case !begun:
		d.out.Begun, d.out.BegunEpoch = now, force.Epoch
	case !listed:
		if d.out.Public.IsZero() {
			d.out.Public = now
		}
		d.out.InForce, d.out.InForceEpoch = now, force.Epoch
		d.out.Epochs, d.out.Seconds = force.Epoch-d.out.BegunEpoch, int64(now.Sub(d.out.Begun)/time.Second)
		return true, nil
	}
	return false, nil
}

// inForce is the statement that holds at now, by what the mirror serves.
func (d *drill) inForce(ctx context.Context, newest *statement.Statement, now time.Time) (*statement.Statement, error) {
	if now.Before(newest.NotBefore) && newest.Epoch > 0 {
		return d.statement(ctx, strconv.FormatUint(newest.Epoch-1, 10))
	}
	if !now.Before(newest.NotAfter) {
		if next, err := d.statement(ctx, strconv.FormatUint(newest.Epoch+1, 10)); err == nil {
			return next, nil
		}
	}
	return newest, nil
}

func (d *drill) statement(ctx context.Context, which string) (*statement.Statement, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	b, err := d.cfg.Mirror.Statement(ctx, which)
	if err != nil {
		return nil, err
	}
	s, err := statement.ParseSigned(b)
	if err != nil {
		return nil, err
	}
	st, _, err := s.Verify(&d.cfg.Trust)
	return st, err
}

// ParseSubject reads a kind and 32 bytes in hex.
func ParseSubject(kind, id string) (Subject, error) {
	s := Subject{Kind: kind}
	if !slices.Contains(subjectKinds, kind) || !unhex(&s.ID, id) {
		return Subject{}, fmt.Errorf("want node, chip or release, and 64 hex digits; got %q %q", clean(kind), clean(id))
	}
	return s, nil
}
