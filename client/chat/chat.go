// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package chat holds one conversation with a model through a
// [client.Client]. It speaks the OpenAI chat API with streaming, keeps the
// turns in memory only, and marks them with a secret of their own so that an
// engine may reuse its cache within the conversation and nowhere else.
package chat

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/sotto-project/sotto/client"
)

// A Conversation is not safe for concurrent use.
type Conversation struct {
	client *client.Client
	model  string
	secret string
	turns  []message
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// New starts a conversation. An empty model means the only one served.
func New(c *client.Client, model string) (*Conversation, error) {
	return &Conversation{client: c, model: model, secret: rand.Text()}, nil
}

// Ask sends prompt as the next turn and writes the answer to out as it comes.
// Only an answer whose end was verified becomes part of the conversation.
func (c *Conversation) Ask(ctx context.Context, prompt string, out io.Writer) error {
	if err := c.pickModel(ctx); err != nil {
		return err
	}
	turns := append(c.turns[:len(c.turns):len(c.turns)], message{"user", prompt})
	b, err := json.Marshal(map[string]any{"model": c.model, "messages": turns, "stream": true})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, client.BaseURL+"/chat/completions", bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(client.ConversationHeader, c.secret)
	resp, err := c.client.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer strings.Builder
	if err := readEvents(resp, io.MultiWriter(out, &answer)); err != nil {
		return err
	}
	c.turns = append(turns, message{"assistant", answer.String()})
	return nil
}

func (c *Conversation) pickModel(ctx context.Context) error {
	if c.model != "" {
		return nil
	}
	models, err := c.client.Models(ctx)
	if err != nil {
		return err
	}
	if len(models) != 1 {
		names := make([]string, len(models))
		for i, m := range models {
			names[i] = m.Name
		}
		return &client.Error{Code: client.CodeModel, Detail: "several models are served; name one of: " + strings.Join(names, ", ")}
	}
	c.model = models[0].Name
	return nil
}

// event is the part of a streamed chunk, or of an error, that a chat shows.
type event struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
	Error *struct {
		Message string `json:"message"`
		Code    any    `json:"code"`
	} `json:"error"`
}

// readEvents writes the text of a streamed answer. It succeeds only if the
// answer said it was done and its end was verified.
func readEvents(resp *http.Response, out io.Writer) error {
	if resp.StatusCode != http.StatusOK {
		var e event
		b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return err
		}
		if json.Unmarshal(b, &e) == nil && e.Error != nil {
			return answerError(&e)
		}
		return &client.Error{Code: "node.engine", Detail: fmt.Sprintf("the engine answered with status %d", resp.StatusCode), Sent: true}
	}
	done := false
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		if data = strings.TrimSpace(data); data == "[DONE]" {
			done = true
			continue
		}
		var e event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			// An answer that was cut ends in half an event; the cut is the news.
			if !lines.Scan() && lines.Err() != nil {
				return lines.Err()
			}
			return &client.Error{Code: "node.engine", Detail: "the engine sent an event that is no JSON", Sent: true}
		}
		if e.Error != nil {
			return answerError(&e)
		}
		for _, c := range e.Choices {
			if _, err := io.WriteString(out, c.Delta.Content); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !done {
		return &client.Error{Code: client.CodeTruncated, Detail: "the engine stopped without saying that it was done", Sent: true}
	}
	return nil
}

func answerError(e *event) error {
	code, _ := e.Error.Code.(string)
	if code == "" || strings.ContainsFunc(code, func(r rune) bool { return (r < 'a' || r > 'z') && r != '.' && r != '_' }) {
		code = "node.engine"
	}
	// An engine's words end up on a terminal, or in a log.
	message := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, e.Error.Message)
	return &client.Error{Code: code, Detail: message, Sent: true}
}
