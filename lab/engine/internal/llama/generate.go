// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
)

// A Turn is one message of a chat.
type Turn struct {
	Assistant bool // else the user's
	Text      string
}

// Options bound and steer one answer.
type Options struct {
	MaxTokens   int      // 0: as far as the context goes
	Temperature float64  // 0: the likeliest token each time
	TopP        float64  // 0 or 1: all tokens
	Seed        uint64   // of the draw, with a temperature
	Stop        []string // texts that end the answer and are not part of it
}

// A Result says how an answer ended.
type Result struct {
	PromptTokens     int
	CompletionTokens int
	Stopped          bool // by its end token or a stop text, not by a limit
}

// ErrTooLong is returned for a prompt that leaves no room in the context.
var ErrTooLong = errors.New("llama: the prompt is longer than the model's context")

// Chat answers the last turn. emit gets the text piece by piece, never half a
// character; an error of emit ends the answer and is returned.
func (m *Model) Chat(ctx context.Context, turns []Turn, o Options, emit func(string) error) (Result, error) {
	user, ok1 := m.tok.control("<|user|>")
	assistant, ok2 := m.tok.control("<|assistant|>")
	if !ok1 || !ok2 {
		return Result{}, errors.New("llama: this model has no chat format")
	}
	ids := []int{m.tok.bos}
	for _, t := range turns {
		if !m.tok.fits(t.Text, m.context-len(ids)) {
			return Result{}, ErrTooLong
		}
		if t.Assistant {
			ids = append(m.tok.encode(append(ids, assistant), t.Text), m.tok.eos)
		} else {
			ids = m.tok.encode(append(ids, user), t.Text)
		}
	}
	return m.generate(ctx, append(ids, assistant), o, emit)
}

// Complete continues text.
func (m *Model) Complete(ctx context.Context, text string, o Options, emit func(string) error) (Result, error) {
	if !m.tok.fits(text, m.context) {
		return Result{}, ErrTooLong
	}
	return m.generate(ctx, m.tok.encode([]int{m.tok.bos}, text), o, emit)
}

// Embed returns the mean of the normalised last hidden states of text: enough
// to exercise an embeddings route, not to search with.
func (m *Model) Embed(ctx context.Context, text string) ([]float32, int, error) {
	if !m.tok.fits(text, m.context) {
		return nil, 0, ErrTooLong
	}
	ids := m.tok.encode([]int{m.tok.bos}, text)
	if len(ids) > m.context {
		return nil, 0, ErrTooLong
	}
	s := newState(m)
	defer s.erase()
	sum := make([]float32, m.dim)
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		s.step(id)
		add(sum, s.h)
	}
	var norm float64
	for _, v := range sum {
		norm += float64(v) * float64(v)
	}
	for i := range sum {
		sum[i] /= float32(math.Sqrt(norm))
	}
	return sum, len(ids), nil
}

func (m *Model) generate(ctx context.Context, ids []int, o Options, emit func(string) error) (Result, error) {
	if len(ids) >= m.context {
		return Result{}, ErrTooLong
	}
	r := Result{PromptTokens: len(ids)}
	limit := m.context - len(ids)
	if o.MaxTokens > 0 {
		limit = min(limit, o.MaxTokens)
	}
	s := newState(m)
	defer s.erase()
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		s.step(id)
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0))
	out := &holdback{emit: emit, stops: o.Stop}
	for r.CompletionTokens < limit {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		id := pick(s.logits, o, rng)
		r.CompletionTokens++ // the end token counts, as llama.cpp counts it
		if id == m.tok.eos {
			r.Stopped = true
			break
		}
		stopped, err := out.write(m.tok.decode(id))
		if err != nil {
			return r, err
		}
		if stopped {
			r.Stopped = true
			return r, nil
		}
		if r.CompletionTokens < limit {
			s.step(id)
		}
	}
	return r, out.flush()
}

// pick chooses the next token.
func pick(logits []float32, o Options, rng *rand.Rand) int {
	if o.Temperature <= 0 {
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		return best
	}
	p := make([]float32, len(logits))
	for i, v := range logits {
		p[i] = v / float32(o.Temperature)
	}
	softmax(p)
	if o.TopP > 0 && o.TopP < 1 {
		keepTop(p, float32(o.TopP))
	}
	var total float32
	for _, v := range p {
		total += v
	}
	at := rng.Float32() * total
	for i, v := range p {
		if at -= v; at < 0 {
			return i
		}
	}
	return len(p) - 1
}

// keepTop zeroes all but the likeliest tokens that together reach top.
func keepTop(p []float32, top float32) {
	kept := make([]bool, len(p))
	for sum := float32(0); sum < top; {
		best := -1
		for i, v := range p {
			if !kept[i] && (best < 0 || v > p[best]) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		kept[best] = true
		sum += p[best]
	}
	for i := range p {
		if !kept[i] {
			p[i] = 0
		}
	}
}

// holdback passes text on as soon as it is whole characters that cannot be the
// start of a stop text.
type holdback struct {
	emit  func(string) error
	stops []string
	held  string
}

func (h *holdback) write(s string) (stopped bool, err error) {
	h.held += s
	for _, stop := range h.stops {
		if i := strings.Index(h.held, stop); stop != "" && i >= 0 {
			return true, h.send(h.held[:i])
		}
	}
	safe := wholeRunes(h.held)
	for _, stop := range h.stops {
		for n := min(len(stop)-1, len(h.held)); n > 0; n-- {
			if strings.HasSuffix(h.held, stop[:n]) {
				safe = min(safe, len(h.held)-n)
				break
			}
		}
	}
	text := h.held[:safe]
	h.held = h.held[safe:]
	return false, h.send(text)
}

func (h *holdback) flush() error {
	text := strings.ToValidUTF8(h.held, "\uFFFD")
	h.held = ""
	return h.send(text)
}

func (h *holdback) send(s string) error {
	if s == "" {
		return nil
	}
	return h.emit(s)
}

// wholeRunes is how much of s ends on a character's end.
func wholeRunes(s string) int {
	for back := 1; back <= 3 && back <= len(s); back++ {
		c := s[len(s)-back]
		if c < 0x80 {
			break
		}
		if c >= 0xc0 { // a leading byte: are all its followers here?
			need := 2
			if c >= 0xf0 {
				need = 4
			} else if c >= 0xe0 {
				need = 3
			}
			if back < need {
				return len(s) - back
			}
			break
		}
	}
	return len(s)
}
