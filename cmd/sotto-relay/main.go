// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-relay forwards Oblivious HTTP requests to one gateway.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/relay"
)

// config adds the metrics port to the role's own fields: the role itself is
// built from the standard library alone.
type config struct {
	relay.Config `yaml:",inline"`

	// Metrics is the address of the metrics port. Empty: none.
	Metrics string `yaml:"metrics"`
}

func main() {
	os.Exit(daemon.Role[config]{
		Name: "sotto-relay",
		About: `Forwards sealed Oblivious HTTP requests to one gateway and mirrors the public
statement. It sees client addresses, sizes and times; it cannot open anything
and keeps no record.`,
		Check: func(c config) error { _, err := relay.New(c.Config); return err },
		Serve: serve,
	}.Main())
}

func serve(ctx context.Context, c config, _ *slog.Logger) error {
	r, err := relay.New(c.Config)
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	m := metrics.NewSet(reg, "relay")
	for _, f := range []struct {
		name, help string
		value      func(relay.Stats) uint64
	}{
		{"requests_total", "Requests taken on for the gateway.", func(s relay.Stats) uint64 { return s.Requests }},
		{"refused_total", "Requests answered by the relay itself.", func(s relay.Stats) uint64 { return s.Refused }},
		{"failed_total", "Requests that the gateway did not answer in full.", func(s relay.Stats) uint64 { return s.Failed }},
		{"mirror_hits_total", "Mirrored objects served from memory.", func(s relay.Stats) uint64 { return s.MirrorHits }},
		{"mirror_loads_total", "Mirrored objects fetched.", func(s relay.Stats) uint64 { return s.MirrorLoads }},
		{"mirror_fails_total", "Fetches of mirrored objects that failed.", func(s relay.Stats) uint64 { return s.MirrorFails }},
	} {
		m.CounterFunc(f.name, f.help, func() uint64 { return f.value(r.Stats()) })
	}
	m.GaugeFunc("in_flight", "Requests under way.", func() float64 { return float64(r.Stats().InFlight) })
	return metrics.Beside(ctx, c.Metrics, reg, r.Serve)
}
