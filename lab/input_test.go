// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// badInput sends what an application should not. Each is an error in OpenAI's
// shape, and the next request works.
func badInput(t *testing.T, l *labProcess, works func(*testing.T)) {
	post := func(path, media string, body io.Reader) answer {
		resp, err := http.Post(l.ready.OpenAI+path, media, body)
		if err != nil {
			return answer{err: err}
		}
		defer resp.Body.Close()
		return readAnswer(resp)
	}
	const chatPath, json = "/chat/completions", "application/json"
	message := func(n int) string {
		return `{"model":"sotto-tiny","messages":[{"role":"user","content":"` + strings.Repeat("x", n) + `"}]}`
	}
	for _, c := range []struct {
		name, path, media, body string
		status                  int
		code                    string
	}{
		{"no JSON", chatPath, json, `{"model":`, 400, "request.invalid"},
		{"an array", chatPath, json, `[]`, 400, "request.invalid"},
		{"nothing", chatPath, json, ``, 400, "request.invalid"},
		{"two members of one name", chatPath, json, `{"model":"sotto-tiny","model":"x"}`, 400, "request.invalid"},
		{"no UTF-8", chatPath, json, "{\"model\":\"\xff\"}", 400, "request.invalid"},
		{"deeply nested", chatPath, json, `{"model":"sotto-tiny","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, 400, "request.invalid"},
		{"bytes after the end", chatPath, json, message(1) + "x", 400, "request.invalid"},
		{"unknown model", chatPath, json, `{"model":"gpt-4o","messages":[]}`, 400, "request.model"},
		{"no media type", chatPath, "", message(1), 400, "request.invalid"},
		{"a form", chatPath, "application/x-www-form-urlencoded", "a=b", 400, "request.invalid"},
		{"another path", "/audio/speech", json, message(1), 404, "target"},
		{"over the largest size", chatPath, json, message(100 << 20), 400, "request.size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			post(c.path, c.media, strings.NewReader(c.body)).refused(t, c.status, "invalid_request_error", c.code)
		})
	}
	works(t)
	t.Run("long prompts", func(t *testing.T) {
		// On both sides of what the proxy's server allows by default, of what
		// the client holds to send again, and of a rung of the ladder.
		for _, n := range []int{60 << 10, 70 << 10, 1<<20 - 100, 1 << 20, 3 << 20} {
			if a := post(chatPath, json, strings.NewReader(message(n))); a.status != 200 || !a.done {
				t.Errorf("%d bytes: %+v", n, a)
			}
		}
	})
	t.Run("cut off", func(t *testing.T) { cutOff(t, l) })
	works(t)
}

// cutOff sends half a request and goes away, or stops sending.
func cutOff(t *testing.T, l *labProcess) {
	addr := strings.TrimSuffix(strings.TrimPrefix(l.ready.OpenAI, "http://"), "/v1")
	begin := func(body string) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n%s", addr, body)
		return c
	}
	head := `{"model":"sotto-tiny","messages":[{"role":"user","content":"` + strings.Repeat("x", 70<<10)
	for _, body := range []string{"", `{"model":`, head} {
		begin(body).Close()
	}
	t.Run("at the half-closed end", func(t *testing.T) {
		for _, body := range []string{`{"model":`, head} {
			c := begin(body)
			defer c.Close()
			c.(*net.TCPConn).CloseWrite()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			readAnswer(resp).refused(t, http.StatusBadRequest, "invalid_request_error", "request.invalid")
			resp.Body.Close()
		}
	})
	t.Run("while others are slow", func(t *testing.T) {
		for range 50 {
			c := begin(`{"model":`)
			defer c.Close()
		}
		start := time.Now()
		a := chat(l, "hello", true)
		if a.status != 200 || !a.done || time.Since(start) > 5*time.Second {
			t.Errorf("%+v after %v", a, time.Since(start))
		}
	})
	t.Run("no HTTP", func(t *testing.T) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write(bytes.Repeat([]byte{0x16, 3, 1, 0}, 100))
		c.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		if err != nil || bytes.Contains(b, []byte("200 OK")) {
			t.Errorf("%q %v", b, err)
		}
	})
}
