// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	clientcli "github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab"
)

func drillCommand() *cobra.Command {
	var o lab.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "drill",
		Short: "Withdraw an image, a chip and a node, and measure until clients refuse them",
		Long: `Starts a lab with short epochs. A reviewer withdraws the image that all nodes
run, then the chip of one of them; then that node leaves the statement. Prints how
many epochs and seconds passed until a client refused. With a log of your own: sotto audit drill.`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Epoch < 4*time.Second {
				return clientcli.UsageError(errors.New("an epoch of a drill lasts 4 seconds or more"))
			}
			fmt.Fprintln(cmd.ErrOrStderr(), simulated)
			l, err := lab.Start(cmd.Context(), o)
			if err != nil {
				return err
			}
			all, err := l.Drill(cmd.Context())
			if err = errors.Join(err, l.Close()); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			for _, d := range all {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-34s %-18s after %d epochs of %v, %.1f s\n", d.What, d.Outcome, d.Epochs, o.Epoch, d.Seconds); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return clientcli.UsageError(err) })
	c.Flags().DurationVar(&o.Epoch, "epoch", 8*time.Second, "how long an epoch lasts")
	c.Flags().IntVar(&o.Nodes, "nodes", 4, "how many nodes")
	c.Flags().StringVar(&o.Dir, "dir", "", "keep keys, log and configuration in this directory (default: a temporary one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	return c
}
