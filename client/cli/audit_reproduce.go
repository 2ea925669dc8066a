// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/transparency/release"
)

// auditReproduce is "audit reproduce FILE": the comparing half of reproducing. A
// client has no compilers; sotto-release runs them.
func (e *env) auditReproduce() *cobra.Command {
	var built, trust string
	cmd := &cobra.Command{
		Use:   "reproduce FILE --built DIR --release-trust FILE",
		Short: "Compare programs that you have built with those of a release",
		Long: `Judges the release in FILE under your own trust for releases, and compares files in
DIR with it, by name (linux_amd64/sotto, say) and SHA-256. What a release has and
DIR has not is listed and not compared. It builds nothing and needs no network.

This program holds no compilers. To build a release again from a checkout of its
tag, with the compiler that its provenance names, and compare:

  git clone --branch v1.2.3 REPOSITORY src
  sotto-release reproduce release.jsonl --trust trust.json --source src

With --out DIR it keeps what it built; this command then compares that on
another machine, by a program that did not build it.

Exit codes: 0 all that is in DIR is the same, and something is; 10 something
differs, nothing is there, or the release is refused; 1 failed; 2 usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if built == "" || trust == "" {
				return &usageError{errors.New("--built DIR and --release-trust FILE are required")}
			}
			t, err := releaseTrust(trust)
			if err != nil {
				return err
			}
			b, err := readCapped(args[0], release.MaxFile)
			if err != nil {
				return err
			}
			r, err := release.Verify(b, t, time.Now())
			if err != nil {
				return &auditError{exitAlarms, "audit: " + visible(err.Error())}
			}
			return compareBuilt(reportText{cmd.OutOrStdout()}, r, built)
		},
	}
	cmd.Flags().StringVar(&built, "built", "", "`DIR` of what you have built")
	cmd.Flags().StringVar(&trust, "release-trust", "", "`FILE` that says whose releases to believe")
	return cmd
}

// compareBuilt compares the files in a folder with the artifacts of a release.
// The folder's files decide what is compared: one that no release has is told.
func compareBuilt(out io.Writer, r *release.Release, dir string) error {
	root, err := os.OpenRoot(dir) // names come from the release: none leaves the folder
	if err != nil {
		return &usageError{err}
	}
	defer root.Close()
	var b strings.Builder
	known, same, differ := map[string]bool{}, 0, 0
	for _, a := range r.Artifacts {
		d, err := digestOf(root, a.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(&b, "not compared %s\n", a.Name)
			continue
		case err != nil:
			return fmt.Errorf("audit: %w", err)
		case d == a.Digest:
			same++
			fmt.Fprintf(&b, "same         %s\n", a.Name)
		default:
			differ++
			fmt.Fprintf(&b, "DIFFERENT    %s: released %x, built %x\n", a.Name, a.Digest, d)
		}
		known[filepath.ToSlash(filepath.Clean(a.Name))] = true
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !known[path] {
			differ++
			fmt.Fprintf(&b, "DIFFERENT    %s: built, but not in the release\n", path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	if differ > 0 || same == 0 {
		return &auditError{exitAlarms, fmt.Sprintf("audit: %s %s: %d differ, %d are the same", visible(r.Repository), visible(r.Tag), differ, same)}
	}
	_, err = fmt.Fprintf(out, "%s %s: all %d are the same, bit for bit\n", r.Repository, r.Tag, same)
	return err
}

func digestOf(root *os.Root, name string) (d [32]byte, err error) {
	if !filepath.IsLocal(name) {
		return d, fs.ErrNotExist
	}
	f, err := root.Open(name)
	if err != nil {
		return d, err
	}
	defer f.Close()
	if s, err := f.Stat(); err != nil || !s.Mode().IsRegular() {
		return d, errors.Join(err, fmt.Errorf("%s is no regular file", name))
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return d, err
	}
	h.Sum(d[:0])
	return d, nil
}
