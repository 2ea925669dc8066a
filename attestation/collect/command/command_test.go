// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/collect/command"
)

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestRun(t *testing.T) {
	t.Setenv("SOTTO_SECRET", "canary")
	for name, c := range map[string]struct {
		argv  []string
		stdin string
		limit int
		want  string // of the output
		says  string // of the error
	}{
		"output":         {argv: sh("cat; echo $0 $1"), stdin: "in ", limit: 100, want: "in /bin/sh\n"},
		"at the limit":   {argv: sh("printf 12345"), limit: 5, want: "12345"},
		"over the limit": {argv: sh("printf 123456"), limit: 5, says: "more than 5"},
		"without end":    {argv: sh("yes"), limit: 1000, says: "more than 1000"},
		"nothing":        {argv: sh("true"), limit: 5, says: "printed nothing"},
		"exit code":      {argv: sh("printf x; echo 'no\tdevice' >&2; exit 3"), limit: 5, says: "exit status 3: no device"},
		"long complaint": {argv: sh("yes complaint | head -c 100000 >&2; exit 1"), limit: 5, says: "exit status 1"},
		"not there":      {argv: []string{"/nonexistent/tool"}, limit: 5, says: "no such file"},
		"none":           {limit: 5, says: "none configured"},
		"environment":    {argv: sh("echo [$SOTTO_SECRET]"), limit: 100, want: "[]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := command.Run(t.Context(), c.argv, []byte(c.stdin), c.limit)
			switch {
			case c.says == "" && (err != nil || string(got) != c.want):
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 400):
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
		})
	}
}

// TestAbandoned: a tool that hangs, and a child of it that keeps the pipe.
func TestAbandoned(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	pid := filepath.Join(t.TempDir(), "pid")
	begin := time.Now()
	if _, err := command.Run(ctx, sh("sleep 3 & echo $! > "+pid+"; sleep 3"), nil, 10); err == nil {
		t.Error("waited for nothing")
	}
	if d := time.Since(begin); d > 2500*time.Millisecond {
		t.Errorf("took %v", d)
	}
	if _, err := os.Stat(pid); err != nil {
		t.Error(err)
	}
}
