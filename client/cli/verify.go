// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
)

func (e *env) verify() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify every node of the current statement and print the report",
		Long: `Fetches the public statement from every relay and compares them, fetches the
evidence of all nodes, checks both completely on this machine, and prints what
was expected, what was found, who vouches for it, how old it is, and what it
would mean had it failed. No prompt is sent.

Exit codes: 0 verified (named gaps included), 10 refused, 1 failed, 2 usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.client()
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.Verify(cmd.Context())
			if r == nil {
				return err
			}
			if werr := writeReport(cmd.OutOrStdout(), r, asJSON); werr != nil {
				return werr
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

func writeReport(w io.Writer, r *client.Report, asJSON bool) error {
	if !asJSON {
		_, err := io.WriteString(w, r.Text())
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
