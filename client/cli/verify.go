// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation/explain"
	"github.com/sotto-project/sotto/attestation/tamper"
	"github.com/sotto-project/sotto/client"
)

// verifyFlags are the flags of verify.
type verifyFlags struct {
	json, brief, explain, peers bool
	html, save, evidence, at    string
	tamper, extract             string
	audit, auditKey, auditName  string
}

func (e *env) verify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [--explain [WORD]]",
		Short: "Verify every node, explain what was checked, save and re-check evidence",
		Long: `Fetches the public statement from every relay and compares them, fetches the
evidence of all nodes, checks both completely on this machine, and prints what
was expected, what was found, who vouches for it, how old it is, what it would
mean had it failed, and how to check it by hand. No prompt is sent.

  sotto verify                                every node that is listed now
  sotto verify node ID                        one node, over a challenge of yours
  sotto verify --peers                        which nodes vouch for which
  sotto verify --explain                      the report, each step in plain words
  sotto verify --explain nonce                one word: nonce, vcek, pcr 7, chain ..
  sotto verify --save FILE                    keep what the verdict rests on
  sotto verify --evidence FILE --at TIME      judge it again, offline, years later
  sotto verify --evidence FILE --tamper pcr   see what a failure looks like
  sotto verify --html FILE --audit FILE       a page, and a signed record
  sotto verify piece sev-snp < report.json    one piece of anybody's evidence

Your trust file decides (--trust); nothing that a server sends does.

Exit codes: 0 verified (named gaps included), 10 refused, 1 failed, 2 usage.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && !f.explain {
				return fmt.Errorf("%q: verify takes a word after --explain, and nothing else", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return e.runVerify(cmd, args, &f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.json, "json", false, "print the report as JSON (docs/spec/verify/report.schema.json)")
	fl.BoolVar(&f.brief, "brief", false, "one line for each step that passed without a gap")
	fl.BoolVar(&f.explain, "explain", false, "explain each step, or one `WORD`; 'list' names them all")
	fl.BoolVar(&f.peers, "peers", false, "show which nodes vouch for which, by their own signatures")
	fl.StringVar(&f.html, "html", "", "write the report as one page to `FILE`")
	fl.StringVar(&f.save, "save", "", "write everything the verdict rests on to `FILE`")
	fl.StringVar(&f.evidence, "evidence", "", "judge the evidence saved in `FILE`; no network")
	fl.StringVar(&f.at, "at", "", "judge saved evidence as of `TIME` (RFC 3339; 'saved': when it was saved)")
	fl.StringVar(&f.tamper, "tamper", "", "change saved evidence by `MODE` and show what happens: "+tamper.Names()+", "+client.TamperLog)
	fl.StringVar(&f.extract, "extract", "", "write the pieces of the evidence as files into `DIR`, for checks by hand")
	fl.StringVar(&f.audit, "audit", "", "write a signed record of this verification to `FILE`, and a page to FILE.html")
	fl.StringVar(&f.auditKey, "audit-key", "", "Ed25519 key that signs records, PEM; made if there is none (default: beside the trust file)")
	fl.StringVar(&f.auditName, "audit-name", "", "what the signer calls itself in records")
	cmd.AddCommand(e.verifyNode())
	return cmd
}

func (e *env) runVerify(cmd *cobra.Command, args []string, f *verifyFlags) error {
	if f.explain && len(args) > 0 {
		return explainWord(cmd, args)
	}
	switch {
	case (f.at != "" || f.tamper != "") && f.evidence == "":
		return &usageError{errors.New("--at and --tamper are about saved evidence; name it with --evidence")}
	case f.peers && (f.evidence != "" || f.save != "" || f.audit != ""):
		return &usageError{errors.New("--peers asks the running system; it goes with --json only")}
	case f.peers:
		return e.runPeers(cmd, f.json)
	case f.evidence != "":
		return e.runSaved(cmd, f)
	}
	c, err := e.clientWith(progress(cmd))
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Verify(cmd.Context())
	if r == nil {
		return err
	}
	if f.save != "" || f.extract != "" {
		saved, serr := c.Save()
		if serr != nil {
			return serr
		}
		if f.save != "" {
			if serr = writeFile(f.save, saved); serr != nil {
				return serr
			}
		}
		if f.extract != "" {
			if serr = e.extract(saved, f.extract, r.Time); serr != nil {
				return serr
			}
		}
	}
	return errors.Join(e.show(cmd, r, f), err)
}

// show prints the report and writes what else was asked for.
func (e *env) show(cmd *cobra.Command, r *client.Report, f *verifyFlags) error {
	if err := e.writeReport(cmd.OutOrStdout(), r, f); err != nil {
		return err
	}
	if f.html != "" {
		if err := writePage(f.html, document(r)); err != nil {
			return err
		}
	}
	if f.audit != "" {
		return e.writeAudit(cmd, r, f)
	}
	return nil
}

func (e *env) writeReport(w io.Writer, r *client.Report, f *verifyFlags) error {
	if f.json {
		return writeJSON(w, r)
	}
	d := document(r)
	if err := explain.Text(w, d, explain.Options{Brief: f.brief}); err != nil || !f.explain {
		return err
	}
	return explainSteps(w, d)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// runSaved judges a file. It needs the trust file, for log and policy, and
// nothing else.
func (e *env) runSaved(cmd *cobra.Command, f *verifyFlags) error {
	b, err := os.ReadFile(f.evidence)
	if err != nil {
		return err
	}
	saved, err := client.ParseSaved(b)
	if err != nil {
		return err
	}
	j, err := e.judge(saved, f.at)
	if err != nil {
		return err
	}
	j.Progress = progress(cmd)
	if f.tamper != "" {
		t, err := j.Tamper(saved, f.tamper)
		if err != nil {
			return err
		}
		if werr := writeTampered(cmd.OutOrStdout(), t, f.json); werr != nil {
			return werr
		}
		return &client.Error{Code: t.Code, Detail: "as it should be: the evidence was tampered with (" + t.Mode + ")"}
	}
	r, err := j.Verify(saved)
	if r == nil {
		return hintAt(err, saved, f.at)
	}
	if f.extract != "" {
		if xerr := e.extract(b, f.extract, j.At); xerr != nil {
			return xerr
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
	j := &client.Judge{Trust: cfg.Trust, Policy: cfg.Policy, At: time.Now()}
	switch at {
	case "":
	case "saved":
		j.At = saved.Time
	default:
		if j.At, err = time.Parse(time.RFC3339, at); err != nil {
			return nil, &usageError{fmt.Errorf("--at %q is no time such as %s", at, time.Now().UTC().Format(time.RFC3339))}
		}
	}
	return j, nil
}

// hintAt tells whoever judges old evidence by today's clock how not to.
func hintAt(err error, saved *client.Saved, at string) error {
	var own *client.Error
	if at != "" || !errors.As(err, &own) {
		return err
	}
	out := *own
	out.Hint = fmt.Sprintf("it was judged as of now; it says it was saved at %s: --at saved judges it as of then", saved.Time.UTC().Format(time.RFC3339))
	return &out
}

// verifyNode is "verify node ID".
func (e *env) verifyNode() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "node ID",
		Short: "Have one node prove itself now, over a challenge drawn here",
		Long: `Draws a challenge, sends it through relay and gateway to one node, and verifies
the node completely, with a quote over that challenge in place of the freshness
evidence of the last minutes. ID is the beginning of a node's identifier; sotto
verify lists them. The question has the size of a prompt and nothing of you in it.

Exit codes: 0 verified (named gaps included), 10 refused, 1 failed, 2 usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.client()
			if err != nil {
				return err
			}
			defer c.Close()
			id, err := c.FindNode(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a, err := c.Attest(cmd.Context(), id)
			if a == nil {
				return err
			}
			if asJSON {
				return errors.Join(writeJSON(cmd.OutOrStdout(), a), err)
			}
			_, werr := io.WriteString(cmd.OutOrStdout(), a.Text())
			return errors.Join(werr, err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return cmd
}

func (e *env) runPeers(cmd *cobra.Command, asJSON bool) error {
	c, err := e.clientWith(progress(cmd))
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := c.Peers(cmd.Context())
	if m == nil {
		return err
	}
	if asJSON {
		return errors.Join(writeJSON(cmd.OutOrStdout(), m), err)
	}
	_, werr := io.WriteString(cmd.OutOrStdout(), m.Text())
	return errors.Join(werr, err)
}

// progress shows how far a verification of many nodes is, on a line of its own
// that is gone at the end. Few nodes are not worth the line.
func progress(cmd *cobra.Command) func(done, total int) {
	const many = 50
	last := time.Time{}
	return func(done, total int) {
		if total < many || done < total && time.Since(last) < 100*time.Millisecond {
			return
		}
		last = time.Now()
		fmt.Fprintf(cmd.ErrOrStderr(), "\rverified %d of %d nodes", done, total)
		if done == total {
			fmt.Fprint(cmd.ErrOrStderr(), "\n")
		}
	}
}
