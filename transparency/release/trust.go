// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency"
)

const (
	maxTrust   = 512 << 10
	maxSigners = 16
)

// A Trust says whose releases to believe and what to ask of them. It comes from
// the user's own file or from what was shipped, never from a server (AT-44). The
// zero Trust refuses every release, and so does every forgotten field: what is
// not to be asked must be waived by name.
type Trust struct {
	// TrustedRoot is a Sigstore trusted root: logs, certificate and timestamp
	// authorities.
	TrustedRoot json.RawMessage `json:"trusted_root"`
	// Repository is the source that releases must be of, a URL.
	Repository string `json:"repository"`
	// Publisher signs everything in a release but endorsements.
	Publisher Signer `json:"publisher"`
	// Revokers may withdraw; so may the publisher and every reviewer.
	Revokers []Signer `json:"revokers,omitempty"`

	// Witnesses of the log that statements are in, and how many must have cosigned:
	// since when a release is public is their word. Without them it is that of
	// timestamp authorities, which is a gap.
	Witnesses []string `json:"witnesses,omitempty"`
	Quorum    int      `json:"quorum,omitempty"`

	Policy
}

// A Policy says what a release needs beside its publisher's word.
type Policy struct {
	MinAge     attestation.Duration `json:"min_age,omitempty"`     // since it is public: time to look at it
	WithoutAge bool                 `json:"without_age,omitempty"` // any age will do

	Reviewers []Signer `json:"reviewers,omitempty"`
	K         int      `json:"k,omitempty"` // how many of them must have reviewed it
	// MaxAgeEndorsement is how old the newest word of each of the K may be: with it
	// a withheld revocation is noticed.
	MaxAgeEndorsement attestation.Duration `json:"max_age_endorsement,omitempty"`
	WithoutReviewers  bool                 `json:"without_reviewers,omitempty"`

	Emergency *Emergency `json:"emergency,omitempty"` // absent: there is no shorter way
}

// An Emergency lets a release through sooner if more reviewers vouch for it.
type Emergency struct {
	MinAge attestation.Duration `json:"min_age"`
	K      int                  `json:"k"`
}

// A Signer is one exact identity: that of a workflow at the release's own tag,
// one that a certificate names in full, or a key. Nothing in it is a pattern.
type Signer struct {
	Name string `json:"name"` // for people; no two are alike

	// Workflow is the path of a workflow: the identity is this, "@refs/tags/" and
	// the tag of the release. For publishers.
	Workflow string `json:"workflow,omitempty"`
	// Identity is a whole subject alternative name.
	Identity string `json:"identity,omitempty"`
	// Issuer is who authenticated either.
	Issuer string `json:"issuer,omitempty"`
	// Repository and Ref are what the certificate must name as source. Empty for
	// people, whose certificates name none. A Workflow's ref is its tag.
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"`

	// PublicKey is a SubjectPublicKeyInfo in base64: ECDSA P-256, the kind that a
	// Rekor v2 log takes signatures of over a hash.
	PublicKey string `json:"public_key,omitempty"`
}

// ParseTrust reads a trust file. A trusted root that is a name or URL instead of
// the thing itself is [CodeRemote].
func ParseTrust(b []byte) (*Trust, error) {
	if len(b) > maxTrust {
		return nil, refuse(CodeTrust, "trust of %d bytes", len(b))
	}
	var peek struct {
		Root json.RawMessage `json:"trusted_root"`
	}
	if json.Unmarshal(b, &peek) == nil && len(peek.Root) > 0 && peek.Root[0] == '"' {
		return nil, refuse(CodeRemote, "trusted_root is %.80s: put the root itself there, so that nobody can choose another one for you", peek.Root)
	}
	t := new(Trust)
	if err := strict(b, t); err != nil {
		return nil, refuse(CodeTrust, "trust: %v", err)
	}
	return t, t.Validate()
}

// Validate reports why a trust cannot be used.
func (t *Trust) Validate() error {
	bad := func(format string, args ...any) error { return refuse(CodeTrust, "trust: "+format, args...) }
	switch {
	case t == nil || len(t.TrustedRoot) == 0 || bytes.TrimSpace(t.TrustedRoot)[0] != '{':
		return bad("no trusted root")
	case !repositoryURL(t.Repository):
		return bad("no repository")
	case t.MinAge < 0 || (t.MinAge == 0) != t.WithoutAge:
		return bad("min_age must be given, or waived with without_age")
	case (t.K == 0 && len(t.Reviewers) == 0 && t.MaxAgeEndorsement == 0) != t.WithoutReviewers:
		return bad("reviewers, k and max_age_endorsement must be given, or waived with without_reviewers")
	case !t.WithoutReviewers && (t.K < 1 || t.K > len(t.Reviewers) || t.MaxAgeEndorsement <= 0):
		return bad("k is %d of %d reviewers, max_age_endorsement %v", t.K, len(t.Reviewers), time.Duration(t.MaxAgeEndorsement))
	case len(t.Reviewers) > maxSigners || len(t.Revokers) > maxSigners:
		return bad("more than %d reviewers or revokers", maxSigners)
	}
	if e := t.Emergency; e != nil && (t.WithoutAge || e.MinAge < 0 || e.MinAge >= t.MinAge || e.K <= t.K || e.K > len(t.Reviewers)) {
		return bad("the emergency path must be shorter than min_age and need more than k reviewers, of those there are")
	}
	if len(t.Witnesses) > 0 || t.Quorum != 0 {
		if err := transparency.CheckWitnesses(t.Witnesses, t.Quorum); err != nil {
			return err
		}
	}
	if t.Publisher.Workflow != "" && t.Publisher.Repository != t.Repository {
		return bad("the publisher's workflow runs from %q, releases are of %q", t.Publisher.Repository, t.Repository)
	}
	seen := map[string]bool{}
	for i, s := range append([]Signer{t.Publisher}, t.Reviewers...) {
		what, who := s.check()
		switch {
		case what != "":
			return bad("signer %q: %s", s.Name, what)
		case i > 0 && s.Workflow != "":
			return bad("reviewer %q: a reviewer has no tags of this repository", s.Name)
		case seen[who] || seen["name "+s.Name]:
			return bad("signer %q is there twice, or publisher and reviewer are one", s.Name)
		}
		seen[who], seen["name "+s.Name] = true, true
	}
	for _, s := range t.Revokers {
		if what, _ := s.check(); what != "" {
			return bad("revoker %q: %s", s.Name, what)
		}
	}
	return nil
}

// check says what is wrong with a signer, or under what nobody else may sign.
func (s *Signer) check() (what, who string) {
	cert := s.Workflow != "" || s.Identity != ""
	switch {
	case s.Name == "" || !plain(s.Name):
		return "no name", ""
	case cert == (s.PublicKey != "") || s.Workflow != "" && s.Identity != "":
		return "want a workflow, an identity or a public key", ""
	case cert && s.Issuer == "" || !cert && s.Issuer+s.Repository+s.Ref != "":
		return "issuer, repository and ref go with a certificate, and need one", ""
	case strings.ContainsAny(s.Workflow+s.Identity+s.Issuer+s.Repository+s.Ref, "*^$()[]{}|\\ \t\n"):
		return "a pattern: identities are compared byte for byte", ""
	case s.Workflow != "" && (s.Ref != "" || strings.Contains(s.Workflow, "@") || !strings.HasPrefix(s.Workflow, s.Repository+"/") || !repositoryURL(s.Repository)):
		return "a workflow is a path in its repository; its ref is the tag of the release", ""
	case (s.Repository == "") != (s.Ref == "") && s.Workflow == "":
		return "repository and ref go together", ""
	case strings.Contains(s.Identity, "@refs/") && s.Repository == "":
		return "the identity is that of a workflow: say which repository and ref", ""
	}
	if s.PublicKey == "" {
		return "", s.Workflow + s.Identity + " " + s.Issuer
	}
	key, err := s.key()
	if err != nil {
		return err.Error(), ""
	}
	return "", keyID(key)
}

// key reads the public key in its one spelling.
func (s *Signer) key() (crypto.PublicKey, error) {
	der, err := base64.StdEncoding.Strict().DecodeString(s.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("public key is not base64")
	}
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("public key is no SubjectPublicKeyInfo")
	}
	if e, ok := k.(*ecdsa.PublicKey); !ok || e.Curve.Params().BitSize != 256 {
		return nil, fmt.Errorf("public key of type %T: want ECDSA P-256", k)
	}
	return k, nil
}

func keyID(k crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return ""
	}
	d := sha256.Sum256(der)
	return "key " + hex.EncodeToString(d[:])
}
