// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// npm installs what the lock file of folder names, into a copy of folder that
// goes with the test, and returns the copy. It skips where Node.js is absent.
func npm(t *testing.T, folder string, command ...string) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (Debian: apt-get install nodejs npm)", program)
		}
	}
	dir := t.TempDir()
	for _, pattern := range []string{"package*.json", "*.mjs"} {
		files, _ := filepath.Glob(filepath.Join(folder, pattern))
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// No package runs a script of its own while it is installed.
	args := append(command, "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	c := exec.CommandContext(t.Context(), "npm", args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("npm %s (it needs the npm registry, or the cache of an earlier run): %v\n%s", command[0], err, out)
	}
	return dir
}

// npmVersion is the version that a lock file pins.
func npmVersion(t *testing.T, folder, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version string }
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		t.Fatal(err)
	}
	return lock.Packages["node_modules/"+name].Version
}

// TestOpenAINode runs openai-node/test.mjs, where the checks are.
func TestOpenAINode(t *testing.T) {
	dir := npm(t, "openai-node", "ci")
	want := sky(t)
	in, err := json.Marshal(map[string]any{
		"model": model, "prompt": want.Prompt, "answer": want.Answer, "finish": want.Finish,
		"completionTokens": want.Usage.Completion, "version": npmVersion(t, "openai-node", "openai"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "node", "test.mjs", theLab(t).ready.OpenAI)
	c.Dir, c.Stdin = dir, bytes.NewReader(in)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
