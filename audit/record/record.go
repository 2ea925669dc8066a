// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package record makes and reads audit records: a signed word on one
// verification, saying who verified what, when, with which verifier and policy,
// on which evidence, and what came of it. Two parties who looked at the same
// evidence can lay their records side by side ([Compare]).
//
// A record is an EAT Attestation Result (draft-ietf-rats-ear-04) in a JWT signed
// with Ed25519; docs/spec/audit-record.md fixes its bytes. It is a statement by
// whoever signed it, not evidence: it can be checked against the evidence it
// names, by digest, and by nothing else.
//
// The package is pure: no files, no clock, no network, no randomness. Where keys
// are kept is the caller's business.
package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sotto-project/sotto/attestation"
)

// A Code names why a record or a key was refused. The list is closed.
type Code string

// The codes, as docs/spec/audit-record.md lists them.
const (
	CodeFormat    Code = "record.format"    // not in the one canonical spelling, or it contradicts itself
	CodeSignature Code = "record.signature" // not signed by the key it names
	CodeKey       Code = "record.key"       // signed by another key than expected, or a key that cannot be used
)

// An Error is every refusal of this package.
type Error struct {
	Code   Code
	Detail string // for people; no secret is in it
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

func refuse(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}

// Developer is what records name as the developer of the verifier where the
// caller of [New] says nothing else.
const Developer = "https://github.com/sotto-project/sotto"

// Caps of a record. What [New] is given beyond them it refuses, except for long
// texts of a report, which it cuts.
const (
	MaxNodes = 2048
	maxGaps  = 64
	maxText  = 512     // bytes of one text
	maxToken = 4 << 20 // bytes of a signed record
	maxTime  = 1 << 40 // seconds since 1970
	maxTier  = 3
)

// A Record is one verification of one or more nodes. Zero digests mean "none".
type Record struct {
	KeyID     string // RFC 7638 thumbprint of the verifier's key: who says this
	Name      string // who that is, in their own words; may be empty
	Developer string // of the verifier's software
	Build     string // of the verifier's software: module version, toolchain

	Time       time.Time // the record was made: whole seconds, UTC
	Policy     [32]byte  // SHA-256 of the policy, [attestation.Policy.Digest]
	Epoch      uint64    // of the statement
	Statement  [32]byte  // SHA-256 of the signed statement that listed the nodes
	Checkpoint [32]byte  // SHA-256 of the newest checkpoint note that the verifier held

	Nodes []Node // strictly ascending by ID, at least one
}

// A Node is the outcome for one node.
type Node struct {
	ID        [32]byte
	Evidence  [32]byte  // SHA-256 of the epoch evidence
	Freshness [32]byte  // SHA-256 of the freshness evidence
	Report    [32]byte  // SHA-256 of the report in full, [attestation.Report.JSON]
	Challenge [32]byte  // the verifier's own, where it asked for proof on the spot
	Checked   time.Time // whole seconds, UTC

	Verdict   attestation.Verdict
	Code      attestation.Code // why it failed; empty otherwise
	Step      string           // which step failed; empty otherwise
	Platform  attestation.Platform
	Simulated bool
	Tier      int      // reached, 1 to 3; 0 where it failed or was not checked
	TierWhy   string   // what keeps it from the next
	Gaps      []string // what was left open, in order

	Vector Vector // the verdict by AR4SI's categories
}

// Params are what [New] makes a record of.
type Params struct {
	Key       ed25519.PublicKey // of the verifier; the private half signs
	Name      string            // optional
	Build     string            // such as "v0.3.0 go1.26.8 linux/amd64"
	Developer string            // [Developer] if empty

	Time       time.Time
	Policy     [32]byte
	Epoch      uint64   // of Statement
	Statement  [32]byte // optional: evidence can be verified without a log
	Checkpoint [32]byte // optional

	Nodes []NodeParams
}

// NodeParams are a report and what it is about. The digests are those of the
// bytes that were judged.
type NodeParams struct {
	Report    *attestation.Report
	Evidence  [32]byte // of the epoch evidence; where zero, the report's
	Freshness [32]byte // of the freshness evidence; zero if there was none
	Challenge [32]byte // as in [attestation.References]; zero if there was none
}

// New makes a record. It refuses, with [CodeKey] or [CodeFormat], parameters that
// are incomplete or contradict the reports: two reports about one node, or a
// report that was made under another policy than the record's.
func New(p Params) (*Record, error) {
	if len(p.Key) != ed25519.PublicKeySize {
		return nil, refuse(CodeKey, "no verifier key")
	}
	r := &Record{
		KeyID: KeyID(p.Key), Name: clean(p.Name), Developer: clean(p.Developer), Build: clean(p.Build),
		Time: seconds(p.Time), Policy: p.Policy, Epoch: p.Epoch, Statement: p.Statement, Checkpoint: p.Checkpoint,
	}
	if r.Developer == "" {
		r.Developer = Developer
	}
	for i := range p.Nodes {
		n, err := newNode(&p.Nodes[i], p.Policy)
		if err != nil {
			return nil, err
		}
		r.Nodes = append(r.Nodes, n)
	}
	slices.SortFunc(r.Nodes, func(a, b Node) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

func newNode(p *NodeParams, policy [32]byte) (Node, error) {
	r := p.Report
	if r == nil {
		return Node{}, refuse(CodeFormat, "no report")
	}
	n := Node{
		ID: r.Node, Evidence: p.Evidence, Freshness: p.Freshness, Challenge: p.Challenge, Report: sha256.Sum256(r.JSON()),
		Checked: seconds(r.Time), Verdict: r.Verdict, Platform: r.Platform, Simulated: r.Simulated, Vector: vectorOf(r),
	}
	if n.Verdict == attestation.Verified || n.Verdict == attestation.VerifiedWithGaps {
		n.Tier, n.TierWhy = r.Tier, clean(r.TierWhy)
	}
	for _, s := range r.Steps {
		if s.Verdict == attestation.Failed {
			n.Code, n.Step = s.Code, clean(s.ID)
		}
	}
	for _, g := range r.Gaps() {
		if g = clean(g); g != "" && len(n.Gaps) < maxGaps {
			n.Gaps = append(n.Gaps, g)
		}
	}
	if r.Policy != "" && r.Policy != hex.EncodeToString(policy[:]) {
		return Node{}, refuse(CodeFormat, "report on node %x was made under policy %q", r.Node[:4], r.Policy)
	}
	if r.Evidence != "" {
		d, ok := digest(r.Evidence)
		if !ok || n.Evidence != [32]byte{} && n.Evidence != d {
			return Node{}, refuse(CodeFormat, "report on node %x is about evidence %q", r.Node[:4], r.Evidence)
		}
		n.Evidence = d
	}
	return n, nil
}

// check holds what is true of every record, made or read.
func (r *Record) check() *Error {
	bad := func(format string, args ...any) *Error { return refuse(CodeFormat, format, args...) }
	switch {
	case len(r.Nodes) == 0 || len(r.Nodes) > MaxNodes:
		return bad("%d nodes, allowed are 1 to %d", len(r.Nodes), MaxNodes)
	case r.Build == "" || r.Developer == "":
		return bad("no verifier software")
	case r.Policy == [32]byte{}:
		return bad("no policy")
	case !timely(r.Time):
		return bad("no time")
	case r.Epoch != 0 && r.Statement == [32]byte{}:
		return bad("an epoch without a statement")
	case r.Epoch > 1<<53-1: // I-JSON, RFC 7493, Section 2.2
		return bad("epoch out of range")
	}
	for _, s := range []string{r.Name, r.Developer, r.Build} {
		if s != clean(s) {
			return bad("unprintable text")
		}
	}
	for i := range r.Nodes {
		if i > 0 && bytes.Compare(r.Nodes[i-1].ID[:], r.Nodes[i].ID[:]) >= 0 {
			return bad("nodes out of order, or one twice")
		}
		if err := r.Nodes[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) check() *Error {
	bad := func(what string) *Error { return refuse(CodeFormat, "node %x: %s", n.ID[:4], what) }
	passed := n.Verdict == attestation.Verified || n.Verdict == attestation.VerifiedWithGaps
	switch {
	case n.ID == [32]byte{}:
		return refuse(CodeFormat, "a node without identifier")
	case n.Verdict > attestation.Verified:
		return bad("no such verdict")
	case (n.Verdict == attestation.Failed) != (n.Code != "") || (n.Code != "") != (n.Step != ""):
		return bad("a failure has a code and a step, and nothing else has")
	case n.Code != "" && !slices.Contains(attestation.Codes(), n.Code):
		return bad("no such code")
	case n.Platform != "" && !slices.Contains(attestation.Platforms(), n.Platform):
		return bad("no such platform")
	case passed && (n.Evidence == [32]byte{} || !timely(n.Checked)):
		return bad("a verdict on no evidence, or of no time")
	case !n.Checked.IsZero() && !timely(n.Checked):
		return bad("time out of range")
	case !passed && (n.Tier != 0 || n.TierWhy != ""):
		return bad("a tier without acceptance")
	case n.Tier < 0 || n.Tier > maxTier:
		return bad("no such tier")
	case n.Verdict == attestation.VerifiedWithGaps && len(n.Gaps) == 0, n.Verdict == attestation.Verified && len(n.Gaps) != 0:
		return bad("gaps and verdict contradict each other")
	case len(n.Gaps) > maxGaps:
		return bad("too many gaps")
	}
	for _, s := range append([]string{n.Step, n.TierWhy}, n.Gaps...) {
		if s != clean(s) {
			return bad("unprintable text")
		}
	}
	if slices.Contains(n.Gaps, "") {
		return bad("a gap without a name")
	}
	if n.Vector.worst() > rank(n.status()) {
		return bad("vector worse than verdict")
	}
	return nil
}

// clean makes a text of a report fit for a record: what is not printable, and
// what a viewer could take for an instruction, becomes U+FFFD.
func clean(s string) string {
	if len(s) <= maxText && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return s
	}
	s = strings.Map(func(c rune) rune {
		if c != ' ' && !unicode.In(c, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) {
			return utf8.RuneError
		}
		return c
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(t.Unix(), 0).UTC()
}

func timely(t time.Time) bool { return t.Unix() > 0 && t.Unix() < maxTime }

// digest reads 64 lower-case hex digits.
func digest(s string) (d [32]byte, ok bool) {
	if n, err := hex.Decode(d[:], []byte(s[:min(len(s), 64)])); err != nil || n != 32 || hex.EncodeToString(d[:]) != s {
		return [32]byte{}, false
	}
	return d, true
}
