// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-lab runs the whole of Sotto on one machine, offline, on
// simulated hardware.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	clientcli "github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := cli.New().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sotto-lab:", err)
	}
	stop()
	os.Exit(clientcli.ExitCode(err))
}
