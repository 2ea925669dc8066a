// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
)

// progress prints lines to stderr: stdout is for results.
func progress(cmd *cobra.Command) func(string) {
	return func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
}

func makeCommand() *cobra.Command {
	var path string
	var check bool
	j := build.Job{}
	c := &cobra.Command{Use: "make", Args: cobra.NoArgs, Short: "Build, sign, log and write a release",
		Long: `Builds the programs of a clean checkout at a tag, and images of the roles, so that
anybody gets the same bytes: -trimpath, no cgo, no time but the commit's. Lists what
is in them (CycloneDX), says how they were built (SLSA provenance), signs each
statement with a key or a certificate, has it timestamped and logged, and writes
DIR/release.jsonl if, and only if, that verifies under the trust file.

The folder has bin/PLATFORM/PROGRAM and oci/ROLE (an OCI layout) beside it.`,
		Example: `  sotto-release make --config release.yaml --tag v1.2.3 --source . --out ../out --check
  sotto-release make --config release.yaml --tag v1.2.3 --source . --out ../out`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if path == "" || j.Tag == "" || j.Out == "" {
				return usageError{errors.New("--config, --tag and --out are required")}
			}
			if j.Config, err = config.Load[build.Config](path); err != nil {
				return usageError{err}
			}
			j.Progress = progress(cmd)
			if check {
				if err := j.Check(cmd.Context()); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "ready: configuration, key, trust and source are in order; nothing was built")
				return nil
			}
			r, err := j.Make(cmd.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "released %s %s\n%s", r.Repository, r.Tag, r.Text())
			return err
		}}
	c.Flags().StringVar(&path, "config", "", "what to release and who signs (docs/operate.md)")
	c.Flags().StringVar(&j.Tag, "tag", "", "tag of the release, at the checkout's commit, such as v1.2.3")
	c.Flags().StringVar(&j.Source, "source", ".", "a clean checkout")
	c.Flags().StringVar(&j.Out, "out", "", "a new or empty folder, outside of the source")
	c.Flags().BoolVar(&check, "check", false, "check configuration, key, trust and source, and stop")
	return c
}

// load reads a file and judges it under a trust file.
func load(file, trust, at string) ([]byte, *release.Trust, *release.Release, error) {
	if trust == "" {
		return nil, nil, nil, usageError{errors.New("--trust is required: whom to believe is for you to say")}
	}
	if strings.Contains(trust, "://") {
		return nil, nil, nil, fmt.Errorf("%w", remote(trust))
	}
	now := time.Now()
	if at != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, at); err != nil {
			return nil, nil, nil, usageError{fmt.Errorf("--at: %v", err)}
		}
	}
	text, err := os.ReadFile(trust)
	if err != nil {
		return nil, nil, nil, err
	}
	t, err := release.ParseTrust(text)
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := readFile(file, release.MaxFile)
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := release.Verify(b, t, now)
	return b, t, r, err
}

func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most+1))
}

func verifyCommand() *cobra.Command {
	var trust, at string
	var asJSON bool
	c := &cobra.Command{Use: "verify FILE", Args: cobra.ExactArgs(1), Short: "Judge a release file under your own trust",
		Long: `Judges a release file as clients do: each statement is signed by exactly the
identity that you pinned and is in a log that you trust, with a proof; the pieces
fit together; nothing is withdrawn; enough of your reviewers vouch for it; it has
been public for as long as you ask. Nothing is fetched.`,
		Example: `  sotto-release verify release.jsonl --trust trust.json
  sotto-release verify release.jsonl --trust trust.json --at 2026-10-01T12:00:00Z --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, _, r, err := load(args[0], trust, at)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s\n%s", r.Verdict(), r.Repository, r.Tag, r.Text())
			return err
		}}
	c.Flags().StringVar(&trust, "trust", "", "your trust file")
	c.Flags().StringVar(&at, "at", "", "judge as of this time (RFC 3339) instead of now")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func reproduceCommand() *cobra.Command {
	var trust, at string
	var shared bool
	j := build.Job{}
	c := &cobra.Command{Use: "reproduce FILE", Args: cobra.ExactArgs(1), Short: "Build a release again and compare, bit for bit",
		Long: `Judges the release, builds it again from a checkout of its tag as its provenance
says, and compares every program and image with what was released. It takes the
very compiler that the provenance names, with an empty cache. A program or OCI image
that the release names and no provenance makes is DIFFERENT (exit 10). What was made
by another recipe (images of machines, weights) cannot be compared: the outcome is
PARTIAL (exit 20), unless you name each such thing with --except.`,
		Example: `  git clone --branch v1.2.3 https://github.com/sotto-project/sotto src
  sotto-release reproduce release.jsonl --trust trust.json --source src
  sotto-release reproduce release.jsonl --trust trust.json --source src --except node.raw`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if j.Source == "" {
				return usageError{errors.New("--source is required: a checkout of the release's tag")}
			}
			b, _, r, err := load(args[0], trust, at)
			if err != nil {
				return err
			}
			if j.Out == "" {
				if j.Out, err = os.MkdirTemp("", "sotto-release-"); err != nil {
					return err
				}
				defer os.RemoveAll(j.Out)
			}
			if !shared {
				if j.Cache, err = os.MkdirTemp("", "sotto-release-cache-"); err != nil {
					return err
				}
				defer os.RemoveAll(j.Cache)
			}
			j.Tag, j.Progress = r.Tag, progress(cmd)
			diff, err := j.Reproduce(cmd.Context(), b, r)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, s := range diff.Same {
				fmt.Fprintln(out, "same        ", s)
			}
			for _, s := range diff.Different {
				fmt.Fprintln(out, "DIFFERENT   ", s)
			}
			name := r.Repository + " " + r.Tag
			switch {
			case diff.Equal():
				fmt.Fprintf(out, "%s: all %d are the same, bit for bit%s\n", name, len(diff.Same), listed("; not compared, as you asked: ", diff.Excepted))
			case len(diff.Different) > 0 || len(diff.Same) == 0:
				fmt.Fprintf(out, "%s: DIFFERENT: %d of %d%s\n", name, len(diff.Different), len(diff.Different)+len(diff.Same), listed("; not compared: ", slices.Concat(diff.NotBuilt, diff.Excepted)))
				return errDiffers
			default:
				fmt.Fprintf(out, "%s: PARTIAL: %d are the same, bit for bit%s\n", name, len(diff.Same), listed("; not compared: ", slices.Concat(diff.NotBuilt, diff.Excepted)))
				return errPartial
			}
			return nil
		}}
	c.Flags().StringVar(&trust, "trust", "", "your trust file")
	c.Flags().StringVar(&at, "at", "", "judge as of this time (RFC 3339) instead of now")
	c.Flags().StringVar(&j.Source, "source", "", "a clean checkout of the release's tag")
	c.Flags().StringVar(&j.Out, "out", "", "keep what is built in this new folder")
	c.Flags().StringArrayVar(&j.Except, "except", nil, "do not ask for this name, which another recipe made; may be given again")
	c.Flags().BoolVar(&shared, "shared-cache", false, "use your own cache of the compiler: faster, and takes on trust what is in it")
	return c
}

// listed says what was left out, and why.
func listed(head string, skipped []build.Skipped) string {
	var names []string
	for _, s := range skipped {
		names = append(names, s.Name+" ("+s.Why+")")
	}
	if len(names) == 0 {
		return ""
	}
	return head + strings.Join(names, ", ")
}

func keyCommand() *cobra.Command {
	return &cobra.Command{Use: "key FILE", Args: cobra.ExactArgs(1), Short: "Make a long-lived key, and print its public half",
		Long: `Makes an ECDSA P-256 key in FILE, which only you can read, and prints the public
half as trust files have it ("public_key"). A file that is there is not replaced. Where
signing can be done by a certificate for a workflow or an account, prefer that: there
is no key to lose.`,
		Example: `  sotto-release key release-key.pem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			private, public, err := build.NewKey()
			if err != nil {
				return err
			}
			if err := durable.CreateFile(args[0], private, 0o600); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), public)
			return nil
		}}
}
