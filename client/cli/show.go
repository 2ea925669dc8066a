// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/explain"
	"github.com/sotto-project/sotto/client"
)

// document is the report as package explain shows it.
func document(r *client.Report) *explain.Document {
	d := &explain.Document{Title: "Verification of " + strconv.Itoa(len(r.Nodes)) + " nodes", Gaps: r.Gaps, Simulated: r.Simulated, Time: r.Time}
	if len(r.Nodes) == 1 {
		d.Title = "Verification of one node"
	}
	if d.Verdict.UnmarshalText([]byte(r.Verdict)) != nil {
		d.Verdict = attestation.Failed // the client's word for it says more: nothing was sent
	}
	d.Head = []explain.Row{
		{Name: "statement", Value: r.Statement, Note: "SHA-256 of the statement of epoch " + strconv.FormatUint(r.Epoch, 10) + "; everybody sees the same one"},
		{Name: "log", Value: r.Origin, Note: "whose log the statement is in; its keys are in your trust file"},
		{Name: "checkpoint", Value: r.Newest, Note: "SHA-256 of the newest cosigned checkpoint, at most " + r.Age.Round(time.Second).String() + " old"},
		{Name: "mirrors", Value: strconv.Itoa(r.Mirrors), Note: "how many served the same statement"},
		{Name: "policy", Value: r.Policy, Note: "SHA-256 of your policy; yours is the one that counts"},
	}
	for _, n := range r.Nodes {
		if n.Report != nil {
			d.Nodes = append(d.Nodes, n.Report)
			continue
		}
		d.Verdict = attestation.Failed
		d.Gaps = append(d.Gaps, fmt.Sprintf("node %s was refused before its evidence was read: %s", n.ID, n.Detail))
	}
	return d
}

// explainWord prints one topic, or the list of them.
func explainWord(cmd *cobra.Command, args []string) error {
	word := strings.Join(args, " ")
	if word == "list" {
		return listTopics(cmd.OutOrStdout())
	}
	t, ok := explain.Find(word)
	if !ok {
		return &usageError{fmt.Errorf("nothing is called %q here; sotto verify --explain list names what is", word)}
	}
	return t.Write(cmd.OutOrStdout(), 0)
}

func listTopics(w io.Writer) error {
	for _, t := range explain.Topics() {
		if _, err := fmt.Fprintf(w, "%-20s %s\n", t.Name, t.Title); err != nil {
			return err
		}
	}
	return nil
}

// explainSteps prints the topic of every step that a document has, once each.
func explainSteps(w io.Writer, d *explain.Document) error {
	seen := map[string]bool{}
	for _, r := range d.Nodes {
		for _, s := range r.Steps {
			t, ok := explain.Find(s.ID)
			if !ok || seen[s.ID] {
				continue
			}
			seen[s.ID] = true
			if _, err := io.WriteString(w, "\n"+strings.Repeat("-", 80)+"\n"); err != nil {
				return err
			}
			if err := t.Write(w, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeTampered shows expected and received side by side.
func writeTampered(w io.Writer, t *client.Tampered, asJSON bool) error {
	if asJSON {
		return writeJSON(w, t)
	}
	var b strings.Builder
	if t.Report != nil && t.Report.Simulated {
		b.WriteString("SIMULATED HARDWARE: no chip stands behind this evidence\n\n")
	}
	fmt.Fprintf(&b, "tampered   %s: %s\n", t.Mode, t.What)
	fmt.Fprintf(&b, "step       %s\n\n", t.Step)
	left, right := wrapCell(t.Expected), wrapCell(t.Received)
	fmt.Fprintf(&b, "  %-36s    %s\n  %-36s    %s\n", "expected", "received", strings.Repeat("-", 36), strings.Repeat("-", 36))
	for i := range max(len(left), len(right)) {
		l, r, mark := cell(left, i), cell(right, i), " "
		if l != r {
			mark = "!"
		}
		fmt.Fprintf(&b, "  %-36s  %s %s\n", l, mark, r)
	}
	fmt.Fprintf(&b, "\nREFUSED    %s: %s\n", t.Code, t.Detail)
	fmt.Fprintf(&b, "it means   %s\n", t.Meaning)
	fmt.Fprintf(&b, "more       sotto verify --explain %s\n", t.Step)
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// wrapCell cuts a value into lines that fit beside another. Values come from
// evidence: what a terminal acts upon is taken out.
func wrapCell(s string) []string {
	const width = 36
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	var out []string
	for runes := []rune(s); len(runes) > 0; {
		n := min(width, len(runes))
		out = append(out, string(runes[:n]))
		runes = runes[n:]
	}
	return out
}

// writePage writes a page that holds everything it shows.
func writePage(path string, d *explain.Document) error {
	var b bytes.Buffer
	if err := explain.HTML(&b, d); err != nil {
		return err
	}
	return writeFile(path, b.Bytes())
}

// writeFile writes a file that others may read: nothing that this command writes
// is secret, but for the audit key, which has a writer of its own.
func writeFile(path string, b []byte) error {
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// extract writes the pieces of every node's evidence, under the names that the
// commands of --explain use.
func (e *env) extract(saved []byte, dir string, at time.Time) error {
	s, err := client.ParseSaved(saved)
	if err != nil {
		return err
	}
	cfg, err := e.config()
	if err != nil {
		return err
	}
	j := &client.Judge{Trust: cfg.Trust, Policy: cfg.Policy, At: at}
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
