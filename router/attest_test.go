// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

func (n *node) onAttest(f http.HandlerFunc) { n.attest.Store(&f) }

func (w *world) ask(body string) (int, string) {
	w.t.Helper()
	resp, err := w.http.Post(w.url+"/v1/attest", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, "broken: " + err.Error()
	}
	return resp.StatusCode, string(b)
}

const challenge = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

func question(id [32]byte, epoch uint64) string {
	return fmt.Sprintf(`{"node":%q,"epoch":%d,"challenge":%q}`, hex.EncodeToString(id[:]), epoch, challenge)
}

func TestAttestGoesToThatNodeOnly(t *testing.T) {
	w := newWorld(t, 3, nil)
	got := make([][]string, 3)
	for i, n := range w.nodes {
		n.onAttest(func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got[i] = append(got[i], string(b))
			for name := range r.Header {
				if name != "Content-Type" && name != "Content-Length" && name != "Accept-Encoding" {
					t.Errorf("header %s reached the node", name)
				}
			}
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(rw, `{"node":%d}`, i)
		})
	}
	if status, body := w.ask(question(w.nodes[1].id, w.epoch)); status != 200 || body != `{"node":1}` {
		t.Errorf("%d %q", status, body)
	}
	want := fmt.Sprintf(`{"epoch":%d,"challenge":%q}`, w.epoch, challenge)
	if len(got[0])+len(got[2]) != 0 || len(got[1]) != 1 || got[1][0] != want {
		t.Errorf("nodes got %q", got)
	}
}

func TestAttestRefuses(t *testing.T) {
	w := newWorld(t, 2, nil)
	id := hex.EncodeToString(w.nodes[0].id[:])
	for body, want := range map[string]string{
		"": "attest", "{}": "attest", `{"node":"` + id + `","epoch":1}`: "attest",
		`{"node":"` + strings.ToUpper(id) + `","epoch":1,"challenge":"` + challenge + `"}`:       "attest",
		`{"node":"` + id[:62] + `","epoch":1,"challenge":"` + challenge + `"}`:                   "attest",
		`{"node":"` + id + `","epoch":1,"challenge":"AA=="}`:                                     "attest",
		`{"node":"` + id + `","epoch":1,"challenge":"` + challenge + `","user":"x"}`:             "attest",
		question(w.nodes[0].id, 1) + "{}":                                                        "attest",
		question(w.nodes[0].id, 9):                                                               "epoch",
		question(w.nodes[0].id, 0):                                                               "epoch",
		question([32]byte{1}, 1):                                                                 "route.candidate",
		`{"node":"` + strings.Repeat("a", 2000) + `","epoch":1,"challenge":"` + challenge + `"}`: "attest",
	} {
		if status, got := w.ask(body); status < 400 || !strings.Contains(got, `"code":"`+want+`"`) {
			t.Errorf("%.60s: %d %q, want %s", body, status, got, want)
		}
	}
	// Nodes that do not answer as they must.
	limit := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { httpx.Problem(rw, http.StatusTooManyRequests, "busy") })
	for name, c := range map[string]struct {
		f    http.HandlerFunc
		code string
	}{
		"busy": {limit, "busy"},
		"no JSON": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			rw.Write([]byte("x"))
		}, "node.answer"},
		"redirect": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://elsewhere.example", http.StatusFound)
		}, "node.answer"},
		"no length": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			rw.(http.Flusher).Flush()
		}, "node.answer"},
		"far too long": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			rw.Header().Set("Content-Length", "99999999999")
			rw.(http.Flusher).Flush()
		}, "node.answer"},
		"breaks off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "node.failed"},
	} {
		w.nodes[0].onAttest(c.f)
		if status, got := w.ask(question(w.nodes[0].id, 1)); status < 400 || !strings.Contains(got, `"code":"`+c.code+`"`) {
			t.Errorf("%s: %d %q, want %s", name, status, got, c.code)
		}
	}
	w.nodes[0].stop()
	if _, got := w.ask(question(w.nodes[0].id, 1)); !strings.Contains(got, "node.unreachable") && !strings.Contains(got, "node.failed") {
		t.Errorf("a node that is gone: %q", got)
	}
}

// TestAttestReachesNodesThatTheRouterRefuses: who wants to see for themselves
// may; only prompts are kept away.
func TestAttestReachesNodesThatTheRouterRefuses(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.pub.refresh(time.Now().Add(-time.Hour))
	w.poll()
	w.unreachable(w.nodes[0], true, "stale")
	w.nodes[0].onAttest(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Content-Length", "8192")
		rw.Write(bytes.Repeat([]byte{' '}, 8192))
	})
	if status, b := w.ask(question(w.nodes[0].id, 1)); status != 200 || len(b) != 8192 {
		t.Errorf("%d, %d bytes", status, len(b))
	}
}
