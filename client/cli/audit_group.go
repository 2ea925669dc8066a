// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import "github.com/spf13/cobra"

// ExitMalformed is the exit code for a file that is nothing of the kind asked for.
const ExitMalformed = 30

// audit holds the commands about what many requests or parties say together.
func (e *env) audit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Find out whether everybody sees the same world",
		Long: `Compares what this client sees of the log with what others see, and with what it
saw before.

  sotto audit fingerprint     words to read to somebody: the same view, the same words
  sotto audit fork FILE       what a kept proof shows; needs your trust file only
  sotto audit forget --yes    put aside what is remembered of the log, proofs and all
  sotto audit receipts FILE…  whether somebody chose the nodes that answered`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.auditFingerprint(), e.auditFork(), e.auditForget(), e.auditReceipts())
	return cmd
}
