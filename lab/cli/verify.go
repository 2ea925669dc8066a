// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	clientcli "github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab"
)

// A borrowed lab is what `sotto-lab verify` has when none runs: one that is
// started for the one command and stopped after it.
type borrowed struct {
	running string // trust file of the lab that runs, or ""
	dir     string
}

// extend has verify and verify node start a lab where they need one.
func (b *borrowed) extend(verify *cobra.Command) {
	const about = "`DIR` of a lab, in place of the running one: its evidence can be judged as long as DIR is kept"
	verify.Long += "\n\nWithout a running lab, one is started for this command and stopped after it."
	verify.Flags().StringVar(&b.dir, "dir", "", about)
	b.wrap(verify, func(cmd *cobra.Command, args []string) bool {
		f := cmd.Flags()
		return len(args) == 0 && !f.Changed("evidence") // a word to explain, and a file, need no lab
	})
	for _, c := range verify.Commands() {
		if c.Name() != "node" {
			continue
		}
		c.Flags().StringVar(&b.dir, "dir", "", about)
		c.Use, c.Long = "node [ID]", c.Long+"\n\nWithout ID, the first node that the statement lists. Without a running lab, one\nis started for this command and stopped after it."
		given := c.Args
		c.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return given(cmd, args)
		}
		run := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				id, err := firstNode(cmd.Context(), cmd.Flag("trust").Value.String())
				if err != nil {
					return err
				}
				args = []string{id}
			}
			return run(cmd, args)
		}
		b.wrap(c, func(*cobra.Command, []string) bool { return true })
	}
}

// wrap has a command run against a lab: the one that --trust names, the one in
// --dir, the one that runs, or one of its own.
func (b *borrowed) wrap(c *cobra.Command, needsLab func(cmd *cobra.Command, args []string) bool) {
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		named := cmd.Flags().Changed("trust")
		if named && b.dir != "" {
			return clientcli.UsageError(errors.New("--trust and --dir both name a lab"))
		}
		dir, err := filepath.Abs(b.dir)
		if err != nil {
			return err
		}
		own := b.dir != "" && lab.TrustFile(dir) != b.running
		switch {
		case named, !own && (b.running != "" || !needsLab(cmd, args)):
			return run(cmd, args)
		case !needsLab(cmd, args):
			return runWith(cmd, lab.TrustFile(dir), run, args)
		}
		return b.start(cmd, run, args)
	}
}

// start runs a command against a lab that is there for it only.
func (b *borrowed) start(cmd *cobra.Command, run func(*cobra.Command, []string) error, args []string) error {
	note(cmd, b.dir == "")
	l, err := lab.Start(cmd.Context(), lab.Options{Dir: b.dir})
	if err != nil {
		return err
	}
	if peers := cmd.Flags().Lookup("peers"); peers != nil && peers.Changed {
		err = l.AwaitVerdicts(cmd.Context())
	}
	if err == nil {
		err = runWith(cmd, l.TrustFile(), run, args)
	}
	return errors.Join(err, l.Close())
}

// runWith runs a command with another trust file.
func runWith(cmd *cobra.Command, trust string, run func(*cobra.Command, []string) error, args []string) error {
	if err := cmd.Flags().Set("trust", trust); err != nil {
		return err
	}
	return run(cmd, args)
}

// note says what is about to be started, and tells whoever saves evidence of a
// passing lab that its roots pass with it.
func note(cmd *cobra.Command, passing bool) {
	fmt.Fprintln(cmd.ErrOrStderr(), simulated+" No lab runs here: one is started for this command.")
	for _, name := range []string{"save", "audit"} {
		if f := cmd.Flags().Lookup(name); passing && f != nil && f.Changed {
			fmt.Fprintln(cmd.ErrOrStderr(), "Its log and roots are gone when it stops; with --dir they stay, and --evidence can judge the file.")
			return
		}
	}
}

// firstNode is the id of the first node that the statement lists.
func firstNode(ctx context.Context, trust string) (string, error) {
	cfg, err := lab.LoadTrust(trust)
	if err != nil {
		return "", clientcli.UsageError(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		return "", err
	}
	defer c.Close()
	r, err := c.Verify(ctx)
	if r == nil {
		return "", err
	}
	if len(r.Nodes) == 0 {
		return "", errors.New("the statement lists no node")
	}
	return r.Nodes[0].ID, nil
}
