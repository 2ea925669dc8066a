// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
)

// remote refuses a trust that would come from somebody else (AT-44).
func remote(trust string) error {
	return transparency.Refuse(release.CodeRemote, "--trust %s: a trust is a file of your own, not something to fetch", trust)
}

// voucher is what endorsing and revoking have in common.
type voucher struct {
	config, trust, out string
}

func (v *voucher) flags(c *cobra.Command) {
	c.Flags().StringVar(&v.config, "config", "", "log_url, timestamp_url and who signs; see make")
	c.Flags().StringVar(&v.trust, "trust", "", "your trust file; age and reviewers are not asked for here")
	c.Flags().StringVar(&v.out, "out", "", "the new release file, with one line more")
}

// attach signs and logs a statement, and writes a file that has it.
func (v *voucher) attach(cmd *cobra.Command, path string, statement func(*release.Release) ([]byte, error)) error {
	if v.config == "" || v.out == "" || v.trust == "" {
		return usageError{errors.New("--config, --trust and --out are required")}
	}
	c, err := config.Load[build.Config](v.config)
	if err != nil {
		return usageError{err}
	}
	if err := c.ValidateSigner(); err != nil {
		return usageError{err}
	}
	text, err := os.ReadFile(v.trust)
	if err != nil {
		return err
	}
	t, err := release.ParseTrust(text)
	if err != nil {
		return err
	}
	t.Policy = release.Policy{WithoutAge: true, WithoutReviewers: true}
	b, err := readFile(path, release.MaxFile)
	if err != nil {
		return err
	}
	r, err := release.Verify(b, t, time.Now())
	if err != nil {
		return err
	}
	s, err := statement(r)
	if err != nil {
		return err
	}
	n, err := build.NewNotary(&c)
	if err != nil {
		return err
	}
	line, err := n.Publish(cmd.Context(), s)
	if err != nil {
		return err
	}
	f, err := release.ParseFile(b)
	if err != nil {
		return err
	}
	if f, err = f.Attach(line); err != nil {
		return err
	}
	out, err := f.Append(nil)
	if err != nil {
		return err
	}
	if err := durable.CreateFile(v.out, out, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: signed and logged; file %x\n", v.out, release.Digest(out))
	return nil
}

func endorseCommand() *cobra.Command {
	var v voucher
	var claim string
	var valid time.Duration
	c := &cobra.Command{Use: "endorse FILE", Args: cobra.ExactArgs(1), Short: "Vouch for a release as a reviewer",
		Long: `Signs and logs your word for a release, and writes a file that carries it.
"reviewed" says that you looked at source and build (sotto-release reproduce is a good
part of that); "good", that you reviewed it earlier and know of nothing against it.
Users ask for recent words: with them a withheld withdrawal is noticed.`,
		Example: `  sotto-release endorse release.jsonl --trust trust.json --config me.yaml --out endorsed.jsonl
  sotto-release endorse release.jsonl --trust trust.json --config me.yaml --claim good --valid 48h --out again.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.attach(cmd, args[0], func(r *release.Release) ([]byte, error) {
				now := time.Now().UTC().Truncate(time.Second)
				return release.NewStatement(release.TypeEndorsement, []release.Subject{release.NewSubject(r.Tag, r.ID)},
					release.Endorsement{Claim: claim, AsOf: now, Expires: now.Add(valid.Truncate(time.Second))})
			})
		}}
	v.flags(c)
	c.Flags().StringVar(&claim, "claim", release.ClaimReviewed, `"reviewed" or "good"`)
	c.Flags().DurationVar(&valid, "valid", 90*24*time.Hour, "for how long your word counts")
	return c
}

func revokeCommand() *cobra.Command {
	var v voucher
	var kind, digest, reason string
	c := &cobra.Command{Use: "revoke FILE", Args: cobra.ExactArgs(1), Short: "Withdraw a release, image, model, chip or node",
		Long: `Signs and logs a withdrawal, and writes a release file that carries it; any
release's file can carry it, for what one withdraws is withdrawn from all. It counts
if you are the publisher, a reviewer or a revoker in a user's trust. It cannot be
taken back.

  release   the release in FILE; no --digest
  image     SHA-256 of the image          model   SHA-256 of the weights
  chip      SHA-256 of the identifier     node    node id`,
		Example: `  sotto-release revoke release.jsonl --kind image --digest 0123... --reason "writes prompts to disk" \
      --trust trust.json --config me.yaml --out release-revoked.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.attach(cmd, args[0], func(r *release.Release) ([]byte, error) {
				d := r.ID
				if kind != release.KindRelease {
					raw, err := hex.DecodeString(digest)
					if err != nil || len(raw) != len(d) {
						return nil, usageError{errors.New("--digest: want 64 hex digits")}
					}
					d = [32]byte(raw)
				} else if digest != "" {
					return nil, usageError{errors.New("--digest: the release is the one in FILE")}
				}
				return release.NewStatement(release.TypeRevocation, []release.Subject{release.NewSubject(kind, d)},
					release.Revocation{Kind: kind, Reason: reason, AsOf: time.Now().UTC().Truncate(time.Second)})
			})
		}}
	v.flags(c)
	c.Flags().StringVar(&kind, "kind", "", "release, image, model, chip or node")
	c.Flags().StringVar(&digest, "digest", "", "what to withdraw")
	c.Flags().StringVar(&reason, "reason", "", "why, for people")
	return c
}
