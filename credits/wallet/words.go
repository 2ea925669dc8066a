// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/redact"
)

// wordCount is 256 bits of seed and 8 of checksum, 11 to a word.
const wordCount = 24

// english is the English word list of BIP-39, as published there. No two of its
// words have the same first four letters.
//
//go:embed english.txt
var english string

var errWords = errors.New("wallet: not the 24 words of a seed")

// NewSeed draws a seed.
func NewSeed(random io.Reader) (redact.Secret, error) {
	b := make([]byte, blind.SeedSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return redact.Secret{}, fmt.Errorf("wallet: seed: %v", err)
	}
	return redact.New(b), nil
}

// Words spells a seed as the 24 English words of BIP-39, between single spaces.
// The seed is the entropy itself: there is no passphrase and no stretching.
func Words(seed redact.Secret) (redact.Secret, error) {
	b := seed.Bytes()
	if len(b) != blind.SeedSize {
		return redact.Secret{}, errors.New("wallet: no seed")
	}
	list := strings.Fields(english)
	sum := sha256.Sum256(b)
	bits := append(append(make([]byte, 0, 33), b...), sum[0])
	defer clear(bits)
	var out []byte
	for i := range wordCount {
		n := 0
		for k := 11 * i; k < 11*i+11; k++ {
			n = n<<1 | int(bits[k/8]>>(7-k%8)&1)
		}
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, list[n]...)
	}
	return redact.New(out), nil
}

// FromWords is the seed that 24 words spell. It takes capitals and any white
// space between words, as people write them, and nothing that the checksum
// refuses.
func FromWords(text string) (redact.Secret, error) {
	words := strings.Fields(strings.ToLower(text))
	if len(words) != wordCount {
		return redact.Secret{}, errWords
	}
	index := make(map[string]int, 2048)
	for i, w := range strings.Fields(english) {
		index[w] = i
	}
	bits := make([]byte, 33)
	defer clear(bits)
	for i, w := range words {
		n, ok := index[w]
		if !ok {
			return redact.Secret{}, errWords
		}
		for k := range 11 {
			if n>>(10-k)&1 == 1 {
				bits[(11*i+k)/8] |= 0x80 >> ((11*i + k) % 8)
			}
		}
	}
	seed := append(make([]byte, 0, blind.SeedSize), bits[:32]...)
	if sum := sha256.Sum256(seed); sum[0] != bits[32] {
		clear(seed)
		return redact.Secret{}, errWords
	}
	return redact.New(seed), nil
}
