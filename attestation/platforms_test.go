// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
)

// onPlatform is a fixture of a platform, with its policy.
func onPlatform(t testing.TB, p attestation.Platform, change func(*attestationtest.NodeSpec)) *fixture {
	return newFixture(t, func(s *attestationtest.NodeSpec) {
		s.Platform = p
		if change != nil {
			change(s)
		}
	})
}

// tiers with an attested GPU. Without one it is 1, as nothing says where the
// model runs.
var tiers = map[attestation.Platform]int{
	attestation.SNP: 2, attestation.SNPSVSM: 2, attestation.AzureSNP: 2, attestation.AzureTDX: 2, attestation.TDX: 2, attestation.GoogleTDX: 2,
	attestation.GoogleSNP: 1, attestation.TPM: 1, attestation.NitroTPM: 1,
}

func TestEveryPlatformIsAccepted(t *testing.T) {
	for _, p := range attestation.Platforms() {
		t.Run(string(p), func(t *testing.T) {
			r, err := onPlatform(t, p, nil).make().verify()
			if err != nil {
				t.Fatal(err)
			}
			if r.Platform != p || r.Tier != 1 || r.Report.Tier != r.Tier || r.Report.TierWhy == "" || r.Report.Verdict != attestation.VerifiedWithGaps {
				t.Errorf("platform %s, tier %d (%s), %v", r.Platform, r.Tier, r.Report.TierWhy, r.Report.Verdict)
			}
			for _, s := range r.Report.Steps {
				if s.ByHand == "" || s.Meaning == "" || s.Source == "" || s.What == "" || s.Vouches == "" {
					t.Errorf("step %s says too little: %+v", s.ID, s)
				}
			}
		})
		t.Run(string(p)+" with GPU and IMA", func(t *testing.T) {
			f := onPlatform(t, p, func(s *attestationtest.NodeSpec) { s.IMA, s.GPU = true, &fakegpu.Spec{NoTokens: true} })
			r, err := f.make().verify()
			if err != nil {
				t.Fatal(err)
			}
			if r.Tier != tiers[p] {
				t.Errorf("tier %d (%s), want %d", r.Tier, r.Report.TierWhy, tiers[p])
			}
		})
	}
}

// TestReleaseWithoutGPU: a release that has no driver for a GPU needs no evidence
// of one, and reaches the tier of its platform.
func TestReleaseWithoutGPU(t *testing.T) {
	f := newFixture(t, nil)
	f.policy.AllowNoGPU, f.policy.Images[0].CPUOnly = false, true
	r, err := f.make().verify()
	if err != nil {
		t.Fatal(err)
	}
	if r.Tier != 2 || strings.Contains(strings.Join(r.Report.Gaps(), "\n"), "GPU") {
		t.Errorf("tier %d, gaps %q", r.Tier, r.Report.Gaps())
	}
}
