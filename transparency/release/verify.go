// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
)

// Verify judges a release file as of a time. Everything that the index names
// must be signed by the publisher and in a log; what it says must fit together;
// nothing of it may be withdrawn; enough reviewers must vouch for it, lately; and
// it must have been public for long enough. On any error there is no release.
//
// A release of which some images are withdrawn and others are not is returned,
// with the reasons at the images; one that is withdrawn as a whole is
// [CodeRevoked].
func Verify(file []byte, t *Trust, now time.Time) (*Release, error) {
	v, err := begin(file, t, now)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{v.revoked, v.endorsed} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return v.r, nil
}

// begin verifies what does not depend on the time, as long as that does not go
// back: signatures, proofs, whose they are, and that all fits together.
func begin(file []byte, t *Trust, now time.Time) (*verification, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	f, err := ParseFile(file)
	if err != nil {
		return nil, err
	}
	v := &verification{t: t, f: f, now: now, images: map[[32]byte]*ImageManifest{}}
	x := f.Index
	v.r = &Release{Digest: Digest(file), ID: f.ID(), Repository: x.Repository, Commit: x.Commit, Tag: x.Tag}
	if x.Repository != t.Repository {
		return nil, refuse(CodeIdentity, "a release of %s, want %s", x.Repository, t.Repository)
	}
	for _, step := range []func() error{v.items, v.fit, v.attachments} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// A verification is one call of [Verify].
type verification struct {
	t   *Trust
	f   *File
	now time.Time
	r   *Release

	images     map[[32]byte]*ImageManifest
	provenance map[[32]byte]*head // by digest of the payload
}

// items verifies everything that the publisher signed.
func (v *verification) items() error {
	v.provenance = map[[32]byte]*head{}
	for i, line := range v.f.Bundles {
		it := v.f.Index.Items[i]
		res, h, err := v.bundle(line, &v.t.Publisher)
		if err != nil {
			return refuse(CodeOf(err), "%s %x..: %v", it.Kind, it.SHA256[:8], err)
		}
		if res.Source.Commit != "" && res.Source.Commit != v.f.Index.Commit {
			return refuse(CodeIdentity, "signed by a run at commit %s, the release is of %s", res.Source.Commit, v.f.Index.Commit)
		}
		v.r.Publisher = cmp.Or(res.Identity, v.publisherKey())
		if err := v.date(res); err != nil {
			return err
		}
		if err := v.item(it, h); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) publisherKey() string {
	_, who := v.t.Publisher.check()
	return who
}

// bundle verifies one statement as one signer's.
func (v *verification) bundle(line []byte, s *Signer) (*bundle.Result, *head, error) {
	payload, _, err := peek(line)
	if err != nil {
		return nil, nil, err
	}
	h, err := parseHead(payload)
	if err != nil {
		return nil, nil, err
	}
	artifact, _ := h.Subject[0].sha256()
	o := bundle.Options{TrustedRoot: v.t.TrustedRoot, Identity: s.Identity, Issuer: s.Issuer, ArtifactSHA256: artifact, PredicateTypes: []string{h.PredicateType}}
	ref := s.Ref
	if s.Workflow != "" {
		ref = "refs/tags/" + v.f.Index.Tag
		o.Identity = s.Workflow + "@" + ref
	}
	if s.PublicKey != "" {
		if o.PublicKey, err = s.key(); err != nil {
			return nil, nil, refuse(CodeTrust, "%v", err)
		}
	}
	res, err := bundle.Verify(line, o, v.now)
	if err != nil {
		return nil, nil, err
	}
	if res.Source.Repository != s.Repository || res.Source.Ref != ref {
		return nil, nil, refuse(CodeIdentity, "source %q at %q, want %q at %q", res.Source.Repository, res.Source.Ref, s.Repository, ref)
	}
	if !bytes.Equal(res.Statement, payload) {
		return nil, nil, refuse(CodeFormat, "the statement that is signed is not the one that was read")
	}
	return res, h, nil
}

// date notes since when a statement is public. The release is as old as its
// youngest. Old is what an attacker wants it to be, so the witnesses' times are
// read the way in which fewer than a quorum of liars cannot make it older.
func (v *verification) date(res *bundle.Result) error {
	at := res.Signed
	if len(v.t.Witnesses) > 0 {
		var err error
		if at, err = transparency.PublicSince(res.Checkpoint, v.t.Witnesses, v.t.Quorum, v.now.Add(bundle.MaxSkew)); err != nil {
			return err
		}
	}
	if at.After(v.r.Public) {
		v.r.Public = at
	}
	return nil
}

// item reads what a statement of the publisher says.
func (v *verification) item(it Item, h *head) error {
	switch it.Kind {
	case KindImage:
		m, digest, err := parsePredicate[ImageManifest](h)
		if err != nil {
			return err
		}
		if m.Repository != v.f.Index.Repository || m.Commit != v.f.Index.Commit || m.Tag != v.f.Index.Tag {
			return refuse(CodeFormat, "image %q is of another release: %s %s", h.Subject[0].Name, m.Repository, m.Tag)
		}
		if v.images[digest] != nil {
			return refuse(CodeFormat, "image %x.. twice", digest[:8])
		}
		v.images[digest] = m
		v.r.Images = append(v.r.Images, Image{Digest: digest, Name: h.Subject[0].Name, ImageManifest: *m})
	case KindModel:
		m, digest, err := parsePredicate[ModelManifest](h)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(v.r.Models, func(o Model) bool { return o.Weights == digest || o.Name == m.Name }) {
			return refuse(CodeFormat, "model %q, or its weights, twice", m.Name)
		}
		v.r.Models = append(v.r.Models, Model{Weights: digest, ModelManifest: *m})
	case KindProvenance:
		v.provenance[it.SHA256] = h
		for _, s := range h.Subject {
			digest, _ := s.sha256()
			v.r.Artifacts = append(v.r.Artifacts, Artifact{s.Name, digest})
		}
	}
	return nil
}

// fit checks that a release is of one piece: every image has the SBOM and the
// provenance that it names, and that provenance names the image and the commit.
func (v *verification) fit() error {
	if len(v.r.Images)+len(v.r.Models)+len(v.r.Artifacts) == 0 {
		return refuse(CodeFormat, "a release of nothing")
	}
	for _, h := range v.provenance {
		if !fromCommit(h.Predicate, v.f.Index.Commit) {
			return refuse(CodeFormat, "provenance does not name commit %s as what was built", v.f.Index.Commit)
		}
	}
	for digest, m := range v.images {
		h := v.provenance[m.Provenance]
		if h == nil || !slices.Contains(v.f.Index.Items, Item{KindSBOM, m.SBOM}) {
			return refuse(CodeFormat, "image %x..: its SBOM or its provenance is not in the release", digest[:8])
		}
		if !slices.ContainsFunc(h.Subject, func(s Subject) bool { d, _ := s.sha256(); return d == digest }) {
			return refuse(CodeFormat, "image %x..: its provenance is of other things", digest[:8])
		}
	}
	return nil
}

// fromCommit looks for the commit among the resolved dependencies (SLSA v1).
func fromCommit(predicate json.RawMessage, commit string) bool {
	var p struct {
		BuildDefinition struct {
			ResolvedDependencies []struct {
				Digest map[string]string `json:"digest"`
			} `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
	}
	if json.Unmarshal(predicate, &p) != nil {
		return false
	}
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		if d.Digest["gitCommit"] == commit {
			return true
		}
	}
	return false
}
