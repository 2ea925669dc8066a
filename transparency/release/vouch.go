// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"fmt"
	"slices"
	"time"

	"github.com/sotto-project/sotto/transparency/bundle"
)

// attachments reads what others say. One that does not count refuses nothing:
// whoever carries the file could as well have left it out, and another user may
// know a reviewer whom this one does not.
func (v *verification) attachments() error {
	for i, line := range v.f.Attachments {
		if why := v.attachment(line); why != "" {
			v.r.Unused = append(v.r.Unused, fmt.Sprintf("line %d: %s", len(v.f.Index.Items)+i+2, why))
		}
	}
	return nil
}

// attachment returns why a line does not count, or nothing.
func (v *verification) attachment(line []byte) string {
	payload, _, err := peek(line)
	if err != nil {
		return err.Error()
	}
	h, err := parseHead(payload)
	if err != nil {
		return err.Error()
	}
	if h.PredicateType == TypeRevocation {
		return v.revocation(line, h)
	}
	e, id, err := parsePredicate[Endorsement](h)
	switch {
	case err != nil:
		return err.Error()
	case id != v.r.ID:
		return "an endorsement of another release"
	}
	s, res, why := v.signedByOneOf(line, v.t.Reviewers)
	if s == nil {
		return why
	}
	asOf := e.AsOf
	if res.Signed.Before(asOf) {
		asOf = res.Signed // nobody can say how things will be
	}
	v.r.Endorsements = append(v.r.Endorsements, Endorsed{s.Name, e.Claim, asOf, e.Expires})
	return ""
}

func (v *verification) revocation(line []byte, h *head) string {
	p, digest, err := parsePredicate[Revocation](h)
	if err != nil {
		return err.Error()
	}
	s, res, why := v.signedByOneOf(line, slices.Concat(v.t.Revokers, []Signer{v.t.Publisher}, v.t.Reviewers))
	if s == nil {
		return why
	}
	v.r.Revocations = append(v.r.Revocations, Revoked{s.Name, p.Kind, digest, p.Reason, res.Signed})
	return ""
}

// signedByOneOf finds the signer of an attachment among those who may.
func (v *verification) signedByOneOf(line []byte, signers []Signer) (*Signer, *bundle.Result, string) {
	why := "nobody may sign this"
	for i := range signers {
		res, _, err := v.bundle(line, &signers[i])
		if err == nil {
			return &signers[i], res, ""
		}
		why = err.Error()
	}
	return nil, nil, why
}

// revoked marks what was withdrawn. If nothing is left, nor is the release.
func (v *verification) revoked() error {
	r := v.r
	for _, w := range r.Revocations {
		if w.Kind == KindRelease && w.Digest == r.ID {
			return refuse(CodeRevoked, "%s %s was withdrawn by %s: %s", r.Repository, r.Tag, w.By, w.Reason)
		}
		for i := range r.Images {
			if w.Kind == KindImage && w.Digest == r.Images[i].Digest {
				r.Images[i].Revoked = w.Reason
			}
		}
		for i := range r.Models {
			if w.Kind == KindModel && w.Digest == r.Models[i].Weights {
				r.Models[i].Revoked = w.Reason
			}
		}
	}
	left := len(r.Images) + len(r.Models)
	why := ""
	for _, i := range r.Images {
		if i.Revoked != "" {
			left, why = left-1, i.Revoked
		}
	}
	for _, m := range r.Models {
		if m.Revoked != "" {
			left, why = left-1, m.Revoked
		}
	}
	if left == 0 && why != "" {
		return refuse(CodeRevoked, "everything in %s %s was withdrawn: %s", r.Repository, r.Tag, why)
	}
	return nil
}

// endorsed counts reviewers and judges the age.
func (v *verification) endorsed() error {
	r, p := v.r, &v.t.Policy
	gap := func(format string, args ...any) { r.Gaps = append(r.Gaps, fmt.Sprintf(format, args...)) }
	ever, fresh := map[string]bool{}, map[string]bool{}
	valid := map[string]bool{} // reviewed, and not expired
	for _, e := range r.Endorsements {
		ever[e.Reviewer] = ever[e.Reviewer] || e.Claim == ClaimReviewed
		if v.now.Before(e.Expires) {
			valid[e.Reviewer] = valid[e.Reviewer] || e.Claim == ClaimReviewed
			fresh[e.Reviewer] = fresh[e.Reviewer] || v.now.Sub(e.AsOf) <= time.Duration(p.MaxAgeEndorsement)
		}
	}
	vouch := 0
	for name, ok := range valid {
		if ok && fresh[name] {
			vouch++
		}
	}
	switch reviewed := count(ever); {
	case p.WithoutReviewers:
		gap("reviewers: the policy asks for none; the publisher alone vouches for %s", r.Tag)
	case reviewed < p.K:
		return refuse(CodeReviewers, "%d of the policy's reviewers reviewed %s, want %d", reviewed, r.Tag, p.K)
	case vouch < p.K:
		return refuse(CodeStale, "%d reviewers reviewed %s, and the last word of only %d of them counts and is younger than %v; want %d: a withdrawal may be withheld from you",
			reviewed, r.Tag, vouch, time.Duration(p.MaxAgeEndorsement), p.K)
	}
	if len(v.t.Witnesses) == 0 {
		gap("age: the trust names no witnesses of the release log; the timestamps say when %s was signed, not since when it is public", r.Tag)
	}
	age := max(v.now.Sub(r.Public), 0)
	switch e := p.Emergency; {
	case p.WithoutAge:
		gap("age: the policy accepts a release of any age; %s is %v old", r.Tag, age.Round(time.Second))
	case age >= time.Duration(p.MinAge):
	case e != nil && age >= time.Duration(e.MinAge) && vouch >= e.K:
		r.Emergency = true
		gap("EMERGENCY RELEASE: %s is public since %v only, the policy asks for %v. It was let through because %d reviewers vouch for it. Few others have had time to look",
			r.Tag, age.Round(time.Second), time.Duration(p.MinAge), vouch)
	default:
		return refuse(CodeAge, "%s is public since %v, the policy asks for %v; %d reviewers vouch for it", r.Tag, age.Round(time.Second), time.Duration(p.MinAge), vouch)
	}
	return nil
}

func count(m map[string]bool) (n int) {
	for _, ok := range m {
		if ok {
			n++
		}
	}
	return n
}
