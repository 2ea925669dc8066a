// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package blind_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/redact"
)

func seed(n byte) redact.Secret { return redact.New(bytes.Repeat([]byte{n}, blind.SeedSize)) }

func at(t *testing.T, s redact.Secret, keyset [32]byte, generation uint32, index uint64) *blind.Blank {
	t.Helper()
	b, err := blind.At(s, keyset, generation, index)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBlanks(t *testing.T) {
	t.Run("CT-17", func(t *testing.T) {
		for _, n := range []int{0, 1, 31, 33, 64} { // what a broken source of a seed gives
			if b, err := blind.At(redact.New(make([]byte, n)), [32]byte{1}, 0, 0); !errors.Is(err, blind.ErrBlinding) || b != nil {
				t.Errorf("seed of %d bytes: %v", n, err)
			}
		}
		if _, err := blind.At(redact.Secret{}, [32]byte{1}, 0, 0); !errors.Is(err, blind.ErrBlinding) {
			t.Errorf("no seed: %v", err)
		}
		for _, n := range []int{0, -1} {
			if b, err := blind.Range(seed(1), [32]byte{1}, 0, 0, n); !errors.Is(err, blind.ErrBlinding) || b != nil {
				t.Errorf("%d blanks: %v", n, err)
			}
		}
		list, err := blind.Range(seed(1), [32]byte{1}, 2, 1<<64-2, 2)
		if err != nil || list[0].Element != at(t, seed(1), [32]byte{1}, 2, 1<<64-2).Element || list[1].Element != at(t, seed(1), [32]byte{1}, 2, 1<<64-1).Element {
			t.Errorf("a range is not its indexes: %v", err)
		}
		// Nonce and blinded element are new with every index, generation, keyset and
		// seed, and so no nonce comes back under another blinding either.
		nonces, elements := map[[32]byte]bool{}, map[[32]byte]bool{}
		var ones, all int
		n := 0
		for s := range byte(2) {
			for keyset := range byte(2) {
				for generation := range uint32(4) {
					for _, base := range []uint64{0, 1 << 32, 1<<64 - 24} {
						for i := range uint64(24) {
							b := at(t, seed(s), [32]byte{keyset}, generation, base+i)
							if nonces[b.Nonce] || elements[b.Element] || nonces[b.Element] {
								t.Fatalf("seed %d, keyset %d, generation %d, index %d: seen before", s, keyset, generation, base+i)
							}
							nonces[b.Nonce], elements[b.Element] = true, true
							n++
							for _, v := range b.Element[:31] { // the last bits are the field's
								for ; v > 0; v &= v - 1 {
									ones++
								}
								all += 8
							}
						}
					}
				}
			}
		}
		// The first bit of every encoding is 0 (non-negative); the others are even
		// chances: 1,152 blanks, 4.5 standard deviations.
		zero := float64(n)
		mean, dev := (float64(all)-zero)/2, 4.5*0.5*sqrt(float64(all)-zero)
		if d := float64(ones) - mean; d > dev || d < -dev {
			t.Errorf("%d of %d bits are set", ones, all)
		}
		// The same nonce with another generation's blind is another blank: there is none
		// such, since the nonce changes too. What is the same comes out the same.
		a, b := at(t, seed(1), [32]byte{1}, 2, 3), at(t, seed(1), [32]byte{1}, 2, 3)
		if a.Nonce != b.Nonce || a.Element != b.Element {
			t.Error("a blank is not a function of its index")
		}
	})
	t.Run("CT-27", func(t *testing.T) {
		var wg sync.WaitGroup
		want := at(t, seed(1), [32]byte{1}, 0, 7)
		for range 100 {
			wg.Go(func() {
				if b, err := blind.At(seed(1), [32]byte{1}, 0, 7); err != nil || b.Element != want.Element {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
	})
}

func sqrt(x float64) float64 {
	r := x
	for range 60 {
		r = (r + x/r) / 2
	}
	return r
}

func TestCoinsDoNotPrint(t *testing.T) {
	c := &blind.Coin{Exponent: 7, Nonce: [32]byte{0xab, 0xcd}, Output: redact.New([]byte("canary-output"))}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%s %v", c, *c)} {
		if strings.Contains(s, "canary") {
			t.Errorf("printed %q", s)
		}
	}
	if c.String() != "coin of 2^7" {
		t.Error(c.String())
	}
}

// TestNothingPrints: CL-06, no verb prints what tells a blank or a coin from others.
func TestNothingPrints(t *testing.T) {
	nonce := [32]byte(bytes.Repeat([]byte{0xa7}, 32))
	b := blind.Blank{Nonce: nonce, Element: nonce}
	c := blind.Coin{Exponent: 6, Nonce: nonce, Output: redact.New(nonce[:])}
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x", "%s", "%q", "%T %v"} {
		for _, v := range []any{b, &b, c, &c, []blind.Blank{b}, []*blind.Coin{&c}, map[int]blind.Coin{1: c}, struct{ B blind.Blank }{b}} {
			s := strings.ToLower(fmt.Sprintf(verb, v))
			if strings.Contains(s, "a7a7") || strings.Contains(s, "167 167") || strings.Contains(s, "0xa7") || strings.Contains(s, "\\xa7") || strings.Contains(s, string(nonce[:4])) {
				t.Errorf("%s of %T prints %s", verb, v, s)
			}
		}
	}
	if s := fmt.Sprint(&c, b); s != "coin of 2^6 blank" {
		t.Error(s)
	}
}
