// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/transparency/release"
)

// verifyRelease is "verify release FILE".
func (e *env) verifyRelease() *cobra.Command {
	var trust, at string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "release FILE --release-trust FILE",
		Short: "Judge a release file under your own trust, as the client does before it sends",
		Long: `Judges a release file as the client judges the releases that a statement names:
signed by exactly the identity that you pinned, each statement in a log that you
trust, of one piece, not withdrawn, reviewed and public for as long as you ask.
Nothing is fetched. The trust file for releases is the one that your trust file
names as releases: (docs/spec/release.md, Section 4).

To build it again and compare: sotto-release reproduce.

Exit codes: 0 verified; 10 refused, with the code; 1 failed; 2 usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if trust == "" {
				return &usageError{errors.New("--release-trust FILE: whose releases are to be believed?")}
			}
			t, err := releaseTrust(trust)
			if err != nil {
				return err
			}
			now := time.Now()
			if at != "" {
				if now, err = time.Parse(time.RFC3339, at); err != nil {
					return &usageError{fmt.Errorf("--at: %v", err)}
				}
			}
			b, err := readCapped(args[0], release.MaxFile)
			if err != nil {
				return err
			}
			r, err := release.Verify(b, t, now)
			if err != nil {
				return &refusedError{errors.New(visible(err.Error()))}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			_, err = io.WriteString(reportText{cmd.OutOrStdout()}, fmt.Sprintf("%s: %s %s\n%s", r.Verdict(), r.Repository, r.Tag, r.Text()))
			return err
		},
	}
	cmd.Flags().StringVar(&trust, "release-trust", "", "`FILE` that says whose releases to believe")
	cmd.Flags().StringVar(&at, "at", "", "judge as of `TIME` (RFC 3339) instead of now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}
