// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// space is how SentencePiece writes a space inside a piece.
const space = "▁"

// Piece kinds of a GGUF vocabulary.
const (
	pieceNormal  = 1
	pieceControl = 3
	pieceByte    = 6
)

// A tokenizer is SentencePiece BPE with byte fallback: pieces are merged by
// score, highest first, and what no piece covers becomes bytes.
type tokenizer struct {
	pieces []string
	scores []float64
	kinds  []uint64
	byText map[string]int
	bytes  [256]int
	bos    int
	eos    int
}

func newTokenizer(g *gguf) (*tokenizer, error) {
	tokens, _ := g.meta["tokenizer.ggml.tokens"].([]any)
	scores, _ := g.meta["tokenizer.ggml.scores"].([]any)
	kinds, _ := g.meta["tokenizer.ggml.token_type"].([]any)
	if m, _ := g.meta["tokenizer.ggml.model"].(string); m != "llama" || len(tokens) == 0 || len(scores) != len(tokens) || len(kinds) != len(tokens) {
		return nil, fmt.Errorf("%w: no SentencePiece vocabulary", errGGUF)
	}
	t := &tokenizer{byText: make(map[string]int, len(tokens))}
	for b := range t.bytes {
		t.bytes[b] = -1
	}
	for i := range tokens {
		piece, _ := tokens[i].(string)
		score, _ := scores[i].(float64)
		kind, _ := kinds[i].(uint64)
		t.pieces, t.scores, t.kinds = append(t.pieces, piece), append(t.scores, score), append(t.kinds, kind)
		switch kind {
		case pieceNormal:
			t.byText[piece] = i
		case pieceByte:
			var b byte
			if _, err := fmt.Sscanf(piece, "<0x%02X>", &b); err != nil {
				return nil, fmt.Errorf("%w: byte piece %q", errGGUF, piece)
			}
			t.bytes[b] = i
		}
	}
	for b, i := range t.bytes {
		if i < 0 {
			return nil, fmt.Errorf("%w: no piece for byte %#02x", errGGUF, b)
		}
	}
	bos, ok1 := g.meta["tokenizer.ggml.bos_token_id"].(uint64)
	eos, ok2 := g.meta["tokenizer.ggml.eos_token_id"].(uint64)
	if !ok1 || !ok2 || bos >= uint64(len(tokens)) || eos >= uint64(len(tokens)) {
		return nil, fmt.Errorf("%w: no begin or end token", errGGUF)
	}
	t.bos, t.eos = int(bos), int(eos)
	return t, nil
}

// control returns the id of a control piece such as "<|user|>".
func (t *tokenizer) control(text string) (int, bool) {
	for i, p := range t.pieces {
		if p == text && t.kinds[i] == pieceControl {
			return i, true
		}
	}
	return 0, false
}

// encode appends the pieces of text, which is never read for control pieces: a
// prompt cannot speak for another role.
func (t *tokenizer) encode(ids []int, text string) []int {
	if text == "" {
		return ids
	}
	// A space goes in front, as in training.
	var parts []string
	for s := space + strings.ReplaceAll(text, " ", space); s != ""; {
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
			break
		}
		parts[at] += parts[at+1]
		parts = append(parts[:at+1], parts[at+2:]...)
	}
	for _, p := range parts {
		if id, ok := t.byText[p]; ok {
			ids = append(ids, id)
			continue
		}
		for _, b := range []byte(p) {
			ids = append(ids, t.bytes[b])
		}
	}
	return ids
}

// decode returns the bytes of one piece.
func (t *tokenizer) decode(id int) string {
	switch t.kinds[id] {
	case pieceNormal:
		return strings.ReplaceAll(t.pieces[id], space, " ")
	case pieceByte:
		for b, i := range t.bytes {
			if i == id {
				return string([]byte{byte(b)})
			}
		}
	}
	return ""
}
