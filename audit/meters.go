// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/metrics"
)

// Meters are an auditor's instruments, sotto_auditor_... Labels come from fixed
// lists: nothing that a mirror serves becomes one.
type Meters struct {
	reg           *prometheus.Registry
	steps, failed prometheus.Counter
	alarms        *metrics.Codes

	leaves, size, judged, refused, open, up, newest, last atomic.Int64
}

// NewMeters makes an auditor's instruments.
func NewMeters() *Meters {
	m := &Meters{reg: prometheus.NewRegistry()}
	s := metrics.NewSet(m.reg, "auditor")
	codes := make([]string, 0, len(kinds))
	for _, c := range Codes() {
		codes = append(codes, string(c))
	}
	s.GaugeFunc("leaves", "Leaves audited.", func() float64 { return float64(m.leaves.Load()) })
	s.GaugeFunc("log_leaves", "Leaves of the largest checkpoint that was verified.", func() float64 { return float64(m.size.Load()) })
	s.GaugeFunc("checkpoint_timestamp_seconds", "Time of the newest checkpoint that was verified.", func() float64 { return float64(m.newest.Load()) })
	s.GaugeFunc("complete_timestamp_seconds", "When everything in the log was last audited.", func() float64 { return float64(m.last.Load()) })
	s.GaugeFunc("mirrors_up", "Mirrors that served something acceptable at the last look.", func() float64 { return float64(m.up.Load()) })
	s.GaugeFunc("incidents_open", "Conditions that were told and have not ended.", func() float64 { return float64(m.open.Load()) })
	s.CounterFunc("nodes_judged_total", "Verdicts on listed nodes, an epoch each.", func() uint64 { return uint64(m.judged.Load()) })
	s.CounterFunc("nodes_refused_total", "Of these, refusals.", func() uint64 { return uint64(m.refused.Load()) })
	m.steps = s.Counter("looks_total", "Looks at the log.")
	m.failed = s.Counter("looks_failed_total", "Of these, such as could not audit everything.")
	m.alarms = s.Codes("alarms_total", "Alarms told, by code.", codes...)
	return m
}

// Serve serves the instruments on addr until ctx ends.
func (m *Meters) Serve(ctx context.Context, addr string) error {
	return metrics.Serve(ctx, addr, m.reg)
}

// step takes over what an auditor knows. A nil Meters takes nothing.
func (m *Meters) step(a *Auditor) {
	if m == nil {
		return
	}
	m.steps.Inc()
	if a.failed != nil {
		m.failed.Inc()
	} else if a.old != nil && a.state.Next == a.old.Size {
		m.last.Store(a.cfg.Now().Unix())
	}
	up, open := 0, 0
	for _, l := range a.mirrors {
		if l.err == nil && l.tampered == "" {
			up++
		}
	}
	for _, i := range a.state.Incidents {
		if i.Told {
			open++
		}
	}
	m.up.Store(int64(up))
	m.open.Store(int64(open))
	m.leaves.Store(int64(a.state.Next))
	m.judged.Store(int64(a.state.Totals.NodesJudged))
	m.refused.Store(int64(a.state.Totals.NodesRefused))
	if a.old != nil {
		m.size.Store(int64(a.old.Size))
		m.newest.Store(a.newest().Time.Unix())
	}
}

func (m *Meters) alarm(c Code) {
	if m != nil {
		m.alarms.Inc(string(c))
	}
}
