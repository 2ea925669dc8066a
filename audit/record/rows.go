// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"strconv"
	"strings"
	"time"
)

// A Row is one line of a record for people: text, to be escaped by whoever shows
// it.
type Row struct {
	Section string // "record", or "node " and its identifier
	Name    string
	Value   string
	Note    string // what the line means or does not mean; may be empty
}

// Rows lists the record for people, in order. Empty values are left out.
func (r *Record) Rows() []Row {
	var rows []Row
	section := "record"
	add := func(name, value, note string) {
		if value != "" {
			rows = append(rows, Row{section, name, value, note})
		}
	}
	add("verdict", r.Status(), "that of the worst node, in the words of AR4SI")
	add("signed by", r.Name, "what the signer calls itself; only the key is checked")
	add("key", r.KeyID, "compare it with one you got from the signer in another way")
	add("made", r.Time.Format(time.RFC3339), "by the signer's clock")
	add("verifier", r.Build, "the software that judged, as it names itself")
	add("developer", r.Developer, "")
	add("policy", hexOf(r.Policy), "SHA-256 of the policy file: two records agree only under one policy")
	add("epoch", number(r.Epoch), "")
	add("statement", hexOf(r.Statement), "SHA-256 of the logged statement that named the nodes")
	add("checkpoint", hexOf(r.Checkpoint), "SHA-256 of the newest checkpoint the verifier held")
	for i := range r.Nodes {
		n := &r.Nodes[i]
		section = "node " + hexOf(n.ID)
		add("verdict", n.Verdict.String(), "")
		if n.Simulated {
			add("hardware", "SIMULATED", "proves nothing about a real machine")
		}
		add("refused with", string(n.Code), "docs/spec/refusal-codes.md says what it means")
		add("at step", n.Step, "")
		if !n.Checked.IsZero() {
			add("checked", n.Checked.Format(time.RFC3339), "by the signer's clock")
		}
		add("platform", string(n.Platform), "")
		if n.Tier > 0 {
			add("tier", strconv.Itoa(n.Tier), n.TierWhy)
		}
		for _, g := range n.Gaps {
			add("gap", g, "left open, by policy")
		}
		add("evidence", hexOf(n.Evidence), "SHA-256 of the epoch evidence: whoever has it can judge anew")
		add("freshness", hexOf(n.Freshness), "SHA-256 of the freshness evidence")
		add("challenge", hexOf(n.Challenge), "drawn by the verifier")
		add("report", hexOf(n.Report), "SHA-256 of the report in full")
		add("vector", n.Vector.String(), "AR4SI")
	}
	return rows
}

// String prints the vector's claims: "hardware 2, instance-identity 2".
func (v Vector) String() string {
	var out []string
	for _, e := range v.entries() {
		if *e.claim != NoClaim {
			out = append(out, e.name+" "+strconv.Itoa(int(*e.claim)))
		}
	}
	return strings.Join(out, ", ")
}
