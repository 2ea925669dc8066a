// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/internal/daemon"
)

type conf struct {
	Listen string `yaml:"listen"`
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good, bad, odd := write("good", "listen: here\n"), write("bad", "listen: fails\n"), write("odd", "lisen: here\n")
	role := daemon.Role[conf]{
		Name: "sotto-test", About: "A role for a test.",
		Check: func(c conf) error {
			if c.Listen == "" {
				return errors.New("listen is missing")
			}
			return nil
		},
		Serve: func(_ context.Context, c conf, _ *slog.Logger) error {
			if c.Listen == "fails" {
				return errors.New("port taken")
			}
			return nil
		},
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"help", []string{"-h"}, 0, "A role for a test."},
		{"no file", nil, 2, "Usage"},
		{"extra argument", []string{"-config", good, "x"}, 2, "Usage"},
		{"unknown flag", []string{"-nope"}, 2, "nope"},
		{"absent file", []string{"-config", filepath.Join(dir, "none")}, 2, "none"},
		{"unknown field", []string{"-config", odd}, 2, "lisen"},
		{"refused", []string{"-config", write("empty", "{}\n")}, 2, "listen is missing"},
		{"check", []string{"-check", "-config", good}, 0, "valid"},
		{"served", []string{"-config", good}, 0, ""},
		{"failed", []string{"-config", bad}, 1, "port taken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := role.Run(t.Context(), c.args, &out, &out); code != c.code || !strings.Contains(out.String(), c.says) {
				t.Errorf("code %d, want %d; output %q, want %q in it", code, c.code, out.String(), c.says)
			}
		})
	}
}
