// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bank

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/metrics"
)

// meters are sums since the start, sotto_bank_...: how much of what, never whose
// or when.
type meters struct {
	requests *metrics.Codes
	expired  prometheus.Counter
}

func newMeters(reg *prometheus.Registry, b *Bank) meters {
	s := metrics.NewSet(reg, "bank")
	s.GaugeFunc("epoch", "Newest epoch whose statement was verified.", func() float64 { return float64(b.engine.State().Epoch) })
	s.GaugeFunc("ready", "1 while the bank serves.", func() float64 {
		if b.engine.State().Code == "ready" {
			return 1
		}
		return 0
	})
	codes := append(slices.Sorted(maps.Keys(statuses)), "ok", "path", "truncated")
	return meters{
		requests: s.Codes("requests_total", "Requests by outcome.", codes...),
		expired:  s.Counter("holds_expired_total", "Holds that ended because their epoch did; all of each came back."),
	}
}
