// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// newOpenAI returns OpenAI's Go client with its base URL changed, and nothing
// else: what the README tells people to do.
func newOpenAI(base string) openai.Client {
	return openai.NewClient(option.WithBaseURL(base), option.WithAPIKey("unused"))
}

// chat is a greedy question.
func chat(prompt string, maxTokens int64) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:       model,
		Messages:    []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
		Temperature: openai.Float(0),
		MaxTokens:   openai.Int(maxTokens),
	}
}

// streamed asks with streaming and returns the text, why it ended, and in how
// many pieces of text it came.
func streamed(ctx context.Context, c openai.Client, p openai.ChatCompletionNewParams) (text, finish string, pieces int, err error) {
	s := c.Chat.Completions.NewStreaming(ctx, p)
	defer s.Close()
	for s.Next() {
		for _, choice := range s.Current().Choices {
			if choice.Delta.Content != "" {
				text += choice.Delta.Content
				pieces++
			}
			if choice.FinishReason != "" {
				finish = choice.FinishReason
			}
		}
	}
	return text, finish, pieces, s.Err()
}

func TestOpenAIGo(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := newOpenAI(theLab(t).ready.OpenAI)
	want := sky(t)

	t.Run("chat", func(t *testing.T) {
		got, err := c.Chat.Completions.New(ctx, chat(want.Prompt, 90))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Choices) != 1 || got.Choices[0].Message.Content != want.Answer || got.Choices[0].FinishReason != want.Finish {
			t.Errorf("answer %+v, want %q", got.Choices, want.Answer)
		}
		if got.Usage.PromptTokens != want.Usage.Prompt || got.Usage.CompletionTokens != want.Usage.Completion {
			t.Errorf("usage %+v, want %+v", got.Usage, want.Usage)
		}
	})
	t.Run("chat stream", func(t *testing.T) {
		text, finish, pieces, err := streamed(ctx, c, chat(want.Prompt, 90))
		if err != nil {
			t.Fatal(err)
		}
		if text != want.Answer || finish != want.Finish {
			t.Errorf("answer %q (%s), want %q (%s)", text, finish, want.Answer, want.Finish)
		}
		if pieces < 10 {
			t.Errorf("the answer came in %d pieces: it did not stream", pieces)
		}
	})
	t.Run("stream usage", func(t *testing.T) {
		p := chat(want.Prompt, 90)
		p.StreamOptions.IncludeUsage = openai.Bool(true)
		s := c.Chat.Completions.NewStreaming(ctx, p)
		defer s.Close()
		acc := openai.ChatCompletionAccumulator{}
		for s.Next() {
			if !acc.AddChunk(s.Current()) {
				t.Fatal("the accumulator refuses a chunk")
			}
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		if acc.Usage.CompletionTokens != want.Usage.Completion || acc.Choices[0].Message.Content != want.Answer {
			t.Errorf("accumulated %+v", acc.ChatCompletion)
		}
	})
	t.Run("completions", func(t *testing.T) {
		p := openai.CompletionNewParams{
			Model:       model,
			Prompt:      openai.CompletionNewParamsPromptUnion{OfString: openai.String("<|user|>" + want.Prompt + "<|assistant|>")},
			MaxTokens:   openai.Int(20),
			Temperature: openai.Float(0),
		}
		got, err := c.Completions.New(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Choices) != 1 || got.Choices[0].Text == "" || got.Usage.CompletionTokens == 0 {
			t.Fatalf("answer %+v", got)
		}
		s := c.Completions.NewStreaming(ctx, p)
		defer s.Close()
		text := ""
		for s.Next() {
			for _, choice := range s.Current().Choices {
				text += choice.Text
			}
		}
		if s.Err() != nil || text != got.Choices[0].Text {
			t.Errorf("streams %q (%v), want %q", text, s.Err(), got.Choices[0].Text)
		}
	})
	t.Run("embeddings", func(t *testing.T) {
		got, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{
			Model: model,
			Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a light", "a lamp"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Data) != 2 || len(got.Data[0].Embedding) != 192 || got.Data[1].Index != 1 {
			t.Errorf("%d embeddings: %+v", len(got.Data), got)
		}
	})
	t.Run("models", func(t *testing.T) {
		list, err := c.Models.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Data) != 1 || list.Data[0].ID != model {
			t.Errorf("models %+v", list.Data)
		}
		if m, err := c.Models.Get(ctx, model); err != nil || m.ID != model {
			t.Errorf("model %+v, %v", m, err)
		}
	})
}

// TestOpenAIGoErrors asks for what Sotto does not serve: the client gets its
// own error type with the stable type and code in it.
func TestOpenAIGoErrors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := newOpenAI(theLab(t).ready.OpenAI)

	unknown := chat("hello", 5)
	unknown.Model = "no-such-model"
	_, whole := c.Chat.Completions.New(ctx, unknown)
	_, _, _, stream := streamed(ctx, c, unknown)
	_, get := c.Models.Get(ctx, "no-such-model")
	_, image := c.Images.Generate(ctx, openai.ImageGenerateParams{Prompt: "a light", Model: model})
	for _, row := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"chat", whole, http.StatusBadRequest, "request.model"},
		{"chat stream", stream, http.StatusBadRequest, "request.model"},
		{"model", get, http.StatusNotFound, "request.model"},
		{"path", image, http.StatusNotFound, "target"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var e *openai.Error
			if !errors.As(row.err, &e) {
				t.Fatalf("%v is no *openai.Error", row.err)
			}
			if e.StatusCode != row.status || e.Type != "invalid_request_error" || e.Code != row.code || e.Message == "" {
				t.Errorf("status %d type %q code %q message %q", e.StatusCode, e.Type, e.Code, e.Message)
			}
		})
	}
}

// endless is an engine that streams until its caller goes.
type endless struct{ gone chan struct{} }

func (e *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; ; i++ {
		fmt.Fprintf(w, `data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"%s","choices":[{"index":0,"delta":{"content":"%d "},"finish_reason":null}]}`+"\n\n", model, i)
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			e.gone <- struct{}{}
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestCancel stops reading in the middle of an answer: through proxy, relay,
// gateway, router and node, the engine hears of it and stops computing.
func TestCancel(t *testing.T) {
	e := &endless{gone: make(chan struct{}, 1)}
	s := httptest.NewServer(e)
	defer s.Close()
	c := newOpenAI(ownLab(t, "--engine", s.URL).ready.OpenAI)
	for i := range 2 { // the second shows that the first left nothing broken
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		stream := c.Chat.Completions.NewStreaming(ctx, chat("count", 1000))
		defer stream.Close()
		text := ""
		for strings.Count(text, " ") < 5 && stream.Next() {
			text += stream.Current().Choices[0].Delta.Content
		}
		if !strings.HasPrefix(text, "0 1 2 3 ") {
			t.Fatalf("stream %d began %q, %v", i, text, stream.Err())
		}
		cancel()
		for stream.Next() {
		}
		if !errors.Is(stream.Err(), context.Canceled) {
			t.Errorf("stream %d ended with %v", i, stream.Err())
		}
		select {
		case <-e.gone:
		case <-time.After(5 * time.Second):
			t.Fatalf("stream %d: the engine still computes 5 s after its caller went", i)
		}
	}
}
