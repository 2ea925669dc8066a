// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/tamper"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// SavedFormat is the format member of a file of saved evidence.
const SavedFormat = "sotto evidence v1"

// A Saved is everything that one verification rested on: the statement with its
// proof and cosigned checkpoint, the pack, the freshness evidence. It holds no
// trust and no policy: whoever judges it later brings their own. Nothing in it
// is secret, and nothing in it says who saved it.
type Saved struct {
	Format    string    `json:"format"`
	Time      time.Time `json:"time"` // when it was judged; only a hint for a later judge
	Simulated bool      `json:"simulated,omitempty"`
	Statement []byte    `json:"statement"` // statement.Signed
	Pack      []byte    `json:"pack"`
	Freshness []byte    `json:"freshness"`
}

// Save returns what the last report rested on, as JSON.
func (c *Client) Save() ([]byte, error) {
	c.seenMu.Lock()
	w := c.seenWorld
	c.seenMu.Unlock()
	if w == nil {
		return nil, errors.New("save: nothing was verified yet")
	}
	s := Saved{Format: SavedFormat, Time: c.cfg.Now().UTC().Truncate(time.Second), Simulated: c.cfg.Policy.Roots.Simulated()}
	for _, part := range []struct {
		dst    *[]byte
		append func([]byte) ([]byte, error)
	}{{&s.Statement, w.signed.Append}, {&s.Pack, w.pack.Append}, {&s.Freshness, w.freshness.Append}} {
		var err error
		if *part.dst, err = part.append(nil); err != nil {
			return nil, err
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// ParseSaved reads a file of saved evidence and judges nothing.
func ParseSaved(b []byte) (*Saved, error) {
	s, d := new(Saved), json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil || s.Format != SavedFormat {
		return nil, refuse("att.format", "not a file of saved evidence: its format is not %q", SavedFormat)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, refuse("att.format", "bytes after the saved evidence")
	}
	return s, nil
}

// A Judge verifies saved evidence at a time, without network: the same checks, in
// the same order, as the client makes before it sends anything.
type Judge struct {
	Trust  transparency.Trust
	Policy *attestation.Policy
	At     time.Time
	// Progress is as in [Config].
	Progress func(done, total int)
}

// Verify returns the report. The error is that of the first node refused, or why
// the statement itself was, and then there is no report.
func (j *Judge) Verify(s *Saved) (*Report, error) {
	w, err := j.open(s)
	if err != nil {
		return nil, worldError(err)
	}
	c := &Client{cfg: Config{Now: func() time.Time { return j.At }, Progress: j.Progress}}
	err = c.verifyAll(w)
	return w.report(w.listed, j.At), err
}

// open builds the world that the file tells of.
func (j *Judge) open(s *Saved) (*world, error) {
	signed, err := statement.ParseSigned(s.Statement)
	if err != nil {
		return nil, err
	}
	st, point, err := signed.Verify(&j.Trust)
	if err != nil {
		return nil, err
	}
	w := &world{statement: st, signed: signed, leaf: sha256.Sum256(signed.Leaf), checkpoint: point, saved: true, judge: roster.NewJudge(j.Policy, nil)}
	if err := w.pickGatewayKey(1); err != nil {
		return nil, err
	}
	if w.pack, w.epochPoint, err = roster.OpenPack(&j.Trust, st, s.Pack); err != nil {
		return nil, err
	}
	if w.freshness, w.fresh, err = roster.OpenFreshness(&j.Trust, s.Freshness); err != nil {
		return nil, err
	}
	if err := w.oneLog(); err != nil {
		return nil, err
	}
	if err := st.Current(j.At, w.fresh); err != nil {
		return nil, err
	}
	for _, n := range st.Nodes {
		w.listed = append(w.listed, &listed{id: n.ID, row: n})
	}
	return w, nil
}

// Evidence returns the evidence of the listed nodes, in the statement's order,
// with the note of the checkpoint that the freshness evidence was made over.
func (j *Judge) Evidence(s *Saved) (ids [][32]byte, all []attestation.Evidence, checkpoint []byte, err error) {
	w, err := j.open(s)
	if err != nil {
		return nil, nil, nil, worldError(err)
	}
	for _, l := range w.listed {
		c, err := w.view().Case(l.row)
		if err != nil {
			return nil, nil, nil, worldError(err)
		}
		ids, all = append(ids, l.id), append(all, c.Evidence)
	}
	return ids, all, w.fresh.Note, nil
}

// A Tampered says what came of tampering with one node's evidence.
type Tampered struct {
	Mode string `json:"mode"`
	What string `json:"what"`
	// Expected and Received are what the step that refused compared.
	Step     string              `json:"step"`
	Expected string              `json:"expected"`
	Received string              `json:"received"`
	Code     string              `json:"code"`
	Detail   string              `json:"detail"`
	Meaning  string              `json:"meaning"`
	Report   *attestation.Report `json:"report,omitempty"`
}

// TamperLog is the mode that changes the proof that the statement is in the log.
const TamperLog = "log"

// Tamper changes the evidence of the first node by a mode of package tamper, or
// the statement's proof, and verifies that. It fails if what was saved does not
// verify untampered, has nothing to change, or, which must not be, verifies.
func (j *Judge) Tamper(s *Saved, mode string) (*Tampered, error) {
	w, err := j.open(s)
	if err != nil {
		return nil, worldError(err)
	}
	if len(w.listed) == 0 {
		return nil, errors.New("tamper: no node in the evidence")
	}
	k, err := w.view().Case(w.listed[0].row)
	if err != nil {
		return nil, worldError(err)
	}
	good := tamper.Case{Evidence: k.Evidence, Policy: j.Policy, References: k.Refs, Now: j.At}
	if _, err := good.Verify(); err != nil {
		return nil, worldError(err)
	}
	if mode == TamperLog {
		return j.tamperLog(s)
	}
	m, ok := tamper.Find(mode)
	if !ok {
		return nil, refuse(CodeConfig, "no way to tamper is called %q; there are %s, %s", printable(mode), tamper.Names(), TamperLog)
	}
	bad, err := m.Apply(good)
	if err != nil {
		return nil, err
	}
	_, err = bad.Verify()
	var refusal *attestation.RefusalError
	if !errors.As(err, &refusal) {
		return nil, errors.New("tamper: the tampered evidence was accepted; this is a defect, please report it")
	}
	last := refusal.Report.Steps[len(refusal.Report.Steps)-1]
	return &Tampered{Mode: m.Name, What: m.What, Step: last.ID, Expected: last.Expected, Received: last.Got,
		Code: string(refusal.Code), Detail: refusal.Detail, Meaning: last.Meaning, Report: refusal.Report}, nil
}

// tamperLog changes the statement, as an operator would who shows one user what
// is not in the log.
func (j *Judge) tamperLog(s *Saved) (*Tampered, error) {
	signed, err := statement.ParseSigned(s.Statement)
	if err != nil {
		return nil, worldError(err)
	}
	st, err := statement.Parse(signed.Leaf)
	if err != nil {
		return nil, worldError(err)
	}
	before := sha256.Sum256(signed.Leaf)
	st.NextPublic = st.NextPublic.Add(-time.Second)
	if signed.Leaf, err = st.Append(nil); err != nil {
		return nil, err
	}
	after := sha256.Sum256(signed.Leaf)
	_, _, err = signed.Verify(&j.Trust)
	refusal, ok := worldError(err).(*Error)
	if err == nil || !ok {
		return nil, errors.New("tamper: the tampered statement was accepted; this is a defect, please report it")
	}
	return &Tampered{Mode: TamperLog, What: "the statement says something else than what is in the log", Step: "statement.inclusion",
		Expected: hex.EncodeToString(before[:]), Received: hex.EncodeToString(after[:]), Code: refusal.Code, Detail: refusal.Detail,
		Meaning: "you would be shown nodes that nobody else sees"}, nil
}
