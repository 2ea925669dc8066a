// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package release is what everybody is told alike about software: which images
// and models were published, from which source, by whom, who looked at them, and
// which were withdrawn. A release is a file of signed statements, each in a
// public log; [Verify] is the one way to believe it.
//
// It is pure: bytes, a trust and a time in, values or a refusal out. It fetches
// nothing, builds nothing and takes no trust from the file. One statement is
// judged by transparency/bundle; making releases is transparency/release/build;
// holding a machine against them is attestation, with what [Released] returns.
// docs/spec/release.md has the formats.
package release

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
)

// The codes of this package's refusals, all as [*transparency.Error]. Those of
// transparency/bundle come beside them: bundle.format, log.time and others.
const (
	CodeTrust     = bundle.CodeTrust                       // "log.trust": our own trust is unusable
	CodeAbsent    = bundle.CodeAbsent                      // "log.absent": a statement is in no log that is trusted
	CodeIdentity  = bundle.CodeIdentity                    // "log.identity": signed by another identity
	CodeInclusion = bundle.CodeInclusion                   // "log.inclusion": no proof that leads to a signed checkpoint
	CodeFormat    = transparency.Code("release.format")    // not a release file, or one that contradicts itself
	CodeAge       = transparency.Code("release.age")       // younger than the policy asks, or of an unknown age
	CodeReviewers = transparency.Code("release.reviewers") // too few reviewers endorse it
	CodeStale     = transparency.Code("release.stale")     // endorsed once, but not lately
	CodeRevoked   = transparency.Code("att.image.revoked") // withdrawn
	CodeRemote    = transparency.Code("cfg.policy.remote") // a trust that somebody else would choose
)

func refuse(c transparency.Code, format string, args ...any) error {
	return transparency.Refuse(c, format, args...)
}

// A Release is a file that was verified.
type Release struct {
	Digest [32]byte // SHA-256 of the file, under which a statement names it
	ID     [32]byte // SHA-256 of its index line, under which endorsements and revocations do

	Repository, Commit, Tag string
	Publisher               string // the identity, or "key SHA-256" of a long-lived one

	Images    []Image
	Models    []Model
	Artifacts []Artifact // everything that its provenance names

	// Public is since when the release has been public: by the witnesses' word, or,
	// where the trust names none, by that of timestamp authorities over signatures.
	Public time.Time
	// Emergency says that it is younger than the policy asks and was let through
	// because more reviewers endorsed it. It is in Gaps, too.
	Emergency    bool
	Endorsements []Endorsed
	Revocations  []Revoked
	Unused       []string // attachments that did not count, and why
	Gaps         []string // what the verdict leaves open, in words
}

// An Image is one image of a release with what its manifest says.
type Image struct {
	Digest  [32]byte
	Name    string // of the subject
	Revoked string // why it was withdrawn; empty: it was not
	ImageManifest
}

// A Model is one model of a release.
type Model struct {
	Weights [32]byte
	Revoked string
	ModelManifest
}

// An Artifact is a file or image that provenance names.
type Artifact struct {
	Name   string
	Digest [32]byte
}

// An Endorsed is one reviewer's word.
type Endorsed struct {
	Reviewer string
	Claim    string
	AsOf     time.Time // the earlier of what it says and when it was signed
	Expires  time.Time
}

// A Revoked is one withdrawal, by somebody who may.
type Revoked struct {
	By     string
	Kind   string
	Digest [32]byte
	Reason string
	Signed time.Time
}

// Released gathers what verified releases allow, for attestation.References.
// With no releases it allows nothing: that is the right answer where a statement
// names none. What one release's file withdraws is withdrawn from all.
func Released(releases ...*Release) *attestation.Released {
	out, withdrawn := &attestation.Released{}, map[subject]string{}
	for _, r := range releases {
		for _, v := range r.Revocations {
			withdrawn[subject{v.Kind, v.Digest}] = v.Reason
			switch v.Kind {
			case KindChip:
				out.RevokedChips = append(out.RevokedChips, v.Digest)
			case KindNode:
				out.RevokedNodes = append(out.RevokedNodes, v.Digest)
			}
		}
	}
	for _, r := range releases {
		title, whole := r.Repository+" "+r.Tag, withdrawn[subject{KindRelease, r.ID}]
		for _, i := range r.Images {
			why := cmp.Or(whole, withdrawn[subject{KindImage, i.Digest}])
			for _, m := range i.Measurements {
				out.Images = append(out.Images, attestation.ReleasedImage{Image: m, Release: title, Revoked: why})
			}
		}
		for _, m := range r.Models {
			if whole == "" && withdrawn[subject{KindModel, m.Weights}] == "" {
				out.Models = append(out.Models, attestation.ReleasedModel{Name: m.Name, Weights: m.Weights})
			}
		}
	}
	return out
}

// A subject is what a revocation is about.
type subject struct {
	kind   string
	digest [32]byte
}

// CodeOf is the code of a refusal by this package; "" if err is none.
func CodeOf(err error) transparency.Code {
	var e *transparency.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Digest is under what a statement names a file.
func Digest(file []byte) [32]byte { return sha256.Sum256(file) }
