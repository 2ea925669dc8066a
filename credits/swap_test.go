// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

func id(n int) [32]byte { return sha256.Sum256([]byte{'c', byte(n), byte(n >> 8)}) }

func swap(wanted, paid int) *credits.Swap {
	s := &credits.Swap{Epoch: 11}
	for i := range wanted {
		s.Wanted = append(s.Wanted, credits.Wanted{Type: wire.TokenCoin, Keyset: id(1), Exponent: 6, Blinded: id(100 + i)})
	}
	for i := range paid {
		s.Paid = append(s.Paid, credits.Paid{Keyset: id(1), Exponent: 6, Nonce: id(200 + i), MAC: id(300)})
	}
	return s
}

func TestSwapAtItsBounds(t *testing.T) {
	for _, n := range [][2]int{{1, 1}, {64, 1}, {1, 64}, {64, 64}} {
		s := swap(n[0], n[1])
		b := s.Append(nil)
		got, err := credits.ParseSwap(b)
		if err != nil || !bytes.Equal(got.Append(nil), b) || len(b) != 12+66*n[0]+97*n[1] {
			t.Fatalf("%v: %v, %d bytes", n, err, len(b))
		}
		if w, p := got.Worth(); w != uint64(n[0])<<6 || p != uint64(n[1])<<6 {
			t.Errorf("worth %d, %d", w, p)
		}
	}
	for _, n := range [][2]int{{0, 1}, {1, 0}, {0, 0}, {65, 1}, {1, 65}} {
		s := swap(n[0], n[1])
		panics(t, func() { s.Append(nil) })
		if _, err := credits.ParseSwap(rawSwap(s)); err != credits.ErrSwap {
			t.Errorf("%v: %v", n, err)
		}
	}
	for name, change := range map[string]func(*credits.Swap){
		"a pass":                func(s *credits.Swap) { s.Wanted[0].Type = wire.TokenPass },
		"an entitlement":        func(s *credits.Swap) { s.Wanted[2].Type = wire.TokenEntitlement },
		"type 0":                func(s *credits.Swap) { s.Wanted[0].Type = 0 },
		"wanted 2^41":           func(s *credits.Swap) { s.Wanted[1].Exponent = 41 },
		"paid 2^41":             func(s *credits.Swap) { s.Paid[1].Exponent = 41 },
		"one blank twice":       func(s *credits.Swap) { s.Wanted[0].Blinded = s.Wanted[2].Blinded },
		"CT-01: one coin twice": func(s *credits.Swap) { s.Paid[0].Nonce = s.Paid[2].Nonce },
	} {
		t.Run(name, func(t *testing.T) {
			s := swap(3, 3)
			change(s)
			panics(t, func() { s.Append(nil) })
			if _, err := credits.ParseSwap(rawSwap(s)); err != credits.ErrSwap {
				t.Errorf("parsed: %v", err)
			}
		})
	}
	dear := swap(64, 64) // the most there is does not overflow
	for i := range dear.Wanted {
		dear.Wanted[i].Exponent, dear.Wanted[i].Type, dear.Paid[i].Exponent = 40, wire.TokenVoucher, 40
	}
	if w, p := dear.Worth(); w != 1<<46 || p != 1<<46 || !bytes.Equal(rawSwap(dear), dear.Append(nil)) {
		t.Errorf("worth %d, %d", w, p)
	}
	good := swap(2, 2).Append(nil)
	for i := range good {
		if _, err := credits.ParseSwap(good[:i]); err != credits.ErrSwap {
			t.Fatalf("parsed %d bytes", i)
		}
	}
	if _, err := credits.ParseSwap(append(good, 0)); err != credits.ErrSwap {
		t.Error("parsed a byte too many")
	}
}

// rawSwap spells a swap out by hand, valid or not.
func rawSwap(s *credits.Swap) []byte {
	w := credits.AppendWanted(nil, s.Wanted)
	b := []byte{0, 0, 0, 0, 0, 0, 0, byte(s.Epoch), byte(len(w) >> 8), byte(len(w))}
	b = append(b, w...)
	n := 97 * len(s.Paid)
	b = append(b, byte(n>>8), byte(n))
	for _, p := range s.Paid {
		b = append(append(append(append(b, p.Keyset[:]...), p.Exponent), p.Nonce[:]...), p.MAC[:]...)
	}
	return b
}

func panics(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("did not panic")
		}
	}()
	f()
}

func TestSwapMACCoversAllThatIsWanted(t *testing.T) {
	t.Run("CT-09", func(t *testing.T) {
		out := bytes.Repeat([]byte{7}, 64)
		want := credits.SwapMAC(out, swap(3, 1).Digest())
		for name, change := range map[string]func(*credits.Swap){
			"type":     func(s *credits.Swap) { s.Wanted[0].Type = wire.TokenVoucher },
			"keyset":   func(s *credits.Swap) { s.Wanted[1].Keyset = id(9) },
			"exponent": func(s *credits.Swap) { s.Wanted[2].Exponent++ },
			"blank":    func(s *credits.Swap) { s.Wanted[0].Blinded = id(9) },
			"order":    func(s *credits.Swap) { slices.Reverse(s.Wanted) },
			"one less": func(s *credits.Swap) { s.Wanted = s.Wanted[:2] },
			"one more": func(s *credits.Swap) { s.Wanted = append(s.Wanted, credits.Wanted{Type: 1}) },
		} {
			s := swap(3, 1)
			change(s)
			if credits.SwapMAC(out, s.Digest()) == want {
				t.Errorf("%s can be changed", name)
			}
		}
	})
}

func table(n int) (list []credits.TableEntry) {
	for i := range n {
		list = append(list, credits.TableEntry{Name: id(i), Minted: wire.Minted{Exponent: uint8(i % 41), Element: id(i)}})
	}
	slices.SortFunc(list, func(a, b credits.TableEntry) int { return bytes.Compare(a.Name[:], b.Name[:]) })
	return list
}

func TestTableAtItsBounds(t *testing.T) {
	for _, n := range []int{0, 1, 2, 100} {
		b := credits.AppendTable(nil, table(n))
		got, err := credits.ParseTable(b)
		if err != nil || len(got) != n || !bytes.Equal(credits.AppendTable(nil, got), b) || len(b) != 129*n {
			t.Fatalf("%d entries: %v", n, err)
		}
	}
	b := credits.AppendTable(nil, table(2))
	bad := slices.Clone(b)
	bad[32] = 41
	for name, b := range map[string][]byte{
		"cut":         b[:257],
		"descending":  append(slices.Clone(b[129:]), b[:129]...),
		"twice":       append(slices.Clone(b[:129]), b[:129]...),
		"exponent 41": bad,
	} {
		if _, err := credits.ParseTable(b); err != credits.ErrTable {
			t.Errorf("%s: %v", name, err)
		}
	}
	list := []wire.Minted{{Exponent: 40}, {Exponent: 0}}
	m := credits.AppendMintedList(nil, list)
	if got, err := credits.ParseMintedList(m, 2); err != nil || !slices.Equal(got, list) {
		t.Errorf("minted: %v", err)
	}
	for n, b := range map[int][]byte{0: nil, 1: m, 2: m[1:], 3: m} {
		if _, err := credits.ParseMintedList(b, n); err == nil {
			t.Errorf("parsed %d bytes as %d", len(b), n)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, units := range []uint64{0, 1, 2, 3, 63, 64, 65, 1<<40 - 1, 1<<63 + 1, 1<<64 - 1} {
		s := credits.Split(units)
		for i := 1; i < len(s); i++ {
			if s[i] >= s[i-1] {
				t.Errorf("%d: %v", units, s)
			}
		}
		if credits.Units(s) != units {
			t.Errorf("%d: %v", units, s)
		}
	}
}

func FuzzSwap(f *testing.F) {
	f.Add(swap(1, 1).Append(nil))
	f.Add(swap(3, 2).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := credits.ParseSwap(b); err == nil && !bytes.Equal(s.Append(nil), b) {
			t.Error("printed differently")
		}
		if w, err := credits.ParseWanted(b); err == nil && !bytes.Equal(credits.AppendWanted(nil, w), b) {
			t.Error("wanted printed differently")
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(credits.AppendTable(nil, table(2)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := credits.ParseTable(b); err == nil && !bytes.Equal(credits.AppendTable(nil, l), b) {
			t.Error("printed differently")
		}
		if l, err := credits.ParseMintedList(b, len(b)/wire.MintedSize); err == nil && !bytes.Equal(credits.AppendMintedList(nil, l), b) {
			t.Error("minted printed differently")
		}
	})
}

// Change is the canonical split of what was not used, for every usage.
func TestDueIsASplit(t *testing.T) {
	t.Run("CT-13", func(t *testing.T) {
		for class := uint8(wire.MinClass); class <= wire.MaxClass; class++ {
			for used := range uint8(wire.Parts + 1) {
				if units := uint64(wire.Parts-used) << (class - 6); !slices.Equal(wire.Due(class, used), credits.Split(units)) {
					t.Fatalf("class %d, used %d: %v", class, used, wire.Due(class, used))
				}
			}
		}
	})
}
