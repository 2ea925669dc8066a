// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/audit"
)

// auditDrill is "audit drill KIND ID".
func (e *env) auditDrill() *cobra.Command {
	var mirror string
	var every time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "drill node|chip|release ID",
		Short: "Measure how long a revocation takes to reach a client",
		Long: `Watches a mirror as a client does. Once the subject has been seen in the statement
in force, it says so: withdraw it then. It ends when the statement in force lists
it no longer, and prints how long that took, in epochs and in seconds. It
publishes and withdraws nothing itself.

ID is 64 hex digits: a node's id, the SHA-256 of a chip's identifier, a release's
digest, as statements have them.

Exit codes: 0 measured, 1 failed, 2 usage.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := audit.ParseSubject(args[0], args[1])
			if err != nil {
				return &usageError{err}
			}
			c, err := e.config()
			if err != nil {
				return err
			}
			var urls []string
			if mirror != "" {
				urls = []string{mirror}
			}
			mirrors, err := mirrorsOf(c, urls)
			if err != nil {
				return &usageError{err}
			}
			if len(mirrors) == 0 {
				return &usageError{errors.New("no mirror; name one with --mirror")}
			}
			cfg := audit.DrillConfig{Trust: c.Trust, Mirror: mirrors[0], Subject: s, Every: every, Now: c.Now}
			last, begun := uint64(0), false
			cfg.Looked = func(epoch uint64, listed bool) {
				if listed && (!begun || epoch != last) {
					errorf(cmd, "epoch %d is in force and lists it%s", epoch, map[bool]string{false: ": withdraw it now", true: ""}[begun])
				}
				last, begun = epoch, true
			}
			r, err := audit.Drill(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, r)
			}
			_, err = fmt.Fprintf(reportText{out}, "%s %s\nlisted in force   epoch %d, seen %s\nnext one public   %s\nno longer in force epoch %d, %s\ntook              %d epochs, %d s\n",
				r.Kind, r.ID, r.BegunEpoch, r.Begun.UTC().Format(time.RFC3339), r.Public.UTC().Format(time.RFC3339), r.InForceEpoch, r.InForce.UTC().Format(time.RFC3339), r.Epochs, r.Seconds)
			return err
		},
	}
	cmd.Flags().StringVar(&mirror, "mirror", "", "base `URL` of the mirror to watch (default: the trust file's first relay)")
	cmd.Flags().DurationVar(&every, "every", 5*time.Second, "time between looks: the measurement is no finer")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func compactJSON(dst *bytes.Buffer, s string) error { return json.Compact(dst, []byte(s)) }
