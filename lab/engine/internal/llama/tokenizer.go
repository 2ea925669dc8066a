// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"container/heap"
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

	longest int // bytes of the longest piece
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
			t.longest = max(t.longest, len(piece))
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

// fits reports whether text could be n pieces or fewer: none covers more than
// the longest. It spares encode what is refused anyway.
func (t *tokenizer) fits(text string, n int) bool { return len(text) <= n*t.longest }

// encode appends the pieces of text, a space in front as in training. Text is
// never read for control pieces: a prompt cannot speak for another role.
func (t *tokenizer) encode(ids []int, text string) []int {
	if text == "" {
		return ids
	}
	for _, p := range t.merge(space + strings.ReplaceAll(text, " ", space)) {
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

// A pair is two neighbouring parts that together are a piece. It is out of date
// when one of them has grown since.
type pair struct {
	left, right int // where the parts begin in the text
	size        int // of both, in bytes
	score       float64
}

// pairs is a heap: the highest score first, and of equals the leftmost.
type pairs []pair

func (h pairs) Len() int { return len(h) }
func (h pairs) Less(i, j int) bool {
	return h[i].score > h[j].score || h[i].score == h[j].score && h[i].left < h[j].left
}
func (h pairs) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *pairs) Push(x any)   { *h = append(*h, x.(pair)) }
func (h *pairs) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// merge cuts s into characters and joins neighbours, best pair first, until no
// two of them are a piece.
func (t *tokenizer) merge(s string) []string {
	size := make([]int, len(s))     // of the part that begins here; 0 inside one
	before := make([]int, len(s)+1) // where the part before begins; -1 for none
	for at, last := 0, -1; at < len(s); {
		_, n := utf8.DecodeRuneInString(s[at:])
		size[at], before[at] = n, last
		last, at = at, at+n
	}
	var h pairs
	consider := func(left int) {
		right := left + size[left]
		if right == len(s) {
			return
		}
		n := size[left] + size[right]
		if id, ok := t.byText[s[left:left+n]]; ok {
			heap.Push(&h, pair{left, right, n, t.scores[id]})
		}
	}
	for at := 0; at < len(s); at += size[at] {
		consider(at)
	}
	for len(h) > 0 {
		p := heap.Pop(&h).(pair)
		if size[p.left] == 0 || size[p.right] == 0 || size[p.left]+size[p.right] != p.size {
			continue
		}
		size[p.left], size[p.right] = p.size, 0
		if next := p.left + p.size; next < len(s) {
			before[next] = p.left
		}
		consider(p.left)
		if b := before[p.left]; b >= 0 {
			consider(b)
		}
	}
	var parts []string
	for at := 0; at < len(s); at += size[at] {
		parts = append(parts, s[at:at+size[at]])
	}
	return parts
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
