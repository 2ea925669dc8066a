// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// everyBit makes the tests below flip every bit of every bundle: five minutes, and
// what docs/spec/attestation.md names as the command for it. Without it one bit of
// every byte is flipped, a different one from byte to byte.
var everyBit = os.Getenv("SOTTO_EVERY_BIT") != ""

// meaningless is the short written list of bytes whose bits may flip without a
// refusal, by platform and piece. Whatever is in it stands with its reason in
// docs/spec/attestation.md, Section 8. The node record names the digest of the
// whole bundle, so even these cannot be changed by anybody else than who lists
// the node.
var meaningless = map[attestation.Platform]map[evidence.Kind]func(b []byte, i int) bool{
	// The TDREPORT beside the runtime data: its MAC and what else only this very
	// processor could check. What the quote has too is compared.
	attestation.AzureTDX: {evidence.KindHCLReport: unquoted},
}

// TestTotality is AT-66. The evidence digest is recomputed for every mutant, as
// by an operator who lists what he has forged, and freshness is left out where
// epoch evidence is mutated: its quote names the digest and would refuse all.
func TestTotality(t *testing.T) {
	for _, p := range attestation.Platforms() {
		t.Run("AT-66 "+string(p), func(t *testing.T) { flipBundle(t, onPlatform(t, p, nil), p) })
	}
	t.Run("AT-66 with GPU and IMA", func(t *testing.T) {
		f := onPlatform(t, attestation.SNP, func(s *attestationtest.NodeSpec) { s.IMA, s.GPU = true, &fakegpu.Spec{NoTokens: true} })
		flipBundle(t, f, attestation.SNP, evidence.KindIMALog, evidence.KindGPU)
	})
	t.Run("AT-66 freshness", func(t *testing.T) {
		f := onPlatform(t, attestation.SNP, func(s *attestationtest.NodeSpec) { s.IMA = true })
		f.make()
		if err := f.node.Run(fakeima.File("/usr/bin/sotto-node", []byte("SIMULATED late"))); err != nil {
			t.Fatal(err)
		}
		f.policy.Images[0].IMA = attestationtest.IMARules(f.node.IMA)
		f.refresh()
		for _, p := range f.ev.Freshness.Pieces {
			flipAll(t, p, nil, func(mutant []byte) error {
				e := attestation.Evidence{Epoch: f.ev.Epoch, Freshness: with(f.ev.Freshness, p.Kind, mutant)}
				_, err := attestation.Verify(e, f.policy, f.refs, f.now)
				return err
			})
		}
	})
	for _, p := range attestation.Platforms() {
		t.Run("AT-66 fields "+string(p), func(t *testing.T) { mutateFields(t, p) })
	}
	t.Run("AT-66 container", func(t *testing.T) {
		f := newFixture(t, nil).make()
		good, err := f.ev.Freshness.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(good) {
			b := bytes.Clone(good)
			b[bit/8] ^= 1 << (bit % 8)
			bundle, err := evidence.Parse(b)
			if err != nil {
				continue
			}
			if _, err := attestation.Verify(attestation.Evidence{Epoch: f.ev.Epoch, Freshness: bundle}, f.policy, f.refs, f.now); err == nil {
				t.Errorf("accepted with bit %d of the container flipped", bit)
			}
		}
	})
}

// flipBundle flips in the pieces of epoch evidence: in those of the given kinds,
// or all.
func flipBundle(t *testing.T, f *fixture, platform attestation.Platform, kinds ...evidence.Kind) {
	f.make()
	if _, err := f.verify(); err != nil {
		t.Fatal(err)
	}
	alone := *f.policy
	alone.WithoutFreshness = true
	for _, p := range f.ev.Epoch.Pieces {
		if len(kinds) > 0 && !slices.Contains(kinds, p.Kind) {
			continue
		}
		flipAll(t, p, meaningless[platform][p.Kind], func(mutant []byte) error {
			e := attestation.Evidence{Epoch: with(f.ev.Epoch, p.Kind, mutant)}
			refs := f.refs
			refs.EvidenceDigest = e.Epoch.Digest()
			_, err := attestation.Verify(e, &alone, refs, f.now)
			return err
		})
	}
}

// flipAll flips bits of a piece, one in every byte or every one, and expects
// refusals. It runs on all cores: the signature checks are what takes time.
func flipAll(t *testing.T, p evidence.Piece, listed func([]byte, int) bool, verify func([]byte) error) {
	t.Helper()
	stride := 9 // bit i mod 8 of byte i
	switch {
	case everyBit:
		stride = 1
	case testing.Short():
		stride = 9 * 31
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			b := bytes.Clone(p.Data)
			for bit := w * stride; bit < 8*len(b); bit += workers * stride {
				b[bit/8] ^= 1 << (bit % 8)
				if verify(b) == nil && (listed == nil || !listed(p.Data, bit/8)) {
					t.Errorf("accepted with bit %d of byte %d of the %v flipped", bit%8, bit/8, p.Kind)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

// unquoted tells the bytes of an HCL report's TDREPORT that are not in the quote.
func unquoted(_ []byte, i int) bool {
	return i == 34 || 48 <= i && i < 64 || 256 <= i && i < 288 // report version; CPUSVN; MAC
}

// with returns the bundle with one piece replaced; the others are shared.
func with(b *evidence.Bundle, k evidence.Kind, data []byte) *evidence.Bundle {
	out := &evidence.Bundle{Pieces: append([]evidence.Piece(nil), b.Pieces...)}
	for i := range out.Pieces {
		if out.Pieces[i].Kind == k {
			out.Pieces[i].Data = data
		}
	}
	return out
}

// mutateFields deletes, doubles and swaps pieces, cuts and extends them, and puts
// the pieces of another honest node in their place.
func mutateFields(t *testing.T, platform attestation.Platform) {
	f, other := onPlatform(t, platform, nil).make(), onPlatform(t, platform, nil).make()
	try := func(name string, b *evidence.Bundle) {
		t.Helper()
		p, refs := *f.policy, f.refs
		p.WithoutFreshness = true
		if d := b.Digest(); d != [32]byte{} {
			refs.EvidenceDigest = d
		}
		if _, err := attestation.Verify(attestation.Evidence{Epoch: b}, &p, refs, f.now); err == nil {
			t.Errorf("accepted: %s", name)
		}
	}
	for i, p := range f.ev.Epoch.Pieces {
		pieces := func(change func([]evidence.Piece) []evidence.Piece) *evidence.Bundle {
			return &evidence.Bundle{Pieces: change(append([]evidence.Piece(nil), f.ev.Epoch.Pieces...))}
		}
		try(fmt.Sprintf("%v deleted", p.Kind), pieces(func(all []evidence.Piece) []evidence.Piece { return append(all[:i], all[i+1:]...) }))
		try(fmt.Sprintf("%v doubled", p.Kind), pieces(func(all []evidence.Piece) []evidence.Piece { return append(all[:i+1], f.ev.Epoch.Pieces[i:]...) }))
		try(fmt.Sprintf("%v cut", p.Kind), with(f.ev.Epoch, p.Kind, p.Data[:len(p.Data)-1]))
		try(fmt.Sprintf("%v extended", p.Kind), with(f.ev.Epoch, p.Kind, append(bytes.Clone(p.Data), 0)))
		for j := range f.ev.Epoch.Pieces[:i] {
			if bytes.Equal(p.Data, f.ev.Epoch.Pieces[j].Data) {
				continue // an SVSM's manifest is the attestation key
			}
			try(fmt.Sprintf("%v swapped with %v", p.Kind, f.ev.Epoch.Pieces[j].Kind), pieces(func(all []evidence.Piece) []evidence.Piece {
				all[i].Data, all[j].Data = all[j].Data, all[i].Data
				return all
			}))
			try(fmt.Sprintf("%v before %v", p.Kind, f.ev.Epoch.Pieces[j].Kind), pieces(func(all []evidence.Piece) []evidence.Piece {
				all[i], all[j] = all[j], all[i]
				return all
			}))
		}
		foreign, _ := other.ev.Epoch.Get(p.Kind)
		// Intel's collateral is about a kind of platform, not about one.
		if !bytes.Equal(foreign, p.Data) && p.Kind != evidence.KindTDXCollateral {
			try(fmt.Sprintf("%v of another node", p.Kind), with(f.ev.Epoch, p.Kind, foreign))
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	f := newFixture(b, nil).make()
	for b.Loop() {
		if _, err := f.verify(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCodesAreDocumented holds the closed list and its document together.
func TestCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/spec/refusal-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[attestation.Code]bool{}
	for _, line := range strings.Split(string(doc), "\n") {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(cell, "`")
			documented[attestation.Code(name)] = true
		}
	}
	seen := map[attestation.Code]bool{}
	for _, c := range attestation.Codes() {
		if seen[c] {
			t.Errorf("%s is listed twice", c)
		}
		seen[c] = true
		if !documented[c] {
			t.Errorf("%s is not in the document", c)
		}
	}
	for c := range documented {
		if !seen[c] {
			t.Errorf("%s is in the document only", c)
		}
	}
}
