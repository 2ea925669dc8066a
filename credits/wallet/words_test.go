// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/redact"
)

// TestWords computes the vectors of BIP-39 that have 256 bits
// (github.com/trezor/python-mnemonic, vectors.json, "english").
func TestWords(t *testing.T) {
	if sum := sha256.Sum256([]byte(english)); hex.EncodeToString(sum[:]) != "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda" {
		t.Fatal("not the list of BIP-39")
	}
	first := map[string]bool{}
	for _, w := range strings.Fields(english) {
		if p := w[:min(4, len(w))]; first[p] {
			t.Errorf("two words begin with %q", p)
		} else {
			first[p] = true
		}
	}
	for seed, want := range map[string]string{
		strings.Repeat("00", 32): strings.Repeat("abandon ", 23) + "art",
		strings.Repeat("7f", 32): strings.Repeat("legal winner thank year wave sausage worth useful ", 2) + "legal winner thank year wave sausage worth title",
		strings.Repeat("80", 32): strings.Repeat("letter advice cage absurd amount doctor acoustic avoid ", 2) + "letter advice cage absurd amount doctor acoustic bless",
		strings.Repeat("ff", 32): strings.Repeat("zoo ", 23) + "vote",
		"68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c": "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length",
		"9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863": "panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation flash devote level hobby quick inner drive ghost inside",
	} {
		b, _ := hex.DecodeString(seed)
		got, err := Words(redact.New(b))
		if err != nil || string(got.Bytes()) != want {
			t.Errorf("%s: %q, %v", seed, got.Bytes(), err)
		}
		for _, text := range []string{want, strings.ToUpper(want), "  " + strings.ReplaceAll(want, " ", "\n\t ") + "\n"} {
			if s, err := FromWords(text); err != nil || !bytes.Equal(s.Bytes(), b) {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
	good := strings.Fields(strings.Repeat("abandon ", 23) + "art")
	for name, words := range map[string][]string{
		"none": {}, "23": good[:23], "25": append(good[:24:24], "art"),
		"a wrong checksum": append(good[:23:23], "zoo"),
		"no such word":     append(good[:23:23], "arts"),
		"exchanged":        append([]string{"art"}, good[:23]...),
	} {
		if s, err := FromWords(strings.Join(words, " ")); err == nil || len(s.Bytes()) != 0 {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Words(redact.New(make([]byte, 31))); err == nil {
		t.Error("31 bytes are a seed")
	}
}

func TestSeed(t *testing.T) {
	t.Run("CT-17", func(t *testing.T) {
		if _, err := NewSeed(failing{}); err == nil {
			t.Error("a seed without randomness")
		}
		if _, err := NewSeed(bytes.NewReader(make([]byte, 31))); err == nil {
			t.Error("a seed of 31 bytes")
		}
	})
	s, err := NewSeed(bytes.NewReader(bytes.Repeat([]byte("canary! "), 4)))
	if err != nil || len(s.Bytes()) != blind.SeedSize {
		t.Fatal(err)
	}
	words, _ := Words(s)
	if out := fmt.Sprintf("%v %+v %s %v", s, s, words, &Wallet{seed: s}); strings.Contains(out, "canary") || strings.Contains(out, string(words.Bytes()[:12])) {
		t.Errorf("printed %q", out)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func FuzzWords(f *testing.F) {
	f.Add(strings.Repeat("abandon ", 23) + "art")
	f.Add(strings.Repeat("zoo ", 23) + "vote")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := FromWords(text)
		if err != nil {
			return
		}
		if w, err := Words(s); err != nil || string(w.Bytes()) != strings.Join(strings.Fields(strings.ToLower(text)), " ") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
