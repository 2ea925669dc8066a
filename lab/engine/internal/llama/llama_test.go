// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package llama_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/lab/engine/internal/llama"
	"github.com/sotto-project/sotto/lab/engine/model"
)

type reference struct {
	MaxTokens int `json:"max_tokens"`
	Cases     []struct {
		Prompt, Answer string
		Usage          struct {
			PromptTokens     int `json:"prompt_tokens"`
			CompletionTokens int `json:"completion_tokens"`
		}
		FinishReason string `json:"finish_reason"`
	}
}

// TestAnswersOfLlamaCpp: the same weights, run right, give the same texts.
func TestAnswersOfLlamaCpp(t *testing.T) {
	m, err := llama.Load(model.GGUF)
	if err != nil {
		t.Fatal(err)
	}
	var ref reference
	if err := json.Unmarshal(model.Reference, &ref); err != nil || len(ref.Cases) == 0 {
		t.Fatal(err)
	}
	for _, c := range ref.Cases {
		var b strings.Builder
		r, err := m.Chat(context.Background(), []llama.Turn{{Text: c.Prompt}}, llama.Options{MaxTokens: ref.MaxTokens},
			func(s string) error { b.WriteString(s); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != c.Answer || r.PromptTokens != c.Usage.PromptTokens || r.CompletionTokens != c.Usage.CompletionTokens || r.Stopped != (c.FinishReason == "stop") {
			t.Errorf("%q:\n got %q (%+v)\nwant %q (%+v, %s)", c.Prompt, b.String(), r, c.Answer, c.Usage, c.FinishReason)
		}
	}
}
