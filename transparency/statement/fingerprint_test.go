// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestWords: each byte has a word of its own that is easy to tell from others.
func TestWords(t *testing.T) {
	list := strings.Split(strings.TrimSuffix(words, "\n"), "\n")
	if len(list) != 256 || !slices.IsSorted(list) {
		t.Fatalf("%d words, sorted: %v", len(list), slices.IsSorted(list))
	}
	prefix := map[string]string{}
	for _, w := range list {
		if len(w) < 3 || len(w) > 8 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q is no short word", w)
			continue
		}
		if o := prefix[w[:3]]; o != "" {
			t.Errorf("%s and %s begin alike", w, o)
		}
		prefix[w[:3]] = w
	}
}

// TestFingerprintVectors: same view, same words; anything else, other words.
func TestFingerprintVectors(t *testing.T) {
	const file = "testdata/vectors/fingerprint-v1.json"
	var vectors []struct {
		Origin string `json:"origin"`
		Epoch  uint64 `json:"epoch"`
		Leaf   string `json:"statement_sha256"`
		Words  string `json:"words"`
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &vectors); err != nil || len(vectors) < 4 {
		t.Fatal(err, len(vectors))
	}
	seen := map[string]bool{}
	for _, v := range vectors {
		leaf, err := hex.DecodeString(v.Leaf)
		if err != nil || len(leaf) != 32 {
			t.Fatalf("leaf %q", v.Leaf)
		}
		got := strings.Join(Fingerprint(v.Origin, v.Epoch, [32]byte(leaf)), " ")
		if got != v.Words || seen[got] {
			t.Errorf("%s %d: %q, want %q; seen before: %v", v.Origin, v.Epoch, got, v.Words, seen[got])
		}
		seen[got] = true
	}
}
