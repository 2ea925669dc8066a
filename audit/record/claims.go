// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/sotto-project/sotto/attestation"
)

// Profile is the EAT profile of the claims-set (draft-ietf-rats-ear-04, Section 3).
const Profile = "tag:ietf.org,2026:rats/ear#04"

// Extension is the collision-resistant name (RFC 7519, Section 4.2) under which a
// record holds what EAR has no claim for, and the profile of its submodules.
const Extension = "tag:github.com,2026:sotto-project/sotto/audit-record#1"

// policyPrefix begins a policy's identifier, a name by hash (RFC 6920).
const policyPrefix = "ni:///sha-256;"

// raw is base64url as JWTs have it, unused bits zero.
var raw = base64.RawURLEncoding.Strict()

// Claims prints the claims-set, the payload of the token. The identifier of the
// key is not in it: it is in the token's header.
func (r *Record) Claims() []byte {
	p := &printer{}
	p.open('{')
	p.text("ear_status", r.Status())
	p.member("ear_verifier_id")
	p.open('{')
	p.text("build", r.Build)
	p.text("developer", r.Developer)
	p.close('}')
	p.text("eat_profile", Profile)
	p.number("iat", r.Time.Unix())
	p.member("submods")
	p.open('{')
	policy := policyPrefix + raw.EncodeToString(r.Policy[:])
	for i := range r.Nodes {
		r.Nodes[i].print(p, policy)
	}
	p.close('}')
	p.member(Extension)
	p.open('{')
	p.digest("checkpoint_sha256", r.Checkpoint)
	if r.Epoch != 0 {
		p.number("epoch", int64(r.Epoch))
	}
	p.optional("name", r.Name)
	p.digest("policy_sha256", r.Policy)
	p.digest("statement_sha256", r.Statement)
	p.close('}')
	p.close('}')
	return p.b
}

func (n *Node) print(p *printer, policy string) {
	p.member(hex.EncodeToString(n.ID[:]))
	p.open('{')
	p.member("ear_appraisal_policy_ids")
	p.open('[')
	p.comma()
	p.string(policy)
	p.close(']')
	p.text("ear_status", n.status())
	p.member("ear_trustworthiness_vector")
	p.open('{')
	for _, e := range n.Vector.entries() {
		// AR4SI wants at least one entry: "no claim" about the hardware says nothing.
		if *e.claim != NoClaim || e.name == "hardware" && n.Vector == (Vector{}) {
			p.number(e.name, int64(*e.claim))
		}
	}
	p.close('}')
	if n.Challenge != [32]byte{} {
		p.text("eat_nonce", raw.EncodeToString(n.Challenge[:]))
	}
	p.text("eat_profile", Extension)
	p.member(Extension)
	n.printOwn(p)
	p.close('}')
}

func (n *Node) printOwn(p *printer) {
	p.open('{')
	if !n.Checked.IsZero() {
		p.number("checked", n.Checked.Unix())
	}
	p.optional("code", string(n.Code))
	p.digest("evidence_sha256", n.Evidence)
	p.digest("freshness_sha256", n.Freshness)
	if len(n.Gaps) > 0 {
		p.member("gaps")
		p.open('[')
		for _, g := range n.Gaps {
			p.comma()
			p.string(g)
		}
		p.close(']')
	}
	p.optional("platform", string(n.Platform))
	p.digest("report_sha256", n.Report)
	if n.Simulated {
		p.member("simulated")
		p.b = append(p.b, "true"...)
	}
	p.optional("step", n.Step)
	p.number("tier", int64(n.Tier))
	p.optional("tier_why", n.TierWhy)
	p.text("verdict", n.Verdict.String())
	p.close('}')
}

// Parse reads a claims-set: one spelling, nothing unknown, nothing twice. It
// checks no signature, see [Verify]; the record's KeyID is empty. Errors are
// [CodeFormat].
func Parse(claims []byte) (*Record, error) {
	if len(claims) > maxToken {
		return nil, refuse(CodeFormat, "%d bytes, allowed are %d", len(claims), maxToken)
	}
	in, r := &reader{b: claims}, new(Record)
	in.open("{")
	status := in.text("ear_status")
	in.member("ear_verifier_id")
	in.open("{")
	r.Build, r.Developer = in.text("build"), in.text("developer")
	in.close("}")
	if in.text("eat_profile") != Profile {
		in.fail("another profile")
	}
	r.Time = time.Unix(in.number("iat", 1, maxTime-1), 0).UTC()
	in.member("submods")
	in.open("{")
	var policies []string
	for in.element('}') {
		if len(r.Nodes) == MaxNodes {
			in.fail("too many nodes")
			break
		}
		n, policy := readNode(in)
		r.Nodes, policies = append(r.Nodes, n), append(policies, policy)
	}
	in.close("}")
	in.member(Extension)
	in.open("{")
	r.Checkpoint = in.digest("checkpoint_sha256")
	if in.isMember("epoch") {
		r.Epoch = uint64(in.int(1, 1<<53-1))
	}
	r.Name = in.optional("name")
	r.Policy, r.Statement = in.digest("policy_sha256"), in.digest("statement_sha256")
	in.close("}")
	in.close("}")
	if in.at != len(in.b) {
		in.fail("bytes after the claims")
	}
	if in.failed != nil {
		return nil, in.failed
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	for _, p := range policies {
		if p != policyPrefix+raw.EncodeToString(r.Policy[:]) {
			return nil, refuse(CodeFormat, "a node was judged by another policy than the record's")
		}
	}
	if status != r.Status() {
		return nil, refuse(CodeFormat, "status %q is not that of the worst node", status)
	}
	return r, nil
}

// readNode reads a node; what contradicts itself is left to check.
func readNode(in *reader) (n Node, policy string) {
	n.ID = in.hex()
	in.want(":")
	in.open("{")
	in.member("ear_appraisal_policy_ids")
	in.open("[")
	policy = in.string()
	in.close("]")
	status := in.text("ear_status")
	in.member("ear_trustworthiness_vector")
	in.open("{")
	for _, e := range n.Vector.entries() {
		if !in.isMember(e.name) {
			continue
		}
		*e.claim = Claim(in.int(-128, 127))
		if *e.claim == NoClaim && (e.name != "hardware" || n.Vector != (Vector{}) || in.at >= len(in.b) || in.b[in.at] != '}') {
			in.fail("a claim of nothing")
		}
	}
	if in.first {
		in.fail("an empty vector")
	}
	in.close("}")
	if in.isMember("eat_nonce") {
		s := in.string()
		if b, err := raw.DecodeString(s); err != nil || len(b) != 32 || raw.EncodeToString(b) != s || [32]byte(b) == [32]byte{} {
			in.fail("malformed nonce")
		} else {
			n.Challenge = [32]byte(b)
		}
	}
	if in.text("eat_profile") != Extension {
		in.fail("another profile")
	}
	in.member(Extension)
	readOwn(in, &n)
	in.close("}")
	if status != n.status() {
		in.fail("status and verdict contradict each other")
	}
	return n, policy
}

func readOwn(in *reader, n *Node) {
	in.open("{")
	if in.isMember("checked") {
		n.Checked = time.Unix(in.int(1, maxTime-1), 0).UTC()
	}
	n.Code = attestation.Code(in.optional("code"))
	n.Evidence, n.Freshness = in.digest("evidence_sha256"), in.digest("freshness_sha256")
	if in.isMember("gaps") {
		in.open("[")
		for in.element(']') {
			if n.Gaps = append(n.Gaps, in.string()); len(n.Gaps) > maxGaps {
				in.fail("too many gaps")
			}
		}
		if n.Gaps == nil {
			in.fail("no gaps")
		}
		in.close("]")
	}
	n.Platform = attestation.Platform(in.optional("platform"))
	n.Report = in.digest("report_sha256")
	if in.isMember("simulated") {
		in.want("true")
		n.Simulated = true
	}
	n.Step = in.optional("step")
	n.Tier = int(in.number("tier", 0, maxTier))
	n.TierWhy = in.optional("tier_why")
	if err := n.Verdict.UnmarshalText([]byte(in.text("verdict"))); err != nil {
		in.fail("no such verdict")
	}
	in.close("}")
}
