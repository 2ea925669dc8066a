// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fixed is an engine for measurements: it reads a request to its end, thinks
// nothing, and answers what the request's "fixed" member asks for, so that what
// is measured is everything but the model.
//
//	{"fixed": {"bytes": 10485760}}                      one body of that size
//	{"fixed": {"tokens": 100, "every_ms": 20}}          a stream, stamped
//
// Without the member it gives one short answer. Each token of a stream carries
// the time it was written, in nanoseconds, so that its lag can be measured on
// the same machine.
func Fixed() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", fixed)
	return mux
}

var shortAnswer = []byte(`{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"sotto-tiny","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)

type fixedRequest struct {
	Fixed struct {
		Bytes  int `json:"bytes"`
		Tokens int `json:"tokens"`
		Every  int `json:"every_ms"`
	} `json:"fixed"`
}

// fixedHead is how much of a request is searched for the "fixed" member.
const fixedHead = 4 << 10

func fixed(w http.ResponseWriter, r *http.Request) {
	head := make([]byte, fixedHead)
	n, err := io.ReadFull(r.Body, head)
	var req fixedRequest
	if err != nil {
		json.Unmarshal(head[:n], &req)
	} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	switch f := req.Fixed; {
	case f.Tokens > 0:
		fixedStream(w, f.Tokens, time.Duration(f.Every)*time.Millisecond)
	case f.Bytes > 0:
		fixedBytes(w, f.Bytes)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(shortAnswer)))
		w.Write(shortAnswer)
	}
}

func fixedBytes(w http.ResponseWriter, n int) {
	w.Header().Set("Content-Type", "application/json")
	block := bytes.Repeat([]byte("x"), 64<<10)
	io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"`)
	for n > 0 {
		m := min(n, len(block))
		if _, err := w.Write(block[:m]); err != nil {
			return
		}
		n -= m
	}
	io.WriteString(w, `"},"finish_reason":"stop"}]}`)
}

func fixedStream(w http.ResponseWriter, tokens int, every time.Duration) {
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	for range tokens {
		var b strings.Builder
		b.WriteString(`data: {"choices":[{"index":0,"delta":{"content":"`)
		b.WriteString(strconv.FormatInt(time.Now().UnixNano(), 10))
		b.WriteString("\"}}]}\n\n")
		if _, err := io.WriteString(w, b.String()); err != nil || rc.Flush() != nil {
			return
		}
		time.Sleep(every)
	}
	io.WriteString(w, "data: [DONE]\n\n")
}
