// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/transparency/fork"
)

// noState is how a trust file, or --state, says that nothing is to be kept.
const noState = "none"

// defaultState is where a client remembers logs: the system's place for what
// programs keep, or nowhere if there is no such place.
func defaultState() string {
	if runtime.GOOS == "linux" {
		if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
			return filepath.Join(dir, "sotto")
		}
		if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
			return filepath.Join(home, ".local", "state", "sotto")
		}
		return ""
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "sotto", "state")
}

func (e *env) auditFingerprint() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fingerprint",
		Short: "Words for the world you see, to compare with somebody",
		Long: `Prints twelve words for the statement in force: log, epoch and every byte of it.
Read them to somebody whom you know, over a way that the operator does not
control. In one epoch the same words mean the same world; other words mean that
one of you is shown another (then compare epoch numbers first).

Exit codes: 0 printed, 10 refused, 1 failed, 2 usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.client()
			if err != nil {
				return err
			}
			defer c.Close()
			out := cmd.OutOrStdout()
			v, err := c.View(cmd.Context())
			if err != nil {
				return refused(out, asJSON, err)
			}
			if asJSON {
				return writeJSON(out, v)
			}
			_, err = io.WriteString(reportText{out}, v.Text())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// A forkError says that a file proves nothing, or is no evidence. What there
// is to say has been printed.
type forkError struct {
	text string
	exit int
}

func (e *forkError) Error() string { return e.text }

// ExitCode is 10 or 30: docs/spec/fork-evidence.md.
func (e *forkError) ExitCode() int { return e.exit }

func (e *env) auditFork() *cobra.Command {
	return &cobra.Command{
		Use:   "fork FILE",
		Short: "Judge a file that is to prove that a log showed two worlds",
		Long: `Checks the signatures in FILE (docs/spec/fork-evidence.md) by the log keys and
witnesses in your trust file, and whether what they signed contradicts itself.
It reads the files that witnesses keep, too. It needs no network and believes nothing else.

Exit codes: 0 it proves that the log showed two worlds, 10 it proves nothing,
30 it is no such file, 1 failed, 2 usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := e.config()
			if err != nil {
				return err
			}
			b, err := readCapped(args[0], fork.MaxSize)
			if client.CodeOf(err) != "" {
				return &forkError{err.Error(), ExitMalformed}
			}
			if err != nil {
				return err
			}
			ev, err := fork.Parse(b)
			if w, werr := fork.FromWitness(b); werr == nil {
				ev, err = w, nil
			}
			if err != nil {
				return &forkError{fmt.Sprintf("%s: %v", args[0], err), ExitMalformed}
			}
			f, err := ev.Verify(&cfg.Trust)
			if err != nil {
				return &usageError{err}
			}
			if _, err := io.WriteString(reportText{cmd.OutOrStdout()}, strings.Join(f.Words, "\n")+"\n"); err != nil {
				return err
			}
			if !f.Proves {
				return &forkError{args[0] + " proves nothing under this trust file", ExitRefused}
			}
			return nil
		},
	}
}

func (e *env) auditForget() *cobra.Command {
	var yes, steering bool
	cmd := &cobra.Command{
		Use:   "forget --yes|--steering",
		Short: "Put aside what is remembered of the log, proofs and all",
		Long: `Renames the memory of the log that your trust file names, so that the next run
begins a new one. Nothing is deleted. Until then a log that was caught is
refused; from then on a log that goes back to before this moment is not noticed.

With --steering it puts aside the statistic of how nodes were chosen for you, and
nothing else: what is remembered of the log stays. The statistic fades of itself;
this is for when you know why it rang, and do not want to wait.

Exit codes: 0 done, or nothing to forget; 1 failed; 2 usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.config()
			if err != nil {
				return err
			}
			if cfg.State == "" {
				return &usageError{errors.New("there is no state directory to forget anything in")}
			}
			d := state.New(cfg.State, cfg.Trust)
			if steering && yes {
				return &usageError{errors.New("--yes puts everything aside, --steering the statistic alone: say one of them")}
			}
			if steering {
				aside, err := d.Statistic().Forget(time.Now())
				if err != nil {
					return err
				}
				if aside == "" {
					errorf(cmd, "nothing was counted in %s", d.Path())
					return nil
				}
				errorf(cmd, "put aside as %s", aside)
				return nil
			}
			if !yes {
				return &usageError{fmt.Errorf("this puts aside %s, and a log that went back is then not noticed; say --yes if that is what you want", d.Path())}
			}
			aside, err := d.Forget(time.Now())
			if err != nil {
				return err
			}
			if aside == "" {
				errorf(cmd, "nothing was remembered in %s", d.Path())
				return nil
			}
			errorf(cmd, "put aside as %s", aside)
			return nil
		},
	}
	cmd.Flags().BoolVar(&steering, "steering", false, "put aside the steering statistic only")
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, begin a new memory")
	return cmd
}
