// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package releasetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/release"
)

// Tag is that of the releases of a [Maker].
const Tag = "v1.2.3"

// A Maker makes whole releases: signed by the workflow of [Repository], witnessed,
// reviewed by somebody with a key. Nobody built and nobody looked at anything.
type Maker struct {
	*World
	// Trust believes them: three days to look at a release, or one hour if both
	// reviewers vouch for it; one reviewer's word of the last two days.
	Trust     release.Trust
	reviewers []*ecdsa.PrivateKey
}

// The policy of a maker's trust.
const (
	MinAge    = 72 * time.Hour
	Emergency = time.Hour
	MaxWord   = 48 * time.Hour
)

// NewMaker makes one whose keys count from a month before now.
func NewMaker(now time.Time) *Maker {
	m := &Maker{World: New(now.AddDate(0, -1, 0)), reviewers: []*ecdsa.PrivateKey{NewKey(), NewKey()}}
	m.Trust = release.Trust{
		Witnesses: []string{m.AddWitness("witness.simulated.example")}, Quorum: 1,
		TrustedRoot: m.TrustedRoot(), Repository: Repository,
		Publisher: release.Signer{Name: "SIMULATED releases", Workflow: Workflow, Issuer: Issuer, Repository: Repository},
		Policy: release.Policy{
			MinAge: attestation.Duration(MinAge), K: 1, MaxAgeEndorsement: attestation.Duration(MaxWord),
			Reviewers: []release.Signer{{Name: "SIMULATED reviewer 1", PublicKey: PublicKey(m.reviewers[0])}, {Name: "SIMULATED reviewer 2", PublicKey: PublicKey(m.reviewers[1])}},
			Emergency: &release.Emergency{MinAge: attestation.Duration(Emergency), K: 2},
		},
	}
	return m
}

// Image is the digest of the image that a maker's releases hold.
var Image = sha256.Sum256([]byte("SIMULATED image"))

// Make signs a release of one image, as machines measure it, and of one model,
// by the workflow of some repository, at a time. Nobody has reviewed it.
func (m *Maker) Make(repository string, at time.Time, measured []attestation.Image, model string, weights [32]byte) []byte {
	say := func(kind, name string, digest [32]byte, predicate any) []byte {
		return must(release.NewStatement(kind, []release.Subject{release.NewSubject(name, digest)}, predicate))
	}
	sbom := say(release.TypeSBOM, "node", Image, object{"bomFormat": "CycloneDX", "specVersion": "1.6"})
	prov := say(release.TypeProvenance, "node", Image, object{"buildDefinition": object{"buildType": "SIMULATED", "resolvedDependencies": []any{object{"digest": object{"gitCommit": Commit}}}}})
	manifest := release.ImageManifest{Role: "node", Repository: Repository, Commit: Commit, Tag: Tag,
		Recipe: release.Recipe{Type: "https://sotto-project.github.io/release/build/v1", Command: "SIMULATED", Inputs: map[string]string{"go": "go1.26.0"}},
		SBOM:   sha256.Sum256(sbom), Provenance: sha256.Sum256(prov), Measurements: measured}
	for _, i := range measured {
		for _, line := range i.CommandLines {
			if root, ok := attestation.VerityRoot(line); ok {
				manifest.VerityRoot = root
			}
		}
	}
	who := WorkflowAt(repository, "refs/tags/"+Tag)
	var bundles [][]byte
	for _, s := range [][]byte{sbom, prov, say(release.TypeImage, "node", Image, manifest),
		say(release.TypeModel, "model.gguf", weights, release.ModelManifest{Name: model, Source: "https://models.simulated.example/" + model, Revision: "1", Format: "gguf", Context: 512})} {
		bundles = append(bundles, m.Keyless(s, who, at))
	}
	return must(must(release.NewFile(Repository, Commit, Tag, bundles)).Append(nil))
}

// Endorse attaches a reviewer's word, 0 or 1, as of a time.
func (m *Maker) Endorse(file []byte, reviewer int, at time.Time) []byte {
	f := must(release.ParseFile(file))
	at = at.UTC().Truncate(time.Second)
	s := must(release.NewStatement(release.TypeEndorsement, []release.Subject{release.NewSubject("release", f.ID())},
		release.Endorsement{Claim: release.ClaimReviewed, AsOf: at, Expires: at.AddDate(0, 0, 30)}))
	return m.attach(f, s, reviewer, at)
}

// Revoke attaches a reviewer's withdrawal of something, as of a time.
func (m *Maker) Revoke(file []byte, kind string, digest [32]byte, reason string, at time.Time) []byte {
	at = at.UTC().Truncate(time.Second)
	s := must(release.NewStatement(release.TypeRevocation, []release.Subject{release.NewSubject(kind, digest)},
		release.Revocation{Kind: kind, Reason: reason, AsOf: at}))
	return m.attach(must(release.ParseFile(file)), s, 0, at)
}

func (m *Maker) attach(f *release.File, statement []byte, reviewer int, at time.Time) []byte {
	return must(must(f.Attach(m.Keyed(statement, m.reviewers[reviewer], at))).Append(nil))
}

// ID is under what reviewers know a release.
func ID(file []byte) [32]byte { return must(release.ParseFile(file)).ID() }

// Unlogged takes everything that a log gave out of a file: what is left was
// signed, and is in no log.
func Unlogged(file []byte) []byte {
	return edit(file, func(material object) { delete(material, "tlogEntries") })
}

// Unproven leaves the log's entry and takes its proof away.
func Unproven(file []byte) []byte {
	return edit(file, func(material object) { delete(material["tlogEntries"].([]any)[0].(object), "inclusionProof") })
}

func edit(file []byte, change func(material object)) []byte {
	f := must(release.ParseFile(file))
	for i, line := range f.Bundles {
		var b object
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&b); err != nil {
			panic(err)
		}
		change(b["verificationMaterial"].(object))
		f.Bundles[i] = must(json.Marshal(b))
	}
	return must(f.Append(nil))
}
