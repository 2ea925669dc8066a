// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	clientcli "github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab/simulate"
)

func simulateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "simulate", Short: "Play many requests without a lab",
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(steeringCommand(), linkingCommand())
	return c
}

func steeringCommand() *cobra.Command {
	s := simulate.Steering{}
	var asJSON bool
	c := &cobra.Command{
		Use:   "steering",
		Short: "How soon routers that choose nodes are noticed",
		Long: `Plays requests through routers that try to have their own nodes answer, in ways
that a single answer does not show, and prints how many clients notice alone and
whether their receipts show it together; then honest routers, for false alarms.
The same seed gives the same table. docs/non-targetability.md reads it.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			last := -1
			s.Progress = func(done, total int) {
				if p := 100 * done / total; p/5 != last/5 || done == total {
					last = p
					fmt.Fprintf(cmd.ErrOrStderr(), "\r%3d %%", p)
				}
			}
			r, err := s.Run()
			if err != nil {
				return clientcli.UsageError(err)
			}
			fmt.Fprintln(cmd.ErrOrStderr())
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.WriteTable(cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.IntVar(&s.Requests, "requests", 100_000, "requests for each kind of router, over all clients")
	f.IntVar(&s.Clients, "clients", 100, "how many clients send them")
	f.IntVar(&s.Nodes, "nodes", 20, "how many nodes serve the model")
	f.IntVar(&s.Owned, "owned", 1, "how many of them are the router's own")
	f.IntVar(&s.Candidates, "candidates", 3, "how many nodes a request is sealed to")
	f.Float64Var(&s.Busy, "busy", 0.05, "how often an honest node is busy when asked")
	f.Float64Var(&s.Fail, "fail", 0.01, "how often an honest node fails a request")
	f.IntVar(&s.Down, "down", 1, "how many nodes are down for everybody")
	f.IntVar(&s.Seeds, "worlds", 200, "how many honest worlds to count false alarms in")
	f.Uint64Var(&s.Seed, "seed", 1, "where chance begins")
	f.BoolVar(&asJSON, "json", false, "print one JSON object on stdout in place of the table")
	return c
}
