// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sotto-project/sotto/attestation"
)

// report is a fixed report: every verdict that an accepted one can have.
func report() *attestation.Report {
	at := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	r := &attestation.Report{
		NodeHex: strings.Repeat("3f", 32), Time: at, Verdict: attestation.VerifiedWithGaps, Platform: attestation.SNP, Tier: 2,
		TierWhy: "physical access to memory is not covered", Policy: strings.Repeat("a1", 32), Evidence: strings.Repeat("5c", 32),
	}
	step := func(id, expected, got, gap string, vouches attestation.Voucher) {
		s := attestation.Step{ID: id, What: "what " + id + " checks", Expected: expected, Got: got, Gap: gap, Vouches: vouches, Age: time.Hour,
			Source: "a standard, Section 1", Meaning: "something bad", ByHand: "look at it", Verdict: attestation.Verified}
		if gap != "" {
			s.Verdict = attestation.VerifiedWithGaps
		}
		r.Steps = append(r.Steps, s)
	}
	step("policy", "", "images 1, platforms [snp]", "", attestation.Stated)
	step("platform", "one of [snp]", "snp", "", attestation.Stated)
	step("tpm.ak", "", "restricted ECDSA P-256", "", attestation.Attested)
	step("tpm.quote", "SHA-256 PCRs [0 2 4 7 9 10 11 12 13] over 7d0c41f29b3ae856..", "equal", "", attestation.Attested)
	step("config", "toy", `"toy", payment none`, "", attestation.Attested)
	step("snp.genuine", "", "Genoa, VCEK, revocation list 3h0m0s old", "", attestation.Attested)
	step("snp.acceptable", "TCB at least 10 0 25 84", "10 0 25 84", "chip inventory: any genuine chip is accepted", attestation.Attested)
	step("image.measurement", "", "release 1, "+strings.Repeat("d4", 48), "", attestation.Attested)
	step("boot.secureboot", "", "on", "", attestation.Attested)
	step("boot.components", "PCRs 4, 9, 11 of release 1", "equal", "", attestation.Attested)
	step("boot.cmdline", "", `"ro roothash=5ab0"`, "", attestation.Attested)
	step("runtime", "", "PCR 10 "+strings.Repeat("00", 32), "run time: measurements after boot are not compared", attestation.Attested)
	step("gpu", "", "none", "GPU: no GPU evidence", attestation.Stated)
	return r
}

// refused is the same report, had the quote been a replay.
func refused() *attestation.Report {
	r := report()
	r.Verdict, r.Tier, r.TierWhy, r.NodeHex = attestation.Failed, 0, "", strings.Repeat("b8", 32)
	r.Steps = r.Steps[:4]
	s := &r.Steps[3]
	s.Verdict, s.Code, s.Got = attestation.Failed, "att.nonce", "SHA-256 PCRs [0 2 4 7 9 10 11 12 13] over 1f93b7720c55aa08.."
	return r
}

func documents() map[string]*Document {
	at := report().Time
	return map[string]*Document{
		"one": Of(report()),
		"two": {Title: "Verification of 2 nodes", Verdict: attestation.Failed, Simulated: true, Time: at, Nodes: []*attestation.Report{report(), refused()},
			Head: []Row{{"epoch", "41", "of the statement that lists these nodes"}, {"checkpoint age", "1m0s", ""}}, Gaps: []string{"witnesses: none"}},
	}
}

func pageOf(t testing.TB, d *Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func textOf(t testing.TB, d *Document, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, d, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, d := range documents() {
		golden(t, name+".html", []byte(pageOf(t, d)))
		golden(t, name+".txt", []byte(textOf(t, d, Options{})))
		golden(t, name+"-brief.txt", []byte(textOf(t, d, Options{Width: 100, Brief: true})))
	}
}

// TestTextFitsTheTerminal: no line is longer than asked for, and colour is only
// there where it was asked for.
func TestTextFitsTheTerminal(t *testing.T) {
	for name, d := range documents() {
		for _, width := range []int{72, 80, 132} {
			for l := range strings.SplitSeq(textOf(t, d, Options{Width: width}), "\n") {
				if n := utf8.RuneCountInString(l); n > width {
					t.Errorf("%s at %d: %d columns: %s", name, width, n, l)
				}
			}
		}
		plain, color := textOf(t, d, Options{}), textOf(t, d, Options{Color: true})
		if strings.Contains(plain, "\x1b") || !strings.Contains(color, "\x1b[") {
			t.Errorf("%s: colour is not where it should be", name)
		}
		if regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(color, "") != plain {
			t.Errorf("%s: colour says something that words do not", name)
		}
	}
}

// TestSimulatedIsSaid: on the document, or on any one node.
func TestSimulatedIsSaid(t *testing.T) {
	d := Of(report())
	if strings.Contains(textOf(t, d, Options{}), "SIMULATED") || strings.Contains(pageOf(t, d), `class="sim"`) {
		t.Error("says SIMULATED where nothing is")
	}
	d.Nodes[0].Simulated = true
	if !strings.HasPrefix(textOf(t, d, Options{}), "SIMULATED") {
		t.Error("text does not begin with it")
	}
	for _, want := range []string{`class="sim"`, `class="water"`, "<title>SIMULATED: "} {
		if !strings.Contains(pageOf(t, d), want) {
			t.Errorf("page has no %s", want)
		}
	}
}

// TestVerdictIsTheWeakest: a document that claims more than its nodes is not
// believed.
func TestVerdictIsTheWeakest(t *testing.T) {
	d := &Document{Title: "t", Verdict: attestation.Verified, Nodes: []*attestation.Report{report(), refused()}}
	if got := d.verdict(); got != attestation.Failed {
		t.Errorf("verdict %v", got)
	}
	r := refused()
	r.Verdict = attestation.Verified // a report that contradicts its own steps
	if got := Of(r).verdict(); got != attestation.Failed {
		t.Errorf("verdict %v", got)
	}
	d = Of(&attestation.Report{NodeHex: "3f"})
	d.Nodes = append(d.Nodes, d.Nodes[0])
	if page := pageOf(t, d); strings.Contains(page, "nothing open") || strings.Contains(page, ">None") || !strings.Contains(page, "nothing was judged") {
		t.Error("a node that was not judged looks like one with nothing open")
	}
	d = &Document{Title: "t"}
	if !strings.Contains(textOf(t, d, Options{}), "NOT CHECKED") || !strings.Contains(pageOf(t, d), "not checked") {
		t.Error("an empty document says something else than not checked")
	}
}

var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</style><script>alert(1)</script>`,
	`</title><b>`, `{{.CSS}}`, `javascript:alert(1)`, "<!--", "]]>", `&lt;b&gt;`, "a\x00b\x1b[2J\x1b]0;x\x07", "right\u202eleft\u2066x\u200bzero", "bad\xff\xfeutf8",
	"line\nbreak\r\n\ttab", strings.Repeat("x", 5000), "",
}

// spoiled puts a string wherever evidence or a caller could.
func spoiled(s string) *Document {
	r := refused()
	r.NodeHex, r.TierWhy, r.Policy, r.Evidence, r.Platform = s, s, s, s, attestation.Platform(s)
	for i := range r.Steps {
		p := &r.Steps[i]
		p.What, p.Expected, p.Got, p.Source, p.Meaning, p.ByHand, p.Gap = s, s, "other "+s, s, s, s, s
		p.Vouches, p.Code = attestation.Voucher(s), attestation.Code(s)
	}
	r.Steps = append(r.Steps, attestation.Step{ID: s, What: s, Verdict: attestation.Verified}, attestation.Step{ID: s, Got: s, Verdict: 200})
	return &Document{Title: s, Head: []Row{{s, s, s}, {"x", s, s}}, Gaps: []string{s, s}, Nodes: []*attestation.Report{r, report()}}
}

// TestHostileStrings: nothing that evidence says becomes markup, moves a cursor
// or turns text around.
func TestHostileStrings(t *testing.T) {
	tags := func(page string) string {
		page = strings.NewReplacer("<mark>", "", "</mark>", "").Replace(page) // how much of two values differs
		return strings.Join(regexp.MustCompile(`<[/!a-zA-Z][^>]*>`).FindAllString(page, -1), "\n")
	}
	attr := regexp.MustCompile(`(?i)(href|id|title|class)="[^"]*"`)
	shape := func(s string) string { return attr.ReplaceAllString(tags(pageOf(t, spoiled(s))), "$1") }
	want := shape("harmless")
	for _, s := range hostile {
		got := shape(s)
		if s != "" && got != want {
			t.Errorf("%.40q changes the markup of the page", s)
		}
		out, plain := pageOf(t, spoiled(s)), textOf(t, spoiled(s), Options{})
		for name, out := range map[string]string{"page": out, "text": plain} {
			for _, r := range []rune{0, 7, 0x1b, 0x9b, '\r', 0x200b, 0x202e, 0x2066, utf8.RuneError} {
				if strings.ContainsRune(out, r) {
					t.Errorf("%s has %U from %.40q", name, r, s)
				}
			}
			if !utf8.ValidString(out) {
				t.Errorf("%s is not UTF-8 with %.40q", name, s)
			}
		}
	}
}

// TestPageRefersToNothingOutside: one file, no script, and a policy that says so
// to the browser.
func TestPageRefersToNothingOutside(t *testing.T) {
	for name, d := range documents() {
		out := pageOf(t, d)
		for _, bad := range []string{"<script", "<link", "<img", "<iframe", "<form", "<object", "<embed", "<base", " src=", " style=", "url(", "@import", "http-equiv=\"refresh\""} {
			if strings.Contains(strings.ToLower(out), bad) {
				t.Errorf("%s has %s", name, bad)
			}
		}
		ids := map[string]bool{}
		for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(out, -1) {
			if ids[m[1]] {
				t.Errorf("%s: id %s twice", name, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(out, -1) {
			if !strings.HasPrefix(m[1], "#") || !ids[m[1][1:]] {
				t.Errorf("%s links to %s", name, m[1])
			}
		}
		style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(out)
		policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(out)
		if style == nil || policy == nil {
			t.Fatal("no style, or no policy")
		}
		sum := sha256.Sum256([]byte(style[1]))
		want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
		if got := html.UnescapeString(policy[1]); got != want {
			t.Errorf("%s: policy %s, want %s", name, got, want)
		}
	}
}

// TestFirstGlance: what failed, and what cannot wait, stands above everything else.
func TestFirstGlance(t *testing.T) {
	d := documents()["two"]
	d.Head = append(d.Head, Row{"WITHDRAWN", "image 1a2b", "refused wherever it runs"}, Row{"Not loud", "calm", ""})
	page := pageOf(t, d)
	top, rest, ok := strings.Cut(page, "<h2>Nodes</h2>")
	if !ok || !strings.Contains(top, "<li>att.nonce: this does not hold: what tpm.quote checks</li>") || !strings.Contains(top, "WITHDRAWN") {
		t.Errorf("the top of a page does not say what failed, or what was withdrawn:\n%.2000s", page[strings.Index(page, "<main>"):])
	}
	if strings.Contains(top, "calm") || !strings.Contains(rest, "calm") || strings.Count(page, "image 1a2b") != 1 {
		t.Error("a row is in the wrong place, or twice")
	}
	for n := range maxWhy + 2 {
		r := refused()
		r.Steps[3].Code = attestation.Code(fmt.Sprint("att.", n))
		d.Nodes = append(d.Nodes, r, r)
	}
	if page = pageOf(t, d); !strings.Contains(page, ", on 2 nodes</li>") || !strings.Contains(page, "<li>and 3 more, below</li>") {
		t.Error("failures are not counted")
	}
	said, other := refused(), refused()
	for _, r := range []*attestation.Report{said, other} {
		r.Steps[3].Code, r.Steps[3].Expected, r.Steps[3].Got = "att.simulated", "", "configuration says simulated"
	}
	d = &Document{Nodes: []*attestation.Report{said, other}}
	if want := "what tpm.quote checks (configuration says simulated), on 2 nodes</li>"; !strings.Contains(pageOf(t, d), want) {
		t.Errorf("the page does not say: %s", want)
	}
	other.Steps[3].Got = "something else"
	if want := "what tpm.quote checks, on 2 nodes</li>"; !strings.Contains(pageOf(t, d), want) {
		t.Errorf("the page does not say: %s", want)
	}
}

// TestManyNodes: a page stays a page; those that failed are in it.
func TestManyNodes(t *testing.T) {
	d := &Document{Title: "many", Verdict: attestation.Failed}
	for range 1000 {
		d.Nodes = append(d.Nodes, report())
	}
	d.Nodes = append(d.Nodes, refused())
	out := pageOf(t, d)
	if len(out) > 4<<20 {
		t.Errorf("%d bytes", len(out))
	}
	if !strings.Contains(out, "att.nonce") || !strings.Contains(out, "Of 1001 nodes the first 25") {
		t.Error("the failed node is not shown, or what is left out is not said")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrorsAreTold(t *testing.T) {
	d := Of(report())
	topic, _ := Find("nonce")
	for name, err := range map[string]error{"text": Text(broken{}, d, Options{}), "html": HTML(broken{}, d), "topic": topic.Write(broken{}, 0)} {
		if err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDifference(t *testing.T) {
	show := func(ps []part) string {
		var b strings.Builder
		for _, p := range ps {
			if p.Diff {
				fmt.Fprintf(&b, "[%s]", p.Text)
			} else {
				b.WriteString(p.Text)
			}
		}
		return b.String()
	}
	for _, c := range []struct{ want, got, markedWant, markedGot string }{
		{"quote over 7d0c", "quote over 1f93", "quote over [7d0c]", "quote over [1f93]"},
		{`one of ["ro quiet"]`, `"ro quiet init=/bin/sh"`, `[one of []"ro quiet["]]`, `"ro quiet[ init=/bin/sh"]`},
		{"abc", "xyz", "abc", "xyz"},
		{"same", "same", "same", "same"},
		{"", "x", "", "[x]"},
		{strings.Repeat("a", 700), strings.Repeat("a", 699), strings.Repeat("a", 700), strings.Repeat("a", 699)},
	} {
		w, g := difference(c.want, c.got)
		if show(w) != c.markedWant || show(g) != c.markedGot {
			t.Errorf("%.40q, %.40q: %q, %q", c.want, c.got, show(w), show(g))
		}
	}
}
