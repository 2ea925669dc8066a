// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
)

// startLlamaCpp runs llamacpp/server.mjs and returns its URL and llama.cpp's
// release.
func startLlamaCpp(t *testing.T) (url, release string) {
	t.Helper()
	if os.Getenv("SOTTO_INTEROP_LLAMACPP") == "" {
		t.Skip("set SOTTO_INTEROP_LLAMACPP=1 to download the real llama.cpp (85 MB on disk) and run it")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the lock file names the prebuilt llama.cpp of linux on amd64 only")
	}
	// Not npm ci: it wants the builds for all other platforms in the lock file.
	dir := npm(t, "llamacpp", "install", "--no-save", "--omit=optional")
	gguf, err := filepath.Abs(filepath.Join("..", "engine", "model", "sotto-tiny.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("node", "server.mjs", gguf)
	c.Dir = dir
	var stderr bytes.Buffer
	c.Stderr = &stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // it ends with its input
		timer := time.AfterFunc(10*time.Second, func() { c.Process.Kill() })
		defer timer.Stop()
		if err := c.Wait(); err != nil {
			t.Errorf("llama.cpp: %v\n%s", err, stderr.Bytes())
		}
	})
	var ready struct{ URL, Llamacpp string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		t.Fatalf("llama.cpp said %q, %v\n%s", line, err, stderr.Bytes())
	}
	return ready.URL, ready.Llamacpp
}

// TestLlamaCpp puts the real llama.cpp, with the lab's model, in the place of
// the lab's engine. Through all of Sotto it gives the answers that llama.cpp
// gave when the model was made.
func TestLlamaCpp(t *testing.T) {
	url, release := startLlamaCpp(t)
	l := ownLab(t, "--engine", url)
	c := newOpenAI(l.ready.OpenAI)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cases, limit := references(t)
	streams := 0
	for _, want := range cases {
		t.Run(want.Prompt, func(t *testing.T) {
			got, err := c.Chat.Completions.New(ctx, chat(want.Prompt, limit))
			if err != nil {
				t.Fatal(err)
			}
			a := got.Choices[0]
			if a.Message.Content != want.Answer || a.FinishReason != want.Finish {
				t.Errorf("answer %q (%s)\nwant   %q (%s)", a.Message.Content, a.FinishReason, want.Answer, want.Finish)
			}
			if got.Usage.PromptTokens != want.Usage.Prompt || got.Usage.CompletionTokens != want.Usage.Completion {
				t.Errorf("usage %+v, want %+v", got.Usage, want.Usage)
			}
			text, finish, pieces, err := streamed(ctx, c, chat(want.Prompt, limit))
			if err != nil || text != want.Answer || finish != want.Finish {
				t.Errorf("streams %q (%s), %v\nwant    %q (%s)", text, finish, err, want.Answer, want.Finish)
			}
			if pieces > 1 {
				streams++
			}
		})
	}
	if streams < len(cases) {
		t.Errorf("%d of %d answers came in more than one piece", streams, len(cases))
	}
	t.Run("cancel", func(t *testing.T) { // and the next request is answered
		ctx, cancel := context.WithCancel(ctx)
		s := c.Chat.Completions.NewStreaming(ctx, chat("Tell me a story.", 400))
		if !s.Next() {
			t.Fatal(s.Err())
		}
		cancel()
		s.Close()
		got, err := c.Completions.New(context.Background(), openai.CompletionNewParams{
			Model: model, MaxTokens: openai.Int(3),
			Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("<|user|>hello<|assistant|>")},
		})
		if err != nil || !strings.HasPrefix(got.Choices[0].Text, " Hello") || got.Choices[0].FinishReason != "length" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("a path that the server lacks", func(t *testing.T) {
		_, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{
			Model: model, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("a")},
		})
		if e, ok := err.(*openai.Error); !ok || e.StatusCode != http.StatusNotFound {
			t.Errorf("%v", err)
		}
	})
	t.Logf("llama.cpp %s, node-llama-cpp %s: %d reference answers, whole and streamed, are the same through Sotto",
		release, npmVersion(t, "llamacpp", "node-llama-cpp"), len(cases))
}
