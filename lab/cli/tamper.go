// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	clientcli "github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab"
)

func tamperCommand() *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use:   "tamper MODE",
		Short: "Change freshly made evidence and see it refused",
		Long: `Starts a lab, verifies it, saves what the verdict rests on and stops the lab.
Then changes that by MODE, verifies it again and shows expected and received side
by side. The same, for evidence that you saved: sotto-lab verify --evidence FILE
--tamper MODE.

  sotto-lab tamper list    the modes, one sentence each
  sotto-lab tamper all     every mode on the same evidence, as a table

Modes: ` + client.TamperNames() + `.

Exit codes: 10 refused, as it should be; 1 failed, or accepted, which is a
defect; 2 usage.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "all" && args[0] != "list" && !isMode(args[0]) {
				return clientcli.UsageError(fmt.Errorf("tamper takes one of %s, or all, or list", client.TamperNames()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "list" {
				return listTampers(cmd.OutOrStdout())
			}
			saved, judge, err := freshEvidence(cmd, dir)
			if err != nil {
				return err
			}
			if args[0] == "all" {
				return tamperAll(cmd.OutOrStdout(), saved, judge, asJSON)
			}
			t, err := judge.Tamper(saved, args[0])
			if err != nil {
				return err
			}
			return clientcli.ShowTampered(cmd.OutOrStdout(), t, asJSON)
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return clientcli.UsageError(err) })
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON on stdout: one object, or a list of them for all")
	c.Flags().StringVar(&dir, "dir", "", "keep the lab's keys, log and configuration in this `DIR` (default: a temporary one)")
	return c
}

func isMode(name string) bool {
	return slices.ContainsFunc(client.TamperModes(), func(m client.TamperMode) bool { return m.Name == name })
}

func listTampers(w io.Writer) error {
	for _, m := range client.TamperModes() {
		if _, err := fmt.Fprintf(w, "%-9s %s\n", m.Name, m.What); err != nil {
			return err
		}
	}
	return nil
}

// freshEvidence is that of a lab which has stopped when it returns.
func freshEvidence(cmd *cobra.Command, dir string) (*client.Saved, *client.Judge, error) {
	fmt.Fprintln(cmd.ErrOrStderr(), simulated)
	return collect(cmd.Context(), lab.Options{Dir: dir})
}

func collect(ctx context.Context, o lab.Options) (*client.Saved, *client.Judge, error) {
	l, err := lab.Start(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	s, j, err := l.Collect(ctx)
	return s, j, errors.Join(err, l.Close())
}

// tamperAll runs every mode and prints a line for each.
func tamperAll(w io.Writer, saved *client.Saved, judge *client.Judge, asJSON bool) error {
	var all []*client.Tampered
	for _, m := range client.TamperModes() {
		t, err := judge.Tamper(saved, m.Name)
		if err != nil {
			return fmt.Errorf("%s: %v", m.Name, err) // %v: a mode that fails is no refusal
		}
		all = append(all, t)
	}
	if err := writeTampers(w, all, asJSON); err != nil {
		return err
	}
	return clientcli.RefusedError(fmt.Errorf("as it should be: each of %d ways to tamper was refused", len(all)))
}

func writeTampers(w io.Writer, all []*client.Tampered, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	var b strings.Builder
	b.WriteString("SIMULATED HARDWARE: no chip stands behind this evidence\n\n")
	fmt.Fprintf(&b, "%-9s %-17s %-20s %s\n", "tampered", "refused with", "in step", "what was done")
	for _, t := range all {
		fmt.Fprintf(&b, "%-9s %-17s %-20s %s\n", t.Mode, t.Code, t.Step, t.What)
	}
	b.WriteString("\nEach in full: sotto-lab tamper MODE\n")
	_, err := io.WriteString(w, b.String())
	return err
}
