// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/lab"
)

// extendAudit has audit ask a lab's relays and its publisher, who alone serves
// evidence, where no mirror is named.
func extendAudit(c *cobra.Command) {
	c.Long += "\n\nWithout --mirror, the lab's two relays and its publisher are asked."
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f := cmd.Flags()
		trust := cmd.Flag("trust").Value.String()
		if f.Changed("mirror") || f.Changed("list") || trust == "" {
			return run(cmd, args)
		}
		mirrors, err := lab.Mirrors(trust)
		if err != nil {
			return err
		}
		for _, m := range mirrors {
			if err := f.Set("mirror", m); err != nil {
				return err
			}
		}
		return run(cmd, args)
	}
}
