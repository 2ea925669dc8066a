// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation/explain"
	"github.com/sotto-project/sotto/client"
)

// runSaved judges a file. It needs the trust file, for log and policy, and
// nothing else: no network, and no clock where --at names a time.
func (e *env) runSaved(cmd *cobra.Command, f *verifyFlags) error {
	out := cmd.OutOrStdout()
	b, err := readCapped(f.evidence, client.MaxSaved)
	if err != nil {
		return refused(out, f.json, fmt.Errorf("evidence: %w; sotto verify --save FILE writes such a file", err))
	}
	saved, err := client.ParseSaved(b)
	if err != nil {
		return refused(out, f.json, err)
	}
	j, err := e.judge(saved, f.at)
	if err != nil {
		return err
	}
	if f.tamper != "" {
		t, err := j.Tamper(saved, f.tamper)
		if err != nil {
			return refused(out, f.json, hint(err, saved, j, f))
		}
		return ShowTampered(out, t, f.json)
	}
	j.Progress = progress(cmd.ErrOrStderr())
	r, err := j.Verify(saved)
	err = hint(err, saved, j, f)
	if r == nil {
		return refused(out, f.json, err)
	}
	if f.extract != "" {
		if xerr := e.extract(saved, f.extract, j.At); xerr != nil {
			return errors.Join(xerr, e.show(cmd, r, f), err)
		}
	}
	return errors.Join(e.show(cmd, r, f), err)
}

// judge reads the trust file and the time.
func (e *env) judge(saved *client.Saved, at string) (*client.Judge, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	now := time.Now
	if cfg.Now != nil {
		now = cfg.Now
	}
	j := &client.Judge{Trust: cfg.Trust, Policy: cfg.Policy, Releases: cfg.Releases, At: now()}
	switch at {
	case "":
	case "saved":
		j.At = saved.Time
	default:
		if j.At, err = time.Parse(time.RFC3339, at); err != nil {
			return nil, &usageError{fmt.Errorf("--at %q is no time such as %s, nor the word saved", at, saved.Time.Format(time.RFC3339))}
		}
	}
	return j, nil
}

// hint tells whoever judges old evidence by today's clock how not to, and whoever
// tampers that this begins with evidence that verifies.
func hint(err error, saved *client.Saved, j *client.Judge, f *verifyFlags) error {
	const old = time.Minute
	var own *client.Error
	if !errors.As(err, &own) || own.Code == client.CodeConfig {
		return err
	}
	out := *own
	switch {
	case f.at == "" && j.At.Sub(saved.Time) > old:
		out.Hint = fmt.Sprintf("it was judged as of now; it says it was saved at %s: --at saved judges it as of then", saved.Time.Format(time.RFC3339))
	case f.tamper != "":
		out.Hint = "tampering begins with evidence that verifies, and this does not: look at it without --tamper first"
	}
	return &out
}

// extract writes the pieces of every node's evidence, under the names that the
// commands of --explain use.
func (e *env) extract(s *client.Saved, dir string, at time.Time) error {
	cfg, err := e.config()
	if err != nil {
		return err
	}
	j := &client.Judge{Trust: cfg.Trust, Policy: cfg.Policy, Releases: cfg.Releases, At: at}
	ids, all, checkpoint, err := j.Evidence(s)
	if err != nil {
		return err
	}
	for i, ev := range all {
		files, err := explain.Files(ev)
		if err != nil {
			return err
		}
		sub := filepath.Join(dir, fmt.Sprintf("node-%x", ids[i][:8]))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		files = append(files, explain.File{Name: "checkpoint.txt", Data: checkpoint})
		for _, f := range files {
			if err := writeFile(filepath.Join(sub, f.Name), f.Data); err != nil {
				return err
			}
		}
	}
	return nil
}
