// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A fakeEngine answers in the nodes' stead of a model. It sees what an engine
// sees, and lets a test hold an answer open in its middle.
type fakeEngine struct {
	*httptest.Server
	// answer is what it says, in two halves; between them it waits for hold to
	// be closed, if hold is not nil.
	answer [2]string

	mu   sync.Mutex
	hold chan struct{}
	seen []engineRequest
}

// An engineRequest is what the engine saw of one request.
type engineRequest struct {
	header http.Header
	body   string
	peer   int // port of the node that asked
}

func newFakeEngine(t *testing.T, first, second string) *fakeEngine {
	e := &fakeEngine{answer: [2]string{first, second}}
	e.Server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(func() {
		e.release()
		e.CloseClientConnections()
		e.Close()
	})
	return e
}

// holdNext makes answers wait after their first half, until release.
func (e *fakeEngine) holdNext() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hold = make(chan struct{})
}

func (e *fakeEngine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hold != nil {
		close(e.hold)
		e.hold = nil
	}
}

// requests returns what was seen so far.
func (e *fakeEngine) requests() []engineRequest {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]engineRequest(nil), e.seen...)
}

func (e *fakeEngine) serve(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	_, port, _ := net.SplitHostPort(r.RemoteAddr)
	peer, _ := strconv.Atoi(port)
	e.mu.Lock()
	e.seen = append(e.seen, engineRequest{r.Header.Clone(), string(b), peer})
	hold := e.hold
	e.mu.Unlock()
	var req struct{ Stream bool }
	if json.Unmarshal(b, &req); !req.Stream {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"id": "1", "object": "chat.completion", "choices": []any{
			map[string]any{"index": 0, "message": map[string]string{"role": "assistant", "content": e.answer[0] + e.answer[1]}, "finish_reason": "stop"},
		}})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i, text := range e.answer {
		if i == 1 && hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		chunk, _ := json.Marshal(map[string]any{"id": "1", "object": "chat.completion.chunk", "choices": []any{
			map[string]any{"index": 0, "delta": map[string]string{"content": text}},
		}})
		fmt.Fprintf(w, "data: %s\n\n", chunk)
		w.(http.Flusher).Flush()
	}
	io.WriteString(w, "data: [DONE]\n\n")
}

// ownerOf finds the process of the lab whose socket has the local TCP port.
func ownerOf(t *testing.T, dir string, port int) (seat string, pid int) {
	t.Helper()
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		t.Skip("finds the owner of a connection in /proc, which is Linux's")
	}
	eventually(t, fmt.Sprintf("a process of the lab with a connection from port %d", port), func() bool {
		sockets := socketsFrom(t, port)
		for s, p := range rolesIn(dir) {
			fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p))
			for _, fd := range fds {
				if l, err := os.Readlink(fd); err == nil && sockets[l] {
					seat, pid = s, p
					return true
				}
			}
		}
		return false
	})
	return seat, pid
}

// socketsFrom lists the open sockets with the local TCP port, as the links in
// /proc/PID/fd name them. One port can have several: the kernel gives the same
// one to connections that go to different places, and a connection that was
// closed stays in the table, without an inode, while it waits out its time.
func socketsFrom(t *testing.T, port int) map[string]bool {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	sockets := make(map[string]bool)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[9] != "0" {
			sockets["socket:["+f[9]+"]"] = true
		}
	}
	return sockets
}
