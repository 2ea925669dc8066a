// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is the lab's face on the command line.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	clientcli "github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab"
)

// simulated is said before anything that the lab does.
const simulated = "SIMULATED HARDWARE: TPMs, chips, GPUs and boots of this lab exist in software only."

// New returns the root command of sotto-lab.
func New() *cobra.Command {
	r := &run{}
	root := &cobra.Command{
		Use:   "sotto-lab",
		Short: "Run the whole of Sotto on this machine, offline, on SIMULATED hardware",
		Long: `Starts two relays, a gateway, a router, three nodes with a TPM in software, an
engine with a tiny model, three witnesses, a publisher, the two ports of a bank
with play money and a local OpenAI-compatible proxy, one process each, and shows
where each listens and what it may see. Stays until Ctrl-C and leaves no process
behind.

  sotto-lab                           then: sotto-lab chat, sotto-lab verify
  sotto-lab --once "Why is the sky blue?"
  sotto-lab verify                    without one: start a lab, verify it, stop
  sotto-lab audit                     follow the running lab's log, compare its mirrors
  sotto-lab tamper all                what the verifier says to changed evidence
  sotto-lab wallet status             the play money; sotto-lab wallet --help says more
  sotto-lab --payment none            without money
  sotto-lab --banks 3 --postgres FILE three processes for the bank, on one database
  sotto-lab drill                     withdraw an image, a chip and a node, and measure
  sotto-lab --evil list               parts that can be made hostile
  sotto-lab --evil truncate --once "Hi"

SIMULATED HARDWARE: no chip stands behind the lab; it proves nothing about a
deployment. The model is a toy.

Exit codes: 0 stopped, or answered, or refused as it should; 1 failed; 2 usage;
10 refused.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          r.main,
	}
	f := root.Flags()
	f.StringVar(&r.once, "once", "", "ask one `prompt`, print only the answer on stdout, and stop")
	f.BoolVar(&r.json, "json", false, `print one line {"event":"ready",...} on stdout when everything serves`)
	f.StringVar(&r.opts.Dir, "dir", "", "keep keys, log and configuration in this directory (default: a temporary one)")
	f.StringVar(&r.opts.Listen, "listen", "", "address of the OpenAI-compatible endpoint (default: a free port)")
	f.StringVar(&r.opts.Engine, "engine", "", "`URL` of an engine on this machine to use in place of the built-in one")
	f.IntVar(&r.opts.Nodes, "nodes", 3, "how many nodes")
	f.StringVar(&r.opts.Shaping, "shaping", "frames", "size-and-time policy for answers: frames, constant or off")
	f.DurationVar(&r.opts.Epoch, "epoch", 10*time.Minute, "how long an epoch lasts")
	f.BoolVar(&r.opts.Metrics, "metrics", false, "give every role that has metrics a port for them")
	f.StringVar(&r.payment, "payment", "", "coins (play money, the default) or none (the default with a hostile part that is not about money)")
	f.StringVar(&r.opts.Postgres, "postgres", "", "`FILE` with the connection string of an empty PostgreSQL database for the bank (default: SQLite)")
	f.IntVar(&r.opts.Banks, "banks", 1, "how many processes serve the bank's anonymous port; more than one share the database of --postgres")
	f.StringVar(&r.opts.Evil, "evil", "", "make one part hostile; `MODE` list shows them")
	modes := []string{"list\tshow them"}
	for _, m := range lab.Modes {
		modes = append(modes, m.Name+"\t"+m.About)
	}
	offer := func(flag string, values ...string) {
		// The error is that of a flag that does not exist.
		_ = root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	offer("payment", "coins\tplay money", "none")
	offer("shaping", "frames", "constant", "off")
	offer("evil", modes...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return clientcli.UsageError(err) })
	root.AddCommand(roleCommand(), benchCommand(), tamperCommand(), simulateCommand(), drillCommand())
	running := currentTrust()
	commands := clientcli.Commands(loadTrust, running)
	for _, c := range commands {
		switch c.Name() {
		case "verify":
			(&borrowed{running: running}).extend(c)
		case "audit":
			extendAudit(c)
		}
	}
	root.AddCommand(commands...)
	return root
}

// loadTrust loads the trust file of a lab, by default the one that runs.
func loadTrust(path string) (client.Config, error) {
	if path == "" {
		return client.Config{}, errors.New("no lab runs on this machine: start sotto-lab in another terminal, or name the trust file in a lab's folder with --trust")
	}
	return lab.LoadTrust(path)
}

func roleCommand() *cobra.Command {
	var config, profile string
	c := &cobra.Command{
		Use: "role NAME", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lab.RunRole(cmd.Context(), args[0], config, profile, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&config, "config", "", "the role's file")
	c.Flags().StringVar(&profile, "profile", "", "beginning of the names of files for profiles")
	return c
}

type run struct {
	opts lab.Options
	once string
	json bool

	payment string
}

func (r *run) main(cmd *cobra.Command, _ []string) error {
	if r.opts.Evil == "list" {
		return listModes(cmd.OutOrStdout())
	}
	if _, ok := lab.FindMode(r.opts.Evil); !ok && r.opts.Evil != "" {
		return clientcli.UsageError(fmt.Errorf("no hostile mode %q; --evil list shows them", r.opts.Evil))
	}
	switch r.payment {
	case "coins":
		r.opts.Coins = true
	case "":
		r.opts.Coins = r.opts.Evil == ""
	case "none":
	default:
		return clientcli.UsageError(fmt.Errorf("payment %q: coins or none", r.payment))
	}
	switch {
	case r.opts.Banks < 1 || r.opts.Banks > 9:
		return clientcli.UsageError(fmt.Errorf("banks: %d; 1 to 9", r.opts.Banks))
	case r.opts.Banks > 1 && r.opts.Postgres == "":
		return clientcli.UsageError(errors.New("several banks share one database: --banks needs --postgres FILE"))
	case r.opts.Postgres != "" && !r.opts.Coins:
		return clientcli.UsageError(errors.New("--postgres is for a lab that pays: --payment coins"))
	case r.opts.Postgres != "" && r.opts.Evil != "":
		return clientcli.UsageError(errors.New("hostile parts bring a database of their own: not with --postgres"))
	}
	quiet := r.once != "" || r.json
	r.opts.Progress = cmd.ErrOrStderr()
	if quiet {
		r.opts.Progress = io.Discard
	}
	fmt.Fprintln(cmd.ErrOrStderr(), simulated+" The model is a toy.")
	ctx := cmd.Context()
	l, err := lab.Start(ctx, r.opts)
	if err != nil {
		return err
	}
	err = r.use(ctx, cmd, l)
	return errors.Join(err, l.Close())
}

func (r *run) use(ctx context.Context, cmd *cobra.Command, l *lab.Lab) error {
	switch {
	case r.opts.Evil != "" && r.once != "":
		return l.Provoke(ctx, r.once, cmd.OutOrStdout(), cmd.ErrOrStderr())
	case r.once != "":
		return l.Ask(ctx, r.once, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	ready := l.Ready()
	forget, err := remember(ready.Dir)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "sotto-lab chat will need --trust %s: %v\n", l.TrustFile(), err)
	}
	defer forget()
	if r.json {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(ready); err != nil {
			return err
		}
	} else {
		if r.opts.Evil != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "\nSIMULATED HOSTILE PART: see for yourself that it is refused: sotto-lab chat\n")
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "\nReady. OpenAI-compatible endpoint: %s\nReport: %s/report   Files and logs: %s\nTalk to it: sotto-lab chat   Check it: sotto-lab verify   Stop: Ctrl-C\n",
			ready.OpenAI, ready.Control, ready.Dir)
	}
	return l.Wait(ctx, cmd.ErrOrStderr())
}

func listModes(w io.Writer) error {
	for _, m := range lab.Modes {
		if _, err := fmt.Fprintf(w, "%-15s refused with %-17s %s\n", m.Name, m.Code, m.About); err != nil {
			return err
		}
	}
	return nil
}
