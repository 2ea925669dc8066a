// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// TestChimera is AT-06 on every pair of platforms: keys, quotes and logs of one
// machine with the hardware's word from another, both genuine, both running the
// release, under a policy that would take either. A chimera that its owner has
// listed, too: the digest is that of what is shown.
func TestChimera(t *testing.T) {
	var all []*fixture
	for _, p := range attestation.Platforms() {
		all = append(all, onPlatform(t, p, nil).make())
	}
	policy := *all[0].policy
	policy.Platforms, policy.Images = attestation.Platforms(), nil
	policy.TDX = attestation.TDXPolicy{MinEvaluationNumber: faketdx.Evaluation, AllowAnyChip: true}
	policy.TPM, policy.Nitro = all[len(all)-2].policy.TPM, all[len(all)-1].policy.Nitro
	for i, f := range all {
		image := f.policy.Images[0]
		image.Name = string(attestation.Platforms()[i])
		policy.Images = append(policy.Images, image)
	}
	t.Run("AT-06", func(t *testing.T) {
		for i, keys := range all {
			for j, p := range attestation.Platforms() {
				hardware := all[j]
				if i == j {
					hardware = onPlatform(t, p, nil).make() // another machine of the same kind
				}
				for name, b := range map[string]*evidence.Bundle{
					"with its log":    graft(keys.ev.Epoch, hardware.ev.Epoch, evidence.KindEventLog),
					"without its log": graft(keys.ev.Epoch, hardware.ev.Epoch),
					"beside its own":  union(keys.ev.Epoch, hardware.ev.Epoch),
				} {
					refs, alone := keys.refs, policy
					refs.EvidenceDigest, alone.WithoutFreshness = b.Digest(), true
					r, err := attestation.Verify(attestation.Evidence{Epoch: b}, &alone, refs, keys.now)
					var e *attestation.RefusalError
					switch own := attestation.Platforms()[i]; {
					case len(b.Pieces) == len(keys.ev.Epoch.Pieces) && b.Digest() == keys.ev.Epoch.Digest(): // there was nothing to put beside
					case err == nil:
						t.Errorf("keys of %s, hardware of %s %s: accepted as %s", own, p, name, r.Platform)
					case i == j && name == "without its log" && (!errors.As(err, &e) || !slices.Contains([]attestation.Code{"att.binding", "att.ak.cert"}, e.Code)):
						t.Errorf("two machines of %s: %v", p, err)
					}
				}
			}
		}
	})
}

// graft returns the keys' own pieces with the platform's pieces of hardware, and
// such others of hardware's as are named.
func graft(keys, hardware *evidence.Bundle, kinds ...evidence.Kind) *evidence.Bundle {
	must, _ := attestation.SNP.Pieces()
	common := must[:len(must)-3] // SNP has three of its own
	out := new(evidence.Bundle)
	for _, p := range keys.Pieces {
		if slices.Contains(common, p.Kind) && !slices.Contains(kinds, p.Kind) {
			out.Pieces = append(out.Pieces, p)
		}
	}
	for _, p := range hardware.Pieces {
		if !slices.Contains(common, p.Kind) || slices.Contains(kinds, p.Kind) {
			out.Pieces = append(out.Pieces, p)
		}
	}
	slices.SortStableFunc(out.Pieces, func(a, b evidence.Piece) int { return int(a.Kind) - int(b.Kind) })
	return out
}

// union returns all pieces of keys and, of other kinds, those of hardware.
func union(keys, hardware *evidence.Bundle) *evidence.Bundle {
	out := &evidence.Bundle{Pieces: slices.Clone(keys.Pieces)}
	for _, p := range hardware.Pieces {
		if _, ok := keys.Get(p.Kind); !ok {
			out.Pieces = append(out.Pieces, p)
		}
	}
	slices.SortStableFunc(out.Pieces, func(a, b evidence.Piece) int { return int(a.Kind) - int(b.Kind) })
	return out
}
