// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-router passes sealed requests on to nodes that clients drew.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/router"
)

// config adds the metrics port to the role's own fields.
type config struct {
	router.Config `yaml:",inline"`

	// Metrics is the address of the metrics port. Empty: none.
	Metrics string `yaml:"metrics"`
}

func main() {
	os.Exit(daemon.Role[config]{
		Name: "sotto-router",
		About: `Passes each sealed request on to the first node of its public draw, and to a
later one only with a signed busy receipt of those before it. It sees candidates
and padded sizes; it never sees who asks, what, or which model, and opens
nothing.`,
		Check: func(c config) error { return c.Validate() },
		Serve: serve,
	}.Main())
}

func serve(ctx context.Context, c config, log *slog.Logger) error {
	c.Log = log
	r, err := router.New(c.Config)
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	r.Register(reg)
	return metrics.Beside(ctx, c.Metrics, reg, r.Serve)
}
