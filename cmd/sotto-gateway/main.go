// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-gateway opens the outer layer of requests that relays bring and
// forwards them to one router and one bank.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/ohttp/gateway"
)

func main() {
	os.Exit(daemon.Role[gateway.Config]{
		Name: "sotto-gateway",
		About: `Opens the outer layer of Oblivious HTTP requests and forwards them to two fixed
origins, the router and the bank. It sees candidates and a sealed prompt; it
never sees a client's address or a prompt.`,
		Serve: func(ctx context.Context, c gateway.Config, log *slog.Logger) error {
			g, err := gateway.New(c, log)
			if err != nil {
				return err
			}
			return g.Serve(ctx)
		},
	}.Main())
}
