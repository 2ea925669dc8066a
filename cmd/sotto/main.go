// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto is the client: it verifies machines, seals prompts to them, and
// serves an OpenAI-compatible endpoint on this machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:   "sotto",
		Short: "Ask strong models on other people's machines, privately",
		Long: `Verifies the machines that could answer, seals the prompt to a few of them, and
sends it through a relay that does not learn what, to a node that does not learn
who. Nothing is sent before verification; nothing falls back.

Whom to believe is said by a trust file of your own: ~/.config/sotto/trust.yaml,
or --trust.`,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.UsageError(fmt.Errorf("no command %q; sotto --help lists them", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return cli.UsageError(err) })
	root.AddCommand(cli.Commands(cli.LoadTrust, defaultTrust())...)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sotto:", err)
	}
	stop()
	os.Exit(cli.ExitCode(err))
}

func defaultTrust() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "sotto", "trust.yaml")
}
