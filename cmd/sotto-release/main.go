// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-release makes releases, judges them, and builds them again.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
	"github.com/sotto-project/sotto/transparency/release/measure"
)

// Exit codes are part of the interface.
const (
	exitOK          = 0
	exitFailed      = 1  // something broke
	exitUsage       = 2  // the command line is wrong
	exitRefused     = 10 // not to be believed, or not what was built again
	exitUnsupported = 20
	exitMalformed   = 30
)

const about = `Makes releases, judges them, and builds them again.

A release is one file: statements about programs, images and models, each signed
and in a public log, with the proof. Clients believe a machine only if what it
measured is in such a file. Six steps, by different people:

  publisher   sotto-release make --config release.yaml --tag v1.2.3 --out DIR
  anybody     sotto-release reproduce DIR/release.jsonl --trust trust.json --source CHECKOUT
  reviewer    sotto-release endorse DIR/release.jsonl --trust trust.json --config me.yaml --out FILE
  anybody     sotto-release re-derive FILE --trust trust.json --firmware OVMF.fd --uki node.efi
  anybody     sotto-release verify FILE --trust trust.json
  whoever may sotto-release revoke FILE --kind image --digest HEX --reason WHY ...

The trust file says whom to believe and what to ask; it is your own. Nothing is
fetched to judge a release. docs/spec/release.md has the formats.

Exit codes: 0 done; 10 refused, or not the same when built again; 20 unsupported,
or not all of it could be built again; 30 malformed; 2 usage; 1 something broke.`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "sotto-release", Short: "Make, judge and rebuild releases", Long: about, SilenceUsage: true, SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("no command %q; sotto-release --help lists them", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, c := range []*cobra.Command{makeCommand(), verifyCommand(), reproduceCommand(), endorseCommand(), revokeCommand(), measureCommand(), launchCommand(), rederiveCommand(), keyCommand()} {
		check := c.Args
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
		root.AddCommand(c)
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sotto-release:", err)
	}
	return exitCode(err)
}

type usageError struct{ error }

// errDiffers is a release that does not come out the same.
var errDiffers = errors.New("what was built is not what was released")

// errPartial is a release of which not everything can be built again here.
var errPartial = errors.New("not everything that was released was built again; --except names what need not be")

// The same of values that were computed again.
var (
	errNotDerived    = errors.New("what was computed is not what was released")
	errPartlyDerived = errors.New("not everything that can be computed was compared; --except names what need not be")
)

func exitCode(err error) int {
	var usage usageError
	var firmware *measure.FirmwareError
	code := release.CodeOf(err)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, build.ErrUnsupported), errors.Is(err, measure.ErrUnsupported), errors.Is(err, errPartial), errors.Is(err, errPartlyDerived), code == bundle.CodeVersion:
		return exitUnsupported
	case code == release.CodeFormat, code == release.CodeTrust, code == bundle.CodeFormat, errors.Is(err, build.ErrMalformed), errors.As(err, &firmware):
		return exitMalformed
	case code != transparency.Code(""), errors.Is(err, errDiffers), errors.Is(err, errNotDerived):
		return exitRefused
	}
	return exitFailed
}
