// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// meaningless is the short written list of bytes whose bits may flip without a
// refusal, as half-open ranges by piece. It is empty: keep it so, or write here
// and in docs/spec/evidence.md, Section 8, why a byte proves nothing.
var meaningless = map[evidence.Kind][][2]int{}

// TestTotality is AT-66. The evidence digest is recomputed for every mutant, as
// by an operator who lists what he has forged, and freshness is left out where
// epoch evidence is mutated: its quote names the digest and would refuse all.
func TestTotality(t *testing.T) {
	t.Run("AT-66", func(t *testing.T) {
		f := newFixture(t, nil).make()
		alone := *f.policy
		alone.WithoutFreshness = true
		for _, p := range f.ev.Epoch.Pieces {
			flipAll(t, p, func(mutant []byte) error {
				e := attestation.Evidence{Epoch: with(f.ev.Epoch, p.Kind, mutant)}
				refs := f.refs
				refs.EvidenceDigest = e.Epoch.Digest()
				_, err := attestation.Verify(e, &alone, refs, f.now)
				return err
			})
		}
		for _, p := range f.ev.Freshness.Pieces {
			flipAll(t, p, func(mutant []byte) error {
				e := attestation.Evidence{Epoch: f.ev.Epoch, Freshness: with(f.ev.Freshness, p.Kind, mutant)}
				_, err := attestation.Verify(e, f.policy, f.refs, f.now)
				return err
			})
		}
	})
	t.Run("AT-66 fields", func(t *testing.T) { mutateFields(t) })
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

// flipAll flips every bit of a piece, or every 61st with -short, and expects
// refusals. It runs on all cores: the signature checks are what takes time.
func flipAll(t *testing.T, p evidence.Piece, verify func([]byte) error) {
	stride := 1
	if testing.Short() {
		stride = 61
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			b := bytes.Clone(p.Data)
			for bit := w * stride; bit < 8*len(b); bit += workers * stride {
				b[bit/8] ^= 1 << (bit % 8)
				if verify(b) == nil && !listed(p.Kind, bit/8) {
					t.Errorf("accepted with bit %d of byte %d of the %v flipped", bit%8, bit/8, p.Kind)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

func listed(k evidence.Kind, i int) bool {
	for _, r := range meaningless[k] {
		if r[0] <= i && i < r[1] {
			return true
		}
	}
	return false
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
func mutateFields(t *testing.T) {
	f, other := newFixture(t, nil).make(), newFixture(t, nil).make()
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
		if !bytes.Equal(foreign, p.Data) {
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
		if cell, ok := strings.CutPrefix(line, "| `att."); ok {
			name, _, _ := strings.Cut(cell, "`")
			documented[attestation.Code("att."+name)] = true
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
