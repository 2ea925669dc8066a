// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
)

// verifyFlags are the flags of verify.
type verifyFlags struct {
	json, brief, peers         bool
	explain                    word
	html, save, evidence, at   string
	tamper, extract            string
	audit, auditKey, auditName string
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
  sotto verify release FILE                   a release file, as the client judges those that run
  sotto verify --peers                        which nodes vouch for which
  sotto verify --explain                      the report, each step in plain words
  sotto verify --explain nonce                one word: nonce, vcek, pcr 7, chain ..
  sotto verify --save FILE                    keep what the verdict rests on
  sotto verify --evidence FILE --at TIME      judge it again, offline, years later
  sotto verify --evidence FILE --tamper pcr   see what a failure looks like
  sotto verify --html FILE --audit FILE       a page, and a signed record
  sotto verify record FILE --key PUB          check such a record, compare two
  sotto verify piece sev-snp < report.json    one piece of anybody's evidence

Your trust file decides (--trust); nothing that a server sends does.

Exit codes: 0 verified (named gaps included), 10 refused, 1 failed, 2 usage.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && !f.explain.set {
				return fmt.Errorf("%q: verify takes a word after --explain, and nothing else", args[0])
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if !f.explain.set || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeWords(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return e.runVerify(cmd, args, &f) },
	}
	f.add(cmd)
	cmd.AddCommand(e.verifyNode(), e.verifyRelease(), e.verifyRecord(), e.piece())
	return cmd
}

// add declares the flags, and what a shell can complete of their values.
func (f *verifyFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.json, "json", false, "print the report as JSON (docs/spec/verify/report.schema.json)")
	fl.BoolVar(&f.brief, "brief", false, "one line for each step that passed without a gap")
	fl.Var(&f.explain, "explain", "explain each step, or one `WORD`; 'list' names them all")
	fl.Lookup("explain").NoOptDefVal = "true"
	fl.BoolVar(&f.peers, "peers", false, "show which nodes vouch for which, by their own signatures")
	fl.StringVar(&f.html, "html", "", "write the report as one page to `FILE`")
	fl.StringVar(&f.save, "save", "", "write everything the verdict rests on to `FILE` (docs/spec/saved-evidence.md)")
	fl.StringVar(&f.evidence, "evidence", "", "judge the evidence saved in `FILE`; no network")
	fl.StringVar(&f.at, "at", "", "judge saved evidence as of `TIME` (RFC 3339; 'saved': when it was saved)")
	fl.StringVar(&f.tamper, "tamper", "", "change saved evidence by `MODE` and show what happens: "+client.TamperNames())
	fl.StringVar(&f.extract, "extract", "", "write the pieces of the evidence as files into `DIR`, for checks by hand")
	fl.StringVar(&f.audit, "audit", "", "write a signed record of this verification to `FILE`, and a page to FILE.html")
	fl.StringVar(&f.auditKey, "audit-key", "", "Ed25519 key that signs records, PEM; made if there is none (default: beside the trust file)")
	fl.StringVar(&f.auditName, "audit-name", "", "what the signer calls itself in records")
	var modes []string
	for _, m := range client.TamperModes() {
		modes = append(modes, m.Name+"\t"+m.What)
	}
	complete(cmd, "tamper", modes...)
	complete(cmd, "at", "saved\twhen it was saved")
}

// A word is the value of --explain: a flag that may stand alone, be followed by a
// word, or have one after an equals sign.
type word struct {
	set  bool
	word string
}

func (w *word) String() string { return w.word }
func (w *word) Type() string   { return "word" }

func (w *word) Set(s string) error {
	switch w.set, w.word = true, s; s {
	case "true":
		w.word = ""
	case "false":
		*w = word{}
	}
	return nil
}

// check refuses flags that contradict each other: one that is ignored in silence
// would have somebody believe that it was heeded.
func (f *verifyFlags) check(args []string) error {
	usage := func(text string) error { return &usageError{errors.New(text)} }
	any := func(flags ...string) bool { return strings.Join(flags, "") != "" }
	files := any(f.html, f.save, f.extract, f.audit)
	switch {
	case any(f.at, f.tamper) && f.evidence == "":
		return usage("--at and --tamper are about saved evidence; name it with --evidence FILE")
	case any(f.auditKey, f.auditName) && f.audit == "":
		return usage("--audit-key and --audit-name are about a record; name it with --audit FILE")
	case f.json && (f.brief || f.explain.set):
		return usage("--json prints everything; it does not go with --brief or --explain")
	case f.peers && (f.brief || f.explain.set || files || f.evidence != ""):
		return usage("--peers asks the running system; it goes with --json only")
	case f.tamper != "" && (f.brief || f.explain.set || files):
		return usage("--tamper shows one refusal; it goes with --evidence, --at and --json only")
	case f.evidence != "" && f.save != "":
		return usage("--evidence reads what was saved; copy the file instead of saving it anew")
	case f.explain.word != "" && len(args) > 0:
		return usage("--explain takes one word")
	case (f.explain.word != "" || len(args) > 0) && (f.brief || files || f.evidence != ""):
		return usage("--explain WORD explains a word and verifies nothing; it goes with no other flag")
	}
	return nil
}

func (e *env) runVerify(cmd *cobra.Command, args []string, f *verifyFlags) error {
	if err := f.check(args); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case f.explain.word != "":
		return explainWord(reportText{out}, []string{f.explain.word})
	case f.explain.set && len(args) > 0:
		return explainWord(reportText{out}, args)
	case f.peers:
		return e.runPeers(cmd, f.json)
	case f.evidence != "":
		return e.runSaved(cmd, f)
	}
	c, err := e.clientWith(progress(cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Verify(cmd.Context())
	if r == nil {
		return refused(out, f.json, err)
	}
	if f.save != "" || f.extract != "" {
		if serr := e.keep(c, r.Time, f); serr != nil {
			return errors.Join(serr, e.show(cmd, r, f), err)
		}
	}
	return errors.Join(e.show(cmd, r, f), err)
}

// keep writes what was fetched, whatever came of it: a refusal is worth keeping,
// too.
func (e *env) keep(c *client.Client, at time.Time, f *verifyFlags) error {
	saved, err := c.Save()
	if err != nil {
		return err
	}
	if f.save != "" {
		if err := writeFile(f.save, saved); err != nil {
			return err
		}
	}
	if f.extract == "" {
		return nil
	}
	s, err := client.ParseSaved(saved)
	if err != nil {
		return err
	}
	return e.extract(s, f.extract, at)
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
			out := cmd.OutOrStdout()
			id, err := c.FindNode(cmd.Context(), args[0])
			if err != nil {
				return refused(out, asJSON, err)
			}
			a, err := c.Attest(cmd.Context(), id)
			if a == nil {
				return refused(out, asJSON, err)
			}
			if asJSON {
				return errors.Join(writeJSON(out, a), err)
			}
			_, werr := io.WriteString(reportText{out}, a.Text())
			return errors.Join(werr, err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return cmd
}

func (e *env) runPeers(cmd *cobra.Command, asJSON bool) error {
	c, err := e.clientWith(progress(cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	defer c.Close()
	out := cmd.OutOrStdout()
	m, err := c.Peers(cmd.Context())
	if m == nil {
		return refused(out, asJSON, err)
	}
	if asJSON {
		return errors.Join(writeJSON(out, m), err)
	}
	_, werr := io.WriteString(reportText{out}, m.Text())
	return errors.Join(werr, err)
}

// progress shows how far a verification of many nodes is: on a terminal on a
// line that is gone at the end, elsewhere as one line when all is done. Few nodes
// are not worth a line.
func progress(w io.Writer) func(done, total int) {
	const many = 50
	terminal := isTerminal(w)
	last := time.Time{}
	return func(done, total int) {
		switch {
		case total < many:
		case !terminal:
			if done == total {
				fmt.Fprintf(w, "verified %d nodes\n", total)
			}
		case done == total:
			fmt.Fprintf(w, "\r%40s\r", "")
		case time.Since(last) >= 100*time.Millisecond:
			last = time.Now()
			fmt.Fprintf(w, "\rverified %d of %d nodes", done, total)
		}
	}
}
