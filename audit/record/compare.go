// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/attestation"
)

// A Difference is one thing on which two records do not agree.
type Difference struct {
	Node  [32]byte // zero: the record as a whole
	Field string   // as in the claims: "verdict", "evidence_sha256"
	A, B  string   // what each says; empty: nothing
	// Because names what may account for it: "policy", "evidence", "time",
	// "verifier" (another build) or "choice" (which nodes to look at), or several
	// of them. Empty: nothing does. Then one of the two verifiers is wrong, or was
	// shown another world.
	Because string
}

// Compare lays two records side by side. It returns nothing exactly if both say
// the same of the same evidence: same nodes, digests, policy, verdicts, tiers
// and gaps. Who signed, when, and with which build is expected to differ and is
// no difference, but may account for one.
//
// Another policy is a difference of its own; so is another statement, and where
// both name one epoch nothing accounts for that: there is one statement an epoch.
func Compare(a, b *Record) []Difference {
	c := &comparison{a: a, b: b}
	if a.Policy != b.Policy {
		c.add("policy_sha256", hexOf(a.Policy), hexOf(b.Policy), "")
		c.policy = true
	}
	if a.Statement != b.Statement {
		because := "time"
		if a.Epoch == b.Epoch && a.Epoch != 0 {
			because = ""
		}
		c.add("statement_sha256", hexOf(a.Statement), hexOf(b.Statement), because)
	}
	if a.Epoch != b.Epoch {
		c.add("epoch", number(a.Epoch), number(b.Epoch), "time")
	}
	for i, j := 0, 0; i < len(a.Nodes) || j < len(b.Nodes); {
		switch order(a.Nodes[i:], b.Nodes[j:]) {
		case -1:
			c.only(&a.Nodes[i], a.Nodes[i].Verdict.String(), "")
			i++
		case 1:
			c.only(&b.Nodes[j], "", b.Nodes[j].Verdict.String())
			j++
		default:
			c.nodes(&a.Nodes[i], &b.Nodes[j])
			i, j = i+1, j+1
		}
	}
	return c.out
}

func order(a, b []Node) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return bytes.Compare(a[0].ID[:], b[0].ID[:])
}

type comparison struct {
	a, b   *Record
	policy bool // the two judged by different policies
	node   [32]byte
	out    []Difference
}

func (c *comparison) add(field, a, b, because string) {
	if a != b {
		c.out = append(c.out, Difference{Node: c.node, Field: field, A: a, B: b, Because: because})
	}
}

// only notes a node that one record does not have.
func (c *comparison) only(n *Node, a, b string) {
	c.node = n.ID
	c.add("submods", a, b, "choice")
	c.node = [32]byte{}
}

func (c *comparison) nodes(a, b *Node) {
	c.node = a.ID
	because := c.because(a, b)
	// Evidence of one epoch is fixed by the statement; freshness evidence and
	// challenges are anybody's own.
	var other string
	if c.a.Epoch != c.b.Epoch {
		other = "time"
	}
	c.add("evidence_sha256", hexOf(a.Evidence), hexOf(b.Evidence), other)
	c.add("freshness_sha256", hexOf(a.Freshness), hexOf(b.Freshness), "time")
	c.add("verdict", a.Verdict.String(), b.Verdict.String(), because)
	c.add("code", string(a.Code), string(b.Code), because)
	c.add("step", a.Step, b.Step, because)
	c.add("platform", string(a.Platform), string(b.Platform), because)
	c.add("simulated", strconv.FormatBool(a.Simulated), strconv.FormatBool(b.Simulated), because)
	c.add("tier", strconv.Itoa(a.Tier), strconv.Itoa(b.Tier), because)
	c.add("gaps", strings.Join(a.Gaps, "; "), strings.Join(b.Gaps, "; "), because)
	c.node = [32]byte{}
}

// timed are codes with which a verifier may be right at one time and not at
// another: ages, dates of certificates and lists, and graces that end.
var timed = []attestation.Code{"att.stale", "att.clock", "att.chain", "att.crl", "att.tcb", "att.revoked", "att.ak.cert", "att.ek",
	"att.tdx.collateral", "att.tdx.status", "att.gpu.chain", "att.gpu.rim", "att.gpu.ocsp", "att.gpu.token"}

func (c *comparison) because(a, b *Node) string {
	var why []string
	if c.policy {
		why = append(why, "policy")
	}
	if a.Evidence != b.Evidence || a.Freshness != b.Freshness {
		why = append(why, "evidence")
	}
	if !a.Checked.Equal(b.Checked) && (slices.Contains(timed, a.Code) || slices.Contains(timed, b.Code)) {
		why = append(why, "time")
	}
	if c.a.Build != c.b.Build || c.a.Developer != c.b.Developer {
		why = append(why, "verifier")
	}
	return strings.Join(why, ", ")
}

func hexOf(d [32]byte) string {
	if d == [32]byte{} {
		return ""
	}
	return hex.EncodeToString(d[:])
}

func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}
