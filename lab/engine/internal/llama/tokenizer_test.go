// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sotto-project/sotto/lab/engine/model"
)

// slowMerge says what merge must do: look at every pair, join the best, begin
// again.
func (t *tokenizer) slowMerge(s string) []string {
	var parts []string
	for s != "" {
		_, n := utf8.DecodeRuneInString(s)
		parts, s = append(parts, s[:n]), s[n:]
	}
	for {
		best, at := 0.0, -1
		for i := 0; i+1 < len(parts); i++ {
			if id, ok := t.byText[parts[i]+parts[i+1]]; ok && (at < 0 || t.scores[id] > best) {
				best, at = t.scores[id], i
			}
		}
		if at < 0 {
			return parts
		}
		parts[at] += parts[at+1]
		parts = append(parts[:at+1], parts[at+2:]...)
	}
}

func FuzzMerge(f *testing.F) {
	m, err := Load(model.GGUF)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "a", "Why is the sky blue?", "aaaaaaaaaaaaaaa", "the the  the", "ß\xff\xfe▁ü 日本", "<|user|></s>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2000 {
			return
		}
		s = space + strings.ReplaceAll(s, " ", space)
		if got, want := m.tok.merge(s), m.tok.slowMerge(s); !slices.Equal(got, want) {
			t.Errorf("%q merges to %q, want %q", s, got, want)
		}
	})
}

// TestLongPrompt: a prompt far beyond the context is refused at once, and one
// that could fit by its length alone is not slow either.
func TestLongPrompt(t *testing.T) {
	m, err := Load(model.GGUF)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{m.context*m.tok.longest - 1, m.context * m.tok.longest, m.context*m.tok.longest + 1, 32 << 20} {
		text := strings.Repeat("light ", n/6+1)[:n]
		_, chat := m.Chat(t.Context(), []Turn{{Text: text}}, Options{}, nil)
		_, complete := m.Complete(t.Context(), text, Options{}, nil)
		_, _, embed := m.Embed(t.Context(), text)
		for _, err := range []error{chat, complete, embed} {
			if !errors.Is(err, ErrTooLong) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
}
