// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/lab/bench"
)

func benchCommand() *cobra.Command {
	var cfg bench.Config
	var asJSON bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what Sotto costs beside plain reverse proxies and the engine alone",
		Long: `Starts a lab with an engine that gives fixed answers and measures three ways in
one run: the engine called directly; through plain reverse proxies, one for each
of relay, gateway, router and node, with the same TLS and transport settings;
through Sotto, with the client library in this process, three candidates and the
policy off unless a line says otherwise. docs/performance.md explains the
figures.

The TPM is a simulator, and everything runs on this one machine.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Progress = cmd.ErrOrStderr()
			fmt.Fprintln(cmd.ErrOrStderr(), simulated)
			if cfg.Profile != "" {
				if err := os.MkdirAll(cfg.Profile, 0o700); err != nil {
					return err
				}
			}
			r, err := bench.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.WriteTable(cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "print one JSON object on stdout in place of the table")
	f.BoolVar(&cfg.Quick, "quick", false, "a small part of everything, in seconds: a smoke test, not a result")
	f.StringSliceVar(&cfg.Only, "only", nil, "measure only these parts: "+strings.Join(bench.Parts(), ", "))
	f.StringVar(&cfg.Profile, "profile", "", "`DIR` for a CPU profile of each role")
	return c
}
