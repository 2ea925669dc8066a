// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package engine is the lab's inference engine: an OpenAI-compatible HTTP API
// in front of a tiny model that runs in plain Go. It stands where vLLM, SGLang,
// llama.cpp's server or Ollama stand in a deployment, and knows nothing of
// Sotto. It keeps nothing between requests.
package engine

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/sotto-project/sotto/lab/engine/internal/llama"
	"github.com/sotto-project/sotto/lab/engine/model"
)

// maxBody bounds a request, in bytes; the model's context is far smaller.
const maxBody = 32 << 20

// An Engine serves one model.
type Engine struct {
	model *llama.Model
	slots chan struct{} // one answer at a time for each: the model runs on one core
	next  atomic.Uint64 // numbers answers, from the engine's start
}

// New loads the model that comes with the lab.
func New() (*Engine, error) {
	m, err := llama.Load(model.GGUF)
	if err != nil {
		return nil, err
	}
	return &Engine{model: m, slots: make(chan struct{}, 2)}, nil
}

// Handler serves the routes that nodes forward.
func (e *Engine) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) { e.generate(w, r, true) })
	mux.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) { e.generate(w, r, false) })
	mux.HandleFunc("POST /v1/embeddings", e.embed)
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []any{map[string]string{"id": model.Name, "object": "model"}}})
	})
	return mux
}

// request is what the engine reads of a request; it ignores the rest.
type request struct {
	Model         string    `json:"model"`
	Messages      []message `json:"messages"`
	Prompt        text      `json:"prompt"`
	Input         inputs    `json:"input"`
	Encoding      string    `json:"encoding_format"`
	Stream        bool      `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	MaxTokens           int      `json:"max_tokens"`
	MaxCompletionTokens int      `json:"max_completion_tokens"`
	Temperature         *float64 `json:"temperature"`
	TopP                float64  `json:"top_p"`
	Seed                uint64   `json:"seed"`
	Stop                inputs   `json:"stop"`
}

type message struct {
	Role    string `json:"role"`
	Content text   `json:"content"`
}

// text is a string, or a list of parts of which the text ones count.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
		return nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return errors.New("content is neither a string nor a list of parts")
	}
	var all []string
	for _, p := range parts {
		if p.Type != "text" {
			return fmt.Errorf("this toy model reads text parts only, not %q", p.Type)
		}
		all = append(all, p.Text)
	}
	*t = text(strings.Join(all, "\n"))
	return nil
}

// inputs is a string or a list of strings.
type inputs []string

func (in *inputs) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*in = inputs{s}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(in))
}

func (r *request) options() llama.Options {
	o := llama.Options{MaxTokens: r.MaxTokens, TopP: r.TopP, Seed: r.Seed, Stop: r.Stop}
	if r.MaxCompletionTokens > 0 {
		o.MaxTokens = r.MaxCompletionTokens
	}
	if r.Temperature != nil {
		o.Temperature = *r.Temperature
	}
	return o
}

// turns folds the messages into what the model was trained on: questions and
// answers in turn. System messages go in front of the first question.
func (r *request) turns() []llama.Turn {
	var out []llama.Turn
	system := ""
	for _, m := range r.Messages {
		switch m.Role {
		case "assistant":
			out = append(out, llama.Turn{Assistant: true, Text: string(m.Content)})
		case "user":
			out = append(out, llama.Turn{Text: strings.TrimSpace(system + string(m.Content))})
			system = ""
		default:
			system += string(m.Content) + " "
		}
	}
	return out
}

func (e *Engine) read(w http.ResponseWriter, r *http.Request) (*request, bool) {
	var req request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&req); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request_error", "the body is not a valid request")
		return nil, false
	}
	return &req, true
}

func (e *Engine) acquire(ctx context.Context) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) generate(w http.ResponseWriter, r *http.Request, chat bool) {
	req, ok := e.read(w, r)
	if !ok {
		return
	}
	turns := req.turns()
	if chat && len(turns) == 0 || !chat && req.Prompt == "" {
		fail(w, http.StatusBadRequest, "invalid_request_error", "there is no prompt")
		return
	}
	if e.acquire(r.Context()) != nil {
		return
	}
	defer func() { <-e.slots }()
	a := &answer{w: w, req: req, chat: chat, id: fmt.Sprintf("%d", e.next.Add(1))}
	run := func(emit func(string) error) (llama.Result, error) {
		if chat {
			return e.model.Chat(r.Context(), turns, req.options(), emit)
		}
		return e.model.Complete(r.Context(), string(req.Prompt), req.options(), emit)
	}
	if req.Stream {
		a.stream(run)
	} else {
		a.whole(run)
	}
}

func (e *Engine) embed(w http.ResponseWriter, r *http.Request) {
	req, ok := e.read(w, r)
	if !ok {
		return
	}
	if len(req.Input) == 0 {
		fail(w, http.StatusBadRequest, "invalid_request_error", "there is no input")
		return
	}
	switch req.Encoding {
	case "", "float", "base64":
	default:
		fail(w, http.StatusBadRequest, "invalid_request_error", "encoding_format is float or base64")
		return
	}
	if e.acquire(r.Context()) != nil {
		return
	}
	defer func() { <-e.slots }()
	var data []any
	total := 0
	for i, s := range req.Input {
		v, n, err := e.model.Embed(r.Context(), s)
		if err != nil {
			failWith(w, err)
			return
		}
		total += n
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": encoded(v, req.Encoding)})
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "model": model.Name, "data": data,
		"usage": map[string]int{"prompt_tokens": total, "total_tokens": total}})
}

// encoded returns v as the caller asked for it: a list of numbers, or float32
// in little-endian order as base64, which OpenAI's JavaScript client asks for
// on its own and does not check.
func encoded(v []float32, format string) any {
	if format != "base64" {
		return v
	}
	b := make([]byte, 0, 4*len(v))
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return base64.StdEncoding.EncodeToString(b)
}

func failWith(w http.ResponseWriter, err error) {
	if errors.Is(err, llama.ErrTooLong) {
		fail(w, http.StatusBadRequest, "invalid_request_error", "the prompt is longer than the model's context of 512 tokens")
		return
	}
	fail(w, http.StatusInternalServerError, "server_error", "the engine broke")
}

func fail(w http.ResponseWriter, status int, kind, msg string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"message": msg, "type": kind, "param": nil, "code": nil}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
