// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/transparency/release"
)

// maxReleases is how many release files a client remembers to have verified.
const maxReleases = 16

func newReleases(t *release.Trust) (*release.Judge, error) {
	if t == nil {
		return nil, nil
	}
	return release.NewJudge(t, maxReleases)
}

// judgeReleases verifies what the statement names, from the pack, under the
// user's own trust. A nil judge asks nobody.
func (w *world) judgeReleases(j *release.Judge, now time.Time) (err error) {
	if j == nil {
		return nil
	}
	var named []release.Named
	for _, r := range w.statement.Releases {
		named = append(named, release.Named{Digest: r.Digest, Name: r.Name})
	}
	w.releases, err = j.Judge(named, w.pack.Object, now)
	return err
}

// newFor is how long a report calls a release new.
const newFor = 24 * time.Hour

// meet remembers the releases of a world as accepted, where there is a memory.
func (h *history) meet(w *world, now time.Time) (err error) {
	if h.dir == nil || w.releases == nil {
		return nil
	}
	var ids [][32]byte
	for _, v := range w.releases.Verdicts {
		if v.Release != nil {
			ids = append(ids, v.Release.ID)
		}
	}
	w.known, err = h.dir.Accept(ids, now)
	return err
}

// A ReleaseReport is what came of one release that the statement names.
type ReleaseReport struct {
	Name       string    `json:"name"` // in the statement
	Digest     string    `json:"sha256"`
	Code       string    `json:"code,omitempty"` // why it allows nothing
	Detail     string    `json:"detail,omitempty"`
	Repository string    `json:"repository,omitempty"`
	Commit     string    `json:"commit,omitempty"`
	Tag        string    `json:"tag,omitempty"`
	Signer     string    `json:"signer,omitempty"`
	Public     time.Time `json:"public,omitzero"` // since when
	Images     int       `json:"images"`
	Models     int       `json:"models"`
	Withdrawn  []string  `json:"withdrawn,omitempty"`
	Reviews    []Review  `json:"reviews,omitempty"`
	Emergency  bool      `json:"emergency,omitempty"` // younger than the trust asks for
	Gaps       []string  `json:"gaps,omitempty"`
	// Known is when this client first accepted it, if it keeps a memory; New that
	// this was within the last day, and not the first release that it accepted.
	Known time.Time `json:"known_since,omitzero"`
	New   bool      `json:"new,omitempty"`
}

// A Review is one reviewer's word.
type Review struct {
	Reviewer string        `json:"reviewer"`
	Claim    string        `json:"claim"`
	Age      time.Duration `json:"age_ns"`
	Expires  time.Time     `json:"expires"`
}

func (w *world) releaseReports(now time.Time) (out []ReleaseReport) {
	for _, v := range w.releases.Verdicts {
		rep := ReleaseReport{Name: v.Name, Digest: hex.EncodeToString(v.Digest[:]), Code: string(v.Code), Detail: v.Detail}
		if r := v.Release; r != nil {
			rep.Repository, rep.Commit, rep.Tag, rep.Signer = r.Repository, r.Commit, r.Tag, r.Publisher
			rep.Public, rep.Images, rep.Models = r.Public, len(r.Images), len(r.Models)
			rep.Emergency, rep.Gaps = r.Emergency, r.Gaps
			for _, e := range r.Vouching() {
				rep.Reviews = append(rep.Reviews, Review{e.Reviewer, e.Claim, max(now.Sub(e.AsOf), 0), e.Expires})
			}
			for _, x := range r.Revocations {
				rep.Withdrawn = append(rep.Withdrawn, fmt.Sprintf("%s %x.. by %s: %s", x.Kind, x.Digest[:8], x.By, x.Reason))
			}
			if k := state.Find(w.known, r.ID); k != nil {
				rep.Known = k.Since
				rep.New = now.Sub(k.Since) < newFor && k.Since.After(w.known[0].Since)
			}
		}
		out = append(out, rep)
	}
	return out
}

// Rows are the report as names, values and notes, for whoever prints it.
func (r *ReleaseReport) Rows() [][3]string {
	if r.Code != "" {
		return [][3]string{{"release", fmt.Sprintf("%q", r.Name), "allows nothing: " + r.Code + ": " + r.Detail}}
	}
	name, age := "release", "cooling-off as your trust asks"
	switch {
	case r.Emergency:
		name, age = "EMERGENCY RELEASE", "younger than your trust asks for, let through because more reviewers vouch for it"
	case len(r.Gaps) > 0:
		age = "see the gaps"
	}
	rows := [][3]string{
		{name, r.Repository + " " + r.Tag, fmt.Sprintf("commit %s; images %d, models %d", r.Commit, r.Images, r.Models)},
		{"signer", r.Signer, "as your trust names it"},
		{"public", "since " + r.Public.UTC().Format(time.RFC3339), age},
	}
	for _, e := range r.Reviews {
		rows = append(rows, [3]string{"reviewer", e.Reviewer, fmt.Sprintf("%s, %s ago; the word holds until %s", e.Claim, e.Age.Round(time.Minute), e.Expires.UTC().Format(time.DateOnly))})
	}
	for _, x := range r.Withdrawn {
		rows = append(rows, [3]string{"WITHDRAWN", x, "refused wherever it runs"})
	}
	switch since := r.Known.UTC().Format(time.RFC3339); {
	case r.New:
		rows = append(rows, [3]string{"NEW", "since " + since, "this client had not accepted it before"})
	case !r.Known.IsZero():
		rows = append(rows, [3]string{"known", "since " + since, "when this client first accepted it"})
	}
	return rows
}
