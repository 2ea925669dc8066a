// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package daemon is what the main of every role does alike: flags, the one
// configuration file, signals, exit codes. It knows no role.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/sotto-project/sotto/internal/config"
)

// Exit codes are part of the interface.
const (
	ExitOK     = 0 // served and stopped, or the configuration is valid
	ExitFailed = 1
	ExitUsage  = 2 // the command line or the configuration is wrong
)

// A Role is one program. T is its configuration.
type Role[T any] struct {
	Name  string // of the program, "sotto-relay"
	About string // a few lines for --help: what it does, what it may never see

	// Check validates a configuration without touching anything it names.
	Check func(T) error
	// Serve runs the role until ctx ends.
	Serve func(ctx context.Context, cfg T, log *slog.Logger) error
}

// Main runs the role with the program's arguments and returns its exit code.
func (r Role[T]) Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return r.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// Run is [Role.Main] with everything it touches as arguments.
func (r Role[T]) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet(r.Name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("config", "", "the role's YAML `file`; deploy/ has one to start from")
	check := fs.Bool("check", false, "validate the configuration file and exit")
	fs.Usage = func() {
		fmt.Fprintf(stderr, "%s\n\nUsage: %s -config FILE [-check]\n\n", r.About, r.Name)
		fs.PrintDefaults()
		fmt.Fprint(stderr, "\nExit codes: 0 stopped, or valid; 1 failed; 2 usage or configuration.\n")
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return ExitOK
		}
		return ExitUsage
	}
	if *path == "" || fs.NArg() > 0 {
		fs.Usage()
		return ExitUsage
	}
	cfg, err := config.Load[T](*path)
	if err == nil && r.Check != nil {
		err = r.Check(cfg)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", r.Name, err)
		return ExitUsage
	}
	if *check {
		fmt.Fprintf(stdout, "%s: valid\n", *path)
		return ExitOK
	}
	if err := r.Serve(ctx, cfg, slog.New(slog.NewTextHandler(stderr, nil))); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", r.Name, err)
		return ExitFailed
	}
	return ExitOK
}
