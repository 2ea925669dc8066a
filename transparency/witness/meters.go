// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/metrics"
)

// meters are the witness's instruments, sotto_witness_...
type meters struct {
	signed, forks prometheus.Counter
	refused       *metrics.Codes
}

func newMeters(reg *prometheus.Registry) meters {
	s := metrics.NewSet(reg, "witness")
	var codes []string
	for _, c := range Codes() {
		codes = append(codes, string(c))
	}
	return meters{
		signed:  s.Counter("cosigned_total", "Checkpoints cosigned, new times for old ones included."),
		forks:   s.Counter("forks_total", "Second roots of one size that a log signed: an alarm. The evidence is kept."),
		refused: s.Codes("refusals_total", "Requests for which nothing was signed, by code.", codes...),
	}
}
