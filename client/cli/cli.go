// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is the client's face on the command line: chat, proxy, wallet,
// verify, audit.
// The shipped program and the lab use the same commands; they differ only in
// how a client's configuration is loaded, and only the lab's loader knows the
// lab's hardware roots.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
)

// A Loader reads the trust file at path into a client's configuration.
type Loader func(path string) (client.Config, error)

// Exit codes are part of the interface.
const (
	ExitOK      = 0
	ExitFailed  = 1  // something broke
	ExitUsage   = 2  // the command line is wrong
	ExitRefused = 10 // verification refused; nothing was sent unless the message says so
	ExitBegun   = 11 // of the wallet: begun and not ended; `sotto wallet top` goes on with it
)

// ExitCode returns the exit code for the error of a command.
func ExitCode(err error) int {
	var usage *usageError
	var refused *refusedError
	var pooled *receiptsError
	var own *pieceError // not an interface: a child process that failed has an exit code, too
	var none *forkError
	var audited *auditError
	var begun *begunError
	switch code := client.CodeOf(err); {
	case err == nil:
		return ExitOK
	case errors.As(err, &own):
		return own.ExitCode()
	case errors.As(err, &none):
		return none.ExitCode()
	case errors.As(err, &pooled):
		return pooled.code
	case errors.As(err, &begun):
		return ExitBegun
	case errors.As(err, &audited):
		return audited.ExitCode()
	case errors.As(err, &usage), code == client.CodeConfig:
		return ExitUsage
	case code != "", errors.As(err, &refused):
		return ExitRefused
	}
	return ExitFailed
}

type usageError struct{ error }

// UsageError marks err as a mistake on the command line, for [ExitCode].
func UsageError(err error) error { return &usageError{err} }

type refusedError struct{ error }

// RefusedError marks err, which has no code of its own, as a refusal, for
// [ExitCode].
func RefusedError(err error) error { return &refusedError{err} }

// Commands returns the client's commands. trust is the default path of the
// trust file, for --trust.
func Commands(load Loader, trust string) []*cobra.Command {
	e := &env{load: load}
	cmds := []*cobra.Command{e.chat(), e.proxy(), e.wallet(), e.verify(), e.audit()}
	for _, c := range append(cmds[:len(cmds):len(cmds)], under(cmds)...) {
		c.Flags().StringVar(&e.trust, "trust", trust, "trust file: relays, log keys, and which machines may see a prompt")
		c.Flags().StringVar(&e.state, "state", "", "directory for what is remembered of the log; none: nothing (default: the trust file's, or the system's place)")
		c.Flags().StringVar(&e.shaping, "shaping", "", "size-and-time policy for answers: frames, constant or off (default: the trust file's)")
		complete(c, "shaping", "frames", "constant", "off")
		c.SilenceUsage, c.SilenceErrors = true, true
		args, run := c.Args, c.RunE
		c.RunE = func(cmd *cobra.Command, given []string) error { return printable(run(cmd, given)) }
		c.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return &usageError{err}
			}
			return nil
		}
		c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	}
	return cmds
}

// complete has shells offer values for a flag, each with what it means behind a
// tab, and no names of files.
func complete(c *cobra.Command, flag string, values ...string) {
	// The error is that of a flag that does not exist.
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// under returns the commands below others: they take the same flags.
func under(cmds []*cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, c := range cmds {
		out = append(out, c.Commands()...)
	}
	return out
}

// env is what the commands share.
type env struct {
	load    Loader
	trust   string
	shaping string
	state   string
	// receipts is the folder of chat's and proxy's --receipts.
	receipts string
}

func (e *env) config() (client.Config, error) {
	cfg, err := e.load(e.trust)
	if err != nil {
		return client.Config{}, &usageError{err}
	}
	if e.shaping != "" {
		cfg.Shaping = e.shaping
	}
	switch e.state {
	case "":
	case noState:
		cfg.State = ""
	default:
		cfg.State = e.state
	}
	return cfg, nil
}

func (e *env) client() (*client.Client, error) { return e.clientWith(nil) }

// payer makes a client that can pay, if the trust file says how. It has the
// wallet open until it is closed; the name is for whoever wants it meanwhile.
func (e *env) payer(name string) (*client.Client, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	if p, ok := purseOf(&cfg); ok {
		p.name = name
	}
	if err := keepReceipts(&cfg, e.receipts, os.Stderr); err != nil {
		return nil, err
	}
	return client.New(cfg)
}

// clientWith makes a client that tells how far it is. It pays for nothing: who
// verifies does not take the wallet from who asks.
func (e *env) clientWith(progress func(done, total int)) (*client.Client, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	cfg.Progress, cfg.Payments = progress, nil
	if err := keepReceipts(&cfg, e.receipts, os.Stderr); err != nil {
		return nil, err
	}
	return client.New(cfg)
}

// readPrompt reads a prompt from a file or from in. Prompts never come from
// the command line, where other users of the machine can read them.
func readPrompt(path string, in io.Reader) (string, error) {
	if path != "" && path != "-" {
		b, err := os.ReadFile(path)
		return string(b), err
	}
	b, err := io.ReadAll(in)
	return string(b), err
}

func errorf(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}
