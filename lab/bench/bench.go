// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package bench measures what Sotto costs: one request after another, many at
// a time, streams and large bodies, each in three ways on the same machine in
// the same run. The ways are the engine called directly; a chain of plain
// reverse proxies, as many and with the same TLS, which is what the network
// alone costs; and Sotto.
//
// It measures the shipped roles as the lab runs them, on SIMULATED hardware: a
// TPM in software answers faster than one in hardware. What it finds on a busy
// machine is an upper bound.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/lab"
)

// Config says how much is measured. The zero value is the whole run, of about
// two minutes.
type Config struct {
	// Quick measures a small part of everything, in seconds. Its figures are a
	// smoke test, not a result.
	Quick bool
	// Profile is a directory for CPU profiles of the roles; empty: none. A
	// profile costs a few percent.
	Profile string
	// Only names the parts to measure, of [Parts]; empty: all.
	Only []string
	// Progress gets a line when a part begins.
	Progress io.Writer
}

// A part is one thing that is measured, into the result.
type part struct {
	name  string
	about string
	run   func(*session, context.Context) error
}

// The order matters: memory is looked at while the roles are young.
var parts = []part{
	{"first", "the first request of a new client", (*session).first},
	{"bulk", "10 MB bodies, and what they do to memory", (*session).bulk},
	{"short", "short requests, one after another", (*session).short},
	{"stream", "streams of tokens", (*session).stream},
	{"load", "short requests, 32 at a time", (*session).load},
	{"shaping", "the policies for sizes and times", (*session).shaping},
}

// Parts lists the names that [Config.Only] takes.
func Parts() []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return names
}

// sizes are how often each thing is done.
type sizes struct {
	runs     int // medians are taken over so many
	firsts   int // new clients
	short    int // requests of one run, one after another
	begins   int // streams of one run whose first token is timed
	tokens   int // of the stream whose lags are measured
	load     int // requests of one run through Sotto, 32 at a time
	transfer int // bodies of one run
	tpm      int // key agreements
	constant int // requests under the policy constant, a second each
}

var (
	whole = sizes{runs: 5, firsts: 9, short: 200, begins: 40, tokens: 60, load: 2000, transfer: 3, tpm: 100, constant: 3}
	quick = sizes{runs: 1, firsts: 3, short: 50, begins: 10, tokens: 20, load: 300, transfer: 1, tpm: 50, constant: 1}
)

const (
	clients = 32       // at a time, under load
	body10  = 10 << 20 // bytes of a large body; "10 MB" throughout
	every   = 20       // milliseconds between two tokens of the engine
)

// Run starts a lab, measures, and stops it.
func Run(ctx context.Context, cfg Config) (_ *Result, err error) {
	chosen, err := choose(cfg.Only)
	if err != nil {
		return nil, err
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	s := &session{size: whole, out: cfg.Progress, result: newResult(cfg)}
	if cfg.Quick {
		s.size = quick
	}
	began := time.Now()
	s.say("the TPM by itself")
	if err := s.openTPM(ctx); err != nil {
		return nil, fmt.Errorf("bench: tpm: %w", err)
	}
	defer s.tpm.Close()
	if err := s.idleTPM(); err != nil {
		return nil, fmt.Errorf("bench: tpm: %w", err)
	}
	s.say("starting the lab")
	s.lab, err = lab.Start(ctx, lab.Options{Fixed: true, Plain: true, Epoch: time.Hour, Profile: cfg.Profile})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.lab.Close()) }()
	if err := s.open(); err != nil {
		return nil, err
	}
	defer s.close()
	mine := ""
	if cfg.Profile != "" {
		mine = filepath.Join(cfg.Profile, self)
	}
	if err := lab.Profiled(mine, func() error { return s.measure(ctx, chosen) }); err != nil {
		return nil, err
	}
	s.result.Seconds = round(time.Since(began).Seconds(), 1)
	return s.result, nil
}

func (s *session) measure(ctx context.Context, chosen []part) error {
	for _, p := range chosen {
		s.say("%s", p.about)
		if err := p.run(s, ctx); err != nil {
			return fmt.Errorf("bench: %s: %w", p.name, err)
		}
	}
	return nil
}

func choose(only []string) ([]part, error) {
	if len(only) == 0 {
		return parts, nil
	}
	want := map[string]bool{}
	for _, name := range only {
		want[name] = true
	}
	var out []part
	for _, p := range parts {
		if want[p.name] {
			out = append(out, p)
			delete(want, p.name)
		}
	}
	for name := range want {
		return nil, fmt.Errorf("bench: no part %q; there are %v", name, Parts())
	}
	return out, nil
}

// A session is one run under way.
type session struct {
	size   sizes
	out    io.Writer
	lab    *lab.Lab
	result *Result

	tpm     *tpm.TPM // of this process
	key     *tpm.SealKey
	tpmRuns []float64 // medians, ms

	direct, plain, sotto *way // sotto with the policy off
	frames, constant     *way
}

func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.out, "bench: "+format+"\n", args...)
}
