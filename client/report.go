// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Report says what was verified, on whose word, and how old it is. The same
// report is printed, served as JSON and shown by other faces.
type Report struct {
	Time      time.Time `json:"time"`
	Verdict   string    `json:"verdict"` // the weakest of all steps and nodes
	Simulated bool      `json:"simulated"`

	Epoch      uint64        `json:"epoch"`
	NotAfter   time.Time     `json:"not_after"`
	Origin     string        `json:"origin"`
	Statement  string        `json:"statement_sha256"`
	Policy     string        `json:"policy_sha256"` // attestation.Policy.Digest
	Newest     string        `json:"checkpoint_sha256"`
	Checkpoint time.Time     `json:"checkpoint_time"` // by witness time
	Age        time.Duration `json:"checkpoint_age_ns"`
	Mirrors    int           `json:"mirrors_compared"`
	Gateway    string        `json:"gateway_suite"`
	Payment    string        `json:"payment"`
	Gaps       []string      `json:"gaps,omitempty"` // named, not covered
	Log        *LogReport    `json:"log,omitempty"`  // none for saved evidence

	// Releases is what the statement's releases came to; none if nobody asked.
	Releases []ReleaseReport `json:"releases,omitempty"`

	Steering *SteeringReport `json:"steering,omitempty"` // the client's own statistic of the choice of nodes

	Nodes []NodeReport `json:"nodes"`
}

// A NodeReport is the verdict on one node, with the steps that led to it.
type NodeReport struct {
	ID     string              `json:"id"`
	Model  string              `json:"model"`
	Fresh  string              `json:"freshness_sha256,omitempty"` // of the freshness evidence, if there was any
	Code   string              `json:"code,omitempty"`             // of the refusal
	Detail string              `json:"detail,omitempty"`
	Report *attestation.Report `json:"report,omitempty"`
}

func (w *world) report(nodes []*listed, now time.Time) *Report {
	r := &Report{
		Time:       now,
		Epoch:      w.statement.Epoch,
		NotAfter:   w.statement.NotAfter,
		Origin:     w.checkpoint.Origin,
		Statement:  hex.EncodeToString(w.leaf[:]),
		Checkpoint: w.fresh.Time,
		Age:        now.Sub(w.fresh.Time),
		Mirrors:    w.mirrors,
		Gateway:    w.suite.String(),
		Payment:    "none",
	}
	policy, newest := w.judge.PolicyDigest(), w.fresh.Hash()
	r.Policy, r.Newest = hex.EncodeToString(policy[:]), hex.EncodeToString(newest[:])
	verdict := attestation.Verified
	if w.saved {
		r.Gaps = append(r.Gaps, "saved: what others were shown at that time is not known, and whether anything was withdrawn since")
		verdict = attestation.VerifiedWithGaps
	}
	if w.log != nil {
		if r.Log = w.log.at(w, now); !r.Log.Kept {
			r.Gaps = append(r.Gaps, "memory not kept: there is no state directory, so a log that goes back between two runs is not noticed")
			verdict = attestation.VerifiedWithGaps
		}
	}
	if w.log != nil && w.log.Split == 0 {
		r.Gaps = append(r.Gaps, "a split needs 0 of these witnesses to lie: two quorums of your trust need not share one, so the log alone can show two people two worlds")
		verdict = attestation.VerifiedWithGaps
	}
	if w.statement.Payment == 0 {
		r.Gaps = append(r.Gaps, "payment none: one request may be run by more than one candidate, each at most once")
		verdict = attestation.VerifiedWithGaps
	}
	if !w.checkpoint.PostQuantum {
		r.Gaps = append(r.Gaps, "the log's own signature is classical only: the trust names no log_key_pq, so a quantum computer could forge it")
		verdict = weaker(verdict, attestation.VerifiedWithGaps)
	}
	if w.releases == nil {
		r.Gaps = append(r.Gaps, "releases not asked for: your trust file names none whose releases to believe, so your own policy file names the images, and revokes, alone")
		verdict = weaker(verdict, attestation.VerifiedWithGaps)
	} else {
		r.Releases = w.releaseReports(now)
		for _, x := range r.Releases {
			if len(x.Gaps) > 0 {
				r.Gaps = append(r.Gaps, x.Gaps...)
				verdict = weaker(verdict, attestation.VerifiedWithGaps)
			}
		}
	}
	if len(nodes) == 0 {
		verdict = attestation.NotChecked
	}
	for _, l := range nodes {
		n := NodeReport{ID: hex.EncodeToString(l.id[:]), Model: w.modelName(l)}
		if raw, ok := w.freshness.Find(w.statement.Epoch, l.id); ok {
			digest := statement.Digest(raw)
			n.Fresh = hex.EncodeToString(digest[:])
		}
		if rep := l.report; rep != nil {
			n.Report = rep
			r.Simulated = r.Simulated || rep.Simulated
			verdict = weaker(verdict, rep.Verdict)
		} else {
			verdict = weaker(verdict, attestation.NotChecked)
		}
		if l.err != nil {
			n.Code, n.Detail = CodeOf(l.err), l.err.Error()
			verdict = attestation.Failed
		}
		r.Nodes = append(r.Nodes, n)
	}
	r.Verdict = verdictWord(verdict)
	return r
}

// weaker orders failed < not checked < verified with gaps < verified.
func weaker(a, b attestation.Verdict) attestation.Verdict {
	rank := func(v attestation.Verdict) int {
		switch v {
		case attestation.Failed:
			return 0
		case attestation.VerifiedWithGaps:
			return 2
		case attestation.Verified:
			return 3
		}
		return 1
	}
	if rank(b) < rank(a) {
		return b
	}
	return a
}

func verdictWord(v attestation.Verdict) string {
	switch v {
	case attestation.Verified:
		return "verified"
	case attestation.VerifiedWithGaps:
		return "verified with named gaps"
	case attestation.Failed:
		return "failed"
	}
	return "not checked"
}

// Text prints the report for people: the verdict first, then the world all
// clients share, then each node.
func (r *Report) Text() string {
	var b strings.Builder
	if r.Simulated {
		b.WriteString("SIMULATED HARDWARE: no chip stands behind this report\n")
	}
	b.WriteString(r.Steering.text())
	fmt.Fprintf(&b, "verdict     %s\n", r.Verdict)
	fmt.Fprintf(&b, "epoch       %d, until %s\n", r.Epoch, r.NotAfter.Local().Format(time.TimeOnly))
	fmt.Fprintf(&b, "statement   %s (logged by %s; %s)\n", r.Statement[:16], r.Origin, r.compared())
	fmt.Fprintf(&b, "checkpoint  cosigned %s ago\n", r.Age.Round(time.Second))
	if r.Log != nil {
		b.WriteString(r.Log.text())
	}
	fmt.Fprintf(&b, "gateway     %s\n", r.Gateway)
	for i := range r.Releases {
		for _, row := range r.Releases[i].Rows() {
			fmt.Fprintf(&b, "%-11s %s (%s)\n", row[0], row[1], row[2])
		}
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(&b, "gap         %s\n", g)
	}
	for _, n := range r.Nodes {
		b.WriteString(n.text())
	}
	return b.String()
}

func (n *NodeReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nnode %s, model %s\n", n.ID[:16], n.Model)
	if n.Code != "" {
		fmt.Fprintf(&b, "  REFUSED %s\n", n.Detail)
	}
	if n.Report != nil {
		b.WriteString(indent(n.Report.Text(), "  "))
	}
	return b.String()
}

// compared says with what the statement was compared.
func (r *Report) compared() string {
	if r.Mirrors == 1 {
		return "from 1 mirror now, the same as two or more served when it was accepted"
	}
	return fmt.Sprintf("the same from %d mirrors", r.Mirrors)
}

// Summary is the report in a line or two, for the end of an answer.
func (r *Report) Summary() string {
	s := fmt.Sprintf("%s: %d nodes, epoch %d, statement %s, checkpoint %s old", r.Verdict, len(r.Nodes), r.Epoch, r.compared(), r.Age.Round(time.Second))
	if r.Steering != nil && r.Steering.Code != "" {
		s = "STEERING (" + r.Steering.Code + ": " + r.Steering.Alarms[0].Detail + "). " + s
	}
	if r.Simulated {
		s = "SIMULATED HARDWARE. " + s
	}
	for _, x := range r.Releases {
		switch {
		case x.Emergency:
			s = "EMERGENCY RELEASE " + x.Tag + ". " + s
		case x.New:
			s += ", new release " + x.Tag
		}
	}
	return s
}

func indent(s, by string) string {
	lines := strings.SplitAfter(strings.TrimRight(s, "\n")+"\n", "\n")
	return by + strings.TrimRight(strings.Join(lines, by), " ")
}
