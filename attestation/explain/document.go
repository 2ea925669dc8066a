// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sotto-project/sotto/attestation"
)

// A Document is what one run of the program has to show: the verdict on the
// whole, and a report for each node. [Text] and [HTML] print it.
type Document struct {
	Title     string // "Verification of 3 nodes"
	Head      []Row  // about the whole: program, policy, checkpoint, sources
	Gaps      []string
	Verdict   attestation.Verdict // never stronger than that of the weakest node
	Simulated bool                // no hardware stands behind any of this
	Time      time.Time           // at which was judged
	Nodes     []*attestation.Report
}

// A Row is a named value in the head of a document.
type Row struct {
	Name, Value string
	Note        string // where to look, what to expect; may be empty
}

// Of makes a document about one report.
func Of(r *attestation.Report) *Document {
	d := &Document{Title: "Verification of one node", Verdict: r.Verdict, Simulated: r.Simulated, Time: r.Time, Nodes: []*attestation.Report{r}}
	if r.Policy != "" {
		d.Head = append(d.Head, Row{"policy", r.Policy, "SHA-256 of the policy that was applied; compare with that of your own file"})
	}
	if r.Evidence != "" {
		d.Head = append(d.Head, Row{"evidence", r.Evidence, "SHA-256 of the evidence; the same digits stand in the node's public record"})
	}
	return d
}

// simulated says so if anything in the document is.
func (d *Document) simulated() bool {
	return d.Simulated || slices.ContainsFunc(d.Nodes, func(r *attestation.Report) bool { return r.Simulated })
}

// verdict never shows more than the weakest node: a caller that sums up wrongly
// must not make a page that says verified above one that failed.
func (d *Document) verdict() attestation.Verdict {
	v := d.Verdict
	for _, r := range d.Nodes {
		v = weaker(v, verdictOf(r))
	}
	return v
}

func verdictOf(r *attestation.Report) attestation.Verdict {
	v := r.Verdict
	for _, s := range r.Steps {
		v = weaker(v, s.Verdict)
	}
	return v
}

// weaker puts failed below not checked: a step that was skipped does not excuse
// one that failed.
func weaker(a, b attestation.Verdict) attestation.Verdict {
	if a == attestation.Failed || b == attestation.Failed {
		return attestation.Failed
	}
	return min(a, b)
}

// counts says how many nodes have which verdict, in words.
func (d *Document) counts() string {
	var parts []string
	for _, v := range []attestation.Verdict{attestation.Verified, attestation.VerifiedWithGaps, attestation.Failed, attestation.NotChecked} {
		n := 0
		for _, r := range d.Nodes {
			if verdictOf(r) == v {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %v", n, v))
		}
	}
	return strings.Join(parts, ", ")
}

// says is what a verdict means for whoever is about to send something.
func says(v attestation.Verdict) string {
	switch v {
	case attestation.Verified:
		return "Every check passed. What is out of reach of checks is under tier."
	case attestation.VerifiedWithGaps:
		return "Every check that was made passed; the gaps below are open, by your policy or because nothing covers them."
	case attestation.Failed:
		return "Something differs from what was expected. Nothing was sent to a node that failed."
	}
	return "Nothing was judged, so nothing follows from this page."
}

// platforms in words; the long form is the topic of that name.
var platforms = map[attestation.Platform]string{
	attestation.SNP:       "AMD SEV-SNP, direct profile",
	attestation.SNPSVSM:   "AMD SEV-SNP, vTPM in an SVSM",
	attestation.AzureSNP:  "Azure confidential VM on AMD SEV-SNP",
	attestation.AzureTDX:  "Azure confidential VM on Intel TDX",
	attestation.GoogleSNP: "Google Cloud confidential VM on AMD SEV-SNP",
	attestation.GoogleTDX: "Google Cloud confidential VM on Intel TDX",
	attestation.TDX:       "Intel TDX",
	attestation.TPM:       "TPM 2.0 without a confidential VM",
	attestation.NitroTPM:  "AWS EC2 with NitroTPM",
}

func platformOf(r *attestation.Report) string {
	switch words, ok := platforms[r.Platform]; {
	case ok:
		return fmt.Sprintf("%s (%s)", r.Platform, words)
	case r.Platform == "":
		return "not known: verification stopped before"
	}
	return clean(string(r.Platform))
}

func tierOf(r *attestation.Report) string {
	if r.Tier < 1 || r.Tier > 3 {
		return "none of 3"
	}
	return fmt.Sprintf("%d of 3", r.Tier)
}

// vouched says who vouches for a step, and since when.
func vouched(s *attestation.Step) string {
	out := string(s.Vouches)
	if s.Age > 0 {
		out += fmt.Sprintf(", at most %v old", s.Age.Round(time.Second))
	}
	return out
}

// clean replaces what is not a printable character: control characters move a
// cursor, and bidirectional or invisible ones make a value look like another.
func clean(s string) string {
	ok := func(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case ok(r):
			return r
		case r == '\n' || r == '\t':
			return ' '
		}
		return '?'
	}, s)
}

// A part of a value, marked where it differs from what was expected.
type part struct {
	Text string
	Diff bool
}

// Values are compared by eye up to here; longer ones are not marked.
const maxDifference, minCommon = 600, 6

// difference marks where two values differ, so that a reader need not compare 64
// digits by eye. Values with nothing in common are not marked: all of it differs.
func difference(want, got string) (w, g []part) {
	a, b := []rune(want), []rune(got)
	if len(a) > maxDifference || len(b) > maxDifference || want == got {
		return []part{{want, false}}, []part{{got, false}}
	}
	w, g = compare(a, b)
	if len(w) == 1 && len(g) == 1 {
		return []part{{want, false}}, []part{{got, false}}
	}
	return w, g
}

// compare splits at the longest common run, and again on both sides of it.
func compare(a, b []rune) (w, g []part) {
	i, j, n := longestCommon(a, b)
	if n < minCommon {
		return marked(a), marked(b)
	}
	w, g = compare(a[:i], b[:j])
	w, g = append(w, part{string(a[i : i+n]), false}), append(g, part{string(b[j : j+n]), false})
	w2, g2 := compare(a[i+n:], b[j+n:])
	return append(w, w2...), append(g, g2...)
}

func marked(r []rune) []part {
	if len(r) == 0 {
		return nil
	}
	return []part{{string(r), true}}
}

// longestCommon returns where the longest run of equal runes starts in a and b.
func longestCommon(a, b []rune) (i, j, n int) {
	lengths := make([]int, len(b)+1) // of the runs that end at b[y-1] and the last rune of a looked at
	for x := range a {
		for y := len(b); y > 0; y-- {
			if a[x] != b[y-1] {
				lengths[y] = 0
				continue
			}
			lengths[y] = lengths[y-1] + 1
			if lengths[y] > n {
				i, j, n = x+1-lengths[y], y-lengths[y], lengths[y]
			}
		}
	}
	return i, j, n
}
