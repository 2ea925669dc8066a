// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// An Attestation is what one node answered to a challenge of ours: proof that
// is younger than the question.
type Attestation struct {
	Time      time.Time `json:"time"`
	Verdict   string    `json:"verdict"`
	Simulated bool      `json:"simulated"`
	Epoch     uint64    `json:"epoch"`
	Statement string    `json:"statement_sha256"`

	Challenge string        `json:"challenge"`        // 32 bytes in hex
	Origin    string        `json:"challenge_origin"` // who drew it
	Drawn     time.Time     `json:"challenge_drawn"`
	Took      time.Duration `json:"answered_after_ns"`
	Qualifier string        `json:"qualifying_data"`     // what the quote must be over, in hex
	Where     string        `json:"reappears,omitempty"` // where it was found; empty: nowhere

	Node NodeReport `json:"node"`
}

// challengeOrigin is the only one there is (AT-05).
const challengeOrigin = "drawn by this process (crypto/rand) right before it was sent"

// Attest has one node prove itself now: it draws a challenge, sends it through
// relay and gateway as everything else, and verifies the node completely, with
// the quote over that challenge in place of freshness evidence. Nothing of the
// user is in the question, and it has the size of the shortest prompt.
//
// The error says why the node was refused, or why there was no answer ("busy":
// nodes take a few such questions a second, whoever asks). With a refusal the
// Attestation is complete all the same; it is nil if nothing was answered.
func (c *Client) Attest(ctx context.Context, nodeID [32]byte) (*Attestation, error) {
	if c.cfg.Policy.WithoutFreshness {
		return nil, refuse("att.policy", "a policy without freshness would not look at the answer")
	}
	w, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	l := w.find(nodeID)
	if l == nil {
		return nil, refuse(CodeNode, "epoch %d lists no node %s", w.statement.Epoch, hex.EncodeToString(nodeID[:]))
	}
	// Never from the answer: it is drawn here, and only then is anybody asked.
	var challenge [32]byte
	if _, err := rand.Read(challenge[:]); err != nil {
		return nil, refuse("rng", "%v", err)
	}
	drawn := c.cfg.Now()
	answer, err := c.challenge(ctx, w, nodeID, challenge)
	if err != nil {
		return nil, err
	}
	a := &Attestation{
		Epoch: w.statement.Epoch, Statement: hex.EncodeToString(w.leaf[:]),
		Challenge: hex.EncodeToString(challenge[:]), Origin: challengeOrigin, Drawn: drawn, Time: c.cfg.Now(),
		Node: NodeReport{ID: hex.EncodeToString(nodeID[:]), Model: w.modelName(l)},
	}
	a.Took = a.Time.Sub(drawn)
	err = worldError(a.judge(w, l, challenge, answer))
	if err != nil {
		a.Verdict, a.Node.Code, a.Node.Detail = verdictWord(attestation.Failed), CodeOf(err), err.Error()
	}
	return a, err
}

// An attestAnswer is a node's answer to a challenge. All of it but Freshness is
// for messages; what counts is signed.
type attestAnswer struct {
	Epoch     uint64 `json:"epoch"`
	Evidence  []byte `json:"evidence"`
	Freshness []byte `json:"freshness"`
}

// challenge sends the question. It holds the node's id, the epoch and the
// challenge, and has the same length whoever asks.
func (c *Client) challenge(ctx context.Context, w *world, id, challenge [32]byte) (*attestAnswer, error) {
	question, err := json.Marshal(struct {
		Node      string `json:"node"`
		Epoch     uint64 `json:"epoch"`
		Challenge []byte `json:"challenge"`
	}{hex.EncodeToString(id[:]), w.statement.Epoch, challenge[:]})
	if err != nil {
		return nil, refuse(CodeRequest, "%v", err)
	}
	b, err := c.tell(ctx, w, "/v1/attest", question)
	if err != nil {
		return nil, err
	}
	a := new(attestAnswer)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(a); err != nil {
		return nil, refuse("att.format", "the answer to the challenge is not the JSON expected")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse("att.format", "bytes after the answer to the challenge")
	}
	return a, nil
}

// judge verifies the answer and fills in the report.
func (a *Attestation) judge(w *world, l *listed, challenge [32]byte, answer *attestAnswer) error {
	k, err := w.view().EpochCase(l.row)
	if err != nil {
		return err
	}
	qualifier := evidence.ChallengeQualifier(k.Refs.EvidenceDigest, challenge)
	a.Qualifier = hex.EncodeToString(qualifier[:])
	if answer.Epoch != w.statement.Epoch {
		return refuse("att.epoch", "node %s answered for epoch %d, asked about %d", short(l.id), answer.Epoch, w.statement.Epoch)
	}
	if !bytes.Equal(answer.Evidence, k.Refs.EvidenceDigest[:]) {
		return refuse("att.digest", "node %s answered about other epoch evidence than the record names", short(l.id))
	}
	if err := k.Challenge(challenge, a.Drawn, answer.Freshness); err != nil {
		return err
	}
	if quote, ok := k.Evidence.Freshness.Get(evidence.KindFreshQuote); ok {
		if i := bytes.Index(quote, qualifier[:]); i >= 0 {
			a.Where = fmt.Sprintf("qualifying data (extraData) of the quote that the node's TPM signed, bytes %d to %d of its TPMS_ATTEST", i, i+len(qualifier)-1)
		}
	}
	res, err := w.judge.Verify(k, a.Time)
	if err != nil {
		a.Node.Report = reportOf(err)
		a.Simulated = a.Node.Report != nil && a.Node.Report.Simulated
		return err
	}
	a.Node.Report, a.Simulated, a.Verdict = res.Report, res.Simulated, verdictWord(res.Report.Verdict)
	return nil
}

func (w *world) find(id [32]byte) *listed {
	for _, l := range w.listed {
		if l.id == id {
			return l
		}
	}
	return nil
}

// FindNode returns the one listed node whose id begins with prefix, in hex.
func (c *Client) FindNode(ctx context.Context, prefix string) (id [32]byte, err error) {
	w, err := c.current(ctx)
	if err != nil {
		return id, err
	}
	prefix = strings.ToLower(prefix)
	found := 0
	for _, l := range w.listed {
		if strings.HasPrefix(hex.EncodeToString(l.id[:]), prefix) {
			id = l.id
			found++
		}
	}
	switch {
	case found == 1 && prefix != "":
		return id, nil
	case found == 0:
		err = refuse(CodeNode, "no node of epoch %d has an id that begins with %q", w.statement.Epoch, printable(prefix))
	default:
		err = refuse(CodeNode, "%d nodes of epoch %d have an id that begins with %q", found, w.statement.Epoch, printable(prefix))
	}
	return [32]byte{}, err.(*Error).hint("`sotto verify` lists the ids")
}

// printable cuts what somebody typed to what an id could be, for messages.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '?'
	}, s[:min(len(s), 64)])
}

// Text prints the attestation for people: the challenge, where it came back,
// then the node's report.
func (a *Attestation) Text() string {
	var b strings.Builder
	if a.Simulated {
		b.WriteString("SIMULATED HARDWARE: no chip stands behind this report\n")
	}
	fmt.Fprintf(&b, "verdict     %s\n", a.Verdict)
	fmt.Fprintf(&b, "epoch       %d\n", a.Epoch)
	fmt.Fprintf(&b, "challenge   %s\n", a.Challenge)
	fmt.Fprintf(&b, "  origin    %s\n", a.Origin)
	fmt.Fprintf(&b, "  drawn     %s, answered after %s\n", a.Drawn.Local().Format(time.TimeOnly), a.Took.Round(time.Millisecond))
	fmt.Fprintf(&b, "  hashed    %s = SHA-256(\"sotto challenge v1\" || 0 || epoch evidence digest || challenge)\n", a.Qualifier)
	where := a.Where
	if where == "" {
		where = "nowhere in the answer"
	}
	fmt.Fprintf(&b, "  reappears %s\n", where)
	b.WriteString(a.Node.text())
	return b.String()
}
