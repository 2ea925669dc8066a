// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/bundle"
)

// Types of the statements of a release, exactly.
const (
	TypeImage       = "https://sotto-project.github.io/release/image/v1"
	TypeModel       = "https://sotto-project.github.io/release/model/v1"
	TypeEndorsement = "https://sotto-project.github.io/release/endorsement/v1"
	TypeRevocation  = "https://sotto-project.github.io/release/revocation/v1"
	TypeProvenance  = "https://slsa.dev/provenance/v1"
	TypeSBOM        = "https://cyclonedx.org/bom"
)

// kindOf gives each type its kind of item; attachments have none.
var kindOf = map[string]string{
	TypeImage: KindImage, TypeModel: KindModel, TypeProvenance: KindProvenance, TypeSBOM: KindSBOM,
	TypeEndorsement: "", TypeRevocation: "",
}

// A Hash is a SHA-256 that prints as lower-case hex.
type Hash = attestation.Digest

// An ImageManifest is the predicate of an image: the subject is its digest.
type ImageManifest struct {
	Role       string `json:"role"` // "node", "gateway": what runs in it
	Repository string `json:"repository"`
	Commit     string `json:"commit"`
	Tag        string `json:"tag"`
	Recipe     Recipe `json:"recipe"`

	// The statements beside this one, by SHA-256 of the DSSE payload.
	SBOM       Hash `json:"sbom_sha256"`
	Provenance Hash `json:"provenance_sha256"`

	// Measurements are what a machine that runs this image attests, one for each
	// platform and firmware, as a policy lists them. Images of roles that nobody
	// attests have none.
	Measurements []attestation.Image `json:"measurements,omitempty"`
	// VerityRoot is the dm-verity root hash, which every command line must carry.
	VerityRoot string `json:"verity_root,omitempty"`
	// IMAPolicy and IMAFiles are SHA-256 of the IMA policy in the image, and of the
	// list of files that it allows, one "digest  path" a line, sorted.
	IMAPolicy *Hash `json:"ima_policy_sha256,omitempty"`
	IMAFiles  *Hash `json:"ima_files_sha256,omitempty"`
}

// A Recipe says how to build the same again.
type Recipe struct {
	Type    string `json:"type"`    // URI
	Command string `json:"command"` // for people
	// Inputs have "go": "go1.26.0", and "launch NAME" with how a machine is started
	// whose launch measurement is that of the measurements called NAME.
	Inputs map[string]string `json:"inputs"`
}

// LaunchInput is the name of an input that says how a machine is started
// (measure.Recipe).
func LaunchInput(measurements string) string { return "launch " + measurements }

// A ModelManifest is the predicate of a model: the subject is the SHA-256 of its
// weights.
type ModelManifest struct {
	Name     string `json:"name"`     // under which it is served
	Source   string `json:"source"`   // URL where anybody can get it
	Revision string `json:"revision"` // at that source
	Format   string `json:"format"`   // "gguf"
	Context  uint32 `json:"context_tokens"`
}

// Claims of an endorsement.
const (
	ClaimReviewed = "reviewed" // somebody looked at source and build
	ClaimGood     = "good"     // nothing against it is known at the time
)

// An Endorsement is the predicate of a reviewer's or witness's word: the
// subject is a release's ID.
type Endorsement struct {
	Claim   string    `json:"claim"`
	AsOf    time.Time `json:"as_of"`
	Expires time.Time `json:"expires"`
}

// What can be withdrawn. Subjects: a release's ID, an image's digest, the SHA-256
// of weights, the SHA-256 of a chip's identifier, a node id.
const (
	KindRelease = "release"
	KindChip    = "chip"
	KindNode    = "node"
)

// A Revocation is the predicate of a withdrawal.
type Revocation struct {
	Kind   string    `json:"kind"`
	Reason string    `json:"reason"`
	AsOf   time.Time `json:"as_of"`
}

// head is what every statement begins with (in-toto Statement, v1).
type head struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// A Subject names what a statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// NewSubject names a thing by its SHA-256.
func NewSubject(name string, digest [32]byte) Subject {
	return Subject{name, map[string]string{"sha256": hex.EncodeToString(digest[:])}}
}

func (s Subject) sha256() (d attestation.Digest, ok bool) {
	text := s.Digest["sha256"]
	return d, lowerHex(text, 64) && d.UnmarshalText([]byte(text)) == nil
}

// NewStatement prints an in-toto statement, if it is one that would be read.
func NewStatement(predicateType string, subjects []Subject, predicate any) ([]byte, error) {
	p, err := json.Marshal(predicate)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(head{bundle.StatementType, subjects, predicateType, p})
	if err != nil {
		return nil, err
	}
	h, err := parseHead(b)
	if err != nil {
		return nil, err
	}
	return b, h.check()
}

// check reads the predicate if it is one of ours.
func (h *head) check() (err error) {
	switch h.PredicateType {
	case TypeImage:
		_, _, err = parsePredicate[ImageManifest](h)
	case TypeModel:
		_, _, err = parsePredicate[ModelManifest](h)
	case TypeEndorsement:
		_, _, err = parsePredicate[Endorsement](h)
	case TypeRevocation:
		_, _, err = parsePredicate[Revocation](h)
	}
	return err
}

// parseHead reads a statement, its predicate unread.
func parseHead(payload []byte) (*head, error) {
	h := new(head)
	if err := strict(payload, h); err != nil {
		return nil, refuse(CodeFormat, "statement: %v", err)
	}
	if h.Type != bundle.StatementType || len(h.Subject) == 0 || len(h.Predicate) == 0 || h.Predicate[0] != '{' {
		return nil, refuse(CodeFormat, "statement of type %q with %d subjects", h.Type, len(h.Subject))
	}
	for _, s := range h.Subject {
		if _, ok := s.sha256(); !ok || s.Name == "" || !plain(s.Name) {
			return nil, refuse(CodeFormat, "subject %q without a name or SHA-256", s.Name)
		}
	}
	return h, nil
}

// ParseMeasurements reads a JSON list of images as a policy and a manifest have
// them. A derive that is not nil completes each before anything is asked of it.
func ParseMeasurements(b []byte, derive func(*attestation.Image) error) ([]attestation.Image, error) {
	var out []attestation.Image
	if err := strict(b, &out); err != nil {
		return nil, refuse(CodeFormat, "measurements: %v", err)
	}
	for i := range out {
		if derive != nil {
			if err := derive(&out[i]); err != nil {
				return nil, fmt.Errorf("measurements of %q: %w", out[i].Name, err)
			}
		}
		if what := out[i].Incomplete(); what != "" {
			return nil, refuse(CodeFormat, "measurements of %q: no %s", out[i].Name, what)
		}
	}
	return out, nil
}

// Predicate returns what a bundle's statement says, unverified: for whoever has
// verified the file that it is in.
func Predicate(line []byte) (json.RawMessage, error) {
	payload, _, err := peek(line)
	if err != nil {
		return nil, err
	}
	h, err := parseHead(payload)
	if err != nil {
		return nil, err
	}
	return h.Predicate, nil
}

// A checked predicate says what is wrong with it; "" if nothing.
type checked interface{ check() string }

// parsePredicate reads one of our own predicates, about one subject.
func parsePredicate[P any, C interface {
	*P
	checked
}](h *head) (*P, [32]byte, error) {
	p := new(P)
	if len(h.Subject) != 1 {
		return nil, [32]byte{}, refuse(CodeFormat, "%s about %d subjects, want one", h.PredicateType, len(h.Subject))
	}
	d, _ := h.Subject[0].sha256()
	if err := strict(h.Predicate, p); err != nil {
		return nil, d, refuse(CodeFormat, "%s: %v", h.PredicateType, err)
	}
	if what := C(p).check(); what != "" {
		return nil, d, refuse(CodeFormat, "%s: %s", h.PredicateType, what)
	}
	return p, d, nil
}

func (m *ImageManifest) check() string {
	switch {
	case !word(m.Role):
		return "role"
	case !repositoryURL(m.Repository) || !lowerHex(m.Commit, 40) && !lowerHex(m.Commit, 64) || !semver(m.Tag):
		return "repository, commit or tag"
	case m.Recipe.Type == "" || m.Recipe.Command == "" || !plain(m.Recipe.Type+m.Recipe.Command):
		return "recipe"
	case m.SBOM == Hash{} || m.Provenance == Hash{}:
		return "no SBOM or no provenance"
	case m.VerityRoot != "" && !lowerHex(m.VerityRoot, 64) && !lowerHex(m.VerityRoot, 128):
		return "verity_root"
	}
	seen := map[string]bool{}
	for i := range m.Measurements {
		im := &m.Measurements[i]
		if what := im.Incomplete(); what != "" || seen[im.Name] {
			return "measurements of " + im.Name + ": twice, or no " + what
		}
		seen[im.Name] = true
		for _, line := range im.CommandLines {
			if root, ok := attestation.VerityRoot(line); m.VerityRoot != "" && (!ok || root != m.VerityRoot) {
				return "a command line without the verity_root"
			}
		}
	}
	return ""
}

func (m *ModelManifest) check() string {
	u, err := url.Parse(m.Source)
	switch {
	case m.Name == "" || len(m.Name) > 255 || !plain(m.Name):
		return "name"
	case err != nil || u.Scheme != "https" || u.Host == "" || !plain(m.Source):
		return "source"
	case m.Revision == "" || !plain(m.Revision):
		return "revision"
	case !word(m.Format):
		return "format"
	case m.Context == 0:
		return "context_tokens"
	}
	return ""
}

func (e *Endorsement) check() string {
	switch {
	case e.Claim != ClaimReviewed && e.Claim != ClaimGood:
		return "claim"
	case !second(e.AsOf) || !second(e.Expires) || !e.Expires.After(e.AsOf):
		return "as_of or expires"
	}
	return ""
}

func (r *Revocation) check() string {
	switch {
	case !slices.Contains([]string{KindRelease, KindImage, KindModel, KindChip, KindNode}, r.Kind):
		return "kind"
	case r.Reason == "" || len(r.Reason) > 1000 || !plain(r.Reason):
		return "reason"
	case !second(r.AsOf):
		return "as_of"
	}
	return ""
}

// second: a whole second in UTC, so that there is one spelling of it.
func second(t time.Time) bool {
	return !t.IsZero() && t.Location() == time.UTC && t.Nanosecond() == 0
}

func lowerHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

var (
	tagForm  = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$`)
	wordForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	repoForm = regexp.MustCompile(`^https://[a-z0-9.-]+(/[A-Za-z0-9._-]+)+$`)
)

func semver(s string) bool { return len(s) <= 64 && tagForm.MatchString(s) }

func word(s string) bool { return wordForm.MatchString(s) }

func repositoryURL(s string) bool { return len(s) <= 255 && repoForm.MatchString(s) }

// plain: nothing that a terminal acts upon, and no letter that looks like
// another: names in a release are ASCII.
func plain(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
