// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/audit"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/transparency"
)

// auditFlags are the flags of audit.
type auditFlags struct {
	mirrors                 []string
	dir, policy, html       string
	own, failOn, metrics    string
	releases, releaseTrust  string
	releaseLog              string
	watch, once, json, list bool
	every, grace, maxAge    time.Duration
	witnessGrace            time.Duration
	packs, compare          uint64
}

// Exit codes of the audit commands beside those of every command.
const (
	exitAlarms      = 10
	exitUnsupported = 20
	ExitMalformed   = 30 // what was given is nothing of the kind asked for
)

// An auditError ends audit with a code of its own.
type auditError struct {
	code int
	text string
}

func (e *auditError) Error() string { return e.text }
func (e *auditError) ExitCode() int { return e.code }

func (e *env) audit() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Follow the statement log, judge everything in it, tell what changed",
		Long: `Reads the whole log of statements from mirrors, checks that it only grows, that it
has one canonical statement for each epoch, and that all mirrors show the same;
judges the evidence of every node whose evidence is still served, by your policy;
and tells, once, of what is new or wrong. What it knows is in a folder: it goes
on where it stopped. docs/spec/audit.md lists every alarm.

  sotto audit                                 once; the relays of the trust file
  sotto audit --mirror URL --mirror URL       once; these mirrors
  sotto audit --watch --metrics 127.0.0.1:9100
  sotto audit --json --html audit.html        for programs, and as one page
  sotto audit --list                          every alarm told so far; no network
  sotto audit explain-image DIGEST            what leads from a release to its source
  sotto audit reproduce FILE --built DIR      whether what you built is what was released
  sotto audit drill node ID                   how long a revocation takes
  sotto audit fingerprint                     words to read to somebody: the same view, the same words
  sotto audit fork FILE                       what a kept proof shows; needs your trust file only
  sotto audit receipts FILE…                  whether somebody chose the nodes that answered
  sotto audit forget --yes                    put aside what this client remembers, proofs and all

Relays serve all of the log, but not the packs that evidence travels in: to judge
evidence, name the publisher's port as a mirror, too.

Exit codes: 0 nothing at or above --fail-on; 10 alarms at or above it, told now or
still open; 20 no mirror serves what this program can read; 30 what was served is
malformed; 1 failed, the log could not be read to its end, or all named mirrors but
one were silent; 2 usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runAudit(cmd, &f) },
	}
	f.add(cmd)
	cmd.AddCommand(e.auditImage(), e.auditReproduce(), e.auditDrill(), e.auditFingerprint(), e.auditFork(), e.auditReceipts(), e.auditForget())
	return cmd
}

func (f *auditFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.mirrors, "mirror", nil, "base `URL` of a mirror or of the publisher; more than once to compare (default: the trust file's relays)")
	fl.StringVar(&f.dir, "dir", "", "folder `DIR` of what is known (default: audit, beside the trust file)")
	fl.StringVar(&f.policy, "policy", "", "policy `FILE` to judge evidence by (default: the trust file's); none: do not judge evidence")
	fl.BoolVar(&f.once, "once", false, "look once and end; the default")
	fl.BoolVar(&f.watch, "watch", false, "go on until interrupted")
	fl.DurationVar(&f.every, "every", time.Minute, "with --watch: time between looks")
	fl.StringVar(&f.failOn, "fail-on", "warning", "lowest `SEVERITY` that ends with exit code 10: info, notice, warning, critical")
	fl.BoolVar(&f.json, "json", false, "print the report as JSON (docs/spec/audit/report.schema.json); with --watch one alarm a line")
	fl.StringVar(&f.html, "html", "", "write the report as one page to `FILE`; with --watch after each look")
	fl.StringVar(&f.metrics, "metrics", "", "with --watch: serve Prometheus metrics on `ADDR`")
	fl.BoolVar(&f.list, "list", false, "print every alarm about an epoch that was told so far, from the folder alone")
	fl.StringVar(&f.releases, "releases", "", "`DIR` of release files: releases that statements name, and nodes, are judged by them")
	fl.StringVar(&f.releaseLog, "release-log", "", "`URL` of the release log (Rekor 2): entries signed as the publisher of --release-trust that are neither in --releases nor in --own are told")
	fl.StringVar(&f.own, "own", "", "with --release-log: `FILE` of further digests that are yours, as the log has them, hex, one a line")
	fl.StringVar(&f.releaseTrust, "release-trust", "", "`FILE` that says whose releases to believe")
	fl.DurationVar(&f.maxAge, "max-age", 15*time.Minute, "oldest acceptable newest checkpoint")
	fl.DurationVar(&f.grace, "grace", 10*time.Minute, "how long an outage lasts before it is told")
	fl.DurationVar(&f.witnessGrace, "witness-grace", time.Hour, "how long a witness may be silent")
	fl.Uint64Var(&f.packs, "packs", 32, "judge the evidence of the newest `N` epochs; older packs are seldom served")
	fl.Uint64Var(&f.compare, "compare", 1024, "compare mirrors' statements of the newest `N` epochs with the log")
}

// config makes the auditor's from the trust file and the flags.
func (f *auditFlags) config(e *env) (audit.Config, error) {
	var none audit.Config
	c, err := e.config()
	if err != nil {
		return none, err
	}
	a := audit.Config{
		Trust: c.Trust, Policy: c.Policy, Dir: f.dir, Packs: f.packs, Compare: f.compare,
		MaxAge: f.maxAge, Grace: f.grace, WitnessGrace: f.witnessGrace, Every: f.every, Now: c.Now,
	}
	if a.Dir == "" {
		a.Dir = filepath.Join(filepath.Dir(e.trust), "audit")
	}
	switch f.policy {
	case "":
	case "none":
		a.Policy = nil
	default:
		if a.Policy, err = readPolicy(f.policy, c.Policy); err != nil {
			return none, &usageError{err}
		}
	}
	if a.Mirrors, err = mirrorsOf(c, f.mirrors); err != nil {
		return none, &usageError{err}
	}
	return a, f.releaseConfig(&a)
}

// releaseConfig adds what is asked about releases.
func (f *auditFlags) releaseConfig(a *audit.Config) error {
	if f.own != "" && f.releaseLog == "" {
		return &usageError{errors.New("--own is for --release-log")}
	}
	if f.releases+f.releaseTrust+f.releaseLog == "" {
		return nil
	}
	if f.releaseTrust == "" || f.releases+f.releaseLog == "" {
		return &usageError{errors.New("--release-trust FILE goes with --releases DIR or --release-log URL: whose releases are to be believed?")}
	}
	t, err := releaseTrust(f.releaseTrust)
	if err != nil {
		return err
	}
	if f.releases != "" {
		files, err := audit.OpenReleaseFiles(f.releases, t)
		if err != nil {
			return err
		}
		a.Releases = files // and what is in them is on the list of one's own
	}
	if f.own != "" {
		own, err := readDigests(f.own)
		if err != nil {
			return &usageError{err}
		}
		a.Own = append(a.Own, own...)
	}
	if f.releaseLog != "" {
		log, err := audit.NewRekorLog(f.releaseLog, nil, t, time.Minute)
		if err != nil {
			return &usageError{err}
		}
		a.ReleaseLog = log
	}
	return nil
}

func mirrorsOf(c client.Config, urls []string) ([]audit.Mirror, error) {
	if len(urls) == 0 {
		urls = c.Relays
	}
	var out []audit.Mirror
	for _, u := range urls {
		m, err := audit.NewHTTPMirror(u, c.TLS, time.Minute)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// readPolicy reads another policy than the trust file's. Hardware roots come with
// the program, never from a file.
func readPolicy(path string, base *attestation.Policy) (*attestation.Policy, error) {
	b, err := readCapped(path, 1<<20)
	if err != nil {
		return nil, err
	}
	p, err := attestation.ParsePolicy(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	if base != nil {
		p.Roots = base.Roots
	}
	return p, nil
}

// readDigests reads SHA-256 digests in hex, one a line; what follows # is a remark.
func readDigests(path string) ([][32]byte, error) {
	b, err := readCapped(path, 1<<20)
	if err != nil {
		return nil, err
	}
	var out [][32]byte
	for s, n := bufio.NewScanner(bytes.NewReader(b)), 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		d, err := hex.DecodeString(line)
		if err != nil || len(d) != 32 {
			return nil, fmt.Errorf("%s: line %d is no SHA-256 in hex", path, n)
		}
		out = append(out, [32]byte(d))
	}
	return out, nil
}

func (e *env) runAudit(cmd *cobra.Command, f *auditFlags) error {
	var failOn audit.Severity
	if err := failOn.UnmarshalText([]byte(f.failOn)); err != nil {
		return &usageError{err}
	}
	switch {
	case f.once && f.watch:
		return &usageError{errors.New("--once or --watch, not both")}
	case f.metrics != "" && !f.watch:
		return &usageError{errors.New("--metrics is for --watch")}
	case f.packs == 0 || f.compare == 0:
		return &usageError{errors.New("--packs and --compare are at least 1; --policy none leaves evidence unjudged")}
	}
	cfg, err := f.config(e)
	if err != nil {
		return err
	}
	out := reportText{cmd.OutOrStdout()}
	if f.list {
		return listAlarms(cmd, cfg, f.json)
	}
	cfg.Progress = followed(cmd.ErrOrStderr())
	if !f.json || f.watch {
		cfg.Alarm = func(a audit.Alarm) {
			if f.json {
				_ = writeJSONLine(out.w, a) // the error comes again with the report
				return
			}
			fmt.Fprintln(out, a.Text())
		}
	}
	if f.watch {
		return f.follow(cmd, cfg, failOn)
	}
	a, err := audit.Open(cfg)
	if err != nil {
		return err
	}
	defer a.Close()
	err = a.Step(cmd.Context())
	if cmd.Context().Err() != nil {
		return cmd.Context().Err()
	}
	return f.report(out, a, failOn, err)
}

// follow watches until interrupted, and serves metrics meanwhile.
func (f *auditFlags) follow(cmd *cobra.Command, cfg audit.Config, failOn audit.Severity) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var metricsErr error
	var wg sync.WaitGroup
	defer wg.Wait()
	if f.metrics != "" {
		cfg.Meters = audit.NewMeters()
		wg.Go(func() {
			if err := cfg.Meters.Serve(ctx, f.metrics); err != nil {
				metricsErr = err
				cancel()
			}
		})
	}
	var a *audit.Auditor
	said := ""
	cfg.Looked = func(err error) {
		if text := fmt.Sprint(err); err != nil && ctx.Err() == nil && text != said {
			errorf(cmd, "%s", visible(text)) // the same trouble is said once
			said = text
		}
		if err == nil {
			said = ""
		}
		if f.html != "" {
			if err := writeAuditPage(a, f.html); err != nil {
				errorf(cmd, "%v", err)
			}
		}
	}
	a, err := audit.Open(cfg)
	if err != nil {
		return err
	}
	defer a.Close()
	err = a.Watch(ctx)
	cancel()
	wg.Wait()
	if err = errors.Join(err, metricsErr); err != nil {
		return err
	}
	return f.report(reportText{cmd.OutOrStdout()}, a, failOn, nil)
}

// report prints what is known and says how to end.
func (f *auditFlags) report(out reportText, a *audit.Auditor, failOn audit.Severity, stepErr error) error {
	r, err := a.Report()
	if err != nil {
		return err
	}
	if f.html != "" {
		if err := writeAuditPage(a, f.html); err != nil {
			return err
		}
	}
	switch {
	case f.json && !f.watch:
		err = writeJSON(out.w, r)
	case !f.json:
		_, err = io.WriteString(out, r.Text())
	}
	if err != nil {
		return err
	}
	return verdict(r, failOn, stepErr, f.watch)
}

// verdict is how a report ends the command.
func verdict(r *audit.Report, failOn audit.Severity, stepErr error, watched bool) error {
	var log *transparency.Error
	malformed := 0
	for _, m := range r.Mirrors {
		if strings.Contains(m.Error, string(transparency.CodeFormat)) {
			malformed++
		}
	}
	switch {
	case r.Worst() == audit.Critical:
		return alarmed(r) // more than any outage
	case r.Verdict == "incomplete" && malformed > 0 && malformed == len(r.Mirrors):
		return &auditError{ExitMalformed, "audit: no mirror shows a checkpoint that can be read"}
	case r.Verdict == "incomplete" && errors.Is(stepErr, fs.ErrNotExist):
		return &auditError{exitUnsupported, "audit: no mirror serves the log as tiles: " + visible(stepErr.Error())}
	case r.Worst() >= failOn:
		return alarmed(r)
	case watched:
		return nil
	case errors.As(stepErr, &log) && log.Code == transparency.CodeFormat:
		return &auditError{ExitMalformed, visible(stepErr.Error())}
	case stepErr != nil:
		return stepErr
	case r.Verdict == "incomplete":
		return errors.New("audit: " + r.Incomplete)
	}
	return nil
}

func alarmed(r *audit.Report) error {
	return &auditError{exitAlarms, fmt.Sprintf("audit: %s alarms: %d told, %d open", r.Worst(), len(r.Alarms), len(r.Open))}
}

func writeAuditPage(a *audit.Auditor, path string) error {
	r, err := a.Report()
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		return err
	}
	return writeFile(path, page.Bytes())
}

func listAlarms(cmd *cobra.Command, cfg audit.Config, asJSON bool) error {
	out := reportText{cmd.OutOrStdout()}
	if _, err := os.Stat(cfg.Dir); err != nil {
		return fmt.Errorf("audit: nothing was audited yet: %w", err)
	}
	a, err := audit.Read(cfg) // beside one that watches
	if err != nil {
		return err
	}
	defer a.Close()
	var werr error
	err = a.Recorded(func(x audit.Alarm) {
		if werr != nil {
			return
		}
		if asJSON {
			werr = writeJSONLine(out.w, x)
			return
		}
		_, werr = fmt.Fprintln(out, x.Text())
	})
	return errors.Join(err, werr)
}

// writeJSONLine prints a value on one line.
func writeJSONLine(w io.Writer, v any) error {
	var b strings.Builder
	if err := writeJSON(&b, v); err != nil {
		return err
	}
	var line bytes.Buffer
	if err := compactJSON(&line, b.String()); err != nil {
		return err
	}
	_, err := w.Write(append(line.Bytes(), '\n'))
	return err
}

// followed shows how far an audit is: on a terminal as a bar that is gone at the
// end, elsewhere as a line for each tenth. Few leaves are not worth a line.
func followed(w io.Writer) func(done, total uint64) {
	const many, width = 2048, 24
	terminal := isTerminal(w)
	var last time.Time
	tenth, first := uint64(0), uint64(0)
	begun := false
	return func(done, total uint64) {
		if !begun {
			begun, first = true, done
			tenth = done * 10 / total
		}
		switch {
		case total-min(first, total) < many:
		case !terminal:
			if t := done * 10 / total; t > tenth {
				tenth = t
				fmt.Fprintf(w, "audited %d of %d statements\n", done, total)
			}
		case done >= total:
			fmt.Fprintf(w, "\r%72s\r", "")
		case time.Since(last) >= 100*time.Millisecond:
			last = time.Now()
			full := int(done * width / total)
			fmt.Fprintf(w, "\raudited %d of %d statements [%s%s] %d %%", done, total, strings.Repeat("#", full), strings.Repeat(".", width-full), done*100/total)
		}
		if done >= total {
			begun = false
		}
	}
}
