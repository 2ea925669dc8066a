// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits_test

import (
	"crypto/rand"
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/cloudflare/circl/group"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

var seed = redact.New([]byte("0123456789abcdef0123456789abcdef"))

func mint(t testing.TB, exponents ...uint8) *issue.Keys {
	t.Helper()
	k, err := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, exponents)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func blanks(t testing.TB, set *credits.Keyset, from, n uint64) (list []*blind.Blank, elements [][32]byte) {
	t.Helper()
	for i := from; i < from+n; i++ {
		b, err := blind.At(seed, set.ID(), 0, i)
		if err != nil {
			t.Fatal(err)
		}
		list, elements = append(list, b), append(elements, b.Element)
	}
	return list, elements
}

func coin(t testing.TB, k *issue.Keys, exponent uint8, index uint64) *blind.Coin {
	t.Helper()
	b, e := blanks(t, k.Keyset(), index, 1)
	ev, proof, err := k.Evaluate(exponent, e)
	if err != nil {
		t.Fatal(err)
	}
	c, err := blind.Finish(b, k.Keyset(), exponent, ev, proof)
	if err != nil {
		t.Fatal(err)
	}
	return c[0]
}

// TestSpendMACCoversThePayment: whoever carries a spend can change nothing of it.
func TestSpendMACCoversThePayment(t *testing.T) {
	k := mint(t, 0, 6, 10)
	c := coin(t, k, 10, 0)
	hash, epoch := id(1), uint64(7)
	spend := func() wire.Spend {
		s := wire.Spend{Tier: 3}
		_, e := blanks(t, k.Keyset(), 1, 8)
		copy(s.Blanks[:], e)
		c.Pay(&s, wire.TokenCoin, hash, epoch)
		return s
	}
	verify := func(s *wire.Spend, hash [32]byte, epoch uint64) bool {
		return k.Verify(s.Class, s.Nonce, s.MAC, func(o []byte) [32]byte { return credits.SpendMAC(o, hash, epoch, s) })
	}
	t.Run("CT-09", func(t *testing.T) {
		good := spend()
		if !verify(&good, hash, epoch) {
			t.Fatal("an honest spend was refused")
		}
		if verify(&good, id(2), epoch) || verify(&good, hash, epoch+1) || verify(&good, hash, epoch-1) {
			t.Error("a spend pays for another request or epoch")
		}
		for name, change := range map[string]func(*wire.Spend){
			"a dearer class":      func(s *wire.Spend) { s.Class = 6 },
			"a class without key": func(s *wire.Spend) { s.Class = 11 },
			"class 0":             func(s *wire.Spend) { s.Class = 0 },
			"another nonce":       func(s *wire.Spend) { s.Nonce[0] ^= 1 },
			"another MAC":         func(s *wire.Spend) { s.MAC[31] ^= 1 },
			"no tier":             func(s *wire.Spend) { s.Tier = 0 },
			"another tier":        func(s *wire.Spend) { s.Tier++ },
			"blanks exchanged":    func(s *wire.Spend) { s.Blanks[0], s.Blanks[1] = s.Blanks[1], s.Blanks[0] },
			"a thief's blank":     func(s *wire.Spend) { s.Blanks[7] = element(3) },
		} {
			s := spend()
			change(&s)
			if verify(&s, hash, epoch) {
				t.Errorf("%s is accepted", name)
			}
		}
	})
	t.Run("CT-06", func(t *testing.T) {
		s := spend()
		for i := range s.MAC {
			for bit := range 8 {
				bad := s
				bad.MAC[i] ^= 1 << bit
				if verify(&bad, hash, epoch) {
					t.Errorf("byte %d bit %d is not compared", i, bit)
				}
			}
		}
	})
	t.Run("CT-22", func(t *testing.T) { // the nonce alone, seen on the way, spends nothing
		s := spend()
		thief := &blind.Coin{Keyset: c.Keyset, Exponent: c.Exponent, Nonce: c.Nonce, Output: redact.New(make([]byte, 64))}
		thief.Pay(&s, wire.TokenCoin, id(5), epoch)
		if verify(&s, id(5), epoch) {
			t.Error("spent without the output")
		}
	})
	t.Run("CT-16", func(t *testing.T) { // what goes along with a request are tokens: no signature, no name
		want := []string{"Type", "Keyset", "Class", "Nonce", "MAC", "Blanks", "Tier", "TierKeyset", "TierNonce", "TierMAC"}
		typ := reflect.TypeFor[wire.Spend]()
		if typ.NumField() != len(want) {
			t.Fatalf("%d fields", typ.NumField())
		}
		for i, n := range want {
			if typ.Field(i).Name != n {
				t.Errorf("a field %s", typ.Field(i).Name)
			}
		}
		ent, err := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenEntitlement, Tier: 3, Name: "r", First: 1, Last: 10, SpendLast: 40}, []uint8{0})
		if err != nil {
			t.Fatal(err)
		}
		s := spend()
		coin(t, ent, 0, 0).Show(&s, hash, epoch)
		show := func(s *wire.Spend) bool {
			return ent.Verify(0, s.TierNonce, s.TierMAC, func(o []byte) [32]byte { return credits.SpendMAC(o, hash, epoch, s) })
		}
		if !show(&s) || !verify(&s, hash, epoch) {
			t.Error("an honest entitlement was refused")
		}
		s.Tier++
		if show(&s) {
			t.Error("shown for another tier")
		}
	})
}

// TestIssuerThatMarks: what is not made with the logged key is no coin.
func TestIssuerThatMarks(t *testing.T) {
	honest, other := mint(t, 6, 10), mint(t, 6, 10)
	set := honest.Keyset()
	refused := func(t *testing.T, what string, b []*blind.Blank, set *credits.Keyset, exponent uint8, e [][32]byte, p [64]byte) {
		t.Helper()
		if c, err := blind.Finish(b, set, exponent, e, p); err != blind.ErrKey || c != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	b, e := blanks(t, set, 0, 3)
	ev, proof, err := honest.Evaluate(10, e)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := blind.Finish(b, set, 10, ev, proof); err != nil || len(c) != 3 {
		t.Fatal(err)
	}
	t.Run("CT-14", func(t *testing.T) {
		ev, proof, err := other.Evaluate(10, e) // a key of one's own, and an honest proof for it
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "another key", b, set, 10, ev, proof)
		refused(t, "another keyset", b, other.Keyset(), 10, ev, proof)
		ev, proof, _ = honest.Evaluate(6, e)
		refused(t, "another denomination", b, set, 10, ev, proof)
		refused(t, "no such denomination", b, set, 11, ev, proof)
	})
	t.Run("CT-15", func(t *testing.T) {
		for i := range 64 {
			bad := proof
			bad[i] ^= 1
			refused(t, "a bad proof", b, set, 10, ev, bad)
		}
		refused(t, "no proof", b, set, 10, ev, [64]byte{})
		refused(t, "one missing", b, set, 10, ev[:2], proof)
		refused(t, "none", nil, set, 10, nil, proof)
		refused(t, "exchanged", b, set, 10, [][32]byte{ev[1], ev[0], ev[2]}, proof)
		refused(t, "the identity", b, set, 10, [][32]byte{{}, ev[1], ev[2]}, proof)
		refused(t, "its own blank", b, set, 10, [][32]byte{e[0], ev[1], ev[2]}, proof)
		refused(t, "one of another key", b, set, 10, [][32]byte{mustEvaluate(t, other, e[0]), ev[1], ev[2]}, proof)
		foreign, _ := blind.At(seed, other.Keyset().ID(), 0, 0)
		refused(t, "a blank of another keyset", []*blind.Blank{foreign, b[1], b[2]}, set, 10, ev, proof)
	})
	t.Run("CT-06", func(t *testing.T) { // a proof's scalar, with the group's order added
		for half := range 2 {
			bad := proof
			carry := 0
			for i, o := range order() {
				n := int(bad[32*half+i]) + int(o) + carry
				bad[32*half+i], carry = byte(n), n>>8
			}
			refused(t, "a scalar that is not reduced", b, set, 10, ev, bad)
		}
	})
}

func mustEvaluate(t *testing.T, k *issue.Keys, e [32]byte) [32]byte {
	t.Helper()
	ev, _, err := k.Evaluate(10, [][32]byte{e})
	if err != nil {
		t.Fatal(err)
	}
	return ev[0]
}

// order is the group's order, little-endian: -1 has that encoding less one.
func order() [32]byte {
	one := group.Ristretto255.NewScalar().SetUint64(1)
	b, err := group.Ristretto255.NewScalar().Neg(one).MarshalBinary()
	if err != nil {
		panic(err)
	}
	b[0]++
	return [32]byte(b)
}

// TestBlankThatIsNone: a bank evaluates elements in their one encoding.
func TestBlankThatIsNone(t *testing.T) {
	k := mint(t, 10)
	t.Run("CT-06", func(t *testing.T) {
		for name, bad := range map[string][32]byte{"the identity": {}, "an odd one": {1}, "no square": negative(element(1)), "the top bit": top(element(1))} {
			if _, _, err := k.Evaluate(10, [][32]byte{element(1), bad}); !errors.Is(err, issue.ErrElement) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := k.Evaluate(10, nil); !errors.Is(err, issue.ErrElement) {
			t.Errorf("none: %v", err)
		}
		if _, _, err := k.Evaluate(9, [][32]byte{element(1)}); !errors.Is(err, issue.ErrClass) {
			t.Errorf("no such denomination: %v", err)
		}
	})
}

// TestConcurrent is for the race detector: one bank, many clients.
func TestConcurrent(t *testing.T) {
	t.Run("CT-27", func(t *testing.T) {
		k := mint(t, 6, 10)
		var wg sync.WaitGroup
		for i := range uint64(100) {
			wg.Go(func() {
				c := coin(t, k, 10, i)
				s := wire.Spend{}
				c.Pay(&s, wire.TokenCoin, id(int(i)), 7)
				if !k.Verify(10, s.Nonce, s.MAC, func(o []byte) [32]byte { return credits.SpendMAC(o, id(int(i)), 7, &s) }) {
					t.Error("an honest spend was refused")
				}
			})
		}
		wg.Wait()
	})
}

func BenchmarkOutput(b *testing.B) {
	k := mint(b, 10)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			k.Output(10, [32]byte{1})
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	k := mint(b, 10)
	_, e := blanks(b, k.Keyset(), 0, 1)
	for b.Loop() {
		k.Evaluate(10, e)
	}
}

func BenchmarkFinish(b *testing.B) {
	k := mint(b, 10)
	bl, e := blanks(b, k.Keyset(), 0, 1)
	ev, proof, err := k.Evaluate(10, e)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		blind.Finish(bl, k.Keyset(), 10, ev, proof)
	}
}
