// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package explain puts verification into words: what each step of a report
// means, which value to expect where, and how to check it without this program.
// It renders reports for a terminal and as one HTML page.
//
// It judges nothing and computes no verdict: what it prints of a machine comes
// from an [attestation.Report]. It opens no file, dials nothing and reads no
// clock. Values of a report come from evidence, hence from strangers: they are
// stripped of what a terminal acts upon and escaped in HTML.
package explain

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A Topic explains one step of a report, or one word that reports use.
type Topic struct {
	Name     string   // "tpm.quote", "nonce", "pcr-7": what --explain takes
	Title    string   // a few words
	Short    string   // one sentence for somebody who reads no further
	Text     string   // paragraphs, apart by an empty line; one that is indented keeps its lines
	Expect   string   // where to look, and which value to expect there
	Standard string   // name and section of what this rests on
	ByHand   string   // shell commands over the files of [Files]; empty where there is nothing to run
	See      []string // names of related topics
	Step     bool     // a step of reports, not just a word
}

// topics is in the order in which one would learn them.
var topics = slices.Concat(wordTopics, requestTopics, tpmTopics, bootTopics, pcrTopics(), snpTopics, tdxTopics, cloudTopics, gpuTopics)

// Topics returns every topic, in the order in which one would learn them.
func Topics() []Topic { return slices.Clone(topics) }

// Find returns the topic of that name. Case, and the spelling of a PCR ("PCR 7",
// "pcr7", "pcr[7]"), do not matter; the last part of a step's name will do where
// it is the only one: "quote" is tpm.quote.
func Find(name string) (Topic, bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	if t, ok := byName(name); ok {
		return t, ok
	}
	if rest, ok := strings.CutPrefix(name, "pcr"); ok {
		if n, err := strconv.ParseUint(strings.Trim(rest, " -_[]"), 10, 8); err == nil {
			return byName(fmt.Sprintf("pcr-%d", n))
		}
	}
	name = strings.NewReplacer(" ", "-", "_", "-").Replace(name)
	var found []Topic
	for _, t := range topics {
		_, last, _ := strings.Cut(t.Name, ".")
		if last == name || strings.ReplaceAll(t.Name, "_", "-") == name {
			found = append(found, t)
		}
	}
	if len(found) != 1 {
		return Topic{}, false
	}
	return found[0], true
}

func byName(name string) (Topic, bool) {
	i := slices.IndexFunc(topics, func(t Topic) bool { return t.Name == name })
	if i < 0 {
		return Topic{}, false
	}
	return topics[i], true
}

// Paragraphs cuts the text where it has empty lines. Those that are indented are
// lists and tables, whose lines are kept.
func (t Topic) Paragraphs() []Paragraph {
	var out []Paragraph
	for p := range strings.SplitSeq(strings.Trim(t.Text, "\n"), "\n\n") {
		if fixed := strings.HasPrefix(p, "  "); fixed {
			out = append(out, Paragraph{Text: p, Fixed: true})
		} else if p != "" {
			out = append(out, Paragraph{Text: strings.Join(strings.Fields(p), " ")})
		}
	}
	return out
}

// A Paragraph is a piece of a topic's text; Fixed ones keep their line breaks.
type Paragraph struct {
	Text  string
	Fixed bool
}

// Rows reads a fixed paragraph as a list of words and what they mean, whose lines
// continue below the meaning; nil if it is something else. A page sets such a list
// in columns that fit the screen.
func (p Paragraph) Rows() []Row {
	var out []Row
	column := 0
	for l := range strings.SplitSeq(p.Flush(), "\n") {
		text := strings.TrimLeft(l, " ")
		if len(l) > len(text) {
			if len(out) == 0 || len(l)-len(text) != column {
				return nil
			}
			out[len(out)-1].Value += " " + text
			continue
		}
		word, meaning, ok := strings.Cut(l, "  ")
		meaning = strings.TrimLeft(meaning, " ")
		if !ok || strings.Contains(meaning, "  ") {
			return nil
		}
		column = len(l) - len(meaning)
		out = append(out, Row{Name: word, Value: meaning})
	}
	return out
}

// Flush returns the text of a fixed paragraph without the indent of its lines.
func (p Paragraph) Flush() string {
	return strings.ReplaceAll(strings.TrimPrefix(p.Text, "  "), "\n  ", "\n")
}

// Write prints the topic for a terminal of that width; 0 is 80.
func (t Topic) Write(w io.Writer, width int) error {
	p := newPrinter(w, Options{Width: width})
	p.line("%s (%s)", t.Title, t.Name)
	p.line("")
	p.wrap("", t.Short)
	for _, q := range t.Paragraphs() {
		p.line("")
		if q.Fixed {
			p.line("%s", q.Text)
		} else {
			p.wrap("", q.Text)
		}
	}
	if t.Expect != "" {
		p.line("")
		p.line("Where to look")
		p.wrap("  ", t.Expect)
	}
	if t.ByHand != "" {
		p.line("")
		p.line("By hand, in the folder that sotto verify --extract DIR wrote")
		for l := range strings.SplitSeq(strings.Trim(t.ByHand, "\n"), "\n") {
			p.line("%s", strings.TrimRight("    "+l, " "))
		}
	}
	p.line("")
	if t.Standard != "" {
		p.wrap("", "Source: "+t.Standard)
	}
	if len(t.See) > 0 {
		p.wrap("", "See also: "+strings.Join(t.See, ", "))
	}
	return p.err
}
