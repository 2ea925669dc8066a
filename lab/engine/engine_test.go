// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/lab/engine"
)

func serve(t *testing.T) string {
	e, err := engine.New()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(e.Handler())
	t.Cleanup(s.Close)
	return s.URL
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

type completion struct {
	Choices []struct {
		Message struct{ Content string }
		Delta   struct{ Content string }
		Text    string
		Finish  *string `json:"finish_reason"`
	}
	Usage *struct {
		Completion int `json:"completion_tokens"`
	}
}

const capital = `"messages":[{"role":"user","content":"What is the capital of Japan?"}]`

func TestChat(t *testing.T) {
	url := serve(t) + "/v1/chat/completions"
	for _, c := range []struct{ name, body, want, finish string }{
		{"whole", `{` + capital + `}`, " The capital of Japan is Tokyo.", "stop"},
		{"parts", `{"messages":[{"role":"user","content":[{"type":"text","text":"What is the capital of Japan?"}]}]}`, " The capital of Japan is Tokyo.", "stop"},
		{"max_tokens", `{"max_tokens":3,` + capital + `}`, " The capital of", "length"},
		{"stop", `{"stop":" is ",` + capital + `}`, " The capital of Japan", "stop"},
		{"stop list", `{"stop":["zzz","Tok"],` + capital + `}`, " The capital of Japan is ", "stop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, b := post(t, url, c.body)
			var got completion
			if err := json.Unmarshal([]byte(b), &got); err != nil || status != 200 || len(got.Choices) != 1 {
				t.Fatalf("%d %s", status, b)
			}
			if g := got.Choices[0]; g.Message.Content != c.want || *g.Finish != c.finish || got.Usage == nil {
				t.Errorf("got %q (%s), want %q (%s)", g.Message.Content, *g.Finish, c.want, c.finish)
			}
		})
	}
}

func TestSeedRepeatsAnAnswer(t *testing.T) {
	url := serve(t) + "/v1/chat/completions"
	ask := func(seed string) string {
		_, b := post(t, url, `{"temperature":1.5,"max_tokens":30,"seed":`+seed+`,`+capital+`}`)
		var c completion
		if err := json.Unmarshal([]byte(b), &c); err != nil || len(c.Choices) == 0 {
			t.Fatal(b)
		}
		return c.Choices[0].Message.Content
	}
	if a, b := ask("7"), ask("7"); a != b {
		t.Errorf("seed 7 gave %q and %q", a, b)
	}
	if a, b := ask("7"), ask("8"); a == b {
		t.Errorf("seeds 7 and 8 both gave %q", a)
	}
}

func TestStream(t *testing.T) {
	url := serve(t) + "/v1/chat/completions"
	_, b := post(t, url, `{"stream":true,"stream_options":{"include_usage":true},`+capital+`}`)
	var text string
	var used, done bool
	for s := bufio.NewScanner(strings.NewReader(b)); s.Scan(); {
		data, ok := strings.CutPrefix(s.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			done = true
			continue
		}
		var c completion
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatal(err)
		}
		used = used || c.Usage != nil
		if len(c.Choices) > 0 {
			text += c.Choices[0].Delta.Content
		}
	}
	if text != " The capital of Japan is Tokyo." || !used || !done {
		t.Errorf("got %q, usage %v, done %v", text, used, done)
	}
}

func TestOtherRoutes(t *testing.T) {
	url := serve(t)
	if status, b := post(t, url+"/v1/completions", `{"prompt":"Once upon a time","max_tokens":5}`); status != 200 || !strings.Contains(b, `"text":`) {
		t.Errorf("completions: %d %s", status, b)
	}
	if status, b := post(t, url+"/v1/embeddings", `{"input":["one","two"]}`); status != 200 || strings.Count(b, `"embedding":[`) != 2 {
		t.Errorf("embeddings: %d %s", status, b)
	}
	var coded struct{ Data []struct{ Embedding []byte } } // base64, as encoding/json reads bytes
	status, b := post(t, url+"/v1/embeddings", `{"input":"one","encoding_format":"base64"}`)
	if err := json.Unmarshal([]byte(b), &coded); status != 200 || err != nil || len(coded.Data) != 1 || len(coded.Data[0].Embedding) != 4*192 {
		t.Errorf("embeddings in base64: %d %s, %v", status, b, err)
	}
	if status, b := post(t, url+"/v1/embeddings", `{"input":"one","encoding_format":"hex"}`); status != 400 {
		t.Errorf("embeddings in hex: %d %s", status, b)
	}
	for _, bad := range []string{``, `{`, `{"messages":[]}`, `{"messages":[{"role":"user","content":7}]}`, `{"messages":[{"role":"user","content":"` + strings.Repeat("many words ", 600) + `"}]}`} {
		if status, b := post(t, url+"/v1/chat/completions", bad); status != 400 || !strings.Contains(b, `"error"`) {
			t.Errorf("%.40q: %d %s", bad, status, b)
		}
	}
}
