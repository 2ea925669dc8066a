// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
)

//go:embed page.css
var css string

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Parse(page))

// maxFull is how many nodes a page shows step by step. Those that failed come
// first; of the others a table has a line each, and says so.
const maxFull = 25

// HTML prints a document as one page: no script, no reference to anything
// outside, and a content security policy that allows neither. Everything from
// the document is escaped. The error is that of w.
func HTML(w io.Writer, d *Document) error {
	return pageTemplate.Execute(w, view(d))
}

// contentPolicy admits the page's own style sheet, by its hash, and nothing else.
func contentPolicy() string {
	sum := sha256.Sum256([]byte(css))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// What the template prints. Strings are clean; escaping is the template's.
type (
	pageView struct {
		Policy                            string
		CSS                               template.CSS
		Title, Verdict, Class, Says, Time string
		Counts, Omitted                   string
		Simulated, Guided                 bool
		Why                               []string  // which checks failed, for how many nodes
		Loud, Head                        []rowView // Loud: what the reader has to see first
		Gaps                              []string
		Nodes                             []nodeView
		Topics                            []topicView
	}
	rowView struct {
		Name, Value, Note string
		Code              bool // digests, names and keys are set in the typeface of code
	}
	nodeView struct {
		Anchor, Short, ID, Verdict, Class, Platform string
		Tier, TierWhy, Evidence, First              string
		Full, Guided                                bool
		Rungs                                       []rung
		Gaps                                        []string
		Layers                                      []layerView
		Steps                                       []stepView
		Refused                                     *stepView
	}
	rung struct {
		N       int
		Text    string
		Reached bool
	}
	layerView struct {
		N                                 int
		Name, State, Class, Says, Vouches string
	}
	stepView struct {
		ID, What, Verdict, Class, Short, Code, Gap    string
		Meaning, Vouches, Age, Source, ByHand, Expect string
		Topic                                         string
		Expected, Got                                 []part
		Open, Guided                                  bool
	}
	topicView struct {
		Topic
		See []linked
	}
	linked struct {
		Name   string
		Linked bool
	}
)

var classes = map[attestation.Verdict]string{attestation.Verified: "ok", attestation.VerifiedWithGaps: "gap", attestation.Failed: "fail", attestation.NotChecked: "none"}

var stateClasses = map[State]string{Covered: "ok", InPart: "gap", NotCovered: "none", Failed: "fail", NotReached: "none"}

// generalTopics are explained on every page, whatever its steps.
var generalTopics = []string{"verdicts", "vouchers", "gaps", "tier", "layers", "nonce", "chain"}

func view(d *Document) *pageView {
	v := d.verdict()
	p := &pageView{
		Policy: contentPolicy(), CSS: template.CSS(css), Title: clean(d.Title), Verdict: v.String(), Class: classes[v], Says: says(v),
		Time: d.Time.UTC().Format("2006-01-02 15:04:05 UTC"), Counts: d.counts(), Simulated: d.simulated(), Gaps: cleaned(d.Gaps),
	}
	for _, r := range d.Head {
		v := rowView{clean(r.Name), clean(r.Value), clean(r.Note), strings.ContainsAny(r.Value, "/=") || len(r.Value) >= 40}
		if loud(r.Name) {
			p.Loud = append(p.Loud, v)
		} else {
			p.Head = append(p.Head, v)
		}
	}
	p.Why = why(d.Nodes)
	nodes := slices.Clone(d.Nodes)
	failed := func(r *attestation.Report) int {
		if verdictOf(r) == attestation.Failed {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(nodes, func(a, b *attestation.Report) int { return failed(a) - failed(b) })
	ids := map[string]bool{}
	for i, r := range nodes {
		n := nodeViewOf(r, i)
		for _, s := range n.Steps {
			ids[s.Topic] = true
		}
		p.Nodes = append(p.Nodes, n)
	}
	p.Guided = len(nodes) > 0
	if n := len(nodes) - maxFull; n > 0 {
		p.Omitted = fmt.Sprintf("Of %d nodes the first %d are shown step by step below, failed ones first. The JSON report has all of them.", len(nodes), maxFull)
	}
	p.Topics = topicsOf(ids, p.Simulated)
	return p
}

// topicsOf picks what a page explains: its steps, and the general words.
func topicsOf(ids map[string]bool, simulated bool) []topicView {
	for _, name := range generalTopics {
		ids[name] = true
	}
	ids["simulated"] = simulated
	ids["vcek"] = ids["snp.genuine"]
	ids["tcb"] = ids["snp.acceptable"] || ids["tdx.acceptable"]
	ids["tdx"] = ids["tdx.genuine"]
	ids["pcr"] = ids["tpm.quote"]
	ids["vtpm"] = ids["tpm.ak"]
	ids["ima"] = ids["runtime"]
	ids["boot_aggregate"] = ids["runtime"]
	ids["gpu-evidence"] = ids["gpu"] || ids["gpu.genuine"]
	var out []topicView
	for _, t := range topics {
		if !ids[t.Name] {
			continue
		}
		t.ByHand = strings.Trim(t.ByHand, "\n")
		v := topicView{Topic: t}
		for _, s := range t.See {
			v.See = append(v.See, linked{s, ids[s]})
		}
		out = append(out, v)
	}
	return out
}

func nodeViewOf(r *attestation.Report, i int) nodeView {
	v := verdictOf(r)
	id := clean(r.NodeHex)
	n := nodeView{
		Anchor: fmt.Sprintf("node-%d", i+1), ID: id, Short: shorten(id), Verdict: v.String(), Class: classes[v], Platform: platformOf(r),
		Tier: tierOf(r), TierWhy: clean(r.TierWhy), Evidence: clean(r.Evidence), First: first(r), Full: i < maxFull, Guided: i == 0, Gaps: cleaned(r.Gaps()),
	}
	if !n.Full {
		return n
	}
	for t, text := range []string{"remote attackers with the operator's servers, keys and accounts", "and the host of the machine: software measured, firmware current", "and hands on the machine, or the vendor's key"} {
		n.Rungs = append(n.Rungs, rung{t + 1, text, r.Tier > t})
	}
	for j, l := range Layers(r) {
		n.Layers = append(n.Layers, layerView{j + 1, l.Name, string(l.State), stateClasses[l.State], l.Says(), string(l.Vouches)})
	}
	for j := range r.Steps {
		n.Steps = append(n.Steps, stepViewOf(&r.Steps[j], n.Guided))
	}
	for j := range n.Steps { // an example stands open: the refusal, else the quote
		s := &n.Steps[j]
		if s.Code != "" && n.Refused == nil {
			n.Refused = s
		}
		s.Open = s.Code != "" || n.Guided && v != attestation.Failed && s.ID == "tpm.quote"
	}
	return n
}

func stepViewOf(s *attestation.Step, guided bool) stepView {
	v := stepView{
		ID: clean(s.ID), What: clean(s.What), Verdict: s.Verdict.String(), Class: classes[s.Verdict], Gap: clean(s.Gap), Meaning: clean(s.Meaning),
		Vouches: clean(string(s.Vouches)), Source: clean(s.Source), ByHand: clean(s.ByHand), Guided: guided,
	}
	if s.Age > 0 {
		v.Age = s.Age.Round(time.Second).String()
	}
	want, got := clean(s.Expected), clean(s.Got)
	if s.Verdict == attestation.Failed {
		v.Code = clean(string(s.Code))
		if want != "" && got != "" {
			v.Expected, v.Got = difference(want, got)
			want, got = "", ""
		}
	}
	if want != "" {
		v.Expected = []part{{want, false}}
	}
	if got != "" {
		v.Got = []part{{got, false}}
	}
	if t, ok := byName(s.ID); ok {
		v.Topic, v.Short, v.Expect = t.Name, t.Short, t.Expect
	}
	return v
}

// loud is a row whose name is in capitals: EMERGENCY RELEASE, WITHDRAWN.
func loud(name string) bool {
	return name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ") == ""
}

// failure says which check did not hold: what a check is called is how it
// should be.
func failure(s *attestation.Step) string {
	return fmt.Sprintf("%s: this does not hold: %s", s.Code, s.What)
}

// maxWhy is how many different failures are told at the top of a page.
const maxWhy = 4

// why lists the checks that failed, each once, with how many nodes failed it.
func why(nodes []*attestation.Report) []string {
	count, detail, order := map[string]int{}, map[string]string{}, []string(nil)
	for _, r := range nodes {
		i := slices.IndexFunc(r.Steps, func(s attestation.Step) bool { return s.Verdict == attestation.Failed })
		if i < 0 {
			continue
		}
		s := &r.Steps[i]
		f, got := clean(failure(s)), ""
		if s.Expected == "" { // then what was received is a sentence, not one of two values
			got = clean(s.Got)
		}
		if count[f]++; count[f] == 1 {
			order, detail[f] = append(order, f), got
		} else if detail[f] != got {
			detail[f] = ""
		}
	}
	var out []string
	for i, f := range order {
		if i == maxWhy {
			return append(out, fmt.Sprintf("and %d more, below", len(order)-i))
		}
		line := f
		if d := detail[f]; d != "" {
			line += " (" + d + ")"
		}
		if count[f] > 1 {
			line += fmt.Sprintf(", on %d nodes", count[f])
		}
		out = append(out, line)
	}
	return out
}

// first is what to look at first: the refusal, else the first gap.
func first(r *attestation.Report) string {
	for _, s := range r.Steps {
		if s.Verdict == attestation.Failed {
			return clean(failure(&s))
		}
	}
	if gaps := r.Gaps(); len(gaps) > 0 {
		return clean(gaps[0])
	}
	if verdictOf(r) == attestation.NotChecked {
		return "nothing was judged"
	}
	return "nothing open"
}

func shorten(id string) string {
	if r := []rune(id); len(r) > 20 {
		return string(r[:12]) + "\u2026"
	}
	return id
}

func cleaned(in []string) []string {
	var out []string
	for _, s := range in {
		out = append(out, clean(s))
	}
	return out
}
