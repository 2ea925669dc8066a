// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// inner is the message that the node reads for a request of an application.
func inner(t *testing.T, path, body string, header http.Header) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, BaseURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	c, err := newCall(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.spool(""); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := bhttp.NewRequestWriter(&out, c.head)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.copyBody(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(nil, 0); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestApplicationsLookAlike sends one request as different applications would.
// The node must get the same bytes of each.
func TestApplicationsLookAlike(t *testing.T) {
	plain := http.Header{"Content-Type": {"application/json"}}
	want := inner(t, "/chat/completions", `{"model":"m","messages":[{"role":"user","content":"é/<"}],"temperature":1}`, plain)
	t.Run("CL-08", func(t *testing.T) {
		sdk := http.Header{
			"Content-Type": {"application/json; charset=utf-8"}, "Authorization": {"Bearer sk-canary"}, "User-Agent": {"OpenAI/Python canary"}, "X-Stainless-Os": {"canary"},
			"Openai-Organization": {"canary"}, "Cookie": {"a=canary"}, "Accept-Language": {"canary"}, "Traceparent": {"canary"}, "X-Time-Zone": {"canary"}, "Accept": {"text/event-stream"},
			"Idempotency-Key": {"canary"}, "Content-Encoding": nil,
		}
		got := inner(t, "/chat/completions", `{"user":"canary","model":"m","metadata":{"canary":1},"messages":[{"role":"user","content":"é/<"}],"store":true,"temperature":1}`, sdk)
		if got != want {
			t.Errorf("%q\nwant\n%q", got, want)
		}
		if strings.Contains(got, "canary") {
			t.Error("a header or member that names the user is sent")
		}
	})
	t.Run("CL-09", func(t *testing.T) {
		for _, body := range []string{
			"{\n  \"model\": \"m\",\n  \"messages\": [{\"role\": \"user\", \"content\": \"\\u00e9/<\"}],\n  \"temperature\": 1.0\n}\n",
			`{"model":"m","messages":[{"role":"user","content":"é\/\u003c"}],"temperature":1}`,
		} {
			if got := inner(t, "/chat/completions", body, plain); got != want {
				t.Errorf("%q\nwant\n%q", got, want)
			}
		}
	})
}
