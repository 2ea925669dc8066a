// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ReportVersion is that of docs/spec/audit/report.schema.json.
const ReportVersion = 1

// recentEpochs is how many of the newest epochs a report has a line for.
const recentEpochs = 48

// A Report is what an auditor knows at one moment.
type Report struct {
	Version   int       `json:"version"`
	Simulated bool      `json:"simulated"` // lab hardware: it proves nothing about a real machine
	Time      time.Time `json:"time"`
	Origin    string    `json:"origin"`
	// Verdict is clean, alarms, or incomplete: some of the log could not be read, or
	// of several mirrors fewer than two answered, so that nothing was compared, or a
	// release in force could not be judged yet.
	Verdict    string           `json:"verdict"`
	Incomplete string           `json:"incomplete,omitempty"`
	Policy     string           `json:"policy_sha256,omitempty"`
	Checkpoint *PointReport     `json:"checkpoint,omitempty"`
	Mirrors    []MirrorReport   `json:"mirrors"`
	Witnesses  []WitnessReport  `json:"witnesses"`
	Totals     Totals           `json:"totals"`
	Alarms     []Alarm          `json:"alarms"` // told in this run
	Open       []IncidentReport `json:"open"`   // told, now or earlier, and not over
	Epochs     []EpochRecord    `json:"epochs"` // the newest
	// NotChecked names what this audit does not cover.
	NotChecked []string `json:"not_checked"`
}

// A PointReport is the largest checkpoint that was verified.
type PointReport struct {
	Size    uint64    `json:"size"`
	Root    string    `json:"root"`
	SHA256  string    `json:"sha256"` // of the note
	Time    time.Time `json:"time"`
	Audited uint64    `json:"audited"` // leaves
}

// A MirrorReport is what one mirror did at the last look.
type MirrorReport struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Size  uint64 `json:"size"`
	Error string `json:"error,omitempty"`
}

// A WitnessReport says when a trusted witness was last seen.
type WitnessReport struct {
	Name string     `json:"name"`
	Last *time.Time `json:"last,omitempty"`
}

// An IncidentReport is a condition that was told and is not over.
type IncidentReport struct {
	Code     Code      `json:"code"`
	Severity Severity  `json:"severity"`
	Subject  string    `json:"subject,omitempty"`
	Since    time.Time `json:"since"`
	Detail   string    `json:"detail"`
}

// Report says what is known now.
func (a *Auditor) Report() (*Report, error) {
	s := a.state
	r := &Report{
		Version: ReportVersion, Time: a.cfg.Now().UTC().Truncate(time.Second), Origin: clean(s.Origin), Policy: s.Policy, Totals: s.Totals,
		Mirrors: []MirrorReport{}, Witnesses: []WitnessReport{}, Alarms: slices.Clone(a.told), Open: []IncidentReport{}, Epochs: []EpochRecord{}, NotChecked: a.notChecked(),
	}
	if r.Alarms == nil {
		r.Alarms = []Alarm{}
	}
	r.Simulated = a.cfg.Policy != nil && a.cfg.Policy.Roots.Simulated()
	if c := a.old; c != nil {
		h := c.Hash()
		r.Checkpoint = &PointReport{Size: c.Size, Root: hex.EncodeToString(c.Root[:]), SHA256: hex.EncodeToString(h[:]), Time: c.Time.UTC(), Audited: s.Next}
	}
	for _, l := range a.mirrors {
		m := MirrorReport{Name: clean(l.mirror.Name()), OK: l.err == nil && l.tampered == "", Error: l.tampered}
		if m.Error == "" && l.err != nil {
			m.Error = clean(l.err.Error())
		}
		if l.point != nil {
			m.Size = l.point.Size
		}
		r.Mirrors = append(r.Mirrors, m)
	}
	for _, name := range witnessNames(a.cfg.Trust) {
		w := WitnessReport{Name: clean(name)}
		if sec, ok := s.Witnesses[name]; ok {
			last := time.Unix(sec, 0).UTC()
			w.Last = &last
		}
		r.Witnesses = append(r.Witnesses, w)
	}
	for _, i := range s.Incidents {
		if i.Told {
			r.Open = append(r.Open, IncidentReport{i.Code, SeverityOf(i.Code), clean(i.Subject), i.Since, i.Detail})
		}
	}
	if err := a.recent(r); err != nil {
		return nil, err
	}
	switch {
	case a.failed != nil:
		r.Verdict, r.Incomplete = "incomplete", clean(a.failed.Error())
	case a.old == nil:
		r.Verdict, r.Incomplete = "incomplete", "no mirror showed a checkpoint that verifies"
	case a.uncompared() != "":
		r.Verdict, r.Incomplete = "incomplete", a.uncompared()
	case a.unjudged() > 0:
		r.Verdict, r.Incomplete = "incomplete", fmt.Sprintf("there is no file of %d releases in force yet", a.unjudged())
	case len(r.Alarms) > 0 || len(r.Open) > 0:
		r.Verdict = "alarms"
	default:
		r.Verdict = "clean"
	}
	return r, nil
}

// recent adds the newest epochs' records.
func (a *Auditor) recent(r *Report) error {
	next := a.state.Next
	from := next - min(next, recentEpochs)
	for n := from / segment; n*segment < next; n++ {
		list, err := a.store.counted(n, next)
		if err != nil {
			return err
		}
		for _, rec := range list {
			if rec.Epoch >= from && rec.Epoch < next {
				r.Epochs = append(r.Epochs, rec)
			}
		}
	}
	return nil
}

// notChecked names the gaps of this audit, as far as they follow from how it was
// set up.
func (a *Auditor) notChecked() []string {
	out := []string{}
	if a.cfg.Policy == nil {
		out = append(out, "evidence of nodes: no policy was given")
	} else if !a.cfg.Policy.WithoutFreshness {
		out = append(out, "freshness evidence of past epochs: nobody keeps it; that of the epoch in force is judged")
	}
	if gone := a.state.Totals.PacksGone; gone > 0 {
		out = append(out, fmt.Sprintf("evidence of %d epochs whose pack was no longer served", gone))
	}
	if a.cfg.Releases == nil {
		out = append(out, "provenance of releases: no release files were given")
	} else if n := a.unjudged(); n > 0 {
		out = append(out, fmt.Sprintf("provenance of %d releases in force: their files are not there yet", n))
	}
	if a.cfg.ReleaseLog == nil {
		out = append(out, "entries of the release log under the project's identity: no release log was given")
	}
	if a.named() < 2 {
		out = append(out, "what other mirrors show: only one was named")
	} else if why := a.uncompared(); why != "" {
		out = append(out, "what other mirrors show: "+why)
	}
	return append(out, fmt.Sprintf("statements of mirrors for epochs older than the newest %d: the log has one leaf for each", a.cfg.Compare))
}

// Worst is the highest severity among what a report tells; zero if nothing.
func (r *Report) Worst() Severity {
	var worst Severity
	for _, a := range r.Alarms {
		worst = max(worst, a.Severity)
	}
	for _, i := range r.Open {
		worst = max(worst, i.Severity)
	}
	return worst
}

// Text is the report for a terminal.
func (r *Report) Text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	if r.Simulated {
		line("SIMULATED", "hardware roots of the lab: this proves nothing about a real machine")
	}
	line("verdict", "%s", r.verdictText())
	line("log", "%s", r.Origin)
	if c := r.Checkpoint; c != nil {
		line("checkpoint", "%d leaves, %d audited, cosigned %s", c.Size, c.Audited, c.Time.Format(time.RFC3339))
		line("", "root %s", c.Root)
	}
	for _, m := range r.Mirrors {
		if m.OK {
			line("mirror", "%s: %d leaves", m.Name, m.Size)
		} else {
			line("mirror", "%s: %s", m.Name, m.Error)
		}
	}
	for _, w := range r.Witnesses {
		last := "never"
		if w.Last != nil {
			last = w.Last.Format(time.RFC3339)
		}
		line("witness", "%s: last %s", w.Name, last)
	}
	t := r.Totals
	line("statements", "%d, of which %d empty, %d malformed and %d withheld; %d answers of mirrors compared with the log", t.Leaves, t.Empty, t.Malformed, t.Withheld, t.Compared)
	line("evidence", "%d packs judged, %d no longer served; %d verdicts on nodes, %d of them refusals", t.Packs, t.PacksGone, t.NodesJudged, t.NodesRefused)
	if r.Policy != "" {
		line("policy", "%s", r.Policy)
	}
	if n := sum(t.Alarms); n > 0 {
		line("alarms", "%d since the beginning: %s", n, counts(t.Alarms))
	}
	for _, i := range r.Open {
		line("open", "%s %s %s since %s: %s", i.Severity, i.Code, i.Subject, i.Since.Format(time.RFC3339), i.Detail)
	}
	for _, n := range r.NotChecked {
		line("not checked", "%s", n)
	}
	return b.String()
}

func (r *Report) verdictText() string {
	switch r.Verdict {
	case "clean":
		return "clean: one log, and nothing in it that this audit tells of"
	case "alarms":
		return r.alarmed()
	}
	why := strings.TrimPrefix(r.Incomplete, "audit: ")
	if r.Worst() >= Warning { // what was found comes before what could not be read
		return r.alarmed() + "; and the audit is incomplete: " + why
	}
	return "incomplete: " + why
}

// alarmed names the worst alarm, in words.
func (r *Report) alarmed() string {
	worst, what := r.Worst(), ""
	for _, a := range r.Alarms {
		if a.Severity == worst && what == "" {
			what = What(a.Code)
		}
	}
	for _, i := range r.Open {
		if i.Severity == worst && what == "" {
			what = What(i.Code)
		}
	}
	return fmt.Sprintf("alarms: the worst is %s: %s", worst, what)
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func counts(m map[string]uint64) string {
	var parts []string
	for _, c := range Codes() {
		if n := m[string(c)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", c, n))
		}
	}
	return strings.Join(parts, ", ")
}

// Recorded calls f with every alarm that is in the records of epochs, in order.
func (a *Auditor) Recorded(f func(Alarm)) error {
	return a.store.each(a.state.Next, func(r *EpochRecord) error {
		for _, list := range [][]Alarm{r.Alarms, r.Later} {
			for _, alarm := range list {
				f(alarm)
			}
		}
		return nil
	})
}
