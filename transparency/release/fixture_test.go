// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

const (
	tag = "v1.2.3"
	ref = "refs/tags/" + tag
)

var (
	now     = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	signed  = now.Add(-96 * time.Hour)
	image   = sha256.Sum256([]byte("image"))
	weights = sha256.Sum256([]byte("weights"))
	alice   = rt.Person("https://people.simulated.example/alice")
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A fixture is a release with those who vouch for it: the publisher's workflow,
// alice with certificates, bob and carol with keys.
type fixture struct {
	t     *testing.T
	w     *rt.World
	trust release.Trust
	keys  map[string]*ecdsa.PrivateKey
	items [][]byte // statements of the publisher
	file  *release.File
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, w: rt.New(now.AddDate(0, -1, 0)), keys: map[string]*ecdsa.PrivateKey{"bob": rt.NewKey(), "carol": rt.NewKey()}}
	f.trust = release.Trust{
		TrustedRoot: f.w.TrustedRoot(), Repository: rt.Repository,
		Publisher: release.Signer{Name: "releases", Workflow: rt.Workflow, Issuer: rt.Issuer, Repository: rt.Repository},
		Policy: release.Policy{MinAge: attestation.Duration(72 * time.Hour), K: 2, MaxAgeEndorsement: attestation.Duration(48 * time.Hour),
			Reviewers: []release.Signer{{Name: "alice", Identity: alice.Name, Issuer: rt.Issuer},
				{Name: "bob", PublicKey: rt.PublicKey(f.keys["bob"])}, {Name: "carol", PublicKey: rt.PublicKey(f.keys["carol"])}},
			Emergency: &release.Emergency{MinAge: attestation.Duration(time.Hour), K: 3}},
	}
	f.items = statements(nil)
	f.publish(rt.WorkflowAt(rt.Repository, ref), signed)
	f.endorse("alice", release.ClaimReviewed, now.Add(-47*time.Hour))
	f.endorse("bob", release.ClaimReviewed, now.Add(-time.Hour))
	return f
}

// statements makes what a publisher says; change may spoil the image's manifest.
func statements(change func(*release.ImageManifest)) [][]byte {
	sbom := must(statement(release.TypeSBOM, []release.Subject{release.NewSubject("node", image)}, map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.6"}))
	prov := must(statement(release.TypeProvenance, []release.Subject{release.NewSubject("node", image), release.NewSubject("sotto", sha256.Sum256([]byte("sotto")))},
		map[string]any{"buildDefinition": map[string]any{"buildType": "x", "resolvedDependencies": []any{map[string]any{"digest": map[string]any{"gitCommit": rt.Commit}}}}}))
	m := release.ImageManifest{Role: "node", Repository: rt.Repository, Commit: rt.Commit, Tag: tag,
		Recipe: release.Recipe{Type: "https://sotto-project.github.io/release/build/v1", Command: "sotto-release make", Inputs: map[string]string{"go": "go1.26.0"}},
		SBOM:   sha256.Sum256(sbom), Provenance: sha256.Sum256(prov),
		Measurements: []attestation.Image{attestationtest.ImageOn(attestation.SNP), attestationtest.ImageOn(attestation.TDX)}}
	m.Measurements[1].Name = "the same on tdx"
	m.VerityRoot, _ = attestation.VerityRoot(m.Measurements[0].CommandLines[0])
	if change != nil {
		change(&m)
	}
	return [][]byte{sbom, prov,
		must(statement(release.TypeImage, []release.Subject{release.NewSubject("node", image)}, m)),
		must(statement(release.TypeModel, []release.Subject{release.NewSubject("toy.gguf", weights)},
			release.ModelManifest{Name: "toy", Source: "https://models.simulated.example/toy", Revision: "1", Format: "gguf", Context: 512}))}
}

// publish signs all statements as somebody and makes a new file of them.
func (f *fixture) publish(who rt.Identity, at time.Time) {
	var bundles [][]byte
	for _, s := range f.items {
		bundles = append(bundles, f.w.Keyless(s, who, at))
	}
	f.file = must(release.NewFile(rt.Repository, rt.Commit, tag, bundles))
}

func (f *fixture) endorse(who, claim string, at time.Time) { f.endorseID(f.file.ID(), who, claim, at) }

func (f *fixture) endorseID(id [32]byte, who, claim string, at time.Time) {
	s := must(statement(release.TypeEndorsement, []release.Subject{release.NewSubject("release", id)},
		release.Endorsement{Claim: claim, AsOf: at, Expires: at.AddDate(0, 0, 30)}))
	f.attach(who, s, at)
}

func (f *fixture) revoke(who, kind string, digest [32]byte, at time.Time) {
	s := must(statement(release.TypeRevocation, []release.Subject{release.NewSubject(kind, digest)},
		release.Revocation{Kind: kind, Reason: "writes prompts to disk", AsOf: at}))
	f.attach(who, s, at)
}

func (f *fixture) attach(who string, s []byte, at time.Time) {
	var b []byte
	switch who {
	case "publisher":
		b = f.w.Keyless(s, rt.WorkflowAt(rt.Repository, ref), at)
	case "alice":
		b = f.w.Keyless(s, alice, at)
	default:
		b = f.w.Keyed(s, f.keys[who], at)
	}
	f.file = must(f.file.Attach(b))
}

func (f *fixture) bytes() []byte { return must(f.file.Append(nil)) }

func (f *fixture) verify() (*release.Release, error) { return release.Verify(f.bytes(), &f.trust, now) }

func (f *fixture) refused(want transparency.Code) {
	f.t.Helper()
	r, err := f.verify()
	refused(f.t, r, err, want)
}

func refused(t *testing.T, r *release.Release, err error, want transparency.Code) {
	t.Helper()
	if r != nil || release.CodeOf(err) != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// edit changes the bundle of one item, as a tree of JSON.
func (f *fixture) edit(kind string, change func(object)) {
	i := slices.IndexFunc(f.file.Index.Items, func(it release.Item) bool { return it.Kind == kind })
	var b object
	if err := json.Unmarshal(f.file.Bundles[i], &b); err != nil {
		f.t.Fatal(err)
	}
	change(b)
	f.file.Bundles[i] = must(json.Marshal(b))
}

type object = map[string]any

func entry(b object) object {
	return b["verificationMaterial"].(object)["tlogEntries"].([]any)[0].(object)
}

// statement is release.NewStatement without its checks.
func statement(kind string, subjects []release.Subject, predicate any) ([]byte, error) {
	return json.Marshal(struct {
		Type      string            `json:"_type"`
		Subject   []release.Subject `json:"subject"`
		Kind      string            `json:"predicateType"`
		Predicate any               `json:"predicate"`
	}{bundle.StatementType, subjects, kind, predicate})
}

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }
