// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sotto-project/sotto/lab/engine/internal/llama"
	"github.com/sotto-project/sotto/lab/engine/model"
)

// An answer writes one answer in the shape of its API.
type answer struct {
	w    http.ResponseWriter
	req  *request
	chat bool
	id   string
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

type choice struct {
	Index   int            `json:"index"`
	Message *outMessage    `json:"message,omitempty"`
	Delta   *outMessage    `json:"delta,omitempty"`
	Text    *string        `json:"text,omitempty"`
	Logprob map[string]any `json:"logprobs"`
	Finish  *string        `json:"finish_reason"`
}

type outMessage struct {
	Role    string `json:"role,omitempty"`
	Content string `json:"content"`
}

type envelope struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

// envelope names the answer. Its number counts from the engine's start and its
// time is zero: nothing in it tells when the request ran among others.
func (a *answer) envelope(chunk bool) envelope {
	e := envelope{ID: "cmpl-" + a.id, Object: "text_completion", Model: model.Name}
	if a.chat {
		e.ID, e.Object = "chatcmpl-"+a.id, "chat.completion"
		if chunk {
			e.Object += ".chunk"
		}
	}
	return e
}

func newUsage(r llama.Result) *usage {
	return &usage{r.PromptTokens, r.CompletionTokens, r.PromptTokens + r.CompletionTokens}
}

func finish(r llama.Result) *string {
	s := "length"
	if r.Stopped {
		s = "stop"
	}
	return &s
}

func (a *answer) whole(run func(func(string) error) (llama.Result, error)) {
	var b strings.Builder
	r, err := run(func(s string) error { b.WriteString(s); return nil })
	if err != nil {
		failWith(a.w, err)
		return
	}
	e := a.envelope(false)
	c := choice{Finish: finish(r)}
	if s := b.String(); a.chat {
		c.Message = &outMessage{Role: "assistant", Content: s}
	} else {
		c.Text = &s
	}
	e.Choices, e.Usage = []choice{c}, newUsage(r)
	writeJSON(a.w, http.StatusOK, e)
}

func (a *answer) stream(run func(func(string) error) (llama.Result, error)) {
	started := false
	start := func() error {
		if started {
			return nil
		}
		started = true
		a.w.Header().Set("Content-Type", "text/event-stream")
		a.w.WriteHeader(http.StatusOK)
		if !a.chat {
			return nil
		}
		return a.event(choice{Delta: &outMessage{Role: "assistant"}}, nil)
	}
	r, err := run(func(s string) error {
		if err := start(); err != nil {
			return err
		}
		if a.chat {
			return a.event(choice{Delta: &outMessage{Content: s}}, nil)
		}
		return a.event(choice{Text: &s}, nil)
	})
	if err != nil && !started {
		failWith(a.w, err)
		return
	}
	if err != nil || start() != nil {
		panic(http.ErrAbortHandler) // a cut stream says that it is one
	}
	last := choice{Finish: finish(r)}
	if empty := ""; a.chat {
		last.Delta = &outMessage{}
	} else {
		last.Text = &empty
	}
	a.event(last, nil)
	if a.req.StreamOptions.IncludeUsage {
		e := a.envelope(true)
		e.Choices, e.Usage = []choice{}, newUsage(r)
		a.send(e)
	}
	a.w.Write([]byte("data: [DONE]\n\n"))
}

func (a *answer) event(c choice, u *usage) error {
	e := a.envelope(true)
	e.Choices, e.Usage = []choice{c}, u
	return a.send(e)
}

func (a *answer) send(e envelope) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := a.w.Write(append(append([]byte("data: "), b...), "\n\n"...)); err != nil {
		return err
	}
	return http.NewResponseController(a.w).Flush()
}
