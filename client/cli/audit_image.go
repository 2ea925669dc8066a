// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/audit"
	"github.com/sotto-project/sotto/transparency/release"
)

// releaseFiles opens a folder of release files under a trust file for releases.
func releaseFiles(dir, trust string) (*audit.ReleaseFiles, error) {
	if dir == "" || trust == "" {
		return nil, &usageError{errors.New("--releases DIR and --release-trust FILE come together: whose releases are to be believed?")}
	}
	t, err := releaseTrust(trust)
	if err != nil {
		return nil, err
	}
	return audit.OpenReleaseFiles(dir, t)
}

func releaseTrust(path string) (*release.Trust, error) {
	b, err := readCapped(path, 1<<20)
	if err != nil {
		return nil, &usageError{err}
	}
	t, err := release.ParseTrust(b)
	if err != nil {
		return nil, &usageError{fmt.Errorf("%s: %w", path, err)}
	}
	return t, nil
}

// auditImage is "audit explain-image DIGEST".
func (e *env) auditImage() *cobra.Command {
	var dir, trust string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain-image DIGEST --releases DIR --release-trust FILE",
		Short: "What leads from a release or image to its source, and what is missing",
		Long: `Looks in a folder of release files for the one with DIGEST (of the file, as
statements name it; of the release; or of an image in it), verifies it under your
own trust for releases, and prints repository, commit, SBOM, provenance and the
index in the log, or which of them is missing; of an image whose launch measurement
was computed, from what. No network.

To build it again and compare: sotto-release reproduce. To compute again what its
machines measure, from firmware and image files: sotto-release re-derive.

Exit codes: 0 everything is there and verified; 10 refused, or something is
missing; 1 failed; 2 usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := hex.DecodeString(strings.TrimPrefix(args[0], "sha256:"))
			if err != nil || len(d) != 32 {
				return &usageError{errors.New("DIGEST is 64 hex digits")}
			}
			files, err := releaseFiles(dir, trust)
			if err != nil {
				return err
			}
			r, err := files.Find(cmd.Context(), [32]byte(d), time.Now())
			if err != nil {
				return &auditError{exitAlarms, "audit: " + visible(err.Error())}
			}
			return showRelease(cmd.OutOrStdout(), r, asJSON)
		},
	}
	cmd.Flags().StringVar(&dir, "releases", "", "`DIR` of release files")
	cmd.Flags().StringVar(&trust, "release-trust", "", "`FILE` that says whose releases to believe")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func showRelease(w io.Writer, r *audit.Release, asJSON bool) error {
	missing := r.Missing()
	if asJSON {
		if err := writeJSON(w, struct {
			*audit.Release
			Missing []string `json:"missing"`
		}{r, append([]string{}, missing...)}); err != nil {
			return err
		}
	} else {
		var b strings.Builder
		for _, row := range [][2]string{{"release", r.Name}, {"signed by", r.Workflow}, {"repository", r.Repository}, {"commit", r.Commit},
			{"image", r.Image}, {"SBOM", r.SBOM}, {"provenance", r.Provenance}, {"log index", r.LogIndex}} {
			value := row[1]
			if value == "" {
				value = "MISSING"
			}
			fmt.Fprintf(&b, "%-12s %s\n", row[0], value)
		}
		for _, l := range r.Launches {
			fmt.Fprintf(&b, "%-12s %s: %s\n", "launch of", l.Name, l.Recipe)
		}
		if _, err := io.WriteString(reportText{w}, b.String()); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return &auditError{exitAlarms, "audit: missing: " + strings.Join(missing, ", ")}
	}
	return nil
}
