// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package roster

import (
	"fmt"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// keyed is a case with three releases of five images, and 1,000 chips.
func keyed() (*Judge, *Case) {
	r := &attestation.Released{Models: []attestation.ReleasedModel{{Name: "toy"}}}
	for i := range 15 {
		r.Images = append(r.Images, attestation.ReleasedImage{Image: attestationtest.Image(), Release: fmt.Sprint(i)})
	}
	return NewJudge(&attestation.Policy{}, NewCache(10)), &Case{Evidence: attestation.Evidence{Epoch: &evidence.Bundle{}, Freshness: &evidence.Bundle{}},
		Refs: attestation.References{Released: r, Chips: make([][32]byte, 1000)}}
}

// TestKeyNamesWhatAllNodesShare: another release, or other chips, are another
// case; the same ones elsewhere in memory are not.
func TestKeyNamesWhatAllNodesShare(t *testing.T) {
	j, c := keyed()
	was, err := j.key(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*attestation.References){
		"another release": func(r *attestation.References) { r.Released = &attestation.Released{} },
		"no release":      func(r *attestation.References) { r.Released = nil },
		"another chip":    func(r *attestation.References) { r.Chips = make([][32]byte, 1000); r.Chips[999][0] = 1 },
		"fewer chips":     func(r *attestation.References) { r.Chips = r.Chips[:999] },
		"other chips":     func(r *attestation.References) { r.Chips = append([][32]byte{{1}}, r.Chips[1:]...) },
		"no chips":        func(r *attestation.References) { r.Chips = nil },
		"neither":         func(r *attestation.References) { r.Chips, r.Released = nil, nil },
	} {
		for range 2 { // computed, and remembered
			other := *c
			change(&other.Refs)
			if k, err := j.key(&other); err != nil || k == was {
				t.Errorf("%s: %v, the same key", name, err)
			}
		}
		if k, err := j.key(c); err != nil || k != was {
			t.Errorf("after %s: the same case has another key: %v", name, err)
		}
	}
	_, again := keyed()
	again.Evidence = c.Evidence
	if k, err := j.key(again); err != nil || k != was {
		t.Errorf("the same references elsewhere are another case: %v", err)
	}
}

// BenchmarkKey: every node of one view, or (as if nothing were remembered) each by itself.
func BenchmarkKey(b *testing.B) {
	for _, view := range []bool{true, false} {
		b.Run(map[bool]string{true: "view", false: "each"}[view], func(b *testing.B) {
			j, c := keyed()
			for b.Loop() {
				if !view {
					j.shared.Store(nil)
				}
				if _, err := j.key(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
