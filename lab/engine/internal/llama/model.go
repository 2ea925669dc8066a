// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package llama runs a small Llama-architecture model (RMSNorm, RoPE on
// interleaved pairs, grouped attention, SwiGLU) from a GGUF file, in plain Go
// on one core. It is for the lab: it is made to be read and to be right, which
// a comparison with llama.cpp's answers tests, not to be fast.
package llama

import (
	"fmt"
	"math"
)

// A Model holds the weights. It does not change and may be shared.
type Model struct {
	tok     *tokenizer
	dim     int // width of the residual stream
	heads   int
	kvHeads int
	headDim int
	hidden  int // width of the feed-forward layer
	context int // most tokens a sequence may have
	eps     float32
	freqs   []float64 // RoPE, per pair

	embed  []float32 // [vocab][dim]
	layers []layer
	norm   []float32
	output []float32 // [vocab][dim]; the embedding itself when tied
}

type layer struct {
	attnNorm, wq, wk, wv, wo []float32
	ffnNorm, gate, up, down  []float32
}

// Load reads a model from the bytes of a GGUF file.
func Load(file []byte) (*Model, error) {
	g, err := parseGGUF(file)
	if err != nil {
		return nil, err
	}
	if a, _ := g.meta["general.architecture"].(string); a != "llama" {
		return nil, fmt.Errorf("llama: architecture %q; this engine runs llama", a)
	}
	m := &Model{}
	if m.tok, err = newTokenizer(g); err != nil {
		return nil, err
	}
	if err := m.shape(g); err != nil {
		return nil, err
	}
	return m, m.load(g)
}

// shape reads the hyperparameters and bounds them.
func (m *Model) shape(g *gguf) error {
	num := func(key string) int {
		v, _ := g.meta["llama."+key].(uint64)
		return int(min(v, 1<<20))
	}
	m.dim, m.heads, m.kvHeads = num("embedding_length"), num("attention.head_count"), num("attention.head_count_kv")
	m.hidden, m.context = num("feed_forward_length"), num("context_length")
	m.layers = make([]layer, min(num("block_count"), 256))
	if m.dim == 0 || m.heads == 0 || m.kvHeads == 0 || m.hidden == 0 || m.context == 0 || len(m.layers) == 0 ||
		m.dim%m.heads != 0 || m.heads%m.kvHeads != 0 || m.dim/m.heads%2 != 0 {
		return fmt.Errorf("%w: hyperparameters", errGGUF)
	}
	m.headDim = m.dim / m.heads
	if d := num("rope.dimension_count"); d != m.headDim {
		return fmt.Errorf("llama: RoPE over %d of %d dimensions is not supported", d, m.headDim)
	}
	eps, _ := g.meta["llama.attention.layer_norm_rms_epsilon"].(float64)
	base, ok := g.meta["llama.rope.freq_base"].(float64)
	if !ok {
		base = 10000
	}
	m.eps = float32(eps)
	for i := 0; i < m.headDim; i += 2 {
		m.freqs = append(m.freqs, math.Pow(base, -float64(i)/float64(m.headDim)))
	}
	return nil
}

func (m *Model) load(g *gguf) error {
	var err error
	get := func(name string, dims ...int) []float32 {
		t, ok := g.tensors[name]
		if !ok || fmt.Sprint(t.dims) != fmt.Sprint(dims) {
			err = fmt.Errorf("%w: tensor %s: has %v, want %v", errGGUF, name, t.dims, dims)
			return nil
		}
		return t.floats()
	}
	vocab, kv := len(m.tok.pieces), m.kvHeads*m.headDim
	m.embed = get("token_embd.weight", m.dim, vocab)
	m.norm = get("output_norm.weight", m.dim)
	m.output = m.embed
	if _, ok := g.tensors["output.weight"]; ok {
		m.output = get("output.weight", m.dim, vocab)
	}
	for i := range m.layers {
		b := fmt.Sprintf("blk.%d.", i)
		m.layers[i] = layer{
			attnNorm: get(b+"attn_norm.weight", m.dim),
			wq:       get(b+"attn_q.weight", m.dim, m.dim),
			wk:       get(b+"attn_k.weight", m.dim, kv),
			wv:       get(b+"attn_v.weight", m.dim, kv),
			wo:       get(b+"attn_output.weight", m.dim, m.dim),
			ffnNorm:  get(b+"ffn_norm.weight", m.dim),
			gate:     get(b+"ffn_gate.weight", m.dim, m.hidden),
			up:       get(b+"ffn_up.weight", m.dim, m.hidden),
			down:     get(b+"ffn_down.weight", m.hidden, m.dim),
		}
	}
	return err
}

// A state is one sequence being computed: its key and value cache and scratch
// space. It is zeroed before it is let go (see [state.erase]).
type state struct {
	m    *Model
	pos  int
	k, v [][]float32 // per layer, [pos][kvHeads*headDim]

	x, h, q, att, out []float32
	gate, up          []float32
	logits            []float32
}

func newState(m *Model) *state {
	s := &state{m: m}
	for range m.layers {
		s.k = append(s.k, make([]float32, 0, 64*m.kvHeads*m.headDim))
		s.v = append(s.v, make([]float32, 0, 64*m.kvHeads*m.headDim))
	}
	s.x, s.h, s.q, s.out = make([]float32, m.dim), make([]float32, m.dim), make([]float32, m.dim), make([]float32, m.dim)
	s.att = make([]float32, m.context)
	s.gate, s.up = make([]float32, m.hidden), make([]float32, m.hidden)
	s.logits = make([]float32, len(m.tok.pieces))
	return s
}

// erase zeroes everything that depends on the prompt (TN-06).
func (s *state) erase() {
	for _, b := range append(append([][]float32{s.x, s.h, s.q, s.att, s.out, s.gate, s.up, s.logits}, s.k...), s.v...) {
		clear(b[:cap(b)])
	}
}

// step takes one token at the next position and leaves the logits of what
// follows. The caller keeps within the model's context.
func (s *state) step(token int) {
	m := s.m
	copy(s.x, m.embed[token*m.dim:(token+1)*m.dim])
	for i := range m.layers {
		s.attend(i)
		s.feed(&m.layers[i])
	}
	rmsnorm(s.h, s.x, m.norm, m.eps)
	matmul(s.logits, m.output, s.h)
	s.pos++
}

func (s *state) attend(i int) {
	m, l := s.m, &s.m.layers[i]
	kv := m.kvHeads * m.headDim
	rmsnorm(s.h, s.x, l.attnNorm, m.eps)
	at := len(s.k[i])
	s.k[i] = append(s.k[i], make([]float32, kv)...)
	s.v[i] = append(s.v[i], make([]float32, kv)...)
	matmul(s.q, l.wq, s.h)
	matmul(s.k[i][at:], l.wk, s.h)
	matmul(s.v[i][at:], l.wv, s.h)
	m.rotate(s.q, s.pos)
	m.rotate(s.k[i][at:], s.pos)
	scale := float32(1 / math.Sqrt(float64(m.headDim)))
	for h := range m.heads {
		g := h / (m.heads / m.kvHeads) * m.headDim
		q := s.q[h*m.headDim : (h+1)*m.headDim]
		for p := 0; p <= s.pos; p++ {
			s.att[p] = scale * dot(q, s.k[i][p*kv+g:p*kv+g+m.headDim])
		}
		softmax(s.att[:s.pos+1])
		out := s.h[h*m.headDim : (h+1)*m.headDim]
		clear(out)
		for p := 0; p <= s.pos; p++ {
			for j, v := range s.v[i][p*kv+g : p*kv+g+m.headDim] {
				out[j] += s.att[p] * v
			}
		}
	}
	matmul(s.out, l.wo, s.h)
	add(s.x, s.out)
}

func (s *state) feed(l *layer) {
	rmsnorm(s.h, s.x, l.ffnNorm, s.m.eps)
	matmul(s.gate, l.gate, s.h)
	matmul(s.up, l.up, s.h)
	for j, g := range s.gate {
		s.gate[j] = g / (1 + float32(math.Exp(-float64(g)))) * s.up[j]
	}
	matmul(s.out, l.down, s.gate)
	add(s.x, s.out)
}

// rotate applies RoPE to each pair of neighbours.
func (m *Model) rotate(x []float32, pos int) {
	for at := 0; at < len(x); at += m.headDim {
		for i, f := range m.freqs {
			sin, cos := math.Sincos(float64(pos) * f)
			a, b := x[at+2*i], x[at+2*i+1]
			x[at+2*i] = a*float32(cos) - b*float32(sin)
			x[at+2*i+1] = a*float32(sin) + b*float32(cos)
		}
	}
}

// matmul computes out = w·x for w as rows of len(x).
func matmul(out, w, x []float32) {
	for i := range out {
		out[i] = dot(w[i*len(x):(i+1)*len(x)], x)
	}
}

func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

func rmsnorm(out, x, weight []float32, eps float32) {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	scale := float32(1 / math.Sqrt(sum/float64(len(x))+float64(eps)))
	for i, v := range x {
		out[i] = v * scale * weight[i]
	}
}

func softmax(x []float32) {
	top := x[0]
	for _, v := range x {
		top = max(top, v)
	}
	var sum float32
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v - top)))
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

func add(x, y []float32) {
	for i, v := range y {
		x[i] += v
	}
}
