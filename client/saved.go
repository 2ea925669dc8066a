// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/tamper"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// SavedFormat is the format member of a file of saved evidence.
const SavedFormat = "sotto evidence v1"

// MaxSaved bounds a file of saved evidence, in bytes.
const MaxSaved = 96 << 20

// A Saved is everything that one verification rested on: the statement with its
// proof and cosigned checkpoint, the pack, the freshness evidence. It holds no
// trust and no policy: whoever judges it later brings their own. Nothing in it
// is secret, and nothing in it says who saved it. docs/spec/saved-evidence.md
// fixes its bytes.
type Saved struct {
	Format    string    `json:"format"`
	Time      time.Time `json:"time"`                // it was saved, whole seconds, UTC; only a hint for a later judge
	Simulated bool      `json:"simulated,omitempty"` // whoever saved it trusted SIMULATED roots; only a hint
	Statement []byte    `json:"statement"`           // statement.Signed
	Pack      []byte    `json:"pack"`                // statement.Pack
	Freshness []byte    `json:"freshness"`           // statement.Freshness
}

// Save returns what the last report rested on, in the one spelling that
// [ParseSaved] reads. It fails if nothing was verified yet, and with att.size
// where the file would be over [MaxSaved].
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
	b, err := s.print()
	if err == nil && len(b) > MaxSaved {
		return nil, refuse("att.size", "saved evidence of %d bytes, allowed are %d", len(b), MaxSaved)
	}
	return b, err
}

func (s *Saved) print() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// ParseSaved reads a file of saved evidence and judges nothing. A file has one
// spelling, the one that Save writes: what could be read in two ways would be
// judged in two ways. Refusals: att.size, before anything is read, and att.format.
func ParseSaved(b []byte) (*Saved, error) {
	if len(b) > MaxSaved {
		return nil, refuse("att.size", "saved evidence of %d bytes, allowed are %d", len(b), MaxSaved)
	}
	bad := func(what string) (*Saved, error) {
		return nil, refuse("att.format", "not a file of saved evidence: %s", what).hint("sotto verify --save FILE writes one")
	}
	s, d := new(Saved), json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return bad("it is not the JSON expected")
	}
	if s.Format != SavedFormat {
		return bad(fmt.Sprintf("its format is not %q", SavedFormat))
	}
	if len(s.Statement) == 0 || len(s.Pack) == 0 || len(s.Freshness) == 0 {
		return bad("statement, pack or freshness is missing")
	}
	if s.Time.Location() != time.UTC || s.Time.Nanosecond() != 0 || s.Time.Unix() <= 0 {
		return bad("its time is not whole seconds in UTC")
	}
	if again, err := s.print(); err != nil || !bytes.Equal(again, b) {
		return bad("another spelling, or bytes around it")
	}
	return s, nil
}

// A Judge verifies saved evidence at a time, without network: the same checks, in
// the same order, as the client makes before it sends anything.
type Judge struct {
	Trust  transparency.Trust
	Policy *attestation.Policy
	// Releases is as in [Config]; the files are in the pack that was saved.
	Releases *release.Trust
	At       time.Time
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
		return nil, j.dated(err, w.fresh)
	}
	releases, err := newReleases(j.Releases)
	if err != nil {
		return nil, err
	}
	if err := w.judgeReleases(releases, j.At); err != nil {
		return nil, err
	}
	for _, n := range st.Nodes {
		w.listed = append(w.listed, &listed{id: n.ID, row: n})
	}
	return w, nil
}

// dated says of evidence from a file what of a fetched one is said of the local
// clock, which has no part in this.
func (j *Judge) dated(err error, fresh *transparency.Checkpoint) error {
	var skew *transparency.Error
	if !errors.As(err, &skew) || string(skew.Code) != CodeSkew {
		return err
	}
	return refuse(CodeSkew, "judged as of %s, and the newest time that witnesses signed in it is %s", j.At.UTC().Format(time.RFC3339), fresh.Time.UTC().Format(time.RFC3339)).
		hint("judge it as of a time at which it was fresh")
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
	Mode      string `json:"mode"`
	What      string `json:"what"`    // what was done, in words
	Changed   string `json:"changed"` // which bytes or values
	Simulated bool   `json:"simulated"`
	// Expected and Received are what the step that refused compared.
	Step     string              `json:"step"`
	Expected string              `json:"expected"`
	Received string              `json:"received"`
	Verdict  attestation.Verdict `json:"verdict"` // failed
	Code     string              `json:"code"`
	Detail   string              `json:"detail"`
	Meaning  string              `json:"meaning"`          // what it would mean had it been accepted
	Report   *attestation.Report `json:"report,omitempty"` // up to the step; none where the statement was refused
}

// TamperLog is the mode that changes the proof that the statement is in the log.
const TamperLog = "log"

const (
	tamperLogWhat    = "the statement says something else than what is in the log"
	tamperLogMeaning = "you could be shown nodes that nobody else sees"
)

// A TamperMode is one way to tamper with saved evidence.
type TamperMode struct{ Name, What string }

// TamperModes lists the modes that [Judge.Tamper] takes, with what each does.
func TamperModes() []TamperMode {
	var out []TamperMode
	for _, m := range tamper.Modes() {
		if m.Name == "expiry" { // what the operator could forge comes first
			out = append(out, TamperMode{TamperLog, tamperLogWhat})
		}
		out = append(out, TamperMode{m.Name, m.What})
	}
	return out
}

// TamperNames lists the modes' names, for usage lines.
func TamperNames() string {
	var names []string
	for _, m := range TamperModes() {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// Tamper changes the evidence of the first node by a mode of package tamper, or
// the statement, and verifies that. It fails with cfg for an unknown mode, as
// [Judge.Verify] does if what was saved does not verify untampered, if it has
// nothing to change, and, which must not be, if the result verifies.
func (j *Judge) Tamper(s *Saved, mode string) (*Tampered, error) {
	m, ok := tamper.Find(mode)
	if !ok && mode != TamperLog {
		return nil, refuse(CodeConfig, "no way to tamper is called %q; there are %s", printable(mode), TamperNames())
	}
	good, err := j.first(s)
	if err != nil {
		return nil, worldError(err)
	}
	if mode == TamperLog {
		return j.tamperLog(s)
	}
	bad, did, err := m.Apply(*good)
	if err != nil {
		return nil, fmt.Errorf("%w; sotto verify --evidence FILE shows what is in it", err)
	}
	_, err = bad.Verify()
	var refusal *attestation.RefusalError
	if !errors.As(err, &refusal) {
		return nil, errors.New("tamper: the tampered evidence was accepted; this is a defect, please report it")
	}
	last := refusal.Report.Steps[len(refusal.Report.Steps)-1]
	return &Tampered{Mode: mode, What: m.What, Changed: did, Step: last.ID, Expected: last.Expected, Received: last.Got, Verdict: attestation.Failed,
		Code: string(refusal.Code), Detail: refusal.Detail, Meaning: m.Meaning, Simulated: refusal.Report.Simulated, Report: refusal.Report}, nil
}

// first returns the case of the first node, which verifies.
func (j *Judge) first(s *Saved) (*tamper.Case, error) {
	w, err := j.open(s)
	if err != nil {
		return nil, err
	}
	if len(w.listed) == 0 {
		return nil, refuse(CodeSmallSet, "the statement of epoch %d lists no node", w.statement.Epoch)
	}
	k, err := w.view().Case(w.listed[0].row)
	if err != nil {
		return nil, err
	}
	good := &tamper.Case{Evidence: k.Evidence, Policy: j.Policy, References: k.Refs, Now: j.At}
	_, err = good.Verify()
	return good, err
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
	before, was := sha256.Sum256(signed.Leaf), st.NextPublic
	st.NextPublic = was.Add(-time.Second)
	if signed.Leaf, err = st.Append(nil); err != nil {
		return nil, err
	}
	after := sha256.Sum256(signed.Leaf)
	_, _, err = signed.Verify(&j.Trust)
	refusal, ok := worldError(err).(*Error)
	if err == nil || !ok {
		return nil, errors.New("tamper: the tampered statement was accepted; this is a defect, please report it")
	}
	date := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	return &Tampered{Mode: TamperLog, What: tamperLogWhat, Changed: fmt.Sprintf("next_public of the statement: %s, was %s", date(st.NextPublic), date(was)),
		Step: "statement.inclusion", Expected: "SHA-256 " + hex.EncodeToString(before[:]), Received: "SHA-256 " + hex.EncodeToString(after[:]),
		Verdict: attestation.Failed, Code: refusal.Code, Detail: refusal.Detail, Meaning: tamperLogMeaning, Simulated: j.Policy.Roots.Simulated()}, nil
}
