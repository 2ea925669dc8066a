// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

// TestMirrorWaitersAreBounded: DS-02: who asks for number after number is told at
// once that many wait already, and what is in memory, or the newest, is served all
// the same.
func TestMirrorWaitersAreBounded(t *testing.T) {
	down, err := url.Parse("https://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []kind{statement, tile} {
		for _, c := range []struct{ waiting, status int }{{maxPending - 1, http.StatusBadGateway}, {maxPending, http.StatusServiceUnavailable}} {
			m := newMirror(down, &http.Transport{}, time.Hour)
			m.pending[k] = c.waiting
			m.keep(logCheckpoint, []byte("log.example\n1000\nroot\n\nsignatures\n"))
			m.keep("/kept", []byte("x"))
			if _, status, code := m.get(t.Context(), ask{path: "/other", limit: 1, age: time.Hour, kind: k, last: 1}); status != c.status {
				t.Errorf("kind %d, %d wait: %d %s, want %d", k, c.waiting, status, code, c.status)
			}
			if _, status, code := m.get(t.Context(), ask{path: "/kept", limit: 1, age: time.Hour, kind: k, last: 1}); status != http.StatusOK {
				t.Errorf("kind %d, %d wait: what is kept: %d %s", k, c.waiting, status, code)
			}
			if _, status, code := m.get(t.Context(), ask{path: "/newest", limit: 1, kind: newest}); status != http.StatusBadGateway {
				t.Errorf("kind %d, %d wait: the newest: %d %s", k, c.waiting, status, code)
			}
		}
	}
}
