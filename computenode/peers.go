// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// What a push of peers' evidence may cost.
const (
	maxPush  = 64 << 20 // bytes of JSON
	maxPeers = 64       // nodes judged in one push
)

// peers is what a node needs to judge others. It dials nobody: evidence is
// brought to it, and it believes of that what the log and the hardware say.
type peers struct {
	trust transparency.Trust
	judge *roster.Judge
	turn  chan struct{} // one push at a time: judging must not starve answering
}

// newPeers reads the policy file of c; nil if the node judges nobody.
func newPeers(c PeersConfig) (*peers, error) {
	if c.none() {
		return nil, nil
	}
	policy, err := readPolicy("peers: policy", c.Policy, c.Machines)
	if err != nil {
		return nil, err
	}
	return &peers{trust: c.Trust, judge: roster.NewJudge(policy, nil), turn: make(chan struct{}, 1)}, nil
}

// readPolicy reads a policy file, unless a policy was given in its place. Roots
// are the vendors': no file can name others. Nil if there is neither.
func readPolicy(setting, path string, given *attestation.Policy) (*attestation.Policy, error) {
	if given != nil || path == "" {
		return given, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", setting, err)
	}
	p, err := attestation.ParsePolicy(b)
	if err != nil {
		return nil, fmt.Errorf("node: %s: %s: %w", setting, path, err)
	}
	p.Roots = attestation.VendorRoots()
	return p, nil
}

// peersQuestion is the body of POST /v1/peers: everything that proves the nodes
// to be judged, as it is public.
type peersQuestion struct {
	Statement []byte   `json:"statement"` // statement.Signed
	Pack      []byte   `json:"pack"`      // statement.Pack; no objects are needed but those of the peers
	Freshness []byte   `json:"freshness"` // statement.Freshness, likewise
	Peers     [][]byte `json:"peers"`     // node ids to judge
}

// peersAnswer is the answer to it.
type peersAnswer struct {
	Verdicts []byte `json:"verdicts"` // list of wire.PeerVerdict
}

// servePeers judges other nodes and signs the verdicts.
func (n *Node) servePeers(w http.ResponseWriter, r *http.Request) {
	select {
	case n.peers.turn <- struct{}{}:
		defer func() { <-n.peers.turn }()
	default:
		httpx.Problem(w, http.StatusTooManyRequests, codeBusy)
		return
	}
	q := new(peersQuestion)
	if err := readJSON(w, r, q, maxPush); err != nil || len(q.Peers) == 0 || len(q.Peers) > maxPeers {
		httpx.Problem(w, http.StatusBadRequest, "peers.format")
		return
	}
	if n.isDrained() {
		httpx.Problem(w, errDraining.status, errDraining.code)
		return
	}
	now := time.Now()
	view, err := n.peers.open(q, now)
	if err != nil {
		n.log.Warn("evidence of peers refused", "error", err)
		httpx.Problem(w, http.StatusBadRequest, "peers.refused")
		return
	}
	var list []wire.PeerVerdict
	for _, raw := range q.Peers {
		v, err := n.judge(view, raw, now)
		if err != nil {
			httpx.Problem(w, http.StatusBadRequest, "peers.refused")
			return
		}
		list = append(list, *v)
	}
	if !n.vouchFor(view.Statement.Epoch, list) {
		httpx.Problem(w, http.StatusConflict, "epoch")
		return
	}
	for i := range list {
		n.meters.judged.Inc(judgedCode(list[i].Code))
	}
	answerJSON(w, peersAnswer{wire.AppendPeerVerdicts(nil, list)})
}

// open verifies what the peers are judged by: a statement of the log that is in
// force, or about to be, and two checkpoints.
func (p *peers) open(q *peersQuestion, now time.Time) (*roster.View, error) {
	signed, err := statement.ParseSigned(q.Statement)
	if err != nil {
		return nil, err
	}
	v := new(roster.View)
	if v.Statement, _, err = signed.Verify(&p.trust); err != nil {
		return nil, err
	}
	if v.Statement.Empty || now.After(v.Statement.NotAfter) {
		return nil, transparency.Refuse(transparency.CodeEpochExpired, "the statement of epoch %d is over or empty", v.Statement.Epoch)
	}
	if v.Pack, v.EpochPoint, err = roster.OpenPack(&p.trust, v.Statement, q.Pack); err != nil {
		return nil, err
	}
	v.Freshness, v.FreshPoint, err = roster.OpenFreshness(&p.trust, q.Freshness)
	return v, err
}

var errPeer = errors.New("node: peer: not a node of the statement, or this one")

// judge verifies one peer. Whatever its evidence is worth, there is a verdict;
// an error means that there is nobody to judge.
func (n *Node) judge(view *roster.View, raw []byte, now time.Time) (*wire.PeerVerdict, error) {
	if len(raw) != 32 || [32]byte(raw) == n.id {
		return nil, errPeer
	}
	row, ok := view.Statement.Node([32]byte(raw))
	if !ok {
		return nil, errPeer
	}
	v := &wire.PeerVerdict{
		Epoch: view.Statement.Epoch, Verifier: n.id, Subject: row.ID, Policy: n.peers.judge.PolicyDigest(), Time: now.UTC().Truncate(time.Second),
	}
	c, err := view.Case(row)
	if err == nil {
		v.Evidence, v.Freshness = c.Refs.EvidenceDigest, c.FreshDigest()
		_, err = n.peers.judge.Judge(c, now)
	} else if record, _, nothing := view.Pack.Node(row); nothing == nil {
		v.Evidence = record.EvidenceDigest
	}
	if err != nil {
		if v.Code = roster.CodeOf(err); v.Code == "" {
			v.Code = "att.format" // not reached: both have codes for all they refuse
		}
	}
	return v, nil
}

// vouchFor signs the verdicts with the node's key of the epoch, which its own
// evidence vouches for.
func (n *Node) vouchFor(number uint64, list []wire.PeerVerdict) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	e := n.epochs[number]
	if e == nil || len(e.sign) != ed25519.PrivateKeySize {
		return false
	}
	for i := range list {
		list[i].Sign(e.sign)
	}
	return true
}

// judgedCode is a verdict as it is counted.
func judgedCode(code string) string {
	if code == "" {
		return outcomeOK
	}
	return code
}

func judgedCodes() []string {
	out := []string{outcomeOK}
	for _, c := range attestation.Codes() {
		out = append(out, string(c))
	}
	return out
}
