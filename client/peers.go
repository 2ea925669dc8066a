// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency"
)

// Standings of one node with another, or with this client. Absent, unsigned
// and foreign verdicts are all [PeerNotChecked]: silence vouches for nobody.
const (
	PeerVerified   = "verified"
	PeerRefused    = "refused"
	PeerNotChecked = "not checked"
)

// A PeerMatrix says which nodes vouch for which, by their own signatures.
type PeerMatrix struct {
	Time      time.Time `json:"time"`
	Epoch     uint64    `json:"epoch"`
	Statement string    `json:"statement_sha256"`
	Simulated bool      `json:"simulated"`

	Nodes []PeerNode `json:"nodes"` // in the statement's order
	// Cells are the verdicts about nodes of this epoch that reached this
	// client, counted or not. A pair without one is not checked.
	Cells []PeerCell `json:"verdicts"`
	// Foreign counts what was served besides: of other epochs, or of nodes that
	// the statement does not list.
	Foreign int `json:"foreign"`

	cells map[[2]string]*PeerCell
}

// A PeerNode is a row and a column of the matrix.
type PeerNode struct {
	ID     string `json:"id"`
	Model  string `json:"model"`
	State  string `json:"state"`          // with this client
	Code   string `json:"code,omitempty"` // of this client's refusal
	Vouch  int    `json:"verified_by"`    // peers that verified it
	Refuse int    `json:"refused_by"`     // peers that refused it
}

// A PeerCell is one node's verdict on another.
type PeerCell struct {
	Verifier string    `json:"verifier"`
	Subject  string    `json:"subject"`
	State    string    `json:"state"`
	Code     string    `json:"code,omitempty"` // of a refusal
	Time     time.Time `json:"time"`           // by the verifier's clock
	Policy   string    `json:"policy_sha256"`  // of the verifier
	// Newest says that the verdict is about the freshness evidence that this
	// client holds, too; otherwise about some other of the same epoch.
	Newest bool   `json:"newest"`
	Why    string `json:"why,omitempty"` // why it counts for nothing, if not checked
}

// Cell returns what one node says of another, by their ids in hex.
func (m *PeerMatrix) Cell(verifier, subject string) PeerCell {
	if c := m.cells[[2]string{verifier, subject}]; c != nil {
		return *c
	}
	return PeerCell{Verifier: verifier, Subject: subject, State: PeerNotChecked, Why: "no verdict"}
}

// Peers fetches the world anew, verifies every node as [Client.Verify] does,
// and then what the nodes say of one another. Only the signature of a node that
// this client has verified itself counts, over evidence that the statement
// names, and not for longer than freshness does.
//
// The error is that of the first node refused, by this client or by a peer; the
// matrix is complete all the same.
func (c *Client) Peers(ctx context.Context) (*PeerMatrix, error) {
	w, err := c.refresh(ctx, nil)
	if err != nil {
		return nil, err
	}
	first := c.verifyAll(w)
	c.note(w, w.listed)
	b, err := c.oblivious(ctx, w, "/v1/peers")
	if err != nil {
		return nil, err
	}
	list, err := wire.ParsePeerVerdicts(b)
	if err != nil {
		return nil, refuse(CodeStreamAuth, "the list of verdicts is malformed")
	}
	m := w.matrix(list, c.cfg.Now(), c.cfg.MaxFreshness)
	if first == nil {
		first = m.refusal()
	}
	return m, first
}

// matrix judges the verdicts.
func (w *world) matrix(list []wire.PeerVerdict, now time.Time, maxAge time.Duration) *PeerMatrix {
	m := &PeerMatrix{
		Time: now, Epoch: w.statement.Epoch, Statement: hex.EncodeToString(w.leaf[:]), cells: map[[2]string]*PeerCell{},
	}
	at, by, evidence := map[[32]byte]int{}, map[[32]byte]*listed{}, map[[32]byte][32]byte{}
	for i, l := range w.listed {
		n := PeerNode{ID: hex.EncodeToString(l.id[:]), Model: w.modelName(l), State: PeerVerified}
		if l.node == nil {
			n.State, n.Code = PeerRefused, CodeOf(l.err)
		}
		if record, _, err := w.pack.Node(l.row); err == nil {
			evidence[l.id] = record.EvidenceDigest
		}
		if l.report != nil && l.report.Simulated {
			m.Simulated = true
		}
		m.Nodes = append(m.Nodes, n)
		at[l.id], by[l.id] = i, l
	}
	for i := range list {
		v := &list[i]
		verifier, subject := by[v.Verifier], by[v.Subject]
		if v.Epoch != m.Epoch || verifier == nil || subject == nil {
			m.Foreign++
			continue
		}
		cell := judgeVerdict(v, verifier, subject, evidence[v.Subject], now, maxAge)
		m.Cells = append(m.Cells, cell)
		switch cell.State {
		case PeerVerified:
			m.Nodes[at[v.Subject]].Vouch++
		case PeerRefused:
			m.Nodes[at[v.Subject]].Refuse++
		}
	}
	for i := range m.Cells {
		m.cells[[2]string{m.Cells[i].Verifier, m.Cells[i].Subject}] = &m.Cells[i]
	}
	return m
}

// judgeVerdict decides what one verdict is worth; evidence is the digest that
// the subject's record names.
func judgeVerdict(v *wire.PeerVerdict, verifier, subject *listed, evidence [32]byte, now time.Time, maxAge time.Duration) PeerCell {
	cell := PeerCell{
		Verifier: hex.EncodeToString(v.Verifier[:]), Subject: hex.EncodeToString(v.Subject[:]), State: PeerNotChecked,
		Time: v.Time, Policy: hex.EncodeToString(v.Policy[:]),
	}
	switch {
	case verifier.node == nil:
		cell.Why = "who says so was itself refused: " + CodeOf(verifier.err)
	case !v.Verify(verifier.node.signing):
		cell.Why = "not signed by the node it names"
	case evidence != v.Evidence || evidence == [32]byte{}:
		cell.Why = "about other epoch evidence than the statement names"
	case now.Sub(v.Time) > maxAge:
		cell.Why = fmt.Sprintf("older than %v", maxAge)
	case v.Time.Sub(now) > transparency.MaxClockSkew:
		cell.Why = "from the future"
	case v.Code != "":
		cell.State, cell.Code = PeerRefused, v.Code
	default:
		cell.State = PeerVerified
	}
	cell.Newest = cell.State != PeerNotChecked && subject.node != nil && subject.node.fresh == v.Freshness
	return cell
}

// refusal is the first refusal by a peer.
func (m *PeerMatrix) refusal() error {
	for _, c := range m.Cells {
		if c.State == PeerRefused {
			return refuse(c.Code, "node %s refuses node %s", c.Verifier[:8], c.Subject[:8]).
				hint("this client's own verification is in the report; two verifiers of one evidence should agree")
		}
	}
	return nil
}

// Complete reports whether every node was verified by this client and by at
// least one peer, and refused by none.
func (m *PeerMatrix) Complete() bool {
	for _, n := range m.Nodes {
		if n.State != PeerVerified || n.Vouch == 0 || n.Refuse > 0 {
			return false
		}
	}
	return len(m.Nodes) > 0
}

// widestMatrix is how many nodes are printed as a square.
const widestMatrix = 16

// Text prints the matrix for people: who (rows) says what of whom (columns),
// or, for many nodes, how many peers say what of each.
func (m *PeerMatrix) Text() string {
	var b strings.Builder
	if m.Simulated {
		b.WriteString("SIMULATED HARDWARE: no chip stands behind these nodes\n")
	}
	fmt.Fprintf(&b, "epoch       %d, %d nodes\n", m.Epoch, len(m.Nodes))
	if m.Foreign > 0 {
		fmt.Fprintf(&b, "foreign     %d verdicts of other epochs or unlisted nodes, not counted\n", m.Foreign)
	}
	if len(m.Nodes) <= widestMatrix {
		m.square(&b)
	}
	b.WriteString("\nnode      this client                 verified by  refused by\n")
	for _, n := range m.Nodes {
		state := n.State
		if n.Code != "" {
			state += " " + n.Code
		}
		fmt.Fprintf(&b, "%s  %-26s  %11d  %10d\n", n.ID[:8], state, n.Vouch, n.Refuse)
	}
	for _, c := range m.Cells {
		switch c.State {
		case PeerRefused:
			fmt.Fprintf(&b, "\n%s refuses %s: %s", c.Verifier[:8], c.Subject[:8], c.Code)
		case PeerNotChecked:
			fmt.Fprintf(&b, "\n%s on %s counts for nothing: %s", c.Verifier[:8], c.Subject[:8], c.Why)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (m *PeerMatrix) square(b *strings.Builder) {
	b.WriteString("\n+ verified, ! refused, . not checked; rows speak about columns\n\n        ")
	for _, n := range m.Nodes {
		fmt.Fprintf(b, "  %s", n.ID[:8])
	}
	b.WriteByte('\n')
	for _, v := range m.Nodes {
		b.WriteString(v.ID[:8])
		for _, s := range m.Nodes {
			mark := map[string]string{PeerVerified: "+", PeerRefused: "!", PeerNotChecked: "."}[m.Cell(v.ID, s.ID).State]
			if v.ID == s.ID {
				mark = " "
			}
			fmt.Fprintf(b, "  %4s    ", mark)
		}
		b.WriteByte('\n')
	}
}
