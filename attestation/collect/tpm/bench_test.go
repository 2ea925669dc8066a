// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

// BenchmarkExchange is what a request costs the TPM: PolicyPCR and ECDH_ZGen.
func BenchmarkExchange(b *testing.B) {
	b.Run("simulator", func(b *testing.B) {
		owner, _, _ := simulator(b)
		exchange(b, owner)
	})
	b.Run("swtpm", func(b *testing.B) {
		owner, _ := swtpm(b)
		exchange(b, owner)
	})
}

func exchange(b *testing.B, owner *tpm.TPM) {
	k := seal(b, owner)
	p := peer(b).PublicKey()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := k.ECDH(p); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
}

func BenchmarkQuote(b *testing.B) {
	owner, _, _ := simulator(b)
	ak, err := owner.CreateAK(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := owner.Quote(b.Context(), ak, nil, quotePCRs); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateSealKey(b *testing.B) {
	owner, _, _ := simulator(b)
	for b.Loop() {
		k := seal(b, owner)
		if err := k.Erase(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
