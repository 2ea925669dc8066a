// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sotto-project/sotto/attestation"
)

// Options say how [Text] prints. The zero value is 80 columns, no colour, every
// step in full.
type Options struct {
	Width int  // columns; 0: 80; fewer than 72 count as 72
	Color bool // ANSI colours besides the words, which say the same
	Brief bool // steps without a gap that passed take one line
}

// Text prints a document for a terminal. The error is that of w.
func Text(w io.Writer, d *Document, o Options) error {
	p := newPrinter(w, o)
	if d.simulated() {
		p.paint(attestation.Failed, "SIMULATED HARDWARE")
		p.wrap("", "No vendor stands behind any of this: it shows how things work and proves nothing about a real machine.")
		p.line("")
	}
	p.head(d)
	for _, r := range d.Nodes {
		p.node(r)
	}
	p.line("")
	p.wrap("", "More on any word in brackets: sotto verify --explain WORD. By hand: sotto verify --extract DIR writes the files that the commands name.")
	return p.err
}

type printer struct {
	w   io.Writer
	o   Options
	err error
}

func newPrinter(w io.Writer, o Options) *printer {
	if o.Width == 0 {
		o.Width = 80
	}
	o.Width = max(o.Width, 72)
	return &printer{w: w, o: o}
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// wrap prints text in lines no longer than the width, all indented alike. A word
// that is longer is cut: digests would otherwise be wrapped by the terminal,
// under the wrong column.
func (p *printer) wrap(indent, text string) {
	for _, l := range fold(text, p.o.Width-utf8.RuneCountInString(indent)) {
		p.line("%s%s", indent, l)
	}
}

// field prints a name and a value that may take several lines.
func (p *printer) field(indent, name, value string) {
	if value == "" {
		return
	}
	const column = 11
	head := fmt.Sprintf("%s%-*s", indent, column, name)
	for i, l := range fold(value, p.o.Width-len(indent)-column) {
		if i > 0 {
			head = strings.Repeat(" ", len(indent)+column)
		}
		p.line("%s%s", head, l)
	}
}

// paint prints a line in the colour of a verdict. The words say the same: colour
// is for those who see it.
func (p *printer) paint(v attestation.Verdict, text string) {
	color := map[attestation.Verdict]string{attestation.Verified: "32", attestation.VerifiedWithGaps: "33", attestation.Failed: "1;31"}[v]
	if p.o.Color && color != "" {
		text = "\x1b[" + color + "m" + text + "\x1b[0m"
	}
	p.line("%s", text)
}

func fold(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(clean(text)) {
		for utf8.RuneCountInString(word) > width {
			room := width
			if line != "" {
				if room = width - utf8.RuneCountInString(line) - 1; room < width/2 {
					lines, line, room = append(lines, line), "", width
				} else {
					line += " "
				}
			}
			r := []rune(word)
			lines, line, word = append(lines, line+string(r[:room])), "", string(r[room:])
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func (p *printer) head(d *Document) {
	title := clean(d.Title)
	p.line("%s", title)
	p.line("%s", strings.Repeat("=", min(utf8.RuneCountInString(title), p.o.Width)))
	p.paint(d.verdict(), strings.ToUpper(d.verdict().String()))
	p.wrap("", says(d.verdict()))
	p.line("")
	p.field("", "time", d.Time.UTC().Format(time.RFC3339))
	if len(d.Nodes) > 1 {
		p.field("", "nodes", d.counts())
	}
	for _, r := range d.Head {
		if len(r.Name) < 11 {
			p.field("", clean(r.Name), r.Value)
		} else {
			p.wrap("", r.Name)
			p.wrap("           ", r.Value)
		}
		if r.Note != "" && !p.o.Brief {
			p.wrap("           ", "("+r.Note+")")
		}
	}
	p.gaps("", d.Gaps)
}

func (p *printer) gaps(indent string, gaps []string) {
	for i, g := range gaps {
		name := ""
		if i == 0 {
			name = "gaps"
		}
		p.field(indent, name, "- "+g)
	}
}

func (p *printer) node(r *attestation.Report) {
	p.line("")
	p.line("%s", strings.Repeat("-", p.o.Width))
	p.line("node %s", clean(r.NodeHex))
	v := verdictOf(r)
	p.paint(v, "  "+strings.ToUpper(v.String()))
	p.field("  ", "platform", platformOf(r))
	p.field("  ", "tier", tierOf(r))
	p.field("  ", "", r.TierWhy)
	p.gaps("  ", r.Gaps())
	p.line("")
	p.line("What the evidence covers, from the bottom up [layers]")
	for i, l := range Layers(r) {
		p.layer(i+1, l)
	}
	p.line("")
	p.line("Step by step")
	for i := range r.Steps {
		p.step(&r.Steps[i])
	}
}

func (p *printer) layer(n int, l Layer) {
	const name, state = 30, 13
	head, text := fmt.Sprintf("  %d  ", n), l.Says()
	if l.Vouches != "" && l.Vouches != attestation.Attested {
		text += " (" + string(l.Vouches) + ")"
	}
	names, lines := fold(l.Name, name-2), fold(text, p.o.Width-len(head)-name-state)
	for i := range max(len(names), len(lines)) {
		a, b, c := "", "", ""
		if i < len(names) {
			a = names[i]
		}
		if i == 0 {
			b = string(l.State)
		} else {
			head = strings.Repeat(" ", len(head))
		}
		if i < len(lines) {
			c = lines[i]
		}
		p.line("%s", strings.TrimRight(fmt.Sprintf("%s%-*s%-*s%s", head, name, a, state, b, c), " "))
	}
}

// marks are what stands before a step; as telling without colour.
var marks = map[attestation.Verdict]string{
	attestation.Verified: "ok", attestation.VerifiedWithGaps: "gap", attestation.Failed: "FAILED", attestation.NotChecked: "not checked",
}

func (p *printer) step(s *attestation.Step) {
	if !p.o.Brief || s.Verdict != attestation.Verified {
		p.line("")
	}
	p.paint(s.Verdict, fmt.Sprintf("%-7s %s [%s]", marks[s.Verdict], clean(s.What), clean(s.ID)))
	if p.o.Brief && s.Verdict == attestation.Verified {
		return
	}
	const indent = "        "
	if t, ok := byName(s.ID); ok && !p.o.Brief {
		p.wrap(indent, t.Short)
	}
	if s.Verdict == attestation.Failed {
		p.field(indent, "code", string(s.Code))
		p.beside(indent, s.Expected, s.Got)
	} else {
		p.field(indent, "expected", s.Expected)
		p.field(indent, "received", s.Got)
	}
	p.field(indent, "gap", s.Gap)
	p.field(indent, "vouched", vouched(s))
	if s.Verdict == attestation.Failed {
		p.field(indent, "meaning", s.Meaning)
	} else {
		p.field(indent, "if failed", s.Meaning)
	}
	p.field(indent, "source", s.Source)
	p.field(indent, "by hand", s.ByHand)
}

// beside prints expected and got of a failed step next to each other.
func (p *printer) beside(indent, want, got string) {
	if want == "" {
		want = "as the policy and the public record say"
	}
	column := (p.o.Width - len(indent) - 3) / 2
	a, b := fold(want, column), fold(got, column)
	p.line("%s%-*s | %s", indent, column, "EXPECTED", "RECEIVED")
	for i := range max(len(a), len(b)) {
		l, r := "", ""
		if i < len(a) {
			l = a[i]
		}
		if i < len(b) {
			r = b[i]
		}
		pad := strings.Repeat(" ", column-utf8.RuneCountInString(l))
		p.line("%s", strings.TrimRight(indent+l+pad+" | "+r, " "))
	}
}
