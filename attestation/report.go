// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Verdict is the outcome of a step or of a whole report. The zero value says
// that nothing was checked.
type Verdict uint8

// The verdicts, from weakest to strongest but for Failed, which overrules all.
const (
	NotChecked Verdict = iota
	Failed
	VerifiedWithGaps
	Verified
)

var verdicts = [...]string{"not checked", "failed", "verified with named gaps", "verified"}

// String returns the verdict in the words that reports use everywhere.
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return verdicts[NotChecked]
}

// MarshalText prints the verdict as String does.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads one of the four verdicts.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, s := range verdicts {
		if s == string(b) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("report: unknown verdict %q", b)
}

// A Voucher says on whose word a step rests.
type Voucher string

// Attested: hardware signed it. Logged: it stands in the public log. Stated: the
// operator, or the user's own policy, says so.
const (
	Attested Voucher = "attested"
	Logged   Voucher = "logged"
	Stated   Voucher = "stated"
)

// A Step is one check, in words a user can follow.
type Step struct {
	ID       string        `json:"id"`                 // stable: "tpm.quote"
	What     string        `json:"what"`               // what was checked
	Expected string        `json:"expected,omitempty"` // from policy and references
	Got      string        `json:"got,omitempty"`      // from the evidence
	Vouches  Voucher       `json:"vouches"`
	Age      time.Duration `json:"age_ns,omitempty"` // at most, of what vouches; 0: age has no meaning
	Source   string        `json:"source"`           // standard and section
	Meaning  string        `json:"meaning"`          // what a failure would mean
	ByHand   string        `json:"by_hand"`          // how to check it without this program
	Verdict  Verdict       `json:"verdict"`
	Gap      string        `json:"gap,omitempty"`  // what a VerifiedWithGaps leaves open
	Code     Code          `json:"code,omitempty"` // of a Failed step
}

// A Report lists the steps of one verification in the order they were taken. A
// step that was not reached is not in it; the overall verdict is then Failed.
type Report struct {
	Node      [32]byte  `json:"-"`
	NodeHex   string    `json:"node"`
	Time      time.Time `json:"time"`
	Simulated bool      `json:"simulated"` // no hardware stands behind any of this
	Verdict   Verdict   `json:"verdict"`   // never stronger than the weakest step
	Platform  Platform  `json:"platform,omitempty"`
	Tier      int       `json:"tier"`                      // reached, 1 to 3; 0 where refused
	TierWhy   string    `json:"tier_why,omitempty"`        // what keeps it from the next
	Policy    string    `json:"policy_sha256,omitempty"`   // [Policy.Digest]; set by who verifies many nodes by one policy
	Evidence  string    `json:"evidence_sha256,omitempty"` // of the epoch evidence
	Steps     []Step    `json:"steps"`
}

// add appends a step and weakens the overall verdict to it. What came from the
// evidence is made plain here, once, for every form that a report is printed in.
func (r *Report) add(s Step) {
	s.Expected, s.Got, s.Gap = printable(s.Expected), printable(s.Got), printable(s.Gap)
	if len(r.Steps) == 0 || s.Verdict < r.Verdict {
		r.Verdict = s.Verdict
	}
	r.Steps = append(r.Steps, s)
}

// Gaps lists what the report leaves open, in order.
func (r *Report) Gaps() []string {
	var out []string
	for _, s := range r.Steps {
		if s.Gap != "" {
			out = append(out, s.Gap)
		}
	}
	return out
}

// JSON prints the report as one indented JSON object.
func (r *Report) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return []byte("{}\n") // only plain values in it: cannot fail
	}
	return b.Bytes()
}

// Text prints the report for a terminal. Nothing in it moves the cursor, ends a
// line or turns the direction of writing.
func (r *Report) Text() string {
	var b strings.Builder
	if r.Simulated {
		b.WriteString("SIMULATED HARDWARE: this report proves nothing about a real machine\n")
	}
	fmt.Fprintf(&b, "node %s: %s\n", r.NodeHex, strings.ToUpper(r.Verdict.String()))
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "\n[%s] %s (%s)\n", s.Verdict, s.What, s.ID)
		line := func(name, value string) {
			if value != "" {
				fmt.Fprintf(&b, "  %-9s %s\n", name, printable(value))
			}
		}
		line("expected", s.Expected)
		line("got", s.Got)
		vouched := string(s.Vouches)
		if s.Age > 0 {
			vouched += fmt.Sprintf(", at most %v old", s.Age.Round(time.Second))
		}
		line("vouched", vouched)
		line("gap", s.Gap)
		line("code", string(s.Code))
		line("if failed", s.Meaning)
		line("source", s.Source)
	}
	return b.String()
}

// printable replaces what a terminal would act upon.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
