// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/internal/metrics"
)

// meters are the publisher's instruments, sotto_publisher_...
type meters struct {
	rotations, failed     prometheus.Counter
	cosigned, notCosigned prometheus.Counter
	refused               *metrics.Codes
	*gauges
}

// gauges are written by Run and read by whoever scrapes.
type gauges struct {
	epoch                    atomic.Uint64
	listed, fresh, refreshed atomic.Int64
	signed                   atomic.Int64 // witnesses, in the last round
}

func newMeters(reg *prometheus.Registry) meters {
	s, g := metrics.NewSet(reg, "publisher"), &gauges{}
	codes := []string{"node.unreachable", "node.unavailable", "node.answer", "node.record", "node.duplicate", "node.times"}
	for _, c := range attestation.Codes() {
		codes = append(codes, string(c))
	}
	s.GaugeFunc("epoch", "Number of the epoch in force.", func() float64 { return float64(g.epoch.Load()) })
	s.GaugeFunc("nodes_listed", "Nodes in the statement in force.", func() float64 { return float64(g.listed.Load()) })
	s.GaugeFunc("nodes_fresh", "Of these, nodes with freshness evidence over the newest checkpoint.", func() float64 { return float64(g.fresh.Load()) })
	s.GaugeFunc("checkpoint_timestamp_seconds", "Time of the newest cosigned checkpoint.", func() float64 { return float64(g.refreshed.Load()) })
	s.GaugeFunc("witnesses_signed", "Witnesses that signed in the last round; 0 for a log without witnesses.", func() float64 { return float64(g.signed.Load()) })
	return meters{
		cosigned:    s.Counter("cosignings_total", "Rounds of asking the witnesses in which a quorum signed."),
		notCosigned: s.Counter("cosignings_failed_total", "Rounds of asking the witnesses without a quorum."),
		rotations:   s.Counter("statements_total", "Statements made."),
		failed:      s.Counter("attempts_failed_total", "Attempts to make a statement that made none, waiting included."),
		refused:     s.Codes("node_refusals_total", "Answers of nodes that were refused, by code.", codes...),
		gauges:      g,
	}
}
