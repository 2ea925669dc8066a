// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cloudflare/circl/group"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

// element is one of many public keys; nobody knows the private ones.
func element(n int) [32]byte {
	wide := sha512.Sum512([]byte{byte(n), byte(n >> 8)})
	b, err := group.Ristretto255.HashToElement(wide[:], []byte("credits test")).MarshalBinaryCompress()
	if err != nil {
		panic(err)
	}
	return [32]byte(b)
}

func keysOf(n int, exponents ...uint8) (keys []credits.Key) {
	for i, e := range exponents {
		keys = append(keys, credits.Key{Exponent: e, Element: element(n + i)})
	}
	return keys
}

func coinset(n int) credits.Keyset {
	return credits.Keyset{Type: wire.TokenCoin, First: 10, Last: 20, SpendLast: 30, Keys: keysOf(n, 0, 6, 10, 40)}
}

func keyset(t *testing.T, k credits.Keyset) *credits.Keyset {
	t.Helper()
	s, err := credits.NewKeyset(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKeysetAtItsBounds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*credits.Keyset)
		ok     bool
	}{
		"as it is":                     {func(k *credits.Keyset) {}, true},
		"a voucher":                    {func(k *credits.Keyset) { k.Type = wire.TokenVoucher }, true},
		"a pass":                       {func(k *credits.Keyset) { k.Type, k.Name = wire.TokenPass, "free tier" }, true},
		"a name of 64":                 {func(k *credits.Keyset) { k.Type, k.Name = wire.TokenPass, strings.Repeat("x", 64) }, true},
		"a name of 65":                 {func(k *credits.Keyset) { k.Type, k.Name = wire.TokenPass, strings.Repeat("x", 65) }, false},
		"a pass without a name":        {func(k *credits.Keyset) { k.Type = wire.TokenPass }, false},
		"a coin with a name":           {func(k *credits.Keyset) { k.Name = "x" }, false},
		"a name with a line end":       {func(k *credits.Keyset) { k.Type, k.Name = wire.TokenPass, "a\nb" }, false},
		"a name that is not UTF-8":     {func(k *credits.Keyset) { k.Type, k.Name = wire.TokenPass, "\xff" }, false},
		"type 0":                       {func(k *credits.Keyset) { k.Type = 0 }, false},
		"type 5":                       {func(k *credits.Keyset) { k.Type, k.Name = 5, "x" }, false},
		"a coin with a tier":           {func(k *credits.Keyset) { k.Tier = 1 }, false},
		"an entitlement":               {func(k *credits.Keyset) { *k = entitlement(3, 1) }, true},
		"an entitlement of tier 0":     {func(k *credits.Keyset) { *k = entitlement(3, 0) }, false},
		"an entitlement of two keys":   {func(k *credits.Keyset) { *k = entitlement(3, 1); k.Keys = keysOf(0, 0, 1) }, false},
		"an entitlement worth two":     {func(k *credits.Keyset) { *k = entitlement(3, 1); k.Keys[0].Exponent = 1 }, false},
		"epoch 0":                      {func(k *credits.Keyset) { k.First = 0 }, false},
		"epoch 1":                      {func(k *credits.Keyset) { k.First = 1 }, true},
		"one epoch":                    {func(k *credits.Keyset) { k.First, k.Last, k.SpendLast = 7, 7, 7 }, true},
		"last before first":            {func(k *credits.Keyset) { k.Last = 9 }, false},
		"spent before it is sold":      {func(k *credits.Keyset) { k.SpendLast = 19 }, false},
		"epochs that do not add":       {func(k *credits.Keyset) { k.SpendLast = 1<<64 - 1 }, false},
		"no keys":                      {func(k *credits.Keyset) { k.Keys = nil }, false},
		"all 41 denominations":         {func(k *credits.Keyset) { k.Keys = every(41) }, true},
		"exponent 41":                  {func(k *credits.Keyset) { k.Keys[3].Exponent = 41 }, false},
		"exponents that do not ascend": {func(k *credits.Keyset) { k.Keys[0].Exponent = 6 }, false},
		"exponents in another order":   {func(k *credits.Keyset) { k.Keys[0].Exponent, k.Keys[1].Exponent = 6, 0 }, false},
		// A cheap coin would be as good as a dear one.
		"CT-19: a key for two denominations": {func(k *credits.Keyset) { k.Keys[3].Element = k.Keys[0].Element }, false},
		"CT-19: the identity":                {func(k *credits.Keyset) { k.Keys[2].Element = [32]byte{} }, false},
		"CT-19: the generator":               {func(k *credits.Keyset) { k.Keys[2].Element = generator() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := coinset(0)
			c.change(&k)
			set, err := credits.NewKeyset(k)
			if (err == nil) != c.ok {
				t.Fatalf("new: %v", err)
			}
			raw := k.Append(nil)
			parsed, err := credits.ParseKeyset(raw)
			if (err == nil) != c.ok || !c.ok && err != credits.ErrKeyset {
				t.Fatalf("parse: %v", err)
			}
			if c.ok && (parsed.ID() != set.ID() || !bytes.Equal(parsed.Append(nil), raw)) {
				t.Error("parsed as another")
			}
		})
	}
}

func generator() [32]byte {
	b, _ := group.Ristretto255.Generator().MarshalBinaryCompress()
	return [32]byte(b)
}

func entitlement(n int, tier uint8) credits.Keyset {
	return credits.Keyset{Type: wire.TokenEntitlement, Tier: tier, Name: "restricted", First: 10, Last: 20, SpendLast: 30, Keys: keysOf(n, 0)}
}

func every(n int) []credits.Key {
	var e []uint8
	for i := range n {
		e = append(e, uint8(i))
	}
	return keysOf(100, e...)
}

func TestKeysetHasOneSpelling(t *testing.T) {
	k := coinset(0)
	good := k.Append(nil)
	for i := range good {
		if _, err := credits.ParseKeyset(good[:i]); err == nil {
			t.Fatalf("parsed %d of %d bytes", i, len(good))
		}
	}
	for _, bad := range [][]byte{append(slices.Clone(good), 0), append([]byte{2}, good[1:]...), make([]byte, 1<<17)} {
		if _, err := credits.ParseKeyset(bad); err != credits.ErrKeyset {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
	// Every bit is in the id.
	want := keyset(t, k).ID()
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1
		if s, err := credits.ParseKeyset(bad); err == nil && s.ID() == want {
			t.Errorf("byte %d is not in the id", i)
		}
	}
}

// TestEncodings: an element and a proof have one encoding each.
func TestEncodings(t *testing.T) {
	t.Run("CT-06", func(t *testing.T) {
		p, _ := hex.DecodeString("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f") // 2^255 - 19, little-endian
		for name, e := range map[string][32]byte{
			"the identity":        {},
			"the field's prime":   [32]byte(p),
			"prime + 1":           plus(p, 1),
			"an odd one":          {1},
			"no square":           negative(element(1)),
			"the top bit set":     top(element(1)),
			"all bits set":        [32]byte(bytes.Repeat([]byte{0xff}, 32)),
			"RFC 9496, A.3, last": [32]byte(bytes.Repeat([]byte{0x26}, 32)),
		} {
			if _, err := credits.ParseElement(e); err == nil || credits.Canonical(e) {
				t.Errorf("%s: accepted", name)
			}
		}
		var v struct{ Invalid map[string][]string }
		load(t, "testdata/rfc9496.json", &v)
		if len(v.Invalid) != 5 {
			t.Fatalf("%d kinds of invalid encodings", len(v.Invalid))
		}
		for kind, list := range v.Invalid {
			for i, e := range list {
				if credits.Canonical([32]byte(unhex(t, e))) {
					t.Errorf("RFC 9496, %s, %d: accepted", kind, i)
				}
			}
		}
		for n := range 50 {
			if !credits.Canonical(element(n)) {
				t.Errorf("element %d was refused", n)
			}
			// The spellings that a decoder could take for the same element.
			for name, e := range map[string][32]byte{"negative": negative(element(n)), "top": top(element(n)), "both": top(negative(element(n)))} {
				if credits.Canonical(e) {
					t.Errorf("element %d has another spelling: %s", n, name)
				}
			}
		}
	})
}

// FuzzElement: what is taken for an element prints the same.
func FuzzElement(f *testing.F) {
	for n := range 4 {
		e := element(n)
		f.Add(e[:])
	}
	f.Add(make([]byte, 32))
	f.Add(bytes.Repeat([]byte{0xff}, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 32 {
			return
		}
		x, err := credits.ParseElement([32]byte(b))
		if err != nil {
			return
		}
		if again, err := x.MarshalBinaryCompress(); err != nil || !bytes.Equal(again, b) {
			t.Error("printed differently")
		}
	})
}

func plus(b []byte, n byte) [32]byte { c := [32]byte(b); c[0] += n; return c }
func negative(e [32]byte) [32]byte {
	p, _ := hex.DecodeString("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
	borrow := 0
	for i := range e {
		d := int(p[i]) - int(e[i]) - borrow
		borrow = 0
		if d < 0 {
			d, borrow = d+256, 1
		}
		e[i] = byte(d)
	}
	return e
}
func top(e [32]byte) [32]byte { e[31] |= 0x80; return e }

// TestEpochEdges: an epoch before, the first, the last, an epoch after, of the
// sale and of the spending.
func TestEpochEdges(t *testing.T) {
	t.Run("CT-08", func(t *testing.T) {
		k := keyset(t, coinset(0))
		set := listed(t, coinset(0))
		for epoch, want := range map[uint64][2]bool{0: {}, 9: {}, 10: {true, true}, 11: {true, true}, 20: {true, true}, 21: {false, true}, 30: {false, true}, 31: {}, 1<<64 - 1: {}} {
			if k.Sells(epoch) != want[0] || k.Spends(epoch) != want[1] {
				t.Errorf("epoch %d: sells %v, spends %v", epoch, k.Sells(epoch), k.Spends(epoch))
			}
			if _, ok := set.Selling(wire.TokenCoin, 0, epoch); ok != want[0] {
				t.Errorf("epoch %d: on sale %v", epoch, ok)
			}
			if _, ok := set.Spendable(k.ID(), epoch); ok != want[1] {
				t.Errorf("epoch %d: spendable %v", epoch, ok)
			}
		}
	})
}

func listed(t *testing.T, sets ...credits.Keyset) *credits.Set {
	t.Helper()
	s, err := credits.NewSet(list(t, sets...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func list(t *testing.T, sets ...credits.Keyset) (l []credits.Listed) {
	t.Helper()
	for _, k := range sets {
		s := keyset(t, k)
		l = append(l, credits.Listed{ID: s.ID(), Data: s.Append(nil)})
	}
	return l
}

func TestSetThatMarks(t *testing.T) {
	refused := func(t *testing.T, l []credits.Listed) {
		t.Helper()
		var r *credits.Refusal
		if _, err := credits.NewSet(l); !errors.As(err, &r) || r.Code != credits.CodeKey {
			t.Errorf("got %v, want %s", err, credits.CodeKey)
		}
	}
	later := coinset(50)
	later.First, later.Last, later.SpendLast = 21, 31, 41
	voucher := coinset(60)
	voucher.Type = wire.TokenVoucher
	t.Run("CT-14", func(t *testing.T) {
		good := list(t, later, coinset(0), voucher, entitlement(70, 1), entitlement(71, 2))
		set, err := credits.NewSet(good)
		if err != nil {
			t.Fatal(err)
		}
		if all := set.All(); len(all) != 5 || all[4].First != 21 {
			t.Errorf("%d keysets, not by age", len(all))
		}
		for i := range good { // another keyset under a logged id
			bad := slices.Clone(good)
			bad[i].ID[31] ^= 1
			refused(t, bad)
			bad = slices.Clone(good)
			bad[i].Data = good[(i+1)%len(good)].Data
			refused(t, bad)
		}
		refused(t, append(slices.Clone(good), good[0]))
		refused(t, []credits.Listed{{ID: good[0].ID}})
		// A second keyset on sale in one epoch: whoever was sold its tokens is marked.
		for _, w := range [][2]uint64{{1, 10}, {20, 25}, {12, 13}, {1, 25}} {
			other := coinset(80)
			other.First, other.Last = w[0], w[1]
			refused(t, list(t, coinset(0), other))
		}
		refused(t, list(t, entitlement(70, 1), entitlement(71, 1)))
	})
	t.Run("CT-19", func(t *testing.T) { // one key in two keysets
		twin := later
		twin.Keys = slices.Clone(later.Keys)
		twin.Keys[1].Element = coinset(0).Keys[3].Element
		refused(t, list(t, coinset(0), twin))
	})
	var zero credits.Set
	if _, ok := zero.Selling(wire.TokenCoin, 0, 10); ok || len(zero.All()) != 0 {
		t.Error("the zero set sells")
	}
	if _, ok := listed(t, entitlement(70, 1)).Selling(wire.TokenEntitlement, 2, 10); ok {
		t.Error("another tier is on sale")
	}
}

func TestListAtItsBounds(t *testing.T) {
	a, b := keyset(t, coinset(0)), keyset(t, entitlement(70, 1))
	raw := credits.AppendList(nil, []*credits.Keyset{a, b})
	if again := credits.AppendList(nil, []*credits.Keyset{b, a}); !bytes.Equal(again, raw) {
		t.Error("the order given shows")
	}
	l, err := credits.ParseList(raw)
	if err != nil || len(l) != 2 {
		t.Fatalf("%d, %v", len(l), err)
	}
	if _, err := credits.NewSet(l); err != nil {
		t.Error(err)
	}
	one := len(credits.AppendList(nil, []*credits.Keyset{a}))
	if l[0].ID != a.ID() {
		one = len(raw) - one
	}
	for i := range raw {
		if _, err := credits.ParseList(raw[:i]); (err == nil) != (i == 0 || i == one) {
			t.Errorf("%d of %d bytes: %v", i, len(raw), err)
		}
	}
	for name, bad := range map[string][]byte{
		"descending":     append(slices.Clone(raw[one:]), raw[:one]...),
		"twice":          append(slices.Clone(raw[:one]), raw[:one]...),
		"an empty one":   make([]byte, 34),
		"a byte too far": append(slices.Clone(raw), 0),
	} {
		if _, err := credits.ParseList(bad); err != credits.ErrList {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzKeyset(f *testing.F) {
	for _, k := range []credits.Keyset{coinset(0), entitlement(70, 1)} {
		f.Add(k.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := credits.ParseKeyset(b)
		if err == nil && !bytes.Equal(k.Append(nil), b) {
			t.Error("printed differently")
		}
	})
}

func FuzzList(f *testing.F) {
	k, _ := credits.NewKeyset(coinset(0))
	f.Add(credits.AppendList(nil, []*credits.Keyset{k}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := credits.ParseList(b)
		if err != nil {
			return
		}
		credits.NewSet(l)
		var again []byte
		for _, x := range l {
			again = append(append(again, x.ID[:]...), byte(len(x.Data)>>8), byte(len(x.Data)))
			again = append(again, x.Data...)
		}
		if !bytes.Equal(again, b) {
			t.Error("printed differently")
		}
	})
}
