// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
)

// released is what a release of the lab's image and model says.
func released(p attestation.Platform) *attestation.Released {
	image := attestationtest.ImageOn(p)
	return &attestation.Released{
		Images: []attestation.ReleasedImage{{Image: image, Release: "example/sotto v1.2.3"}},
		Models: []attestation.ReleasedModel{{Name: "toy", Weights: weights}},
	}
}

// TestReleasesRestrict: an operator lists, and a policy allows, what was never
// published.
func TestReleasesRestrict(t *testing.T) {
	for _, p := range []attestation.Platform{attestation.SNP, attestation.TDX, attestation.AzureSNP, attestation.TPM, attestation.NitroTPM} {
		t.Run(string(p), func(t *testing.T) {
			f := newFixture(t, func(s *attestationtest.NodeSpec) { s.Platform = p }).make()
			f.refs.Released = released(p)
			r, err := f.verify()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Report.Steps, func(s attestation.Step) bool {
				return s.ID == "image.released" && s.Verdict == attestation.Verified && s.Vouches == attestation.Logged
			}) {
				t.Error("the report does not say that the image is released")
			}
			f.refs.Released.Images[0].PCRs[11] = attestation.Digest{1}
			_, err = f.verify()
			refused(t, err, "log.absent")
		})
	}
	for name, change := range map[string]func(*attestation.Released){
		"AT-42/no release":             func(r *attestation.Released) { *r = attestation.Released{} },
		"AT-42/no image":               func(r *attestation.Released) { r.Images = nil },
		"AT-42/no model":               func(r *attestation.Released) { r.Models = nil },
		"AT-42/another measurement":    func(r *attestation.Released) { r.Images[0].Measurement[0]++ },
		"AT-42/another loader":         func(r *attestation.Released) { r.Images[0].PCRs[4] = attestation.Digest{} },
		"AT-42/register left open":     func(r *attestation.Released) { delete(r.Images[0].PCRs, 9) },
		"AT-42/register nobody quotes": func(r *attestation.Released) { r.Images[0].PCRs[23] = attestation.Digest{} },
		"AT-42/another verity root":    func(r *attestation.Released) { r.Images[0].CommandLines = []string{"roothash=00 ro"} },
		"AT-42/another platform":       func(r *attestation.Released) { r.Images[0].Platform = attestation.SNPSVSM },
		"AT-41/other weights":          func(r *attestation.Released) { r.Models[0].Weights = sha256.Sum256(nil) },
		"AT-41/weights by other name":  func(r *attestation.Released) { r.Models[0].Name = "large" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil).make()
			f.refs.Released = released(attestation.SNP)
			change(f.refs.Released)
			_, err := f.verify()
			refused(t, err, "log.absent")
		})
	}
	t.Run("a released image does not widen the policy", func(t *testing.T) {
		f := newFixture(t, nil).make()
		f.refs.Released = released(attestation.SNP)
		f.policy.Images[0].PCRs[11] = attestation.Digest{1}
		_, err := f.verify()
		refused(t, err, "att.image.kernel")
	})
	t.Run("second of two", func(t *testing.T) {
		f := newFixture(t, nil).make()
		r := released(attestation.SNP)
		other := released(attestation.SNP).Images[0]
		other.Measurement[0]++
		r.Images = []attestation.ReleasedImage{other, r.Images[0]}
		f.refs.Released = r
		if _, err := f.verify(); err != nil {
			t.Error(err)
		}
	})
}

func TestRevokedReleases(t *testing.T) {
	for name, change := range map[string]func(*attestation.Released, *attestation.Result){
		"image": func(r *attestation.Released, _ *attestation.Result) { r.Images[0].Revoked = "leaks" },
		"image released again": func(r *attestation.Released, _ *attestation.Result) {
			again := r.Images[0]
			again.Revoked = "leaks"
			r.Images = append(r.Images, again)
		},
		"node": func(r *attestation.Released, n *attestation.Result) { r.RevokedNodes = [][32]byte{{1}, n.NodeID} },
		"chip": func(r *attestation.Released, n *attestation.Result) {
			r.RevokedChips = [][32]byte{sha256.Sum256(n.Chip[:])}
		},
	} {
		for _, p := range []attestation.Platform{attestation.SNP, attestation.TDX} {
			t.Run("AT-51/"+name+" "+string(p), func(t *testing.T) {
				f := newFixture(t, func(s *attestationtest.NodeSpec) { s.Platform = p }).make()
				honest, err := f.verify()
				if err != nil {
					t.Fatal(err)
				}
				f.refs.Released = released(p)
				change(f.refs.Released, honest)
				_, err = f.verify()
				refused(t, err, "att.image.revoked")
			})
		}
	}
}

func TestVerityRoot(t *testing.T) {
	for line, want := range map[string]string{"ro roothash=aa x": "aa", "roothash=bb": "bb", "ro": "", "roothash=a roothash=b": ""} {
		if got, ok := attestation.VerityRoot(line); got != want || ok != (want != "") {
			t.Errorf("%q: %q", line, got)
		}
	}
}
