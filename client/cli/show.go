// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/explain"
	"github.com/sotto-project/sotto/client"
)

// show prints the report and writes what else was asked for.
func (e *env) show(cmd *cobra.Command, r *client.Report, f *verifyFlags) error {
	if err := writeReport(cmd.OutOrStdout(), r, f); err != nil {
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

func writeReport(w io.Writer, r *client.Report, f *verifyFlags) error {
	if f.json {
		return writeJSON(w, r)
	}
	d := document(r)
	w = reportText{w}
	if err := explain.Text(w, d, explain.Options{Brief: f.brief}); err != nil || !f.explain.set {
		return err
	}
	return explainSteps(w, d)
}

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
	}
	if r.Mirrors > 0 { // saved evidence has none
		d.Head = append(d.Head, explain.Row{Name: "mirrors", Value: strconv.Itoa(r.Mirrors), Note: "how many served the same statement"})
	}
	if r.Log != nil {
		for _, row := range r.Log.Rows() {
			d.Head = append(d.Head, explain.Row{Name: row[0], Value: row[1], Note: row[2]})
		}
	}
	for i := range r.Releases {
		for _, row := range r.Releases[i].Rows() {
			d.Head = append(d.Head, explain.Row{Name: row[0], Value: row[1], Note: row[2]})
		}
	}
	d.Head = append(d.Head, explain.Row{Name: "policy", Value: r.Policy, Note: "SHA-256 of your policy; yours is the one that counts"})
	for i := range r.Nodes {
		d.Nodes = append(d.Nodes, judged(&r.Nodes[i], r))
	}
	return d
}

// judged is the report on a node as everybody is shown it. A node that was refused
// outside its report, before its evidence could be read or after it was accepted,
// has that as its last step: a page without the node, or one that calls it
// verified, would be wrong.
func judged(n *client.NodeReport, r *client.Report) *attestation.Report {
	if n.Report != nil && (n.Code == "" || n.Report.Verdict == attestation.Failed) {
		return n.Report
	}
	out := &attestation.Report{NodeHex: n.ID, Time: r.Time, Simulated: r.Simulated}
	step := attestation.Step{
		ID: "evidence.pieces", What: "the node's evidence is there and can be read", Source: "docs/spec/attestation.md, Section 2",
		Expected: "evidence that the statement and the freshness list lead to", Meaning: "what cannot be read cannot be judged",
		ByHand: "sotto verify --save FILE keeps what was served",
	}
	if n.Report != nil {
		*out = *n.Report
		out.Tier, out.TierWhy = 0, ""
		step.ID, step.What, step.Expected = "rek", "the key that the evidence vouches for can be sealed to", "a key of the kind that this program seals to"
		step.Meaning, step.Source = "a prompt could not be sealed to it", "docs/spec/sealed-request.md"
	} else if readDigest(&out.Node, n.ID) != nil {
		out.NodeHex = "" // never: the client printed it
	}
	step.Got, step.Code, step.Vouches, step.Verdict = n.Detail, attestation.Code(n.Code), attestation.Stated, attestation.Failed
	if n.Code == "" {
		step.Got, step.Verdict = "not looked at", attestation.NotChecked
	}
	out.Steps, out.Verdict = append(slices.Clip(out.Steps), step), step.Verdict
	return out
}

// explainWord prints one topic, or the list of them.
func explainWord(w io.Writer, args []string) error {
	word := strings.Join(args, " ")
	if word == "list" {
		return listTopics(w)
	}
	t, ok := explain.Find(word)
	if !ok {
		return &usageError{fmt.Errorf("nothing is called %q here; sotto verify --explain list names what is", word)}
	}
	return t.Write(w, 0)
}

// completeWords are the words that --explain takes, for a shell.
func completeWords() []string {
	words := []string{"list\tall of them"}
	for _, t := range explain.Topics() {
		words = append(words, t.Name+"\t"+t.Title)
	}
	return words
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

// ShowTampered shows expected and received side by side, and returns the refusal
// that it was.
func ShowTampered(w io.Writer, t *client.Tampered, asJSON bool) error {
	if err := writeTampered(w, t, asJSON); err != nil {
		return err
	}
	return &client.Error{Code: t.Code, Detail: "as it should be: the evidence was tampered with (" + t.Mode + ")"}
}

func writeTampered(w io.Writer, t *client.Tampered, asJSON bool) error {
	if asJSON {
		return writeJSON(w, t)
	}
	var b strings.Builder
	if t.Simulated {
		b.WriteString("SIMULATED HARDWARE: no chip stands behind this evidence\n\n")
	}
	field := func(name, value string) {
		for i, l := range fold(value, 76-11) {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "%-10s %s\n", name, l)
		}
	}
	field("tampered", t.Mode+": "+t.What)
	field("changed", t.Changed)
	field("step", t.Step)
	const width = 36
	left, right := fold(t.Expected, width), fold(t.Received, width)
	fmt.Fprintf(&b, "\n  %-*s    %s\n  %s    %s\n", width, "expected", "received", strings.Repeat("-", width), strings.Repeat("-", width))
	for i := range max(len(left), len(right)) {
		l, r, mark := cell(left, i), cell(right, i), " "
		if l != r {
			mark = "!"
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s  %s %s", width, l, mark, r), " ") + "\n")
	}
	b.WriteString("\n")
	field("REFUSED", t.Code+": "+t.Detail)
	field("if passed", t.Meaning)
	if _, ok := explain.Find(t.Step); ok {
		field("more", "sotto verify --explain "+t.Step)
	} else {
		field("more", "docs/spec/epoch.md") // the log has no topic: it is no step of a node's report
	}
	_, err := io.WriteString(reportText{w}, b.String())
	return err
}

func cell(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// fold cuts a value into lines: at spaces where it can, within a word where that
// is longer than a line, as digests are.
func fold(s string, width int) []string {
	var out []string
	line := ""
	for _, w := range strings.Fields(visible(s)) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > width {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		r := []rune(line + w)
		for ; len(r) > width; r = r[width:] {
			out = append(out, string(r[:width]))
		}
		line = string(r)
	}
	if line != "" {
		out = append(out, line)
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
