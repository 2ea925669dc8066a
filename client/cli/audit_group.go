// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import "github.com/spf13/cobra"

// audit holds the commands about what many requests or parties say together.
func (e *env) audit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Look at what many requests, or many parties, say together",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.auditReceipts())
	return cmd
}
